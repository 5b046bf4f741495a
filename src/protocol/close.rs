//! Why a consumer's connection is closed: the code tells the client whether to come back.
//! Not the close frame itself: [`crate::protocol::websocket::close_frame`].

/// A reason to close a consumer's connection. The code on the wire and the metric label
/// (`tickgate_consumers_closed_total{reason}`) are parts of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The consumer closed, or went away in order.
    Normal,
    /// The server stops.
    Shutdown,
    /// The peer broke the WebSocket protocol.
    Protocol,
    /// Text that is not UTF-8.
    InvalidText,
    /// A limit of the server was passed.
    Limit,
    /// A frame was larger than allowed.
    FrameTooBig,
    /// The shard that served the connection failed; coming back helps.
    Internal,
    /// The consumer did not read fast enough and asked for every frame.
    TooSlow,
    /// No authentication within the grace time. The number is OpenAlgo's.
    AuthTimeout,
    /// The key was revoked; coming back with it does not help.
    KeyRevoked,
    /// No pong came. The peer is taken for gone, so the code is for the log only.
    PingTimeout,
    /// The socket failed or ended without a close frame; nothing is sent.
    Lost,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Normal,
        Self::Shutdown,
        Self::Protocol,
        Self::InvalidText,
        Self::Limit,
        Self::FrameTooBig,
        Self::Internal,
        Self::TooSlow,
        Self::AuthTimeout,
        Self::KeyRevoked,
        Self::PingTimeout,
        Self::Lost,
    ];

    /// The code on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Shutdown => 1001,
            Self::Protocol => 1002,
            Self::Lost => 1006,
            Self::InvalidText => 1007,
            Self::Limit => 1008,
            Self::FrameTooBig => 1009,
            Self::Internal | Self::PingTimeout => 1011,
            Self::TooSlow => 4008,
            Self::AuthTimeout => 4401,
            Self::KeyRevoked => 4403,
        }
    }

    /// The reason on the wire; at most 123 bytes.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Shutdown => "server shutdown",
            Self::Protocol => "protocol error",
            Self::InvalidText => "invalid utf-8",
            Self::Limit => "limit exceeded",
            Self::FrameTooBig => "frame too big",
            Self::Internal => "internal error, please reconnect",
            Self::TooSlow => "too slow",
            // OpenAlgo's own words (websocket_proxy/server.py).
            Self::AuthTimeout => "auth timeout",
            Self::KeyRevoked => "key revoked",
            Self::PingTimeout => "ping timeout",
            Self::Lost => "connection lost",
        }
    }

    /// The value of the metric's label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Protocol => "protocol",
            Self::InvalidText => "invalid_text",
            Self::Limit => "limit",
            Self::FrameTooBig => "frame_too_big",
            Self::Internal => "internal",
            Self::TooSlow => "too_slow",
            Self::AuthTimeout => "auth_timeout",
            Self::KeyRevoked => "key_revoked",
            Self::PingTimeout => "ping_timeout",
            Self::Lost => "lost",
        }
    }

    /// Whether a close frame may carry this reason: RFC 6455 7.4.1 keeps 1006 for the log.
    pub const fn is_sent(self) -> bool {
        !matches!(self, Self::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_the_contract() {
        for (reason, code) in [
            (CloseReason::AuthTimeout, 4401),
            (CloseReason::KeyRevoked, 4403),
            (CloseReason::TooSlow, 4008),
            (CloseReason::FrameTooBig, 1009),
            (CloseReason::Limit, 1008),
            (CloseReason::Shutdown, 1001),
        ] {
            assert_eq!(reason.code(), code);
        }
        assert_eq!(CloseReason::AuthTimeout.text(), "auth timeout");
    }

    #[test]
    fn labels_are_distinct_and_texts_fit_a_control_frame() {
        let mut labels: Vec<_> = CloseReason::ALL.iter().map(|r| r.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        assert!(CloseReason::ALL.iter().all(|r| r.text().len() <= 123));
    }
}
