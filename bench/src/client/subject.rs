//! What the modes need of a client that is driven from tokio, and where it tells what it heard.

use super::Job;
use bytes::Bytes;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// A client as its users drive it.
pub(super) trait Subject: Sized {
    /// Starts it. Whether a broker answers is told to the ear.
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String>;

    /// Hands over one message; waits as long as the client has no room for it.
    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String>;

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String>;

    /// Everything handed over has its acknowledgement.
    async fn settle(&mut self, ear: &Ear) -> Result<(), String> {
        ear.all_acknowledged().await
    }
}

/// Counts what comes back to the application.
pub(crate) struct Ear {
    origin: Instant,
    size: usize,
    wanted: Wanted,
    acks: AtomicU64,
    messages: AtomicU64,
    opened: AtomicU64,
    /// Nanoseconds of each round trip, where they are measured.
    trips: Option<Mutex<Vec<u64>>>,
    failure: Mutex<Option<String>>,
    changed: Notify,
}

/// When the application has to be woken.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) acks: u64,
    pub(crate) messages: u64,
}

impl Ear {
    pub(super) fn new(size: usize, wanted: Wanted, trips: bool) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            size,
            wanted,
            acks: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            trips: trips.then(|| Mutex::new(Vec::new())),
            failure: Mutex::new(None),
            changed: Notify::new(),
        })
    }

    /// A CONNACK with success came.
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// PUBACK or PUBCOMP came; rejoin is asked for all of them at once instead.
    #[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "the peers tell each"))]
    pub(super) fn acknowledged(&self) {
        if self.acks.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted.acks {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn message(&self, payload: &[u8]) {
        if let Some(trips) = &self.trips {
            let sent = payload.first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
            let took = (self.origin.elapsed().as_nanos() as u64).saturating_sub(sent);
            trips.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
        let more = u64::from(payload.len() == self.size);
        if self.messages.fetch_add(more, Ordering::Relaxed) + more == self.wanted.messages {
            self.changed.notify_waiters();
        }
    }

    /// The run cannot go on.
    pub(super) fn fail(&self, why: impl ToString) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
        self.changed.notify_waiters();
    }

    /// Since when round trips count.
    pub(super) fn now(&self) -> [u8; 8] {
        (self.origin.elapsed().as_nanos() as u64).to_le_bytes()
    }

    pub(super) fn trips(&self) -> Vec<u64> {
        self.trips
            .as_ref()
            .map(|trips| trips.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }

    /// Acknowledged and received so far, for a run that does not end.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (self.acks.load(Ordering::Relaxed), self.messages.load(Ordering::Relaxed))
    }

    pub(super) async fn has_opened(&self) -> Result<(), String> {
        self.until(|| self.opened.load(Ordering::Relaxed) > 0).await
    }

    pub(super) async fn all_acknowledged(&self) -> Result<(), String> {
        self.until(|| self.acks.load(Ordering::Relaxed) >= self.wanted.acks).await
    }

    pub(super) async fn all_received(&self) -> Result<(), String> {
        self.until(|| self.messages.load(Ordering::Relaxed) >= self.wanted.messages).await
    }

    fn until(&self, done: impl Fn() -> bool) -> impl Future<Output = Result<(), String>> {
        async move {
            loop {
                let changed = self.changed.notified();
                if done() {
                    return Ok(());
                }
                if let Some(why) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    return Err(why);
                }
                changed.await;
            }
        }
    }
}
