//! The fuzz targets, one after another, with cargo-fuzz.

use crate::{run, say};
use std::path::Path;
use std::time::Duration;

/// As in `fuzz/src/lib.rs`, which a test compares.
const TARGETS: [&str; 8] =
    ["decode_v5", "decode_v311", "round_trip", "slicing", "engine", "settings", "url", "filter"];
const BUILD_LIMIT: Duration = Duration::from_secs(900);
/// A run ends by itself; so much later it hangs.
const GRACE: Duration = Duration::from_secs(60);
const SECONDS: u64 = 60;
/// Longer inputs only make each run slower.
const LENGTH_MAX: u32 = 2048;

/// What became of a round over all targets.
pub(crate) enum Round {
    /// Every target ran for its time without a finding.
    Clean(String),
    /// Why none ran.
    Absent(String),
    /// Which target found something, or did not run.
    Found(String),
}

/// `--seconds N` for each target; the default is a minute.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let seconds = match flags {
        [] => SECONDS,
        ["--seconds", number] => match number.parse() {
            Ok(seconds) => seconds,
            Err(_) => {
                say::line(&format!("xtask fuzz: `{number}` is no number of seconds"));
                return false;
            }
        },
        other => {
            say::line(&format!("xtask fuzz: `{}`: the only flag is --seconds N", other.join(" ")));
            return false;
        }
    };
    let (good, text) = match round(root, seconds) {
        Round::Clean(text) => (true, text),
        Round::Absent(text) | Round::Found(text) => (false, text),
    };
    say::line(&format!("xtask fuzz: {text}"));
    good
}

/// Runs every target for so many seconds.
pub(crate) fn round(root: &Path, seconds: u64) -> Round {
    if run::answer(&mut run::cargo(root, &["fuzz", "--version"])).is_none() {
        return Round::Absent("cargo-fuzz is not installed: cargo install cargo-fuzz".to_owned());
    }
    if run::find("c++").is_none() {
        return Round::Absent("libFuzzer needs a C++ compiler: apt-get install g++".to_owned());
    }
    // Sanitizers need nightly and find what `unsafe` does wrong; we have none.
    let build = ["fuzz", "build", "--sanitizer", "none", "--fuzz-dir", "fuzz"];
    if let Err(error) = run::within(&mut run::cargo(root, &build), BUILD_LIMIT) {
        return Round::Found(error);
    }
    for target in TARGETS {
        if let Err(error) = one(root, target, seconds) {
            return Round::Found(format!("{error}; the input is in fuzz/artifacts/{target}"));
        }
    }
    Round::Clean(format!("{} targets, {seconds} s each, no finding", TARGETS.len()))
}

/// New inputs go into `fuzz/found`, which is not committed; the corpora stay as small as they are.
fn one(root: &Path, target: &str, seconds: u64) -> Result<(), String> {
    let found = format!("fuzz/found/{target}");
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(root.join(&found)).map_err(|error| format!("{found}: {error}"))?;
    let (time, length) = (format!("-max_total_time={seconds}"), format!("-max_len={LENGTH_MAX}"));
    let arguments = [
        "fuzz",
        "run",
        "--sanitizer",
        "none",
        "--fuzz-dir",
        "fuzz",
        target,
        &found,
        &corpus,
        "--",
        &time,
        &length,
        "-dict=fuzz/dict.txt",
        "-print_final_stats=1",
    ];
    run::within(&mut run::cargo(root, &arguments), Duration::from_secs(seconds) + GRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn every_target_is_run_and_has_a_corpus() {
        let source = std::fs::read_to_string(tree::root().join("fuzz/src/lib.rs")).expect("it is there");
        let named = source.matches("(\"").count();
        assert_eq!(named, TARGETS.len(), "a target is not run by xtask");
        for target in TARGETS {
            assert!(source.contains(&format!("(\"{target}\"")), "{target}");
            assert!(tree::root().join("fuzz/corpus").join(target).is_dir(), "{target} has no corpus");
        }
    }
}
