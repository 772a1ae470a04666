//! The transport as the driver holds it: opening, open, or none. What an old one still had to say dies with it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rejoin_core::{TransportError, TransportErrorKind};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::task::JoinHandle;

use crate::transport::{self, ByteStream, OpenError, Target, transport_error};

/// The read buffer of a quiet link, in bytes.
const READ_MIN: usize = 4 * 1024;
/// The read buffer of a busy link, in bytes.
const READ_MAX: usize = 64 * 1024;
/// Chunks handed to the system in one call.
const CHUNKS: usize = 64;

/// One transport, or none.
#[derive(Default)]
pub(crate) enum Wire {
    #[default]
    None,
    Opening(Opening),
    Open(Open),
}

/// An attempt under way; dropping it withdraws it.
pub(crate) struct Opening(JoinHandle<Result<Box<dyn ByteStream>, OpenError>>);

impl Opening {
    /// Begins in a task of its own: name look-up may block, and the driver never does.
    pub(crate) fn begin(target: Target, user_timeout: Duration, limit: Duration) -> Self {
        Self(tokio::spawn(transport::open(target, user_timeout, limit)))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn ByteStream>, OpenError>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or_else(|error| {
            let error =
                TransportError::new(TransportErrorKind::Other, format!("the attempt broke off: {error}"));
            Err(OpenError { stage: rejoin_core::Stage::Tcp, error })
        }))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An open transport.
pub(crate) struct Open {
    stream: Box<dyn ByteStream>,
    out: VecDeque<Bytes>,
    input: BytesMut,
    read_size: usize,
    /// Writing failed. What the peer said before is still read first: it may be the reason.
    write_error: Option<TransportError>,
}

impl Open {
    pub(crate) fn new(stream: Box<dyn ByteStream>) -> Self {
        Self { stream, out: VecDeque::new(), input: BytesMut::new(), read_size: READ_MIN, write_error: None }
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.out.push_back(bytes);
        }
    }

    /// Whether writing failed; reading then tells why, or that nothing does.
    pub(crate) const fn is_broken(&self) -> bool {
        self.write_error.is_some()
    }

    /// Reads once. An error ends the transport.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, TransportError>> {
        if self.input.capacity() - self.input.len() < self.read_size / 4 {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match read {
            Poll::Pending => match self.write_error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
            Poll::Ready(Ok(0)) => Poll::Ready(Err(TransportError::new(
                TransportErrorKind::Closed,
                "the peer closed the connection",
            ))),
            Poll::Ready(Ok(n)) => {
                self.read_size = match n {
                    n if n == room => (self.read_size * 2).min(READ_MAX),
                    n if n < self.read_size / 8 => (self.read_size / 2).max(READ_MIN),
                    _ => self.read_size,
                };
                Poll::Ready(Ok(self.input.split().freeze()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(transport_error("reading", &error))),
        }
    }

    /// Writes once and says how much; pending when there is nothing to write.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.out.is_empty() || self.write_error.is_some() {
            return Poll::Pending;
        }
        let mut slices = [IoSlice::new(&[]); CHUNKS];
        let mut used = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.out) {
            *slot = IoSlice::new(bytes);
            used += 1;
        }
        match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..used])) {
            Ok(written) => {
                self.advance(written);
                Poll::Ready(written)
            }
            Err(error) => {
                self.write_error = Some(transport_error("writing", &error));
                // Reading decides what is reported, and it has perhaps run dry already.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(front) = self.out.front_mut() else { return };
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.out.pop_front();
        }
    }

    /// Ends it in order in a task of its own, which says whether it was.
    pub(crate) fn finish(self, limit: Duration) -> JoinHandle<bool> {
        tokio::spawn(transport::finish(self.stream, self.out, limit))
    }
}
