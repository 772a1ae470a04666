//! The course of one seed: a world, its faults, its applications, and the judgement.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use rejoin::Qos;
use rejoin_lab::wire::{Ending, PacketKind};
use rejoin_lab::{Auditor, Ledger, LedgerEntry, Manners, Times};
use turmoil::Sim;

use crate::application::{self, Plan};
use crate::book::Book;
use crate::broker::{self, HOST, Server};
use crate::inbound::Inbound;
use crate::setting::Setting;
use crate::way;

/// Hosts take turns this long.
const TICK: Duration = Duration::from_millis(5);
/// No world lasts longer.
const LIMIT: Duration = Duration::from_secs(1200);
/// Connections are gone so long after the last application ended: the broker notices one and a half keep-alives after
/// the network lost a goodbye.
const AFTERWARDS: Duration = Duration::from_secs(120);

/// What goes wrong, and what mends it.
#[derive(Clone, Copy, Debug)]
enum Act {
    Crash,
    Start {
        keeps_sessions: bool,
    },
    Hold(usize),
    Release(usize),
    Partition(usize),
    Deafen(usize),
    Mute(usize),
    Repair(usize),
    Cut(Ending),
    /// A PUBREC lost before a session is lost would bring the messages to the broker in another order, and nobody
    /// could help it.
    LoseAcks {
        pubrec: bool,
    },
    WithholdConnack,
    SlowAcks,
    Behave,
}

/// What the messages of one application came to, from the broker's side.
struct Account {
    auditor: Auditor,
    arrived: Arc<Mutex<BTreeSet<u64>>>,
    book: Book,
    inbound: Inbound,
    at: Rc<RefCell<String>>,
    name: String,
}

impl Account {
    fn open(n: usize) -> (Self, [Ledger; 2]) {
        let name = format!("application-{n}");
        let auditor = Auditor::new(name.clone());
        let arrived = Arc::<Mutex<BTreeSet<u64>>>::default();
        let (reader, seen) = (auditor.clone(), Arc::clone(&arrived));
        let ledger: Ledger = Box::new(move |entry| {
            if let LedgerEntry::Accepted(accepted) = entry
                && let Some(number) = reader.number(&accepted.payload)
            {
                seen.lock().unwrap().insert(number);
            }
        });
        let ledgers = [auditor.ledger(), ledger];
        let book = Book::new(auditor.clone());
        let inbound = Inbound::default();
        (Self { auditor, arrived, book, inbound, at: Rc::default(), name }, ledgers)
    }

    fn close(self) -> Vec<String> {
        let arrived = self.arrived.lock().unwrap().clone();
        let mut complaints = self.book.close(|number| arrived.contains(&number));
        let verdict = self.auditor.verdict();
        if !verdict.passes() {
            complaints.push(format!("{verdict}: {:?}, lost {:?}", verdict.reasons, verdict.lost));
        }
        complaints.into_iter().map(|what| format!("{}: {what}", self.name)).collect()
    }
}

/// What a course came to, when all went well.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) accepted: usize,
    pub(crate) arrived: usize,
    pub(crate) links: u64,
}

/// Runs a seed.
pub(crate) fn run(seed: u64) -> Result<Told, String> {
    let mut dice = Rng::with_seed(seed);
    let setting = Setting::draw(&mut dice);
    let (accounts, ledgers): (Vec<_>, Vec<_>) = (0..setting.applications).map(Account::open).unzip();
    let server = Server::new(
        Manners { receive_maximum: Some(setting.window), ..Manners::default() },
        way::acceptor(setting.tls),
        ledgers.into_iter().flatten().collect(),
    );
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(LIMIT + AFTERWARDS)
        .max_message_latency(setting.latency)
        .tcp_capacity(1024)
        .build();
    let host = Rc::clone(&server);
    sim.host(HOST, move || broker::serve(Rc::clone(&host)));
    let calm = Rc::new(Cell::new(false));
    for account in &accounts {
        let plan = Plan {
            name: account.name.clone(),
            seed: dice.u64(..),
            setting,
            auditor: account.auditor.clone(),
            book: account.book.clone(),
            inbound: account.inbound.clone(),
            calm: Rc::clone(&calm),
            at: Rc::clone(&account.at),
        };
        sim.client(account.name.as_str(), application::live(plan));
    }
    let acts = draw(&setting, &mut dice);
    let mut world = World { sim, server, accounts: &accounts, dice, letters: 0 };
    let mut complaints = world.play(acts, &calm).err().into_iter().collect::<Vec<_>>();
    complaints.extend(world.afterwards());
    let links = world.server.with(|broker| broker.counters().connected);
    complaints
        .extend(world.server.with(|broker| broker.violations().map(ToString::to_string).collect::<Vec<_>>()));
    drop(world);
    let told = Told {
        accepted: accounts.iter().map(|account| account.book.len()).sum(),
        arrived: accounts.iter().map(|account| account.arrived.lock().unwrap().len()).sum(),
        links,
    };
    complaints.extend(accounts.into_iter().flat_map(Account::close));
    if complaints.is_empty() { Ok(told) } else { Err(format!("{setting:?}\n  {}", complaints.join("\n  "))) }
}

/// The faults of a seed with their mends, in order of time.
fn draw(setting: &Setting, dice: &mut Rng) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    let mut at = Duration::from_secs(2);
    while at < setting.trouble {
        let lasts = Duration::from_millis([200, 3_000, 15_000, 60_000][dice.usize(0..4)]);
        let whom = dice.usize(0..setting.applications);
        let (fault, mend) = match dice.u8(0..12) {
            0 | 1 => (Act::Crash, Act::Start { keeps_sessions: !setting.loses_sessions || dice.bool() }),
            2 => (Act::Hold(whom), Act::Release(whom)),
            3 => (Act::Partition(whom), Act::Repair(whom)),
            4 => (Act::Deafen(whom), Act::Repair(whom)),
            5 => (Act::Mute(whom), Act::Repair(whom)),
            6 | 7 => (Act::Cut(Ending::Fin), Act::Behave),
            8 => (Act::Cut(Ending::Rst), Act::Behave),
            9 => (Act::LoseAcks { pubrec: !setting.loses_sessions }, Act::Behave),
            10 => (Act::WithholdConnack, Act::Behave),
            _ => (Act::SlowAcks, Act::Behave),
        };
        acts.push((at, fault));
        acts.push((at + lasts, mend));
        at += setting.every.mul_f64(dice.f64() * 2.0);
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

struct World<'a> {
    sim: Sim<'a>,
    server: Rc<Server>,
    accounts: &'a [Account],
    dice: Rng,
    /// Messages the broker sent of its own.
    letters: u64,
}

/// What a message of the broker says: how long its handler takes, and its number.
pub(crate) fn read(payload: &[u8]) -> (u8, u64) {
    let (what, number) = payload.split_first().unwrap_or((&0, &[]));
    (*what, number.try_into().map(u64::from_be_bytes).unwrap_or_default())
}

impl World<'_> {
    /// Steps until every application came to its end.
    fn play(&mut self, acts: Vec<(Duration, Act)>, calm: &Cell<bool>) -> Result<(), String> {
        let last = acts.last().map_or(Duration::ZERO, |(at, _)| *at);
        let mut acts = acts.into_iter().peekable();
        let mut next_message = Duration::ZERO;
        loop {
            let now = self.sim.elapsed();
            while let Some((_, act)) = acts.next_if(|(at, _)| *at <= now) {
                self.act(act);
            }
            if now > last && !calm.get() {
                self.mend();
                calm.set(true);
            }
            if now >= next_message && !calm.get() {
                self.send();
                next_message = now + Duration::from_millis(self.dice.u64(100..4000));
            }
            if self.sim.step().map_err(|error| format!("a host ended with {error}"))? {
                return Ok(());
            }
            if now > LIMIT {
                let at = |account: &Account| format!("{} {}", account.name, account.at.borrow());
                let at: Vec<_> = self.accounts.iter().map(at).collect();
                return Err(format!("still not over: {}", at.join(", ")));
            }
        }
    }

    /// The broker sends something to somebody.
    fn send(&mut self) {
        let account = &self.accounts[self.dice.usize(0..self.accounts.len())];
        let handled = self.dice.bool();
        let branch = if handled { "in" } else { "extra" };
        let topic = format!("{branch}/{}/{}", account.name, self.dice.u8(0..4));
        let qos = if self.dice.bool() { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        self.letters += 1;
        let mut payload = vec![self.dice.u8(..)];
        payload.extend(self.letters.to_be_bytes());
        let wanted = self.server.with(|broker| broker.publish(&topic, payload, qos, false));
        if handled && wanted {
            account.inbound.sent(self.letters, qos);
        }
    }

    fn act(&mut self, act: Act) {
        let Self { sim, server, accounts, .. } = self;
        let name = |n: usize| accounts[n].name.as_str();
        match act {
            Act::Crash if sim.is_host_running(HOST) => sim.crash(HOST),
            Act::Start { keeps_sessions } if !sim.is_host_running(HOST) => {
                server.with(|broker| broker.restart(keeps_sessions));
                sim.bounce(HOST);
            }
            Act::Crash | Act::Start { .. } => {}
            Act::Hold(n) => sim.hold(name(n), HOST),
            Act::Release(n) => sim.release(name(n), HOST),
            Act::Partition(n) => sim.partition(name(n), HOST),
            Act::Deafen(n) => sim.partition_oneway(HOST, name(n)),
            Act::Mute(n) => sim.partition_oneway(name(n), HOST),
            Act::Repair(n) => sim.repair(name(n), HOST),
            Act::Cut(ending) => server.with(|broker| broker.cut_all(ending)),
            Act::LoseAcks { pubrec } => server.with(|broker| {
                let kinds = [PacketKind::PubAck, PacketKind::PubComp, PacketKind::PubRec];
                for kind in &kinds[..if pubrec { 3 } else { 2 }] {
                    broker.manners_mut().lose(*kind, Times::Count(3));
                }
                broker.manners_mut().losses_end_at_connect = true;
            }),
            Act::WithholdConnack => server.with(|broker| broker.manners_mut().withhold_connack = Times::ONCE),
            Act::SlowAcks => {
                server.with(|broker| broker.manners_mut().ack_delay = Duration::from_millis(700))
            }
            Act::Behave => server.with(|broker| {
                broker.manners_mut().ack_delay = Duration::ZERO;
                broker.manners_mut().withhold_connack = Times::Never;
            }),
        }
    }

    fn mend(&mut self) {
        self.act(Act::Start { keeps_sessions: true });
        self.act(Act::Behave);
        for n in 0..self.accounts.len() {
            self.act(Act::Release(n));
            self.act(Act::Repair(n));
        }
    }

    /// The world without applications: nothing of them is left.
    fn afterwards(&mut self) -> Option<String> {
        self.mend();
        let until = self.sim.elapsed() + AFTERWARDS;
        while self.sim.elapsed() < until && self.server.connections() > 0 {
            if let Err(error) = self.sim.step() {
                return Some(format!("a host ended with {error}"));
            }
        }
        let left = self.server.connections();
        (left > 0).then(|| format!("{left} connections are left {AFTERWARDS:?} after the end"))
    }
}
