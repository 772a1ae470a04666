//! The scene in which a process of ours is killed: `rejoin pub -l --queue DIR`, with messages it could not deliver.
//!
//! It has a proxy of its own, so that its dead link is nobody else's. What it had stored when it died is asked of its
//! queue while it lives, and what became of it is the auditor's word.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rejoin::Qos;
use rejoin::store::Visitor;
use rejoin::store::tools::{Answer, Request};
use rejoin_lab::{Auditor, BrokerServer, Direction, Fault as ProxyFault, Proxy};

use super::script::{Pace, Times};

/// Messages handed to the process before it dies.
const MESSAGES: u64 = 31;
/// How long it may take to store them: a start, a disk, a machine that is busy.
const STORED_LIMIT: Duration = Duration::from_secs(5);
const TOPIC: &str = "demo/killed";
/// What a process that has a queue puts into its folder for visitors.
const DOOR: &str = "queue.sock";

/// The scene. Dropping it ends the process and removes its folder.
#[derive(Debug)]
pub(crate) struct Killed {
    proxy: Proxy,
    auditor: Auditor,
    folder: PathBuf,
    child: Option<Child>,
    qos: Qos,
    times: Times,
    stored: Option<u64>,
}

/// What the scene came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Survivors {
    /// Messages that were on disk when the process was killed.
    pub(crate) stored: u64,
    /// Of those, what the broker has.
    pub(crate) delivered: u64,
    /// Copies the broker has beyond one of each.
    pub(crate) copies: u64,
}

impl Survivors {
    /// What became of those that were stored. More may have reached the disk after they were counted, and come as well.
    fn of(auditor: &Auditor, stored: u64) -> Self {
        let verdict = auditor.verdict();
        let copies = verdict.duplicates_explained + verdict.duplicates_unexplained;
        Self { stored, delivered: stored.saturating_sub(verdict.lost.len() as u64), copies }
    }

    /// Whether nothing was lost, and at QoS 2 nothing came twice.
    pub(crate) fn all_there(self, qos: Qos) -> bool {
        self.delivered == self.stored && (qos != Qos::ExactlyOnce || self.copies == 0)
    }
}

impl Killed {
    /// Prepares the scene.
    pub(crate) async fn prepare(server: &BrokerServer, qos: Qos, pace: Pace) -> Result<Self, String> {
        let told = |error: &dyn std::fmt::Display| format!("demo: {error}");
        let proxy = Proxy::in_front_of(server.addr()).await.map_err(|e| told(&e))?;
        let auditor = Auditor::new("killed");
        server.with(|broker| broker.add_ledger(auditor.ledger()));
        let name = format!("rejoin-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = std::env::temp_dir().join(name);
        Ok(Self { proxy, auditor, folder, child: None, qos, times: Times::at(pace), stored: None })
    }

    /// Its link is dead, it is handed messages, and when they are on disk it is killed.
    pub(crate) async fn kill(&mut self) -> Result<(), String> {
        self.proxy.refuse().await;
        let mut child = self.start(Stdio::piped())?;
        let lines: String = (1..=MESSAGES)
            .map(|n| String::from_utf8_lossy(&self.auditor.payload(n)).into_owned() + "\n")
            .collect();
        // Held open until the end: a closed stdin would be its end.
        let mut stdin = child.stdin.take();
        let handed = stdin.as_mut().map(|stdin| stdin.write_all(lines.as_bytes()));
        self.child = Some(child);
        if let Some(Err(error)) = handed {
            return Err(format!("demo: the process to be killed ended by itself: {error}"));
        }
        let until = Instant::now() + STORED_LIMIT;
        let mut stored = 0;
        while stored < MESSAGES && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
            // Before its door is open nobody but the process itself is to touch the folder.
            if !self.folder.join(DOOR).exists() {
                continue;
            }
            stored = stored_in(&self.folder).unwrap_or(stored);
        }
        self.end_child();
        for n in 1..=stored {
            self.auditor.published(n);
        }
        self.stored = Some(stored);
        Ok(())
    }

    /// The network is back, and the program is started again on the same folder.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        self.proxy.heal_one(ProxyFault::Refuse, Direction::Both);
        self.child = Some(self.start(Stdio::null())?);
        Ok(())
    }

    /// Whether nothing is on its way any more.
    pub(crate) fn is_over(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => true,
        }
    }

    /// What became of its messages, if it was killed.
    pub(crate) fn survivors(&self) -> Option<Survivors> {
        Some(Survivors::of(&self.auditor, self.stored?))
    }

    /// `rejoin pub`, as anybody would start it, with the times of the show.
    fn start(&self, stdin: Stdio) -> Result<Child, String> {
        let program = std::env::current_exe().map_err(|error| format!("demo: own program: {error}"))?;
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        let (first, cap) = self.times.backoff;
        Command::new(program)
            // Settings of the user's own programs are none of the demo's.
            .env_clear()
            .args(["pub", "-l", "-i", "rejoin-demo-killed", "--lift-connect-budget", "--deadline", "10s"])
            .args(["-L", &format!("mqtt://{}", self.proxy.addr()), "-t", TOPIC])
            .args(["-q", &(self.qos as u8).to_string(), "--backoff", &format!("{}..{}", ms(first), ms(cap))])
            .arg("--queue")
            .arg(&self.folder)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("demo: cannot start a process of our own: {error}"))
    }

    fn end_child(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.end_child();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Messages in a queue that another process has.
fn stored_in(folder: &Path) -> Option<u64> {
    let mut visitor = Visitor::enter(folder).ok()?;
    match visitor.ask(&Request::Stats).ok()? {
        Answer::Stats(stats) => Some(stats.waiting),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::Timestamp;
    use rejoin_lab::Broker;

    use super::*;

    #[test]
    fn what_was_stored_after_the_count_is_no_loss() {
        let auditor = Auditor::new("k");
        let mut broker = Broker::default();
        broker.add_ledger(auditor.ledger());
        let id = broker.opened(Timestamp::ZERO);
        let mut says =
            |bytes: &'static [u8]| broker.received(id, bytes::Bytes::from_static(bytes), Timestamp::ZERO);
        says(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'c']);
        // Two of three were counted when the process was killed; the third was under way to the disk.
        auditor.published(1);
        auditor.published(2);
        says(b"\x30\x06\x00\x01tk:1");
        says(b"\x30\x06\x00\x01tk:3");
        let one_is_lost = Survivors { stored: 2, delivered: 1, copies: 0 };
        assert_eq!(Survivors::of(&auditor, 2), one_is_lost);
        assert!(!one_is_lost.all_there(Qos::AtLeastOnce));
        says(b"\x30\x06\x00\x01tk:2");
        let survivors = Survivors::of(&auditor, 2);
        assert_eq!(survivors, Survivors { stored: 2, delivered: 2, copies: 0 });
        assert!(survivors.all_there(Qos::ExactlyOnce));
    }
}
