//! The programs that are looked at: `rejoin pub --serve`, fed with a line every few milliseconds, and `rejoin demo`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Until the page is served.
const LIMIT: Duration = Duration::from_secs(20);
/// `demo --fast` shows six seconds.
const DEMO_LIMIT: Duration = Duration::from_secs(60);
/// Between two messages: fifty a second, as in the demo.
const EVERY: Duration = Duration::from_millis(20);
/// A client identifier that would act if the page took it for markup.
pub(crate) const HOSTILE: &str = "<img src=x onerror=hacked=1>";
/// Recovery scaled down so that an outage takes a moment.
const QUICK: [&str; 7] =
    ["--backoff", "50ms..200ms", "--overload-backoff", "50ms..200ms", "--lift-connect-budget", "-k", "10"];

/// A run under way. Dropping it kills the process.
pub(crate) struct Program {
    child: Child,
    page: String,
}

impl Program {
    /// `rejoin demo`.
    pub(crate) fn demo() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rejoin"))
            .args(["demo", "--serve", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let page = address(&lines(child.stderr.take().expect("it is piped")));
        Self { child, page }
    }

    /// `rejoin pub`, which publishes until it is dropped.
    pub(crate) fn publishing(broker: SocketAddr) -> Self {
        Self::publishing_at(broker, "127.0.0.1:0")
    }

    /// Another one where this one was, which is gone then.
    pub(crate) fn replaced(mut self, broker: SocketAddr) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let rest = self.page.split("//").nth(1).unwrap_or_default();
        Self::publishing_at(broker, rest.split('/').next().unwrap_or_default())
    }

    fn publishing_at(broker: SocketAddr, place: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rejoin"))
            .args(["pub", "-h", &broker.ip().to_string(), "-p", &broker.port().to_string()])
            .args(["-t", "plant/1", "-l", "-i", HOSTILE, "--serve", place])
            .args(QUICK)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut input = child.stdin.take().expect("it is piped");
        std::thread::spawn(move || {
            let mut number = 0_u64;
            while writeln!(input, "{number}").is_ok() {
                number += 1;
                // waits: the load is fifty messages a second, until the program is gone
                std::thread::sleep(EVERY);
            }
        });
        let page = address(&lines(child.stderr.take().expect("it is piped")));
        Self { child, page }
    }

    /// The address of the page, with the token.
    pub(crate) fn page(&self) -> &str {
        &self.page
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().to_string()];
        let status = Command::new("kill").args(arguments).status().expect("kill is there");
        assert!(status.success(), "kill -{name}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Also a stopped process ends by this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The report of a short demo, as an address.
pub(crate) async fn report(folder: &Path) -> String {
    let file = folder.join("report.html");
    let mut rejoin = tokio::process::Command::new(env!("CARGO_BIN_EXE_rejoin"));
    rejoin.stdin(Stdio::null()).kill_on_drop(true).args(["demo", "--fast", "--report"]).arg(&file);
    let run = tokio::time::timeout(DEMO_LIMIT, rejoin.output()).await;
    let run = run.expect("a short demo").expect("the program starts");
    assert!(run.status.success(), "{run:?}");
    format!("file://{}", file.display())
}

/// Reads to the end, also when nobody listens any more: a full pipe would stop the program.
fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            let _ = sender.send(line);
        }
    });
    receiver
}

fn address(lines: &Receiver<String>) -> String {
    let mut seen = Vec::new();
    loop {
        let Ok(line) = lines.recv_timeout(LIMIT) else {
            panic!("the program does not say where its page is: {seen:#?}");
        };
        if let Some(at) = line.find("http://") {
            return line[at..].split_whitespace().next().unwrap_or_default().to_owned();
        }
        seen.push(line);
    }
}
