//! The simulation itself: some seeds of it, and that a failure can be replayed and made smaller. `cargo xtask sim` runs many
//! more, in a build that is made for it.
//!
//! And what no seed has to find by luck: one exchange, cut after each of its bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod account;
mod every_byte;
mod exchange;

use rejoin_core::flight::replay;
use rejoin_lab::flight::judge;
use rejoin_lab::sim::campaign::{Plan, go};
use rejoin_lab::sim::{Case, run, run_flights, run_recorded, shrink_while};
use std::time::Duration;

#[test]
fn everything_accepted_is_delivered_or_answered_for() {
    let plan =
        Plan { from: 0, seeds: 48, most: Duration::MAX, jobs: 2, twice: 0, stops: false, real_queue: false };
    let sum = go(plan, &|_| {});
    let failures: Vec<String> =
        sum.failures.iter().map(|(seed, why)| format!("{why}\n  {}", Case::of(*seed).command())).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(sum.seeds, 48);
}

/// Seeds that were red once, in the client or in the judge: docs/simulation.md says over what.
const ONCE_RED: [u64; 64] = [
    289, 1_105, 2_067, 5_923, 8_649, 8_809, 17_085, 44_628, 46_499, 49_047, 59_219, 60_557, 65_941, 66_612,
    80_152, 82_696, 83_568, 86_167, 86_870, 89_919, 110_935, 136_588, 138_827, 142_554, 143_267, 143_976,
    146_747, 147_670, 147_857, 153_534, 154_038, 155_481, 166_873, 180_950, 202_450, 211_919, 219_587,
    243_599, 246_092, 246_389, 248_505, 256_530, 275_577, 289_515, 302_338, 307_805, 441_246, 471_245,
    519_572, 527_013, 527_177, 528_784, 530_976, 531_316, 533_813, 538_459, 551_857, 591_658, 609_950,
    614_940, 638_782, 658_909, 698_306, 714_987,
];

#[test]
fn what_was_red_once_stays_green() {
    for seed in ONCE_RED {
        let found = run(&Case::of(seed)).alarm;
        assert!(found.is_none(), "{found:?}\n  {}", Case::of(seed).command());
    }
}

#[test]
fn whole_clients_live_through_power_cuts_with_the_queue_that_users_have() {
    let plan =
        Plan { from: 0, seeds: 24, most: Duration::MAX, jobs: 2, twice: 8, stops: false, real_queue: true };
    let sum = go(plan, &|_| {});
    let command = |seed| Case { real_queue: true, ..Case::of(seed) }.command();
    let failures: Vec<String> =
        sum.failures.iter().map(|(seed, why)| format!("{why}\n  {}", command(*seed))).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
    assert!(sum.seeds >= 8, "about half of the seeds have a store: {}", sum.seeds);
}

#[test]
fn the_same_seed_leaves_the_same_trace_to_the_byte() {
    for seed in [3, 77] {
        let (first, second) = (run_recorded(&Case::of(seed), true), run_recorded(&Case::of(seed), true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(run(&Case::of(seed)).trace, first.trace, "recording changes nothing, seed {seed}");
    }
}

#[test]
fn a_fault_can_be_taken_out_without_moving_the_others() {
    let whole = Case::of(9);
    let faults = whole.faults();
    let some: Vec<usize> = faults.iter().map(|(number, _)| *number).step_by(3).collect();
    let fewer = Case { keep: Some(some.clone()), ..whole };
    let kept: Vec<(usize, u64)> = faults.into_iter().filter(|(number, _)| some.contains(number)).collect();
    assert_eq!(fewer.faults(), kept);
    assert!(run(&fewer).faults <= kept.len() as u64);
    assert_eq!(Case { until: Some(7), ..fewer }.length(), 7);
}

#[test]
fn a_failure_shrinks_to_the_faults_and_the_time_it_needs_in_its_own_world() {
    let whole = Case { real_queue: true, ..Case::of(9) };
    let faults = whole.faults();
    let (needed, other) = (faults[faults.len() / 2], faults[faults.len() / 3]);
    let mut tries = 0;
    let least = shrink_while(&whole, |case| {
        tries += 1;
        let numbers: Vec<usize> = case.faults().iter().map(|(number, _)| *number).collect();
        case.real_queue && numbers.contains(&needed.0) && numbers.contains(&other.0)
    });
    assert_eq!(least.keep, Some(vec![other.0, needed.0]));
    assert!(least.length() <= needed.1 + 1 && least.real_queue, "{least:?}");
    assert!(tries < 200, "{tries}");
    assert_eq!(shrink_while(&whole, |_| false).faults(), faults, "nothing smaller fails");
}

#[test]
fn a_case_names_the_command_that_runs_it_again() {
    let case = Case { seed: 5, keep: Some(vec![1, 4]), until: Some(60), real_queue: false };
    assert_eq!(case.command(), "cargo xtask sim --replay 5 --until 60 --keep 1,4");
    assert_eq!(
        Case { keep: Some(Vec::new()), until: None, ..case }.command(),
        "cargo xtask sim --replay 5 --keep none"
    );
}

#[test]
fn a_flight_of_any_client_replays_to_the_byte() {
    let (mut lives, mut outputs, mut durable) = (0, 0, 0);
    // Messages that an earlier process had taken and its store has a digest of; and how many of those came again.
    let (mut digests, mut copies) = (0, 0);
    // What a process found on its disk when it began, by the lines that hold it: how many had some of it.
    let mut found_on_disk = [("waiting", 0), ("sent", 0), ("leased", 0), ("held", 0), ("reached", 0)];
    // In 46 an input comes between two outputs, in 86 copies come of what was taken, in 108 a PUBACK refuses a QoS 2 message;
    // in the others processes begin with identifiers that stayed taken.
    for seed in (0..16).chain([46, 86, 108, 70, 382, 764]) {
        let case = Case::of(seed);
        let (report, flights) = run_flights(&case);
        assert_eq!(report.trace, run(&case).trace, "recording changes nothing, seed {seed}");
        durable += u32::from(case.is_durable());
        for (life, flight) in flights.iter().enumerate() {
            let judged = judge(flight).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            assert_eq!(judged.broken, None, "seed {seed}, life {life}");
            let found = judged.replayed;
            assert!(found.difference.is_none(), "seed {seed}, life {life}: {:?}", found.difference);
            assert_eq!(found.cut, None, "seed {seed}, life {life}");
            for (kind, lives) in &mut found_on_disk {
                let has = flight
                    .lines()
                    .any(|line| line.strip_prefix("kept-").is_some_and(|rest| rest.starts_with(*kind)));
                *lives += u32::from(has);
            }
            lives += 1;
            outputs += found.outputs;
            digests += flight.lines().filter(|line| line.contains(" digest=yes")).count();
            copies += flight.lines().filter(|line| line.starts_with("= copy ")).count();
        }
    }
    assert!(
        lives > 24 && outputs > 20_000 && durable > 2,
        "{lives} lives, {outputs} outputs, {durable} durable"
    );
    assert!(digests > 10 && copies > 2, "{digests} digests, {copies} copies");
    assert!(found_on_disk.iter().all(|(_, lives)| *lives > 2), "{found_on_disk:?}");
}

#[test]
fn a_flight_that_was_changed_is_seen_to_differ() {
    let (_, flights) = run_flights(&Case::of(1));
    let flight = &flights[0];
    let acked = flight.lines().position(|line| line.starts_with("< ") && line.contains(" received bytes=40"));
    let acked = acked.expect("an acknowledgement came");
    let without: String = flight
        .lines()
        .enumerate()
        .filter(|(at, _)| *at != acked)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let found = replay(&without, |_, _, _, _| {}).expect("it can be read");
    let difference = found.difference.expect("an answer to nothing is seen");
    assert!(difference.line > acked, "{difference:?}");

    // Killed while it wrote: what is whole counts.
    let torn = &flight[..flight.len() * 2 / 3];
    let found = replay(torn, |_, _, _, _| {}).expect("a torn tail is no damage");
    assert!(found.difference.is_none() && found.outputs > 0);

    for (bad, what) in
        [("hello\n", "no flight"), ("rejoin-flight 9\n", "another version"), ("", "ends before")]
    {
        let error = replay(bad, |_, _, _, _| {}).expect_err(bad);
        assert!(error.to_string().contains(what), "{error}");
    }
}
