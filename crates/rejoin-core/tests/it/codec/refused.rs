//! What must be refused when it is read: one row for each rule.

use bytes::Bytes;
use rejoin_core::codec::packet::{Packet, Version};
use rejoin_core::codec::{DecodeError, Decoded, Decoder, Limits, Sender};

use super::{WIDE, decode, decoder, wire};
use Sender::{Client, Server};
use Version::{V5, V311};

/// Version, writer, bytes, code for the peer, message.
type Row = (Version, Sender, &'static str, u8, &'static str);

#[rustfmt::skip]
const HEADERS: &[Row] = &[
    // [MQTT-2.1.3-1]; [MQTT311-2.2.2-2]
    (V5, Server, "00 00", 0x81, "malformed packet: packet type is the reserved 0"),
    (V5, Server, "D1 00", 0x81, "malformed PINGRESP: reserved flags are wrong"),
    (V311, Server, "41 02 0001", 0x81, "malformed PUBACK: reserved flags are wrong"),
    // [MQTT-3.6.1-1]
    (V5, Server, "60 02 0001", 0x81, "malformed PUBREL: reserved flags are wrong"),
    (V311, Server, "63 02 0001", 0x81, "malformed PUBREL: reserved flags are wrong"),
    // [MQTT-3.8.1-1]
    (V5, Client, "80 07 0001 00 0001'#' 00", 0x81, "malformed SUBSCRIBE: reserved flags are wrong"),
    // [MQTT-3.10.1-1]
    (V311, Client, "A0 05 0001 0001'#'", 0x81, "malformed UNSUBSCRIBE: reserved flags are wrong"),
    // [MQTT-3.14.1-1]
    (V5, Server, "E2 00", 0x81, "malformed DISCONNECT: reserved flags are wrong"),
    // [MQTT-3.15.1-1]
    (V5, Server, "F1 00", 0x81, "malformed AUTH: reserved flags are wrong"),
    // [MQTT-3.3.1-4]
    (V5, Server, "36 07 0001'a' 0001 00", 0x81, "malformed PUBLISH: QoS is 3"),
    (V311, Client, "36 05 0001'a' 0001", 0x81, "malformed PUBLISH: QoS is 3"),
    // [MQTT-3.3.1-2]
    (V311, Server, "38 03 0001'a'", 0x81, "malformed PUBLISH: DUP is set at QoS 0"),
    // Direction: told by the first byte alone.
    (V5, Client, "20", 0x82, "protocol error in CONNACK: packet type may not come from a client here"),
    (V5, Client, "90", 0x82, "protocol error in SUBACK: packet type may not come from a client here"),
    (V5, Client, "B0", 0x82, "protocol error in UNSUBACK: packet type may not come from a client here"),
    (V5, Client, "D0", 0x82, "protocol error in PINGRESP: packet type may not come from a client here"),
    (V5, Server, "10", 0x82, "protocol error in CONNECT: packet type may not come from a server here"),
    (V5, Server, "82", 0x82, "protocol error in SUBSCRIBE: packet type may not come from a server here"),
    (V5, Server, "A2", 0x82, "protocol error in UNSUBSCRIBE: packet type may not come from a server here"),
    (V5, Server, "C0", 0x82, "protocol error in PINGREQ: packet type may not come from a server here"),
    (V311, Server, "E0 00", 0x82, "protocol error in DISCONNECT: packet type may not come from a server here"),
    (V311, Server, "F0 00", 0x82, "protocol error in AUTH: packet type may not come from a server here"),
    (V311, Client, "F0 00", 0x82, "protocol error in AUTH: packet type may not come from a client here"),
    // [u5-1.5.5] [MQTT-1.5.5-1]
    (V5, Server, "30 FF FF FF FF", 0x81, "malformed PUBLISH: remaining length is longer than four bytes"),
    (V311, Server, "30 80 80 80 80", 0x81, "malformed PUBLISH: remaining length is longer than four bytes"),
    (V5, Server, "D0 80 00", 0x81, "malformed PINGRESP: remaining length is not written in the fewest bytes"),
    // Lengths no packet of the kind can have, told before the body comes.
    (V5, Server, "D0 01", 0x81, "malformed PINGRESP: remaining length is not what this packet has"),
    (V311, Client, "C0 01", 0x81, "malformed PINGREQ: remaining length is not what this packet has"),
    // [MQTT311-3.14.1-1]
    (V311, Client, "E0 01", 0x81, "malformed DISCONNECT: remaining length is not what this packet has"),
    (V311, Server, "40 03", 0x81, "malformed PUBACK: remaining length is not what this packet has"),
    (V311, Server, "20 03", 0x81, "malformed CONNACK: remaining length is not what this packet has"),
    (V311, Server, "B0 04", 0x81, "malformed UNSUBACK: remaining length is not what this packet has"),
];

#[rustfmt::skip]
const CONNECTS: &[Row] = &[
    (V5, Client, "10 10 0004'MQTT' 03 02 003C 0004'rj-1'", 0x84, "unsupported protocol level 3 in CONNECT, use 4 (MQTT 3.1.1) or 5 (MQTT 5.0)"),
    (V5, Client, "10 12 0006'MQIsdp' 03 02 003C 0004'rj-1'", 0x84, "unsupported protocol level 3 in CONNECT, use 4 (MQTT 3.1.1) or 5 (MQTT 5.0)"),
    // [MQTT-3.1.2-1]
    (V5, Client, "10 10 0004'MQtt' 04 02 003C 0004'rj-1'", 0x82, "protocol error in CONNECT: protocol name is not MQTT"),
    // [MQTT-3.1.2-3]
    (V311, Client, "10 10 0004'MQTT' 04 03 003C 0004'rj-1'", 0x81, "malformed CONNECT: connect flags have the reserved bit set"),
    // [MQTT-3.1.2-12]; [MQTT311-3.1.2-14]
    (V311, Client, "10 10 0004'MQTT' 04 1E 003C 0004'rj-1'", 0x81, "malformed CONNECT: will QoS is 3"),
    // [MQTT-3.1.2-11]
    (V311, Client, "10 10 0004'MQTT' 04 0A 003C 0004'rj-1'", 0x81, "malformed CONNECT: connect flags have will QoS or will retain without a will"),
    // [MQTT-3.1.2-13]
    (V5, Client, "10 11 0004'MQTT' 05 22 003C 00 0004'rj-1'", 0x81, "malformed CONNECT: connect flags have will QoS or will retain without a will"),
    // [MQTT311-3.1.2-22]
    (V311, Client, "10 12 0004'MQTT' 04 42 003C 0002'rj' 0002'pw'", 0x81, "malformed CONNECT: connect flags have a password without a user name"),
    // [MQTT-3.1.3-3]
    (V311, Client, "10 0A 0004'MQTT' 04 02 003C", 0x81, "malformed CONNECT: client identifier runs past the end of the packet"),
    // [MQTT-3.1.3-4]
    (V311, Client, "10 0D 0004'MQTT' 04 02 003C 0001 FF", 0x81, "malformed CONNECT: client identifier is not valid UTF-8"),
    // [MQTT-3.1.2-9]
    (V311, Client, "10 0C 0004'MQTT' 04 06 003C 0000", 0x81, "malformed CONNECT: will topic runs past the end of the packet"),
    (V311, Client, "10 0F 0004'MQTT' 04 06 003C 0000 0001'w'", 0x81, "malformed CONNECT: will payload runs past the end of the packet"),
    // [MQTT-3.1.3-11]; [MQTT311-3.1.3-10]
    (V311, Client, "10 11 0004'MQTT' 04 06 003C 0000 0001 80 0000", 0x81, "malformed CONNECT: will topic is not valid UTF-8"),
    (V311, Client, "10 10 0004'MQTT' 04 06 003C 0000 0000 0000", 0x81, "malformed CONNECT: will topic is empty"),
    // [MQTT-4.7.0-1]; [MQTT311-4.7.1-1]
    (V311, Client, "10 11 0004'MQTT' 04 06 003C 0000 0001'#' 0000", 0x81, "malformed CONNECT: will topic holds a wildcard"),
    // [MQTT-3.1.2-17] [MQTT-3.1.2-19]
    (V311, Client, "10 0C 0004'MQTT' 04 82 003C 0000", 0x81, "malformed CONNECT: user name runs past the end of the packet"),
    (V5, Client, "10 0D 0004'MQTT' 05 42 003C 00 0000", 0x81, "malformed CONNECT: password runs past the end of the packet"),
    // [MQTT-3.1.3-12]; [MQTT311-3.1.3-11]
    (V311, Client, "10 0F 0004'MQTT' 04 82 003C 0000 0001 C0", 0x81, "malformed CONNECT: user name is not valid UTF-8"),
    // [MQTT-3.1.2-16] [MQTT-3.1.2-18]: what no flag announces is no field.
    (V311, Client, "10 0F 0004'MQTT' 04 02 003C 0000 0001'u'", 0x81, "malformed CONNECT: body is longer than its fields"),
    // [u5-3.1.2.11.3] [u5-3.1.2.11.4-a] [u5-3.1.2.11.6] [u5-3.1.2.11.9]
    (V5, Client, "10 10 0004'MQTT' 05 02 003C 03 21 0000 0000", 0x82, "protocol error in CONNECT: receive maximum is zero"),
    (V5, Client, "10 12 0004'MQTT' 05 02 003C 05 27 00000000 0000", 0x82, "protocol error in CONNECT: maximum packet size is zero"),
    (V5, Client, "10 0F 0004'MQTT' 05 02 003C 02 19 02 0000", 0x82, "protocol error in CONNECT: request response information is neither 0 nor 1"),
    (V5, Client, "10 0F 0004'MQTT' 05 02 003C 02 17 02 0000", 0x82, "protocol error in CONNECT: request problem information is neither 0 nor 1"),
    (V5, Client, "10 11 0004'MQTT' 05 02 003C 04 16 0001 00 0000", 0x82, "protocol error in CONNECT: authentication data comes without a method"),
];

#[rustfmt::skip]
const CONNACKS: &[Row] = &[
    // [MQTT-3.2.2-1]
    (V5, Server, "20 03 02 00 00", 0x81, "malformed CONNACK: acknowledge flags have reserved bits set"),
    (V311, Server, "20 02 80 00", 0x81, "malformed CONNACK: acknowledge flags have reserved bits set"),
    // [MQTT-3.2.2-6]; [MQTT311-3.2.2-4]
    (V5, Server, "20 03 01 87 00", 0x82, "protocol error in CONNACK: session present is set in a refusal"),
    (V311, Server, "20 02 01 05", 0x82, "protocol error in CONNACK: session present is set in a refusal"),
    // [MQTT-3.2.2-8]
    (V5, Server, "20 03 00 01 00", 0x82, "protocol error in CONNACK: reason code is not one of this packet's"),
    (V5, Server, "20 03 00 7F 00", 0x82, "protocol error in CONNACK: reason code is not one of this packet's"),
    // Success without a property length is no success of 5.0.
    (V5, Server, "20 02 00 00", 0x81, "malformed CONNACK: property length runs past the end of the packet"),
    // [u5-3.2.2.3.3] [u5-3.2.2.3.4] [u5-3.2.2.3.5] [u5-3.2.2.3.6]
    (V5, Server, "20 06 00 00 03 21 0000", 0x82, "protocol error in CONNACK: receive maximum is zero"),
    (V5, Server, "20 05 00 00 02 24 02", 0x82, "protocol error in CONNACK: maximum QoS is neither 0 nor 1"),
    (V5, Server, "20 05 00 00 02 25 02", 0x82, "protocol error in CONNACK: retain available is neither 0 nor 1"),
    (V5, Server, "20 08 00 00 05 27 00000000", 0x82, "protocol error in CONNACK: maximum packet size is zero"),
    // [u5-3.2.2.3.11] [u5-3.2.2.3.12] [u5-3.2.2.3.13]
    (V5, Server, "20 05 00 00 02 28 02", 0x82, "protocol error in CONNACK: wildcard subscription available is neither 0 nor 1"),
    (V5, Server, "20 05 00 00 02 29 02", 0x82, "protocol error in CONNACK: subscription identifiers available is neither 0 nor 1"),
    (V5, Server, "20 05 00 00 02 2A FF", 0x82, "protocol error in CONNACK: shared subscription available is neither 0 nor 1"),
];

#[rustfmt::skip]
const PUBLISHES: &[Row] = &[
    // [MQTT-3.3.2-1] [MQTT-1.5.4-1]: a lone surrogate, an overlong form, a bare continuation
    (V5, Server, "30 06 0003 EDA080 00", 0x81, "malformed PUBLISH: topic name is not valid UTF-8"),
    (V311, Server, "30 04 0002 C0AF", 0x81, "malformed PUBLISH: topic name is not valid UTF-8"),
    (V311, Server, "30 03 0001 80", 0x81, "malformed PUBLISH: topic name is not valid UTF-8"),
    // [MQTT-1.5.4-2] [MQTT-4.7.3-2]; [MQTT311-1.5.3-2]
    (V5, Server, "30 06 0003'a'00'b' 00", 0x81, "malformed PUBLISH: topic name holds the character U+0000"),
    // [MQTT-3.3.2-2] [MQTT-4.7.0-1]
    (V5, Server, "30 06 0003'a/+' 00", 0x81, "malformed PUBLISH: topic name holds a wildcard"),
    (V311, Server, "30 05 0003'a/#'", 0x81, "malformed PUBLISH: topic name holds a wildcard"),
    // [u5-3.3.2.1]
    (V5, Server, "30 03 0000 00", 0x82, "protocol error in PUBLISH: topic name is empty without a topic alias"),
    // [MQTT-4.7.3-1]
    (V311, Server, "30 02 0000", 0x81, "malformed PUBLISH: topic name is empty"),
    // [u5-2.2.1] [MQTT-2.2.1-4]
    (V5, Server, "32 06 0001'a' 0000 00", 0x81, "malformed PUBLISH: packet identifier is zero"),
    (V311, Server, "34 05 0001'a' 0000", 0x81, "malformed PUBLISH: packet identifier is zero"),
    (V311, Server, "32 03 0001'a'", 0x81, "malformed PUBLISH: packet identifier runs past the end of the packet"),
    (V311, Server, "30 03 0009'a'", 0x81, "malformed PUBLISH: topic name runs past the end of the packet"),
    // [MQTT-3.3.2-8] [u5-3.3.2.3.4-b]
    (V5, Server, "30 07 0001'a' 03 23 0000", 0x94, "protocol error in PUBLISH: topic alias is zero"),
    // [MQTT-3.3.2-13] [MQTT-3.3.2-14]
    (V5, Server, "30 08 0001'a' 04 08 0001 FF", 0x81, "malformed PUBLISH: response topic is not valid UTF-8"),
    (V5, Server, "30 08 0001'a' 04 08 0001'+'", 0x81, "malformed PUBLISH: response topic holds a wildcard"),
    // [MQTT-3.3.2-19]
    (V5, Server, "30 08 0001'a' 04 03 0001 FF", 0x81, "malformed PUBLISH: content type is not valid UTF-8"),
    // [MQTT-1.5.7-1]
    (V5, Server, "30 0B 0001'a' 07 26 0001 FF 0001'v'", 0x81, "malformed PUBLISH: user property is not valid UTF-8"),
    (V5, Server, "30 0B 0001'a' 07 26 0001'k' 0001 00", 0x81, "malformed PUBLISH: user property holds the character U+0000"),
    // [MQTT-3.3.4-6]
    (V5, Client, "30 06 0001'a' 02 0B 01", 0x82, "protocol error in PUBLISH: subscription identifier may not come from a client"),
    // [u5-3.3.2.3.8] [MQTT-1.5.5-1]
    (V5, Server, "30 06 0001'a' 02 0B 00", 0x82, "protocol error in PUBLISH: subscription identifier is zero"),
    (V5, Server, "30 07 0001'a' 03 0B 81 00", 0x81, "malformed PUBLISH: subscription identifier is not written in the fewest bytes"),
    (V5, Server, "30 09 0001'a' 05 0B FFFFFFFF", 0x81, "malformed PUBLISH: subscription identifier is longer than four bytes"),
    // [u5-3.3.2.3.2]
    (V5, Server, "30 06 0001'a' 02 01 02", 0x82, "protocol error in PUBLISH: payload format indicator is neither 0 nor 1"),
    // [u5-2.2.2.2-b]: the property length fits the packet and ends where a property ends.
    (V5, Server, "30 05 0001'a' 7F 00", 0x81, "malformed PUBLISH: property length runs past the end of the packet"),
    (V5, Server, "30 06 0001'a' 80 00 'x'", 0x81, "malformed PUBLISH: property length is not written in the fewest bytes"),
    (V5, Server, "30 05 0001'a' 01 01 01", 0x81, "malformed PUBLISH: payload format indicator runs past the end of the packet"),
    (V5, Server, "30 06 0001'a' 02 02 00000001", 0x81, "malformed PUBLISH: message expiry interval runs past the end of the packet"),
    (V5, Server, "30 06 0001'a' 02 7E 00", 0x81, "malformed PUBLISH: property identifier is unknown"),
    (V5, Server, "30 07 0001'a' 03 21 0001", 0x81, "malformed PUBLISH: receive maximum is not allowed here"),
    (V5, Server, "30 07 0001'a' 03 81 00 01", 0x81, "malformed PUBLISH: property identifier is unknown"),
];

#[rustfmt::skip]
const REST: &[Row] = &[
    (V5, Server, "40 02 0000", 0x81, "malformed PUBACK: packet identifier is zero"),
    (V5, Server, "40 01 00", 0x81, "malformed PUBACK: packet identifier runs past the end of the packet"),
    // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    (V5, Server, "40 03 0001 92", 0x82, "protocol error in PUBACK: reason code is not one of this packet's"),
    (V5, Server, "50 03 0001 01", 0x82, "protocol error in PUBREC: reason code is not one of this packet's"),
    (V5, Server, "62 03 0001 80", 0x82, "protocol error in PUBREL: reason code is not one of this packet's"),
    (V5, Server, "70 03 0001 10", 0x82, "protocol error in PUBCOMP: reason code is not one of this packet's"),
    (V5, Server, "40 05 0001 00 00 00", 0x81, "malformed PUBACK: body is longer than its fields"),
    // [MQTT-3.8.3-2] [MQTT-3.8.3-1]; [MQTT311-3.8.3-3]
    (V5, Client, "82 03 0001 00", 0x82, "protocol error in SUBSCRIBE: topic filter is missing"),
    (V311, Client, "82 02 0001", 0x82, "protocol error in SUBSCRIBE: topic filter is missing"),
    (V311, Client, "82 06 0001 0001 FF 00", 0x81, "malformed SUBSCRIBE: topic filter is not valid UTF-8"),
    (V311, Client, "82 05 0001 0001'a'", 0x81, "malformed SUBSCRIBE: subscription options runs past the end of the packet"),
    (V311, Client, "82 05 0001 0000 00", 0x81, "malformed SUBSCRIBE: topic filter is empty"),
    (V311, Client, "82 06 0000 0001'a' 00", 0x81, "malformed SUBSCRIBE: packet identifier is zero"),
    // [MQTT-3.8.3-5]; [MQTT311-3.8.3-4]
    (V5, Client, "82 07 0001 00 0001'a' 40", 0x81, "malformed SUBSCRIBE: subscription options have reserved bits set"),
    (V5, Client, "82 07 0001 00 0001'a' 80", 0x81, "malformed SUBSCRIBE: subscription options have reserved bits set"),
    (V311, Client, "82 06 0001 0001'a' 04", 0x81, "malformed SUBSCRIBE: subscription options have reserved bits set"),
    // [u5-3.8.3.1-a] [u5-3.8.3.1-b]
    (V5, Client, "82 07 0001 00 0001'a' 03", 0x82, "protocol error in SUBSCRIBE: maximum QoS is 3"),
    (V5, Client, "82 07 0001 00 0001'a' 30", 0x82, "protocol error in SUBSCRIBE: retain handling is 3"),
    // [MQTT-3.8.3-4]
    (V5, Client, "82 10 0001 00 000A'$share/g/t' 05", 0x82, "protocol error in SUBSCRIBE: no local is set on a shared subscription"),
    // [u5-3.8.2.1.2]
    (V5, Client, "82 09 0001 02 0B 00 0001'a' 00", 0x82, "protocol error in SUBSCRIBE: subscription identifier is zero"),
    // [MQTT-3.9.3-2] [MQTT-3.11.3-2]
    (V5, Server, "90 04 0001 00 03", 0x82, "protocol error in SUBACK: reason code is not one of this packet's"),
    (V5, Server, "90 03 0001 00", 0x82, "protocol error in SUBACK: reason code is missing"),
    // [MQTT311-3.9.3-2]
    (V311, Server, "90 03 0001 03", 0x82, "protocol error in SUBACK: reason code is not one of this packet's"),
    (V311, Server, "90 03 0001 87", 0x82, "protocol error in SUBACK: reason code is not one of this packet's"),
    (V311, Server, "90 02 0001", 0x82, "protocol error in SUBACK: reason code is missing"),
    (V5, Server, "B0 04 0001 00 01", 0x82, "protocol error in UNSUBACK: reason code is not one of this packet's"),
    (V5, Server, "B0 02 0001", 0x81, "malformed UNSUBACK: property length runs past the end of the packet"),
    // [MQTT-3.10.3-2] [MQTT-3.10.3-1]
    (V5, Client, "A2 03 0001 00", 0x82, "protocol error in UNSUBSCRIBE: topic filter is missing"),
    (V311, Client, "A2 02 0001", 0x82, "protocol error in UNSUBSCRIBE: topic filter is missing"),
    (V311, Client, "A2 05 0001 0001 FF", 0x81, "malformed UNSUBSCRIBE: topic filter is not valid UTF-8"),
    (V311, Client, "A2 04 0001 0000", 0x81, "malformed UNSUBSCRIBE: topic filter is empty"),
    // [MQTT-3.14.2-1]
    (V5, Server, "E0 01 04", 0x82, "protocol error in DISCONNECT: reason code is not one of this packet's"),
    (V5, Client, "E0 01 8B", 0x82, "protocol error in DISCONNECT: reason code is not one of this packet's"),
    // [MQTT-3.14.2-2]
    (V5, Server, "E0 07 00 05 11 0000003C", 0x82, "protocol error in DISCONNECT: session expiry interval may not come from a server"),
    (V5, Client, "E0 06 00 04 1C 0001'h'", 0x82, "protocol error in DISCONNECT: server reference may not come from a client"),
    (V5, Client, "E0 03 00 00 00", 0x81, "malformed DISCONNECT: body is longer than its fields"),
    // [MQTT-3.15.2-1] by direction, [MQTT-4.12.0-2]
    (V5, Server, "F0 06 19 04 15 0001'm'", 0x82, "protocol error in AUTH: reason code is not one of this packet's"),
    (V5, Client, "F0 06 00 04 15 0001'm'", 0x82, "protocol error in AUTH: reason code is not one of this packet's"),
    (V5, Server, "F0 06 1A 04 15 0001'm'", 0x82, "protocol error in AUTH: reason code is not one of this packet's"),
    // [u5-3.15.2.2.2] [u5-3.15.2.1]
    (V5, Server, "F0 02 18 00", 0x82, "protocol error in AUTH: authentication method is missing"),
    (V5, Server, "F0 01 18", 0x81, "malformed AUTH: property length runs past the end of the packet"),
];

#[test]
fn what_the_standards_forbid_is_refused_by_name() {
    for (version, sender, bytes, reason, message) in [HEADERS, CONNECTS, CONNACKS, PUBLISHES, REST].concat() {
        match decode(version, sender, &wire(bytes)) {
            Err(error) => {
                assert_eq!(error.to_string(), message, "{version} {bytes}");
                assert_eq!(error.reason().0, reason, "{version} {bytes}");
            }
            Ok(read) => panic!("{version} {bytes}: should be {message:?}, was read as {read:?}"),
        }
    }
}

/// Table 2-4 of the standard, written out once more: identifier, bytes of a legal value, places [u5-2.2.2.2-a].
#[rustfmt::skip]
const TABLE: &[(u8, &str, &str)] = &[
    (0x01, "01", "PW"), (0x02, "00000001", "PW"), (0x03, "0001'x'", "PW"), (0x08, "0001'x'", "PW"),
    (0x09, "0001'x'", "PW"), (0x0B, "01", "PS"), (0x11, "00000001", "CKD"), (0x12, "0001'x'", "K"),
    (0x13, "0001", "K"), (0x15, "0001'x'", "CKX"), (0x16, "0001'x'", "CKX"), (0x17, "01", "C"),
    (0x18, "00000001", "W"), (0x19, "01", "C"), (0x1A, "0001'x'", "K"), (0x1C, "0001'x'", "KE"),
    (0x1F, "0001'x'", "KAaDEX"), (0x21, "0001", "CK"), (0x22, "0001", "CK"), (0x23, "0001", "P"),
    (0x24, "01", "K"), (0x25, "01", "K"), (0x26, "0001'x' 0001'x'", "CKPWAaSUDEX"), (0x27, "00000001", "CK"),
    (0x28, "01", "K"), (0x29, "01", "K"), (0x2A, "01", "K"),
];

/// A packet of 5.0 with these properties: C CONNECT, W its will, K CONNACK, P PUBLISH, A an acknowledgement,
/// S SUBSCRIBE, a SUBACK, U UNSUBSCRIBE, D DISCONNECT of a client, E of a server, X AUTH.
fn packet_with(place: char, properties: &[u8]) -> (Sender, Vec<u8>) {
    let (sender, first, before, after) = match place {
        'C' => (Client, 0x10, "0004'MQTT' 05 02 003C", "0000"),
        'W' => (Client, 0x10, "0004'MQTT' 05 06 003C 00 0000", "0001'w' 0000"),
        'K' => (Server, 0x20, "00 00", ""),
        'P' => (Server, 0x30, "0001't'", ""),
        'A' => (Server, 0x40, "0001 00", ""),
        'S' => (Client, 0x82, "0001", "0001'f' 00"),
        'a' => (Server, 0x90, "0001", "00"),
        'U' => (Client, 0xA2, "0001", "0001'f'"),
        'D' => (Client, 0xE0, "00", ""),
        'E' => (Server, 0xE0, "00", ""),
        _ => (Server, 0xF0, "18", ""),
    };
    let mut body = wire(before);
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    body.extend(wire(after));
    let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
    bytes.extend(body);
    (sender, bytes)
}

const PLACES: &str = "CWKPASaUDEX";

fn value_of(property: u8) -> Vec<u8> {
    let value = TABLE.iter().find(|(known, ..)| *known == property).map_or("00", |(_, value, _)| value);
    [vec![property], wire(value)].concat()
}

/// What a place needs besides, so that the property under test is the only thing in question.
fn with_company(place: char, property: u8) -> Vec<u8> {
    let needs_method = place == 'X' || place == 'C' && property == 0x16;
    let company = if needs_method && property != 0x15 { value_of(0x15) } else { Vec::new() };
    [company, value_of(property)].concat()
}

#[test]
fn each_property_stands_only_where_table_2_4_allows_it() {
    for property in 0..=0x7F {
        let places = TABLE.iter().find(|(known, ..)| *known == property).map_or("", |(.., places)| places);
        for place in PLACES.chars() {
            let (sender, bytes) = packet_with(place, &with_company(place, property));
            let read = decode(V5, sender, &bytes);
            if places.contains(place) {
                assert!(matches!(read, Ok(Some(_))), "{property:#04X} in {place}: {read:?}");
                continue;
            }
            // [u5-2.2.2.2-a]; the two of DISCONNECT that one side may use are protocol errors from the other.
            let one_sided = matches!((property, place), (0x11, 'E') | (0x1C, 'D'));
            let reason = read.expect_err("not allowed there").reason().0;
            assert_eq!(reason, if one_sided { 0x82 } else { 0x81 }, "{property:#04X} in {place}");
        }
    }
}

#[test]
fn a_property_given_twice_is_a_protocol_error() {
    for (property, _, places) in TABLE {
        for place in places.chars() {
            let twice = [with_company(place, *property), value_of(*property)].concat();
            let (sender, bytes) = packet_with(place, &twice);
            let read = decode(V5, sender, &bytes);
            // User properties repeat everywhere, subscription identifiers in PUBLISH [u5-3.1.3.2] [u5-3.2.2.3-dup]
            // [u5-3.3.2.3.6] [u5-3.1.2.11.3] [u5-3.8.2.1.2].
            if *property == 0x26 || (*property, place) == (0x0B, 'P') {
                assert!(matches!(read, Ok(Some(_))), "{property:#04X} in {place}: {read:?}");
            } else {
                let error = read.expect_err("given twice");
                assert_eq!(error.reason().0, 0x82, "{property:#04X} in {place}");
                assert!(error.to_string().ends_with("is given twice"), "{error}");
            }
        }
    }
}

/// The tables of the standard once more: which codes each packet may carry at 5.0.
#[test]
fn reason_codes_come_from_the_table_of_their_packet() {
    let acks: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let subacks: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
    let goodbyes: &[u8] =
        &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    for (sender, packet, codes) in [
        (Server, "40 03 0001", acks),
        (Client, "50 03 0001", acks),
        (Client, "62 03 0001", &[0x00, 0x92]),
        (Server, "70 03 0001", &[0x00, 0x92]),
        (Server, "90 04 0001 00", subacks),
        (Server, "B0 04 0001 00", &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
        (Client, "E0 01", goodbyes),
    ] {
        for code in 0..=255 {
            let read = decode(V5, sender, &[wire(packet), vec![code]].concat());
            assert_eq!(read.is_ok(), codes.contains(&code), "{packet} {code:02X}: {read:?}");
        }
    }
    // A server newer than this client is still heard when it says goodbye.
    for code in 0..=255 {
        let read = decode(V5, Server, &[0xE0, 1, code]);
        assert_eq!(read.is_ok(), code == 0 || code >= 0x80, "DISCONNECT {code:02X}: {read:?}");
    }
}

#[test]
fn user_properties_are_limited_in_number() {
    let limits = Limits { max_user_properties: 3, ..WIDE };
    for (count, fits) in [(3, true), (4, false)] {
        let (sender, bytes) = packet_with('P', &value_of(0x26).repeat(count));
        let mut decoder = decoder(V5, sender, limits);
        decoder.push(bytes.into());
        match decoder.next() {
            Ok(Some(_)) => assert!(fits),
            other => {
                let error = other.unwrap_err();
                assert!(!fits);
                assert_eq!(error, DecodeError::TooManyUserProperties { packet: "PUBLISH", limit: 3 });
                assert_eq!(error.reason().0, 0x97);
            }
        }
    }
}

#[test]
fn another_service_on_the_port_is_named() {
    for (bytes, looks_like) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], Some("HTTP")),
        (b"H", Some("HTTP")),
        (b"<html><body>", Some("HTTP")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Some("SSH")),
        (b"\x15\x03\x01\x00\x02\x02\x46", Some("TLS")),
        (b"\x16\x03\x03\x00\x7A", Some("TLS")),
        (b"220 mail.example ESMTP\r\n", Some("SMTP or FTP")),
        (b"AMQP\x00\x00\x09\x01", Some("AMQP")),
        (b"-ERR unknown command\r\n", Some("Redis")),
        (b"\x4A\x00\x00\x00\x0A8.0", None),
        // A PUBLISH that does not hold together is no first packet of a broker.
        (b"0\x04abcd", None),
        (b"\x21\x02\x00\x00", None),
    ] {
        let mut decoder = Decoder::new(V5, Server, Limits::default());
        decoder.push(Bytes::from_static(bytes));
        let error = decoder.next().expect_err("not MQTT");
        assert_eq!(error, DecodeError::NotMqtt { looks_like }, "{bytes:?}");
        assert!(error.to_string().contains("does not speak MQTT"), "{error}");
    }
}

#[test]
fn a_broken_connack_is_not_taken_for_another_service() {
    let mut decoder = Decoder::new(V5, Server, Limits::default());
    decoder.push(wire("20 03 02 00 00").into());
    assert!(matches!(decoder.next(), Err(DecodeError::Malformed { packet: "CONNACK", .. })));
}

#[test]
fn an_error_comes_again_and_nothing_after_it_is_read() {
    let mut decoder = decoder(V311, Server, WIDE);
    decoder.push(wire("D0 00 00 00 D0 00").into());
    assert_eq!(decoder.next(), Ok(Some(Decoded::Packet(Packet::PingResp))));
    let error = decoder.next().unwrap_err();
    decoder.push(wire("D0 00").into());
    assert_eq!(decoder.next(), Err(error));
    assert_eq!(decoder.buffered(), 0, "a dead stream holds no memory");
}
