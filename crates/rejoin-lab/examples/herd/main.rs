//! The herd, in full: `cargo xtask herd` runs this in release and keeps what it says.
//!
//! `herd FOLDER` writes `herd.md` and `herd.svg` there; `herd FOLDER quick` runs 10,000 clients only, `herd FOLDER further`
//! the smaller tables only, and both keep nothing.
#![allow(clippy::print_stdout, reason = "a program that reports")]

mod further;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rejoin_core::{Config, Text};
use rejoin_lab::herd::page::{Row, curves, returns, seconds, table, thousands};
use rejoin_lab::herd::{EngineClient, Outcome, RuleClient, SECOND, Scenario, rules, run};

/// With `fleet`, at 100,000 clients: at most this many percent of the bound.
const PERCENT_OF_BOUND_MAX: u64 = 105;
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);
/// At a million only those that are worth the minutes.
const AT_A_MILLION: [&str; 3] = ["HiveMQ Java", "aws-c-mqtt", "rejoin's waits, one clock"];
/// Beyond this the column of the short limit takes an hour and says nothing new.
const SHORT_UP_TO: usize = 100_000;
const IN_THE_PICTURE: [&str; 5] = ["HiveMQ Java", "aws-c-mqtt", "MQTT.js", "autopaho", "Paho Java"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = words.first() else {
        println!("herd: name the folder for herd.md and herd.svg");
        return ExitCode::from(2);
    };
    let said = |what| words.get(1).is_some_and(|word| word == what);
    if said("further") {
        let mut verdict = Verdict::default();
        further::tables(&mut verdict);
        println!("{}", verdict.text());
        return if verdict.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match report(Path::new(folder), said("quick")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("herd: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(folder: &Path, quick: bool) -> std::io::Result<bool> {
    let scenario = Scenario::default();
    let begin = Instant::now();
    let sizes: &[usize] = if quick { &[10_000] } else { &[10_000, 100_000, 1_000_000] };
    let mut page = String::new();
    let mut verdict = Verdict::default();
    for &clients in sizes {
        let rows = rows(&scenario, clients);
        let text = table(&scenario, clients, &rows);
        println!("{text}");
        page.push_str(&text);
        verdict.look_at(&scenario, clients, &rows);
        if clients == 100_000 {
            let wanted =
                |row: &&Row| row.name.starts_with("rejoin,") || IN_THE_PICTURE.contains(&row.name.as_str());
            let shown: Vec<(&str, &Outcome)> =
                rows.iter().filter(wanted).map(|row| (row.name.as_str(), &row.long)).collect();
            let title = "100,000 clients, broker down 60 s, then 2,000 handshakes a second";
            std::fs::write(folder.join("herd.svg"), curves(&scenario, title, &shown, 180 * SECOND))?;
        }
    }
    let further = if quick { String::new() } else { further::tables(&mut verdict) };
    let verdict_text = verdict.text();
    println!("\n{verdict_text}");
    if !quick {
        let whole = framed(&page, &further, &verdict_text, begin.elapsed());
        std::fs::write(folder.join("herd.md"), whole)?;
    }
    Ok(verdict.broken.is_empty())
}

fn rows(scenario: &Scenario, clients: usize) -> Vec<Row> {
    let mut rows = vec![ours(scenario, clients, true), ours(scenario, clients, false)];
    for rule in rules::ALL {
        if clients > 100_000 && !AT_A_MILLION.contains(&rule.name) {
            continue;
        }
        let herd = |limit| ruled(scenario, clients, rule, limit);
        let row = Row {
            name: rule.name.to_owned(),
            words: rule.words.to_owned(),
            short: (clients <= SHORT_UP_TO).then(|| herd(SHORT)),
            long: herd(LONG),
        };
        println!("{:>9} {:<26} {}", clients, row.name, returns(&row.long));
        rows.push(row);
    }
    rows
}

fn ours(scenario: &Scenario, clients: usize, fleet: bool) -> Row {
    let name = if fleet { "**rejoin, `fleet`**" } else { "rejoin, default" };
    let herd = |limits| engines(scenario, clients, &settings(fleet, limits));
    let row = Row {
        name: name.trim_matches('*').to_owned(),
        words: "the engine itself; its own limits are 10 s to open and 30 s to CONNACK".to_owned(),
        short: (clients <= SHORT_UP_TO).then(|| herd(Some((SHORT, SHORT)))),
        long: herd(None),
    };
    println!("{:>9} {:<26} {}", clients, row.name, returns(&row.long));
    row
}

fn engines(scenario: &Scenario, clients: usize, config: &Config) -> Outcome {
    let member = |seed| EngineClient::connected(config, mixed(seed));
    run(scenario, (0..clients as u64).map(member).collect())
}

fn ruled(scenario: &Scenario, clients: usize, rule: rules::Rule, limit: Duration) -> Outcome {
    let member = |seed| RuleClient::connected(rule, limit, mixed(seed));
    run(scenario, (0..clients as u64).map(member).collect())
}

fn settings(fleet: bool, limits: Option<(Duration, Duration)>) -> Config {
    let mut config = Config::new(Text::from_static("herd"), Text::from_static("broker:1883"));
    config.recovery.fleet = fleet;
    if let Some((connect, connack)) = limits {
        config.link.connect_timeout = connect;
        config.link.connack_timeout = connack;
    }
    config
}

/// Neighbouring numbers make poor seeds for some generators.
fn mixed(seed: u64) -> u64 {
    (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[derive(Default)]
struct Verdict {
    lines: Vec<String>,
    broken: Vec<String>,
}

impl Verdict {
    fn look_at(&mut self, scenario: &Scenario, clients: usize, rows: &[Row]) {
        for row in rows.iter().filter(|row| row.name.starts_with("rejoin,")) {
            if let Some(short) = &row.short {
                self.never_stuck(&format!("{}, {} clients, limit 1 s", row.name, thousands(clients)), short);
            }
            self.never_stuck(&format!("{}, {} clients", row.name, thousands(clients)), &row.long);
            let Some(back) = row.long.all_back() else { continue };
            let bound = scenario.bound(clients);
            let ratio = back as f64 / bound as f64;
            self.lines.push(format!("{}, {} clients: {ratio:.3} of the bound", row.name, thousands(clients)));
            let strict = clients == 100_000 && row.name.contains("fleet");
            if strict && back * 100 > bound * PERCENT_OF_BOUND_MAX {
                self.broken.push(format!("{}: {ratio:.3} of the bound, at most 1.05", row.name));
            }
        }
    }

    fn never_stuck(&mut self, what: &str, outcome: &Outcome) {
        if outcome.all_back().is_none() {
            self.broken.push(format!("{what}: only {} came back", thousands(outcome.returns.len())));
        }
    }

    fn join(&mut self, other: Self) {
        self.lines.extend(other.lines);
        self.broken.extend(other.broken);
    }

    fn within(&mut self, what: &str, outcome: &Outcome, most: u64) {
        let Some(back) = outcome.all_back() else { return };
        let (took, most_seconds) = (seconds(back), seconds(most));
        self.lines.push(format!("{what}: all back after {took} s, at most {most_seconds}"));
        if back > most {
            self.broken.push(format!("{what}: {took} s, at most {most_seconds}"));
        }
    }

    fn text(&self) -> String {
        let mut text = self.lines.iter().fold(String::new(), |text, line| text + "- " + line + "\n");
        if self.broken.is_empty() {
            text.push_str("- no run of rejoin stayed stuck\n\n**PASS**\n");
        }
        for line in &self.broken {
            let _ = writeln!(text, "- **FAIL** {line}");
        }
        text
    }
}

fn framed(tables: &str, further: &str, verdict: &str, took: Duration) -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## Result\n\n");
    page.push_str(verdict);
    page.push_str("\n## Tables\n");
    page.push_str(tables);
    page.push_str(further);
    page.push_str("\n## The rules beside it\n\n| client | rule |\n|---|---|\n");
    for rule in rules::ALL {
        let _ = writeln!(page, "| {} | {} |", rule.name, rule.words);
    }
    let _ = write!(page, "\nThe run took {} s of one core.\n", took.as_secs());
    page
}

const HEAD: &str = "\
# The herd

Written by `cargo xtask herd`. All clients lose the broker in the same moment, by a reset that all of them see. It refuses everybody for 60 s,
then it finishes 2,000 handshakes a second. In front of it is an accept queue of 4,096: when it is full, a SYN is lost and the kernel repeats
it after 1, 3, 7, 15 s. A client that gives up leaves its socket in the queue, and the broker spends a whole slot on it. The round trip is
20 ms. Times are seconds after the broker is back; nobody can beat the *bound*, clients ÷ 2,000.

The rows of rejoin are its real engine, one for each client, driven in virtual time; *default* differs from `fleet` only in that the first
try after a stable link comes at once. The other rows are the back-off rules those clients document, alone: a client may do more. Three are
nobody's: *decorrelated* and *equal jitter*, and rejoin's own waits with one clock for an attempt, which show what the second clock is for. The limit
of an attempt is 1 s or 10 s as the column says, one clock for TCP and CONNACK; in the last columns rejoin has its own two (10 s + 30 s), and
in the 1 s column both are 1 s. *never*: not all were back 30 min later.

The code is `crates/rejoin-lab/src/herd/`; with other numbers, start from `crates/rejoin-lab/examples/herd/`. The same over real sockets, small, is
`crates/rejoin-lab/tests/herd/main.rs`.

![share of the herd that is back](herd.svg)
";
