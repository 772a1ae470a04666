//! The proxy and each of its faults.

use std::io;
use std::time::{Duration, Instant};

use rejoin_core::codec::packet::{Packet, Qos};
use rejoin_lab::{BrokerServer, Direction, Ending, Fault, Manners, PacketKind, Proxy, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::peer::publish;
use crate::raw::{LIMIT, Raw};

const Q1: Qos = Qos::AtLeastOnce;
const SHORT: Duration = Duration::from_millis(150);

async fn path() -> (BrokerServer, Proxy) {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let proxy = Proxy::in_front_of(server.addr()).await.unwrap();
    (server, proxy)
}

/// A client's end and a server's end of a connection through a proxy, as plain streams.
async fn streams() -> (Proxy, TcpStream, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::in_front_of(listener.local_addr().unwrap()).await.unwrap();
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (server, _) = tokio::time::timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    (proxy, client, server, listener)
}

async fn read_end(stream: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut bytes = Vec::new();
    let result = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("no end came");
    (bytes, result.err().map(|error| error.kind()))
}

async fn gone(server: &BrokerServer) {
    let begin = Instant::now();
    while server.connections() > 0 {
        assert!(begin.elapsed() < LIMIT, "the broker still has a connection");
        // waits: a count that tells nobody when it changes, looked at again and again, within a limit
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_frozen_path_holds_everything_and_lets_it_go_on() {
    let (server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    assert!(proxy.is_passing());
    proxy.freeze();
    assert!(!proxy.is_passing());
    for n in 1..=3 {
        peer.send(&publish(Q1, n, false, &n.to_string())).await.unwrap();
    }
    assert!(peer.is_silent(SHORT).await);
    assert_eq!(server.with(|broker| broker.counters().accepted), 0);
    proxy.heal();
    for n in 1..=3 {
        assert!(matches!(peer.recv().await.unwrap(), Packet::PubAck(a) if a.packet_id.get() == n));
    }
    let history: Vec<bool> = proxy.history().into_iter().map(|(_, passing)| passing).collect();
    assert_eq!(history, [true, false, true]);
}

#[tokio::test]
async fn a_black_hole_kills_what_it_touches_without_a_word() {
    let (server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    proxy.black_hole(Direction::Up);
    peer.send(&publish(Q1, 1, false, "a")).await.unwrap();
    assert!(peer.is_silent(SHORT).await);
    proxy.heal();
    peer.send(&publish(Q1, 2, false, "b")).await.unwrap();
    assert!(peer.is_silent(SHORT).await, "dead for good");
    assert_eq!(server.with(|broker| broker.counters().accepted), 0);
    drop(peer);
    // waits: for nothing to happen, which only time can show
    tokio::time::sleep(SHORT).await;
    assert_eq!(server.connections(), 1, "no FIN gets through");
    let (mut peer, present) = Raw::session(proxy.addr(), "c", false).await;
    assert!(present, "a new connection lives, and takes over");
    peer.send(&publish(Q1, 3, false, "c")).await.unwrap();
    assert!(matches!(peer.recv().await.unwrap(), Packet::PubAck(_)));
}

#[tokio::test]
async fn a_black_hole_downwards_lets_the_client_be_heard() {
    let (server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    proxy.black_hole(Direction::Down);
    peer.send(&publish(Q1, 1, false, "a")).await.unwrap();
    assert!(peer.is_silent(SHORT).await);
    assert_eq!(server.with(|broker| broker.counters().accepted), 1);
}

#[tokio::test]
async fn reset_and_close_reach_both_sides_as_what_they_are() {
    let (server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    proxy.reset();
    assert_eq!(peer.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    gone(&server).await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", false).await;
    proxy.close();
    assert_eq!(peer.recv().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    drop(peer);
    gone(&server).await;
    assert!(proxy.wait_empty(LIMIT).await);
}

#[tokio::test]
async fn ends_of_the_peers_are_passed_on() {
    let (_proxy, client, mut server, _listener) = streams().await;
    drop(client);
    assert_eq!(read_end(&mut server).await, (Vec::new(), None));
    drop(server);

    let (_proxy, client, mut server, _listener) = streams().await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(read_end(&mut server).await.1, Some(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_refusing_path_refuses_and_keeps_its_port() {
    let (_server, proxy) = path().await;
    let (mut live, _) = Raw::session(proxy.addr(), "c", true).await;
    {
        let _refusing = proxy.hold(Fault::Refuse, Direction::Both).await;
        let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        live.send(&Packet::PingReq).await.unwrap();
        assert_eq!(live.recv().await.unwrap(), Packet::PingResp);
    }
    Raw::session(proxy.addr(), "d", true).await;
}

#[tokio::test]
async fn a_path_that_follows_its_broker_refuses_while_it_is_down() {
    let (server, proxy) = path().await;
    proxy.follow(server.watch_up());
    let mut passing = proxy.watch_passing();
    server.kill(Ending::Rst).await;
    tokio::time::timeout(LIMIT, passing.wait_for(|passing| !passing)).await.unwrap().unwrap();
    proxy.heal();
    assert!(!proxy.is_passing(), "nothing here can heal a broker");
    let begin = Instant::now();
    while TcpStream::connect(proxy.addr()).await.is_ok() {
        assert!(begin.elapsed() < LIMIT, "the port must refuse");
    }
    server.start_again(true).await.unwrap();
    tokio::time::timeout(LIMIT, passing.wait_for(|passing| *passing)).await.unwrap().unwrap();
    while TcpStream::connect(proxy.addr()).await.is_err() {
        assert!(begin.elapsed() < LIMIT, "the port must listen again");
        // waits: for a port, asked again and again, within a limit
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Raw::session(proxy.addr(), "c", true).await;
}

#[tokio::test]
async fn a_healthy_path_adds_no_timer() {
    let (_server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    let mut shortest = LIMIT;
    for _ in 0..200 {
        let begin = Instant::now();
        peer.send(&Packet::PingReq).await.unwrap();
        assert_eq!(peer.recv().await.unwrap(), Packet::PingResp);
        shortest = shortest.min(begin.elapsed());
    }
    // A timer in either direction would cost a millisecond each time.
    assert!(shortest < Duration::from_micros(900), "{shortest:?}");
}

#[tokio::test]
async fn a_path_to_nobody_resets() {
    let (server, proxy) = path().await;
    server.kill(Ending::Rst).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(read_end(&mut client).await.1, Some(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_cut_passes_exactly_the_bytes_it_names() {
    for n in 0..=20u8 {
        for ending in [Ending::Fin, Ending::Rst] {
            let (proxy, mut client, mut server, _listener) = streams().await;
            proxy.cut_after(u64::from(n), Direction::Up, ending);
            let bytes: Vec<u8> = (0..40).collect();
            client.write_all(&bytes).await.unwrap();
            let (got, error) = read_end(&mut server).await;
            let reset = (ending == Ending::Rst).then_some(io::ErrorKind::ConnectionReset);
            assert_eq!(error, reset, "{ending} after {n}");
            // A reset may overtake bytes that were not read yet.
            assert!(
                got == bytes[..usize::from(n)] || (reset.is_some() && got.is_empty()),
                "{ending} after {n}: {got:?}"
            );
            let second = TcpStream::connect(proxy.addr()).await;
            assert!(second.is_ok(), "a cut happens once");
        }
    }
}

#[tokio::test]
async fn lost_packets_are_swallowed_and_counted() {
    let (server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    proxy.lose(PacketKind::PubAck, Times::Count(2), Direction::Down);
    for n in 1..=4 {
        peer.send(&publish(Q1, n, false, &n.to_string())).await.unwrap();
    }
    for n in 3..=4 {
        assert!(matches!(peer.recv().await.unwrap(), Packet::PubAck(a) if a.packet_id.get() == n), "{n}");
    }
    assert_eq!(server.with(|broker| broker.counters().accepted), 4);
}

#[tokio::test]
async fn latency_and_bandwidth_take_their_time_and_keep_the_order() {
    let (_server, proxy) = path().await;
    let (mut peer, _) = Raw::session(proxy.addr(), "c", true).await;
    proxy.latency(Duration::from_millis(30), Duration::from_millis(20));
    let begin = Instant::now();
    for n in 1..=20 {
        peer.send(&publish(Q1, n, false, &n.to_string())).await.unwrap();
    }
    for n in 1..=20 {
        assert!(matches!(peer.recv().await.unwrap(), Packet::PubAck(a) if a.packet_id.get() == n));
    }
    assert!(begin.elapsed() >= Duration::from_millis(60), "{:?}", begin.elapsed());
    proxy.heal();
    proxy.bandwidth(50_000, Direction::Up);
    let begin = Instant::now();
    peer.send(&publish(Q1, 21, false, &"x".repeat(10_000))).await.unwrap();
    assert!(matches!(peer.recv().await.unwrap(), Packet::PubAck(_)));
    assert!(begin.elapsed() >= Duration::from_millis(180), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn latency_is_what_it_says_however_many_small_packets_are_under_way() {
    const DELAY: Duration = Duration::from_secs(2);
    // With room for 16 of them under way, as it once was, the seventeenth waits for the first and comes two delays late.
    const MARGIN: Duration = Duration::from_millis(1_200);
    let (proxy, mut client, mut server, _listener) = streams().await;
    client.set_nodelay(true).unwrap();
    proxy.latency(DELAY, Duration::ZERO);
    let write = async {
        let mut sent = Vec::new();
        for n in 0..300u16 {
            sent.push(Instant::now());
            client.write_all(&n.to_be_bytes()).await.unwrap();
            // waits: the packets are to be a millisecond apart
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sent
    };
    let read = async {
        let mut came = Vec::new();
        for n in 0..300u16 {
            assert_eq!(tokio::time::timeout(LIMIT, server.read_u16()).await.unwrap().unwrap(), n);
            came.push(Instant::now());
        }
        came
    };
    let (sent, came) = tokio::join!(write, read);
    let late = sent.iter().zip(&came).map(|(sent, came)| came.duration_since(*sent));
    let (least, most) = late.fold((LIMIT, Duration::ZERO), |(least, most), it| (least.min(it), most.max(it)));
    assert!(least >= DELAY, "{least:?}");
    assert!(most < DELAY + MARGIN, "{most:?}");
}

#[tokio::test]
async fn slices_change_nothing_but_the_cuts() {
    let (proxy, mut client, mut server, _listener) = streams().await;
    proxy.inject(Fault::Slice(3), Direction::Up).await;
    let bytes: Vec<u8> = (0..5_000u32).map(|n| n.to_le_bytes()[0]).collect();
    client.write_all(&bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    let mut reads = 0;
    let mut part = [0; 64 * 1024];
    loop {
        let n = tokio::time::timeout(LIMIT, server.read(&mut part)).await.unwrap().unwrap();
        if n == 0 {
            break;
        }
        reads += 1;
        got.extend_from_slice(&part[..n]);
    }
    assert_eq!(got, bytes);
    assert!(reads > 10, "{reads} reads");
}

#[tokio::test]
async fn a_stalled_path_fills_the_senders_buffers() {
    let (proxy, mut client, _server, _listener) = streams().await;
    proxy.stall(Direction::Up);
    let megabyte = vec![0; 1 << 20];
    let mut taken = 0;
    while tokio::time::timeout(Duration::from_millis(300), client.write_all(&megabyte)).await.is_ok() {
        taken += 1;
        assert!(taken < 64, "a stalled path must not take without end");
    }
}
