//! Our own client of the broker's socket against Socket.IO servers that we did not write: it connects,
//! decodes, keeps the heartbeat, notices every kind of end, and connects again.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tickgate::broker::xts::{AppKey, Credentials, Settings, XtsBroker};
use tickgate::broker::{Broker as _, Class, Error, Feed, FeedEnd};
use tickgate::clock::{Clock as _, SystemClock};
use tickgate::market::{InstrumentId, Kind, Price, Segment, Tick, TickBody};
use tickgate::secret::Secret;
use tickgate::token::{Product, Token, TokenEpoch};
use tokio::time::timeout;

use crate::peers::{environment, find_python, node_modules, skipped};
use crate::peers_wire::script;
use crate::support::{PATIENCE, free_port, http, wait_for};

const RELIANCE: InstrumentId = InstrumentId { segment: Segment::NseCash, code: 2885 };

/// The servers' heartbeat, in milliseconds. Short, but not so that a busy machine misses one.
const PING_INTERVAL: u64 = 500;
const PING_TIMEOUT: u64 = 2_500;

/// A server program on a port that it keeps over restarts.
struct Peer {
    program: PathBuf,
    arguments: Vec<String>,
    modules: Option<PathBuf>,
    address: SocketAddr,
    child: Child,
}

impl Peer {
    fn start(program: PathBuf, arguments: &[&str], modules: Option<PathBuf>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let figures = [address.port().to_string(), PING_INTERVAL.to_string(), PING_TIMEOUT.to_string()];
        let arguments = arguments.iter().map(|a| (*a).to_owned()).chain(figures).collect();
        let child = spawn(&program, &arguments, modules.as_ref());
        let peer = Self { program, arguments, modules, address, child };
        peer.wait_listening();
        peer
    }

    fn wait_listening(&self) {
        wait_for("the Socket.IO server", || self.tell(&json!({"do": "state"})));
    }

    /// Something for it to do with its clients; answers how it stands.
    fn tell(&self, what: &Value) -> Option<Value> {
        let (status, body) = http("POST", self.address, "/control", None, &what.to_string())?;
        (status == 200).then(|| serde_json::from_str(&body).expect("is JSON"))
    }

    fn must(&self, what: &Value) -> Value {
        self.tell(what).unwrap_or_else(|| panic!("no answer to {what}"))
    }

    /// Stops it in its tracks, or lets it go on.
    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "kill works");
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn restart(&mut self) {
        self.child = spawn(&self.program, &self.arguments, self.modules.as_ref());
        self.wait_listening();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &PathBuf, arguments: &Vec<String>, modules: Option<&PathBuf>) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(modules) = modules {
        command.env("NODE_PATH", modules);
    }
    command.spawn().expect("the server starts")
}

fn fixture(name: &str) -> String {
    let path = script("../fixtures/xts").join(name);
    std::fs::read_to_string(path).expect("is in the repository").split_whitespace().collect()
}

fn broker(address: SocketAddr, engine_io: u8) -> XtsBroker {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let app = || Some(AppKey { key: Secret::new("key"), secret: Secret::new("secret") });
    let settings = Settings {
        base_url: format!("http://{address}"),
        engine_io,
        request_interval_ms: 0,
        subscription_interval_ms: 0,
        ..Settings::default()
    };
    let credentials = Credentials { market: app(), interactive: None, access_token: None };
    XtsBroker::new(settings, credentials, "default", Arc::new(SystemClock)).expect("the settings are good")
}

async fn log_in(broker: &XtsBroker) -> Token {
    let login = broker.login(Product::Market).await.expect("it lets us in");
    Token {
        product: Product::Market,
        epoch: TokenEpoch::default(),
        secret: Arc::new(login.secret),
        facts: Arc::new(login.facts),
        issued_at: SystemClock.now(),
        expires_at: None,
    }
}

/// Reads one frame.
async fn read(feed: &mut dyn Feed, batch: &mut Vec<Tick>) -> Result<(), FeedEnd> {
    let one = poll_fn(|cx| feed.poll_frame(cx, &|| SystemClock.now(), batch));
    timeout(PATIENCE, one).await.expect("a frame or an end")
}

/// Reads until the feed ends.
async fn end_of(feed: &mut dyn Feed) -> FeedEnd {
    loop {
        if let Err(end) = read(feed, &mut Vec::new()).await {
            return end;
        }
    }
}

/// Has events sent, of both kinds and of several messages, and reads what they say.
async fn check_events(peer: &Peer, feed: &mut dyn Feed) {
    let binary = ["1501-b-deflate.hex", "1502-b-plain.hex"].map(fixture).concat();
    let text = json!({
        "MessageCode": 1501, "ExchangeSegment": 1, "ExchangeInstrumentID": 2885,
        "LastTradedPrice": 1462.7, "LastUpdateTime": 1_455_185_730,
    });
    let stated = peer.must(&json!({"do": "emit", "events": [
        ["xts-binary-packet", {"hex": binary}],
        ["1501-json-full", text.to_string()],
        ["xts-binary-packet", {"hex": binary}],
    ]}));
    assert_eq!(stated["clients"], 1);
    let mut batch = Vec::new();
    let prices = |batch: &[Tick]| -> Vec<Price> {
        let last = |tick: &Tick| match &tick.body {
            TickBody::Quote(quote) => Some(quote.last.price),
            TickBody::LastTrade(last) => Some(last.price),
            _ => None,
        };
        batch.iter().filter_map(last).collect()
    };
    while prices(&batch).len() < 5 {
        read(feed, &mut batch).await.expect("it goes on");
    }
    let (packed, text) = (price("1462.6"), price("1462.7"));
    assert_eq!(prices(&batch), [packed, packed, text, packed, packed], "all, in order");
    assert!(batch.iter().all(|tick| tick.instrument == RELIANCE));
    let book = batch.iter().find_map(|tick| match &tick.body {
        TickBody::Depth(depth) => Some(depth),
        _ => None,
    });
    assert_eq!(book.expect("there is depth").bids.price[0], price("1462.5"));
    let counts = feed.take_counts();
    assert_eq!(counts.undecodable, 0, "{counts:?}");
}

fn price(text: &str) -> Price {
    Price::parse(text.as_bytes()).expect("is a price")
}

fn is_closed(end: &FeedEnd) -> bool {
    matches!(end, FeedEnd::Closed(_))
}

fn is_gone(end: &FeedEnd) -> bool {
    matches!(end, FeedEnd::Closed(_) | FeedEnd::Network(_))
}

fn check(mut peer: Peer, engine_io: u8) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("the runtime starts").block_on(async {
        let broker = broker(peer.address, engine_io);
        let token = log_in(&broker).await;
        let subscribed = broker.subscribe(&token, Kind::Depth, &[RELIANCE]).await.expect("it takes it");
        assert_eq!(subscribed.confirmed, [RELIANCE]);

        // Whatever the end, a new connection is as good as the first.
        let ends: [(&str, fn(&FeedEnd) -> bool); 3] =
            [("disconnect", is_closed), ("close", is_closed), ("cut", is_gone)];
        for (manner, is_right) in ends {
            let mut feed = broker.open_feed(&token).await.expect("it opens");
            check_events(&peer, feed.as_mut()).await;
            peer.must(&json!({"do": manner}));
            let end = end_of(feed.as_mut()).await;
            assert!(is_right(&end), "{manner}: {end:?}");
            no_clients(&peer);
        }

        // The heartbeat holds for longer than either side is patient.
        let mut feed = broker.open_feed(&token).await.expect("it opens");
        let quiet = Duration::from_millis(PING_INTERVAL + PING_TIMEOUT + 500);
        let early = timeout(quiet, end_of(feed.as_mut())).await;
        assert!(early.is_err(), "the heartbeat failed: {early:?}");
        check_events(&peer, feed.as_mut()).await;

        // We go silent: it gives us up, and we see that it did.
        no_clients(&peer);
        let end = end_of(feed.as_mut()).await;
        assert!(is_gone(&end), "{end:?}");

        // It goes silent: we give it up.
        let mut feed = broker.open_feed(&token).await.expect("it opens");
        peer.signal("-STOP");
        let end = end_of(feed.as_mut()).await;
        peer.signal("-CONT");
        assert_eq!(end, FeedEnd::Silent);
        drop(feed);
        no_clients(&peer);

        // It dies and comes back; the token lives on.
        let mut feed = broker.open_feed(&token).await.expect("it opens");
        peer.kill();
        let end = end_of(feed.as_mut()).await;
        assert!(is_gone(&end), "{end:?}");
        let refused = broker.open_feed(&token).await.err();
        assert!(matches!(&refused, Some(Error::Network(_))), "{refused:?}");
        peer.restart();
        let mut feed = broker.open_feed(&token).await.expect("it opens");
        check_events(&peer, feed.as_mut()).await;

        // A token that it does not know is told from everything else.
        let wrong = Token { secret: Arc::new(Secret::new("wrong")), ..token.clone() };
        let refused = match broker.open_feed(&wrong).await {
            Err(error) => error.class(),
            // Some connect first and refuse then.
            Ok(mut feed) => match end_of(feed.as_mut()).await {
                FeedEnd::TokenRefused(_) => Class::NeedsToken,
                end => panic!("{end:?}"),
            },
        };
        assert_eq!(refused, Class::NeedsToken);
    });
}

/// Waits until it has let go of every connection.
fn no_clients(peer: &Peer) {
    wait_for("the server to let go of us", || {
        (peer.tell(&json!({"do": "state"}))?["clients"] == 0).then_some(())
    });
}

fn check_node(module: &str, engine_io: u8) {
    let Some(modules) = node_modules() else {
        return skipped("no node with npm for the Socket.IO servers", true);
    };
    let server = script("node/server.js");
    check(Peer::start("node".into(), &[server.to_str().unwrap(), module], Some(modules)), engine_io);
}

fn check_python(name: &str, engine_io: u8) {
    let Some(python) = find_python(11, 12) else {
        return skipped("no Python 3.11 for the Socket.IO servers", true);
    };
    let server = script("socketio_server.py");
    check(Peer::start(environment(&python, name), &[server.to_str().unwrap()], None), engine_io);
}

#[test]
fn the_feed_survives_socket_io_2() {
    check_node("socket.io-2", 3);
}

#[test]
fn the_feed_survives_socket_io_4_that_allows_engine_io_3() {
    check_node("socket.io-4", 3);
}

#[test]
fn the_feed_survives_socket_io_4_in_its_own_revision() {
    check_node("socket.io-4", 4);
}

#[test]
fn the_feed_survives_python_socketio_4() {
    check_python("socketio-4.6", 3);
}

#[test]
fn the_feed_survives_python_socketio_5_in_its_own_revision() {
    check_python("socketio-5", 4);
}
