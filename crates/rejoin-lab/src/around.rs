//! What a scripted broker speaks through: a socket, or one with something around it, such as TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A stream a script can speak through.
pub trait Spoken: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> Spoken for T {}

type Made = Pin<Box<dyn Future<Output = io::Result<Box<dyn Spoken>>> + Send>>;

/// What is put around each accepted socket, the server's side of TLS for example; it may fail, as a handshake does.
#[derive(Clone)]
pub struct Around(Arc<dyn Fn(TcpStream) -> Made + Send + Sync>);

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around").finish_non_exhaustive()
    }
}

impl Around {
    /// Made of what does it.
    pub fn new<S, F, R>(around: F) -> Self
    where
        S: Spoken + 'static,
        F: Fn(TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<S>> + Send + 'static,
    {
        let boxed = move |stream| -> Made {
            let made = around(stream);
            Box::pin(async { Ok(Box::new(made.await?) as Box<dyn Spoken>) })
        };
        Self(Arc::new(boxed))
    }
}

/// One accepted connection. The socket is held beside the stream, whatever that hides, to end it as a script says.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) stream: Box<dyn Spoken>,
    socket: Socket,
}

impl Way {
    pub(crate) async fn through(stream: TcpStream, around: Option<&Around>) -> io::Result<Self> {
        let socket = SockRef::from(&stream).try_clone()?;
        let _ = stream.set_nodelay(true);
        let stream = match around {
            Some(around) => (around.0)(stream).await?,
            None => Box::new(stream),
        };
        Ok(Self { stream, socket })
    }

    /// Ends the connection with RST.
    pub(crate) fn reset(self) {
        // An error here means that the connection is gone already.
        let _ = self.socket.set_linger(Some(std::time::Duration::ZERO));
    }
}
