//! What becomes of a subscription when its stream goes away.

use std::collections::BTreeSet;
use std::time::Duration;

use rejoin::{Qos, ReasonCode, RetainHandling, Session, SubscribeError, VersionPolicy};
use rejoin_core::codec::packet::{Packet, Publish, SubAck, SubscriptionOptions};

use crate::peer::{LIMIT, Listener, Peer, limited, message};

const A_WHILE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn dropping_on_a_kept_session_leaves_the_broker_collecting() {
    let listener = Listener::bind().await;
    let kept = Session::kept_for(Duration::from_secs(60));
    let client = listener.client().client_id("k").session(kept).start().unwrap();
    let stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "unread", Qos::AtLeastOnce, 1))).await;
    while client.stats().engine.received < 1 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    // Neither UNSUBSCRIBE nor an acknowledgement of what nobody read.
    peer.nothing_for(A_WHILE).await;
    let mut again = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    peer.grant().await;
    assert_eq!(limited(again.next()).await.unwrap().text().unwrap(), "unread");
    drop(again);
    assert_eq!(peer.puback().await.packet_id.get(), 1);
}

#[tokio::test]
async fn a_subscription_may_wait_for_its_answer_without_an_end() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let asked = client.subscribe("a", Qos::AtLeastOnce).within(Duration::MAX).into_future();
    let asked = tokio::spawn(asked);
    listener.open(false).await.grant().await;
    let granted = limited(asked).await.unwrap();
    assert_eq!(granted.unwrap().granted(), Some(Qos::AtLeastOnce));
}

#[tokio::test]
async fn a_message_in_the_hands_of_a_panic_is_not_acknowledged_at_once() {
    let listener = Listener::bind().await;
    let builder = listener.client().client_id("k").session(Session::kept_for(LIMIT));
    let client = builder.unrouted_after(Duration::from_millis(300)).start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, 1))).await;
    let died = tokio::spawn(async move {
        let message = stream.next().await.unwrap();
        assert_eq!(message.text(), Ok("2"), "on purpose");
    });
    assert!(limited(died).await.unwrap_err().is_panic());
    peer.nothing_for(A_WHILE).await;
    assert_eq!(peer.puback().await.packet_id.get(), 1, "but it does not hold the window for ever");
    assert_eq!(client.stats().unrouted, 1);
}

#[tokio::test]
async fn what_nobody_comes_for_is_acknowledged_in_the_end() {
    let listener = Listener::bind().await;
    let client = listener.client().unrouted_after(Duration::from_millis(50)).start().unwrap();
    let mut peer = listener.open(false).await;
    peer.send(Packet::Publish(message("old", "1", Qos::AtLeastOnce, 1))).await;
    assert_eq!(peer.puback().await.packet_id.get(), 1);
    assert_eq!(client.stats().unrouted, 1);
    let mut rest = client.unrouted().unwrap();
    peer.send(Packet::Publish(message("old", "2", Qos::AtLeastOnce, 2))).await;
    assert_eq!(limited(rest.next()).await.unwrap().text().unwrap(), "2");
    assert_eq!(client.stats().unrouted, 1);
}

/// Held for long, over many links, it would else be held once for each of them.
#[tokio::test]
async fn what_nobody_came_for_yet_is_held_once_however_many_links_it_comes_on() {
    let listener = Listener::bind().await;
    let builder = listener.client().client_id("k").session(Session::kept_for(LIMIT));
    let client = builder.unrouted_after(Duration::MAX).start().unwrap();
    let mut sent = message("old", "1", Qos::AtLeastOnce, 1);
    for present in [false, true, true] {
        let mut peer = listener.open(present).await;
        sent.dup = present;
        peer.send(Packet::Publish(sent.clone())).await;
        peer.nothing_for(A_WHILE).await;
        peer.reset();
    }
    let mut peer = listener.open(true).await;
    sent.dup = true;
    peer.send(Packet::Publish(sent)).await;
    while client.stats().engine.received < 4 {
        tokio::task::yield_now().await;
    }
    let mut rest = client.unrouted().unwrap();
    assert_eq!(limited(rest.next()).await.unwrap().text().unwrap(), "1");
    peer.send(Packet::Publish(message("old", "2", Qos::AtLeastOnce, 2))).await;
    assert_eq!(limited(rest.next()).await.unwrap().text().unwrap(), "2", "one copy");
    assert_eq!(peer.puback().await.packet_id.get(), 1);
}

/// Its place in the order is gone with the answer to what came behind it, and it comes again all the same.
#[tokio::test]
async fn what_is_passed_by_an_acknowledgement_is_held_once_too() {
    let listener = Listener::bind().await;
    let builder = listener.client().client_id("k").session(Session::kept_for(LIMIT));
    let client = builder.unrouted_after(Duration::MAX).start().unwrap();
    let mut wanted = client.subscribe("a", Qos::AtLeastOnce).manual_ack().declare().unwrap();
    let mut sent = message("old", "1", Qos::AtLeastOnce, 1);
    for present in [false, true, true] {
        let mut peer = listener.open(present).await;
        peer.grant().await;
        sent.dup = present;
        peer.send(Packet::Publish(sent.clone())).await;
        peer.send(Packet::Publish(message("a", "m", Qos::AtLeastOnce, 2))).await;
        limited(wanted.next()).await.unwrap().ack();
        assert_eq!(peer.puback().await.packet_id.get(), 2);
        peer.reset();
    }
    let _peer = listener.open(true).await;
    let mut rest = client.unrouted().unwrap();
    assert_eq!(limited(rest.next()).await.unwrap().text().unwrap(), "1");
    assert!(tokio::time::timeout(A_WHILE, rest.next()).await.is_err(), "one copy");
}

/// As `queue drain` and `pub --queue` are set up: what comes in is for the application whose session it is.
#[tokio::test]
async fn what_is_left_to_another_process_does_not_keep_ours_from_being_acknowledged() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let listener = Listener::bind_311().await;
        let builder = listener.client().version(VersionPolicy::Only311).client_id("k");
        let builder = builder.session(Session::kept_for(LIMIT)).unrouted_after(Duration::MAX);
        let client = builder.start().unwrap();
        let mut peer = listener.open(false).await;
        let sent = limited(client.publish("out", "x").qos(Qos::AtLeastOnce).enqueue().unwrap());
        let broker = async {
            let publish = peer.publish().await;
            // More than may be unanswered at 3.1.1 before reading stops, and then our acknowledgement.
            for n in 1..=200 {
                peer.send(Packet::Publish(message("in", "1", qos, n))).await;
            }
            peer.ack(&publish).await;
        };
        let (sent, ()) = tokio::join!(sent, broker);
        assert!(sent.is_ok(), "{sent:?}");
        peer.nothing_for(A_WHILE).await;
        assert_eq!(client.stats().unrouted, 0, "nothing is acknowledged");
        let mut rest = client.unrouted().unwrap();
        let mut kept = 0;
        while tokio::time::timeout(A_WHILE, rest.next()).await.is_ok() {
            kept += 1;
        }
        assert_eq!(kept, 64, "the others are the broker's");
    }
}

/// Held for good, more than there is room for, and wanted again before the client could drop what there is no room for.
#[tokio::test]
async fn what_the_next_stream_takes_at_once_is_not_left_to_the_broker() {
    let listener = Listener::bind().await;
    let builder = listener.client().client_id("k").session(Session::kept_for(LIMIT));
    let client = builder.receive_maximum(200).unrouted_after(Duration::MAX).start().unwrap();
    let first = client.subscribe("in", Qos::ExactlyOnce).capacity(200).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    let sent = |n: u16| Publish { payload: n.to_string().into(), ..message("in", "", Qos::ExactlyOnce, n) };
    for n in 1..=100 {
        peer.send(Packet::Publish(sent(n))).await;
    }
    while client.stats().engine.received < 100 {
        tokio::task::yield_now().await;
    }
    drop(first);
    let mut next = client.subscribe("in", Qos::ExactlyOnce).capacity(200).manual_ack().declare().unwrap();
    let mut heard = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(A_WHILE, next.next()).await {
        heard.push(message.text().unwrap().to_owned());
        message.ack();
    }
    peer.reset();
    let mut peer = listener.open(true).await;
    for n in 1..=100 {
        peer.send(Packet::Publish(Publish { dup: true, ..sent(n) })).await;
    }
    while let Ok(Some(message)) = tokio::time::timeout(A_WHILE, next.next()).await {
        heard.push(message.text().unwrap().to_owned());
        message.ack();
    }
    let each: BTreeSet<_> = heard.iter().collect();
    assert_eq!((each.len(), heard.len()), (100, 100), "each once, on one link or the other");
}

#[tokio::test]
async fn equal_filters_are_asked_for_once_and_ended_with_the_last() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut one = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut two = client.subscribe("a", Qos::AtMostOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    limited(one.wait_granted(LIMIT)).await.unwrap();
    limited(two.wait_granted(LIMIT)).await.unwrap();
    peer.send(Packet::Publish(message("a", "x", Qos::AtMostOnce, 0))).await;
    assert_eq!(limited(one.next()).await.unwrap().text().unwrap(), "x");
    assert_eq!(limited(two.next()).await.unwrap().text().unwrap(), "x");
    drop(one);
    peer.nothing_for(A_WHILE).await;
    let ended = tokio::spawn(two.unsubscribe());
    let Some(Packet::Unsubscribe(unsubscribe)) = peer.next_or_end().await else { panic!("no UNSUBSCRIBE") };
    assert!(!ended.is_finished());
    peer.send(Packet::UnsubAck(SubAck {
        packet_id: unsubscribe.packet_id,
        properties: None,
        reasons: vec![ReasonCode::SUCCESS],
    }))
    .await;
    assert_eq!(limited(ended).await.unwrap().unwrap(), ReasonCode::SUCCESS);
}

/// Asked for at the broker, with these options.
async fn asked(peer: &mut Peer) -> SubscriptionOptions {
    let Some(Packet::Subscribe(subscribe)) = peer.next_or_end().await else { panic!("no SUBSCRIBE") };
    let options = subscribe.filters[0].1;
    let reasons = vec![ReasonCode(options.qos as u8)];
    peer.send(Packet::SubAck(SubAck { packet_id: subscribe.packet_id, properties: None, reasons })).await;
    options
}

#[tokio::test]
async fn a_stream_that_comes_to_an_equal_filter_gets_what_is_retained_too() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut first = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    asked(&mut peer).await;
    limited(first.wait_granted(LIMIT)).await.unwrap();
    let mut second = client.subscribe("a", Qos::AtMostOnce).declare().unwrap();
    assert_eq!(asked(&mut peer).await.qos, Qos::AtLeastOnce, "nobody gets less");
    limited(second.wait_granted(LIMIT)).await.unwrap();
    let mut retained = message("a", "kept", Qos::AtMostOnce, 0);
    retained.retain = true;
    peer.send(Packet::Publish(retained)).await;
    for stream in [&mut first, &mut second] {
        assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "kept");
    }
    // Who does not want them asks for nothing.
    let without = client.subscribe("a", Qos::AtMostOnce).retain_handling(RetainHandling::Never);
    let mut without = without.declare().unwrap();
    limited(without.wait_granted(LIMIT)).await.unwrap();
    peer.nothing_for(A_WHILE).await;
    assert!(client.ready());
}

/// A bridge would get its own messages, and pass them on for ever.
#[tokio::test]
async fn no_stream_of_an_equal_filter_takes_no_local_from_another() {
    for first_asks in [true, false] {
        let listener = Listener::bind().await;
        let client = listener.client().start().unwrap();
        let subscribe = |no_local| match client.subscribe("bridge/#", Qos::AtLeastOnce) {
            subscribe if no_local => subscribe.no_local().declare().unwrap(),
            subscribe => subscribe.retain_as_published().declare().unwrap(),
        };
        let _first = subscribe(first_asks);
        let mut peer = listener.open(false).await;
        assert_eq!(asked(&mut peer).await.no_local, first_asks);
        let _second = subscribe(!first_asks);
        let options = asked(&mut peer).await;
        assert!(options.no_local && options.retain_as_published, "{options:?}");
    }
}

#[tokio::test]
async fn a_refused_filter_is_told_and_makes_ready_false() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut events = client.events();
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.subscribe("secret", Qos::AtLeastOnce).await.map(drop) }
    });
    let mut peer = listener.open(false).await;
    let Some(Packet::Subscribe(subscribe)) = peer.next_or_end().await else { panic!("no SUBSCRIBE") };
    peer.send(Packet::SubAck(SubAck {
        packet_id: subscribe.packet_id,
        properties: None,
        reasons: vec![ReasonCode::NOT_AUTHORIZED],
    }))
    .await;
    let error = limited(asked).await.unwrap().unwrap_err();
    assert!(matches!(&error, SubscribeError::Refused { reason: ReasonCode::NOT_AUTHORIZED, .. }), "{error}");
    loop {
        let event = limited(events.next()).await.unwrap();
        if event.name() == "subscription-refused" {
            break;
        }
    }
    let invalid = client.subscribe("a/#/b", Qos::AtMostOnce).await.unwrap_err();
    assert!(invalid.to_string().contains("`#` must be the last level"), "{invalid}");
}

#[tokio::test]
async fn several_filters_of_one_stream_give_a_message_once() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut stream =
        client.subscribe_many([("a/#", Qos::AtLeastOnce), ("+/b", Qos::AtLeastOnce)]).declare().unwrap();
    let mut peer = listener.open(false).await;
    let mut granted = 0;
    while granted < 2 {
        granted += peer.grant().await.0.len();
    }
    limited(stream.wait_granted(LIMIT)).await.unwrap();
    assert_eq!(stream.granted(), Some(Qos::AtLeastOnce));
    peer.send(Packet::Publish(message("a/b", "once", Qos::AtLeastOnce, 1))).await;
    peer.send(Packet::Publish(message("c/b", "then", Qos::AtLeastOnce, 2))).await;
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "once");
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "then");
    assert_eq!(peer.puback().await.packet_id.get(), 1);
}
