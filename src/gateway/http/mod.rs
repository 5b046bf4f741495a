//! The HTTP port: health, status, metrics, keys. Not the feed: that has a port and threads of its own.

mod admin;
mod answer;
mod guard;
mod health;
mod instruments;
mod openalgo;
mod seats;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource, Route, web};
use rustls::ServerConfig;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::gateway::auth::ConsumerKeys;
use crate::gateway::control::{Control, Desk};
use crate::gateway::http::seats::Seats;
use crate::gateway::origin::HostRules;
use crate::gateway::settings::Settings;
use crate::market::{Calendar, MasterHandle};
use crate::store::audit::Audit;
use crate::telemetry::prometheus::Prometheus;

/// No request has a body worth more; the largest are baskets of orders.
const MAX_BODY: usize = 256 * 1024;
/// Time to send the request's head, and to shake hands under TLS.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept for another request.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Connections beyond this are not even accepted. So many more than have a place that those which must
/// give way do not keep others out while they end.
const MAX_ACCEPTED: usize = 4096;

/// What the port works with.
pub struct Deps {
    /// The rest of the program.
    pub control: Arc<dyn Control>,
    /// The brokers' data, books and orders.
    pub desk: Arc<dyn Desk>,
    /// What names mean.
    pub masters: MasterHandle,
    /// When the exchanges trade.
    pub calendar: Calendar,
    /// The broker's name, as consumers see it.
    pub broker: String,
    /// Consumers' keys.
    pub keys: ConsumerKeys,
    /// Where acts of operators are written down.
    pub audit: Audit,
    /// The page of `/metrics`; its upkeep runs as long as the server does.
    pub prometheus: Prometheus,
    /// `[gateway]`.
    pub settings: Settings,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// How the port does TLS; `None`: not at all.
    pub tls: Option<ServerConfig>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct Shared {
    control: Arc<dyn Control>,
    desk: Arc<dyn Desk>,
    masters: MasterHandle,
    calendar: Calendar,
    broker: Arc<str>,
    rest_account: Arc<str>,
    turns: openalgo::Turns,
    limits: openalgo::Limits,
    keys: ConsumerKeys,
    audit: Audit,
    prometheus: Prometheus,
    clock: Arc<dyn Clock>,
    rules: HostRules,
    started: Instant,
}

/// The running server. Stops when told to; dropping it leaves it running until the process ends.
#[derive(Debug)]
pub struct HttpHandle {
    addr: SocketAddr,
    server: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
    upkeep: JoinHandle<()>,
    watch: JoinHandle<()>,
}

/// Serves on `listener`, with one worker thread. Must be called inside a Tokio runtime.
///
/// # Errors
/// If the listener cannot be used.
pub fn start(listener: TcpListener, deps: Deps) -> io::Result<HttpHandle> {
    let addr = listener.local_addr()?;
    let upkeep = tokio::spawn(deps.prometheus.clone().upkeep());
    let settings = &deps.settings;
    let shared = web::Data::new(Shared {
        control: deps.control,
        desk: deps.desk,
        masters: deps.masters,
        calendar: deps.calendar,
        broker: deps.broker.into(),
        rest_account: settings.rest_account.as_str().into(),
        turns: openalgo::Turns::default(),
        limits: openalgo::Limits::new(settings),
        keys: deps.keys,
        audit: deps.audit,
        prometheus: deps.prometheus,
        clock: deps.clock,
        rules: HostRules::new(&addr.ip().to_string(), &settings.allowed_hosts, &settings.allowed_origins),
        started: Instant::now(),
    });
    let tls = deps.tls;
    let seats = Seats::new(settings.max_http_connections, settings.max_http_connections_per_address);
    let watch = tokio::spawn(Arc::clone(&seats).watch());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .wrap(from_fn(guard::guard))
            // Clients write `//api/v1/…` where their host ends in a slash, and slashes at the end.
            .wrap(NormalizePath::trim())
            .service(get("/healthz", || web::to(health::healthz)))
            .service(get("/readyz", || web::to(health::readyz)))
            .service(get("/v1/status", || web::to(status::status)))
            .service(get("/v1/status/instruments", || web::to(instruments::instruments)))
            .service(get("/metrics", || web::to(status::metrics)))
            .service(
                web::resource("/v1/admin/keys")
                    .route(web::get().to(admin::list_keys))
                    .route(web::post().to(admin::create_key))
                    .default_service(other("GET, POST")),
            )
            .service(
                web::resource("/v1/admin/keys/{name}")
                    .route(web::delete().to(admin::revoke_key))
                    .default_service(other("DELETE")),
            )
            .service(post("/v1/admin/refresh", web::post().to(admin::refresh)))
            .service(post("/v1/admin/revoke", web::post().to(admin::revoke)))
            .service(post("/v1/admin/rotate", web::post().to(admin::rotate)))
            .service(get("/v1/admin/audit", || web::to(admin::audit)))
            .service(post("/v1/admin/reconnect", web::post().to(admin::reconnect)))
            .service(get("/openapi.json", || web::to(openapi)))
            .service(get("/api/v1/instruments", || web::to(openalgo::instruments)))
            .service(get("/api/v1/ticker/{name:.*}", || web::to(openalgo::ticker)))
            .service(web::resource("/api/v1/{endpoint:.*}").route(web::to(openalgo::post)))
            .default_service(web::to(answer::not_found))
    })
    .workers(1)
    .max_connections(MAX_ACCEPTED)
    .max_connection_rate(MAX_ACCEPTED)
    .tls_handshake_timeout(REQUEST_TIMEOUT)
    .client_request_timeout(REQUEST_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .on_connect(move |connection, extensions| seats.on_connect(connection, extensions))
    .disable_signals()
    .shutdown_timeout(2);
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
    };
    let server = server.run();
    Ok(HttpHandle { addr, server: server.handle(), serving: tokio::spawn(server), upkeep, watch })
}

/// Open to all: it says nothing but what this program offers.
async fn openapi() -> HttpResponse {
    HttpResponse::Ok().json(openalgo::document())
}

/// A resource for GET and HEAD.
fn get(path: &str, route: impl Fn() -> Route) -> Resource {
    web::resource(path)
        .route(route().method(actix_web::http::Method::GET))
        .route(route().method(actix_web::http::Method::HEAD))
        .default_service(other("GET, HEAD"))
}

fn post(path: &str, route: Route) -> Resource {
    web::resource(path).route(route).default_service(other("POST"))
}

/// For every method but those of `allowed`.
fn other(allowed: &'static str) -> Route {
    web::to(move |request: HttpRequest| async move { answer::wrong_method(&request, allowed) })
}

impl HttpHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, lets requests end for up to two seconds, closes.
    pub async fn stop(self) {
        self.server.stop(true).await;
        if let Ok(Err(error)) = self.serving.await {
            tracing::warn!(%error, "HTTP server ended badly");
        }
        self.upkeep.abort();
        self.watch.abort();
    }
}
