//! A client with a queue, seen through its door while it runs.

use rejoin::store::tools::{Answer, Request, Selection};
use rejoin::store::{StoreError, Visitor};
use rejoin::{Client, PublishError, Qos, Queue, TopicFilter};

use crate::folder::Scratch;

#[tokio::test(flavor = "multi_thread")]
async fn tools_look_into_the_queue_of_a_running_client_and_take_out_what_waits() {
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    // Nobody listens there: messages wait.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", socket.local_addr().unwrap());
    drop(socket);
    let client = Client::builder(&url).queue(Queue::in_dir(&folder)).start().unwrap();
    let mut deliveries = Vec::new();
    for topic in ["room/1", "room/2", "hall/1"] {
        let delivery = client.publish(topic, "x").qos(Qos::AtLeastOnce).enqueue().unwrap();
        deliveries.push(delivery);
    }
    for delivery in &deliveries {
        delivery.stored().await.unwrap();
    }
    let path = folder.clone();
    tokio::task::spawn_blocking(move || {
        let mut queue = Visitor::enter(&path).unwrap();
        assert!(queue.is_live());
        let Answer::Stats(stats) = queue.ask(&Request::Stats).unwrap() else { panic!() };
        assert_eq!((stats.waiting, stats.servers.len()), (3, 1));
        assert!(stats.client_id.is_some_and(|id| id.starts_with("rejoin-")));
        let purge = Request::Purge(Selection::Topic(TopicFilter::new("room/+").unwrap()));
        let answer = queue.ask(&purge).unwrap();
        assert!(matches!(answer, Answer::Purged { messages: 2, .. }), "{answer:?}");
    })
    .await
    .unwrap();
    let last = deliveries.pop().unwrap();
    for delivery in deliveries {
        let outcome = delivery.await;
        assert!(matches!(outcome, Err(PublishError::Cancelled)), "{outcome:?}");
    }
    drop(last);
    client.shutdown().within_secs(1).await;
    let found = rejoin::store::Folder::visit(&folder).unwrap();
    drop(found);
    let mut queue = Visitor::enter(&folder).unwrap();
    assert!(!queue.is_live());
    let Answer::Stats(stats) = queue.ask(&Request::Stats).unwrap() else { panic!() };
    assert_eq!(stats.waiting, 1, "what was purged is gone, the rest is kept");
    let error = rejoin::store::Folder::visit(&folder).unwrap_err();
    assert!(matches!(error, StoreError::InUse { by, .. } if by.starts_with("tool ")));
}
