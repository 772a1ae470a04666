//! The queue: what survives the client, what happens when it is full, and what a bad disk does.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rejoin::store::{Record, Recovered, Store, StoreError, StoreStats};
use rejoin::{
    Builder, ConnectError, Event, Link, NotAccepted, Obstacle, Outlook, Publication, PublishError, PublishId,
    Qos, Queue, Stored, WhenFull, WhenStoreFails,
};
use rejoin_core::codec::packet::{Ack, Packet};
use rejoin_core::codec::reason::ReasonCode;

use crate::peer::{LIMIT, Listener, Peer, connack, for_subscription, limited, message};

/// A store whose disk does what the test says. Clones share it, so that a second client finds what the first left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    inner: Arc<(Mutex<Inner>, Condvar)>,
}

#[derive(Debug, Default)]
struct Inner {
    records: Vec<Record>,
    stalled: bool,
    panics: bool,
    error: Option<StoreError>,
    /// Whether there is no room for messages.
    narrow: bool,
    loads: usize,
    /// Commits that began.
    begun: usize,
}

impl Disk {
    pub(crate) fn stall(&self, stalled: bool) {
        self.inner.0.lock().unwrap().stalled = stalled;
        self.inner.1.notify_all();
    }

    fn fail(&self, error: Option<StoreError>) {
        self.inner.0.lock().unwrap().error = error;
    }

    fn panic(&self) {
        self.inner.0.lock().unwrap().panics = true;
    }

    fn has_room_for_messages(&self, it_has: bool) {
        self.inner.0.lock().unwrap().narrow = !it_has;
    }

    async fn has_begun(&self, commits: usize) {
        while self.inner.0.lock().unwrap().begun < commits {
            tokio::task::yield_now().await;
        }
    }

    /// Whether a client has it.
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.inner) > 1
    }

    fn no_space() -> StoreError {
        StoreError::NoSpace { place: "here".into() }
    }

    fn broken() -> StoreError {
        StoreError::Io { place: "here".into(), what: "fdatasync: Input/output error".into() }
    }
}

impl Store for Disk {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        Ok(Recovered::replay(self.inner.0.lock().unwrap().records.iter().cloned()))
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let (inner, bell) = &*self.inner;
        inner.lock().unwrap().begun += 1;
        let mut inner = bell.wait_while(inner.lock().unwrap(), |inner| inner.stalled).unwrap();
        if inner.panics {
            drop(inner);
            panic!("on purpose");
        }
        let is_large = records.iter().any(|record| matches!(record, Record::Enqueued { .. }));
        match &inner.error {
            Some(error) => Err(error.clone()),
            None if inner.narrow && is_large => Err(Self::no_space()),
            None => {
                inner.records.extend_from_slice(records);
                Ok(())
            }
        }
    }

    fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
        let mut inner = self.inner.0.lock().unwrap();
        inner.loads += 1;
        if let Some(error) = inner.error.clone().filter(StoreError::is_fatal) {
            return Err(error);
        }
        let find = |wanted: &PublishId| {
            inner.records.iter().find_map(|record| match record {
                Record::Enqueued { id, publication, .. } if id == wanted => Some(publication.clone()),
                _ => None,
            })
        };
        Ok(ids.iter().map(find).collect())
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

pub(crate) fn on(listener: &Listener, disk: &Disk) -> Builder {
    listener.client().client_id("q").queue(Queue::in_store(disk.clone()))
}

pub(crate) async fn told(events: &mut rejoin::Events, name: &str) -> Event {
    loop {
        let event = limited(events.next()).await.expect("the client runs");
        if event.name() == name {
            return event;
        }
    }
}

async fn release(peer: &mut Peer, publish: &rejoin_core::codec::packet::Publish) {
    let id = publish.packet_id.unwrap();
    peer.send(Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS))).await;
    assert!(matches!(peer.next_or_end().await, Some(Packet::PubRel(ack)) if ack.packet_id == id));
    peer.send(Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS))).await;
}

#[tokio::test]
async fn what_is_stored_survives_the_client_and_is_answered_for_by_the_next_under_the_same_names() {
    let (nobody, disk) = (Listener::bind().await, Disk::default());
    let first = on(&nobody, &disk).start().unwrap();
    let mut left = Vec::new();
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let delivery = first.publish("a", "1").qos(qos).enqueue().unwrap();
        assert_eq!(limited(delivery.stored()).await.unwrap(), Stored::OnDisk);
        left.push(delivery);
    }
    let report = limited(first.shutdown().within(Duration::ZERO).into_future()).await;
    assert_eq!((report.still_queued, report.lost), (2, 0));
    for delivery in &left {
        let error = limited(delivery.acked()).await.unwrap_err();
        assert!(matches!(error, PublishError::StillQueued { maybe_delivered: false }), "{error:?}");
    }

    let listener = Listener::bind().await;
    let prepared = on(&listener, &disk).prepare().unwrap();
    let mut events = prepared.client().events().with_deliveries();
    let second = prepared.start();
    assert!(matches!(told(&mut events, "found").await, Event::Found { messages: 2 }));
    let pending = limited(second.pending()).await;
    assert_eq!(
        pending.iter().map(|p| p.id).collect::<Vec<_>>(),
        left.iter().map(|d| d.id()).collect::<Vec<_>>()
    );
    assert!(pending.iter().all(|p| p.recovered && p.stored), "{pending:?}");
    let mut peer = listener.open(false).await;
    for delivery in &left {
        let publish = peer.publish().await;
        assert!(!publish.dup);
        match publish.qos {
            Qos::ExactlyOnce => release(&mut peer, &publish).await,
            _ => peer.ack(&publish).await,
        }
        let Event::Delivered { id, .. } = told(&mut events, "delivered").await else { unreachable!() };
        assert_eq!(id, delivery.id());
    }
    let fresh = second.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    assert!(fresh.id() > left[1].id(), "no name is used twice");
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(fresh).await.unwrap();
    let report = limited(second.shutdown().into_future()).await;
    assert_eq!((report.still_queued, report.lost), (0, 0));
    let mut disk = disk;
    assert!(disk.recover().unwrap().waiting.is_empty() && disk.recover().unwrap().sent.is_empty());
}

/// Otherwise who tries again at once finds the folder in use, by this process.
#[tokio::test]
async fn a_connect_that_failed_has_left_the_queue_when_it_says_so() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let first = on(&listener, &disk).start().unwrap();
    let left = first.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    limited(first.shutdown().within(Duration::ZERO).into_future()).await;
    for _ in 0..2 {
        let refused = tokio::spawn(on(&listener, &disk).connect());
        let mut peer = listener.accept().await;
        assert!(matches!(peer.next().await, Packet::Connect(_)));
        peer.send(connack(false, ReasonCode::BAD_USER_NAME_OR_PASSWORD)).await;
        let error = limited(refused).await.unwrap().unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
        assert!(!disk.in_use());
    }
    assert_eq!(left_to_the_next_start(&disk).await, [left.id()]);
}

#[tokio::test]
async fn a_qos_2_message_that_was_answered_reaches_the_application_after_a_crash_under_the_same_name() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let prepared = on(&listener, &disk).prepare().unwrap();
    let stream = prepared.client().subscribe("in", Qos::ExactlyOnce).declare().unwrap();
    let first = prepared.start();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(for_subscription(message("in", "owned", Qos::ExactlyOnce, 7), 1)).await;
    assert!(matches!(peer.next_or_end().await, Some(Packet::PubRec(ack)) if ack.packet_id.get() == 7));
    // The process dies here: the broker may forget the message, and nobody has read it.
    let after_crash = Disk::default();
    after_crash.inner.0.lock().unwrap().records = disk.inner.0.lock().unwrap().records.clone();
    limited(first.shutdown().within(Duration::ZERO).into_future()).await;
    drop((peer, stream, first));

    let prepared = on(&listener, &after_crash).prepare().unwrap();
    let mut stream = prepared.client().subscribe("in", Qos::ExactlyOnce).declare().unwrap();
    let second = prepared.start();
    let found = limited(stream.next()).await.expect("before any link");
    assert_eq!(&found.payload[..], b"owned");
    let mut peer = listener.open(true).await;
    peer.grant().await;
    let mut again = message("in", "owned", Qos::ExactlyOnce, 7);
    again.dup = true;
    peer.send(for_subscription(again, 1)).await;
    assert!(
        matches!(peer.next_or_end().await, Some(Packet::PubRec(_))),
        "answered again, not handed over again"
    );
    peer.send(for_subscription(message("in", "new", Qos::ExactlyOnce, 8), 1)).await;
    let next = limited(stream.next()).await.unwrap();
    assert_eq!(&next.payload[..], b"new");
    assert!(found.id().is_some() && next.id() > found.id());
    drop(second);
}

#[tokio::test]
async fn a_stalled_disk_holds_back_qos_2_and_nothing_else() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let client = on(&listener, &disk).ping_after(Duration::from_millis(50)).start().unwrap();
    let mut peer = listener.open(false).await;
    // Once a message is through, the session's beginning is on the disk.
    let first = client.publish("a", "0").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(first).await.unwrap();
    disk.stall(true);
    let once = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let exact = client.publish("a", "2").qos(Qos::ExactlyOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    assert_eq!(&publish.payload[..], b"1", "QoS 1 does not wait");
    peer.ack(&publish).await;
    assert!(limited(once.acked()).await.is_ok());
    assert_eq!(limited(once.stored()).await.unwrap(), Stored::Delivered);
    // Pings go on.
    assert!(matches!(limited(peer.next()).await, Packet::PingReq));
    peer.send(Packet::PingResp).await;
    assert!(client.is_connection_open());
    assert!(exact.outcome().is_none());
    disk.stall(false);
    let publish = peer.publish().await;
    assert_eq!(&publish.payload[..], b"2");
    release(&mut peer, &publish).await;
    limited(exact).await.unwrap();
}

/// What was acknowledged gives its room back, and what is to be written of it stays in memory.
#[tokio::test]
async fn a_disk_that_stands_still_does_not_let_memory_grow_with_everything_published() {
    const LEAST: usize = 16 << 20;
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let queue = Queue::in_store(disk.clone()).max_bytes(1 << 20);
    let client = listener.client().client_id("q").queue(queue).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    let payload = vec![0; 256 << 10];
    let first = client.publish("a", payload.clone()).qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(first).await.unwrap();
    disk.stall(true);
    let mut accepted = 0;
    let refused = loop {
        match client.publish("a", payload.clone()).qos(Qos::AtLeastOnce).enqueue() {
            Ok(delivery) => {
                accepted += payload.len();
                assert!(accepted < 2 * LEAST, "{accepted} bytes wait for the disk");
                let publish = peer.publish().await;
                peer.ack(&publish).await;
                assert!(limited(delivery.acked()).await.is_ok(), "QoS 1 does not wait");
            }
            Err(error) => break error,
        }
    };
    let NotAccepted::Store(why) = refused.reason() else { panic!("{refused}") };
    assert!(matches!(**why, StoreError::Behind { bytes } if bytes > LEAST as u64), "{why}");
    assert!(refused.is_transient() && accepted > LEAST - payload.len(), "{accepted}");
    assert!(matches!(told(&mut events, "store-trouble").await, Event::StoreTrouble { refusing: true, .. }));
    disk.stall(false);
    told(&mut events, "store-well").await;
    client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_goes_on_by_itself() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let client = on(&listener, &disk).start().unwrap();
    let mut events = client.events();
    disk.fail(Some(Disk::no_space()));
    let before = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    assert!(matches!(told(&mut events, "store-trouble").await, Event::StoreTrouble { refusing: true, .. }));
    let refused = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap_err();
    assert_eq!(refused.reason(), &NotAccepted::Store(Disk::no_space().into()));
    assert!(refused.is_transient());
    assert_eq!(refused.into_publication().unwrap().payload, "2");
    assert_eq!(client.outlook(), Outlook::Blocked { why: Obstacle::Store(Disk::no_space()) });
    assert!(before.outcome().is_none(), "what was accepted stays accepted");
    disk.fail(None);
    told(&mut events, "store-well").await;
    assert_eq!(limited(before.stored()).await.unwrap(), Stored::OnDisk);
    assert!(matches!(client.outlook(), Outlook::Later { durable: true, ahead: 1 }));
    client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
}

#[tokio::test]
async fn with_a_disk_that_has_no_room_for_messages_a_link_is_lost_and_found_and_the_queue_drains() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let client = on(&listener, &disk).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    disk.has_room_for_messages(false);
    let waiting = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    told(&mut events, "store-trouble").await;
    peer.publish().await;
    drop(peer);
    // The session is lost, too.
    let mut peer = listener.open(false).await;
    let publish = peer.publish().await;
    assert_eq!(publish.payload, "1");
    peer.ack(&publish).await;
    limited(waiting.acked()).await.unwrap();
    disk.has_room_for_messages(true);
    told(&mut events, "store-well").await;
    limited(client.shutdown().into_future()).await;
    assert!(left_to_the_next_start(&disk).await.is_empty());
}

#[tokio::test]
async fn a_broken_disk_stops_acceptance_and_not_the_link() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let client = on(&listener, &disk).start().unwrap();
    let mut events = client.events();
    let stored = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    limited(stored.stored()).await.unwrap();
    disk.fail(Some(Disk::broken()));
    let unstored = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    assert_eq!(limited(unstored.stored()).await.unwrap(), Stored::InMemory);
    told(&mut events, "store-trouble").await;
    let refused = client.publish("a", "3").qos(Qos::AtLeastOnce).enqueue().unwrap_err();
    assert_eq!(refused.reason(), &NotAccepted::Store(Disk::broken().into()));
    let mut peer = listener.open(false).await;
    for expected in ["1", "2"] {
        let publish = peer.publish().await;
        assert_eq!(publish.payload, expected, "what was accepted is still delivered");
        peer.ack(&publish).await;
    }
    limited(unstored).await.unwrap();
}

#[tokio::test]
async fn a_store_that_panics_is_a_broken_one_and_everything_is_answered_for() {
    for policy in [WhenStoreFails::Refuse, WhenStoreFails::GoOnInMemory] {
        let (listener, disk) = (Listener::bind().await, Disk::default());
        let queue = Queue::in_store(disk.clone()).when_store_fails(policy);
        let client = listener.client().client_id("q").queue(queue).start().unwrap();
        let mut events = client.events();
        let mut peer = listener.open(false).await;
        disk.panic();
        let (mine, exact) = (Qos::AtLeastOnce, Qos::ExactlyOnce);
        let unstored = client.publish("a", "1").qos(mine).enqueue().unwrap();
        assert_eq!(limited(unstored.stored()).await.unwrap(), Stored::InMemory);
        let Event::StoreTrouble { error, refusing } = told(&mut events, "store-trouble").await else {
            unreachable!()
        };
        assert!(error.is_fatal() && error.to_string().contains("panicked: on purpose"), "{error}");
        let state = client.state();
        assert!(!state.durable && state.refusing == refusing, "{state:?}");
        let publish = peer.publish().await;
        peer.ack(&publish).await;
        limited(unstored).await.unwrap();
        let next = client.publish("a", "2").qos(exact).enqueue();
        assert_eq!(next.is_err(), policy == WhenStoreFails::Refuse);
        if let Ok(next) = next {
            let publish = peer.publish().await;
            release(&mut peer, &publish).await;
            limited(next).await.unwrap();
        }
        let report = limited(client.shutdown().into_future()).await;
        assert_eq!((report.lost, report.still_queued), (0, 0), "{report:?}");
    }
}

/// The driver hears of the broken disk between two looks at what was accepted.
#[tokio::test]
async fn what_was_accepted_before_a_broken_disk_was_known_is_called_in_memory_too() {
    for policy in [WhenStoreFails::Refuse, WhenStoreFails::GoOnInMemory] {
        let (listener, disk) = (Listener::bind().await, Disk::default());
        let queue = Queue::in_store(disk.clone()).when_store_fails(policy);
        let client = listener.client().client_id("q").queue(queue).start().unwrap();
        disk.stall(true);
        disk.fail(Some(Disk::broken()));
        client.publish("a", "first").qos(Qos::AtLeastOnce).enqueue().unwrap();
        disk.has_begun(1).await;
        disk.stall(false);
        // More than the driver takes at once, and it does not run before all of them are accepted.
        let accepted: Vec<_> = (0..10_000)
            .map(|n| client.publish("a", n.to_string()).qos(Qos::AtLeastOnce).enqueue().unwrap())
            .collect();
        for delivery in accepted {
            assert_eq!(limited(delivery.stored()).await.unwrap(), Stored::InMemory);
        }
    }
}

/// In virtual time: a shutdown waits for a disk for 10 s.
#[tokio::test(start_paused = true)]
async fn what_a_stalled_disk_may_still_write_is_not_called_never_sent() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let client = on(&listener, &disk).start().unwrap();
    disk.stall(true);
    let writing = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    disk.has_begun(1).await;
    let waiting = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let shutdown = client.shutdown().within(Duration::from_millis(100)).into_future();
    let report = tokio::time::timeout(Duration::from_secs(60), shutdown).await.unwrap();
    assert_eq!((report.lost, report.maybe_delivered, report.still_queued), (2, 2, 0));
    for delivery in [&writing, &waiting] {
        assert!(matches!(delivery.acked().await, Err(PublishError::Stopped { maybe_delivered: true })));
    }
    assert_eq!(left_to_the_next_start(&disk).await, [writing.id(), waiting.id()]);
}

/// Ends the stall, and gives what waits once the thread of the store is gone.
async fn left_to_the_next_start(disk: &Disk) -> Vec<PublishId> {
    disk.stall(false);
    while disk.in_use() {
        tokio::task::yield_now().await;
    }
    let next = disk.clone().recover().unwrap();
    let sent = next.sent.iter().map(|was| was.id);
    next.waiting.iter().map(|waits| waits.id).chain(sent).collect()
}

#[tokio::test]
async fn what_was_delivered_while_the_disk_stood_still_is_not_sent_by_the_next_start() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let client = on(&listener, &disk).start().unwrap();
    let mut peer = listener.open(false).await;
    let delivered = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let first = peer.publish().await;
    assert_eq!(limited(delivered.stored()).await.unwrap(), Stored::OnDisk);
    disk.stall(true);
    // With it a commit is under way, and what follows waits behind that.
    let other = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    peer.publish().await;
    peer.ack(&first).await;
    limited(delivered.acked()).await.unwrap();
    drop(peer);
    // A shutdown waits for a disk for 10 s.
    tokio::time::pause();
    let shutdown = client.shutdown().within(Duration::from_millis(100)).into_future();
    tokio::time::timeout(Duration::from_secs(60), shutdown).await.unwrap();
    assert_eq!(left_to_the_next_start(&disk).await, [other.id()]);
}

/// Nothing waits for the disk then, and it is written all the same.
#[test]
fn what_a_dropped_runtime_leaves_to_be_written_is_not_called_never_sent() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let disk = Disk::default();
    disk.stall(true);
    let (client, delivery) = runtime.block_on(async {
        let client = on(&Listener::bind().await, &disk).start().unwrap();
        let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
        assert_eq!(limited(client.pending()).await.len(), 1);
        (client, delivery)
    });
    runtime.shutdown_timeout(LIMIT);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        let ended = limited(delivery.acked()).await;
        assert!(matches!(ended, Err(PublishError::Stopped { maybe_delivered: true })), "{ended:?}");
        let report = limited(client.shutdown().into_future()).await;
        assert_eq!((report.lost, report.maybe_delivered), (1, 1));
        assert_eq!(left_to_the_next_start(&disk).await, [delivery.id()]);
    });
}

#[tokio::test]
async fn that_it_stopped_is_the_last_that_is_told() {
    for stored in [false, true] {
        let (listener, disk) = (Listener::bind().await, Disk::default());
        let queue = if stored { Queue::in_store(disk.clone()) } else { Queue::in_memory() };
        let client = listener.client().client_id("q").queue(queue.max_messages(2)).start().unwrap();
        let mut events = client.events().with_deliveries();
        for _ in 0..2 {
            client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
        }
        client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap_err();
        limited(client.shutdown().within(Duration::from_millis(50)).into_future()).await;
        let mut told = Vec::new();
        while let Some(event) = limited(events.next()).await {
            told.push(event.name());
        }
        assert_eq!(told.iter().filter(|name| **name == "failed").count(), 2, "{told:?}");
        assert!(told.contains(&"queue-ok"), "{told:?}");
        assert_eq!(told.iter().position(|name| *name == "stopped"), Some(told.len() - 1), "{told:?}");
    }
}

#[tokio::test]
async fn a_broken_disk_may_be_told_to_go_on_in_memory_and_says_so() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let queue =
        Queue::in_store(disk.clone()).when_store_fails(WhenStoreFails::GoOnInMemory).memory_window_bytes(1);
    let client = listener.client().client_id("q").queue(queue).start().unwrap();
    let mut events = client.events();
    disk.fail(Some(Disk::broken()));
    for n in 0..3 {
        client.publish("a", n.to_string()).qos(Qos::ExactlyOnce).enqueue().unwrap();
    }
    assert!(matches!(told(&mut events, "store-trouble").await, Event::StoreTrouble { refusing: false, .. }));
    let last = client.publish("a", "3").qos(Qos::ExactlyOnce).enqueue().unwrap();
    assert_eq!(limited(last.stored()).await.unwrap(), Stored::InMemory);
    assert!(matches!(client.outlook(), Outlook::Later { durable: false, ahead: 4 }));
    let mut peer = listener.open(false).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(peer.publish().await);
    }
    assert_eq!(
        seen.iter().map(|p| String::from_utf8_lossy(&p.payload).into_owned()).collect::<String>(),
        "0123"
    );
    for publish in &seen {
        release(&mut peer, publish).await;
    }
    limited(last).await.unwrap();
    let report = limited(client.shutdown().into_future()).await;
    assert_eq!((report.lost, report.still_queued), (0, 0));
}

#[tokio::test]
async fn bodies_beyond_the_window_stay_on_the_store_and_come_back_in_order() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let queue = Queue::in_store(disk.clone()).memory_window_bytes(100);
    let client = listener.client().client_id("q").queue(queue).start().unwrap();
    let mut last = None;
    for n in 0..500 {
        last = Some(client.publish("a", n.to_string()).qos(Qos::AtLeastOnce).enqueue().unwrap());
    }
    let mut peer = listener.open(false).await;
    for n in 0..500 {
        let publish = peer.publish().await;
        assert_eq!(publish.payload, n.to_string());
        peer.ack(&publish).await;
    }
    limited(last.unwrap()).await.unwrap();
    assert!(disk.inner.0.lock().unwrap().loads > 10, "they were read back in parts");
}

#[tokio::test]
async fn the_oldest_message_makes_room_where_that_is_the_policy() {
    let listener = Listener::bind().await;
    let queue = Queue::in_memory().max_messages(2).when_full(WhenFull::DropOldest);
    let client = listener.client().queue(queue).start().unwrap();
    let all: Vec<_> =
        (0..5).map(|n| client.publish("a", n.to_string()).qos(Qos::AtLeastOnce).enqueue()).collect();
    let accepted = all.iter().filter(|accepted| accepted.is_ok()).count();
    assert!(accepted >= 4, "up to twice the limit is taken before the driver makes room");
    assert!(!client.metrics().queue_full && !client.state().queue_full, "it takes every message");
    for delivery in all[..accepted - 2].iter().flatten() {
        assert!(matches!(limited(delivery.acked()).await, Err(PublishError::Evicted)));
    }
    assert!(client.outlook().will_deliver());
    let mut peer = listener.open(false).await;
    for n in accepted - 2..accepted {
        assert_eq!(peer.publish().await.payload, n.to_string());
    }
}

#[tokio::test]
async fn the_newest_message_is_kept_however_many_are_on_their_way() {
    for on_their_way in [10, 20] {
        let listener = Listener::bind().await;
        let queue = Queue::in_memory().max_messages(10).when_full(WhenFull::DropOldest);
        let client = listener.client().queue(queue).start().unwrap();
        let mut events = client.events();
        let publish = |n: usize| client.publish("a", n.to_string()).qos(Qos::AtLeastOnce).enqueue();
        let mut peer = listener.open(false).await;
        let mut sent = Vec::new();
        for n in 0..on_their_way {
            sent.push(publish(n).unwrap());
            peer.publish().await;
        }
        peer.reset();
        told(&mut events, "closed").await;
        let mut later = Vec::new();
        for n in on_their_way..on_their_way + 5 {
            assert!(client.outlook().will_deliver() && !client.metrics().queue_full);
            later.push(publish(n).expect("it will be delivered, it said"));
            // The driver had its turn.
            limited(client.pending()).await;
        }
        let newest = later.pop().unwrap();
        for older in later {
            assert!(matches!(limited(older).await, Err(PublishError::Evicted)));
        }
        let mut peer = listener.open(true).await;
        for n in (0..on_their_way).chain([on_their_way + 4]) {
            let publish = peer.publish().await;
            assert_eq!(publish.payload, n.to_string());
            peer.ack(&publish).await;
        }
        limited(newest).await.unwrap();
    }
}

#[tokio::test]
async fn the_newest_message_is_given_up_or_waits_where_that_is_the_policy() {
    let listener = Listener::bind().await;
    let full = |when_full| Queue::in_memory().max_messages(1).when_full(when_full);
    let client = listener.client().queue(full(WhenFull::DropNewest)).start().unwrap();
    let first = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let second = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap();
    assert!(matches!(limited(second).await, Err(PublishError::Evicted)));
    assert!(first.outcome().is_none());
    limited(client.shutdown().within(Duration::ZERO).into_future()).await;

    let listener = Listener::bind().await;
    let client = listener.client().queue(full(WhenFull::Block)).start().unwrap();
    client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let refused = client.publish("a", "2").qos(Qos::AtLeastOnce).enqueue().unwrap_err();
    assert!(matches!(refused.reason(), NotAccepted::QueueFull { .. }), "enqueue cannot wait");
    let (answer, ()) =
        tokio::join!(limited(client.publish("a", "2").qos(Qos::AtLeastOnce).into_future()), async {
            let mut peer = listener.open(false).await;
            for expected in ["1", "2"] {
                let publish = peer.publish().await;
                assert_eq!(publish.payload, expected);
                peer.ack(&publish).await;
            }
        });
    answer.unwrap();
}

#[tokio::test]
async fn a_small_message_that_finds_room_does_not_make_a_large_one_wait_for_ever() {
    let listener = Listener::bind().await;
    let queue = Queue::in_memory().max_bytes(20_000).when_full(WhenFull::Block);
    let client = listener.client().queue(queue).start().unwrap();
    let send = |bytes: usize| client.publish("a", vec![b'x'; bytes]).qos(Qos::AtLeastOnce);
    send(500).enqueue().unwrap();
    send(19_100).enqueue().unwrap();
    // Both wait for room, each in a task of its own; when the first message is gone there is enough for the small one.
    let large = tokio::spawn(limited(send(10_000).into_future()));
    tokio::task::yield_now().await;
    let small = tokio::spawn(limited(send(100).into_future()));
    tokio::task::yield_now().await;
    let mut peer = listener.open(false).await;
    let first = peer.publish().await;
    let second = peer.publish().await;
    peer.ack(&first).await;
    let third = peer.publish().await;
    assert_eq!(third.payload.len(), 100);
    peer.ack(&second).await;
    let fourth = peer.publish().await;
    assert_eq!(fourth.payload.len(), 10_000);
    peer.ack(&third).await;
    peer.ack(&fourth).await;
    limited(large).await.unwrap().unwrap();
    limited(small).await.unwrap().unwrap();
}

#[tokio::test]
async fn of_each_topic_only_the_latest_message_is_sent_in_the_place_of_the_first() {
    for disk in [None, Some(Disk::default())] {
        let listener = Listener::bind().await;
        let queue = match &disk {
            None => Queue::in_memory(),
            // Nothing but the first message stays near.
            Some(disk) => Queue::in_store(disk.clone()).memory_window_bytes(1),
        };
        let client = listener.client().client_id("q").queue(queue.latest_only()).start().unwrap();
        let all: Vec<_> = [("a", "1"), ("b", "1"), ("c", "1"), ("b", "2"), ("a", "2"), ("b", "3")]
            .map(|(topic, value)| client.publish(topic, value).qos(Qos::AtLeastOnce).enqueue().unwrap())
            .into();
        for superseded in [0, 1, 3] {
            assert!(matches!(limited(all[superseded].acked()).await, Err(PublishError::Superseded)));
        }
        let mut peer = listener.open(false).await;
        for expected in [("a", "2"), ("b", "3"), ("c", "1")] {
            let publish = peer.publish().await;
            assert_eq!((publish.topic.as_str(), &publish.payload[..]), (expected.0, expected.1.as_bytes()));
            peer.ack(&publish).await;
        }
        for sent in [2, 4, 5] {
            limited(all[sent].acked()).await.unwrap();
        }
        // Once sent it is replaced by nothing.
        let (sent, next) = (client.publish("a", "4"), client.publish("a", "5"));
        let sent = sent.qos(Qos::AtLeastOnce).enqueue().unwrap();
        let first = peer.publish().await;
        let next = next.qos(Qos::AtLeastOnce).enqueue().unwrap();
        let second = peer.publish().await;
        peer.ack(&first).await;
        peer.ack(&second).await;
        limited(sent).await.unwrap();
        limited(next).await.unwrap();
    }
}

#[tokio::test]
async fn a_queue_of_the_client_can_put_a_term_to_every_message() {
    let (listener, disk) = (Listener::bind().await, Disk::default());
    let queue =
        Queue::in_store(disk.clone()).memory_window_bytes(1).expires_after(Duration::from_millis(100));
    let client = listener.client().client_id("q").queue(queue).start().unwrap();
    let all: Vec<_> =
        (0..3).map(|_| client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap()).collect();
    let long = client.publish("a", "2").qos(Qos::AtLeastOnce).expires_after(LIMIT * 10).enqueue().unwrap();
    for delivery in all {
        assert!(matches!(limited(delivery).await, Err(PublishError::Expired)));
    }
    let mut peer = listener.open(false).await;
    let publish = peer.publish().await;
    assert_eq!(&publish.payload[..], b"2");
    let left = publish.properties.unwrap().message_expiry.unwrap();
    assert!((90..=100).contains(&left), "what is left is told: {left}");
    assert!(long.outcome().is_none());
    assert!(matches!(client.link(), Link::Open { .. }));
}
