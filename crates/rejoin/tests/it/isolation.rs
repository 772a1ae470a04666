//! User code, however slow or panicking, delays neither keep-alive nor recovery.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rejoin::{AuthStep, Authentication, Credentials, Event, Message, OnError, Qos};
use rejoin_core::codec::packet::{Ack, Packet, PacketId};
use rejoin_core::codec::reason::ReasonCode;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::links::event;
use crate::peer::{LIMIT, Listener, Peer, connack, limited, message};
use crate::secrets::Log;

/// Pings must go on coming, each soon after the last.
async fn pings_go_on(peer: &mut Peer) {
    for _ in 0..5 {
        let before = Instant::now();
        loop {
            let packet = peer.next().await;
            if packet == Packet::PingReq {
                break;
            }
            assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}");
        }
        peer.send(Packet::PingResp).await;
        assert!(before.elapsed() < Duration::from_secs(2), "a ping came {:?} late", before.elapsed());
    }
}

#[tokio::test]
async fn a_handler_that_never_returns_and_one_that_panics() {
    let listener = Listener::bind().await;
    let client = listener.client().ping_after(Duration::from_millis(50)).start().unwrap();
    client
        .handle("slow", Qos::AtLeastOnce, async |_: Message| {
            std::future::pending::<()>().await;
            Ok::<(), std::fmt::Error>(())
        })
        .declare()
        .unwrap();
    client
        .handle("panics", Qos::AtLeastOnce, |_: Message| async move {
            assert!(std::hint::black_box(false), "on purpose");
            Ok::<(), std::fmt::Error>(())
        })
        .declare()
        .unwrap();
    let mut peer = listener.open(false).await;
    let mut granted = 0;
    while granted < 2 {
        granted += peer.grant().await.0.len();
    }
    peer.send(Packet::Publish(message("panics", "1", Qos::AtLeastOnce, 1))).await;
    assert_eq!(peer.puback().await.packet_id.get(), 1, "a panic counts as an error, which is acknowledged");
    peer.send(Packet::Publish(message("slow", "2", Qos::AtLeastOnce, 2))).await;
    peer.send(Packet::Publish(message("slow", "3", Qos::AtLeastOnce, 3))).await;
    pings_go_on(&mut peer).await;
    assert_eq!((client.stats().handler_panics, client.stats().handler_errors), (1, 1));
    // And the link comes back under it.
    peer.reset();
    let mut peer = listener.open(true).await;
    let mut granted = 0;
    while granted < 2 {
        granted += peer.grant().await.0.len();
    }
    limited(client.wait_ready(LIMIT)).await.unwrap();
    pings_go_on(&mut peer).await;
}

#[tokio::test]
async fn a_handler_that_fails_is_told_in_the_log_and_its_message_is_acknowledged() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let fails = async |_: Message| Err::<(), _>("no such table");
    client.handle("a", Qos::AtLeastOnce, fails).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    for id in 1..=20 {
        peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, id))).await;
        assert_eq!(peer.puback().await.packet_id.get(), id);
    }
    assert_eq!(client.stats().handler_errors, 20);
    let log = log.0.lock().unwrap().clone();
    let told: Vec<_> = log.lines().filter(|line| line.contains("no such table")).collect();
    assert_eq!(told.len(), 1, "not one line for each message: {told:?}");
    assert!(told[0].starts_with("WARN"), "{told:?}");
}

#[tokio::test]
async fn what_handlers_do_wrong_with_every_message_does_not_fill_the_log() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let panics = |_: Message| async move {
        assert!(std::hint::black_box(false), "on purpose");
        Ok::<(), std::fmt::Error>(())
    };
    let hangs = |_: Message| std::future::pending::<Result<(), std::fmt::Error>>();
    client.handle("panics", Qos::AtLeastOnce, panics).declare().unwrap();
    let hangs = client.handle("hangs", Qos::AtLeastOnce, hangs).time_limit(Duration::from_millis(1));
    hangs.declare().unwrap();
    let mut peer = listener.open(false).await;
    let mut granted = 0;
    while granted < 2 {
        granted += peer.grant().await.0.len();
    }
    for id in 1..=20 {
        let topic = if id % 2 == 0 { "panics" } else { "hangs" };
        peer.send(Packet::Publish(message(topic, "1", Qos::AtLeastOnce, id))).await;
        assert_eq!(peer.puback().await.packet_id.get(), id);
    }
    let log = log.0.lock().unwrap().clone();
    for words in ["a handler panicked", "a handler took too long"] {
        let told = log.lines().filter(|line| line.starts_with("WARN") && line.contains(words)).count();
        assert_eq!(told, 1, "{words}");
    }
}

/// At 3.1.1 a client cannot tell the broker how large a message may be.
#[tokio::test]
async fn messages_above_the_limit_do_not_fill_the_log() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let listener = Listener::bind_311().await;
    let builder = listener.client().version(rejoin::VersionPolicy::Only311);
    let client = builder.maximum_packet_size(200).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    for id in 1..=20 {
        let mut large = message("a", "", Qos::AtLeastOnce, id);
        large.payload = vec![b'x'; 300].into();
        peer.send(Packet::Publish(large)).await;
        event(&mut events, "oversized").await;
    }
    let log = log.0.lock().unwrap().clone();
    let told = log.lines().filter(|line| line.contains("above our size limit")).count();
    assert_eq!(told, 1, "not one line for each message");
}

#[tokio::test]
async fn a_handler_keeps_the_client_alive_by_a_client_and_not_by_a_weak_one() {
    let listener = Listener::bind().await;
    for weak in [false, true] {
        let client = listener.client().start().unwrap();
        let mut events = client.events();
        let (strong, weakly) = ((!weak).then(|| client.clone()), client.downgrade());
        let handler = move |_: Message| {
            let client = strong.clone().or_else(|| weakly.upgrade());
            async move { client.map(drop).ok_or("the client is gone") }
        };
        client.handle("a", Qos::AtLeastOnce, handler).declare().unwrap();
        let mut peer = listener.open(false).await;
        peer.grant().await;
        drop(client);
        if weak {
            event(&mut events, "stopped").await;
        } else {
            peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, 1))).await;
            assert_eq!(peer.puback().await.packet_id.get(), 1);
        }
    }
}

#[tokio::test]
async fn a_look_at_the_state_that_does_not_end() {
    let listener = Listener::bind().await;
    let client = listener.client().own_thread().ping_after(Duration::from_millis(50)).start().unwrap();
    let peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let mut states = client.state_watch();
    let look = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        drop(runtime.block_on(states.wait_for(move |_| {
            let _ = entered.send(());
            let _ = blocked.recv();
            true
        })));
    });
    tokio::task::spawn_blocking(move || inside.recv_timeout(LIMIT)).await.unwrap().unwrap();
    // The state changes meanwhile.
    peer.reset();
    let mut peer = listener.open(true).await;
    pings_go_on(&mut peer).await;
    assert!(client.is_connection_open());
    drop(release);
    tokio::task::spawn_blocking(|| look.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_callback_that_blocks_its_thread() {
    let listener = Listener::bind().await;
    let (release, blocked) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let client = listener
        .client()
        .ping_after(Duration::from_millis(50))
        .on_open(move |_| {
            let _ = entered.send(());
            let _ = blocked.recv();
        })
        .start()
        .unwrap();
    let mut peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    tokio::task::spawn_blocking(move || inside.recv_timeout(LIMIT)).await.unwrap().unwrap();
    pings_go_on(&mut peer).await;
    drop(release);
}

/// A function that blocks its thread until the first of these is dropped; the second tells that it does.
fn blocking() -> (mpsc::Sender<()>, mpsc::Receiver<()>, impl Fn() + Send + Sync + 'static) {
    let (release, blocked) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let blocked = Mutex::new(blocked);
    let block = move || {
        let _ = entered.send(());
        let _ = blocked.lock().unwrap().recv();
    };
    (release, inside, block)
}

async fn begins(inside: mpsc::Receiver<()>) {
    tokio::task::spawn_blocking(move || inside.recv_timeout(LIMIT)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_method_of_authentication_that_blocks_its_thread() {
    let listener = Listener::bind().await;
    let (release, inside, block) = blocking();
    let method = Authentication::new("M", move |step| {
        if matches!(step, AuthStep::Begin { again: true }) {
            block();
        }
        async { Ok(None) }
    });
    let builder = listener.client().own_thread().authentication(method);
    let client = builder.ping_after(Duration::from_millis(50)).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    assert!(matches!(peer.next().await, Packet::Connect(_)));
    let Packet::ConnAck(mut welcome) = connack(false, ReasonCode::SUCCESS) else { unreachable!() };
    welcome.properties.authentication_method = Some(rejoin::Text::from_static("M"));
    peer.send(Packet::ConnAck(welcome)).await;
    event(&mut events, "authenticated").await;
    client.reauthenticate();
    begins(inside).await;
    pings_go_on(&mut peer).await;
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_credential_provider_that_blocks_its_thread_while_a_link_is_open() {
    let listener = Listener::bind().await;
    let (release, inside, block) = blocking();
    let is_second = AtomicBool::new(false);
    let builder = listener.client().own_thread().ping_after(Duration::from_millis(50));
    let _client = builder
        .login_with(move || {
            if is_second.swap(true, Ordering::Relaxed) {
                block();
            }
            async {
                let soon = SystemTime::now() + Duration::from_secs(1);
                Ok(Credentials::token("t").expires_at(soon))
            }
        })
        .start()
        .unwrap();
    let mut peer = listener.open(false).await;
    let asked = tokio::spawn(begins(inside));
    while !asked.is_finished() {
        pings_go_on(&mut peer).await;
    }
    asked.await.unwrap();
    pings_go_on(&mut peer).await;
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_credential_provider_that_blocks_its_thread_before_the_first_link() {
    let listener = Listener::bind().await;
    let (release, inside, block) = blocking();
    let client = listener
        .client()
        .own_thread()
        .stage_limits(|limits| limits.credentials = Duration::from_millis(50))
        .login_with(move || {
            block();
            async { Ok(Credentials::token("t")) }
        })
        .start()
        .unwrap();
    let mut events = client.events();
    begins(inside).await;
    let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert!(cause.to_string().contains("gave no answer within"), "{cause}");
    let report = limited(client.shutdown().within(Duration::from_millis(50)).into_future()).await;
    assert_eq!(report.lost, 0);
    drop(release);
}

/// On this runtime of one thread a blocked task blocks all tasks; the driver has a thread of its own.
#[tokio::test]
async fn a_task_that_blocks_the_only_thread() {
    let listener = Listener::bind().await;
    let url = listener.url.clone();
    let user = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (done, wait) = mpsc::channel::<()>();
        let client = runtime.block_on(async {
            rejoin::Client::builder(&url).ping_after(Duration::from_millis(50)).own_thread().start().unwrap()
        });
        // From here on nobody runs this runtime's tasks.
        (client, runtime, done, wait)
    });
    let (client, runtime, _done, _wait) = tokio::task::spawn_blocking(|| user.join().unwrap()).await.unwrap();
    let mut peer = listener.open(false).await;
    pings_go_on(&mut peer).await;
    drop(client);
    tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
}

#[tokio::test]
async fn a_failing_handler_may_ask_for_the_message_again() {
    let listener = Listener::bind().await;
    let client = listener.client().start().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    client
        .handle("a", Qos::AtLeastOnce, move |message: Message| {
            let tell = tell.clone();
            async move {
                let _ = tell.send(message.dup);
                if message.dup { Ok(()) } else { Err("not yet") }
            }
        })
        .on_error(OnError::Reconnect)
        .declare()
        .unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::AtLeastOnce, 1))).await;
    assert_eq!(limited(told.recv()).await, Some(false));
    while let Some(packet) = peer.next_or_end().await {
        assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}");
    }
    let mut peer = listener.open(true).await;
    peer.grant().await;
    let mut again = message("a", "1", Qos::AtLeastOnce, 1);
    again.dup = true;
    peer.send(Packet::Publish(again)).await;
    assert_eq!(limited(told.recv()).await, Some(true));
    assert_eq!(peer.puback().await.packet_id.get(), 1);
}

#[tokio::test]
async fn a_failing_handler_gets_a_qos_2_message_again_though_the_broker_hands_it_over_once() {
    let listener = Listener::bind().await;
    let client = listener.client().receive_maximum(1).start().unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    client
        .handle("a", Qos::ExactlyOnce, move |message: Message| {
            let tell = tell.clone();
            async move {
                let _ = tell.send(message.text().unwrap_or_default().to_owned());
                if message.dup { Ok(()) } else { Err("not yet") }
            }
        })
        .on_error(OnError::Reconnect)
        .declare()
        .unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    let mut sent = message("a", "1", Qos::ExactlyOnce, 1);
    peer.send(Packet::Publish(sent.clone())).await;
    assert_eq!(limited(told.recv()).await.unwrap(), "1");
    while let Some(packet) = peer.next_or_end().await {
        assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}");
    }
    let mut peer = listener.open(true).await;
    peer.grant().await;
    sent.dup = true;
    peer.send(Packet::Publish(sent)).await;
    // [MQTT-4.3.3-10]: the copy is none to the application, so it is the client that tries again.
    assert_eq!(limited(told.recv()).await.unwrap(), "1");
    assert!(matches!(peer.next().await, Packet::PubRec(ack) if ack.packet_id.get() == 1));
    peer.send(Packet::PubRel(Ack::new(PacketId::new(1).unwrap(), ReasonCode::SUCCESS))).await;
    assert!(matches!(peer.next().await, Packet::PubComp(ack) if ack.packet_id.get() == 1));
    assert!(told.try_recv().is_err(), "handed over once more");
}

/// A client whose handler refuses every message at QoS 2, and what the handler was called with.
fn refusing(listener: &Listener) -> (rejoin::Client, rejoin::Handling, UnboundedReceiver<Message>) {
    let client = listener
        .client()
        .client_id("q")
        .session(rejoin::Session::kept_for(Duration::from_secs(60)))
        .start()
        .unwrap();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |message: Message| {
        let _ = tell.send(message);
        async { Err("never") }
    };
    let handling =
        client.handle("a", Qos::ExactlyOnce, handler).on_error(OnError::Reconnect).declare().unwrap();
    (client, handling, told)
}

#[tokio::test]
async fn a_handler_that_always_fails_ends_with_its_client() {
    let listener = Listener::bind().await;
    let (client, _handling, mut told) = refusing(&listener);
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::ExactlyOnce, 1))).await;
    assert!(limited(told.recv()).await.is_some());
    limited(client.shutdown().into_future()).await;
    // The handler is dropped with its task; until then it may have been called for one more link.
    let mut more = 0;
    while limited(told.recv()).await.is_some() {
        more += 1;
        assert!(more < 3, "called without a link");
    }
}

#[tokio::test]
async fn a_handler_taken_away_between_two_tries_leaves_its_message_to_the_next_subscription() {
    let listener = Listener::bind().await;
    let (client, handling, mut told) = refusing(&listener);
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "1", Qos::ExactlyOnce, 1))).await;
    assert!(limited(told.recv()).await.is_some());
    // No link comes: nobody accepts.
    handling.stop();
    while limited(told.recv()).await.is_some() {}
    let mut stream = client.subscribe("a", Qos::ExactlyOnce).declare().unwrap();
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "1");
}
