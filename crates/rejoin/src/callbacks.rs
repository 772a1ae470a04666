//! Event callbacks: on a thread of their own, so that one that blocks holds up neither the link nor the runtime.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use crate::command::Shared;
use crate::error::BuildError;
use crate::events::{Event, Events};
use crate::seldom::Seldom;

/// A function called with each event it cares about.
pub(crate) type Callback = Box<dyn FnMut(&Event) + Send>;

/// Starts the thread that calls `callbacks` for each of `events`. It ends with the client.
pub(crate) fn start(
    shared: &Arc<Shared>,
    events: Events,
    callbacks: Vec<Callback>,
) -> Result<(), BuildError> {
    if callbacks.is_empty() {
        return Ok(());
    }
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("rejoin-callbacks".to_owned())
        .spawn(move || run(&shared, events, callbacks))
        .map(drop)
        .map_err(|error| BuildError::NoThread(error.to_string()))
}

fn run(shared: &Shared, mut events: Events, mut callbacks: Vec<Callback>) {
    // Callbacks may spawn tasks.
    let _runtime = shared.runtime.enter();
    let mut log = Seldom::default();
    while let Some(event) = block_on(events.next()) {
        for callback in &mut callbacks {
            // A callback that panicked is called again with the next event; what it captured is its own affair.
            if catch_unwind(AssertUnwindSafe(|| callback(&event))).is_err() {
                shared.counters.handler_panics.fetch_add(1, Ordering::Relaxed);
                if let Some(untold) = log.turn(Instant::now()) {
                    tracing::warn!(target: "rejoin", event = event.name(), untold, "a callback panicked");
                }
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
