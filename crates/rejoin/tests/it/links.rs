//! Links that stand still, ports that play dead, and waits that can be cut short.

use std::time::{Duration, Instant};

use rejoin::{Client, Event, Events, LossCause, Qos, ReasonCode, Session, VersionPolicy};
use rejoin_core::codec::packet::Packet;

use crate::peer::{LIMIT, Listener, connack, limited, message};

pub(crate) async fn event(events: &mut Events, wanted: &str) -> Event {
    loop {
        let event = limited(events.next()).await.expect("the client runs");
        if event.name() == wanted {
            return event;
        }
    }
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_noticed_under_a_large_write() {
    let listener = Listener::bind().await;
    let client = listener.client().write_timeout(Duration::from_millis(300)).start().unwrap();
    let mut events = client.events();
    // Never read again, but held open.
    let stalled = listener.open(false).await;
    event(&mut events, "opened").await;
    let delivery = client.publish("big", vec![0; 32 << 20]).qos(Qos::AtLeastOnce).enqueue().unwrap();
    let began = Instant::now();
    let closed = event(&mut events, "closed").await;
    assert!(matches!(&closed, Event::Closed { cause: LossCause::WriteStall(_), .. }), "{closed:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "noticed after {:?}", began.elapsed());
    assert!(delivery.outcome().is_none());
    let mut peer = listener.open_wide(true).await;
    let publish = peer.publish().await;
    assert_eq!(publish.payload.len(), 32 << 20);
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    drop(stalled);
}

#[tokio::test]
async fn a_shutdown_is_never_stuck_behind_a_write() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let stalled = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let delivery = client.publish("big", vec![0; 32 << 20]).qos(Qos::AtLeastOnce).enqueue().unwrap();
    let began = Instant::now();
    let report = limited(client.shutdown().within(Duration::from_millis(100)).into_future()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    assert_eq!((report.lost, report.maybe_delivered, report.clean), (1, 1, false));
    assert!(limited(delivery).await.unwrap_err().maybe_delivered());
    drop(stalled);
}

/// A client that waits for minutes after a failure.
fn patient(listener: &Listener) -> Client {
    let builder = Client::builder(&listener.url).lift_connect_budget();
    builder.backoff(LIMIT * 9, LIMIT * 9).overload_backoff(LIMIT * 9, LIMIT * 9).start().unwrap()
}

#[tokio::test]
async fn a_shutdown_during_a_long_wait_returns_at_once() {
    let listener = Listener::bind().await;
    let client = patient(&listener);
    let mut events = client.events();
    drop(listener.accept().await);
    event(&mut events, "attempt-failed").await;
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let began = Instant::now();
    let report = limited(client.shutdown().within(Duration::from_millis(200)).into_future()).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!((report.lost, report.maybe_delivered), (1, 0));
    assert!(!limited(delivery).await.unwrap_err().maybe_delivered());
}

#[tokio::test]
async fn a_nudge_ends_the_wait() {
    let listener = Listener::bind().await;
    let client = patient(&listener);
    let mut events = client.events();
    drop(listener.accept().await);
    let Event::AttemptFailed { next_in, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert!(next_in.unwrap() > LIMIT, "{next_in:?}");
    let due = limited(client.nudge()).await;
    assert!(due.is_none_or(|due| due < Instant::now() + Duration::from_secs(2)));
    let _peer = listener.open(false).await;
    event(&mut events, "opened").await;
}

#[tokio::test]
async fn a_dead_address_does_not_hide_the_living_one_behind_it() {
    let listener = Listener::bind().await;
    let url = listener.url.replace("127.0.0.1", "localhost");
    let client = Client::builder(&url).start().unwrap();
    let _peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    assert_eq!(client.state().server_name.as_str(), url.strip_prefix("mqtt://").unwrap());
}

#[tokio::test]
async fn a_refusal_just_before_the_cut_is_the_reason_told() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut events = client.events();
    for _ in 0..20 {
        let mut peer = listener.accept().await;
        peer.next().await;
        peer.send(connack(false, ReasonCode::SERVER_BUSY)).await;
        peer.reset();
        let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
            unreachable!()
        };
        assert_eq!(cause.reason_code(), Some(ReasonCode::SERVER_BUSY), "{cause}");
        drop(client.nudge());
    }
}

#[tokio::test]
async fn kept_messages_find_a_subscription_declared_before_the_start() {
    let listener = Listener::bind().await;
    let kept = Session::kept_for(Duration::from_secs(60));
    let prepared = listener.client().client_id("k").session(kept).adopt_session().prepare().unwrap();
    let mut stream = prepared.client().subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let client = prepared.start();
    let mut peer = listener.accept().await;
    peer.next().await;
    peer.send(connack(true, ReasonCode::SUCCESS)).await;
    peer.send(Packet::Publish(message("a", "kept", Qos::AtLeastOnce, 1))).await;
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "kept");
    assert_eq!(client.stats().unrouted, 0);
}

/// 3.1.1 has no receive maximum: a slow application holds reading up, and nothing is lost or dropped.
#[tokio::test]
async fn at_311_a_slow_reader_slows_the_broker() {
    let listener = Listener::bind_311().await;
    let client = listener.client().version(VersionPolicy::Only311).receive_maximum(4).start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    let sender = tokio::spawn(async move {
        for id in 1..=200 {
            let mut publish = message("a", "", Qos::AtLeastOnce, id);
            publish.payload = vec![b'x'; 4096].into();
            peer.send(Packet::Publish(publish)).await;
        }
        peer
    });
    while client.stats().engine.received < 4 {
        tokio::task::yield_now().await;
    }
    // waits: to see that reading stopped there is nothing to wait for but time.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(client.stats().engine.received < 100, "{:?}", client.stats());
    for _ in 0..200 {
        assert_eq!(limited(stream.next()).await.unwrap().payload.len(), 4096);
    }
    drop(stream);
    let mut peer = limited(sender).await.unwrap();
    for id in 1..=200 {
        assert_eq!(peer.puback_beside_unsubscribe().await.packet_id.get(), id);
    }
}

/// While reading waits for a slow application, a dead link is noticed by writing.
#[tokio::test]
async fn a_paused_reader_does_not_hide_a_dead_link() {
    let listener = Listener::bind_311().await;
    let client = listener.client().version(VersionPolicy::Only311).receive_maximum(1).start().unwrap();
    let mut events = client.events();
    let stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, 1))).await;
    while client.stats().engine.received < 1 {
        tokio::task::yield_now().await;
    }
    peer.reset();
    let _delivery = client.publish("b", "x").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let closed = event(&mut events, "closed").await;
    let Event::Closed { cause, .. } = &closed else { unreachable!() };
    assert!(!matches!(cause, LossCause::WriteStall(_)), "by the system's error, not by a time-out: {cause}");
    drop(stream);
}
