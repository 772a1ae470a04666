//! Puts the real `rejoin` in front of a real cluster and breaks it: a step is a publisher of numbered lines, a subscriber
//! with a session, and something that happens in the middle.

use super::cluster::Cluster;
use super::folder;
use super::judge::{Arrivals, Evidence, Story};
use crate::{run, say};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of a step, one every so often, and the one before which something happens.
const LINES: usize = 200;
const EVERY: Duration = Duration::from_millis(20);
const MIDDLE: usize = 75;
/// Lines of a minute.
const LINES_OF_TOKENS: usize = 3000;
/// How long a token is good for at least, in seconds; a second more at most.
const TOKEN: &str = "5";
/// A link that lived so long has proved itself. In a short run the default, 30 s, would make every cut look like a broker
/// that does not hold its links; tokens of 5 s stand for those of 5 minutes, so they must do without.
const STABLE: &str = "1s";
/// How long two nodes of three stay away.
const AWAY: Duration = Duration::from_secs(10);
const BUILD: Duration = Duration::from_secs(900);
/// A node that was away, a session that moved: well below this.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
/// A copy that comes late comes within this.
const LATE: Duration = Duration::from_secs(1);

/// What happens in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// `kill -9` of the node in use.
    Kill,
    /// The node in use is asked to leave in order.
    Drain,
    /// Two nodes of three are killed with -9 and come back.
    OneOfThree,
    /// Nothing, for a minute; but the tokens end.
    Tokens,
}

/// One run of a publisher and a subscriber.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) version: &'static str,
    pub(super) qos: &'static str,
    pub(super) act: Act,
}

impl Step {
    /// For this version (5 or 311) and QoS.
    pub(super) const fn new(version: &'static str, qos: &'static str, act: Act) -> Self {
        Self { version, qos, act }
    }

    fn title(&self) -> String {
        let act = match self.act {
            Act::Kill => "kill -9 of the node in use",
            Act::Drain => "the node in use drained",
            Act::OneOfThree => "one node of three for 10 s",
            Act::Tokens => "tokens of 5 to 6 s for a minute",
        };
        format!("{act}, -V {} -q {}", self.version, self.qos)
    }
}

/// Starts a cluster, takes the steps whose titles contain `word` and ends it. An error where one of them failed.
pub(super) fn run(
    root: &Path,
    start: fn(&Path) -> Result<Cluster, String>,
    steps: &[Step],
    word: &str,
) -> Result<(), String> {
    let steps: Vec<&Step> = steps.iter().filter(|step| step.title().contains(word)).collect();
    if steps.is_empty() {
        return Err(format!("no step has `{word}` in its title"));
    }
    run::within(&mut run::cargo(root, &["build", "--quiet", "--package", "rejoin-cli"]), BUILD)?;
    let program = root.join("target").join("debug").join("rejoin");
    let begin = Instant::now();
    let mut trial = Trial { cluster: start(&folder(root))?, program, number: 0 };
    trial.ready()?;
    say::line(&format!("the cluster is ready after {:.1} s", begin.elapsed().as_secs_f64()));
    let mut failed = 0;
    for step in &steps {
        let begin = Instant::now();
        let (evidence, faults) = match trial.take(step) {
            Ok(evidence) => (evidence.to_string(), evidence.faults(step)),
            Err(error) => (String::new(), vec![error]),
        };
        let verdict = if faults.is_empty() { "PASS" } else { "FAIL" };
        say::line(&format!("{verdict}  {} ({:.1} s)", step.title(), begin.elapsed().as_secs_f64()));
        for line in faults.iter().chain([&evidence]) {
            say::line(&format!("      {line}"));
        }
        failed += usize::from(!faults.is_empty());
    }
    say::line(&format!(
        "{} passed, {failed} failed; {:.0} s in all",
        steps.len() - failed,
        begin.elapsed().as_secs_f64()
    ));
    if failed > 0 {
        return Err(format!("what the clients said is in {}", trial.cluster.data().display()));
    }
    trial.cluster.end()
}

struct Trial {
    cluster: Cluster,
    program: PathBuf,
    number: usize,
}

impl Trial {
    fn rejoin(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).current_dir(self.cluster.data());
        // Settings of the one who runs this are none of our business.
        command.env("XDG_CONFIG_HOME", self.cluster.data());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REJOIN_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Waits until each node acknowledges a message.
    fn ready(&self) -> Result<(), String> {
        for node in self.cluster.nodes() {
            let words = ["pub", "--quiet", "-V", "311", "-t", "ready", "-m", "x", "--deadline", "60s", "-L"];
            let mut command = self.rejoin(&words);
            run::within(command.arg(node.url()).stderr(Stdio::null()), LIMIT)
                .map_err(|_| format!("{} acknowledges nothing", node.name()))?;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<Evidence, String> {
        self.number += 1;
        let place = self.cluster.data().join(format!("step{}", self.number));
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        let taken = self.work(step, &place);
        // The next step finds the cluster whole, whatever became of this one.
        let mended = self.mend(step.act);
        let evidence = taken?;
        mended.map(|()| evidence)
    }

    fn work(&mut self, step: &Step, place: &Path) -> Result<Evidence, String> {
        let topic = format!("step{}", self.number);
        let mut subscriber = self.subscriber(step, place, &topic)?;
        let begin = Instant::now();
        let mut publisher = self.client("pub", step, place, &["-l", "-t", &format!("{topic}/a")])?;
        let sent = if step.act == Act::Tokens { LINES_OF_TOKENS } else { LINES };
        let fed = self.feed(step.act, &mut publisher, sent);
        let ended = publisher.wait(LIMIT);
        let arrived = place.join("sub.out");
        let end = Instant::now() + LIMIT;
        while Arrivals::read(&arrived).distinct() < sent && Instant::now() < end && subscriber.lives() {
            thread::sleep(LOOK);
        }
        // waits: only time shows that no copy comes.
        thread::sleep(LATE);
        subscriber.interrupt();
        fed?;
        Ok(Evidence {
            sent,
            arrivals: Arrivals::read(&arrived),
            publisher: Story::read(&place.join("pub.events")),
            subscriber: Story::read(&place.join("sub.events")),
            exit_code: ended.and_then(|status| status.code()),
            minutes: begin.elapsed().as_secs() as usize / 60 + 1,
        })
    }

    /// A subscriber whose subscription is granted. A cluster that was just mended may refuse the first.
    fn subscriber(&self, step: &Step, place: &Path, topic: &str) -> Result<Client, String> {
        let end = Instant::now() + LIMIT;
        loop {
            let mut client = self.client("sub", step, place, &["-t", &format!("{topic}/#")])?;
            let events = place.join("sub.events");
            while client.lives() && Story::read(&events).count("resubscribed") == 0 {
                if Instant::now() > end {
                    return Err("no subscription is granted".to_owned());
                }
                thread::sleep(LOOK);
            }
            if client.lives() {
                return Ok(client);
            }
            thread::sleep(LATE);
        }
    }

    fn client(&self, verb: &str, step: &Step, place: &Path, more: &[&str]) -> Result<Client, String> {
        let file = |kind: &str| {
            let path = place.join(format!("{verb}.{kind}"));
            File::create(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let events = place.join(format!("{verb}.events"));
        let _ = fs::remove_file(&events);
        let id = format!("{verb}-{}", self.number);
        let words =
            [verb, "-V", step.version, "-q", step.qos, "-c", "-i", &id, "--deadline", "120s", "--lower-qos"];
        let mut command = self.rejoin(&words);
        command.args(self.cluster.flags()).arg("--events").arg(&events).args(more);
        if step.act != Act::Tokens {
            command.args(["--stable-after", STABLE]);
        } else {
            let asked = format!("{} {TOKEN}", self.cluster.data().join("token").display());
            command.args(["-u", "rejoin", "--password-command", &asked]);
        }
        command.stdin(if verb == "pub" { Stdio::piped() } else { Stdio::null() });
        command.stdout(file("out")?).stderr(file("err")?);
        command.spawn().map(Client).map_err(|error| format!("{}: {error}", self.program.display()))
    }

    /// Writes the lines; in the middle the thing happens.
    fn feed(&mut self, act: Act, publisher: &mut Client, lines: usize) -> Result<(), String> {
        let mut stdin = publisher.0.stdin.take().ok_or("the publisher has no stdin")?;
        let mut happened = None;
        for n in 1..=lines {
            if n == MIDDLE {
                self.happen(act)?;
                happened = Some(Instant::now());
            }
            writeln!(stdin, "{n}").map_err(|error| format!("the publisher takes no line: {error}"))?;
            thread::sleep(EVERY);
        }
        if let (Act::OneOfThree, Some(at)) = (act, happened) {
            // waits: so long the cluster has no majority.
            thread::sleep(AWAY.saturating_sub(at.elapsed()));
            self.cluster.node(0).start()?;
            self.cluster.node(1).start()?;
        }
        Ok(())
    }

    fn happen(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Kill => self.cluster.node(0).kill(),
            Act::OneOfThree => {
                self.cluster.node(0).kill();
                self.cluster.node(1).kill();
            }
            Act::Drain => self.cluster.drain(0)?,
            Act::Tokens => {}
        }
        Ok(())
    }

    fn mend(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Drain => self.cluster.revive(0)?,
            Act::Kill | Act::OneOfThree | Act::Tokens => {}
        }
        for n in 0..self.cluster.nodes().len() {
            self.cluster.node(n).start()?;
        }
        for n in 0..self.cluster.nodes().len() {
            self.cluster.node(n).wait(LIMIT)?;
        }
        self.ready()
    }
}

/// A `rejoin` that runs. Dropping it ends it.
struct Client(Child);

impl Client {
    fn lives(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            match self.0.try_wait() {
                Ok(None) => thread::sleep(LOOK),
                ended => return ended.ok().flatten(),
            }
        }
        None
    }

    /// As Ctrl-C does: it acknowledges what it got, and reports.
    fn interrupt(&mut self) {
        let id = self.0.id().to_string();
        if self.lives() && Command::new("kill").args(["-INT", &id]).status().is_ok() {
            self.wait(Duration::from_secs(10));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _: io::Result<()> = self.0.kill();
        let _ = self.0.wait();
    }
}
