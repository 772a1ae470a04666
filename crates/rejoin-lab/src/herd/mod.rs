//! The herd: many clients lose one broker in the same moment and want it back in the same moment.
//!
//! A discrete-event world without sockets. All clients lose the broker together; for a while it refuses everybody;
//! then it finishes a fixed number of handshakes a second. In front of it is an accept queue of fixed length: when
//! that is full a SYN is lost and the client's kernel repeats it after 1, 3, 7 and 15 s. A client that leaves the
//! queue leaves its socket behind, and the broker spends a whole slot on it: this is what makes short time-outs
//! dangerous, and why no client can be judged alone.
//!
//! That is the broker of the published tables; [`Crowd`] has two milder ones beside it.
//!
//! [`Client`] is one member: [`EngineClient`] is rejoin's real engine, [`RuleClient`] one of the [`rules`] that
//! other clients document. [`run`] gives an [`Outcome`].
//! [`SlowDoor`] is the same broker, in essence, for real sockets.

mod client;
mod listener;
pub mod page;
pub mod rules;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

pub use client::{Client, EngineClient, News, RuleClient, Want};
pub use listener::SlowDoor;

/// One second in the herd's unit of time, the microsecond.
pub const SECOND: u64 = 1_000_000;
/// The moment at which all links are cut. Before it they lived for 40 s, so that they count as stable.
pub const CUT_AT: u64 = 40 * SECOND;
/// When the kernel repeats a lost SYN, counted from the first one.
const SYN_REPEATS: [u64; 5] = [SECOND, 3 * SECOND, 7 * SECOND, 15 * SECOND, 31 * SECOND];
/// After this the rest of the herd counts as never coming back.
pub const GIVE_UP_AFTER: u64 = 1800 * SECOND;

/// What the broker does with those it has no time for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crowd {
    /// The accept queue has an end, beyond it SYNs are lost, and who left it still costs a slot.
    #[default]
    SynsLost,
    /// The queue has no end, and who left it costs nothing. With time-outs shorter than the queue its head is always
    /// somebody about to leave, so without a round trip of zero many answers find nobody.
    AllWait,
    /// Whom the queue does not hold is answered CONNACK 0x9F at once, which costs the broker nothing.
    ToldBusy,
}

/// The broker and the network of one run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How long the broker refuses everybody. 60 s in the published tables.
    pub down: u64,
    /// Handshakes it finishes in a second once it is back. 2,000 in the published tables.
    pub rate: u64,
    /// Length of its accept queue. 4,096 in the published tables.
    pub backlog: usize,
    /// Round trip between a client and the broker. 20 ms in the published tables.
    pub round_trip: u64,
    /// What becomes of those for whom there is no time. [`Crowd::SynsLost`] where nothing else is said.
    pub crowd: Crowd,
}

impl Default for Scenario {
    fn default() -> Self {
        Self { down: 60 * SECOND, rate: 2_000, backlog: 4_096, round_trip: 20_000, crowd: Crowd::default() }
    }
}

impl Scenario {
    /// Nobody can bring `clients` clients back faster than this after the broker's return.
    pub fn bound(&self, clients: usize) -> u64 {
        clients as u64 * SECOND / self.rate.max(1)
    }

    /// The moment the broker is back.
    pub const fn back_at(&self) -> u64 {
        CUT_AT + self.down
    }
}

/// What became of a herd.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many clients there were.
    pub clients: usize,
    /// For each client that came back: when, in microseconds after the broker's return, ascending.
    pub returns: Vec<u64>,
    /// Attempts made while the broker was down, of all clients together.
    pub tries_while_down: u64,
    /// Attempts of all clients together, from the cut until the last one was back.
    pub tries: u64,
    /// The most attempts in any one second.
    pub peak_tries: u64,
    /// Handshakes the broker finished for a client that had left.
    pub wasted: u64,
    /// Clients that stopped trying for good.
    pub closed: usize,
}

impl Outcome {
    /// When this share of the herd was back, in percent; `None` when it never was.
    pub fn back(&self, percent: usize) -> Option<u64> {
        let nth = (self.clients * percent).div_ceil(100).max(1);
        self.returns.get(nth - 1).copied()
    }

    /// When the last client was back; `None` when not all came back.
    pub fn all_back(&self) -> Option<u64> {
        self.back(100)
    }

    /// How many clients were back this long after the broker's return.
    pub fn back_by(&self, at: u64) -> usize {
        self.returns.partition_point(|&back| back <= at)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The client's own timer.
    Wake,
    /// A SYN arrives at the broker, the n-th of this attempt.
    Syn(u8),
    Refused,
    Opened,
    /// CONNACK with 0x9F.
    Busy,
    Connack,
}

/// What happens next: when, to whom, in which attempt of it.
type Event = Reverse<(u64, u32, u32, Kind)>;

struct Place {
    /// Goes up when an attempt begins or ends: what is under way for an older one is void.
    attempt: u32,
    dialled: u64,
    wake: u64,
    back: bool,
}

struct World<'a, C> {
    scenario: &'a Scenario,
    clients: Vec<C>,
    places: Vec<Place>,
    events: BinaryHeap<Event>,
    queue: VecDeque<(u32, u32)>,
    /// When the broker finishes the handshake it works on.
    busy_until: u64,
    tries: Vec<u64>,
    outcome: Outcome,
    left: usize,
}

/// Cuts all links at [`CUT_AT`] and runs until everybody is back, or [`GIVE_UP_AFTER`] later.
pub fn run<C: Client>(scenario: &Scenario, clients: Vec<C>) -> Outcome {
    let count = clients.len();
    let places =
        clients.iter().map(|_| Place { attempt: 0, dialled: 0, wake: u64::MAX, back: false }).collect();
    let mut world = World {
        scenario,
        clients,
        places,
        events: BinaryHeap::new(),
        queue: VecDeque::new(),
        busy_until: 0,
        tries: Vec::new(),
        outcome: Outcome { clients: count, ..Outcome::default() },
        left: count,
    };
    for who in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        world.tell(who, News::Cut, CUT_AT);
    }
    world.run();
    let mut outcome = world.outcome;
    outcome.returns.sort_unstable();
    outcome.tries = world.tries.iter().sum();
    outcome.peak_tries = world.tries.iter().copied().max().unwrap_or(0);
    let down = usize::try_from(scenario.down / SECOND).unwrap_or(usize::MAX);
    outcome.tries_while_down = world.tries.iter().take(down).sum();
    outcome
}

impl<C: Client> World<'_, C> {
    fn run(&mut self) {
        let end = self.scenario.back_at() + GIVE_UP_AFTER;
        while self.left > 0 {
            let next = self.events.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            let served = if self.queue.is_empty() { u64::MAX } else { self.busy_until };
            if next.min(served) >= end {
                return;
            }
            if served <= next {
                self.serve();
                continue;
            }
            let Some(Reverse((at, who, attempt, kind))) = self.events.pop() else { return };
            self.happen(at, who, attempt, kind);
        }
    }

    /// The broker finishes the handshake at the head of its queue, whoever still waits for it.
    fn serve(&mut self) {
        let at = self.busy_until;
        let Some((who, attempt)) = self.queue.pop_front() else { return };
        let place = &self.places[who as usize];
        let left = place.attempt != attempt;
        if left && self.scenario.crowd == Crowd::AllWait {
            return;
        }
        self.busy_until = at + SECOND / self.scenario.rate.max(1);
        if left {
            self.outcome.wasted += 1;
            return;
        }
        // The answer cannot leave before CONNECT is there, one round trip after the SYN.
        let asked = place.dialled + self.scenario.round_trip * 3 / 2;
        let answered = at.max(asked) + self.scenario.round_trip / 2;
        self.events.push(Reverse((answered, who, attempt, Kind::Connack)));
    }

    fn happen(&mut self, at: u64, who: u32, attempt: u32, kind: Kind) {
        let place = &mut self.places[who as usize];
        if kind == Kind::Wake {
            if place.wake == at && !place.back {
                place.wake = u64::MAX;
                self.tell(who, News::Wake, at);
            }
            return;
        }
        if place.attempt != attempt || place.back {
            return;
        }
        match kind {
            Kind::Syn(nth) => self.syn(at, who, attempt, nth),
            Kind::Refused => self.tell(who, News::Refused, at),
            Kind::Opened => self.tell(who, News::Opened, at),
            Kind::Busy => self.tell(who, News::Busy, at),
            Kind::Connack => {
                place.back = true;
                self.left -= 1;
                self.outcome.returns.push(at.saturating_sub(self.scenario.back_at()));
                self.tell(who, News::Connack, at);
            }
            Kind::Wake => {}
        }
    }

    fn syn(&mut self, at: u64, who: u32, attempt: u32, nth: u8) {
        let half = self.scenario.round_trip / 2;
        if at < self.scenario.back_at() {
            self.events.push(Reverse((at + half, who, attempt, Kind::Refused)));
        } else if self.queue.len() < self.scenario.backlog || self.scenario.crowd == Crowd::AllWait {
            if self.queue.is_empty() {
                self.busy_until = self.busy_until.max(at + SECOND / self.scenario.rate.max(1));
            }
            self.queue.push_back((who, attempt));
            self.events.push(Reverse((at + half, who, attempt, Kind::Opened)));
        } else if self.scenario.crowd == Crowd::ToldBusy {
            self.events.push(Reverse((at + half, who, attempt, Kind::Opened)));
            self.events.push(Reverse((at + 3 * half, who, attempt, Kind::Busy)));
        } else if let Some(repeat) = SYN_REPEATS.get(usize::from(nth)) {
            let again = self.places[who as usize].dialled + repeat + half;
            self.events.push(Reverse((again, who, attempt, Kind::Syn(nth + 1))));
        }
    }

    /// One input, then everything the client wants in answer, then its timer.
    fn tell(&mut self, who: u32, news: News, at: u64) {
        let mut wants = self.clients[who as usize].tell(news, at);
        // One input has few answers: a dial, or a hang-up and a dial.
        while let Some(want) = wants.pop_front() {
            let place = &mut self.places[who as usize];
            place.attempt += 1;
            match want {
                Want::Dial => {
                    place.dialled = at;
                    let syn = at + self.scenario.round_trip / 2;
                    self.events.push(Reverse((syn, who, place.attempt, Kind::Syn(0))));
                    count_try(&mut self.tries, at);
                }
                Want::HangUp => {}
                Want::Never => {
                    place.back = true;
                    self.left -= 1;
                    self.outcome.closed += 1;
                }
            }
        }
        let place = &mut self.places[who as usize];
        if let Some(wake) = self.clients[who as usize].wake().map(|wake| wake.max(at)).filter(|_| !place.back)
            && wake != place.wake
        {
            place.wake = wake;
            self.events.push(Reverse((wake, who, 0, Kind::Wake)));
        }
    }
}

fn count_try(tries: &mut Vec<u64>, at: u64) {
    let second = usize::try_from((at - CUT_AT) / SECOND).unwrap_or(usize::MAX);
    if tries.len() <= second {
        tries.resize(second + 1, 0);
    }
    tries[second] += 1;
}
