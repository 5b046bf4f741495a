//! A consumer's socket as connections see it: bytes in, bytes out, never waiting.
//! Not readiness; who waits for a socket is the shard.

use std::io::{self, IoSlice};

use tokio::net::TcpStream;

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
}

impl Transport {
    /// The socket underneath.
    pub(crate) fn socket(&self) -> &TcpStream {
        let Self::Plain(socket) = self;
        socket
    }

    /// The socket underneath, for shutting it down.
    pub(crate) fn socket_mut(&mut self) -> &mut TcpStream {
        let Self::Plain(socket) = self;
        socket
    }
}

impl Wire for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket().try_read(into)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket().try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket().try_write_vectored(slices)
    }
}
