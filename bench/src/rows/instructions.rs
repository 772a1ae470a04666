//! Instructions that the client process carries out for one message, by callgrind: a figure that hardly depends on what
//! else the machine does, so that a rise can be held against a change.

use super::Effort;
use crate::cast::{Cast, OURS};
use crate::figures::{Figures, Spread};
use crate::process::{End, Sink, ended, ourselves};
use std::process::{Command, Stdio};

/// Runs of two lengths, so that start and end of the process are left out.
const SHORT: u64 = 5_000;
const LONG: u64 = 25_000;
/// Between two runs of one version it is 0.2 %, so this is a change.
const RISE: f64 = 1.05;
const CASES: [(&str, &str); 5] =
    [("publish", "0"), ("publish", "1"), ("publish", "2"), ("receive", "0"), ("receive", "1")];

pub(super) fn measure(_: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    // `cargo xtask test` looks for it there.
    figures.taken = format!("{}; {}", figures.taken, crate::machine::compiler());
    for (mode, qos) in CASES {
        let case = format!("{mode} QoS {qos}");
        for _ in 0..effort.rounds {
            figures.add(&case, OURS, "instructions", of_one(mode, qos)?);
        }
    }
    Ok(())
}

/// `bench hold`: measures again and compares with what is kept.
pub(crate) fn hold() -> Result<(), String> {
    let kept = Figures::load("instructions");
    let mut risen = Vec::new();
    for (mode, qos) in CASES {
        let case = format!("{mode} QoS {qos}");
        let Some(before) = kept.median(&case, OURS, "instructions") else {
            return Err(format!(
                "figures/instructions.tsv has no `{case}`: cargo xtask bench --only instructions"
            ));
        };
        let mut now = of_one(mode, qos)?;
        if now > before * RISE {
            // Once more before it is said: what the machine did may have torn the batches apart.
            now = Spread::of(vec![now, of_one(mode, qos)?, of_one(mode, qos)?]).least;
        }
        println!(
            "{case}: {now:.0} instructions a message, {before:.0} kept ({:+.1} %)",
            (now / before - 1.0) * 100.0
        );
        if now > before * RISE {
            risen.push(case);
        }
    }
    match risen.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "more than 5 % more instructions: {}; if it is worth it, keep them by cargo xtask bench --only instructions",
            risen.join(", ")
        )),
    }
}

fn of_one(mode: &str, qos: &str) -> Result<f64, String> {
    let sink = Sink::start(&["--window", "100"])?;
    let short = of_run(&sink, mode, qos, SHORT)?;
    let long = of_run(&sink, mode, qos, LONG)?;
    Ok((long - short) / (LONG - SHORT) as f64)
}

fn of_run(sink: &Sink, mode: &str, qos: &str, count: u64) -> Result<f64, String> {
    let program = ourselves()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program.get_program());
    command.args(["drive", "--client", "rejoin", "--mode", mode, "--qos", qos, "--addr", &sink.address]);
    command.args(["--limit", "60", "--count", &count.to_string()]);
    let _ = sink.talker.said();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("valgrind: {error}; apt-get install valgrind"))?;
    // A client that never came to its end takes few instructions.
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find(|line| line.starts_with('{') && output.status.success());
    if let End::Not(why) = ended(line, &sink.talker.said()) {
        return Err(format!("{mode} QoS {qos}, {count} messages: the client {why} ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    // `==123== Collected : 456`
    let found = text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, count)| count.trim());
    found
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| format!("callgrind said no count: {}", text.lines().last().unwrap_or_default()))
}
