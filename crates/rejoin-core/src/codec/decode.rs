//! From a stream of bytes to packets: framing, limits, and what to do with packets that are too large.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::body::{self, Rules};
use super::error::DecodeError;
use super::header::{self, Fault, Header};
use super::packet::{Packet, PacketId, Qos, Version};
use super::primitives::Cursor;
use crate::topic::PublishTopic;

/// How much room is made at a time for a packet that is still arriving: a header that lies about its length
/// costs no more than this.
const SEGMENT: usize = 64 * 1024;

/// Limits on what is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet with its header, in bytes; default 1 MiB, as the client announces it by default.
    pub max_packet_size: u32,
    /// Most user properties in one packet (in a CONNECT: in its own and in its will's list each); default 256,
    /// far above real use, because each costs more memory than bytes on the wire.
    pub max_user_properties: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_packet_size: 1024 * 1024, max_user_properties: 256 }
    }
}

/// Who wrote the bytes that are decoded: some packets and properties may come from one side only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client wrote them; a server decodes.
    Client,
    /// The server wrote them; a client decodes.
    Server,
}

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A packet.
    Packet(Packet),
    /// A PUBLISH above the limit, from a server that speaks 3.1.1 and so cannot be told the limit. Its payload
    /// was skipped, never held. Acknowledge it, or the server brings it back on every connection.
    Oversized {
        /// QoS of the PUBLISH.
        qos: Qos,
        /// Packet identifier, above QoS 0.
        packet_id: Option<PacketId>,
        /// Topic name.
        topic: PublishTopic,
        /// Size of the whole packet, in bytes.
        size: u32,
        /// Whether the server sent it before.
        dup: bool,
    },
}

/// Takes chunks of a stream and gives packets.
///
/// Packets that lie within one chunk share it. A packet that spans chunks is gathered in segments of at most
/// 64 KiB, so memory never runs further ahead of the bytes received, and joined once when it is whole. After an
/// error the stream has no next packet: the same error comes again.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    /// The chunk being read.
    chunk: Bytes,
    /// Chunks pushed before it was used up.
    waiting: VecDeque<Bytes>,
    state: State,
    opening: Option<Opening>,
}

#[derive(Debug)]
enum State {
    /// The chunk starts with a header.
    Between,
    /// A header began in an earlier chunk.
    Heading {
        bytes: [u8; 5],
        len: usize,
    },
    /// A packet began in an earlier chunk.
    Filling {
        header: Header,
        frame: Frame,
    },
    /// The head of a PUBLISH that is too large is being gathered; its payload is not.
    SkipHead {
        header: Header,
        head: Vec<u8>,
    },
    /// The payload of that PUBLISH is going by.
    SkipBody {
        left: usize,
        found: Box<Decoded>,
    },
    Failed(DecodeError),
}

impl Decoder {
    /// A decoder for one connection.
    pub fn new(version: Version, sender: Sender, limits: Limits) -> Self {
        Self {
            rules: Rules { version, sender, limits },
            chunk: Bytes::new(),
            waiting: VecDeque::new(),
            state: State::Between,
            opening: (sender == Sender::Server).then(Opening::default),
        }
    }

    /// The version packets are read at.
    pub const fn version(&self) -> Version {
        self.rules.version
    }

    /// Reads later packets at this version. A server need not call it: CONNECT sets the version it names.
    pub const fn set_version(&mut self, version: Version) {
        self.rules.version = version;
    }

    /// Takes a chunk as it was read. Call [`Decoder::next`] until it gives `None`.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() || matches!(self.state, State::Failed(_)) {
            return;
        }
        if let Some(opening) = &mut self.opening {
            opening.note(&bytes);
        }
        if self.chunk.is_empty() && self.waiting.is_empty() {
            self.chunk = bytes;
        } else {
            self.waiting.push_back(bytes);
        }
    }

    /// Bytes held that are not yet part of a packet given out.
    pub fn buffered(&self) -> usize {
        let held = match &self.state {
            State::Between | State::SkipBody { .. } | State::Failed(_) => 0,
            State::Heading { len, .. } => *len,
            State::Filling { frame, .. } => frame.len,
            State::SkipHead { header, head } => header.len() + head.len(),
        };
        held + self.chunk.len() + self.waiting.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether a packet has begun and not ended: at the end of the stream this tells a cut from a close.
    pub fn is_mid_packet(&self) -> bool {
        !matches!(self.state, State::Between | State::Failed(_)) || !self.chunk.is_empty()
    }

    /// The next whole packet, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// What the standard or the limits forbid. The connection is to be closed; see [`DecodeError::reason`].
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator has no place for the error and the end at once"
    )]
    pub fn next(&mut self) -> Result<Option<Decoded>, DecodeError> {
        // Asked each time, not at the start of a packet only: a greeting may come byte by byte.
        if let Some(Err(error)) = self.opening.as_ref().map(Opening::check) {
            return Err(self.fail(error));
        }
        loop {
            // What comes most has a way of its own, short enough to be built where the caller wants it.
            match self.whole() {
                Some(header) if header.kind() == header::PUBLISH => return self.publish(&header),
                Some(header) => return self.other(&header),
                None => {}
            }
            match self.step() {
                Ok(Step::Skipped(decoded)) => return Ok(Some(*decoded)),
                Ok(Step::Moved) => {}
                Ok(Step::Starved) => return Ok(None),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// The header of a packet that the chunk starts with and holds in full. What else there is, errors included, is for
    /// [`Decoder::step`] to tell.
    #[inline(always)]
    fn whole(&self) -> Option<Header> {
        if !matches!(self.state, State::Between) {
            return None;
        }
        let header = self.header(&self.chunk).ok()??;
        (self.admits(&header) && header.total() <= self.chunk.len()).then_some(header)
    }

    /// The PUBLISH the chunk starts with.
    #[inline(always)]
    fn publish(&mut self, header: &Header) -> Result<Option<Decoded>, DecodeError> {
        match body::publish(header, &self.chunk, &self.rules) {
            Ok(checked) => {
                let publish = checked.share();
                // All of it has come. With the limit nothing can fail behind the line before, and so nothing is moved twice.
                self.chunk.advance(header.total().min(self.chunk.len()));
                self.opening = None;
                Ok(Some(Decoded::Packet(Packet::Publish(publish))))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// The packet the chunk starts with, of any other kind.
    #[inline(never)]
    fn other(&mut self, header: &Header) -> Result<Option<Decoded>, DecodeError> {
        match body::other(header, &self.chunk, &self.rules) {
            Ok(packet) => {
                self.chunk.advance(header.total());
                // What the decoder itself takes from a packet: that the peer speaks MQTT, and which.
                self.opening = None;
                if let Packet::Connect(connect) = &packet {
                    self.rules.version = connect.version;
                }
                Ok(Some(Decoded::Packet(packet)))
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Remembers the error and lets all bytes go.
    #[cold]
    fn fail(&mut self, error: DecodeError) -> DecodeError {
        let error = match self.opening.take() {
            Some(opening) if !opening.starts_like_a_server() => {
                DecodeError::NotMqtt { looks_like: opening.looks_like(false) }
            }
            _ => error,
        };
        self.chunk = Bytes::new();
        self.waiting.clear();
        self.state = State::Failed(error);
        error
    }

    /// One move towards a whole packet.
    #[inline(never)]
    fn step(&mut self) -> Result<Step, DecodeError> {
        match &self.state {
            State::Between => self.between(),
            State::Heading { .. } => self.heading(),
            State::Filling { .. } => self.filling(),
            State::SkipHead { .. } => self.skip_head(),
            State::SkipBody { .. } => Ok(self.skip_body()),
            State::Failed(error) => Err(*error),
        }
    }

    /// Makes sure that the chunk holds something, if anything is there.
    fn refill(&mut self) -> bool {
        if !self.chunk.is_empty() {
            return true;
        }
        match self.waiting.pop_front() {
            Some(chunk) => self.chunk = chunk,
            None => {
                // Lets go of the buffer the chunk came from.
                self.chunk = Bytes::new();
                return false;
            }
        }
        true
    }

    /// Finds out why the chunk does not start with a whole packet.
    fn between(&mut self) -> Result<Step, DecodeError> {
        if self.chunk.is_empty() {
            return Ok(if self.refill() { Step::Moved } else { Step::Starved });
        }
        let header = self.header(&self.chunk).map_err(|fault| fault.explain(self.chunk[0]))?;
        let Some(header) = header else {
            self.state = State::Heading { bytes: [0; 5], len: 0 };
            return Ok(Step::Moved);
        };
        if !self.admit(&header)? {
            self.chunk.advance(header.len());
            return Ok(Step::Moved);
        }
        self.state = State::Filling { header, frame: Frame::default() };
        Ok(Step::Moved)
    }

    /// Gathers a header that spans chunks byte by byte: it has five at most.
    fn heading(&mut self) -> Result<Step, DecodeError> {
        if !self.refill() {
            return Ok(Step::Starved);
        }
        let State::Heading { bytes, len } = &mut self.state else { return Ok(Step::Moved) };
        // Five bytes are a header or an error, so there is room.
        bytes[*len] = self.chunk.get_u8();
        *len += 1;
        let (bytes, len) = (*bytes, *len);
        let header = self.header(&bytes[..len]).map_err(|fault| fault.explain(bytes[0]))?;
        let Some(header) = header else { return Ok(Step::Moved) };
        let mut frame = Frame::default();
        frame.extend(&bytes[..len], header.total());
        if self.admit(&header)? {
            self.state = State::Filling { header, frame };
        }
        Ok(Step::Moved)
    }

    #[inline(always)]
    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, Fault> {
        Header::parse(bytes, self.rules.version, self.rules.sender)
    }

    /// Whether a packet of this size may come, before any of its body is held [MQTT-3.1.2-24].
    #[inline(always)]
    const fn admits(&self, header: &Header) -> bool {
        header.size() <= self.rules.limits.max_packet_size
    }

    /// Judges the size by the header alone. `false`: the packet is to be skipped, and the state says so.
    fn admit(&mut self, header: &Header) -> Result<bool, DecodeError> {
        if self.admits(header) {
            return Ok(true);
        }
        let limit = self.rules.limits.max_packet_size;
        let told = self.rules.version == Version::V5 || self.rules.sender == Sender::Client;
        if told || header.kind() != header::PUBLISH || self.opening.is_some() {
            return Err(DecodeError::TooLarge { packet: header.name(), size: header.size(), limit });
        }
        self.state = State::SkipHead { header: *header, head: Vec::new() };
        Ok(false)
    }

    fn filling(&mut self) -> Result<Step, DecodeError> {
        let State::Filling { header, frame } = &mut self.state else { return Ok(Step::Moved) };
        let (header, missing) = (*header, header.total() - frame.len);
        let take = missing.min(self.chunk.len());
        frame.extend(&self.chunk[..take], header.total());
        self.chunk.advance(take);
        if take < missing {
            return Ok(if self.refill() { Step::Moved } else { Step::Starved });
        }
        // The gathered packet is read as a chunk of its own, before the rest of the chunk that completed it.
        let rest = std::mem::replace(&mut self.chunk, std::mem::take(frame).join());
        if !rest.is_empty() {
            self.waiting.push_front(rest);
        }
        self.state = State::Between;
        Ok(Step::Moved)
    }

    /// Gathers topic and packet identifier of a PUBLISH that is too large: 65,539 bytes at most.
    fn skip_head(&mut self) -> Result<Step, DecodeError> {
        let State::SkipHead { header, head } = &mut self.state else { return Ok(Step::Moved) };
        let id_len = if header.qos() == Qos::AtMostOnce { 0 } else { 2 };
        // The two bytes of the topic's length come first and tell the rest.
        let (need, is_known) = match head[..] {
            [high, low, ..] => (2 + usize::from(u16::from_be_bytes([high, low])) + id_len, true),
            _ => (2, false),
        };
        if need > header.body() {
            let (packet, field) = (header.name(), "topic name");
            return Err(DecodeError::Malformed { packet, field, problem: "runs past the end of the packet" });
        }
        if head.len() < need || !is_known {
            if !self.refill() {
                return Ok(Step::Starved);
            }
            let State::SkipHead { head, .. } = &mut self.state else { return Ok(Step::Moved) };
            let take = (need - head.len()).min(self.chunk.len());
            head.extend_from_slice(&self.chunk[..take]);
            self.chunk.advance(take);
            return Ok(Step::Moved);
        }
        let (header, head) = (*header, Bytes::from(std::mem::take(head)));
        let mut cursor = Cursor::new(&head, 0..head.len(), header.kind());
        let (topic, packet_id) = body::publish_name(&mut cursor, header.qos())?;
        if topic.is_empty() {
            return Err(cursor.malformed("topic name", "is empty"));
        }
        let (size, topic) = (header.size(), topic.share());
        let found = Decoded::Oversized { qos: header.qos(), packet_id, topic, size, dup: header.dup() };
        self.state = State::SkipBody { left: header.body() - head.len(), found: Box::new(found) };
        Ok(Step::Moved)
    }

    fn skip_body(&mut self) -> Step {
        let State::SkipBody { left, .. } = &mut self.state else { return Step::Moved };
        let take = (*left).min(self.chunk.len());
        self.chunk.advance(take);
        *left -= take;
        if *left > 0 {
            return if self.refill() { Step::Moved } else { Step::Starved };
        }
        let State::SkipBody { found, .. } = std::mem::replace(&mut self.state, State::Between) else {
            return Step::Moved;
        };
        Step::Skipped(found)
    }
}

/// What one move of the decoder did.
enum Step {
    /// A packet went by that was too large.
    Skipped(Box<Decoded>),
    /// Nothing more can be done without more bytes.
    Starved,
    /// The state changed.
    Moved,
}

/// A packet that is still arriving, in segments that are never moved while they grow.
#[derive(Debug, Default)]
struct Frame {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
    len: usize,
}

impl Frame {
    /// Adds bytes of a packet of `total` bytes.
    fn extend(&mut self, mut bytes: &[u8], total: usize) {
        while !bytes.is_empty() {
            if self.last.len() == self.last.capacity() {
                let room = SEGMENT.min(total - self.len);
                let full = std::mem::replace(&mut self.last, Vec::with_capacity(room));
                if !full.is_empty() {
                    self.full.push(full);
                }
            }
            let take = bytes.len().min(self.last.capacity() - self.last.len());
            self.last.extend_from_slice(&bytes[..take]);
            self.len += take;
            bytes = &bytes[take..];
        }
    }

    /// The packet in one piece: of one segment as it is, of several with a single copy.
    fn join(self) -> Bytes {
        if self.full.is_empty() {
            return Bytes::from(self.last);
        }
        let mut whole = Vec::with_capacity(self.len);
        for segment in self.full {
            whole.extend_from_slice(&segment);
        }
        whole.extend_from_slice(&self.last);
        Bytes::from(whole)
    }
}

/// The first bytes of a server, kept until its first packet is whole: they tell what else it may be.
#[derive(Debug, Default)]
struct Opening {
    bytes: [u8; 8],
    len: usize,
}

/// What other services say first.
const OTHERS: &[(&[u8], &str)] = &[
    (b"HTTP", "HTTP"),
    (b"<!DO", "HTTP"),
    (b"<htm", "HTTP"),
    (b"<HTM", "HTTP"),
    (b"SSH-", "SSH"),
    (b"AMQP", "AMQP"),
    (b"220 ", "SMTP or FTP"),
    (b"220-", "SMTP or FTP"),
    (b"* OK", "IMAP"),
    (b"+OK ", "POP3"),
    (b"-ERR", "Redis"),
    (b"RFB ", "VNC"),
    (b"<?xm", "XMPP"),
    (b"<str", "XMPP"),
    (b"INFO", "NATS"),
    (b"\x15\x03", "TLS"),
    (b"\x16\x03", "TLS"),
];

impl Opening {
    fn note(&mut self, bytes: &[u8]) {
        let take = bytes.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + take].copy_from_slice(&bytes[..take]);
        self.len += take;
    }

    /// Recognises another service even where its greeting could be the start of a packet.
    fn check(&self) -> Result<(), DecodeError> {
        match self.looks_like(true) {
            Some(what) if !self.starts_like_a_server() => {
                Err(DecodeError::NotMqtt { looks_like: Some(what) })
            }
            _ => Ok(()),
        }
    }

    /// A server's first packet is CONNACK or, at 5.0, AUTH [MQTT-3.2.0-1].
    const fn starts_like_a_server(&self) -> bool {
        self.len == 0 || self.bytes[0] == 0x20 || self.bytes[0] == 0xF0
    }

    /// The service these bytes are known from. Where only a part has come, `whole` decides whether it counts.
    fn looks_like(&self, whole: bool) -> Option<&'static str> {
        let seen = &self.bytes[..self.len];
        let known = |start: &[u8]| {
            if whole || seen.len() >= start.len() { seen.starts_with(start) } else { start.starts_with(seen) }
        };
        OTHERS.iter().find(|(start, _)| known(start)).map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(decoder: &Decoder) -> usize {
        let State::Filling { frame, .. } = &decoder.state else { return 0 };
        frame.full.iter().map(Vec::capacity).sum::<usize>() + frame.last.capacity()
    }

    #[test]
    fn a_header_that_lies_about_its_length_makes_no_room_ahead_of_what_came() {
        let limits = Limits { max_packet_size: u32::MAX, ..Limits::default() };
        let mut decoder = Decoder::new(Version::V311, Sender::Client, limits);
        // A PUBLISH of 256 MiB, of which only this much comes.
        decoder.push(Bytes::from_static(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]));
        let mut received = 5;
        for size in [1, 100, 65_530, 65_536, 200_000, 1_000_000] {
            assert_eq!(decoder.next(), Ok(None));
            assert!(room(&decoder) <= received + SEGMENT, "{} for {received} bytes", room(&decoder));
            decoder.push(Bytes::from(vec![b'x'; size]));
            received += size;
        }
    }

    #[test]
    fn a_small_packet_that_spans_chunks_takes_its_own_size() {
        let mut decoder = Decoder::new(Version::V311, Sender::Client, Limits::default());
        decoder.push(Bytes::from_static(&[0x30, 0x08, 0, 3]));
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(room(&decoder), 10);
    }
}
