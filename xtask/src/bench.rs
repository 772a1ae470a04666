//! Speed, in the workspace of its own that ordinary builds never touch.

use crate::{run, say};
use std::path::Path;
use std::time::Duration;

/// Compiling the client alone and running it under callgrind takes a minute on two idle cores.
const HOLD_LIMIT: Duration = Duration::from_secs(600);
/// What it was for one version and one compiler, with both in its first line.
const KEPT: &str = "bench/figures/instructions.tsv";
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

/// How a comparison with the kept figures ended.
pub(crate) enum Held {
    /// No case takes more than 5 % more.
    Kept,
    /// Why nothing was compared, and what to do.
    Absent(String),
    /// Which cases take more, or what went wrong.
    Risen(String),
}

/// Instructions for one message against those that are kept.
pub(crate) fn hold(root: &Path) -> Held {
    if run::find(JUDGE).is_none() {
        return Held::Absent(format!("{JUDGE} is not installed: apt-get install {JUDGE}"));
    }
    let version = run::answer(&mut run::command("rustc", &["--version"])).unwrap_or_default();
    let compiler = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let kept = std::fs::read_to_string(root.join(KEPT)).unwrap_or_default();
    if !is_of(&kept, &compiler) {
        return Held::Absent(format!(
            "{KEPT} is not of {compiler}, and every compiler makes its own: cargo xtask bench --only instructions"
        ));
    }
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
    match run::within(&mut run::cargo(root, &arguments), HOLD_LIMIT) {
        Ok(()) => Held::Kept,
        Err(error) => Held::Risen(error),
    }
}

/// Whether the figures in this file were taken with this compiler.
fn is_of(kept: &str, compiler: &str) -> bool {
    let taken = kept.lines().next().unwrap_or_default();
    !compiler.is_empty() && taken.split("; ").any(|part| part == compiler)
}

/// `cargo xtask instructions`.
pub(crate) fn instructions(root: &Path) -> bool {
    match hold(root) {
        Held::Kept => true,
        Held::Absent(why) | Held::Risen(why) => {
            say::line(&format!("xtask instructions: {why}"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_another_compiler_are_not_compared() {
        let kept = "# 2026-11-26; load average 0.16 before it; rustc 1.95.0\n# case\tclient\n";
        assert!(is_of(kept, "rustc 1.95.0"));
        assert!(
            !is_of(kept, "rustc 1.96.0") && !is_of(kept, "rustc 1.9") && !is_of(kept, "") && !is_of("", "")
        );
    }
}
