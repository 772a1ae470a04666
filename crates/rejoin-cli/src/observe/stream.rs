//! One reader of the stream of updates: pulls the next one when the last was taken, so nothing piles up for him.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::limits::Limits;
use super::live::{Live, Next};

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Reader(mpsc::Receiver<Bytes>);

impl Reader {
    /// A reader who has everything up to `seen`. The permit is given back when he is gone.
    pub(crate) fn new(
        live: Arc<Live>,
        seen: Option<u64>,
        limits: Limits,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        // One update is on its way to him; all others are in the ring, which he shares.
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // Dropping the body ends this task at its next step, and with it the permit.
            let _permit = permit;
            follow(&live, seen, limits, &sender).await;
        });
        Self(receiver)
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(Ok))
    }
}

async fn follow(live: &Live, mut seen: Option<u64>, limits: Limits, to: &mpsc::Sender<Bytes>) {
    let mut newest = live.watch();
    // Told at once, so that whoever waits for the first byte knows that he is heard.
    if to.send(Bytes::from_static(b"retry: 1000\n: rejoin\n\n")).await.is_err() {
        return;
    }
    loop {
        let Ok(place) = to.reserve().await else { return };
        newest.mark_unchanged();
        match live.after(seen) {
            Next::Event(number, event) | Next::Reset(number, event) => {
                seen = Some(number);
                place.send(event);
            }
            Next::Over => return,
            Next::Nothing => {
                tokio::select! {
                    changed = timeout(limits.keep_alive, newest.changed()) => match changed {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return,
                        Err(_) => place.send(Bytes::from_static(b": still here\n\n")),
                    },
                    () = to.closed() => return,
                }
            }
        }
    }
}
