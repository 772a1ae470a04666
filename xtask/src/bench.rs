//! Speed, in the workspace of its own that ordinary builds never touch.

use crate::{run, say};
use std::path::Path;
use std::time::Duration;

/// Compiling the client alone and running it under callgrind takes a minute on two idle cores.
const HOLD_LIMIT: Duration = Duration::from_secs(600);
/// What the verb that holds the instructions needs.
const JUDGE: &str = "valgrind";

/// Hands the flags on: `--quick` and those that `bench/src/main.rs` lists. With `--store` it is about the durable queue.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let mut arguments = vec!["run", "--release", "--manifest-path", "bench/Cargo.toml"];
    if flags.contains(&"--store") {
        arguments.extend(["--no-default-features", "--features", "stores", "--", "stores"]);
    } else {
        // It compiles Paho C; without the tools for that the benchmark says that it is left out.
        if ["cc", "cmake"].iter().all(|tool| run::find(tool).is_some()) {
            arguments.extend(["--features", "paho"]);
        }
        arguments.extend(["--", "run"]);
    }
    arguments.extend(flags.iter().filter(|flag| **flag != "--store"));
    match run::cargo(root, &arguments).status() {
        Ok(status) => status.success(),
        Err(error) => {
            say::line(&format!("xtask: cargo did not start: {error}"));
            false
        }
    }
}

/// Instructions for one message against those that are kept; `None` where nothing here can count them.
pub(crate) fn hold(root: &Path) -> Option<Result<(), String>> {
    run::find(JUDGE)?;
    // Without the peers, whose trees take minutes.
    let arguments = [
        "run",
        "--release",
        "--quiet",
        "--manifest-path",
        "bench/Cargo.toml",
        "--no-default-features",
        "--",
        "hold",
    ];
    Some(run::within(&mut run::cargo(root, &arguments), HOLD_LIMIT))
}

/// `cargo xtask instructions`.
pub(crate) fn instructions(root: &Path) -> bool {
    match hold(root) {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            say::line(&format!("xtask instructions: {error}"));
            false
        }
        None => {
            say::line(&format!("xtask instructions: {JUDGE} is not installed: apt-get install {JUDGE}"));
            false
        }
    }
}
