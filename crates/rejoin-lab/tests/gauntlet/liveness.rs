//! Links that look open and are dead: rows 4, 5 and 12.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin::{Client, Event, LossCause, Qos, ReasonCode, Version};
use rejoin_core::codec::packet::Packet;
use rejoin_lab::{Direction, Peer, Proxy, ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_04_a_half_open_idle_link_is_noticed_within_the_ping_interval_and_its_timeout: unanswered_ping;
    row_05_a_peer_that_stops_reading_is_noticed_while_publishing_and_nothing_is_lost: stops_reading;
    row_05_a_shutdown_is_not_stuck_behind_a_write: shutdown_behind_a_write;
    row_05_a_slow_reader_is_not_a_dead_one: slow_reader;
    row_12_an_ack_that_never_comes_restarts_the_link_though_pings_are_answered: no_puback;
}

async fn unanswered_ping(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let (mut peer, _) = broker.accept_connect().await?;
    peer.set_answers_pings(false);
    let begin = Instant::now();
    peer.connack(false).await?;
    told.opened().await;
    assert!(client.is_connection_open() && client.ready());
    assert_eq!(peer.recv().await?, Packet::PingReq);
    assert!(begin.elapsed() < PING_AFTER + SLACK, "the ping came after {:?}", begin.elapsed());
    told.wait("suspect", |event| matches!(event, Event::Suspect { .. })).await;
    assert!(client.is_connected() && !client.is_connection_open() && !client.ready());
    peer.expect_end().await?;
    let took = begin.elapsed();
    assert!(took < PING_AFTER + PING_TIMEOUT + SLACK, "detected after {took:?}");
    let Event::Closed { cause, .. } = told.closed().await else { unreachable!() };
    assert_eq!(cause, LossCause::PingTimeout(PING_TIMEOUT));
    let (mut peer, _) = broker.accept_session(true).await?;
    told.opened().await;
    peer.expect_nothing((PING_AFTER + PING_TIMEOUT) * 2).await?;
    assert!(client.is_connection_open(), "{:?}", client.link());
    assert_eq!(told.count(|event| matches!(event, Event::Closed { .. })), 1, "{told:?}");
    Ok(())
}

/// Small receive buffers, so that a peer that does not read is felt soon.
const BUFFERS: u32 = 32 * 1024;
const MESSAGES: usize = 32;
const SIZE: usize = 256 * 1024;

fn publish_much(client: &Client) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for n in 0..MESSAGES {
        let mut payload = vec![b'.'; SIZE];
        payload[0] = u8::try_from(n).unwrap();
        outcomes.add(client.publish("gauntlet/t", Bytes::from(payload)).qos(Qos::AtLeastOnce));
    }
    outcomes
}

async fn take_much(peer: &mut Peer) -> ScriptResult {
    let taken = take_all(peer, MESSAGES).await?;
    let order: Vec<usize> = taken.iter().map(|publish| usize::from(publish.payload[0])).collect();
    assert_eq!(order, (0..MESSAGES).collect::<Vec<_>>());
    assert!(taken.iter().all(|publish| publish.payload.len() == SIZE));
    Ok(())
}

async fn stops_reading(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start_with_buffers(BUFFERS).await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let (peer, _) = broker.accept_session(false).await?;
    told.opened().await;
    let silent = peer.stop_reading();
    let outcomes = publish_much(&client);
    let begin = Instant::now();
    let Event::Closed { cause, in_flight, queued, .. } = told.closed().await else { unreachable!() };
    let took = begin.elapsed();
    assert_eq!(cause, LossCause::WriteStall(WRITE_TIMEOUT));
    assert!(took < WRITE_TIMEOUT + SLACK, "noticed after {took:?}");
    assert_eq!((in_flight + queued, outcomes.answered()), (MESSAGES, 0));
    assert!(client.is_connected() && !client.is_connection_open());
    let (mut peer, _) = broker.accept_session(true).await?;
    take_much(&mut peer).await?;
    outcomes.receipts(&mut told).await;
    assert_eq!(told.count(|event| matches!(event, Event::Closed { .. })), 1);
    silent.reset();
    Ok(())
}

async fn shutdown_behind_a_write(version: Version) -> ScriptResult {
    print("row 5, shutdown: write stall 60 s, so that only the shutdown's own limit ends it");
    let mut broker = ScriptedBroker::start_with_buffers(BUFFERS).await.unwrap();
    let builder = client(broker.addr(), version).session(kept());
    let (client, mut told) = start(builder.write_timeout(Duration::from_secs(60)).ack_timeout(LIMIT));
    let (peer, _) = broker.accept_session(false).await?;
    told.opened().await;
    let silent = peer.stop_reading();
    let outcomes = publish_much(&client);
    outcomes.first_sent().await;
    let report = close_within(&client, Duration::from_millis(200)).await;
    assert_eq!(report.lost, MESSAGES as u64);
    assert!(report.maybe_delivered > 0 && report.maybe_delivered < report.lost, "{report:?}");
    assert_eq!((report.delivered, report.clean), (0, false));
    let answers = outcomes.all(&mut told).await;
    let maybe = answers.iter().filter(|answer| answer.as_ref().unwrap_err().maybe_delivered()).count();
    assert_eq!(maybe as u64, report.maybe_delivered);
    silent.reset();
    broker.expect_no_connection(Duration::from_millis(100)).await
}

async fn slow_reader(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start_with_buffers(BUFFERS).await.unwrap();
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    proxy.bandwidth((MESSAGES * SIZE) as u64 * 2 / 3, Direction::Up);
    let (client, mut told) = start(client(proxy.addr(), version).session(kept()).ack_timeout(LIMIT));
    let (mut peer, _) = broker.accept_session(false).await?;
    told.opened().await;
    let begin = Instant::now();
    let outcomes = publish_much(&client);
    take_much(&mut peer).await?;
    assert!(begin.elapsed() > WRITE_TIMEOUT * 2, "the row needs a slow path, it took {:?}", begin.elapsed());
    let receipts = outcomes.receipts(&mut told).await;
    assert!(receipts.iter().all(|receipt| receipt.attempts == 1));
    assert_eq!(
        told.count(|event| matches!(event, Event::Closed { .. } | Event::Suspect { .. })),
        0,
        "{told:?}"
    );
    Ok(())
}

/// Answers pings, counts them, and gives what else came, until the client ends the connection.
async fn answer_only_pings(peer: &mut Peer) -> (usize, Vec<Packet>) {
    let (mut pings, mut others) = (0, Vec::new());
    while let Ok(packet) = peer.recv().await {
        match packet {
            Packet::PingReq => {
                pings += 1;
                let _ = peer.send(&Packet::PingResp).await;
            }
            other => others.push(other),
        }
    }
    (pings, others)
}

async fn no_puback(version: Version) -> ScriptResult {
    print("row 12: ping after 100 ms");
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = client(broker.addr(), version).session(kept()).ping_after(Duration::from_millis(100));
    let (client, mut told) = start(builder);
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..2, Qos::AtLeastOnce);
    let mut ids = Vec::new();
    for link in 1..=2u32 {
        let limit = ACK_TIMEOUT * link;
        let (mut peer, _) = broker.accept_session(link > 1).await?;
        peer.set_answers_pings(false);
        let (first, second) = (peer.expect_publish().await?, peer.expect_publish().await?);
        let begin = Instant::now();
        assert_eq!((first.dup, second.dup), (link > 1, link > 1));
        ids.push((first.packet_id, second.packet_id));
        let (pings, others) = answer_only_pings(&mut peer).await;
        let took = begin.elapsed();
        assert!(pings >= 3 && others.is_empty(), "{pings} pings, {others:?}");
        assert!(took + SLACK / 4 > limit && took < limit + SLACK, "{took:?} for {limit:?}");
        let Event::Closed { cause, in_flight, .. } = told.closed().await else { unreachable!() };
        assert_eq!((cause, in_flight), (LossCause::AckTimeout(limit), 2));
        assert_eq!(outcomes.answered(), 0, "a lost link answers for nothing");
    }
    let (mut peer, _) = broker.accept_session(true).await?;
    for n in 0..2 {
        let publish = peer.expect_publish().await?;
        assert_eq!((publish.dup, number(&publish)), (true, n));
        ids.push((publish.packet_id, publish.packet_id));
        peer.puback(publish.packet_id.unwrap(), ReasonCode::SUCCESS).await?;
    }
    assert_eq!(ids[0], ids[1], "a resend keeps its packet identifier");
    assert_eq!((ids[2].0, ids[3].0), ids[0]);
    let receipts = outcomes.receipts(&mut told).await;
    assert!(receipts.iter().all(|receipt| receipt.attempts == 3), "{receipts:?}");
    Ok(())
}
