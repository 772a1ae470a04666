//! The server against pages that come back, that misbehave and that are not ours, with limits small enough to be
//! reached in a test.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rejoin::Client;
use rejoin::health::Ready;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::document::{Document, Level};
use super::door::{self, Door};
use super::flags::ServeArgs;
use super::guard::{Guard, Token};
use super::limits::Limits;
use super::live::Live;
use super::observer::{Observer, Plan, Told};
use super::page::FILES;
use super::probes::Probes;
use super::routes::{self, Asked, Desk};
use super::run::Run;
use super::tests::head;
use super::update::Update;

/// No wait is longer.
const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef";

/// A server in this test.
struct Served {
    addr: SocketAddr,
    live: Arc<Live>,
    streams: Arc<Semaphore>,
    asked: mpsc::Receiver<Asked>,
    now_ms: u64,
    /// Dropping it closes the door.
    closing: watch::Sender<()>,
}

impl Served {
    fn start(limits: Limits, guarded_as: Option<&str>) -> Self {
        let mut run = Run::new(head(true));
        run.update(0);
        let live = Arc::new(Live::new(run, limits));
        let socket = door::bind("127.0.0.1:0".parse().unwrap(), &limits).unwrap();
        let door = Door::open(socket, limits).unwrap();
        let addr = axum::serve::Listener::local_addr(&door).unwrap();
        let as_if = guarded_as.map_or(addr, |other| other.parse().unwrap());
        let token = Token::find(None, Some(TOKEN.to_owned())).unwrap();
        let streams = Arc::new(Semaphore::new(limits.streams));
        let (sender, asked) = mpsc::channel(limits.asked);
        // Never started: the routes only look at it.
        let prepared = Client::builder("mqtt://127.0.0.1:1").prepare().unwrap();
        let desk = Desk {
            live: Arc::clone(&live),
            guard: Arc::new(Guard::new(as_if, "127.0.0.1", token)),
            probes: Probes::new(prepared.client().clone(), "test", Ready::WillDeliver),
            asked: sender,
            streams: Arc::clone(&streams),
            limits,
        };
        std::mem::forget(prepared);
        let (closing, closed) = watch::channel(());
        tokio::spawn(door::serve(door, routes::all(desk), closed));
        Self { addr, live, streams, asked, now_ms: 0, closing }
    }

    /// One more update, with one event in it.
    fn publish(&mut self, text: &str) {
        self.now_ms += 1;
        let now_ms = self.now_ms;
        self.live.change(|run| run.note(now_ms, Level::Info, "note", text));
        self.live.publish(now_ms);
    }

    async fn open(&self, path: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        // 1.0 comes in one piece, without chunks to take apart.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{more}\r\n", self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str, more: &str) -> Got {
        Got::read(self.open(path, more).await).await
    }

    async fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> Got {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let length = body.len();
        let host = if more.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.addr) };
        let request =
            format!("{method} {path} HTTP/1.0\r\n{host}{more}Content-Length: {length}\r\n\r\n{body}");
        // A server that refuses early closes before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        Got::read(stream).await
    }
}

/// A whole answer.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    async fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // What came before a reset counts.
        let _ = limited("an answer", stream.read_to_end(&mut bytes)).await;
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

/// Reads server-sent events.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn of(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            text.push_str(&more(&mut stream).await);
        }
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200") && head.contains("text/event-stream"), "{head}");
        Self { stream, text: rest.to_owned() }
    }

    /// Id, event and data of the next one; comments are passed over.
    async fn next(&mut self) -> (String, String, String) {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let part = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
                };
                let found = (part("id: "), part("event: "), part("data: "));
                self.text = rest.to_owned();
                if !found.1.is_empty() {
                    return found;
                }
            }
            let text = more(&mut self.stream).await;
            self.text.push_str(&text);
        }
    }
}

async fn more(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 65_536];
    let n = limited("more of the stream", stream.read(&mut bytes)).await.unwrap();
    assert!(n > 0, "the stream ended");
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

async fn limited<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(LIMIT, work).await.unwrap_or_else(|_| panic!("{what} did not come within {LIMIT:?}"))
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    limited(what, async {
        while !done() {
            // waits: for a state that tells nobody when it changes, looked at again and again
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn every_route_answers_and_forbids_the_browser_what_the_page_does_not_need() {
    let served = Served::start(Limits::default(), None);
    for (path, status, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/?snapshot=1", 200, "text/html; charset=utf-8"),
        ("/assets/page.js", 200, "text/javascript; charset=utf-8"),
        ("/assets/nothing.js", 404, "text/plain; charset=utf-8"),
        ("/assets/../Cargo.toml", 404, "text/plain; charset=utf-8"),
        ("/api/v1/snapshot", 200, "application/json"),
        ("/metrics", 200, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("/livez", 200, "text/plain; charset=utf-8"),
        ("/readyz?verbose", 200, "text/plain; charset=utf-8"),
        ("/other", 404, "text/plain; charset=utf-8"),
    ] {
        let got = served.get(path, "").await;
        assert_eq!((got.status, got.header("content-type")), (status, Some(kind)), "{path}: {got:?}");
        let policy = got.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(got.header("referrer-policy"), Some("no-referrer"));
        assert!(!got.head.contains("access-control-"), "no foreign page may read: {got:?}");
        let kept = if path.starts_with("/api") { "no-store" } else { "no-" };
        assert!(got.header("cache-control").unwrap().starts_with(kept), "{got:?}");
    }
    for file in FILES {
        let got = served.get(&format!("/assets/{}", file.name), "").await;
        assert_eq!((got.status, got.header("content-type")), (200, Some(file.content_type)), "{}", file.name);
        let tag = got.header("etag").unwrap();
        let again = served.get(&format!("/assets/{}", file.name), &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{}", file.name);
    }
    let metrics = served.get("/metrics", "").await;
    assert!(metrics.body.contains("mqtt_client_link_open{client=\"test\"} 0"), "{}", metrics.body);
    assert!(metrics.body.ends_with("# EOF\n"));
    for (method, path) in [("POST", "/"), ("DELETE", "/api/v1/snapshot"), ("POST", "/metrics")] {
        assert_eq!(served.ask(method, path, "", "").await.status, 405, "{method} {path}");
    }
}

#[tokio::test]
async fn foreign_names_and_wrong_tokens_get_a_clear_answer_and_nothing_else() {
    let mut served = Served::start(Limits::default(), None);
    for path in ["/", "/api/v1/snapshot", "/api/v1/stream", "/metrics", "/livez"] {
        let got = served.ask("GET", path, "Host: evil.example\r\n", "").await;
        assert_eq!(got.status, 403, "{path}: {got:?}");
        assert!(got.body.contains("`evil.example` is no name of this program"), "{got:?}");
    }
    let cut = r#"{"action": "cut"}"#;
    let control = "/api/v1/control";
    let none = served.ask("POST", control, "", cut).await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("bearer")), "{none:?}");
    let wrong = served.ask("POST", control, &bearer("0123456789abcdeX"), cut).await;
    assert_eq!(wrong.status, 403);
    assert!(wrong.body.contains("not the token"), "{wrong:?}");
    let foreign = served.ask("POST", control, &format!("{}Host: evil.example\r\n", bearer(TOKEN)), cut).await;
    assert_eq!(foreign.status, 403);
    assert!(served.asked.try_recv().is_err(), "nothing was done");
    for (body, part) in [
        ("", "write {"),
        ("[1]", "write {"),
        (r#"{"action": "freeze"}"#, "this program takes: cut, heal"),
        (r#"{"action": "<b>"}"#, "`<b>` cannot be asked for"),
        (r#"{"action": "cut", "more": 1}"#, "write {"),
    ] {
        let got = served.ask("POST", control, &bearer(TOKEN), body).await;
        assert!(got.status == 400 && got.body.contains(part), "{body}: {got:?}");
    }
    let long = " ".repeat(Limits::default().body + 1);
    assert_eq!(served.ask("POST", control, &bearer(TOKEN), &long).await.status, 413);
    assert!(served.asked.try_recv().is_err(), "nothing was done");
}

#[tokio::test]
async fn away_from_loopback_everything_needs_the_token() {
    let served = Served::start(Limits::default(), Some("10.0.0.1:9090"));
    for path in
        ["/", "/assets/page.js", "/api/v1/snapshot", "/api/v1/stream", "/metrics", "/livez", "/readyz"]
    {
        assert_eq!(served.get(path, "").await.status, 401, "{path}");
        assert_eq!(served.get(path, &bearer("wrong")).await.status, 403, "{path}");
    }
    assert_eq!(served.get("/api/v1/snapshot", &bearer(TOKEN)).await.status, 200);
    let moved = served.get(&format!("/?token={TOKEN}"), "").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (303, Some(&*format!("/#token={TOKEN}"))),
        "{moved:?}"
    );
    let cookie = moved.header("set-cookie").unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "other ports of this host get the cookie: {cookie}");
    let shown = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(served.get("/", &shown).await.status, 200);
    let acting = served.ask("POST", "/api/v1/control", &shown, r#"{"action": "cut"}"#).await;
    assert_eq!(acting.status, 401, "a cookie is sent by any page; it does not act");
}

#[tokio::test]
async fn a_request_to_act_is_answered_when_it_was_done() {
    let Served { addr, live, streams, asked, now_ms, closing } = Served::start(Limits::default(), None);
    let mut asked = asked;
    let doing = tokio::spawn(async move {
        let first = asked.recv().await.unwrap();
        let action = first.action.name();
        first.reply.send(Ok(())).unwrap();
        let second = asked.recv().await.unwrap();
        second.reply.send(Err("the broker is down already".to_owned())).unwrap();
        action
    });
    let (_, nobody) = mpsc::channel(1);
    let served = Served { addr, live, streams, asked: nobody, now_ms, closing };
    let cut = r#"{"action": "cut"}"#;
    let done = served.ask("POST", "/api/v1/control", &bearer(TOKEN), cut).await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"done":"cut"}"#));
    let refused = served.ask("POST", "/api/v1/control", &bearer(TOKEN), cut).await;
    assert_eq!((refused.status, refused.body.as_str()), (409, "the broker is down already\n"));
    assert_eq!(limited("the action", doing).await.unwrap(), "cut");
    let late = served.ask("POST", "/api/v1/control", &bearer(TOKEN), cut).await;
    assert_eq!(late.status, 503, "whoever did it is gone: {late:?}");
}

#[tokio::test]
async fn whoever_waits_for_what_he_asked_for_is_not_taken_for_silent() {
    let limits = Limits { quiet: Duration::from_millis(300), ..Limits::default() };
    let Served { addr, live, streams, asked, now_ms, closing } = Served::start(limits, None);
    let mut asked = asked;
    let doing = tokio::spawn(async move {
        let asked = asked.recv().await.unwrap();
        // waits: an action that takes longer than somebody may be silent is what is tested
        sleep(Duration::from_millis(1_000)).await;
        asked.reply.send(Ok(())).unwrap();
    });
    let (_, nobody) = mpsc::channel(1);
    let served = Served { addr, live, streams, asked: nobody, now_ms, closing };
    let done = served.ask("POST", "/api/v1/control", &bearer(TOKEN), r#"{"action": "cut"}"#).await;
    assert_eq!((done.status, done.body.as_str()), (200, r#"{"done":"cut"}"#), "{done:?}");
    limited("the action", doing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_update_reaches_whoever_looks_on_and_ends_his_stream() {
    let asked_for = ServeArgs { serve: Some("127.0.0.1:0".to_owned()), ..ServeArgs::default() };
    let places = asked_for.take().unwrap();
    let addr = places.places[0].addr;
    let prepared = Client::builder("mqtt://127.0.0.1:1").prepare().unwrap();
    let client = prepared.client().clone();
    let plan = Plan { head: head(false), places, recording: None, asked: None };
    let observer = Observer::start(client.clone(), client.events(), plan).unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET /api/v1/stream HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut events = Events::of(stream).await;
    assert_eq!(events.next().await.1, "update");
    let idle = TcpStream::connect(addr).await.unwrap();
    let text = "the very last words".to_owned();
    observer.tell(Told::Note { at: Instant::now(), level: Level::Info, word: "note", text });
    let begin = Instant::now();
    limited("the end", tokio::task::spawn_blocking(|| drop(observer))).await.unwrap();
    eprintln!("it ended after {:?}", begin.elapsed());
    let mut rest = events.text.into_bytes();
    limited("the end of the stream", events.stream.read_to_end(&mut rest)).await.unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("the very last words") && rest.ends_with("\n\n"), "{rest}");
    drop(idle);
}

#[tokio::test]
async fn a_page_that_comes_back_gets_every_update_once_and_has_the_same_run() {
    let mut served = Served::start(Limits::default(), None);
    served.publish("before");
    let first = served.get("/api/v1/snapshot", "").await;
    let mut document: Document = serde_json::from_str(&first.body).unwrap();
    let mut id = first.header("last-event-id").unwrap().to_owned();
    let mut texts = Vec::new();
    for round in 0..5 {
        // While nobody is connected.
        for n in 0..10 {
            served.publish(&format!("{round}.{n}"));
        }
        let mut events =
            Events::of(served.open("/api/v1/stream", &format!("Last-Event-ID: {id}\r\n")).await).await;
        for _ in 0..5 {
            let (new, event, data) = events.next().await;
            assert_eq!(event, "update");
            let update: Update = serde_json::from_str(&data).unwrap();
            texts.extend(update.events.iter().map(|event| event.text.clone()));
            update.apply(&mut document);
            id = new;
        }
    }
    let mut events =
        Events::of(served.open("/api/v1/stream", &format!("Last-Event-ID: {id}\r\n")).await).await;
    for _ in 0..25 {
        let (_, _, data) = events.next().await;
        let update: Update = serde_json::from_str(&data).unwrap();
        texts.extend(update.events.iter().map(|event| event.text.clone()));
        update.apply(&mut document);
    }
    let all: Vec<String> = (0..5).flat_map(|round| (0..10).map(move |n| format!("{round}.{n}"))).collect();
    assert_eq!(texts, all, "no hole and no repetition");
    let last = served.get("/api/v1/snapshot", "").await;
    assert_eq!(document, serde_json::from_str::<Document>(&last.body).unwrap());
}

#[tokio::test]
async fn whoever_was_away_too_long_is_told_to_begin_anew() {
    let mut served = Served::start(Limits { ring: 10, ..Limits::default() }, None);
    served.publish("first");
    let old = served.get("/api/v1/snapshot", "").await.header("last-event-id").unwrap().to_owned();
    for n in 0..11 {
        served.publish(&n.to_string());
    }
    let newest = served.get("/api/v1/snapshot", "").await.header("last-event-id").unwrap().to_owned();
    let (run, number) = newest.split_once('-').unwrap();
    let future = format!("{run}-{}", number.parse::<u64>().unwrap() + 1);
    for id in [old.as_str(), "1234-1", "nonsense", "", &future] {
        let mut events =
            Events::of(served.open("/api/v1/stream", &format!("Last-Event-ID: {id}\r\n")).await).await;
        let (told, event, _) = events.next().await;
        assert_eq!((event.as_str(), told.as_str()), ("reset", newest.as_str()), "{id}");
    }
    // Nobody is told to begin anew who can be served from what is held.
    served.publish("one");
    let id = served.get("/api/v1/snapshot", "").await.header("last-event-id").unwrap().to_owned();
    for n in 0..10 {
        served.publish(&n.to_string());
    }
    let mut events =
        Events::of(served.open("/api/v1/stream", &format!("Last-Event-ID: {id}\r\n")).await).await;
    assert_eq!(events.next().await.1, "update");
}

#[tokio::test]
async fn a_thousand_pages_get_an_answer_and_only_so_many_a_stream() {
    let limits = Limits { connections: 12, streams: 5, ..Limits::default() };
    let mut served = Served::start(limits, None);
    let begin = Instant::now();
    let mut open = Vec::new();
    let (mut streaming, mut refused, mut reset) = (0, 0, 0);
    for _ in 0..1_000 {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        let request = format!("GET /api/v1/stream HTTP/1.0\r\nHost: {}\r\n\r\n", served.addr);
        let mut start = [0; 12];
        let asked = stream.write_all(request.as_bytes()).await;
        match (asked, limited("an answer", stream.read_exact(&mut start)).await) {
            (Ok(()), Ok(_)) if &start == b"HTTP/1.0 200" => streaming += 1,
            (Ok(()), Ok(_)) if start.ends_with(b"503") => refused += 1,
            (_, Err(_)) => reset += 1,
            other => panic!("{other:?} {:?}", String::from_utf8_lossy(&start)),
        }
        open.push(stream);
        served.publish("the client goes on");
    }
    assert_eq!((streaming, streaming + refused + reset), (5, 1_000), "{refused} refused, {reset} reset");
    assert!(refused > 900, "the answer is words, not a reset: {refused} refused, {reset} reset");
    eprintln!("a thousand pages took {:?}, {reset} of them were reset", begin.elapsed());
    let (_, snapshot) = served.live.snapshot();
    assert!(snapshot.len() < 1 << 20, "what is held is bounded: {} bytes", snapshot.len());
    drop(open);
    until("the streams end", || served.streams.available_permits() == 5).await;
    // waits: the connections are counted down by tasks that tell nobody
    let got = limited("an answer again", async {
        loop {
            let got = served.get("/api/v1/snapshot", "").await;
            if got.status == 200 {
                return got;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(got.await.body.contains("rejoin-run/1"));
}

#[tokio::test]
async fn a_reader_that_never_reads_is_dropped_and_holds_nobody_up() {
    let limits = Limits {
        write: Duration::from_millis(200),
        send_buffer: 4_096,
        ring_bytes: 1 << 20,
        ..Limits::default()
    };
    let mut served = Served::start(limits, None);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = socket.connect(served.addr).await.unwrap();
    let request = format!("GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\n\r\n", served.addr);
    deaf.write_all(request.as_bytes()).await.unwrap();
    until("the stream", || served.streams.available_permits() == limits.streams - 1).await;
    let mut events = Events::of(served.open("/api/v1/stream", "").await).await;
    let text = "x".repeat(2_000);
    let begin = Instant::now();
    while served.streams.available_permits() < limits.streams - 1 {
        served.publish(&text);
        assert_eq!(limited("an update", events.next()).await.1, "update", "others get everything at once");
        assert!(begin.elapsed() < LIMIT, "the deaf reader is still there");
    }
    eprintln!("dropped after {:?} and {} updates", begin.elapsed(), served.now_ms);
    drop(deaf);
}

#[tokio::test]
async fn requests_that_come_slowly_or_never_are_ended_and_quiet_streams_are_not() {
    let limits = Limits {
        quiet: Duration::from_millis(400),
        keep_alive: Duration::from_millis(60),
        ..Limits::default()
    };
    let served = Served::start(limits, None);
    let mut silent = TcpStream::connect(served.addr).await.unwrap();
    let mut stream = served.open("/api/v1/stream", "").await;
    let mut slow = TcpStream::connect(served.addr).await.unwrap();
    let begin = Instant::now();
    // waits: a byte now and then is what is tested
    while slow.write_all(b"G").await.is_ok() && begin.elapsed() < LIMIT {
        sleep(Duration::from_millis(30)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let mut nothing = [0; 1];
    let end = limited("the end of the silent one", silent.read(&mut nothing)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let mut comments = 0;
    while comments < 20 {
        comments += more(&mut stream).await.matches(": still here").count();
    }
    assert!(begin.elapsed() > limits.quiet * 2, "a stream outlives the limit: {:?}", begin.elapsed());
}
