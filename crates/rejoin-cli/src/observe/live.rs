//! The run as everybody reads it: each update is written once and shared, and whoever was away takes up where he was.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::document::Document;
use super::limits::Limits;
use super::run::Run;
use super::update::Update;

/// One run and its last updates.
#[derive(Debug)]
pub(crate) struct Live {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
    /// Names the run in the ids, so that a page does not go on with the numbers of another one.
    name: String,
    limits: Limits,
}

#[derive(Debug)]
struct Inner {
    run: Run,
    ring: VecDeque<Frame>,
    bytes: usize,
    newest: u64,
    /// No update comes any more.
    over: bool,
    /// The document as JSON, written at most once for each update.
    snapshot: Option<(u64, Bytes)>,
}

#[derive(Clone, Debug)]
struct Frame {
    number: u64,
    event: Bytes,
}

/// What a reader who has everything up to some number gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The update with this number, as a server-sent event.
    Event(u64, Bytes),
    /// What came next is forgotten: fetch the whole, and go on from this number.
    Reset(u64, Bytes),
    /// Nothing yet.
    Nothing,
    /// That was the last one.
    Over,
}

impl Live {
    /// A run nobody has read yet.
    pub(crate) fn new(run: Run, limits: Limits) -> Self {
        let name = format!("{:x}", run.document().clock.started_unix_ms);
        let inner = Inner { run, ring: VecDeque::new(), bytes: 0, newest: 0, over: false, snapshot: None };
        Self { inner: Mutex::new(inner), newest: watch::Sender::new(0), name, limits }
    }

    /// Changes the run. Nobody sees it before the next [`Live::publish`].
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Run) -> T) -> T {
        change(&mut self.lock().run)
    }

    /// Reads the document as of the last update.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Document) -> T) -> T {
        read(self.lock().run.document())
    }

    /// Tells everybody what changed.
    pub(crate) fn publish(&self, now_ms: u64) -> Update {
        let mut inner = self.lock();
        let update = inner.run.update(now_ms);
        let number = inner.newest + 1;
        let event = self.event(number, &update);
        inner.newest = number;
        inner.bytes += event.len();
        inner.ring.push_back(Frame { number, event });
        while inner.ring.len() > self.limits.ring
            || (inner.bytes > self.limits.ring_bytes && inner.ring.len() > 1)
        {
            let oldest = inner.ring.pop_front();
            inner.bytes -= oldest.map_or(0, |frame| frame.event.len());
        }
        drop(inner);
        self.newest.send_replace(number);
        update
    }

    /// No update comes any more: whoever has the last one is let go.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.newest.send_modify(|_| {});
    }

    /// Follows the number of the newest update.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The document as JSON, and the id of the update it is of.
    pub(crate) fn snapshot(&self) -> (String, Bytes) {
        let mut inner = self.lock();
        let newest = inner.newest;
        let json = match &inner.snapshot {
            Some((number, json)) if *number == newest => json.clone(),
            _ => {
                let json = Bytes::from(serde_json::to_vec(inner.run.document()).unwrap_or_default());
                inner.snapshot = Some((newest, json.clone()));
                json
            }
        };
        (self.id(newest), json)
    }

    /// The number behind an id of this run; `None` for one of another run, or nonsense.
    pub(crate) fn number(&self, id: &str) -> Option<u64> {
        let (name, number) = id.split_once('-')?;
        let number = number.parse().ok()?;
        (name == self.name && number <= self.lock().newest).then_some(number)
    }

    /// What comes after a number; `None` stands for an id that is not ours.
    pub(crate) fn after(&self, seen: Option<u64>) -> Next {
        let inner = self.lock();
        let reset = || {
            let id = self.id(inner.newest);
            let text =
                format!("id: {id}\nevent: reset\ndata: {{\"why\":\"what came after is forgotten\"}}\n\n");
            Next::Reset(inner.newest, Bytes::from(text))
        };
        let Some(seen) = seen else { return reset() };
        if seen >= inner.newest {
            return if inner.over { Next::Over } else { Next::Nothing };
        }
        let oldest = inner.ring.front().map_or(u64::MAX, |frame| frame.number);
        match seen.checked_add(1).and_then(|next| next.checked_sub(oldest)) {
            Some(index) => match usize::try_from(index).ok().and_then(|index| inner.ring.get(index)) {
                Some(frame) => Next::Event(frame.number, frame.event.clone()),
                None => reset(),
            },
            None => reset(),
        }
    }

    /// The number of the newest update.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().newest
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.name)
    }

    fn event(&self, number: u64, update: &Update) -> Bytes {
        let mut event = format!("id: {}\nevent: update\ndata: ", self.id(number)).into_bytes();
        // JSON has no line end of its own, so one data line is enough.
        let written = serde_json::to_writer(&mut event, update);
        debug_assert!(written.is_ok(), "plain data has a JSON form");
        let _ = event.write_all(b"\n\n");
        Bytes::from(event)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
