//! Messages of a lost session that the application decides on.

use std::time::Duration;

use rejoin::{Client, Event, PublishError, PublishId, Qos, SessionLossPolicy};

use crate::links::event;
use crate::peer::{Listener, Peer, limited};
use crate::queue::{Disk, on};

/// The link breaks and the server has forgotten the session. Gives the next link.
async fn lose_the_session(listener: &Listener, peer: Peer) -> Peer {
    peer.reset();
    listener.open(false).await
}

async fn undecided(client: &Client) -> Vec<PublishId> {
    let pending = limited(client.pending()).await;
    pending.iter().filter(|message| message.undecided).map(|message| message.id).collect()
}

#[tokio::test]
async fn what_is_awaited_can_be_decided_by_its_name() {
    for resend in [true, false] {
        let listener = Listener::bind().await;
        let client = listener.client().on_session_loss(SessionLossPolicy::Ask).start().unwrap();
        let mut events = client.events();
        let publishing = tokio::spawn(client.publish("a", "1").qos(Qos::AtLeastOnce).into_future());
        let mut peer = listener.open(false).await;
        peer.publish().await;
        assert_eq!(undecided(&client).await, []);
        let mut peer = lose_the_session(&listener, peer).await;
        let Event::Undecided { id } = event(&mut events, "undecided").await else { unreachable!() };
        assert_eq!(undecided(&client).await, [id]);
        assert!(client.flush(Duration::from_millis(50)).await.is_err(), "nobody has decided");
        client.decide(id, resend);
        if resend {
            let again = peer.publish().await;
            assert!(!again.dup, "as new");
            assert_eq!(undecided(&client).await, []);
            peer.ack(&again).await;
            let receipt = limited(publishing).await.unwrap().unwrap();
            assert!(receipt.possible_duplicate);
        } else {
            let error = limited(publishing).await.unwrap().unwrap_err();
            assert!(matches!(error, PublishError::Unknown { released: false }), "{error:?}");
        }
        assert_eq!(client.pending_count(), 0);
        // Nothing is left to decide.
        client.decide(id, true);
        peer.nothing_for(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_an_earlier_process_was_asked_is_listed_and_can_be_decided_by_the_next() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let ask = || on(&listener, &disk).on_session_loss(SessionLossPolicy::Ask);
    let first = ask().start().unwrap();
    let mut events = first.events();
    let left: Vec<_> = ["1", "2"]
        .map(|payload| first.publish("a", payload).qos(Qos::AtLeastOnce).enqueue().unwrap().id())
        .into();
    let mut peer = listener.open(false).await;
    peer.publish().await;
    peer.publish().await;
    let peer = lose_the_session(&listener, peer).await;
    event(&mut events, "undecided").await;
    event(&mut events, "undecided").await;
    let report = limited(first.shutdown().within(Duration::ZERO).into_future()).await;
    assert_eq!((report.still_queued, report.lost), (2, 0));
    drop(peer);

    let prepared = ask().prepare().unwrap();
    let mut events = prepared.client().events().with_deliveries();
    let second = prepared.start();
    assert_eq!(undecided(&second).await, left);
    let mut peer = listener.open(true).await;
    second.decide(left[0], false);
    let Event::Failed { id, why } = event(&mut events, "failed").await else { unreachable!() };
    assert!(id == left[0] && matches!(*why, PublishError::Unknown { released: false }), "{why:?}");
    second.decide(left[1], true);
    let again = peer.publish().await;
    assert_eq!(again.payload, "2");
    peer.ack(&again).await;
    let Event::Delivered { id, .. } = event(&mut events, "delivered").await else { unreachable!() };
    assert_eq!((id, second.pending_count()), (left[1], 0));
}
