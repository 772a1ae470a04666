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
        "guess  another client may use id \"gw-17\": 1 of 1 closes was session taken over (0x8E)",
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
    // Equally long lives look like a contest; on a slow machine they differ, and it flaps.
    let found = ["closes came", "links within 10 min lived"].iter().any(|part| guess.contains(part));
    assert!(found, "{}", ended.stdout);
    assert!(ended.stdout.contains("open ") && !ended.stdout.contains("open 100"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_ends_with_three_and_the_reason() {
    // Taken and never listened on, so that no other test gets it while this one counts on a refusal.
    let held = TcpSocket::new_v4().expect("a socket");
    held.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let addr = held.local_addr().expect("bound");
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
    for judged in ["alerts", "baselines"] {
        let found = document[judged].as_array().expect("a list");
        assert!(!found.is_empty(), "the client judges itself while it is watched: no {judged}");
    }
    let again = run(&["report", &recorded, "--json"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).expect("JSON"), document);
    let text = run(&["report", &recorded, "--text"]);
    assert!(text.stdout.contains("no loss") && text.stdout.contains("attempts 1  refused 0"), "{text:?}");
    let rendered = run(&["report", &recorded, "-o", "-"]);
    let written = std::fs::read_to_string(&page).expect("the report");
    assert_eq!(rendered.stdout, written, "the recording makes the page of the run");
    let study = written.split_once("<strong>Open ").and_then(|(_, rest)| rest.split_once("</strong>"));
    // How much of two seconds the first attempt takes is for the machine to say.
    assert!(study.is_some_and(|(open, _)| open.contains(" % of ") && !open.starts_with("0.0 ")), "{study:?}");
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

/// A pipe that has room for one page more and is never read: to a writer, a disk that hangs.
#[cfg(target_os = "linux")]
fn hung(path: &str) -> std::fs::File {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo is needed (coreutils)");
    // O_NONBLOCK, of this end alone.
    let mut pipe =
        std::fs::OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(path).expect("a pipe");
    let page = [b' '; 4096];
    let mut pages = 0;
    while pipe.write(&page).is_ok() {
        pages += 1;
        assert!(pages < 1_000, "a pipe has an end");
    }
    std::io::Read::read_exact(&mut pipe, &mut [0; 4096]).expect("one page");
    pipe
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_goes_into_a_pipe_too() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let ended = watch(broker.addr(), &["--for", "1s", "--record", "/dev/stdout"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let head: Value = serde_json::from_str(ended.stdout.lines().next().expect("a line")).expect("JSON");
    assert_eq!(head["schema"], "rejoin-run/1");
    assert!(ended.stdout.lines().nth(1).is_some_and(|line| line.contains("now_ms")), "{}", ended.stdout);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_holds_up_neither_the_watch_nor_its_end() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let files = Files::new("hung-disk");
    let recorded = files.file("run.jsonl");
    let pipe = hung(&recorded);
    let ended = watch(broker.addr(), &["--for", "2s", "--json", "--record", &recorded]).await;
    drop(pipe);
    assert_eq!(ended.code, Some(1), "what was to be recorded is not: {ended:?}");
    assert!(ended.stderr.contains("run.jsonl") && ended.stderr.contains("did not take"), "{}", ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).expect("the document all the same");
    let now = document["clock"]["now_ms"].as_u64().expect("a time");
    assert!(now >= 1_900, "it went on to be looked at: {now}");
    let events = document["events"].as_array().expect("events");
    assert!(events.iter().any(|event| event["word"] == "recording"), "{events:#?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_cannot_be_written_costs_nothing_else() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let early = watch(broker.addr(), &["--for", "1s", "--report", "/nonexistent/run.html"]).await;
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.stderr.contains("cannot write the report to /nonexistent/run.html"), "{early:?}");
    assert!(!early.stderr.contains(" open "), "found out before the link: {early:?}");
    if cfg!(target_os = "linux") {
        let full = watch(broker.addr(), &["--for", "1s", "--json", "--report", "/dev/full"]).await;
        assert_eq!(full.code, Some(1), "{full:?}");
        assert!(full.stderr.contains("cannot write the report to /dev/full"), "{full:?}");
        let document: Value = serde_json::from_str(&full.stdout).expect("the document is there all the same");
        assert_eq!(document["schema"], "rejoin-run/1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_is_moved_away_during_the_run_stays_what_it_was() {
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let files = Files::new("moved");
    let (page, monday) = (files.file("r.html"), files.file("monday.html"));
    std::fs::write(&page, "that of monday").expect("an old report");
    let (addr, to) = (broker.addr(), page.clone());
    let (from, kept) = (page.clone(), monday.clone());
    let ended = blocking(move || {
        let mut program = start(&words("watch", &place(addr), &["--for", "2s", "--report", &to]));
        program.told(" open ");
        std::fs::rename(&from, &kept).expect("it is moved away");
        program.end()
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&monday).expect("it is there"), "that of monday");
    let written = std::fs::read_to_string(&page).expect("the report is where it is said to be");
    assert!(ended.stderr.contains(&page) && written.contains("<html"), "{ended:?}");
}

#[test]
fn a_run_that_is_refused_leaves_no_report() {
    let files = Files::new("refused");
    let (page, old, taken) = (files.file("new.html"), files.file("old.html"), files.file("taken.flight"));
    for file in [&old, &taken] {
        std::fs::write(file, "old").expect("a file");
    }
    for report in [&page, &old] {
        let ended = run(&["watch", "mqtt://127.0.0.1:1", "--report", report, "--flight", &taken]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
    assert!(!std::path::Path::new(&page).exists(), "nothing was reported");
    assert_eq!(std::fs::read_to_string(&old).expect("it is there"), "old");
}
