//! Messages handed over while there is no link, and answers that do not come: rows 14, 15 and 18.

use std::time::Duration;

use rejoin::{
    Event, Link, Outlook, PublishError, Qos, ReasonCode, SessionLoss, SessionState, Stage, Version, Window,
};
use rejoin_lab::{ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_14_what_was_published_while_reconnecting_is_delivered_or_answered_for: while_reconnecting;
    row_15_only_the_acknowledgement_ends_the_handle_never_a_resend: never_acknowledged;
    row_18_after_pubrel_only_the_pubrel_is_sent_again: cut_after_pubrel;
    row_18_a_session_lost_after_pubrel_is_said_to_be_unknown: lost_after_pubrel;
}

const PATIENT: Window =
    Window { first: Duration::from_millis(400), growth_percent: 100, cap: Duration::from_millis(400) };

async fn while_reconnecting(version: Version) -> ScriptResult {
    print(&format!("row 14: overloaded {:?}, so that there is time to publish", PATIENT.first));
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = client(broker.addr(), version).session(kept()).connack_timeout(LIMIT);
    let (client, mut told) = start(builder.config(|config| config.recovery.overload = PATIENT));
    let (peer, _) = broker.accept_session(false).await?;
    told.opened().await;
    peer.reset();
    let mut outcomes = Outcomes::default();

    // CONNACK is awaited.
    let (peer, _) = broker.accept_connect().await?;
    state(&client, "CONNACK is awaited", |state| {
        matches!(state.link, Link::Connecting { stage: Stage::Connack, .. })
    })
    .await;
    outcomes.add(client.publish("gauntlet/t", "0").queue_qos0());
    outcomes.publish(&client, 1..3, Qos::AtLeastOnce);
    let during = client.publish("gauntlet/t", "plain").enqueue().unwrap();
    peer.close().await;

    // Between attempts.
    state(&client, "between attempts", |state| matches!(state.link, Link::Waiting { .. })).await;
    assert!(client.is_connected() && !client.is_connection_open());
    outcomes.publish(&client, 3..5, Qos::AtLeastOnce);
    let between = client.publish("gauntlet/t", "plain").enqueue().unwrap();
    assert!(matches!(client.outlook(), Outlook::Later { ahead, .. } if ahead >= 5), "{:?}", client.outlook());
    for plain in [during, between] {
        let answer = limited("QoS 0 is answered for without a link", plain.acked()).await;
        assert!(matches!(answer, Err(PublishError::Dropped)), "{answer:?}");
    }
    assert_eq!(outcomes.answered(), 0);

    let (mut peer, _) = broker.accept_session(true).await?;
    let queued = peer.expect_publish().await?;
    assert_eq!((queued.qos, number(&queued)), (Qos::AtMostOnce, 0));
    let taken = take_all(&mut peer, 4).await?;
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(taken.iter().all(|publish| !publish.dup), "none of them was sent before");
    let receipts = outcomes.receipts(&mut told).await;
    assert!(receipts.iter().all(|receipt| receipt.attempts == 1 && !receipt.possible_duplicate));
    peer.expect_nothing(Duration::from_millis(100)).await
}

async fn never_acknowledged(version: Version) -> ScriptResult {
    print("row 15: ack progress 10 s, so that only the cuts end a link");
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()).ack_timeout(LIMIT));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::AtLeastOnce);
    outcomes.publish(&client, 1..2, Qos::ExactlyOnce);
    let (mut peer, _) = broker.accept_session(false).await?;
    let (first, second) = (peer.expect_publish().await?, peer.expect_publish().await?);
    assert_eq!((number(&first), number(&second)), (0, 1));
    peer.reset();
    let (mut peer, _) = broker.accept_session(true).await?;
    for before in [&first, &second] {
        let again = peer.expect_publish().await?;
        assert!(again.dup && again.packet_id == before.packet_id && again.payload == before.payload);
    }
    // Sent again, and still not acknowledged.
    peer.expect_nothing(Duration::from_millis(100)).await?;
    assert_eq!(outcomes.answered(), 0, "{outcomes:?}");
    peer.reset();
    let (mut peer, _) = broker.accept_session(true).await?;
    let again = peer.expect_publish().await?;
    assert!(again.dup && again.packet_id == first.packet_id);
    assert_eq!(outcomes.answered(), 0, "{outcomes:?}");
    peer.puback(again.packet_id.unwrap(), ReasonCode::SUCCESS).await?;
    let again = peer.expect_publish().await?;
    assert!(again.dup && again.packet_id == second.packet_id);
    let id = again.packet_id.unwrap();
    peer.pubrec(id, ReasonCode::SUCCESS).await?;
    assert_eq!(peer.expect_pubrel().await?.packet_id, id);
    peer.expect_nothing(Duration::from_millis(50)).await?;
    assert_eq!(outcomes.answered(), 1, "PUBREC is not the end: {outcomes:?}");
    peer.pubcomp(id, ReasonCode::SUCCESS).await?;
    let receipts = outcomes.receipts(&mut told).await;
    assert_eq!(receipts.iter().map(|receipt| receipt.attempts).collect::<Vec<_>>(), [3, 3]);
    drop(client);
    Ok(())
}

async fn cut_after_pubrel(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::ExactlyOnce);
    let (mut peer, _) = broker.accept_session(false).await?;
    let id = peer.expect_publish().await?.packet_id.unwrap();
    peer.pubrec(id, ReasonCode::SUCCESS).await?;
    assert_eq!(peer.expect_pubrel().await?.packet_id, id);
    for _ in 0..3 {
        peer.reset();
        (peer, _) = broker.accept_session(true).await?;
        assert_eq!(peer.expect_pubrel().await?.packet_id, id);
        peer.expect_nothing(Duration::from_millis(50)).await?;
        assert_eq!(outcomes.answered(), 0);
    }
    peer.pubcomp(id, ReasonCode::SUCCESS).await?;
    let receipts = outcomes.receipts(&mut told).await;
    assert_eq!((receipts[0].attempts, receipts[0].possible_duplicate), (1, false));
    // The identifier is free, the next message is a new one.
    outcomes.publish(&client, 1..2, Qos::AtLeastOnce);
    let next = take_all(&mut peer, 1).await?;
    assert_eq!((number(&next[0]), next[0].dup), (1, false));
    outcomes.receipts(&mut told).await;
    Ok(())
}

/// A broker may forward at PUBREL, and answers a PUBREL it knows nothing of all the same: neither "delivered" nor
/// sending it again would be the truth.
async fn lost_after_pubrel(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::ExactlyOnce);
    let (mut peer, _) = broker.accept_session(false).await?;
    let id = peer.expect_publish().await?.packet_id.unwrap();
    peer.pubrec(id, ReasonCode::SUCCESS).await?;
    assert_eq!(peer.expect_pubrel().await?.packet_id, id);
    peer.reset();
    let (mut peer, _) = broker.accept_session(false).await?;
    let answers = outcomes.all(&mut told).await;
    assert!(matches!(answers[0], Err(PublishError::Unknown { released: true })), "{answers:?}");
    peer.expect_nothing(Duration::from_millis(100)).await?;
    let loss = SessionLoss { unknown: 1, ..SessionLoss::default() };
    let lost =
        |event: &Event| matches!(event, Event::Opened { session: SessionState::Lost(l), .. } if *l == loss);
    assert_eq!(told.count(lost), 1, "{told:?}");
    Ok(())
}
