//! `pub --queue` and `rejoin queue`, as people run them.
#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rejoin_lab::{BrokerServer, Ending, Manners, PacketKind, Times};
use serde_json::Value;

#[cfg(target_os = "linux")]
use crate::program::FullPipe;
use crate::program::{Ended, LIMIT, Program, place, run, run_with_input, start, words};
#[cfg(unix)]
use crate::skipped::skipped;

/// A folder of this test, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rejoin-queue-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An address of loopback where nobody listens.
fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn broker() -> BrokerServer {
    BrokerServer::start(Manners::default()).await.unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Fills a queue with a line for each message, without a broker.
fn fill(addr: SocketAddr, queue: &str, topic: &str, lines: &str) -> Ended {
    let flags = ["-t", topic, "-l", "-r", "--queue", queue, "--deadline", "0.1"];
    let ended = run_with_input(&words("pub", &place(addr), &flags), lines.as_bytes());
    assert_eq!(ended.code, Some(5), "{ended:?}");
    ended
}

fn objects(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn topics(queue: &str) -> Vec<String> {
    let ended = run(&["queue", "ls", queue, "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    objects(&ended).iter().map(|entry| entry["topic"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the line of this number is on the disk.
fn stored(report: &str, number: u64) {
    let end = Instant::now() + LIMIT;
    let wanted = format!("{number}\n");
    while !std::fs::read_to_string(report)
        .unwrap_or_default()
        .split_inclusive('\n')
        .any(|line| line == wanted)
    {
        assert!(Instant::now() < end, "line {number} was not stored");
        // waits: for another process, which writes to a file
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Streams lines into a queue, and comes back when all of them are on the disk.
fn streaming(addr: SocketAddr, queue: &str, report: &str, lines: &[String]) -> Program {
    let flags = ["-t", "t", "-l", "--queue", queue, "--report-stored", report, "--backoff", "50ms..200ms"];
    let flags =
        [&flags[..], &["--overload-backoff", "50ms..200ms", "--lift-connect-budget", "--deadline", "5"]]
            .concat();
    let mut program = start(&words("pub", &place(addr), &flags));
    for line in lines {
        program.write(format!("{line}\n").as_bytes());
    }
    stored(report, lines.len() as u64);
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_found_no_broker_is_safe_is_listed_and_is_delivered_by_a_drain() {
    let broker = broker().await;
    let addr = broker.addr();
    broker.kill(Ending::Rst).await;
    let scratch = Scratch::new();
    let queue = scratch.join("queue");
    let at = queue.clone();
    blocking(move || {
        let ended = fill(addr, &at, "room/1", "first\nsecond\n");
        assert!(ended.stderr.contains("safe in the queue 2"), "{ended:?}");

        let ended = run(&["queue", "ls", &at]);
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!((ended.code, lines.len()), (Some(0), 3), "{ended:?}");
        assert!(lines[0].ends_with("TOPIC") && lines[1].contains("waiting"), "{ended:?}");
        assert!(lines[1].ends_with("room/1") && lines[1].contains(" 5 B "), "{ended:?}");
        let entries = objects(&run(&["queue", "ls", &at, "--json", "-n", "1"]));
        assert_eq!(entries.len(), 1);
        let expected = serde_json::json!({
            "id": entries[0]["id"], "direction": "out", "state": "waiting", "topic": "room/1", "qos": 1, "retain": true,
            "payload_bytes": 5, "accepted_unix_ms": entries[0]["accepted_unix_ms"], "possible_duplicate": false,
        });
        assert_eq!(entries[0], expected);
        let id = entries[0]["id"].to_string();
        let ended = run(&["queue", "show", &at, &id]);
        assert!(ended.stdout.contains("room/1") && ended.stdout.ends_with("\nfirst\n"), "{ended:?}");
        assert_eq!(run(&["queue", "show", &at, &id, "--payload"]).stdout, "first");
        assert_eq!(run(&["queue", "show", &at, "999"]).code, Some(1));

        let stats = objects(&run(&["queue", "stats", &at, "--json"])).remove(0);
        assert_eq!((&stats["waiting"], &stats["in_use"]), (&2.into(), &false.into()), "{stats}");
        assert!(stats["servers"][0].as_str().is_some_and(|server| server == addr.to_string()), "{stats}");
        let ended = run(&["queue", "stats", &at]);
        assert!(ended.stdout.contains("2 waiting") && ended.stdout.contains("at rest"), "{ended:?}");

        // The broker is still away.
        let ended = run(&["queue", "drain", &at, "--deadline", "0.3"]);
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.stderr.contains("2 messages stay safe in"), "{ended:?}");
    })
    .await;
    broker.start_again(true).await.unwrap();
    let at = queue.clone();
    let ended = blocking(move || run(&["queue", "drain", &at, "--json"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let summary = objects(&ended).remove(0);
    assert_eq!((&summary["delivered"], &summary["still_queued"]), (&2.into(), &0.into()), "{summary}");
    assert_eq!(broker.with(|broker| broker.retained("room/1")).as_deref(), Some(&b"second"[..]));
    broker.kill(Ending::Rst).await;
    blocking(move || {
        let ended = run(&["queue", "ls", &queue]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:?}");
        assert!(ended.stderr.contains("the queue is empty"), "{ended:?}");
        let ended = run(&["queue", "drain", &queue]);
        assert_eq!(ended.code, Some(0), "an empty queue needs no broker: {ended:?}");
    })
    .await;
}

/// A memory queue loses what a queue on disk keeps: 4 and 5 differ, and 5 is left by a drain as by a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_and_safe_are_two_exit_codes() {
    let mut manners = Manners::default();
    manners.lose(PacketKind::PubAck, Times::Always);
    let broker = BrokerServer::start(manners).await.unwrap();
    let (addr, scratch) = (broker.addr(), Scratch::new());
    let queue = scratch.join("queue");
    blocking(move || {
        let message = ["-t", "t", "-m", "x", "--deadline", "1.5"];
        assert_eq!(run(&words("pub", &place(addr), &message)).code, Some(4));
        let queued = [&message[..], &["--queue", &queue]].concat();
        assert_eq!(run(&words("pub", &place(addr), &queued)).code, Some(5));
        let ended = run(&["queue", "drain", &queue, "--deadline", "1.5"]);
        assert_eq!(ended.code, Some(5), "{ended:?}");
        assert!(ended.stderr.contains("safe in the queue 1"), "{ended:?}");
    })
    .await;
}

/// A message that the broker was told is taken is in the folder only: whoever delivers from there has no use for it, and the
/// application has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_in_for_the_application_is_still_there_after_a_drain_and_after_a_pub() {
    use rejoin::store::{Folder, Identity, Record, Store};
    use rejoin_core::{Message, MessageId, Publication, PublishId, Qos, Text, TopicName};

    let mut manners = Manners::default();
    manners.lose(PacketKind::PubAck, Times::Always);
    let broker = BrokerServer::start(manners).await.unwrap();
    let (addr, scratch) = (broker.addr(), Scratch::new());
    let folders = [scratch.join("drained"), scratch.join("published")];
    for folder in &folders {
        let client_id = Some(Text::try_from(&folder[folder.len() - 7..]).unwrap());
        let identity = Identity { client_id, servers: vec![addr.to_string()] };
        let mut queue = Folder::open(folder, &identity).unwrap();
        queue.recover().unwrap();
        let mut publication = Publication::new(TopicName::try_from("out").unwrap(), "x");
        publication.qos = Qos::AtLeastOnce;
        let message = Message {
            id: Some(MessageId(1)),
            topic: Text::from_static("in"),
            payload: "owned".into(),
            qos: Qos::ExactlyOnce,
            retain: false,
            dup: false,
            properties: None,
        };
        let packet_id = std::num::NonZeroU16::MIN;
        let out = Record::Enqueued { id: PublishId(1), publication, accepted_wall_ms: 1_790_000_000_000 };
        queue.commit(&[out, Record::Held { id: MessageId(1), packet_id, message }]).unwrap();
    }
    blocking(move || {
        // waits: a client answers for what nobody wants after 10 s, unless it is told not to
        let drain = start(&["queue", "drain", &folders[0], "--deadline", "11.5"]);
        let flags = ["-t", "t", "-m", "x", "-q", "1", "--queue", &folders[1], "--deadline", "11.5"];
        let publish = start(&words("pub", &place(addr), &flags));
        for (ended, folder) in [drain.end(), publish.end()].iter().zip(&folders) {
            assert_eq!(ended.code, Some(5), "{ended:?}");
            assert!(topics(folder).contains(&"in".to_owned()), "{folder}: {ended:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_in_use_is_listed_has_one_owner_and_is_watched_by_a_drain() {
    let broker = broker().await;
    let addr = broker.addr();
    broker.kill(Ending::Rst).await;
    let scratch = Scratch::new();
    let (queue, report) = (scratch.join("queue"), scratch.join("report"));
    let at = queue.clone();
    let program = blocking(move || {
        let program = streaming(addr, &at, &report, &["1".into(), "2".into(), "3".into()]);
        assert_eq!(topics(&at).len(), 3);
        let stats = objects(&run(&["queue", "stats", &at, "--json"])).remove(0);
        let owner = format!("process {}", program.id());
        assert!(stats["in_use_by"].as_str().is_some_and(|by| by.starts_with(&owner)), "{stats}");
        assert!(stats["syncs"].as_u64().is_some_and(|syncs| syncs > 0), "{stats}");
        let ended = run(&words("pub", &place(addr), &["-t", "t", "-m", "x", "--queue", &at]));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("is in use by {owner}")), "{ended:?}");
        let ended = run(&["queue", "verify", &at]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let ended = run(&["queue", "drain", &at, "--deadline", "0.5"]);
        assert_eq!(ended.code, Some(5), "{ended:?}");
        assert!(ended.stderr.contains(&format!("in use by {owner}")), "{ended:?}");
        program
    })
    .await;
    let at = queue.clone();
    let watch = blocking(move || {
        let mut watch = start(&["queue", "drain", &at]);
        watch.told("watching until the queue is empty");
        watch
    })
    .await;
    broker.start_again(true).await.unwrap();
    let (watched, ended) = blocking(move || (watch.end(), program.end())).await;
    assert_eq!((watched.code, ended.code), (Some(0), Some(0)), "{watched:?} {ended:?}");
}

#[test]
fn a_purge_takes_out_what_was_selected_and_only_with_a_yes() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let queue = scratch.join("queue");
    for topic in ["room/1", "room/2", "hall/1", "hall/2"] {
        fill(addr, &queue, topic, "x\n");
    }
    let purge = |flags: &[&str]| run(&[&["queue", "purge", &queue], flags].concat());
    assert_eq!(purge(&[]).code, Some(2), "without a selection");
    assert_eq!(purge(&["--yes"]).code, Some(2), "without a selection");
    let ended = purge(&["--all"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("4 messages would be taken out for good; say --yes"), "{ended:?}");
    assert_eq!(topics(&queue).len(), 4, "nothing was touched");
    let ended = purge(&["--topic", "room/#", "--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("2 messages taken out"), "{ended:?}");
    let entries = objects(&run(&["queue", "ls", &queue, "--json"]));
    let id = entries[1]["id"].to_string();
    assert_eq!(objects(&purge(&["--id", &id, "--yes", "--json"]))[0]["messages"], 1);
    assert_eq!(topics(&queue), ["hall/1"]);
    assert!(purge(&["--parked", "--yes"]).stdout.starts_with("0 messages"));
    assert_eq!(purge(&["--all", "--yes"]).code, Some(0));
    assert!(topics(&queue).is_empty());
}

#[test]
fn a_compaction_tells_both_sizes_and_loses_nothing() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let queue = scratch.join("queue");
    fill(addr, &queue, "t", &format!("{}\n", "x".repeat(500)).repeat(2_000));
    let ids: Vec<Value> = objects(&run(&["queue", "ls", &queue, "--json"]));
    fill(addr, &queue, "keep", "1\n2\n");
    assert_eq!(run(&["queue", "purge", &queue, "-t", "t", "-y"]).code, Some(0));
    let ended = run(&["queue", "compact", &queue, "--json"]);
    let sizes = objects(&ended).remove(0);
    let size = |name: &str| sizes[name].as_u64().unwrap();
    assert_eq!((ended.code, ids.len()), (Some(0), 2_000), "{ended:?}");
    assert!(size("after_bytes") < size("before_bytes"), "{sizes}");
    assert_eq!(topics(&queue), ["keep", "keep"]);
    assert!(run(&["queue", "compact", &queue]).stdout.starts_with("from "));
}

#[test]
fn a_flipped_bit_is_found_named_and_what_is_left_can_be_saved_and_used_again() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let queue = scratch.join("queue");
    fill(addr, &queue, "t", "first\nDAMAGE ME\nlast\n");
    let sound = run(&["queue", "verify", &queue]);
    assert_eq!((sound.code, sound.stdout.starts_with("sound: ")), (Some(0), true), "{sound:?}");
    let file = Path::new(&queue).join("queue.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"DAMAGE ME")).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();

    let ended = run(&["queue", "verify", &queue]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("message 2: its checksum does not fit"), "{ended:?}");
    assert!(ended.stderr.contains("damaged: 1 of") && ended.stderr.contains("queue export"), "{ended:?}");
    let report = objects(&run(&["queue", "verify", &queue, "--json"])).remove(0);
    assert_eq!(
        (&report["sound"], report["damaged"].as_array().unwrap().len()),
        (&false.into(), 1),
        "{report}"
    );
    let ended = run(&["queue", "drain", &queue, "--deadline", "0.3"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("rejoin queue export"), "{ended:?}");
    let ended = run(&["queue", "export", &queue]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let payloads: Vec<Value> = objects(&ended).iter().map(|entry| entry["payload"].clone()).collect();
    assert_eq!(payloads, ["first".into(), Value::Null, "last".into()]);
    assert_eq!(run(&["queue", "purge", &queue, "--damaged", "--yes"]).code, Some(0));
    assert_eq!(run(&["queue", "verify", &queue]).code, Some(0));
    assert_eq!(topics(&queue).len(), 2);
}

#[test]
fn an_export_holds_every_payload_to_the_byte_and_can_be_published_again() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let (queue, again) = (scratch.join("queue"), scratch.join("again"));
    let binary = scratch.join("binary");
    std::fs::write(&binary, b"\xFF\0\x01binary").unwrap();
    let queued = |flags: &[&str]| {
        let flags = [flags, &["--queue", &queue, "--deadline", "0.1", "-q", "2"]].concat();
        assert_eq!(run(&words("pub", &place(addr), &flags)).code, Some(5));
    };
    queued(&["-t", "text/ä", "-m", "grün\"\n", "-D", "publish", "content-type", "text/plain"]);
    queued(&["-t", "binary", "-f", &binary]);
    queued(&["-t", "empty", "-n"]);
    let ended = run(&["queue", "export", &queue]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let entries = objects(&ended);
    let part = |n: usize, name: &str| entries[n][name].as_str().unwrap_or_default().to_owned();
    assert_eq!((part(0, "payload"), part(0, "payload_encoding")), ("grün\"\n".into(), "utf8".into()));
    assert_eq!((part(1, "payload"), part(1, "payload_encoding")), ("/wABYmluYXJ5".into(), "base64".into()));
    assert_eq!((part(2, "payload"), part(2, "payload_encoding")), (String::new(), "utf8".into()));
    assert_eq!(entries[0]["properties"]["content_type"], "text/plain");
    // What a script would do with it.
    let message = part(0, "payload");
    let flags = ["-t", &part(0, "topic"), "-m", &message, "--queue", &again, "--deadline", "0.1", "-q", "2"];
    assert_eq!(run(&words("pub", &place(addr), &flags)).code, Some(5));
    let copy = objects(&run(&["queue", "export", &again])).remove(0);
    assert_eq!((&copy["payload"], &copy["topic"]), (&entries[0]["payload"], &entries[0]["topic"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_and_another_server_are_refused_and_a_server_that_moved_has_a_way_out() {
    let broker = broker().await;
    let (addr, scratch) = (broker.addr(), Scratch::new());
    let queue = scratch.join("queue");
    blocking(move || {
        let (old, flags) = (nowhere(), ["-t", "t", "-m", "x", "-r", "--queue", &queue]);
        let run_as = |addr, id| {
            let deadline = if addr == old { "0.1" } else { "15" };
            run(&[&words("pub", &place(addr), &flags)[..], &["-i", id, "--deadline", deadline]].concat())
        };
        assert_eq!(run_as(old, "gw-1").code, Some(5));
        let ended = run_as(old, "gw-2");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("belongs to client `gw-1`, not `gw-2`"), "{ended:?}");
        let ended = run_as(addr, "gw-1");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("belongs to server `{old}`, not `{addr}`")), "{ended:?}");
        assert!(ended.stderr.contains("rejoin queue drain DIR -L URL --moved"), "{ended:?}");
        assert_eq!(run(&["queue", "drain", &queue, "--moved"]).code, Some(2), "where to?");
        let url = format!("mqtt://{addr}");
        let ended = run(&["queue", "drain", &queue, "-L", &url]);
        assert_eq!(ended.code, Some(1), "a server is never changed in silence: {ended:?}");
        let ended = run(&["queue", "drain", &queue, "-L", &url, "--moved"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(run_as(addr, "gw-1").code, Some(0), "it is the queue's server from now on");
    })
    .await;
    assert_eq!(broker.with(|broker| broker.retained("t")).as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_place_that_cannot_be_a_queue_is_told_with_the_reason() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let (file, missing) = (scratch.join("file"), scratch.join("missing"));
    std::fs::write(&file, "x").unwrap();
    let ended = run(&words("pub", &place(addr), &["-t", "t", "-m", "x", "--queue", &file]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("it is no folder"), "{ended:?}");
    for verb in ["ls", "stats", "verify", "export", "compact", "drain"] {
        for (folder, why) in
            [(&file, "no folder"), (&missing, "no such folder"), (&scratch.join(""), "no queue in it")]
        {
            let ended = run(&["queue", verb, folder]);
            assert_eq!(ended.code, Some(1), "{verb}: {ended:?}");
            assert!(ended.stderr.contains(why) && ended.stdout.is_empty(), "{verb}: {ended:?}");
        }
    }
    assert!(!Path::new(&missing).exists(), "looking makes nothing");
    assert_eq!(run(&["queue"]).code, Some(2));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_told_at_the_start() {
    use std::os::unix::fs::PermissionsExt;

    let (scratch, addr) = (Scratch::new(), nowhere());
    let folder = scratch.join("read-only");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(Path::new(&folder).join("probe"), "").is_ok() {
        skipped("a read-only folder", "this user writes everywhere; run the tests as another than root");
        return;
    }
    let ended = run(&words("pub", &place(addr), &["-t", "t", "-m", "x", "--queue", &folder]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("must be writable"), "{ended:?}");
}

#[test]
fn a_folder_deleted_under_a_running_client_is_told_and_is_never_exit_0() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let (queue, report) = (scratch.join("queue"), scratch.join("report"));
    let mut program = streaming(addr, &queue, &report, &["1".to_owned()]);
    std::fs::remove_dir_all(&queue).unwrap();
    program.told("was removed while it was in use");
    program.write(b"2\n");
    let ended = program.end();
    assert!(matches!(ended.code, Some(1 | 4)), "{ended:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_outlives_a_kill_and_the_next_run_delivers_it() {
    let broker = broker().await;
    let ledger = rejoin_lab::Auditor::new("cut");
    broker.with(|broker| broker.add_ledger(ledger.ledger()));
    let addr = broker.addr();
    broker.kill(Ending::Rst).await;
    let lines: Vec<String> = (1..=200)
        .map(|n| {
            ledger.published(n);
            String::from_utf8(ledger.payload(n).to_vec()).unwrap()
        })
        .collect();
    let scratch = Scratch::new();
    let (queue, report) = (scratch.join("queue"), scratch.join("report"));
    let (at, first) = (queue.clone(), lines[..199].to_vec());
    blocking(move || {
        let program = streaming(addr, &at, &report, &first);
        program.signal("KILL");
        assert_eq!(program.end().code, None);
        assert_eq!(topics(&at).len(), 199);
    })
    .await;
    broker.start_again(true).await.unwrap();
    let last = lines[199].clone();
    let ended = blocking(move || {
        let flags = ["-t", "t", "-l", "--queue", &queue];
        run_with_input(&words("pub", &place(addr), &flags), format!("{last}\n").as_bytes())
    })
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("199 messages of an earlier run are in the queue"), "{ended:?}");
    let verdict = broker.with(|broker| ledger.verdict().with_violations(broker));
    assert!(verdict.passes(), "{verdict}");
}

#[test]
fn a_reader_that_has_enough_is_a_clean_end() {
    let (scratch, addr) = (Scratch::new(), nowhere());
    let queue = scratch.join("queue");
    fill(addr, &queue, "t", &"a line\n".repeat(3_000));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rejoin"));
    let output = command.args(["queue", "export", &queue]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_nobody_reads_does_not_stop_the_client() {
    let broker = broker().await;
    let addr = broker.addr();
    let scratch = Scratch::new();
    let queue = scratch.join("queue");
    blocking(move || {
        let report = FullPipe::new("report");
        let flags = ["-t", "t", "-l", "--queue", &queue, "--report-stored", report.path.to_str().unwrap()];
        let mut program = start(&words("pub", &place(addr), &flags));
        program.write(b"one\n");
        program.told("open");
        program.write(b"two\n");
        let ended = program.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.contains("published 2 · acknowledged 2"), "{ended:?}");
    })
    .await;
}
