//! Is it well, is it normal, and who is told: over scripted brokers.

use std::time::{Duration, Instant};

use rejoin::alerts::{AlertState, Alerts, BaselineState, Rule, Signal};
use rejoin::health::{GapCause, HealthRules, HealthStatus, HealthWatch, Ready, livez, readyz};
use rejoin::{Client, Event, Item, LossCause, Qos, Queue, ReasonCode, Session, WithGaps};
use rejoin_core::codec::packet::{Disconnect, Packet};

use crate::links::event;
use crate::peer::{LIMIT, Listener, Peer, connack, limited, message};

fn status(client: &Client, check: &str) -> (HealthStatus, String) {
    let health = client.health();
    let check = health.check(check).expect("the check exists");
    (check.status, check.detail.clone())
}

/// A folder of its own, removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("rejoin-baselines-{}-{:x}", std::process::id(), nanoseconds());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn nanoseconds() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}

fn policies(client: &Client) -> [u16; 3] {
    [Ready::WillDeliver, Ready::LinkOpen, Ready::Subscribed]
        .map(|policy| readyz(client, policy, false).status)
}

#[tokio::test]
async fn through_an_outage_health_follows_readyz_goes_by_its_policy_and_livez_stays() {
    let listener = Listener::bind().await;
    let mut rules = HealthRules::default();
    rules.link_unhealthy_after = Duration::from_millis(300);
    rules.every = Duration::from_millis(50);
    let client = listener.client().health(rules).start().unwrap();
    let mut events = client.events();
    let mut watch = client.health_watch();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap();
    assert_eq!((livez(&client).status, policies(&client)), (200, [200, 503, 503]), "before the first link");
    let mut peer = listener.open(false).await;
    event(&mut events, "opened").await;
    assert_eq!(policies(&client), [200, 200, 503], "open, and not yet granted");
    peer.grant().await;
    limited(client.wait_ready(LIMIT)).await.unwrap();
    stream.wait_granted(LIMIT).await.unwrap();
    assert_eq!(policies(&client), [200, 200, 200]);
    limited(watch.wait_for(|health| health.status == HealthStatus::Healthy)).await.unwrap();

    let lost = Instant::now();
    peer.reset();
    // Accepted, and never answered: an attempt that hangs.
    let _silent = listener.accept().await;
    limited(watch.wait_for(|health| health.status == HealthStatus::Degraded)).await.unwrap();
    assert_eq!((livez(&client).status, policies(&client)), (200, [200, 503, 503]));
    limited(watch.wait_for(|health| health.status == HealthStatus::Unhealthy)).await.unwrap();
    assert!(lost.elapsed() >= Duration::from_millis(300), "too soon: {:?}", lost.elapsed());
    assert_eq!((livez(&client).status, client.health().http_status()), (200, 503), "no reason for a restart");
    let told = limited(async {
        loop {
            if let Event::Health { status: HealthStatus::Unhealthy, why, .. } =
                event(&mut events, "health").await
            {
                return why;
            }
        }
    });
    assert!(told.await.starts_with("link: not open for "));

    let answer = readyz(&client, Ready::LinkOpen, true);
    assert_eq!(answer.status, 503);
    for line in ["[-]link-open failed: ", "[-]link failed: ", "[+]queue ok: empty\n", "readyz check failed\n"]
    {
        assert!(answer.body.contains(line), "`{line}` in {}", answer.body);
    }
    drop(_silent);
    let mut peer = listener.open(true).await;
    peer.grant().await;
    limited(watch.wait_for(|health| health.status == HealthStatus::Healthy)).await.unwrap();
    assert!(readyz(&client, Ready::Subscribed, true).body.ends_with("readyz check passed\n"));
    let json = client.health().to_json();
    assert!(
        json.starts_with("{\"status\":\"healthy\",\"checks\":[{\"name\":\"link\",\"status\":\"healthy\""),
        "{json}"
    );
}

#[tokio::test]
async fn a_client_that_was_shut_down_is_alive_and_takes_nothing() {
    let listener = Listener::bind().await;
    let mut rules = HealthRules::default();
    rules.stuck_after = Duration::from_millis(20);
    let client = listener.client().health(rules).start().unwrap();
    let _peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let _ = limited(client.shutdown().within(Duration::from_millis(100)).into_future()).await;
    for _ in 0..10 {
        assert_eq!((livez(&client).status, policies(&client)), (200, [503, 503, 503]));
        tokio::time::sleep(Duration::from_millis(10)).await; // waits: stuck is a matter of time
    }
}

/// Looks that are asked for all the time, or never, are bounded.
#[tokio::test]
async fn any_pause_between_two_looks_can_be_asked_for() {
    let listener = Listener::bind().await;
    for every in [Duration::ZERO, Duration::MAX] {
        let mut rules = HealthRules::default();
        rules.every = every;
        let client = listener.client().health(rules).alerts(Alerts::default().every(every)).start().unwrap();
        let mut watch = client.health_watch();
        let _peer = listener.open(false).await;
        let well = |health: &rejoin::health::Health| health.status == HealthStatus::Healthy;
        limited(watch.wait_for(well)).await.expect("the task looks");
    }
}

/// The runtime of the driver is dropped under the client: only a restart mends that.
#[test]
fn livez_fails_when_the_driver_is_gone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (listener, client) = runtime.block_on(async {
        let listener = Listener::bind().await;
        let client = listener.client().start().unwrap();
        (listener, client)
    });
    assert_eq!(livez(&client).status, 200);
    drop(listener);
    drop(runtime);
    assert_eq!(
        livez(&client),
        rejoin::health::Answer { status: 503, body: "the driver task is gone\n".to_owned() }
    );
}

/// The one thread of the runtime is blocked: nothing drives the client.
#[test]
fn livez_fails_when_the_driver_is_stuck_and_not_while_it_sleeps() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut rules = HealthRules::default();
    rules.stuck_after = Duration::from_millis(200);
    let (listener, client, _peer) = runtime.block_on(async {
        let listener = Listener::bind().await;
        let client = listener.client().health(rules).start().unwrap();
        let peer = listener.open(false).await;
        limited(client.wait_open(LIMIT)).await.unwrap();
        (listener, client, peer)
    });
    let pause = Duration::from_millis(20);
    // A driver that sleeps between pings answers when it is asked.
    for _ in 0..40 {
        assert_eq!(livez(&client).status, 200);
        std::thread::sleep(pause); // waits: a sleeping driver must be asked more than once
    }
    let (release, held) = std::sync::mpsc::channel::<()>();
    runtime.spawn(async move {
        let _ = held.recv_timeout(LIMIT);
    });
    let began = Instant::now();
    let stuck = loop {
        let answer = livez(&client);
        if answer.status == 503 {
            break answer;
        }
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(pause); // waits: stuck is a matter of time
    };
    assert!(stuck.body.starts_with("the driver task is stuck"), "{}", stuck.body);
    assert!(began.elapsed() >= Duration::from_millis(190), "too soon: {:?}", began.elapsed());
    release.send(()).unwrap();
    let began = Instant::now();
    while livez(&client).status == 503 {
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(pause); // waits: the runtime has to go on
    }
    drop(listener);
}

async fn take(stream: &mut WithGaps, text: &str) {
    match limited(stream.next()).await {
        Some(Item::Message(message)) => assert_eq!(message.text().unwrap(), text),
        other => panic!("{other:?}"),
    }
}

/// A client that keeps its session, and a stream of its messages with the gaps.
fn keeping(listener: &Listener) -> (Client, rejoin::Events, WithGaps) {
    let kept = Session::kept_for(Duration::from_secs(600));
    let client = listener.client().client_id("gap").session(kept).start().unwrap();
    let events = client.events();
    let stream = client.subscribe("a", Qos::AtLeastOnce).declare().unwrap().with_gaps();
    (client, events, stream)
}

#[tokio::test]
async fn a_lost_session_is_a_gap_in_its_place_among_the_messages() {
    let listener = Listener::bind().await;
    let (_client, mut events, mut stream) = keeping(&listener);
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "before", Qos::AtLeastOnce, 1))).await;
    take(&mut stream, "before").await;
    peer.reset();
    // The session is there: nothing is missing at QoS 1.
    let mut peer = listener.open(true).await;
    peer.grant().await;
    event(&mut events, "resubscribed").await;
    peer.send(Packet::Publish(message("a", "kept", Qos::AtLeastOnce, 2))).await;
    take(&mut stream, "kept").await;
    let heard = std::time::SystemTime::now();
    peer.reset();
    // The session is gone.
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.send(Packet::Publish(message("a", "after", Qos::AtLeastOnce, 3))).await;
    let Some(Item::Gap(gap)) = limited(stream.next()).await else { panic!("a gap comes first") };
    assert_eq!(gap.cause, GapCause::SessionLost);
    assert!(gap.from.unwrap() <= heard + Duration::from_millis(50) && gap.to >= heard, "{gap:?}");
    let Some(Item::Message(after)) = limited(stream.next()).await else { panic!("then the message") };
    assert_eq!(after.text().unwrap(), "after");
    let Event::Gap { from, cause, .. } = event(&mut events, "gap").await else { unreachable!() };
    assert_eq!((from, cause), (gap.from, GapCause::SessionLost));
}

#[tokio::test]
async fn a_gap_is_told_though_the_link_that_found_it_died_before_its_suback() {
    let listener = Listener::bind().await;
    let (client, mut events, mut stream) = keeping(&listener);
    let mut peer = listener.open(false).await;
    peer.grant().await;
    event(&mut events, "resubscribed").await;
    let heard = std::time::SystemTime::now();
    peer.reset();
    // The session is gone, and the link before it was asked for anything.
    let mut peer = listener.open(false).await;
    assert!(matches!(peer.next().await, Packet::Subscribe(_)));
    peer.reset();
    // The session of that link is there.
    let mut peer = listener.open(true).await;
    peer.grant().await;
    let Event::Gap { from, cause, .. } = event(&mut events, "gap").await else { unreachable!() };
    assert_eq!(cause, GapCause::SessionLost);
    assert!(from.unwrap() <= heard + Duration::from_millis(50), "from the loss of the first link");
    let Some(Item::Gap(gap)) = limited(stream.next()).await else { panic!("in the stream, too") };
    assert_eq!((gap.from, gap.cause), (from, cause));
    assert_eq!(client.metrics().subscription_gaps, 1);
}

#[tokio::test]
async fn at_qos_0_every_outage_is_a_gap() {
    let listener = Listener::bind().await;
    let client = listener.client().client_id("gap").start().unwrap();
    let mut events = client.events();
    let mut zero = client.subscribe("zero", Qos::AtMostOnce).declare().unwrap().with_gaps();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    event(&mut events, "resubscribed").await;
    peer.reset();
    let mut peer = listener.open(true).await;
    peer.grant().await;
    let Event::Gap { cause, .. } = event(&mut events, "gap").await else { unreachable!() };
    assert_eq!(cause, GapCause::QosZero);
    assert!(matches!(limited(zero.next()).await, Some(Item::Gap(gap)) if gap.cause == GapCause::QosZero));
}

/// The broker says DISCONNECT 0x8E each time: another client has our id.
async fn taken_over(mut peer: Peer) {
    peer.send(Packet::Disconnect(Disconnect::new(ReasonCode::SESSION_TAKEN_OVER))).await;
    while peer.next_or_end().await.is_some() {}
}

#[tokio::test]
async fn a_contest_about_the_client_id_is_recognised_and_fires() {
    let listener = Listener::bind().await;
    let alerts = Alerts::none().rule(Rule::contest().hint("ask the plant")).every(Duration::from_millis(20));
    // One setting for both: four are one more than the default asks for.
    let mut rules = HealthRules::default();
    rules.patterns.takeovers = 4;
    let builder = listener.client().client_id("gw-17").alerts(alerts).health(rules);
    let client = builder.slow_lane(Duration::from_millis(50), Duration::from_millis(50)).start().unwrap();
    let mut events = client.events();
    for n in 0..4 {
        let peer = listener.open(n > 0).await;
        taken_over(peer).await;
        drop(client.nudge());
    }
    let firing = limited(async {
        loop {
            if let Event::Alert { alert } = event(&mut events, "alert").await
                && alert.state == AlertState::Firing
            {
                return alert;
            }
        }
    })
    .await;
    assert!(
        firing.evidence.starts_with("another client uses id \"gw-17\": 4 of 4 closes came "),
        "{}",
        firing.evidence
    );
    assert!(firing.evidence.contains("session taken over ×4"), "{}", firing.evidence);
    assert_eq!((firing.rule.as_str(), firing.hint.as_str()), ("client id contest", "ask the plant"));
    let (identity, detail) = status(&client, "identity");
    assert_eq!(identity, HealthStatus::Degraded, "{detail}");
}

#[tokio::test]
async fn an_alert_fires_while_it_is_so_and_is_resolved_after() {
    let listener = Listener::bind().await;
    let rule = Rule::over(Signal::QueueAge, Duration::from_millis(100))
        .hold_for(Duration::from_millis(50))
        .clear_after(Duration::from_millis(50));
    let alerts = Alerts::none().rule(rule).every(Duration::from_millis(10));
    let client = listener.client().alerts(alerts).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    limited(client.wait_open(LIMIT)).await.unwrap();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    let mut states = Vec::new();
    while states.last() != Some(&AlertState::Firing) {
        let Event::Alert { alert } = event(&mut events, "alert").await else { unreachable!() };
        states.push(alert.state);
    }
    let firing = &client.alerts()[0];
    assert!(firing.evidence.contains("the oldest message waits for its answer"), "{firing:?}");
    assert!(!firing.hint.is_empty());
    assert_eq!(client.baselines()[4].state, BaselineState::Frozen);
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    let Event::Alert { alert } = event(&mut events, "alert").await else { unreachable!() };
    states.push(alert.state);
    assert_eq!(states, [AlertState::Pending, AlertState::Firing, AlertState::Resolved]);
}

/// What waits for a link waits for us: it is no latency of the broker.
#[tokio::test]
async fn ack_latency_begins_when_a_message_is_sent() {
    let listener = Listener::bind().await;
    let client = listener.client().alerts(Alerts::none().every(Duration::from_millis(10))).start().unwrap();
    let delivery = client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await; // waits: the message has to be old
    let mut peer = listener.open(false).await;
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    let began = Instant::now();
    let latency = loop {
        if let Some(latency) = client.baselines().get(3).and_then(|baseline| baseline.now) {
            break latency;
        }
        assert!(began.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(5)).await; // waits: the next look
    };
    assert!(latency < 0.5, "{latency} s");
}

#[tokio::test]
async fn what_was_learned_is_kept_over_a_restart_and_a_broken_file_is_learned_anew() {
    let folder = Folder::new();
    let listener = Listener::bind().await;
    let alerts = || {
        let quick = Alerts::none().every(Duration::from_millis(10)).keep_in(&folder.0);
        quick.learning(|learning| {
            learning.every = Duration::ZERO;
            learning.samples = 20;
        })
    };
    let queue_age =
        |client: &Client| client.baselines().get(4).map(|baseline| (baseline.state, baseline.samples));
    let client = listener.client().alerts(alerts()).start().unwrap();
    let begins = Instant::now();
    while queue_age(&client).is_none_or(|(state, _)| state != BaselineState::Ready) {
        assert!(begins.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(10)).await; // waits: twenty looks
    }
    let _ = limited(client.shutdown().within(Duration::from_millis(100)).into_future()).await;
    let file = folder.0.join("baselines");
    assert!(file.exists(), "a shutdown waits for it");
    let first = |client: Client| async move {
        loop {
            if let Some(seen) = queue_age(&client) {
                let _ = limited(client.shutdown().within(Duration::from_millis(100)).into_future()).await;
                return seen;
            }
            assert!(begins.elapsed() < LIMIT);
            tokio::time::sleep(Duration::from_millis(1)).await; // waits: the first look
        }
    };
    let (state, samples) = first(listener.client().alerts(alerts()).start().unwrap()).await;
    assert!(state == BaselineState::Ready && samples > 20, "not learned anew: {state:?} {samples}");
    std::fs::write(&file, "rejoin baselines 1\nqueue_age 7 1e0\nend 0\n").unwrap();
    let (state, samples) = first(listener.client().alerts(alerts()).start().unwrap()).await;
    assert!(state == BaselineState::Learning && samples < 20, "learned anew: {state:?} {samples}");
}

/// Opening it waits for somebody who writes into it: a disk that hangs.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_hangs_at_the_start_keeps_nobody_from_looking() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("baselines");
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    let listener = Listener::bind().await;
    let alerts = Alerts::none().every(Duration::from_millis(10)).keep_in(&folder.0);
    let client = listener.client().alerts(alerts).start().unwrap();
    let mut watch = client.health_watch();
    let peer = listener.open(false).await;
    let is = |wanted| move |health: &rejoin::health::Health| health.status == wanted;
    let well = tokio::time::timeout(LIMIT, watch.wait_for(is(HealthStatus::Healthy))).await.is_ok();
    peer.reset();
    let hangs = listener.accept().await;
    let ill = tokio::time::timeout(LIMIT, watch.wait_for(is(HealthStatus::Degraded))).await.is_ok();
    let learns = client.baselines().len() > 4;
    // The thread that reads is let go, or the runtime waits for it.
    drop(std::fs::OpenOptions::new().read(true).write(true).open(&file).unwrap());
    assert_eq!((well, ill, learns), (true, true, true));
    drop(hangs);
}

#[tokio::test]
async fn a_queue_that_fills_is_told_high_before_it_is_full() {
    let listener = Listener::bind().await;
    let client = listener.client().queue(Queue::in_memory().max_messages(10)).start().unwrap();
    let mut events = client.events();
    for n in 1..=10 {
        client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().map(drop).unwrap();
        let (status, detail) = status(&client, "queue");
        let expected = match n {
            1..=7 => HealthStatus::Healthy,
            8..=9 => HealthStatus::Degraded,
            _ => HealthStatus::Unhealthy,
        };
        assert_eq!(status, expected, "{n}: {detail}");
    }
    assert!(client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().is_err());
    let Event::QueueHigh { messages: 8, .. } = event(&mut events, "queue-high").await else {
        panic!("at eight")
    };
    assert!(matches!(events.try_next(), Some(Event::Attempt { .. } | Event::QueueFull)));
}

#[tokio::test]
async fn a_stream_that_holds_up_the_window_is_named() {
    let listener = Listener::bind().await;
    let mut rules = HealthRules::default();
    rules.stream_idle = Duration::from_millis(100);
    let client = listener.client().receive_maximum(2).health(rules).start().unwrap();
    let _stream = client.subscribe("jobs/#", Qos::AtLeastOnce).declare().unwrap();
    let _other = client.subscribe("jobs/1", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    peer.grant().await;
    peer.send(Packet::Publish(message("jobs/1", "1", Qos::AtLeastOnce, 1))).await;
    let began = Instant::now();
    // In two streams, and one message for the window.
    while client.metrics().handler_lag < 2 {
        assert!(began.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(5)).await; // waits: the message is on its way
    }
    tokio::time::sleep(Duration::from_millis(150)).await; // waits: idle is a matter of time
    assert_eq!(status(&client, "handlers").0, HealthStatus::Healthy, "the window has room");
    peer.send(Packet::Publish(message("jobs/2", "2", Qos::AtLeastOnce, 2))).await;
    loop {
        let (status, detail) = status(&client, "handlers");
        if status == HealthStatus::Degraded {
            assert!(detail.starts_with("the stream of `jobs/#` took no message for "), "{detail}");
            break;
        }
        assert!(began.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(10)).await; // waits: idle is a matter of time
    }
}

/// As mosquitto does, which has 20 unacknowledged whatever it is allowed.
#[tokio::test]
async fn a_stream_that_holds_up_a_smaller_window_of_the_broker_is_named_too() {
    let listener = Listener::bind().await;
    let mut rules = HealthRules::default();
    rules.stream_idle = Duration::from_millis(100);
    let client = listener.client().health(rules).start().unwrap();
    let _stream = client.subscribe("jobs/#", Qos::AtLeastOnce).declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    let began = Instant::now();
    for (count, named) in [(9, false), (20, true)] {
        for n in client.metrics().handler_lag + 1..=count {
            let id = u16::try_from(n).unwrap();
            peer.send(Packet::Publish(message("jobs/1", "1", Qos::AtLeastOnce, id))).await;
        }
        while client.metrics().handler_lag < count {
            assert!(began.elapsed() < LIMIT);
            tokio::time::sleep(Duration::from_millis(5)).await; // waits: the messages are on their way
        }
        let until = Instant::now() + Duration::from_millis(if named { 5000 } else { 250 });
        let mut found = status(&client, "handlers");
        while found.0 == HealthStatus::Healthy && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await; // waits: idle is a matter of time
            found = status(&client, "handlers");
        }
        assert_eq!(found.0 == HealthStatus::Degraded, named, "{found:?}");
        assert_eq!(found.1.contains("nothing more came since"), named, "{found:?}");
    }
}

#[tokio::test]
async fn what_was_dropped_unacknowledged_before_a_cut_does_not_wait_for_ever() {
    let listener = Listener::bind().await;
    let mut rules = HealthRules::default();
    rules.stream_idle = Duration::from_millis(50);
    let builder = listener.client().client_id("m").session(Session::kept_for(LIMIT));
    let client = builder.receive_maximum(1).health(rules).start().unwrap();
    let mut stream = client.subscribe("a", Qos::AtLeastOnce).manual_ack().declare().unwrap();
    let mut peer = listener.open(false).await;
    peer.grant().await;
    let mut sent = message("a", "1", Qos::AtLeastOnce, 1);
    peer.send(Packet::Publish(sent.clone())).await;
    drop(limited(stream.next()).await.unwrap());
    peer.reset();
    let mut peer = listener.open(true).await;
    peer.grant().await;
    sent.dup = true;
    peer.send(Packet::Publish(sent)).await;
    limited(stream.next()).await.unwrap().ack();
    assert_eq!(peer.puback().await.packet_id.get(), 1);
    status(&client, "handlers");
    tokio::time::sleep(Duration::from_millis(100)).await; // waits: idle is a matter of time
    assert_eq!(status(&client, "handlers").0, HealthStatus::Healthy, "nothing waits");
}

#[tokio::test]
async fn a_loopback_message_is_measured_and_one_that_does_not_come_back_restarts_the_link() {
    let listener = Listener::bind().await;
    let watch = HealthWatch::only_loopback(Duration::from_millis(50), Duration::from_millis(200));
    let client = listener.client().client_id("a/b").health_watch(watch).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.open(false).await;
    let (filters, _) = peer.grant().await;
    assert_eq!(filters, ["rejoin/loopback/a_b"]);
    let publish = peer.publish().await;
    assert_eq!(publish.topic.as_str(), "rejoin/loopback/a_b");
    peer.send(Packet::Publish(publish)).await;
    // The next one is swallowed.
    peer.publish().await;
    assert!(status(&client, "latency").1.contains("loopback"), "{:?}", status(&client, "latency"));
    let Event::Silent { what, restarts: true, .. } = event(&mut events, "silent").await else {
        unreachable!()
    };
    assert!(what.contains("did not come back"), "{what}");
    let closed = event(&mut events, "closed").await;
    assert!(matches!(closed, Event::Closed { cause: LossCause::HealthWatch(_), .. }), "{closed:?}");
}

#[tokio::test]
async fn a_silence_that_is_only_told_leaves_the_link_alone() {
    let listener = Listener::bind().await;
    let watch = HealthWatch::after(Duration::from_millis(100)).on("plant/+/temp").unwrap().only_tell();
    let client = listener.client().health_watch(watch).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    peer.next().await;
    peer.send(connack(false, ReasonCode::SUCCESS)).await;
    for _ in 0..2 {
        let Event::Silent { restarts: false, .. } = event(&mut events, "silent").await else {
            panic!("told")
        };
    }
    assert!(client.is_connection_open());
}

#[cfg(feature = "store-redb")]
#[tokio::test]
async fn what_was_learned_lies_beside_the_queue_on_disk() {
    let folder = Folder::new();
    let listener = Listener::bind().await;
    let alerts = Alerts::none().every(Duration::from_millis(10));
    let client = listener.client().queue(Queue::in_dir(&folder.0)).alerts(alerts).start().unwrap();
    let _ = limited(client.shutdown().within(Duration::from_millis(100)).into_future()).await;
    assert!(folder.0.join("baselines").exists(), "a shutdown waits for it");
}
