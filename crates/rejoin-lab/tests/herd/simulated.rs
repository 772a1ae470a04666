//! Small herds in virtual time: everything divided by 50 but the clients' own constants.

use std::time::Duration;

use rejoin_core::{Config, Text};
use rejoin_lab::herd::{Crowd, EngineClient, Outcome, RuleClient, SECOND, Scenario, rules, run};

const CLIENTS: u64 = 2_000;
/// As 100,000 clients before 2,000 a second and a queue of 4,096: the bound is 50 s.
const SCENARIO: Scenario =
    Scenario { down: 60 * SECOND, rate: 40, backlog: 82, round_trip: 20_000, crowd: Crowd::SynsLost };

fn rejoin(limit: Option<Duration>) -> Outcome {
    rejoin_before(&SCENARIO, limit)
}

fn rejoin_before(scenario: &Scenario, limit: Option<Duration>) -> Outcome {
    let mut config = Config::new(Text::from_static("herd"), Text::from_static("broker:1883"));
    config.recovery.fleet = true;
    if let Some(limit) = limit {
        config.link.connect_timeout = limit;
        config.link.connack_timeout = limit;
    }
    run(scenario, (0..CLIENTS).map(|n| EngineClient::connected(&config, mixed(n))).collect())
}

fn rule(name: &str, limit: Duration) -> Outcome {
    rule_before(&SCENARIO, name, limit)
}

fn rule_before(scenario: &Scenario, name: &str, limit: Duration) -> Outcome {
    let rule = rules::Rule::named(name).unwrap();
    run(scenario, (0..CLIENTS).map(|n| RuleClient::connected(rule, limit, mixed(n))).collect())
}

const fn mixed(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[test]
fn a_fleet_is_back_within_a_tenth_of_the_bound() {
    // 1.05 is demanded of 100,000 clients by `cargo xtask herd`; 2,000 leave more to chance.
    let outcome = rejoin(None);
    let (back, bound) = (outcome.all_back().unwrap(), SCENARIO.bound(outcome.clients));
    assert!(back <= bound * 110 / 100, "{back} µs, the bound is {bound} µs");
    assert!(outcome.tries <= outcome.clients as u64 * 16, "{} tries", outcome.tries);
    assert_eq!(outcome.wasted, 0, "nobody leaves the queue");
}

#[test]
fn a_short_time_out_keeps_nobody_out_for_ever_and_the_world_can_show_that_it_might() {
    let second = Duration::from_secs(1);
    let outcome = rejoin(Some(second));
    let back = outcome.all_back();
    assert!(back.is_some_and(|back| back <= 105 * SECOND), "{back:?}, {} came back", outcome.returns.len());
    assert!(outcome.wasted > 0, "the trap was met");
    // The same world keeps nearly all clients of a rule without escalating limits out for half an hour.
    let stuck = rule("full jitter, 15 s", second);
    assert!(stuck.returns.len() * 10 < stuck.clients, "{} came back", stuck.returns.len());
}

#[test]
fn the_published_figures_of_other_rules_come_out_again() {
    // recovery.md of the design: HiveMQ Java needs about twice the bound, aws-c-mqtt the two minutes of its cap.
    let ten = Duration::from_secs(10);
    for (name, least, most) in [
        ("HiveMQ Java", 85, 110),
        ("aws-c-mqtt", 110, 121),
        ("MQTT.js", 65, 90),
        ("decorrelated jitter, 120 s", 140, 175),
        ("equal jitter, 120 s", 165, 180),
        ("rejoin's waits, one clock", 52, 65),
    ] {
        let back = rule(name, ten).all_back().unwrap() / SECOND;
        assert!((least..=most).contains(&back), "{name}: {back} s");
    }
    let closed = rule("nats.go", Duration::from_secs(1)).closed as u64;
    assert!(closed > CLIENTS * 9 / 10, "{closed} closed themselves for good");
}

#[test]
fn a_broker_that_says_it_is_busy_keeps_a_fleet_no_longer_than_published() {
    let told = Scenario { crowd: Crowd::ToldBusy, ..SCENARIO };
    let ten = Duration::from_secs(10);
    for (name, least, most) in [("MQTT.js", 49, 52), ("HiveMQ Java", 80, 100), ("full jitter, 15 s", 50, 65)]
    {
        let back = rule_before(&told, name, ten).all_back().unwrap() / SECOND;
        assert!((least..=most).contains(&back), "{name}: {back} s");
    }
    let outcome = rejoin_before(&told, None);
    let back = outcome.all_back().unwrap() / SECOND;
    assert!(back <= 80, "{back} s");
    assert_eq!(outcome.wasted, 0, "who is told leaves no place behind");
}

#[test]
fn where_all_may_wait_a_short_time_out_costs_nothing_but_time() {
    let patient = Scenario { crowd: Crowd::AllWait, round_trip: 0, ..SCENARIO };
    let second = Duration::from_secs(1);
    for (name, least, most) in [("MQTT.js", 95, 105), ("full jitter, 15 s", 50, 65), ("aws-c-mqtt", 110, 121)]
    {
        let back = rule_before(&patient, name, second).all_back().unwrap() / SECOND;
        assert!((least..=most).contains(&back), "{name}: {back} s");
    }
    let outcome = rejoin_before(&patient, Some(second));
    let back = outcome.all_back().unwrap() / SECOND;
    assert!(back <= 105 && outcome.wasted == 0, "{back} s, {} wasted", outcome.wasted);
}

#[test]
fn the_same_seeds_give_the_same_herd() {
    let (one, two) = (rejoin(None), rejoin(None));
    assert_eq!((one.returns, one.tries, one.peak_tries), (two.returns, two.tries, two.peak_tries));
}
