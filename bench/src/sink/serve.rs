//! The broker of the rates: no sessions, no routing, one thread for a connection, one read buffer, all answers to one
//! read in one write.
//!
//! A subscription to `b/QOS/COUNT/SIZE/WINDOW` is the order to send just that; one to the topic of echoes makes it send
//! back what it gets.

use super::{ECHO, say};
use crate::flow::{self, Outgoing};
use crate::wire::{self, Frame, Reader};
use std::io::{self, Read, Write};

/// What is known of one connection.
struct Connection {
    version: u8,
    /// Unacknowledged messages that we announce to take, at 5.
    window: u16,
    receive_maximum: u16,
    feed: Option<Outgoing>,
    echoes: bool,
    echoed: u64,
    published: u64,
}

pub(super) fn serve<S: Read + Write>(mut socket: S, window: u16) -> io::Result<()> {
    let mut reader = Reader::new();
    let mut out = Vec::with_capacity(1 << 20);
    let mut connection = Connection {
        version: 4,
        window,
        receive_maximum: u16::MAX,
        feed: None,
        echoes: false,
        echoed: 0,
        published: 0,
    };
    while reader.fill(&mut socket)? {
        while let Some(frame) = reader.next() {
            if !connection.take(&frame, &mut out)? {
                return Ok(());
            }
        }
        let pours = connection.feed.as_ref().is_some_and(Outgoing::pours);
        if let Some(feed) = connection.feed.as_mut().filter(|_| !pours) {
            feed.fill(&mut out);
        }
        socket.write_all(&out)?;
        out.clear();
        if let Some(feed) = connection.feed.as_mut().filter(|_| pours) {
            feed.pour(&mut socket)?;
        }
        socket.flush()?;
    }
    Ok(())
}

impl Connection {
    /// False at the end of the connection.
    #[inline]
    fn take(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> io::Result<bool> {
        match frame.kind() {
            wire::PUBLISH => {
                self.check_end(frame);
                self.published += 1;
                flow::answer(frame, out);
                if self.echoes {
                    self.echo(frame, out);
                }
            }
            wire::PUBREL => flow::answer(frame, out),
            wire::PUBACK if self.echoes => {}
            wire::PUBACK | wire::PUBREC | wire::PUBCOMP => {
                let unknown = || io::Error::other("acknowledged what was not sent");
                self.feed.as_mut().ok_or_else(unknown)?.take(frame, out)?;
            }
            wire::CONNECT => {
                (self.version, self.receive_maximum) = greeted(frame.body);
                let [high, low] = self.window.to_be_bytes();
                let body: &[u8] = if self.version == 5 { &[0, 0, 3, 0x21, high, low] } else { &[0, 0] };
                wire::packet(out, wire::CONNACK, body);
            }
            wire::SUBSCRIBE => self.subscribed(frame, out),
            wire::UNSUBSCRIBE => {
                let [high, low] = frame.id().to_be_bytes();
                let body: &[u8] = if self.version == 5 { &[high, low, 0, 0] } else { &[high, low] };
                wire::packet(out, wire::UNSUBACK, body);
            }
            wire::PINGREQ => wire::packet(out, wire::PINGRESP, &[]),
            wire::DISCONNECT => return Ok(false),
            kind => return Err(io::Error::other(format!("packet {kind:#x} is none a client sends"))),
        }
        Ok(true)
    }

    /// Nobody acknowledges QoS 0, so a client that drops messages would only look fast: the sink counts.
    fn check_end(&self, frame: &Frame<'_>) {
        if frame.qos() != 1 || !frame.body.get(2..).is_some_and(|topic| topic.starts_with(b"e/")) {
            return;
        }
        let length = usize::from(frame.topic_length());
        let digits = frame.body.get(4..2 + length).and_then(|digits| std::str::from_utf8(digits).ok());
        let said = digits.and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX);
        if said != self.published {
            say(&format!("came {} of {said}", self.published));
        }
    }

    /// The same message back, at the same level, under an identifier of ours.
    fn echo(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let mut body = frame.body.to_vec();
        if frame.qos() > 0 {
            let at = 2 + usize::from(frame.topic_length());
            let id = (self.echoed % 60_000) as u16 + 1;
            if let Some(place) = body.get_mut(at..at + 2) {
                place.copy_from_slice(&id.to_be_bytes());
            }
        }
        self.echoed += 1;
        wire::packet(out, wire::PUBLISH | (frame.qos() << 1), &body);
    }

    /// Answers SUBSCRIBE, and reads the order in its first filter.
    fn subscribed(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let Some((filter, qos)) = filter_of(frame, self.version) else { return };
        let [high, low] = frame.id().to_be_bytes();
        let body: &[u8] = if self.version == 5 { &[high, low, 0, qos] } else { &[high, low, qos] };
        wire::packet(out, wire::SUBACK, body);
        self.echoes = filter == ECHO;
        let mut words = filter.strip_prefix("b/").unwrap_or_default().split('/');
        let mut number = || words.next()?.parse::<u64>().ok();
        if let (Some(qos), Some(count), Some(size), Some(window)) = (number(), number(), number(), number()) {
            let window = self.receive_maximum.min(window as u16);
            self.feed = Some(Outgoing::new(self.version, filter, qos as u8, size as usize, window, count));
        }
    }
}

/// Protocol version and receive maximum of a CONNECT.
fn greeted(body: &[u8]) -> (u8, u16) {
    let version = body.get(6).copied().unwrap_or(4);
    let mut maximum = u16::MAX;
    if version == 5 {
        // Drivers send few properties: one length byte, and receive maximum (0x21) is looked for by walking those
        // of known width.
        let length = usize::from(body.get(10).copied().unwrap_or(0));
        let mut left = body.get(11..11 + length).unwrap_or_default();
        while let Some((&id, rest)) = left.split_first() {
            let width = match id {
                0x11 | 0x27 => 4,
                0x21 | 0x22 => 2,
                0x17 | 0x19 => 1,
                _ => break,
            };
            if let (0x21, [high, low, ..]) = (id, rest) {
                maximum = u16::from_be_bytes([*high, *low]);
            }
            left = rest.get(width..).unwrap_or_default();
        }
    }
    (version, maximum)
}

/// The first filter of a SUBSCRIBE and the level it is asked at.
fn filter_of<'a>(frame: &Frame<'a>, version: u8) -> Option<(&'a str, u8)> {
    let properties = if version == 5 { 1 + usize::from(*frame.body.get(2)?) } else { 0 };
    let rest = frame.body.get(2 + properties..)?;
    let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let filter = std::str::from_utf8(rest.get(2..2 + length)?).ok()?;
    Some((filter, rest.get(2 + length)? & 3))
}
