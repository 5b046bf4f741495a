use std::sync::Arc;

use super::*;
use crate::secret::Secret;
use crate::session::settings::Settings;
use crate::token::{AccountFacts, Product};

/// 2026-02-10 11:00 IST, a Tuesday.
pub(super) const NOW: UnixNanos = UnixNanos::from_secs(1_770_701_400);

/// Without brakes but the pauses.
fn slot() -> Slot {
    braked(Limits { interval: Duration::ZERO, per_day: 0 })
}

fn braked(limits: Limits) -> Slot {
    let policy = Policy { limits, ..Settings::default().policy() };
    Slot::new(policy, Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 1))
}

fn held(epoch: u64, life: Option<Duration>) -> Held {
    held_at(epoch, life, NOW)
}

pub(super) fn held_at(epoch: u64, life: Option<Duration>, now: UnixNanos) -> Held {
    let secret = "opaque";
    let mut facts = Facts::of(secret, now, Origin::Login);
    if let Some(life) = life {
        facts.claims.end = crate::token::expiry::Claim::At(now.plus(life));
    }
    let token = Token {
        product: Product::Market,
        epoch: TokenEpoch(epoch),
        secret: Arc::new(Secret::new(secret)),
        facts: Arc::new(AccountFacts::default()),
        issued_at: now,
        expires_at: None,
    };
    Held { token, facts }
}

fn network() -> Error {
    Error::Network("down".to_owned())
}

#[tokio::test(start_paused = true)]
async fn fresh_tokens_that_are_refused_again_and_again_do_not_cause_a_storm_of_logins() {
    let mut slot = slot();
    let mut logins = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_hours(24) {
        // The venue refuses whatever it hands out, at once.
        match slot.ask(slot.held.as_ref().map(|h| h.token.epoch), None, NOW, Instant::now()).0 {
            Answer::LogIn => {
                assert_eq!(Begin::Yes, slot.begin_login(NOW, Instant::now()));
                logins += 1;
                slot.logged_in(held(logins, None), NOW);
            }
            Answer::Denied(TokenError::Waiting { retry_in, .. }) => tokio::time::advance(retry_in).await,
            _ => tokio::time::advance(Duration::from_secs(1)).await,
        }
    }
    assert!((20..40).contains(&logins), "{logins} logins in a day");
    slot.unblock();
    assert!(matches!(slot.ask(None, None, NOW, Instant::now()).0, Answer::LogIn | Answer::Token(_)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_never_handed_out_again() {
    let mut slot = slot();
    let now = Instant::now();
    assert_eq!(Begin::Yes, slot.begin_login(NOW, now));
    slot.logged_in(held(1, None), NOW);
    assert!(matches!(slot.ask(None, None, NOW, now), (Answer::Token(_), false)));
    assert!(matches!(slot.ask(Some(TokenEpoch(1)), None, NOW, now), (Answer::LogIn, true)));
    // Not even to one who does not know that it was refused.
    assert!(matches!(slot.ask(None, None, NOW, now), (Answer::LogIn, false)));
    assert_eq!(Begin::Yes, slot.begin_login(NOW, now));
    assert!(matches!(slot.ask(None, None, NOW, now), (Answer::Wait, false)));
    slot.logged_in(held(2, None), NOW);
    // A late report of the old refusal gets the new one.
    assert!(matches!(slot.ask(Some(TokenEpoch(1)), None, NOW, now), (Answer::Token(_), false)));
    assert_eq!(slot.status(None, NOW, now).logins_today, 2);
    assert_eq!(slot.status(None, NOW.plus(Duration::from_hours(24)), now).logins_today, 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_within_its_margin_serves_while_the_login_fails_and_no_longer() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    slot.logged_in(held(1, Some(Duration::from_hours(2))), NOW);
    let late = NOW.plus(Duration::from_mins(117));
    assert!(slot.renewal_is_due(late));
    assert!(matches!(slot.ask(None, None, late, now), (Answer::LogIn, false)));
    slot.begin_login(NOW, now);
    slot.login_failed(&network(), now);
    assert!(matches!(slot.ask(None, None, late, now), (Answer::Token(_), false)));
    assert_eq!(slot.status(None, late, now).state, "valid");
    let over = NOW.plus(Duration::from_hours(2));
    assert!(matches!(slot.ask(None, None, over, now), (Answer::Denied(TokenError::Waiting { .. }), false)));
}

#[tokio::test(start_paused = true)]
async fn after_bad_credentials_nothing_is_tried_until_a_person_acts() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    let refusal = Error::Credentials { description: "Invalid App Key".to_owned() };
    let (told, retry) = slot.login_failed(&refusal, now);
    assert!(matches!(told, TokenError::NeedsOperator(_)));
    assert_eq!(retry, None);
    tokio::time::advance(Duration::from_hours(48)).await;
    assert_eq!(Begin::No, slot.begin_login(NOW, Instant::now()));
    assert_eq!(slot.status(None, NOW, now).state, "needs_operator");
    slot.unblock();
    assert_eq!(Begin::Yes, slot.begin_login(NOW, Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_login_waits_at_least_as_long_as_the_broker_asks() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    let minute = Duration::from_mins(1);
    let limited = Error::RateLimited { retry_after: Some(minute), description: "slow down".to_owned() };
    let (_, retry) = slot.login_failed(&limited, now);
    assert!(retry >= Some(minute));
    assert_eq!(Begin::No, slot.begin_login(NOW, now + Duration::from_secs(59)));
    assert_eq!(slot.status(None, NOW, now).state, "waiting");
    assert_eq!(Begin::Yes, slot.begin_login(NOW, now + minute * 2));
}

#[tokio::test(start_paused = true)]
async fn two_logins_keep_their_least_interval_unless_a_person_asks() {
    let mut slot = braked(Limits { interval: Duration::from_secs(5), per_day: 0 });
    let now = Instant::now();
    assert_eq!(slot.begin_login(NOW, now), Begin::Yes);
    slot.logged_in(held(1, None), NOW);
    let soon = NOW.plus(Duration::from_secs(2));
    let (answer, refused) = slot.ask(Some(TokenEpoch(1)), None, soon, now);
    assert!(refused && matches!(answer, Answer::Later(left) if left == Duration::from_secs(3)));
    assert_eq!(slot.begin_login(soon, now), Begin::Later(Duration::from_secs(3)));
    assert_eq!(slot.begin_login(NOW.plus(Duration::from_secs(5)), now), Begin::Yes);
    slot.logged_in(held(2, None), NOW.plus(Duration::from_secs(5)));
    assert!(slot.begin_login_by_operator(NOW.plus(Duration::from_secs(6))));
    slot.logged_in(held(3, None), NOW.plus(Duration::from_secs(6)));
    // A clock that was set back does not stop logins for as long.
    slot.refused(TokenEpoch(3), NOW, now);
    assert_eq!(slot.begin_login(NOW, now), Begin::Yes);
}

#[tokio::test(start_paused = true)]
async fn the_days_cap_counts_what_the_broker_answered_and_ends_with_the_day() {
    let mut slot = braked(Limits { interval: Duration::ZERO, per_day: 2 });
    let now = Instant::now();
    let odd = || Error::Refused { status: 400, code: "e".to_owned(), description: "not now".to_owned() };
    // Nobody was reached: that cannot lock an account.
    for _ in 0..5 {
        assert_eq!(slot.begin_login(NOW, now), Begin::Yes);
        slot.login_failed(&network(), now);
        slot.memory.not_before = None;
    }
    for _ in 0..2 {
        assert_eq!(slot.begin_login(NOW, now), Begin::Yes);
        slot.login_failed(&odd(), now);
        slot.memory.not_before = None;
    }
    assert_eq!(slot.begin_login(NOW, now), Begin::No);
    let (answer, _) = slot.ask(None, None, NOW, now);
    // NOW is 11:00 in India.
    assert!(
        matches!(&answer, Answer::Denied(TokenError::Waiting { retry_in, reason })
            if *retry_in == Duration::from_hours(13) && reason.contains("login_daily_cap")),
        "{answer:?}"
    );
    assert_eq!(slot.status(None, NOW, now).state, "waiting");
    // The count outlives the process.
    let mut later = braked(Limits { interval: Duration::ZERO, per_day: 2 });
    later.set_count(slot.count());
    assert_eq!(later.begin_login(NOW, now), Begin::No);
    assert_eq!(later.begin_login(NOW.plus(Duration::from_hours(13)), now), Begin::Yes);
    // A person knows better.
    assert!(slot.begin_login_by_operator(NOW));
}

#[tokio::test(start_paused = true)]
async fn who_can_rest_waits_for_the_morning_and_who_cannot_does_not() {
    let mut slot = slot();
    let now = Instant::now();
    let morning = NOW.plus(Duration::from_hours(5));
    let (answer, _) = slot.ask(None, Some(morning), NOW, now);
    assert!(
        matches!(answer, Answer::Denied(TokenError::Waiting { retry_in, .. }) if retry_in == Duration::from_hours(5))
    );
    assert!(matches!(slot.ask(None, None, NOW, now).0, Answer::LogIn));
    assert_eq!(slot.status(Some(morning), NOW, now).next_login_at, Some(morning));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_is_left_to_the_other_until_the_next_day_or_an_operator() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    slot.logged_in(held(1, None), NOW);
    // Of another token: none of ours.
    assert!(!slot.replaced(TokenEpoch(7), "logout", NOW, now));
    assert!(slot.replaced(TokenEpoch(1), "logout", NOW, now));
    assert!(!slot.replaced(TokenEpoch(1), "logout", NOW, now), "told once");
    let (answer, _) = slot.ask(None, None, NOW, now);
    assert!(matches!(answer, Answer::Denied(TokenError::Replaced(how)) if how == "logout"));
    assert_eq!(slot.begin_login(NOW, now), Begin::No);
    assert_eq!(slot.status(None, NOW, now).state, "replaced");
    slot.end_wait_for_other();
    assert_eq!(slot.begin_login(NOW, now), Begin::Yes);
    // What our own login ends is not somebody else's doing.
    assert!(!slot.replaced(TokenEpoch(1), "logout", NOW, now));
}

#[tokio::test(start_paused = true)]
async fn taking_a_session_back_again_and_again_is_braked() {
    let policy = Policy { on_replaced: OnReplaced::Retake, ..Settings::default().policy() };
    let policy = Policy { limits: Limits { interval: Duration::ZERO, per_day: 0 }, ..policy };
    let mut slot = Slot::new(policy, Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 1));
    let now = Instant::now();
    for turn in 1..=3 {
        assert_eq!(slot.begin_login(NOW, now), Begin::Yes, "{turn}");
        slot.logged_in(held(turn, None), NOW);
        assert!(slot.replaced(TokenEpoch(turn), "logout", NOW, now));
    }
    assert_eq!(slot.begin_login(NOW, now), Begin::No);
    assert_eq!(slot.begin_login(NOW, now + Duration::from_mins(2)), Begin::Yes);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_stays_away_until_an_operator_wants_it_back() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    slot.logged_in(held(1, None), NOW);
    assert_eq!(slot.revoke().map(|token| token.epoch), Some(TokenEpoch(1)));
    assert_eq!(slot.revoke(), None);
    slot.end_wait_for_other();
    assert!(matches!(slot.ask(None, None, NOW, now).0, Answer::Denied(TokenError::Revoked)));
    assert_eq!(slot.status(None, NOW, now).state, "revoked");
    assert!(slot.begin_login_by_operator(NOW));
}

#[tokio::test(start_paused = true)]
async fn a_block_outlives_the_actor_that_met_it() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    slot.login_failed(&Error::Credentials { description: "Invalid App Key".to_owned() }, now);
    let mut next = self::slot();
    next.remember(slot.memory());
    assert_eq!(next.begin_login(NOW, now), Begin::No);
    assert_eq!(next.status(None, NOW, now).state, "needs_operator");
}

#[tokio::test(start_paused = true)]
async fn a_morning_of_refused_logins_does_not_use_up_the_day() {
    let mut slot = braked(Limits { interval: Duration::from_secs(5), per_day: 30 });
    let (start, mut now) = (Instant::now(), NOW);
    let odd = Error::LoginRefused { status: 400, code: "e".to_owned(), description: "try later".to_owned() };
    while start.elapsed() < Duration::from_hours(4) {
        assert_eq!(slot.begin_login(now, Instant::now()), Begin::Yes);
        let (_, retry) = slot.login_failed(&odd, Instant::now());
        let wait = retry.expect("it is tried again");
        tokio::time::advance(wait).await;
        now = now.plus(wait);
    }
    assert!(slot.count().attempts < 30, "{:?}", slot.count());
    // And the first of them come soon enough for a broker that is late by minutes.
    slot.unblock();
    slot.begin_login(now, Instant::now());
    assert!(slot.login_failed(&odd, Instant::now()).1 <= Some(Duration::from_mins(2)));
}

#[tokio::test(start_paused = true)]
async fn a_login_that_seemed_to_fail_may_be_the_one_that_replaced_the_session() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    slot.logged_in(held(1, None), NOW);
    assert!(!slot.may_be_our_own());
    let later = NOW.plus(Duration::from_hours(1));
    assert!(slot.begin_login_by_operator(later));
    slot.login_failed(&network(), now);
    assert!(slot.may_be_our_own());
    assert!(slot.begin_login_by_operator(later));
    slot.logged_in(held_at(2, None, later), later);
    assert!(!slot.may_be_our_own());
}

#[tokio::test(start_paused = true)]
async fn a_refused_renewal_does_not_take_a_good_token_for_a_blocked_one() {
    let mut slot = slot();
    let now = Instant::now();
    slot.begin_login(NOW, now);
    slot.logged_in(held(1, Some(Duration::from_hours(3))), NOW);
    assert!(slot.begin_login_by_operator(NOW));
    slot.login_failed(&Error::Credentials { description: "Invalid App Key".to_owned() }, now);
    assert!(!slot.is_blocked(NOW));
    assert!(slot.is_blocked(NOW.plus(Duration::from_hours(4))));
}
