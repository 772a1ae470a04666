//! From what is seen to checks: the rules, one function each, without a clock.

use std::time::Instant;

use super::vitals::{Loop, Vitals};
use super::{Check, HealthRules, HealthStatus};
use crate::alerts::{seconds, time};
use crate::status::Link;

use HealthStatus::{Degraded, Healthy, Unhealthy};

type Judged = (HealthStatus, String);

/// All checks. Their `since` is `now`: what was before is for the caller to know.
pub(super) fn judge(seen: &Vitals, rules: &HealthRules, now: Instant) -> Vec<Check> {
    let judged: [(&'static str, Judged); 9] = [
        ("link", link(seen, rules)),
        ("subscriptions", subscriptions(seen)),
        ("queue", queue(seen, rules)),
        ("disk", disk(seen, rules)),
        ("latency", latency(seen, rules)),
        ("flapping", flapping(seen)),
        ("identity", identity(seen)),
        ("clock", clock(seen)),
        ("handlers", handlers(seen, rules)),
    ];
    judged.into_iter().map(|(name, (status, detail))| Check { name, status, detail, since: now }).collect()
}

fn link(seen: &Vitals, rules: &HealthRules) -> Judged {
    let closed_for = seen.closed_for.unwrap_or_default();
    let mut detail = match &seen.state.link {
        Link::Open { .. } => return (Healthy, "open".to_owned()),
        Link::Suspect { .. } => return (Degraded, "a ping is late".to_owned()),
        Link::Stopped { reason } => return (Unhealthy, format!("stopped: {reason:?}")),
        Link::Connecting { attempt, stage, .. } => {
            format!("not open for {}: attempt {attempt} is at {stage}", time(closed_for))
        }
        Link::Waiting { attempt, slow_lane: true, .. } => {
            format!(
                "the broker refuses us, and retrying does not help by itself; attempt {attempt} is minutes away"
            )
        }
        Link::Waiting { attempt, .. } => {
            format!("not open for {}: waits before attempt {attempt}", time(closed_for))
        }
    };
    if let Some(loss) = &seen.state.last_loss {
        detail.push_str("; last: ");
        detail.push_str(&loss.to_string());
    }
    let refused = matches!(seen.state.link, Link::Waiting { slow_lane: true, .. });
    let late = closed_for >= rules.link_unhealthy_after;
    let by_time = if late { Unhealthy } else { Degraded };
    (if refused { by_time.max(rules.refused) } else { by_time }, detail)
}

fn subscriptions(seen: &Vitals) -> Judged {
    if let Some((filter, why)) = seen.refused.first() {
        let more = match seen.refused.len() {
            1 => String::new(),
            many => format!(" and {} more", many - 1),
        };
        return (Degraded, format!("`{filter}`{more} refused: {why}"));
    }
    match (seen.subscriptions, seen.state.is_connection_open(), seen.state.ready) {
        (0, ..) => (Healthy, "none asked for".to_owned()),
        (all, _, true) => (Healthy, format!("{all} granted")),
        (all, true, false) => (Degraded, format!("not all of {all} are granted yet")),
        // The link is what is ill.
        (all, false, _) => (Healthy, format!("{all} to be asked for when the link is back")),
    }
}

fn queue(seen: &Vitals, rules: &HealthRules) -> Judged {
    let state = &seen.state;
    let percent = |taken: u64, limit: u64| (taken as f64 / limit.max(1) as f64 * 100.0).min(100.0);
    let by_bytes = percent(state.queue_bytes, seen.limit_bytes);
    let by_messages = seen.limit_messages.map_or(0.0, |limit| percent(state.ahead, limit));
    let fill = by_bytes.max(by_messages);
    let oldest = seen.oldest.unwrap_or_default();
    let detail = match state.ahead {
        0 => "empty".to_owned(),
        1 => format!("1 message waits, {fill:.0} % full, {} old", time(oldest)),
        many => format!("{many} messages wait, {fill:.0} % full, the oldest {} old", time(oldest)),
    };
    if state.queue_full {
        return (Unhealthy, format!("full: {detail}"));
    }
    let degraded = fill >= f64::from(rules.queue_high_percent) || oldest >= rules.queue_oldest;
    (if degraded && state.ahead > 0 { Degraded } else { Healthy }, detail)
}

fn disk(seen: &Vitals, rules: &HealthRules) -> Judged {
    match (&seen.state.store_error, seen.state.durable) {
        (Some(error), _) => (rules.disk_error, error.to_string()),
        (None, true) => (Healthy, "the queue is on disk".to_owned()),
        (None, false) => (Healthy, "the queue is in memory".to_owned()),
    }
}

fn latency(seen: &Vitals, rules: &HealthRules) -> Judged {
    if let Some(first) = seen.slow.first() {
        return (Degraded, first.clone());
    }
    let loopback = match &seen.loopback {
        Some(Loop::Missed) => return (Degraded, "the loopback message did not come back".to_owned()),
        Some(Loop::Refused(why)) => {
            let detail = format!("no loopback message is sent: {why}; allow the topic, or name another one");
            return (Degraded, detail);
        }
        Some(Loop::Back(took)) => Some(*took),
        None => None,
    };
    let ping = seen.ping.filter(|_| seen.state.is_connection_open());
    let worst = ping.max(loopback);
    let mut detail = ping.map_or_else(|| "no ping lately".to_owned(), |ping| format!("ping {}", time(ping)));
    if let Some(loopback) = loopback {
        detail.push_str(&format!(", loopback {}", time(loopback)));
    }
    match worst {
        Some(worst) if worst > rules.slow => (Degraded, format!("{detail}: more than {}", time(rules.slow))),
        _ => (Healthy, detail),
    }
}

fn flapping(seen: &Vitals) -> Judged {
    match &seen.flapping {
        Some(found) => (Degraded, found.evidence.clone()),
        None => (Healthy, "links last".to_owned()),
    }
}

fn identity(seen: &Vitals) -> Judged {
    let evidence = seen.contest.as_ref().map(|found| found.evidence.clone());
    match evidence.or_else(|| seen.taken_over.clone()) {
        Some(evidence) => (Degraded, evidence),
        None => (Healthy, "nobody else uses our client id".to_owned()),
    }
}

fn clock(seen: &Vitals) -> Judged {
    match seen.clock {
        Some((step, ago)) => {
            let way = if step < 0.0 { "back" } else { "forward" };
            let detail = format!(
                "the wall clock stepped {way} by {} {} ago, or the machine slept: times in logs and what expires by the \
                 wall clock are off",
                seconds(step.abs()),
                time(ago)
            );
            (Degraded, detail)
        }
        None => (Healthy, "steady".to_owned()),
    }
}

fn handlers(seen: &Vitals, _: &HealthRules) -> Judged {
    match seen.idle.first() {
        Some(stream) => {
            let what = if stream.full { "the window is full" } else { "nothing more came since" };
            let detail = format!(
                "the stream of `{}` took no message for {} while {} wait in it and {what}: it holds up all others",
                stream.filters,
                time(stream.idle),
                stream.waiting
            );
            (Degraded, detail)
        }
        None => (Healthy, "messages are taken".to_owned()),
    }
}

#[cfg(test)]
#[path = "judge_table.rs"]
mod table;
