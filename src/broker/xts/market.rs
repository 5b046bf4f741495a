//! Market data by request: history, searches, look-ups, the markets' state.
//! Not quotes and subscriptions (`instruments`), and not what is kept of any of it.

use jiff::civil::Date;
use reqwest::Method;
use serde_json::{Value, json};

use crate::broker::{Error, FoundInstrument, SegmentStatus};
use crate::market::{Bar, InstrumentId, Interval, Segment};
use crate::telemetry::metrics as names;
use crate::token::{Product, Token};

use super::XtsBroker;
use super::books::{add_query, push_encoded};
use super::instruments::is_no_data;
use super::pace::Path;
use super::rest::Call;
use super::wire::bars::{self, NoHistory};
use super::wire::books::{Book, NotABook};
use super::wire::found;
use super::wire::text::Raw;

/// The intervals that the broker compresses to.
pub(super) const INTERVALS: [Interval; 17] = [
    Interval::Seconds(1),
    Interval::minutes(1),
    Interval::minutes(2),
    Interval::minutes(3),
    Interval::minutes(4),
    Interval::minutes(5),
    Interval::minutes(7),
    Interval::minutes(10),
    Interval::minutes(15),
    Interval::minutes(30),
    Interval::minutes(60),
    Interval::minutes(120),
    Interval::minutes(180),
    Interval::minutes(240),
    Interval::Day,
    Interval::Week,
    Interval::Month,
];

/// How many days one request may span: a week within the day, as clients keep to; of one-second
/// bars only as many as an answer's greatest length holds.
pub(super) const fn history_days(interval: Interval) -> u32 {
    match interval {
        Interval::Seconds(1) => 1,
        Interval::Seconds(_) => 7,
        Interval::Day => 1_825,
        Interval::Week | Interval::Month => 3_650,
    }
}

impl XtsBroker {
    pub(super) async fn ask_history(
        &self,
        token: &Token,
        instrument: InstrumentId,
        interval: Interval,
        from: Date,
        to: Date,
    ) -> Result<Vec<Bar>, Error> {
        if !INTERVALS.contains(&interval) {
            return Err(Error::Invalid(format!("the broker has no bars of {interval}")));
        }
        if from > to {
            return Err(Error::Invalid("the first day is after the last".to_owned()));
        }
        let compression = match interval {
            Interval::Seconds(seconds) => seconds.to_string(),
            other => other.to_string(),
        };
        let days = (from.strftime("%b %d %Y 000000").to_string(), to.strftime("%b %d %Y 235959").to_string());
        let query = [
            ("exchangeSegment", instrument.segment.number().to_string()),
            ("exchangeInstrumentID", instrument.code.to_string()),
            ("startTime", days.0),
            ("endTime", days.1),
            ("compressionValue", compression),
        ];
        let call = self.market_call(token, "/instruments/ohlc", &query, Path::History)?;
        let answered = self
            .rest
            .ask(call, |result| {
                bars::read(result, instrument.segment, interval)
                    .map_err(|NoHistory| Error::Malformed("the answer holds no history".to_owned()))
            })
            .await;
        let mut read = match answered {
            Err(Error::Refused { description, .. }) if is_no_data(&description) => return Ok(Vec::new()),
            answered => answered?,
        };
        self.tell_bad_rows("history", read.bad, read.bars.len());
        if read.bars.is_empty() && read.bad > 0 {
            return Err(Error::Malformed("no row of the history can be read".to_owned()));
        }
        if interval.is_intraday() || interval == Interval::Day {
            // A server that sends more than was asked for must not make callers see a bar twice.
            let asked = |bar: &Bar| (from..=to).contains(&crate::market::calendar::ist_date(bar.start));
            read.bars.retain(asked);
        }
        if read.repeated > 0 {
            tracing::debug!(account = &*self.account, repeated = read.repeated, "bars told of twice");
        }
        Ok(read.bars)
    }

    pub(super) async fn ask_search(&self, token: &Token, text: &str) -> Result<Vec<FoundInstrument>, Error> {
        let query = [("searchString", text.to_owned())];
        let call = self.market_call(token, "/search/instruments", &query, Path::LookUp)?;
        self.read_instruments(call).await
    }

    /// Instruments by their numbers.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn search_by_id(
        &self,
        token: &Token,
        ids: &[InstrumentId],
    ) -> Result<Vec<FoundInstrument>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Value> = ids
            .iter()
            .map(|id| json!({ "exchangeSegment": id.segment.number(), "exchangeInstrumentID": id.code }))
            .collect();
        let mut call = self.market_call(token, "/search/instrumentsbyid", &[], Path::LookUp)?;
        call.method = Method::POST;
        self.read_instruments(call.with(&json!({ "source": "WebAPI", "instruments": ids }))).await
    }

    async fn read_instruments(&self, call: Call<'_>) -> Result<Vec<FoundInstrument>, Error> {
        self.read_list(call, "instruments", found::instruments).await
    }

    /// The series of a segment.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn series(&self, token: &Token, segment: Segment) -> Result<Vec<String>, Error> {
        self.look_up(token, "series", segment, &[]).await
    }

    /// An instrument by its series and name.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn symbol(
        &self,
        token: &Token,
        segment: Segment,
        series: &str,
        symbol: &str,
    ) -> Result<Vec<FoundInstrument>, Error> {
        self.look_up_instrument(token, "symbol", segment, &[("series", series), ("symbol", symbol)]).await
    }

    /// The days on which contracts of a name expire, as written.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn expiry_dates(
        &self,
        token: &Token,
        segment: Segment,
        series: &str,
        symbol: &str,
    ) -> Result<Vec<String>, Error> {
        self.look_up(token, "expiryDate", segment, &[("series", series), ("symbol", symbol)]).await
    }

    /// The future of a name and day (`17Feb2026`).
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn future_symbol(
        &self,
        token: &Token,
        segment: Segment,
        series: &str,
        symbol: &str,
        expiry: Date,
    ) -> Result<Vec<FoundInstrument>, Error> {
        let expiry = expiry.strftime("%d%b%Y").to_string();
        let query = [("series", series), ("symbol", symbol), ("expiryDate", &expiry)];
        self.look_up_instrument(token, "futureSymbol", segment, &query).await
    }

    /// The option of a contract's series, name, day, type (`CE`, `PE`) and strike.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn option_symbol(
        &self,
        token: &Token,
        segment: Segment,
        (series, symbol): (&str, &str),
        expiry: Date,
        (option_type, strike): (&str, crate::market::Price),
    ) -> Result<Vec<FoundInstrument>, Error> {
        let expiry = expiry.strftime("%d%b%Y").to_string();
        let strike = strike.to_string();
        let query = [
            ("series", series),
            ("symbol", symbol),
            ("expiryDate", expiry.as_str()),
            ("optionType", option_type),
            ("strikePrice", strike.strip_suffix(".0").unwrap_or(&strike)),
        ];
        self.look_up_instrument(token, "optionSymbol", segment, &query).await
    }

    /// The types of option of a name and day.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn option_types(
        &self,
        token: &Token,
        segment: Segment,
        series: &str,
        symbol: &str,
        expiry: Date,
    ) -> Result<Vec<String>, Error> {
        let expiry = expiry.strftime("%d%b%Y").to_string();
        let query = [("series", series), ("symbol", symbol), ("expiryDate", &expiry)];
        self.look_up(token, "optionType", segment, &query).await
    }

    /// The strikes of a name, day and type, as written.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn strike_prices(
        &self,
        token: &Token,
        segment: Segment,
        (series, symbol): (&str, &str),
        expiry: Date,
        option_type: &str,
    ) -> Result<Vec<String>, Error> {
        let expiry = expiry.strftime("%d%b%Y").to_string();
        let query =
            [("series", series), ("symbol", symbol), ("expiryDate", &expiry), ("optionType", option_type)];
        self.look_up(token, "strikePrice", segment, &query).await
    }

    /// The server's configuration, unread; the cheapest call that shows whether a token lives.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn client_config(&self, token: &Token) -> Result<Value, Error> {
        let call = self.market_call(token, "/config/clientConfig", &[], Path::LookUp)?;
        let malformed = || Error::Malformed("the answer holds no configuration".to_owned());
        self.rest
            .ask(call, |result| {
                let value: Value =
                    serde_json::from_str(result.ok_or_else(malformed)?.get()).map_err(|_| malformed())?;
                if value.is_object() { Ok(value) } else { Err(malformed()) }
            })
            .await
    }

    pub(super) async fn ask_market_status(&self, token: &Token) -> Result<Vec<SegmentStatus>, Error> {
        let query = [("userID", token.facts.user_id.as_str())];
        let call = self.interactive_call(token, "/status/exchange", &query, Path::Status).await?;
        self.read_list(call, "market status", found::market_status).await
    }

    /// The exchange's messages of a segment: text and time of each, as written.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn exchange_messages(
        &self,
        token: &Token,
        segment: Segment,
    ) -> Result<Vec<(String, String)>, Error> {
        let query = [("exchangeSegment", segment.xts_name())];
        let call = self.interactive_call(token, "/messages/exchange", &query, Path::Messages).await?;
        no_data_is_empty(
            self.rest.ask(call, |result| found::messages(result).map_err(|e| unread(e, "messages"))).await,
        )
    }

    async fn look_up(
        &self,
        token: &Token,
        what: &str,
        segment: Segment,
        query: &[(&str, &str)],
    ) -> Result<Vec<String>, Error> {
        let call = self.look_up_call(token, what, segment, query)?;
        self.rest.ask(call, |result| found::words(result).map_err(|e| unread(e, "list"))).await
    }

    async fn look_up_instrument(
        &self,
        token: &Token,
        what: &str,
        segment: Segment,
        query: &[(&str, &str)],
    ) -> Result<Vec<FoundInstrument>, Error> {
        let call = self.look_up_call(token, what, segment, query)?;
        self.read_instruments(call).await
    }

    fn look_up_call<'a>(
        &self,
        token: &'a Token,
        what: &str,
        segment: Segment,
        query: &[(&str, &str)],
    ) -> Result<Call<'a>, Error> {
        let mut all = vec![("exchangeSegment", segment.number().to_string())];
        all.extend(query.iter().map(|(name, value)| (*name, (*value).to_owned())));
        self.market_call(token, &format!("/instruments/instrument/{what}"), &all, Path::LookUp)
    }

    fn market_call<'a>(
        &self,
        token: &'a Token,
        path: &str,
        query: &[(&str, String)],
        counted_as: Path,
    ) -> Result<Call<'a>, Error> {
        if token.product != Product::Market {
            return Err(Error::NotConfigured("market data takes a market token".to_owned()));
        }
        let mut url = self.settings.market(path);
        for (name, value) in query {
            add_query(&mut url, name);
            url.push('=');
            push_encoded(&mut url, value);
        }
        Ok(Call::market(Method::GET, url, Some(&token.secret)).on(counted_as))
    }

    async fn interactive_call<'a>(
        &self,
        token: &'a Token,
        path: &str,
        query: &[(&str, &str)],
        counted_as: Path,
    ) -> Result<Call<'a>, Error> {
        if token.product != Product::Interactive {
            return Err(Error::NotConfigured("this takes an interactive token".to_owned()));
        }
        let mut url = self.interactive_base().await?;
        url.push_str(path);
        for (name, value) in query {
            add_query(&mut url, name);
            url.push('=');
            push_encoded(&mut url, value);
        }
        Ok(Call::interactive(Method::GET, url, Some(&token.secret)).on(counted_as))
    }

    async fn read_list<T>(
        &self,
        call: Call<'_>,
        what: &'static str,
        read: fn(Raw<'_>) -> Result<Book<T>, NotABook>,
    ) -> Result<Vec<T>, Error> {
        let answered = self.rest.ask(call, |result| read(result).map_err(|e| unread(e, what))).await;
        match answered {
            Err(Error::Refused { description, .. }) if is_no_data(&description) => Ok(Vec::new()),
            answered => self.take(what, answered?).map(|listing| listing.rows),
        }
    }

    fn tell_bad_rows(&self, what: &'static str, bad: usize, good: usize) {
        if bad > 0 {
            metrics::counter!(
                names::BOOK_UNREADABLE,
                "account" => self.account.to_string(), "book" => what, "what" => "row"
            )
            .increment(bad as u64);
            tracing::warn!(
                account = &*self.account,
                what,
                bad,
                good,
                "rows of the broker's that cannot be read"
            );
        }
    }
}

fn unread(_: NotABook, what: &str) -> Error {
    Error::Malformed(format!("the answer holds no {what}"))
}

fn no_data_is_empty<T>(answered: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    match answered {
        Err(Error::Refused { description, .. }) if is_no_data(&description) => Ok(Vec::new()),
        answered => answered,
    }
}
