//! A message of a queue as a row of a table and as a JSON object.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rejoin::store::Parking;
use rejoin::store::tools::{Body, Entry, EntryName, EntryState};
use rejoin_core::codec::packet::PublishProperties;
use serde_json::{Map, Value, json};

use super::page::clean;
use crate::quantity::{size, span};

/// The head of the table.
pub(super) const HEAD: &str = "        ID  STATE      QOS       SIZE       AGE   EXPIRES  TOPIC";

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One row of the table.
pub(super) fn row(entry: &Entry, now_ms: u64) -> String {
    let name = match entry.name {
        EntryName::Publish(id) => id.0.to_string(),
        EntryName::Message(id) => format!("in {}", id.0),
    };
    let age = entry.accepted_wall_ms.map_or_else(|| "-".to_owned(), |at| since(at, now_ms));
    let expires = match entry.expires_wall_ms {
        None => "-".to_owned(),
        Some(at) if at <= now_ms => "now".to_owned(),
        Some(at) => since(now_ms, at),
    };
    let mut line = format!(
        "{name:>10}  {:<9}  {:>3}  {:>9}  {age:>8}  {expires:>8}  {}",
        state(&entry.state),
        entry.qos as u8,
        size(entry.payload_bytes),
        clean(&entry.topic),
    );
    if let Some(detail) = detail(&entry.state) {
        line.push_str("  (");
        line.push_str(&clean(&detail));
        line.push(')');
    }
    line
}

/// How long from one moment to another; clocks that ran backwards show nothing.
pub(super) fn since(from_ms: u64, to_ms: u64) -> String {
    to_ms.checked_sub(from_ms).map_or_else(|| "-".to_owned(), |ms| span(Duration::from_millis(ms)))
}

/// How far it is, in one word.
pub(super) const fn state(state: &EntryState) -> &'static str {
    match state {
        EntryState::Waiting { .. } => "waiting",
        EntryState::Sent { .. } => "sent",
        EntryState::Released { .. } => "released",
        EntryState::Undecided => "undecided",
        EntryState::Parked { .. } => "parked",
        EntryState::Inbound { .. } => "inbound",
        EntryState::Damaged { .. } => "damaged",
        _ => "other",
    }
}

/// Whether it is to be delivered, or may have to be.
pub(super) const fn is_outbound(entry: &Entry) -> bool {
    matches!(entry.name, EntryName::Publish(_)) && !matches!(entry.state, EntryState::Parked { .. })
}

fn detail(state: &EntryState) -> Option<String> {
    match state {
        EntryState::Waiting { possible_duplicate: true } => {
            Some("sent in a former session; may arrive twice".to_owned())
        }
        EntryState::Undecided => Some("the session was lost; the application must decide".to_owned()),
        EntryState::Parked { why, .. } => Some(match why {
            Parking::Cut { cuts } => format!("the broker cut {cuts} links over it"),
            Parking::Unreadable => "its body could not be read".to_owned(),
            _ => "set aside".to_owned(),
        }),
        EntryState::Damaged { what } => Some(what.clone()),
        _ => None,
    }
}

/// One object, without the body.
pub(super) fn object(entry: &Entry) -> Map<String, Value> {
    let (id, direction) = match entry.name {
        EntryName::Publish(id) => (id.0, "out"),
        EntryName::Message(id) => (id.0, "in"),
    };
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            object.insert(name.to_owned(), value);
        }
    };
    put("id", id.into());
    put("direction", direction.into());
    put("state", state(&entry.state).into());
    put("topic", entry.topic.as_str().into());
    put("qos", (entry.qos as u8).into());
    put("retain", entry.retain.into());
    put("payload_bytes", entry.payload_bytes.into());
    put("accepted_unix_ms", json!(entry.accepted_wall_ms));
    put("expires_unix_ms", json!(entry.expires_wall_ms));
    match &entry.state {
        EntryState::Waiting { possible_duplicate } => put("possible_duplicate", (*possible_duplicate).into()),
        EntryState::Sent { packet_id } | EntryState::Released { packet_id } => {
            put("packet_id", (*packet_id).into());
        }
        EntryState::Inbound { packet_id } => put("packet_id", json!(packet_id)),
        EntryState::Parked { why, at_wall_ms } => {
            put("parked_unix_ms", (*at_wall_ms).into());
            let reason = match why {
                Parking::Cut { .. } => "cut",
                Parking::Unreadable => "unreadable",
                _ => "other",
            };
            put("reason", reason.into());
        }
        _ => {}
    }
    put("detail", json!(detail(&entry.state)));
    object
}

/// One object, with payload and properties.
pub(super) fn whole(entry: &Entry, body: Option<&Body>) -> Map<String, Value> {
    let mut object = object(entry);
    let Some(body) = body else { return object };
    let (payload, properties) = parts(body);
    let (encoding, text) = match std::str::from_utf8(payload) {
        Ok(text) => ("utf8", text.to_owned()),
        Err(_) => ("base64", base64(payload)),
    };
    object.insert("payload_encoding".to_owned(), encoding.into());
    object.insert("payload".to_owned(), text.into());
    if let Some(properties) = properties {
        object.insert("properties".to_owned(), Value::Object(told(properties)));
    }
    object
}

/// Payload and properties, whichever way it goes.
pub(super) fn parts(body: &Body) -> (&[u8], Option<&PublishProperties>) {
    match body {
        Body::Publication(publication) => (&publication.payload, publication.properties.as_deref()),
        Body::Message(message) => (&message.payload, message.properties.as_deref()),
    }
}

/// The properties of MQTT 5 that are set.
pub(super) fn told(properties: &PublishProperties) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    put("content_type", properties.content_type.as_ref().map(|text| text.as_str().into()));
    put("response_topic", properties.response_topic.as_ref().map(|text| text.as_str().into()));
    put("correlation_data_base64", properties.correlation_data.as_ref().map(|data| base64(data).into()));
    put("payload_is_utf8", properties.payload_is_utf8.map(Value::from));
    put("message_expiry_s", properties.message_expiry.map(Value::from));
    let pairs = properties.user_properties.iter();
    let pairs: Vec<Value> = pairs.map(|(name, value)| json!([name.as_str(), value.as_str()])).collect();
    put("user_properties", (!pairs.is_empty()).then(|| pairs.into()));
    object
}

/// Base64 with padding [RFC 4648, 4].
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let whole =
            group.iter().fold(0_u32, |whole, byte| whole << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(whole >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xFB, 0xEF, 0xFF]), "++//");
    }

    #[test]
    fn a_row_stands_below_its_head() {
        let entry = Entry {
            name: EntryName::Publish(rejoin::PublishId(7)),
            state: EntryState::Waiting { possible_duplicate: false },
            topic: "room/1".to_owned(),
            qos: rejoin::Qos::AtLeastOnce,
            retain: false,
            payload_bytes: 2048,
            accepted_wall_ms: Some(1_000),
            expires_wall_ms: Some(400_000_000),
        };
        let row = row(&entry, 5_000);
        assert_eq!(row, "         7  waiting      1    2.0 KiB      4.0s     4d15h  room/1");
        assert_eq!(row.find("room/1"), HEAD.find("TOPIC"));
    }
}
