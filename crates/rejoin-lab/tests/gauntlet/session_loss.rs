//! Sessions that are lost, and sessions that come back: rows 2, 3, 9 and 11.

use std::time::Duration;

use rejoin::{Client, Event, Qos, ReasonCode, Session, SessionLoss, SessionState, SubscribeError, Version};
use rejoin_core::codec::packet::{ConnAckProperties, Packet, SubAck};
use rejoin_lab::{Peer, ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_02_a_lost_session_loses_no_message: loses_a_kept_session;
    row_03_a_clean_start_loses_no_message: starts_clean;
    row_09_a_resumed_session_keeps_to_the_new_window_and_says_dup_truthfully: resumes;
    row_11_every_subscription_is_asked_for_again_and_its_answer_believed: subscribes_again;
}

async fn loses_a_kept_session(version: Version) -> ScriptResult {
    reset_with_ten_unacknowledged(version, kept(), false).await
}

async fn starts_clean(version: Version) -> ScriptResult {
    // 5.0 keeps the session of a process across cuts; 3.1.1 cannot, there each connection starts clean.
    reset_with_ten_unacknowledged(version, Session::fresh(), version == V311).await
}

async fn reset_with_ten_unacknowledged(
    version: Version,
    session: Session,
    clean_again: bool,
) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(session).max_in_flight(10));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..40, Qos::AtLeastOnce);
    let (mut peer, _) = broker.accept_session(false).await?;
    let mut reached: Vec<usize> = take_all(&mut peer, 20).await?.iter().map(number).collect();
    // The window is ten, so these can only come once the twenty acknowledgements were taken.
    for n in 20..30 {
        assert_eq!(number(&peer.expect_publish().await?), n);
    }
    peer.expect_nothing(Duration::from_millis(50)).await?;
    assert_eq!(outcomes.answered(), 20);
    peer.reset();
    let (mut peer, connect) = broker.accept_session(false).await?;
    assert_eq!(connect.clean_start, clean_again);
    let again = take_all(&mut peer, 20).await?;
    assert!(again.iter().all(|publish| !publish.dup), "a new session knows no copies");
    reached.extend(again.iter().map(number));
    assert_eq!(reached, (0..40).collect::<Vec<_>>());
    for (n, receipt) in outcomes.receipts(&mut told).await.into_iter().enumerate() {
        let twice = (20..30).contains(&n);
        assert_eq!(
            (receipt.attempts, receipt.possible_duplicate, receipt.is_acknowledged()),
            (1 + u32::from(twice), twice, true),
            "message {n}"
        );
    }
    peer.expect_nothing(Duration::from_millis(50)).await?;
    let sessions: Vec<SessionState> = told
        .all()
        .iter()
        .filter_map(|event| if let Event::Opened { session, .. } = event { Some(*session) } else { None })
        .collect();
    let lost = SessionState::Lost(SessionLoss { requeued: 10, unknown: 0 });
    // The one before was given up by who asked for a new one, not lost by the broker.
    assert_eq!(sessions, [SessionState::New, if clean_again { SessionState::New } else { lost }]);
    assert_eq!(client.stats().engine.sessions_lost, u64::from(!clean_again));
    Ok(())
}

/// Message 0 at QoS 2 has passed PUBREC, 1 to 10 are sent and unacknowledged, 11 and 12 were never sent.
async fn resumes(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()).max_in_flight(11));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::ExactlyOnce);
    outcomes.publish(&client, 1..13, Qos::AtLeastOnce);
    let (mut peer, _) = broker.accept_session(false).await?;
    let first = peer.expect_publish().await?.packet_id.unwrap();
    let mut ids = Vec::new();
    for _ in 1..11 {
        ids.push(peer.expect_publish().await?.packet_id.unwrap());
    }
    peer.pubrec(first, ReasonCode::SUCCESS).await?;
    assert_eq!(peer.expect_pubrel().await?.packet_id, first);
    peer.expect_nothing(Duration::from_millis(50)).await?;
    peer.reset();

    let (mut peer, connect) = broker.accept_connect().await?;
    assert!(!connect.clean_start);
    let window = if version == V5 { 2 } else { 11 };
    let properties = if version == V5 { receive_maximum(2) } else { ConnAckProperties::default() };
    peer.connack_with(true, properties).await?;
    assert_eq!(peer.expect_pubrel().await?.packet_id, first, "PUBREL is never turned back into PUBLISH");
    let mut unacknowledged = Vec::new();
    for n in 1..13 {
        let publish = peer.expect_publish().await?;
        assert_eq!((number(&publish), publish.dup), (n, n < 11));
        if n < 11 {
            assert_eq!(publish.packet_id, Some(ids[n - 1]), "a resend keeps its packet identifier");
        }
        unacknowledged.push(publish.packet_id.unwrap());
        if unacknowledged.len() == window {
            peer.expect_nothing(Duration::from_millis(30)).await?;
            peer.puback(unacknowledged.remove(0), ReasonCode::SUCCESS).await?;
        }
    }
    for id in unacknowledged {
        peer.puback(id, ReasonCode::SUCCESS).await?;
    }
    peer.pubcomp(first, ReasonCode::SUCCESS).await?;
    let receipts = outcomes.receipts(&mut told).await;
    assert!(receipts.iter().all(|receipt| !receipt.possible_duplicate));
    assert_eq!(
        told.count(|event| matches!(event, Event::Opened { resending: 11, session: SessionState::Kept, .. })),
        1
    );
    Ok(())
}

const FILTERS: [&str; 3] = ["gauntlet/a/#", "gauntlet/b/#", "gauntlet/c"];

/// Reads SUBSCRIBEs until every filter was asked for once, checks what `ready()` says meanwhile, then answers:
/// `refused` with the code, the others with success.
async fn answer_all(peer: &mut Peer, client: &Client, refused: Option<(&str, ReasonCode)>) -> ScriptResult {
    let mut asked = Vec::new();
    let mut subscribes = Vec::new();
    while asked.len() < FILTERS.len() {
        let subscribe = peer.expect_subscribe().await?;
        asked.extend(subscribe.filters.iter().map(|(filter, _)| filter.as_str().to_owned()));
        subscribes.push(subscribe);
        assert!(client.is_connection_open() && !client.ready(), "ready() waits for every SUBACK");
    }
    asked.sort();
    assert_eq!(asked, FILTERS);
    for subscribe in subscribes {
        assert!(!client.ready(), "ready() waits for every SUBACK");
        let answer = |filter: &str| match refused {
            Some((wanted, reason)) if wanted == filter => reason,
            _ => ReasonCode::GRANTED_QOS_1,
        };
        let reasons = subscribe.filters.iter().map(|(filter, _)| answer(filter.as_str())).collect();
        let suback = SubAck { packet_id: subscribe.packet_id, properties: None, reasons };
        peer.send(&Packet::SubAck(suback)).await?;
    }
    Ok(())
}

async fn subscribes_again(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let mut streams = Vec::new();
    for filter in FILTERS {
        streams.push(client.subscribe(filter, Qos::AtLeastOnce).declare().unwrap());
    }
    let (mut peer, _) = broker.accept_session(false).await?;
    answer_all(&mut peer, &client, None).await?;
    limited("ready", client.wait_ready(LIMIT)).await.unwrap();
    peer.reset();

    let (mut peer, _) = broker.accept_session(false).await?;
    let reason = if version == V5 { ReasonCode::NOT_AUTHORIZED } else { ReasonCode::UNSPECIFIED_ERROR };
    answer_all(&mut peer, &client, Some((FILTERS[1], reason))).await?;
    let refused = told.wait("a refusal surfaces", |event| matches!(event, Event::SubscriptionRefused { .. }));
    let Event::SubscriptionRefused { filter, why } = refused.await else { unreachable!() };
    assert_eq!(filter.as_str(), FILTERS[1]);
    assert!(matches!(&why, SubscribeError::Refused { reason: code, .. } if *code == reason), "{why:?}");
    let tally = |event: &Event| matches!(event, Event::Resubscribed { granted: 2, refused: 1 });
    told.wait("the tally", tally).await;
    assert!(client.is_connection_open() && !client.ready(), "a refused subscription is not ready");
    peer.expect_nothing(Duration::from_millis(100)).await?;
    peer.reset();

    // Session Present proves nothing: all are asked for again, the refused one, too.
    let (mut peer, _) = broker.accept_session(true).await?;
    answer_all(&mut peer, &client, None).await?;
    limited("ready", client.wait_ready(LIMIT)).await.unwrap();
    peer.publish("gauntlet/b/1", "back", Qos::AtMostOnce, None).await?;
    let message = limited("a message", streams[1].next()).await.unwrap();
    assert_eq!((&*message.topic, &message.payload[..]), ("gauntlet/b/1", &b"back"[..]));
    assert_eq!(client.stats().engine.sessions_lost, 1);
    Ok(())
}
