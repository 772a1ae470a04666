//! The scripted broker.

use std::time::Duration;

use rejoin_core::codec::packet::{Packet, Qos, Version};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_lab::{Around, Ending, ScriptedBroker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::{connect, id, publish, subscribe};
use crate::raw::Raw;

const Q1: Qos = Qos::AtLeastOnce;

#[tokio::test]
async fn a_script_is_played_packet_by_packet() {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let addr = broker.addr();
    let client = async {
        let (mut raw, present) = Raw::session(addr, "c", true).await;
        assert!(!present);
        raw.send(&Packet::PingReq).await.unwrap();
        assert_eq!(raw.recv().await.unwrap(), Packet::PingResp);
        raw.send(&subscribe(1, "t", Q1)).await.unwrap();
        assert!(matches!(raw.recv().await.unwrap(), Packet::SubAck(_)));
        raw.send(&publish(Q1, 2, false, "up")).await.unwrap();
        assert!(
            matches!(raw.recv().await.unwrap(), Packet::PubAck(a) if a.reason == ReasonCode::QUOTA_EXCEEDED)
        );
        assert!(matches!(raw.recv().await.unwrap(), Packet::Publish(p) if p.payload == "down"));
        raw
    };
    let script = async {
        let (mut peer, hello) = broker.accept_session(false).await?;
        assert_eq!((hello.client_id.as_str(), peer.version(), peer.number()), ("c", Version::V5, 1));
        let subscribe = peer.expect_subscribe().await?;
        peer.grant(&subscribe).await?;
        let message = peer.expect_publish().await?;
        assert_eq!(message.payload, "up");
        peer.puback(id(2), ReasonCode::QUOTA_EXCEEDED).await?;
        peer.publish("t", "down", Q1, Some(id(1))).await?;
        Ok::<_, rejoin_lab::ScriptError>(peer)
    };
    let (raw, peer) = tokio::join!(client, script);
    let mut peer = peer.unwrap();
    drop(raw);
    assert_eq!(peer.expect_end().await.unwrap(), Ending::Fin);
    broker.expect_no_connection(Duration::from_millis(50)).await.unwrap();
}

#[tokio::test]
async fn a_wait_in_vain_says_what_was_awaited_and_what_came() {
    let mut broker = ScriptedBroker::start().await.unwrap();
    broker.set_limit(Duration::from_millis(50));
    assert_eq!(broker.accept().await.unwrap_err().to_string(), "connection 1 did not come within 50ms");
    let mut raw = Raw::open(broker.addr()).await.unwrap();
    let mut peer = broker.accept().await.unwrap();
    assert_eq!(
        peer.expect_connect().await.unwrap_err().to_string(),
        "connection 1: CONNECT did not come within 50ms"
    );
    raw.send(&Packet::Connect(Box::new(connect("c", Version::V5, true, 0)))).await.unwrap();
    peer.set_limit(Duration::from_secs(10));
    let error = peer.expect_publish().await.unwrap_err().to_string();
    assert!(error.starts_with("connection 1: PUBLISH was awaited, this came: Connect"), "{error}");
    peer.reset();
    assert_eq!(raw.recv().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_script_for_every_connection() {
    let broker = ScriptedBroker::start().await.unwrap();
    let serving = broker.serve(|number, mut peer| async move {
        peer.expect_connect().await?;
        if number == 1 {
            peer.refuse(ReasonCode::SERVER_BUSY).await?;
            peer.close().await;
            return Ok(());
        }
        peer.connack(true).await?;
        peer.expect_disconnect().await?;
        Ok(())
    });
    let (mut first, _) = Raw::session(serving.addr(), "c", false).await;
    assert_eq!(first.recv().await.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    let (second, present) = Raw::session(serving.addr(), "c", false).await;
    assert!(present);
    assert_eq!(serving.accepts().len(), 2);
    drop(second);
    let begin = std::time::Instant::now();
    while serving.errors().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "the script must notice");
        // waits: for a list that tells nobody when it grows, looked at again and again, within a limit
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(serving.errors()[0].to_string(), "connection 2: DISCONNECT was awaited, the client closed");
}

#[tokio::test]
async fn a_handshake_that_is_given_up_is_passed_over_and_the_next_one_is_spoken_through() {
    let mut broker = ScriptedBroker::start().await.unwrap();
    broker.set_around(Some(Around::new(|mut stream: TcpStream| async move {
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        // Only what the stream gives from here on is MQTT.
        Ok(tokio::io::BufStream::new(stream))
    })));
    drop(TcpStream::connect(broker.addr()).await.unwrap());
    let mut client = TcpStream::connect(broker.addr()).await.unwrap();
    client.write_all(b"word\xC0\0").await.unwrap();
    let mut peer = broker.accept().await.unwrap();
    assert_eq!(peer.number(), 2);
    peer.set_answers_pings(false);
    assert_eq!(peer.recv().await.unwrap(), Packet::PingReq);
    peer.send(&Packet::PingResp).await.unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0xD0, 0]);
    peer.reset();
    assert_eq!(client.read(&mut answer).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
