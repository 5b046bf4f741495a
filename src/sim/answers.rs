//! REST answers in the venue's envelope. Not who gets which; that is `core`.
//!
//! Source: XTS documentation and the official SDKs. Codes whose comment says "composed" were
//! seen in no source; the descriptions beside them were.

use serde::Serialize;
use serde_json::{Value, json};

use crate::sim::accounts::Identity;
use crate::sim::sessions::{Product, Session};
use crate::sim::settings::AccountKind;

/// What a proxy says when the server behind it does not answer, in nginx's words.
const UNAVAILABLE: &str = "<html>\r\n<head><title>Unavailable</title></head>\r\n<body>\r\n<center><h1>Unavailable</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// One answer; most bodies are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) is_html: bool,
    /// Seconds of a `Retry-After`.
    pub(crate) retry_after_s: Option<u64>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'a str,
    code: &'a str,
    description: &'a str,
    result: Value,
}

impl Answer {
    pub(crate) fn success(code: &str, description: &str, result: Value) -> Self {
        Self::new(200, "success", code, description, result)
    }

    pub(crate) fn error(status: u16, code: &str, description: &str, result: Value) -> Self {
        Self::new(status, "error", code, description, result)
    }

    fn new(status: u16, kind: &str, code: &str, description: &str, result: Value) -> Self {
        let envelope = Envelope { r#type: kind, code, description, result };
        Self::json(status, serde_json::to_string(&envelope).unwrap_or_default())
    }

    /// Any JSON.
    pub(crate) const fn json(status: u16, body: String) -> Self {
        Self { status, body, is_html: false, retry_after_s: None }
    }

    /// A proxy's page. Never assume an error body is JSON.
    pub(crate) fn unavailable(status: u16) -> Self {
        Self { status, body: UNAVAILABLE.to_owned(), is_html: true, retry_after_s: None }
    }

    /// Any JSON of our own, not in the venue's envelope.
    pub(crate) fn plain(value: &Value) -> Self {
        Self::json(200, value.to_string())
    }

    pub(crate) fn invalid_token() -> Self {
        Self::error(400, "e-session-0007", "Invalid Token", json!({}))
    }

    pub(crate) fn no_token() -> Self {
        Self::error(400, "e-token-0002", "Please Provide token to Authenticate", json!({}))
    }

    pub(crate) fn rate_limited() -> Self {
        Self::error(429, "e-apirl-0004", "API Rate Limit Exceeded", json!({}))
    }

    pub(crate) fn bad_request(what: &str) -> Self {
        // The code is composed.
        Self::error(400, "e-response-0001", "Bad Request", json!({ "errors": [what] }))
    }

    pub(crate) fn unknown_instrument() -> Self {
        Self::error(400, "e-instrument-0001", "Instrument not found", json!({}))
    }

    /// Both codes are composed, the descriptions are real.
    pub(crate) fn wrong_credentials(product: Product) -> Self {
        match product {
            Product::Market => Self::error(400, "e-response-0010", "Invalid App Key", json!({})),
            Product::Interactive => Self::error(400, "e-user-0001", "Entered invalid credentials", json!({})),
        }
    }

    /// Code and text are composed: no source shows one.
    pub(crate) fn wrong_access_token() -> Self {
        Self::error(400, "e-user-0002", "Invalid Access Token", json!({}))
    }

    /// Code and text are composed: no source shows one.
    pub(crate) fn disabled_app_key() -> Self {
        Self::error(400, "e-response-0011", "App Key is disabled", json!({}))
    }

    pub(crate) fn login(product: Product, who: &Identity, token: &str) -> Self {
        match product {
            Product::Market => Self::success(
                "s-response-0010",
                "Provided Valid Credentials",
                json!({
                    "token": token,
                    "userID": who.login,
                    "appVersion": "5.0.15",
                    "application_expiry_date": "31-12-2099",
                }),
            ),
            Product::Interactive => Self::success(
                "s-user-0001",
                "Valid User.",
                json!({
                    "enums": {
                        "socketEvent": ["joined", "error", "warning", "success", "order", "trade", "logout",
                            "position", "tradeConversion", "marketStatusUpdate", "exchangeAdapterState"],
                        "orderSide": ["BUY", "SELL"],
                        "positionSqureOffMode": ["DayWise", "NetWise"],
                        "positionSquareOffQuantityType": ["Percentage", "ExactQty"],
                        "dayOrNet": ["DAY", "NET"],
                        "exchangeSegments": ["NSECM", "NSEFO", "NSECD", "BSECM", "BSEFO", "MCXFO"],
                    },
                    "clientCodes": who.client_codes(),
                    "exchangeSegmentArray": [],
                    "token": token,
                    "userID": who.login,
                    "isInvestorClient": who.kind == AccountKind::Investor,
                    "isOneTouchUser": false,
                }),
            ),
        }
    }

    pub(crate) fn logout(product: Product) -> Self {
        match product {
            Product::Market => Self::success("s-login-0005", "successfully logged out", json!({})),
            Product::Interactive => {
                Self::success("s-user-0001", "successfully logout from all API.", json!({}))
            }
        }
    }

    pub(crate) fn client_config() -> Self {
        Self::success(
            "s-response-0001",
            "Fetched configurations successfully",
            json!({
                "exchangeSegments": {"NSECM": 1, "NSEFO": 2, "NSECD": 3, "NSECO": 4, "SLBM": 5, "NIFSC": 7,
                    "BSECM": 11, "BSEFO": 12, "BSECD": 13, "BSECO": 14, "NCDEX": 21, "MSECM": 41, "MSEFO": 42,
                    "MSECD": 43, "MCXFO": 51},
                "xtsMessageCode": {"touchlineEvent": 1501, "marketDepthEvent": 1502, "indexDataEvent": 1504,
                    "candleDataEvent": 1505, "openInterestEvent": 1510, "instrumentPropertyChangeEvent": 1105,
                    "ltpEvent": 1512},
                "publishFormat": ["Binary", "JSON"],
                "broadCastMode": ["Full", "Partial"],
                "instrumentType": {"Futures": 1, "Options": 2, "Spread": 4, "Equity": 8, "Spot": 16,
                    "PreferenceShares": 32, "Debentures": 64, "Warrants": 128, "Miscellaneous": 256,
                    "MutualFund": 512, "1": "Futures", "2": "Options", "4": "Spread", "8": "Equity",
                    "16": "Spot", "32": "PreferenceShares", "64": "Debentures", "128": "Warrants",
                    "256": "Miscellaneous", "512": "MutualFund"},
            }),
        )
    }

    pub(crate) fn profile(who: &Identity) -> Self {
        let segments =
            [("NSECM", 1), ("NSEFO", 2), ("NSECD", 3), ("BSECM", 11), ("BSEFO", 12), ("MCXFO", 51)];
        let details: serde_json::Map<String, Value> = segments
            .into_iter()
            .map(|(name, number)| {
                let detail =
                    json!({"ClientId": who.client, "ExchangeSegNumber": number, "Enabled": true, "ParticipantCode": ""});
                (name.to_owned(), detail)
            })
            .collect();
        Self::success(
            "s-user-0001",
            "User profile",
            json!({
                "ClientId": who.client, "ClientName": "SIMULATED CLIENT", "EmailId": "simulated@example.com",
                "MobileNo": "0000000000", "PAN": "AAAAA0000A", "IncludeInAutoSquareoff": false, "IsProClient": who.kind == AccountKind::Pro,
                "IsInvestorClient": who.kind == AccountKind::Investor,
                "ResidentialAddress": "1 Example Street, Mumbai", "OfficeAddress": "",
                "ClientBankInfoList": [{"ClientId": who.client, "AccountNumber": "000000000000",
                    "BankName": "EXAMPLE BANK", "BankBranchName": "MUMBAI", "BankCity": "MUMBAI",
                    "CustomerId": "", "BankCityPincode": "", "BankIFSCCode": "EXMP0000000"}],
                "ClientExchangeDetailsList": details,
            }),
        )
    }

    /// A call about an order was taken; whether the exchange takes it is another question.
    pub(crate) fn sent(result: Value) -> Self {
        Self::success("s-orders-0001", "Request sent", result)
    }

    /// An order, or a change of one, that is turned down before it is on its way. The texts are
    /// composed: sources show the code only.
    pub(crate) fn order_refused(text: &str) -> Self {
        Self::error(400, "e-orders-0001", text, json!({}))
    }

    /// How some servers say that a book is empty.
    pub(crate) fn no_data() -> Self {
        Self::error(400, "e-orders-0001", "Data Not Available", json!({}))
    }

    pub(crate) fn already_subscribed(remaining: usize) -> Self {
        let result = json!({ "Remaining_Subscription_Count": remaining });
        Self::error(400, "e-session-0002", "Instrument Already Subscribed !", result)
    }

    pub(crate) fn too_many_subscriptions(session: &Session, limit: usize, more: usize) -> Self {
        let held = session.subscriptions.len();
        let text = format!(
            "Exceeded Instrument Subscription Limit of {limit}.You have already subscribed {held}/{limit} and you are trying subscribe {} Instrument.",
            held + more
        );
        let result = json!({ "Remaining_Subscription_Count": limit.saturating_sub(held) });
        Self::error(400, "e-session-0004", &text, result)
    }

    /// Code and text are composed: no source shows the refusal of an unsubscribe.
    pub(crate) fn not_subscribed(remaining: usize) -> Self {
        let result = json!({ "Remaining_Subscription_Count": remaining });
        Self::error(400, "e-session-0003", "Instrument Not Subscribed !", result)
    }
}
