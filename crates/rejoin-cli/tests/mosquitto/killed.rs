//! Numbered lines through a mosquitto that is killed with -9 and restarted five times at random moments.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::broker::{Folder, Mosquitto};
use crate::evidence::{Evidence, number, payload};
use crate::program::Program;
use crate::verdict::Ledger;

/// Lines of each run.
const LINES: u64 = 20_000;
/// How often the broker is killed.
const KILLS: usize = 5;
/// Lines handed to the publisher beyond the highest number that arrived: what makes a size name one number.
const WINDOW: u64 = 250;
/// When nothing arrives for this long, the window moves on by a few: the broker may have forgotten all of it.
const STUCK: Duration = Duration::from_secs(2);
/// No run takes longer.
const LIMIT: Duration = Duration::from_secs(150);
/// The true defaults would wait minutes for brokers that die every second.
const SCALED: [&str; 7] = [
    "--stable-after=200ms",
    "--backoff=20ms..100ms",
    "--overload-backoff=20ms..100ms",
    "--lift-connect-budget",
    "--deadline=60s",
    "-x",
    "3600",
];

#[test]
fn every_number_arrives_at_5_0_qos_1() {
    stream("5", 1, LINES);
}

#[test]
fn every_number_arrives_at_3_1_1_qos_1() {
    stream("311", 1, LINES);
}

#[test]
fn each_number_arrives_once_at_5_0_qos_2() {
    stream("5", 2, LINES);
}

#[test]
fn each_number_arrives_once_at_3_1_1_qos_2() {
    stream("311", 2, LINES);
}

/// What arrived so far, read from the subscriber's output.
struct Arrivals {
    file: std::fs::File,
    rest: String,
    counts: BTreeMap<u64, u64>,
    top: u64,
    last: Instant,
}

impl Arrivals {
    fn look(&mut self) {
        let before = self.rest.len();
        self.file.read_to_string(&mut self.rest).expect("the subscriber prints what we published");
        if self.rest.len() > before {
            self.last = Instant::now();
        }
        while let Some((line, rest)) = self.rest.split_once('\n') {
            let number = number(line).unwrap_or_else(|| panic!("no line of ours: `{line}`"));
            *self.counts.entry(number).or_default() += 1;
            self.top = self.top.max(number);
            self.rest = rest.to_owned();
        }
    }
}

/// A new one for each run, unless one is to be repeated.
fn seed() -> u64 {
    match std::env::var("MOSQUITTO_SEED") {
        Ok(text) => text.parse().expect("MOSQUITTO_SEED is a number"),
        Err(_) => fastrand::u64(..),
    }
}

fn stream(version: &str, qos: u8, lines: u64) {
    let test = format!("MQTT {version} QoS {qos}");
    if !Mosquitto::is_here(&test) {
        return;
    }
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Folder::new("killed");
    let mut broker = Mosquitto::start(&folder);
    eprintln!("{test}: {lines} lines, MOSQUITTO_SEED={seed}, in flight 100, {}", SCALED.join(" "));
    let level = qos.to_string();
    let start = |name, first: &[&str]| {
        let words = [first, &["-t", "numbers", "-c", "-q", &level, "-V", version], &SCALED].concat();
        Program::start(&folder, &broker, None, name, &words)
    };
    let mut subscriber = start("sub", &["sub", "-i", "S"]);
    subscriber.wait_for("resubscribed", 0, Duration::from_secs(10));
    let mut publisher = start("pub", &["pub", "-l", "-i", "P", "--in-flight", "100"]);
    publisher.wait_for("opened", 0, Duration::from_secs(10));

    let mut arrivals = Arrivals {
        file: std::fs::File::open(subscriber.output()).expect("it was created"),
        rest: String::new(),
        counts: BTreeMap::new(),
        top: 0,
        last: Instant::now(),
    };
    let begin = Instant::now();
    feed(&mut publisher, &mut broker, &mut arrivals, &mut random, lines);
    let fed = begin.elapsed();
    publisher.end(LIMIT.saturating_sub(begin.elapsed()));
    arrivals.last = Instant::now();
    // What is still missing gets its time: the broker has nobody else to serve.
    while (arrivals.counts.len() as u64) < lines && arrivals.last.elapsed() < STUCK {
        arrivals.look();
        // waits: for another process, which writes to a file
        std::thread::sleep(Duration::from_millis(5));
    }
    subscriber.interrupt(Duration::from_secs(10));
    arrivals.look();
    broker.kill();
    let ledger = ledger(&publisher, arrivals.counts, &broker.log(), qos, lines);
    judge(&test, &ledger, &publisher, fed);
}

/// Writes the lines, and kills the broker at random moments on the way.
fn feed(
    publisher: &mut Program,
    broker: &mut Mosquitto,
    arrivals: &mut Arrivals,
    random: &mut fastrand::Rng,
    lines: u64,
) {
    let mut kills: Vec<u64> = (0..KILLS).map(|_| random.u64(lines / 20..lines - lines / 20)).collect();
    kills.sort_unstable();
    let (begin, mut written, mut extra, mut kills) = (Instant::now(), 0, 0, kills.into_iter().peekable());
    while written < lines {
        assert!(begin.elapsed() < LIMIT, "{written} lines within {LIMIT:?}:\n{}", publisher.told());
        arrivals.look();
        if arrivals.last.elapsed() > STUCK && written >= arrivals.top + WINDOW + extra {
            (extra, arrivals.last) = (extra + 20, Instant::now());
        }
        let next = (arrivals.top + WINDOW + extra).min(lines).min(written + random.u64(1..40));
        if next > written {
            let text: String = (written + 1..=next).map(|number| payload(number) + "\n").collect();
            publisher.write(text.as_bytes());
            written = next;
        } else {
            // waits: for the subscriber, another process
            std::thread::sleep(Duration::from_millis(1));
        }
        if kills.next_if(|at| *at <= written).is_some() {
            // waits: so that the kill falls anywhere between the packets of the lines before it
            std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
            broker.kill();
            // waits: so that the outage has a length
            std::thread::sleep(Duration::from_millis(random.u64(0..150)));
            broker.run();
        }
    }
}

fn ledger(publisher: &Program, arrived: BTreeMap<u64, u64>, log: &str, qos: u8, lines: u64) -> Ledger {
    let mut unknown = Vec::new();
    for event in publisher.events().iter().filter(|event| event["event"] == "failed") {
        assert_eq!(event["class"], "unknown", "a line ended in another way: {event}");
        unknown.push(event["line"].as_u64().expect("a failed line has a number"));
    }
    let unanswered = ["closed-before-connack", "reset", "peer-closed", "transport-error"];
    let doubt = publisher.events().iter().any(|event| {
        event["event"] == "attempt-failed" && unanswered.iter().any(|cause| event["cause"] == *cause)
    });
    Ledger { qos, lines, arrived, unknown, doubt, evidence: Evidence::read(log) }
}

fn judge(test: &str, ledger: &Ledger, publisher: &Program, fed: Duration) {
    let events = publisher.events();
    let summary = events.iter().rfind(|event| event["event"] == "summary").expect("pub tells the end");
    let told = |name: &str| summary[name].as_u64().unwrap_or_default();
    let verdict = ledger.judge();
    eprintln!(
        "{test}: in {:.1} s, kills {}, outages {}: arrived {} of {}; repeated as QoS 1 allows {}; proved by the \
         broker's log: forgotten after its acknowledgement {}, repeated after its \
         rollback {}, sent again after its PUBREL {}; told as unknown {}, \
         of these missing {}; unexplained {}",
        fed.as_secs_f64(),
        ledger.evidence.killed.len() - 1,
        told("outages"),
        ledger.arrived.len(),
        ledger.lines,
        verdict.allowed_repeats,
        verdict.forgotten.len(),
        verdict.repeated.len(),
        verdict.sent_after_release.len(),
        ledger.unknown.len(),
        verdict.told_unknown,
        verdict.faults.len()
    );
    let proofs = [&verdict.forgotten, &verdict.repeated, &verdict.sent_after_release];
    for proof in proofs.iter().flat_map(|proofs| proofs.iter().take(2)) {
        eprintln!("    {proof}");
    }
    let faults = verdict.faults.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(verdict.faults.is_empty(), "{test}: {} unexplained:\n{faults}", verdict.faults.len());
    assert_eq!(told("acknowledged") + ledger.unknown.len() as u64, ledger.lines, "{summary}");
    let code = if ledger.unknown.is_empty() { 0 } else { 4 };
    assert_eq!(summary["exit_code"], code, "{summary}");
    assert!(told("outages") > 0 && ledger.evidence.killed.len() == KILLS + 1);
    assert!(ledger.arrived.keys().all(|number| *number <= ledger.lines));
}
