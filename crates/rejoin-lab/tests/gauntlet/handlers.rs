//! Code of the application that does not come back: row 21.

use std::convert::Infallible;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoin::{Client, Event, Events, Message, Qos, Version};
use rejoin_core::codec::packet::{Connect, Packet};
use rejoin_lab::{Peer, ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_21_a_handler_that_never_returns_or_panics_holds_nothing_up: handlers;
    row_21_a_handler_that_blocks_its_thread_holds_nothing_up: blocked;
}

const PINGS_EVERY: Duration = Duration::from_millis(50);
const WINDOW: u16 = 8;

async fn grant_all(peer: &mut Peer, filters: usize) -> ScriptResult {
    let mut granted = 0;
    while granted < filters {
        let subscribe = peer.expect_subscribe().await?;
        granted += subscribe.filters.len();
        peer.grant(&subscribe).await?;
    }
    Ok(())
}

/// Pings go on coming, each soon after the last; nothing else comes.
async fn pings_go_on(peer: &mut Peer) -> ScriptResult {
    peer.set_answers_pings(false);
    for _ in 0..4 {
        let begin = Instant::now();
        assert_eq!(peer.recv().await?, Packet::PingReq);
        assert!(begin.elapsed() < PINGS_EVERY + SLACK, "a ping came after {:?}", begin.elapsed());
        peer.send(&Packet::PingResp).await?;
    }
    peer.set_answers_pings(true);
    Ok(())
}

fn assert_window_is_announced(connect: &Connect, version: Version) {
    let announced = connect.properties.receive_maximum.map(std::num::NonZeroU16::get);
    assert_eq!(announced, (version == V5).then_some(WINDOW));
}

fn builder(broker: &ScriptedBroker, version: Version) -> rejoin::Builder {
    client(broker.addr(), version).session(kept()).ping_after(PINGS_EVERY).receive_maximum(WINDOW)
}

async fn handlers(version: Version) -> ScriptResult {
    print(&format!("row 21: ping after {PINGS_EVERY:?}, receive maximum {WINDOW}"));
    let mut broker = ScriptedBroker::start().await.unwrap();
    let prepared = builder(&broker, version).prepare().unwrap();
    let mut events = prepared.client().events();
    let never = async |_: Message| std::future::pending::<Result<(), Infallible>>().await;
    let panics = |_: Message| async move {
        assert!(std::hint::black_box(false), "on purpose");
        Ok::<(), Infallible>(())
    };
    prepared.client().handle("gauntlet/never", Qos::AtLeastOnce, never).declare().unwrap();
    prepared.client().handle("gauntlet/panics", Qos::AtLeastOnce, panics).declare().unwrap();
    let mut good = prepared.client().subscribe("gauntlet/good", Qos::AtMostOnce).declare().unwrap();
    let client = prepared.start();
    for link in 0..3u64 {
        let (mut peer, connect) = broker.accept_session(link > 0).await?;
        assert_window_is_announced(&connect, version);
        opened(&mut events).await;
        grant_all(&mut peer, 3).await?;
        limited("ready", client.wait_ready(LIMIT)).await.unwrap();
        // First the one that panics: acknowledgements leave in the order of arrival [MQTT-4.6.0-2].
        peer.publish("gauntlet/panics", "1", Qos::AtLeastOnce, id(1)).await?;
        assert_eq!(Some(peer.expect_puback().await?.packet_id), id(1));
        for n in 2..=WINDOW {
            peer.publish("gauntlet/never", n.to_string(), Qos::AtLeastOnce, id(n)).await?;
        }
        peer.publish("gauntlet/good", link.to_string(), Qos::AtMostOnce, None).await?;
        let message = limited("others get theirs", good.next()).await.unwrap();
        assert_eq!(message.payload, Bytes::from(link.to_string()));
        pings_go_on(&mut peer).await?;
        let stats = client.stats();
        assert_eq!((stats.handler_panics, stats.handler_errors), (link + 1, link + 1));
        peer.reset();
        closed(&mut events).await;
        assert!(!client.ready());
    }
    close_within(&client, Duration::from_millis(300)).await;
    Ok(())
}

/// The runtime of the application has one thread, and its handler never gives it back.
async fn blocked(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = builder(&broker, version).own_thread();
    let (hand_over, handed) = tokio::sync::oneshot::channel::<(Client, Events)>();
    let (release, released) = mpsc::channel::<()>();
    let (entered, inside) = tokio::sync::oneshot::channel::<()>();
    let application = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(application(builder, hand_over, entered, released));
    });
    let (client, mut events) = limited("started", handed).await.unwrap();
    let (mut peer, connect) = broker.accept_session(false).await?;
    assert_window_is_announced(&connect, version);
    opened(&mut events).await;
    grant_all(&mut peer, 1).await?;
    for n in 1..=WINDOW {
        peer.publish("gauntlet/blocks", vec![b'x'; 1024], Qos::AtLeastOnce, id(n)).await?;
    }
    limited("the handler is called", inside).await.unwrap();
    for n in 0..100u32 {
        peer.publish("gauntlet/blocks", n.to_string(), Qos::AtMostOnce, None).await?;
    }
    if version == V5 {
        // 5.0 never stops reading, so what is beyond the bound is dropped and counted; 3.1.1 may pause instead.
        pings_go_on(&mut peer).await?;
        let dropped = client.stats().dropped_qos0;
        assert!((80..=100).contains(&dropped), "{dropped} of 100 were dropped beside a full stream");
    } else {
        peer.expect_nothing(PINGS_EVERY * 4).await?;
    }
    for _ in 0..2 {
        peer.reset();
        closed(&mut events).await;
        (peer, _) = broker.accept_session(true).await?;
        opened(&mut events).await;
        grant_all(&mut peer, 1).await?;
        limited("ready", client.wait_ready(LIMIT)).await.unwrap();
        pings_go_on(&mut peer).await?;
    }
    assert!(inside_still(&application), "the handler still holds its thread");
    close_within(&client, Duration::from_millis(300)).await;
    drop(release);
    drop(client);
    tokio::task::spawn_blocking(move || application.join()).await.unwrap().unwrap();
    Ok(())
}

fn inside_still(application: &std::thread::JoinHandle<()>) -> bool {
    !application.is_finished()
}

async fn application(
    builder: rejoin::Builder,
    hand_over: tokio::sync::oneshot::Sender<(Client, Events)>,
    entered: tokio::sync::oneshot::Sender<()>,
    released: mpsc::Receiver<()>,
) {
    let prepared = builder.prepare().unwrap();
    let events = prepared.client().events();
    let once = std::sync::Mutex::new(Some((entered, released)));
    let over = std::sync::Arc::new(tokio::sync::Notify::new());
    let tell = std::sync::Arc::clone(&over);
    let handler = move |_: Message| {
        if let Some((entered, released)) = once.lock().unwrap().take() {
            let _ = entered.send(());
            let _ = released.recv();
            tell.notify_one();
        }
        async { Ok::<(), Infallible>(()) }
    };
    let handling = prepared.client().handle("gauntlet/blocks", Qos::AtLeastOnce, handler);
    handling.options(|subscribe| subscribe.capacity(10)).declare().unwrap();
    let client = prepared.start();
    let _ = hand_over.send((client, events));
    over.notified().await;
}

fn id(n: u16) -> Option<rejoin_core::codec::packet::PacketId> {
    rejoin_core::codec::packet::PacketId::new(n)
}

async fn event(events: &mut Events, what: &str, wanted: impl Fn(&Event) -> bool) {
    while !wanted(&limited(what, events.next()).await.expect("the client runs")) {}
}

async fn opened(events: &mut Events) {
    event(events, "opened", |event| matches!(event, Event::Opened { .. })).await;
}

async fn closed(events: &mut Events) {
    event(events, "closed", |event| matches!(event, Event::Closed { .. })).await;
}
