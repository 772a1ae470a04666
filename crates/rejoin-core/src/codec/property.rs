//! The properties of MQTT 5.0: which exist, where they may stand, and how often.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::error::DecodeError;
use super::packet::UserProperties;
use super::primitives::Cursor;
use crate::text::Text;

/// Property identifiers.
pub(super) mod id {
    pub(in crate::codec) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(in crate::codec) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(in crate::codec) const CONTENT_TYPE: u8 = 0x03;
    pub(in crate::codec) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in crate::codec) const CORRELATION_DATA: u8 = 0x09;
    pub(in crate::codec) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(in crate::codec) const SESSION_EXPIRY: u8 = 0x11;
    pub(in crate::codec) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(in crate::codec) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in crate::codec) const AUTH_METHOD: u8 = 0x15;
    pub(in crate::codec) const AUTH_DATA: u8 = 0x16;
    pub(in crate::codec) const REQUEST_PROBLEM: u8 = 0x17;
    pub(in crate::codec) const WILL_DELAY: u8 = 0x18;
    pub(in crate::codec) const REQUEST_RESPONSE: u8 = 0x19;
    pub(in crate::codec) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(in crate::codec) const SERVER_REFERENCE: u8 = 0x1C;
    pub(in crate::codec) const REASON_STRING: u8 = 0x1F;
    pub(in crate::codec) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in crate::codec) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in crate::codec) const TOPIC_ALIAS: u8 = 0x23;
    pub(in crate::codec) const MAXIMUM_QOS: u8 = 0x24;
    pub(in crate::codec) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(in crate::codec) const USER: u8 = 0x26;
    pub(in crate::codec) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(in crate::codec) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(in crate::codec) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(in crate::codec) const SHARED_AVAILABLE: u8 = 0x2A;
}

/// Where a property may stand: one bit for each packet that has properties, and one for the will.
pub(super) mod place {
    pub(in crate::codec) const CONNECT: u16 = 1;
    pub(in crate::codec) const CONNACK: u16 = 1 << 1;
    pub(in crate::codec) const PUBLISH: u16 = 1 << 2;
    pub(in crate::codec) const WILL: u16 = 1 << 3;
    pub(in crate::codec) const ACK: u16 = 1 << 4;
    pub(in crate::codec) const SUBSCRIBE: u16 = 1 << 5;
    pub(in crate::codec) const SUBACK: u16 = 1 << 6;
    pub(in crate::codec) const UNSUBSCRIBE: u16 = 1 << 7;
    pub(in crate::codec) const DISCONNECT: u16 = 1 << 8;
    pub(in crate::codec) const AUTH: u16 = 1 << 9;
    pub(in crate::codec) const ANY: u16 = (1 << 10) - 1;
}

/// Name and places of a property (table 2-4 of the standard); no places: no such property.
const fn describe(property: u8) -> (&'static str, u16) {
    use place::{ACK, ANY, AUTH, CONNACK, CONNECT, DISCONNECT, PUBLISH, SUBACK, SUBSCRIBE, WILL};
    match property {
        id::PAYLOAD_FORMAT => ("payload format indicator", PUBLISH | WILL),
        id::MESSAGE_EXPIRY => ("message expiry interval", PUBLISH | WILL),
        id::CONTENT_TYPE => ("content type", PUBLISH | WILL),
        id::RESPONSE_TOPIC => ("response topic", PUBLISH | WILL),
        id::CORRELATION_DATA => ("correlation data", PUBLISH | WILL),
        id::SUBSCRIPTION_ID => ("subscription identifier", PUBLISH | SUBSCRIBE),
        id::SESSION_EXPIRY => ("session expiry interval", CONNECT | CONNACK | DISCONNECT),
        id::ASSIGNED_CLIENT_ID => ("assigned client identifier", CONNACK),
        id::SERVER_KEEP_ALIVE => ("server keep alive", CONNACK),
        id::AUTH_METHOD => ("authentication method", CONNECT | CONNACK | AUTH),
        id::AUTH_DATA => ("authentication data", CONNECT | CONNACK | AUTH),
        id::REQUEST_PROBLEM => ("request problem information", CONNECT),
        id::WILL_DELAY => ("will delay interval", WILL),
        id::REQUEST_RESPONSE => ("request response information", CONNECT),
        id::RESPONSE_INFORMATION => ("response information", CONNACK),
        id::SERVER_REFERENCE => ("server reference", CONNACK | DISCONNECT),
        id::REASON_STRING => ("reason string", CONNACK | ACK | SUBACK | DISCONNECT | AUTH),
        id::RECEIVE_MAXIMUM => ("receive maximum", CONNECT | CONNACK),
        id::TOPIC_ALIAS_MAXIMUM => ("topic alias maximum", CONNECT | CONNACK),
        id::TOPIC_ALIAS => ("topic alias", PUBLISH),
        id::MAXIMUM_QOS => ("maximum QoS", CONNACK),
        id::RETAIN_AVAILABLE => ("retain available", CONNACK),
        id::USER => ("user property", ANY),
        id::MAXIMUM_PACKET_SIZE => ("maximum packet size", CONNECT | CONNACK),
        id::WILDCARD_AVAILABLE => ("wildcard subscription available", CONNACK),
        id::SUBSCRIPTION_IDS_AVAILABLE => ("subscription identifiers available", CONNACK),
        id::SHARED_AVAILABLE => ("shared subscription available", CONNACK),
        _ => ("property identifier", 0),
    }
}

/// Reads one block of properties: identifier by identifier, each value after its identifier.
pub(super) struct Properties<'a> {
    cursor: Cursor<'a>,
    place: u16,
    /// One bit for each identifier seen; identifiers end at 0x2A.
    seen: u64,
    /// Name of the property whose value comes next.
    name: &'static str,
    user_limit: usize,
}

impl<'a> Properties<'a> {
    /// Opens the block at the cursor, which moves past it. Its length must lie inside the packet, and a property that ends
    /// behind it is refused [u5-2.2.2.2-b].
    pub(super) fn open(cursor: &mut Cursor<'a>, place: u16, user_limit: usize) -> Result<Self, DecodeError> {
        let block = cursor.block("property length")?;
        Ok(Self { cursor: block, place, seen: 0, name: "property identifier", user_limit })
    }

    /// The next identifier, known to be allowed here and not a forbidden repeat; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<u8>, DecodeError> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        let property = self.cursor.u8("property identifier")?;
        let (name, places) = describe(property);
        if places & self.place == 0 {
            return Err(self.not_allowed(property));
        }
        // [u5-3.2.2.3-dup] [u5-3.1.3.2] [u5-3.3.2.3.6]
        let repeats = property == id::USER || property == id::SUBSCRIPTION_ID && self.place == place::PUBLISH;
        let bit = 1u64 << property;
        if self.seen & bit != 0 && !repeats {
            return Err(self.cursor.protocol(name, "is given twice"));
        }
        self.seen |= bit;
        self.name = name;
        Ok(Some(property))
    }

    /// A property that is unknown or has no place here is malformed [u5-2.2.2.2-a].
    #[cold]
    pub(super) const fn not_allowed(&self, property: u8) -> DecodeError {
        let (name, places) = describe(property);
        self.cursor.malformed(name, if places == 0 { "is unknown" } else { "is not allowed here" })
    }

    #[cold]
    pub(super) const fn protocol(&self, problem: &'static str) -> DecodeError {
        self.cursor.protocol(self.name, problem)
    }

    /// A byte that is 0 or 1; anything else is a protocol error [u5-3.1.2.11.6] [u5-3.2.2.3.5] [u5-3.3.2.3.2].
    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.cursor.u8(self.name)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.protocol("is neither 0 nor 1")),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.cursor.u16(self.name)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.cursor.u32(self.name)
    }

    /// A Receive Maximum: zero is a protocol error [u5-3.1.2.11.3] [u5-3.2.2.3.3].
    pub(super) fn nonzero_u16(&mut self) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.u16()?).ok_or_else(|| self.protocol("is zero"))
    }

    /// A Maximum Packet Size: zero is a protocol error [u5-3.1.2.11.4-a] [u5-3.2.2.3.6].
    pub(super) fn nonzero_u32(&mut self) -> Result<u32, DecodeError> {
        match self.u32()? {
            0 => Err(self.protocol("is zero")),
            value => Ok(value),
        }
    }

    /// A Subscription Identifier: zero is a protocol error [u5-3.3.2.3.8].
    pub(super) fn subscription_id(&mut self) -> Result<u32, DecodeError> {
        match self.cursor.varint(self.name)? {
            0 => Err(self.protocol("is zero")),
            value => Ok(value),
        }
    }

    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        self.cursor.text(self.name)
    }

    /// A Response Topic has no wildcards [MQTT-3.3.2-14].
    pub(super) fn response_topic(&mut self) -> Result<Text, DecodeError> {
        self.cursor.topic_name(self.name).map(|topic| topic.share().into())
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        self.cursor.binary(self.name)
    }

    /// A User Property: two strings [MQTT-1.5.7-1], as many as the limit allows.
    pub(super) fn user(&mut self, list: &mut UserProperties) -> Result<(), DecodeError> {
        if list.len() >= self.user_limit {
            return Err(DecodeError::TooManyUserProperties {
                packet: self.cursor.packet(),
                limit: self.user_limit,
            });
        }
        let name = self.text()?;
        let value = self.text()?;
        list.push((name, value));
        Ok(())
    }
}
