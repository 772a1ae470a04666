//! The rows of format 1: their keys, the envelope that finds a flipped bit, and all contents but messages.
//!
//! A key is a `u64`: the kind in the upper four bits, a name below. Kinds are in this order so that what one commit
//! changes lies close together, and new messages are appended at the very end. docs/queue.md has it byte by byte.

use rejoin_core::codec::packet::PacketId;
use rejoin_core::{Digest, MessageId, Parking, PublishId, Text};

use crate::store::wire::{Flaw, Put, Reader};

/// The format this program writes and reads.
pub(super) const FORMAT: u32 = 1;
/// The first byte of every row.
const ROW_VERSION: u8 = 1;
const NAME_BITS: u32 = 60;
/// Names above this do not fit into a key; at a billion a second they last for 36 years.
pub(super) const LAST_NAME: u64 = (1 << NAME_BITS) - 1;
/// Names of publishes and messages are reserved so many at a time, so that none is used twice and no commit pays for it.
pub(super) const NAMES_RESERVED: u64 = 65_536;
/// Attempts remembered for the budget, which counts twelve a minute.
pub(super) const REACHED_MOST: usize = 12;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Meta = 0,
    InboxState = 1,
    Inbox = 2,
    Parked = 3,
    Exchange = 4,
    Message = 5,
}

impl Kind {
    pub(super) const fn key(self, name: u64) -> u64 {
        ((self as u64) << NAME_BITS) | (name & LAST_NAME)
    }

    /// Kind and name of a key.
    pub(super) const fn of(key: u64) -> Option<(Self, u64)> {
        let kind = match key >> NAME_BITS {
            0 => Self::Meta,
            1 => Self::InboxState,
            2 => Self::Inbox,
            3 => Self::Parked,
            4 => Self::Exchange,
            5 => Self::Message,
            _ => return None,
        };
        Some((kind, key & LAST_NAME))
    }

    /// The word for people.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Meta => "header",
            Self::InboxState => "state of inbound message",
            Self::Inbox => "inbound message",
            Self::Parked => "parked message",
            Self::Exchange => "state of message",
            Self::Message => "message",
        }
    }
}

pub(super) const IDENTITY: u64 = Kind::Meta.key(0);
pub(super) const SESSION: u64 = Kind::Meta.key(1);
pub(super) const NAMES: u64 = Kind::Meta.key(2);

/// Begins a row.
pub(super) fn open() -> Vec<u8> {
    vec![ROW_VERSION]
}

/// Ends a row: the checksum is over the key too, so that a row in the wrong place is found.
pub(super) fn seal(key: u64, mut row: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &row);
    row.put_u32(sum);
    row
}

/// The content of a row whose checksum fits.
pub(super) fn unseal(key: u64, row: &[u8]) -> Result<Reader<'_>, Flaw> {
    let (body, sum) = row.split_last_chunk::<4>().ok_or("it is shorter than a checksum")?;
    if checksum(key, body) != u32::from_le_bytes(*sum) {
        return Err("its checksum does not fit");
    }
    let mut reader = Reader::new(body);
    if reader.u8()? != ROW_VERSION {
        return Err("its version is not known");
    }
    Ok(reader)
}

fn checksum(key: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Whose queue it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) created_wall_ms: u64,
    pub(super) client_id: Option<Text>,
    pub(super) servers: Vec<String>,
}

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = open();
        // Format and the version byte in front of it stay where they are in every format to come.
        row.put_u32(FORMAT);
        row.put_u64(self.created_wall_ms);
        row.put_u8(u8::from(self.client_id.is_some()));
        row.put_short(self.client_id.as_deref().unwrap_or_default());
        row.put_u16(u16::try_from(self.servers.len()).unwrap_or(u16::MAX));
        for server in self.servers.iter().take(usize::from(u16::MAX)) {
            row.put_short(server);
        }
        seal(IDENTITY, row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Flaw> {
        let mut reader = unseal(IDENTITY, row)?;
        let _format = reader.u32()?;
        let created_wall_ms = reader.u64()?;
        let given = reader.flag()?;
        let client_id = reader.text()?;
        let count = reader.u16()?;
        let servers = (0..count).map(|_| reader.string()).collect::<Result<_, _>>()?;
        Ok(Self { created_wall_ms, client_id: given.then_some(client_id), servers })
    }

    /// The format an identity row names, whatever else it holds.
    pub(super) fn format_of(row: &[u8]) -> Option<u32> {
        Some(u32::from_le_bytes(*row.get(1..5)?.first_chunk()?))
    }
}

/// What is known of the MQTT session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SessionRow {
    pub(super) epoch: u64,
    pub(super) server: Option<String>,
    pub(super) connack_unseen: bool,
    pub(super) assigned_client_id: Option<Text>,
    pub(super) reached_wall_ms: Vec<u64>,
    /// In order. Not in rows of versions that forgot them.
    pub(super) leased: Vec<PacketId>,
}

impl SessionRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = open();
        row.put_u64(self.epoch);
        row.put_u8(u8::from(self.connack_unseen));
        row.put_u8(u8::from(self.server.is_some()));
        row.put_short(self.server.as_deref().unwrap_or_default());
        row.put_u8(u8::from(self.assigned_client_id.is_some()));
        row.put_short(self.assigned_client_id.as_deref().unwrap_or_default());
        let reached = &self.reached_wall_ms[self.reached_wall_ms.len().saturating_sub(REACHED_MOST)..];
        row.put_u8(u8::try_from(reached.len()).unwrap_or(u8::MAX));
        for at in reached {
            row.put_u64(*at);
        }
        // There are 65,535 identifiers, so their number fits.
        row.put_u16(u16::try_from(self.leased.len()).unwrap_or(u16::MAX));
        for packet_id in &self.leased {
            row.put_u16(packet_id.get());
        }
        seal(SESSION, row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Flaw> {
        let mut reader = unseal(SESSION, row)?;
        let epoch = reader.u64()?;
        let connack_unseen = reader.flag()?;
        let known = reader.flag()?;
        let server = reader.string()?;
        let assigned = reader.flag()?;
        let client_id = reader.text()?;
        let count = reader.u8()?;
        let reached_wall_ms = (0..count).map(|_| reader.u64()).collect::<Result<_, _>>()?;
        let count = if reader.rest().is_empty() { 0 } else { reader.u16()? };
        let identifier = |_| PacketId::new(reader.u16()?).ok_or("an identifier is 0");
        let leased = (0..count).map(identifier).collect::<Result<_, _>>()?;
        Ok(Self {
            epoch,
            server: known.then_some(server),
            connack_unseen,
            assigned_client_id: assigned.then_some(client_id),
            reached_wall_ms,
            leased,
        })
    }
}

/// Names given out, and the boot of the machine that the uptimes in messages belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// No publish has a name above this.
    pub(super) publish_most: u64,
    /// No inbound message has a name above this.
    pub(super) message_most: u64,
    /// Counts the boots seen.
    pub(super) boot: u32,
    /// The system's own name of the boot; zeros where it has none.
    pub(super) boot_id: [u8; 16],
}

impl Names {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = open();
        row.put_u64(self.publish_most);
        row.put_u64(self.message_most);
        row.put_u32(self.boot);
        row.put(&self.boot_id);
        seal(NAMES, row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Flaw> {
        let mut reader = unseal(NAMES, row)?;
        let (publish_most, message_most, boot) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let mut boot_id = [0; 16];
        boot_id.copy_from_slice(reader.take(16)?);
        Ok(Self { publish_most, message_most, boot, boot_id })
    }

    /// Makes sure that a name is within what is reserved. `true`: the row changed.
    pub(super) const fn reserve(most: &mut u64, name: u64) -> bool {
        let too_small = name > *most;
        if too_small {
            *most = name.saturating_add(NAMES_RESERVED - 1);
        }
        too_small
    }
}

/// How far the exchange of a message is, where it is not simply waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Released exchanges in the order of their PUBREC, the others in the order in which they began.
    pub(super) order: u64,
    /// Sent in the present session under this identifier.
    pub(super) packet_id: Option<PacketId>,
    /// PUBREC came.
    pub(super) released: bool,
    /// The application must decide.
    pub(super) asked: bool,
    /// It was sent in a former session, or as QoS 1 though it is one of QoS 2.
    pub(super) again: bool,
    /// It left under this identifier as QoS 1 alone. Not in rows of versions that did not tell.
    pub(super) lowered: bool,
}

impl Exchange {
    pub(super) fn encode(&self, key: u64) -> Vec<u8> {
        let mut row = open();
        let (released, asked) = (u8::from(self.released), u8::from(self.asked));
        row.put_u8(released | asked << 1 | u8::from(self.again) << 2 | u8::from(self.lowered) << 3);
        row.put_u16(self.packet_id.map_or(0, PacketId::get));
        row.put_u64(self.order);
        seal(key, row)
    }

    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, Flaw> {
        let flags = reader.u8()?;
        let packet_id = PacketId::new(reader.u16()?);
        let order = reader.u64()?;
        let is_set = |bit: u8| flags & 1 << bit != 0;
        let (released, asked, again, lowered) = (is_set(0), is_set(1), is_set(2), is_set(3));
        Ok(Self { order, packet_id, released, asked, again, lowered })
    }

    /// Nothing but the beginning, which the message's own row can say.
    pub(super) const fn is_plain(&self) -> bool {
        !self.released && !self.asked && !self.again && !self.lowered && self.packet_id.is_some()
    }
}

/// An inbound message that is not done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) packet_id: Option<PacketId>,
    pub(super) taken: bool,
    /// What it was, if it was taken. Not in rows of versions that kept none; those leave it when they read one of ours.
    pub(super) digest: Option<Digest>,
}

impl Holding {
    pub(super) fn encode(&self, key: u64) -> Vec<u8> {
        let mut row = open();
        row.put_u16(self.packet_id.map_or(0, PacketId::get));
        row.put_u8(u8::from(self.taken));
        if let Some(digest) = self.digest.filter(|_| self.taken) {
            row.put_u64(digest.0);
        }
        seal(key, row)
    }

    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, Flaw> {
        let (packet_id, taken) = (PacketId::new(reader.u16()?), reader.flag()?);
        let digest = if reader.rest().is_empty() { None } else { Some(Digest(reader.u64()?)) };
        Ok(Self { packet_id, taken, digest })
    }

    /// The row of the message itself says the same.
    pub(super) const fn is_plain(&self) -> bool {
        self.packet_id.is_some() && !self.taken
    }
}

/// Why and when a message was parked; the content of its row as it was follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParkedHead {
    pub(super) why: Parking,
    pub(super) at_wall_ms: u64,
}

impl ParkedHead {
    pub(super) fn encode(&self, key: u64, content: &[u8]) -> Vec<u8> {
        let mut row = open();
        let (word, cuts) = match self.why {
            Parking::Cut { cuts } => (1, cuts),
            Parking::Unreadable => (2, 0),
            // A reason this format has no number for.
            _ => (0, 0),
        };
        row.put_u8(word);
        row.put_u32(cuts);
        row.put_u64(self.at_wall_ms);
        row.put(content);
        seal(key, row)
    }

    /// The head and what follows it.
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<(Self, Reader<'_>), Flaw> {
        let (word, cuts, at_wall_ms) = (reader.u8()?, reader.u32()?, reader.u64()?);
        let why = if word == 1 { Parking::Cut { cuts } } else { Parking::Unreadable };
        Ok((Self { why, at_wall_ms }, reader))
    }
}

pub(super) const fn message_key(id: PublishId) -> u64 {
    Kind::Message.key(id.0)
}

pub(super) const fn exchange_key(id: PublishId) -> u64 {
    Kind::Exchange.key(id.0)
}

pub(super) const fn parked_key(id: PublishId) -> u64 {
    Kind::Parked.key(id.0)
}

pub(super) const fn inbox_key(id: MessageId) -> u64 {
    Kind::Inbox.key(id.0)
}

pub(super) const fn inbox_state_key(id: MessageId) -> u64 {
    Kind::InboxState.key(id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the file does not move: identifier 7, taken, and what it was, where that is known.
    #[test]
    fn a_message_that_was_taken_is_read_with_its_digest_and_without() {
        let key = inbox_state_key(MessageId(9));
        let old = Holding { packet_id: PacketId::new(7), taken: true, digest: None };
        let new = Holding { digest: Some(Digest(0x0807_0605_0403_0201)), ..old };
        for (holding, content) in [(old, &[7, 0, 1][..]), (new, &[7, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8][..])] {
            let row = holding.encode(key);
            assert_eq!(row, seal(key, [&open(), content].concat()));
            assert_eq!(Holding::decode(unseal(key, &row).unwrap()), Ok(holding));
        }
        let torn = seal(key, [&open()[..], &[7, 0, 1, 1, 2, 3]].concat());
        assert!(Holding::decode(unseal(key, &torn).unwrap()).is_err(), "a part of a digest is damage");
    }

    /// As the first versions read it: two numbers, and what follows is left.
    #[test]
    fn a_version_that_keeps_no_digest_reads_a_row_that_has_one() {
        let key = inbox_state_key(MessageId(9));
        let row = Holding { packet_id: PacketId::new(7), taken: true, digest: Some(Digest(1)) }.encode(key);
        let mut reader = unseal(key, &row).unwrap();
        assert_eq!((reader.u16(), reader.flag()), (Ok(7), Ok(true)));
    }
}
