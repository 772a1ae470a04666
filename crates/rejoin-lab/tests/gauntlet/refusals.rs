//! Messages a broker does not take: rows 6 and 10. 3.1.1 has no words for either.

use std::time::Duration;

use rejoin::{Event, PublishError, Qos, ReasonCode};
use rejoin_core::codec::packet::ConnAckProperties;
use rejoin_lab::{Peer, ScriptResult, ScriptedBroker};

use crate::kit::*;

/// Reads five QoS 2 messages, which is all that may be under way, and gives their identifiers.
async fn five(peer: &mut Peer) -> ScriptResult<Vec<rejoin_core::codec::packet::PacketId>> {
    let mut ids = Vec::new();
    for _ in 0..5 {
        let publish = peer.expect_publish().await?;
        assert!(publish.qos == Qos::ExactlyOnce && !publish.dup);
        ids.push(publish.packet_id.unwrap());
    }
    peer.expect_nothing(Duration::from_millis(50)).await?;
    Ok(ids)
}

#[tokio::test]
async fn row_06_a_refused_qos_2_message_gives_back_its_identifier_and_its_place() {
    refused_by_pubrec().await.unwrap();
}

async fn refused_by_pubrec() -> ScriptResult {
    print("row 6: packet identifiers 1 to 5 only, so that one that is not given back is missed");
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = client(broker.addr(), V5).session(kept());
    let (client, mut told) = start(builder.config(|config| config.session.packet_id_max = 5));
    let mut refused = Outcomes::default();
    refused.publish(&client, 0..12, Qos::ExactlyOnce);
    let (mut peer, _) = broker.accept_connect().await?;
    peer.connack_with(false, receive_maximum(5)).await?;
    let mut sent = five(&mut peer).await?;
    for n in 0..12 {
        peer.pubrec(sent[n], ReasonCode::NOT_AUTHORIZED).await?;
        if sent.len() < 12 {
            let publish = peer.expect_publish().await?;
            assert_eq!(number(&publish), sent.len());
            sent.push(publish.packet_id.unwrap());
        }
    }
    for answer in refused.all(&mut told).await {
        let why = answer.unwrap_err();
        assert!(matches!(why, PublishError::Refused { .. }), "{why:?}");
        assert_eq!(why.reason_code(), Some(ReasonCode::NOT_AUTHORIZED));
    }
    peer.expect_nothing(Duration::from_millis(50)).await?;

    let mut taken = Outcomes::default();
    taken.publish(&client, 0..5, Qos::ExactlyOnce);
    for id in five(&mut peer).await? {
        peer.pubrec(id, ReasonCode::SUCCESS).await?;
        assert_eq!(peer.expect_pubrel().await?.packet_id, id);
        peer.pubcomp(id, ReasonCode::SUCCESS).await?;
    }
    taken.receipts(&mut told).await;
    assert_eq!(told.count(|event| matches!(event, Event::Closed { .. })), 0, "{told:?}");
    Ok(())
}

#[tokio::test]
async fn row_10_a_message_above_the_brokers_limit_is_refused_and_the_link_lives_on() {
    too_large().await.unwrap();
}

async fn too_large() -> ScriptResult {
    const MAXIMUM: u32 = 1000;
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), V5).session(kept()));
    let mut outcomes = Outcomes::default();
    let large = || client.publish("gauntlet/t", vec![b'x'; 2000]);
    outcomes.add(large().qos(Qos::AtLeastOnce));
    outcomes.publish(&client, 1..2, Qos::AtLeastOnce);
    let (mut peer, _) = broker.accept_connect().await?;
    let maximum_packet_size = Some(MAXIMUM);
    peer.connack_with(false, ConnAckProperties { maximum_packet_size, ..Default::default() }).await?;
    told.opened().await;
    assert_eq!(client.state().maximum_packet_size, Some(MAXIMUM));
    outcomes.add(large().qos(Qos::ExactlyOnce));
    outcomes.add(large());
    outcomes.publish(&client, 4..6, Qos::AtLeastOnce);
    let seen: Vec<usize> = take_all(&mut peer, 3).await?.iter().map(number).collect();
    assert_eq!(seen, [1, 4, 5]);
    for (n, answer) in outcomes.all(&mut told).await.into_iter().enumerate() {
        match answer {
            Ok(_) => assert!([1, 4, 5].contains(&n)),
            Err(PublishError::TooLarge { size, limit }) => {
                assert!([0, 2, 3].contains(&n));
                assert!(limit == u64::from(MAXIMUM) && size > 2000 && size < 2050, "{size} of {limit}");
            }
            Err(other) => panic!("message {n}: {other:?}"),
        }
    }
    peer.expect_nothing(PING_AFTER).await?;
    assert!(client.is_connection_open());
    assert_eq!(told.count(|event| matches!(event, Event::Closed { .. })), 0, "{told:?}");
    Ok(())
}
