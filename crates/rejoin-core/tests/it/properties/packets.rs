//! What is written reads the same, at both versions and in any slicing, and its length is known beforehand.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rejoin_core::codec::packet::{
    Ack, Connect, ConnectProperties, Packet, PacketId, Publish, ReasonProperties, SubAck, Subscribe,
    Unsubscribe,
};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode, encoded_len};
use rejoin_core::{
    PublishProperties, Qos, ReasonCode, RetainHandling, SubscriptionOptions, Text, UserProperties, Version,
};

use super::cases;

fn text() -> impl Strategy<Value = Text> {
    "[a-zäß€ 0-9]{0,20}".prop_map(|text| Text::try_from(text.as_str()).unwrap())
}

fn topic() -> impl Strategy<Value = Text> {
    "[a-z$]{1,8}(/[a-zä]{0,6}){0,3}".prop_map(|text| Text::try_from(text.as_str()).unwrap())
}

fn bytes() -> impl Strategy<Value = Bytes> {
    // Around the borders of the remaining length: one byte, two, three.
    prop_oneof![8 => 0..140_usize, 1 => 16_370..16_400_usize].prop_map(|length| vec![b'x'; length].into())
}

fn users() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..4)
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

fn properties() -> impl Strategy<Value = PublishProperties> {
    (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(1..=u16::MAX),
        option::of(topic()),
        option::of(bytes()),
        users(),
        option::of(text()),
    )
        .prop_map(|(utf8, expiry, alias, response, correlation, users, content)| PublishProperties {
            payload_is_utf8: utf8,
            message_expiry: expiry,
            topic_alias: alias.and_then(NonZeroU16::new),
            response_topic: response,
            correlation_data: correlation,
            user_properties: users,
            subscription_ids: Vec::new(),
            content_type: content,
        })
}

fn publish() -> impl Strategy<Value = Packet> {
    (any::<bool>(), qos(), any::<bool>(), topic(), id(), option::of(properties()), bytes()).prop_map(
        |(dup, qos, retain, topic, id, properties, payload)| {
            let above = qos != Qos::AtMostOnce;
            Packet::Publish(Publish {
                dup: dup && above,
                qos,
                retain,
                topic: topic.try_into().unwrap(),
                packet_id: above.then_some(id),
                // An empty list is written and read as none.
                properties: properties.filter(|p| !p.is_empty()).map(Box::new),
                payload,
            })
        },
    )
}

fn connect() -> impl Strategy<Value = Packet> {
    (any::<bool>(), any::<u16>(), text(), option::of(text()), option::of(bytes()), any::<u32>(), users())
        .prop_map(|(clean, keep_alive, id, user, password, expiry, users)| {
            let clean_start = clean || id.is_empty();
            Packet::Connect(Box::new(Connect {
                version: Version::V5,
                clean_start,
                keep_alive,
                client_id: id,
                will: None,
                user_name: user,
                password,
                properties: ConnectProperties {
                    session_expiry: Some(expiry),
                    user_properties: users,
                    ..ConnectProperties::default()
                },
            }))
        })
}

fn ack() -> impl Strategy<Value = Packet> {
    (id(), 0..4_u8, any::<bool>(), option::of(text())).prop_map(|(id, kind, refused, reason)| {
        let mut ack = Ack::new(id, ReasonCode::SUCCESS);
        if refused {
            // The codes of PUBACK and PUBREC are not those of PUBREL and PUBCOMP.
            ack.reason = ReasonCode(if kind < 2 { 0x97 } else { 0x92 });
        }
        ack.properties = reason.map(|reason| {
            Box::new(ReasonProperties { reason_string: Some(reason), ..ReasonProperties::default() })
        });
        match kind {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            2 => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        }
    })
}

fn subscribing() -> impl Strategy<Value = Packet> {
    let filter = prop_oneof![Just("#"), Just("a/+/b"), Just("a"), Just("$share/g/a/#")]
        .prop_map(|filter| Text::try_from(filter).unwrap());
    (id(), vec((filter, qos()), 1..6), users(), any::<bool>()).prop_map(|(packet_id, filters, users, end)| {
        if end {
            return Packet::Unsubscribe(Unsubscribe {
                packet_id,
                filters: filters.into_iter().map(|(filter, _)| filter).collect(),
                user_properties: users,
            });
        }
        let options = |qos| SubscriptionOptions {
            qos,
            retain_handling: RetainHandling::SendIfNew,
            ..SubscriptionOptions::default()
        };
        Packet::Subscribe(Subscribe {
            packet_id,
            subscription_id: Some(7),
            filters: filters.into_iter().map(|(filter, qos)| (filter, options(qos))).collect(),
            user_properties: users,
        })
    })
}

fn written(packet: &Packet, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).unwrap();
    assert_eq!(out.len(), encoded_len(packet, version));
    out.freeze()
}

fn read(stream: &Bytes, version: Version, cuts: &[usize]) -> Vec<Packet> {
    let mut decoder = Decoder::new(version, Sender::Client, Limits::default());
    let (mut found, mut from) = (Vec::new(), 0);
    for cut in cuts.iter().copied().chain([stream.len()]) {
        let to = cut.clamp(from, stream.len());
        decoder.push(stream.slice(from..to));
        from = to;
        while let Some(decoded) = decoder.next().unwrap() {
            let Decoded::Packet(packet) = decoded else { panic!("nothing here is above the limit") };
            found.push(packet);
        }
    }
    assert_eq!(decoder.buffered(), 0);
    assert!(!decoder.is_mid_packet());
    found
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn at_5_0_what_is_written_is_read(
        packets in vec(prop_oneof![4 => publish(), 1 => connect(), 2 => ack(), 1 => subscribing()], 1..8),
        cuts in vec(0..2_000_usize, 0..12),
    ) {
        let stream: Vec<u8> = packets.iter().flat_map(|packet| written(packet, Version::V5)).collect();
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(read(&stream.into(), Version::V5, &cuts), packets);
    }

    #[test]
    fn at_3_1_1_a_message_keeps_everything_but_its_properties(packet in publish(), cut in 0..200_usize) {
        let Packet::Publish(publish) = &packet else { unreachable!("only these are drawn") };
        let plain = Packet::Publish(Publish { properties: None, ..publish.clone() });
        prop_assert_eq!(read(&written(&packet, Version::V311), Version::V311, &[cut]), [plain]);
    }

    #[test]
    fn a_suback_answers_filter_by_filter(packet_id in id(), granted in vec(0..3_u8, 1..20)) {
        let reasons: Vec<ReasonCode> = granted.into_iter().map(ReasonCode).collect();
        let packet = Packet::SubAck(SubAck { packet_id, reasons, properties: None });
        for version in [Version::V5, Version::V311] {
            let mut decoder = Decoder::new(version, Sender::Server, Limits::default());
            decoder.push(if version == Version::V5 { vec![0x20, 3, 0, 0, 0] } else { vec![0x20, 2, 0, 0] }.into());
            decoder.next().unwrap();
            decoder.push(written(&packet, version));
            prop_assert_eq!(decoder.next(), Ok(Some(Decoded::Packet(packet.clone()))));
        }
    }
}
