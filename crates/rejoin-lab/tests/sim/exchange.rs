//! One engine and the strict broker in memory and in virtual time, joined by links that can be cut after any byte. What is
//! said between them is always the same, so that every cut can be tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{
    Config, Engine, Event, Input, LinkState, MessageId, Now, Output, Publication, PublishId, Qos, Record,
    Recovered, SessionMode, SubscribeRequest, SubscriptionId, SubscriptionOptions, Text, Ticket, Timestamp,
    TopicFilter, TopicName, TransportError, TransportErrorKind, VersionPolicy,
};
use rejoin_lab::broker::Output as Answer;
use rejoin_lab::{Broker, ConnectionId, Direction, Forward, LedgerEntry, Manners};

use crate::account::Account;

/// The client id.
pub(crate) const CLIENT: &str = "client";
/// What the application wants to receive to the end; one more filter it leaves on the way.
pub(crate) const WISHES: [(&str, Qos); 2] = [("in/1", Qos::AtLeastOnce), ("in/2", Qos::ExactlyOnce)];
const LEFT: (&str, Qos) = ("left", Qos::AtMostOnce);
/// How long bytes are under way, in microseconds.
const LATENCY: u64 = 1_000;
/// How many messages may be under way at once, where there is anything to hold back, and how many identifiers there are.
const WINDOW: u16 = 2;
const IDENTIFIERS: u16 = 6;
/// A run has some hundred turns; one that has so many comes to no end.
const TURNS: usize = 5_000;
const WALL_MS: u64 = 1_700_000_000_000;

/// What is said, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) version: VersionPolicy,
    /// Everything is handed over at once, beyond the window, instead of each when the one before is done.
    pub(crate) at_once: bool,
    /// When the broker passes on what is QoS 2.
    pub(crate) forwards_qos2: Forward,
    /// The store and the application take longer than the network.
    pub(crate) is_slow: bool,
    pub(crate) durable: bool,
}

/// What of the records that were handed out a killed process leaves on its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Everything,
    /// What the store had reported.
    Reported,
}

/// What happens at the end of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// Nobody cuts it: the application shuts down, and waits for nothing.
    pub(crate) shut_down: bool,
    /// The broker loses its sessions.
    pub(crate) session_lost: bool,
    /// The process dies, and leaves this.
    pub(crate) killed: Option<Left>,
}

/// The end of a link: so many bytes of one direction arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) fate: Fate,
    pub(crate) direction: Direction,
    pub(crate) after: usize,
    /// What the broker says to that still arrives, and then the client hears of the end.
    pub(crate) is_heard_out: bool,
}

/// What the application does, or somebody else on the broker.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(Qos),
    Arrives(Qos),
    Leave,
}

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;
/// A few of each kind.
const STEPS: [Step; 13] = [
    Step::Publish(Q0),
    Step::Publish(Q1),
    Step::Publish(Q2),
    Step::Arrives(Q1),
    Step::Arrives(Q2),
    Step::Publish(Q2),
    Step::Leave,
    Step::Publish(Q1),
    Step::Arrives(Q2),
    Step::Arrives(Q1),
    Step::Publish(Q2),
    Step::Publish(Q1),
    Step::Publish(Q0),
];

/// What is under way.
#[derive(Debug)]
enum Happening {
    Opened,
    Up(Bytes),
    UpEnd,
    Down(Bytes),
    DownEnd,
    Severed(Fate),
    Synced(Ticket),
    Loaded(Vec<(PublishId, Option<Publication>)>),
    Taken(MessageId),
}

impl Happening {
    /// It is under way on the link.
    const fn is_on_link(&self) -> bool {
        matches!(self, Self::Up(_) | Self::UpEnd | Self::Down(_) | Self::DownEnd)
    }
}

/// The client's process, its store, the broker, and what is between them.
pub(crate) struct Exchange {
    pub(crate) case: Case,
    /// The first ends the first link, and so on.
    cuts: Vec<Cut>,
    pub(crate) broker: Broker,
    entries: Arc<Mutex<Vec<LedgerEntry>>>,
    engine: Engine,
    store: Vec<(Ticket, Vec<Record>)>,
    safe: Ticket,
    link: Option<ConnectionId>,
    /// The client has not closed it.
    hears: bool,
    /// The bytes that arrived on each link, up and down.
    links: Vec<[usize; 2]>,
    now: u64,
    underway: BTreeMap<(u64, u64), Happening>,
    last: u64,
    next_step: usize,
    probed: bool,
    last_publish: u64,
    /// The application has asked for the end.
    left: bool,
    stopped: bool,
    /// The last byte of the present link has arrived.
    severed: bool,
    /// Every filter was granted on it.
    was_ready: bool,
    /// So many links there must be, because a client was left that has to open another one.
    due: usize,
    /// The link was open when the application shut down.
    pub(crate) owes_goodbye: bool,
    pub(crate) account: Account,
}

fn moment(at: u64) -> Now {
    Now::new(Timestamp::from_micros(at), WALL_MS + at / 1_000)
}

fn config(case: &Case) -> Config {
    let mut config = Config::new(Text::from_static(CLIENT), Text::from_static("broker:1883"));
    config.version = case.version;
    config.session.mode = SessionMode::Kept(Duration::from_secs(3600));
    config.session.durable = case.durable;
    if case.at_once {
        // They come round again, under all that is still in doubt.
        config.session.packet_id_max = IDENTIFIERS;
        // 5.0 is told by the broker.
        config.session.in_flight_max = (case.version == VersionPolicy::Only311).then_some(WINDOW);
    }
    config
}

fn engine(case: &Case, kept: Recovered, life: u64, now: u64) -> Engine {
    Engine::new(config(case), kept, life, moment(now)).expect("these settings work")
}

impl Exchange {
    /// Runs it to its end, with its links cut there.
    pub(crate) fn run(case: Case, cuts: &[Cut]) -> Result<Self, String> {
        let entries = Arc::new(Mutex::new(Vec::new()));
        let mut manners = Manners { forwards_qos2: case.forwards_qos2, ..Manners::default() };
        if case.at_once {
            manners.receive_maximum = Some(WINDOW);
        }
        let mut broker = Broker::new(manners);
        let book = Arc::clone(&entries);
        broker.add_ledger(Box::new(move |entry| book.lock().unwrap().push(entry.clone())));
        let mut exchange = Self {
            cuts: cuts.to_vec(),
            broker,
            entries,
            engine: engine(&case, Recovered::default(), 1, 0),
            store: Vec::new(),
            safe: Ticket::default(),
            link: None,
            hears: false,
            links: Vec::new(),
            now: 0,
            underway: BTreeMap::new(),
            last: 0,
            next_step: 0,
            probed: false,
            last_publish: 0,
            left: false,
            stopped: false,
            severed: false,
            was_ready: false,
            due: 1,
            owes_goodbye: false,
            account: Account::default(),
            case,
        };
        exchange.begin();
        exchange.go_on()?;
        if exchange.links.len() < exchange.due {
            return Err(format!("after the cut there were {} links in all", exchange.links.len()));
        }
        exchange.account.judge(&exchange)?;
        Ok(exchange)
    }

    /// A process begins: it asks for what it wants to receive.
    fn begin(&mut self) {
        let left = Some(LEFT).filter(|_| self.next_step == 0);
        for ((filter, qos), id) in WISHES.into_iter().chain(left).zip(1..) {
            let request = SubscribeRequest {
                id: SubscriptionId(id),
                filter: TopicFilter::try_from(filter).unwrap(),
                options: SubscriptionOptions { qos, ..SubscriptionOptions::default() },
                user_properties: Vec::new(),
            };
            self.engine.subscribe(request, moment(self.now)).unwrap();
        }
        self.tell(Input::Tick);
    }

    fn go_on(&mut self) -> Result<(), String> {
        for _ in 0..TURNS {
            if let Some(((at, _), happening)) = self.underway.pop_first() {
                self.now = self.now.max(at);
                self.happen(happening);
            } else if self.stopped {
                return Ok(());
            } else if !self.left && self.engine.status().ready {
                self.step();
            } else {
                self.wait();
            }
        }
        Err(format!("it comes to no end: {:?}", self.engine.status()))
    }

    /// Nothing is under way: the next timer.
    fn wait(&mut self) {
        let timers = [self.engine.deadline().map(|(at, _)| at), self.broker.next_deadline()];
        let next = timers.into_iter().flatten().min().map_or(self.now, Timestamp::as_micros);
        self.now = self.now.max(next);
        self.broker.tick(moment(self.now).mono);
        self.collect();
        self.tell(Input::Tick);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Opened => {
                let id = self.broker.opened(moment(self.now).mono);
                assert!(self.link.replace(id).is_none(), "two links at once");
                self.links.push([0, 0]);
                (self.hears, self.severed, self.was_ready) = (true, false, false);
                self.tell(Input::Opened);
                self.check_cut();
            }
            Happening::Up(bytes) => {
                let (Some(id), (part, rest)) = (self.link, self.pass(Direction::Up, bytes)) else { return };
                if !part.is_empty() {
                    self.broker.received(id, part, moment(self.now).mono);
                    self.collect();
                }
                self.check_cut();
                if !rest.is_empty() {
                    self.happen(Happening::Up(rest));
                }
            }
            Happening::Down(bytes) => {
                let (part, _) = self.pass(Direction::Down, bytes);
                if !part.is_empty() {
                    self.tell(Input::Received(part));
                }
                self.check_cut();
            }
            Happening::UpEnd => self.hang_up(),
            Happening::DownEnd => {
                self.hang_up();
                self.tell(Input::Lost(TransportError::new(TransportErrorKind::Closed, String::new())));
            }
            Happening::Severed(fate) => self.sever(fate),
            Happening::Synced(ticket) => {
                self.safe = ticket;
                self.tell(Input::Persisted(ticket));
            }
            Happening::Loaded(bodies) => self.tell(Input::Loaded(bodies)),
            Happening::Taken(id) => {
                self.account.taken(id);
                self.engine.ack(id, rejoin_core::ReasonCode::SUCCESS, moment(self.now));
                self.drain();
            }
        }
    }

    /// The end that the present link is to have.
    fn cut(&self) -> Option<Cut> {
        self.cuts.get(self.links.len().checked_sub(1)?).copied()
    }

    /// What of these bytes arrives before the end that the link is to have, and what arrives behind it.
    fn pass(&mut self, direction: Direction, mut bytes: Bytes) -> (Bytes, Bytes) {
        let severed = self.severed;
        let cut = self.cut().filter(|cut| cut.direction == direction && !(severed && cut.fate.shut_down));
        let Some(link) = self.links.last_mut() else { return (Bytes::new(), Bytes::new()) };
        let passed = &mut link[usize::from(direction == Direction::Down)];
        let part = bytes.split_to(cut.map_or(bytes.len(), |cut| bytes.len().min(cut.after - *passed)));
        *passed += part.len();
        if cut.is_none_or(|cut| !cut.fate.shut_down) {
            bytes.clear();
        }
        (part, bytes)
    }

    /// The link ends when its last byte has arrived.
    fn check_cut(&mut self) {
        let (Some(cut), Some(link)) = (self.cut(), self.links.last()) else { return };
        if self.severed || link[usize::from(cut.direction == Direction::Down)] < cut.after {
            return;
        }
        self.severed = true;
        if cut.is_heard_out {
            self.plan(3 * LATENCY, Happening::Severed(cut.fate));
        } else {
            self.sever(cut.fate);
        }
    }

    fn sever(&mut self, fate: Fate) {
        if fate.shut_down {
            self.owes_goodbye = self.engine.status().link == LinkState::Open;
            self.engine.close(Duration::ZERO, moment(self.now));
            return self.drain();
        }
        self.hang_up();
        if fate.session_lost {
            self.broker.forget_sessions();
        }
        if fate.killed.is_some() || !self.stopped {
            self.due = self.links.len() + 1;
        }
        match fate.killed {
            Some(left) => self.be_reborn(left),
            None if self.stopped => {}
            None => self.tell(Input::Lost(TransportError::new(TransportErrorKind::Reset, String::new()))),
        }
    }

    /// The process died; the next one has what is on the store.
    fn be_reborn(&mut self, left: Left) {
        self.underway.clear();
        if left == Left::Reported {
            let safe = self.safe;
            self.store.retain(|(ticket, _)| *ticket <= safe);
        }
        let records = self.store.iter().flat_map(|(_, records)| records).cloned();
        let kept = Recovered::replay(records.clone());
        self.account.die(&kept, records, &self.entries.lock().unwrap());
        // Tickets are those of the next process; what it finds is older than all of them.
        for (ticket, _) in &mut self.store {
            *ticket = Ticket::default();
        }
        self.safe = Ticket::default();
        self.now += 1_000_000;
        self.last_publish = kept.last_publish.0;
        (self.stopped, self.left, self.probed) = (false, false, false);
        self.engine = engine(&self.case, kept, self.last, self.now);
        self.begin();
    }

    /// The link is gone, with all that is under way on it.
    fn hang_up(&mut self) {
        self.hears = false;
        self.underway.retain(|_, what| !what.is_on_link());
        if let Some(id) = self.link.take() {
            self.broker.closed(id, moment(self.now).mono);
        }
    }

    /// What the broker wants to send.
    fn collect(&mut self) {
        while let Some(answer) = self.link.and_then(|id| self.broker.take_output(id)) {
            match answer {
                Answer::Send(bytes) if self.hears => self.plan(LATENCY, Happening::Down(bytes)),
                Answer::Send(_) => {}
                Answer::Close(_) if self.hears => self.plan(LATENCY, Happening::DownEnd),
                Answer::Close(_) => self.hang_up(),
            }
        }
    }

    fn plan(&mut self, after: u64, what: Happening) {
        self.last += 1;
        self.underway.insert((self.now + after, self.last), what);
    }

    fn tell(&mut self, input: Input) {
        self.engine.handle(input, moment(self.now));
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            let mut written = 0;
            while let Some(output) = self.engine.poll() {
                match output {
                    // A link that is left in order has ended by then.
                    Output::Open { .. } => self.plan(2 * LATENCY, Happening::Opened),
                    Output::Transmit(bytes) => {
                        written += bytes.len();
                        self.plan(LATENCY, Happening::Up(bytes));
                    }
                    Output::Close { graceful } => self.close(graceful),
                    Output::Persist { ticket, records } => {
                        self.store.push((ticket, records));
                        self.plan(self.store_takes(), Happening::Synced(ticket));
                    }
                    Output::Load(ids) => {
                        let bodies = ids.into_iter().map(|id| (id, self.body(id))).collect();
                        self.plan(self.store_takes(), Happening::Loaded(bodies));
                    }
                    Output::Event(event) => self.event(event),
                }
            }
            if written == 0 {
                break;
            }
            self.engine.handle(Input::Written(written), moment(self.now));
        }
        if !self.was_ready && self.engine.status().ready {
            self.was_ready = true;
            self.account.see_subscriptions(&self.broker, false);
        }
    }

    const fn store_takes(&self) -> u64 {
        if self.case.is_slow { 5_000 } else { 300 }
    }

    fn body(&self, of: PublishId) -> Option<Publication> {
        self.store.iter().flat_map(|(_, records)| records).find_map(|record| match record {
            Record::Enqueued { id, publication, .. } if *id == of => Some(publication.clone()),
            _ => None,
        })
    }

    fn close(&mut self, graceful: bool) {
        self.underway
            .retain(|_, what| !matches!(what, Happening::Opened | Happening::Down(_) | Happening::DownEnd));
        self.hears = false;
        if graceful {
            self.plan(LATENCY, Happening::UpEnd);
        } else {
            self.hang_up();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Message(message) => {
                if let Some(id) = message.id {
                    self.plan(if self.case.is_slow { 7_000 } else { 200 }, Happening::Taken(id));
                }
                self.account.heard(&message);
            }
            Event::Finished { id, outcome } => {
                self.account.answered(id, outcome, &self.entries.lock().unwrap());
            }
            Event::Stored { id } => self.account.stored(id),
            Event::Stopped { .. } => self.stopped = true,
            _ => {}
        }
    }

    /// Nothing is under way, the link is open and every filter is granted.
    fn step(&mut self) {
        if self.next_step < STEPS.len() {
            let steps = if self.case.at_once { STEPS.len() - self.next_step } else { 1 };
            for step in STEPS.into_iter().skip(self.next_step).take(steps) {
                self.next_step += 1;
                self.act(step);
            }
            self.drain();
        } else if !self.probed {
            self.probed = true;
            self.account.see_subscriptions(&self.broker, true);
            for (_, qos) in WISHES {
                self.act(Step::Arrives(qos));
            }
        } else {
            self.left = true;
            // What two links in a row died with is suspect, and waits until one without it has lived for a moment.
            if self.cuts.len() < 2 {
                self.account.all_is_quiet();
            }
            assert_eq!(self.engine.status().link, LinkState::Open);
            self.engine.close(Duration::from_secs(30), moment(self.now));
            self.drain();
        }
        self.collect();
    }

    fn act(&mut self, step: Step) {
        let now = moment(self.now);
        match step {
            Step::Publish(qos) => {
                self.last_publish += 1;
                let id = PublishId(self.last_publish);
                let topic = ["out/0", "out/1", "out/2"][qos as usize];
                let payload = self.account.accepted(id, qos);
                let publication =
                    Publication { qos, ..Publication::new(TopicName::try_from(topic).unwrap(), payload) };
                self.engine.publish(id, publication, now).unwrap();
            }
            Step::Arrives(qos) => {
                let topic = if qos == Q2 { "in/2" } else { "in/1" };
                let payload = self.account.sent_to_us(qos);
                assert!(self.broker.publish(topic, payload, qos, false), "nobody is subscribed to {topic}");
            }
            Step::Leave => self.engine.unsubscribe(SubscriptionId(3), now),
        }
    }

    /// What the broker took, passed on and had confirmed.
    pub(crate) fn entries(&self) -> std::sync::MutexGuard<'_, Vec<LedgerEntry>> {
        self.entries.lock().unwrap()
    }

    /// The bytes that arrived on each link, up and down.
    pub(crate) fn links(&self) -> &[[usize; 2]] {
        &self.links
    }

    /// The last of them had not the end that the client wished for.
    pub(crate) fn was_cut_at_the_end(&self) -> bool {
        self.links.len() <= self.cuts.len()
    }

    /// The application shut down in the middle.
    pub(crate) fn was_shut_down(&self) -> bool {
        self.cuts.iter().any(|cut| cut.fate.shut_down)
    }

    /// The broker lost a session on the way.
    pub(crate) fn lost_session(&self) -> bool {
        self.cuts.iter().any(|cut| cut.fate.session_lost)
    }

    /// It did, or the client has to reckon with it: of a CONNECT without a CONNACK it cannot know whether the broker had the
    /// session.
    pub(crate) fn may_doubt_session(&self) -> bool {
        self.lost_session() || self.cuts.len() > 1
    }

    /// A process was killed on the way, and left this.
    pub(crate) fn killed(&self) -> Option<Left> {
        self.cuts.iter().find_map(|cut| cut.fate.killed)
    }
}
