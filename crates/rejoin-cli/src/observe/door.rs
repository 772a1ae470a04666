//! The listening socket: a bounded number of connections, each with a limit for every wait.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::limits::Limits;

/// Connections the system holds until they are accepted.
const BACKLOG: u32 = 128;

/// How long somebody who is turned away is listened to, so that the answer reaches him.
const TURNED_AWAY: Duration = Duration::from_millis(500);

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Retry-After: 5\r\nConnection: close\r\nContent-Length: 69\r\n\r\n\
    too many connections to this program; close pages that you do not use";

/// Takes connections.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    /// Those who are turned away and still listened to.
    refusals: Arc<Semaphore>,
    limits: Limits,
}

/// Listens from now on; who comes waits until the door is opened. Must be called inside a runtime.
pub(crate) fn bind(addr: SocketAddr, limits: &Limits) -> io::Result<std::net::TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(limits.send_buffer)?;
    socket.bind(addr)?;
    // Without its runtime: the door is opened in another one.
    socket.listen(BACKLOG)?.into_std()
}

impl Door {
    /// Opens it, in the runtime that serves.
    pub(crate) fn open(listener: std::net::TcpListener, limits: Limits) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            slots: Arc::new(Semaphore::new(limits.connections)),
            refusals: Arc::new(Semaphore::new(limits.connections)),
            limits,
        })
    }

    fn turn_away(&self, stream: TcpStream) {
        // Beyond that many even the answer costs too much: the connection is dropped.
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        tokio::spawn(turn_away(stream, permit));
    }
}

async fn turn_away(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    if stream.writable().await.is_err() || stream.try_write(FULL).is_err() {
        return;
    }
    // A socket closed with unread bytes is reset, and the answer with it.
    let mut request = [0; 1_024];
    let _ = timeout(TURNED_AWAY, async {
        for _ in 0..16 {
            if !stream.read(&mut request).await.is_ok_and(|n| n == request.len()) {
                return;
            }
        }
    })
    .await;
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => match Arc::clone(&self.slots).try_acquire_owned() {
                    Ok(slot) => return (Visit::new(stream, slot, self.limits), from),
                    Err(_) => self.turn_away(stream),
                },
                // The peer went away before it was greeted, or descriptors are short: neither ends the server.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `closing` has no sender any more, and then until the answers under way are out.
pub(crate) async fn serve(door: Door, router: Router, mut closing: watch::Receiver<()>) {
    let service = router.into_make_service_with_connect_info::<Caller>();
    let closed = async move { while closing.changed().await.is_ok() {} };
    let served = axum::serve(door, service).with_graceful_shutdown(closed).await;
    debug_assert!(served.is_ok(), "a door never fails: {served:?}");
}

/// Whoever asks, for whom something may be in the works that takes long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    working: Arc<AtomicUsize>,
}

impl Caller {
    /// While this lives, nothing has to be written to him.
    pub(crate) fn working(&self) -> impl Drop + use<> {
        struct Working(Arc<AtomicUsize>);
        impl Drop for Working {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(&self.working))
    }
}

impl Connected<IncomingStream<'_, Door>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().caller.clone()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Visit {
    stream: TcpStream,
    caller: Caller,
    /// Fires when nothing was written for too long: reading fails then.
    quiet: Pin<Box<Sleep>>,
    /// Fires when what is to be written waits for too long.
    stalled: Option<Pin<Box<Sleep>>>,
    limits: Limits,
    _slot: OwnedSemaphorePermit,
}

impl Visit {
    fn new(stream: TcpStream, slot: OwnedSemaphorePermit, limits: Limits) -> Self {
        // Updates are small and wait for nobody; a socket that refuses is slower, not wrong.
        let _ = stream.set_nodelay(true);
        let quiet = Box::pin(sleep(limits.quiet));
        Self { stream, caller: Caller::default(), quiet, stalled: None, limits, _slot: slot }
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            self.quiet.as_mut().reset(Instant::now() + self.limits.quiet);
            return result;
        }
        let end = Instant::now() + self.limits.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(end)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader does not read")))
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Looked at first: a byte now and then must not keep the connection.
        while self.quiet.as_mut().poll(cx).is_ready() {
            // His answer is being worked on, within a limit of its own.
            if self.caller.working.load(Ordering::Relaxed) > 0 {
                let end = Instant::now() + self.limits.quiet;
                self.quiet.as_mut().reset(end);
                continue;
            }
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came")));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
