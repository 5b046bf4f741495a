//! OpenAlgo's symbols: how consumers name an instrument, written from what the venue calls it.
//! Not the look-up of a symbol: that is `Master`.
//!
//! Source: OpenAlgo's symbol format document, and the renames of its XTS master contract plugins.

use jiff::civil::Date;

use crate::market::{Exchange, InstrumentKind, PRICE_SCALE, Price, Right};

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// NSE's index names that differ in more than blanks and hyphens, already cleaned of those.
const NSE_INDICES: [(&str, &str); 5] = [
    ("NIFTY50", "NIFTY"),
    ("NIFTYBANK", "BANKNIFTY"),
    ("NIFTYFINSERVICE", "FINNIFTY"),
    ("NIFTYMIDSELECT", "MIDCPNIFTY"),
    ("NIFTYNEXT50", "NIFTYNXT50"),
];

/// BSE's short codes, already cleaned of blanks.
const BSE_INDICES: [(&str, &str); 35] = [
    ("SNSX50", "SENSEX50"),
    ("SNXT50", "BSESENSEXNEXT50"),
    ("MID150", "BSE150MIDCAPINDEX"),
    ("LMI250", "BSE250LARGEMIDCAPINDEX"),
    ("MSL400", "BSE400MIDSMALLCAPINDEX"),
    ("AUTO", "BSEAUTO"),
    ("BSECG", "BSECAPITALGOODS"),
    ("CARBON", "BSECARBONEX"),
    ("BSECD", "BSECONSUMERDURABLES"),
    ("CPSE", "BSECPSE"),
    ("DOL100", "BSEDOLLEX100"),
    ("DOL200", "BSEDOLLEX200"),
    ("DOL30", "BSEDOLLEX30"),
    ("ENERGY", "BSEENERGY"),
    ("BSEFMC", "BSEFASTMOVINGCONSUMERGOODS"),
    ("FIN", "BSEFINANCIALSERVICES"),
    ("FINSER", "BSEFINANCIALSERVICES"),
    ("GREENX", "BSEGREENEX"),
    ("BSEHC", "BSEHEALTHCARE"),
    ("INFRA", "BSEINDIAINFRASTRUCTUREINDEX"),
    ("INDSTR", "BSEINDUSTRIALS"),
    ("BSEIT", "BSEINFORMATIONTECHNOLOGY"),
    ("LRGCAP", "BSELARGECAP"),
    ("METAL", "BSEMETAL"),
    ("MIDCAP", "BSEMIDCAP"),
    ("MIDSEL", "BSEMIDCAPSELECTINDEX"),
    ("OILGAS", "BSEOIL&GAS"),
    ("POWER", "BSEPOWER"),
    ("BSEPBI", "BSEPSU"),
    ("REALTY", "BSEREALTY"),
    ("SMLCAP", "BSESMALLCAP"),
    ("SMLSEL", "BSESMALLCAPSELECTINDEX"),
    ("SMEIPO", "BSESMEIPO"),
    ("TECK", "BSETECK"),
    ("TELCOM", "BSETELECOM"),
];

/// What a symbol is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) exchange: Exchange,
    pub(super) kind: InstrumentKind,
    pub(super) name: &'a str,
    /// The last day of a derivative; its year is 2000 to 2099.
    pub(super) expiry: Option<Date>,
    /// An option's strike, above zero.
    pub(super) strike: Price,
}

/// Appends the symbol.
pub(super) fn write(parts: Parts<'_>, out: &mut String) {
    match parts.kind {
        InstrumentKind::Equity => out.push_str(parts.name),
        InstrumentKind::Index => write_index(parts.exchange, parts.name, out),
        InstrumentKind::Future => {
            write_contract(parts, out);
            out.push_str("FUT");
        }
        InstrumentKind::Option(right) => {
            write_contract(parts, out);
            write_strike(parts.strike, out);
            out.push_str(right.as_str());
        }
    }
}

/// `17-FEB-26`, as OpenAlgo shows an expiry.
pub(super) fn expiry_text(date: Date) -> String {
    format!("{:02}-{}-{:02}", date.day(), month(date), date.year() % 100)
}

fn month(date: Date) -> &'static str {
    // A civil date's month is 1 to 12.
    MONTHS[usize::from(date.month().unsigned_abs()) - 1]
}

fn write_index(exchange: Exchange, name: &str, out: &mut String) {
    let start = out.len();
    out.extend(name.chars().filter(|c| !matches!(c, ' ' | '-')).map(|c| c.to_ascii_uppercase()));
    let renames = if exchange == Exchange::BseIndex { &BSE_INDICES[..] } else { &NSE_INDICES[..] };
    if let Some((_, symbol)) = renames.iter().find(|(code, _)| *code == &out[start..]) {
        out.truncate(start);
        out.push_str(symbol);
    }
}

/// Name and `DDMMMYY`.
fn write_contract(parts: Parts<'_>, out: &mut String) {
    out.push_str(parts.name);
    if let Some(expiry) = parts.expiry {
        push_two_digits(expiry.day().unsigned_abs(), out);
        out.push_str(month(expiry));
        push_two_digits((expiry.year().unsigned_abs() % 100) as u8, out);
    }
}

fn push_two_digits(number: u8, out: &mut String) {
    out.push(char::from(b'0' + number / 10 % 10));
    out.push(char::from(b'0' + number % 10));
}

/// `25700`, `292.5`: no trailing zeros, no point where there is nothing behind it.
fn write_strike(strike: Price, out: &mut String) {
    let units = strike.as_nanos().unsigned_abs();
    let (whole, mut part) = (units / PRICE_SCALE as u64, units % PRICE_SCALE as u64);
    out.push_str(itoa::Buffer::new().format(whole));
    if part == 0 {
        return;
    }
    out.push('.');
    let mut divisor = PRICE_SCALE as u64 / 10;
    while part > 0 {
        out.push(char::from(b'0' + (part / divisor) as u8));
        part %= divisor;
        divisor /= 10;
    }
}

impl Right {
    /// As symbols end: `CE` or `PE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "CE",
            Self::Put => "PE",
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn symbol(
        exchange: Exchange,
        kind: InstrumentKind,
        name: &str,
        expiry: Option<Date>,
        strike: &str,
    ) -> String {
        let strike = Price::parse(strike.as_bytes()).unwrap();
        let mut out = String::new();
        write(Parts { exchange, kind, name, expiry, strike }, &mut out);
        out
    }

    #[test]
    fn contracts() {
        let day = Some(date(2024, 4, 25));
        let call = InstrumentKind::Option(Right::Call);
        assert_eq!(symbol(Exchange::Nfo, call, "VEDL", day, "292.50"), "VEDL25APR24292.5CE");
        assert_eq!(
            symbol(Exchange::Nfo, call, "NIFTY", Some(date(2024, 3, 28)), "20800"),
            "NIFTY28MAR2420800CE"
        );
        let put = InstrumentKind::Option(Right::Put);
        assert_eq!(
            symbol(Exchange::Cds, put, "USDINR", Some(date(2024, 5, 9)), "82.0625"),
            "USDINR09MAY2482.0625PE"
        );
        assert_eq!(
            symbol(Exchange::Cds, InstrumentKind::Future, "726GS2033", day, "0"),
            "726GS203325APR24FUT"
        );
        assert_eq!(expiry_text(date(2026, 2, 17)), "17-FEB-26");
        assert_eq!(expiry_text(date(2009, 12, 3)), "03-DEC-09");
    }

    #[test]
    fn indices() {
        for (name, expected) in [
            ("NIFTY 50", "NIFTY"),
            ("Nifty 50", "NIFTY"),
            ("NIFTY BANK", "BANKNIFTY"),
            ("INDIA VIX", "INDIAVIX"),
            ("NIFTY FIN SERVICE", "FINNIFTY"),
            ("NIFTY MID SELECT", "MIDCPNIFTY"),
            ("NIFTY NEXT 50", "NIFTYNXT50"),
            ("HANGSENG BEES-NAV", "HANGSENGBEESNAV"),
            ("NIFTY 100", "NIFTY100"),
            ("NIFTY IT", "NIFTYIT"),
        ] {
            assert_eq!(symbol(Exchange::NseIndex, InstrumentKind::Index, name, None, "0"), expected);
        }
        for (name, expected) in [
            ("SENSEX", "SENSEX"),
            ("BANKEX", "BANKEX"),
            ("SNSX50", "SENSEX50"),
            ("BSE IT", "BSEINFORMATIONTECHNOLOGY"),
            ("BSE CG", "BSECAPITALGOODS"),
            ("OILGAS", "BSEOIL&GAS"),
            ("AUTO", "BSEAUTO"),
            ("BSE100", "BSE100"),
        ] {
            assert_eq!(symbol(Exchange::BseIndex, InstrumentKind::Index, name, None, "0"), expected);
        }
    }
}
