//! What happens around a loss, as the broker sees it: how soon the first acknowledgement goes out again, what a backlog
//! costs, what comes when links are cut all the time.

use super::{Effort, wait};
use crate::cast::{Cast, Client};
use crate::figures::Figures;
use crate::process::{Sink, Talker, numbers};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Until a driver says that it is connected.
const READY: Duration = Duration::from_secs(10);
/// What is not back by then is not coming.
const RETURN: Duration = Duration::from_secs(5);
/// Between two losses.
const LIVES: Duration = Duration::from_millis(300);
const BACKLOG: u64 = 100_000;
/// For accepting a backlog, and for draining it.
const PATIENCE: Duration = Duration::from_secs(10);
const KILLED: u64 = 20_000;
const KILL_LIMIT: Duration = Duration::from_secs(25);

fn start(cast: &Cast, sink: &Sink, client: &Client, words: &[&str]) -> Result<Talker, String> {
    let mut command = cast.command(client)?;
    command.args(["--addr", &sink.address, "--again"]).args(words).stderr(Stdio::null());
    Talker::start(command, "1")
}

/// From FIN to the first acknowledgement on the next link.
pub(super) fn fin(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let times = if effort.quick { 3 } else { 7 };
    for client in cast.that_recover() {
        let mut sink = Sink::start(&["--kind", "broker"])?;
        let driver = start(cast, &sink, client, &["--mode", "trickle"])?;
        if driver.hear("ready", READY).is_none() {
            figures.note("FIN", client.name, "first_ms", "does not connect");
            continue;
        }
        for _ in 0..times {
            wait(LIVES);
            sink.talker.tell("fin")?;
            returned(&sink, figures, "FIN", client, RETURN);
        }
        told(figures, "FIN", client, "first_ms");
    }
    Ok(())
}

/// From the broker listening again to the first acknowledgement.
pub(super) fn back(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let times = if effort.quick { 2 } else { 5 };
    for client in cast.that_recover() {
        let mut sink = Sink::start(&["--kind", "broker"])?;
        let driver = start(cast, &sink, client, &["--mode", "trickle", "--pause", "100"])?;
        if driver.hear("ready", READY).is_none() {
            figures.note("away", client.name, "first_ms", "does not connect");
            continue;
        }
        for time in 0..times {
            wait(LIVES);
            sink.talker.tell("away")?;
            let _ = sink.talker.hear("gone", READY);
            // Each time a little longer, so that it is not always the same moment between two attempts.
            wait(Duration::from_millis(500 + 30 * time));
            sink.talker.tell("back")?;
            returned(&sink, figures, "away", client, RETURN * 2);
        }
        told(figures, "away", client, "first_ms");
    }
    Ok(())
}

fn returned(sink: &Sink, figures: &mut Figures, case: &str, client: &Client, within: Duration) {
    let first = sink.talker.hear("first ", within);
    match first.and_then(|line| line.trim_start_matches("first ").parse::<f64>().ok()) {
        Some(value) => figures.add(case, client.name, "first_ms", value),
        None => {
            let why = format!("not back after {} s", within.as_secs());
            figures.note(case, client.name, "first_ms", &why);
        }
    }
}

/// 100,000 messages are handed over while nobody listens, and drain when somebody does.
pub(super) fn offline(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let case = "100,000 offline";
    for _ in 0..if effort.quick { 1 } else { 3 } {
        for client in cast.that_recover() {
            if figures.find(case, client.name, "accept_s").is_some_and(|one| !one.note.is_empty()) {
                continue;
            }
            let mut sink = Sink::start(&["--kind", "broker"])?;
            let (count, limit) = (BACKLOG.to_string(), PATIENCE.as_secs().to_string());
            // A channel wide enough, for those that keep what waits there.
            let mut words = vec!["--mode", "offline", "--count", &count, "--limit", &limit, "--pause", "100"];
            words.extend(match client.name {
                crate::cast::OURS => ["--plain", "--plain"],
                _ => ["--channel", "100000"],
            });
            let mut driver = start(cast, &sink, client, &words)?;
            if driver.hear("ready", READY).is_none() {
                figures.note(case, client.name, "accept_s", "does not connect");
                continue;
            }
            sink.talker.tell("away")?;
            let _ = sink.talker.hear("gone", READY);
            wait(LIVES);
            driver.tell("go")?;
            let Some(line) = driver.hear("{", PATIENCE + READY).map(|line| numbers(&line)) else {
                figures.note(case, client.name, "accept_s", "gives up");
                continue;
            };
            let of = |name: &str| line.get(name).copied().unwrap_or_default();
            figures.add(case, client.name, "accept_s", of("seconds"));
            figures.add(case, client.name, "bytes_each", of("each"));
            if of("accepted") < BACKLOG as f64 {
                let why = format!("takes {:.0} of 100,000", of("accepted"));
                figures.note(case, client.name, "accept_s", &why);
            }
            sink.talker.tell("back")?;
            drained(&mut sink, figures, case, client, of("accepted"))?;
            told(figures, case, client, "accept_s");
        }
    }
    Ok(())
}

fn drained(
    sink: &mut Sink,
    figures: &mut Figures,
    case: &str,
    client: &Client,
    accepted: f64,
) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        wait(Duration::from_millis(100));
        sink.talker.tell("judge")?;
        let verdict = sink.talker.hear("{", READY).map(|line| numbers(&line)).unwrap_or_default();
        let of = |name: &str| verdict.get(name).copied().unwrap_or_default();
        let complete = of("different") >= accepted && accepted > 0.0;
        if complete || Instant::now() > end {
            figures.add(case, client.name, "drain_s", of("different") / of("seconds").max(1e-6));
            if !complete {
                let why = format!("{:.0} came in {} s", of("different"), PATIENCE.as_secs());
                figures.note(case, client.name, "drain_s", &why);
            }
            return Ok(());
        }
    }
}

/// Every link is cut 300 ms after it was opened, acknowledgements are held back for 10 ms.
pub(super) fn kill(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let levels: &[&str] = if effort.quick { &["1"] } else { &["1", "2"] };
    for qos in levels {
        let case = format!("QoS {qos}");
        for client in cast.that_recover() {
            let mut sink = Sink::start(&["--kind", "broker", "--hold", "10", "--life", "300"])?;
            let count = KILLED.to_string();
            let words = ["--mode", "kill", "--qos", qos, "--count", &count, "--pause", "100"];
            let driver = start(cast, &sink, client, &words)?;
            let end = Instant::now() + KILL_LIMIT;
            loop {
                wait(Duration::from_millis(100));
                sink.talker.tell("judge")?;
                let verdict = sink.talker.hear("{", READY).map(|line| numbers(&line)).unwrap_or_default();
                let of = |name: &str| verdict.get(name).copied().unwrap_or_default();
                let complete = of("different") >= KILLED as f64 && of("open") == 0.0;
                if !complete && Instant::now() < end {
                    continue;
                }
                figures.add(&case, client.name, "seconds", of("seconds"));
                figures.add(&case, client.name, "missing", KILLED as f64 - of("different"));
                figures.add(&case, client.name, "again", of("again"));
                figures.add(&case, client.name, "disordered", of("disordered"));
                if !complete {
                    let why = match of("different") >= KILLED as f64 {
                        true => format!("{:.0} handshakes open after {} s", of("open"), KILL_LIMIT.as_secs()),
                        false => format!("not done after {} s", KILL_LIMIT.as_secs()),
                    };
                    figures.note(&case, client.name, "seconds", &why);
                }
                break;
            }
            drop(driver);
            told(figures, &case, client, "seconds");
        }
    }
    Ok(())
}

/// One client for the screen while the run goes on.
fn told(figures: &Figures, case: &str, client: &Client, metric: &str) {
    let found = figures.find(case, client.name, metric);
    let text = found.map_or_else(String::new, |one| format!("{:.2} {}", one.spread().median, one.note));
    eprintln!("    {case}: {} {text}", client.name);
}
