//! The polling start of Engine.IO: sessions by id, hanging polls, posted packets, and the change
//! to a WebSocket. What a session says is the core's; a socket that starts as one is `socket`.
//!
//! A session holds what it was sent until a poll takes it; like any socket it is given up if it
//! takes nothing for too long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::Message;
use futures::StreamExt as _;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::payload::{self, Body, Coding};
use super::socket::{self, Asked};
use super::{Link, Shared, away, lock, rest};
use crate::sim::core::{Away, MAX_PAYLOAD_BYTES, Out, SocketId};

/// Sessions that may poll at a time.
const MAX_SESSIONS: usize = 256;

/// Packets in one answer.
const MAX_BATCH: usize = 256;

/// How long a client may take to change over.
const UPGRADE_LIFE: Duration = Duration::from_secs(10);

/// How long a poll hangs while its client changes over.
const UPGRADE_POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Polling,
    /// A WebSocket is being tried.
    Probing,
    Upgraded,
    Closed,
}

/// One polling session.
pub(super) struct Session {
    id: SocketId,
    link: Link,
    coding: Coding,
    /// Whoever hands out packets holds it: a poll, or the WebSocket after the change.
    received: AsyncMutex<mpsc::UnboundedReceiver<Out>>,
    stage: watch::Sender<Stage>,
    /// Nothing is answered any more.
    is_frozen: AtomicBool,
    /// The client said something.
    heard: Notify,
    /// When an untyped one is cut.
    cut_at: Option<Instant>,
}

/// Sessions by the id that their clients know.
pub(super) type Sessions = HashMap<String, Arc<Session>>;

/// Any request for the polling transport.
pub(super) async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    shared: Arc<Shared>,
    asked: Asked,
) -> HttpResponse {
    if asked.sid.is_empty() {
        return if request.method() == Method::GET {
            open(&shared, &asked)
        } else {
            rest::refuse(socket::engine_error(2, "Bad handshake method"))
        };
    }
    let Some(session) = find(&shared, &asked.sid) else {
        return rest::refuse(socket::engine_error(1, "Session ID unknown"));
    };
    match *request.method() {
        Method::GET => session.poll(request).await,
        Method::POST => session.post(request, payload, &shared).await,
        _ => rest::refuse(socket::engine_error(3, "Bad request")),
    }
}

fn find(shared: &Shared, sid: &str) -> Option<Arc<Session>> {
    lock(&shared.polling).get(sid).cloned()
}

/// A handshake: the first answer holds all that was said by then.
fn open(shared: &Arc<Shared>, asked: &Asked) -> HttpResponse {
    if lock(&shared.polling).len() >= MAX_SESSIONS {
        return rest::refuse(socket::engine_error(4, "Forbidden"));
    }
    let (frames, mut received) = mpsc::unbounded_channel();
    let (id, link) = shared.new_link(frames);
    let opened = shared.with(|core, now| {
        core.open_socket(asked.product, &asked.connect, id, now)?;
        Ok(core.sid(id).unwrap_or_default())
    });
    let sid = match opened {
        Ok(sid) => sid,
        Err(answer) => {
            shared.forget(id);
            return rest::refuse(answer);
        }
    };
    let coding = match (shared.settings.engine_io, asked.is_text_only) {
        (4, _) => Coding::V4,
        (_, true) => Coding::Text3,
        (_, false) => Coding::Mixed3,
    };
    let mut packets = Vec::new();
    while packets.len() < MAX_BATCH
        && let Ok(packet) = received.try_recv()
    {
        link.sent(&packet);
        packets.push(packet);
    }
    let session = Arc::new(Session {
        id,
        link,
        coding,
        received: AsyncMutex::new(received),
        stage: watch::Sender::new(Stage::Polling),
        is_frozen: AtomicBool::new(false),
        heard: Notify::new(),
        cut_at: asked.life.map(|life| Instant::now() + life),
    });
    lock(&shared.polling).insert(sid.clone(), Arc::clone(&session));
    actix_web::rt::spawn(keep(Arc::clone(shared), sid, Arc::clone(&session)));
    session.respond(&packets)
}

/// Ends a session that has ended, fell silent, or became a WebSocket.
async fn keep(shared: Arc<Shared>, sid: String, session: Arc<Session>) {
    let settings = &shared.settings;
    let interval = Duration::from_millis(settings.ping_interval_ms);
    let patience = interval + Duration::from_millis(settings.ping_timeout_ms);
    let mut stage = session.stage.subscribe();
    let mut deadline = Instant::now() + patience;
    let mut pings = tokio::time::interval(interval);
    pings.reset();
    let is_upgraded = loop {
        tokio::select! {
            () = session.heard.notified() => deadline = Instant::now() + patience,
            changed = stage.wait_for(|s| matches!(s, Stage::Upgraded | Stage::Closed)) => {
                break changed.is_ok_and(|stage| *stage == Stage::Upgraded);
            }
            () = sleep_until(deadline) => {
                tracing::debug!(socket = session.id, "a polling client sent no packet for too long; it is forgotten");
                break false;
            }
            () = until(session.cut_at) => break false,
            () = session.link.given_up.notified() => break false,
            _ = pings.tick(), if settings.engine_io == 4 => session.link.send(Out::Text("2".into())),
        }
    };
    lock(&shared.polling).remove(&sid);
    if !is_upgraded {
        // Also ends the poll that hangs, and a WebSocket that is being tried.
        session.stage.send_replace(Stage::Closed);
        shared.forget(session.id);
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Session {
    /// Hangs until there is something to say.
    async fn poll(&self, request: &HttpRequest) -> HttpResponse {
        let Ok(mut received) = self.received.try_lock() else {
            // Two polls at once would break the order of packets.
            self.stage.send_replace(Stage::Closed);
            return HttpResponse::InternalServerError().finish();
        };
        let mut stage = self.stage.subscribe();
        let mut packets = Vec::new();
        tokio::select! {
            biased;
            changed = stage.wait_for(|s| *s != Stage::Polling) => {
                match changed.map_or(Stage::Closed, |stage| *stage) {
                    Stage::Closed => return away::end(request, Away::HangUp),
                    // The client waits for this answer before it changes over. Asked again
                    // until then, the answer takes a little, so that this is no busy loop.
                    _ => sleep(UPGRADE_POLL).await,
                }
            }
            _ = received.recv_many(&mut packets, MAX_BATCH) => {}
        }
        for packet in &packets {
            self.link.sent(packet);
        }
        if packets.contains(&Out::Freeze) {
            self.is_frozen.store(true, Ordering::Relaxed);
        }
        if self.is_frozen.load(Ordering::Relaxed) && !packets.iter().any(|p| matches!(p, Out::Close { .. })) {
            // What there was is lost on the way, and nobody answers until the client gives up.
            return std::future::pending().await;
        }
        let end = packets.iter().position(|packet| matches!(packet, Out::Close { .. }));
        if let Some(end) = end {
            self.stage.send_replace(Stage::Closed);
            let is_clean = packets[end] == Out::Close { clean: true };
            packets.truncate(end);
            if !is_clean {
                return away::end(request, Away::HangUp);
            }
            packets.extend([Out::Text("41".into()), Out::Text("1".into())]);
        }
        if packets.is_empty() {
            packets.push(Out::Text("6".into()));
        }
        self.respond(&packets)
    }

    /// Packets of the client's.
    async fn post(&self, request: &HttpRequest, mut payload: web::Payload, shared: &Shared) -> HttpResponse {
        let mut body = Vec::new();
        while let Some(Ok(chunk)) = payload.next().await {
            if body.len() + chunk.len() > MAX_PAYLOAD_BYTES {
                self.stage.send_replace(Stage::Closed);
                return HttpResponse::PayloadTooLarge().finish();
            }
            body.extend_from_slice(&chunk);
        }
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok());
        let is_bytes = content_type.is_some_and(|t| t.starts_with("application/octet-stream"));
        let Some(packets) = payload::decode(shared.settings.engine_io, is_bytes, &body) else {
            self.stage.send_replace(Stage::Closed);
            return rest::refuse(socket::engine_error(3, "Bad request"));
        };
        self.heard.notify_one();
        shared.with(|core, _| packets.iter().for_each(|packet| core.hear(self.id, packet)));
        // Its own kind of text, so that no browser offers to save it.
        HttpResponse::Ok().content_type("text/html").body("ok")
    }

    fn respond(&self, packets: &[Out]) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        match payload::encode(self.coding, packets) {
            Body::Text(text) => response.content_type("text/plain; charset=UTF-8").body(text),
            Body::Bytes(bytes) => response.content_type("application/octet-stream").body(bytes),
        }
    }
}

/// A WebSocket for a session that polls: `2probe`, `3probe`, `5`, and from then on it has the
/// session's packets.
pub(super) fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    shared: Arc<Shared>,
    sid: &str,
) -> HttpResponse {
    let Some(session) = find(&shared, sid) else {
        return rest::refuse(socket::engine_error(1, "Session ID unknown"));
    };
    // One at a time.
    if *session.stage.borrow() != Stage::Polling {
        return rest::refuse(socket::engine_error(3, "Bad request"));
    }
    match actix_ws::handle(request, payload) {
        Ok((response, socket, stream)) => {
            actix_web::rt::spawn(change_over(shared, session, socket, stream));
            response
        }
        Err(error) => error.error_response(),
    }
}

async fn change_over(
    shared: Arc<Shared>,
    session: Arc<Session>,
    mut socket: actix_ws::Session,
    mut stream: actix_ws::MessageStream,
) {
    let mut stage = session.stage.subscribe();
    tokio::select! {
        changed = timeout(UPGRADE_LIFE, probe(&session, &mut socket, &mut stream)) => {
            if changed != Ok(true) {
                // Back to polling.
                session.stage.send_if_modified(|stage| {
                    let was_probing = *stage == Stage::Probing;
                    if was_probing {
                        *stage = Stage::Polling;
                    }
                    was_probing
                });
                return;
            }
        }
        _ = stage.wait_for(|s| *s == Stage::Closed) => return,
    }
    // The last poll lets go of it with its answer.
    let mut received = session.received.lock().await;
    let cut = until(session.cut_at);
    socket::run(shared, session.id, session.link.clone(), &mut received, socket, stream, cut).await;
}

/// Whether the client changed over.
async fn probe(
    session: &Session,
    socket: &mut actix_ws::Session,
    stream: &mut actix_ws::MessageStream,
) -> bool {
    while let Some(Ok(message)) = stream.recv().await {
        let Message::Text(text) = message else { continue };
        session.heard.notify_one();
        match &*text {
            "5" => return change(session, Stage::Probing, Stage::Upgraded),
            text => {
                let Some(probed) = text.strip_prefix('2') else { return false };
                if !change(session, Stage::Polling, Stage::Probing)
                    || socket.text(format!("3{probed}")).await.is_err()
                {
                    return false;
                }
            }
        }
    }
    false
}

fn change(session: &Session, from: Stage, to: Stage) -> bool {
    session.stage.send_if_modified(|stage| {
        let may = *stage == from;
        if may {
            *stage = to;
        }
        may
    })
}
