//! What is told, and how it ends, when the link or the user ends it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::Qos;
use rejoin_lab::{Answer, BrokerServer, Direction, Ending, Manners, PacketKind, Proxy, Times};

use crate::program::{Ended, place, run, run_with_input, start, words};

const QUICK: [&str; 7] = [
    "--backoff",
    "50ms..200ms",
    "--overload-backoff",
    "50ms..200ms",
    "--lift-connect-budget",
    "--deadline",
    "15",
];

async fn broker(change: impl FnOnce(&mut Manners)) -> BrokerServer {
    let mut manners = Manners::default();
    change(&mut manners);
    BrokerServer::start(manners).await.expect("a port")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work ends")
}

async fn publish(addr: SocketAddr, rest: &[&str], input: Vec<u8>) -> Ended {
    let rest: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
    blocking(move || {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        run_with_input(&words("pub", &place(addr), &rest), &input)
    })
    .await
}

#[test]
fn a_topic_too_long_for_mqtt_is_told_with_both_lengths_and_not_in_full() {
    let long = "a".repeat(65_536);
    for verb in [&["pub", "-m", "x", "-t"][..], &["sub", "-t"]] {
        let ended = run(&[verb, &[&long]].concat());
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("65536 bytes long, the limit is 65535"), "{}", ended.stderr);
        assert!(ended.stderr.len() < 500, "{} bytes of it", ended.stderr.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_above_the_brokers_limit_is_refused_here_with_both_sizes() {
    let broker = broker(|manners| manners.maximum_packet_size = Some(200)).await;
    for version in ["5", "311"] {
        let text = "x".repeat(300);
        let flags = ["-t", "t", "-m", &text, "-V", version, "--deadline", "1"];
        let ended = publish(broker.addr(), &flags, Vec::new()).await;
        // A broker of 3.1.1 cannot say what it takes: it closes, and the message is never acknowledged.
        assert_eq!(ended.code, Some(4), "{version}: {ended:?}");
        let line = ended.stderr.lines().find(|line| line.contains(" failed ")).unwrap();
        assert!(version == "311" || (line.contains("200") && line.contains("30")), "both sizes: {line}");
    }
}

/// Debian's mosquitto says 0x97 for a full queue, which passes; a broker that always says so is told about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_never_given_is_told_and_never_exit_0() {
    for qos in ["1", "2"] {
        let broker = broker(|manners| {
            manners.puback = Some(Answer::new(ReasonCode::QUOTA_EXCEEDED));
            manners.pubrec = Some(Answer::new(ReasonCode::QUOTA_EXCEEDED));
        })
        .await;
        let flags = ["-t", "t", "-q", qos, "-l", "--deadline", "1"];
        let ended = publish(broker.addr(), &flags, b"a\nb\n".to_vec()).await;
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(ended.stderr.contains("quota exceeded"), "{ended:?}");
        assert!(ended.stderr.contains("published 2 · acknowledged 0"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_holds_the_outage_and_no_secret() {
    let broker = broker(|manners| manners.credentials = Some(("alice".into(), "hunter2".into()))).await;
    let proxy = Proxy::in_front_of(broker.addr()).await.expect("a port");
    // The connection dies in the middle of a PUBLISH.
    proxy.cut_after(2_000, Direction::Up, Ending::Rst);
    let path = std::env::temp_dir().join(format!("rejoin-cli-outage-{}", std::process::id()));
    let name = path.to_str().expect("UTF-8").to_owned();
    let flags = ["-t", "t", "-l", "-c", "-i", "p", "-u", "alice", "-P", "hunter2", "-d", "--events", &name];
    let input: Vec<u8> = (0..100).flat_map(|n| format!("{n:080}\n").into_bytes()).collect();
    let ended = publish(proxy.addr(), &[&flags[..], &QUICK].concat(), input).await;
    let journal = std::fs::read_to_string(&path).expect("it was written");
    std::fs::remove_file(path).expect("it is ours");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in [&ended.stderr, &journal] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    for line in journal.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    let closed = Ended::event(&journal, "closed");
    assert!(closed["in_flight"].as_u64().is_some_and(|n| n > 0), "{closed}");
    assert!(closed["cause"].is_string() && closed["next_in_ms"].is_number(), "{closed}");
    let recovered = Ended::event(&journal, "recovered");
    let bill: f64 = ["detect_ms", "refused_ms", "waited_ms", "connect_ms", "drain_ms"]
        .iter()
        .map(|part| recovered[part].as_f64().expect("a number"))
        .sum();
    let whole = recovered["outage_ms"].as_f64().expect("a number");
    assert!((whole - bill).abs() < 5.0, "the bill adds up: {recovered}");
    let summary = Ended::event(&journal, "summary");
    assert_eq!((&summary["acknowledged"], &summary["outages"]), (&100.into(), &1.into()), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_password_is_not_repeated_to_anybody() {
    let broker = broker(|manners| manners.credentials = Some(("alice".into(), "other".into()))).await;
    let path = std::env::temp_dir().join(format!("rejoin-cli-refused-{}", std::process::id()));
    let name = path.to_str().expect("UTF-8").to_owned();
    let url = format!("mqtt://alice:hunter2@{}", broker.addr());
    let ended = blocking(move || {
        run(&["pub", "-t", "t", "-m", "x", "-L", &url, "-d", "--events", &name, "--deadline", "1"])
    })
    .await;
    let journal = std::fs::read_to_string(&path).expect("it was written");
    std::fs::remove_file(path).expect("it is ours");
    assert_eq!(ended.code, Some(134), "{ended:?}");
    assert!(!ended.stderr.contains("hunter2") && !journal.contains("hunter2"), "{ended:?}\n{journal}");
}

/// Nobody answers any more: the drain has a limit, and what was not acknowledged is said.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_over_a_frozen_link_ends_with_the_drain() {
    let broker = broker(|manners| manners.lose(PacketKind::PubAck, Times::Always)).await;
    let proxy = Proxy::in_front_of(broker.addr()).await.expect("a port");
    let addr = proxy.addr();
    let mut program = start(&words("pub", &place(addr), &["-t", "t", "-r", "-l"]));
    program.write(b"one\n");
    let there = tokio::time::timeout(Duration::from_secs(10), async {
        while broker.with(|broker| broker.retained("t")).is_none() {
            tokio::task::yield_now().await;
        }
    });
    there.await.expect("the message arrives");
    proxy.freeze();
    let (ended, took) = blocking(move || {
        program.signal("INT");
        program.told("waiting up to 5s for acknowledgements");
        let begin = Instant::now();
        (program.end(), begin.elapsed())
    })
    .await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "5 s of drain: {took:?}");
    assert!(ended.stderr.contains("unacknowledged 1 · of these maybe delivered 1"), "{ended:?}");
}

/// `rejoin sub | head -1`: the reader has what it wanted.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_in_the_middle_is_a_clean_end() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let broker = broker(|_| {}).await;
    let addr = broker.addr();
    let mut child = Command::new(env!("CARGO_BIN_EXE_rejoin"))
        .args(words("sub", &place(addr), &["-t", "t", "-W", "15"]))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let stdout = child.stdout.take().expect("piped");
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    let flood = tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            broker.with(|broker| broker.publish("t", "x".repeat(100), Qos::AtLeastOnce, false));
            if let Some(status) = child.try_wait().expect("the child is ours") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await; // waits: another process tells nobody
        }
    })
    .await;
    let Ok(status) = flood else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("it goes on though nobody reads");
    };
    assert_eq!(status.code(), Some(0));
    assert_eq!(first.await.expect("it ends").expect("a line"), format!("{}\n", "x".repeat(100)));
    let stderr = std::io::read_to_string(child.stderr.take().expect("piped")).expect("text");
    assert!(!stderr.contains("panic") && !stderr.contains("error"), "{stderr}");
}
