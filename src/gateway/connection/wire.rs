//! A consumer's socket as connections see it: bytes in, bytes out, never waiting.
//! Not readiness; who waits for a socket is the shard.

use std::io::{self, IoSlice};
use std::task::Waker;

use tokio::net::TcpStream;

use crate::gateway::connection::tls::TlsSocket;

/// The most slices of one [`Wire::write_vectored`]. More of them cost more than copying.
pub(crate) const MAX_SLICES: usize = 64;

/// Something that takes and gives bytes, or says `WouldBlock`.
pub(crate) trait Wire {
    /// Reads what is there; 0 is the end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    /// Writes some of `bytes`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Writes some of `slices`, in order; at most [`MAX_SLICES`].
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// What a consumer's bytes travel over.
#[derive(Debug)]
pub(crate) enum Transport {
    /// TCP as it is.
    Plain(TcpStream),
    /// Encrypted. Boxed: the plain ones stay small.
    Tls(Box<TlsSocket>),
}

impl Transport {
    /// The socket underneath.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }

    /// The socket underneath, for shutting it down.
    pub(crate) fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &mut tls.socket,
        }
    }

    /// Who is to be woken when what was written, and has not left, can. A plain socket keeps nothing.
    pub(crate) fn wake(&mut self, waker: &Waker) {
        if let Self::Tls(tls) = self {
            tls.wake(waker);
        }
    }

    /// Sends what was written and has not left.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.push().map(drop),
        }
    }

    /// Makes an end of writing; whether everything has left.
    pub(crate) fn finish(&mut self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.finish(),
        }
    }
}

impl Wire for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write_vectored(slices),
            Self::Tls(tls) => tls.write_vectored(slices),
        }
    }
}
