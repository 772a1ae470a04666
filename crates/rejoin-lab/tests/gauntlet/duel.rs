//! Another client with the same id: row 25.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rejoin::{Event, Link, LossCause, Outlook, Qos, ReasonCode, Verdict, Version, Window};
use rejoin_core::codec::encode;
use rejoin_core::codec::packet::{Connect, ConnectProperties, Packet};
use rejoin_core::text::Text;
use rejoin_lab::{BrokerServer, Manners};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::handshake::assert_windows_grow;
use crate::kit::*;

/// A client with our id that comes back at once, for ever, whoever puts it out. Counts its connections.
struct Rival {
    connected: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Rival {
    fn start(addr: SocketAddr, version: Version) -> Self {
        let connected = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connected);
        let connect = Connect {
            version,
            clean_start: false,
            keep_alive: 0,
            client_id: Text::try_from("gauntlet").unwrap(),
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties {
                session_expiry: (version == V5).then_some(3600),
                ..ConnectProperties::default()
            },
        };
        let mut hello = BytesMut::new();
        encode(&Packet::Connect(Box::new(connect)), version, &mut hello).unwrap();
        let task = tokio::spawn(async move {
            loop {
                let mut stream = TcpStream::connect(addr).await.unwrap();
                stream.write_all(&hello).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
            }
        });
        Self { connected, task }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn was_taken_over(event: &Event) -> bool {
    matches!(
        event,
        Event::Closed {
            cause: LossCause::ServerDisconnect { reason: ReasonCode::SESSION_TAKEN_OVER, .. },
            ..
        }
    )
}

/// "At most 5" of the gauntlet.
const MOST_TAKEOVERS: usize = 5;

#[tokio::test]
async fn row_25_a_duel_over_a_client_id_ends_in_the_slow_lane_with_the_conflict_named() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let slow = Window { first: LIMIT * 6, growth_percent: 200, cap: LIMIT * 60 };
    print(&format!("row 25: slow lane {:?} to {:?}", slow.first, slow.cap));
    let builder = client(server.addr(), V5).session(kept());
    let (client, mut told) = start(builder.config(move |config| config.recovery.slow_lane = slow));
    told.opened().await;
    let rival = Rival::start(server.addr(), V5);
    let slow_lane = |event: &Event| matches!(event, Event::Closed { verdict: Verdict::SlowLane, .. });
    told.wait("the slow lane", slow_lane).await;
    let named = told.wait("the conflict is named", |event| matches!(event, Event::TakenOver { .. })).await;
    let Event::TakenOver { evidence } = named else { unreachable!() };
    assert!(evidence.contains("same client id"), "{evidence}");

    let takeovers = told.count(was_taken_over);
    assert!((2..=MOST_TAKEOVERS).contains(&takeovers), "{takeovers} takeovers: {told:?}");
    let waiting = state(
        &client,
        "the slow lane shows",
        |state| matches!(state.link, Link::Waiting { slow_lane: true, until, .. } if until > Instant::now() + LIMIT),
    );
    let waiting = waiting.await;
    assert!(matches!(waiting.outlook(), Outlook::Blocked { .. }) && waiting.is_connected());
    // The rival has the session, and keeps it: from us nothing comes any more.
    let kept_message = client.publish("gauntlet/t", "0").qos(Qos::AtLeastOnce).enqueue().unwrap();
    // waits: polls what only the broker can tell, or lets the script take its time
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.accepts().len(), takeovers + rival.connected.load(Ordering::Relaxed));
    assert!(kept_message.outcome().is_none(), "what is accepted is kept");
    // A person puts the rival away and says so.
    drop(rival);
    limited("nudge", client.nudge()).await;
    limited("delivered", kept_message.acked()).await.unwrap();
    server.with(|broker| assert_eq!(broker.violations().count(), 0));
}

const OVERLOADED: Window =
    Window { first: Duration::from_millis(80), growth_percent: 150, cap: Duration::from_millis(400) };

/// What was named as evidence so far.
fn named(told: &mut Told) -> Vec<String> {
    let named = told.all().iter().filter_map(|event| match event {
        Event::TakenOver { evidence } => Some(evidence.clone()),
        _ => None,
    });
    named.collect()
}

fn at_311(addr: SocketAddr) -> rejoin::Builder {
    print(&format!(
        "row 25 at 3.1.1: overloaded {:?} to {:?}, first wait of a duel and stable after 2 s",
        OVERLOADED.first, OVERLOADED.cap
    ));
    client(addr, V311).session(kept()).config(|config| {
        config.recovery.overload = OVERLOADED;
        config.recovery.stable_after = Duration::from_secs(2);
        config.recovery.takeover_wait = Duration::from_secs(2);
    })
}

/// A 3.1.1 broker closes without a word, so it can only be guessed: named as a suspicion, and asked ever more rarely.
#[tokio::test]
async fn row_25_at_3_1_1_the_suspicion_of_a_duel_is_named_and_nothing_stops_on_it() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let (client, mut told) = start(at_311(server.addr()));
    told.opened().await;
    // It comes back at once, so each of our links is short.
    let rival = Rival::start(server.addr(), V311);
    let mut waits = Vec::new();
    while waits.len() < 7 {
        let closed = told.closed().await;
        let Event::Closed { verdict, next_in: Some(wait), .. } = closed else { panic!("{closed:?}") };
        assert_eq!(verdict, Verdict::Overloaded, "never stopped on a guess");
        waits.push(wait);
    }
    assert_windows_grow(&waits, OVERLOADED);
    let named = named(&mut told);
    assert!(named.len() >= 4, "{named:?}");
    assert!(named.iter().all(|words| words.contains("may be another client with the same id")), "{named:?}");
    assert!(rival.connected.load(Ordering::Relaxed) >= waits.len());
    assert!(client.is_connected());
}

/// The other was there first: each time the broker has its session, which is not ours, and ending it does not help.
#[tokio::test]
async fn row_25_at_3_1_1_a_rival_that_was_there_first_is_no_reason_to_storm() {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let rival = Rival::start(server.addr(), V311);
    limited("the rival is there", async {
        while server.with(|broker| broker.connection_of("gauntlet").is_none()) {
            // waits: polls what only the broker can tell, or lets the script take its time
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let (client, mut told) = start(at_311(server.addr()));
    // The session is ended once, and then again at the pace of an overloaded broker.
    let mut waits = Vec::new();
    while waits.len() < 8 {
        let failed = told.wait("failed", |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, next_in: Some(wait), .. } = failed else { panic!("{failed:?}") };
        assert_eq!(cause.name(), "foreign-session");
        waits.push(wait);
    }
    assert_eq!(waits[..2], [Duration::ZERO; 2]);
    assert_windows_grow(&waits[2..], OVERLOADED);
    let named = named(&mut told);
    assert!(named.len() >= 6, "{named:?}");
    assert!(named.iter().all(|words| words.contains("may be another client with the same id")), "{named:?}");
    // It goes away, and the client finds its place.
    drop(rival);
    told.opened().await;
    assert!(client.is_connection_open());
}
