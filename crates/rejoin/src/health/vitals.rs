//! What is remembered of a client so that its health can be judged at any time, and what is seen of it at one look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rejoin_core::text::Text;
use rejoin_core::{LinkConfig, Stats, Timestamp};

use super::judge::judge;
use super::observer::Watching;
use super::{Health, HealthRules, HealthStatus};
use crate::alerts::{Finding, Losses};
use crate::command::{Command, Shared};
use crate::events::Event;
use crate::route::StreamFigures;
use crate::routes::Routes;
use crate::status::{Link, State};
use crate::sync::lock;

/// What adjusting a clock may do to it: 500 ppm, as the kernel allows.
const SLEW: f64 = 0.0005;

/// What is remembered between looks. The driver notes facts; whoever asks, looks.
#[derive(Debug)]
pub(crate) struct Ward {
    pub(crate) rules: Arc<HealthRules>,
    notes: Mutex<Notes>,
    /// When the driver was last seen at work, in µs of the client's clock.
    pulse: AtomicU64,
    /// When it was asked for a sign of life, plus one; 0: it was not.
    asked: AtomicU64,
    /// The driver went away without having stopped.
    gone: AtomicBool,
    /// When the last message came, plus one, in µs of the client's clock.
    message: AtomicU64,
    /// Filters somebody wants.
    wishes: AtomicU64,
    /// How often messages that wait in several streams count too often.
    waits_twice: AtomicU64,
    /// The topic of the message to ourselves: what comes on it is no news.
    loopback: Option<Text>,
    pub(crate) watching: OnceLock<Box<Watching>>,
}

#[derive(Debug)]
struct Notes {
    /// Since when there is no open link.
    closed_since: Option<Instant>,
    clock: WallClock,
    /// `None` while nothing went wrong and nobody looked: most of a thousand clients are like that.
    seen: Option<Box<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    losses: Losses,
    /// Filters that are wanted and were refused: no more than there are wishes.
    refused: BTreeMap<Text, String>,
    taken_over: Option<(Instant, String)>,
    /// Of each stream: how many messages it was done with, and since when that has not changed.
    streams: BTreeMap<u64, (u64, Instant)>,
    /// How many messages all streams got and were done with, and since when neither has changed.
    moved: Option<(u64, u64, Instant)>,
    loopback: Option<(Instant, Loop)>,
    pings: Pings,
    since: BTreeMap<&'static str, (HealthStatus, Instant)>,
}

impl Notes {
    fn seen(&mut self) -> &mut Seen {
        self.seen.get_or_insert_default()
    }
}

impl Seen {
    /// For how long no stream got a message that wants an acknowledgement, nor was done with one.
    fn stand_still(&mut self, streams: &[StreamFigures], now: Instant) -> Duration {
        let done = streams.iter().map(|stream| stream.done).sum();
        let came = streams.iter().map(|stream| stream.done + stream.waiting).sum();
        let moved = self.moved.get_or_insert((done, came, now));
        if (moved.0, moved.1) != (done, came) {
            *moved = (done, came, now);
        }
        now.saturating_duration_since(moved.2)
    }
}

/// Watches the wall clock against the monotonic one.
#[derive(Debug)]
pub(crate) struct WallClock {
    mono: Instant,
    wall: SystemTime,
    /// The last step in seconds, forward or back, and when it was seen.
    stepped: Option<(f64, Instant)>,
}

impl WallClock {
    pub(crate) const fn new(mono: Instant, wall: SystemTime) -> Self {
        Self { mono, wall, stepped: None }
    }

    /// Looks at both clocks. Gives a step that is to be shown, and how long ago it was seen.
    pub(crate) fn look(
        &mut self,
        rules: &HealthRules,
        mono: Instant,
        wall: SystemTime,
    ) -> Option<(f64, Duration)> {
        let passed = mono.saturating_duration_since(self.mono).as_secs_f64();
        let moved = match wall.duration_since(self.wall) {
            Ok(forward) => forward.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        };
        let off = moved - passed;
        if off.abs() > rules.clock_step.as_secs_f64() + passed * SLEW {
            self.stepped = Some((off, mono));
        }
        (self.mono, self.wall) = (mono, wall);
        let (step, at) = self.stepped?;
        let ago = mono.saturating_duration_since(at);
        (ago <= rules.clock_shown).then_some((step, ago))
    }
}

/// The round trips of pings, from the sums the engine keeps.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    answered: u64,
    took: Duration,
    last: Option<(Instant, Duration)>,
}

/// How long a round trip says how the link is.
const PING_SHOWN: Duration = Duration::from_secs(600);

impl Pings {
    /// Those answered since the last look (their mean), or what was seen not long ago.
    pub(crate) fn look(&mut self, stats: &Stats, now: Instant) -> Option<Duration> {
        if let Some(took) = self.fresh(stats) {
            self.last = Some((now, took));
        }
        self.last.filter(|(at, _)| now.saturating_duration_since(*at) <= PING_SHOWN).map(|(_, took)| took)
    }

    /// What was seen says nothing of the next link.
    fn link_ended(&mut self, stats: &Stats) {
        self.fresh(stats);
        self.last = None;
    }

    /// Only those answered since the last look.
    pub(crate) fn fresh(&mut self, stats: &Stats) -> Option<Duration> {
        let answered = u32::try_from(stats.pings_answered.saturating_sub(self.answered)).unwrap_or(u32::MAX);
        if answered == 0 {
            return None;
        }
        let mean = stats.pings_took.saturating_sub(self.took) / answered;
        (self.answered, self.took) = (stats.pings_answered, stats.pings_took);
        Some(mean)
    }
}

/// A stream that holds up the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdleStream {
    pub(crate) filters: String,
    pub(crate) waiting: u64,
    pub(crate) idle: Duration,
    /// The window we asked for is full. If not, the broker may have a smaller one of its own: nothing more came.
    pub(crate) full: bool,
}

/// What became of a message to ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// It came back after this time.
    Back(Duration),
    Missed,
    /// The broker refuses its topic, in these words; no more are sent.
    Refused(String),
}

/// What is seen of a client at one look.
#[derive(Clone, Debug)]
pub(crate) struct Vitals {
    pub(crate) state: State,
    pub(crate) closed_for: Option<Duration>,
    pub(crate) subscriptions: usize,
    pub(crate) refused: Vec<(String, String)>,
    pub(crate) limit_bytes: u64,
    pub(crate) limit_messages: Option<u64>,
    pub(crate) oldest: Option<Duration>,
    pub(crate) ping: Option<Duration>,
    /// What became of the last loopback message.
    pub(crate) loopback: Option<Loop>,
    /// What alerts on latencies say.
    pub(crate) slow: Vec<String>,
    pub(crate) flapping: Option<Finding>,
    pub(crate) contest: Option<Finding>,
    pub(crate) taken_over: Option<String>,
    pub(crate) clock: Option<(f64, Duration)>,
    pub(crate) idle: Vec<IdleStream>,
}

impl Ward {
    pub(crate) fn new(rules: Arc<HealthRules>, loopback: Option<Text>) -> Self {
        let now = Instant::now();
        Self {
            rules,
            loopback,
            notes: Mutex::new(Notes {
                closed_since: Some(now),
                clock: WallClock::new(now, SystemTime::now()),
                seen: None,
            }),
            pulse: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            message: AtomicU64::new(0),
            wishes: AtomicU64::new(0),
            waits_twice: AtomicU64::new(0),
            watching: OnceLock::new(),
        }
    }

    /// The driver is at work.
    pub(crate) fn beat(&self, now: Timestamp) {
        self.pulse.store(now.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn message_came(&self, topic: &Text, now: Timestamp) {
        if self.loopback.as_ref() == Some(topic) {
            return;
        }
        self.message.store(now.as_micros() + 1, Ordering::Relaxed);
    }

    /// What is wanted now. A refusal goes with the wish.
    pub(crate) fn wanted(&self, routes: &Routes) {
        self.wishes.store(routes.wanted(self.loopback.as_ref()) as u64, Ordering::Relaxed);
        if let Some(seen) = &mut lock(&self.notes).seen {
            seen.refused.retain(|filter, _| routes.wants(filter));
        }
    }

    pub(crate) fn waits_twice(&self, times: u64) {
        self.waits_twice.store(times, Ordering::Relaxed);
    }

    pub(crate) fn wishes(&self) -> usize {
        usize::try_from(self.wishes.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// The driver went away without having stopped.
    pub(crate) fn driver_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_driver_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    pub(crate) fn note_loopback(&self, seen: Loop) {
        lock(&self.notes).seen().loopback = Some((Instant::now(), seen));
    }

    /// The broker granted a filter.
    pub(crate) fn granted(&self, filter: &Text) {
        if let Some(seen) = &mut lock(&self.notes).seen {
            seen.refused.remove(filter);
        }
    }

    /// Notes what an event says about health; `stats` are those of the engine by then.
    pub(crate) fn note(&self, event: &Event, stats: &Stats) {
        let now = Instant::now();
        match event {
            Event::Opened { .. } => lock(&self.notes).closed_since = None,
            Event::Closed { cause, lasted, .. } => {
                let mut notes = lock(&self.notes);
                notes.closed_since = Some(now);
                notes.seen().losses.lost(cause, *lasted, now);
                notes.seen().pings.link_ended(stats);
            }
            Event::SubscriptionRefused { filter, why } => {
                lock(&self.notes).seen().refused.insert(filter.clone(), why.to_string());
            }
            Event::TakenOver { evidence } => {
                lock(&self.notes).seen().taken_over = Some((now, evidence.clone()));
            }
            _ => {}
        }
    }
}

impl Shared {
    /// How long the driver has not answered, if that is too long. A driver that sleeps is asked for a sign of life, once; so
    /// an idle client is woken no more than once in the time of the rule, and only while somebody looks.
    pub(crate) fn stuck_for(&self) -> Option<Duration> {
        let ward = &self.ward;
        // One that ended in order has nothing left to answer.
        if self.state.look(|state| matches!(state.link, Link::Stopped { .. })) {
            return None;
        }
        let (now, limit) = (self.clock.timestamp(), ward.rules.stuck_after);
        let pulse = Timestamp::from_micros(ward.pulse.load(Ordering::Relaxed));
        if now.since(pulse) < limit {
            ward.asked.store(0, Ordering::Relaxed);
            return None;
        }
        let asked = ward.asked.load(Ordering::Relaxed);
        if asked == 0 || pulse.as_micros() + 1 > asked {
            ward.asked.store(now.as_micros() + 1, Ordering::Relaxed);
            self.push_always(Command::Pulse);
            return None;
        }
        let waited = now.since(Timestamp::from_micros(asked - 1));
        (waited >= limit).then_some(waited)
    }

    /// The window towards us is full of messages nobody took: nothing more comes until somebody does.
    pub(crate) fn is_held_up(&self) -> bool {
        self.is_full_of(&self.streams())
    }

    /// The same, or so many messages that nobody took that a broker with a smaller window of its own sends no more.
    pub(crate) fn may_be_held_up(&self) -> bool {
        let window = self.receive_maximum.min(LinkConfig::SMALL_WINDOW);
        self.waiting_in(&self.streams()) >= u64::from(window)
    }

    fn is_full_of(&self, streams: &[StreamFigures]) -> bool {
        self.waiting_in(streams) >= u64::from(self.receive_maximum)
    }

    /// Messages that wait in these streams, each counted once.
    fn waiting_in(&self, streams: &[StreamFigures]) -> u64 {
        let waiting: u64 = streams.iter().map(|stream| stream.waiting).sum();
        waiting.saturating_sub(self.ward.waits_twice.load(Ordering::Relaxed))
    }

    /// When the last message came.
    pub(crate) fn last_message(&self) -> Option<Instant> {
        let at = self.ward.message.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.clock.instant(Timestamp::from_micros(at)))
    }

    /// Age of the oldest message not answered for.
    pub(crate) fn oldest_age(&self) -> Option<Duration> {
        let at = self.meters.oldest.get().checked_sub(1)?;
        Some(self.clock.timestamp().since(Timestamp::from_micros(at)))
    }

    /// Looks at everything and judges it.
    pub(crate) fn health(&self) -> Health {
        let rules = &self.ward.rules;
        let vitals = self.vitals();
        let now = Instant::now();
        let mut checks = judge(&vitals, rules, now);
        let mut notes = lock(&self.ward.notes);
        for check in &mut checks {
            let known = notes.seen().since.entry(check.name).or_insert((check.status, now));
            if known.0 != check.status {
                *known = (check.status, now);
            }
            check.since = known.1;
        }
        if let (Some(since), Some(link)) = (notes.closed_since, checks.first_mut()) {
            // Degraded since the link was lost, whoever looked when.
            if link.status == HealthStatus::Degraded {
                link.since = since;
            }
        }
        let status = checks.iter().map(|check| check.status).max().unwrap_or(HealthStatus::Healthy);
        Health { status, checks, at: now }
    }

    fn vitals(&self) -> Vitals {
        let now = Instant::now();
        let state = self.state();
        let (rules, queue) = (&self.ward.rules, self.queue_figures());
        let (streams, stats) = (self.streams(), *lock(&self.stats));
        let slow = self.ward.watching.get().map(|watching| watching.slow()).unwrap_or_default();
        let mut notes = lock(&self.ward.notes);
        let Notes { closed_since, clock, seen } = &mut *notes;
        let seen = seen.get_or_insert_default();
        let mut idle = Vec::new();
        let full = self.is_full_of(&streams);
        let stands_for = seen.stand_still(&streams, now);
        let stands = self.waiting_in(&streams) >= u64::from(LinkConfig::SMALL_WINDOW)
            && stands_for >= rules.stream_idle;
        seen.streams.retain(|id, _| streams.iter().any(|stream| stream.id == *id));
        for stream in streams {
            let known = seen.streams.entry(stream.id).or_insert((stream.done, now));
            if known.0 != stream.done || stream.waiting == 0 {
                *known = (stream.done, now);
            }
            let idle_for = now.saturating_duration_since(known.1);
            let holds_up = (full || stands) && stream.waiting > 0;
            if holds_up && idle_for >= rules.stream_idle {
                let StreamFigures { filters, waiting, .. } = stream;
                idle.push(IdleStream { filters, waiting, idle: idle_for, full });
            }
        }
        let fresh = |at: Instant| now.saturating_duration_since(at) <= rules.patterns.contest_memory;
        Vitals {
            closed_for: closed_since.map(|since| now.saturating_duration_since(since)),
            subscriptions: self.ward.wishes(),
            refused: seen.refused.iter().map(|(filter, why)| (filter.to_string(), why.clone())).collect(),
            limit_bytes: queue.limit_bytes,
            limit_messages: queue.limit_messages,
            oldest: self.oldest_age(),
            ping: seen.pings.look(&stats, now),
            loopback: seen
                .loopback
                .clone()
                .filter(|(at, seen)| matches!(seen, Loop::Refused(_)) || fresh(*at))
                .map(|(_, seen)| seen),
            slow,
            flapping: seen.losses.flapping(&rules.patterns, now),
            contest: seen.losses.contest(&rules.patterns, state.client_id.as_str(), now),
            taken_over: seen.taken_over.clone().filter(|(at, _)| fresh(*at)).map(|(_, evidence)| evidence),
            clock: clock.look(rules, now, SystemTime::now()),
            idle,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_forgotten_with_its_link_and_after_ten_minutes() {
        let now = Instant::now();
        let stats = |answered: u64, millis: u64| {
            let mut stats = Stats::default();
            (stats.pings_answered, stats.pings_took) = (answered, Duration::from_millis(millis));
            stats
        };
        let mut pings = Pings::default();
        assert_eq!(pings.look(&stats(2, 80), now), Some(Duration::from_millis(40)));
        assert_eq!(pings.look(&stats(2, 80), now + PING_SHOWN), Some(Duration::from_millis(40)));
        assert_eq!(pings.look(&stats(2, 80), now + PING_SHOWN + Duration::from_millis(1)), None, "old");
        assert_eq!(pings.look(&stats(3, 90), now), Some(Duration::from_millis(10)));
        pings.link_ended(&stats(4, 5000));
        assert_eq!(pings.look(&stats(4, 5000), now), None, "of the link before");
    }

    #[test]
    fn a_step_of_the_wall_clock_is_seen_and_an_adjustment_is_not() {
        let rules = HealthRules::default();
        let (mono, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let secs = Duration::from_secs;
        let mut clock = WallClock::new(mono, wall);
        assert_eq!(clock.look(&rules, mono + secs(60), wall + secs(61)), None, "within the limit");
        // An hour at the most an adjustment does.
        assert_eq!(
            clock.look(&rules, mono + secs(3660), wall + secs(61) + Duration::from_millis(3_601_800)),
            None
        );
        let at = wall + secs(61) + Duration::from_millis(3_601_800);
        let (step, ago) = clock.look(&rules, mono + secs(3665), at + secs(3605)).expect("an hour forward");
        assert!((step - 3600.0).abs() < 0.01 && ago.is_zero());
        let later = clock.look(&rules, mono + secs(3665 + 599), at + secs(3605 + 599));
        assert!(later.is_some_and(|(_, ago)| ago == secs(599)));
        assert_eq!(
            clock.look(&rules, mono + secs(3665 + 601), at + secs(3605 + 601)),
            None,
            "shown long enough"
        );
        let back = clock.look(&rules, mono + secs(3665 + 602), at);
        assert!(back.is_some_and(|(step, _)| step < -4000.0), "{back:?}");
    }
}
