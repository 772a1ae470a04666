//! The parts of the demo in one process: broker, proxy, our client, the plain lane, the auditors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rejoin::{Client, Event, Events, PublishError, Qos, Session, State, StateWatch, Subscription};
use rejoin_lab::{
    Auditor, BrokerServer, Direction, Ending, Fault as ProxyFault, Manners, PacketKind, Proxy,
    Times as Count, Verdict,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::clock::Clock;
use super::killed::{Killed, Survivors};
use super::model::{Lamp, Sample, claimed_open_while_dead};
use super::plain::Plain;
use super::script::{Act, Fault, MESSAGES, Pace, Times};

const TOPIC: &str = "demo/ours";
/// How long the first connection may take; it is loopback.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The subscriber has this long to hear what the broker has for it.
const LISTEN_LIMIT: Duration = Duration::from_millis(500);

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How fast.
    pub(crate) pace: Pace,
    /// Seed of the client's jitter.
    pub(crate) seed: u64,
    /// QoS of our lane.
    pub(crate) qos: Qos,
    /// Whether the lane without recovery runs.
    pub(crate) plain: bool,
}

/// Something the client told, and when.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) moment: Instant,
    pub(crate) event: Event,
}

/// What our subscriber got.
#[derive(Debug, Default)]
struct Heard {
    numbers: BTreeSet<u64>,
    copies: u64,
}

/// Counts of one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// Messages its publish call took.
    pub(crate) published: u64,
    /// Messages the broker has.
    pub(crate) delivered: u64,
    /// Messages accepted and not answered for.
    pub(crate) queued: u64,
    /// Messages its subscriber got, copies not counted.
    pub(crate) received: u64,
    /// Copies its subscriber got.
    pub(crate) copies: u64,
}

/// What our publisher shares with its task.
#[derive(Debug)]
struct Publisher {
    client: Client,
    auditor: Auditor,
    qos: Qos,
    /// Messages whose outcome the auditor was not told yet.
    unanswered: AtomicU64,
    stopped: AtomicBool,
}

/// The parts. Dropping it ends them all.
pub(crate) struct World {
    pub(crate) clock: Arc<Clock>,
    pub(crate) client: Client,
    /// What the client told from its start on, for whoever looks on.
    pub(crate) observed: Option<Events>,
    pace: Pace,
    server: BrokerServer,
    proxy: Proxy,
    publisher: Arc<Publisher>,
    plain: Option<(Arc<Plain>, Auditor)>,
    killed: Killed,
    heard: Arc<Mutex<Heard>>,
    claims: Arc<Mutex<Vec<(Instant, Lamp)>>>,
    _tasks: JoinSet<()>,
}

impl World {
    /// Starts everything and waits until our client is connected and subscribed.
    pub(crate) async fn start(settings: &Settings) -> Result<(Self, mpsc::UnboundedReceiver<Told>), String> {
        let told = |error: &dyn std::fmt::Display| format!("demo: {error}");
        let server = BrokerServer::start(Manners::default()).await.map_err(|e| told(&e))?;
        let proxy = Proxy::in_front_of(server.addr()).await.map_err(|e| told(&e))?;
        let auditor = Auditor::new("ours");
        server.with(|broker| broker.add_ledger(auditor.ledger()));

        let builder = Client::builder(&format!("mqtt://{}", proxy.addr()))
            .client_id("rejoin-demo")
            .session(Session::kept_for(Duration::from_secs(3600)));
        // The client draws its own seed from here.
        fastrand::seed(settings.seed);
        let prepared = Times::at(settings.pace).apply(builder).prepare().map_err(|e| told(&e))?;
        let events = prepared.client().events();
        let observed = Some(prepared.client().events());
        let subscription =
            prepared.client().subscribe(TOPIC, settings.qos).declare().map_err(|e| told(&e))?;
        let states = prepared.client().state_watch();
        let client = prepared.start();

        let mut tasks = JoinSet::new();
        let (sender, receiver) = mpsc::unbounded_channel();
        let (heard, claims) = (Arc::default(), Arc::default());
        tasks.spawn(relay(events, sender));
        tasks.spawn(listen(subscription, auditor.clone(), Arc::clone(&heard)));
        tasks.spawn(watch_claims(states, Arc::clone(&claims)));
        client.wait_ready(START_LIMIT).await.map_err(|e| told(&e))?;

        let plain = settings.plain.then(|| {
            let auditor = Auditor::new("plain");
            server.with(|broker| broker.add_ledger(auditor.ledger()));
            let retry = settings.pace.of(1_000);
            (Arc::new(Plain::start(proxy.addr(), auditor.clone(), retry)), auditor)
        });
        let killed = Killed::prepare(&server, settings.qos, settings.pace).await?;
        let publisher = Arc::new(Publisher {
            client: client.clone(),
            auditor,
            qos: settings.qos,
            unanswered: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let clock = Arc::new(Clock::start());
        let lane = plain.as_ref().map(|(plain, _)| Arc::clone(plain));
        tasks.spawn(publish(Arc::clone(&publisher), lane, Arc::clone(&clock), settings.pace));
        let pace = settings.pace;
        let world = Self {
            clock,
            client,
            observed,
            pace,
            server,
            proxy,
            publisher,
            plain,
            killed,
            heard,
            claims,
            _tasks: tasks,
        };
        Ok((world, receiver))
    }

    /// Does what the script or a key asks for.
    pub(crate) async fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Begin(Fault::Restart | Fault::Amnesia) => {
                // A dead host's port refuses; the proxy alone would accept and then reset.
                self.proxy.refuse().await;
                self.server.kill(Ending::Rst).await;
            }
            Act::End(fault @ (Fault::Restart | Fault::Amnesia)) => {
                let keep = fault == Fault::Restart;
                self.server.start_again(keep).await.map_err(|e| format!("demo: broker: {e}"))?;
                self.proxy.heal_one(ProxyFault::Refuse, Direction::Both);
            }
            Act::Begin(Fault::Freeze | Fault::HeldByKey) => self.proxy.freeze(),
            Act::End(Fault::Freeze | Fault::HeldByKey) => {
                self.proxy.heal_one(ProxyFault::Freeze, Direction::Both);
            }
            Act::Begin(Fault::LostAcks) => self.lose_acks(Count::Always),
            Act::End(Fault::LostAcks) => self.lose_acks(Count::Never),
            Act::Begin(Fault::Kill) => self.killed.kill().await?,
            Act::End(Fault::Kill) => self.killed.start_again()?,
            Act::Begin(Fault::Cut) => self.proxy.reset(),
            Act::End(Fault::Cut) | Act::StopPublishing => {}
        }
        Ok(())
    }

    fn lose_acks(&self, count: Count) {
        self.server.with(|broker| {
            for kind in [PacketKind::PubAck, PacketKind::PubRec, PacketKind::PubComp] {
                broker.manners_mut().lose(kind, count);
            }
            // The client is back faster than anybody here could heal the new connection.
            broker.manners_mut().losses_end_at_connect = count == Count::Always;
        });
    }

    /// No more messages, though some of the story's are not published.
    pub(crate) fn stop_publishing(&self) {
        self.publisher.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether everything published was answered for and is at the broker.
    pub(crate) fn is_drained(&mut self) -> bool {
        if !self.killed.is_over() {
            return false;
        }
        let publisher = &self.publisher;
        let stopped = publisher.stopped.load(Ordering::Relaxed);
        (stopped || publisher.auditor.published_count() == MESSAGES)
            && publisher.unanswered.load(Ordering::Acquire) == 0
            && (publisher.qos == Qos::AtMostOnce || publisher.auditor.missing().is_empty())
    }

    /// The moment as the picture shows it, but for what was injected.
    pub(crate) fn sample(&self, state: &State, injected: Option<Fault>) -> Sample {
        let passing = self.proxy.is_passing();
        Sample { injected, passing, lamp: Lamp::from(&state.link), queue: state.ahead }
    }

    /// How long the oldest unanswered message has waited, by the times the messages were due.
    pub(crate) fn oldest_queued(&self, queued: u64) -> Duration {
        let published = self.publisher.auditor.published_count();
        let oldest = u32::try_from(published.saturating_sub(queued)).unwrap_or(u32::MAX);
        if queued == 0 {
            Duration::ZERO
        } else {
            self.clock.now().saturating_sub(self.pace.interval() * oldest)
        }
    }

    /// Our lane's counts.
    pub(crate) fn ours(&self) -> Lane {
        let auditor = &self.publisher.auditor;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Lane {
            published: auditor.published_count(),
            delivered: auditor.delivered(),
            queued: self.client.pending_count(),
            received: heard.numbers.len() as u64,
            copies: heard.copies,
        }
    }

    /// The plain lane's counts.
    pub(crate) fn plain(&self) -> Option<Lane> {
        let (plain, _) = self.plain.as_ref()?;
        Some(Lane {
            published: plain.published(),
            delivered: plain.delivered(),
            received: plain.received(),
            ..Lane::default()
        })
    }

    /// Gives the subscriber a moment to hear what the broker still has for it.
    pub(crate) async fn listen_out(&self) {
        let all_heard = async {
            let mut lane = self.ours();
            while lane.received < lane.delivered {
                tokio::time::sleep(Duration::from_millis(5)).await;
                lane = self.ours();
            }
        };
        let _ = tokio::time::timeout(LISTEN_LIMIT, all_heard).await;
    }

    /// The auditor's verdict with what the broker's judge found, and the judge's mere suspicions.
    pub(crate) fn verdict(&self) -> (Verdict, Vec<String>) {
        self.server.with(|broker| {
            let verdict = self.publisher.auditor.verdict().with_violations(broker);
            (verdict, broker.suspicions().map(ToString::to_string).collect())
        })
    }

    /// What became of the messages of the process that was killed.
    pub(crate) fn survivors(&self) -> Option<Survivors> {
        self.killed.survivors()
    }

    /// Each moment at which bytes began or ceased to get through, from the start on.
    pub(crate) fn truth(&self) -> Vec<(Instant, bool)> {
        self.proxy.history()
    }

    /// Where the client connects to.
    pub(crate) fn place(&self) -> String {
        self.proxy.addr().to_string()
    }

    /// How long the client claimed an open link over a dead path: in all, and at most in one piece.
    pub(crate) fn claimed_open_while_dead(&self) -> (Duration, Duration) {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claimed_open_while_dead(&self.proxy.history(), &claims, Instant::now())
    }
}

async fn relay(mut events: Events, to: mpsc::UnboundedSender<Told>) {
    while let Some(event) = events.next().await {
        if to.send(Told { moment: Instant::now(), event }).is_err() {
            return;
        }
    }
}

async fn listen(mut subscription: Subscription, auditor: Auditor, heard: Arc<Mutex<Heard>>) {
    while let Some(message) = subscription.next().await {
        if let Some(number) = auditor.number(&message.payload) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if !heard.numbers.insert(number) {
                heard.copies += 1;
            }
        }
    }
}

async fn watch_claims(mut states: StateWatch, claims: Arc<Mutex<Vec<(Instant, Lamp)>>>) {
    loop {
        let lamp = Lamp::from(&states.state().link);
        {
            let mut claims = claims.lock().unwrap_or_else(PoisonError::into_inner);
            if claims.last().is_none_or(|(_, last)| *last != lamp) {
                claims.push((Instant::now(), lamp));
            }
        }
        if states.changed().await.is_none() {
            return;
        }
    }
}

/// Publishes on both lanes what is due, until all is published or somebody wants no more.
async fn publish(publisher: Arc<Publisher>, plain: Option<Arc<Plain>>, clock: Arc<Clock>, pace: Pace) {
    let mut tick = tokio::time::interval(pace.interval() / 2);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut number = 0;
    while number < MESSAGES {
        tick.tick().await;
        while number < pace.due(clock.now()) {
            if publisher.stopped.load(Ordering::Relaxed) {
                return;
            }
            number += 1;
            publish_one(&publisher, number);
            if let Some(plain) = &plain {
                plain.publish(number).await;
            }
        }
    }
}

fn publish_one(publisher: &Arc<Publisher>, number: u64) {
    let payload = publisher.auditor.payload(number);
    let message = publisher.client.publish(TOPIC, payload).qos(publisher.qos);
    let message = if publisher.qos == Qos::AtMostOnce { message.queue_qos0() } else { message };
    publisher.unanswered.fetch_add(1, Ordering::AcqRel);
    let accepted = message.enqueue();
    publisher.auditor.published(number);
    let publisher = Arc::clone(publisher);
    match accepted {
        Ok(delivery) => {
            tokio::spawn(async move {
                let outcome = delivery.await.map(|_| ());
                publisher.answer(number, outcome.err().as_ref());
            });
        }
        Err(_) => publisher.answer(number, Some(&PublishError::Dropped)),
    }
}

impl Publisher {
    fn answer(&self, number: u64, error: Option<&PublishError>) {
        match error {
            None if self.qos == Qos::AtMostOnce => {}
            None => self.auditor.acknowledged(number),
            Some(PublishError::Unknown { .. } | PublishError::Parked { .. }) => {
                self.auditor.told_unknown(number);
            }
            // Who stops a client early knows what is still queued: that is no word about its fate.
            Some(PublishError::Stopped { .. }) => {}
            Some(_) => self.auditor.told_failed(number),
        }
        self.unanswered.fetch_sub(1, Ordering::AcqRel);
    }
}
