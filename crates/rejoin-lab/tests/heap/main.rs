//! What clients of the simulation hold on the heap after hours of faults, as the allocator counts it: a binary of its own,
//! because it has only one.

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap::Cap;
use rejoin_core::time::{Now, Timestamp};
use rejoin_core::{Config, Engine, Input, Output, Publication, PublishId, Qos, Recovered, Text, TopicName};
use rejoin_lab::sim::{Case, Weight, run_weighed};

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// Without a store and with one, at 5.0 and (30) at 3.1.1 by turns, one client to three; no process of theirs ends, and what
/// they subscribe to stays as it is.
const WORLDS: [u64; 4] = [7, 17, 30, 37];
/// The first is the beginning of the second.
const HOURS: (u64, u64) = (1, 4);
/// Room of the link that is up at the end, its read buffer above all. A hundred thousand messages, and thousands of links,
/// that left a byte each would be more.
const LINK: usize = 8 * 1024;

/// What one test allocates must not be counted by another.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn weigh(seed: u64, hours: u64) -> Vec<Weight> {
    let case = Case { until: Some(hours * 3600), ..Case::of(seed) };
    assert!(case.is_of_one_life(), "seed {seed}: a process ends");
    let (report, weights) = run_weighed(&case, || ALLOCATED.allocated());
    assert!(report.alarm.is_none(), "{:?}\n  {}", report.alarm, case.command());
    weights
}

/// `REJOIN_HEAP_HOURS=24` is the day of the plan.
#[test]
fn after_a_day_of_faults_a_client_weighs_what_it_did_after_an_hour() {
    let _turn = turn();
    let asked = std::env::var("REJOIN_HEAP_HOURS").ok();
    let hours = asked.map_or(HOURS.1, |hours| hours.parse().expect("REJOIN_HEAP_HOURS is a number"));
    for seed in WORLDS {
        let (early, late) = (weigh(seed, HOURS.0), weigh(seed, hours));
        eprintln!("seed {seed}: {early:?} after {} h, {late:?} after {hours} h", HOURS.0);
        for (c, (early, late)) in early.iter().zip(&late).enumerate() {
            assert_eq!(early.subscriptions, late.subscriptions, "seed {seed}");
            assert!(late.bytes <= early.bytes + LINK, "seed {seed}, c{c}: {early:?}, then {late:?}");
        }
    }
}

/// Messages that wait, far more than one link takes.
const BACKLOG: u64 = 20_000;

/// The store is a quick one.
fn store(engine: &mut Engine, now: Now) {
    while let Some(output) = engine.poll() {
        if let Output::Persist { ticket, .. } = output {
            engine.handle(Input::Persisted(ticket), now);
        }
    }
}

/// An engine that found nobody, after `waiting` messages that it accepted for its store were withdrawn again.
fn withdrawn(waiting: u64) -> Engine {
    let mut config = Config::new(Text::from_static("c"), Text::from_static("a"));
    config.session.durable = true;
    config.session.memory_window_bytes = 300;
    let now = Now { mono: Timestamp::from_micros(0), wall_ms: 0 };
    let mut engine = Engine::new(config, Recovered::default(), 1, now).expect("possible settings");
    for n in 1..=waiting {
        let topic = TopicName::try_from("a/0").expect("a topic");
        let mut publication = Publication::new(topic, "body");
        publication.qos = Qos::AtLeastOnce;
        engine.publish(PublishId(n), publication, now).expect("there is room");
        store(&mut engine, now);
    }
    for n in 1..=waiting {
        assert!(engine.cancel(PublishId(n), now));
        store(&mut engine, now);
    }
    engine.rest();
    engine
}

#[test]
fn a_backlog_that_is_gone_leaves_no_room_behind() {
    let _turn = turn();
    let weigh = |waiting| {
        let engine = withdrawn(waiting);
        let before = ALLOCATED.allocated();
        drop(engine);
        before - ALLOCATED.allocated()
    };
    let (none, many) = (weigh(0), weigh(BACKLOG));
    assert!(many <= none + 1024, "{none} B without a backlog, {many} B after one");
}
