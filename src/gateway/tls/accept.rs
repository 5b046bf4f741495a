//! TLS handshakes of the feed port, on a thread of their own: what they cost is no shard's, so a
//! storm of them delays nobody's ticks. Bounded in number, bytes and time. What a connection says
//! after its handshake is the shard's.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::gateway::handshake::Full;
use crate::gateway::listener::Admitted;
use crate::gateway::shard::Order;
use crate::telemetry::metrics::CONSUMERS_REFUSED;

/// Handshakes that may wait for their turn; more are dropped.
pub(crate) const WAITING: usize = 1024;
/// A client's part of a handshake; there are no client certificates.
const MAX_BYTES: usize = 32 << 10;
/// What the first record of a TLS connection begins with.
const HANDSHAKE_RECORD: u8 = 22;
/// For programs that forgot the `s` of `wss://`.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 29\r\nConnection: close\r\n\r\nthis port speaks TLS: wss://\n";

/// A connection whose handshake is to be done.
pub(crate) struct Job {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) full: Option<Full>,
    pub(crate) admitted: Admitted,
    pub(crate) since: Instant,
    /// Not after this.
    pub(crate) until: Instant,
    /// The shard that gets it.
    pub(crate) orders: mpsc::UnboundedSender<Order>,
}

/// Does handshakes until nobody can ask for one any more.
pub(crate) fn run(runtime: &Runtime, config: &Arc<ServerConfig>, mut jobs: mpsc::Receiver<Job>) {
    runtime.block_on(async {
        while let Some(job) = jobs.recv().await {
            tokio::spawn(one(job, Arc::clone(config)));
        }
    });
}

async fn one(job: Job, config: Arc<ServerConfig>) {
    let Job { socket, peer, full, admitted, since, until, orders } = job;
    let done = tokio::time::timeout_at(until, async {
        socket.set_nodelay(true)?;
        let socket = TcpStream::from_std(socket)?;
        let session = handshake(&socket, config).await?;
        Ok::<_, io::Error>((socket.into_std()?, session))
    });
    let label = match done.await {
        Ok(Ok((socket, session))) => {
            let tls = Some(Box::new(session));
            let _ = orders.send(Order::Accept { socket, tls, peer, full, admitted, since });
            return;
        }
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            "tls"
        }
        Err(_) => "timeout",
    };
    metrics::counter!(CONSUMERS_REFUSED, "reason" => label).increment(1);
}

/// Shakes hands as the server.
async fn handshake(socket: &TcpStream, config: Arc<ServerConfig>) -> io::Result<ServerConnection> {
    let mut first = [0];
    // Before anything is computed or allocated for it.
    if socket.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
        let _ = socket.try_write(NOT_TLS);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not TLS"));
    }
    let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut received = 0;
    loop {
        while session.wants_write() {
            match session.write_tls(&mut Raw(socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                Err(e) => return Err(e),
            }
        }
        if !session.is_handshaking() {
            return Ok(session);
        }
        match session.read_tls(&mut Raw(socket)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => received += len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                socket.readable().await?;
                continue;
            }
            Err(e) => return Err(e),
        }
        if let Err(error) = session.process_new_packets() {
            // The alert tells the peer why.
            let _ = session.write_tls(&mut Raw(socket));
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        // Frames may follow at once; they are within what is read at a time.
        if session.is_handshaking() && received > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long"));
        }
    }
}

/// A socket as rustls reads and writes it: never waiting.
pub(crate) struct Raw<'a>(pub(crate) &'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
