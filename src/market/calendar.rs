//! When each exchange trades, and daily times of day in IST whatever the machine's zone.
//! Not a timer: callers ask with a time they hold.
//!
//! Hours come from the exchanges' market timings. Holidays and special sessions are known for
//! 2026; in other years only weekends count as closed ([`Calendar::knows`]). Not known: the
//! additional bank holidays of the currency segment, and the Diwali evening session of
//! 8 November 2026, whose time is announced only shortly before. Such days a process is told by
//! its configuration ([`install`]).

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use jiff::civil::{Date, Weekday, date};
use jiff::tz::Offset;

use crate::clock::UnixNanos;
use crate::market::Exchange;

/// IST is UTC+05:30 all year round.
pub const IST_OFFSET_SECS: i64 = 5 * 3600 + 30 * 60;
const DAY_SECS: i64 = 86_400;

/// Whether an exchange trades at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarketState {
    /// Orders are collected and matched before continuous trading.
    PreOpen,
    /// Continuous trading.
    Open,
    /// The session at the closing price, after continuous trading.
    Closing,
    /// Nothing trades.
    Closed,
}

impl MarketState {
    /// As status pages show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreOpen => "pre_open",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for MarketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not `HH:MM` within one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day as HH:MM")]
pub struct BadTimeOfDay;

/// A time of day in whole minutes, in IST wherever it meets a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// From hour and minute; `None` if there is no such time.
    pub const fn new(hour: u16, minute: u16) -> Option<Self> {
        if hour < 24 && minute < 60 { Some(Self(hour * 60 + minute)) } else { None }
    }

    /// Minutes since midnight.
    pub const fn minutes(self) -> u16 {
        self.0
    }

    /// Seconds since midnight.
    pub const fn secs(self) -> i64 {
        self.0 as i64 * 60
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = BadTimeOfDay;

    /// Parses `HH:MM`, both with two digits.
    fn from_str(text: &str) -> Result<Self, BadTimeOfDay> {
        let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
        let parse = || {
            let [h1, h2, b':', m1, m2] = *text.as_bytes() else { return None };
            Self::new(digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?)
        };
        parse().ok_or(BadTimeOfDay)
    }
}

/// One exchange's trading on one day, in IST. A session includes its start, not its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Start of the pre-open session, which lasts until `open`, where there is one.
    pub pre_open: Option<TimeOfDay>,
    /// Start of continuous trading.
    pub open: TimeOfDay,
    /// End of continuous trading.
    pub close: TimeOfDay,
    /// Start and end of the session at the closing price, where there is one.
    pub closing: Option<(TimeOfDay, TimeOfDay)>,
}

impl Session {
    const fn continuous(open: TimeOfDay, close: TimeOfDay) -> Self {
        Self { pre_open: None, open, close, closing: None }
    }

    fn state_at(&self, time: TimeOfDay) -> MarketState {
        if self.open <= time && time < self.close {
            MarketState::Open
        } else if self.pre_open.is_some_and(|from| from <= time && time < self.open) {
            MarketState::PreOpen
        } else if self.closing.is_some_and(|(from, to)| from <= time && time < to) {
            MarketState::Closing
        } else {
            MarketState::Closed
        }
    }
}

/// A day on which an exchange keeps other hours than the built-in calendar says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialDay {
    /// Which exchange; its indices follow it.
    pub exchange: Exchange,
    /// The day in India.
    pub date: Date,
    /// Its session; `None`: closed.
    pub session: Option<Session>,
    /// Why, for people.
    pub why: Box<str>,
}

/// The special days of this process.
static INSTALLED: OnceLock<Vec<SpecialDay>> = OnceLock::new();

/// Makes these the special days of this process, for [`Calendar::installed`]. Once, before anything
/// asks; whether it was the first time.
pub fn install(days: Vec<SpecialDay>) -> bool {
    INSTALLED.set(days).is_ok()
}

/// When the exchanges trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    always_open: bool,
    special: &'static [SpecialDay],
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new()
    }
}

impl Calendar {
    /// The exchanges' own hours and holidays.
    pub const fn new() -> Self {
        Self::with(&[])
    }

    /// The same with days that are otherwise.
    pub const fn with(special: &'static [SpecialDay]) -> Self {
        Self { always_open: false, special }
    }

    /// The same with the special days of this process.
    pub fn installed() -> Self {
        Self::with(INSTALLED.get().map_or(&[], Vec::as_slice))
    }

    fn special(&self, exchange: Exchange, date: Date) -> Option<&'static SpecialDay> {
        let exchange = exchange.segment().exchange();
        self.special.iter().find(|day| day.date == date && day.exchange == exchange)
    }

    /// Every exchange open at every hour of every day, as a simulated broker may be.
    pub const fn always_open() -> Self {
        Self { always_open: true, special: &[] }
    }

    /// Whether this calendar knows the holidays of `year`.
    pub const fn knows(&self, year: i16) -> bool {
        self.always_open || year == 2026
    }

    /// Whether `exchange` trades at `now`.
    pub fn state(&self, exchange: Exchange, now: UnixNanos) -> MarketState {
        if self.always_open {
            return MarketState::Open;
        }
        self.session(exchange, ist_date(now))
            .map_or(MarketState::Closed, |session| session.state_at(ist_time_of_day(now)))
    }

    /// Whether the equity markets (NSE, BSE) trade on `date`.
    pub fn is_trading_day(&self, date: Date) -> bool {
        self.trades_on(Exchange::Nse, date)
    }

    /// Whether `exchange` trades on `date`, be it for part of the day.
    pub fn trades_on(&self, exchange: Exchange, date: Date) -> bool {
        self.always_open || self.session(exchange, date).is_some()
    }

    /// The sessions of `exchange` on `date` by its own hours; `None` if it does not trade.
    pub fn session(&self, exchange: Exchange, date: Date) -> Option<Session> {
        self.special(exchange, date).map_or_else(|| session(exchange, date), |day| day.session)
    }

    /// When `exchange` opens on `date`: by its session, or where the calendar knows none (a special session it has
    /// not heard of), when it usually does.
    pub fn usual_open(&self, exchange: Exchange, date: Date) -> TimeOfDay {
        let minutes = if matches!(exchange, Exchange::Cds | Exchange::Mcx) { 9 * 60 } else { 9 * 60 + 15 };
        self.session(exchange, date).map_or(TimeOfDay(minutes), |session| session.open)
    }

    /// Name of the holiday that closes the equity markets on `date`.
    pub fn holiday(&self, date: Date) -> Option<&'static str> {
        match self.special(Exchange::Nse, date) {
            Some(day) => day.session.is_none().then_some(&*day.why),
            None => holiday(date).map(|holiday| holiday.name),
        }
    }
}

/// The date in IST.
pub fn ist_date(now: UnixNanos) -> Date {
    // Shifted by the offset, UTC's calendar reads as IST's.
    let shifted = UnixNanos::from_secs(now.as_secs() + IST_OFFSET_SECS);
    Offset::UTC.to_datetime(shifted.timestamp()).date()
}

/// The start of a day in IST.
pub fn ist_midnight(day: Date) -> UnixNanos {
    let days = i64::from((day - date(1970, 1, 1)).get_days());
    UnixNanos::from_secs(days * DAY_SECS - IST_OFFSET_SECS)
}

/// The time of day in IST, seconds cut off.
pub fn ist_time_of_day(now: UnixNanos) -> TimeOfDay {
    let seconds = (now.as_secs() + IST_OFFSET_SECS).rem_euclid(DAY_SECS);
    TimeOfDay((seconds / 60) as u16)
}

/// The latest moment at `time` IST that is not after `now`: the last daily cut-off.
pub fn last_cutoff(now: UnixNanos, time: TimeOfDay) -> UnixNanos {
    let midnight = (now.as_secs() + IST_OFFSET_SECS).div_euclid(DAY_SECS) * DAY_SECS - IST_OFFSET_SECS;
    let today = midnight + time.secs();
    UnixNanos::from_secs(if today <= now.as_secs() { today } else { today - DAY_SECS })
}

/// The first moment at `time` IST after `now`.
pub fn next_at(now: UnixNanos, time: TimeOfDay) -> UnixNanos {
    UnixNanos::from_secs(last_cutoff(now, time).as_secs() + DAY_SECS)
}

/// A day on which the equity, derivatives and currency markets stay closed.
struct Holiday {
    date: Date,
    name: &'static str,
    /// Whether MCX trades from 17:00 on that day.
    mcx_evening: bool,
}

const fn holiday_on(month: i8, day: i8, name: &'static str, mcx_evening: bool) -> Holiday {
    Holiday { date: date(2026, month, day), name, mcx_evening }
}

/// Source of the dates: the NSE and BSE holiday list for 2026, and their circulars of 12 January
/// 2026 for the election day. Source of the MCX evenings: the MCX holiday calendar for 2026, as
/// published by CNBC Awaaz on 30 December 2025.
const HOLIDAYS: [Holiday; 16] = [
    holiday_on(1, 15, "Municipal elections in Maharashtra", true),
    holiday_on(1, 26, "Republic Day", false),
    holiday_on(3, 3, "Holi", true),
    holiday_on(3, 26, "Ram Navami", true),
    holiday_on(3, 31, "Mahavir Jayanti", true),
    holiday_on(4, 3, "Good Friday", false),
    holiday_on(4, 14, "Ambedkar Jayanti", true),
    holiday_on(5, 1, "Maharashtra Day", true),
    holiday_on(5, 28, "Bakri Id", true),
    holiday_on(6, 26, "Muharram", true),
    holiday_on(9, 14, "Ganesh Chaturthi", true),
    holiday_on(10, 2, "Gandhi Jayanti", false),
    holiday_on(10, 20, "Dussehra", true),
    holiday_on(11, 10, "Diwali Balipratipada", true),
    holiday_on(11, 24, "Guru Nanak Jayanti", true),
    holiday_on(12, 25, "Christmas", false),
];

/// A Sunday on which equities and derivatives traded their usual hours and MCX its morning.
/// Source: NSE, BSE and MCX circulars of January 2026. They do not name the currency segment.
const BUDGET_SUNDAY: Date = date(2026, 2, 1);

/// New Year's Day: MCX trades the morning only; the others trade. Source: MCX holiday calendar.
const NEW_YEAR: Date = date(2026, 1, 1);

const T0900: TimeOfDay = TimeOfDay(9 * 60);
const T0915: TimeOfDay = TimeOfDay(9 * 60 + 15);
const T1530: TimeOfDay = TimeOfDay(15 * 60 + 30);
const T1540: TimeOfDay = TimeOfDay(15 * 60 + 40);
const T1600: TimeOfDay = TimeOfDay(16 * 60);
const T1700: TimeOfDay = TimeOfDay(17 * 60);
const T2330: TimeOfDay = TimeOfDay(23 * 60 + 30);
const T2355: TimeOfDay = TimeOfDay(23 * 60 + 55);

const CASH: Session =
    Session { pre_open: Some(T0900), open: T0915, close: T1530, closing: Some((T1540, T1600)) };

fn holiday(date: Date) -> Option<&'static Holiday> {
    HOLIDAYS.iter().find(|holiday| holiday.date == date)
}

fn session(exchange: Exchange, date: Date) -> Option<Session> {
    let weekend = matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
    if weekend && date != BUDGET_SUNDAY {
        return None;
    }
    let holiday = holiday(date);
    match exchange {
        Exchange::Nse | Exchange::Bse | Exchange::NseIndex | Exchange::BseIndex => {
            holiday.is_none().then_some(CASH)
        }
        Exchange::Nfo | Exchange::Bfo => holiday.is_none().then_some(Session::continuous(T0915, T1530)),
        Exchange::Cds => (holiday.is_none() && !weekend).then_some(Session::continuous(T0900, T1700)),
        Exchange::Mcx => mcx_session(date, holiday),
    }
}

fn mcx_session(date: Date, holiday: Option<&Holiday>) -> Option<Session> {
    if date == BUDGET_SUNDAY || date == NEW_YEAR {
        return Some(Session::continuous(T0900, T1700));
    }
    // The evening follows the New York markets.
    let close = if is_summer_time_in_usa(date) { T2330 } else { T2355 };
    match holiday {
        None => Some(Session::continuous(T0900, close)),
        Some(holiday) => holiday.mcx_evening.then_some(Session::continuous(T1700, close)),
    }
}

/// From the second Sunday of March to the first Sunday of November.
fn is_summer_time_in_usa(date: Date) -> bool {
    let from = |nth| date.nth_weekday_of_month(nth, Weekday::Sunday).is_ok_and(|sunday| date >= sunday);
    match date.month() {
        3 => from(2),
        4..=10 => true,
        11 => !from(1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(date: Date, time: &str) -> UnixNanos {
        let civil = date.to_datetime(jiff::civil::Time::midnight());
        let midnight = Offset::UTC.to_timestamp(civil).unwrap().as_second() - IST_OFFSET_SECS;
        UnixNanos::from_secs(midnight + time.parse::<TimeOfDay>().unwrap().secs())
    }

    #[track_caller]
    fn check(exchange: Exchange, day: Date, expected: &[(&str, &str)]) {
        for (time, state) in expected {
            let found = Calendar::new().state(exchange, at(day, time)).as_str();
            assert_eq!(found, *state, "{exchange} on {day} at {time}");
        }
    }

    #[test]
    fn a_usual_day() {
        let tuesday = date(2026, 2, 10);
        check(
            Exchange::Nse,
            tuesday,
            &[
                ("08:59", "closed"),
                ("09:00", "pre_open"),
                ("09:15", "open"),
                ("15:29", "open"),
                ("15:30", "closed"),
                ("15:40", "closing"),
                ("16:00", "closed"),
            ],
        );
        check(Exchange::BseIndex, tuesday, &[("09:14", "pre_open"), ("12:00", "open")]);
        check(Exchange::Nfo, tuesday, &[("09:14", "closed"), ("09:15", "open"), ("15:45", "closed")]);
        check(Exchange::Cds, tuesday, &[("09:00", "open"), ("16:59", "open"), ("17:00", "closed")]);
        check(Exchange::Mcx, tuesday, &[("08:59", "closed"), ("09:00", "open"), ("23:54", "open")]);
    }

    #[test]
    fn mcx_closes_earlier_in_the_summer_of_the_usa() {
        // Summer time in the USA: 8 March to 1 November 2026.
        for (day, last) in [
            (date(2026, 3, 6), "23:54"),
            (date(2026, 3, 9), "23:29"),
            (date(2026, 7, 1), "23:29"),
            (date(2026, 10, 30), "23:29"),
            (date(2026, 11, 2), "23:54"),
        ] {
            let session = Calendar::new().session(Exchange::Mcx, day).unwrap();
            assert_eq!(session.close.minutes() - 1, last.parse::<TimeOfDay>().unwrap().minutes(), "{day}");
        }
    }

    #[test]
    fn holidays_weekends_and_special_sessions() {
        let calendar = Calendar::new();
        let holi = date(2026, 3, 3);
        assert_eq!(calendar.holiday(holi), Some("Holi"));
        assert!(!calendar.is_trading_day(holi));
        check(Exchange::Nse, holi, &[("12:00", "closed")]);
        check(Exchange::Mcx, holi, &[("12:00", "closed"), ("17:00", "open"), ("23:54", "open")]);
        check(Exchange::Mcx, date(2026, 12, 25), &[("12:00", "closed"), ("20:00", "closed")]);
        check(Exchange::Mcx, NEW_YEAR, &[("12:00", "open"), ("17:00", "closed")]);
        check(Exchange::Nse, NEW_YEAR, &[("12:00", "open")]);

        assert!(!calendar.is_trading_day(date(2026, 2, 7)), "a Saturday");
        assert!(calendar.is_trading_day(BUDGET_SUNDAY));
        check(Exchange::Nfo, BUDGET_SUNDAY, &[("12:00", "open")]);
        check(Exchange::Mcx, BUDGET_SUNDAY, &[("16:59", "open"), ("17:00", "closed")]);
        check(Exchange::Cds, BUDGET_SUNDAY, &[("12:00", "closed")]);
        assert!(calendar.knows(2026) && !calendar.knows(2027));
    }

    #[test]
    fn a_special_day_is_the_one_it_says_and_no_other() {
        let day = |exchange, date, session| SpecialDay { exchange, date, session, why: "a reason".into() };
        let evening = Session::continuous(TimeOfDay(18 * 60 + 15), TimeOfDay(19 * 60 + 15));
        let (diwali, tuesday) = (date(2026, 11, 8), date(2026, 2, 10));
        let days = vec![
            day(Exchange::Nse, diwali, Some(Session { pre_open: Some(T1700), ..evening })),
            day(Exchange::Nse, tuesday, None),
        ];
        let calendar = Calendar::with(days.leak());
        let state = |exchange, day, time| calendar.state(exchange, at(day, time)).as_str();
        assert_eq!(state(Exchange::Nse, diwali, "18:14"), "pre_open");
        assert_eq!(state(Exchange::NseIndex, diwali, "18:15"), "open");
        assert_eq!(state(Exchange::Nse, diwali, "19:15"), "closed");
        assert_eq!(state(Exchange::Bse, diwali, "18:30"), "closed", "it was not named");
        assert!(calendar.is_trading_day(diwali) && !calendar.is_trading_day(tuesday));
        assert_eq!(calendar.usual_open(Exchange::Nse, diwali), evening.open);
        assert_eq!(state(Exchange::Nse, tuesday, "12:00"), "closed");
        assert_eq!(state(Exchange::Nfo, tuesday, "12:00"), "open");
        assert_eq!((calendar.holiday(tuesday), calendar.holiday(diwali)), (Some("a reason"), None));
        assert!(!Calendar::installed().is_trading_day(diwali), "nothing is installed here");
    }

    #[test]
    fn every_holiday_falls_on_a_weekday() {
        for holiday in &HOLIDAYS {
            let day = holiday.date.weekday();
            assert!(!matches!(day, Weekday::Saturday | Weekday::Sunday), "{}", holiday.name);
        }
        assert_eq!(BUDGET_SUNDAY.weekday(), Weekday::Sunday);
    }

    #[test]
    fn a_simulated_market_never_closes() {
        let calendar = Calendar::always_open();
        let sunday_night = at(date(2026, 3, 8), "03:00");
        assert_eq!(calendar.state(Exchange::Nse, sunday_night), MarketState::Open);
        assert!(calendar.is_trading_day(ist_date(sunday_night)));
    }

    #[test]
    fn dates_change_at_midnight_in_ist() {
        // 18:30 UTC is midnight in IST.
        let midnight = UnixNanos::from_secs(1_770_748_200);
        assert_eq!(midnight.to_string(), "2026-02-10T18:30:00Z");
        assert_eq!(ist_date(midnight), date(2026, 2, 11));
        assert_eq!(ist_date(UnixNanos::from_nanos(midnight.as_nanos() - 1)), date(2026, 2, 10));
        assert_eq!(ist_time_of_day(midnight).to_string(), "00:00");
    }

    #[test]
    fn the_cut_off_before_and_after() {
        let cutoff: TimeOfDay = "03:00".parse().unwrap();
        let (day, before) = (date(2026, 2, 10), date(2026, 2, 9));
        assert_eq!(last_cutoff(at(day, "08:40"), cutoff), at(day, "03:00"));
        assert_eq!(last_cutoff(at(day, "03:00"), cutoff), at(day, "03:00"));
        assert_eq!(last_cutoff(at(day, "02:59"), cutoff), at(before, "03:00"));
        assert_eq!(next_at(at(day, "03:00"), cutoff), at(date(2026, 2, 11), "03:00"));
        assert_eq!(next_at(at(day, "02:59"), cutoff), at(day, "03:00"));
    }

    #[test]
    fn times_of_day() {
        assert_eq!("08:40".parse::<TimeOfDay>().unwrap().to_string(), "08:40");
        for text in ["", "8:40", "24:00", "23:60", "08:40:00", "ab:cd", "+8:40", "०८:४०"] {
            assert_eq!(text.parse::<TimeOfDay>(), Err(BadTimeOfDay), "{text}");
        }
    }

    proptest! {
        #[test]
        fn cut_offs_enclose_any_moment(nanos in any::<i64>(), minutes in 0_u16..1440) {
            // One day of room at each end of the range.
            let now = UnixNanos::from_nanos(nanos.clamp(i64::MIN / 2, i64::MAX / 2));
            let time = TimeOfDay(minutes);
            let (last, next) = (last_cutoff(now, time), next_at(now, time));
            prop_assert!(last <= now && now < next);
            prop_assert_eq!(ist_time_of_day(last), time);
            prop_assert_eq!(next.as_secs() - last.as_secs(), DAY_SECS);
        }

        #[test]
        fn any_moment_has_a_state(nanos in any::<i64>()) {
            for exchange in Exchange::ALL {
                let _ = Calendar::new().state(exchange, UnixNanos::from_nanos(nanos));
            }
        }
    }
}
