//! The gauntlet for any client: scripts in which clients lose messages, hang or storm, each over a real socket.
//!
//! The client under test is a program that speaks a line protocol on standard input and output ([`Subject`]); what it
//! did is judged by what a scripted broker saw, and by what it said where only it can know. `docs/gauntlet.md` has the
//! protocol and the last table. rejoin's own tests in `tests/gauntlet/` go deeper into the same rows.

mod busy;
mod floods;
mod handshake;
mod liveness;
mod messages;
mod poison;
mod refused;
mod sessions;
mod subject;

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use rejoin_core::codec::packet::{Packet, Publish};
use rejoin_core::{ReasonCode, Version};
use tokio::time::Instant;

use crate::port::Port;
use crate::{Around, Peer, ScriptError, ScriptResult, ScriptedBroker};

pub use floods::{Books, one_link};
pub use subject::{Said, Subject};

/// What a row found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// As the row demands.
    pub passed: bool,
    /// The figure, or what went wrong.
    pub figure: String,
    /// How much of its limit it used, in thousandths, where there is one. Of several runs the worst is shown.
    pub strain: u64,
}

impl Finding {
    /// A finding that has no limit to be measured against.
    pub fn new(passed: bool, figure: impl Into<String>) -> Self {
        Self { passed, figure: figure.into(), strain: 0 }
    }

    fn strained(self, strain: u64) -> Self {
        Self { strain, ..self }
    }
}

/// How much of a limit a time is, in thousandths.
fn strain(time: Duration, limit: Duration) -> u64 {
    u64::try_from(time.as_micros() * 1000 / limit.as_micros().max(1)).unwrap_or(u64::MAX)
}

/// Whoever was told what became of a message acts on it: a second answer is wrong in any row.
fn answered_once(finding: Finding, said: &Said) -> Finding {
    let again = said.answered_again.len();
    if again == 0 {
        return finding;
    }
    Finding::new(false, format!("{again} answered for twice; {}", finding.figure))
}

/// What the script of a row gives: an error means that the client did not do what the script waited for.
pub type RowResult = Result<Finding, ScriptError>;
type Script = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = RowResult> + 'a>>;

/// One script.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its number in the table.
    pub number: u32,
    /// What happens.
    pub what: &'static str,
    /// Only where the packet exists.
    pub v5_only: bool,
    script: Script,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}: {}", self.number, self.what)
    }
}

macro_rules! rows {
    ($($number:literal $kind:ident $what:literal $script:path;)*) => {
        /// All rows, in order.
        pub const ROWS: &[Row] = &[$(Row {
            number: $number,
            what: $what,
            v5_only: rows!(@$kind),
            script: |stage| Box::pin($script(stage)),
        },)*];
    };
    (@both) => { false };
    (@v5) => { true };
}

rows! {
    1 both "no CONNACK: the attempt ends, the next has longer, the state is true all the time, close returns" handshake::no_connack;
    2 both "40 at QoS 1, reset with 10 unacknowledged, session lost: all reach the broker, each answered for once" sessions::lost_session;
    3 both "the same with clean start" sessions::clean_start;
    4 both "PINGREQ is never answered: noticed in time (keep-alive 5 s)" liveness::unanswered_ping;
    5 both "the peer stops reading while we publish: noticed in 5 s, nothing lost; close returns in it" liveness::stops_reading;
    6 v5 "every QoS 2 message refused by PUBREC, window 5, 12 sent: 12 clear failures" messages::refused_by_pubrec;
    7 both "CONNACK, then closed at once: at most 12 connections in 60 s" handshake::closed_after_connack;
    8 both "closed before CONNACK: the same, and never gives up" handshake::closed_before_connack;
    9 v5 "resumed with Receive Maximum 2: window kept, DUP true" sessions::smaller_window;
    10 v5 "a message above Maximum Packet Size: refused, the link lives" messages::too_large;
    11 both "session lost, clean start: every filter is asked for again" sessions::subscribes_again_clean;
    12 both "PUBACK never comes, pings are answered: link restarted, sent again" liveness::no_puback;
    13 both "handed over before the first connection: QoS 1 delivered, QoS 0 answered for" messages::before_the_first_link;
    14 both "handed over while reconnecting: QoS 1 delivered, QoS 0 answered for" messages::while_reconnecting;
    15 both "sent twice, never acknowledged: never said to be" messages::never_acknowledged;
    16 both "close while nobody listens: returns, all are answered for, nothing is taken any more" handshake::closes_while_waiting;
    17 both "CONNACK with an unknown code: not connected" handshake::unknown_code;
    18 both "QoS 2 cut after PUBREL: PUBREL again, never the PUBLISH" sessions::cut_after_pubrel;
    19 both "accepted, then dropped after 0, 2 and 7 s, for 60 s: backs off" handshake::short_lives;
    20 both "nobody listens for a minute after a link: comes back, and does not spin meanwhile" refused::for_a_minute;
    21 both "a handler that never returns, then the link drops: reconnects" liveness::blocked_handler;
    22 both "session lost, clean start off: every filter is asked for again" sessions::subscribes_again_kept;
    23 both "one message of 20 the broker cuts the link over: set aside, the others arrive" poison::one_of_twenty;
    24 both "close right after a publish: DISCONNECT is written" messages::says_goodbye;
    25 both "taken over again and again: at most 5 connections in 60 s" handshake::duel;
    26 both "20,000 at QoS 1, each connection cut after 300 ms: 0 lost, 0 falsely acknowledged, in 6.5 s" floods::at_least_once;
    27 both "the same at QoS 2: 0 lost, 0 duplicates, in 13 s" floods::exactly_once;
    28 both "100,000 handed over offline: taken within 1 s, at most 400 B each, all delivered at 100k/s" floods::offline;
    29 both "FIN after a stable link, accepted again at once: CONNACK within 2 ms (median of 5)" liveness::fin;
    30 both "CONNACK lost, then Session Present for an empty session: filters asked again" sessions::connack_lost;
    31 both "an older session, Session Present: filters asked again" sessions::older_session;
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Terms {
    /// At which version.
    pub version: Version,
    /// Over TLS instead of TCP.
    pub tls: Option<Secured>,
}

/// The server's side of TLS, and what the client needs for its own.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Takes TLS off a connection of the client; the certificate is one for 127.0.0.1.
    pub around: Around,
    /// The certificate to trust, as PEM.
    pub ca_file: PathBuf,
}

/// What a row has: a broker to script, and the client.
#[derive(Debug)]
pub struct Stage {
    broker: ScriptedBroker,
    subject: Subject,
    terms: Terms,
}

/// How a row's client connects.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    clean: bool,
    fast: bool,
}

const KEPT: How = How { clean: false, fast: false };
const CLEAN: How = How { clean: true, fast: false };
const FAST: How = How { clean: false, fast: true };

/// Runs one row for the program; never longer than five minutes.
///
/// # Errors
/// When the program does not start or no port can be had.
pub async fn run(row: &Row, program: &Path, terms: &Terms) -> std::io::Result<Finding> {
    let broker = ScriptedBroker::start().await?;
    let mut stage = Stage { broker, subject: Subject::start(program)?, terms: terms.clone() };
    stage.secure();
    let result = tokio::time::timeout(Duration::from_secs(300), (row.script)(&mut stage)).await;
    let finding = match result {
        Ok(Ok(finding)) => finding,
        Ok(Err(error)) => Finding::new(false, error.to_string()),
        Err(_) => Finding::new(false, "not over after 300 s"),
    };
    Ok(answered_once(finding, stage.subject.said()))
}

impl Stage {
    fn connect(&mut self, how: How) {
        self.connect_to(self.broker.addr().port(), how);
    }

    fn connect_to(&mut self, port: u16, how: How) {
        let version = if self.terms.version == Version::V5 { 5 } else { 4 };
        let (clean, fast) = (u8::from(how.clean), u8::from(how.fast));
        let ca_file = self.terms.tls.as_ref().map(|tls| format!(" {}", tls.ca_file.display()));
        let ca_file = ca_file.unwrap_or_default();
        self.subject
            .tell(&format!("connect {port} {version} gauntlet {KEEP_ALIVE_S} {clean} {fast}{ca_file}"));
    }

    /// The broker is at this port from now on.
    fn listen(&mut self, port: &mut Port) -> ScriptResult {
        self.broker = port.listen().and_then(ScriptedBroker::listening).map_err(no_port)?;
        self.secure();
        Ok(())
    }

    /// No broker is there any more; the port refuses.
    async fn refuse(&mut self, port: &mut Port) -> ScriptResult {
        self.broker = ScriptedBroker::start().await.map_err(no_port)?;
        let begin = Instant::now();
        loop {
            // The listener lives on for a moment in a program that another row is just starting: each begins with a copy
            // of all that is open, until it becomes itself.
            match port.hold() {
                Err(_) if begin.elapsed() < PORT_LIMIT => tokio::time::sleep(PORT_LIMIT / 100).await,
                held => return held.map_err(no_port),
            }
        }
    }

    fn secure(&mut self) {
        self.broker.set_around(self.terms.tls.as_ref().map(|tls| tls.around.clone()));
    }

    fn publish(&mut self, numbers: std::ops::Range<u64>, qos: u8) {
        for number in numbers {
            self.subject.tell(&format!("publish {number} {qos} 8"));
        }
    }

    /// The next connection, patiently, and its CONNECT.
    async fn accept(&mut self, limit: Duration) -> ScriptResult<Peer> {
        self.broker.set_limit(limit);
        let mut peer = self.broker.accept().await?;
        peer.set_limit(limit);
        peer.expect_connect().await?;
        Ok(peer)
    }

    async fn accept_session(&mut self, present: bool, limit: Duration) -> ScriptResult<Peer> {
        let mut peer = self.accept(limit).await?;
        peer.connack(present).await?;
        Ok(peer)
    }
}

/// The figures of clients under a short keep-alive are comparable; their defaults are not.
const KEEP_ALIVE_S: u64 = 5;
/// What a close is given.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// A close is late from here on: what it was given, and a second for the program and a busy machine.
const CLOSED_BY: Duration = Duration::from_millis(1500);
/// What a client may take to come back where its pauses are no part of the row.
const PATIENCE: Duration = Duration::from_secs(75);

/// A port that refuses until the broker listens on it.
fn closed_port() -> ScriptResult<Port> {
    Port::take(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).map_err(no_port)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn no_port(error: std::io::Error) -> ScriptError {
    ScriptError::new(format!("the gauntlet has no port: {error}"))
}

/// How long a port may be held by somebody who does not know it.
const PORT_LIMIT: Duration = Duration::from_secs(1);

fn number(publish: &Publish) -> u64 {
    let text = publish.payload.split(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

/// Answers everything as a broker does until `done` or the limit; the messages that came, in order.
async fn serve(peer: &mut Peer, limit: Duration, mut done: impl FnMut(&[Publish]) -> bool) -> Vec<Publish> {
    let end = Instant::now() + limit;
    let mut came = Vec::new();
    while !done(&came) && Instant::now() < end {
        let Ok(Ok(packet)) = tokio::time::timeout_at(end, peer.recv()).await else { break };
        if answer(peer, &packet).await.is_err() {
            break;
        }
        if let Packet::Publish(publish) = packet {
            came.push(publish);
        }
    }
    came
}

/// Serves over as many links as it takes, until so many different messages came, or the limit; they, and the last link.
async fn gather(
    stage: &mut Stage,
    mut peer: Peer,
    messages: usize,
    limit: Duration,
) -> (BTreeSet<u64>, Peer) {
    let end = Instant::now() + limit;
    let left = || end.saturating_duration_since(Instant::now());
    let mut came = BTreeSet::new();
    loop {
        let mut looked = 0;
        serve(&mut peer, left(), |all| {
            came.extend(all[looked..].iter().map(number));
            looked = all.len();
            came.len() >= messages
        })
        .await;
        if came.len() >= messages || left().is_zero() {
            return (came, peer);
        }
        // Connections that were given up meanwhile come first.
        match stage.accept_session(true, left()).await {
            Ok(next) => peer = next,
            Err(_) => return (came, peer),
        }
    }
}

async fn answer(peer: &mut Peer, packet: &Packet) -> ScriptResult {
    match packet {
        Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
            (rejoin_core::Qos::AtLeastOnce, Some(id)) => peer.puback(id, ReasonCode::SUCCESS).await,
            (rejoin_core::Qos::ExactlyOnce, Some(id)) => peer.pubrec(id, ReasonCode::SUCCESS).await,
            _ => Ok(()),
        },
        Packet::PubRel(ack) => peer.pubcomp(ack.packet_id, ReasonCode::SUCCESS).await,
        Packet::Subscribe(subscribe) => peer.grant(subscribe).await,
        _ => Ok(()),
    }
}

/// A close within half a second that is back in time, or what to say of it.
fn closed_in_time(closed: Option<Duration>) -> Result<(), String> {
    match closed {
        None => Err("close does not return".to_owned()),
        Some(took) if took > CLOSED_BY => Err(format!("close returns after {}", seconds(took))),
        Some(_) => Ok(()),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Said {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.note(Instant::now(), line));
        said
    }

    #[test]
    fn a_second_answer_fails_any_row() {
        let good = || Finding::new(true, "40 of 40");
        let once = said(&["taken 3", "acked 3", "failed 4 gone", "refused 5 full"]);
        assert_eq!(answered_once(good(), &once), good());
        for second in ["acked 3", "failed 3 gone", "refused 3 full"] {
            let twice = answered_once(good(), &said(&["acked 3", second]));
            assert_eq!(twice, Finding::new(false, "1 answered for twice; 40 of 40"), "{second}");
        }
    }

    #[test]
    fn a_close_is_in_time_within_what_it_was_given_and_a_second() {
        assert_eq!(closed_in_time(Some(CLOSED_BY)), Ok(()));
        let late = CLOSED_BY + Duration::from_millis(100);
        assert_eq!(closed_in_time(Some(late)), Err("close returns after 1.6 s".to_owned()));
        assert_eq!(closed_in_time(None), Err("close does not return".to_owned()));
    }
}
