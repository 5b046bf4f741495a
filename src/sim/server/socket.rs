//! One client's WebSocket: handshake, frames out, packets in, and the drop of a silent client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::Message;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Link, Shared, lock, rest};
use crate::sim::answers::Answer;
use crate::sim::core::{Connect, Out, SocketId};
use crate::sim::sessions::Product;

/// An interactive socket without `apiType` is cut after so long (seen on a live server).
const UNTYPED_LIFE: Duration = Duration::from_secs(10);

/// Answers a handshake, and starts the socket's task if it is accepted.
pub(super) fn open(
    request: &HttpRequest,
    payload: web::Payload,
    shared: Arc<Shared>,
    product: Product,
    is_binary: bool,
) -> HttpResponse {
    let query = web::Query::<HashMap<String, String>>::from_query(request.query_string());
    let mut query = query.map(web::Query::into_inner).unwrap_or_default();
    let mut take = |key: &str| query.remove(key).unwrap_or_default();
    // Engine.IO's own refusals, as its Node server words them.
    if take("transport") != "websocket" {
        return rest::refuse(engine_error(0, "Transport unknown"));
    }
    if !request.headers().contains_key(header::UPGRADE) {
        return rest::refuse(engine_error(3, "Bad request"));
    }
    let connect = Connect {
        token: take("token"),
        user_id: take("userID"),
        broadcast_mode: take("broadcastMode"),
        is_binary,
    };
    let is_typed = product == Product::Market || take("apiType").eq_ignore_ascii_case("interactive");

    let (frames, received) = mpsc::unbounded_channel();
    let link = Link {
        frames,
        waiting: Arc::new(AtomicUsize::new(0)),
        given_up: Arc::new(Notify::new()),
        frozen: Arc::new(Notify::new()),
    };
    let id = {
        let mut locked = lock(&shared.locked);
        let id = locked.next_socket;
        locked.next_socket += 1;
        locked.links.insert(id, link.clone());
        id
    };
    let accepted = shared.with(|core, now| core.open_socket(product, &connect, id, now));
    let upgraded = match accepted {
        Ok(()) => actix_ws::handle(request, payload),
        Err(answer) => {
            shared.forget(id);
            return rest::refuse(answer);
        }
    };
    match upgraded {
        Ok((response, session, stream)) => {
            let life = if is_typed { None } else { Some(UNTYPED_LIFE) };
            actix_web::rt::spawn(run(shared, id, link, received, session, stream, life));
            response
        }
        Err(error) => {
            shared.forget(id);
            error.error_response()
        }
    }
}

fn engine_error(code: u8, message: &str) -> Answer {
    Answer::json(400, json!({ "code": code, "message": message }).to_string())
}

async fn run(
    shared: Arc<Shared>,
    id: SocketId,
    link: Link,
    received: mpsc::UnboundedReceiver<Out>,
    session: actix_ws::Session,
    stream: actix_ws::MessageStream,
    life: Option<Duration>,
) {
    // Dropping the session ends the response, and with it the connection.
    let cut = async {
        match life {
            Some(life) => tokio::time::sleep(life).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = write(received, session.clone(), &link.waiting) => {}
        () = read(&shared, id, session, stream, &link) => {}
        () = cut => {}
        () = link.given_up.notified() => {}
    }
    shared.forget(id);
}

async fn write(
    mut received: mpsc::UnboundedReceiver<Out>,
    mut session: actix_ws::Session,
    waiting: &AtomicUsize,
) {
    let mut is_frozen = false;
    while let Some(out) = received.recv().await {
        let (bytes, sent) = match out {
            Out::Freeze => {
                is_frozen = true;
                continue;
            }
            // Lost on the way.
            Out::Text(text) if is_frozen => (text.len(), Ok(())),
            Out::Binary(data) if is_frozen => (data.len(), Ok(())),
            Out::Text(text) => (text.len(), session.text(text.to_string()).await),
            Out::Binary(data) => (data.len(), session.binary(data).await),
            Out::Close { clean: false } => return,
            Out::Close { clean: true } => {
                // Socket.IO's goodbye, Engine.IO's, WebSocket's.
                let _ = session.text("41").await;
                let _ = session.text("1").await;
                let _ = session.close(None).await;
                return;
            }
        };
        waiting.fetch_sub(bytes, Ordering::Relaxed);
        if sent.is_err() {
            return;
        }
    }
}

async fn read(
    shared: &Shared,
    id: SocketId,
    mut session: actix_ws::Session,
    mut stream: actix_ws::MessageStream,
    link: &Link,
) {
    let settings = &shared.settings;
    let interval = Duration::from_millis(settings.ping_interval_ms);
    let patience = interval + Duration::from_millis(settings.ping_timeout_ms);
    let mut deadline = Instant::now() + patience;
    // In revision 3 the client pings; in 4 we do.
    let mut pings = tokio::time::interval(interval);
    pings.reset();
    loop {
        tokio::select! {
            // Neither read nor looked after: the other end hears nothing until the end.
            () = link.frozen.notified() => std::future::pending().await,
            message = stream.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    deadline = Instant::now() + patience;
                    shared.with(|core, _| core.hear(id, &text));
                }
                Some(Ok(Message::Ping(payload))) => {
                    // Not an Engine.IO packet, so no sign of its life. The answer may wait
                    // behind data only so long.
                    let _ = timeout(Duration::from_secs(1), session.pong(&payload)).await;
                }
                Some(Ok(Message::Close(reason))) => {
                    let _ = timeout(Duration::from_secs(1), session.close(reason)).await;
                    return;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = sleep_until(deadline) => {
                tracing::debug!(socket = id, "a client sent no packet for too long; its socket is closed");
                return;
            }
            _ = pings.tick(), if settings.engine_io == 4 => {
                let _ = link.frames.send(Out::Text("2".into()));
                link.waiting.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
