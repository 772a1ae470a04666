//! A moment of a live client, in the words of the document.

use std::time::{Duration, Instant};

use rejoin::{Client, Link, Obstacle, Outlook, State};

use super::document::{CheckView, HealthView, LinkWord, OutlookWord, StateView, Totals};
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

/// What the client tells now.
pub(crate) fn moment(client: &Client, zero: Zero) -> Moment {
    let state = client.state();
    let stats = client.stats().engine;
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
        gaps: 0,
    };
    let view = view(&state, zero);
    let health = health(&view);
    Moment {
        client_id: state.client_id.as_str().to_owned(),
        state: view,
        totals,
        health,
        ..Moment::default()
    }
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

fn health(view: &StateView) -> HealthView {
    let (status, detail) = match view.link {
        LinkWord::Open => ("healthy", String::new()),
        LinkWord::Stopped => ("unhealthy", view.reason.clone().unwrap_or_default()),
        _ => ("degraded", view.reason.clone().unwrap_or_default()),
    };
    let check =
        CheckView { name: "link".to_owned(), status: status.to_owned(), detail, since_ms: view.since_ms };
    HealthView { status: status.to_owned(), checks: vec![check] }
}
