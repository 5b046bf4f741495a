//! A consumer's socket under TLS, its handshake done. Frames are encrypted as they are written;
//! what the socket does not take of the result waits here, and only here can it wait: it cannot
//! be taken back or conflated any more, so no more is encrypted until it has left.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::task::{Context, Poll, Waker};

use rustls::ServerConnection;
use tokio::net::TcpStream;

use crate::gateway::connection::wire::Wire;
use crate::gateway::tls::accept::Raw;

#[derive(Debug)]
pub(crate) struct TlsSocket {
    pub(super) socket: TcpStream,
    session: Box<ServerConnection>,
    /// Woken when what waits here can go on.
    waker: Waker,
    said_goodbye: bool,
}

impl TlsSocket {
    pub(crate) fn new(socket: TcpStream, session: Box<ServerConnection>) -> Self {
        Self { socket, session, waker: Waker::noop().clone(), said_goodbye: false }
    }

    /// Who is to be woken.
    pub(super) fn wake(&mut self, waker: &Waker) {
        self.waker.clone_from(waker);
    }

    /// Sends what is encrypted already. `false`: the socket is full, and the waker will be woken.
    pub(super) fn push(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Raw(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    match self.socket.poll_write_ready(&mut Context::from_waker(&self.waker)) {
                        Poll::Pending => return Ok(false),
                        Poll::Ready(ready) => ready?,
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Says that nothing follows, so that the peer can tell the end from a cut. Whether it has left.
    pub(super) fn finish(&mut self) -> bool {
        if !std::mem::replace(&mut self.said_goodbye, true) {
            self.session.send_close_notify();
        }
        // A broken socket has nothing to wait for.
        self.push().unwrap_or(true)
    }

    fn encrypt(
        &mut self,
        write: impl FnOnce(&mut rustls::Writer<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.push()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Bounded by rustls' own buffer of 64 KiB, which is empty now.
        let taken = write(&mut self.session.writer())?;
        self.push()?;
        Ok(taken)
    }
}

impl Wire for TlsSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            // 0 is the peer's goodbye; an end without one is an error.
            match self.session.reader().read(into) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            let len = self.session.read_tls(&mut Raw(&self.socket))?;
            let processed = self.session.process_new_packets();
            // Answers to the peer's TLS, or the alert that says what was wrong with it.
            self.push()?;
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if len == 0 {
                // The reader knows what kind of end it is.
                return self.session.reader().read(into);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encrypt(|writer| writer.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.encrypt(|writer| writer.write_vectored(slices))
    }
}
