//! What the future of a message means.

use rejoin::{ConnectError, Link, NotAccepted, Obstacle, Outlook, PublishError, Qos, ReasonCode};
use rejoin_core::codec::packet::{Ack, Packet};

use crate::peer::{LIMIT, Listener, connack, limited};

#[tokio::test]
async fn awaiting_is_the_brokers_answer_and_a_lost_link_is_none() {
    // [MQTT-4.2-1]
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let mut peer = listener.open(false).await;
    let first = peer.publish().await;
    assert!(!first.dup);
    limited(delivery.sent()).await.unwrap();
    assert!(delivery.outcome().is_none(), "sent is not delivered");
    peer.reset();
    let mut peer = listener.open(true).await;
    let second = peer.publish().await;
    assert!(second.dup && second.packet_id == first.packet_id);
    assert!(delivery.outcome().is_none(), "a lost link answers for nothing");
    peer.ack(&second).await;
    let receipt = limited(delivery.acked()).await.unwrap();
    assert_eq!((receipt.attempts, receipt.is_acknowledged()), (2, true));
    assert!(receipt.took >= receipt.queued_for);
    assert_eq!(client.pending_count(), 0);
}

#[tokio::test]
async fn refusals_reach_the_caller_with_their_code() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut peer = listener.open(false).await;
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.send(Packet::PubAck(Ack::new(publish.packet_id.unwrap(), ReasonCode::NOT_AUTHORIZED))).await;
    let error = limited(delivery).await.unwrap_err();
    assert_eq!(error.reason_code(), Some(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(error.to_string(), "the broker refused the message: not authorized (0x87)");
}

#[tokio::test]
async fn qos_0_is_sent_or_says_that_it_was_not() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let while_down = client.publish("a", "1").enqueue().unwrap();
    let queued = client.publish("a", "2").queue_qos0().enqueue().unwrap();
    assert!(matches!(limited(while_down).await, Err(PublishError::Dropped)));
    let mut peer = listener.open(false).await;
    assert_eq!(&peer.publish().await.payload[..], b"2");
    let receipt = limited(queued).await.unwrap();
    assert!(!receipt.is_acknowledged());
    let (sent, seen) =
        tokio::join!(client.publish("a", "3").into_future(), async { peer.publish().await.payload });
    assert!(sent.is_ok());
    assert_eq!(&seen[..], b"3");
}

#[tokio::test]
async fn a_full_queue_gives_the_message_back_and_room_is_waited_for() {
    let listener = Listener::bind().await;
    let client = listener.client().queue(rejoin::Queue::in_memory().max_messages(2)).start().unwrap();
    let mut events = client.events();
    let one = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let _two = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let full = client.publish("a", "3").qos(Qos::AtLeastOnce).enqueue().unwrap_err();
    assert!(matches!(full.reason(), NotAccepted::QueueFull { messages: 2, .. }));
    assert!(full.is_transient());
    assert_eq!(client.outlook(), Outlook::Blocked { why: Obstacle::QueueFull });
    let back = full.into_publication().unwrap();
    assert_eq!((back.topic.as_str(), &back.payload[..]), ("a", &b"3"[..]));

    let waiting = tokio::spawn(client.publish_again(back).enqueue_when_room());
    let mut peer = listener.open(false).await;
    let first = peer.publish().await;
    assert!(!waiting.is_finished());
    peer.ack(&first).await;
    limited(one).await.unwrap();
    let third = limited(waiting).await.unwrap().unwrap();
    let (second, again) = (peer.publish().await, peer.publish().await);
    assert_eq!((&second.payload[..], &again.payload[..]), (&b"2"[..], &b"3"[..]));
    peer.ack(&second).await;
    peer.ack(&again).await;
    limited(third).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.try_next() {
        told.push(event.name());
    }
    assert_eq!(told.iter().filter(|name| **name == "queue-full").count(), 1, "{told:?}");
    assert!(told.contains(&"queue-ok"), "{told:?}");
}

#[tokio::test]
async fn what_is_not_valid_is_refused_before_it_is_accepted() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let wildcard = client.publish("room/+", "kept").enqueue().unwrap_err();
    assert!(wildcard.to_string().contains("wildcard `+`"), "{wildcard}");
    assert_eq!(&wildcard.into_payload()[..], b"kept");
    let property = client.publish("a", "1").response_topic("b/#").enqueue().unwrap_err();
    assert!(matches!(property.reason(), NotAccepted::InvalidProperty { property: "response topic", .. }));
    let not_text = client.publish("a", vec![0xFF]).payload_is_utf8().enqueue().unwrap_err();
    assert!(not_text.to_string().contains("not UTF-8"), "{not_text}");
    assert_eq!(client.pending_count(), 0);
}

#[tokio::test]
async fn cancelling_works_until_the_message_was_sent() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let before = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    before.cancel();
    assert!(matches!(limited(before).await, Err(PublishError::Cancelled)));
    let mut peer = listener.open(false).await;
    let after = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    assert_eq!(&publish.payload[..], b"2", "the first was never sent");
    after.cancel();
    peer.ack(&publish).await;
    assert!(limited(after).await.is_ok());
}

#[tokio::test]
async fn flush_waits_for_what_was_accepted_before_it() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut peer = listener.open(false).await;
    let _one = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let flush = tokio::spawn({
        let client = client.clone();
        async move { client.flush(LIMIT).await }
    });
    let first = peer.publish().await;
    tokio::task::yield_now().await;
    let _later = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    peer.publish().await;
    assert!(!flush.is_finished());
    peer.ack(&first).await;
    limited(flush).await.unwrap().unwrap();
    assert_eq!(client.pending_count(), 1);
}

#[tokio::test]
async fn connect_ends_at_once_where_waiting_does_not_help() {
    let listener = Listener::bind().await;
    let refused = tokio::spawn(listener.client().connect());
    let mut peer = listener.accept().await;
    peer.next().await;
    peer.send(connack(false, ReasonCode::BAD_USER_NAME_OR_PASSWORD)).await;
    let error = limited(refused).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
    assert_eq!(error.reason_code(), Some(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    assert!(error.to_string().contains("check the user name and the password"), "{error}");
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_not_a_connection() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut peer = listener.accept().await;
    peer.next().await;
    let mut states = client.state_watch();
    limited(
        states.wait_for(|state| matches!(state.link, Link::Connecting { stage: rejoin::Stage::Connack, .. })),
    )
    .await
    .unwrap();
    assert!(client.is_connected() && !client.is_connection_open() && !client.ready());
    let report = limited(client.shutdown().within(LIMIT).into_future()).await;
    assert_eq!((report.lost, report.delivered), (0, 0));
    assert!(!client.is_connected());
}

#[tokio::test]
async fn a_broker_that_takes_qos_2_as_qos_1_delivers_and_the_receipt_says_so() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    for (n, told) in [(1, true), (2, false)] {
        let delivery = client.publish("a", "x").qos(Qos::ExactlyOnce).enqueue().unwrap();
        let publish = peer.publish().await;
        assert_eq!((publish.qos, publish.dup), (Qos::ExactlyOnce, false));
        peer.ack(&publish).await;
        let receipt = limited(delivery.acked()).await.unwrap();
        assert!(receipt.downgraded && receipt.is_acknowledged(), "{receipt:?}");
        if told {
            crate::links::event(&mut events, "downgraded").await;
        }
        assert_eq!(client.stats().engine.delivered, n);
    }
    peer.nothing_for(std::time::Duration::from_millis(100)).await;
    assert_eq!(client.stats().engine.losses, 0);
}
