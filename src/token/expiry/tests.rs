use base64::Engine;
use proptest::prelude::*;

use super::*;

/// 2026-02-10 08:40:00 IST, a Tuesday.
const LOGIN: UnixNanos = UnixNanos::from_secs(1_770_693_000);
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

fn jwt(claims: &str) -> String {
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(claims), part("no real signature"))
}

fn rules() -> Rules {
    Rules { cutoff: "03:00".parse().unwrap(), margin: Duration::from_mins(5), opaque: Opaque::Expired }
}

fn after(start: UnixNanos, secs: u64) -> UnixNanos {
    start.plus(Duration::from_secs(secs))
}

/// A token issued at `issued` that says it ends `life` seconds later.
fn lasting(issued: UnixNanos, life: u64) -> Facts {
    let claims = Claims { end: Claim::At(after(issued, life)), lifetime: Some(Duration::from_secs(life)) };
    Facts { issued_at: issued, claims, origin: Origin::Store }
}

fn ist(text: &str) -> UnixNanos {
    let at: jiff::Timestamp = format!("{text}+05:30").parse().unwrap();
    UnixNanos::from_secs(at.as_second())
}

#[test]
fn the_end_is_read_from_claims_of_any_make() {
    let end = UnixNanos::from_secs(1_770_780_600);
    let check = |claims: &str, expected: Claim| assert_eq!(read_exp(&jwt(claims)), expected, "{claims}");
    check(
        r#"{"userID":"TEST01_0F1E2D3C4B5A69788796A5","publicKey":"0f1e2d3c4b5a69788796a5","iat":1770694200,"exp":1770780600}"#,
        Claim::At(end),
    );
    check(r#"{"exp":1770780600.9}"#, Claim::At(end));
    check(r#"{"exp":"1770780600"}"#, Claim::At(end));
    check(r#"{"exp":0}"#, Claim::At(UnixNanos::ZERO));
    check(r#"{"exp":1e300}"#, Claim::At(UnixNanos::from_secs(i64::MAX)));
    check(r#"{"iat":1770694200}"#, Claim::None);
    check(r#"{"exp":null}"#, Claim::None);
    check("{}", Claim::None);
    check(r#"{"exp":"tomorrow"}"#, Claim::NotJwt);
    check(r#"{"exp":{"in":3}}"#, Claim::NotJwt);
    check("[]", Claim::NotJwt);
    check("not json", Claim::NotJwt);
}

#[test]
fn what_is_no_jwt_is_opaque() {
    for text in ["", "opaque-session-token", "a.b", "a.b.c", "..", "a.b.c.d", "a.b.c.d.e", "é.é.é"] {
        assert_eq!(read_exp(text), Claim::NotJwt, "{text}");
    }
}

#[test]
fn the_lifetime_is_the_brokers_own() {
    let claims = read_claims(&jwt(r#"{"iat":1770694200,"exp":1770780600}"#));
    assert_eq!(claims.lifetime, Some(Duration::from_hours(24)));
    assert_eq!(read_claims(&jwt(r#"{"iat":9,"exp":3}"#)).lifetime, None);
    assert_eq!(read_claims(&jwt(r#"{"exp":3}"#)).lifetime, None);
}

#[test]
fn the_cut_off_is_in_india_whatever_the_machines_zone() {
    let three: CutOff = "03:00".parse().unwrap();
    let check = |now: &str, last: &str| {
        assert_eq!(three.last(ist(now)), ist(last), "{now}");
        assert_eq!(three.next(ist(now)), after(ist(last), 24 * HOUR), "{now}");
    };
    check("2026-02-10T02:59:59", "2026-02-09T03:00:00");
    check("2026-02-10T03:00:00", "2026-02-10T03:00:00");
    check("2026-02-10T23:59:59", "2026-02-10T03:00:00");
    check("2026-03-01T00:00:00", "2026-02-28T03:00:00");
    // 05:29 in India is the day before in UTC.
    check("2026-02-10T05:29:00", "2026-02-10T03:00:00");
    let midnight: CutOff = "00:00".parse().unwrap();
    assert_eq!(midnight.last(ist("2026-02-10T00:00:00")), ist("2026-02-10T00:00:00"));
    let late: CutOff = "23:59".parse().unwrap();
    assert_eq!(late.last(ist("2026-02-10T12:00:00")), ist("2026-02-09T23:59:00"));
    assert_eq!(late.to_string(), "23:59");
}

#[test]
fn other_texts_are_no_time_of_day() {
    for text in ["", "3:00", "03:0", "24:00", "03:60", "03-00", "+3:00", "03:00:00", "aa:bb", " 03:00"] {
        assert_eq!(text.parse::<CutOff>(), Err(NotATime), "{text}");
    }
}

#[test]
fn a_days_token_lives_until_the_cut_off_and_is_never_renewed_by_plan() {
    let (rules, token) = (rules(), lasting(LOGIN, 24 * HOUR));
    let cutoff = ist("2026-02-11T03:00:00");
    assert_eq!(rules.dies_at(&token), cutoff);
    assert_eq!(rules.renew_at(&token), None);
    assert_eq!(rules.verdict(&token, LOGIN), Verdict::Usable);
    assert_eq!(rules.verdict(&token, cutoff.minus(Duration::from_nanos(1))), Verdict::Usable);
    assert_eq!(rules.verdict(&token, cutoff), Verdict::Dead(Cause::CutOff));
}

#[test]
fn a_shorter_token_is_given_up_a_margin_before_its_end() {
    let (rules, token) = (rules(), lasting(LOGIN, HOUR));
    let due = after(LOGIN, HOUR - 5 * MINUTE);
    assert_eq!(rules.dies_at(&token), after(LOGIN, HOUR));
    assert_eq!(rules.renew_at(&token), Some(due));
    assert_eq!(rules.verdict(&token, due.minus(Duration::from_nanos(1))), Verdict::Usable);
    assert_eq!(rules.verdict(&token, due), Verdict::Dead(Cause::Ended));
}

#[test]
fn the_margin_does_not_fire_in_the_hour_before_a_cut_off() {
    let rules = rules();
    let cutoff = ist("2026-02-11T03:00:00");
    for minutes_before in [50, 10, 1] {
        let end = cutoff.minus(Duration::from_mins(minutes_before));
        let token = lasting(LOGIN, end.since(LOGIN).as_secs());
        assert_eq!(rules.renew_at(&token), None);
        assert_eq!(rules.verdict(&token, end.minus(Duration::from_secs(1))), Verdict::Usable);
        assert_eq!(rules.verdict(&token, end), Verdict::Dead(Cause::Ended));
    }
    let end = cutoff.minus(Duration::from_mins(56));
    let token = lasting(LOGIN, end.since(LOGIN).as_secs());
    assert_eq!(rules.renew_at(&token), Some(cutoff.minus(Duration::from_mins(61))));
}

#[test]
fn a_large_margin_does_not_bring_a_second_login_of_the_day() {
    let rules = Rules { margin: Duration::from_hours(7), ..rules() };
    let token = lasting(LOGIN, 24 * HOUR);
    assert_eq!(rules.renew_at(&token), None);
    assert_eq!(rules.verdict(&token, ist("2026-02-11T02:30:00")), Verdict::Usable);
}

#[test]
fn an_opaque_token_is_used_when_fresh_and_by_policy_when_stored() {
    let claims = Claims { end: Claim::NotJwt, lifetime: None };
    let fresh = Facts { issued_at: LOGIN, claims, origin: Origin::Login };
    let stored = Facts { origin: Origin::Store, ..fresh };
    let now = after(LOGIN, HOUR);
    assert_eq!(rules().verdict(&fresh, now), Verdict::Usable);
    assert_eq!(rules().verdict(&stored, now), Verdict::Dead(Cause::Opaque));
    let trusting = Rules { opaque: Opaque::Trust, ..rules() };
    assert_eq!(trusting.verdict(&stored, now), Verdict::Usable);
    for rules in [rules(), trusting] {
        let cutoff = ist("2026-02-11T03:00:00");
        assert_eq!(rules.verdict(&fresh, cutoff), Verdict::Dead(Cause::CutOff));
        assert_eq!(rules.dies_at(&stored), cutoff);
        assert_eq!(rules.renew_at(&fresh), None);
    }
}

#[test]
fn a_jwt_without_an_end_is_valid_until_cut_off() {
    let token = Facts::of(&jwt("{}"), LOGIN, Origin::Store);
    assert_eq!(rules().verdict(&token, ist("2026-02-11T02:59:59")), Verdict::Usable);
    assert_eq!(rules().verdict(&token, ist("2026-02-11T03:00:00")), Verdict::Dead(Cause::CutOff));
}

#[test]
fn a_clock_that_is_behind_does_not_stretch_a_token() {
    // The broker's clock is two hours ahead of ours, and gives the token one hour.
    let claims = Claims { end: Claim::At(after(LOGIN, 3 * HOUR)), lifetime: Some(Duration::from_secs(HOUR)) };
    let token = Facts { issued_at: LOGIN, claims, origin: Origin::Store };
    assert_eq!(rules().dies_at(&token), after(LOGIN, HOUR));
}

#[test]
fn a_clock_that_is_ahead_does_not_lead_to_a_login_loop() {
    // By our clock the token was dead when it came.
    let claims = Claims { end: Claim::At(LOGIN.minus(Duration::from_hours(1))), lifetime: None };
    let token = Facts { issued_at: LOGIN, claims, origin: Origin::Login };
    assert_eq!(rules().verdict(&token, after(LOGIN, HOUR)), Verdict::Usable);
    assert_eq!(rules().renew_at(&token), None);
    // Found in the store it is not believed.
    let stored = Facts { origin: Origin::Store, ..token };
    assert_eq!(rules().verdict(&stored, after(LOGIN, HOUR)), Verdict::Dead(Cause::Ended));
}

#[test]
fn a_stored_token_of_yesterday_is_dead_today() {
    let token = lasting(ist("2026-02-10T02:59:59"), 24 * HOUR);
    assert_eq!(rules().verdict(&token, ist("2026-02-10T08:40:00")), Verdict::Dead(Cause::CutOff));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,80}", claims in ".{0,80}") {
        read_claims(&text);
        read_claims(&jwt(&claims));
    }

    /// Once dead, always dead; usable before it is due; dead when it dies.
    #[test]
    fn a_token_dies_once(life in 1_u64..200_000, margin in 0_u64..20_000, issued in 0_u64..86_400, fresh: bool, step in 60_u64..5_000) {
        let rules = Rules { margin: Duration::from_secs(margin), ..rules() };
        let issued = after(LOGIN, issued);
        let origin = if fresh { Origin::Login } else { Origin::Store };
        let token = Facts { origin, ..lasting(issued, life) };
        let mut dead = false;
        for n in 0..(100_000 / step) {
            let now = after(issued, n * step);
            let verdict = rules.verdict(&token, now);
            prop_assert!(!dead || verdict != Verdict::Usable);
            dead = verdict != Verdict::Usable;
            prop_assert!(dead || now < rules.dies_at(&token));
            if let Some(due) = rules.renew_at(&token) {
                prop_assert_eq!(dead, now >= due);
            }
        }
    }

    #[test]
    fn the_last_cut_off_is_within_a_day(secs in -4_000_000_000_i64..4_000_000_000, minute in 0_u16..1_440) {
        let cutoff = CutOff { minute_of_day: minute };
        let now = UnixNanos::from_secs(secs);
        let last = cutoff.last(now);
        prop_assert!(last <= now && now < cutoff.next(now));
        prop_assert_eq!(cutoff.last(last), last);
        prop_assert_eq!((last.as_secs() + IST_OFFSET_SECS).rem_euclid(DAY_SECS), i64::from(minute) * 60);
    }
}
