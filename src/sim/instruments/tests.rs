use jiff::civil::date;

use super::*;
use crate::market::MasterBuilder;

#[test]
fn the_product_reads_every_instrument_back_under_our_name() {
    for today in [date(2026, 2, 10), date(2026, 11, 23), date(2027, 12, 31), date(2028, 2, 29)] {
        let catalogue = Catalogue::build(today);
        assert!(catalogue.listings().len() > 300, "{}", catalogue.listings().len());
        let mut builder = MasterBuilder::new();
        for segment in Segment::ALL {
            let mut text = String::new();
            catalogue.master(segment, &mut text);
            builder.add_rows(&text);
            for entry in Catalogue::index_list(segment) {
                builder.add_index(i64::from(segment.number()), &entry);
            }
        }
        let (master, report) = builder.finish();
        assert_eq!(report.bad_rows, 0, "{report:?}");
        for listing in catalogue.listings() {
            assert_eq!(
                master.resolve(listing.exchange, &listing.symbol),
                Some(listing.id),
                "{} {} {:?}",
                listing.exchange,
                listing.symbol,
                listing.row
            );
            assert_eq!(
                catalogue.position(listing.id).map(|i| &catalogue.listings()[i].symbol),
                Some(&listing.symbol)
            );
        }
    }
}

#[test]
fn contracts_expire_in_the_future_and_numbers_are_unique() {
    let mut today = date(2026, 1, 1);
    while today < date(2027, 3, 1) {
        let catalogue = Catalogue::build(today);
        assert_eq!(
            catalogue.by_id.len(),
            catalogue.listings().len(),
            "{today}: two instruments share a number"
        );
        let mut names: Vec<_> = catalogue.listings().iter().map(|l| (l.exchange, &l.symbol)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), catalogue.listings().len(), "{today}: two instruments share a name");
        for listing in catalogue.listings() {
            if let Kind::Future { days, .. } | Kind::Option { days, .. } = listing.kind {
                assert!(days > 0, "{today} {}", listing.symbol);
            }
            assert!(listing.previous_close >= listing.tick, "{}", listing.symbol);
            assert_eq!(listing.previous_close.as_nanos() % listing.tick.as_nanos(), 0, "{}", listing.symbol);
        }
        today = today.tomorrow().unwrap();
    }
}

#[test]
fn rows_look_like_the_documented_samples() {
    let catalogue = Catalogue::build(date(2026, 2, 10));
    let row = |exchange, symbol: &str| {
        let found = catalogue.listings().iter().find(|l| l.exchange == exchange && l.symbol == symbol);
        found.and_then(|l| l.row.clone()).unwrap_or_else(|| panic!("no {symbol}"))
    };
    assert_eq!(
        row(Exchange::Nse, "RELIANCE"),
        "NSECM|2885|8|RELIANCE|RELIANCE-EQ|EQ|RELIANCE-EQ|1100100002885|1595|1305|689655|0.1|1|1|RELIANCE|INE002A01018|1|1|RELIANCE INDUSTRIES LTD-EQ|0|1|1"
    );
    let option = row(Exchange::Nfo, "NIFTY17FEB2625700PE");
    assert!(option.contains("|NIFTY2621725700PE|OPTIDX|NIFTY-OPTIDX|260480004"), "{option}");
    assert!(option.ends_with(
        "|-1|Nifty 50|2026-02-17T14:30:00|25700|4|NIFTY 17FEB2026 PE 25700|1|1|NIFTY2621725700PE"
    ));
    assert_eq!(option.matches('|').count(), 22);
    let future = row(Exchange::Nfo, "NIFTY24FEB26FUT");
    assert!(future.ends_with("|2026-02-24T14:30:00|NIFTY 24FEB2026|1|1|NIFTY26FEBFUT"), "{future}");
    assert_eq!(future.matches('|').count(), 20);
    assert!(row(Exchange::Nfo, "ITC24FEB26412.5CE").contains("|412.5|3|"));
    assert_eq!(
        row(Exchange::BseIndex, "SENSEX"),
        "BSECM|1|16|SENSEX|SENSEX|SPOT|SENSEX-SPOT|11100100000001|0|0|1|0.01|1|1|SENSEX||1|1|SENSEX|0|1|1"
    );
}

#[test]
fn options_keep_parity_with_their_spot() {
    let (spot, strike) = (Price::from_rupees(25_867), Price::from_rupees(25_700));
    let call = fair_option(spot, strike, Right::Call, 7, paise(5));
    let put = fair_option(spot, strike, Right::Put, 7, paise(5));
    assert_eq!(call.as_nanos() - put.as_nanos(), spot.as_nanos() - strike.as_nanos());
    assert!(put > paise(100));
}
