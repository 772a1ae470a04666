//! Many messages over links that do not last, and while there is none: rows 26, 27 and 28.

use std::collections::{BTreeSet, HashMap, VecDeque};
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
        let over = books.seen.len() as u64 == MESSAGES && books.held.is_empty();
        let life = if over { Duration::from_secs(2) } else { LIFE };
        let _ = one_link(&mut peer, &mut books, life).await;
        if over {
            break;
        }
        peer.reset();
    }
    let took = begin.elapsed();
    let falsely = stage.subject.said().answers.clone();
    let falsely = falsely.iter().filter(|(n, answer)| *answer == "acked" && !books.seen.contains(n)).count();
    let lost = MESSAGES - books.seen.len() as u64;
    let ordered = books.order.is_sorted();
    let passed = lost == 0 && falsely == 0 && books.duplicates == 0 && ordered;
    let mut figure = format!("{lost} lost, {falsely} falsely acknowledged, ");
    if qos == 2 {
        figure = format!("{lost} lost, {} duplicates, ", books.duplicates);
    }
    if !ordered {
        figure += "out of order, ";
    }
    Ok(Finding::new(passed, figure + &seconds(took)))
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
                    Packet::PubRel(ack) => {
                        books.held.remove(&ack.packet_id);
                    }
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
    let each = grown.map_or(0, |grown| grown / OFFLINE);
    let burst = stage.subject.said().burst.unwrap_or(Duration::MAX);
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
    let passed = taken
        && burst < Duration::from_secs(1)
        && each <= 400
        && refused == 0
        && came.len() as u64 == OFFLINE;
    let how = if taken { format!("{} ms, {each} B each", burst.as_millis()) } else { "blocks".to_owned() };
    let figure = format!("taken: {how}; {} came at {rate:.0}k/s, {refused} refused", came.len());
    Ok(Finding::new(passed, figure))
}
