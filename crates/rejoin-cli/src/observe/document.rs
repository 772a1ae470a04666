//! The document of a run, `rejoin-run/1`: everything that was seen of one client, in the form in which the page, the
//! report and the recording read it. Times ending in `_ms` are milliseconds since the run began.

use serde::{Deserialize, Serialize, Serializer};

use super::samples::Samples;

/// The name of the form. A reader refuses another number behind the slash.
pub(crate) const SCHEMA: &str = "rejoin-run/1";

/// A measured value: at most three decimals, and none where there are none, because thousands of them are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figure(pub(crate) f64);

impl Figure {
    /// Rounded to three decimals; what is no number becomes zero.
    pub(crate) fn new(value: f64) -> Self {
        let rounded = (value * 1e3).round() / 1e3;
        Self(if rounded.is_finite() { rounded } else { 0.0 })
    }

    /// A length in milliseconds.
    pub(crate) fn ms(length: std::time::Duration) -> Self {
        Self::new(length.as_secs_f64() * 1e3)
    }

    /// From one moment of the run to a later one.
    pub(crate) fn between(from_ms: u64, to_ms: u64) -> Self {
        Self::new(to_ms.saturating_sub(from_ms) as f64)
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact below 2^53; a run does not count further.
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    /// [`SCHEMA`].
    pub(crate) schema: String,
    /// Which program, how it was called, where.
    pub(crate) program: Program,
    /// When.
    pub(crate) clock: Clock,
    /// Whose run it is.
    pub(crate) client: Subject,
    /// What is so now.
    pub(crate) state: StateView,
    /// The two questions people ask.
    pub(crate) answers: Answers,
    /// What was injected, true and claimed, on one time axis.
    pub(crate) lanes: Lanes,
    /// How long an open link was claimed while it was closed. Only where the truth is known.
    pub(crate) honesty: Option<Honesty>,
    /// Measured at fixed distances.
    pub(crate) samples: Samples,
    /// Links that were lost, and what it cost.
    pub(crate) outages: Vec<Outage>,
    /// What happened, oldest first, at most [`super::run::EVENTS_MAX`].
    pub(crate) events: Vec<Happening>,
    /// How well the client is.
    pub(crate) health: HealthView,
    /// What is normal for each signal.
    pub(crate) baselines: Vec<BaselineView>,
    /// The rules and whether they fire.
    pub(crate) alerts: Vec<AlertView>,
    /// Counts of the whole run.
    pub(crate) totals: Totals,
    /// Ping round trips of the whole run, once one was measured.
    pub(crate) round_trips: Option<RoundTrips>,
    /// What can be asked for by whoever has the token.
    pub(crate) controls: Vec<String>,
    /// The end of a run that is judged.
    pub(crate) verdict: Option<VerdictView>,
}

/// Which program, how it was called, where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Program {
    /// Version of rejoin.
    pub(crate) version: String,
    /// `watch`, `demo`, `pub`, `sub`.
    pub(crate) verb: String,
    /// The command line, secrets masked.
    pub(crate) command: String,
    /// The seed of a run that can be repeated.
    pub(crate) seed: Option<u64>,
    /// What it ran on.
    pub(crate) machine: String,
}

/// When.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Clock {
    /// The start, in milliseconds since the Unix epoch, UTC.
    pub(crate) started_unix_ms: u64,
    /// Since then, at the last update. Does not count while the machine sleeps.
    pub(crate) now_ms: u64,
    /// The same moment by the clock on the wall, in milliseconds since the Unix epoch.
    pub(crate) now_unix_ms: u64,
    /// Where the clock on the wall moved otherwise than time passed, oldest first, at most
    /// [`super::run::STEPS_MAX`].
    pub(crate) steps: Vec<ClockStep>,
}

/// From a moment on, the clock on the wall is this far from where the start and the time since then would have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ClockStep {
    /// From when.
    pub(crate) at_ms: u64,
    /// Ahead, or behind if less than zero; of all steps until here.
    pub(crate) offset_ms: i64,
}

/// Whose run it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Subject {
    /// The client id in use.
    pub(crate) id: String,
    /// The servers in order of preference, `host:port`.
    pub(crate) servers: Vec<String>,
    /// What people call it.
    pub(crate) name: String,
}

/// What the link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LinkWord {
    /// Open, and nothing speaks against it.
    Open,
    /// Open by the book, unproven.
    Suspect,
    /// An attempt is under way.
    #[default]
    Connecting,
    /// Between attempts.
    Waiting,
    /// For good.
    Stopped,
    /// Closed, as the truth knows it: no bytes get through.
    Closed,
}

/// Will it be delivered?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OutlookWord {
    /// The link is open.
    Now,
    /// When the link is back.
    #[default]
    Later,
    /// Somebody has to do something, or the queue has to drain.
    Blocked,
    /// The client stopped.
    Never,
}

/// What is so now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StateView {
    /// The link.
    pub(crate) link: LinkWord,
    /// Since when it is so.
    pub(crate) since_ms: u64,
    /// Why it is not open, in words.
    pub(crate) reason: Option<String>,
    /// When the last byte came from the broker.
    pub(crate) heard_ms: Option<u64>,
    /// The attempt under way or the next one, from 1.
    pub(crate) attempt: Option<u32>,
    /// When the next attempt is due.
    pub(crate) until_ms: Option<u64>,
    /// How far the attempt is.
    pub(crate) stage: Option<String>,
    /// Up now, or will be again by itself.
    pub(crate) is_connected: bool,
    /// Exactly `link: open`.
    pub(crate) is_connection_open: bool,
    /// Open, and every subscription granted.
    pub(crate) ready: bool,
    /// Whether what is handed over now will be delivered.
    pub(crate) outlook: OutlookWord,
    /// What is accepted survives this process.
    pub(crate) durable: bool,
    /// Messages accepted and not answered for.
    pub(crate) ahead: u64,
    /// Why the outlook is blocked or never.
    pub(crate) why: Option<String>,
    /// The server in use or last tried.
    pub(crate) server: String,
    /// Version of MQTT spoken.
    pub(crate) version: Option<String>,
    /// The session on the present or last link: `kept`, `new`, `lost`.
    pub(crate) session: Option<String>,
    /// Bytes of the messages ahead.
    pub(crate) queue_bytes: u64,
    /// How long the oldest of them waits: a length.
    pub(crate) oldest_ms: Option<u64>,
    /// Why the last link or attempt ended.
    pub(crate) last_loss: Option<String>,
}

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tone {
    /// Well.
    Good,
    /// Not yet, and it will be by itself.
    #[default]
    Wait,
    /// Not, and not by itself.
    Bad,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// In one glance.
    pub(crate) word: String,
    /// Why, and since when.
    pub(crate) detail: String,
    /// How to take it.
    pub(crate) tone: Tone,
}

/// The two questions people ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answers {
    /// Will what is handed over be delivered?
    pub(crate) deliver: Answer,
    /// Is the link open?
    pub(crate) link: Answer,
}

/// A time in which something held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Span {
    /// From when.
    pub(crate) from_ms: u64,
    /// Until when; `None` for what still holds.
    pub(crate) to_ms: Option<u64>,
    /// What.
    pub(crate) state: LinkWord,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A fault somebody brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Injection {
    /// From when.
    pub(crate) from_ms: u64,
    /// Until when; `None` while it is on.
    pub(crate) to_ms: Option<u64>,
    /// Its stable name.
    pub(crate) what: String,
    /// In words.
    pub(crate) label: String,
}

/// What was injected, true and claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lanes {
    /// Faults. Only with a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) injected: Option<Vec<Injection>>,
    /// Whether bytes got through. Only with a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truth: Option<Vec<Span>>,
    /// What the client said.
    pub(crate) client: Vec<Span>,
}

/// How long an open link was claimed while it was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Honesty {
    /// In all.
    pub(crate) claimed_open_while_closed_ms: u64,
    /// In one piece.
    pub(crate) longest_ms: u64,
}

/// A link that was lost. Lengths are `None` until they are known; they add up to `total_ms`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outage {
    /// Grows by one from 1, so that it stays what it was when the oldest outages are forgotten.
    pub(crate) number: u64,
    /// When the last byte came.
    pub(crate) start_ms: u64,
    /// When everything was back; `None` while it is not.
    pub(crate) end_ms: Option<u64>,
    /// The stable name of the cause.
    pub(crate) cause: String,
    /// The cause in words.
    pub(crate) words: String,
    /// The reason code of the DISCONNECT that ended it, where there was one.
    pub(crate) code: Option<u8>,
    /// How long the link had been open.
    pub(crate) lived_ms: Option<Figure>,
    /// Until the client noticed.
    pub(crate) detect_ms: Option<Figure>,
    /// In attempts that failed.
    pub(crate) refused_ms: Option<Figure>,
    /// Between attempts.
    pub(crate) waited_ms: Option<Figure>,
    /// In the attempt that succeeded.
    pub(crate) connect_ms: Option<Figure>,
    /// Until every subscription was answered.
    pub(crate) resubscribe_ms: Option<Figure>,
    /// From then until the backlog was answered for.
    pub(crate) drain_ms: Option<Figure>,
    /// All of it.
    pub(crate) total_ms: Option<Figure>,
    /// Attempts made.
    pub(crate) attempts: u32,
    /// Messages of the backlog.
    pub(crate) drained: Option<u64>,
    /// What became of the session: `kept`, `lost`, `new`.
    pub(crate) session: Option<String>,
    /// The fault behind it, where one was injected.
    pub(crate) injected: Option<String>,
}

/// How much a happening matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// To be known.
    #[default]
    Info,
    /// Well again.
    Good,
    /// To be watched.
    Warn,
    /// Not well.
    Bad,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Happening {
    /// Grows by one from 1.
    pub(crate) id: u64,
    /// When.
    pub(crate) at_ms: u64,
    /// How much it matters.
    pub(crate) level: Level,
    /// One word for it.
    pub(crate) word: String,
    /// The rest.
    pub(crate) text: String,
}

/// How well the client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HealthView {
    /// `healthy`, `degraded`, `unhealthy`.
    pub(crate) status: String,
    /// What it is made of.
    pub(crate) checks: Vec<CheckView>,
}

/// One check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CheckView {
    /// Its name.
    pub(crate) name: String,
    /// `healthy`, `degraded`, `unhealthy`.
    pub(crate) status: String,
    /// Why.
    pub(crate) detail: String,
    /// Since when.
    pub(crate) since_ms: u64,
}

/// What is normal for a signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BaselineView {
    /// Which.
    pub(crate) signal: String,
    /// `learning`, `ready`, `frozen`.
    pub(crate) state: String,
    /// The median.
    pub(crate) median: Option<f64>,
    /// The spread.
    pub(crate) spread: Option<f64>,
    /// The newest value.
    pub(crate) now: Option<f64>,
    /// The newest value by the median.
    pub(crate) ratio: Option<f64>,
    /// Of median, spread and now: `s` or `1/h`.
    pub(crate) unit: String,
    /// How many values it was learned from.
    pub(crate) samples: u64,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AlertView {
    /// The rule in words.
    pub(crate) rule: String,
    /// The signal it looks at.
    pub(crate) signal: String,
    /// `ok`, `pending`, `firing`, `resolved`.
    pub(crate) state: String,
    /// Since when.
    pub(crate) since_ms: Option<u64>,
    /// What the signal is.
    pub(crate) value: Option<f64>,
    /// What it may be.
    pub(crate) limit: Option<f64>,
    /// What speaks for it.
    pub(crate) evidence: String,
    /// What to do.
    pub(crate) hint: String,
}

/// Counts of the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    /// Messages accepted.
    pub(crate) accepted: u64,
    /// Messages acknowledged.
    pub(crate) acked: u64,
    /// Messages that ended otherwise.
    pub(crate) failed: u64,
    /// Messages received.
    pub(crate) received: u64,
    /// PUBLISH packets sent again.
    pub(crate) resent: u64,
    /// Attempts to connect.
    pub(crate) attempts: u64,
    /// Links opened.
    pub(crate) links: u64,
    /// Links lost.
    pub(crate) losses: u64,
    /// Sessions the server lost.
    pub(crate) sessions_lost: u64,
    /// Times in which messages may be missing.
    pub(crate) gaps: u64,
    /// How long the link was open: a length. What the lanes forgot counts.
    pub(crate) open_ms: u64,
    /// Of how long that is known: a length.
    pub(crate) watched_ms: u64,
}

/// Ping round trips of the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RoundTrips {
    /// How many.
    pub(crate) count: u64,
    /// The median.
    pub(crate) p50_ms: Figure,
    /// What one in a hundred exceeds.
    pub(crate) p99_ms: Figure,
    /// The longest.
    pub(crate) max_ms: Figure,
}

/// The end of a run that is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct VerdictView {
    /// Whether all expectations were met.
    pub(crate) pass: bool,
    /// In one word.
    pub(crate) title: String,
    /// In words.
    pub(crate) lines: Vec<String>,
    /// What was expected.
    pub(crate) expectations: Vec<Expectation>,
    /// What was found beside it.
    pub(crate) anomalies: Vec<Anomaly>,
}

/// Something that was expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Expectation {
    /// Of what.
    pub(crate) name: String,
    /// What it may be.
    pub(crate) limit: String,
    /// What it is.
    pub(crate) value: String,
    /// Whether that is met.
    pub(crate) pass: bool,
}

/// Something that should not have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Anomaly {
    /// In words.
    pub(crate) what: String,
}
