//! The world: one clock, one broker, a few clients; it lets the next thing happen until nothing is left to happen.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use rejoin_core::flight::Flight;
use rejoin_core::{
    Engine, Input, Now, Output, Qos, Recovered, SubscribeRequest, SubscriptionOptions, Timestamp,
    TopicFilter, TransportError, TransportErrorKind,
};

use super::auth;
use super::client::{Client, is_excused};
use super::disk::Failed;
use super::faults::Fault;
use super::flight::Tapes;
use super::marks::Marks;
use super::opening;
use super::oracle::account::{Account, Entry};
use super::oracle::tap::Listener;
use super::oracle::{Alarm, books};
use super::process::Process;
use super::setting::{SECOND, Setting};
use super::trace::{Trace, words};
use super::wire::{Down, Wire};
use crate::broker::{Output as BrokerOutput, Snapshot};
use crate::{Broker, ConnectionId, Ending, Times};

/// What an oracle decided.
pub(super) type Ruling = Result<(), Alarm>;

/// Steps at one moment that can only be a loop.
const MOST_STEPS: u32 = 10_000;
/// The virtual wall clock begins here, in milliseconds since the Unix epoch.
const WALL_ORIGIN_MS: u64 = 1_700_000_000_000;

/// A connection whose client is gone: closed, dead, or never ours.
#[derive(Debug)]
pub(super) struct Stray {
    id: ConnectionId,
    /// What the client's system still sends.
    wire: Option<Wire>,
    /// The broker learns of the end then.
    until: u64,
}

/// Everything there is.
pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) seed: u64,
    pub(super) at: u64,
    pub(super) rng: Rng,
    /// What the applications draw from, so that faults do not move what they do.
    pub(super) app_rng: Rng,
    /// What they leave, and for how long.
    pub(super) leave_rng: Rng,
    /// What those that prove who they are draw from.
    pub(super) auth_rng: Rng,
    /// Where attempts fail in all their ways.
    pub(super) openings: Option<Rng>,
    pub(super) broker: Broker,
    pub(super) clients: Vec<Client>,
    pub(super) strays: Vec<Stray>,
    account: Account,
    lines: Vec<Entry>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) snapshot: Option<Snapshot>,
    /// The broker came back with an older memory, or said so.
    pub(super) rolled_back: bool,
    /// It lost sessions.
    pub(super) sessions_lost: bool,
    /// See [`super::run::Report::unjudged`].
    pub(super) unjudged: bool,
    pub(super) trace: Trace,
    pub(super) marks: Marks,
    pub(super) injected: u64,
    pub(super) messages: u64,
    judged: usize,
    pub(super) publishing: bool,
    ledger_steps: u32,
    claimed: u64,
    /// The broker wants to be called then, or later.
    broker_due: u64,
    pub(super) tapes: Option<Tapes>,
}

impl World {
    pub(super) fn new(seed: u64, setting: Setting, trace: Trace, tapes: Option<Tapes>) -> Self {
        let account = Account::default();
        let mut broker = Broker::new(setting.manners());
        broker.add_ledger(account.ledger());
        if setting.poison {
            broker.manners_mut().poison = TopicFilter::try_from("x/poison").ok();
        }
        let faults = setting.faults.iter().copied().collect();
        let mut world = Self {
            seed,
            at: 0,
            rng: Rng::with_seed(seed ^ 0x7012_d000),
            app_rng: Rng::with_seed(seed ^ 0xa990_0000),
            leave_rng: Rng::with_seed(seed ^ 0x1eae_0000),
            auth_rng: auth::chance(seed),
            openings: opening::stream(seed),
            broker,
            clients: Vec::new(),
            strays: Vec::new(),
            account,
            lines: Vec::new(),
            faults,
            snapshot: None,
            rolled_back: false,
            sessions_lost: false,
            unjudged: false,
            trace,
            marks: Marks::default(),
            injected: 0,
            messages: 0,
            judged: 0,
            publishing: true,
            ledger_steps: 0,
            claimed: 0,
            broker_due: 0,
            tapes,
            setting,
        };
        for index in 0..world.setting.clients {
            let mut config = world.setting.config.clone();
            config.client_id = world.setting.client_id(index);
            let engine = world.engine(&config, Recovered::default(), index as u64);
            let mut client = Client::new(config, engine, &world.setting, seed ^ (index as u64) << 40);
            client.next_burst = index as u64 * 1_000;
            world.clients.push(client);
            world.wish(index, "e/#");
        }
        world
    }

    fn engine(&mut self, config: &rejoin_core::Config, kept: Recovered, salt: u64) -> Flight {
        let now = Now::new(Timestamp::from_micros(self.at), WALL_ORIGIN_MS + self.at / 1000);
        let (config, seed) = (config.clone(), self.seed ^ (salt << 32));
        let flight = match &mut self.tapes {
            None => Engine::new(config, kept, seed, now).map(Flight::new),
            Some(tapes) => Flight::recorded(config, kept, seed, now, tapes.begin()),
        };
        flight.expect("the drawn settings are valid")
    }

    pub(super) fn now(&self, c: usize) -> Now {
        let wall = WALL_ORIGIN_MS + self.at / 1000;
        Now::new(Timestamp::from_micros(self.at), wall.saturating_add_signed(self.clients[c].wall_jump_ms))
    }

    pub(super) fn mono(&self) -> Timestamp {
        Timestamp::from_micros(self.at)
    }

    /// The application wants to receive what matches.
    pub(super) fn wish(&mut self, c: usize, filter: &str) {
        let id = self.clients[c].app.next_wish(filter.to_owned());
        self.ask(c, id);
    }

    fn ask(&mut self, c: usize, id: rejoin_core::SubscriptionId) {
        let now = self.now(c);
        let client = &mut self.clients[c];
        let Some(wish) = client.app.wishes.get_mut(&id.0) else { return };
        let Ok(filter) = TopicFilter::try_from(wish.filter.as_str()) else { return };
        let options = SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() };
        let request = SubscribeRequest { id, filter, options, user_properties: Vec::new() };
        // A client that is closing takes no wishes; the next process asks again.
        wish.asked = client.engine.subscribe(request, now).is_ok();
    }

    /// Lets things happen until `until`, faults included, one moment after the other.
    pub(super) fn run_until(&mut self, until: u64) -> Ruling {
        loop {
            let due = self.next_due();
            if due > until {
                self.at = self.at.max(until);
                return Ok(());
            }
            self.ledger_steps = if due > self.at { 0 } else { self.ledger_steps + 1 };
            self.at = self.at.max(due);
            if self.ledger_steps > MOST_STEPS {
                let why: Vec<_> = self.clients.iter().map(|c| c.engine.deadline()).collect();
                return Err(Alarm::new(
                    "O23",
                    format!("{MOST_STEPS} steps at one moment; deadlines {why:?}"),
                ));
            }
            self.moment()?;
            self.judge_broker()?;
        }
    }

    fn next_due(&mut self) -> u64 {
        let mut due = self.faults.front().map_or(u64::MAX, |f| f.at);
        for client in &self.clients {
            due = due.min(client.next_due(self.publishing));
        }
        for stray in &self.strays {
            due = due.min(stray.next_due());
        }
        // What is known of the broker may be early, since a keep-alive begins anew with each packet.
        if self.broker.take_deadline_moved() || self.broker_due <= due {
            self.ask_broker();
        }
        due.min(self.broker_due)
    }

    fn ask_broker(&mut self) {
        self.broker_due = self.broker.next_deadline().map_or(u64::MAX, Timestamp::as_micros);
    }

    /// Everything that is due now, once.
    fn moment(&mut self) -> Ruling {
        if self.faults.front().is_some_and(|f| f.at <= self.at)
            && let Some(fault) = self.faults.pop_front()
        {
            self.inject(fault)?;
            self.broker_due = 0;
        }
        for c in 0..self.clients.len() {
            self.client_moment(c)?;
        }
        if !self.strays.is_empty() {
            self.stray_moment();
        }
        if self.broker.take_deadline_moved() || self.broker_due <= self.at {
            self.ask_broker();
        }
        if self.broker_due <= self.at {
            self.broker.tick(self.mono());
            self.collect();
            self.broker_due = 0;
        }
        Ok(())
    }

    fn client_moment(&mut self, c: usize) -> Ruling {
        let at = self.at;
        let client = &mut self.clients[c];
        if let Some(due) = client.reborn_at {
            return if due <= at { self.reborn(c) } else { Ok(()) };
        }
        if let Some(opening) = client.opening.take_if(|opening| opening.at <= at) {
            self.dialled(c, opening)?;
        }
        let now = self.now(c);
        let client = &mut self.clients[c];
        client.disk.set_clock(now);
        client.disk.is_sound(c)?;
        if client.disk.next_sync().is_some_and(|due| due <= at)
            && let Some((ticket, count)) = client.disk.sync(at)
        {
            client.tap.persisted(ticket, client.disk.last(count));
            client.disk.compact();
            self.feed(c, Input::Persisted(ticket))?;
        }
        if self.clients[c].disk.next_load().is_some_and(|due| due <= at) {
            let bodies = self.clients[c].disk.load();
            self.marks.hit("body loaded from the store");
            self.feed(c, Input::Loaded(bodies))?;
        }
        if self.clients[c].app.next_taking().is_some_and(|due| due <= at) {
            self.application_takes(c)?;
        }
        if self.clients[c].provider.answer_at.is_some_and(|due| due <= at) {
            self.provider_answers(c)?;
        }
        if self.clients[c].prover.answer_at().is_some_and(|due| due <= at) {
            self.prover_answers(c)?;
        }
        if self.clients[c].operator_at.is_some_and(|due| due <= at) {
            self.operator_acts(c)?;
        }
        self.wire_moment(c)?;
        if self.publishing && self.clients[c].next_burst <= at {
            self.application_publishes(c)?;
        }
        if self.clients[c].engine.plans().due <= at {
            self.feed(c, Input::Tick)?;
        }
        Ok(())
    }

    fn wire_moment(&mut self, c: usize) -> Ruling {
        let at = self.at;
        let reads = self.clients[c].engine.plans().reads;
        let Some(wire) = self.clients[c].wire.as_mut() else { return Ok(()) };
        if wire.next_up().is_some_and(|due| due <= at)
            && let Some((bytes, taken)) = wire.arrive_up(at, &mut self.rng)
        {
            let (id, over) = (wire.id, wire.over);
            self.broker.received(id, bytes, Timestamp::from_micros(at));
            self.collect();
            self.read_account()?;
            if taken > 0 && !over {
                self.feed(c, Input::Written(taken))?;
            }
        }
        let Some(wire) = self.clients[c].wire.as_mut() else { return Ok(()) };
        if !reads {
            wire.deaf_since = wire.deaf_since.map(|_| at);
            self.clients[c].tap.pauses(at);
            return Ok(());
        }
        self.must_notice(c)?;
        let Some(wire) = self.clients[c].wire.as_mut() else { return Ok(()) };
        if wire.next_down().is_none_or(|due| due > at) {
            return Ok(());
        }
        let input = match wire.arrive_down() {
            None => return Ok(()),
            Some(Down::Bytes(bytes)) => {
                self.trace.bytes(at, &bytes);
                let Self { clients, trace, marks, .. } = self;
                clients[c].tap.receives(&bytes, at, marks, |packet| {
                    trace.say(at, c, || format!("<- {}", words(packet)));
                });
                Input::Received(bytes)
            }
            Some(Down::End) => {
                wire.over = true;
                Input::Lost(TransportError::new(TransportErrorKind::Closed, "closed"))
            }
            Some(Down::Reset) => {
                wire.over = true;
                Input::Lost(TransportError::new(TransportErrorKind::Reset, "reset"))
            }
        };
        self.feed(c, input)?;
        let client = &self.clients[c];
        client.tap.is_noticed(client.watch.is_up(), client.engine.stats().oversized)
    }

    /// A link on which nothing can be heard any more, or on which nothing that was said is heard, is not called open for long
    /// (O16).
    fn must_notice(&self, c: usize) -> Ruling {
        let client = &self.clients[c];
        let Some(wire) = client.wire.as_ref().filter(|wire| client.watch.is_up() && !wire.was_frozen())
        else {
            return Ok(());
        };
        let link = &client.config.link;
        // Patience is scaled by the round trip and its variance.
        let trip = Duration::from_micros(self.setting.latency * 42 + 2 * SECOND);
        let bound = link.ping_after + link.ping_timeout + link.write_timeout + trip;
        let silent = |since| Duration::from_micros(self.at - since);
        if let Some(since) = wire.deaf_since.filter(|since| silent(*since) > bound) {
            let what = format!("c{c} is called open {:?} after its link died", silent(since));
            return Err(Alarm::new("O16", what));
        }
        // The broker may go on talking: only what is missing tells.
        let Some((mute, (waits, patience))) = wire.mute_since.zip(client.tap.waits()) else { return Ok(()) };
        let waiting = silent(mute.max(waits));
        if waiting > patience + link.write_timeout + trip {
            let what = format!("c{c} is called open though nothing is answered for {waiting:?}");
            return Err(Alarm::new("O16", what));
        }
        Ok(())
    }

    fn stray_moment(&mut self) {
        let at = self.at;
        let mut i = 0;
        while i < self.strays.len() {
            let stray = &mut self.strays[i];
            if stray.next_due() > at {
                i += 1;
                continue;
            }
            let id = stray.id;
            let bytes = stray.wire.as_mut().and_then(|wire| wire.arrive_up(at, &mut self.rng));
            if let Some((bytes, _)) = bytes {
                self.broker.received(id, bytes, Timestamp::from_micros(at));
            } else if stray.wire.is_some() {
                stray.wire = None;
                stray.until = at;
            } else {
                self.strays.swap_remove(i);
                self.broker.closed(id, Timestamp::from_micros(at));
            }
            self.collect();
        }
    }

    /// Takes what the broker wants to send.
    pub(super) fn collect(&mut self) {
        let now = self.mono();
        let claimed = self.broker.counters().claimed;
        if claimed != self.claimed {
            // It was asked for long before, perhaps, when other messages were under way.
            self.claimed = claimed;
            self.rolled_back = true;
            self.clients.iter_mut().for_each(|client| client.app.excuse_under_way());
        }
        for id in self.broker.take_dirty() {
            while let Some(output) = self.broker.take_output(id) {
                let Self { clients, rng, .. } = self;
                let wire = clients.iter_mut().filter_map(|c| c.wire.as_mut()).find(|w| w.id == id);
                match (output, wire) {
                    (BrokerOutput::Send(bytes), Some(wire)) => wire.send_down(bytes, self.at, rng),
                    (BrokerOutput::Send(_), None) => {}
                    (BrokerOutput::Close(ending), wire) => {
                        if let Some(wire) = wire {
                            wire.end_down(ending == Ending::Rst, self.at, rng);
                        }
                        self.strays.retain(|stray| stray.id != id);
                        self.broker.closed(id, now);
                        break;
                    }
                }
            }
        }
    }

    /// One input, then every output in order.
    pub(super) fn feed(&mut self, c: usize, input: Input) -> Ruling {
        let now = self.now(c);
        self.clients[c].engine.handle(input, now);
        self.drain(c)
    }

    pub(super) fn drain(&mut self, c: usize) -> Ruling {
        self.read_account()?;
        loop {
            let mut written = 0;
            while let Some(output) = self.clients[c].engine.poll() {
                match output {
                    Output::Open { server, .. } => self.dial(c, server),
                    Output::Transmit(bytes) => written += self.transmit(c, bytes)?,
                    Output::Close { graceful } => self.client_closes(c, graceful),
                    Output::Persist { ticket, .. } if self.clients[c].disk.failed().is_some() => {
                        self.persists_nothing(c, ticket);
                    }
                    Output::Persist { ticket, records } => {
                        let due = self.at + self.rng.u64(1..=self.setting.sync);
                        self.clients[c].tap.persists(ticket, &records);
                        self.clients[c].disk.write(ticket, records, due);
                    }
                    Output::Load(ids) => {
                        let due = self.at + self.rng.u64(1..=self.setting.sync);
                        self.clients[c].disk.ask(ids, due);
                    }
                    Output::Event(event) => self.event(c, event)?,
                }
            }
            self.check_status(c)?;
            if written == 0 || self.clients[c].wire.as_ref().is_none_or(|wire| wire.over) {
                return Ok(());
            }
            let now = self.now(c);
            self.clients[c].engine.handle(Input::Written(written), now);
        }
    }

    /// The disk takes nothing more. Where the client goes on without, nobody waits for it.
    fn persists_nothing(&mut self, c: usize, ticket: rejoin_core::Ticket) {
        let now = self.now(c);
        let client = &mut self.clients[c];
        client.disk.write(ticket, Vec::new(), self.at);
        if client.disk.failed() == Some(Failed::GoesOn) {
            client.engine.handle(Input::Persisted(ticket), now);
        }
    }

    fn check_status(&mut self, c: usize) -> Ruling {
        let client = &mut self.clients[c];
        if client.engine.status_revision() == client.seen_revision {
            return Ok(());
        }
        client.seen_revision = client.engine.status_revision();
        let status = client.engine.status();
        client.watch.status(&status.link)?;
        if client.watch.is_stopped() {
            return self.ended(c);
        }
        let books = client.engine.stats();
        books::balance(&client.app, &books, status.queued, status.in_flight)?;
        if status.ready {
            self.check_ready(c)?;
        }
        Ok(())
    }

    /// The process ends in peace: its store is closed, the next one starts soon.
    fn ended(&mut self, c: usize) -> Ruling {
        if self.clients[c].reborn_at.is_some() {
            return Ok(());
        }
        let client = &mut self.clients[c];
        // A session for one process ends with it.
        self.sessions_lost |= !client.config.session.mode.is_kept();
        if let Some((ticket, count)) = client.disk.flush() {
            client.tap.persisted(ticket, client.disk.last(count));
        }
        if !client.config.session.durable && client.app.open > 0 {
            let what = format!("c{c} stopped, and {} messages have no answer", client.app.open);
            return Err(Alarm::new("O6", what));
        }
        let mixed_up = self.sessions_lost || self.rolled_back || client.moved;
        client
            .forget_what_was_not_stored(mixed_up)
            .map_err(|what| Alarm::new("O14", format!("c{c}: {what}")))?;
        client.reborn_at = Some(self.at + self.app_rng.u64(1..3 * SECOND));
        Ok(())
    }

    /// *Ready* means that the broker has every subscription, as long as it is this link it speaks of (O21).
    fn check_ready(&self, c: usize) -> Ruling {
        let client = &self.clients[c];
        let name = client.session_name();
        let Some(wire) = &client.wire else { return Ok(()) };
        if self.broker.connection_of(name) != Some(wire.id) {
            return Ok(());
        }
        let there = self.broker.subscriptions(name);
        for wish in client.app.wishes.values().filter(|wish| wish.asked) {
            if !there.iter().any(|(filter, _)| *filter == wish.filter) {
                return Err(Alarm::new(
                    "O21",
                    format!("c{c} is ready, and the broker has no {}", wish.filter),
                ));
            }
        }
        Ok(())
    }

    fn transmit(&mut self, c: usize, bytes: Bytes) -> Result<usize, Alarm> {
        let at = self.at;
        self.trace.bytes(at, &bytes);
        let Self { clients, trace, marks, rng, .. } = self;
        let client = &mut clients[c];
        let Some(wire) = client.wire.as_mut() else { return Ok(0) };
        let waiting = wire.waiting();
        let mut of = Listener { now: at, client: c, waiting, app: &mut client.app, marks };
        let connects = client.tap.transmits(&bytes, wire.hurt, &mut of, |packet| {
            trace.say(at, c, || format!("-> {}", words(packet)));
        })?;
        let taken = wire.write(bytes, at, rng);
        if connects {
            client.names_session();
            self.reaches(c)?;
        }
        Ok(taken)
    }

    fn client_closes(&mut self, c: usize, graceful: bool) {
        self.clients[c].opening = None;
        let Some(mut wire) = self.clients[c].wire.take() else { return };
        wire.leave(graceful, self.at, &mut self.rng);
        if !wire.up_dead {
            self.strays.push(Stray { id: wire.id, wire: Some(wire), until: self.at });
        }
    }

    /// The connection ends for both sides, in the middle of whatever is under way.
    pub(super) fn cut(&mut self, c: usize, reset: bool, rng: &mut Rng) {
        let (at, now) = (self.at, self.mono());
        let Some(wire) = self.clients[c].wire.as_mut() else { return };
        let id = wire.id;
        wire.cut_down(reset, at, rng);
        if wire.down_dead {
            // Nobody is told, and what was taken stays where it is.
            wire.up_dead = true;
            self.broker.closed(id, now);
            return;
        }
        wire.cut_up(rng);
        if !wire.up_dead {
            // What is left of it arrives before the end does.
            while let Some((bytes, _)) = wire.arrive_up(at, rng) {
                self.broker.received(id, bytes, now);
            }
            self.broker.closed(id, now);
        }
    }

    pub(super) fn hurt_all(&mut self) {
        for client in &mut self.clients {
            if let Some(wire) = client.wire.as_mut() {
                wire.hurt = true;
            }
        }
    }

    pub(super) fn restart_broker(&mut self, keeps_sessions: bool) {
        if !keeps_sessions {
            // A claim that was not made speaks of the loss before, whose messages are excused; not of this one.
            self.broker.manners_mut().claim_session_present = Times::Never;
        }
        self.sessions_lost |= !keeps_sessions;
        self.broker.restart(keeps_sessions);
        self.hurt_all();
    }

    /// A connection of somebody else under our client id.
    pub(super) fn intrude(&mut self, c: usize) {
        use rejoin_core::codec::packet::{Connect, ConnectProperties, Packet};
        let client = &self.clients[c];
        let client_has_session = self.broker.clients().iter().any(|name| name == client.session_name());
        let (name, address) = (client.tap.client_id().clone(), client.tap.address());
        if !client_has_session {
            return;
        }
        let version = match self.setting.config.version {
            rejoin_core::VersionPolicy::Only311 => rejoin_core::Version::V311,
            _ => rejoin_core::Version::V5,
        };
        let expiry = self.setting.config.session.mode.expiry_seconds();
        let properties = ConnectProperties { session_expiry: Some(expiry), ..ConnectProperties::default() };
        let connect = Packet::Connect(Box::new(Connect {
            version,
            clean_start: false,
            keep_alive: 60,
            client_id: name,
            will: None,
            user_name: None,
            password: None,
            properties: if version == rejoin_core::Version::V5 {
                properties
            } else {
                ConnectProperties::default()
            },
        }));
        let mut bytes = bytes::BytesMut::new();
        if rejoin_core::codec::encode(&connect, version, &mut bytes).is_err() {
            return;
        }
        let id = self.broker.opened_at(address, self.mono());
        self.broker.received(id, bytes.freeze(), self.mono());
        let until = self.at + self.rng.u64(..5 * SECOND);
        self.strays.push(Stray { id, wire: None, until });
        if let Some(wire) = self.clients[c].wire.as_mut() {
            wire.hurt = true;
        }
        self.collect();
    }

    /// The process dies; what was not synced is gone.
    pub(super) fn crash(&mut self, c: usize) -> Ruling {
        self.trace.say(self.at, c, || "CRASH".to_owned());
        let client = &mut self.clients[c];
        client.disk.crash(&mut self.rng);
        client.opening = None;
        self.client_closes(c, false);
        let client = &mut self.clients[c];
        let mixed_up = self.sessions_lost || self.rolled_back || client.moved;
        client
            .forget_what_was_not_stored(mixed_up)
            .map_err(|what| Alarm::new("O14", format!("c{c}: {what}")))?;
        client.reborn_at = Some(self.at + self.rng.u64(1..3 * SECOND));
        Ok(())
    }

    /// A new process of the same client.
    pub(super) fn reborn(&mut self, c: usize) -> Ruling {
        let now = self.now(c);
        let client = &mut self.clients[c];
        client.reborn_at = None;
        client.begins_again();
        client.disk.set_clock(now);
        let kept = client.disk.reopen();
        client.disk.is_sound(c)?;
        client.app.new_process(kept.held.iter().map(|held| held.id).collect());
        client.tap.crashed(client.disk.synced());
        client.watch = super::oracle::watch::Watch::default();
        client.seen_revision = 0;
        client.to_decide.clear();
        client.operator_at = None;
        client.closing = false;
        client.provider.new_process();
        client.prover.link_down();
        let salt = (u64::from(client.app.lives) << 8) + c as u64;
        let config = client.config.clone();
        let engine = self.engine(&config, kept, salt);
        self.clients[c].engine = Process::new(engine);
        let wishes: Vec<u32> = self.clients[c].app.wishes.keys().copied().collect();
        for id in wishes {
            self.ask(c, rejoin_core::SubscriptionId(id));
        }
        self.feed(c, Input::Tick)
    }

    /// Books what the broker wrote into its account.
    pub(super) fn read_account(&mut self) -> Ruling {
        let mut lines = std::mem::take(&mut self.lines);
        self.account.swap(&mut lines);
        for line in lines.drain(..) {
            self.trace.fold(line.fold());
            if let Entry::Accepted { number, arrival, .. } = &line {
                let (client, k) = super::app::whose(*number);
                self.trace.say(self.at, client, || format!("== broker has {k}, arrival {arrival}"));
            }
            books::book(line, &mut self.clients, &self.setting, self.sessions_lost || self.rolled_back)?;
        }
        self.lines = lines;
        Ok(())
    }

    /// What the broker objects to.
    fn judge_broker(&mut self) -> Ruling {
        // A keep-alive overrun is a suspicion, unless nothing was done to the link.
        let all = self.broker.violations().count();
        let mut new = self.broker.violations().skip(std::mem::replace(&mut self.judged, all));
        match new.find(|violation| !is_excused(violation, &self.clients)) {
            None => Ok(()),
            Some(violation) => Err(Alarm::new("O8", format!("the broker objects: {violation}"))),
        }
    }

    /// After a crash an identifier of a QoS 1 message may be used for another one. 3.1.1 has no code for that: the strict
    /// broker closes, each time, or until every identifier stays taken by a message that was set aside for it.
    pub(super) fn broker_closes_for_ever(&self) -> bool {
        let none_left = |client: &Client| {
            client.engine.held().packet_ids >= usize::from(client.config.session.packet_id_max)
        };
        self.setting.config.version != rejoin_core::VersionPolicy::Only5
            && self.broker.violations().next().is_some()
            && self.clients.iter().any(|client| {
                client.app.lives > 0
                    && (client.watch.failures > 3 || client.app.parked > 0 && none_left(client))
            })
    }

    pub(super) fn stop_publishing(&mut self) {
        self.publishing = false;
    }

    /// A message of the world's own, to find out who is deaf.
    pub(super) fn probe(&mut self, topic: &str) {
        self.broker.publish(topic, Bytes::from_static(b"probe"), Qos::AtLeastOnce, false);
        self.collect();
    }

    pub(super) fn engine_says(&self, c: usize) -> String {
        format!("{:?}", self.clients[c].engine.status())
    }
}

impl Stray {
    fn next_due(&self) -> u64 {
        match &self.wire {
            Some(wire) => wire.next_up().unwrap_or(self.until),
            None => self.until,
        }
    }
}
