//! `rejoin pub`: exit 0 means acknowledged, and nothing else does.

use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::process::Stdio;
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

use bytes::Bytes;
use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::Qos;
use rejoin_core::topic::TopicFilter;
use rejoin_lab::broker::LedgerEntry;
use rejoin_lab::{Answer, BrokerServer, Direction, Ending, Manners, PacketKind, Proxy, Times};

use crate::program::{Ended, LIMIT, Program, place, run_with_input, start, words};
#[cfg(target_os = "linux")]
use crate::program::{FullPipe, start_on};

/// Recovery scaled down so that an outage takes a moment: first try within 50 ms, no budget, an early ack time-out.
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

/// What a subscriber would get of a topic, retained.
fn retained(broker: &BrokerServer, topic: &str) -> Option<Bytes> {
    broker.with(|broker| broker.retained(topic))
}

async fn run(addr: SocketAddr, rest: Vec<String>, input: Vec<u8>) -> Ended {
    tokio::task::spawn_blocking(move || {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        run_with_input(&words("pub", &place(addr), &rest), &input)
    })
    .await
    .expect("the run ends")
}

fn rest(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Something that waits for a process, beside the broker on this runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_source_of_a_message_arrives_as_it_is() {
    let broker = broker(|_| {}).await;
    let file = std::env::temp_dir().join(format!("rejoin-cli-test-{}", std::process::id()));
    std::fs::write(&file, b"from\na file\n").unwrap();
    let path = file.to_str().unwrap();
    for (source, input, expected) in [
        (&["-m", "hello"][..], &b""[..], &b"hello"[..]),
        (&["-m", "-1"], b"", b"-1"),
        (&["-s"], b"a\nb\r\n\0", b"a\nb\r\n\0"),
        (&["-f", path], b"", b"from\na file\n"),
        (&["-l"], b"one\r\ntwo", b"two"),
    ] {
        for version in ["5", "311"] {
            for qos in ["0", "1", "2"] {
                let flags = [&["-t", "t", "-r", "-q", qos, "-V", version][..], source].concat();
                let ended = run(broker.addr(), rest(&flags), input.to_vec()).await;
                assert_eq!(ended.code, Some(0), "{flags:?}: {ended:?}");
                assert!(ended.stdout.is_empty(), "{ended:?}");
                assert_eq!(retained(&broker, "t").as_deref(), Some(expected), "{flags:?}");
            }
        }
    }
    // An empty message deletes the retained one.
    for empty in [&["-n"][..], &["-m", ""]] {
        run(broker.addr(), rest(&["-t", "t", "-r", "-m", "x"]), Vec::new()).await;
        let ended = run(broker.addr(), rest(&[&["-t", "t", "-r"], empty].concat()), Vec::new()).await;
        assert_eq!((ended.code, retained(&broker, "t")), (Some(0), None), "{ended:?}");
    }
    std::fs::remove_file(file).unwrap();
    assert!(broker.with(|broker| broker.violations().next().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_qos_2_has_the_message_and_one_line_says_how() {
    let broker = broker(|manners| manners.downgrades_qos2 = true).await;
    let ended = run(broker.addr(), rest(&["-t", "t", "-q", "2", "-l"]), b"one\ntwo\n".to_vec()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("takes QoS 2 as QoS 1").count(), 1, "{ended:?}");
    assert!(broker.with(|broker| broker.violations().next().is_none()));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_to_connect_from_can_be_chosen() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    let flags = rest(&["-t", "t", "-m", "x", "-A", "127.0.0.2", "--deadline", "1"]);
    let running = tokio::spawn(run(addr, flags, Vec::new()));
    let (_, from) =
        tokio::time::timeout(LIMIT, listener.accept()).await.expect("in time").expect("a connection");
    assert_eq!(from.ip().to_string(), "127.0.0.2");
    assert_eq!(running.await.expect("the run ends").code, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lines_are_no_failure() {
    let broker = broker(|_| {}).await;
    let ended = run(broker.addr(), rest(&["-t", "t", "-l"]), Vec::new()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("published 0 · acknowledged 0"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_reach_the_broker() {
    let broker = broker(|_| {}).await;
    let addr = broker.addr();
    let mut sub = blocking(move || {
        let mut sub =
            start(&words("sub", &place(addr), &["-t", "t", "-F", "%p|%C|%R|%D|%P|%E|%F", "-C", "1", "-d"]));
        sub.told("subscribed");
        sub
    })
    .await;
    let flags = rest(&[
        "-t",
        "t",
        "-m",
        "x",
        "-D",
        "publish",
        "content-type",
        "text/plain",
        "-D",
        "publish",
        "response-topic",
        "r",
        "-D",
        "publish",
        "correlation-data",
        "abc",
        "-D",
        "publish",
        "user-property",
        "k",
        "v",
        "-D",
        "publish",
        "user-property",
        "k",
        "w",
        "-D",
        "publish",
        "message-expiry-interval",
        "100",
        "-D",
        "publish",
        "payload-format-indicator",
        "1",
    ]);
    let ended = run(addr, flags, Vec::new()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = blocking(move || sub.printed("x|")).await;
    assert!(
        line == "x|text/plain|r|abc|k:v k:w|100|1\n" || line == "x|text/plain|r|abc|k:v k:w|99|1\n",
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_is_named_by_its_line_and_makes_exit_4() {
    let broker = broker(|manners| {
        let only = TopicFilter::try_from("t").unwrap();
        manners.puback = Some(Answer::new(ReasonCode::NOT_AUTHORIZED).times(1).only_for(only));
    })
    .await;
    let ended = run(broker.addr(), rest(&["-t", "t", "-l", "--output", "json"]), b"a\nb\nc\n".to_vec()).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    let failed = Ended::event(&ended.stderr, "failed");
    assert_eq!((&failed["line"], &failed["reason_code"]), (&1.into(), &0x87.into()), "{failed}");
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&summary["published"], &summary["acknowledged"], &summary["refused"], &summary["exit_code"]),
        (&3.into(), &2.into(), &1.into(), &4.into()),
        "{summary}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_above_the_brokers_limit_is_told_with_both_sizes_and_the_others_go() {
    let broker = broker(|manners| manners.maximum_packet_size = Some(200)).await;
    let mut input = b"first\n".to_vec();
    input.extend([b'x'; 300]);
    input.extend(b"\nlast\n");
    let ended = run(broker.addr(), rest(&["-t", "t", "-r", "-l"]), input).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    let line = ended.stderr.lines().find(|line| line.contains("line 2")).unwrap();
    assert!(line.contains("200") && line.contains("30"), "both sizes: {line}");
    assert!(ended.stderr.contains("acknowledged 2 · refused 1"), "{ended:?}");
    assert_eq!(retained(&broker, "t").as_deref(), Some(&b"last"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_never_comes_is_never_exit_0() {
    let broker = broker(|manners| manners.lose(PacketKind::PubAck, Times::Always)).await;
    let ended = run(broker.addr(), rest(&["-t", "t", "-m", "x", "--deadline", "1"]), Vec::new()).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("the broker may have it all the same"), "{ended:?}");
    assert!(ended.stderr.contains("unacknowledged 1 · of these maybe delivered 1"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_lines_outlives_a_killed_broker() {
    let broker = broker(|_| {}).await;
    let ledger = rejoin_lab::Auditor::new("cut");
    broker.with(|broker| broker.add_ledger(ledger.ledger()));
    let addr = broker.addr();
    let lines = |from: u64, to: u64| -> Vec<u8> {
        (from..=to)
            .flat_map(|n| {
                ledger.published(n);
                [&ledger.payload(n)[..], b"\n"].concat()
            })
            .collect()
    };
    let flags = rest(&[&["-t", "t", "-l", "-c", "-i", "p"][..], &QUICK].concat());
    let first = lines(1, 500);
    let program: Program = blocking(move || {
        let rest: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut program = start(&words("pub", &place(addr), &rest));
        program.write(&first);
        program.told("open");
        program
    })
    .await;
    broker.kill(Ending::Rst).await;
    let second = lines(501, 1000);
    let program = blocking(move || {
        let mut program = program;
        program.told("lost");
        program.write(&second);
        program.told("connection refused by");
        program
    })
    .await;
    broker.start_again(true).await.unwrap();
    let ended = blocking(move || {
        let mut program = program;
        program.told("recovered");
        program.end()
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("published 1000 · acknowledged 1000"), "{}", ended.stderr);
    let words: Vec<_> = ended.stderr.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(words.iter().filter(|word| **word == "lost").count(), 1, "one line at loss: {words:?}");
    assert_eq!(words.iter().filter(|word| **word == "recovered").count(), 1, "one at recovery: {words:?}");
    let verdict = broker.with(|broker| ledger.verdict().with_violations(broker));
    assert!(verdict.passes(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_stops_the_reading_and_loses_no_line() {
    let broker = broker(|manners| manners.receive_maximum = Some(5)).await;
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    let addr = proxy.addr();
    let input: Vec<u8> = (0..3000).flat_map(|n| format!("{n:0100}\n").into_bytes()).collect();
    // 3,000 lines of 100 bytes through a queue of 16 KiB.
    let ended =
        run(addr, rest(&["-t", "t", "-r", "-l", "--queue-max", "16KiB", "--deadline", "15"]), input).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("published 3000 · acknowledged 3000"), "{ended:?}");
    assert_eq!(retained(&broker, "t"), Some(Bytes::from(format!("{:0100}", 2999))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qos_0_waits_for_the_link_instead_of_vanishing() {
    let broker = broker(|_| {}).await;
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    let addr = proxy.addr();
    let program = blocking(move || {
        let flags = [&["-t", "t", "-r", "-q", "0", "-l"][..], &QUICK].concat();
        let mut program = start(&words("pub", &place(addr), &flags));
        program.told("open");
        program
    })
    .await;
    proxy.refuse().await;
    proxy.reset();
    let program = blocking(move || {
        let mut program = program;
        program.told("connection refused by");
        program.write(b"waited\n");
        program
    })
    .await;
    proxy.heal();
    let ended = blocking(move || program.end()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(retained(&broker, "t").as_deref(), Some(&b"waited"[..]));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_waits_for_acknowledgements_and_reports() {
    let broker = broker(|manners| manners.ack_delay = Duration::from_millis(500)).await;
    let addr = broker.addr();
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let ended = blocking(move || {
            let mut program = start(&words("pub", &place(addr), &["-t", "t", "-r", "-l"]));
            program.told("open");
            program.write(b"x\n");
            program
        })
        .await;
        // The message is with the broker, its acknowledgement is not with us.
        let there = tokio::time::timeout(Duration::from_secs(10), async {
            while retained(&broker, "t").is_none() {
                tokio::task::yield_now().await;
            }
        });
        there.await.expect("the message arrives");
        broker.with(|broker| broker.publish("t", "", Qos::AtMostOnce, true));
        let ended = blocking(move || {
            ended.signal(name);
            ended.end()
        })
        .await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains("published 1 · acknowledged 1"), "{ended:?}");
    }
}

/// Whether the thread that reads stdin is at work: it sleeps when nobody takes what it read.
#[cfg(target_os = "linux")]
fn is_reading(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    tasks.flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.contains(" (input) R")
    })
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_leaves_no_line_that_was_read_without_an_account() {
    use std::io::Seek;

    let broker = broker(|manners| manners.ack_delay = Duration::from_secs(1)).await;
    let addr = broker.addr();
    let path = std::env::temp_dir().join(format!("rejoin-cli-account-{}", std::process::id()));
    std::fs::write(&path, format!("{:0100}\n", 7).repeat(200)).unwrap();
    let mut input = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let size = input.metadata().unwrap().len();
    let ended = blocking(move || {
        let flags = ["-t", "t", "-l", "--queue-max", "4KiB", "--output", "json"];
        let stdin = input.try_clone().unwrap().into();
        let program = start_on(&words("pub", &place(addr), &flags), stdin, Stdio::piped());
        let end = Instant::now() + LIMIT;
        // The position is that of the program, too.
        while input.stream_position().unwrap() < size || is_reading(program.id()) {
            assert!(Instant::now() < end, "it does not read");
            std::thread::sleep(Duration::from_millis(5)); // waits: another process tells nobody what it read
        }
        program.signal("TERM");
        program.end()
    })
    .await;
    assert_eq!(ended.code, Some(143), "{ended:?}");
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert!(count("not_accepted") > 1, "the queue was to be full: {summary}");
    assert_eq!(count("published") + count("not_accepted"), 200, "{summary}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_ctrl_c_quits_at_once() {
    let broker = broker(|manners| manners.lose(PacketKind::PubAck, Times::Always)).await;
    let addr = broker.addr();
    let (tell, arrived) = std::sync::mpsc::channel();
    broker.with(|broker| {
        broker.add_ledger(Box::new(move |entry| {
            if matches!(entry, LedgerEntry::Accepted(_)) {
                let _ = tell.send(());
            }
        }));
    });
    let (ended, took) = blocking(move || {
        let mut program = start(&words("pub", &place(addr), &["-t", "t", "-m", "x"]));
        // A signal that comes before the message was handed over leaves nothing to wait for.
        arrived.recv_timeout(LIMIT).expect("the message arrives");
        program.signal("INT");
        program.told("a second signal quits at once");
        let begin = Instant::now();
        program.signal("INT");
        (program.end(), begin.elapsed())
    })
    .await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(took < Duration::from_secs(3), "the drain lasts 5 s, this took {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_tells_the_same_as_stderr() {
    let broker = broker(|_| {}).await;
    let path = std::env::temp_dir().join(format!("rejoin-cli-journal-{}", std::process::id()));
    let flags = rest(&["-t", "t", "-m", "x", "--quiet", "--events", path.to_str().unwrap()]);
    let ended = run(broker.addr(), flags, Vec::new()).await;
    assert_eq!((ended.code, ended.stderr.as_str(), ended.stdout.as_str()), (Some(0), "", ""));
    let journal = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    for line in journal.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
    let opened = Ended::event(&journal, "opened");
    assert!(opened["took_ms"].is_number() && opened["session"] == "new", "{opened}");
    assert_eq!(Ended::event(&journal, "summary")["acknowledged"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_over_takes_the_next_url() {
    let broker = broker(|_| {}).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (first, second) = (format!("mqtt://{gone}/plant/7"), format!("mqtt://{}/plant/7", broker.addr()));
    let ended = blocking(move || {
        crate::program::run(&["pub", "-L", &first, "-L", &second, "-r", "-m", "x", "--deadline", "15"])
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(retained(&broker, "plant/7").as_deref(), Some(&b"x"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_swallows_acknowledgements_is_left_and_the_message_resent() {
    let broker = broker(|_| {}).await;
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    proxy.lose(PacketKind::PubAck, Times::Count(1), Direction::Down);
    let flags = [&["-t", "t", "-m", "x", "--ack-timeout", "300ms"][..], &QUICK].concat();
    let ended = run(proxy.addr(), rest(&flags), Vec::new()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("ack-timeout") && ended.stderr.contains("resent=1 (dup)"), "{ended:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stderr_that_nobody_reads_does_not_keep_the_program_from_ending() {
    let broker = broker(|_| {}).await;
    let addr = broker.addr();
    let ended = blocking(move || {
        let full = FullPipe::new("end");
        let mut program =
            start_on(&words("pub", &place(addr), &["-t", "t", "-l"]), Stdio::piped(), full.end());
        program.write(b"one\n");
        program.end()
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_nobody_reads_do_not_keep_the_program_from_ending() {
    let broker = broker(|_| {}).await;
    let addr = broker.addr();
    let ended = blocking(move || {
        let full = FullPipe::new("events");
        let path = full.path.to_str().expect("UTF-8");
        run_with_input(&words("pub", &place(addr), &["-t", "t", "-l", "--events", path]), b"one\n")
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("published 1 · acknowledged 1"), "{ended:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_cannot_be_written_are_told_once_and_in_json_where_lines_are_json() {
    let broker = broker(|_| {}).await;
    let addr = broker.addr();
    let ended = blocking(move || {
        let flags = ["-t", "t", "-l", "--events", "/dev/full", "--output", "json"];
        run_with_input(&words("pub", &place(addr), &flags), b"one\n")
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in ended.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    let failed = Ended::event(&ended.stderr, "events-failed");
    assert!(failed["detail"].as_str().is_some_and(|detail| detail.contains("/dev/full")), "{failed}");
    assert_eq!(ended.stderr.matches("events-failed").count(), 1, "{}", ended.stderr);
}
