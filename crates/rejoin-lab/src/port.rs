//! A loopback port that can stop listening without being lost to somebody else.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

/// Connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// A port of ours. While nobody listens the socket stays bound: connections are refused, and the system cannot
/// hand the port to an outgoing connection, which would let a client that dials it connect to itself.
#[derive(Debug)]
pub(crate) struct Port {
    addr: SocketAddr,
    held: Option<TcpSocket>,
}

impl Port {
    /// Takes a port; port 0 lets the system choose.
    pub(crate) fn take(addr: SocketAddr) -> io::Result<Self> {
        let socket = bind(addr)?;
        Ok(Self { addr: socket.local_addr()?, held: Some(socket) })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens. The listener must be dropped before [`Self::hold`].
    pub(crate) fn listen(&mut self) -> io::Result<TcpListener> {
        let socket = match self.held.take() {
            Some(socket) => socket,
            None => bind(self.addr)?,
        };
        socket.listen(BACKLOG)
    }

    /// Takes the port back after its listener was dropped.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        if self.held.is_none() {
            self.held = Some(bind(self.addr)?);
        }
        Ok(())
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the previous listener may still be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Makes the coming close of the socket a reset.
pub(crate) fn reset_on_drop<'a>(socket: impl Into<SockRef<'a>>) {
    // An error here means that the connection is gone already.
    let _ = socket.into().set_linger(Some(std::time::Duration::ZERO));
}
