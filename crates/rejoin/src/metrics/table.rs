//! The one table of all metrics: what exporters give, what the documentation lists, what rules may use.
//!
//! Names, kinds, units and labels are part of the public interface: people's dashboards and alerts hang on them.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::histogram::Histogram;
use super::names::{DUP, FAILURES, LINK_ENDS, OUTCOMES, PHASES, QOS, QOS_ACKED, SESSIONS, STAGES, STATES};
use super::snapshot::{ByName, MetricsSnapshot};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows, from zero at the start of the process.
    Counter,
    /// The present value of something.
    Gauge,
    /// How often which duration was measured.
    Histogram,
    /// Always 1; what it says is in the labels.
    Info,
}

impl Kind {
    /// In one word, as Prometheus has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// A label of a metric, beside the name of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Every value it can have; empty where the application decides, as with the names of rules.
    pub values: &'static [&'static str],
}

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}

/// A metric without its values. See [`descriptions`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Description {
    /// Its full name, with unit and `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it counts or measures; `None` for yes and no.
    pub unit: Option<&'static str>,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// The question of an operator that it answers.
    pub answers: &'static str,
    /// Its labels, beside the name of the client.
    pub labels: &'static [Label],
    /// Bounds that exporters give of a histogram, as powers of two of a microsecond: the first and the last.
    bounds: (u32, u32),
    samples: fn(&MetricsSnapshot) -> Vec<Sample>,
}

impl Description {
    pub(super) fn read(&'static self, snapshot: &MetricsSnapshot) -> Family {
        Family { description: self, samples: (self.samples)(snapshot) }
    }

    /// The bounds that exporters give of this metric, with how many durations did not exceed them: always the same ones, a
    /// doubling apart.
    pub fn buckets<'a>(&self, of: &'a Histogram) -> impl Iterator<Item = (Duration, u64)> + 'a {
        let (first, last) = self.bounds;
        of.section(first, last)
    }

    /// The unit, where the name carries it: what OpenMetrics calls the unit of a family.
    pub fn unit_in_name(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        self.unit.filter(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
    }
}

/// A metric with its values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Family {
    /// What it is.
    pub description: &'static Description,
    /// A value for each combination of labels.
    pub samples: Vec<Sample>,
}

/// A value with its labels.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Names and values, in the order of the description.
    pub labels: Vec<(&'static str, Cow<'static, str>)>,
    /// The value.
    pub value: Value,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge. Times in seconds.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

/// Every metric there is, in the order of [`MetricsSnapshot::families`]: for tools that list, check or explain them.
pub const fn descriptions() -> &'static [Description] {
    DESCRIPTIONS
}

const fn sample(labels: Vec<(&'static str, Cow<'static, str>)>, value: Value) -> Sample {
    Sample { labels, value }
}

fn count(value: u64) -> Vec<Sample> {
    vec![sample(Vec::new(), Value::Count(value))]
}

fn number(value: f64) -> Vec<Sample> {
    vec![sample(Vec::new(), Value::Number(value))]
}

fn flag(value: bool) -> Vec<Sample> {
    number(f64::from(u8::from(value)))
}

fn whole(value: u64) -> Vec<Sample> {
    // Beyond 2^52 the last digits are lost, which is nothing for a gauge.
    number(value as f64)
}

fn maybe(value: Option<f64>) -> Vec<Sample> {
    value.map(number).unwrap_or_default()
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn counts(label: &'static str, all: &ByName<u64>) -> Vec<Sample> {
    all.iter().map(|(name, n)| sample(vec![(label, name.into())], Value::Count(*n))).collect()
}

fn by_qos(all: &[u64; 3]) -> Vec<Sample> {
    let each = QOS.iter().zip(all);
    each.map(|(qos, n)| sample(vec![("qos", (*qos).into())], Value::Count(*n))).collect()
}

fn histogram(one: &Histogram) -> Vec<Sample> {
    vec![sample(Vec::new(), Value::Histogram(one.clone()))]
}

fn histograms<'a>(
    label: &'static str,
    all: impl IntoIterator<Item = (&'static str, &'a Histogram)>,
) -> Vec<Sample> {
    let each = all.into_iter();
    each.map(|(name, one)| sample(vec![(label, name.into())], Value::Histogram(one.clone()))).collect()
}

fn attempts(s: &MetricsSnapshot) -> Vec<Sample> {
    let [opened, failed] = OUTCOMES;
    let of = |outcome: &'static str, stage: &'static str, n| {
        sample(vec![("outcome", outcome.into()), ("stage", stage.into())], Value::Count(n))
    };
    let all = &s.connect_attempts;
    let opened = of(opened, "connack", all.opened);
    std::iter::once(opened).chain(all.failed.iter().map(|(stage, n)| of(failed, stage, *n))).collect()
}

fn received(s: &MetricsSnapshot) -> Vec<Sample> {
    let mut all = Vec::new();
    for (qos, by_dup) in QOS.iter().zip(&s.received) {
        for (dup, n) in DUP.iter().zip(by_dup) {
            all.push(sample(vec![("qos", (*qos).into()), ("dup", (*dup).into())], Value::Count(*n)));
        }
    }
    all
}

fn state(s: &MetricsSnapshot) -> Vec<Sample> {
    let each = STATES.iter();
    each.map(|name| {
        let is = f64::from(u8::from(*name == s.state));
        sample(vec![("state", (*name).into())], Value::Number(is))
    })
    .collect()
}

fn baselines(s: &MetricsSnapshot) -> Vec<Sample> {
    let each = s.baseline_ratios.iter();
    each.map(|(signal, ratio)| sample(vec![("signal", (*signal).into())], Value::Number(*ratio))).collect()
}

fn alerts(s: &MetricsSnapshot) -> Vec<Sample> {
    let each = s.alerts.iter();
    each.map(|(rule, fires)| {
        let fires = f64::from(u8::from(*fires));
        sample(vec![("rule", rule.clone().into())], Value::Number(fires))
    })
    .collect()
}

/// What this build of the library can do.
const FEATURES: [(&str, bool); 6] = [
    ("metrics", cfg!(feature = "metrics")),
    ("otel", cfg!(feature = "otel")),
    ("prometheus", cfg!(feature = "prometheus")),
    ("store-redb", cfg!(feature = "store-redb")),
    ("tls", cfg!(feature = "tls")),
    ("ws", cfg!(feature = "ws")),
];

fn build(_: &MetricsSnapshot) -> Vec<Sample> {
    let on: Vec<&str> = FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let labels = vec![("version", env!("CARGO_PKG_VERSION").into()), ("features", on.join(",").into())];
    vec![sample(labels, Value::Count(1))]
}

/// From 128 µs to 134 s: what answers of a broker take.
const ANSWERS: (u32, u32) = (7, 27);
/// From 1 ms to 71 min: what outages take.
const OUTAGES: (u32, u32) = (10, 32);
/// Of what is no histogram.
const NONE: (u32, u32) = (0, 0);

/// Writes one row: name, kind, unit, labels, help, answer, and where the values come from.
macro_rules! rows {
    ($($name:literal $kind:ident $unit:expr, [$($label:literal: $values:expr),*], $bounds:expr,
       $help:literal, $answers:literal, $samples:expr;)*) => {
        &[$(Description {
            name: concat!("mqtt_client_", $name),
            kind: Kind::$kind,
            unit: $unit,
            help: $help,
            answers: $answers,
            labels: &[$(label($label, $values)),*],
            bounds: $bounds,
            samples: $samples,
        }),*]
    };
}

pub(super) const DESCRIPTIONS: &[Description] = rows! {
    "link_open" Gauge None, [], NONE,
        "1 while the link is open and nothing speaks against it", "Is the link up?", |s| flag(s.link_open);
    "ready" Gauge None, [], NONE,
        "1 while the link is open and every subscription is granted on it", "Is everything back?",
        |s| flag(s.ready);
    "suspect" Gauge None, [], NONE,
        "1 while the link is open by the book and a ping is late", "Is it open in truth?",
        |s| flag(s.suspect);
    "state" Gauge None, ["state": &STATES], NONE,
        "1 for the state the link is in, 0 for the others", "What is it doing?", state;
    "state_changed_timestamp_seconds" Gauge Some("seconds"), [], NONE,
        "When the link came into its state, in seconds since 1970", "Since when?",
        |s| number(unix(s.state_changed));
    "last_heard_timestamp_seconds" Gauge Some("seconds"), [], NONE,
        "When the last byte came from a broker, in seconds since 1970; 0: never yet",
        "How long has it been silent?", |s| number(s.last_heard.map_or(0.0, unix));
    "connect_attempts_total" Counter Some("attempts"), ["outcome": &OUTCOMES, "stage": &STAGES], NONE,
        "Attempts to open a link that came to their end, and the stage they came to",
        "What keeps it from connecting?", attempts;
    "connect_stage_duration_seconds" Histogram Some("seconds"), ["stage": &STAGES], ANSWERS,
        "How long each stage of opening a link took, of attempts that succeeded", "Why is connecting slow?",
        |s| histograms("stage", s.connect_stage.iter());
    "disconnects_total" Counter Some("links"), ["reason": &LINK_ENDS], NONE,
        "Links that ended, by the reason", "How often does it lose the link, and why?",
        |s| counts("reason", &s.disconnects);
    "outage_duration_seconds" Histogram Some("seconds"), [], OUTAGES,
        "From the loss of a link until the next one was open", "How long is it away?",
        |s| histogram(&s.outage);
    "recovery_duration_seconds" Histogram Some("seconds"), ["phase": &PHASES], OUTAGES,
        "Where the time of an outage went, until all was back", "Which part of coming back takes long?",
        |s| histograms("phase", s.recovery.iter());
    "sessions_total" Counter Some("sessions"), ["result": &SESSIONS], NONE,
        "What became of the session when a link opened", "Does the broker forget us?",
        |s| counts("result", &s.sessions);
    "subscription_gaps_total" Counter Some("gaps"), [], NONE,
        "Times in which subscriptions may have missed messages", "May I have missed something?",
        |s| count(s.subscription_gaps);
    "id_conflicts_total" Counter Some("conflicts"), [], NONE,
        "Signs that another client uses the same client id", "Does somebody else use my id?",
        |s| count(s.id_conflicts);
    "ping_round_trip_seconds" Histogram Some("seconds"), [], ANSWERS,
        "From PINGREQ to PINGRESP", "How far away is the broker?", |s| histogram(&s.ping_round_trip);
    "publish_accepted_total" Counter Some("messages"), ["qos": &QOS], NONE,
        "Messages accepted for delivery", "How much is handed over?", |s| by_qos(&s.accepted);
    "publish_acked_total" Counter Some("messages"), ["qos": &QOS], NONE,
        "Messages the broker acknowledged; at QoS 0: handed to an open link", "How much arrives?",
        |s| by_qos(&s.acked);
    "publish_failed_total" Counter Some("messages"), ["reason": &FAILURES], NONE,
        "Messages accepted and not delivered, by the reason", "What was lost, and why?",
        |s| counts("reason", &s.failed);
    "publish_not_accepted_total" Counter Some("messages"), [], NONE,
        "Messages given back when they were handed over, or given up while they waited for room: the queue was full, its store took nothing, or the client stopped",
        "Does the application hand over more than the queue takes?", |s| count(s.not_accepted);
    "publish_resent_total" Counter Some("messages"), [], NONE,
        "PUBLISH packets sent again", "How much of the work is done twice?", |s| count(s.resent);
    "publish_ack_duration_seconds" Histogram Some("seconds"), ["qos": &QOS_ACKED], ANSWERS,
        "From the acceptance of a message to its acknowledgement", "How long until it is delivered?",
        |s| histograms("qos", QOS_ACKED.into_iter().zip(&s.ack_duration[1..]));
    "queue_wait_duration_seconds" Histogram Some("seconds"), ["qos": &QOS], ANSWERS,
        "From the acceptance of a message until it was first written", "How much of that is the queue?",
        |s| histograms("qos", QOS.into_iter().zip(&s.queue_wait));
    "queue_messages" Gauge Some("messages"), [], NONE,
        "Messages accepted and not answered for, sent ones among them", "How much is waiting?",
        |s| whole(s.queue_messages);
    "queue_limit_messages" Gauge Some("messages"), [], NONE,
        "How many messages the queue takes; absent without a limit", "How much may wait?",
        |s| s.queue_limit_messages.map(whole).unwrap_or_default();
    "queue_bytes" Gauge Some("bytes"), [], NONE,
        "Bytes that the messages in the queue take", "How full is the queue?", |s| whole(s.queue_bytes);
    "queue_limit_bytes" Gauge Some("bytes"), [], NONE,
        "How many bytes the queue takes", "How full may it be?", |s| whole(s.queue_limit_bytes);
    "queue_full" Gauge None, [], NONE,
        "1 while a message of ordinary size has no room; never where the oldest make room", "Is it taking messages?",
        |s| flag(s.queue_full);
    "queue_oldest_age_seconds" Gauge Some("seconds"), [], NONE,
        "How long the oldest message waits for its answer; 0: nothing waits", "How late are we?",
        |s| number(s.queue_oldest_age.unwrap_or(Duration::ZERO).as_secs_f64());
    "in_flight_messages" Gauge Some("messages"), [], NONE,
        "Messages sent and unacknowledged", "Is the window full?", |s| whole(s.in_flight);
    "queue_sync_duration_seconds" Histogram Some("seconds"), [], ANSWERS,
        "How long a commit of the queue on disk took, until it would survive a power cut",
        "Is the disk the brake?", |s| histogram(&s.queue_sync);
    "received_messages_total" Counter Some("messages"), ["qos": &QOS, "dup": &DUP], NONE,
        "Messages received, copies of QoS 2 not counted", "How much comes in?", received;
    "handler_lag_messages" Gauge Some("messages"), [], NONE,
        "Messages received that wait for the application to take them", "Is the application too slow?",
        |s| whole(s.handler_lag);
    "handler_dropped_total" Counter Some("messages"), [], NONE,
        "QoS 0 messages dropped because a stream was not read fast enough",
        "Did that cost messages?", |s| count(s.handler_dropped);
    "sent_bytes_total" Counter Some("bytes"), [], NONE,
        "Bytes handed to the transport", "What does it send?", |s| count(s.sent_bytes);
    "received_bytes_total" Counter Some("bytes"), [], NONE,
        "Bytes received", "What does it receive?", |s| count(s.received_bytes);
    "health_status" Gauge None, [], NONE,
        "0 healthy, 1 degraded, 2 unhealthy; absent where health is not judged", "Is all well?",
        |s| maybe(s.health.map(f64::from));
    "baseline_ratio" Gauge Some("ratio"), ["signal": &[]], NONE,
        "The present compared with what is usual: 1 is as usual", "Is this normal?", baselines;
    "alert_firing" Gauge None, ["rule": &[]], NONE,
        "1 while the rule fires", "What is wrong?", alerts;
    "build_info" Info None, ["version": &[], "features": &[]], NONE,
        "The version of the library and what it was built with", "What is running?", build;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_rules_of_openmetrics() {
        for description in descriptions() {
            let name = description.name;
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), description.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), description.kind == Kind::Info, "{name}");
            assert_eq!(description.bounds == NONE, description.kind != Kind::Histogram, "{name}");
            if matches!(description.unit, Some("seconds" | "bytes")) {
                assert_eq!(description.unit_in_name(), description.unit, "{name} must name its unit");
            }
            assert!(!description.help.ends_with('.') && !description.help.contains('\n'), "{name}");
        }
    }
}
