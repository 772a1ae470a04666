//! Lives of the durable queue on a disk whose power is cut, for as long as asked: before a release, a million cuts.
//!
//! `cargo run --release -p rejoin-lab --example power_cuts [-- SECONDS [FIRST_SEED]]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is what it is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rejoin_lab::store::{Life, LifeReport};

/// How often the long run says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<u64>().unwrap_or(0));
    let (seconds, first) = (words.next().unwrap_or(60), words.next().unwrap_or(0));
    let mut clean = true;
    for quick_repair in [false, true] {
        let mut life = Life::default();
        life.options.quick_repair = quick_repair;
        let (mut report, began) = (LifeReport::default(), Instant::now());
        let mut told = began;
        for seed in first.. {
            report.add(life.live(seed));
            if told.elapsed() > TOLD_EVERY {
                told = Instant::now();
                eprintln!("quick repair {quick_repair}, seed {seed}: {report}");
            }
            if began.elapsed() > Duration::from_secs(seconds) / 2 {
                break;
            }
        }
        let rate = report.cuts as f64 / began.elapsed().as_secs_f64();
        println!("quick repair {quick_repair}: {report}; {rate:.0} cuts/s");
        clean &= report.is_clean();
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
