//! Bounds the HTTP port's connections: in all, for each address, and in the time that one may be
//! open without asking for anything. Who asks for nothing gives way to who comes. Knows no request
//! but that there is one.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::{SockRef, Socket};
use tokio::time::{Duration, Instant};

use crate::telemetry::metrics::HTTP_REFUSED;

/// How long a connection may do nothing. The framework ends idle ones sooner, but neither those that
/// send a second request a byte at a time nor those that do not read their answer.
const IDLE: Duration = Duration::from_mins(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Every connection.
#[derive(Debug)]
pub(super) struct Seats {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    /// A handle of its own: ends the connection although the framework owns it.
    socket: Socket,
    requests: usize,
    idle_since: Instant,
    /// It was ended for another.
    ended: bool,
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.requests == 0 && !self.ended
    }

    fn end(&mut self) {
        self.ended = true;
        // Gone already is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A connection's place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Server,
    Address,
}

impl Refused {
    const fn label(self) -> &'static str {
        match self {
            Self::Server => "server_full",
            Self::Address => "address_full",
        }
    }
}

impl Seats {
    pub(super) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default() })
    }

    /// Touched when a connection or a request begins and ends.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the framework with each connection, before its first request. One that gets no place
    /// is ended without a word: a word would take a place.
    pub(super) fn on_connect(self: &Arc<Self>, connection: &dyn Any, extensions: &mut Extensions) {
        let socket = if let Some(plain) = connection.downcast_ref::<TcpStream>() {
            plain
        } else if let Some(tls) = connection.downcast_ref::<TlsStream<TcpStream>>() {
            tls.get_ref().0
        } else {
            return;
        };
        // The framework leaves Nagle's algorithm on, which costs milliseconds per answer.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        let handle = SockRef::from(socket);
        let (Ok(peer), Ok(own)) = (socket.peer_addr(), handle.try_clone()) else {
            let _ = handle.shutdown(Shutdown::Both);
            return;
        };
        match self.take(peer.ip(), own) {
            Ok(seat) => drop(extensions.insert(seat)),
            Err(refused) => {
                tracing::debug!(%peer, reason = refused.label(), "HTTP connection refused");
                metrics::counter!(HTTP_REFUSED, "reason" => refused.label()).increment(1);
                let _ = handle.shutdown(Shutdown::Both);
            }
        }
    }

    fn take(self: &Arc<Self>, address: IpAddr, socket: Socket) -> Result<Seat, Refused> {
        let address = address.to_canonical();
        let mut taken = self.taken();
        let open = taken.connections.values().filter(|c| !c.ended).count();
        let of_address = taken.connections.values().filter(|c| !c.ended && c.address == address).count();
        // Behind a proxy on this machine stand many users; it is bounded as a whole.
        if !address.is_loopback() && of_address >= self.max_per_address {
            taken.end_idlest(|c| c.address == address).ok_or(Refused::Address)?;
        } else if open >= self.max {
            taken.end_idlest(|_| true).ok_or(Refused::Server)?;
        }
        let number = taken.next;
        taken.next += 1;
        let idle_since = Instant::now();
        let connection = Connection { address, socket, requests: 0, idle_since, ended: false };
        taken.connections.insert(number, connection);
        Ok(Seat { seats: Arc::clone(self), number })
    }

    /// Ends those that have done nothing for too long. Never ends itself.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            for connection in self.taken().connections.values_mut() {
                if connection.is_idle() && now.duration_since(connection.idle_since) >= IDLE {
                    metrics::counter!(HTTP_REFUSED, "reason" => "idle").increment(1);
                    connection.end();
                }
            }
        }
    }
}

impl Taken {
    /// Ends the connection that has been idle for the longest time.
    fn end_idlest(&mut self, which: impl Fn(&Connection) -> bool) -> Option<()> {
        let idle = self.connections.values_mut().filter(|c| c.is_idle() && which(c));
        let idlest = idle.min_by_key(|c| c.idle_since)?;
        metrics::counter!(HTTP_REFUSED, "reason" => "gave_way").increment(1);
        idlest.end();
        Some(())
    }
}

impl Seat {
    /// A request is served until this is dropped.
    pub(super) fn serve(&self) -> Serving {
        self.count(|requests| requests + 1);
        Serving { seats: Arc::clone(&self.seats), number: self.number }
    }

    fn count(&self, change: impl Fn(usize) -> usize) {
        self.seats.count(self.number, change);
    }
}

impl Seats {
    fn count(&self, number: u64, change: impl Fn(usize) -> usize) {
        if let Some(connection) = self.taken().connections.get_mut(&number) {
            connection.requests = change(connection.requests);
            connection.idle_since = Instant::now();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().connections.remove(&self.number);
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(super) struct Serving {
    seats: Arc<Seats>,
    number: u64,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.seats.count(self.number, |requests| requests.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    }

    #[test]
    fn the_idlest_gives_way_and_who_is_served_does_not() {
        let seats = Seats::new(3, 2);
        let take = |address: &str| seats.take(address.parse().unwrap(), socket());
        let first = take("192.0.2.1").unwrap();
        let second = take("::ffff:192.0.2.1").unwrap();
        let serving = first.serve();
        let ended = |seat: &Seat| seats.taken().connections[&seat.number].ended;
        let third = take("192.0.2.1").unwrap();
        assert!(ended(&second) && !ended(&first), "its address has two, and one of them is served");
        let busy = [first.serve(), third.serve()];
        assert_eq!(take("192.0.2.1").unwrap_err(), Refused::Address);
        let fourth = take("192.0.2.2").unwrap();
        let fifth = take("127.0.0.1").unwrap();
        assert!(ended(&fourth), "there are three in all");
        let last = fifth.serve();
        assert_eq!(take("127.0.0.1").unwrap_err(), Refused::Server);
        drop((serving, busy, last));
        assert!(take("127.0.0.1").is_ok());
        drop((first, second, third, fourth, fifth));
        assert!(seats.taken().connections.is_empty());
    }
}
