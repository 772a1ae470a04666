//! Who says no, or nothing: one clear line, and the exit code of the table.

use std::net::SocketAddr;
use std::time::Duration;

use rejoin_core::ReasonCode;
use rejoin_lab::{BrokerServer, Manners, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
#[cfg(target_os = "linux")]
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::program::{Ended, place, run, words};

/// Runs beside the broker of the test, which lives on this runtime.
async fn beside(verb: &'static str, addr: SocketAddr, rest: &'static [&'static str]) -> Ended {
    tokio::task::spawn_blocking(move || run(&words(verb, &place(addr), rest))).await.expect("the run ends")
}

async fn broker(change: impl FnOnce(&mut Manners)) -> BrokerServer {
    let mut manners = Manners::default();
    change(&mut manners);
    BrokerServer::start(manners).await.expect("a port")
}

/// Answers whatever comes first with these bytes, and closes.
async fn answers(with: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(with).await;
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    addr
}

/// A port that was free a moment ago, and on which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound")
}

const ONE: &[&str] = &["-t", "a", "-m", "x", "--deadline", "1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_nobody_listens_on() {
    let addr = nobody().await;
    let ended = beside("pub", addr, ONE).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains(&format!("connection refused by {addr} (nobody listens there)")), "{last}");
    assert!(last.contains("is a broker listening") && last.contains("--port"), "{last}");
    let ended = beside("sub", addr, &["-t", "a", "--deadline", "1"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_server_on_the_port_is_called_one() {
    let addr = answers(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let ended = beside("pub", addr, ONE).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.contains("HTTP") && last.contains(&addr.to_string()), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_is_no_mqtt() {
    let addr = answers(&[0xFF; 64]).await;
    let ended = beside("pub", addr, ONE).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.lines().last().unwrap().contains("check that an MQTT broker listens"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_never_answers_is_told_from_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let ended = beside("pub", addr, ONE).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("did not answer CONNECT"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_the_exit_code() {
    for (reason, code) in [
        (ReasonCode::NOT_AUTHORIZED, 135),
        (ReasonCode::BAD_USER_NAME_OR_PASSWORD, 134),
        (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, 133),
        (ReasonCode::BANNED, 138),
        (ReasonCode::SERVER_UNAVAILABLE, 136),
    ] {
        let broker = broker(|manners| manners.refuse_connect = Some(Refusal::new(reason))).await;
        for verb_words in [("pub", ONE), ("sub", &["-t", "a", "--deadline", "1"][..])] {
            let ended = beside(verb_words.0, broker.addr(), verb_words.1).await;
            assert_eq!(ended.code, Some(code), "{reason}: {ended:?}");
            let last = ended.stderr.lines().last().unwrap();
            assert!(last.contains("refused the connection") && last.contains(&reason.to_string()), "{last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_return_codes_of_3_1_1_are_mapped() {
    for (connack, code) in [
        (&[0x20, 2, 0, 2][..], 133),
        (&[0x20, 2, 0, 3], 136),
        (&[0x20, 2, 0, 4], 134),
        (&[0x20, 2, 0, 5], 135),
        (&[0x20, 2, 0, 1], 132),
    ] {
        let addr = answers(connack).await;
        let ended = beside("pub", addr, &["-t", "a", "-m", "x", "-V", "311", "--deadline", "1"]).await;
        assert_eq!(ended.code, Some(code), "{connack:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_is_the_exit_code() {
    let broker =
        broker(|manners| manners.suback = Some(rejoin_lab::Answer::new(ReasonCode::NOT_AUTHORIZED))).await;
    let ended = beside("sub", broker.addr(), &["-t", "a", "-t", "b/#"]).await;
    assert_eq!(ended.code, Some(135), "{ended:?}");
    assert!(
        ended.stderr.contains("`b/#`") && ended.stderr.contains("refused every subscription"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_broker_is_spoken_to_in_3_1_1_and_that_is_told() {
    let broker = broker(|manners| manners.knows_only_v311 = true).await;
    let ended = beside("pub", broker.addr(), &["-t", "a", "-m", "x"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("fallback") && ended.stderr.contains("MQTT 3.1.1"), "{ended:?}");
    let ended = beside("pub", broker.addr(), &["-t", "a", "-m", "x", "-V", "5", "--deadline", "1"]).await;
    assert_eq!(ended.code, Some(132), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reconnect_ends_with_the_first_failure() {
    let addr = nobody().await;
    let begin = std::time::Instant::now();
    let ended = beside("sub", addr, &["-t", "a", "--no-reconnect", "--deadline", "never"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_qos_2_refuses_it_or_gets_qos_1_where_that_was_asked_for() {
    let broker = broker(|manners| manners.maximum_qos = rejoin_core::Qos::AtLeastOnce).await;
    let ended = beside("pub", broker.addr(), &["-t", "a", "-m", "x", "-q", "2"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("does not offer QoS 2; --lower-qos sends it as QoS 1"), "{ended:?}");
    let ended = beside("pub", broker.addr(), &["-t", "a", "-m", "x", "-q", "2", "--lower-qos"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("takes QoS 2 as QoS 1").count(), 1, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_nobody_listens_at_is_to_blame_and_not_the_broker() {
    let proxy = format!("http://{}", nobody().await);
    let broker = place(([192, 0, 2, 1], 1883).into());
    for (verb, rest, code) in
        [("pub", &["-t", "a", "-m", "x"][..], 3), ("sub", &["-t", "a"], 3), ("check", &[], 9)]
    {
        let (way, broker) = (proxy.clone(), broker.clone());
        let ended = tokio::task::spawn_blocking(move || {
            let rest = [rest, &["--deadline", "1", "--proxy", &way]].concat();
            run(&words(verb, &broker, &rest))
        });
        let ended = ended.await.expect("the run ends");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains(&format!("connection refused by the proxy {proxy}")), "{verb}: {told}");
        assert!(told.contains("check --proxy") && !told.contains("--port"), "{verb}: {told}");
        assert!(!told.contains("is a broker listening"), "{verb}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_says_nothing_is_told_from_a_silent_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = format!("http://{}", listener.local_addr().expect("bound"));
    let ended = tokio::task::spawn_blocking(move || {
        let broker = place(([192, 0, 2, 1], 1883).into());
        run(&words("pub", &broker, &["-t", "a", "-m", "x", "--deadline", "1", "--proxy", &proxy]))
    });
    let ended = ended.await.expect("the run ends");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let said = "no way through the proxy to 192.0.2.1:1883: one of the two did not answer";
    assert!(ended.stderr.contains(said), "{ended:?}");
}

/// A port whose queue of connections is full: what comes then is not answered. It is one as long as these live.
#[cfg(target_os = "linux")]
async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("it listens");
    let addr = listener.local_addr().expect("bound");
    let mut waiting = Vec::new();
    // waits: for the kernel to let one wait, which it tells nobody
    while let Ok(connected) = timeout(Duration::from_millis(300), TcpStream::connect(addr)).await {
        waiting.push(connected.expect("it is let in"));
        assert!(waiting.len() < 64, "the queue is never full");
    }
    (addr, listener, waiting)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_that_is_not_reached_the_broker_is_not_blamed() {
    let (addr, _listener, _waiting) = black_hole().await;
    let proxy = format!("http://{addr}");
    for (verb, rest, code) in [("pub", &["-t", "a", "-m", "x"][..], 3), ("check", &[], 9)] {
        let proxy = proxy.clone();
        let ended = tokio::task::spawn_blocking(move || {
            let broker = place(([192, 0, 2, 1], 1883).into());
            let rest = [rest, &["--deadline", "1", "--proxy", &proxy]].concat();
            run(&words(verb, &broker, &rest))
        });
        let ended = ended.await.expect("the run ends");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            told.contains("nothing on the way to 192.0.2.1:1883 answered; check --proxy"),
            "{verb}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_an_old_broker_that_is_well_names_no_cause() {
    let broker = broker(|manners| manners.knows_only_v311 = true).await;
    let ended = beside("check", broker.addr(), &["--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (&found["verdict"], &found["cause"]),
        (&"healthy".into(), &serde_json::Value::Null),
        "{found}"
    );
}
