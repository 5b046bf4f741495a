//! The opening handshake of a consumer: reads the request's head, decides, writes the answer.
//! Pure: bytes in, bytes out. Extensions such as permessage-deflate are never accepted, and
//! any path is (OpenAlgo's server accepts all).

use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};

use crate::gateway::origin::{HostRules, Refusal};
use crate::hub::Encoding;
use crate::protocol::binary::SUBPROTOCOL;

/// The longest request head that is read.
pub(crate) const MAX_HEAD_BYTES: usize = 8 << 10;

/// How far a handshake has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes are needed.
    Partial,
    /// The connection is a WebSocket now.
    Accepted {
        /// Bytes of the head; what follows them are frames.
        consumed: usize,
        /// To be sent first.
        response: Vec<u8>,
        /// How the consumer gets market data.
        encoding: Encoding,
    },
    /// It never will be.
    Refused {
        /// To be sent before the end.
        response: Vec<u8>,
        /// Why, as a metric's label.
        label: &'static str,
    },
}

/// Looks at what has been received. `full` refuses a well-formed request for want of room.
pub(crate) fn step(received: &[u8], rules: &HostRules, full: Option<Full>) -> Step {
    let head = &received[..received.len().min(MAX_HEAD_BYTES)];
    // Looking for the end first keeps a request that trickles in from being parsed each time.
    if !head.windows(4).any(|w| w == b"\r\n\r\n") {
        return partial(received);
    }
    let (consumed, request) = match Request::try_parse(head) {
        Ok(Some(parsed)) => parsed,
        // Empty lines before the request are passed over, so an end of a head need not be its own.
        Ok(None) => return partial(received),
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => {
            return refused(405, "Method Not Allowed", NOT_HTTP, "method");
        }
        Err(_) => return refused(400, "Bad Request", "this is not an HTTP request", "malformed"),
    };
    if let Some(full) = full {
        return refused(503, "Service Unavailable", full.text(), full.label());
    }
    let headers = request.headers();
    if let Err(refusal) = check(headers, rules) {
        let (status, reason) = match refusal {
            Refusal::NoHost => (400, "Bad Request"),
            Refusal::Host | Refusal::Origin => (403, "Forbidden"),
        };
        return refused(status, reason, &refusal.to_string(), refusal.label());
    }
    let encoding = negotiated(headers);
    let mut response = match create_response(&request) {
        Ok(response) => response,
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            return refused_with(
                426,
                "Upgrade Required",
                "Sec-WebSocket-Version: 13\r\n",
                "WebSocket version 13 is needed",
                "version",
            );
        }
        Err(Error::Protocol(
            ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader,
        )) => return refused_with(426, "Upgrade Required", "Upgrade: websocket\r\n", NOT_HTTP, "no_upgrade"),
        Err(_) => return refused(400, "Bad Request", "the WebSocket handshake is malformed", "malformed"),
    };
    if encoding == Encoding::Binary {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let mut bytes = Vec::with_capacity(192);
    match write_response(&mut bytes, &response) {
        Ok(()) => Step::Accepted { consumed, response: bytes, encoding },
        Err(_) => refused(400, "Bad Request", "the WebSocket handshake is malformed", "malformed"),
    }
}

const NOT_HTTP: &str = "this port speaks WebSocket; HTTP is served at gateway.http_listen";

/// There is no room for another consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// On the server.
    Server,
    /// From that address.
    Address,
}

impl Full {
    fn text(self) -> &'static str {
        match self {
            Self::Server => "there are too many consumers; see gateway.max_consumers",
            Self::Address => {
                "there are too many consumers from this address; see gateway.max_consumers_per_address"
            }
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Server => "server_full",
            Self::Address => "address_full",
        }
    }
}

/// More is waited for, up to a bound.
fn partial(received: &[u8]) -> Step {
    if received.len() < MAX_HEAD_BYTES {
        return Step::Partial;
    }
    refused(431, "Request Header Fields Too Large", "the request head is too long", "head")
}

fn check(headers: &HeaderMap, rules: &HostRules) -> Result<(), Refusal> {
    // Twice the same header is somebody's trick; a name that is no text is none of ours.
    let single = |name: &str, broken: Refusal| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| broken),
            (Some(_), Some(_)) => Err(broken),
        }
    };
    rules.check(single("host", Refusal::NoHost)?, single("origin", Refusal::Origin)?)
}

/// What the consumer offers may be a list, in one header or several (RFC 6455 11.3.4). What is unknown
/// is not answered, and then it is for the consumer to say whether it goes on.
fn negotiated(headers: &HeaderMap) -> Encoding {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut names = offers.flat_map(|value| value.split(',')).map(str::trim);
    if names.any(|name| name == SUBPROTOCOL) { Encoding::Binary } else { Encoding::Json }
}

fn refused(status: u16, reason: &str, text: &str, label: &'static str) -> Step {
    refused_with(status, reason, "", text, label)
}

fn refused_with(status: u16, reason: &str, headers: &str, text: &str, label: &'static str) -> Step {
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    Step::Refused { response: response.into_bytes(), label }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /any/path?x=1 HTTP/1.1\r\nHost: 127.0.0.1:8765\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn rules() -> HostRules {
        HostRules::new("127.0.0.1:8765", &[], &[])
    }

    fn outcome(request: &str) -> (String, &'static str) {
        match step(request.as_bytes(), &rules(), None) {
            Step::Refused { response, label } => {
                let text = String::from_utf8(response).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
                (head.lines().next().unwrap().to_owned(), label)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_head_that_never_ends_is_refused_however_it_begins() {
        let long = "a".repeat(MAX_HEAD_BYTES);
        for request in [format!("GET /{long}"), format!("\r\n\r\nGET /{long}"), "\r\n".repeat(MAX_HEAD_BYTES)]
        {
            assert_eq!(outcome(&request).1, "head", "{:.20}", request.escape_debug().to_string());
        }
        assert!(matches!(step(b"\r\n\r\nGET /", &rules(), None), Step::Partial));
    }

    #[test]
    fn a_websocket_is_opened_and_what_follows_is_left_alone() {
        let received = [REQUEST.as_bytes(), b"\x81\x80frames"].concat();
        let Step::Accepted { consumed, response, encoding } = step(&received, &rules(), None) else {
            panic!()
        };
        assert_eq!((consumed, encoding), (REQUEST.len(), Encoding::Json));
        let response = String::from_utf8(response).unwrap().to_ascii_lowercase();
        assert!(response.starts_with("http/1.1 101 "), "{response}");
        // The key's answer is the one in RFC 6455 1.3.
        assert!(response.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{response}");
        assert!(!response.contains("extensions"), "compression is declined: {response}");
        for cut in [0, 1, 17, REQUEST.len() - 1] {
            assert_eq!(step(&received[..cut], &rules(), None), Step::Partial);
        }
    }

    #[test]
    fn the_binary_encoding_is_for_whoever_offers_it() {
        for (offers, expected) in [
            (&[][..], Encoding::Json),
            (&["tickgate.v1"], Encoding::Binary),
            (&["graphql-ws,tickgate.v1 , x"], Encoding::Binary),
            (&["mqtt", "tickgate.v1"], Encoding::Binary),
            (&["tickgate.v2", "tickgate", "xtickgate.v1"], Encoding::Json),
            (&["Tickgate.V1"], Encoding::Json),
        ] {
            let headers: String =
                offers.iter().map(|offer| format!("Sec-WebSocket-Protocol: {offer}\r\n")).collect();
            let request =
                REQUEST.replace("Upgrade: websocket\r\n", &format!("Upgrade: websocket\r\n{headers}"));
            let Step::Accepted { response, encoding, .. } = step(request.as_bytes(), &rules(), None) else {
                panic!("{offers:?}")
            };
            assert_eq!(encoding, expected, "{offers:?}");
            let response = String::from_utf8(response).unwrap().to_ascii_lowercase();
            let echoed = response.contains("sec-websocket-protocol: tickgate.v1\r\n");
            assert_eq!(echoed, expected == Encoding::Binary, "{response}");
            assert_eq!(response.matches("sec-websocket-protocol").count(), usize::from(echoed), "{response}");
        }
    }

    #[test]
    fn what_is_refused_and_how() {
        let with = |from: &str, to: &str| outcome(&REQUEST.replace(from, to));
        let host = "Host: 127.0.0.1:8765\r\n";
        assert_eq!(with(host, ""), ("HTTP/1.1 400 Bad Request".to_owned(), "host"));
        assert_eq!(with(host, "Host: evil.example\r\n"), ("HTTP/1.1 403 Forbidden".to_owned(), "host"));
        assert_eq!(with(host, "Host: 127.0.0.1\r\nHost: evil.example\r\n").1, "host");
        assert_eq!(
            with(host, "Host: 127.0.0.1:8765\r\nOrigin: http://evil.example\r\n"),
            ("HTTP/1.1 403 Forbidden".to_owned(), "origin")
        );
        assert_eq!(with("GET", "POST"), ("HTTP/1.1 405 Method Not Allowed".to_owned(), "method"));
        assert_eq!(with("Upgrade: websocket\r\n", "").0, "HTTP/1.1 426 Upgrade Required");
        assert_eq!(
            with("Version: 13", "Version: 8"),
            ("HTTP/1.1 426 Upgrade Required".to_owned(), "version")
        );
        assert_eq!(with("dGhlIHNhbXBsZSBub25jZQ==", "short").1, "malformed");
        assert_eq!(outcome("\x16\x03\x01 a TLS hello\r\n\r\n").1, "malformed");
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(outcome(&long).1, "head");
        let Step::Refused { label, .. } = step(REQUEST.as_bytes(), &rules(), Some(Full::Server)) else {
            panic!()
        };
        assert_eq!(label, "server_full");
        let same_host = REQUEST.replace(host, "Host: 127.0.0.1:8765\r\nOrigin: http://127.0.0.1:3000\r\n");
        assert!(matches!(step(same_host.as_bytes(), &rules(), None), Step::Accepted { .. }));
    }
}
