//! The transport as the driver holds it: opening, open, or none. What an old one still had to say dies with it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rejoin_core::{Stage, TransportError, TransportErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use zeroize::Zeroize;

use crate::renewal::Identity;
use crate::stages::Stages;
use crate::transport::{self, BoxStream, Clocks, Dial, Meter, OpenError, Trip, Way, transport_error};
use crate::url::ServerUrl;

/// What is read without a read buffer, in bytes: more than a quiet link is told at once.
const FIRST_SIZE: usize = 128;
/// So many reads do without one after a rest: a link on which only pings are answered never has one.
const FIRST_READS: u8 = 4;
/// The smallest read buffer, in bytes. One that is filled is doubled.
const READ_MIN: usize = 1024;
/// The read buffer of a busy link, in bytes.
const READ_MAX: usize = 64 * 1024;
/// Chunks handed to the system in one call.
const CHUNKS: usize = 64;
/// How long the next link waits for the broker to end the one before.
const PARTING: Duration = Duration::from_millis(250);

/// One transport, or none.
#[derive(Default)]
pub(crate) enum Wire {
    #[default]
    None,
    Opening(Opening),
    Open(Open),
}

/// What an attempt came to.
pub(crate) struct Opened {
    pub(crate) result: Result<Way, OpenError>,
    /// How long its stages took, also when it failed.
    pub(crate) stages: Box<Stages>,
    /// Who we are for its CONNECT.
    pub(crate) identity: Identity,
}

/// How an attempt is going.
pub(crate) enum Progress {
    Stage(Stage),
    Done(Box<Opened>),
}

/// An attempt under way; dropping it withdraws it.
pub(crate) struct Opening {
    task: JoinHandle<Opened>,
    stages: UnboundedReceiver<Stage>,
}

impl Opening {
    /// Begins in a task of its own: what it waits for never holds up the driver.
    ///
    /// `before`: the end of the link before, where it was an orderly one. A broker that sees the new CONNECT first takes
    /// the old link for one that broke off, and sends its will.
    pub(crate) fn begin(
        dial: &Arc<Dial>,
        target: ServerUrl,
        clocks: Clocks,
        before: Option<JoinHandle<bool>>,
    ) -> Self {
        let (told, stages) = unbounded_channel();
        let dial = Arc::clone(dial);
        let task = tokio::spawn(async move {
            let mut trip = Trip::new(told);
            let mut identity = Identity::default();
            let result = match transport::credentials(&dial, &mut trip).await {
                Ok(asked) => {
                    identity = asked;
                    if let Some(before) = before {
                        let _ = tokio::time::timeout(PARTING, before).await;
                    }
                    transport::open(&dial, &target, clocks, &mut trip).await
                }
                Err(error) => Err(error),
            };
            Opened { result, stages: Box::new(trip.stages), identity }
        });
        Self { task, stages }
    }

    /// The stages are told before the end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        if let Poll::Ready(Some(stage)) = self.stages.poll_recv(cx) {
            return Poll::Ready(Progress::Stage(stage));
        }
        let done = ready!(Pin::new(&mut self.task).poll(cx)).unwrap_or_else(|error| {
            let error =
                TransportError::new(TransportErrorKind::Other, format!("the attempt broke off: {error}"));
            let result = Err(OpenError { stage: Stage::Tcp, error });
            Opened { result, stages: Box::default(), identity: Identity::default() }
        });
        Poll::Ready(Progress::Done(Box::new(done)))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An open transport.
pub(crate) struct Open {
    stream: BoxStream,
    out: VecDeque<Bytes>,
    input: BytesMut,
    read_size: usize,
    /// Reads since the last rest that did without a buffer.
    first_reads: u8,
    /// Bytes that TLS or WebSocket took and the system has perhaps not.
    unflushed: usize,
    /// What left below them, and how much of it was known.
    meter: Option<Meter>,
    metered: u64,
    /// The first chunk holds CONNECT, and with it the password.
    wipe: bool,
    /// Writing failed. What the peer said before is still read first: it may be the reason.
    write_error: Option<TransportError>,
}

impl Open {
    pub(crate) fn new((stream, meter): Way) -> Self {
        let metered = meter.as_ref().map_or(0, Meter::bytes);
        Self {
            stream,
            out: VecDeque::new(),
            input: BytesMut::new(),
            read_size: READ_MIN,
            first_reads: 0,
            unflushed: 0,
            meter,
            metered,
            wipe: true,
            write_error: None,
        }
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

    /// Nothing happens for a while: gives back the room that what happened took.
    pub(crate) fn rest(&mut self) {
        self.first_reads = 0;
        self.read_size = READ_MIN;
        self.input = BytesMut::new();
        if self.out.is_empty() {
            self.out.shrink_to_fit();
        }
    }

    /// Reads once. An error ends the transport.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, TransportError>> {
        if self.first_reads < FIRST_READS {
            return self.poll_first_read(cx);
        }
        if self.input.capacity() - self.input.len() < self.read_size / 4 {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match read {
            Poll::Pending => self.nothing_read(),
            Poll::Ready(Ok(0)) => Poll::Ready(Err(closed())),
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

    fn poll_first_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, TransportError>> {
        let mut room = [const { MaybeUninit::uninit() }; FIRST_SIZE];
        let mut read = ReadBuf::uninit(&mut room);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Pending => self.nothing_read(),
            Poll::Ready(Ok(())) if read.filled().is_empty() => Poll::Ready(Err(closed())),
            Poll::Ready(Ok(())) => {
                let more = read.remaining() == 0;
                self.first_reads = if more { FIRST_READS } else { self.first_reads + 1 };
                Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(transport_error("reading", &error))),
        }
    }

    /// Reading ran dry: what failed at writing is told now.
    fn nothing_read<T>(&mut self) -> Poll<Result<T, TransportError>> {
        self.write_error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }

    /// Writes once and says how much the system took; pending when there is nothing to write. What a layer above TCP
    /// keeps back counts when it is flushed: else a link that takes nothing would look like one that does.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.write_error.is_some() || (self.out.is_empty() && self.unflushed == 0) {
            return Poll::Pending;
        }
        let written = match self.poll_write_and_flush(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(written) => written,
        };
        written.map_or_else(
            |error| {
                self.write_error = Some(transport_error("writing", &error));
                // Reading decides what is reported, and it has perhaps run dry already.
                cx.waker().wake_by_ref();
                Poll::Pending
            },
            Poll::Ready,
        )
    }

    fn poll_write_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unflushed == 0 {
            let mut slices = [IoSlice::new(&[]); CHUNKS];
            let mut used = 0;
            for (slot, bytes) in slices.iter_mut().zip(&self.out) {
                *slot = IoSlice::new(bytes);
                used += 1;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = written;
            self.advance(written);
        }
        if Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
            return self.seen_below();
        }
        self.metered = self.meter.as_ref().map_or(0, Meter::bytes);
        Poll::Ready(Ok(std::mem::take(&mut self.unflushed)))
    }

    /// A flush that takes long is no stall while bytes leave. What TLS adds to them makes this a guess, which never
    /// counts the last byte: that one is reported when all is out.
    fn seen_below(&mut self) -> Poll<io::Result<usize>> {
        let Some(meter) = &self.meter else { return Poll::Pending };
        let bytes = meter.bytes();
        let left = usize::try_from(bytes - std::mem::replace(&mut self.metered, bytes)).unwrap_or(usize::MAX);
        let seen = left.min(self.unflushed.saturating_sub(1));
        if seen == 0 {
            return Poll::Pending;
        }
        self.unflushed -= seen;
        Poll::Ready(Ok(seen))
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(front) = self.out.front_mut() else { return };
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            let sent = self.out.pop_front();
            if let (true, Some(sent)) = (std::mem::take(&mut self.wipe), sent) {
                wiped(sent);
            }
        }
    }

    /// Ends it in order in a task of its own, which says whether it was.
    pub(crate) fn finish(self, limit: Duration) -> JoinHandle<bool> {
        tokio::spawn(transport::finish(self.stream, self.out, limit))
    }
}

fn closed() -> TransportError {
    TransportError::new(TransportErrorKind::Closed, "the peer closed the connection")
}

/// Overwrites bytes nobody else holds. They are ours alone unless a payload shares them.
fn wiped(bytes: Bytes) {
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.zeroize();
    }
}
