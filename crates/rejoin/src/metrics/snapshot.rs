//! The figures of a client at one moment, as plain data.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use rejoin_core::Timestamp;
use rejoin_core::codec::packet::Version;

use super::histogram::Histogram;
use super::meter::{Cells, Count, Meters};
use super::names::{EVICTED, FAILURES, LINK_ENDS, PHASES, SESSIONS, STAGES};
use super::table::{DESCRIPTIONS, Family};
use crate::alerts::{AlertState, AlertStatus, BaselineStatus};
use crate::command::Shared;
use crate::health::HealthStatus;
use crate::sync::lock;

/// One value for each name of a closed set, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByName<T> {
    rows: Vec<(&'static str, T)>,
}

impl<T> ByName<T> {
    fn new(names: &[&'static str], values: impl IntoIterator<Item = T>) -> Self {
        Self { rows: names.iter().copied().zip(values).collect() }
    }

    /// The value of this name; `None` if the set does not have it.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.rows.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All of them with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &T)> {
        self.rows.iter().map(|(name, value)| (*name, value))
    }
}

impl ByName<u64> {
    /// All of them together.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|(_, count)| count).sum()
    }
}

/// How attempts to open a link ended. One under way is not counted yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectAttempts {
    /// CONNACK came.
    pub opened: u64,
    /// They failed, by the stage in which they did: `credentials`, `dns`, `tcp`, `proxy`, `tls`, `websocket`, `connack`.
    pub failed: ByName<u64>,
}

/// Every figure of one client at one moment. Plain data: copy it, compare it, keep it.
///
/// Made by [`crate::Client::metrics`] without disturbing the client. Counters begin at zero with the process and only
/// grow, so what matters is the difference of two snapshots. Accepted messages are acknowledged, failed or still in the
/// queue: `accepted` + what was found in the queue at the start = `acked` + `failed` + `queue_messages`.
///
/// While the client is at work, a histogram may be behind the counters by one turn of its task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// When it was taken.
    pub at: Instant,
    /// The link is open and nothing speaks against it.
    pub link_open: bool,
    /// The link is open, and every subscription is granted on it.
    pub ready: bool,
    /// The link is open by the book and unproven: a ping is late.
    pub suspect: bool,
    /// The state of the link: `open`, `suspect`, `connecting`, `waiting` or `stopped`, as [`crate::Link::name`].
    pub state: &'static str,
    /// The version of MQTT spoken on the present or last link; `None` before the first.
    pub protocol: Option<Version>,
    /// Since when the state is the one it is.
    pub state_changed: SystemTime,
    /// When the last byte came from a broker, on whichever link; `None`: never yet.
    pub last_heard: Option<SystemTime>,
    /// How attempts to open a link ended.
    pub connect_attempts: ConnectAttempts,
    /// Links that ended, by the reason: [`rejoin_core::LossCause::ENDS_OF_LINKS`], and `other`.
    pub disconnects: ByName<u64>,
    /// What became of the session each time a link opened: `kept`, `lost`, `new`.
    pub sessions: ByName<u64>,
    /// Times in which subscriptions may have missed messages.
    pub subscription_gaps: u64,
    /// Signs that another client uses our client id.
    pub id_conflicts: u64,
    /// Messages accepted for delivery, by QoS.
    pub accepted: [u64; 3],
    /// Messages that the broker acknowledged, by QoS. At QoS 0, which has no acknowledgement: handed to an open link.
    pub acked: [u64; 3],
    /// Messages accepted and not delivered, by the reason: `refused` by the broker, `expired`, `dropped` (QoS 0 without a
    /// link), `cancelled`, `rejected` (it could never be sent), `too-large`, `not-supported`, `unknown` (the session was
    /// lost), `parked`, `superseded`, `evicted`, `unreadable`, `stopped`, `not-sent-again` (it was sent once, and the broker
    /// takes less now), `other`.
    pub failed: ByName<u64>,
    /// Messages given back by [`crate::PublishBuilder::enqueue`] and its kin because the queue was full, its store took
    /// nothing, or the client stopped; and those that waited for room when their caller gave up. They were never accepted.
    pub not_accepted: u64,
    /// PUBLISH packets sent again.
    pub resent: u64,
    /// Messages received, by QoS, and in each by DUP: `received[1][0]` are those of QoS 1 without the flag. Copies of
    /// QoS 2 messages are not counted.
    pub received: [[u64; 2]; 3],
    /// Bytes handed to the transport.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Messages accepted and not answered for, sent ones among them.
    pub queue_messages: u64,
    /// How many there may be; `None` without a limit, which is the default.
    pub queue_limit_messages: Option<u64>,
    /// Bytes they take in the queue.
    pub queue_bytes: u64,
    /// How many they may take.
    pub queue_limit_bytes: u64,
    /// A message of ordinary size has no room; never so where the oldest make room.
    pub queue_full: bool,
    /// How long the oldest of them waits for its answer; of one that an earlier process accepted: since the start of this
    /// one. `None`: nothing waits.
    pub queue_oldest_age: Option<Duration>,
    /// Messages sent and unacknowledged.
    pub in_flight: u64,
    /// Messages received that wait for the application to take them, over all streams and handlers.
    pub handler_lag: u64,
    /// QoS 0 messages dropped because a stream was not read fast enough.
    pub handler_dropped: u64,
    /// How long each stage of opening a link took, of attempts that succeeded.
    pub connect_stage: ByName<Histogram>,
    /// From the loss of a link until the next one was open.
    pub outage: Histogram,
    /// Where the time of each outage went: `detect`, `refused`, `waited`, `connect`, `resubscribe`, `drain`, as in
    /// [`rejoin_core::OutageBill`].
    pub recovery: ByName<Histogram>,
    /// From PINGREQ to PINGRESP.
    pub ping_round_trip: Histogram,
    /// From the acceptance of a message to its acknowledgement, by QoS; QoS 0 has none. Outages are part of it. Messages
    /// of an earlier process are left out.
    pub ack_duration: [Histogram; 3],
    /// From the acceptance of a message until it was first handed to the transport, by QoS. Messages of an earlier process
    /// are left out.
    pub queue_wait: [Histogram; 3],
    /// How long each commit of the queue on disk took, until it would survive a power cut.
    pub queue_sync: Histogram,
    /// 0 healthy, 1 degraded, 2 unhealthy; `None` where health is not judged.
    pub health: Option<u8>,
    /// How the present compares with what is usual, by signal: 1 is as usual.
    pub baseline_ratios: Vec<(&'static str, f64)>,
    /// Rules, and whether they fire.
    pub alerts: Vec<(String, bool)>,
}

impl MetricsSnapshot {
    /// Every metric with its name, kind, unit, labels and values: what all exporters give, in a fixed order.
    pub fn families(&self) -> Vec<Family> {
        DESCRIPTIONS.iter().map(|description| description.read(self)).collect()
    }

    /// Messages received, all in all.
    pub fn received_total(&self) -> u64 {
        self.received.iter().flatten().sum()
    }
}

/// Reads the metrics of one client without keeping it alive: what an exporter holds.
///
/// ```
/// # fn example(client: &rejoin::Client) {
/// let reader = client.metrics_reader();
/// std::thread::spawn(move || {
///     while let Some(metrics) = reader.snapshot() {
///         println!("{} in the queue", metrics.queue_messages);
///         std::thread::sleep(std::time::Duration::from_secs(10));
///     }
/// });
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MetricsReader {
    shared: Weak<Shared>,
}

impl MetricsReader {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared) }
    }

    /// Whether there is still something to read.
    #[cfg(feature = "prometheus")]
    pub(crate) fn is_alive(&self) -> bool {
        self.shared.strong_count() > 0
    }

    /// The figures now; `None` once the client is gone with everything that was made of it.
    pub fn snapshot(&self) -> Option<MetricsSnapshot> {
        self.shared.upgrade().map(|shared| take(&shared))
    }
}

fn counts<const N: usize>(names: &[&'static str; N], counts: &[Count; N]) -> ByName<u64> {
    ByName::new(names, counts.iter().map(Count::get))
}

fn histograms<const N: usize>(names: &[&'static str; N], cells: &[Cells; N]) -> ByName<Histogram> {
    ByName::new(names, cells.iter().map(Cells::histogram))
}

fn failures(meters: &Meters, evicted_at_once: u64) -> ByName<u64> {
    let mut failed = counts(&FAILURES, &meters.traffic.figures().failed);
    failed.rows[EVICTED].1 += evicted_at_once;
    failed
}

/// How long the broker took for acknowledgements, at QoS 1 and 2 together: what waited in the queue waited for us.
pub(crate) fn acks(shared: &Shared) -> Histogram {
    shared.meters.traffic.figures().transit.histogram()
}

/// The figures of this client now.
pub(crate) fn take(shared: &Shared) -> MetricsSnapshot {
    let meters = &shared.meters;
    let (trouble, traffic) = (meters.trouble.figures(), meters.traffic.figures());
    let (acked, in_flight) = (traffic.acked.each_ref().map(Count::get), meters.in_flight.get());
    let state = shared.state();
    let queue = shared.queue_figures();
    let stats = *lock(&shared.stats);
    let watching = shared.ward.watching.get();
    let (now, wall) = (shared.clock.timestamp(), SystemTime::now());
    let when = |micros: u64| {
        let ago = now.since(Timestamp::from_micros(micros));
        wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let oldest = Some(meters.oldest.get()).filter(|oldest| *oldest > 0 && state.ahead > 0);
    MetricsSnapshot {
        at: Instant::now(),
        link_open: state.is_connection_open(),
        ready: state.ready(),
        suspect: matches!(state.link, crate::Link::Suspect { .. }),
        state: state.link.name(),
        protocol: state.version,
        state_changed: when(meters.state_since.get()),
        last_heard: shared.heard_micros().map(when),
        connect_attempts: ConnectAttempts {
            opened: meters.opened.get(),
            failed: counts(&STAGES, &trouble.failed_at),
        },
        disconnects: counts(&LINK_ENDS, &trouble.link_ends),
        sessions: counts(&SESSIONS, &meters.sessions),
        subscription_gaps: trouble.gaps.get(),
        id_conflicts: trouble.id_conflicts.get(),
        accepted: queue.accepted,
        acked,
        failed: failures(meters, queue.evicted),
        not_accepted: shared.counters.not_accepted.load(Ordering::Relaxed),
        resent: stats.resent,
        received: traffic.received.each_ref().map(|by_dup| by_dup.each_ref().map(Count::get)),
        sent_bytes: stats.bytes_sent,
        received_bytes: stats.bytes_received,
        queue_messages: state.ahead,
        queue_limit_messages: queue.limit_messages,
        queue_bytes: state.queue_bytes,
        queue_limit_bytes: queue.limit_bytes,
        queue_full: queue.full,
        queue_oldest_age: oldest.map(|oldest| now.since(Timestamp::from_micros(oldest - 1))),
        in_flight,
        handler_lag: shared.unread(),
        handler_dropped: shared.counters.dropped_qos0.load(Ordering::Relaxed),
        connect_stage: histograms(&STAGES, &meters.stages),
        outage: trouble.outage.histogram(),
        recovery: histograms(&PHASES, &trouble.recovery),
        ping_round_trip: meters.ping.histogram(),
        ack_duration: traffic.ack.each_ref().map(Cells::histogram),
        queue_wait: traffic.wait.each_ref().map(Cells::histogram),
        queue_sync: meters.syncs.get().map(|syncs| syncs.histogram()).unwrap_or_default(),
        health: watching.map(|watching| status(watching.subscribe().borrow().status)),
        baseline_ratios: watching.map(|watching| ratios(watching.baselines())).unwrap_or_default(),
        alerts: watching.map(|watching| firing(watching.alerts())).unwrap_or_default(),
    }
}

const fn status(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Healthy => 0,
        HealthStatus::Degraded => 1,
        HealthStatus::Unhealthy => 2,
    }
}

fn ratios(baselines: Vec<BaselineStatus>) -> Vec<(&'static str, f64)> {
    baselines.into_iter().filter_map(|baseline| Some((baseline.signal.name(), baseline.ratio?))).collect()
}

fn firing(alerts: Vec<AlertStatus>) -> Vec<(String, bool)> {
    alerts.into_iter().map(|alert| (alert.rule, alert.state == AlertState::Firing)).collect()
}
