use proptest::prelude::*;

use super::*;

/// Wall-clock seconds of a time of 2026-02-10 (a Tuesday), as the broker counts them.
fn wall(day: i64, time: &str) -> i64 {
    let mut parts = time.split(':').map(|part| part.parse::<i64>().unwrap());
    let mut next = || parts.next().unwrap();
    1_770_681_600 + (day - 10) * DAY + next() * 3600 + next() * 60 + next()
}

/// The starts (UTC) that the broker's rows with these stamps are read to.
fn starts(segment: Segment, interval: &str, stamps: &[(i64, &str)]) -> Vec<String> {
    let text: String = stamps.iter().map(|(d, t)| format!("{}|10|12|9|11|5|0|,", wall(*d, t))).collect();
    let read = rows(&text, segment, Interval::parse(interval).unwrap());
    assert_eq!(read.bad, 0);
    read.bars
        .iter()
        .map(|bar| bar.start.in_india().chars().skip(5).take(11).collect::<String>().replace('T', " "))
        .collect()
}

#[test]
fn the_documented_rows() {
    let text = "1770714959|1452|1454.2|1450.1|1453.6|182345|0|,1770715019|1453.6|1455|1453|1454.8|96310|0|";
    let read = rows(text, Segment::NseCash, Interval::minutes(1));
    let times: Vec<String> = read.bars.iter().map(|bar| bar.start.to_string()).collect();
    assert_eq!(times, ["2026-02-10T03:45:00Z", "2026-02-10T03:46:00Z"]);
    assert_eq!((read.bars[0].high.to_string(), read.bars[0].volume), ("1454.2".to_owned(), 182_345));
    assert_eq!((read.bad, read.repeated), (0, 0));
}

#[test]
fn an_interval_of_nothing_is_one_of_a_second() {
    let text = "1770714959|10|12|9|11|5|0|";
    let of = |seconds| rows(text, Segment::NseCash, Interval::Seconds(seconds));
    assert_eq!(of(0), of(1));
    assert_eq!(of(0).bars.len(), 1);
}

#[test]
fn starts_on_either_grid() {
    let nse = Segment::NseCash;
    let s = |interval, stamps: &[(i64, &str)]| starts(nse, interval, stamps).join(" ");
    // Counted from the session's open; the last bar of the day is short.
    let hours = [(10, "10:14:59"), (10, "11:14:59"), (10, "15:29:59")];
    assert_eq!(s("1h", &hours), "02-10 09:15 02-10 10:15 02-10 15:15");
    assert_eq!(s("7m", &[(10, "09:21:59"), (10, "09:28:59")]), "02-10 09:15 02-10 09:22");
    assert_eq!(s("4h", &[(10, "13:14:59"), (10, "15:29:59")]), "02-10 09:15 02-10 13:15");
    // Counted from midnight: the first starts at the open.
    let hours = [(10, "09:59:59"), (10, "10:59:59"), (10, "15:29:59"), (11, "09:59:59")];
    assert_eq!(s("1h", &hours), "02-10 09:15 02-10 10:00 02-10 15:00 02-11 09:15");
    // A market that never closes has bars before it.
    let hours = [(10, "08:59:59"), (10, "09:59:59"), (10, "10:59:59")];
    assert_eq!(s("1h", &hours), "02-10 08:00 02-10 09:00 02-10 10:00");
    assert_eq!(s("1s", &[(10, "09:15:00"), (10, "09:15:01")]), "02-10 09:15 02-10 09:15");
    let mcx = starts(Segment::Mcx, "2h", &[(10, "10:59:59"), (10, "12:59:59")]);
    assert_eq!(mcx, ["02-10 09:00", "02-10 11:00"]);
}

#[test]
fn days_weeks_and_months_start_at_midnight_of_their_first_day() {
    let nse = Segment::NseCash;
    assert_eq!(starts(nse, "D", &[(9, "00:00:00"), (10, "00:00:00")]), ["02-09 00:00", "02-10 00:00"]);
    assert_eq!(starts(nse, "W", &[(3, "00:00:00"), (10, "00:00:00")]), ["02-02 00:00", "02-09 00:00"]);
    assert_eq!(starts(nse, "M", &[(2, "00:00:00")]), ["02-01 00:00"]);
}

#[test]
fn each_bar_once_and_in_order() {
    let text = "1770715019|1|1|1|1|1|0|,1770714959|2|2|2|2|2|0|,1770714930|3|3|3|3|3|0|";
    let read = rows(text, Segment::NseCash, Interval::minutes(1));
    assert_eq!(read.bars.iter().map(|bar| bar.volume).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(read.repeated, 1);
}

#[test]
fn bad_rows_are_counted_and_never_half_read() {
    for bad in [
        "x|1|1|1|1|1|0|",
        "1770714959|NaN|1|1|1|1|0|",
        "1770714959|1|1|1|1|-5|0|",
        "1770714959|1|1|1|1|1.5|0|",
        "1770714959|1|1|2|1|1|0|",
        "1770714959|2|1|1|1|1|0|",
        "1770714959|0|0|0|0|1|0|",
        "1770714959|1|1|1|1|",
        "1770714959|1|1|1|1|1|0|7|",
        "99999999999999999999|1|1|1|1|1|0|",
        "5|1|1|1|1|1|0|",
        "1770714959|1e99|1e99|1|1|1|0|",
    ] {
        let read = rows(&format!("{bad},1770715019|1|1|1|1|1|"), Segment::NseFo, Interval::minutes(1));
        assert_eq!((read.bars.len(), read.bad), (1, 1), "{bad}");
    }
}

#[test]
fn answers_in_every_form() {
    let read = |result: &str| {
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(result).unwrap();
        super::read(Some(&raw), Segment::NseCash, Interval::minutes(1)).map(|read| read.bars.len())
    };
    let row = "1770714959|1|1|1|1|1|0|";
    assert_eq!(read(&format!(r#"{{"dataReponse":"{row}"}}"#)), Ok(1));
    assert_eq!(read(&format!(r#"{{"dataResponse":"{row}"}}"#)), Ok(1));
    for empty in ["{}", "null", "\"\"", "[]", r#"{"dataReponse":""}"#, r#"{"dataReponse":null}"#] {
        assert_eq!(read(empty), Ok(0), "{empty}");
    }
    for none in ["5", r#"{"other":1}"#, r#"{"dataReponse":7}"#, "\"x\""] {
        assert_eq!(read(none), Err(NoHistory), "{none}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_starts_are_distinct_and_sorted(
        text in r"(177071[0-9]{4}|[-0-9.e|,]|NaN|.){0,60}", which in 0_usize..6, at in 0_usize..4,
    ) {
        let interval = ["1s", "7m", "1h", "D"][at];
        let read = rows(&text, Segment::ALL[which], Interval::parse(interval).unwrap());
        prop_assert!(read.bars.windows(2).all(|pair| pair[0].start < pair[1].start));
    }

    #[test]
    fn every_minute_of_a_day_is_read_to_itself(minutes in proptest::collection::btree_set(0_i64..375, 1..50)) {
        let open = wall(10, "09:15:00");
        let text: String =
            minutes.iter().map(|m| format!("{}|1|1|1|1|{m}|0|,", open + m * 60 + 59)).collect();
        let read = rows(&text, Segment::NseCash, Interval::minutes(1));
        let found: Vec<i64> = read.bars.iter().map(|b| (b.start.as_secs() + IST - open) / 60).collect();
        prop_assert_eq!(found, minutes.into_iter().collect::<Vec<_>>());
    }
}
