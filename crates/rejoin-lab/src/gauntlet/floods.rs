//! Many messages over links that do not last, and while there is none: rows 26, 27 and 28.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use rejoin_core::Qos;
use rejoin_core::codec::packet::{Packet, PacketId, Publish};
use tokio::time::Instant;

use super::busy::Waits;
use super::{FAST, Finding, KEPT, PATIENCE, RowResult, Said, Stage, gather, number, seconds, strain};
use crate::{Peer, ScriptResult};

const MESSAGES: u64 = 20_000;
const RATE: u64 = 5_000;
const LIFE: Duration = Duration::from_millis(300);
const ACKS_HELD: Duration = Duration::from_millis(10);
/// A client that is not done by then is not going to be.
const FLOOD_LIMIT: Duration = Duration::from_secs(60);
/// The rate alone takes four seconds.
const DONE_QOS_1: Duration = Duration::from_millis(6500);
/// Each message goes back and forth twice, and 10 ms are waited each time.
const DONE_QOS_2: Duration = Duration::from_secs(13);
/// A link that lives this long after the last message shows what comes twice.
const LAST_LIFE: Duration = Duration::from_secs(2);
const OFFLINE: u64 = 100_000;
/// What a client is given whose rate is too low, to say how low.
const OFFLINE_LIMIT: Duration = Duration::from_secs(60);
/// Messages in a second.
const DRAINED_AT: u64 = 100_000;
/// A call that takes longer for each of them than 10 µs waits for something.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);
/// In bytes, for a message of 256 and its topic.
const EACH_MAX: u64 = 400;
/// A client that hands messages over from thread to thread has them where they stay by then.
const SETTLED: Duration = Duration::from_millis(500);

/// The broker's half of a session over many links: what it has, and what it still owes.
#[derive(Debug, Default)]
pub struct Books {
    /// Each message in the order it came for the first time.
    pub order: Vec<u64>,
    /// All of them.
    pub seen: BTreeSet<u64>,
    /// QoS 2 messages that came again as new ones.
    pub duplicates: usize,
    /// QoS 2: identifiers whose PUBREL has not come, with their message.
    pub held: HashMap<PacketId, u64>,
    /// QoS 2: messages whose PUBREL came. The others a broker passes on to nobody, and forgets with their identifier.
    pub released: BTreeSet<u64>,
    /// When a message came for the first time last; at QoS 2, when one was released last.
    last: Option<Instant>,
}

impl Books {
    /// QoS 1 may come twice; QoS 2 is a copy only while its identifier is held.
    fn take(&mut self, publish: &Publish) {
        let number = number(publish);
        if let (Qos::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id)
            && self.held.insert(id, number) == Some(number)
        {
            return;
        }
        if self.seen.insert(number) {
            self.order.push(number);
            self.last = Some(Instant::now());
        } else if publish.qos == Qos::ExactlyOnce {
            self.duplicates += 1;
        }
    }

    fn release(&mut self, id: PacketId) {
        if let Some(number) = self.held.remove(&id) {
            self.released.insert(number);
            self.last = Some(Instant::now());
        }
    }

    /// The messages that go on to subscribers.
    fn delivered(&self, qos: u8) -> &BTreeSet<u64> {
        if qos == 2 { &self.released } else { &self.seen }
    }

    /// How a flood of so many messages went, by what the client said of each and what the broker has.
    fn judged(&self, messages: u64, qos: u8, said: &Said, (took, limit): (Duration, Duration)) -> Finding {
        let delivered = self.delivered(qos);
        let lost = messages - delivered.len() as u64;
        let falsely = said.acked_numbers().filter(|number| !delivered.contains(number)).count();
        let ordered = self.order.is_sorted();
        let clean = lost == 0 && falsely == 0 && self.duplicates == 0 && ordered;
        let mut figure = format!("{lost} lost, ");
        if qos == 2 {
            figure += &format!("{} duplicates, ", self.duplicates);
        }
        if qos != 2 || falsely > 0 {
            figure += &format!("{falsely} falsely acknowledged, ");
        }
        if !ordered {
            figure += "out of order, ";
        }
        Finding::new(clean && took <= limit, figure + &seconds(took)).strained(strain(took, limit))
    }
}

pub(super) async fn at_least_once(stage: &mut Stage) -> RowResult {
    flood(stage, 1, DONE_QOS_1).await
}

pub(super) async fn exactly_once(stage: &mut Stage) -> RowResult {
    flood(stage, 2, DONE_QOS_2).await
}

async fn flood(stage: &mut Stage, qos: u8, done_within: Duration) -> RowResult {
    stage.connect(FAST);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    let mut books = Books::default();
    let begin = Instant::now();
    let left = || FLOOD_LIMIT.saturating_sub(begin.elapsed());
    stage.subject.tell(&format!("burst 0 {MESSAGES} {qos} 32 {RATE}"));
    loop {
        let _ = one_link(&mut peer, &mut books, LIFE).await;
        peer.reset();
        let over = books.delivered(qos).len() as u64 == MESSAGES && books.held.is_empty();
        let patience = if over { PATIENCE } else { left() };
        match stage.accept_session(true, patience).await {
            Ok(next) => peer = next,
            Err(_) => break,
        }
        if over {
            let _ = one_link(&mut peer, &mut books, LAST_LIFE).await;
            break;
        }
        if left().is_zero() {
            break;
        }
    }
    let all = books.delivered(qos).len() as u64 == MESSAGES;
    let last = books.last.filter(|_| all).map(|last| last.saturating_duration_since(begin));
    let took = last.unwrap_or_else(|| begin.elapsed());
    Ok(books.judged(MESSAGES, qos, stage.subject.said(), (took, done_within)))
}

/// Answers each packet after it was held for 10 ms, for as long as the link lives.
///
/// # Errors
/// When the client ends the link, or what it sends is no packet.
pub async fn one_link(peer: &mut Peer, books: &mut Books, life: Duration) -> ScriptResult {
    let end = Instant::now() + life;
    let mut owed: VecDeque<(Instant, Packet)> = VecDeque::new();
    loop {
        let due = owed.front().map_or(end, |(due, _)| (*due).min(end));
        match tokio::time::timeout_at(due, peer.recv()).await {
            Ok(packet) => {
                let packet = packet?;
                match &packet {
                    Packet::Publish(publish) => books.take(publish),
                    Packet::PubRel(ack) => books.release(ack.packet_id),
                    _ => {}
                }
                owed.push_back((Instant::now() + ACKS_HELD, packet));
            }
            Err(_) if Instant::now() >= end => return Ok(()),
            Err(_) => {
                if let Some((_, packet)) = owed.pop_front() {
                    super::answer(peer, &packet).await?;
                }
            }
        }
        while owed.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, packet)) = owed.pop_front() {
                super::answer(peer, &packet).await?;
            }
        }
    }
}

pub(super) async fn offline(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", PATIENCE).await;
    // The listener stays, and says nothing: a client is away as long as it has no CONNACK.
    peer.reset();
    stage.subject.hear("down", Duration::from_secs(10)).await;
    let before = stage.subject.memory();
    stage.subject.tell(&format!("burst 0 {OFFLINE} 1 256 0"));
    let taken = stage.subject.until(Duration::from_secs(15), |said| said.burst.is_some()).await;
    // What waits is asked for, not the way there.
    tokio::time::sleep(SETTLED).await;
    let grown = stage.subject.memory().zip(before).map(|(after, before)| after.saturating_sub(before));
    let each = grown.map(|grown| grown / OFFLINE);
    let burst = stage.subject.said().burst.filter(|_| taken);
    let peer = stage.accept_session(true, PATIENCE).await?;
    let (begin, ours, theirs) = (Instant::now(), Waits::of("self"), stage.subject.waits());
    let (came, _peer) = gather(stage, peer, OFFLINE as usize, OFFLINE_LIMIT).await;
    let took = begin.elapsed();
    let waited = Waits::of("self").most_since(&ours).max(stage.subject.waits().most_since(&theirs));
    let drained = Drained { came: came.len() as u64, took, waited };
    Ok(backlog(burst, each, drained, stage.subject.said().failed()))
}

/// What came of a backlog, and how long it took from the CONNACK to the last message.
#[derive(Clone, Copy, Debug)]
struct Drained {
    came: u64,
    took: Duration,
    /// Of it, how long the broker or the client had no core, because other programs had them.
    waited: Duration,
}

impl Drained {
    /// Messages in a second in which both had one.
    fn rate(self) -> u64 {
        let had_cores = self.took.saturating_sub(self.waited).max(Duration::from_micros(1));
        (self.came as f64 / had_cores.as_secs_f64()) as u64
    }
}

/// Whether the messages were taken in time, are small, in bytes each, and came at the rate. Memory that could not be read
/// is not small.
fn backlog(burst: Option<Duration>, each: Option<u64>, drained: Drained, refused: usize) -> Finding {
    let (came, rate) = (drained.came, drained.rate());
    let taken = burst.map_or_else(|| "blocks".to_owned(), |burst| format!("{} ms", burst.as_millis()));
    let size = match (burst, each) {
        (None, _) => String::new(),
        (_, None) => ", memory not measured".to_owned(),
        (_, Some(each)) => format!(", {each} B each"),
    };
    let in_time = burst.is_some_and(|burst| burst < TAKEN_WITHIN);
    let small = each.is_some_and(|each| each <= EACH_MAX);
    let all = refused == 0 && came == OFFLINE && rate >= DRAINED_AT;
    let used = [
        strain(burst.unwrap_or_default(), TAKEN_WITHIN),
        each.unwrap_or_default() * 1000 / EACH_MAX,
        DRAINED_AT * 1000 / rate.max(1),
    ];
    let figure = format!("taken: {taken}{size}; {came} came at {}k/s, {refused} refused", rate / 1000);
    Finding::new(in_time && small && all, figure).strained(used.into_iter().max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(books: &mut Books, id: u16, number: u64) {
        let payload = format!("{number} ").into();
        books.take(&Publish {
            dup: false,
            qos: Qos::ExactlyOnce,
            retain: false,
            topic: rejoin_core::PublishTopic::from_static("t"),
            packet_id: PacketId::new(id),
            properties: None,
            payload,
        });
    }

    fn released(books: &mut Books, id: u16) {
        books.release(PacketId::new(id).expect("not zero"));
    }

    fn said(acked: &[u64]) -> Said {
        let mut said = Said::default();
        acked.iter().for_each(|number| said.note(Instant::now(), &format!("acked {number}")));
        said
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_qos_2_message_that_is_never_released_is_lost() {
        let judged = |books: &Books| {
            let found = books.judged(2, 2, &said(&[0, 1]), (SECOND, SECOND));
            (found.passed, found.figure)
        };
        let mut books = Books::default();
        taken(&mut books, 1, 0);
        taken(&mut books, 2, 1);
        released(&mut books, 1);
        let held = (false, "1 lost, 0 duplicates, 1 falsely acknowledged, 1.0 s".to_owned());
        assert_eq!(judged(&books), held, "the client calls it delivered all the same");
        released(&mut books, 2);
        assert_eq!(judged(&books), (true, "0 lost, 0 duplicates, 1.0 s".to_owned()));

        let mut books = Books::default();
        taken(&mut books, 1, 0);
        taken(&mut books, 1, 1);
        released(&mut books, 1);
        assert_eq!(judged(&books), held, "another message took its identifier");
    }

    #[test]
    fn a_flood_that_is_late_did_not_pass() {
        let mut books = Books::default();
        taken(&mut books, 1, 0);
        released(&mut books, 1);
        let judged = |took| books.judged(1, 2, &said(&[0]), (took, DONE_QOS_2)).passed;
        assert!(judged(DONE_QOS_2) && !judged(DONE_QOS_2 + SECOND / 10));
        let lossless = books.judged(1, 1, &said(&[0]), (DONE_QOS_1 + SECOND / 10, DONE_QOS_1));
        assert_eq!(
            (lossless.passed, lossless.figure.as_str()),
            (false, "0 lost, 0 falsely acknowledged, 6.6 s")
        );
    }

    #[test]
    fn a_backlog_is_taken_in_time_small_and_drained_at_the_rate() {
        let quick = Some(Duration::from_millis(93));
        let second = Drained { came: OFFLINE, took: SECOND, waited: Duration::ZERO };
        let judged = |burst, each, drained, refused| {
            let found = backlog(burst, each, drained, refused);
            (found.passed, found.figure)
        };
        let passed = (true, "taken: 93 ms, 400 B each; 100000 came at 100k/s, 0 refused".to_owned());
        assert_eq!(judged(quick, Some(EACH_MAX), second, 0), passed);
        let unmeasured =
            (false, "taken: 93 ms, memory not measured; 100000 came at 100k/s, 0 refused".to_owned());
        assert_eq!(judged(quick, None, second, 0), unmeasured);
        let slow = judged(quick, Some(1), Drained { took: SECOND * 2, ..second }, 0);
        assert_eq!(slow, (false, "taken: 93 ms, 1 B each; 100000 came at 50k/s, 0 refused".to_owned()));
        assert!(judged(quick, Some(1), Drained { took: SECOND * 2, waited: SECOND, ..second }, 0).0);
        assert!(!judged(quick, Some(1), Drained { took: SECOND * 2, waited: SECOND / 2, ..second }, 0).0);
        let blocks = judged(None, Some(1), second, 0);
        assert_eq!(blocks, (false, "taken: blocks; 100000 came at 100k/s, 0 refused".to_owned()));
        assert!(!judged(quick, Some(EACH_MAX + 1), second, 0).0);
        assert!(!judged(Some(TAKEN_WITHIN), Some(1), second, 0).0);
        assert!(!judged(quick, Some(1), second, 1).0);
        let short = Drained { came: OFFLINE - 1, took: SECOND / 2, waited: Duration::ZERO };
        assert!(!judged(quick, Some(1), short, 0).0);
    }
}
