//! The core's events in the words of this crate, and in the log.

use std::time::Duration;

use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::{Event as Core, LossCause, Timestamp, TransportError, TransportErrorKind};

use crate::alerts::AlertState;
use crate::events::Event;
use crate::stages::Stages;

/// Counts failures of the same kind in a row, so that a log can say "six times" instead of six lines.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    name: &'static str,
    count: u32,
}

impl Repeats {
    fn count(&mut self, name: &'static str) -> u32 {
        self.count = if self.name == name { self.count.saturating_add(1) } else { 1 };
        self.name = name;
        self.count
    }
}

/// The public event, where there is one: messages, answers to subscriptions and outcomes travel by their own
/// handles.
pub(crate) fn public(
    event: Core,
    now: Timestamp,
    repeats: &mut Repeats,
    stages: &mut Option<Box<Stages>>,
) -> Option<Event> {
    let until = |at: Option<Timestamp>| at.map(|at| at.since(now));
    Some(match event {
        Core::Attempt { attempt, server } => Event::Attempt { attempt, server },
        Core::AttemptFailed { attempt, server, cause, verdict, retry_at, held_by_budget } => {
            Event::AttemptFailed {
                attempt,
                server,
                repeated: repeats.count(cause.name()),
                cause,
                verdict,
                next_in: until(retry_at),
                held_by_budget,
                stages: stages.take().unwrap_or_default(),
            }
        }
        Core::Opened { server, version, attempt, took, session, outage, resending } => {
            *repeats = Repeats::default();
            let mut stages = stages.take().unwrap_or_default();
            stages.finish(took);
            Event::Opened { server, version, attempt, took, stages, session, outage, resending }
        }
        Core::Suspect { silent_for } => Event::Suspect { silent_for },
        Core::Silent { silent_for } => Event::Silent {
            what: "no message that the health watch waits for came".to_owned(),
            silent_for,
            restarts: false,
        },
        Core::Trusted => Event::Trusted,
        Core::Closed { cause, verdict, lasted, in_flight, queued, retry_at, held_by_budget } => {
            Event::Closed {
                cause,
                verdict,
                lasted,
                in_flight,
                queued,
                next_in: until(retry_at),
                held_by_budget,
            }
        }
        Core::Resubscribed { granted, refused } => Event::Resubscribed { granted, refused },
        Core::Recovered { bill, drained } => Event::Recovered { bill, drained },
        Core::Oversized { topic, size } => Event::Oversized { topic, size },
        Core::Retrying { id, reason, at } => Event::Retrying { id, reason, again_in: at.since(now) },
        Core::Undecided { id } => Event::Undecided { id },
        Core::Conflict { evidence } => Event::TakenOver { evidence },
        Core::FellBack { server } => Event::FellBack { server },
        Core::SessionLeftBehind { server, at } => Event::SessionLeftBehind { server, at },
        Core::Downgraded { id } => Event::Downgraded { id },
        Core::Qos2MayRepeat => Event::Qos2MayRepeat,
        Core::Stopped { reason } => Event::Stopped { reason },
        _ => return None,
    })
}

/// The broker refused the user name, the password or the token.
pub(crate) fn blames_the_login(event: &Core) -> bool {
    let (Core::AttemptFailed { cause, .. } | Core::Closed { cause, .. }) = event else { return false };
    match cause {
        LossCause::Open { error, .. } => error.kind == TransportErrorKind::Unauthorized,
        cause => cause.reason_code().is_some_and(|code| {
            matches!(code, ReasonCode::BAD_USER_NAME_OR_PASSWORD | ReasonCode::NOT_AUTHORIZED)
        }),
    }
}

/// The old credentials are still good for a while, so this is no event yet.
pub(crate) fn not_renewed(error: &TransportError) {
    tracing::warn!(target: "rejoin", %error, "no new credentials; they are asked for again");
}

/// The broker may send nothing but such messages, so not each has its line.
pub(crate) fn oversized(client: &str, size: u32, untold: u64) {
    tracing::warn!(target: "rejoin", client, size, untold, "a message above our size limit was skipped");
}

/// Link up, link down and gave up are info; refusals debug; surprising but survived warn.
pub(crate) fn log(client: &str, event: &Event) {
    let seconds = |time: &Duration| time.as_secs_f64();
    match event {
        Event::Attempt { attempt, server } => {
            tracing::debug!(target: "rejoin", client, attempt, server, "connecting");
        }
        Event::AttemptFailed { attempt, cause, next_in, repeated, .. } => tracing::debug!(
            target: "rejoin", client, attempt, %cause, repeated,
            next_in = next_in.as_ref().map(seconds), "the attempt failed"
        ),
        Event::Opened { attempt, version, took, stages, session, outage, resending, .. } => tracing::info!(
            target: "rejoin", client, attempt, %version, ?session, resending, took = seconds(took), %stages,
            outage = outage.as_ref().map(seconds), "the link is open"
        ),
        Event::Suspect { silent_for } => {
            tracing::debug!(target: "rejoin", client, silent_for = seconds(silent_for), "a ping is late");
        }
        Event::Closed { cause, lasted, in_flight, queued, next_in, .. } => tracing::info!(
            target: "rejoin", client, %cause, lasted = seconds(lasted), in_flight, queued,
            next_in = next_in.as_ref().map(seconds), "the link is gone"
        ),
        Event::Recovered { bill, drained } => {
            tracing::info!(target: "rejoin", client, outage = seconds(&bill.total), drained, "recovered");
        }
        Event::SubscriptionRefused { why, .. } => {
            tracing::warn!(target: "rejoin", client, %why, "a subscription was refused");
        }
        Event::TakenOver { evidence } => {
            tracing::warn!(target: "rejoin", client, evidence, "another client uses this client id");
        }
        Event::FellBack { .. } => {
            tracing::warn!(target: "rejoin", client, "the server speaks only MQTT 3.1.1")
        }
        Event::ServerAdded { name, .. } => {
            tracing::info!(target: "rejoin", client, server = %name, "the broker named another server");
        }
        Event::SessionLeftBehind { at, .. } => {
            tracing::warn!(target: "rejoin", client, at, "the session stays on the server before");
        }
        Event::Downgraded { .. } => {
            tracing::warn!(target: "rejoin", client, "the broker takes QoS 2 as QoS 1: at least once, not exactly once");
        }
        Event::Qos2MayRepeat => tracing::warn!(
            target: "rejoin", client, "QoS 2 may repeat after a cut: MQTT 3.1.1 without a kept session"
        ),
        Event::Retrying { reason, .. } => {
            tracing::debug!(target: "rejoin", client, %reason, "the broker refused a message for now");
        }
        Event::Found { messages } => {
            tracing::info!(target: "rejoin", client, messages, "messages of an earlier process were found in the queue");
        }
        Event::StoreTrouble { error, refusing: true } => {
            tracing::error!(target: "rejoin", client, %error, "nothing is accepted: the queue cannot be written");
        }
        Event::StoreTrouble { error, .. } => tracing::error!(
            target: "rejoin", client, %error, "the queue is in memory only from here on: messages are lost with this process"
        ),
        Event::StoreWell => tracing::info!(target: "rejoin", client, "the queue can be written again"),
        Event::Stopped { reason } => tracing::info!(target: "rejoin", client, ?reason, "stopped"),
        watched => log_watched(client, watched),
    }
}

/// What those who watch over a client found.
fn log_watched(client: &str, event: &Event) {
    match event {
        Event::Gap { cause, .. } => {
            tracing::warn!(target: "rejoin", client, cause = cause.name(), "messages may be missing");
        }
        Event::Silent { what, silent_for, restarts } => tracing::warn!(
            target: "rejoin", client, what, silent_for = silent_for.as_secs_f64(), restarts, "the health watch found something"
        ),
        Event::Health { status, before, why } => tracing::info!(
            target: "rejoin", client, status = status.name(), before = before.name(), why, "the health changed"
        ),
        Event::Alert { alert } if alert.state == AlertState::Firing => tracing::warn!(
            target: "rejoin", client, rule = alert.rule, evidence = alert.evidence, hint = alert.hint, "an alert fires"
        ),
        Event::Alert { alert } => {
            tracing::debug!(target: "rejoin", client, rule = alert.rule, state = alert.state.name(), "an alert changed");
        }
        _ => {}
    }
}
