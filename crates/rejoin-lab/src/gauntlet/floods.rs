//! Many messages over links that do not last, and while there is none: rows 26, 27 and 28.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use rejoin_core::Qos;
use rejoin_core::codec::packet::{Packet, PacketId, Publish};
use tokio::time::Instant;

use super::{FAST, Finding, KEPT, PATIENCE, RowResult, Stage, number, seconds, serve};
use crate::{Peer, ScriptResult};

const MESSAGES: u64 = 20_000;
const RATE: u64 = 5_000;
const LIFE: Duration = Duration::from_millis(300);
const ACKS_HELD: Duration = Duration::from_millis(10);
/// The rate alone takes four seconds; a client that is not done by then is not going to be.
const FLOOD_LIMIT: Duration = Duration::from_secs(60);
const OFFLINE: u64 = 100_000;
/// At 100,000 a second it is one.
const OFFLINE_LIMIT: Duration = Duration::from_secs(60);
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
        } else if publish.qos == Qos::ExactlyOnce {
            self.duplicates += 1;
        }
    }

    fn release(&mut self, id: PacketId) {
        self.released.extend(self.held.remove(&id));
    }

    /// The messages that go on to subscribers.
    fn delivered(&self, qos: u8) -> &BTreeSet<u64> {
        if qos == 2 { &self.released } else { &self.seen }
    }

    /// How a flood of so many messages went, by what the client said of each and what the broker has.
    fn judged(&self, messages: u64, qos: u8, answers: &BTreeMap<u64, String>, took: Duration) -> Finding {
        let delivered = self.delivered(qos);
        let lost = messages - delivered.len() as u64;
        let acked = answers.iter().filter(|(_, answer)| *answer == "acked");
        let falsely = acked.filter(|(number, _)| !delivered.contains(number)).count();
        let ordered = self.order.is_sorted();
        let passed = lost == 0 && falsely == 0 && self.duplicates == 0 && ordered;
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
        Finding::new(passed, figure + &seconds(took))
    }
}

pub(super) async fn at_least_once(stage: &mut Stage) -> RowResult {
    flood(stage, 1).await
}

pub(super) async fn exactly_once(stage: &mut Stage) -> RowResult {
    flood(stage, 2).await
}

async fn flood(stage: &mut Stage, qos: u8) -> RowResult {
    stage.connect(FAST);
    let mut books = Books::default();
    let mut present = false;
    let begin = Instant::now();
    let mut told = false;
    while begin.elapsed() < FLOOD_LIMIT {
        let left = FLOOD_LIMIT.saturating_sub(begin.elapsed());
        let Ok(mut peer) = stage.accept_session(present, left).await else { break };
        present = true;
        if !told {
            stage.subject.tell(&format!("burst 0 {MESSAGES} {qos} 32 {RATE}"));
            told = true;
        }
        let over = books.delivered(qos).len() as u64 == MESSAGES && books.held.is_empty();
        let life = if over { Duration::from_secs(2) } else { LIFE };
        let _ = one_link(&mut peer, &mut books, life).await;
        if over {
            break;
        }
        peer.reset();
    }
    let took = begin.elapsed();
    Ok(books.judged(MESSAGES, qos, &stage.subject.said().answers, took))
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
    let mut peer = stage.accept_session(true, PATIENCE).await?;
    let begin = Instant::now();
    let mut came = BTreeSet::new();
    loop {
        let mut looked = 0;
        serve(&mut peer, OFFLINE_LIMIT.saturating_sub(begin.elapsed()), |all| {
            came.extend(all[looked..].iter().map(number));
            looked = all.len();
            came.len() as u64 == OFFLINE
        })
        .await;
        let left = OFFLINE_LIMIT.saturating_sub(begin.elapsed());
        if came.len() as u64 == OFFLINE || left.is_zero() {
            break;
        }
        // Connections that were given up meanwhile come first.
        let Ok(next) = stage.accept_session(true, left).await else { break };
        peer = next;
    }
    let rate = came.len() as f64 / begin.elapsed().as_secs_f64() / 1000.0;
    let refused = stage.subject.said().failed();
    let (small, how) = handed_over(burst, each);
    let passed = small && refused == 0 && came.len() as u64 == OFFLINE;
    let figure = format!("taken: {how}; {} came at {rate:.0}k/s, {refused} refused", came.len());
    Ok(Finding::new(passed, figure))
}

/// Whether the messages were taken in time, and are small, in bytes each. Memory that could not be read is not small.
fn handed_over(burst: Option<Duration>, each: Option<u64>) -> (bool, String) {
    let Some(burst) = burst else { return (false, "blocks".to_owned()) };
    let passed = burst < TAKEN_WITHIN && each.is_some_and(|each| each <= EACH_MAX);
    let size = each.map_or_else(|| "memory not measured".to_owned(), |each| format!("{each} B each"));
    (passed, format!("{} ms, {size}", burst.as_millis()))
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

    #[test]
    fn a_qos_2_message_that_is_never_released_is_lost() {
        let acked = |numbers: [u64; 2]| numbers.map(|number| (number, "acked".to_owned())).into();
        let judged = |books: &Books| books.judged(2, 2, &acked([0, 1]), Duration::ZERO);
        let mut books = Books::default();
        taken(&mut books, 1, 0);
        taken(&mut books, 2, 1);
        released(&mut books, 1);
        let held = Finding::new(false, "1 lost, 0 duplicates, 1 falsely acknowledged, 0.0 s");
        assert_eq!(judged(&books), held, "the client calls it delivered all the same");
        released(&mut books, 2);
        assert_eq!(judged(&books), Finding::new(true, "0 lost, 0 duplicates, 0.0 s"));

        let mut books = Books::default();
        taken(&mut books, 1, 0);
        taken(&mut books, 1, 1);
        released(&mut books, 1);
        assert_eq!(judged(&books), held, "another message took its identifier");
    }

    #[test]
    fn what_could_not_be_measured_did_not_pass() {
        let quick = Some(Duration::from_millis(93));
        assert_eq!(handed_over(quick, None), (false, "93 ms, memory not measured".to_owned()));
        assert_eq!(handed_over(quick, Some(EACH_MAX)), (true, "93 ms, 400 B each".to_owned()));
        assert!(!handed_over(quick, Some(EACH_MAX + 1)).0);
        assert!(!handed_over(Some(TAKEN_WITHIN), Some(1)).0);
        assert_eq!(handed_over(None, Some(1)), (false, "blocks".to_owned()));
    }
}
