//! `rejoin watch` without a terminal, and `rejoin report`: what a link did is said in words, and the numbers of the
//! recording, the document and the report are the same.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rejoin_lab::{BrokerServer, Manners, ScriptedBroker};
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::program::{Ended, place, run, start, words};

const QUICK: [&str; 5] =
    ["--backoff", "50ms..100ms", "--overload-backoff", "50ms..100ms", "--lift-connect-budget"];

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work ends")
}

async fn watch(addr: SocketAddr, rest: &[&str]) -> Ended {
    let rest: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
    blocking(move || {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        run(&words("watch", &place(addr), &rest))
    })
    .await
}

/// Files of one test, gone with it.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rejoin-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_with_one_id_are_recognised_in_words() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let addr = broker.addr();
    let ended = blocking(move || {
        let mut first = start(&words("watch", &place(addr), &["-i", "gw-17", "--for", "4s"]));
        first.told("open");
        let second = run(&words("watch", &place(addr), &["-i", "gw-17", "--for", "1s"]));
        assert_eq!(second.code, Some(0), "{second:?}");
        first.end()
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for part in [
        "why    1 loss: session taken over ×1",
        "guess  another client uses id \"gw-17\": 1 of 1 closes were session taken over (0x8E)",
        "try    rejoin watch -I probe-",
    ] {
        assert!(ended.stdout.contains(part), "{part} is missing:\n{}", ended.stdout);
    }
    assert!(ended.stderr.contains("lost"), "state lines go to stderr: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_again_and_again_is_said_to_be() {
    let broker = ScriptedBroker::start().await.expect("a port");
    let serving = broker.serve(|_, mut peer| async move {
        peer.expect_connect().await?;
        peer.connack(false).await?;
        // waits: the link has to live for a moment before it is cut
        tokio::time::sleep(Duration::from_millis(100)).await;
        peer.reset();
        Ok(())
    });
    let ended = watch(serving.addr(), &[&QUICK[..], &["--for", "3s"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(" losses: ") && ended.stdout.contains("▁"), "{}", ended.stdout);
    let guess = ended.stdout.lines().find(|line| line.starts_with(" guess")).unwrap_or_default();
    assert!(guess.contains("ends each link after") || guess.contains("the link flaps"), "{}", ended.stdout);
    assert!(ended.stdout.contains("open ") && !ended.stdout.contains("open 100"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_ends_with_three_and_the_reason() {
    // Held and not listened on: nobody else gets the port, and whoever connects is refused.
    let nobody = TcpSocket::new_v4().expect("a socket");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let addr = nobody.local_addr().expect("bound");
    for rest in [&["--deadline", "1"][..], &["--for", "1s"]] {
        let ended = watch(addr, &[&QUICK[..], rest].concat()).await;
        assert_eq!(ended.code, Some(3), "{ended:?}");
        for part in ["open 0.0 %", "no attempt came through", "connection refused", "rejoin check"] {
            assert!(ended.stdout.contains(part), "{part} is missing:\n{}", ended.stdout);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recording_the_document_and_the_report_have_the_same_numbers() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let files = Files::new("watching");
    let (recorded, page) = (files.file("run.jsonl"), files.file("run.html"));
    let rest =
        ["-t", "a/#", "--for", "2s", "--json", "--record", &recorded, "--report", &page, "-P", "geheim"];
    let ended = watch(broker.addr(), &[&rest[..], &["-u", "gw"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!((&document["schema"], &document["totals"]["links"]), (&"rejoin-run/1".into(), &1.into()));
    assert!(document["samples"]["t_ms"].as_array().is_some_and(|rows| rows.len() >= 4), "{document:#}");
    let again = run(&["report", &recorded, "--json"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).expect("JSON"), document);
    let text = run(&["report", &recorded, "--text"]);
    assert!(text.stdout.contains("no loss") && text.stdout.contains("attempts 1  refused 0"), "{text:?}");
    let rendered = run(&["report", &recorded, "-o", "-"]);
    let written = std::fs::read_to_string(&page).expect("the report");
    assert_eq!(rendered.stdout, written, "the recording makes the page of the run");
    assert!(
        written.contains("\"rejoin-run/1\"") && written.contains("Open 9") || written.contains("Open 100")
    );
    let inside = written.split_once("id=\"run\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let inside: Value = serde_json::from_str(inside.expect("data").0).expect("JSON");
    assert_eq!(inside, document);
    for text in [&written, &again.stdout, &ended.stderr] {
        assert!(!text.contains("geheim"), "the password is in it");
    }
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let files = Files::new("report");
    let odd = files.file("odd.jsonl");
    std::fs::write(&odd, "{\"schema\": \"other/9\"}\n").expect("a file");
    for (given, code, part) in [
        (&["report", "/nonexistent/run.jsonl"][..], 1, "/nonexistent/run.jsonl"),
        (&["report", &odd], 1, "other/9"),
        (&["report", &odd, "--json", "-o", "x.html"], 2, "--json"),
        (&["watch", "--record", &odd, "--report", &odd], 2, "the same file"),
        (&["watch", "--for", "0"], 2, "--for"),
        (&["watch", "--record", "/nonexistent/run.jsonl", "-h", "127.0.0.1"], 1, "/nonexistent/run.jsonl"),
    ] {
        let ended = run(given);
        assert_eq!(ended.code, Some(code), "{given:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{given:?}: {ended:?}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_with_the_summary() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let addr = broker.addr();
    let ended = blocking(move || {
        let mut program = start(&words("watch", &place(addr), &[]));
        program.told("open");
        program.signal("INT");
        program.end()
    })
    .await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stdout.contains(" state  ") && ended.stdout.contains("no loss"), "{ended:?}");
}

#[test]
fn the_demo_leaves_a_report_of_its_verdict_and_its_lanes() {
    let files = Files::new("demo-report");
    let page = files.file("demo.html");
    let ended = run(&["demo", "--fast", "--seed", "7", "--json", "--report", &page]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let verdict: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    let page = std::fs::read_to_string(&page).expect("the report");
    assert!(page.len() < 300_000, "{} bytes", page.len());
    let inside = page.split_once("id=\"run\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let inside: Value = serde_json::from_str(inside.expect("data").0).expect("JSON");
    assert_eq!((&inside["verdict"]["pass"], &inside["program"]["seed"]), (&true.into(), &7.into()));
    let outages = inside["outages"].as_array().expect("outages");
    assert_eq!(outages.len(), verdict["recovery"]["outages"].as_array().expect("outages").len());
    let lanes =
        page.split_once("id=\"lanes\"").and_then(|(_, rest)| rest.split_once("</figure>")).expect("lanes").0;
    assert_eq!(lanes.matches("<title>outage ").count(), outages.len(), "one band per outage");
    for word in [
        "injected: ",
        "truth: closed",
        "client: open",
        "claimed open while closed for ",
        "PASS",
        "Expectations",
    ] {
        assert!(page.contains(word), "{word} is missing");
    }
}
