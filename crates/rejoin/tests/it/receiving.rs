//! When a message counts as taken, and which stream gets it.

use std::time::Duration;

use rejoin::{Qos, ReasonCode};
use rejoin_core::codec::packet::{Packet, PublishProperties, SubAck};

use crate::links::event;
use crate::peer::{Listener, for_subscription, limited, message};

/// Long enough that a wrong packet would have come; nothing depends on it when all is well.
const A_WHILE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_message_is_acknowledged_when_the_next_is_asked_for() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, 1))).await;
    peer.send(Packet::Publish(message("a", "2", Qos::AtLeastOnce, 2))).await;
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "1");
    peer.nothing_for(A_WHILE).await;
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "2");
    assert_eq!(peer.puback().await.packet_id.get(), 1);
    peer.nothing_for(A_WHILE).await;
    drop(stream);
    assert_eq!(peer.puback_beside_unsubscribe().await.packet_id.get(), 2, "handed out and dropped is taken");
}

#[tokio::test]
async fn a_manual_ack_after_a_reconnect_is_stale() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).manual_ack().declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, 1))).await;
    let old = limited(stream.next()).await.unwrap();
    peer.reset();
    let mut peer = listener.open(true).await;
    peer.grant().await;
    // The same identifier now names another message: the late answer must not acknowledge it.
    peer.send(Packet::Publish(message("a", "2", Qos::AtLeastOnce, 1))).await;
    let new = limited(stream.next()).await.unwrap();
    assert_eq!(new.text().unwrap(), "2");
    old.ack();
    peer.nothing_for(A_WHILE).await;
    assert_eq!(client.stats().engine.stale_acks, 1);
    new.reject(ReasonCode::PAYLOAD_FORMAT_INVALID);
    let answer = peer.puback().await;
    // [MQTT-4.8.2-6]
    assert_eq!((answer.packet_id.get(), answer.reason), (1, ReasonCode::PAYLOAD_FORMAT_INVALID));
}

#[tokio::test]
async fn acknowledging_twice_does_not_acknowledge_for_another_stream() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut wide = client.subscribe("#", Qos::AtLeastOnce).manual_ack().declare().unwrap();
    let mut narrow = client.subscribe("a/+", Qos::AtLeastOnce).manual_ack().declare().unwrap();
    let mut peer = listener.open(false).await;
    let mut granted = 0;
    while granted < 2 {
        granted += peer.grant().await.0.len();
    }
    peer.send(Packet::Publish(message("a/b", "both", Qos::AtLeastOnce, 5))).await;
    let seen = limited(wide.next()).await.unwrap();
    seen.clone().ack();
    seen.ack();
    peer.nothing_for(A_WHILE).await;
    let seen = limited(narrow.next()).await.unwrap();
    seen.reject(ReasonCode::QUOTA_EXCEEDED);
    seen.ack();
    let answer = peer.puback().await;
    assert_eq!((answer.packet_id.get(), answer.reason), (5, ReasonCode::QUOTA_EXCEEDED));
    assert_eq!(client.stats().engine.stale_acks, 0);
}

#[tokio::test]
async fn the_subscription_identifier_decides_if_its_filter_fits() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut wide = client.subscribe("#", Qos::AtLeastOnce).declare().unwrap();
    let mut narrow = client.subscribe("a/+", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    let mut ids = Vec::new();
    while ids.len() < 2 {
        let (filters, id) = peer.grant().await;
        ids.extend(filters.into_iter().map(|filter| (filter, id.unwrap())));
    }
    let id_of = |wanted: &str| ids.iter().find(|(filter, _)| filter == wanted).unwrap().1;
    peer.send(for_subscription(message("a/b", "narrow", Qos::AtMostOnce, 0), id_of("a/+"))).await;
    // An identifier of a former process: its filter does not fit, so the filters decide.
    peer.send(for_subscription(message("c", "wide", Qos::AtMostOnce, 0), id_of("a/+"))).await;
    peer.send(Packet::Publish(message("a/b", "both", Qos::AtLeastOnce, 5))).await;
    assert_eq!(limited(narrow.next()).await.unwrap().text().unwrap(), "narrow");
    assert_eq!(limited(wide.next()).await.unwrap().text().unwrap(), "wide");
    assert_eq!(limited(wide.next()).await.unwrap().text().unwrap(), "both");
    assert_eq!(limited(narrow.next()).await.unwrap().text().unwrap(), "both");
    drop(wide);
    assert!(matches!(peer.next_or_end().await, Some(Packet::Unsubscribe(_))), "only one of two took it");
    drop(narrow);
    assert_eq!(peer.puback_beside_unsubscribe().await.packet_id.get(), 5);
}

#[tokio::test]
async fn a_message_for_several_subscriptions_reaches_each_stream_once() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut wide = client.subscribe("#", Qos::AtLeastOnce).declare().unwrap();
    let mut narrow = client.subscribe("a/+", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    let mut subscription_ids = Vec::new();
    while subscription_ids.len() < 2 {
        subscription_ids.extend(peer.grant().await.1);
    }
    subscription_ids.extend(subscription_ids.clone());
    let properties = PublishProperties { subscription_ids, ..PublishProperties::default() };
    let mut publish = message("a/b", "once", Qos::AtLeastOnce, 7);
    publish.properties = Some(Box::new(properties));
    peer.send(Packet::Publish(publish)).await;
    peer.send(Packet::Publish(message("a/b", "next", Qos::AtLeastOnce, 8))).await;
    for text in ["once", "next"] {
        // [MQTT-3.3.4-4]
        assert_eq!(limited(wide.next()).await.unwrap().text().unwrap(), text);
        assert_eq!(limited(narrow.next()).await.unwrap().text().unwrap(), text);
    }
    assert_eq!(peer.puback().await.packet_id.get(), 7);
}

#[tokio::test]
async fn qos_0_beyond_the_bound_is_dropped_and_counted() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).capacity(10).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    for _ in 0..50 {
        peer.send(Packet::Publish(message("a", "0", Qos::AtMostOnce, 0))).await;
    }
    peer.send(Packet::Publish(message("a", "end", Qos::AtLeastOnce, 7))).await;
    // The link goes on though nobody reads: the answer to a publish comes behind all of it.
    let delivery = client.publish("b", "x").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    let mut read = 0;
    loop {
        match limited(stream.next()).await.unwrap().text().unwrap() {
            "end" => break,
            _ => read += 1,
        }
    }
    assert_eq!(read + stream.dropped(), 50);
    assert_eq!(read, 10);
    assert_eq!(client.stats().dropped_qos0, 40);
}

#[tokio::test]
async fn what_is_dropped_just_before_a_gap_is_counted_like_any_other() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut events = client.events();
    let stream = client.subscribe("a", Qos::AtMostOnce).capacity(1).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::AtMostOnce, 0))).await;
    // FIN, not a reset: what was sent is read first.
    drop(peer);
    let mut peer = listener.open(true).await;
    let Packet::Subscribe(asked) = peer.next().await else { panic!("it asks again") };
    let answer = SubAck { packet_id: asked.packet_id, properties: None, reasons: vec![ReasonCode::SUCCESS] };
    // In one read: the message is on its way to the stream when the gap comes.
    let message = Packet::Publish(message("a", "2", Qos::AtMostOnce, 0));
    peer.send_together(&[message, Packet::SubAck(answer)]).await;
    event(&mut events, "gap").await;
    assert_eq!(stream.dropped(), 1);
    assert_eq!((client.stats().dropped_qos0, client.metrics().handler_dropped), (1, 1));
}

#[tokio::test]
async fn events_and_streams_end_with_the_client() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtMostOnce).declare().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "last", Qos::AtMostOnce, 0))).await;
    peer.send(Packet::Publish(message("a", "words", Qos::AtLeastOnce, 3))).await;
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "last");
    let ended = tokio::spawn(async move { while peer.next_or_end().await.is_some() {} });
    limited(client.shutdown().into_future()).await.into_result().unwrap();
    limited(ended).await.unwrap();
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "words");
    assert!(limited(stream.next()).await.is_none());
    let mut last = "";
    while let Some(event) = limited(events.next()).await {
        last = event.name();
    }
    assert_eq!(last, "stopped");
}

#[tokio::test]
async fn a_slow_reader_does_not_get_a_message_once_for_every_link() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut last = None;
    for link in 0..5 {
        // FIN, not a reset: what was sent is read first.
        drop(last.take());
        let mut peer = listener.open(link > 0).await;
        peer.grant().await;
        for (id, text) in (1..).zip(["1", "2", "3", "4", "5"]) {
            let mut sent = message("a", text, Qos::AtLeastOnce, id);
            sent.dup = link > 0;
            peer.send(Packet::Publish(sent)).await;
        }
        last = Some(peer);
    }
    let mut peer = last.unwrap();
    peer.send(Packet::Publish(message("a", "6", Qos::AtLeastOnce, 6))).await;
    limited(async {
        while client.stats().engine.received < 26 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for text in ["1", "2", "3", "4", "5", "6"] {
        assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), text);
    }
    for id in 1..=5 {
        assert_eq!(peer.puback().await.packet_id.get(), id);
    }
    assert_eq!(client.stats().engine.stale_acks, 0, "a copy that nobody read was acknowledged");
}

#[tokio::test]
async fn another_message_under_the_same_identifier_is_another_message() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    // A broker that comes back with an older session has something else under way.
    for (link, text) in ["new", "old"].into_iter().enumerate() {
        let mut peer = listener.open(link > 0).await;
        peer.grant().await;
        let mut sent = message("a", text, Qos::AtLeastOnce, 1);
        sent.dup = link > 0;
        peer.send(Packet::Publish(sent)).await;
    }
    for text in ["new", "old"] {
        assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), text);
    }
}
