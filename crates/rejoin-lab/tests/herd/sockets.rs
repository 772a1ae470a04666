//! A herd of real sockets in one process before a door that lets few through.
//!
//! `REJOIN_HERD_CLIENTS=2000` makes it large and takes rejoin's true constants; `cargo xtask herd` does that and keeps
//! what it says. The small one divides recovery by twenty.

use std::io::Write;
use std::time::{Duration, Instant};

use rejoin::{Client, Link, VersionPolicy};
use rejoin_core::RecoveryConfig;
use rejoin_lab::herd::SlowDoor;

struct Size {
    clients: usize,
    rate: u32,
    down: Duration,
    divided_by: u32,
    stable_after: Duration,
}

fn size() -> Size {
    let given = std::env::var("REJOIN_HERD_CLIENTS").ok().and_then(|text| text.parse().ok());
    match given {
        Some(clients) => Size {
            clients,
            rate: 100,
            down: Duration::from_secs(30),
            divided_by: 1,
            stable_after: Duration::from_secs(1),
        },
        None => Size {
            clients: 150,
            rate: 50,
            down: Duration::from_secs(2),
            divided_by: 20,
            stable_after: Duration::from_millis(200),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_sockets_comes_back_at_the_rate_of_the_door() {
    let size = size();
    let mut door = SlowDoor::take().unwrap();
    door.open_door(2_000).unwrap();
    let clients: Vec<Client> = (0..size.clients).map(|n| client(&door, &size, n)).collect();
    until("all links are open", || door.open() == size.clients).await;
    // waits: the links must have lived long enough to count as stable
    tokio::time::sleep(size.stable_after * 2).await;

    let accepted = door.accepted();
    door.slam().await.unwrap();
    // waits: the outage itself
    tokio::time::sleep(size.down).await;
    let begin = Instant::now();
    door.open_door(size.rate).unwrap();
    until("everybody is back", || door.open() == size.clients).await;
    let took = begin.elapsed();

    until("every client knows", || clients.iter().all(|c| matches!(c.link(), Link::Open { .. }))).await;
    let bound = Duration::from_secs_f64(size.clients as f64 / f64::from(size.rate));
    let reached = door.accepted() - accepted;
    report(&size, took, bound, reached);
    assert!(took < bound * 3 / 2 + Duration::from_secs(2), "{took:?} for a bound of {bound:?}");
    assert!(reached <= size.clients * 11 / 10, "{reached} sockets for {} clients", size.clients);
    for client in &clients {
        client.shutdown().within(Duration::ZERO).await;
    }
}

fn client(door: &SlowDoor, size: &Size, n: usize) -> Client {
    let (divided_by, stable_after) = (size.divided_by, size.stable_after);
    Client::builder(&format!("mqtt://{}", door.addr()))
        .client_id(format!("herd-{n}"))
        .version(VersionPolicy::Only5)
        .fleet()
        .config(move |config| {
            config.recovery = RecoveryConfig::default().divided_by(divided_by).into();
            config.recovery.fleet = true;
            config.recovery.stable_after = stable_after;
        })
        .start()
        .unwrap()
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let begin = Instant::now();
    while !wanted() {
        assert!(begin.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        // waits: two thousand links have no single event to wait for
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One line past the capture of the test runner, and into the page when a file was named.
fn report(size: &Size, took: Duration, bound: Duration, reached: usize) {
    let line = format!(
        "{} sockets, the door shut for {} s, then {} a second: all back after {:.1} s, the bound is {:.1} s; {reached} \
         connections for it; constants of recovery divided by {}, stable after {:?}",
        size.clients,
        size.down.as_secs(),
        size.rate,
        took.as_secs_f64(),
        bound.as_secs_f64(),
        size.divided_by,
        size.stable_after,
    );
    let _ = writeln!(std::io::stderr(), "herd: {line}");
    if let Some(path) = std::env::var_os("REJOIN_HERD_PAGE") {
        let mut page = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(page, "\n## Over real sockets\n\n{line}.").unwrap();
    }
}
