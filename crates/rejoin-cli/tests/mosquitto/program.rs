//! The built program, with everything it says in files, and a limit on every wait.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::{Folder, Mosquitto};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(3);

/// A run of `rejoin`. Dropping it kills the process.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    output: PathBuf,
    told: PathBuf,
    events: PathBuf,
}

impl Program {
    /// Starts a verb against a broker, in a network namespace if one is named.
    pub(crate) fn start(
        folder: &Folder,
        broker: &Mosquitto,
        namespace: Option<&str>,
        name: &str,
        words: &[&str],
    ) -> Self {
        let port = broker.port.to_string();
        let place = ["-h", &broker.address, "-p", &port];
        Self::start_anywhere(folder, namespace, name, &[words, &place].concat())
    }

    /// Starts a verb against whatever its words say.
    pub(crate) fn start_anywhere(
        folder: &Folder,
        namespace: Option<&str>,
        name: &str,
        words: &[&str],
    ) -> Self {
        let program = env!("CARGO_BIN_EXE_rejoin");
        let mut command = match namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, program]);
                command
            }
            None => Command::new(program),
        };
        for (variable, _) in std::env::vars_os().filter(|(v, _)| v.to_string_lossy().starts_with("REJOIN_")) {
            command.env_remove(variable);
        }
        let (output, told, events) = (
            folder.file(&format!("{name}.out")),
            folder.file(&format!("{name}.err")),
            folder.file(&format!("{name}.events")),
        );
        File::create(&events).expect("the folder is ours");
        let mut child = command
            .args(words)
            .arg("--events")
            .arg(&events)
            .stdin(Stdio::piped())
            .stdout(File::create(&output).expect("the folder is ours"))
            .stderr(File::create(&told).expect("the folder is ours"))
            .spawn()
            .expect("the program was built");
        Self { name: name.to_owned(), stdin: child.stdin.take(), child, output, told, events }
    }

    /// Writes to stdin.
    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        if let Err(error) = stdin.write_all(input).and_then(|()| stdin.flush()) {
            panic!("{} ended early: {error}\n{}", self.name, self.told());
        }
    }

    /// Where stdout goes.
    pub(crate) fn output(&self) -> &PathBuf {
        &self.output
    }

    /// All it wrote to stdout so far.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// All it said on stderr.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(&self.told).unwrap_or_default()
    }

    /// Its events so far, in order.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How often this event came so far.
    pub(crate) fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|e| e["event"] == event).count()
    }

    /// Waits for an event beyond the first `known` of its name. Returns how long that took.
    pub(crate) fn wait_for(&self, event: &str, known: usize, limit: Duration) -> Duration {
        let begin = Instant::now();
        while self.count(event) <= known {
            assert!(
                begin.elapsed() < limit,
                "{}: no `{event}` within {limit:?}:\n{}",
                self.name,
                self.told()
            );
            // waits: for another process, which tells by its events file
            std::thread::sleep(LOOK);
        }
        begin.elapsed()
    }

    /// Waits until stdout holds this.
    pub(crate) fn wait_for_output(&self, part: &str, limit: Duration) {
        let begin = Instant::now();
        while !self.printed().contains(part) {
            assert!(begin.elapsed() < limit, "{}: no `{part}` within {limit:?}:\n{}", self.name, self.told());
            // waits: for another process, which only writes to its output
            std::thread::sleep(LOOK);
        }
    }

    /// Closes stdin and waits for the end.
    pub(crate) fn end(&mut self, limit: Duration) -> Option<i32> {
        drop(self.stdin.take());
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status.code();
            }
            assert!(begin.elapsed() < limit, "{} did not end within {limit:?}:\n{}", self.name, self.told());
            // waits: for another process, which tells nobody when it ends
            std::thread::sleep(LOOK);
        }
    }

    /// Kills it with -9, whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the child is ours");
        drop(self.stdin.take());
    }

    /// Asks it to end, as Ctrl-C does, and waits for that.
    pub(crate) fn interrupt(&mut self, limit: Duration) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -INT {id}");
        self.end(limit)
    }
}

/// `rejoin check` with these words, to its end: its exit status and what it found.
pub(crate) fn check(folder: &Folder, words: &[&str]) -> (Option<i32>, Value) {
    check_in(folder, None, words)
}

/// The same in a network namespace.
pub(crate) fn check_in(folder: &Folder, namespace: Option<&str>, words: &[&str]) -> (Option<i32>, Value) {
    let words = [&["check", "--json"], words].concat();
    let mut program = Program::start_anywhere(folder, namespace, "check", &words);
    let code = program.end(Duration::from_secs(40));
    let printed = program.printed();
    let found = serde_json::from_str(&printed);
    (code, found.unwrap_or_else(|_| panic!("no JSON: `{printed}`\n{}", program.told())))
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
