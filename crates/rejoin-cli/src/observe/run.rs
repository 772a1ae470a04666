//! The model of a run: facts and measurements go in with their time, the document and what changed in it come out.
//! Without a clock, a client or a socket, so that a test tells it any story.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rejoin::alerts::AlertState;
use rejoin::health::HealthStatus;
use rejoin::{Event, LossCause, SessionState, StopReason};
use rejoin_core::error::LocalCause;

use super::answers::answers;
use super::document::{
    AlertView, BaselineView, ClockStep, Document, Figure, Happening, HealthView, Level, LinkWord, Program,
    RoundTrips, SCHEMA, StateView, Subject, Totals, VerdictView,
};
use super::lanes::Recorder;
use super::outages::{Accounts, Silence};
use super::samples::{Row, Samples};
use super::update::{LaneTails, Tail, Update, fresh, fresh_or_none};
use crate::narrator::{Narrator, Role};
use crate::output::{Line, Weight};
use crate::why;

/// Events held at most; the oldest go first. A day of a link that is lost every five minutes.
pub(crate) const EVENTS_MAX: usize = 2_000;

/// Steps of the clock on the wall held at most; the oldest go first. A laptop that sleeps twice a day, for a month.
pub(crate) const STEPS_MAX: usize = 64;

/// The clock on the wall may be off by so much before it counts as a step. It is read beside the other, not with it.
const STEP_MS: u64 = 1_000;

/// What a run begins with.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Which program, how it was called, where.
    pub(crate) program: Program,
    /// The start, in milliseconds since the Unix epoch.
    pub(crate) started_unix_ms: u64,
    /// Whose run it is.
    pub(crate) subject: Subject,
    /// What the verb adds to the story.
    pub(crate) role: Role,
    /// What can be asked for.
    pub(crate) controls: Vec<String>,
    /// There is a proxy that injects faults and knows the truth.
    pub(crate) proxied: bool,
    /// In which times of day are told.
    pub(crate) zone: TimeZone,
}

/// What is so at one moment, as the client tells it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// The state.
    pub(crate) state: StateView,
    /// The client id in use.
    pub(crate) client_id: String,
    /// Counts since the start; `gaps` is the model's own.
    pub(crate) totals: Totals,
    /// How many messages the queue holds at most, where it counts messages.
    pub(crate) queue_limit: Option<u64>,
    /// Messages sent and unacknowledged, where it is known.
    pub(crate) in_flight: Option<u64>,
    /// From publish to acknowledgement since the last sample: p50, p95, p99.
    pub(crate) ack_ms: [Option<Figure>; 3],
    /// The longest round trip of a ping since the last sample.
    pub(crate) ping_ms: Option<Figure>,
    /// Ping round trips since the start; `None` where none was measured.
    pub(crate) round_trips: Option<RoundTrips>,
    /// How well the client is.
    pub(crate) health: HealthView,
    /// What is normal.
    pub(crate) baselines: Vec<BaselineView>,
    /// The rules.
    pub(crate) alerts: Vec<AlertView>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Run {
    document: Document,
    lanes: Recorder,
    outages: Accounts,
    narrator: Narrator,
    zone: TimeZone,
    moment: Moment,
    gaps: u64,
    next_event: u64,
    /// What no update had yet. The document holds nothing that was in none.
    fresh_events: Vec<Happening>,
    fresh_rows: Samples,
    subject: Subject,
    verdict: Option<VerdictView>,
    last_sample: Option<(u64, Totals)>,
    heard_ms: Option<u64>,
    silent_ms: Option<u64>,
    subject_changed: bool,
    steps: Vec<ClockStep>,
    steps_changed: bool,
    /// What was read last, as a distance like that of a step.
    wall_ms: i64,
}

impl Run {
    /// An empty run.
    pub(crate) fn new(head: Head) -> Self {
        let mut document = Document {
            schema: SCHEMA.to_owned(),
            program: head.program,
            client: head.subject,
            controls: head.controls,
            ..Document::default()
        };
        document.clock.started_unix_ms = head.started_unix_ms;
        let lanes = Recorder::new(head.proxied);
        document.lanes = lanes.lanes.clone();
        let subject = document.client.clone();
        let narrator = Narrator::new(head.role, subject.servers.clone());
        Self {
            document,
            lanes,
            outages: Accounts::default(),
            narrator,
            zone: head.zone,
            moment: Moment::default(),
            gaps: 0,
            next_event: 1,
            fresh_events: Vec::new(),
            fresh_rows: Samples::default(),
            subject,
            verdict: None,
            last_sample: None,
            heard_ms: None,
            silent_ms: None,
            subject_changed: false,
            steps: Vec::new(),
            steps_changed: false,
            wall_ms: 0,
        }
    }

    /// The whole, as of the last update.
    pub(crate) const fn document(&self) -> &Document {
        &self.document
    }

    /// The client told something.
    pub(crate) fn tell(&mut self, at_ms: u64, event: &Event) {
        self.follow(at_ms, event);
        self.judged(at_ms, event);
        let unix_ms = i64::try_from(self.unix_ms(at_ms, self.offset_ms())).unwrap_or(i64::MAX);
        let time = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::MAX).to_zoned(self.zone.clone());
        for Line { word, text, weight, .. } in self.narrator.tell(event, &time) {
            self.gaps += u64::from(word == "gap");
            if weight != Weight::Debug {
                self.note(at_ms, level(word), word, text);
            }
        }
    }

    /// The clock on the wall says this. A run measures time by a clock that nobody sets and that stands still while the
    /// machine sleeps: where the two part, times of day are told anew from there on.
    pub(crate) fn wall(&mut self, at_ms: u64, unix_ms: u64) {
        let expected = self.document.clock.started_unix_ms.saturating_add(at_ms);
        let distance = i128::from(unix_ms) - i128::from(expected);
        self.wall_ms = i64::try_from(distance).unwrap_or(if distance < 0 { i64::MIN } else { i64::MAX });
        let moved = self.wall_ms.saturating_sub(self.offset_ms());
        if moved.unsigned_abs() <= STEP_MS {
            return;
        }
        self.steps.push(ClockStep { at_ms, offset_ms: self.wall_ms });
        let many = self.steps.len().saturating_sub(STEPS_MAX);
        self.steps.drain(..many);
        self.steps_changed = true;
        let by = crate::quantity::short(Duration::from_millis(moved.unsigned_abs()));
        let text = if moved > 0 {
            format!("the clock moved forward by {by}: it was set, or this machine slept")
        } else {
            format!("the clock moved back by {by}: it was set")
        };
        self.note(at_ms, Level::Warn, "clock", text);
    }

    /// How far the clock on the wall is from where the start would have it.
    fn offset_ms(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.offset_ms)
    }

    fn unix_ms(&self, at_ms: u64, offset_ms: i64) -> u64 {
        self.document.clock.started_unix_ms.saturating_add(at_ms).saturating_add_signed(offset_ms)
    }

    /// What the client thinks of itself. Its lines for people are those of the state; here is the page for it.
    fn judged(&mut self, at_ms: u64, event: &Event) {
        match event {
            Event::Health { status, before, why } => {
                let level = match status {
                    HealthStatus::Healthy => Level::Good,
                    HealthStatus::Degraded => Level::Warn,
                    HealthStatus::Unhealthy => Level::Bad,
                };
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                self.note(at_ms, level, "health", format!("{}, was {}{why}", status.name(), before.name()));
            }
            Event::Alert { alert } => {
                let text = format!("{}: {}; {}", alert.rule, alert.evidence, alert.hint);
                match alert.state {
                    AlertState::Firing => self.note(at_ms, Level::Bad, "alert", text),
                    AlertState::Resolved => {
                        self.note(at_ms, Level::Good, "alert", format!("{} is over", alert.rule))
                    }
                    _ => {}
                }
            }
            Event::QueueHigh { messages, bytes, limit_bytes } => {
                let text = format!(
                    "{messages} messages take {} of {}",
                    crate::quantity::size(*bytes),
                    crate::quantity::size(*limit_bytes)
                );
                self.note(at_ms, Level::Warn, "queue", text);
            }
            _ => {}
        }
    }

    /// Something beside the client's own events happened.
    pub(crate) fn note(&mut self, at_ms: u64, level: Level, word: &str, text: impl Into<String>) {
        let id = self.next_event;
        self.next_event += 1;
        let text = text.into().replace(|c: char| c.is_control(), " ");
        self.fresh_events.push(Happening { id, at_ms, level, word: word.to_owned(), text });
    }

    /// Somebody brings about a fault.
    pub(crate) fn inject(&mut self, at_ms: u64, what: &str, label: &str) {
        self.lanes.inject(at_ms, what, label);
        self.note(at_ms, Level::Info, "injected", label);
    }

    /// It is over.
    pub(crate) fn heal(&mut self, at_ms: u64, what: &str, label: &str) {
        self.lanes.heal(at_ms, what);
        self.note(at_ms, Level::Info, "healed", label);
    }

    /// The proxy knows that bytes get through, or that they do not.
    pub(crate) fn truth(&mut self, at_ms: u64, passing: bool) {
        self.lanes.truth(at_ms, passing);
    }

    /// The run was judged.
    pub(crate) fn judge(&mut self, verdict: VerdictView) {
        self.verdict = Some(verdict);
    }

    /// What is so now.
    pub(crate) fn observe(&mut self, moment: Moment) {
        self.heard_ms = moment.state.heard_ms.or(self.heard_ms);
        if !moment.client_id.is_empty() && moment.client_id != self.subject.id {
            self.subject.id.clone_from(&moment.client_id);
            self.subject_changed = true;
        }
        self.moment = moment;
        let state = &mut self.moment.state;
        // The client tells no time for these two: that of the event which brought them is in the lane.
        if matches!(state.link, LinkWord::Waiting | LinkWord::Stopped) {
            state.since_ms = self.lanes.lanes.client.last().map_or(0, |span| span.from_ms);
        }
    }

    /// One row of measurements, from what was observed last.
    pub(crate) fn sample(&mut self, now_ms: u64) {
        let now = self.moment.totals;
        let Some((then_ms, then)) = self.last_sample.replace((now_ms, now)) else { return };
        let seconds = Figure::between(then_ms, now_ms).0 / 1e3;
        if seconds <= 0.0 {
            return;
        }
        let rate = |now: u64, then: u64| Some(Figure::new(now.saturating_sub(then) as f64 / seconds));
        let count = |n: u64| Figure::new(n as f64);
        let [ack_p50_ms, ack_p95_ms, ack_p99_ms] = self.moment.ack_ms;
        self.fresh_rows.push(
            now_ms,
            &Row {
                accepted_per_s: rate(now.accepted, then.accepted),
                acked_per_s: rate(now.acked, then.acked),
                received_per_s: rate(now.received, then.received),
                queue: Some(count(self.moment.state.ahead)),
                oldest_ms: self.moment.state.oldest_ms.map(count),
                in_flight: self.moment.in_flight.map(count),
                ack_p50_ms,
                ack_p95_ms,
                ack_p99_ms,
                ping_ms: self.moment.ping_ms,
                silent_ms: self.heard_ms.map(|heard| Figure::between(heard, now_ms)),
            },
        );
    }

    /// What changed since the last update; the document is now that of this moment.
    pub(crate) fn update(&mut self, now_ms: u64) -> Update {
        let now_ms = self.document.clock.now_ms.max(now_ms);
        let lanes = self.lane_tails();
        let from = self.outages.changed.take(self.outages.list.len());
        let mut rows = std::mem::take(&mut self.fresh_rows);
        let moment = &self.moment;
        rows.queue_limit = moment.queue_limit.map(|limit| Figure::new(limit as f64));
        let time = self.lanes.time;
        let totals = Totals {
            gaps: self.gaps,
            open_ms: time.open_ms(now_ms),
            watched_ms: time.watched_ms(now_ms),
            ..moment.totals
        };
        let known = &self.document;
        let update = Update {
            now_ms,
            now_unix_ms: self.unix_ms(now_ms, self.wall_ms),
            steps: std::mem::take(&mut self.steps_changed).then(|| self.steps.clone()),
            client: std::mem::take(&mut self.subject_changed).then(|| self.subject.clone()),
            state: fresh(moment.state.clone(), &known.state),
            answers: fresh(answers(&moment.state, now_ms), &known.answers),
            health: fresh(moment.health.clone(), &known.health),
            alerts: fresh(moment.alerts.clone(), &known.alerts),
            baselines: fresh(moment.baselines.clone(), &known.baselines),
            totals: fresh(totals, &known.totals),
            round_trips: fresh_or_none(moment.round_trips, &known.round_trips),
            samples: rows,
            events: std::mem::take(&mut self.fresh_events),
            lanes,
            outages: Tail::of(&self.outages.list, from),
            honesty: fresh_or_none(self.lanes.honesty(now_ms), &known.honesty),
            verdict: fresh_or_none(self.verdict.clone(), &known.verdict),
        };
        update.clone().apply(&mut self.document);
        update
    }

    fn lane_tails(&mut self) -> LaneTails {
        let Recorder { lanes, client_changed, truth_changed, injected_changed, .. } = &mut self.lanes;
        let client = Tail::of(&lanes.client, client_changed.take(lanes.client.len()));
        let truth = lanes.truth.as_ref().map(|lane| Tail::of(lane, truth_changed.take(lane.len())));
        let injected = lanes.injected.as_ref().map(|lane| Tail::of(lane, injected_changed.take(lane.len())));
        LaneTails { injected, truth, client }
    }

    /// What an event says of the link and its outages.
    fn follow(&mut self, at_ms: u64, event: &Event) {
        let place = |index: &usize| self.subject.servers.get(*index).map_or("", String::as_str);
        match event {
            Event::Attempt { .. } => {
                self.outages.attempt(at_ms);
                self.lanes.claim(at_ms, LinkWord::Connecting, None);
            }
            Event::AttemptFailed { cause, server, next_in, stages, .. } => {
                let reason = why::brief(cause, place(server), stages);
                self.outages.failed(at_ms);
                self.lanes.claim(at_ms, without_link(next_in.is_some()), Some(reason));
            }
            Event::Opened { session, .. } => {
                self.silent_ms = None;
                self.outages.opened(at_ms, session_word(*session));
                self.lanes.claim(at_ms, LinkWord::Open, None);
            }
            Event::Suspect { silent_for } => {
                let silent = u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX);
                self.silent_ms = Some(at_ms.saturating_sub(silent));
                self.lanes.claim(at_ms, LinkWord::Suspect, Some("a ping is unanswered".to_owned()));
            }
            Event::Trusted => {
                self.silent_ms = None;
                self.lanes.claim(at_ms, LinkWord::Open, None);
            }
            Event::Closed { cause, next_in, lasted, .. } => {
                let silent_ms = self.silent_ms.take().unwrap_or(at_ms);
                match cause {
                    LossCause::Local(LocalCause::Shutdown) => {}
                    LossCause::Local(LocalCause::Renewal) => self.outages.renewed(at_ms, *lasted, cause),
                    _ => {
                        let injected = self.lanes.fault_near(silent_ms).map(|fault| fault.what.clone());
                        self.outages.lost(at_ms, *lasted, cause, Silence { since_ms: silent_ms, injected });
                    }
                }
                self.lanes.claim(at_ms, without_link(next_in.is_some()), Some(cause.to_string()));
            }
            Event::Resubscribed { .. } => self.outages.resubscribed(at_ms),
            Event::Recovered { bill, drained } => self.outages.recovered(at_ms, bill, *drained),
            Event::ServerAdded { server, name, .. } => {
                let servers = &mut self.subject.servers;
                // A list that a broker makes long is not followed beyond any that people write.
                if *server < 256 {
                    servers.resize(servers.len().max(*server + 1), String::new());
                    name.as_str().clone_into(&mut servers[*server]);
                    self.subject_changed = true;
                }
            }
            Event::Stopped { reason } => {
                self.lanes.claim(at_ms, LinkWord::Stopped, Some(stop_words(reason)));
            }
            // What was lost may have been a change of the link: the state tells what came of it.
            Event::Lagged(_) => self.lanes.claim(at_ms, self.moment.state.link, None),
            _ => {}
        }
    }
}

const fn without_link(goes_on: bool) -> LinkWord {
    if goes_on { LinkWord::Waiting } else { LinkWord::Stopped }
}

/// The session in one word.
pub(crate) const fn session_word(session: SessionState) -> &'static str {
    match session {
        SessionState::New => "new",
        SessionState::Kept => "kept",
        SessionState::Lost(_) => "lost",
    }
}

/// Why a client stopped.
pub(crate) fn stop_words(reason: &StopReason) -> String {
    match reason {
        StopReason::NoReconnect(cause) => format!("reconnecting is off: {cause}"),
        StopReason::GaveUp(cause) => format!("gave up: {cause}"),
        _ => "shut down".to_owned(),
    }
}

fn level(word: &str) -> Level {
    match word {
        "open" | "recovered" | "trusted" => Level::Good,
        "lost" | "stopped" | "conflict" | "disk" => Level::Bad,
        "suspect" | "retry" | "gap" | "refused" | "fallback" | "skipped" => Level::Warn,
        _ => Level::Info,
    }
}
