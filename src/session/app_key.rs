//! The end of an app key itself: the broker names its last day at a market login, and after it no
//! login works until the broker issues another. Not the tokens' ends.

use jiff::civil::Date;
use tracing::{error, warn};

use crate::session::shared::Shared;
use crate::token::Product;

/// The day that the broker wrote as `DD-MM-YYYY` (`application_expiry_date` of its answer).
pub(crate) fn parse(text: &str) -> Option<Date> {
    let mut parts = text.trim().splitn(3, '-').map(|part| part.parse::<i16>().ok());
    let (day, month, year) = (parts.next()??, parts.next()??, parts.next()??);
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// Days from `today` to the last day; below zero when it is over.
pub(crate) fn days_left(last: Date, today: Date) -> i32 {
    today.until(last).map_or(i32::MAX, |span| span.get_days())
}

/// Warns of an app key that ends soon.
pub(crate) fn warn_if_near(shared: &Shared, product: Product, last: Option<&str>, today: Date) {
    let Some(text) = last else { return };
    let Some(last) = parse(text) else {
        warn!(%product, text, "the app key's last day cannot be read");
        return;
    };
    let days = days_left(last, today);
    let ahead = i32::try_from(shared.deps.settings.app_key_warning_days).unwrap_or(i32::MAX);
    if days < 0 {
        error!(%product, last_day = text, "the app key has ended; the broker must issue another");
    } else if days <= ahead {
        warn!(%product, last_day = text, days, "the app key ends soon; have the broker issue another");
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_brokers_spelling_is_read_and_days_are_counted() {
        assert_eq!(parse("30-12-2028"), Some(date(2028, 12, 30)));
        for text in ["", "30-13-2028", "2028-12-30", "30/12/2028", "x-1-2", "30-12"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(days_left(date(2026, 3, 1), date(2026, 2, 10)), 19);
        assert_eq!(days_left(date(2026, 2, 10), date(2026, 2, 10)), 0);
        assert_eq!(days_left(date(2026, 2, 9), date(2026, 2, 10)), -1);
    }
}
