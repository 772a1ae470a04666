//! The simulation, in a profile of its own: optimised, with every assertion on.

use crate::{run, say};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where the long run keeps how far it came.
const STATE: &str = "docs/simulation.state";
/// What the suite runs: a minute on two cores. A number and not a time, so that a quick machine and a slow one run the
/// same seeds.
const SUITE_SEEDS: &str = "3000";
/// The same for clients with the queue that users have, on a disk whose power is cut: half a minute.
const QUEUE_SEEDS: &str = "200";

fn command(root: &Path) -> Command {
    let example = ["run", "--profile", "sim", "--quiet", "--package", "rejoin-lab", "--example", "sim", "--"];
    run::cargo(root, &example)
}

/// Hands the flags on; `--soak` goes on where the long run stopped.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let mut command = command(root);
    for flag in flags {
        match *flag {
            "--soak" => command.args(["--state", STATE]),
            other => command.arg(other),
        };
    }
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            say::line(&format!("xtask sim: cargo did not start: {error}"));
            false
        }
    }
}

/// The minute of the suite.
pub(crate) fn minute(root: &Path, limit: Duration) -> Result<(), String> {
    let build = ["build", "--profile", "sim", "--quiet", "--package", "rejoin-lab", "--example", "sim"];
    run::within(&mut run::cargo(root, &build), limit)?;
    run::within(command(root).args(["--seeds", SUITE_SEEDS, "--marks"]), limit)?;
    run::within(command(root).args(["--seeds", QUEUE_SEEDS, "--real-queue"]), limit)
}
