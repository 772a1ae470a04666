use super::*;

fn body(n: u64) -> Publication {
    let mut body = Publication::new(TopicName::new(format!("t/{n}")).unwrap(), "xx");
    body.qos = Qos::ExactlyOnce;
    body
}

/// Everything that a store can have.
fn full() -> Recovered {
    let message = Message {
        id: Some(MessageId(8)),
        topic: Text::from_static("in/8"),
        payload: Bytes::from_static(b"xxx"),
        qos: Qos::ExactlyOnce,
        retain: true,
        dup: false,
        properties: None,
    };
    let waits = Waits {
        id: PublishId(3),
        qos: Qos::ExactlyOnce,
        size_bytes: 5,
        expires_wall_ms: Some(9),
        possible_duplicate: true,
        latest_of: Some(Text::from_static("t/3")),
        body: Some(body(3)),
    };
    let sent = WasSent {
        id: PublishId(1),
        packet_id: PacketId::MIN,
        released: false,
        possible_duplicate: true,
        lowered: true,
        expires_wall_ms: Some(7),
        publication: body(1),
    };
    Recovered {
        waiting: vec![waits.clone(), Waits { id: PublishId(4), body: None, latest_of: None, ..waits }],
        sent: vec![
            sent.clone(),
            WasSent { id: PublishId(2), released: true, possible_duplicate: false, lowered: false, ..sent },
        ],
        leased: vec![PacketId::new(17).unwrap(), PacketId::MAX],
        undecided: vec![(PublishId(5), body(5))],
        held: vec![
            WasHeld {
                id: MessageId(8),
                packet_id: Some(PacketId::MIN),
                message: Some(message),
                digest: None,
            },
            WasHeld { id: MessageId(9), packet_id: None, message: None, digest: None },
            WasHeld { id: MessageId(10), packet_id: PacketId::new(3), message: None, digest: Some(UNTOLD) },
        ],
        epoch: 6,
        server: Some("a server:1".to_owned()),
        connack_unseen: true,
        client_id: Some(Text::from_static("an id")),
        reached_wall_ms: vec![10, 11],
        last_publish: PublishId(12),
        last_message: MessageId(13),
    }
}

#[test]
fn what_a_store_had_comes_back_as_it_was() {
    for kept in [Recovered::default(), full()] {
        let mut back = Recovered::default();
        for line in super::kept(&kept).unwrap() {
            let fields = Fields::of(&line).unwrap();
            assert!(read_kept(&mut back, &fields).is_some(), "{line}");
        }
        assert_eq!(back, kept);
    }
}
