//! The engine: one link, one session, one recovery, and the only place where they meet.
//!
//! ```text
//!        commands            inputs                     outputs (in order)
//!   publish, subscribe ─┐  ┌─ Opened, Received ─┐   ┌─► Open, Transmit, Close
//!   ack, nudge, close  ─┴─►│       Engine       ├───┼─► Persist
//!                          └─ Lost, Written, …  ┘   └─► Event
//! ```
//! One call in, drain [`Engine::poll`] to `None`, wait until [`Engine::deadline`] or the next input.

mod auth;
mod held;
mod open;
mod outage;
mod receive;
mod redirect;
mod renew;
mod rest;
mod send;
mod stop;

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec;
use crate::codec::packet::{PublishProperties, Qos, Version};
use crate::codec::reason::ReasonCode;
use crate::config::{Config, Login};
use crate::error::{ConfigError, LossCause, Rejected, TransportErrorKind};
use crate::event::{
    Event, LinkState, MessageId, Outcome, Publication, PublishId, SessionState, Stats, Status, StopReason,
    SubscribeRequest, SubscriptionId,
};
use crate::interface::{Input, Output, Ticket};
use crate::link::{Alarm, Link, WriteBuffer};
use crate::recovery::Recovery;
use crate::session::{Parking, Record, Recovered, Session, Taken, earlier};
use crate::text::Text;
use crate::time::{Now, TimerKind, Timestamp};
use outage::Outage;
use renew::Renewal;

/// The largest packet MQTT can carry, in bytes: a remaining length of four bytes, and the header.
const LARGEST_PACKET: u64 = 268_435_455;

/// A complete MQTT client without IO, clock, thread or chance of its own.
///
/// ```
/// use rejoin_core::{Config, Engine, Input, Now, Output, Text, Timestamp};
///
/// let config = Config::new(Text::from_static("sensor-7"), Text::from_static("broker:1883"));
/// let at = |ms: u64| Now::new(Timestamp::from_micros(ms * 1000), 1_700_000_000_000 + ms);
/// let mut engine = Engine::new(config, Default::default(), 42, at(0))?;
/// engine.handle(Input::Tick, at(0));
/// while let Some(output) = engine.poll() {
///     match output {
///         Output::Open { server, .. } => println!("open a connection to server {server}"),
///         Output::Event(event) => println!("{event:?}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), rejoin_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    config: Config,
    recovery: Recovery,
    session: Session,
    link: Option<Link>,
    wire: WriteBuffer,
    outputs: VecDeque<Output>,
    /// Something changed since the last turn.
    dirty: bool,
    now: Now,
    journal: Journal,
    /// The beginning of the session must be on the store before any packet of it leaves.
    barrier: Ticket,
    /// That a CONNECT leaves must be on the store before it does.
    connect_barrier: Ticket,
    /// 3.1.1: this server has a session that is not ours to go on with: one clean connection ends it.
    purging: Option<usize>,
    /// A clean start was made in this process, or the state to go on with is known.
    begun: bool,
    ack_timeout: Duration,
    /// The highest name of a message ever accepted, by an earlier process too.
    accepted: PublishId,
    outage: Outage,
    closing: Option<Timestamp>,
    stopped: Option<Box<StopReason>>,
    told_qos2: bool,
    /// Servers in the list because a broker named them.
    added_servers: usize,
    renewal: Renewal,
    present: Present,
    stats: Stats,
}

/// What the status shows beyond the machines' own state.
#[derive(Debug)]
struct Present {
    revision: u64,
    since: Timestamp,
    shown: LinkState,
    heard: Option<Timestamp>,
    last_loss: Option<Box<LossCause>>,
    ready: bool,
    resubscribed: bool,
    server: usize,
    version: Option<Version>,
    session: Option<SessionState>,
    client_id: Text,
    maximum_packet_size: Option<u32>,
}

/// Facts on their way to the store.
#[derive(Debug, Default)]
struct Journal {
    enabled: bool,
    /// The store takes nothing more. Links go on without their records; what is about one QoS 2 message waits for ever,
    /// so that the next process sends it exactly once.
    lost: bool,
    /// It takes nothing more and the client goes on without: what is reported as safe since is as safe as memory.
    in_memory: bool,
    pending: Vec<Record>,
    /// The last ticket given out.
    issued: Ticket,
    durable: Ticket,
    /// Up to here it has the beginnings of sessions and that CONNECTs leave, though not all that was noted before them.
    session: Ticket,
    /// It was told that a CONNECT leaves, and of no CONNACK since: it need not hear of the next one.
    connect_noted: bool,
    /// Publishes whose acceptance is not yet on the store.
    storing: VecDeque<(Ticket, PublishId)>,
}

impl Journal {
    fn new(enabled: bool, connect_noted: bool) -> Self {
        Self { enabled, connect_noted, ..Self::default() }
    }

    /// Notes a fact and gives the ticket at which it is safe. Without a store everything is as safe as it gets.
    fn note(&mut self, record: impl FnOnce() -> Record) -> Ticket {
        if !self.enabled {
            return self.durable;
        }
        self.pending.push(record());
        self.issued.0 += u64::from(self.pending.len() == 1);
        self.issued
    }

    /// Whether the store knows of the beginning of a session, or that a CONNECT leaves, which has this ticket. One that
    /// takes nothing more is not waited for.
    fn knows_session(&self, ticket: Ticket) -> bool {
        ticket <= self.durable.max(self.session) || self.lost
    }

    /// Whether what it is given may survive this process.
    const fn keeps(&self) -> bool {
        self.enabled && !self.in_memory
    }

    /// What waits for the store does so until this process ends.
    const fn waits_for_ever(&self) -> bool {
        self.lost && !self.in_memory
    }

    /// The store takes nothing more, so it will have none of what was on its way.
    fn lose(&mut self) {
        self.lost = true;
        if defect!(StoreLostCountsAsDurable) {
            self.durable = Ticket(u64::MAX);
        }
        if !defect!(StoredThoughStoreLost) {
            self.storing.clear();
        }
    }
}

/// Where in the list the server is that has the session.
fn server_of(session: &Session, config: &Config) -> Option<usize> {
    let has = session.server.as_deref()?;
    config.servers.iter().position(|server| server.as_str() == has)
}

impl Engine {
    /// An engine with the state a store kept (the default: none). Nothing happens before the first
    /// [`Input::Tick`]. `seed` feeds all jitter: two clients of one fleet must not share it.
    ///
    /// # Errors
    /// A [`ConfigError`] names the field that cannot work.
    pub fn new(config: Config, kept: Recovered, seed: u64, now: Now) -> Result<Self, ConfigError> {
        config.check()?;
        let mut recovery =
            Recovery::new(&config.recovery, &config.link, config.spoken(), config.servers.len(), seed);
        let mut session = Session::new(&config.session, seed);
        for at in &kept.reached_wall_ms {
            recovery.recall_attempt(Duration::from_millis(now.wall_ms.saturating_sub(*at)), now.mono);
        }
        let client_id = kept.client_id.clone().filter(|_| config.client_id.is_empty());
        let accepted = kept.last_publish;
        let restored = session.restore(kept, &config.session, now);
        if let Some(server) = server_of(&session, &config).filter(|_| !defect!(HomeForgotten)) {
            recovery.begin_at(server);
        }
        let present = Present {
            revision: 1,
            since: now.mono,
            shown: LinkState::Waiting {
                attempt: 1,
                until: now.mono,
                held_by_budget: false,
                slow_lane: false,
            },
            heard: None,
            last_loss: None,
            ready: false,
            resubscribed: false,
            server: recovery.server(),
            version: None,
            session: None,
            client_id: client_id.unwrap_or_else(|| config.client_id.clone()),
            maximum_packet_size: None,
        };
        let mut engine = Self {
            begun: session.exists(),
            ack_timeout: config.link.ack_timeout,
            journal: Journal::new(config.session.durable, session.connack_unseen),
            recovery,
            session,
            link: None,
            wire: WriteBuffer::default(),
            outputs: VecDeque::new(),
            dirty: true,
            now,
            barrier: Ticket::default(),
            connect_barrier: Ticket::default(),
            purging: None,
            accepted,
            outage: Outage::default(),
            closing: None,
            stopped: None,
            told_qos2: false,
            added_servers: 0,
            renewal: Renewal::default(),
            present,
            stats: Stats::default(),
            config,
        };
        engine.recovery.start(now.mono);
        for message in restored.untaken {
            engine.tell(Event::Message(message));
        }
        for packet_id in restored.in_use_again {
            engine.journal.note(|| Record::LeaseEnded { packet_id });
        }
        for id in restored.undecided {
            engine.tell(Event::Undecided { id });
        }
        Ok(engine)
    }

    /// Accepts a message. The caller chooses the name; names ascend. Every accepted message ends in exactly one
    /// [`Event::Finished`].
    ///
    /// # Errors
    /// [`Rejected`] when the engine is stopped or the message can never be sent. Nothing was accepted then.
    pub fn publish(&mut self, id: PublishId, publication: Publication, now: Now) -> Result<(), Rejected> {
        self.advance(now);
        if self.stopped.is_some() || self.closing.is_some() {
            return Err(Rejected::Stopped);
        }
        check_publication(&publication)?;
        self.stats.accepted += 1;
        self.accepted = self.accepted.max(id);
        if !publication.is_queued() && !self.is_up() {
            self.end(id, Outcome::Dropped);
            return Ok(());
        }
        if self.journal.enabled && publication.is_queued() {
            let (accepted_wall_ms, publication) = (now.wall_ms, publication.clone());
            let ticket = self.journal.note(|| Record::Enqueued { id, publication, accepted_wall_ms });
            if !self.journal.lost || defect!(StoredThoughStoreLost) {
                self.journal.storing.push_back((ticket, id));
            }
            if defect!(StoredBeforeDurable) {
                self.tell(Event::Stored { id });
            }
        }
        let may_go = self.is_up();
        if let Some(older) = self.session.outbox.accept(id, publication, may_go, now.mono) {
            self.finish(older, Outcome::Superseded);
        }
        Ok(())
    }

    /// Adds a wish to receive; the same name again replaces it. It is asked for on every link.
    ///
    /// # Errors
    /// [`Rejected`] when the standard forbids the combination or the engine is stopped.
    pub fn subscribe(&mut self, request: SubscribeRequest, now: Now) -> Result<(), Rejected> {
        self.advance(now);
        if self.stopped.is_some() || self.closing.is_some() {
            return Err(Rejected::Stopped);
        }
        if request.filter.is_shared() && request.options.no_local {
            // [MQTT-3.8.3-4]
            return Err(Rejected::Invalid("No Local cannot be used with a shared subscription"));
        }
        if request.id.0 == 0 || u64::from(request.id.0) > LARGEST_PACKET {
            return Err(Rejected::Invalid("a subscription id is 1 to 268,435,455"));
        }
        for id in self.session.subscriptions.want(request) {
            self.tell(Event::Unsubscribed { id, reason: ReasonCode::SUCCESS });
        }
        Ok(())
    }

    /// Ends a wish; [`Event::Unsubscribed`] follows.
    pub fn unsubscribe(&mut self, id: SubscriptionId, now: Now) {
        self.advance(now);
        if let Some(reason) = self.session.subscriptions.unwant(id) {
            self.tell(Event::Unsubscribed { id, reason });
        }
    }

    /// Forgets a wish without telling the broker, which keeps the subscription as long as the session.
    pub fn detach(&mut self, id: SubscriptionId) {
        self.session.subscriptions.detach(id);
        self.dirty = true;
    }

    /// The application took a message, or refuses it with a code of 0x80 or above (5.0; where the answer leaves at 3.1.1
    /// the message is acknowledged all the same). An acknowledgement that comes too late is counted and dropped. Of QoS 2,
    /// what a store confirmed already is not refused any more; a refusal that could not leave yet does so on a later link,
    /// and counts as taken in a later process.
    pub fn ack(&mut self, id: MessageId, reason: ReasonCode, now: Now) {
        self.advance(now);
        match self.session.inbox.ack(id, reason) {
            Ok(Taken::AtQos1) => {}
            Ok(Taken::AtQos2(held_under)) => {
                let inbox = &self.session.inbox;
                let digest = || held_under.and_then(|packet_id| inbox.digest(packet_id, id));
                self.journal.note(|| Record::Taken { id, digest: digest() });
            }
            Err(()) => self.stats.stale_acks += 1,
        }
    }

    /// Nobody is there to take a message, and it is not known when somebody will be: nothing waits for it, neither what
    /// comes behind it nor reading at 3.1.1. [`Engine::ack`] still answers it if it comes before something behind it is
    /// answered; else the server sends it again on the next link. `forget`: nobody keeps it either, and the next copy is
    /// handed over like a new message. `true`: so it is; `false`, if it is answered already or nothing is owed for it: to
    /// drop it would lose it.
    pub fn leave(&mut self, id: MessageId, forget: bool, now: Now) -> bool {
        self.advance(now);
        let forgotten = if forget { self.session.inbox.forget(id) } else { None };
        match forgotten {
            None => self.session.inbox.leave(id),
            Some(Qos::ExactlyOnce) => {
                self.journal.note(|| Record::Taken { id, digest: None });
                self.journal.note(|| Record::Freed { id });
            }
            Some(_) => {}
        }
        forgotten.is_some()
    }

    /// Withdraws a message that was never sent. `true`: it was, and [`Outcome::Cancelled`] follows.
    pub fn cancel(&mut self, id: PublishId, now: Now) -> bool {
        self.advance(now);
        let mut cancelled = self.session.outbox.waiting.cancel(id);
        if defect!(CancelledAfterSend) {
            cancelled |= self.session.outbox.in_flight.cancel(id);
        }
        if cancelled {
            self.finish(id, Outcome::Cancelled);
        }
        cancelled
    }

    /// Gives up the message that waits longest and was never sent, to make room; [`Outcome::Evicted`] follows. The newest
    /// stays: room is made for it.
    pub fn evict_oldest(&mut self, now: Now) -> Option<PublishId> {
        self.advance(now);
        let id = self.session.outbox.waiting.evict_oldest()?;
        self.finish(id, Outcome::Evicted);
        Some(id)
    }

    /// Decides on a message that [`Event::Undecided`] named.
    pub fn decide(&mut self, id: PublishId, resend: bool, now: Now) {
        self.advance(now);
        match self.session.outbox.decide(id, resend) {
            None => {}
            Some(None) => {
                self.journal.note(|| Record::Requeued { id });
            }
            Some(Some(outcome)) => self.finish(id, outcome),
        }
    }

    /// The user name and password of every CONNECT from now on.
    pub fn set_login(&mut self, login: Login) {
        self.config.login = login;
    }

    /// The network may be back: stop waiting. Gives when the next attempt is due, which the budget may delay;
    /// `None` when there is nothing to hurry.
    pub fn nudge(&mut self, now: Now) -> Option<Timestamp> {
        self.advance(now);
        if self.link.is_some() || self.stopped.is_some() {
            return None;
        }
        let due = self.recovery.nudge(now.mono);
        self.refresh_status();
        due
    }

    /// Ends the present link and opens a new one.
    pub fn restart_link(&mut self, now: Now) {
        self.advance(now);
        if self.is_up() {
            self.lose(LossCause::Local(crate::error::LocalCause::Restart));
        }
    }

    /// The link does not do what it is for, as whoever watches it found: ends it as [`LossCause::HealthWatch`].
    pub fn unwell(&mut self, waited: Duration, now: Now) {
        self.advance(now);
        if self.is_up() {
            self.lose(LossCause::HealthWatch(waited));
        }
    }

    /// Tells the engine what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.advance(now);
        match input {
            Input::Reached(stage) => {
                let Some(link) = self.link.as_mut() else { return };
                if link.reached(stage, now.mono) {
                    self.charge_attempt();
                }
            }
            Input::Opened => {
                if let Some(link) = self.link.as_mut() {
                    link.transport_open = true;
                }
            }
            Input::OpenFailed { stage, error } => self.lose(LossCause::Open { stage, error }),
            Input::Received(bytes) => self.received(bytes),
            Input::Written(bytes) => self.written(bytes),
            Input::Lost(error) => self.transport_lost(error),
            Input::Persisted(ticket) => self.persisted(ticket),
            Input::SessionPersisted(ticket) => self.journal.session = self.journal.session.max(ticket),
            Input::Loaded(bodies) => {
                for id in self.session.outbox.waiting.fetched(bodies) {
                    self.park(id, Outcome::Unreadable, Parking::Unreadable);
                }
            }
            Input::StoreLost(bodies) => {
                self.session.inbox.store_lost(self.journal.durable);
                self.journal.lose();
                if !defect!(UnwrittenBodiesForgotten) {
                    self.session.outbox.waiting.take_back(bodies);
                }
            }
            Input::Tick => {}
        }
    }

    /// What to do next, in order; `None` when there is nothing to do until the next call or deadline.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !std::mem::take(&mut self.dirty) {
                return None;
            }
            self.turn();
        }
    }

    /// When to call [`Engine::handle`] with [`Input::Tick`] at the latest, and why.
    pub fn deadline(&self) -> Option<(Timestamp, TimerKind)> {
        if self.stopped.is_some() {
            return None;
        }
        let with = |at: Option<Timestamp>, kind| at.map(|at| (at, kind));
        let redo = earlier(self.session.outbox.next_redo(), self.session.subscriptions.next_redo());
        let up = self.is_up() && self.session_is_safe();
        let retry = if self.link.is_none() { self.recovery.due() } else { None };
        [
            self.link.as_ref().and_then(Link::deadline),
            with(retry, TimerKind::Retry),
            with(self.session.outbox.waiting.next_expiry(), TimerKind::Expiry),
            with(redo.filter(|_| up), TimerKind::Redo),
            with(self.session.quarantine.control_until().filter(|_| up), TimerKind::Control),
            with(self.closing, TimerKind::Shutdown),
            self.renewal_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether bytes should be read from the transport. `false` only at 3.1.1, which has no receive maximum,
    /// while the application is slow; the silence of the peer is not held against it then. So there is no packet that
    /// comes and finds no room [MQTT311-4.8.0-2].
    pub fn wants_read(&self) -> bool {
        self.link.as_ref().is_none_or(|link| {
            link.version() == Version::V5
                || self.session.inbox.owed() < usize::from(self.config.link.receive_maximum)
        })
    }

    /// The present state. All questions about the link are answered from one such value.
    pub fn status(&self) -> Status {
        let p = &self.present;
        let heard = self.link.as_ref().filter(|l| l.is_up()).map(|l| l.liveness.heard());
        Status {
            revision: p.revision,
            link: p.shown.clone(),
            since: p.since,
            heard: heard.or(p.heard),
            last_loss: p.last_loss.as_deref().cloned(),
            ready: p.ready,
            server: p.server,
            version: p.version,
            session: p.session,
            client_id: p.client_id.clone(),
            maximum_packet_size: p.maximum_packet_size,
            queued: self.session.outbox.queued(),
            in_flight: self.session.outbox.in_flight.len(),
        }
    }

    /// Changes whenever [`Engine::status`] says something else than before, apart from its counters.
    pub fn status_revision(&self) -> u64 {
        self.present.revision
    }

    /// Messages sent and unacknowledged, as in [`Engine::status`], which costs more to ask.
    pub fn in_flight(&self) -> usize {
        self.session.outbox.in_flight.len()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The settings, as they are now.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The latest time the engine was told.
    pub const fn now(&self) -> Now {
        self.now
    }

    fn advance(&mut self, now: Now) {
        debug_assert!(now.mono >= self.now.mono, "time goes backwards");
        self.now = Now::new(now.mono.max(self.now.mono), now.wall_ms);
        self.dirty = true;
    }

    fn is_up(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_up)
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// A message that the store may know of ends.
    fn finish(&mut self, id: PublishId, outcome: Outcome) {
        self.journal.note(|| Record::Done { id });
        self.end(id, outcome);
    }

    /// A message ends, and the store keeps it for a person to look at.
    fn park(&mut self, id: PublishId, outcome: Outcome, why: Parking) {
        self.journal.note(|| Record::Parked { id, why });
        self.end(id, outcome);
    }

    /// The one place where a message ends. The store does not know of it, or was told.
    fn end(&mut self, id: PublishId, outcome: Outcome) {
        if outcome.is_success() {
            self.stats.delivered += 1;
        } else {
            self.stats.failed += 1;
        }
        self.outage.answered(id);
        self.tell(Event::Finished { id, outcome });
    }

    /// Everything that follows from what the calls since the last turn changed.
    fn turn(&mut self) {
        if self.stopped.is_some() {
            // What was noted at the end, or is taken by the application after it, is for the next process.
            self.flush_records();
            return;
        }
        let now = self.now.mono;
        for id in self.session.outbox.waiting.expire(now) {
            self.finish(id, Outcome::Expired);
        }
        self.check_link();
        self.check_renewal();
        self.send_connect();
        if self.link.is_none() && self.recovery.due().is_some_and(|at| at <= now) {
            self.begin_attempt();
        }
        self.pump();
        self.check_reading();
        self.check_recovered();
        self.check_closing();
        self.flush();
        self.refresh_status();
    }

    fn check_link(&mut self) {
        let now = self.now.mono;
        let Some(link) = self.link.as_mut() else { return };
        match link.check(now) {
            None => {}
            Some(Alarm::Dead(cause)) => self.lose(cause),
            Some(Alarm::Ping) => self.ping(),
            Some(Alarm::Silent(silent_for)) => self.tell(Event::Silent { silent_for }),
            Some(Alarm::Suspect) => {
                let silent_for = now.since(link.liveness.heard());
                self.tell(Event::Suspect { silent_for });
            }
        }
    }

    /// Tells the watch over the link what of its silence is ours. After the answers have left, as the driver sees it: what
    /// was left for later and is answered now holds up nothing, and would seem to for the length of this turn.
    fn check_reading(&mut self) {
        let (now, wants_read) = (self.now.mono, self.wants_read());
        let Some(link) = self.link.as_mut() else { return };
        link.liveness.pause(!wants_read, now);
        let config = &self.config.link;
        if config.health_watch.is_some() {
            link.liveness.withhold(self.session.inbox.awaits_application(config.receive_maximum), now);
        }
    }

    /// Hands over what was encoded and noted since the last time.
    fn flush(&mut self) {
        self.flush_records();
        if self.is_up() {
            let bodies = self.session.outbox.waiting.fetch();
            if !bodies.is_empty() {
                self.outputs.push_back(Output::Load(bodies));
            }
        }
        for bytes in self.wire.drain() {
            self.stats.bytes_sent += bytes.len() as u64;
            self.outputs.push_back(Output::Transmit(bytes));
        }
    }

    fn flush_records(&mut self) {
        if !self.journal.pending.is_empty() {
            let records = std::mem::take(&mut self.journal.pending);
            self.outputs.push_back(Output::Persist { ticket: self.journal.issued, records });
        }
    }

    fn persisted(&mut self, ticket: Ticket) {
        self.journal.durable = self.journal.durable.max(ticket);
        self.journal.in_memory |= self.journal.lost;
        while let Some((needs, id)) = self.journal.storing.front().copied()
            && needs <= self.journal.durable
        {
            self.journal.storing.pop_front();
            self.tell(Event::Stored { id });
        }
    }

    fn transport_lost(&mut self, error: crate::error::TransportError) {
        let Some(link) = &self.link else { return };
        let cause = match (link.phase, error.kind) {
            (crate::link::Phase::Opening, _) => LossCause::Open { stage: link.stage, error },
            // With TLS 1.3 a server looks at our certificate when the handshake is over for us.
            (crate::link::Phase::Handshake, TransportErrorKind::CertificateRefused) => {
                LossCause::Open { stage: crate::error::Stage::Tls, error }
            }
            (crate::link::Phase::Handshake, TransportErrorKind::Closed | TransportErrorKind::Reset) => {
                LossCause::ClosedBeforeConnack
            }
            (_, TransportErrorKind::Closed) => LossCause::PeerClosed,
            _ => LossCause::Transport(error),
        };
        self.lose(cause);
    }

    fn refresh_status(&mut self) {
        let shown = self.link_state();
        let ready = self.is_up() && self.session.subscriptions.all_granted();
        let p = &mut self.present;
        if shown != p.shown || ready != p.ready {
            if std::mem::discriminant(&shown) != std::mem::discriminant(&p.shown) {
                p.since = self.now.mono;
            }
            p.shown = shown;
            p.ready = ready;
            p.revision += 1;
        }
    }

    fn link_state(&self) -> LinkState {
        if let Some(reason) = &self.stopped {
            return LinkState::Stopped(StopReason::clone(reason));
        }
        match &self.link {
            None => LinkState::Waiting {
                attempt: self.recovery.attempts() + 1,
                until: self.recovery.due().unwrap_or(Timestamp::NEVER),
                held_by_budget: self.recovery.held_by_budget(),
                slow_lane: self.recovery.in_slow_lane(),
            },
            Some(link) => match link.phase {
                crate::link::Phase::Up if link.liveness.is_suspect() => LinkState::Suspect,
                crate::link::Phase::Up => LinkState::Open,
                crate::link::Phase::Handshake => LinkState::Connecting {
                    attempt: link.attempt.number,
                    stage: crate::error::Stage::Connack,
                },
                crate::link::Phase::Opening => {
                    LinkState::Connecting { attempt: link.attempt.number, stage: link.stage }
                }
            },
        }
    }
}

fn check_publication(publication: &Publication) -> Result<(), Rejected> {
    let properties = publication.properties.as_deref().map_or(0, codec::properties_len);
    let size = publication.topic.text().len() + publication.payload.len() + properties + 16;
    let size = size as u64;
    if size > LARGEST_PACKET {
        return Err(Rejected::TooLarge { size, limit: LARGEST_PACKET });
    }
    publication.properties.as_deref().map_or(Ok(()), check_properties)
}

/// Whether a client may send them: what the application hands over, and what a store gives back.
fn check_properties(properties: &PublishProperties) -> Result<(), Rejected> {
    if properties.topic_alias.is_some() {
        return Err(Rejected::Invalid("topic aliases are chosen by the link; leave the property out"));
    }
    if !properties.subscription_ids.is_empty() {
        // [MQTT-3.3.4-6]
        return Err(Rejected::Invalid("a client must not send subscription identifiers"));
    }
    if properties.correlation_data.as_ref().is_some_and(|data| data.len() > Text::MAX_BYTES) {
        return Err(Rejected::Invalid("correlation data must not be above 65,535 bytes"));
    }
    let wildcard = |topic: &Text| topic.as_bytes().iter().any(|b| matches!(b, b'+' | b'#'));
    if properties.response_topic.as_ref().is_some_and(wildcard) {
        return Err(Rejected::Invalid("a response topic must not hold wildcards")); // [MQTT-3.3.2-14]
    }
    Ok(())
}
