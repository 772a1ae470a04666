//! The client under test: any program that speaks the line protocol on its standard input and output.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use super::busy::Waits;

/// What Linux counts processor time in, for programs.
const TICK_MS: u64 = 10;

/// A running client and what it said.
#[derive(Debug)]
pub struct Subject {
    child: Child,
    input: ChildStdin,
    lines: UnboundedReceiver<(Instant, String)>,
    said: Said,
}

/// What a client said so far.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// How often it was up.
    pub ups: usize,
    /// When it said that a link was lost.
    pub downs: Vec<Instant>,
    /// What it says became of each message: the last word on it.
    pub answers: BTreeMap<u64, String>,
    /// Messages it gave a second answer for. Whoever asked had believed the first.
    pub answered_again: BTreeSet<u64>,
    /// Messages it received, by number.
    pub received: Vec<u64>,
    /// How long the last burst took to be taken.
    pub burst: Option<Duration>,
}

impl Said {
    /// How many messages it says the broker has.
    pub fn acked(&self) -> usize {
        self.count("acked")
    }

    /// How many messages it says were refused or given up.
    pub fn failed(&self) -> usize {
        self.count("failed") + self.count("refused")
    }

    /// The messages it says the broker has.
    pub fn acked_numbers(&self) -> impl Iterator<Item = u64> {
        self.answers.iter().filter(|(_, answer)| *answer == "acked").map(|(number, _)| *number)
    }

    /// The messages it says it did not take.
    pub fn refused(&self) -> impl Iterator<Item = u64> {
        self.answers.iter().filter(|(_, answer)| *answer == "refused").map(|(number, _)| *number)
    }

    /// Whether it says that this message was refused or given up.
    pub fn gave_up(&self, number: u64) -> bool {
        self.answers.get(&number).is_some_and(|answer| answer != "acked")
    }

    fn count(&self, word: &str) -> usize {
        self.answers.values().filter(|answer| *answer == word).count()
    }

    /// Takes down one line it wrote, and when.
    pub(super) fn note(&mut self, at: Instant, line: &str) {
        let mut words = line.split(' ');
        let (word, argument) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let number = argument.parse().ok();
        match (word, number) {
            ("up", _) => self.ups += 1,
            ("down", _) => self.downs.push(at),
            ("acked" | "failed" | "refused", Some(number)) => {
                let again = self.answers.insert(number, word.to_owned()).is_some();
                self.answered_again.extend(again.then_some(number));
            }
            ("message", Some(number)) => self.received.push(number),
            ("burst-taken", _) => {
                self.burst = words.next().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
            }
            _ => {}
        }
    }
}

impl Subject {
    /// Starts the program.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &Path) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || std::io::Error::other("the child has no pipe");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let (into, lines) = unbounded_channel();
        std::thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| into.send((Instant::now(), line)))
        });
        Ok(Self { child, input, lines, said: Said::default() })
    }

    /// Sends one command. A program that is gone is noticed by what it does not say.
    pub fn tell(&mut self, command: &str) {
        let _ = writeln!(self.input, "{command}").and_then(|()| self.input.flush());
    }

    /// Everything it said until now.
    pub fn said(&mut self) -> &Said {
        while let Ok((at, line)) = self.lines.try_recv() {
            self.said.note(at, &line);
        }
        &self.said
    }

    /// Waits for a line that begins so; gives the rest of it, or nothing at the limit.
    pub async fn hear(&mut self, begin: &str, limit: Duration) -> Option<String> {
        let end = Instant::now() + limit;
        loop {
            let (at, line) = tokio::time::timeout_at(end, self.lines.recv()).await.ok().flatten()?;
            self.said.note(at, &line);
            if let Some(rest) = line.strip_prefix(begin) {
                return Some(rest.trim().to_owned());
            }
        }
    }

    /// Waits until what it said is as wanted; false at the limit.
    pub async fn until(&mut self, limit: Duration, wanted: impl Fn(&Said) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !wanted(self.said()) {
            let Some((at, line)) = tokio::time::timeout_at(end, self.lines.recv()).await.ok().flatten()
            else {
                return false;
            };
            self.said.note(at, &line);
        }
        true
    }

    /// Whether it says that it is connected; nothing when it does not answer within two seconds.
    pub async fn connected(&mut self) -> Option<bool> {
        self.tell("state");
        self.hear("state", Duration::from_secs(2)).await.map(|answer| answer == "connected")
    }

    /// How long a close took, from the word to the answer; nothing when none came within ten seconds.
    pub async fn close(&mut self, within: Duration) -> Option<Duration> {
        let begin = Instant::now();
        self.tell(&format!("close {}", within.as_millis()));
        self.hear("closed", Duration::from_secs(10)).await.map(|_| begin.elapsed())
    }

    /// Resident memory in bytes; nothing where the system does not tell.
    pub fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// How long its threads waited for a core so far.
    pub(super) fn waits(&self) -> Waits {
        Waits::of(&self.child.id().to_string())
    }

    /// Processor time it spent so far; nothing where the system does not tell.
    pub fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name of the program may hold anything; what follows it are numbers.
        let after_name = stat.rsplit_once(')')?.1;
        let mut ticks = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
        let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
        Some(Duration::from_millis((user + system) * TICK_MS))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
