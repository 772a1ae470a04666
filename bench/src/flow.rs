//! The two ends of a message flow, pre-encoded: what the sink and the raw client have in common.

use crate::wire::{self, Frame};
use std::io::{self, Write};

/// What one QoS 0 write carries at least: large enough to make the call cheap, small enough to stay in the cache.
const WRITE: usize = 128 * 1024;

/// Sends `count` equal messages and keeps at most `window` of them unacknowledged.
pub(crate) struct Outgoing {
    /// `window` packets with the identifiers 1 to `window`; at QoS 0 as many as one write takes.
    ring: Vec<u8>,
    each: usize,
    window: u64,
    qos: u8,
    count: u64,
    sent: u64,
    released: u64,
    done: u64,
}

impl Outgoing {
    pub(crate) fn new(version: u8, topic: &str, qos: u8, size: usize, window: u16, count: u64) -> Self {
        let mut ring = Vec::new();
        wire::publish(&mut ring, version, topic, qos, 1, size);
        let each = ring.len();
        let window = if qos == 0 { (WRITE / each).max(1) as u16 } else { window };
        for id in 2..=window {
            wire::publish(&mut ring, version, topic, qos, id, size);
        }
        Self { ring, each, window: window.into(), qos, count, sent: 0, released: 0, done: 0 }
    }

    /// Takes an acknowledgement; the answer to it, if it has one, goes into `out`.
    #[inline]
    pub(crate) fn take(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let id = frame.id();
        let (at, last) = match (self.qos, frame.kind()) {
            (1, wire::PUBACK) | (2, wire::PUBCOMP) => (&mut self.done, true),
            (2, wire::PUBREC) => (&mut self.released, false),
            (qos, kind) => return Err(io::Error::other(format!("packet {kind:#x} in a QoS {qos} flow"))),
        };
        // [MQTT-4.6.0-2], [MQTT-4.6.0-3]: in the order of the messages, so one counter holds the whole window.
        let expected = (*at % self.window) as u16 + 1;
        if id != expected {
            return Err(io::Error::other(format!("identifier {id} acknowledged, {expected} expected")));
        }
        *at += 1;
        if !last {
            wire::ack(out, wire::PUBREL, id);
        }
        Ok(())
    }

    /// Adds what the window has room for.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>) {
        let until = self.count.min(self.done + self.window);
        while self.sent < until {
            let from = self.sent % self.window;
            let some = (self.window - from).min(until - self.sent);
            out.extend_from_slice(&self.ring[from as usize * self.each..(from + some) as usize * self.each]);
            self.sent += some;
        }
    }

    /// QoS 0: everything, straight from the ring.
    pub(crate) fn pour(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.sent < self.count {
            let some = self.window.min(self.count - self.sent);
            socket.write_all(&self.ring[..some as usize * self.each])?;
            self.sent += some;
        }
        self.done = self.count;
        Ok(())
    }

    /// No window holds it back.
    pub(crate) fn pours(&self) -> bool {
        self.qos == 0
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.count
    }
}

/// The answer to a PUBLISH or PUBREL.
#[inline]
pub(crate) fn answer(frame: &Frame<'_>, out: &mut Vec<u8>) {
    match (frame.kind(), frame.qos()) {
        (wire::PUBLISH, 1) => wire::ack(out, wire::PUBACK, frame.publish_id()),
        (wire::PUBLISH, 2) => wire::ack(out, wire::PUBREC, frame.publish_id()),
        (wire::PUBREL, _) => wire::ack(out, wire::PUBCOMP, frame.id()),
        _ => {}
    }
}
