//! Every handle ends, and with the truth.

use std::task::Poll;
use std::time::{Duration, Instant};

use rejoin::health::{Ready, readyz};
use rejoin::{
    EnqueueError, Error, Link, NotAccepted, Outlook, PublishError, Qos, Stage, State, StopReason, WaitError,
};
use rejoin_core::codec::packet::Packet;

use crate::peer::{LIMIT, Listener, limited};

#[tokio::test]
async fn the_report_tells_what_was_delivered_and_what_is_lost() {
    let listener = Listener::bind().await;
    let client = listener.client().max_in_flight(2).start().unwrap();
    let mut peer = listener.open(false).await;
    let deliveries: Vec<_> = ["1", "2", "3", "4"]
        .into_iter()
        .map(|payload| client.publish("a", payload).qos(Qos::AtLeastOnce).enqueue().unwrap())
        .collect();
    let first = peer.publish().await;
    let mut shutdown = client.shutdown().within(Duration::from_millis(300)).into_future();
    let mut states = client.state_watch();
    // Begun before the first answer, so that the answer counts as part of it.
    let begun = std::future::poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx).is_pending())).await;
    assert!(begun, "it waits for the messages");
    let late = client.publish("a", "5").qos(Qos::AtLeastOnce).enqueue();
    assert!(matches!(late.as_ref().map_err(EnqueueError::reason), Err(NotAccepted::Stopped)), "{late:?}");
    let shutdown = tokio::spawn(shutdown);
    peer.ack(&first).await;
    let mut disconnected = false;
    while let Some(packet) = peer.next_or_end().await {
        disconnected |= matches!(packet, Packet::Disconnect(_));
    }
    drop(peer);
    let report = limited(shutdown).await.unwrap();
    assert!(disconnected);
    assert_eq!((report.delivered, report.lost, report.still_queued), (1, 3, 0));
    // Two were written: the window was two wide and the first was answered.
    assert_eq!(report.maybe_delivered, 2);
    assert!(report.clean);
    let error = report.into_result().unwrap_err();
    assert!(matches!(error, Error::Shutdown(_)));
    assert!(error.to_string().starts_with("3 accepted messages were not acknowledged"), "{error}");
    let mut ends = Vec::new();
    for delivery in deliveries {
        ends.push(match limited(delivery).await {
            Ok(_) => "delivered",
            Err(PublishError::Stopped { maybe_delivered: true }) => "perhaps",
            Err(PublishError::Stopped { maybe_delivered: false }) => "never sent",
            Err(other) => panic!("{other:?}"),
        });
    }
    assert_eq!(ends, ["delivered", "perhaps", "perhaps", "never sent"]);
    limited(states.wait_for(|state| !state.is_connected())).await.unwrap();
    assert_eq!(limited(client.shutdown().into_future()).await, report, "asking again gives the same report");
}

#[tokio::test]
async fn while_a_shutdown_drains_nothing_more_is_said_to_be_delivered() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let last = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    let mut states = client.state_watch();
    let before = states.state();
    assert!(before.outlook().will_deliver() && !before.closing);
    let shutdown = tokio::spawn(client.shutdown().into_future());
    let closing = limited(states.wait_for(|state| state.closing)).await.unwrap();
    let never = Outlook::Never { why: StopReason::Shutdown };
    assert_eq!(closing.outlook(), never);
    assert!(closing.revision > before.revision && closing.is_connection_open(), "{closing:?}");
    assert!(client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().is_err());
    assert_eq!(client.outlook(), never);
    let answer = readyz(&client, Ready::WillDeliver, false);
    assert_eq!(answer.status, 503, "{}", answer.body);
    peer.ack(&publish).await;
    limited(last).await.unwrap();
    drop(peer);
    assert_eq!(limited(shutdown).await.unwrap().delivered, 1);
}

#[tokio::test]
async fn the_report_of_a_client_that_stopped_by_itself_tells_what_is_lost() {
    let listener = Listener::bind().await;
    let client = listener.client().never_reconnect().max_in_flight(2).start().unwrap();
    let mut peer = listener.open(false).await;
    let deliveries: Vec<_> = ["1", "2", "3"]
        .into_iter()
        .map(|payload| client.publish("a", payload).qos(Qos::AtLeastOnce).enqueue().unwrap())
        .collect();
    for _ in 0..2 {
        peer.publish().await;
    }
    peer.reset();
    for delivery in deliveries {
        let ended = limited(delivery).await;
        assert!(matches!(ended, Err(PublishError::Stopped { .. })), "{ended:?}");
    }
    let report = limited(client.shutdown().into_future()).await;
    assert_eq!((report.delivered, report.lost, report.maybe_delivered), (0, 3, 2));
    assert!(matches!(report.into_result(), Err(Error::Shutdown(_))));
}

/// Between the end of the client and that of its connection, which the broker keeps open for a moment.
#[tokio::test]
async fn what_a_client_accepted_after_it_stopped_by_itself_is_in_its_report() {
    let listener = Listener::bind().await;
    let client = listener.client().never_reconnect().start().unwrap();
    let mut peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    // Only a client sends that: it says so and goes.
    peer.send(Packet::PingReq).await;
    assert!(matches!(peer.next_or_end().await, Some(Packet::Disconnect(_))));
    let why = limited(client.wait_ready(LIMIT)).await.unwrap_err();
    assert!(matches!(why, WaitError::Stopped(StopReason::NoReconnect(_))), "{why:?}");
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let ended = limited(delivery).await;
    assert!(matches!(ended, Err(PublishError::Stopped { maybe_delivered: false })), "{ended:?}");
    drop(peer);
    let report = limited(client.shutdown().into_future()).await;
    assert_eq!((report.lost, report.maybe_delivered), (1, 0));
}

#[tokio::test]
async fn who_waits_for_a_change_of_a_stopped_client_does_not_wait_for_ever() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    limited(client.shutdown().within(Duration::ZERO).into_future()).await;
    assert!(!limited(client.changed()).await.is_connected());
}

#[tokio::test]
async fn disconnect_is_always_written_when_the_socket_takes_it() {
    let listener = Listener::bind().await;
    for _ in 0..50 {
        let client = listener.client().start().unwrap();
        let mut peer = listener.open(false).await;
        limited(client.wait_open(LIMIT)).await.unwrap();
        let _last = client.publish("a", "x").queue_qos0().enqueue().unwrap();
        let shutdown = tokio::spawn(client.shutdown().within(Duration::ZERO).into_future());
        let mut seen = Vec::new();
        while let Some(packet) = peer.next_or_end().await {
            seen.push(packet.name());
        }
        drop(peer);
        limited(shutdown).await.unwrap();
        assert_eq!(seen.last(), Some(&"DISCONNECT"), "{seen:?}");
    }
}

#[test]
fn dropping_the_runtime_ends_every_handle() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (client, sent, queued, mut events, mut stream) = runtime.block_on(async {
        let listener = Listener::bind().await;
        let client = listener.client().max_in_flight(1).start().unwrap();
        let events = client.events().with_deliveries();
        let stream = client.subscribe("a", Qos::AtMostOnce).declare().unwrap();
        let mut peer = listener.open(false).await;
        peer.grant().await;
        let sent = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
        let queued = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
        peer.publish().await;
        limited(sent.sent()).await.unwrap();
        (client, sent, queued, events, stream)
    });
    runtime.shutdown_timeout(LIMIT);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        assert!(matches!(limited(sent).await, Err(PublishError::Stopped { maybe_delivered: true })));
        assert!(matches!(limited(queued).await, Err(PublishError::Stopped { maybe_delivered: false })));
        assert!(!client.is_connected() && !client.is_connection_open());
        assert!(limited(stream.next()).await.is_none());
        let mut told = Vec::new();
        while let Some(event) = limited(events.next()).await {
            told.push(event.name());
        }
        assert!(told.ends_with(&["failed", "failed", "stopped"]), "one for each message: {told:?}");
        let refused = client.publish("a", "3").enqueue().unwrap_err();
        assert_eq!(refused.reason(), &NotAccepted::Stopped);
        let waited = client.wait_open(LIMIT).await.unwrap_err();
        assert_eq!(waited, WaitError::Stopped(StopReason::Shutdown));
        let report = limited(client.shutdown().into_future()).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (2, 1, false));
        limited(client.flush(LIMIT)).await.unwrap();
        let figures = client.metrics();
        assert_eq!((client.pending_count(), figures.queue_messages, figures.in_flight), (0, 0, 0));
        assert_eq!((figures.queue_bytes, figures.queue_oldest_age), (0, None));
    });
}

/// The system looks names up on the threads for what blocks, and the only one there is here is taken: nobody answers.
#[test]
fn a_client_whose_name_is_not_answered_ends_in_time_all_the_same() {
    const WITHIN: Duration = Duration::from_millis(300);
    for dropped in [false, true] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || held.recv());
            let client = rejoin::Client::builder("mqtt://broker.invalid").start().unwrap();
            let asks = |state: &State| matches!(state.link, Link::Connecting { stage: Stage::Dns, .. });
            limited(client.state_watch().wait_for(asks)).await.unwrap();
            let mut events = client.events().with_deliveries();
            let deliveries = ["1", "2"].map(|payload| {
                client.publish("a", payload).qos(Qos::AtLeastOnce).enqueue().expect("there is room")
            });
            let begun = Instant::now();
            if dropped {
                drop(client);
            } else {
                let report = limited(client.shutdown().within(WITHIN).into_future()).await;
                assert!(begun.elapsed() >= WITHIN, "took {:?}", begun.elapsed());
                assert_eq!((report.lost, report.maybe_delivered, report.clean), (2, 0, false));
            }
            for delivery in deliveries {
                let ended = limited(delivery).await;
                assert!(matches!(ended, Err(PublishError::Stopped { maybe_delivered: false })), "{ended:?}");
            }
            let mut told = Vec::new();
            while let Some(event) = limited(events.next()).await {
                told.push(event.name());
            }
            assert!(told.ends_with(&["failed", "failed", "stopped"]), "one for each message: {told:?}");
            // All that is left of it is the look-up, which cannot be withdrawn.
            while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 1 {
                tokio::task::yield_now().await;
                assert!(begun.elapsed() < LIMIT, "the attempt goes on");
            }
            // The limit of a look-up is 5 s, and that of a client whose last handle was dropped 2 s.
            assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
        });
        drop(let_go);
    }
}

#[tokio::test]
async fn dropping_the_last_handle_says_goodbye() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let second = client.clone();
    let mut peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    drop(client);
    let delivery = second.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    drop(second);
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    assert!(matches!(peer.next_or_end().await, Some(Packet::Disconnect(_))));
}

#[tokio::test]
async fn what_was_declared_on_a_client_never_started_ends() {
    let prepared = rejoin::Client::builder("mqtt://localhost").prepare().unwrap();
    let delivery = prepared.client().publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let mut stream = prepared.client().subscribe("a", Qos::AtMostOnce).declare().unwrap();
    drop(prepared);
    assert!(matches!(limited(delivery).await, Err(PublishError::Stopped { maybe_delivered: false })));
    assert!(limited(stream.next()).await.is_none());
}

#[tokio::test]
async fn a_url_that_does_not_parse_never_starts() {
    for (url, expected) in [
        ("http://broker", "unknown scheme `http`"),
        ("mqtt://broker/path", "a path has no meaning at a broker"),
        ("broker", "no scheme"),
        ("mqtt://broker?user=x", "unknown key `user`"),
    ] {
        let error = rejoin::Client::builder(url).start().unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[test]
fn outside_a_runtime_the_error_says_so() {
    let error = rejoin::Client::builder("mqtt://localhost").start().unwrap_err();
    assert!(error.to_string().contains("no tokio runtime here"), "{error}");
}

/// Programs move handles between threads and hold them in shared state.
#[test]
fn public_types_are_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<rejoin::Client>();
    check::<rejoin::Delivery>();
    check::<rejoin::Subscription>();
    check::<rejoin::Events>();
    check::<rejoin::Message>();
    check::<State>();
    check::<Error>();
    check::<rejoin::PublishBuilder>();
}
