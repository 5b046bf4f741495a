use proptest::prelude::*;

use super::*;

fn modes(frame: &str) -> Result<(Vec<String>, Mode), &'static str> {
    match parse(frame.as_bytes()) {
        Ok(Command::Subscribe { symbols, mode, .. }) => {
            Ok((symbols.iter().map(|n| format!("{}:{}", n.exchange, n.symbol)).collect(), mode))
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

#[test]
fn every_clients_way_to_subscribe() {
    let one = Ok((vec!["NSE:SBIN".to_owned()], Mode::Ltp));
    for frame in [
        // Python 1.x, Excel, AmiBroker
        r#"{"action":"subscribe","symbol":"SBIN","exchange":"NSE","mode":1,"depth":5}"#,
        // Python 2.x
        r#"{"action":"subscribe","symbols":[{"symbol":"SBIN","exchange":"NSE"}],"mode":1,"depth":5}"#,
        // charts
        r#"{"action":"subscribe","symbol":"SBIN","exchange":"NSE","mode":1,"depth_level":5}"#,
        // React, and the verb under its other name
        r#"{"type":"subscribe","symbols":[{"symbol":"SBIN","exchange":"NSE"}],"mode":" ltp "}"#,
        r#"{"action":"","type":"subscribe","instruments":[{"symbol":"SBIN","exchange":"NSE"}],"mode":"LTP"}"#,
        // The list wins; a per-symbol mode is ignored; incomplete entries are passed over.
        r#"{"action":"subscribe","symbols":[{"symbol":"SBIN","exchange":"NSE","mode":3},{"symbol":"X"}],"symbol":"Y","exchange":"NSE","mode":1}"#,
        // An empty list does not hide the single form.
        r#"{"action":"subscribe","symbols":[],"symbol":"SBIN","exchange":"NSE","mode":1}"#,
    ] {
        assert_eq!(modes(frame), one, "{frame}");
    }
}

#[test]
fn mode_spellings() {
    let with = |mode: &str| {
        modes(&format!(r#"{{"action":"subscribe","symbol":"S","exchange":"NSE"{mode}}}"#)).map(|(_, m)| m)
    };
    assert_eq!(with(""), Ok(Mode::Quote), "absent");
    for (spelling, mode) in [
        ("1", Mode::Ltp),
        ("2", Mode::Quote),
        ("3", Mode::Depth),
        ("\"DEPTH\"", Mode::Depth),
        ("4", Mode::Bar),
        ("\" bar \"", Mode::Bar),
    ] {
        assert_eq!(with(&format!(r#","mode":{spelling}"#)), Ok(mode));
    }
    for spelling in ["0", "5", "-4", "4.0", "\"1\"", "2.0", "true", "null", "\"\"", "\"all\"", "[]", "{}"] {
        assert_eq!(with(&format!(r#","mode":{spelling}"#)), Err("INVALID_MODE"), "{spelling}");
    }
}

#[test]
fn any_positive_depth_will_do() {
    let with = |depth: &str| {
        modes(&format!(r#"{{"action":"subscribe","symbol":"S","exchange":"NSE","mode":3,{depth}}}"#))
            .map(|(_, m)| m)
    };
    for depth in ["\"depth\":5", "\"depth\":\"20\"", "\"depth_level\":50", "\"depth\":null", "\"depth\":1.0"]
    {
        assert_eq!(with(depth), Ok(Mode::Depth), "{depth}");
    }
    for depth in
        ["\"depth\":0", "\"depth_level\":-5", "\"depth\":\"deep\"", "\"depth\":[]", "\"depth\":\"NaN\""]
    {
        assert_eq!(with(depth), Err("INVALID_PARAMETERS"), "{depth}");
    }
    let quotes = r#"{"action":"subscribe","symbol":"S","exchange":"NSE","mode":2,"depth":0}"#;
    assert_eq!(modes(quotes).map(|(_, m)| m), Ok(Mode::Quote), "of no matter where there is no depth");
}

#[test]
fn a_key_is_not_shown_by_its_command() {
    let command = parse(br#"{"action":"authenticate","api_key":"0123456789abcdef"}"#).unwrap();
    assert_eq!(format!("{command:?}"), "authenticate (key given: true)");
}

#[test]
fn unsubscribing_takes_the_mode_from_each_entry() {
    let frame = r#"{"action":"unsubscribe","symbols":[{"symbol":"A","exchange":"NSE","mode":1},{"symbol":"B","exchange":"NSE"}],"mode":3,"request_id":{"n":7}}"#;
    let Ok(Command::Unsubscribe { symbols, request_id }) = parse(frame.as_bytes()) else { panic!() };
    assert_eq!(symbols.iter().map(|(_, m)| *m).collect::<Vec<_>>(), [Mode::Ltp, Mode::Quote]);
    assert_eq!(request_id.unwrap().get(), r#"{"n":7}"#);
    let bars = br#"{"action":"unsubscribe","symbols":[{"symbol":"A","exchange":"NSE","mode":"BAR"},{"symbol":"B","exchange":"NSE","mode":4}]}"#;
    let Ok(Command::Unsubscribe { symbols, .. }) = parse(bars) else { panic!() };
    assert_eq!(symbols.iter().map(|(_, m)| *m).collect::<Vec<_>>(), [Mode::Bar, Mode::Bar]);
    let single = br#"{"action":"unsubscribe","symbol":"A","exchange":"NSE","mode":"x"}"#;
    assert_eq!(parse(single).unwrap_err().code, "INVALID_MODE");
    assert_eq!(parse(br#"{"action":"unsubscribe"}"#).unwrap_err().code, "INVALID_PARAMETERS");
}

#[test]
fn what_is_wrong_is_named() {
    for (frame, code) in [
        ("", "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        ("not json", "INVALID_JSON"),
        ("{}", "INVALID_ACTION"),
        (r#"{"action":7}"#, "INVALID_ACTION"),
        (r#"{"action":"Subscribe"}"#, "INVALID_ACTION"),
        ("[1]", "INVALID_PARAMETERS"),
        (r#"{"action":"subscribe"}"#, "INVALID_PARAMETERS"),
        (r#"{"action":"subscribe","symbols":["NSE:SBIN"]}"#, "INVALID_PARAMETERS"),
        (r#"{"action":"subscribe","symbols":{"symbol":"SBIN"}}"#, "INVALID_PARAMETERS"),
        (r#"{"action":"subscribe","symbol":5,"exchange":"NSE"}"#, "INVALID_PARAMETERS"),
    ] {
        assert_eq!(parse(frame.as_bytes()).unwrap_err().code, code, "{frame}");
    }
    assert_eq!(parse(b"{}").unwrap_err().message, "Invalid action: None");
    let tricky = parse(br#"{"action":"success authenticated"}"#).unwrap_err().message;
    assert!(!tricky.contains("success"), "{tricky}");
}

#[test]
fn the_other_verbs() {
    let key = |frame: &'static str| match parse(frame.as_bytes()) {
        Ok(Command::Authenticate { api_key, .. }) => api_key.map(Cow::into_owned),
        other => panic!("{other:?}"),
    };
    assert_eq!(key(r#"{"action":"authenticate","api_key":"a"}"#).as_deref(), Some("a"));
    assert_eq!(key(r#"{"type":"auth","apikey":"a\u0062"}"#).as_deref(), Some("ab"));
    assert_eq!(key(r#"{"action":"auth","api_key":""}"#), None);
    assert!(matches!(parse(br#"{"action":"pong"}"#), Ok(Command::Pong)));
    assert!(matches!(
        parse(br#"{"action":"unsubscribe_all"}"#),
        Ok(Command::UnsubscribeAll { request_id: None })
    ));
    let Ok(Command::Ping { timestamp, ping_id }) =
        parse(br#"{"action":"ping","timestamp":1.5,"_pingId":"x"}"#)
    else {
        panic!()
    };
    assert_eq!((timestamp.unwrap().get(), ping_id.unwrap().get()), ("1.5", "\"x\""));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&frame);
    }

    #[test]
    fn arbitrary_members_never_panic(verb in "(un)?subscribe|auth|ping|.{0,9}", value in r#"(null|1|"x"|\[\]|\{\}|\[\{"symbol":"A","exchange":3\}\]|.{0,12})"#) {
        for member in ["symbols", "symbol", "mode", "api_key", "request_id", "tickgate"] {
            let _ = parse(format!(r#"{{"action":"{verb}","{member}":{value}}}"#).as_bytes());
        }
    }
}
