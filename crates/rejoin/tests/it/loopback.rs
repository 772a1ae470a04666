//! The message to ourselves: in nobody's way, no news, and no reason to cut a link that works.

use std::time::{Duration, Instant};

use rejoin::health::{HealthStatus, HealthWatch};
use rejoin::{Client, Event, LossCause, Qos, Queue, ReasonCode};
use rejoin_core::codec::packet::{Packet, SubAck};

use crate::links::event;
use crate::peer::{LIMIT, Listener, Peer, limited};

const OWN: &str = "rejoin/loopback/own";

fn watch() -> HealthWatch {
    HealthWatch::only_loopback(Duration::from_millis(20), Duration::from_millis(300))
}

fn detail(client: &Client, check: &str) -> (HealthStatus, String) {
    let health = client.health();
    let check = health.check(check).expect("the check exists");
    (check.status, check.detail.clone())
}

/// Reads SUBSCRIBE, and refuses this filter.
async fn answer(peer: &mut Peer, refused: &str) {
    let Some(Packet::Subscribe(subscribe)) = peer.next_or_end().await else { panic!("no SUBSCRIBE") };
    let reason = |filter: &str, qos: Qos| match filter == refused {
        true => ReasonCode::NOT_AUTHORIZED,
        false => ReasonCode(qos as u8),
    };
    let reasons = subscribe.filters.iter().map(|(filter, o)| reason(filter.as_str(), o.qos)).collect();
    peer.send(Packet::SubAck(SubAck { packet_id: subscribe.packet_id, properties: None, reasons })).await;
}

/// Gives back what is published on our own topic, until something else comes.
async fn echo(peer: &mut Peer) -> Packet {
    loop {
        match peer.next_or_end().await {
            Some(Packet::Publish(publish)) if publish.topic.as_str() == OWN => {
                peer.send(Packet::Publish(publish)).await;
            }
            other => return other.expect("the client closed"),
        }
    }
}

#[tokio::test]
async fn a_refused_loopback_topic_is_told_and_the_client_is_ready() {
    let listener = Listener::bind().await;
    let client = listener.client().client_id("own").health_watch(watch()).start().unwrap();
    let _stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    for _ in 0..2 {
        answer(&mut peer, OWN).await;
    }
    limited(client.wait_ready(LIMIT)).await.unwrap();
    let began = Instant::now();
    loop {
        let (status, detail) = detail(&client, "latency");
        if status == HealthStatus::Degraded {
            assert!(detail.contains("no loopback message is sent") && detail.contains(OWN), "{detail}");
            break;
        }
        assert!(began.elapsed() < LIMIT, "{detail}");
        tokio::time::sleep(Duration::from_millis(5)).await; // waits: noted after the stream was dropped
    }
}

#[tokio::test]
async fn a_refused_filter_of_the_program_does_not_stop_the_loopback_and_is_forgotten_with_its_stream() {
    let listener = Listener::bind().await;
    let client = listener.client().client_id("own").health_watch(watch()).start().unwrap();
    let stream = client.subscribe("secret", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    for _ in 0..2 {
        answer(&mut peer, "secret").await;
    }
    assert_eq!(peer.publish().await.topic.as_str(), OWN);
    assert_eq!(detail(&client, "subscriptions").0, HealthStatus::Degraded);
    drop(stream);
    let began = Instant::now();
    while detail(&client, "subscriptions").0 == HealthStatus::Degraded {
        assert!(began.elapsed() < LIMIT, "the refusal goes with the wish");
        tokio::time::sleep(Duration::from_millis(5)).await; // waits: the driver has to hear of it
    }
}

/// Behind a backlog it would measure the backlog, and a full queue ended the watch for good.
#[tokio::test]
async fn behind_a_backlog_and_in_a_full_queue_it_waits_and_goes_on_after() {
    let listener = Listener::bind().await;
    let queue = Queue::in_memory().max_messages(1);
    let client = listener.client().client_id("own").queue(queue).health_watch(watch()).start().unwrap();
    let delivery = client.publish("a", vec![0; 20_000]).qos(Qos::AtLeastOnce).enqueue().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    let mut publish = None;
    for _ in 0..2 {
        match peer.next_or_end().await {
            Some(Packet::Subscribe(subscribe)) => {
                let reasons = vec![ReasonCode::SUCCESS];
                peer.send(Packet::SubAck(SubAck {
                    packet_id: subscribe.packet_id,
                    properties: None,
                    reasons,
                }))
                .await;
            }
            Some(Packet::Publish(backlog)) => publish = Some(backlog),
            other => panic!("{other:?}"),
        }
    }
    peer.nothing_for(Duration::from_millis(500)).await;
    assert!(client.is_connection_open());
    peer.ack(&publish.expect("the backlog")).await;
    limited(delivery).await.unwrap();
    let loopback = peer.publish().await;
    assert_eq!(loopback.topic.as_str(), OWN);
    while let Some(event) = events.try_next() {
        assert!(!matches!(event, Event::Silent { .. } | Event::Closed { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn it_breaks_no_silence_and_is_no_subscription_of_the_program() {
    let listener = Listener::bind().await;
    let watch = HealthWatch::after(Duration::from_millis(300))
        .loopback(Duration::from_millis(20), Duration::from_secs(5));
    let client = listener.client().client_id("own").health_watch(watch).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    answer(&mut peer, "").await;
    let echo = tokio::spawn(async move {
        let _ = limited(echo(&mut peer)).await;
    });
    let closed = event(&mut events, "closed").await;
    assert!(matches!(closed, Event::Closed { cause: LossCause::HealthWatch(_), .. }), "{closed:?}");
    assert_eq!(detail(&client, "subscriptions").1, "none asked for");
    assert!(detail(&client, "latency").1.contains("loopback "), "it came back all the time");
    echo.abort();
}

/// A broker whose rights let nothing through: the link is not cut again and again.
#[tokio::test]
async fn restarts_that_do_not_help_become_seldom() {
    let listener = Listener::bind().await;
    let watch = HealthWatch::only_loopback(Duration::from_millis(50), Duration::from_millis(50));
    let client = listener.client().client_id("own").health_watch(watch).start().unwrap();
    let mut events = client.events();
    let swallow = tokio::spawn(async move {
        loop {
            let mut peer = listener.open(false).await;
            answer(&mut peer, "").await;
            while peer.next_or_end().await.is_some() {}
        }
    });
    let (mut told, mut restarted) = (0, 0);
    while told < 12 {
        let Event::Silent { restarts, .. } = event(&mut events, "silent").await else { unreachable!() };
        (told, restarted) = (told + 1, restarted + u32::from(restarts));
    }
    assert!((1..=5).contains(&restarted), "{restarted} of {told}");
    swallow.abort();
}
