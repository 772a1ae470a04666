//! The small parts: the generator, the meter, the windows, the words.

use super::super::backoff::{Backoff, Draw};
use super::super::budget::Meter;
use super::super::chance::Chance;
use super::super::{Adapt, Verdict};
use super::*;
use crate::codec::packet::Qos;
use crate::config::{Budget, Window};

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[test]
fn the_generator_is_the_one_it_says_it_is() {
    // The first numbers of SplitMix64 from seed 0, as published with it. `below` gives their upper halves.
    let mut chance = Chance::new(0);
    let drawn = [0; 4].map(|_| chance.below(1 << 32));
    assert_eq!(drawn, [0xE220_A839, 0x6E78_9E6A, 0x06C4_5D18, 0xF88B_B8A8]);
    let mut chance = Chance::new(0);
    assert_eq!((chance.below(0), chance.below(1)), (0, 0));
    let mut chance = Chance::new(1);
    let low_half = [0; 4].map(|_| chance.below(u64::MAX));
    assert_eq!(low_half[0], 0x910A_2DEC_8902_5CC0, "one less than the number itself");
}

#[test]
fn draws_reach_both_ends_and_nothing_beyond() {
    let (low, high) = (Duration::from_micros(10), Duration::from_micros(12));
    let mut chance = Chance::new(7);
    let mut seen = [false; 3];
    for _ in 0..100 {
        let drawn = chance.between(low, high);
        assert!((low..=high).contains(&drawn), "{drawn:?}");
        seen[(drawn - low).as_micros() as usize] = true;
    }
    assert_eq!(seen, [true; 3]);
    assert_eq!(chance.between(high, low), high, "an empty range is its lower end");
}

#[test]
fn every_order_comes_out_of_a_shuffle_about_as_often() {
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..600 {
        let mut order = [0, 1, 2];
        Chance::new(seed).shuffle(&mut order);
        *counts.entry(order).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|count| (60..=140).contains(count)), "{counts:?}");
}

#[test]
fn the_meter_keeps_the_spacing_the_period_and_the_pace() {
    let budget = Budget { spacing: secs(1), per_period: 3, period: secs(60) };
    let mut meter = Meter::new(Some(budget));
    assert_eq!((meter.free_at(), meter.pace()), (Timestamp::ZERO, Timestamp::ZERO));
    meter.charge(at(100));
    assert_eq!((meter.free_at(), meter.pace()), (at(101), at(120)));
    meter.charge(at(110));
    assert_eq!((meter.free_at(), meter.pace()), (at(111), at(130)));
    meter.charge(at(120));
    assert_eq!(meter.free_at(), at(160), "the first leaves the period");
    meter.charge(at(160));
    assert_eq!(meter.free_at(), at(170), "then the second");
    // Long after, only the spacing is left.
    meter.charge(at(500));
    meter.charge(at(502));
    meter.charge(at(561));
    assert_eq!(meter.free_at(), at(562));
    let mut lifted = Meter::new(None);
    lifted.charge(at(100));
    assert_eq!((lifted.free_at(), lifted.pace()), (Timestamp::ZERO, Timestamp::ZERO));
    // Zero attempts would mean never; it is one.
    let mut meter = Meter::new(Some(Budget { per_period: 0, ..budget }));
    meter.charge(at(100));
    assert_eq!((meter.free_at(), meter.pace()), (at(160), at(160)));
}

#[test]
fn what_an_earlier_process_did_is_charged_by_its_age() {
    let mut meter = Meter::new(Some(Budget { spacing: secs(4), per_period: 2, period: secs(60) }));
    meter.recall(secs(50), at(100));
    meter.recall(secs(3), at(100));
    assert_eq!((meter.free_at(), meter.pace()), (at(110), at(127)));
    meter.recall(secs(2), at(110));
    assert_eq!(meter.free_at(), at(157), "the second leaves the period");
}

#[test]
fn windows_grow_by_their_factor_and_each_draw_has_its_range() {
    let window = Window { first: secs(4), growth_percent: 150, cap: secs(10) };
    let widths = |draw: &mut dyn FnMut(&mut Backoff, &mut Chance) -> Draw| {
        let (mut backoff, mut chance) = (Backoff::default(), Chance::new(3));
        let widths: Vec<_> = (0..5).map(|_| draw(&mut backoff, &mut chance).window).collect();
        backoff.reset();
        assert_eq!(draw(&mut backoff, &mut chance).window, widths[0]);
        widths
    };
    let grown = [4000, 6000, 9000, 10_000, 10_000].map(millis);
    assert_eq!(widths(&mut |b, c| b.upper_half(window, c)), grown);
    assert_eq!(widths(&mut |b, c| b.at_least(window, c)), grown);
    assert_eq!(
        widths(&mut |b, c| b.full_jitter(window, secs(8), secs(7), c)),
        [4000, 6000, 7000, 7000, 7000].map(millis)
    );
    assert_eq!(
        widths(&mut |b, c| b.full_jitter(window, secs(8), secs(1), c)),
        [4000; 5].map(millis),
        "no less than the first"
    );
    assert_eq!(
        widths(&mut |b, c| b.full_jitter(window, secs(8), secs(90), c)),
        [4000, 6000, 8000, 8000, 8000].map(millis)
    );
    let drawn = |draw: &dyn Fn(&mut Backoff, &mut Chance) -> Draw| {
        waits(200, |seed| draw(&mut Backoff::default(), &mut Chance::new(seed)).wait)
    };
    assert_uniform(&drawn(&|b, c| b.upper_half(window, c)), secs(2), secs(4));
    assert_uniform(&drawn(&|b, c| b.at_least(window, c)), secs(4), secs(5));
    assert_uniform(&drawn(&|b, c| b.full_jitter(window, secs(8), secs(90), c)), Duration::ZERO, secs(4));
    let between = Draw::between(secs(1), secs(3), &mut Chance::new(1));
    assert_eq!(between.window, secs(3));
}

#[test]
fn a_window_that_does_not_grow_costs_no_time() {
    let window = Window { first: secs(1), growth_percent: 100, cap: secs(10) };
    let (mut backoff, mut chance) = (Backoff::default(), Chance::new(3));
    for _ in 0..1000 {
        assert_eq!(backoff.upper_half(window, &mut chance).window, secs(1));
    }
}

#[test]
fn every_verdict_is_told_in_words_of_its_own() {
    use Verdict as V;
    let adapts = [
        Adapt::SpeakV311,
        Adapt::WillQos(Qos::AtLeastOnce),
        Adapt::WillRetainOff,
        Adapt::AliasesOff,
        Adapt::HalveWindow,
        Adapt::PingMoreOften,
    ];
    let mut told: Vec<_> = adapts.map(|adapt| V::Adapt(adapt).to_string()).into();
    assert!(told.iter().all(|words| words.starts_with("tries again ") && words.len() > 20), "{told:?}");
    assert_eq!(told[1], "tries again with the will at QoS 1");
    told.extend(
        [
            V::Now,
            V::Spread,
            V::Absent,
            V::Overloaded,
            V::NextServer,
            V::Redirected,
            V::Credentials,
            V::Quarantine,
            V::Takeover,
            V::Banned,
            V::Administrative,
            V::Unauthorized,
            V::Untrusted,
            V::SlowLane,
            V::Stop,
        ]
        .map(|verdict| verdict.to_string()),
    );
    let count = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), count);
}

#[test]
fn the_machine_tells_where_it_is() {
    let mut world = World::with(&RecoveryConfig::default(), VersionPolicy::Prefer5, 2, 1);
    assert_eq!((world.recovery.attempts(), world.recovery.server()), (0, 0));
    assert!(
        !world.recovery.is_stopped() && !world.recovery.held_by_budget() && !world.recovery.in_slow_lane()
    );
    assert_eq!(world.recovery.free_at(), Timestamp::ZERO);
    world.begin();
    world.reach();
    assert_eq!(world.recovery.attempts(), 1);
    assert_eq!(world.recovery.free_at(), world.now + secs(1));
    assert_eq!(world.recovery.pace(), world.now + secs(5));
    assert_eq!(world.recovery.nudge(world.now), None, "nothing waits");
    world.recovery.stop();
    assert!(world.recovery.is_stopped());
    // Out of range, a server speaks what the settings say.
    for (policy, version) in [
        (VersionPolicy::Prefer5, Version::V5),
        (VersionPolicy::Only5, Version::V5),
        (VersionPolicy::Only311, Version::V311),
    ] {
        let world = World::with(&RecoveryConfig::default(), policy, 1, 1);
        assert_eq!([0, 9].map(|server| world.recovery.version_for(server)), [version; 2]);
    }
}

#[test]
fn what_the_server_names_is_passed_on() {
    let mut world = World::new(&RecoveryConfig::default(), 1);
    let named = LossCause::ServerDisconnect {
        reason: ReasonCode::SERVER_MOVED,
        text: None,
        server_reference: Some("there".to_owned()),
    };
    let plan = world.link(secs(60), &named);
    assert_eq!(plan.note.as_deref(), Some("the server names another one: \"there\""));
    assert_eq!(world.link(secs(60), &disconnected(ReasonCode::SERVER_MOVED)).note, None);
    assert_eq!(world.link(secs(60), &reset()).note, None);
}
