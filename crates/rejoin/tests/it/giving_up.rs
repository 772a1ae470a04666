//! Who stops waiting leaves nothing behind, and is told what became of the message.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use rejoin::{Client, NotAccepted, Qos, Queue, WhenFull};

use crate::peer::{LIMIT, Listener, limited};
use crate::queue::{Disk, on};

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Begins to wait a hundred times, each time as another task, and gives up. Gives how many tasks are still known.
fn still_known<F: Future>(wait: impl Fn() -> F) -> usize {
    let tasks: Vec<_> = (0..100).map(|_| Arc::new(Nobody)).collect();
    for task in &tasks {
        let waker = Waker::from(Arc::clone(task));
        assert!(pin!(wait()).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    tasks.iter().filter(|task| Arc::strong_count(task) > 1).count()
}

fn full(listener: &Listener) -> Client {
    let queue = Queue::in_memory().max_messages(1).when_full(WhenFull::Block);
    let client = listener.client().queue(queue).start().unwrap();
    client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    client
}

#[tokio::test]
async fn who_waited_for_room_is_forgotten() {
    let client = full(&Listener::bind().await);
    assert_eq!(still_known(|| client.publish("a", "2").qos(Qos::AtLeastOnce).into_future()), 0);
    assert_eq!(still_known(|| client.publish("a", "2").enqueue_when_room()), 0);
    assert_eq!(still_known(|| client.publish("a", "2").enqueue_within(LIMIT)), 0);
    assert_eq!(client.metrics().not_accepted, 300, "and none of them vanished uncounted");
}

#[tokio::test]
async fn who_waited_for_a_message_is_forgotten_and_the_others_are_answered() {
    let (nobody, disk) = (Listener::bind().await, Disk::default());
    disk.stall(true);
    let client = on(&nobody, &disk).start().unwrap();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let other = async {
        let (acked, sent) = tokio::join!(delivery.acked(), delivery.sent());
        assert!(acked.is_err() && sent.is_err());
    };
    let gives_up = async {
        assert_eq!(still_known(|| delivery.acked()), 0);
        assert_eq!(still_known(|| delivery.sent()), 0);
        assert_eq!(still_known(|| delivery.stored()), 0);
        delivery.cancel();
    };
    limited(async { tokio::join!(other, gives_up) }).await;
    // A time-out drops the whole of an awaited publish; the message is accepted by then.
    assert_eq!(still_known(|| client.publish("a", "2").qos(Qos::AtLeastOnce).into_future()), 0);
    assert_eq!((client.pending_count(), client.metrics().not_accepted), (100, 0));
    disk.stall(false);
}

#[tokio::test]
async fn a_message_that_waits_for_room_goes_with_its_caller_or_is_given_back() {
    const A_MOMENT: Duration = Duration::from_millis(50);
    let listener = Listener::bind().await;
    let client = full(&listener);
    let given_up = client.publish("a", "given up").qos(Qos::AtLeastOnce).into_future();
    assert!(tokio::time::timeout(A_MOMENT, given_up).await.is_err());
    assert_eq!((client.pending_count(), client.metrics().not_accepted), (1, 1));
    let kept = client.publish("a", "kept").qos(Qos::AtLeastOnce);
    let full = limited(kept.enqueue_within(A_MOMENT)).await.unwrap_err();
    assert!(matches!(full.reason(), NotAccepted::QueueFull { messages: 1, .. }), "{full}");
    assert_eq!(client.metrics().not_accepted, 2);
    let again = client.publish_again(full.into_publication().unwrap());
    let (accepted, mut peer) = tokio::join!(limited(again.enqueue_within(LIMIT)), async {
        let mut peer = listener.open(false).await;
        let first = peer.publish().await;
        peer.ack(&first).await;
        peer
    });
    let publish = peer.publish().await;
    assert_eq!(publish.payload, "kept");
    peer.ack(&publish).await;
    limited(accepted.unwrap()).await.unwrap();
    peer.nothing_for(A_MOMENT).await;
    assert_eq!(client.metrics().not_accepted, 2);
}
