//! Runs the built program and waits for what it says, with a limit on every wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No wait of a test is longer than this; none is expected to come near it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A run under way. Dropping it kills the process.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
}

struct Lines {
    from: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self { from: receiver, seen: Vec::new() }
    }

    fn wait_for(&mut self, part: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        let end = Instant::now() + LIMIT;
        loop {
            match self.from.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no `{part}` within {LIMIT:?}: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without `{part}`: {:#?}", self.seen),
            }
        }
    }

    fn rest(mut self) -> String {
        self.seen.extend(self.from.iter());
        self.seen.concat()
    }
}

/// The program with these words, and nothing of the caller's environment that it would read.
pub(crate) fn start(words: &[&str]) -> Program {
    start_on(words, Stdio::piped(), Stdio::piped())
}

/// The same, with this as stdin and stderr.
pub(crate) fn start_on(words: &[&str], stdin: Stdio, stderr: Stdio) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REJOIN_")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(words)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the program was built");
    Program {
        stdin: child.stdin.take(),
        stdout: Lines::read(child.stdout.take().expect("piped")),
        stderr: match child.stderr.take() {
            Some(stderr) => Lines::read(stderr),
            None => Lines::read(std::io::empty()),
        },
        child,
    }
}

/// Runs to the end, with nothing on stdin.
pub(crate) fn run(words: &[&str]) -> Ended {
    run_with_input(words, b"")
}

/// Runs to the end with this on stdin.
pub(crate) fn run_with_input(words: &[&str], input: &[u8]) -> Ended {
    let mut program = start(words);
    program.write(input);
    program.end()
}

/// A pipe that is full and never read, by its name; gone at its end.
#[cfg(target_os = "linux")]
pub(crate) struct FullPipe {
    pub(crate) path: std::path::PathBuf,
    _ends: std::fs::File,
}

#[cfg(target_os = "linux")]
impl FullPipe {
    pub(crate) fn new(name: &str) -> Self {
        use std::os::unix::fs::OpenOptionsExt;
        /// Of the C library.
        const O_NONBLOCK: i32 = 0o4000;
        let path = std::env::temp_dir().join(format!("rejoin-full-{name}-{}", std::process::id()));
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo, of coreutils");
        let mut options = std::fs::File::options();
        let mut ends =
            options.read(true).write(true).custom_flags(O_NONBLOCK).open(&path).expect("it was made");
        while ends.write(&[b' '; 4096]).is_ok() {}
        Self { path, _ends: ends }
    }

    /// Its end for writing, which waits for room.
    pub(crate) fn end(&self) -> Stdio {
        std::fs::File::options().write(true).open(&self.path).expect("we hold the other end").into()
    }
}

#[cfg(target_os = "linux")]
impl Drop for FullPipe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `-h` and `-p` for an address.
pub(crate) fn place(addr: SocketAddr) -> [String; 4] {
    ["-h".to_owned(), addr.ip().to_string(), "-p".to_owned(), addr.port().to_string()]
}

/// A verb, where it connects to, and the rest.
pub(crate) fn words<'a>(verb: &'a str, place: &'a [String; 4], rest: &[&'a str]) -> Vec<&'a str> {
    std::iter::once(verb).chain(place.iter().map(String::as_str)).chain(rest.iter().copied()).collect()
}

impl Program {
    /// Writes to stdin.
    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        // A program that ended early is judged by its code.
        let _ = stdin.write_all(input).and_then(|()| stdin.flush());
    }

    /// Waits for a line on stderr that holds this.
    pub(crate) fn told(&mut self, part: &str) -> String {
        self.stderr.wait_for(part)
    }

    /// Waits for a line on stdout that holds this.
    pub(crate) fn printed(&mut self, part: &str) -> String {
        self.stdout.wait_for(part)
    }

    /// The process.
    #[cfg(unix)]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by the system's own program.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {}", self.id());
    }

    /// Closes stdin and waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let end = Instant::now() + LIMIT;
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                break status.code();
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let stderr = std::mem::replace(&mut self.stderr, Lines::read(std::io::empty())).rest();
                panic!("the program did not end within {LIMIT:?}:\n{stderr}");
            }
            // waits: for another process, which tells nobody when it ends
            std::thread::sleep(Duration::from_millis(5));
        };
        let none = || Lines::read(std::io::empty());
        let stdout = std::mem::replace(&mut self.stdout, none()).rest();
        let stderr = std::mem::replace(&mut self.stderr, none()).rest();
        Ended { code, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    /// The JSON object of a line on stderr or stdout that holds this event.
    pub(crate) fn event(text: &str, name: &str) -> serde_json::Value {
        text.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["event"] == name)
            .unwrap_or_else(|| panic!("no event `{name}` in:\n{text}"))
    }
}
