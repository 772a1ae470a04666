//! Figures: each one moves when, and only when, something happened that it counts.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin::metrics::{Family, Kind, MetricsSnapshot, Value, descriptions};
use rejoin::store::MemoryStore;
use rejoin::{Client, NotAccepted, Qos, Queue, ReasonCode, Session, WhenFull};
use rejoin_core::codec::packet::{Ack, Disconnect, Packet};

use crate::links::event;
use crate::peer::{LIMIT, Listener, Peer, limited, message};

#[cfg(feature = "metrics")]
mod facade;
mod frozen;
#[cfg(feature = "otel")]
mod otel;
#[cfg(feature = "prometheus")]
mod prometheus;

/// Counters, and how many durations a histogram has. What depends on the length of packets is left out.
fn counted(snapshot: &MetricsSnapshot) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for Family { description, samples, .. } in snapshot.families() {
        let counts = matches!(description.kind, Kind::Counter | Kind::Histogram);
        if !counts || description.unit == Some("bytes") {
            continue;
        }
        for sample in samples {
            let labels: Vec<String> = sample.labels.iter().map(|(_, value)| value.to_string()).collect();
            let name = description.name.strip_prefix("mqtt_client_").unwrap();
            let count = match sample.value {
                Value::Count(count) => count,
                Value::Histogram(histogram) => histogram.count(),
                other => panic!("{other:?}"),
            };
            all.insert(format!("{name} {}", labels.join(" ")).trim_end().to_owned(), count);
        }
    }
    all
}

/// What moved since then, by how much: `name label label: 2`.
fn moved(client: &Client, before: &MetricsSnapshot) -> Vec<String> {
    let before = counted(before);
    let after = counted(&client.metrics());
    assert!(before.keys().eq(after.keys()), "no value comes or goes");
    let more = after.iter().map(|(name, after)| (name, after - before[name])).filter(|(_, more)| *more > 0);
    more.map(|(name, more)| format!("{name}: {more}")).collect()
}

/// Lets the client work until this is so.
async fn until(so: impl Fn() -> bool) {
    limited(async {
        while !so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The durations that belong to an attempt that succeeds over TCP to an address.
const OPENED: [&str; 3] = [
    "connect_attempts_total opened connack: 1",
    "connect_stage_duration_seconds connack: 1",
    "connect_stage_duration_seconds tcp: 1",
];

async fn open(listener: &Listener) -> (Client, Peer) {
    let client = listener.client().start().unwrap();
    let peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    (client, peer)
}

/// A client that published one message at QoS 1, which was acknowledged.
#[cfg(any(feature = "metrics", feature = "otel", feature = "prometheus"))]
async fn published(listener: &Listener) -> (Client, Peer) {
    let (client, mut peer) = open(listener).await;
    publish_one(&client, &mut peer).await;
    (client, peer)
}

#[cfg(any(feature = "metrics", feature = "otel", feature = "prometheus"))]
async fn publish_one(client: &Client, peer: &mut Peer) {
    let delivery = client.publish("secret/topic", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
}

#[tokio::test]
async fn opening_a_link_counts_one_attempt_and_one_new_session() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let before = client.metrics();
    assert!(counted(&before).values().all(|count| *count == 0), "{before:?}");
    assert_eq!((before.state, before.link_open, before.last_heard), ("waiting", false, None));
    let _peer = listener.open(false).await;
    limited(client.wait_ready(LIMIT)).await.unwrap();
    let mut expected = OPENED.to_vec();
    expected.push("sessions_total new: 1");
    assert_eq!(moved(&client, &before), expected);
    let after = client.metrics();
    assert_eq!((after.state, after.link_open, after.ready, after.suspect), ("open", true, true, false));
    assert!(after.state_changed > before.state_changed);
    assert!(after.last_heard.unwrap() >= before.state_changed);
    assert!(after.sent_bytes > 10 && after.received_bytes >= 4, "{after:?}");
    assert!(after.connect_stage.get("connack").unwrap().sum() < LIMIT);
}

#[tokio::test]
async fn a_publish_moves_what_belongs_to_its_qos() {
    let listener = Listener::bind().await;
    let (client, mut peer) = open(&listener).await;

    let before = client.metrics();
    limited(client.publish("a", "0").into_future()).await.unwrap();
    let qos0 =
        ["publish_accepted_total 0: 1", "publish_acked_total 0: 1", "queue_wait_duration_seconds 0: 1"];
    assert_eq!(moved(&client, &before), qos0);
    peer.publish().await;

    let before = client.metrics();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    let sent = ["publish_accepted_total 1: 1", "queue_wait_duration_seconds 1: 1"];
    assert_eq!(moved(&client, &before), sent, "it is not acknowledged yet");
    assert_eq!(client.metrics().in_flight, 1);
    // waits: so that the acknowledgement takes a time that can be told from nothing.
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(client.metrics().queue_oldest_age.unwrap() >= Duration::from_millis(30));
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    let acked = [
        "publish_accepted_total 1: 1",
        "publish_ack_duration_seconds 1: 1",
        "publish_acked_total 1: 1",
        "queue_wait_duration_seconds 1: 1",
    ];
    assert_eq!(moved(&client, &before), acked);
    let metrics = client.metrics();
    let took = metrics.ack_duration[1].quantile(0.99).unwrap();
    assert!((Duration::from_millis(28)..LIMIT).contains(&took), "{took:?}");
    assert!(metrics.queue_wait[1].sum() < took);
    assert_eq!((metrics.in_flight, metrics.queue_messages, metrics.queue_oldest_age), (0, 0, None));

    let before = client.metrics();
    let delivery = client.publish("a", "2").qos(Qos::ExactlyOnce).enqueue().unwrap();
    let id = peer.publish().await.packet_id.unwrap();
    peer.send(Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS))).await;
    assert!(matches!(peer.next_or_end().await, Some(Packet::PubRel(_))));
    peer.send(Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS))).await;
    limited(delivery).await.unwrap();
    assert_eq!(moved(&client, &before), acked.map(|line| line.replace(" 1: 1", " 2: 1")));
}

#[tokio::test]
async fn what_was_not_delivered_is_counted_by_its_reason() {
    let listener = Listener::bind().await;
    let (client, mut peer) = open(&listener).await;
    let before = client.metrics();
    let refused = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let id = peer.publish().await.packet_id.unwrap();
    peer.send(Packet::PubAck(Ack::new(id, ReasonCode::NOT_AUTHORIZED))).await;
    limited(refused).await.unwrap_err();
    let lines = [
        "publish_accepted_total 1: 1",
        "publish_failed_total refused: 1",
        "queue_wait_duration_seconds 1: 1",
    ];
    assert_eq!(moved(&client, &before), lines, "and no acknowledgement");

    let mut events = client.events();
    let (port, before) = (listener, client.metrics());
    drop(peer);
    event(&mut events, "closed").await;
    limited(client.publish("a", "0").into_future()).await.unwrap_err();
    let cancelled = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    cancelled.cancel();
    limited(cancelled).await.unwrap_err();
    let short = Duration::from_millis(5);
    let expired = client.publish("a", "2").qos(Qos::ExactlyOnce).expires_after(short).enqueue().unwrap();
    limited(expired).await.unwrap_err();
    let failed: Vec<_> =
        moved(&client, &before).into_iter().filter(|line| line.contains("publish")).collect();
    let lines = [
        "publish_accepted_total 0: 1",
        "publish_accepted_total 1: 1",
        "publish_accepted_total 2: 1",
        "publish_failed_total cancelled: 1",
        "publish_failed_total dropped: 1",
        "publish_failed_total expired: 1",
    ];
    assert_eq!(failed, lines);
    let metrics = client.metrics();
    assert_eq!(metrics.accepted.iter().sum::<u64>(), metrics.failed.total(), "nothing is left");
    drop(port);
}

#[tokio::test]
async fn an_outage_is_counted_from_its_cause_to_the_last_message_of_the_backlog() {
    let listener = Listener::bind().await;
    let kept = Session::kept_for(Duration::from_secs(60));
    let client = listener.client().client_id("m").session(kept).start().unwrap();
    let mut peer = listener.open(false).await;
    let mut events = client.events();
    limited(client.wait_ready(LIMIT)).await.unwrap();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    peer.publish().await;
    let before = client.metrics();
    drop(peer);
    event(&mut events, "closed").await;
    // One attempt fails at CONNACK.
    let mut refusing = listener.accept().await;
    refusing.next().await;
    drop(refusing);
    event(&mut events, "attempt-failed").await;
    let mut peer = listener.open(true).await;
    let again = peer.publish().await;
    assert!(again.dup);
    let outage = [
        "connect_attempts_total failed connack: 1",
        "connect_attempts_total opened connack: 1",
        "connect_stage_duration_seconds connack: 1",
        "connect_stage_duration_seconds tcp: 1",
        "disconnects_total peer-closed: 1",
        "outage_duration_seconds: 1",
        "publish_resent_total: 1",
        "sessions_total kept: 1",
    ];
    assert_eq!(moved(&client, &before), outage, "the backlog is not answered for");
    peer.ack(&again).await;
    limited(delivery).await.unwrap();
    event(&mut events, "recovered").await;
    let now = moved(&client, &before);
    for phase in ["connect", "detect", "drain", "refused", "resubscribe", "waited"] {
        assert!(now.contains(&format!("recovery_duration_seconds {phase}: 1")), "{phase} in {now:?}");
    }
    assert_eq!(now.len(), outage.len() + 6 + 2, "those, and the acknowledgement: {now:?}");
    assert!(client.metrics().outage.sum() >= client.metrics().recovery.get("waited").unwrap().sum());
}

#[tokio::test]
async fn an_attempt_that_nobody_answers_fails_at_its_stage() {
    let listener = Listener::bind().await;
    let url = listener.url.clone();
    drop(listener);
    let client = Client::builder(&url).lift_connect_budget().start().unwrap();
    let mut events = client.events();
    let before = client.metrics();
    event(&mut events, "attempt-failed").await;
    assert_eq!(moved(&client, &before), ["connect_attempts_total failed tcp: 1"]);
    assert_eq!(client.metrics().state, "waiting");
}

#[tokio::test]
async fn a_lost_session_and_a_rival_for_the_client_id_are_counted() {
    let listener = Listener::bind().await;
    let kept = Session::kept_for(Duration::from_secs(60));
    let client = listener.client().client_id("m").session(kept).start().unwrap();
    let mut events = client.events();
    let before = client.metrics();
    // The third time in a row is no accident.
    for present in [false, true, true] {
        let mut peer = listener.open(present).await;
        event(&mut events, "opened").await;
        peer.send(Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER))).await;
        event(&mut events, "closed").await;
        drop(client.nudge());
    }
    let _peer = listener.open(false).await;
    event(&mut events, "opened").await;
    let now = moved(&client, &before);
    let lines = [
        "disconnects_total server-disconnect: 3",
        "id_conflicts_total: 1",
        "sessions_total kept: 2",
        "sessions_total lost: 1",
        "sessions_total new: 1",
    ];
    for line in lines {
        assert!(now.contains(&line.to_owned()), "{line} in {now:?}");
    }
}

#[tokio::test]
async fn what_is_received_is_counted_by_qos_and_dup_and_as_lag_until_it_is_read() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::ExactlyOnce).capacity(3).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    limited(client.wait_ready(LIMIT)).await.unwrap();
    let before = client.metrics();
    let mut again = message("a", "1", Qos::AtLeastOnce, 1);
    again.dup = true;
    for publish in [again, message("a", "2", Qos::ExactlyOnce, 2), message("a", "1", Qos::AtLeastOnce, 3)] {
        peer.send(Packet::Publish(publish)).await;
    }
    // The fourth and the fifth are beyond the capacity.
    for _ in 0..2 {
        peer.send(Packet::Publish(message("a", "0", Qos::AtMostOnce, 0))).await;
    }
    until(|| client.metrics().received_total() >= 5).await;
    let lines = [
        "handler_dropped_total: 2",
        "received_messages_total 0 false: 2",
        "received_messages_total 1 false: 1",
        "received_messages_total 1 true: 1",
        "received_messages_total 2 false: 1",
    ];
    assert_eq!(moved(&client, &before), lines);
    for unread in [3, 2, 1] {
        assert_eq!(client.metrics().handler_lag, unread);
        limited(stream.next()).await.unwrap();
    }
    assert_eq!(client.metrics().handler_lag, 0);
    // A copy of the QoS 2 message is no message.
    let before = client.metrics();
    let mut copy = message("a", "2", Qos::ExactlyOnce, 2);
    copy.dup = true;
    peer.send(Packet::Publish(copy)).await;
    until(|| client.stats().engine.duplicates_suppressed >= 1).await;
    assert_eq!(moved(&client, &before), [""; 0]);
    drop(stream);
}

#[tokio::test]
async fn a_ping_that_is_answered_is_a_round_trip() {
    let listener = Listener::bind().await;
    let client = listener.client().ping_after(Duration::from_millis(50)).start().unwrap();
    let mut peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let before = client.metrics();
    assert!(matches!(peer.next().await, Packet::PingReq));
    // waits: this is the round trip.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(moved(&client, &before), [""; 0]);
    peer.send(Packet::PingResp).await;
    until(|| client.metrics().ping_round_trip.count() >= 1).await;
    assert_eq!(moved(&client, &before), ["ping_round_trip_seconds: 1"]);
    let took = client.metrics().ping_round_trip.sum();
    assert!((Duration::from_millis(20)..LIMIT).contains(&took), "{took:?}");
}

#[tokio::test]
async fn the_queue_shows_how_full_it_is_and_what_it_gave_back() {
    let listener = Listener::bind().await;
    let queue = Queue::in_memory().max_bytes(10_000).max_messages(2);
    let client = listener.client().queue(queue).start().unwrap();
    let metrics = client.metrics();
    assert_eq!((metrics.queue_limit_bytes, metrics.queue_limit_messages), (10_000, Some(2)));
    assert_eq!((metrics.queue_messages, metrics.queue_bytes, metrics.queue_full), (0, 0, false));
    let before = metrics;
    let publish = || client.publish("topic", "payload").qos(Qos::AtLeastOnce).enqueue();
    let held = [publish().unwrap(), publish().unwrap()];
    let metrics = client.metrics();
    assert_eq!((metrics.queue_messages, metrics.queue_bytes, metrics.queue_full), (2, 2 * (128 + 12), true));
    let refused = publish().unwrap_err();
    assert!(matches!(refused.reason(), NotAccepted::QueueFull { .. }), "{refused}");
    let lines = ["publish_accepted_total 1: 2", "publish_not_accepted_total: 1"];
    assert_eq!(moved(&client, &before), lines);
    drop(held);
    limited(client.shutdown().within(Duration::ZERO).into_future()).await;
    let late = client.publish("topic", "payload").enqueue_when_room().await.unwrap_err();
    assert_eq!(late.reason(), &NotAccepted::Stopped);
    assert_eq!(client.metrics().not_accepted, 2, "whoever waits for room gets it back, too");
}

#[tokio::test]
async fn what_a_full_queue_gives_up_at_once_was_accepted_and_failed() {
    let listener = Listener::bind().await;
    let queue = Queue::in_memory().max_messages(1).when_full(WhenFull::DropNewest);
    let client = listener.client().queue(queue).start().unwrap();
    let before = client.metrics();
    let publish = || client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let held = [publish(), publish()];
    let lines = ["publish_accepted_total 1: 2", "publish_failed_total evicted: 1"];
    assert_eq!(moved(&client, &before), lines);
    drop(held);
}

#[tokio::test]
async fn a_commit_of_the_queue_is_timed() {
    let listener = Listener::bind().await;
    let queue = Queue::in_store(MemoryStore::default());
    let client = listener.client().queue(queue).start().unwrap();
    let before = client.metrics();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    limited(delivery.stored()).await.unwrap();
    let lines = moved(&client, &before);
    // One for the message, and perhaps one before it for the session.
    assert!(lines[1].starts_with("queue_sync_duration_seconds: "), "{lines:?}");
    assert_eq!((lines.len(), &*lines[0]), (2, "publish_accepted_total 1: 1"));
}

#[tokio::test]
async fn an_orderly_end_is_one_link_that_ended() {
    let listener = Listener::bind().await;
    let (client, _peer) = open(&listener).await;
    let (reader, before) = (client.metrics_reader(), client.metrics());
    let report = limited(client.shutdown().within(LIMIT / 10).into_future()).await;
    assert_eq!(report.lost, 0);
    assert_eq!(moved(&client, &before), ["disconnects_total shutdown: 1"]);
    assert_eq!((client.metrics().state, client.metrics().link_open), ("stopped", false));
    assert!(reader.snapshot().is_some());
    drop(client);
    assert!(reader.snapshot().is_none(), "who reads does not keep it");
}

#[tokio::test]
async fn messages_left_at_the_end_are_counted_once() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    limited(client.shutdown().within(Duration::from_millis(10)).into_future()).await;
    limited(delivery).await.unwrap_err();
    let metrics = client.metrics();
    assert_eq!(
        (metrics.accepted[1], metrics.failed.get("stopped"), metrics.failed.total()),
        (1, Some(&1), 1)
    );
}

#[tokio::test]
async fn health_is_a_figure_once_somebody_watches_it() {
    let listener = Listener::bind().await;
    let (client, _peer) = open(&listener).await;
    assert_eq!(client.metrics().health, None);
    let _watch = client.health_watch();
    assert_eq!(client.metrics().health, Some(0));
}

/// Latency counts from the moment at which a message is handed over, also while the driver is kept from working.
#[tokio::test]
async fn time_before_the_driver_looks_is_part_of_the_latency() {
    let listener = Listener::bind().await;
    let (client, mut peer) = open(&listener).await;
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    // waits: the only thread of the runtime is blocked, as by an application that computes.
    std::thread::sleep(Duration::from_millis(60));
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    let receipt = limited(delivery).await.unwrap();
    assert!(receipt.queued_for >= Duration::from_millis(60), "{receipt:?}");
    let waited = client.metrics().queue_wait[1].quantile(1.0).unwrap();
    assert!(waited >= Duration::from_millis(56), "{waited:?}");
}
