//! An application that uses every handle of a client, and leaves half of what it began: futures are dropped in the
//! middle, deliveries forgotten, streams let go, handlers are slow or panic.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io;
use std::rc::Rc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;
use rejoin::{Client, Delivery, Message, OnError, PublishBuilder, Qos, Subscription};
use rejoin_lab::Auditor;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::book::Book;
use crate::setting::Setting;
use crate::way;

/// A link that died in the last fault is known to be dead after this time: 15 s of silence, and 5 s for the ping.
const NOTICED: Duration = Duration::from_secs(30);
/// Once the faults are over, everything accepted is answered for within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);
/// What a shutdown may take beyond its limit: the orderly end of the connection.
const ENDING: Duration = Duration::from_secs(7);

/// An orderly end needs this long on the slowest of the drawn networks.
const ROUND_TRIPS: Duration = Duration::from_secs(1);

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// What the course and an application know of each other.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) setting: Setting,
    pub(crate) auditor: Auditor,
    pub(crate) book: Book,
    /// The faults are over.
    pub(crate) calm: Rc<Cell<bool>>,
    /// Where the application is: what is said of one that never comes to its end.
    pub(crate) at: Rc<RefCell<String>>,
}

struct Application {
    client: Client,
    plan: Plan,
    dice: Rng,
    published: u64,
    streams: Vec<Subscription>,
}

/// The life of an application, from the start of its client to the report of the shutdown.
pub(crate) async fn live(plan: Plan) -> turmoil::Result {
    let (setting, dice) = (plan.setting, Rng::with_seed(plan.seed));
    fastrand::seed(plan.seed);
    let prepared = way::to_broker(setting.tls)
        .client_id(plan.name.clone())
        .session(rejoin::Session::kept_for(Duration::from_secs(3600)))
        .version(setting.version)
        .max_in_flight(setting.window)
        .receive_maximum(setting.window)
        .queue(rejoin::Queue::in_memory().max_messages(setting.queue))
        .prepare()?;
    spawn_local(plan.book.clone().read(prepared.client().events().with_deliveries()));
    let client = prepared.start();
    listen(&client, &plan)?;
    let mut application = Application { client, plan, dice, published: 0, streams: Vec::new() };
    application.work().await;
    application.end().await;
    Ok(())
}

/// A handler that takes its time, fails and panics.
fn listen(client: &Client, plan: &Plan) -> turmoil::Result {
    let restarts = plan.setting.handler_restarts;
    // What fails always would come for ever.
    let patience = AtomicU8::new(20);
    let handler = move |message: Message| {
        let what = message.payload.first().copied().unwrap_or_default();
        let fails = what < 24 && patience.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        async move {
            // waits: the handler is slow, in virtual time.
            sleep(Duration::from_millis(u64::from(what) * 10)).await;
            match what {
                0..=11 if fails => panic!("a handler that panics"),
                12.. if fails => Err(io::Error::other("a handler that fails")),
                _ => Ok(()),
            }
        }
    };
    let policy = if restarts { OnError::Reconnect } else { OnError::Ack };
    client
        .handle(format!("in/{}/#", plan.name).as_str(), Qos::ExactlyOnce, handler)
        .on_error(policy)
        .time_limit(Duration::from_secs(if restarts { 3 } else { 2 }))
        .declare()?;
    Ok(())
}

impl Application {
    async fn work(&mut self) {
        let mut acts = 0;
        while !self.plan.calm.get() {
            // waits: so often does it do something, in virtual time.
            sleep(Duration::from_millis(self.dice.u64(20..400))).await;
            acts += 1;
            if self.plan.setting.ends_after == Some(acts) {
                return;
            }
            match self.dice.u8(0..40) {
                0..=24 => self.publish().await,
                25..=30 => self.publish_when_room().await,
                31 | 32 => self.subscribe().await,
                33 | 34 => self.let_go().await,
                35 => self.ask().await,
                36 => self.client.restart_link(),
                37 => drop(self.client.nudge()),
                38 => drop(self.client.clone()),
                _ => self.burst(),
            }
        }
    }

    fn message(&mut self) -> (PublishBuilder, Option<u64>) {
        let qos = QOS[self.dice.usize(0..3)];
        let topic = format!("out/{}/{}", self.plan.name, qos as u8);
        self.published += 1;
        let number = self.published;
        // Nobody promises that QoS 0 arrives, so the auditor does not know of it.
        let (number, payload) = match qos {
            Qos::AtMostOnce => (None, "nothing is promised".into()),
            _ => (Some(number), self.plan.auditor.payload_of(number, self.dice.usize(20..600))),
        };
        let mut message = self.client.publish(topic.as_str(), payload).qos(qos);
        if self.dice.u8(0..20) == 0 {
            message = message.expires_after(Duration::from_millis(self.dice.u64(1..5000)));
        }
        (message, number)
    }

    fn note(&self, delivery: &Delivery, number: Option<u64>) {
        self.plan.book.accepted(delivery, number);
    }

    async fn publish(&mut self) {
        let (message, number) = self.message();
        // A full queue gives the message back, and that is an answer.
        let Ok(delivery) = message.enqueue() else { return };
        self.note(&delivery, number);
        match self.dice.u8(0..6) {
            0 => drop(delivery),
            1 => delivery.cancel(),
            // Given up waiting, and the handle too.
            2 => drop(timeout(self.moment(), delivery.acked()).await),
            3 => drop(timeout(self.moment(), delivery.sent()).await),
            _ => {
                let book = self.plan.book.clone();
                spawn_local(async move { book.answered(delivery.id(), &delivery.acked().await) });
            }
        }
    }

    async fn publish_when_room(&mut self) {
        let (message, number) = self.message();
        if let Ok(Ok(delivery)) = timeout(self.moment(), message.enqueue_when_room()).await {
            self.note(&delivery, number);
        }
    }

    fn burst(&mut self) {
        for _ in 0..self.dice.u8(5..60) {
            let (message, number) = self.message();
            if let Ok(delivery) = message.enqueue() {
                self.note(&delivery, number);
            }
        }
    }

    async fn subscribe(&mut self) {
        let filter = format!("extra/{}/{}", self.plan.name, self.dice.u8(0..4));
        let asked = self.client.subscribe(filter.as_str(), QOS[self.dice.usize(0..3)]);
        match self.dice.bool() {
            true => self.streams.extend(asked.declare()),
            false => {
                if let Ok(Ok(stream)) = timeout(self.moment(), asked.into_future()).await {
                    self.streams.push(stream);
                }
            }
        }
    }

    async fn let_go(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let mut stream = self.streams.swap_remove(self.dice.usize(0..self.streams.len()));
        match self.dice.u8(0..4) {
            0 => drop(stream),
            1 => stream.detach(),
            2 => drop(timeout(self.moment(), stream.next()).await),
            _ => drop(timeout(self.moment(), stream.unsubscribe()).await),
        }
    }

    async fn ask(&mut self) {
        let within = self.moment();
        drop(self.client.flush(within).await);
        drop(self.client.wait_ready(within).await);
        drop(timeout(within, self.client.pending()).await);
        let state = self.client.state();
        if state.is_connection_open() && !state.is_connected() {
            self.plan.book.complain("open, and not connected".to_owned());
        }
    }

    fn moment(&mut self) -> Duration {
        Duration::from_millis(self.dice.u64(0..3000))
    }

    fn say(&self, at: impl Debug) {
        *self.plan.at.borrow_mut() = format!("{at:?}");
    }

    /// Drains where the faults are over, and shuts down.
    async fn end(mut self) {
        let book = self.plan.book.clone();
        let drains = self.plan.setting.ends_after.is_none();
        if drains {
            // At 3.1.1 a stream that nobody reads holds up everything behind its messages: there is no other brake.
            self.streams.clear();
            self.say("drains");
            // waits: a link that the faults killed looks open until its first ping is late.
            sleep(NOTICED).await;
            if self.client.flush(DRAINED_WITHIN).await.is_err() {
                book.complain(format!("{} messages wait in calm weather", book.unanswered()));
            }
            if self.client.wait_ready(DRAINED_WITHIN).await.is_err() {
                book.complain(format!("not back in calm weather: {:?}", self.client.state()));
            }
        }
        let within = self.moment();
        let (failed, begun) = (book.not_delivered(), tokio::time::Instant::now());
        self.say("shuts down");
        let shutdown = self.client.shutdown().within(within);
        let Ok(report) = timeout(within + ENDING, shutdown.into_future()).await else {
            return book.complain(format!("no end of a shutdown {:?} after its begin", begun.elapsed()));
        };
        // waits: the reader of events is a task of its own.
        sleep(Duration::from_secs(1)).await;
        if drains && (report.lost > 0 || within > ROUND_TRIPS && !report.clean) {
            book.complain(format!("drained, and then {report:?}"));
        }
        let ended = (book.not_delivered() - failed) as u64;
        if !drains && ended < report.lost {
            book.complain(format!("{report:?}, but fewer messages ended without delivery"));
        }
        if self.client.is_connected() || self.client.is_connection_open() {
            book.complain("says connected after its end".to_owned());
        }
        if self.client.publish("late", "").enqueue().is_ok() {
            book.complain("takes messages after its end".to_owned());
        }
        self.say("over");
    }
}
