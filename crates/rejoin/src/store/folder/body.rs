//! Messages as rows: outbound ones with their acceptance, inbound ones with their identifier.

use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::PacketId;
use rejoin_core::{
    Message, MessageId, Publication, PublishProperties, Qos, SessionLossPolicy, Text, TopicName,
};

use super::clock::Accepted;
use super::row;
#[cfg(unix)]
use crate::store::tools::Body;
use crate::store::wire::{Flaw, Put, Reader, text};

mod flag {
    pub(super) const QOS: u8 = 0b0000_0011;
    pub(super) const RETAIN: u8 = 0b0000_0100;
    pub(super) const QUEUE_QOS0: u8 = 0b0000_1000;
    pub(super) const LATEST_ONLY: u8 = 0b0001_0000;
    pub(super) const EXPIRES: u8 = 0b0010_0000;
    pub(super) const ASSIGNED: u8 = 0b0100_0000;
    pub(super) const PROPERTIES: u8 = 0b1000_0000;
    /// Inbound.
    pub(super) const DUP: u8 = 0b0000_1000;
    pub(super) const NAMED: u8 = 0b0001_0000;
}

/// A message's row, without its payload copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageRow<'a> {
    flags: u8,
    on_loss: u8,
    pub(super) accepted: Accepted,
    /// When it expires, counted from its acceptance.
    pub(super) expires_after: Option<Duration>,
    /// The exchange it began in the commit that brought it: identifier and order.
    pub(super) assigned: Option<(PacketId, u64)>,
    pub(super) topic: &'a [u8],
    properties: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl<'a> MessageRow<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, Flaw> {
        let flags = reader.u8()?;
        let on_loss = reader.u8()?;
        let mut accepted = Accepted { wall_ms: reader.u64()?, boot: 0, uptime_ms: 0 };
        let mut expires_after = None;
        if flags & flag::EXPIRES != 0 {
            let (seconds, nanos) = (reader.u64()?, reader.u32()?);
            expires_after = Some(Duration::new(seconds, nanos.min(999_999_999)));
            accepted.boot = reader.u32()?;
            accepted.uptime_ms = reader.u64()?;
        }
        let mut assigned = None;
        if flags & flag::ASSIGNED != 0 {
            let packet_id = PacketId::new(reader.u16()?).ok_or("a packet identifier is zero")?;
            assigned = Some((packet_id, reader.u64()?));
        }
        let topic = reader.short()?;
        let properties = if flags & flag::PROPERTIES == 0 { &[] } else { reader.long()? };
        let payload = reader.rest();
        Ok(Self { flags, on_loss, accepted, expires_after, assigned, topic, properties, payload })
    }

    pub(super) fn qos(&self) -> Result<Qos, Flaw> {
        Qos::from_u8(self.flags & flag::QOS).ok_or("QoS 3 does not exist")
    }

    pub(super) const fn retain(&self) -> bool {
        self.flags & flag::RETAIN != 0
    }

    pub(super) const fn size_bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64
    }

    /// Its topic, if a newer message to it takes its place.
    pub(super) fn latest_of(&self) -> Result<Option<Text>, Flaw> {
        if self.flags & flag::LATEST_ONLY == 0 { Ok(None) } else { text(self.topic).map(Some) }
    }

    /// The message itself; copies topic and payload.
    pub(super) fn publication(&self) -> Result<Publication, Flaw> {
        let topic = TopicName::try_from(text(self.topic)?).map_err(|_| "the topic cannot be published to")?;
        let mut publication = Publication::new(topic, Bytes::copy_from_slice(self.payload));
        publication.qos = self.qos()?;
        publication.retain = self.flags & flag::RETAIN != 0;
        publication.queue_qos0 = self.flags & flag::QUEUE_QOS0 != 0;
        publication.latest_only = self.flags & flag::LATEST_ONLY != 0;
        publication.expires_after = self.expires_after;
        publication.on_loss = match self.on_loss {
            1 => Some(SessionLossPolicy::Resend),
            2 => Some(SessionLossPolicy::Fail),
            3 => Some(SessionLossPolicy::Ask),
            _ => None,
        };
        if self.flags & flag::PROPERTIES != 0 {
            publication.properties = Some(Box::new(properties(self.properties)?));
        }
        Ok(publication)
    }
}

/// Writes the content of a message's row.
pub(super) fn put_message(
    row: &mut Vec<u8>,
    publication: &Publication,
    accepted: Accepted,
    assigned: Option<(PacketId, u64)>,
) {
    let set = |on: bool, flag: u8| if on { flag } else { 0 };
    row.reserve(64 + publication.topic.text().len() + publication.payload.len());
    row.put_u8(
        publication.qos as u8
            | set(publication.retain, flag::RETAIN)
            | set(publication.queue_qos0, flag::QUEUE_QOS0)
            | set(publication.latest_only, flag::LATEST_ONLY)
            | set(publication.expires_after.is_some(), flag::EXPIRES)
            | set(assigned.is_some(), flag::ASSIGNED)
            | set(publication.properties.is_some(), flag::PROPERTIES),
    );
    row.put_u8(match publication.on_loss {
        None => 0,
        Some(SessionLossPolicy::Resend) => 1,
        Some(SessionLossPolicy::Fail) => 2,
        Some(SessionLossPolicy::Ask) => 3,
    });
    row.put_u64(accepted.wall_ms);
    if let Some(after) = publication.expires_after {
        row.put_u64(after.as_secs());
        row.put_u32(after.subsec_nanos());
        row.put_u32(accepted.boot);
        row.put_u64(accepted.uptime_ms);
    }
    if let Some((packet_id, order)) = assigned {
        row.put_u16(packet_id.get());
        row.put_u64(order);
    }
    row.put_short(publication.topic.as_str());
    put_properties(row, publication.properties.as_deref());
    row.put(&publication.payload);
}

/// The row of a message.
pub(super) fn message_row(
    key: u64,
    publication: &Publication,
    accepted: Accepted,
    assigned: Option<(PacketId, u64)>,
) -> Vec<u8> {
    let mut row = row::open();
    put_message(&mut row, publication, accepted, assigned);
    row::seal(key, row)
}

/// The row of an inbound message.
pub(super) fn inbox_row(key: u64, packet_id: PacketId, message: &Message) -> Vec<u8> {
    let mut row = row::open();
    put_inbox(&mut row, packet_id, message);
    row::seal(key, row)
}

fn put_inbox(row: &mut Vec<u8>, packet_id: PacketId, message: &Message) {
    let set = |on: bool, flag: u8| if on { flag } else { 0 };
    row.put_u8(
        message.qos as u8
            | set(message.retain, flag::RETAIN)
            | set(message.dup, flag::DUP)
            | set(message.id.is_some(), flag::NAMED)
            | set(message.properties.is_some(), flag::PROPERTIES),
    );
    row.put_u16(packet_id.get());
    if let Some(id) = message.id {
        row.put_u64(id.0);
    }
    row.put_short(message.topic.as_str());
    put_properties(row, message.properties.as_deref());
    row.put(&message.payload);
}

/// An inbound message and its identifier.
pub(super) fn inbox_message(mut reader: Reader<'_>) -> Result<(PacketId, Message), Flaw> {
    let flags = reader.u8()?;
    let packet_id = PacketId::new(reader.u16()?).ok_or("a packet identifier is zero")?;
    let id = if flags & flag::NAMED == 0 { None } else { Some(MessageId(reader.u64()?)) };
    let topic = reader.text()?;
    let set = if flags & flag::PROPERTIES == 0 { None } else { Some(Box::new(properties(reader.long()?)?)) };
    let message = Message {
        id,
        topic,
        payload: Bytes::copy_from_slice(reader.rest()),
        qos: Qos::from_u8(flags & flag::QOS).ok_or("QoS 3 does not exist")?,
        retain: flags & flag::RETAIN != 0,
        dup: flags & flag::DUP != 0,
        properties: set,
    };
    Ok((packet_id, message))
}

/// Writes a body for another program on this machine.
#[cfg(unix)]
pub(in crate::store) fn put_body(out: &mut Vec<u8>, body: Option<&Body>) {
    let mut row = Vec::new();
    let word = match body {
        None => 0,
        Some(Body::Publication(publication)) => {
            put_message(&mut row, publication, Accepted::default(), None);
            1
        }
        Some(Body::Message(message)) => {
            put_inbox(&mut row, PacketId::MIN, message);
            2
        }
    };
    out.put_u8(word);
    out.put_long(&row);
}

/// Reads what [`put_body`] wrote.
#[cfg(unix)]
pub(in crate::store) fn get_body(from: &mut Reader<'_>) -> Result<Option<Body>, Flaw> {
    let (word, row) = (from.u8()?, Reader::new(from.long()?));
    Ok(match word {
        1 => Some(Body::Publication(Box::new(MessageRow::decode(row)?.publication()?))),
        2 => Some(Body::Message(Box::new(inbox_message(row)?.1))),
        _ => None,
    })
}

/// Properties by their number in the standard.
mod property {
    pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(super) const CONTENT_TYPE: u8 = 0x03;
    pub(super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(super) const CORRELATION_DATA: u8 = 0x09;
    pub(super) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(super) const TOPIC_ALIAS: u8 = 0x23;
    pub(super) const USER: u8 = 0x26;
}

fn put_properties(row: &mut Vec<u8>, set: Option<&PublishProperties>) {
    let Some(set) = set else { return };
    let mut block = Vec::new();
    if let Some(utf8) = set.payload_is_utf8 {
        block.put(&[property::PAYLOAD_FORMAT, u8::from(utf8)]);
    }
    if let Some(seconds) = set.message_expiry {
        block.put_u8(property::MESSAGE_EXPIRY);
        block.put_u32(seconds);
    }
    if let Some(alias) = set.topic_alias {
        block.put_u8(property::TOPIC_ALIAS);
        block.put_u16(alias.get());
    }
    for (tag, value) in
        [(property::RESPONSE_TOPIC, &set.response_topic), (property::CONTENT_TYPE, &set.content_type)]
    {
        if let Some(value) = value {
            block.put_u8(tag);
            block.put_short(value);
        }
    }
    if let Some(data) = &set.correlation_data {
        block.put_u8(property::CORRELATION_DATA);
        block.put_long(data);
    }
    for (name, value) in &set.user_properties {
        block.put_u8(property::USER);
        block.put_short(name);
        block.put_short(value);
    }
    for id in &set.subscription_ids {
        block.put_u8(property::SUBSCRIPTION_ID);
        block.put_u32(*id);
    }
    row.put_long(&block);
}

fn properties(block: &[u8]) -> Result<PublishProperties, Flaw> {
    let mut set = PublishProperties::default();
    let mut reader = Reader::new(block);
    while !reader.rest().is_empty() {
        match reader.u8()? {
            property::PAYLOAD_FORMAT => set.payload_is_utf8 = Some(reader.flag()?),
            property::MESSAGE_EXPIRY => set.message_expiry = Some(reader.u32()?),
            property::TOPIC_ALIAS => set.topic_alias = PacketId::new(reader.u16()?),
            property::RESPONSE_TOPIC => set.response_topic = Some(reader.text()?),
            property::CONTENT_TYPE => set.content_type = Some(reader.text()?),
            property::CORRELATION_DATA => {
                set.correlation_data = Some(Bytes::copy_from_slice(reader.long()?));
            }
            property::USER => set.user_properties.push((reader.text()?, reader.text()?)),
            property::SUBSCRIPTION_ID => set.subscription_ids.push(reader.u32()?),
            _ => return Err("a property is not known"),
        }
    }
    Ok(set)
}
