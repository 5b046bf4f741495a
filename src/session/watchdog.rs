//! What is done about a feed that is connected but mute, step by step: verify the token, subscribe afresh,
//! reconnect; only a token that is refused leads to a login. Pure: the feed task counts the silence
//! (`feed_task`), the stream actor carries the steps out, and the machine's back-off spaces reconnects.

/// A feed that stays mute after reconnecting is given longer each time, up to this factor as a power of two:
/// what is subscribed may just not trade.
pub(crate) const MOST_DOUBLINGS: u32 = 5;
/// Reconnects in a row that brought nothing, the token being good, after which the connection is kept: what is
/// subscribed does not trade. The token is verified still, as often as the last doubling allows.
pub(crate) const MOST_RECONNECTS: u32 = 6;

/// A step; the label of `tickgate_watchdog_total{step}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the broker whether the token is good.
    Verify,
    /// The broker could not be asked; what follows is the same as for a good one.
    Unverified,
    /// Subscribe everything afresh, once per connection.
    Resubscribe,
    /// End the connection, and open another after the back-off.
    Reconnect,
    /// The token is dead: the token actor decides about a login.
    TokenRefused,
    /// Keep the connection; what is subscribed just does not trade.
    Rest,
}

impl Step {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Unverified => "unverified",
            Self::Resubscribe => "resubscribe",
            Self::Reconnect => "reconnect",
            Self::TokenRefused => "token_refused",
            Self::Rest => "rest",
        }
    }

    /// For `feed.reason`, while the feed is mute.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Verify => "connected but mute: verifying the token",
            Self::Unverified => "connected but mute: the token could not be verified",
            Self::Resubscribe => {
                "connected but mute: the token is not refused, everything is subscribed afresh"
            }
            Self::Reconnect => "connected but mute: reconnecting",
            Self::TokenRefused => "connected but mute: the token is refused",
            Self::Rest => {
                "connected, and no ticks after repeated reconnects with a good token: what is subscribed may not trade"
            }
        }
    }
}

/// What the broker said of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verified {
    Good,
    Refused,
    /// It did not say.
    Unknown,
}

/// The watchdog of one connection.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    /// Ticks received before this connection was found mute, if it was.
    mute_at: Option<u64>,
    has_resubscribed: bool,
}

impl Watchdog {
    /// The connection is mute, with so many ticks received so far.
    pub(crate) fn muted(&mut self, ticks: u64) -> Step {
        if self.mute_at != Some(ticks) {
            // It spoke in between: a new silence, with all its steps.
            self.has_resubscribed = false;
        }
        self.mute_at = Some(ticks);
        Step::Verify
    }

    /// Whether nothing has come since it was found mute.
    pub(crate) fn is_mute(&self, ticks: u64) -> bool {
        self.mute_at == Some(ticks)
    }

    /// The token was verified. `reconnects`: in a row, for being mute. `None`: nothing is left to do.
    pub(crate) fn verified(&mut self, said: Verified, ticks: u64, reconnects: u32) -> Option<Step> {
        match said {
            // Whatever has come meanwhile.
            Verified::Refused => Some(Step::TokenRefused),
            Verified::Good | Verified::Unknown if !self.is_mute(ticks) => None,
            Verified::Good | Verified::Unknown if reconnects >= MOST_RECONNECTS => Some(Step::Rest),
            Verified::Good | Verified::Unknown if self.has_resubscribed => None,
            Verified::Good | Verified::Unknown => {
                self.has_resubscribed = true;
                Some(Step::Resubscribe)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_token_leads_to_one_resubscription_and_never_to_suspicion() {
        let mut dog = Watchdog::default();
        assert_eq!(dog.muted(7), Step::Verify);
        assert_eq!(dog.verified(Verified::Good, 7, 0), Some(Step::Resubscribe));
        assert_eq!(dog.muted(7), Step::Verify);
        assert_eq!(dog.verified(Verified::Good, 7, 0), None);
        // After ticks it is a silence of its own.
        assert_eq!(dog.muted(9), Step::Verify);
        assert_eq!(dog.verified(Verified::Unknown, 9, 0), Some(Step::Resubscribe));
    }

    #[test]
    fn a_refused_token_is_told_and_ticks_meanwhile_end_the_matter() {
        let mut dog = Watchdog::default();
        dog.muted(0);
        assert_eq!(dog.verified(Verified::Good, 1, 0), None);
        assert!(!dog.is_mute(1));
        dog.muted(1);
        assert_eq!(dog.verified(Verified::Refused, 1, MOST_RECONNECTS), Some(Step::TokenRefused));
    }

    #[test]
    fn what_does_not_trade_is_left_in_peace_after_some_reconnects() {
        for (reconnects, step) in [
            (0, Step::Resubscribe),
            (MOST_RECONNECTS - 1, Step::Resubscribe),
            (MOST_RECONNECTS, Step::Rest),
            (u32::MAX, Step::Rest),
        ] {
            let mut dog = Watchdog::default();
            dog.muted(3);
            assert_eq!(dog.verified(Verified::Good, 3, reconnects), Some(step), "{reconnects}");
        }
    }
}
