//! `--serve` and `--metrics`, from the outside: a real program, a real broker, plain HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rejoin_lab::{BrokerServer, Manners};
use serde_json::Value;

use crate::program::{LIMIT, Program, place, run, start, words};
use crate::skipped::skipped;

/// What the program printed: address, path and token.
struct Page {
    addr: SocketAddr,
    token: String,
}

struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Page {
    fn of(program: &mut Program) -> Self {
        Self::read(&program.told("http://"))
    }

    fn read(line: &str) -> Self {
        let (_, url) = line.split_once("http://").expect("an address");
        let (host, rest) = url.trim().split_once('/').expect("a path");
        let token = rest.split_once("token=").map(|(_, token)| token.to_owned()).unwrap_or_default();
        Self { addr: host.replace("localhost", "127.0.0.1").parse().expect("an address"), token }
    }

    fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> Got {
        let mut stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let (host, length) = (self.addr, body.len());
        let text = format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).expect("it reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it answers");
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Got { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Got {
        self.ask("GET", path, "", "")
    }

    fn document(&self) -> Value {
        let got = self.ask("GET", "/api/v1/snapshot", &self.bearer(), "");
        assert_eq!(got.status, 200, "{}", got.body);
        serde_json::from_str(&got.body).expect("a document")
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }

    fn control(&self, action: &str) -> Got {
        let body = format!("{{\"action\": \"{action}\"}}");
        self.ask("POST", "/api/v1/control", &self.bearer(), &body)
    }

    fn until(&self, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        loop {
            let document = self.document();
            if done(&document) {
                return document;
            }
            assert!(Instant::now() < end, "no {what}: {document:#}");
            // waits: for another process, asked again and again
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_is_seen_to_lose_its_link_and_to_come_back() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let at = place(server.addr());
    let rest = ["-t", "a/#", "--serve", "127.0.0.1:0", "--backoff", "50ms..100ms", "--lift-connect-budget"];
    let mut program = start(&words("sub", &at, &rest));
    let page = Page::of(&mut program);
    let open = page.until("open link", |document| document["state"]["link"] == "open");
    assert_eq!(open["answers"]["link"]["word"], "YES", "{open:#}");
    assert_eq!(open["schema"], "rejoin-run/1");
    assert_eq!(open["program"]["verb"], "sub");
    assert_eq!(open["health"]["status"], "healthy", "{open:#}");
    assert!(open["alerts"].as_array().is_some_and(|rules| rules.len() >= 6), "{:#}", open["alerts"]);
    assert!(open["baselines"].as_array().is_some_and(|list| !list.is_empty()), "{:#}", open["baselines"]);
    assert_eq!(open["controls"], serde_json::json!(["nudge"]));
    assert!(open["lanes"].get("truth").is_none(), "without a proxy nobody knows the truth");
    assert_eq!(page.get("/").status, 200);
    assert_eq!(page.get("/livez").status, 200);
    let metrics = page.get("/metrics").body;
    assert!(metrics.contains("mqtt_client_link_open{client=\"sub\"} 1"), "{metrics}");
    server.kill(rejoin_lab::Ending::Rst).await;
    let lost = page.until("loss", |document| document["health"]["status"] == "degraded");
    assert_eq!(lost["state"]["is_connection_open"], false, "{lost:#}");
    assert!(lost["state"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{lost:#}");
    assert_eq!(page.get("/livez").status, 200, "a restart of the process would not bring the broker back");
    assert_eq!(page.get("/readyz").status, 503);
    assert_eq!(page.control("nudge").status, 200);
    server.start_again(true).await.expect("the same port");
    let back = page.until("recovery", |document| document["outages"][0]["end_ms"].is_u64());
    let outage = &back["outages"][0];
    let part = |name: &str| outage[name].as_f64().unwrap_or_else(|| panic!("no {name}: {outage:#}"));
    let sum: f64 = ["detect_ms", "refused_ms", "waited_ms", "connect_ms", "resubscribe_ms", "drain_ms"]
        .map(part)
        .iter()
        .sum();
    assert!((sum - part("total_ms")).abs() < 0.01, "{outage:#}");
    assert_eq!(page.get("/readyz").status, 200);
    assert_eq!(page.ask("POST", "/api/v1/control", "Authorization: Bearer no\r\n", "{}").status, 403);
    let cut = page.control("cut");
    assert!(cut.status == 400 && cut.body.contains("this program takes: nudge"), "{}", cut.body);
    program.signal("INT");
    assert_eq!(program.end().code, Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_told_before_anything_starts() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let at = place(server.addr());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    for flag in ["--serve", "--metrics"] {
        for (verb, rest) in
            [("pub", &["-t", "a", "-m", "x"][..]), ("sub", &["-t", "a"]), ("demo", &["--no-tui"])]
        {
            let connects = verb != "demo";
            let mut line = if connects { words(verb, &at, rest) } else { [&[verb], rest].concat() };
            line.extend([flag, &addr]);
            let ended = run(&line);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(
                ended.stderr.contains(&addr)
                    && ended.stderr.contains("in use")
                    && ended.stderr.contains("another port"),
                "{ended:?}"
            );
            assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        }
    }
    for (wrong, part) in [("nonsense", "write PORT"), ("203.0.113.7:0", "no address of this machine")] {
        let line = words("sub", &at, &["-t", "a", "--serve", wrong]);
        let ended = run(&line);
        assert!(ended.code == Some(2) && ended.stderr.contains(part), "{ended:?}");
    }
    assert_eq!(server.connections(), 0, "the client was never started");
}

/// A free port and a new token are told by this one line only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_is_told_whatever_is_kept_quiet() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let at = place(server.addr());
    for (verb, rest) in [
        ("sub", &["-t", "a", "--quiet", "--serve", "127.0.0.1:0"][..]),
        ("watch", &["--quiet", "--serve", "127.0.0.1:0"]),
    ] {
        let mut program = start(&words(verb, &at, rest));
        let page = Page::of(&mut program);
        assert_eq!(page.token.len(), 32, "{verb}");
        page.until("open link", |document| document["state"]["link"] == "open");
        program.signal("INT");
        let ended = program.end();
        assert_eq!(ended.stderr.lines().count(), 1, "the rest is kept quiet: {}", ended.stderr);
    }
}

/// With the picture, which goes over another screen of a terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_says_where_else_it_is_shown() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let at = place(server.addr()).join(" ");
    let rejoin = env!("CARGO_BIN_EXE_rejoin");
    let line = format!("stty cols 100 rows 30; '{rejoin}' watch {at} --serve 127.0.0.1:0 --for 1s");
    let script = std::process::Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(script) = script else {
        skipped("the picture", "script is missing; apt-get install bsdutils");
        return;
    };
    let seen = String::from_utf8_lossy(&script.stdout);
    let (before, picture) = seen.split_once("\u{1b}[?1049h").expect("the picture has a screen of its own");
    let page = Page::read(before.lines().find(|line| line.contains("http://")).expect("told before"));
    assert_eq!(page.token.len(), 32, "{before}");
    assert!(picture.contains(&page.token), "and in the picture: {picture}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_from_loopback_nothing_is_shown_without_the_token() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let at = place(server.addr());
    let mut program = start(&words("sub", &at, &["-t", "a", "--serve", "0.0.0.0:0"]));
    let page = Page::of(&mut program);
    assert_eq!(page.token.len(), 32, "128 bits");
    for path in ["/", "/api/v1/snapshot", "/api/v1/stream", "/metrics", "/livez", "/readyz"] {
        assert_eq!(page.get(path).status, 401, "{path}");
    }
    let moved = page.get(&format!("/?token={}", page.token));
    assert!(moved.status == 303 && moved.head.contains("location: /#token="), "{}", moved.head);
    assert_eq!(page.document()["program"]["verb"], "sub");
}

#[test]
fn the_demo_is_judged_and_goes_on_being_shown_until_ctrl_c() {
    let mut program = start(&[
        "demo",
        "--fast",
        "--no-plain",
        "--no-tui",
        "--serve",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
    ]);
    let page = Page::of(&mut program);
    page.until("open link", |document| document["state"]["link"] == "open");
    let cut = page.control("cut");
    assert_eq!((cut.status, cut.body.as_str()), (200, "{\"done\":\"cut\"}"));
    let judged = page.until("verdict", |document| document["verdict"].is_object());
    assert_eq!(judged["verdict"]["title"], "PASS", "{:#}", judged["verdict"]);
    assert!(
        judged["verdict"]["expectations"]
            .as_array()
            .is_some_and(|list| list.iter().all(|one| one["pass"] == true))
    );
    let faults: Vec<&str> = judged["lanes"]["injected"]
        .as_array()
        .expect("a lane")
        .iter()
        .filter_map(|fault| fault["what"].as_str())
        .collect();
    for fault in ["cut-by-key", "freeze", "restart-sessions-kept", "restart-sessions-lost"] {
        assert!(faults.contains(&fault), "{faults:?}");
    }
    assert!(judged["lanes"]["truth"].as_array().is_some_and(|lane| lane.len() > 4));
    assert!(judged["honesty"]["claimed_open_while_closed_ms"].is_u64());
    assert!(judged["outages"].as_array().is_some_and(|list| list.len() >= 3), "{:#}", judged["outages"]);
    let measured = |name: &str| {
        judged["samples"][name].as_array().is_some_and(|column| column.iter().any(Value::is_number))
    };
    for column in ["ack_p50_ms", "ack_p99_ms", "in_flight", "oldest_ms", "ping_ms", "silent_ms", "queue"] {
        assert!(measured(column), "{column}: {:#}", judged["samples"]);
    }
    assert!(judged["totals"]["accepted"].as_u64().is_some_and(|n| n >= 1_400), "{:#}", judged["totals"]);
    program.told("until Ctrl-C");
    assert_eq!(page.get("/").status, 200, "it is still shown");
    assert_eq!(page.control("cut").status, 409, "and nothing can be done any more");
    program.signal("INT");
    assert_eq!(program.end().code, Some(0), "the verdict is the exit");
}
