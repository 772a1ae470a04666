//! Credentials that end while messages are under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rejoin::{
    AuthStep, Authentication, Client, Credentials, Event, Events, LossCause, Qos, ReasonCode, Secret,
};
use rejoin_core::codec::packet::{Auth, ConnAck, ConnAckProperties, Packet};
use rejoin_core::{Budget, LocalCause, Text};

use crate::links::event;
use crate::peer::{Listener, Peer, connack, limited};

/// A life of five seconds and the budget of real brokers, both scaled to a fifth.
const LIFE: Duration = Duration::from_secs(1);
const BUDGET: Budget =
    Budget { spacing: Duration::from_millis(200), per_period: 12, period: Duration::from_secs(12) };

/// What a broker saw.
#[derive(Default)]
struct Seen {
    /// Payloads, and how often each came.
    messages: BTreeMap<String, usize>,
    links: usize,
    refused: usize,
    /// Links that had to be closed because their token ended.
    expired: usize,
    /// Links that said DISCONNECT 0x00.
    orderly: usize,
}

/// A broker that keeps its one session and ends a link with the token it was opened with. A token is the moment of its
/// end, in microseconds after `start`.
async fn broker(listener: Listener, start: Instant, until: Instant) -> Seen {
    let mut seen = Seen::default();
    while let Ok(mut peer) = tokio::time::timeout_at(until.into(), listener.accept()).await {
        let Packet::Connect(connect) = peer.next().await else { panic!("not CONNECT") };
        let token = String::from_utf8(connect.password.unwrap().to_vec()).unwrap();
        let end = start + Duration::from_micros(token.parse().unwrap());
        if end <= Instant::now() {
            seen.refused += 1;
            peer.send(connack(false, ReasonCode::BAD_USER_NAME_OR_PASSWORD)).await;
            continue;
        }
        peer.send(connack(seen.links > 0, ReasonCode::SUCCESS)).await;
        seen.links += 1;
        serve(&mut peer, end.min(until), &mut seen).await;
    }
    seen
}

async fn serve(peer: &mut Peer, end: Instant, seen: &mut Seen) {
    loop {
        match tokio::time::timeout_at(end.into(), peer.next_or_end()).await {
            Err(_) => {
                seen.expired += 1;
                return;
            }
            Ok(Some(Packet::Publish(publish))) => {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                *seen.messages.entry(payload).or_default() += 1;
                peer.ack(&publish).await;
            }
            Ok(Some(Packet::Disconnect(goodbye))) => {
                assert_eq!(goodbye.reason, ReasonCode::SUCCESS);
                seen.orderly += 1;
                return;
            }
            Ok(None) => return,
            Ok(Some(other)) => panic!("unexpected: {other:?}"),
        }
    }
}

/// How long the link was open, and why it ended each time.
async fn watch(events: &mut Events, until: Instant) -> (Duration, Vec<&'static str>) {
    let (mut open, mut since, mut causes) = (Duration::ZERO, None, Vec::new());
    let so_far = |since: Option<Instant>| since.map_or(Duration::ZERO, |at| at.elapsed());
    while let Ok(Some(event)) = tokio::time::timeout_at(until.into(), events.next()).await {
        match event {
            Event::Opened { .. } => since = Some(Instant::now()),
            Event::Closed { cause, .. } => {
                open += so_far(since.take());
                causes.push(cause.name());
            }
            _ => {}
        }
    }
    (open + so_far(since), causes)
}

/// Publishes all the time and gives the number of messages, each of which was acknowledged.
async fn publish(client: Client, until: Instant) -> usize {
    let mut deliveries = Vec::new();
    while Instant::now() < until {
        let payload = deliveries.len().to_string();
        deliveries.push(client.publish("t", payload).qos(Qos::AtLeastOnce).enqueue().unwrap());
        // waits: a rate of messages, so that some are under way at each change-over
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let handed_over = deliveries.len();
    for delivery in deliveries {
        limited(delivery).await.unwrap();
    }
    handed_over
}

#[tokio::test]
async fn a_token_that_ends_again_and_again_costs_neither_the_link_nor_a_message() {
    let listener = Listener::bind().await;
    let (start, wall) = (Instant::now(), SystemTime::now());
    let until = start + LIFE * 8;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let client = listener
        .client()
        .client_id("gw-17")
        .config(|config| config.recovery.budget = Some(BUDGET))
        .login_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                // waits: a provider is somewhere in the network
                tokio::time::sleep(Duration::from_millis(5)).await;
                let end = start.elapsed() + LIFE;
                Ok(Credentials::token(end.as_micros().to_string()).expires_at(wall + end))
            }
        })
        .start()
        .unwrap();
    let mut events = client.events();
    let watcher = tokio::spawn(async move { watch(&mut events, until - LIFE / 2).await });
    let publisher = tokio::spawn(publish(client.clone(), until - LIFE));
    let seen = broker(listener, start, until).await;
    let (handed_over, (open, causes)) = (publisher.await.unwrap(), watcher.await.unwrap());
    let share = open.as_secs_f64() / (until - LIFE / 2 - start).as_secs_f64() * 100.0;
    let twice = seen.messages.values().filter(|times| **times > 1).count();
    let told = format!(
        "{share:.1} % of the time open, {} links ({} ended in order, {} expired), {} refused, asked {} times; {handed_over} \
         messages, {twice} of them twice; {causes:?}",
        seen.links,
        seen.orderly,
        seen.expired,
        seen.refused,
        asked.load(Ordering::Relaxed)
    );
    assert!(share > 90.0, "{told}");
    assert_eq!(seen.messages.len(), handed_over, "nothing lost: {told}");
    assert!(seen.links >= 7, "{told}");
    assert!(causes.contains(&"renewal") && !causes.contains(&"reset"), "{told}");
    assert_eq!(seen.refused, 0, "{told}");
}

#[tokio::test]
async fn a_provider_that_is_down_for_a_while_costs_no_link() {
    let listener = Listener::bind().await;
    let down = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let (is_down, count) = (Arc::clone(&down), Arc::clone(&asked));
    let client = listener
        .client()
        .login_with(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let fails = is_down.load(Ordering::Relaxed);
            async move {
                if fails {
                    return Err("the vault is sealed".into());
                }
                let end = SystemTime::now() + Duration::from_secs(2);
                Ok(Credentials::token(format!("token {number}")).expires_at(end))
            }
        })
        .start()
        .unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    event(&mut events, "opened").await;
    down.store(true, Ordering::Relaxed);
    while asked.load(Ordering::Relaxed) < 3 {
        // waits: for the margin of the token, and the pause after the first failure
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(client.is_connection_open());
    down.store(false, Ordering::Relaxed);
    let Event::Closed { cause, .. } = event(&mut events, "closed").await else { unreachable!() };
    assert_eq!(cause, LossCause::Local(LocalCause::Renewal));
    assert!(matches!(peer.next_or_end().await, Some(Packet::Disconnect(_))));
    drop(peer);
    let mut peer = listener.accept().await;
    let Packet::Connect(connect) = peer.next().await else { panic!("not CONNECT") };
    assert_eq!(connect.password.as_deref(), Some(&b"token 3"[..]), "asked for ahead, and used");
}

#[tokio::test]
async fn the_next_link_waits_for_the_end_of_the_one_it_takes_over_from() {
    let listener = Listener::bind().await;
    let client = listener
        .client()
        .login_with(|| async {
            Ok(Credentials::token("t").expires_at(SystemTime::now() + Duration::from_millis(500)))
        })
        .start()
        .unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    event(&mut events, "closed").await;
    assert!(matches!(peer.next_or_end().await, Some(Packet::Disconnect(_))));
    // A broker that is slow to read DISCONNECT would take a CONNECT beside it for a take-over, and send the will.
    let beside = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
    assert!(beside.is_err(), "two links at once");
    drop(peer);
    listener.open(true).await;
}

#[tokio::test]
async fn the_login_is_renewed_on_the_link_though_the_method_gave_something_that_lasts_longer() {
    let listener = Listener::bind().await;
    let authentication =
        Authentication::new("JWT", |_| async { Ok(None) }).good_for(Duration::from_secs(3600));
    let client = listener
        .client()
        .authentication(authentication)
        .login_with(|| async {
            Ok(Credentials::new("me", "t").expires_at(SystemTime::now() + Duration::from_millis(400)))
        })
        .start()
        .unwrap();
    let mut peer = listener.accept().await;
    assert!(matches!(peer.next().await, Packet::Connect(_)));
    let method = Some(Text::from_static("JWT"));
    let properties = ConnAckProperties { authentication_method: method.clone(), ..Default::default() };
    let reason = ReasonCode::SUCCESS;
    let welcome = ConnAck { session_present: false, reason, v311_form: false, properties };
    peer.send(Packet::ConnAck(Box::new(welcome))).await;
    for _ in 0..3 {
        assert!(matches!(peer.next_or_end().await, Some(Packet::Auth(_))));
        peer.send(Packet::Auth(Auth { reason, method: method.clone(), data: None, properties: None })).await;
    }
    assert_eq!(client.stats().engine.losses, 0);
}

#[tokio::test]
async fn with_a_method_the_link_stays_and_proves_itself_anew() {
    let listener = Listener::bind().await;
    let authentication = Authentication::new("JWT", |step| async move {
        Ok(match step {
            AuthStep::Begin { again } => Some(Secret::from(if again { "again" } else { "first" })),
            _ => None,
        })
    });
    let client = listener
        .client()
        .authentication(authentication.good_for(Duration::from_millis(300)))
        .start()
        .unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    assert!(matches!(peer.next().await, Packet::Connect(_)));
    let method = Some(Text::from_static("JWT"));
    let properties = ConnAckProperties { authentication_method: method.clone(), ..Default::default() };
    let reason = ReasonCode::SUCCESS;
    peer.send(Packet::ConnAck(Box::new(ConnAck {
        session_present: false,
        reason,
        v311_form: false,
        properties,
    })))
    .await;
    for _ in 0..3 {
        match peer.next_or_end().await {
            Some(Packet::Auth(auth)) => {
                assert_eq!(auth.reason, ReasonCode::REAUTHENTICATE);
                assert_eq!(auth.data.as_deref(), Some(&b"again"[..]));
            }
            other => panic!("not AUTH: {other:?}"),
        }
        peer.send(Packet::Auth(Auth { reason, method: method.clone(), data: None, properties: None })).await;
        event(&mut events, "authenticated").await;
    }
    assert_eq!(client.stats().engine.losses, 0);
}
