//! The fuzz targets, as many at a time as there are cores, with cargo-fuzz.

use crate::{run, say};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread;
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
/// In seconds: an input that takes longer hangs, and is kept as a finding. None takes a hundredth of it.
const INPUT_LIMIT: u32 = 20;
/// What the targets say, a file for each.
const LOGS: &str = "target/fuzz";
/// Lines of it that are shown of a target that found something.
const TAIL: usize = 30;
/// How the line of libFuzzer's statistics begins that says how often the target ran.
const EXECUTIONS: &str = "stat::number_of_executed_units:";

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
    let at_a_time = thread::available_parallelism().map_or(1, usize::from);
    for targets in TARGETS.chunks(at_a_time) {
        say::line(&format!("{} for {seconds} s; what they say is in {LOGS}", targets.join(", ")));
        let ends = thread::scope(|scope| {
            let started: Vec<_> =
                targets.iter().map(|target| scope.spawn(|| one(root, target, seconds))).collect();
            started.into_iter().map(|run| run.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        for (target, end) in targets.iter().zip(ends) {
            match end {
                Ok(executions) => say::line(&format!("{target}: {executions} executions, no finding")),
                Err(error) => {
                    return Round::Found(format!("{error}; the input is in fuzz/artifacts/{target}"));
                }
            }
        }
    }
    Round::Clean(format!("{} targets, {seconds} s each, no finding", TARGETS.len()))
}

/// New inputs go into `fuzz/found`, which is not committed; the corpora stay as small as they are. Gives how often it ran.
fn one(root: &Path, target: &str, seconds: u64) -> Result<String, String> {
    let (found, corpus) = (format!("fuzz/found/{target}"), format!("fuzz/corpus/{target}"));
    let (time, length) = (format!("-max_total_time={seconds}"), format!("-max_len={LENGTH_MAX}"));
    let timeout = format!("-timeout={INPUT_LIMIT}");
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
        &timeout,
        "-dict=fuzz/dict.txt",
        "-print_final_stats=1",
    ];
    let log = root.join(LOGS).join(format!("{target}.log"));
    let mut command = run::cargo(root, &arguments);
    to_log(&mut command, &log, &root.join(&found)).map_err(|error| format!("{}: {error}", log.display()))?;
    let end = run::within(&mut command, Duration::from_secs(seconds) + GRACE);
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    if let Err(error) = end {
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].iter().for_each(|line| say::line(line));
        return Err(error);
    }
    match said.lines().find_map(|line| line.strip_prefix(EXECUTIONS)).map(str::trim) {
        Some("0") | None => Err(format!("{target} says of no execution")),
        Some(number) => Ok(number.to_owned()),
    }
}

/// Sends all it says to a file, as two that speak at once are not understood.
fn to_log(command: &mut Command, log: &Path, found: &Path) -> std::io::Result<()> {
    fs::create_dir_all(found)?;
    log.parent().map_or(Ok(()), fs::create_dir_all)?;
    let file = File::create(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn every_target_is_run_and_has_a_corpus() {
        let source = fs::read_to_string(tree::root().join("fuzz/src/lib.rs")).expect("it is there");
        let named = source.matches("(\"").count();
        assert_eq!(named, TARGETS.len(), "a target is not run by xtask");
        for target in TARGETS {
            assert!(source.contains(&format!("(\"{target}\"")), "{target}");
            assert!(tree::root().join("fuzz/corpus").join(target).is_dir(), "{target} has no corpus");
        }
    }
}
