//! The table of health: what is so, and what each check must say of it. Each default of [`HealthRules`] is reached from
//! both sides.

use std::time::{Duration, Instant};

use rejoin_core::{Stage, StopReason};

use super::*;
use crate::health::vitals::IdleStream;
use crate::status::State;
use crate::store::StoreError;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn well() -> Vitals {
    let now = Instant::now();
    let link = Link::Open { since: now, heard: Some(now) };
    Vitals {
        state: State { link, ready: true, ..State::for_tests() },
        closed_for: None,
        subscriptions: 1,
        refused: Vec::new(),
        limit_bytes: 1000,
        limit_messages: None,
        oldest: None,
        ping: Some(Duration::from_millis(12)),
        loopback: None,
        slow: Vec::new(),
        flapping: None,
        contest: None,
        taken_over: None,
        clock: None,
        idle: Vec::new(),
    }
}

fn with(change: impl FnOnce(&mut Vitals)) -> Vitals {
    let mut vitals = well();
    change(&mut vitals);
    vitals
}

fn closed(link: fn(Instant) -> Link, closed_for: Duration) -> Vitals {
    with(|v| {
        v.state.link = link(Instant::now());
        v.state.ready = false;
        v.closed_for = Some(closed_for);
    })
}

fn connecting(now: Instant) -> Link {
    Link::Connecting { attempt: 3, stage: Stage::Tcp, since: now }
}

fn waiting(now: Instant) -> Link {
    Link::Waiting { attempt: 2, until: now, last_error: None, held_by_budget: false, slow_lane: false }
}

fn slow_lane(now: Instant) -> Link {
    Link::Waiting { attempt: 2, until: now, last_error: None, held_by_budget: false, slow_lane: true }
}

fn queue(bytes: u64, ahead: u64, oldest: Duration) -> Vitals {
    with(|v| {
        (v.state.queue_bytes, v.state.ahead) = (bytes, ahead);
        v.oldest = Some(oldest);
    })
}

fn disk(error: StoreError) -> Vitals {
    with(|v| v.state.store_error = Some(Box::new(error)))
}

/// At the end of a window of the broker.
fn small() -> IdleStream {
    IdleStream { full: false, ..idle() }
}

fn idle() -> IdleStream {
    IdleStream { filters: "jobs/#".to_owned(), waiting: 64, idle: SECOND * 31, full: true }
}

fn found() -> crate::alerts::Finding {
    let mut losses = crate::alerts::Losses::new();
    let start = Instant::now();
    for n in 1..=4 {
        losses.lost(&rejoin_core::LossCause::PeerClosed, SECOND, start + SECOND * n);
    }
    losses.flapping(&HealthRules::default().patterns, start + SECOND * 5).unwrap()
}

/// What is so, the check it concerns, the status that must follow, and a word of its detail.
fn rows() -> Vec<(Vitals, &'static str, HealthStatus, &'static str)> {
    let no_space = StoreError::NoSpace { place: "q".to_owned() };
    let io = StoreError::Io { place: "q".to_owned(), what: "gone".to_owned() };
    vec![
        (well(), "link", Healthy, "open"),
        (
            with(|v| v.state.link = Link::Suspect { since: Instant::now(), heard: None }),
            "link",
            Degraded,
            "late",
        ),
        (closed(connecting, Duration::ZERO), "link", Degraded, "attempt 3"),
        (closed(waiting, SECOND * 59), "link", Degraded, "59 s"),
        (closed(waiting, SECOND * 60), "link", Unhealthy, "60 s"),
        (closed(connecting, SECOND * 60), "link", Unhealthy, "60 s"),
        (closed(slow_lane, Duration::ZERO), "link", Unhealthy, "refuses"),
        (
            with(|v| v.state.link = Link::Stopped { reason: StopReason::Shutdown }),
            "link",
            Unhealthy,
            "stopped",
        ),
        (with(|v| v.subscriptions = 0), "subscriptions", Healthy, "none"),
        (with(|v| v.state.ready = false), "subscriptions", Degraded, "not all"),
        (
            with(|v| v.refused = vec![("a/#".into(), "0x87".into())]),
            "subscriptions",
            Degraded,
            "`a/#` refused",
        ),
        (closed(waiting, SECOND), "subscriptions", Healthy, "when the link is back"),
        (well(), "queue", Healthy, "empty"),
        (queue(799, 3, SECOND), "queue", Healthy, "80 % full"),
        (queue(800, 3, SECOND), "queue", Degraded, "80 % full"),
        (queue(10, 1, MINUTE * 5 - SECOND), "queue", Healthy, "1 message"),
        (queue(10, 1, MINUTE * 5), "queue", Degraded, "5 min"),
        (
            with(|v| {
                v.limit_messages = Some(10);
                v.state.ahead = 8;
            }),
            "queue",
            Degraded,
            "80 %",
        ),
        (with(|v| v.state.queue_full = true), "queue", Unhealthy, "full"),
        (well(), "disk", Healthy, "memory"),
        (with(|v| v.state.durable = true), "disk", Healthy, "on disk"),
        (disk(no_space), "disk", Unhealthy, "no space"),
        (disk(io), "disk", Unhealthy, "gone"),
        (well(), "latency", Healthy, "12 ms"),
        (with(|v| v.ping = Some(SECOND * 2)), "latency", Healthy, "2.0 s"),
        (with(|v| v.ping = Some(SECOND * 2 + SECOND / 10)), "latency", Degraded, "more than 2.0 s"),
        (with(|v| v.loopback = Some(Loop::Back(SECOND * 3))), "latency", Degraded, "loopback 3.0 s"),
        (with(|v| v.loopback = Some(Loop::Missed)), "latency", Degraded, "did not come back"),
        (
            with(|v| v.loopback = Some(Loop::Refused("`a`: no".to_owned()))),
            "latency",
            Degraded,
            "sent: `a`: no;",
        ),
        (with(|v| v.slow = vec!["slow".into()]), "latency", Degraded, "slow"),
        (with(|v| v.flapping = Some(found())), "flapping", Degraded, "4 links"),
        (with(|v| v.contest = Some(found())), "identity", Degraded, "links"),
        (with(|v| v.taken_over = Some("taken".into())), "identity", Degraded, "taken"),
        (with(|v| v.clock = Some((-3600.0, SECOND))), "clock", Degraded, "back by 60 min"),
        (with(|v| v.idle = vec![idle()]), "handlers", Degraded, "`jobs/#` took no message for 31 s"),
        (with(|v| v.idle = vec![small()]), "handlers", Degraded, "nothing more came since"),
    ]
}

#[test]
fn every_row_of_the_table_holds_and_concerns_its_check_alone() {
    let rules = HealthRules::default();
    for (n, (vitals, name, status, word)) in rows().into_iter().enumerate() {
        let checks = judge(&vitals, &rules, Instant::now());
        assert_eq!(checks.len(), 9);
        for check in checks {
            if check.name == name {
                assert_eq!(check.status, status, "row {n}: {check:?}");
                assert!(check.detail.contains(word), "row {n}: `{word}` in {check:?}");
            } else if check.status != Healthy {
                // A link that is down is told by its own check, and takes nothing else with it.
                assert_eq!(check.name, "link", "row {n}: {check:?}");
            }
        }
    }
}

#[test]
fn every_rule_can_be_set() {
    let rules = HealthRules {
        link_unhealthy_after: SECOND * 5,
        refused: Degraded,
        queue_high_percent: 50,
        queue_oldest: SECOND,
        disk_error: Degraded,
        slow: SECOND / 100,
        ..HealthRules::default()
    };
    let of = |vitals: Vitals, name: &str| {
        judge(&vitals, &rules, Instant::now()).into_iter().find(|check| check.name == name).unwrap().status
    };
    assert_eq!(of(closed(waiting, SECOND * 5), "link"), Unhealthy);
    assert_eq!(of(closed(slow_lane, SECOND), "link"), Degraded);
    assert_eq!(of(queue(500, 1, SECOND / 2), "queue"), Degraded);
    assert_eq!(of(queue(1, 1, SECOND), "queue"), Degraded);
    assert_eq!(of(disk(StoreError::NoSpace { place: String::new() }), "disk"), Degraded);
    assert_eq!(of(well(), "latency"), Degraded);
}
