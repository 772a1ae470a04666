//! What happened, as one number and, on request, as lines: the same seed must give the same number.

use std::collections::VecDeque;

use bytes::Bytes;
use rejoin_core::codec::packet::Packet;

/// The last lines kept when nobody asked for all.
const LINES: usize = 400;

/// The trace of one run.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
    most: usize,
}

impl Trace {
    /// `record` keeps lines too, which costs most of the speed.
    pub(super) fn new(record: bool, all: bool) -> Self {
        let most = if all { usize::MAX } else { LINES };
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: record.then(VecDeque::new), most }
    }

    /// Folds a fact into the number.
    pub(super) const fn fold(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Folds bytes of the wire into the number.
    pub(super) fn bytes(&mut self, at: u64, bytes: &Bytes) {
        self.fold(at);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    /// Adds a line, made only if lines are kept.
    pub(super) fn say(&mut self, at: u64, client: usize, line: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        lines.push_back(format!("{:>14.6} c{client} {}", at as f64 / 1e6, line()));
        if lines.len() > self.most {
            lines.pop_front();
        }
    }

    pub(super) const fn number(&self) -> u64 {
        self.hash
    }

    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().map(Vec::from).unwrap_or_default()
    }
}

/// A packet in one line.
pub(super) fn words(packet: &Packet) -> String {
    match packet {
        Packet::Publish(p) => {
            let n = super::app::number(&p.payload).map_or_else(|| "probe".to_owned(), |n| n.to_string());
            let id = p.packet_id.map_or(0, |id| id.get());
            let dup = if p.dup { " dup" } else { "" };
            format!("PUBLISH id {id} q{}{dup} {n} on {}", p.qos as u8, p.topic.as_str())
        }
        Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubRel(a) | Packet::PubComp(a) => {
            format!("{} {} {:#04x}", packet.name(), a.packet_id, a.reason.0)
        }
        Packet::Connect(c) => format!("CONNECT clean {}", c.clean_start),
        Packet::ConnAck(c) => format!("CONNACK {:#04x} present {}", c.reason.0, c.session_present),
        Packet::Subscribe(s) => format!("SUBSCRIBE {} {:?}", s.packet_id, s.filters),
        Packet::Unsubscribe(s) => format!("UNSUBSCRIBE {} {:?}", s.packet_id, s.filters),
        Packet::SubAck(s) | Packet::UnsubAck(s) => {
            format!("{} {} {:?}", packet.name(), s.packet_id, s.reasons)
        }
        Packet::Disconnect(d) => format!("DISCONNECT {:#04x}", d.reason.0),
        other => other.name().to_owned(),
    }
}
