//! Links that look open and are dead: rows 4, 5 and 12.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin::{Client, Event, LossCause, Qos, ReasonCode, Version};
use rejoin_core::codec::packet::Packet;
use rejoin_lab::{Peer, ScriptResult, ScriptedBroker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

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
    const STALL: Duration = Duration::from_secs(1);
    let mut broker = ScriptedBroker::start_with_buffers(BUFFERS).await.unwrap();
    // The second link carries eight megabytes through a small window; only the write stall may end a link here.
    print("row 5: write stall 1 s, ping after and ack progress 10 s");
    let builder = client(broker.addr(), version).session(kept()).ping_after(LIMIT).ack_timeout(LIMIT);
    let (client, mut told) = start(builder.write_timeout(STALL));
    let (peer, _) = broker.accept_session(false).await?;
    told.opened().await;
    let silent = peer.stop_reading();
    let outcomes = publish_much(&client);
    let begin = Instant::now();
    let Event::Closed { cause, in_flight, queued, .. } = told.closed().await else { unreachable!() };
    let took = begin.elapsed();
    assert_eq!(cause, LossCause::WriteStall(STALL));
    assert!(took < STALL + SLACK, "noticed after {took:?}");
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

/// Takes a connection, answers CONNECT, and reads `bytes` of one QoS 1 PUBLISH drop by drop before it answers that.
async fn read_slowly(listener: TcpListener, version: Version, bytes: usize) -> std::io::Result<TcpStream> {
    let (mut stream, _) = listener.accept().await?;
    let mut buffer = vec![0; BUFFERS as usize];
    assert!(stream.read(&mut buffer).await? > 0);
    let connack: &[u8] = if version == V5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
    stream.write_all(connack).await?;
    let mut left = bytes;
    while left > 0 {
        let taken = stream.read(&mut buffer).await?;
        assert!(taken > 0, "the client gave up with {left} bytes left");
        left = left.saturating_sub(taken);
        // waits: for a slow reader is what the row is about
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream.write_all(&[0x40, 2, 0, 1]).await?;
    Ok(stream)
}

async fn slow_reader(version: Version) -> ScriptResult {
    const ONE_MESSAGE: usize = MESSAGES * SIZE;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFERS).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(8).unwrap();
    let (client, mut told) = start(client(listener.local_addr().unwrap(), version).session(kept()));
    let reader = tokio::spawn(read_slowly(listener, version, ONE_MESSAGE));
    told.opened().await;
    let begin = Instant::now();
    let mut outcomes = Outcomes::default();
    outcomes.add(client.publish("gauntlet/t", vec![b'.'; ONE_MESSAGE]).qos(Qos::AtLeastOnce));
    assert_eq!(outcomes.receipts(&mut told).await[0].attempts, 1);
    assert!(
        begin.elapsed() > WRITE_TIMEOUT * 2,
        "the row needs a slow reader, it took {:?}",
        begin.elapsed()
    );
    assert_eq!(told.count(|event| matches!(event, Event::Closed { .. })), 0, "{told:?}");
    drop(limited("the reader", reader).await.unwrap().unwrap());
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
        let ended = limited("the client ends it", answer_only_pings(&mut peer));
        let (pings, others) = ended.await;
        let took = begin.elapsed();
        assert!(pings >= 2 && others.is_empty(), "{pings} pings, {others:?}");
        assert!(took + EARLY > limit && took < limit + SLACK, "{took:?} for {limit:?}");
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
