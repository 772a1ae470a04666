//! A moment of a live client, in the words of the document.

use std::time::{Duration, Instant};

use rejoin::metrics::{Histogram, MetricsSnapshot};
use rejoin::{Client, Link, Obstacle, Outlook, State};

use super::document::{
    AlertView, BaselineView, CheckView, Figure, HealthView, LinkWord, OutlookWord, RoundTrips, StateView,
    Totals,
};
use super::run::{Moment, session_word, stop_words};

/// Where the time of a run begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zero(pub(crate) Instant);

impl Zero {
    /// Milliseconds of the run at a moment; zero for what was before it.
    pub(crate) fn ms(self, moment: Instant) -> u64 {
        millis(moment.saturating_duration_since(self.0))
    }

    /// Milliseconds of the run now.
    pub(crate) fn now_ms(self) -> u64 {
        self.ms(Instant::now())
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// Looks at one client again and again.
#[derive(Debug)]
pub(crate) struct Meter {
    client: Client,
    zero: Zero,
    /// Of the last sample, so that the next one tells what was between them.
    acks: Histogram,
    pings: Histogram,
    ack_ms: [Option<Figure>; 3],
    ping_ms: Option<Figure>,
}

impl Meter {
    /// Looks at this client, from now on.
    pub(crate) fn new(client: Client, zero: Zero) -> Self {
        let metrics = client.metrics();
        let acks = acks(&metrics);
        Self { client, zero, acks, pings: metrics.ping_round_trip, ack_ms: [None; 3], ping_ms: None }
    }

    /// What the client tells now, with the durations measured since the last call of this.
    pub(crate) fn sample(&mut self) -> Moment {
        let metrics = self.client.metrics();
        let acks = acks(&metrics);
        let since = acks.since(&self.acks);
        self.ack_ms = [0.5, 0.95, 0.99].map(|share| since.quantile(share).map(Figure::ms));
        self.ping_ms = metrics.ping_round_trip.since(&self.pings).quantile(1.0).map(Figure::ms);
        self.acks = acks;
        self.pings.clone_from(&metrics.ping_round_trip);
        self.moment_of(&metrics)
    }

    /// What the client tells now.
    pub(crate) fn moment(&self) -> Moment {
        self.moment_of(&self.client.metrics())
    }

    fn moment_of(&self, metrics: &MetricsSnapshot) -> Moment {
        let state = self.client.state();
        let stats = self.client.stats().engine;
        let totals = Totals {
            accepted: stats.accepted,
            acked: stats.delivered,
            failed: stats.failed,
            received: stats.received,
            resent: stats.resent,
            attempts: stats.attempts,
            links: stats.links,
            losses: stats.losses,
            sessions_lost: stats.sessions_lost,
            ..Totals::default()
        };
        let mut view = view(&state, self.zero);
        view.oldest_ms = metrics.queue_oldest_age.map(millis);
        Moment {
            client_id: state.client_id.as_str().to_owned(),
            state: view,
            totals,
            queue_limit: metrics.queue_limit_messages,
            in_flight: Some(metrics.in_flight),
            ack_ms: self.ack_ms,
            ping_ms: self.ping_ms,
            round_trips: round_trips(&metrics.ping_round_trip),
            health: health(&self.client, self.zero),
            baselines: baselines(&self.client),
            alerts: alerts(&self.client, self.zero),
        }
    }
}

/// All that were measured, and not the longest of each sample: one in a hundred of those is another one.
fn round_trips(pings: &Histogram) -> Option<RoundTrips> {
    let of = |share| pings.quantile(share).map(Figure::ms);
    Some(RoundTrips { count: pings.count(), p50_ms: of(0.5)?, p99_ms: of(0.99)?, max_ms: of(1.0)? })
}

fn acks(metrics: &MetricsSnapshot) -> Histogram {
    metrics.ack_duration.iter().fold(Histogram::default(), |all, one| all.and(one))
}

/// The state in the words of the document.
pub(crate) fn view(state: &State, zero: Zero) -> StateView {
    let mut view = StateView {
        is_connected: state.is_connected(),
        is_connection_open: state.is_connection_open(),
        ready: state.ready(),
        durable: state.durable,
        ahead: state.ahead,
        server: state.server_name.as_str().to_owned(),
        version: state.version.map(|version| version.to_string().trim_start_matches("MQTT ").to_owned()),
        session: state.session.map(|session| session_word(session).to_owned()),
        queue_bytes: state.queue_bytes,
        heard_ms: state.heard().map(|heard| zero.ms(heard)),
        last_loss: state.last_loss.as_ref().map(ToString::to_string),
        ..StateView::default()
    };
    link(&mut view, &state.link, zero);
    (view.outlook, view.why) = match state.outlook() {
        Outlook::Now { .. } => (OutlookWord::Now, None),
        Outlook::Later { .. } => (OutlookWord::Later, None),
        Outlook::Blocked { why } => (OutlookWord::Blocked, Some(obstacle(&why))),
        Outlook::Never { why } => (OutlookWord::Never, Some(stop_words(&why))),
        _ => (OutlookWord::Later, None),
    };
    view
}

fn link(view: &mut StateView, link: &Link, zero: Zero) {
    match link {
        Link::Open { since, .. } => {
            view.link = LinkWord::Open;
            view.since_ms = zero.ms(*since);
        }
        Link::Suspect { since, .. } => {
            view.link = LinkWord::Suspect;
            view.since_ms = zero.ms(*since);
            view.reason = Some("a ping is unanswered".to_owned());
        }
        Link::Connecting { attempt, stage, since } => {
            view.link = LinkWord::Connecting;
            view.since_ms = zero.ms(*since);
            view.attempt = Some(*attempt);
            view.stage = Some(stage.name().to_owned());
            view.reason.clone_from(&view.last_loss);
        }
        Link::Waiting { attempt, until, last_error, .. } => {
            view.link = LinkWord::Waiting;
            view.attempt = Some(*attempt);
            view.until_ms = Some(zero.ms(*until));
            view.reason = last_error.as_ref().map(ToString::to_string);
        }
        Link::Stopped { reason } => {
            view.link = LinkWord::Stopped;
            view.reason = Some(stop_words(reason));
        }
        _ => {}
    }
}

fn obstacle(why: &Obstacle) -> String {
    match why {
        Obstacle::QueueFull => "the queue is full".to_owned(),
        Obstacle::Store(error) => error.to_string(),
        Obstacle::Refused(Some(cause)) => format!("the broker refuses this client: {cause}"),
        _ => "the broker refuses this client".to_owned(),
    }
}

fn health(client: &Client, zero: Zero) -> HealthView {
    let health = client.health();
    let checks = health.checks.into_iter().map(|check| CheckView {
        name: check.name.to_owned(),
        status: check.status.name().to_owned(),
        detail: check.detail,
        since_ms: zero.ms(check.since),
    });
    HealthView { status: health.status.name().to_owned(), checks: checks.collect() }
}

fn baselines(client: &Client) -> Vec<BaselineView> {
    let all = client.baselines().into_iter().map(|baseline| BaselineView {
        signal: baseline.signal.name().to_owned(),
        state: baseline.state.name().to_owned(),
        median: baseline.median,
        spread: baseline.spread,
        now: baseline.now,
        ratio: baseline.ratio,
        unit: baseline.signal.unit().to_owned(),
        samples: baseline.samples,
    });
    all.collect()
}

fn alerts(client: &Client, zero: Zero) -> Vec<AlertView> {
    let all = client.alerts().into_iter().map(|alert| AlertView {
        rule: alert.rule,
        signal: alert.signal.name().to_owned(),
        state: alert.state.name().to_owned(),
        since_ms: Some(zero.ms(alert.since)),
        value: alert.value,
        limit: alert.limit,
        evidence: alert.evidence,
        hint: alert.hint,
    });
    all.collect()
}
