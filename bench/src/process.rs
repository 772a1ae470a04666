//! The processes of a run: one sink, one driver at a time, each with a limit of time, each on a core of its own.

use crate::cast::{Cast, Client};
use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A driver says how far it came when its own limit is over; what does not even do that is ended after this.
const GRACE: Duration = Duration::from_secs(3);
/// For what a sink says after the answer it belongs to.
const LATE: Duration = Duration::from_millis(5);

/// A line of figures: names and numbers.
pub(crate) type Line = BTreeMap<String, f64>;

pub(crate) fn ourselves() -> Result<Command, String> {
    env::current_exe().map(Command::new).map_err(|error| format!("where this program is: {error}"))
}

/// Sink and client get a core each; on a machine with one core they share it.
fn two_cores() -> bool {
    thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// A child whose lines are read as they come. Dropped, it ends.
pub(crate) struct Talker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Talker {
    pub(crate) fn start(mut command: Command, core: &str) -> Result<Self, String> {
        if two_cores() {
            command.args(["--core", core]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let (into, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| into.send(line))
            });
        }
        Ok(Self { stdin: child.stdin.take(), child, lines })
    }

    pub(crate) fn tell(&mut self, word: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("it does not listen")?;
        writeln!(stdin, "{word}").and_then(|()| stdin.flush()).map_err(|error| error.to_string())
    }

    /// The next line that begins so, within the time.
    pub(crate) fn hear(&self, begins: &str, within: Duration) -> Option<String> {
        let end = Instant::now() + within;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if line.starts_with(begins) {
                return Some(line);
            }
        }
    }

    /// Everything said until now.
    pub(crate) fn said(&self) -> Vec<String> {
        let mut all: Vec<String> = self.lines.try_iter().collect();
        all.extend(self.lines.recv_timeout(LATE));
        all
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Sink {
    pub(crate) talker: Talker,
    pub(crate) address: String,
}

impl Sink {
    pub(crate) fn start(flags: &[&str]) -> Result<Self, String> {
        let mut command = ourselves()?;
        command.arg("sink").args(flags);
        let talker = Talker::start(command, "0")?;
        let address = talker.hear("", Duration::from_secs(5)).ok_or("the sink did not say its address")?;
        Ok(Self { talker, address })
    }
}

/// How one run ended.
pub(crate) enum End {
    Figures(Line),
    /// Why there are none: words for the cell.
    Not(String),
}

/// One run of one client: `flags` behind those that are its own.
pub(crate) fn drive(
    cast: &Cast,
    sink: &Sink,
    client: &Client,
    limit: f64,
    flags: &[String],
) -> Result<End, String> {
    let mut command = cast.command(client)?;
    command.args(["--addr", &sink.address, "--limit", &limit.to_string()]).args(flags);
    command.stderr(Stdio::null());
    let _ = sink.talker.said();
    let driver = Talker::start(command, "1")?;
    let said = driver.hear("{", Duration::from_secs_f64(limit) + GRACE);
    drop(driver);
    Ok(ended(said.as_deref(), &sink.talker.said()))
}

/// From the driver's line and what the sink said of it.
pub(crate) fn ended(said: Option<&str>, heard: &[String]) -> End {
    if let Some(lost) = heard.iter().find_map(|line| line.strip_prefix("came ")) {
        return End::Not(lost_share(lost));
    }
    if let Some(why) = heard.iter().find_map(|line| line.strip_prefix("refused ")) {
        return End::Not(why.to_owned());
    }
    let Some(line) = said.map(numbers) else {
        return End::Not("gives up".to_owned());
    };
    match line.get("stalled") {
        Some(done) => {
            let share = 100.0 * done / line.get("wanted").copied().unwrap_or(1.0).max(1.0);
            End::Not(format!("stalls at {share:.0} %"))
        }
        None => End::Figures(line),
    }
}

/// From `came 97 of 100` to `loses 3 %`.
fn lost_share(text: &str) -> String {
    let mut words = text.split(" of ").map(|word| word.trim().parse::<f64>().unwrap_or_default());
    let (came, sent) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    format!("loses {:.1} %", 100.0 * (1.0 - came / sent.max(1.0)))
}

/// The numbers of a line of JSON without nesting.
pub(crate) fn numbers(line: &str) -> Line {
    let inner = line.trim().trim_start_matches('{').trim_end_matches('}');
    let pairs = inner.split(',').filter_map(|pair| pair.split_once(':'));
    pairs
        .filter_map(|(name, value)| {
            Some((name.trim().trim_matches('"').to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_came_to_its_end_has_figures() {
        let not = |said: Option<&str>, heard: &[&str]| {
            let heard: Vec<String> = heard.iter().map(ToString::to_string).collect();
            match ended(said, &heard) {
                End::Not(why) => why,
                End::Figures(line) => panic!("{line:?}"),
            }
        };
        let whole = "{\"rate\":2000}";
        assert_eq!(not(None, &[]), "gives up");
        assert_eq!(not(Some("{\"stalled\":40,\"wanted\":100}"), &[]), "stalls at 40 %");
        assert_eq!(not(Some(whole), &["came 97 of 100"]), "loses 3.0 %");
        assert_eq!(not(Some(whole), &["refused CONNECT"]), "CONNECT");
        assert!(matches!(ended(Some(whole), &[]), End::Figures(line) if line["rate"] == 2000.0));
    }

    #[test]
    fn a_line_of_figures_becomes_numbers_and_a_loss_becomes_words() {
        let line = numbers("{\"rate\":2000,\"cpu_us\":0.5}");
        assert_eq!((line["rate"], line["cpu_us"]), (2000.0, 0.5));
        assert_eq!(lost_share("97 of 100"), "loses 3.0 %");
    }
}
