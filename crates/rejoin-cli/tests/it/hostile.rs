//! A peer that breaks the rules: one clear line, a documented exit, no hang, and nothing accepted before is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::{PacketId, Qos};
use rejoin_lab::{Peer, ScriptResult, ScriptedBroker, Serving};

use crate::program::{Ended, place, run_with_input, words};

/// Recovery scaled down, so that the second connection comes at once.
const QUICK: [&str; 7] = [
    "--backoff",
    "50ms..200ms",
    "--overload-backoff",
    "50ms..200ms",
    "--lift-connect-budget",
    "--deadline",
    "15",
];

async fn run(verb: &'static str, addr: SocketAddr, rest: Vec<&'static str>, input: &'static [u8]) -> Ended {
    tokio::task::spawn_blocking(move || run_with_input(&words(verb, &place(addr), &rest), input))
        .await
        .expect("the run ends")
}

/// Answers every CONNECT with these bytes, and keeps the connection open.
async fn answers(bytes: &'static [u8]) -> Serving {
    let broker = ScriptedBroker::start().await.expect("a port");
    broker.serve(move |_, mut peer| async move {
        peer.expect_connect().await?;
        peer.send_raw(bytes).await?;
        peer.expect_end().await.map(drop)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_to_connect_is_beyond_words() {
    let cases = [
        (&[0x20, 0][..], "5", "malformed CONNACK: acknowledge flags", 3),
        (&[0x20, 3, 2, 0, 0], "5", "malformed CONNACK: acknowledge flags have reserved bits", 3),
        (&[0x20, 3, 0, 0x7F, 0], "5", "protocol error in CONNACK: reason code", 3),
        (&[0x20, 3, 0, 0, 0xFF], "5", "malformed CONNACK: property length", 3),
        (&[0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], "5", "longer than four bytes", 3),
        (&[0x20, 0xFF, 0xFF, 0xFF, 0x7F], "5", "CONNACK of 268435460 bytes is above the limit", 3),
        (&[0x20, 8, 0, 0x87, 5, 0x1F, 0, 2, 0xFF, 0xFE], "5", "reason string is not valid UTF-8", 3),
        (&[0x20, 10, 0, 0, 0], "5", "did not answer CONNECT", 3),
        (&[0x90, 3, 0, 1, 0], "5", "does not speak MQTT", 3),
        (b"SSH-2.0-OpenSSH\r\n", "5", "SSH", 3),
        (&[0x15, 3, 3, 0, 2, 2, 0x28], "5", "TLS", 3),
        (&[0x20, 3, 0, 0xFE, 0], "5", "unknown code 0xFE", 128),
        (&[0x20, 2, 0, 9], "311", "unknown code 0x09", 128),
        (&[0x20, 2, 1, 5], "311", "session present is set in a refusal", 3),
    ];
    // All at once: each of them waits for its deadline.
    let mut runs = tokio::task::JoinSet::new();
    for (bytes, version, part, code) in cases {
        runs.spawn(async move {
            let serving = answers(bytes).await;
            let place = serving.addr().to_string();
            let flags = vec!["-t", "a", "-m", "x", "-V", version, "--deadline", "2"];
            let begin = Instant::now();
            let ended = run("pub", serving.addr(), flags, b"").await;
            assert!(begin.elapsed() < Duration::from_secs(10), "--deadline 2: {:?}", begin.elapsed());
            assert_eq!(ended.code, Some(code), "{bytes:x?}: {ended:?}");
            let last = ended.stderr.lines().last().expect("a line");
            assert!(last.contains(part) && last.contains(&place), "{bytes:x?}: {last}");
            assert!(ended.stderr.lines().count() <= 2, "one for the try and one for the end: {ended:?}");
        });
    }
    while let Some(ended) = runs.join_next().await {
        ended.expect("as expected");
    }
}

/// What no client may take from a broker, and what is told of it.
const BROKEN: [(&[u8], &str); 8] = [
    (&[0x40, 3, 0, 1, 0x55], "PUBACK: reason code"),
    (&[0x40, 2, 0, 0], "packet identifier is zero"),
    (&[0x30, 5, 0, 2, 0xFF, 0xFE, 0], "topic name is not valid UTF-8"),
    (&[0x30, 6, 0, 2, b'a', b'#', 0, b'x'], "topic name holds a wildcard"),
    (&[0x30, 5, 0, 1, b'a', 0xFF, b'x'], "property length"),
    (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], "above the limit"),
    (&[0x36, 7, 0, 1, b'a', 0, 1, 0, 0], "QoS is 3"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "PUBACK: reserved flags"),
];

/// Acknowledges every message until the client says goodbye.
async fn acknowledge(peer: &mut Peer, mut id: PacketId) -> ScriptResult {
    loop {
        peer.puback(id, ReasonCode::SUCCESS).await?;
        match peer.recv().await? {
            rejoin_core::codec::packet::Packet::Publish(publish) => {
                id = publish.packet_id.expect("QoS 1");
            }
            _ => return Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_packet_costs_the_link_and_no_line() {
    for (bytes, part) in BROKEN {
        let broker = ScriptedBroker::start().await.expect("a port");
        let serving = broker.serve(move |number, mut peer| async move {
            peer.expect_connect().await?;
            peer.connack(number > 1).await?;
            let publish = peer.expect_publish().await?;
            if number == 1 {
                peer.send_raw(bytes).await?;
                return peer.expect_end().await.map(drop);
            }
            assert!(publish.dup, "it was sent before");
            acknowledge(&mut peer, publish.packet_id.expect("QoS 1")).await
        });
        let flags = [&["-t", "t", "-l", "-c", "-i", "p"][..], &QUICK].concat();
        let ended = run("pub", serving.addr(), flags, b"one\ntwo\nthree\n").await;
        assert_eq!(ended.code, Some(0), "{bytes:x?}: {ended:?}");
        let lost: Vec<_> = ended.stderr.lines().filter(|line| line.contains(" lost ")).collect();
        assert!(
            matches!(lost[..], [line] if line.contains("protocol-error") && line.contains(part)),
            "{bytes:x?}: {lost:?}"
        );
        assert!(lost[0].contains("see the broker's log"), "the remedy: {lost:?}");
        assert!(ended.stderr.contains("published 3 · acknowledged 3"), "{ended:?}");
        assert_eq!(serving.errors(), [], "{bytes:x?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_drops_the_broken_link_and_hears_the_next_message() {
    for (bytes, part) in BROKEN {
        let broker = ScriptedBroker::start().await.expect("a port");
        let serving = broker.serve(move |number, mut peer| async move {
            peer.expect_connect().await?;
            peer.connack(false).await?;
            let subscribe = peer.expect_subscribe().await?;
            peer.grant(&subscribe).await?;
            if number == 1 {
                peer.send_raw(bytes).await?;
            } else {
                peer.publish("t", "whole", Qos::AtMostOnce, None).await?;
            }
            peer.expect_end().await.map(drop)
        });
        let flags = [&["-t", "t", "-C", "1"][..], &QUICK].concat();
        let ended = run("sub", serving.addr(), flags, b"").await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "whole\n"), "{bytes:x?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{bytes:x?}: {ended:?}");
    }
}
