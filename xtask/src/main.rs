//! Build, test and check rejoin: `cargo xtask help` lists the tasks.
//!
//! No dependencies, so that the first `cargo xtask test` on a bare machine starts within seconds.

mod bench;
mod clauses;
mod features;
mod fuzz;
mod gauntlet;
mod herd;
mod install;
mod interop;
mod kept;
mod kill;
mod line_mutants;
mod mutants;
mod run;
mod say;
mod sim;
mod skips;
mod suite;
mod tidy;
mod tree;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test      everything: install what the tests need, format, clippy, tidy, docs, tests, the demo
cargo xtask ci        the same under the name build machines expect
cargo xtask tidy      the house rules that a program can check
cargo xtask clauses   which line obeys each clause of the MQTT standards and which test proves it, into docs/conformance.md
cargo xtask bench     speed beside other clients in one run, into docs/performance.md; --quick for a look, --only ROW for a part
cargo xtask instructions    what one message costs, counted; fails when it is 5 % more than the figure that is kept
cargo xtask bench --store   the durable queue beside other stores, into docs/performance-store.md
cargo xtask fuzz      each fuzz target for a minute; --seconds N for more or less
cargo xtask gauntlet  scripts in which clients lose messages, for rejoin and its peers, into docs/gauntlet.md; --client NAME
cargo xtask herd      10,000 to a million clients and one broker that comes back, into docs/herd.md; --quick for a look
cargo xtask kill      rejoin pub --queue killed with -9 before a real mosquitto, into docs/queue-proof.md; --rounds N
cargo xtask line-mutants   lines of session, link and recovery changed one at a time, into docs/line-mutants.md; --minutes N
cargo xtask mutants   the proof of that simulation: every planted defect must be found, into docs/mutants.md
cargo xtask sim       whole clients in a seeded world of faults, for a minute; --seeds N, --from S, --minutes M; --soak
                      goes on with the long run; --replay SEED shows one
cargo xtask interop   real clusters of three brokers, until Enter: `interop nats`, `interop rabbitmq`; --check breaks
                      them with rejoin in front, and judges
cargo xtask help      this text";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let root = tree::root();
    let done = match words.as_slice() {
        ["test" | "ci"] => suite::everything(&root),
        ["bench", flags @ ..] => bench::run(&root, flags),
        ["instructions"] => bench::instructions(&root),
        ["fuzz", flags @ ..] => fuzz::run(&root, flags),
        ["gauntlet", flags @ ..] => gauntlet::run(&root, flags),
        ["herd", flags @ ..] => herd::run(&root, flags),
        ["mutants", flags @ ..] => mutants::run(&root, flags),
        ["line-mutants", flags @ ..] => line_mutants::run(&root, flags),
        ["kill", flags @ ..] => kill::run(&root, flags),
        ["sim", flags @ ..] => sim::run(&root, flags),
        ["interop", words @ ..] => interop::run(&root, words),
        ["tidy"] => tidy::report(&root),
        ["clauses"] => clauses::write(&root),
        [] | ["help" | "--help" | "-h"] => {
            say::line(HELP);
            true
        }
        other => {
            say::line(&format!("xtask: `{}` is not a task; the tasks are:\n{HELP}", other.join(" ")));
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
