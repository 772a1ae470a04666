//! The one task that watches a client, once somebody asked for it: it judges health and rules, at each event that matters
//! and at a slow tick, and tells what changed.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::keep::Keep;
use super::vitals::Pings;
use super::{Health, HealthStatus};
use crate::alerts::{
    AlertState, AlertStatus, Alerts, BaselineStatus, Learning, Look, Signal, Watcher, recall,
};
use crate::command::Shared;
use crate::events::{Event, Events};
use crate::metrics::{self, Histogram};
use crate::sync::lock;
use crate::translate;

/// How often what was learned is written.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// How long the first look waits for what an earlier process learned: longer than a disk that works takes.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// How long a shutdown waits for what was learned to be written: longer than a disk that works takes.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// What the task shows.
#[derive(Debug)]
pub(crate) struct Watching {
    health: watch::Sender<Health>,
    shown: Mutex<Shown>,
    /// True once the task is over, and what was learned written.
    over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Shown {
    alerts: Vec<AlertStatus>,
    baselines: Vec<BaselineStatus>,
}

impl Watching {
    fn new(shared: &Shared) -> Self {
        Self {
            health: watch::Sender::new(shared.health()),
            shown: Mutex::default(),
            over: watch::Sender::new(false),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(crate) fn alerts(&self) -> Vec<AlertStatus> {
        lock(&self.shown).alerts.clone()
    }

    pub(crate) fn baselines(&self) -> Vec<BaselineStatus> {
        lock(&self.shown).baselines.clone()
    }

    /// Waits until what was learned is written, for no longer than a working disk takes.
    pub(crate) async fn written(&self) {
        let mut over = self.over.subscribe();
        let _ = tokio::time::timeout(WRITTEN_WITHIN, over.wait_for(|over| *over)).await;
    }

    /// What alerts on latencies say.
    pub(crate) fn slow(&self) -> Vec<String> {
        let latency =
            |alert: &&AlertStatus| matches!(alert.signal, Signal::PingRoundTrip | Signal::AckLatency);
        let shown = lock(&self.shown);
        let firing = shown.alerts.iter().filter(|alert| alert.state == AlertState::Firing);
        firing.filter(latency).map(|alert| alert.evidence.clone()).collect()
    }
}

/// Starts the task unless it runs.
pub(crate) fn start(shared: &Arc<Shared>, alerts: Option<Alerts>) -> &Watching {
    let mut events = None;
    let watching = shared.ward.watching.get_or_init(|| {
        events = Some(shared.events.subscribe());
        Box::new(Watching::new(shared))
    });
    if let Some(events) = events {
        // The task must not keep the client alive; a driver that ends ends the events.
        shared.runtime.spawn(run(Arc::downgrade(shared), events, alerts));
    }
    watching
}

/// However the task ends, nobody waits for it any more.
struct Over(Weak<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(watching) = self.0.upgrade().as_ref().and_then(|shared| shared.ward.watching.get()) {
            watching.over.send_replace(true);
        }
    }
}

async fn run(shared: Weak<Shared>, events: Events, alerts: Option<Alerts>) {
    let _over = Over(Weak::clone(&shared));
    if let Some(observer) = Observer::new(&shared, alerts).await {
        observe(observer, shared, events).await;
    }
}

async fn observe(mut observer: Observer, shared: Weak<Shared>, mut events: Events) {
    loop {
        let due = tokio::time::Instant::from_std(observer.next_tick);
        let woken = tokio::time::timeout_at(due, events.next()).await;
        let Some(strong) = shared.upgrade() else { break };
        match woken {
            Ok(None) => break,
            Ok(Some(event)) => {
                let mut matters = observer.absorb(&event);
                while let Some(event) = events.try_next() {
                    matters |= observer.absorb(&event);
                }
                if matters {
                    observer.look(&strong, Instant::now());
                }
            }
            Err(_) => observer.tick(&strong, Instant::now()),
        }
        drop(strong);
        observer.use_the_disk().await;
    }
    if let Some(shared) = shared.upgrade() {
        observer.judge_health(&shared);
    }
    observer.save_at_the_end().await;
}

type Begun = (std::io::Result<Keep>, Option<String>);

struct Observer {
    watcher: Option<Watcher>,
    every: Duration,
    next_tick: Instant,
    learning: Learning,
    keep: Option<Arc<Keep>>,
    saved: Instant,
    /// What was kept is being read, on a disk that may hang: nothing waits for it.
    reading: Option<JoinHandle<Begun>>,
    /// What was learned is being written, likewise; one at a time.
    writing: Option<JoinHandle<()>>,
    pings: Pings,
    acks: Histogram,
    /// The client stopped; nothing may be told after that.
    stopped: bool,
}

impl Observer {
    async fn new(shared: &Weak<Shared>, alerts: Option<Alerts>) -> Option<Self> {
        let now = Instant::now();
        let (every, patterns) = {
            let shared = shared.upgrade()?;
            (shared.ward.rules.every, shared.ward.rules.patterns)
        };
        let mut observer = Self {
            watcher: None,
            every,
            next_tick: now,
            learning: Learning::default(),
            keep: None,
            saved: now,
            reading: None,
            writing: None,
            pings: Pings::default(),
            acks: Histogram::default(),
            stopped: false,
        };
        if let Some(Alerts { rules, learning, every, keep_in }) = alerts {
            observer.every = every.min(observer.every);
            observer.learning = learning;
            observer.watcher = Some(Watcher::new(rules, patterns, learning, now));
            if let Some(folder) = keep_in {
                let mut reading = tokio::task::spawn_blocking(move || Keep::begin(&folder));
                // Nothing is learned anew that is known already, but for a disk that hangs.
                match tokio::time::timeout(READ_WITHIN, &mut reading).await {
                    Ok(begun) => observer.begin_keeping(begun.ok()),
                    Err(_) => observer.reading = Some(reading),
                }
            }
        }
        Some(observer)
    }

    /// What was kept is read; it takes the place of what was learned meanwhile.
    fn begin_keeping(&mut self, begun: Option<Begun>) {
        let Some((keep, kept)) = begun else { return };
        match keep {
            Ok(keep) => self.keep = Some(Arc::new(keep)),
            Err(error) => {
                tracing::warn!(target: "rejoin", %error, "what is learned will not be kept for the next start");
            }
        }
        let (Some(kept), Some(watcher)) = (kept, &mut self.watcher) else { return };
        match recall(&kept, self.learning) {
            Ok(baselines) => watcher.recall(baselines),
            Err(why) => {
                tracing::warn!(target: "rejoin", why, "the file of baselines is damaged: they are learned anew");
            }
        }
    }

    /// Takes a fact in. True when it is worth a look at once.
    fn absorb(&mut self, event: &Event) -> bool {
        match event {
            Event::Closed { cause, lasted, .. } => {
                if let Some(watcher) = &mut self.watcher {
                    watcher.lost(cause, *lasted, Instant::now());
                }
                true
            }
            Event::Stopped { .. } => {
                self.stopped = true;
                true
            }
            Event::Opened { .. }
            | Event::AttemptFailed { .. }
            | Event::Suspect { .. }
            | Event::Trusted
            | Event::Resubscribed { .. }
            | Event::SubscriptionRefused { .. }
            | Event::QueueHigh { .. }
            | Event::QueueFull
            | Event::QueueOk
            | Event::StoreTrouble { .. }
            | Event::StoreWell
            | Event::TakenOver { .. }
            | Event::Silent { .. } => true,
            _ => false,
        }
    }

    fn tick(&mut self, shared: &Arc<Shared>, now: Instant) {
        self.next_tick = now + self.every;
        self.look(shared, now);
    }

    fn look(&mut self, shared: &Arc<Shared>, now: Instant) {
        if let Some(watcher) = &mut self.watcher {
            let acks = metrics::acks(shared);
            let ack = acks.since(&self.acks).quantile(0.99);
            self.acks = acks;
            let ping = self.pings.fresh(&lock(&shared.stats));
            let state = shared.state();
            let seen = Look {
                open: state.is_connection_open(),
                subscribed: shared.ward.wishes() > 0,
                withheld: shared.may_be_held_up(),
                queue_age: shared.oldest_age(),
                last_message: shared.last_message(),
                ping,
                ack,
            };
            let changed = watcher.look(state.client_id.as_str(), &seen, now);
            if let Some(watching) = shared.ward.watching.get() {
                *lock(&watching.shown) = Shown { alerts: watcher.alerts(), baselines: watcher.baselines() };
            }
            for alert in changed {
                self.tell(shared, &Event::Alert { alert: Box::new(alert) });
            }
        }
        self.judge_health(shared);
    }

    fn judge_health(&self, shared: &Arc<Shared>) {
        let Some(watching) = shared.ward.watching.get() else { return };
        let health = shared.health();
        let (status, why) = (health.status, health.why());
        let before: HealthStatus = watching.health.send_replace(health).status;
        if before != status {
            self.tell(shared, &Event::Health { status, before, why });
        }
    }

    fn tell(&self, shared: &Shared, event: &Event) {
        if !self.stopped {
            translate::log(&shared.client_id(), event);
            shared.events.tell(event);
        }
    }

    /// Takes what was read, and writes when it is time; waits for neither.
    async fn use_the_disk(&mut self) {
        if let Some(finished) = self.reading.take_if(|reading| reading.is_finished()) {
            self.begin_keeping(finished.await.ok());
        }
        let is_free = self.writing.as_ref().is_none_or(JoinHandle::is_finished);
        if is_free && self.saved.elapsed() >= SAVE_EVERY {
            self.save();
        }
    }

    fn save(&mut self) {
        self.saved = Instant::now();
        let (Some(keep), Some(watcher)) = (self.keep.clone(), &self.watcher) else { return };
        let text = watcher.record();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = keep.write(&text) {
                tracing::warn!(target: "rejoin", %error, "what was learned could not be kept for the next start");
            }
        }));
    }

    /// Nobody waits for this longer than [`WRITTEN_WITHIN`].
    async fn save_at_the_end(&mut self) {
        if let Some(before) = self.writing.take() {
            let _ = before.await;
        }
        self.save();
        if let Some(last) = self.writing.take() {
            let _ = last.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::StopReason;

    use super::*;

    /// The only thread for files is taken: to who wants to write, that is a disk that hangs.
    #[test]
    fn a_disk_that_hangs_keeps_nobody_from_looking_and_gets_what_was_learned_when_it_is_back() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        let folder = std::env::temp_dir().join(format!("rejoin-observer-{}", std::process::id()));
        runtime.block_on(async {
            let shared = Shared::for_tests(tokio::runtime::Handle::current());
            let watching = shared.ward.watching.get_or_init(|| Box::new(Watching::new(&shared)));
            let (weak, events) = (Arc::downgrade(&shared), shared.events.subscribe());
            let alerts = Alerts::none().every(Duration::from_millis(10)).keep_in(&folder);
            let mut observer = Observer::new(&weak, Some(alerts)).await.unwrap();
            observer.saved = Instant::now().checked_sub(SAVE_EVERY).unwrap();
            let (release, hangs) = std::sync::mpsc::channel::<()>();
            let thread = tokio::task::spawn_blocking(move || hangs.recv().is_err());
            let mut health = watching.subscribe();
            let task = tokio::spawn(observe(observer, weak, events));
            let mut looks = 0;
            while looks < 10 && tokio::time::timeout(SAVE_EVERY / 60, health.changed()).await.is_ok() {
                looks += 1;
            }
            drop(release);
            assert!(thread.await.unwrap());
            assert_eq!(looks, 10);
            shared.events.end(&Event::Stopped { reason: StopReason::Shutdown });
            task.await.unwrap();
        });
        let kept = std::fs::read_to_string(folder.join("baselines"));
        let _ = std::fs::remove_dir_all(&folder);
        assert!(kept.is_ok_and(|kept| recall(&kept, Alerts::none().learning).is_ok()));
    }
}
