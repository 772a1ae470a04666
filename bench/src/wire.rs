//! Just enough of the wire for two programs that trust each other.

use std::io::{self, Read};

pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBLISH: u8 = 0x30;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x60;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const SUBSCRIBE: u8 = 0x80;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBSCRIBE: u8 = 0xA0;
pub(crate) const UNSUBACK: u8 = 0xB0;
pub(crate) const PINGREQ: u8 = 0xC0;
pub(crate) const PINGRESP: u8 = 0xD0;
pub(crate) const DISCONNECT: u8 = 0xE0;

/// Large enough that one read takes what the kernel has; a packet must fit.
const BUFFER: usize = 256 * 1024;

/// One packet: the first byte and what follows the remaining length.
pub(crate) struct Frame<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
}

impl Frame<'_> {
    pub(crate) fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    pub(crate) fn qos(&self) -> u8 {
        (self.first >> 1) & 3
    }

    /// The packet identifier of an acknowledgement, SUBSCRIBE or UNSUBSCRIBE.
    pub(crate) fn id(&self) -> u16 {
        self.u16_at(0)
    }

    /// The packet identifier of a PUBLISH above QoS 0.
    pub(crate) fn publish_id(&self) -> u16 {
        self.u16_at(2 + usize::from(self.topic_length()))
    }

    pub(crate) fn topic_length(&self) -> u16 {
        self.u16_at(0)
    }

    fn u16_at(&self, at: usize) -> u16 {
        self.body.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))
    }
}

/// One read buffer, scanned in place.
pub(crate) struct Reader {
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), from: 0, to: 0 }
    }

    /// One read. False at the end of the stream.
    pub(crate) fn fill(&mut self, socket: &mut impl Read) -> io::Result<bool> {
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        if self.to == self.buffer.len() {
            return Err(io::Error::other("a packet is larger than the read buffer"));
        }
        let count = socket.read(&mut self.buffer[self.to..])?;
        self.to += count;
        Ok(count > 0)
    }

    /// The next whole packet of what was read.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Frame<'_>> {
        let bytes = &self.buffer[self.from..self.to];
        let (length, header) = remaining_length(bytes)?;
        let end = header + length;
        if bytes.len() < end {
            return None;
        }
        self.from += end;
        Some(Frame { first: bytes[0], body: &bytes[header..end] })
    }
}

/// `(remaining length, bytes of the fixed header)`.
#[inline]
fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some((length, at + 1));
        }
    }
    None
}

/// A packet whose body is known.
pub(crate) fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut length = body.len();
    while length > 0x7F {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(body);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP with success.
#[inline]
pub(crate) fn ack(out: &mut Vec<u8>, kind: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    // [MQTT-3.6.1-1]: PUBREL alone has a flag.
    let first = if kind == PUBREL { kind | 2 } else { kind };
    out.extend_from_slice(&[first, 2, high, low]);
}

pub(crate) fn publish(out: &mut Vec<u8>, version: u8, topic: &str, qos: u8, id: u16, size: usize) {
    let mut body = Vec::with_capacity(size + topic.len() + 8);
    text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.resize(body.len() + size, b'x');
    packet(out, PUBLISH | (qos << 1), &body);
}

pub(crate) fn connect(version: u8, client_id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[version, 2, 0, 60]);
    if version == 5 {
        body.push(0);
    }
    text(&mut body, client_id);
    let mut out = Vec::new();
    packet(&mut out, CONNECT, &body);
    out
}

pub(crate) fn subscribe(version: u8, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    if version == 5 {
        body.push(0);
    }
    text(&mut body, filter);
    body.push(qos);
    let mut out = Vec::new();
    packet(&mut out, SUBSCRIBE | 2, &body);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
