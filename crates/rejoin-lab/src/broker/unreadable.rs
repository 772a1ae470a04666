//! Bytes that the decoder refuses, and the rule that each refusal stands for.

use rejoin_core::codec::DecodeError;

use super::violation::Fault;

/// Packet, field and problem in the decoder's words, and the clause.
const NAMED: &[(&str, &str, &str, &str)] = &[
    ("PUBLISH", "DUP", "is set at QoS 0", "MQTT-3.3.1-2"),
    ("PUBLISH", "topic name", "holds a wildcard", "MQTT-3.3.2-2"),
    ("PUBLISH", "topic name", "is empty", "MQTT-4.7.3-1"),
    ("PUBLISH", "topic name", "is empty without a topic alias", "u5-3.3.2.1"),
    ("PUBLISH", "subscription identifier", "may not come from a client", "MQTT-3.3.4-6"),
    ("CONNECT", "will topic", "holds a wildcard", "MQTT-4.7.0-1"),
    ("CONNECT", "will topic", "is empty", "MQTT-4.7.3-1"),
    ("SUBSCRIBE", "subscription identifier", "is zero", "u5-3.8.2.1.2"),
    ("SUBSCRIBE", "topic filter", "is empty", "MQTT-4.7.3-1"),
    ("SUBSCRIBE", "no local", "is set on a shared subscription", "MQTT-3.8.3-4"),
    ("AUTH", "reason code", "is not one of this packet's", "MQTT-3.15.2-1"),
    ("AUTH", "authentication method", "is missing", "u5-3.15.2.2.2"),
    ("UNSUBSCRIBE", "topic filter", "is empty", "MQTT-4.7.3-1"),
];

pub(super) fn fault_of(error: &DecodeError) -> Fault {
    let clause = match *error {
        DecodeError::TopicAliasZero => "MQTT-3.3.2-8",
        DecodeError::UnsupportedVersion { .. } => "MQTT-3.1.2-2",
        DecodeError::TooLarge { .. } => "MQTT-3.2.2-15",
        DecodeError::Malformed { packet, field, problem }
        | DecodeError::Protocol { packet, field, problem } => NAMED
            .iter()
            .find(|(p, f, what, _)| (*p, *f, *what) == (packet, field, problem))
            .map_or("MQTT-4.13.1-1", |(.., clause)| clause),
        _ => "MQTT-4.13.1-1",
    };
    Fault::fatal(clause, error.reason(), error.to_string())
}
