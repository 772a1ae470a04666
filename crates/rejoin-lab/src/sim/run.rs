//! One seed from the first packet to the verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rejoin_core::Version;
use rejoin_core::time::Timestamp;

use super::auth;
use super::client::Client;
use super::faults::FaultKind;
use super::flight::Tapes;
use super::marks::Marks;
use super::oracle::memory::Books;
use super::oracle::{Alarm, books, memory};
use super::setting::{SECOND, Setting};
use super::trace::Trace;
use super::world::{Ruling, World};

/// What to run: a seed, and of its faults those that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// Draws everything.
    pub seed: u64,
    /// Only these faults, by their number; `None`: all of them.
    pub keep: Option<Vec<usize>>,
    /// Faults and publishing end then, in seconds of virtual time; `None`: when the seed says so. If that is later than the
    /// seed says, its faults come again from the first.
    pub until: Option<u64>,
    /// Durable clients have the queue that users have, on a disk whose power is cut within a commit. Slower.
    pub real_queue: bool,
}

impl Case {
    /// All of a seed.
    pub const fn of(seed: u64) -> Self {
        Self { seed, keep: None, until: None, real_queue: false }
    }

    /// The command that runs it again.
    pub fn command(&self) -> String {
        let mut words = format!("cargo xtask sim --replay {}", self.seed);
        if let Some(until) = self.until {
            words += &format!(" --until {until}");
        }
        if self.real_queue {
            words += " --real-queue";
        }
        if let Some(keep) = &self.keep {
            let numbers: Vec<String> = keep.iter().map(ToString::to_string).collect();
            words +=
                &format!(" --keep {}", if numbers.is_empty() { "none".into() } else { numbers.join(",") });
        }
        words
    }

    fn setting(&self) -> Setting {
        let mut setting = Setting::draw(self.seed);
        setting.real_queue = self.real_queue && setting.config.session.durable;
        if let Some(until) = self.until {
            setting.last_until(until * SECOND);
        }
        if let Some(keep) = &self.keep {
            setting.faults.retain(|fault| keep.contains(&fault.number));
        }
        setting
    }

    /// The numbers and times of its faults, in seconds.
    pub fn faults(&self) -> Vec<(usize, u64)> {
        self.setting().faults.iter().map(|fault| (fault.number, fault.at / SECOND)).collect()
    }

    /// Whether its clients have a store.
    pub fn is_durable(&self) -> bool {
        Setting::draw(self.seed).config.session.durable
    }

    /// Whether none of its processes ends before the run does.
    pub fn is_of_one_life(&self) -> bool {
        let ends = [FaultKind::Crash, FaultKind::Close, FaultKind::StoreFails];
        !self.setting().faults.iter().any(|fault| ends.contains(&fault.kind))
    }

    /// How long its faults come, in seconds.
    pub fn length(&self) -> u64 {
        self.setting().faults_for / SECOND
    }
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was wrong; `None`: nothing.
    pub alarm: Option<Alarm>,
    /// Virtual time that passed.
    pub simulated: Duration,
    /// The same, added up over the clients.
    pub client_time: Duration,
    /// Faults that happened.
    pub faults: u64,
    /// Messages handed over.
    pub messages: u64,
    /// Good messages that were taken for poison.
    pub parked: u64,
    /// The broker closed for ever on a client whose disk knew nothing of its last process, or refused it for ever: the
    /// drain and the books could not be judged.
    pub unjudged: bool,
    /// The same run has the same number.
    pub trace: u64,
    /// Where it has been.
    pub marks: Marks,
    /// What happened, if it was recorded.
    pub lines: Vec<String>,
}

/// What a client that rests weighs.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// On the heap.
    pub bytes: usize,
    /// How many it has.
    pub subscriptions: usize,
}

/// Runs a case.
pub fn run(case: &Case) -> Report {
    play(case, Trace::new(false, false), None).0
}

/// Runs a case and keeps the lines of its trace: the last ones, or all.
pub fn run_recorded(case: &Case, all: bool) -> Report {
    play(case, Trace::new(true, all), None).0
}

/// Runs a case with a flight recorder in each process. Gives their files.
pub fn run_flights(case: &Case) -> (Report, Vec<String>) {
    play(case, Trace::new(false, false), Some(Tapes::default()))
}

/// Runs a case and weighs its clients at the end, at rest: the bytes that each of them gives back when it is dropped, by
/// what `allocated` says before and after. With them how many subscriptions each has, which are what may weigh more.
pub fn run_weighed(case: &Case, allocated: impl Fn() -> usize) -> (Report, Vec<Weight>) {
    let mut world = World::new(case.seed, case.setting(), Trace::new(false, false), None);
    let report = report(&mut world);
    let weigh = |client: Client| {
        let mut process = client.engine;
        process.rest();
        let subscriptions = process.held().subscriptions;
        let before = allocated();
        drop(process);
        Weight { bytes: before.saturating_sub(allocated()), subscriptions }
    };
    (report, world.clients.into_iter().map(weigh).collect())
}

fn play(case: &Case, trace: Trace, tapes: Option<Tapes>) -> (Report, Vec<String>) {
    let mut world = World::new(case.seed, case.setting(), trace, tapes);
    let report = report(&mut world);
    (report, world.tapes.take().map(Tapes::finish).unwrap_or_default())
}

fn report(world: &mut World) -> Report {
    let ruling = catch_unwind(AssertUnwindSafe(|| live(world)));
    let alarm = match ruling {
        Ok(Ok(())) => None,
        Ok(Err(alarm)) => Some(alarm),
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().map(ToString::to_string);
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            Some(Alarm::new("O23", format!("panic: {}", words.unwrap_or_default())))
        }
    };
    let simulated = Duration::from_micros(world.at);
    let parked =
        if world.setting.poison { 0 } else { world.clients.iter().map(|c| u64::from(c.app.parked)).sum() };
    Report {
        alarm,
        simulated,
        client_time: simulated * world.setting.clients as u32,
        faults: world.injected,
        messages: world.messages,
        parked,
        unjudged: world.unjudged,
        trace: world.trace.number(),
        marks: world.marks.clone(),
        lines: world.trace.take_lines(),
    }
}

fn live(world: &mut World) -> Ruling {
    let end = world.setting.faults_for;
    for c in 0..world.clients.len() {
        world.feed(c, rejoin_core::Input::Tick)?;
    }
    let mut at = 0;
    while at < end {
        at = (at + 10 * SECOND).min(end);
        world.run_until(at)?;
        for c in 0..world.clients.len() {
            if world.clients[c].reborn_at.is_none() {
                world.application_decides(c)?;
                world.check_credentials(c)?;
                world.proves_anew(c)?;
                memory::bounded(c, &world.clients[c], books_of_broker(world, c))?;
            }
        }
    }
    world.stop_publishing();
    world.heal();
    world.unjudged = !settle(world)?;
    if world.unjudged {
        return Ok(());
    }
    probe(world)?;
    auth::proves_in_the_end(world)?;
    for c in 0..world.clients.len() {
        books::judge(c, &world.clients[c], world.setting.at_pubrel, world.setting.refuses)?;
        nothing_left(world, c)?;
        memory::empty(c, &world.clients[c], books_of_broker(world, c))?;
    }
    Ok(())
}

fn books_of_broker(world: &World, c: usize) -> Books {
    let client = &world.clients[c];
    let name = client.session_name();
    let on_its_link =
        client.wire.as_ref().is_some_and(|wire| world.broker.connection_of(name) == Some(wire.id));
    let swapped = world.rolled_back
        || world.sessions_lost
        || world.setting.loses_packets
        // A copy that crosses a refusal is a new message, of which the broker will know nothing on the next link.
        || world.setting.sends_again.is_some()
        || client.moved
        || client.is_out_of_date
        || client.session_ended;
    let owed = (on_its_link && client.watch.is_up())
        .then(|| world.broker.owed_to(name) + world.broker.answers_to_copies(name));
    Books { owed, certain: !swapped }
}

/// Faults are over: every client must be back, and everything answered for, within the bound (O18). `false`: it cannot be
/// judged any further.
fn settle(world: &mut World) -> Result<bool, Alarm> {
    let mut ends: Vec<Ending> = world.clients.iter().map(|_| Ending::default()).collect();
    for client in &mut world.clients {
        client.watch.failures = 0;
    }
    let bound = Bound::of(world);
    loop {
        world.run_until(world.at + 2 * SECOND)?;
        if world.broker_closes_for_ever() {
            return Ok(false);
        }
        let mut all = true;
        for (c, end) in ends.iter_mut().enumerate() {
            all &= is_settled(world, c, end, &bound)?;
            if end.is_refused_for_ever(&world.clients[c]) {
                return Ok(false);
            }
        }
        if all {
            return Ok(true);
        }
    }
}

/// So often what was refused is asked for again when nothing is wrong any more.
const ASKS: u8 = 3;

/// What the application does to come to an end.
#[derive(Debug, Default)]
struct Ending {
    /// How often for what was refused; an answer may come late.
    asked_again: u8,
    /// When, in microseconds.
    restarted: Option<u64>,
}

impl Ending {
    /// After a process without its store an identifier may be in use at the broker. 3.1.1 has no code for that: a SUBSCRIBE
    /// under it is refused like any other, with few identifiers each time.
    fn is_refused_for_ever(&self, client: &Client) -> bool {
        let refused = client.app.wishes.values().any(|wish| wish.refused);
        self.asked_again == ASKS && refused && client.is_out_of_date && client.tap.version() == Version::V311
    }
}

/// Until when what must have happened, in microseconds.
struct Bound {
    healed: u64,
    back: u64,
    drain: u64,
}

impl Bound {
    fn of(world: &World) -> Self {
        let recovery = &world.setting.config.recovery;
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        // One attempt may be under way and fail by its time-outs (a minute each at most), one wait may follow, the
        // budget may hold it for its period; then the link must stand.
        let budget = recovery.budget.map_or(0, |b| micros(b.period));
        let back = 2 * 60 * SECOND + micros(recovery.overload.cap) * 3 + budget;
        let owed = |client: &Client| world.broker.owed_to(client.session_name());
        let backlog: usize = world.clients.iter().map(|c| c.app.open + c.app.open_qos0 + owed(c)).sum();
        // Messages go in windows of at least one, each with its handshakes, its syncs and the time of the application.
        let turn = world.setting.latency * 4 + world.setting.sync * 4 + world.setting.taking * 2;
        Self { healed: world.at, back, drain: 240 * SECOND + backlog as u64 * turn }
    }
}

fn is_settled(world: &mut World, c: usize, end: &mut Ending, bound: &Bound) -> Result<bool, Alarm> {
    let client = &world.clients[c];
    let back_by = client.watch.retry_at.max(bound.healed) + bound.back;
    // What the last to come back had to send comes to the others after that.
    let last_back = world.clients.iter().map(|client| client.watch.retry_after_failure).max();
    let since = bound.healed.max(last_back.unwrap_or(0)).max(end.restarted.unwrap_or(0));
    let drained_by = since + bound.back + bound.drain;
    if client.reborn_at.is_some() {
        return Ok(false);
    }
    if !client.watch.is_up() && world.at > back_by {
        return Err(Alarm::new("O18", format!("c{c} is not back: {}", world.engine_says(c))));
    }
    // Whose store takes nothing more replaces its link whenever what waits for the next process has used up the window.
    if client.watch.failures > 6 && client.disk.failed().is_none() {
        let what = format!("c{c} failed 7 times with nothing wrong: {}", world.engine_says(c));
        return Err(Alarm::new("O18", what));
    }
    world.application_decides(c)?;
    if world.waits_for_operator(c, drained_by)? {
        return Ok(false);
    }
    let refused = world.clients[c].app.wishes.values().any(|wish| wish.refused);
    if refused && world.clients[c].watch.is_up() && end.asked_again < ASKS {
        end.asked_again += 1;
        world.ask_again(c)?;
    }
    let client = &world.clients[c];
    let owed = world.broker.owed_to(client.session_name());
    let idle = client.app.open == 0
        && client.app.open_qos0 == 0
        && client.engine.status().ready
        && client.disk.is_idle()
        && client.app.to_take.is_empty()
        && client.app.leaving.is_empty()
        // A link that died unseen must be noticed first.
        && client.wire.as_ref().is_some_and(|wire| wire.passes(world.at));
    if idle && owed > 0 && (world.setting.loses_packets || world.setting.leaves) && end.restarted.is_none() {
        // What the broker forgot to say it says again on a new link only, and so does it what was left on this one.
        end.restarted = Some(world.at);
        let now = world.now(c);
        world.clients[c].engine.restart_link(now);
        world.drain(c)?;
    }
    if (!idle || owed > 0) && world.at > drained_by && end.restarted != Some(world.at) {
        let app = &world.clients[c].app;
        let what = format!(
            "c{c} has not drained: owed {owed}, open {}, leaving {:?}, to take {}: {}",
            app.open,
            app.leaving,
            app.to_take.len(),
            world.engine_says(c)
        );
        return Err(Alarm::new("O18", what));
    }
    Ok(idle && owed == 0)
}

/// So often a client may be spoken to before it has to hear.
const PROBES: u32 = 4;

/// Nobody is deaf: each subscription hears what is said to it (O21).
fn probe(world: &mut World) -> Ruling {
    let links = |world: &World| world.clients.iter().map(|c| c.engine.status().since).collect::<Vec<_>>();
    let mut tries = 0;
    loop {
        tries += 1;
        let before: Vec<u32> = world.clients.iter().map(|client| client.app.probes).collect();
        let begun_on = links(world);
        for topic in world.probe_topics() {
            world.probe(&topic);
        }
        world.run_until(world.at + 30 * SECOND)?;
        let ended_on = links(world);
        let heard = |c: usize| world.clients[c].app.probes - before[c];
        let is_deaf = |c: &usize| heard(*c) < world.clients[*c].app.wishes.len() as u32;
        let Some(c) = (0..before.len()).find(is_deaf) else { return last_answers(world) };
        // What was said to a link that was changed over just then, and to a session that ended with it, nobody hears.
        if begun_on[c] == ended_on[c] || tries == PROBES {
            let (heard, wished) = (heard(c), world.clients[c].app.wishes.len());
            let what = format!("c{c} hears {heard} of {wished} subscriptions: {}", world.engine_says(c));
            return Err(Alarm::new("O21", what));
        }
    }
}

/// What the last answers still cause, and what a link that was changed over in the last moment brings again.
fn last_answers(world: &mut World) -> Ruling {
    let setting = &world.setting;
    let turn = setting.latency * 4 + setting.sync * 4 + setting.taking * 2 + SECOND;
    world.run_until(world.at + 60 * SECOND)?;
    let is_new = |client: &Client, at| {
        Timestamp::from_micros(at).since(client.engine.status().since) < Duration::from_micros(turn)
    };
    let most = world.at + 600 * SECOND;
    while world.at < most && world.clients.iter().any(|client| is_new(client, world.at)) {
        world.run_until(world.at + turn)?;
    }
    Ok(())
}

/// The store holds nothing that is answered for (O20).
fn nothing_left(world: &World, c: usize) -> Ruling {
    let client = &world.clients[c];
    // Of a retained message that came with the last link the newest record may be on its way.
    let mut left = client.disk.recover_all();
    if world.rolled_back
        || world.sessions_lost
        || client.moved
        || client.is_out_of_date
        || client.session_ended
    {
        // A broker that lost its memory never releases them.
        left.held.retain(|held| held.message.is_some());
    }
    // A link that was changed over in the last moment brought retained messages again.
    let takes = &client.app.to_take;
    left.held.retain(|held| !takes.iter().any(|(_, id)| *id == held.id));
    if left.waiting.is_empty() && left.sent.is_empty() && left.undecided.is_empty() && left.held.is_empty() {
        return Ok(());
    }
    let about = |record: &&rejoin_core::Record| match record {
        rejoin_core::Record::Held { id, .. }
        | rejoin_core::Record::Taken { id, .. }
        | rejoin_core::Record::Freed { id } => left.held.iter().any(|held| held.id == *id),
        _ => false,
    };
    let records: Vec<_> = client.disk.synced().iter().filter(about).collect();
    let what = format!(
        "c{c}: waiting {:?}, sent {:?}, undecided {}, held {:?}: {records:?}",
        left.waiting.iter().map(|w| w.id.0).collect::<Vec<_>>(),
        left.sent.iter().map(|w| w.id.0).collect::<Vec<_>>(),
        left.undecided.len(),
        left.held.iter().map(|w| w.id.0).collect::<Vec<_>>()
    );
    Err(Alarm::new("O20", what))
}
