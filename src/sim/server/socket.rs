//! One client's WebSocket: handshake, frames out, packets in, and the drop of a silent client.
//! One that starts by polling is `polling` until it changes over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::Message;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Link, Shared, polling, rest};
use crate::sim::answers::Answer;
use crate::sim::core::{Connect, Out, SocketId};
use crate::sim::sessions::Product;

/// An interactive socket without `apiType` is cut after so long (seen on a live server).
const UNTYPED_LIFE: Duration = Duration::from_secs(10);

/// What a handshake, or a later request of the same client, asks for.
pub(super) struct Asked {
    pub(super) product: Product,
    pub(super) connect: Connect,
    /// Of a session that there is already; empty in a handshake.
    pub(super) sid: String,
    /// The client reads text only: `b64=1`.
    pub(super) is_text_only: bool,
    /// How long the socket may live.
    pub(super) life: Option<Duration>,
}

/// Answers a handshake, and starts the socket's task if it is accepted; and what else a polling
/// client asks.
pub(super) async fn open(
    request: &HttpRequest,
    payload: web::Payload,
    shared: Arc<Shared>,
    product: Product,
    is_binary: bool,
) -> HttpResponse {
    let query = web::Query::<HashMap<String, String>>::from_query(request.query_string());
    let mut query = query.map(web::Query::into_inner).unwrap_or_default();
    let mut take = |key: &str| query.remove(key).unwrap_or_default();
    let transport = take("transport");
    let is_polling = transport == "polling";
    let connect = Connect {
        token: take("token"),
        user_id: take("userID"),
        broadcast_mode: take("broadcastMode"),
        is_binary,
        is_polling,
    };
    let is_typed = product == Product::Market || take("apiType").eq_ignore_ascii_case("interactive");
    let asked = Asked {
        product,
        connect,
        sid: take("sid"),
        is_text_only: !matches!(take("b64").as_str(), "" | "0" | "false"),
        life: if is_typed { None } else { Some(UNTYPED_LIFE) },
    };
    // Engine.IO's own refusals, as its Node server words them.
    if !is_polling && transport != "websocket" {
        return rest::refuse(engine_error(0, "Transport unknown"));
    }
    // A server of revision 3 takes every client for one of its own.
    if shared.settings.engine_io == 4 && take("EIO") != "4" {
        return rest::refuse(engine_error(5, "Unsupported protocol version"));
    }
    if is_polling {
        return polling::answer(request, payload, shared, asked).await;
    }
    if !request.headers().contains_key(header::UPGRADE) {
        return rest::refuse(engine_error(3, "Bad request"));
    }
    if !asked.sid.is_empty() {
        return polling::upgrade(request, payload, shared, &asked.sid);
    }

    let (frames, mut received) = mpsc::unbounded_channel();
    let (id, link) = shared.new_link(frames);
    let accepted = shared.with(|core, now| core.open_socket(product, &asked.connect, id, now));
    let upgraded = match accepted {
        Ok(()) => actix_ws::handle(request, payload),
        Err(answer) => {
            shared.forget(id);
            return rest::refuse(answer);
        }
    };
    match upgraded {
        Ok((response, session, stream)) => {
            actix_web::rt::spawn(async move {
                let cut = async {
                    match asked.life {
                        Some(life) => tokio::time::sleep(life).await,
                        None => std::future::pending().await,
                    }
                };
                run(shared, id, link, &mut received, session, stream, cut).await;
            });
            response
        }
        Err(error) => {
            shared.forget(id);
            error.error_response()
        }
    }
}

pub(super) fn engine_error(code: u8, message: &str) -> Answer {
    Answer::json(400, json!({ "code": code, "message": message }).to_string())
}

/// A socket's life as a WebSocket, until one side ends it or `cut` is over.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: SocketId,
    link: Link,
    received: &mut mpsc::UnboundedReceiver<Out>,
    session: actix_ws::Session,
    stream: actix_ws::MessageStream,
    cut: impl Future<Output = ()>,
) {
    // Dropping the session ends the response, and with it the connection.
    tokio::select! {
        () = write(received, session.clone(), &link) => {}
        () = read(&shared, id, session, stream, &link) => {}
        () = cut => {}
        () = link.given_up.notified() => {}
    }
    shared.forget(id);
}

async fn write(received: &mut mpsc::UnboundedReceiver<Out>, mut session: actix_ws::Session, link: &Link) {
    let mut is_frozen = false;
    while let Some(out) = received.recv().await {
        let sent = match &out {
            Out::Freeze => {
                is_frozen = true;
                Ok(())
            }
            // Lost on the way.
            Out::Text(_) | Out::Binary(_) if is_frozen => Ok(()),
            Out::Text(text) => session.text(text.to_string()).await,
            Out::Binary(data) => session.binary(data.clone()).await,
            Out::Close { clean: false } => return,
            Out::Close { clean: true } => {
                // Socket.IO's goodbye, Engine.IO's, WebSocket's.
                let _ = session.text("41").await;
                let _ = session.text("1").await;
                let _ = session.close(None).await;
                return;
            }
        };
        link.sent(&out);
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
                link.send(Out::Text("2".into()));
            }
        }
    }
}
