//! Our own process is killed with -9, again and again, in the middle of its lines, while a real mosquitto goes on. Who
//! feeds it learns by `--report-stored` which lines are on the disk, and feeds the others anew; a `mosquitto_sub`, which
//! shares no line with us, is the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::{Folder, Mosquitto};
use crate::program::Program;
use crate::skipped::skipped;

const SUBSCRIBER: &str = "/usr/bin/mosquitto_sub";
const PUBLISHER: &str = "/usr/bin/mosquitto_pub";
/// Kills of each of the four runs, unless `REJOIN_KILL_ROUNDS` says otherwise.
const ROUNDS: u64 = 25;
/// A process lives so long at most: from before its first line to well into its work.
const LIFE_MS: u64 = 150;
/// No wait is longer.
const LIMIT: Duration = Duration::from_secs(60);
/// The true defaults would wait for a budget that a process that dies five times a second uses up.
const SCALED: [&str; 4] =
    ["--backoff=20ms..100ms", "--overload-backoff=20ms..100ms", "--lift-connect-budget", "--deadline=60s"];

/// What is fed once: a line, and how often it was fed before.
type Feed = (u64, u64);

#[test]
fn what_was_stored_outlives_every_kill_of_our_process() {
    if !Mosquitto::is_here("killed processes") || !both_clients_are_here() {
        return;
    }
    let rounds = std::env::var("REJOIN_KILL_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().expect("REJOIN_KILL_ROUNDS is a number"));
    let begin = Instant::now();
    let runs = [("5", 1), ("311", 1), ("5", 2), ("311", 2)];
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let runs =
            runs.map(|(version, qos)| scope.spawn(move || Run::new(version, qos).live_and_die(rounds)));
        runs.map(|run| run.join().expect("a run tells why it fails")).into()
    });
    let mut page = String::from(
        "| MQTT | QoS | kills | of these before anything new was stored | lines | fed again | stored | lost | repeated | left for the drain | told as unknown |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    sums.iter().for_each(|sum| page.push_str(&sum.row()));
    let kills: u64 = sums.iter().map(|sum| sum.kills).sum();
    page.push_str(&format!("\n{kills} kills in {:.1} s.\n", begin.elapsed().as_secs_f64()));
    eprintln!("{page}");
    if let Some(path) = std::env::var_os("REJOIN_KILL_PAGE") {
        std::fs::write(path, page).expect("REJOIN_KILL_PAGE can be written");
    }
    for sum in sums {
        sum.judge();
    }
}

fn both_clients_are_here() -> bool {
    let here = Path::new(SUBSCRIBER).exists() && Path::new(PUBLISHER).exists();
    if !here {
        skipped("killed processes", &format!("{SUBSCRIBER} is missing; apt-get install mosquitto-clients"));
    }
    here
}

/// What a run came to.
struct Sum {
    version: &'static str,
    qos: u8,
    kills: u64,
    early: u64,
    lines: u64,
    again: u64,
    stored: Vec<Feed>,
    arrived: BTreeMap<Feed, u64>,
    drained: (u64, u64),
}

impl Sum {
    fn lost(&self) -> Vec<Feed> {
        self.stored.iter().copied().filter(|feed| !self.arrived.contains_key(feed)).collect()
    }

    fn repeated(&self) -> u64 {
        self.arrived.values().map(|times| times - 1).sum()
    }

    fn row(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            self.version,
            self.qos,
            self.kills,
            self.early,
            self.lines,
            self.again,
            self.stored.len(),
            self.lost().len(),
            self.repeated(),
            self.drained.0,
            self.drained.1
        )
    }

    fn judge(&self) {
        let name = format!("MQTT {} QoS {}", self.version, self.qos);
        let lost = self.lost();
        assert!(lost.is_empty(), "{name}: stored and never arrived: {:?}", &lost[..lost.len().min(10)]);
        assert!(self.qos < 2 || self.repeated() == 0, "{name}: {} arrived twice", self.repeated());
        assert!(self.stored.len() as u64 >= self.lines, "{name}: every line is stored in the end");
        let all = (1..=self.lines).all(|line| self.stored.iter().any(|feed| feed.0 == line));
        assert!(all, "{name}: every line is stored in the end");
    }
}

/// A broker, its judge, and a feeder that keeps account.
struct Run {
    version: &'static str,
    qos: u8,
    folder: Folder,
    /// Where the queue is: the time of a sync lies between handed over and stored.
    disk: Folder,
    broker: Mosquitto,
    judge: Child,
    heard: PathBuf,
    random: fastrand::Rng,
    /// Lines so far, and those whose last feed was not reported as stored.
    lines: u64,
    unstored: Vec<Feed>,
    stored: Vec<Feed>,
    again: u64,
}

impl Run {
    fn new(version: &'static str, qos: u8) -> Self {
        let folder = Folder::new("process");
        let broker = Mosquitto::start(&folder);
        let heard = folder.file("heard");
        let judge = Command::new(SUBSCRIBER)
            .args([
                "-h",
                &broker.address,
                "-p",
                &broker.port.to_string(),
                "-t",
                "numbers",
                "-q",
                &qos.to_string(),
            ])
            .args(["-i", "judge"])
            .stdin(Stdio::null())
            .stdout(File::create(&heard).expect("the folder is ours"))
            .spawn()
            .expect("it was there a moment ago");
        let run = Self {
            version,
            qos,
            disk: folder.on_disk(),
            folder,
            broker,
            judge,
            heard,
            random: fastrand::Rng::new(),
            lines: 0,
            unstored: Vec::new(),
            stored: Vec::new(),
            again: 0,
        };
        run.wait_until("the judge is subscribed", |run| run.broker.log().contains("Sending SUBACK to judge"));
        run
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
            // waits: for another process, which only writes to a file
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn live_and_die(mut self, rounds: u64) -> Sum {
        let mut early = 0;
        for round in 0..rounds {
            let life = Duration::from_millis(self.random.u64(1..LIFE_MS));
            let mut program = self.start();
            if round % 2 == 0 {
                // With many messages in the queue most kills would fall into the start.
                program.wait_for("opened", 0, LIMIT);
            }
            let fed = self.feed(&mut program, life);
            program.kill();
            early += u64::from(self.account(fed) == 0);
        }
        // The last one dies when all is stored, so that something may be left for the drain.
        let mut program = self.start();
        let fed = self.feed(&mut program, Duration::ZERO);
        self.wait_until("all is stored", |run| run.reported().len() == fed.len());
        program.kill();
        self.account(fed);
        let drained = self.drain();
        self.end(rounds, early, drained)
    }

    fn queue(&self) -> String {
        self.disk.file("queue").to_str().expect("a plain name").to_owned()
    }

    fn report(&self) -> PathBuf {
        self.folder.file("report")
    }

    fn start(&self) -> Program {
        let (queue, qos, report) = (self.queue(), self.qos.to_string(), self.report());
        let _ = std::fs::remove_file(&report);
        let words = ["pub", "-l", "-t", "numbers", "-q", &qos, "-V", self.version, "--queue", &queue];
        let reporting = ["--report-stored", report.to_str().expect("a plain name")];
        Program::start(&self.folder, &self.broker, None, "pub", &[&words[..], &reporting, &SCALED].concat())
    }

    /// Feeds what is not stored, then new lines for so long. Gives what was fed, in order.
    fn feed(&mut self, program: &mut Program, life: Duration) -> Vec<Feed> {
        let begin = Instant::now();
        let again: Vec<Feed> = self.unstored.drain(..).map(|(line, times)| (line, times + 1)).collect();
        self.again += again.len() as u64;
        let mut fed = Vec::new();
        for batch in again.chunks(50) {
            write(program, batch);
            fed.extend(batch);
        }
        while begin.elapsed() < life {
            let batch: Vec<Feed> = (0..self.random.u64(1..20)).map(|n| (self.lines + 1 + n, 1)).collect();
            self.lines += batch.len() as u64;
            write(program, &batch);
            fed.extend(batch);
            // waits: so that the lines come over the whole life of the process
            std::thread::sleep(Duration::from_micros(self.random.u64(0..10_000)));
        }
        fed
    }

    /// Numbers of lines that were reported as stored.
    fn reported(&self) -> BTreeSet<u64> {
        let told = std::fs::read_to_string(self.report()).unwrap_or_default();
        // A kill may cut the last number short.
        let whole = told.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| line.trim().parse().expect("a number")).collect()
    }

    /// Notes what was reported as stored. Gives how much.
    fn account(&mut self, fed: Vec<Feed>) -> usize {
        let numbers = self.reported();
        for (feed, number) in fed.into_iter().zip(1..) {
            if numbers.contains(&number) { &mut self.stored } else { &mut self.unstored }.push(feed);
        }
        numbers.len()
    }

    /// Gives how many messages were left for it, and how many of these ended as unknown: their PUBREL was under way when
    /// a process was killed between CONNECT and CONNACK, so that the session may have been a new one for all we know.
    fn drain(&self) -> (u64, u64) {
        let queue = self.queue();
        let words = ["queue", "drain", &queue, "-V", self.version, "--json"];
        let mut program =
            Program::start_anywhere(&self.folder, None, "drain", &[&words[..], &SCALED].concat());
        let code = program.end(LIMIT);
        let events = program.events();
        let failed: Vec<_> = events.iter().filter(|event| event["event"] == "failed").collect();
        assert!(failed.iter().all(|event| event["class"] == "unknown"), "{}", program.told());
        assert_eq!(code, Some(if failed.is_empty() { 0 } else { 4 }), "{}", program.told());
        let printed: serde_json::Value = serde_json::from_str(&program.printed()).expect("a summary");
        (printed["delivered"].as_u64().expect("a count"), printed["failed"].as_u64().expect("a count"))
    }

    fn end(mut self, kills: u64, early: u64, drained: (u64, u64)) -> Sum {
        let port = self.broker.port.to_string();
        let sent = Command::new(PUBLISHER)
            .args(["-h", &self.broker.address, "-p", &port, "-t", "numbers", "-q", &self.qos.to_string()])
            .args(["-m", "end"])
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
        self.wait_until("the last message arrives", |run| heard(&run.heard).ends_with("end\n"));
        let _ = self.judge.kill().and_then(|()| self.judge.wait());
        let mut arrived = BTreeMap::new();
        for line in heard(&self.heard).lines().filter(|line| *line != "end") {
            let (line, times) = line.split_once(':').expect("a line of ours");
            let feed =
                (line.parse().expect("a number"), times.trim_end_matches('.').parse().expect("a number"));
            *arrived.entry(feed).or_default() += 1;
        }
        Sum {
            version: self.version,
            qos: self.qos,
            kills,
            early,
            lines: self.lines,
            again: self.again,
            stored: std::mem::take(&mut self.stored),
            arrived,
            drained,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.judge.kill().and_then(|()| self.judge.wait());
    }
}

fn write(program: &mut Program, batch: &[Feed]) {
    // The full stop tells a line that came whole from one that was cut.
    let text: String = batch.iter().map(|(line, times)| format!("{line}:{times}.\n")).collect();
    program.write(text.as_bytes());
}

fn heard(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
