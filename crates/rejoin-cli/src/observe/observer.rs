//! Looks at a client from a thread of its own, and serves what it sees: neither a thousand pages nor a slow disk is
//! felt by the client.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rejoin::health::Ready;
use rejoin::{Client, Event, Events};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::document::{Level, VerdictView};
use super::door::{self, Door};
use super::flags::{Place, Places, Shown};
use super::live::Live;
use super::measure::{Meter, Zero};
use super::probes::Probes;
use super::recording::Recording;
use super::routes::{self, Action, Asked, Desk, LINGER};
use super::run::{Head, Run};
use super::samples::EVERY_MS;
use super::scribe::{self, Scribe};

/// What a program knows beside the client, such as what it injected.
#[derive(Debug)]
pub(crate) enum Told {
    /// A fault begins.
    Inject { at: Instant, what: &'static str, label: String },
    /// It is over.
    Heal { at: Instant, what: &'static str, label: String },
    /// Bytes get through, or they do not.
    Truth { at: Instant, passing: bool },
    /// Something else happened.
    Note { at: Instant, level: Level, word: &'static str, text: String },
    /// The run was judged.
    Verdict(VerdictView),
}

/// What an observer needs to begin.
pub(crate) struct Plan {
    /// What the document begins with; its start is set to now.
    pub(crate) head: Head,
    /// Where to serve.
    pub(crate) places: Places,
    /// Where to record.
    pub(crate) recording: Option<std::path::PathBuf>,
    /// Who does what is asked for, besides `nudge`.
    pub(crate) asked: Option<mpsc::Sender<Asked>>,
}

/// An observer at work. Dropping it ends the serving.
#[derive(Debug)]
pub(crate) struct Observer {
    live: Arc<Live>,
    told: mpsc::UnboundedSender<Told>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    done: watch::Receiver<bool>,
    zero: Zero,
    unrecorded: Arc<OnceLock<String>>,
}

/// How long dropping waits for the thread: it may wait for the disk and for pages that read the last update.
const ENDS_WITHIN: Duration = scribe::END.saturating_add(LINGER.saturating_mul(3));

impl Observer {
    /// Begins. `events` must be those of `client` from before it was started, so that nothing is missed.
    ///
    /// # Errors
    /// The recording cannot be written, or there is no thread.
    pub(crate) fn start(client: Client, events: Events, plan: Plan) -> Result<Self, String> {
        let Plan { mut head, places, recording, asked } = plan;
        let zero = Zero(Instant::now());
        head.started_unix_ms = unix_ms();
        let ready = if head.role.publishes { Ready::WillDeliver } else { Ready::Subscribed };
        // The label of every metric: what people call it, never the client id, which may be new in each run.
        let name =
            if head.subject.name.is_empty() { head.program.verb.clone() } else { head.subject.name.clone() };
        let run = Run::new(head);
        let recording = match recording {
            Some(path) => Some(
                Recording::create(&path, run.document())
                    .and_then(|recording| Scribe::start(&path, recording))
                    .map_err(|e| format!("cannot record to {}: {e}", path.display()))?,
            ),
            None => None,
        };
        let live = Arc::new(Live::new(run, places.limits));
        let (told, inbox) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (finished, done) = watch::channel(false);
        let probes = Probes::new(client.clone(), &name, ready);
        let meter = Meter::new(client.clone(), zero);
        let unrecorded = Arc::new(OnceLock::new());
        let work = Work {
            client,
            meter,
            zero,
            live: Arc::clone(&live),
            recording,
            unrecorded: Arc::clone(&unrecorded),
            dirty: true,
            finished,
        };
        let thread = std::thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || {
                // Without a runtime there is nothing to see; the client goes on.
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                    return;
                };
                runtime.block_on(work.run(places, probes, asked, events, inbox, ended));
                runtime.shutdown_timeout(LINGER);
            })
            .map_err(|e| format!("no thread for the observer: {e}"))?;
        Ok(Self { live, told, end: Some(end), thread: Some(thread), done, zero, unrecorded })
    }

    /// Milliseconds of the run now, whatever the observer does: what it shows may be older.
    pub(crate) fn now_ms(&self) -> u64 {
        self.zero.now_ms()
    }

    /// Why the recording is not whole, once it is known; everything is known when this observer is dropped.
    pub(crate) fn unrecorded(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.unrecorded)
    }

    /// The run, for whoever shows it in this process.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Tells what the client does not know.
    pub(crate) fn tell(&self, told: Told) {
        // An observer that ended has no reader left.
        let _ = self.told.send(told);
    }

    /// Waits until everything the client told until its end is in the document, but not for long.
    pub(crate) async fn settle(&mut self) {
        let _ = timeout(Duration::from_secs(1), self.done.wait_for(|done| *done)).await;
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            join_within(thread, ENDS_WITHIN);
        }
    }
}

/// Waits for a thread, but not for ever: one that is held up is left to the end of the process. Tells whether it ended.
fn join_within(thread: JoinHandle<()>, limit: Duration) -> bool {
    let begun = Instant::now();
    while !thread.is_finished() {
        if begun.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = thread.join();
    true
}

struct Work {
    client: Client,
    meter: Meter,
    zero: Zero,
    live: Arc<Live>,
    recording: Option<Scribe>,
    unrecorded: Arc<OnceLock<String>>,
    dirty: bool,
    /// The client told its last event, and it was published.
    finished: watch::Sender<bool>,
}

impl Work {
    async fn run(
        mut self,
        places: Places,
        probes: Probes,
        asked: Option<mpsc::Sender<Asked>>,
        events: Events,
        inbox: mpsc::UnboundedReceiver<Told>,
        ended: oneshot::Receiver<()>,
    ) {
        let limits = places.limits;
        let (sender, asking) = mpsc::channel(limits.asked);
        tokio::spawn(act(asking, self.client.clone(), asked));
        let streams = Arc::new(tokio::sync::Semaphore::new(limits.streams));
        let (over, closing) = watch::channel(());
        let mut doors = JoinSet::new();
        for Place { listener, guard, shown, .. } in places.places {
            let desk = Desk {
                live: Arc::clone(&self.live),
                guard: Arc::new(guard),
                probes: probes.clone(),
                asked: sender.clone(),
                streams: Arc::clone(&streams),
                limits,
            };
            let router = match shown {
                Shown::All => routes::all(desk),
                Shown::Probes => routes::probes_only(desk),
            };
            match Door::open(listener, limits) {
                Ok(door) => {
                    doors.spawn(door::serve(door, router, closing.clone()));
                }
                Err(error) => {
                    let at = self.zero.now_ms();
                    let text = format!("the address cannot be listened on: {error}");
                    self.live.change(|run| run.note(at, Level::Warn, "serve", text));
                }
            }
        }
        self.look(events, inbox, ended, limits.apart).await;
        // Whoever looks on gets the last update, and answers under way are finished: not longer than LINGER.
        self.live.end();
        drop(over);
        let _ = timeout(LINGER, doors.join_all()).await;
    }

    async fn look(
        &mut self,
        mut events: Events,
        mut inbox: mpsc::UnboundedReceiver<Told>,
        mut ended: oneshot::Receiver<()>,
        apart: Duration,
    ) {
        let mut tick = interval(Duration::from_millis(EVERY_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut published = tokio::time::Instant::now();
        let mut over = false;
        loop {
            tokio::select! {
                biased;
                _ = &mut ended => break,
                event = events.next(), if !over => match event {
                    Some(event) => self.tell(&event),
                    None => {
                        over = true;
                        // What was told before the end belongs to it.
                        while let Ok(told) = inbox.try_recv() {
                            self.note(told);
                        }
                        self.sample();
                        self.publish();
                        self.finished.send_replace(true);
                    }
                },
                Some(told) = inbox.recv() => self.note(told),
                _ = tick.tick() => {
                    self.sample();
                    self.dirty = true;
                }
                () = sleep_until(published + apart), if self.dirty => {
                    self.publish();
                    published = tokio::time::Instant::now();
                }
            }
        }
        while let Ok(told) = inbox.try_recv() {
            self.note(told);
        }
        while let Some(event) = events.try_next() {
            self.tell(&event);
        }
        self.publish();
        if let Some(recording) = self.recording.take()
            && let Err(lost) = recording.finish().await
        {
            self.unrecorded(lost);
        }
        if self.dirty {
            self.publish();
        }
    }

    /// The recording ended before the run did.
    fn unrecorded(&mut self, text: String) {
        let at = self.zero.now_ms();
        self.live.change(|run| run.note(at, Level::Bad, "recording", text.clone()));
        let _ = self.unrecorded.set(text);
        self.dirty = true;
    }

    fn tell(&mut self, event: &Event) {
        let at = self.zero.now_ms();
        self.live.change(|run| {
            run.wall(at, unix_ms());
            run.tell(at, event);
        });
        self.dirty = true;
    }

    fn note(&mut self, told: Told) {
        let zero = self.zero;
        self.live.change(|run| match told {
            Told::Inject { at, what, label } => run.inject(zero.ms(at), what, &label),
            Told::Heal { at, what, label } => run.heal(zero.ms(at), what, &label),
            Told::Truth { at, passing } => run.truth(zero.ms(at), passing),
            Told::Note { at, level, word, text } => run.note(zero.ms(at), level, word, text),
            Told::Verdict(verdict) => run.judge(verdict),
        });
        self.dirty = true;
    }

    fn sample(&mut self) {
        let now = self.meter.sample();
        let now_ms = self.zero.now_ms();
        self.live.change(|run| {
            run.observe(now);
            run.sample(now_ms);
        });
    }

    fn publish(&mut self) {
        let now = self.meter.moment();
        let at = self.zero.now_ms();
        self.live.change(|run| {
            run.observe(now);
            run.wall(at, unix_ms());
        });
        self.dirty = false;
        let update = self.live.publish(self.zero.now_ms());
        if let Some(recording) = &mut self.recording
            && let Err(lost) = recording.append(&update)
        {
            self.recording = None;
            self.unrecorded(lost);
        }
    }
}

/// The clock on the wall.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Does what is asked for, in order.
async fn act(mut asking: mpsc::Receiver<Asked>, client: Client, others: Option<mpsc::Sender<Asked>>) {
    while let Some(asked) = asking.recv().await {
        match (asked.action, &others) {
            (Action::Nudge, _) => {
                drop(client.nudge());
                let _ = asked.reply.send(Ok(()));
            }
            (_, Some(others)) => {
                if let Err(refused) = others.try_send(asked) {
                    let _ = refused.into_inner().reply.send(Err("the run is over".to_owned()));
                }
            }
            (_, None) => {
                let _ = asked.reply.send(Err("there is no proxy here that could do it".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_held_up_is_not_waited_for() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = held.recv();
        });
        assert!(!join_within(thread, Duration::from_millis(20)));
        drop(release);
        assert!(join_within(std::thread::spawn(|| {}), Duration::from_secs(10)));
    }
}
