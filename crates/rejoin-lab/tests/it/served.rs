//! The broker behind a port.

use std::io;
use std::time::Duration;

use rejoin_core::codec::packet::{Packet, Qos};
use rejoin_lab::{BrokerServer, Ending, Manners};
use tokio::net::TcpStream;

use crate::peer::{ack, publish, subscribe};
use crate::raw::{LIMIT, Raw};

const Q1: Qos = Qos::AtLeastOnce;

#[tokio::test]
async fn a_killed_server_refuses_and_comes_back_on_its_port() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let (mut reader, _) = Raw::session(server.addr(), "c", true).await;
    reader.send(&subscribe(1, "t", Q1)).await.unwrap();
    assert!(matches!(reader.recv().await.unwrap(), Packet::SubAck(_)));

    server.kill(Ending::Rst).await;
    assert_eq!(reader.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let refused = TcpStream::connect(server.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(!server.is_up());

    server.with(|broker| broker.publish("t", "while away", Q1, false));
    server.start_again(true).await.unwrap();
    let (mut reader, present) = Raw::session(server.addr(), "c", false).await;
    assert!(present);
    assert!(matches!(reader.recv().await.unwrap(), Packet::Publish(p) if p.payload == "while away"));
    reader.send(&Packet::PubAck(ack(1))).await.unwrap();

    server.kill(Ending::Fin).await;
    assert_eq!(reader.recv().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    drop(reader);
    server.start_again(false).await.unwrap();
    let (_, present) = Raw::session(server.addr(), "c", false).await;
    assert!(!present, "the sessions are forgotten");
    assert_eq!(server.accepts().len(), 3);
}

#[tokio::test]
async fn a_paused_server_takes_connections_and_bytes_and_says_nothing() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let (mut peer, _) = Raw::session(server.addr(), "c", true).await;
    server.pause();
    peer.send(&Packet::PingReq).await.unwrap();
    let second = Raw::open(server.addr()).await;
    assert!(second.is_ok());
    assert!(peer.is_silent(Duration::from_millis(200)).await);
    server.resume();
    assert_eq!(peer.recv().await.unwrap(), Packet::PingResp);
}

#[tokio::test]
async fn held_acknowledgements_leave_by_the_clock() {
    let server = BrokerServer::start(Manners { ack_delay: Duration::from_millis(50), ..Manners::default() })
        .await
        .unwrap();
    let (mut peer, _) = Raw::session(server.addr(), "c", true).await;
    let begin = std::time::Instant::now();
    peer.send(&publish(Q1, 1, false, "a")).await.unwrap();
    assert!(matches!(peer.recv().await.unwrap(), Packet::PubAck(a) if a.packet_id.get() == 1));
    assert!(begin.elapsed() >= Duration::from_millis(50), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn many_messages_pass_in_order_and_the_model_is_seen_from_outside() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let (mut reader, _) = Raw::session(server.addr(), "reader", true).await;
    reader.send(&subscribe(1, "t", Qos::AtMostOnce)).await.unwrap();
    assert!(matches!(reader.recv().await.unwrap(), Packet::SubAck(_)));
    let (mut writer, _) = Raw::session(server.addr(), "writer", true).await;
    let write = async {
        for n in 0..2_000 {
            writer.send(&publish(Qos::AtMostOnce, 0, false, &n.to_string())).await.unwrap();
        }
    };
    let read = async {
        for n in 0..2_000 {
            let packet = reader.recv().await.unwrap();
            assert!(matches!(packet, Packet::Publish(p) if p.payload == n.to_string()), "{n}");
        }
    };
    tokio::join!(write, read);
    assert_eq!(server.with(|broker| broker.counters().accepted), 2_000);
    assert_eq!(server.connections(), 2);
    drop(writer);
    drop(reader);
}

#[tokio::test]
async fn a_pause_is_not_held_against_the_clients() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let mut wish = crate::peer::connect("c", rejoin_core::codec::packet::Version::V5, true, 60);
    wish.keep_alive = 1;
    let (mut peer, _) = Raw::with(server.addr(), wish).await;
    server.pause();
    // waits: longer than one and a half keep-alives have to pass while the broker is paused
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    server.resume();
    peer.send(&Packet::PingReq).await.unwrap();
    assert_eq!(peer.recv().await.unwrap(), Packet::PingResp);
    let late = peer.recv().await.unwrap();
    assert!(matches!(late, Packet::Disconnect(_)), "and then silence is held against it again: {late:?}");
}

#[tokio::test]
async fn a_foreign_version_is_told_so() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let mut raw = Raw::open(server.addr()).await.unwrap();
    // CONNECT of protocol level 6.
    let hello = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 6, 2, 0, 0, 0, 1, b'c'];
    tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &hello).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut raw.stream, &mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 1]);
    assert_eq!(server.with(|broker| broker.violations().count()), 1);
}

/// More than the buffers of a system take, so that the broker's part of it stands waiting.
async fn with_a_peer_that_does_not_read(server: &BrokerServer) -> (Raw, usize) {
    let (mut reader, _) = Raw::session(server.addr(), "c", true).await;
    reader.send(&subscribe(1, "t", Qos::AtMostOnce)).await.unwrap();
    assert!(matches!(reader.recv().await.unwrap(), Packet::SubAck(_)));
    let payload = vec![b'x'; 1 << 20];
    let whole = 14 * payload.len();
    server.with(|broker| {
        for _ in 0..14 {
            broker.publish("t", payload.clone(), Qos::AtMostOnce, false);
        }
    });
    // waits: until the broker's end has written what the system takes, which nobody tells
    tokio::time::sleep(Duration::from_millis(200)).await;
    (reader, whole)
}

#[tokio::test]
async fn a_peer_that_does_not_read_outlives_no_server() {
    for ending in [Ending::Rst, Ending::Fin] {
        let server = BrokerServer::start(Manners::default()).await.unwrap();
        let (mut reader, whole) = with_a_peer_that_does_not_read(&server).await;
        server.kill(ending).await;
        assert_eq!(server.connections(), 0, "{ending}");
        let mut came = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut reader.stream, &mut came);
        let error = tokio::time::timeout(LIMIT, read).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{ending}");
        assert!(came.len() < whole, "{ending}: all of it came from a broker that was dead");
    }
}

#[tokio::test]
async fn a_paused_server_can_be_killed() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let (mut peer, _) = Raw::session(server.addr(), "c", true).await;
    server.pause();
    server.kill(Ending::Rst).await;
    assert_eq!(server.connections(), 0);
    assert_eq!(peer.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    server.start_again(true).await.unwrap();
    Raw::session(server.addr(), "c", false).await;
}
