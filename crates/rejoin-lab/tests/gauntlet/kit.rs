//! What the rows share: settings scaled down, waits with limits, and what the client told.

use std::fmt;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Once;
use std::time::{Duration, Instant};

use rejoin::{
    Builder, Client, Config, Delivery, Event, Events, Link, PublishBuilder, PublishError, PublishId, Qos,
    Receipt, State, Version, VersionPolicy,
};
use rejoin_core::RecoveryConfig;
use rejoin_core::codec::packet::{ConnAckProperties, Publish};
use rejoin_lab::{Peer, ScriptResult};

pub(crate) use rejoin::Version::{V5, V311};

/// No wait of a row is longer; none is expected to come near it.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// What a busy machine may add to a time.
pub(crate) const SLACK: Duration = Duration::from_secs(1);
/// What a busy machine may take off one that the broker measures, because it saw the beginning late.
pub(crate) const EARLY: Duration = Duration::from_millis(150);

pub(crate) const PING_AFTER: Duration = Duration::from_millis(300);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_millis(500);
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_millis(500);
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_millis(600);
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
pub(crate) const STABLE_AFTER: Duration = Duration::from_millis(200);
/// What every wait of recovery is divided by.
pub(crate) const RECOVERY_DIVIDED_BY: u32 = 100;

/// Both versions, each as a test of its own, of one script.
macro_rules! both_versions {
    ($($(#[$doc:meta])* $row:ident: $script:ident;)*) => {$(
        $(#[$doc])*
        mod $row {
            #[tokio::test]
            async fn at_5_0() {
                super::$script($crate::kit::V5).await.unwrap();
            }
            #[tokio::test]
            async fn at_3_1_1() {
                super::$script($crate::kit::V311).await.unwrap();
            }
        }
    )*};
}

/// A client of this version with the constants scaled down and no budget of attempts. The session is the row's word.
pub(crate) fn client(addr: SocketAddr, version: Version) -> Builder {
    crate::way::to(addr)
        .client_id("gauntlet")
        .version(if version == V5 { VersionPolicy::Only5 } else { VersionPolicy::Only311 })
        .ping_after(PING_AFTER)
        .ping_timeout(PING_TIMEOUT)
        .write_timeout(WRITE_TIMEOUT)
        .ack_timeout(ACK_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .connack_timeout(CONNECT_TIMEOUT)
        .config(|config| {
            config.recovery = RecoveryConfig::default().divided_by(RECOVERY_DIVIDED_BY).into();
            config.recovery.stable_after = STABLE_AFTER;
            config.recovery.budget = None;
            config.session.quota_pause = Duration::from_millis(50);
            announce(config);
        })
}

/// The session is kept for an hour, as a client with a name has it.
pub(crate) const fn kept() -> rejoin::Session {
    rejoin::Session::kept_for(Duration::from_secs(3600))
}

/// Says once, past the capture of the test runner, what was scaled down.
fn announce(config: &Config) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (link, recovery) = (&config.link, &config.recovery);
        print(&format!(
            "gauntlet, scaled down: ping after {:?} (15 s), ping time-out {:?} (5 s), write stall {:?} (5 s), \
             ack progress {:?} (20 s), connect {:?} (10 s), CONNACK {:?} (30 s), absent {:?} to {:?} (2 s to 15 s), \
             overloaded {:?} to {:?} (10 s to 60 s), stable after {:?} (30 s), budget {:?} (1/s, 12/min); \
             rows that differ say so",
            link.ping_after,
            link.ping_timeout,
            link.write_timeout,
            link.ack_timeout,
            link.connect_timeout,
            link.connack_timeout,
            recovery.absent.first,
            recovery.absent.cap,
            recovery.overload.first,
            recovery.overload.cap,
            recovery.stable_after,
            recovery.budget,
        ));
    });
}

/// Prints a line that the test runner does not capture.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub(crate) async fn limited<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// Waits until the snapshot is as wanted, and gives it.
pub(crate) async fn state(client: &Client, what: &str, wanted: impl Fn(&State) -> bool) -> State {
    let mut states = client.state_watch();
    let found = limited(what, states.wait_for(|state| wanted(state))).await;
    found.expect("it comes before the end")
}

/// The client, and what it tells from its first event on.
pub(crate) fn start(builder: Builder) -> (Client, Told) {
    let prepared = builder.prepare().unwrap();
    let told = Told { events: prepared.client().events().with_deliveries(), log: Vec::new() };
    (prepared.start(), told)
}

/// What the client told, in order.
pub(crate) struct Told {
    events: Events,
    log: Vec<Event>,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.log).finish()
    }
}

impl Told {
    /// Waits for the next event of a kind; those before it are only kept.
    pub(crate) async fn wait(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            let next = tokio::time::timeout_at(until, self.events.next()).await;
            let Ok(event) = next else { panic!("{what}: not told within {LIMIT:?}, but {self:?}") };
            let event = event.unwrap_or_else(|| panic!("{what}: the client stopped: {self:?}"));
            self.log.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Waits for the next link to open.
    pub(crate) async fn opened(&mut self) -> Event {
        self.wait("opened", |event| matches!(event, Event::Opened { .. })).await
    }

    /// Waits for the next link to be lost.
    pub(crate) async fn closed(&mut self) -> Event {
        self.wait("closed", |event| matches!(event, Event::Closed { .. })).await
    }

    /// Everything told so far.
    pub(crate) fn all(&mut self) -> &[Event] {
        while let Some(event) = self.events.try_next() {
            self.log.push(event);
        }
        &self.log
    }

    /// How often something was told so far.
    pub(crate) fn count(&mut self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.all().iter().filter(|event| wanted(event)).count()
    }
}

/// The handles of accepted messages, and their answers.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    handles: Vec<Delivery>,
}

impl Outcomes {
    /// Hands over `0`, `1`, `2` and so on, on one topic.
    pub(crate) fn publish(&mut self, client: &Client, messages: std::ops::Range<usize>, qos: Qos) {
        for n in messages {
            self.add(client.publish("gauntlet/t", n.to_string()).qos(qos));
        }
    }

    pub(crate) fn add(&mut self, message: PublishBuilder) {
        self.handles.push(message.enqueue().unwrap());
    }

    /// Waits until the first one was handed to the socket.
    pub(crate) async fn first_sent(&self) {
        limited("sent", self.handles[0].sent()).await.unwrap();
    }

    /// How many have their answer.
    pub(crate) fn answered(&self) -> usize {
        self.handles.iter().filter(|handle| handle.outcome().is_some()).count()
    }

    /// Every answer, in the order of publishing. Each was told exactly once, and as the handle says it.
    pub(crate) async fn all(&self, told: &mut Told) -> Vec<Result<Receipt, PublishError>> {
        let mut answers = Vec::new();
        for (n, handle) in self.handles.iter().enumerate() {
            answers.push(limited(&format!("the answer for message {n}"), handle.acked()).await);
        }
        for (handle, answer) in self.handles.iter().zip(&answers) {
            let endings: Vec<bool> =
                told.all().iter().filter_map(|event| ending(event, handle.id())).collect();
            assert_eq!(endings, [answer.is_ok()], "{handle:?} ends once and as its event says");
        }
        answers
    }

    /// Every receipt; fails if a message was not delivered.
    pub(crate) async fn receipts(&self, told: &mut Told) -> Vec<Receipt> {
        let answers = self.all(told).await.into_iter().enumerate();
        answers.map(|(n, answer)| answer.unwrap_or_else(|why| panic!("message {n}: {why}"))).collect()
    }
}

/// Whether this event ends this message, and if so, well.
fn ending(event: &Event, wanted: PublishId) -> Option<bool> {
    match event {
        Event::Delivered { id, .. } if *id == wanted => Some(true),
        Event::Failed { id, .. } if *id == wanted => Some(false),
        _ => None,
    }
}

/// The number that [`Outcomes::publish`] wrote.
pub(crate) fn number(publish: &Publish) -> usize {
    std::str::from_utf8(&publish.payload).unwrap().parse().unwrap()
}

/// Announces a Receive Maximum at 5.0; 3.1.1 has none.
pub(crate) fn receive_maximum(messages: u16) -> ConnAckProperties {
    ConnAckProperties { receive_maximum: NonZeroU16::new(messages), ..ConnAckProperties::default() }
}

/// Reads QoS 1 messages and acknowledges each, until `wanted` of them came.
pub(crate) async fn take_all(peer: &mut Peer, wanted: usize) -> ScriptResult<Vec<Publish>> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let publish = peer.expect_publish().await?;
        let id = publish.packet_id.expect("QoS 1 has a packet identifier");
        peer.puback(id, rejoin::ReasonCode::SUCCESS).await?;
        taken.push(publish);
    }
    Ok(taken)
}

/// A shutdown must take no longer than `limit`, whatever the broker does. Gives its report.
pub(crate) async fn close_within(client: &Client, limit: Duration) -> rejoin::ShutdownReport {
    let begin = Instant::now();
    let report = limited("shutdown", client.shutdown().within(limit).into_future()).await;
    let took = begin.elapsed();
    assert!(took < limit + SLACK, "a shutdown within {limit:?} took {took:?}");
    assert!(matches!(client.link(), Link::Stopped { .. }) && !client.is_connected());
    report
}
