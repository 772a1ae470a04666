//! The one task of a client: it carries out what the engine wants and reports what the world does. It decides
//! nothing and waits for no user code.
//!
//! A hand-written future rather than a `select!` loop: reading, writing, commands and the timer are each asked in
//! turn, and none of them can hold up another.

mod answers;
mod end;
mod proofs;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rejoin_core::flight::Flight;
use rejoin_core::text::Text;
use rejoin_core::{
    Event as Core, Input, Message, Now, Output, Publication, PublishId, Rejected, SubscribeResult,
    SubscriptionId, Timestamp,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::authentication::{AuthStep, For, Step};
use crate::command::{Command, Shared};
use crate::delivery::{Cell, Stored};
use crate::error::PublishError;
use crate::events::Event;
use crate::health::Gaps;
use crate::metrics::Recorder;
use crate::pending::{Entry, Kept, Pending};
use crate::renewal::{self, Asked, Identity};
use crate::reservation::cost;
use crate::routes::{Parting, Routes, Told};
use crate::secret::Secret;
use crate::seldom::Seldom;
use crate::shutdown::ShutdownReport;
use crate::stages::Stages;
use crate::status::State;
use crate::storage::{Stock, Storage};
use crate::subscription::refusal;
use crate::sync::lock;
use crate::translate::{self, Repeats};
use crate::transport::{Clocks, Dial};
use crate::url::ServerUrl;
use crate::wire::{Open, Opened, Opening, Progress, Wire};

/// Rounds before the task lets others run.
const ROUNDS: usize = 8;
/// Reads in one round: of so many, what they brought is still in the processor's cache when a stream comes to it.
const READS: usize = 2;
/// Writes in one round.
const WRITES: usize = 16;
/// Commands in one round.
const COMMANDS: usize = 8192;
/// How long reading waits for a stream that is not read, once.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long the end of a transport may take: the rest is written, our half closed, and read to the end.
const LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Driver {
    engine: Flight,
    pub(crate) shared: Arc<Shared>,
    dial: Arc<Dial>,
    targets: Vec<ServerUrl>,
    /// The stages of the attempt under way, from the open transport on.
    stages: Option<Box<Stages>>,
    /// A step of enhanced authentication under way.
    step: Option<Step>,
    /// New credentials being asked for, before the old ones end.
    renewing: Option<Asked<Identity>>,
    wire: Wire,
    pub(crate) routes: Routes,
    pub(crate) gaps: Gaps,
    pub(crate) pending: Pending,
    commands: VecDeque<Command>,
    now: Now,
    /// Made at the first poll, so that it belongs to the runtime that drives it.
    timer: Option<Pin<Box<Sleep>>>,
    armed: Option<Timestamp>,
    /// Reading waits until then for a stream to make room.
    pause: Option<Timestamp>,
    /// Room of messages answered for, not yet given back.
    freed_bytes: u64,
    freed_messages: u64,
    last_publish: PublishId,
    flushes: Vec<(PublishId, oneshot::Sender<()>)>,
    revision: Option<u64>,
    repeats: Repeats,
    /// The line of the log about messages that are too large.
    oversized: Seldom,
    recorder: Recorder,
    closing: bool,
    /// When the shutdown asked for is to be over.
    close_by: Option<Timestamp>,
    report: ShutdownReport,
    /// The engine stopped: what is to be told at the end.
    last_event: Option<Box<Event>>,
    /// What happened last is mostly followed by a pause.
    rest_due: bool,
    lingering: Option<JoinHandle<bool>>,
    pub(crate) storage: Option<Box<Storage>>,
    ended: bool,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("dial", &self.dial).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(
        engine: Flight,
        shared: Arc<Shared>,
        (dial, targets): (Dial, Vec<ServerUrl>),
        unrouted_after: Duration,
        Stock { pending, storage }: Stock,
    ) -> Self {
        let now = shared.clock.now();
        let last_publish = pending.newest().unwrap_or_default();
        if let Some(storage) = &storage {
            let _ = shared.meters.syncs.set(storage.syncs());
        }
        Self {
            storage,
            engine,
            dial: Arc::new(dial),
            targets,
            stages: None,
            step: None,
            renewing: None,
            wire: Wire::None,
            routes: Routes::new(unrouted_after, now.mono),
            gaps: Gaps::default(),
            pending,
            commands: VecDeque::new(),
            timer: None,
            now,
            shared,
            armed: None,
            pause: None,
            freed_bytes: 0,
            freed_messages: 0,
            last_publish,
            flushes: Vec::new(),
            revision: None,
            repeats: Repeats::default(),
            oversized: Seldom::default(),
            recorder: Recorder::default(),
            closing: false,
            close_by: None,
            report: ShutdownReport::default(),
            last_event: None,
            rest_due: false,
            lingering: None,
            ended: false,
        }
    }

    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.shared.runtime
    }

    /// One look at everything that can have happened. True if anything did.
    fn round(&mut self, cx: &mut Context<'_>) -> bool {
        self.now = self.shared.clock.now();
        self.shared.ward.beat(self.now.mono);
        let mut busy = self.take_commands();
        busy |= self.take_marks();
        busy |= self.poll_storage(cx);
        self.pending.drop_cells(self.shared.forgotten());
        busy |= self.poll_opening(cx);
        busy |= self.poll_step(cx);
        busy |= self.poll_renewing(cx);
        busy |= self.poll_read(cx);
        busy |= self.poll_timer(cx);
        busy |= self.poll_write(cx);
        self.publish_state();
        busy
    }

    fn take_commands(&mut self) -> bool {
        if self.commands.is_empty() {
            self.shared.take_commands(&mut self.commands, COMMANDS);
            if self.commands.is_empty() {
                return false;
            }
        }
        for _ in 0..COMMANDS {
            let Some(command) = self.commands.pop_front() else { break };
            self.obey(command);
        }
        if self.routes.take_changed() {
            self.shared.ward.wanted(&self.routes);
        }
        self.drain();
        self.evict();
        true
    }

    /// Gives up the oldest messages while the queue is beyond its limits, where its policy is that.
    fn evict(&mut self) {
        let (bytes, messages) = self.shared.overdraft();
        if (bytes, messages) == (0, 0) {
            return;
        }
        while (self.freed_bytes < bytes || self.freed_messages < messages)
            && self.engine.evict_oldest(self.now).is_some()
        {
            while let Some(output) = self.engine.poll() {
                self.carry_out(output);
            }
        }
        self.settle();
    }

    fn obey(&mut self, command: Command) {
        let now = self.now;
        match command {
            Command::Publish { id, publication, cell, accepted } => {
                self.publish(id, publication, cell, accepted);
            }
            Command::Subscribe(wishes) => {
                for request in self.routes.subscribe(*wishes) {
                    let id = request.id;
                    if let Err(why) = self.engine.subscribe(request, now) {
                        self.answered(id, SubscribeResult::Rejected(why));
                    }
                }
            }
            Command::Unrouted(route) => self.routes.set_fallback(route),
            Command::Leave(leave) => {
                self.routes.take_marks();
                self.acknowledge();
                for parting in self.routes.leave(*leave, now.mono, &self.shared.counters) {
                    match parting {
                        Parting::Detach(id) => self.engine.detach(id),
                        Parting::Unsubscribe(id) => self.engine.unsubscribe(id, now),
                    }
                }
                // Before another stream takes what is held now: what it has must not be dropped.
                self.acknowledge();
            }
            Command::Ack { id, reason } => self.routes.finish(id, reason),
            Command::Cancel(id) => {
                let _ = self.engine.cancel(id, now);
            }
            Command::Decide { id, resend } => {
                self.pending.decided(id);
                self.engine.decide(id, resend, now);
            }
            Command::List { reply } => {
                let _ = reply.send(self.pending.list());
            }
            Command::Flush { reply } => {
                // Those whose time was over are not kept until the link is back.
                self.flushes.retain(|(_, reply)| !reply.is_closed());
                self.flushes.push((self.last_publish, reply));
            }
            Command::Nudge { reply } => {
                let due = self.engine.nudge(now).filter(|at| *at > now.mono);
                let held = due.map(|at| self.shared.clock.instant(at));
                let _ = reply.send(held);
            }
            Command::RestartLink => self.engine.restart_link(now),
            Command::Unwell(waited) => self.engine.unwell(waited, now),
            Command::Pulse => {}
            Command::Reauthenticate => self.reauthenticate(),
            Command::Close { within } => {
                // What was taken before the close is acknowledged before DISCONNECT.
                self.routes.take_marks();
                self.acknowledge();
                self.closing = true;
                let by = now.mono + within;
                self.close_by = Some(self.close_by.map_or(by, |earlier| earlier.min(by)));
                self.engine.close(within, now);
                // Since the inbox was closed the outlook is another one.
                self.state_changed();
            }
        }
    }

    fn publish(&mut self, id: PublishId, publication: Publication, cell: Arc<Cell>, accepted: Timestamp) {
        self.last_publish = id;
        let queued = publication.is_queued();
        let keeping = self.storage.as_deref().map(Storage::is_keeping);
        let kept = queued && keeping == Some(true);
        if queued && keeping == Some(false) {
            // Accepted before the handles knew that the store is lost: nobody would tell it otherwise.
            cell.stored(Stored::InMemory);
        }
        let entry = Entry {
            // Dropped already: nobody will ask.
            cell: Some(cell).filter(|cell| Arc::strong_count(cell) > 1),
            accepted,
            first_sent: Timestamp::NEVER,
            bytes: u32::try_from(cost(&publication)).unwrap_or(u32::MAX),
            attempts: 0,
            qos: publication.qos,
            kept: if kept { Kept::Recorded } else { Kept::InMemory },
        };
        self.pending.insert(id, entry);
        if let Err(why) = self.engine.publish(id, publication, self.now) {
            let error = match why {
                Rejected::Stopped => {
                    self.count_lost(false);
                    PublishError::Stopped { maybe_delivered: false }
                }
                Rejected::TooLarge { size, limit } => PublishError::TooLarge { size, limit },
                why => PublishError::Rejected(why),
            };
            self.finished(id, |_| Err(Box::new(error)));
        }
    }

    fn take_marks(&mut self) -> bool {
        if !self.shared.take_mark() {
            return false;
        }
        self.pause = None;
        self.routes.take_marks();
        self.drain();
        true
    }

    fn acknowledge(&mut self) {
        let mut told = std::mem::take(&mut self.routes.acks);
        for (id, told) in told.drain(..) {
            match told {
                Told::Taken(reason) => self.engine.ack(id, reason, self.now),
                Told::Left { spare } => {
                    if self.engine.leave(id, spare, self.now) {
                        self.routes.forget(id);
                    }
                }
            }
        }
        self.routes.acks = told;
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> bool {
        let Wire::Opening(opening) = &mut self.wire else { return false };
        let Poll::Ready(progress) = opening.poll(cx) else { return false };
        let opened = match progress {
            Progress::Stage(stage) => {
                self.recorder.reached(stage);
                self.tell(Input::Reached(stage));
                return true;
            }
            Progress::Done(opened) => *opened,
        };
        let Opened { result, stages, identity } = opened;
        self.stages = Some(stages);
        self.engine.credentials_end(identity.good_for(), self.now);
        if let Some(login) = identity.login {
            self.engine.set_login(login);
        }
        self.engine.set_auth_data(identity.data);
        let input = match result {
            Ok(stream) => {
                self.wire = Wire::Open(Open::new(stream));
                Input::Opened
            }
            Err(error) => {
                self.wire = Wire::None;
                Input::OpenFailed { stage: error.stage, error: error.error }
            }
        };
        self.tell(input);
        true
    }

    fn begin_step(&mut self, step: AuthStep) {
        if let Some(by) = &self.dial.authentication {
            self.step = Some(Step::begin(&self.dial, by, step));
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(step) = &mut self.step else { return false };
        let Poll::Ready((purpose, answered)) = step.poll(cx) else { return false };
        self.step = None;
        match (purpose, answered) {
            // What we have is still good for a while.
            (For::Again, Err(error)) if self.engine.renewal_failed(self.now) => {
                translate::not_renewed(&error)
            }
            (_, Err(error)) => self.engine.auth_failed(error, self.now),
            (For::Challenge, Ok(data)) => self.engine.authenticate(data, self.now),
            (For::Again, Ok(data)) => {
                renewal::reauthenticate(data, &self.dial, &mut self.engine, self.now);
            }
            (For::Proof { again }, Ok(_)) => self.publish_event(&Event::Authenticated { again }),
        }
        self.drain();
        true
    }

    fn poll_renewing(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(renewing) = &mut self.renewing else { return false };
        let Poll::Ready(answered) = renewing.as_mut().poll(cx) else { return false };
        self.renewing = None;
        renewal::answered(answered, &mut self.engine, self.now);
        self.drain();
        true
    }

    /// A server that a broker named is reached as the one that named it: never with less protection.
    fn add_server(&mut self, server: usize, name: &Text, by: usize) {
        let Some(origin) = self.targets.get(by) else { return };
        let added = origin.renamed(name.as_str());
        let name = Text::try_from(added.place()).unwrap_or_default();
        // The engine counts them in the same order.
        self.targets.push(added);
        self.publish_event(&Event::ServerAdded { server, name, by });
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        for round in 0..READS {
            let waits = self.pause.is_some() || !self.engine.wants_read();
            let Wire::Open(open) = &mut self.wire else { return round > 0 };
            if waits && !open.is_broken() {
                return round > 0;
            }
            match open.poll_read(cx) {
                Poll::Pending => return round > 0,
                Poll::Ready(Ok(bytes)) => {
                    tracing::trace!(target: "rejoin", bytes = bytes.len(), "read");
                    self.shared.note_heard(self.now.mono);
                    self.tell(Input::Received(bytes));
                }
                Poll::Ready(Err(error)) => {
                    self.wire = Wire::None;
                    self.tell(Input::Lost(error));
                }
            }
        }
        true
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        for round in 0..WRITES {
            let Wire::Open(open) = &mut self.wire else { return round > 0 };
            let Poll::Ready(written) = open.poll_write(cx) else { return round > 0 };
            tracing::trace!(target: "rejoin", bytes = written, "written");
            self.tell(Input::Written(written));
        }
        true
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        if self.engine.deadline().is_some_and(|(at, _)| at <= self.now.mono) {
            self.tell(Input::Tick);
            self.rest_due = true;
            busy = true;
        }
        if self.routes.deadline().is_some_and(|at| at <= self.now.mono) {
            self.routes.expire_held(self.now.mono, &self.shared.counters);
            self.drain();
            busy = true;
        }
        if self.pause.is_some_and(|at| at <= self.now.mono) {
            self.pause = None;
            self.routes.lose_patience();
            busy = true;
        }
        let engine = self.engine.deadline().map(|(at, _)| at);
        let next = [engine, self.routes.deadline(), self.pause].into_iter().flatten().min();
        let Some(next) = next else { return busy };
        let at = self.shared.clock.timer(next);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if self.armed != Some(next) {
            self.armed = Some(next);
            timer.as_mut().reset(at);
        }
        if timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            busy = true;
        }
        busy
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.tell_at_once([input]);
    }

    /// Nothing leaves in between.
    pub(crate) fn tell_at_once(&mut self, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            self.engine.handle(input, self.now);
        }
        self.drain();
    }

    /// Takes back what was never sent; what is under way stays.
    pub(crate) fn withdraw(&mut self, ids: &[PublishId]) {
        for id in ids {
            let _ = self.engine.cancel(*id, self.now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.engine.poll() {
                match output {
                    // What comes most is not moved once more than it must be.
                    Output::Event(Core::Message(message)) => self.message(message),
                    other => self.carry_out(other),
                }
            }
            if self.routes.acks.is_empty() {
                break;
            }
            self.acknowledge();
        }
        if self.routes.flush(&self.shared.counters) && self.pause.is_none() {
            self.pause = Some(self.now.mono + PATIENCE);
        }
        self.settle();
    }

    /// Gives room back and wakes who waits for the queue to be empty: once for a whole batch.
    pub(crate) fn settle(&mut self) {
        if self.freed_messages > 0 {
            let messages = std::mem::take(&mut self.freed_messages);
            self.shared.give_back(std::mem::take(&mut self.freed_bytes), messages);
        }
        if !self.flushes.is_empty() {
            let oldest = self.pending.oldest();
            for (upto, reply) in std::mem::take(&mut self.flushes) {
                if oldest.is_some_and(|oldest| oldest <= upto) {
                    self.flushes.push((upto, reply));
                } else {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Open { server, limit, handshake_limit, .. } => {
                self.open(server, Clocks::within(limit, handshake_limit));
            }
            Output::Transmit(bytes) => {
                if let Wire::Open(open) = &mut self.wire {
                    open.push(bytes);
                }
            }
            Output::Close { graceful } => {
                self.step = None;
                self.renewing = None;
                if let (Wire::Open(open), true) = (std::mem::take(&mut self.wire), graceful) {
                    self.lingering = Some(open.finish(self.linger()));
                }
            }
            Output::Persist { ticket, records } => {
                if !self.storage.as_mut().is_some_and(|storage| storage.persist(ticket, records)) {
                    self.engine.handle(Input::Persisted(ticket), self.now);
                }
            }
            Output::Load(ids) => {
                if let Some(storage) = &self.storage {
                    storage.load(ids);
                }
            }
            Output::Event(event) => self.event(event),
        }
    }

    /// A shutdown must not overrun its limit by much; a moment for DISCONNECT to leave is always there.
    fn linger(&self) -> Duration {
        match self.close_by {
            None => LINGER,
            Some(at) => at.since(self.now.mono).clamp(LINGER / 5, LINGER),
        }
    }

    fn open(&mut self, server: usize, clocks: Clocks) {
        self.stages = None;
        let before = self.lingering.take();
        let Some(target) = self.targets.get(server) else {
            tracing::error!(target: "rejoin", server, "the engine asked for a server that does not exist");
            return;
        };
        self.wire = Wire::Opening(Opening::begin(&self.dial, target.clone(), clocks, before));
    }

    fn server_name(&self, server: usize) -> Text {
        let Some(place) = self.targets.get(server).map(ServerUrl::place) else { return Text::default() };
        // The settings have the same text, as long as nobody named a server later.
        let known = self.engine.config().servers.get(server).filter(|name| name.as_str() == place);
        known.cloned().unwrap_or_else(|| Text::try_from(place).unwrap_or_default())
    }

    fn message(&mut self, message: Message) {
        self.recorder.received(&message, &self.shared.meters);
        self.shared.ward.message_came(&message.topic, self.now.mono);
        self.routes.dispatch(message, self.now.mono, &self.shared.counters);
    }

    fn event(&mut self, event: Core) {
        match event {
            Core::Again { earlier } => self.routes.comes_again(earlier),
            Core::Message(message) => self.message(message),
            Core::Transmitted { id, attempts } => {
                if let Some(entry) = self.pending.get_mut(id) {
                    entry.attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
                    if entry.first_sent == Timestamp::NEVER {
                        entry.first_sent = self.now.mono;
                        if let Some(waited) = entry.took_micros(self.now.mono) {
                            self.recorder.first_sent(entry.qos, waited, &self.shared.meters);
                        }
                        if let Some(cell) = &entry.cell {
                            cell.sent();
                        }
                    }
                }
            }
            Core::Stored { id } => self.pending.stored(id),
            Core::Finished { id, outcome } => self.outcome(id, outcome),
            Core::AuthChallenge { data } => {
                self.begin_step(AuthStep::Challenge(data.0.map(Secret::from)));
            }
            Core::AuthProof { data, again } => {
                self.begin_step(AuthStep::Proof { data: data.0.map(Secret::from), again });
            }
            Core::RenewalDue => self.renewing = renewal::begin(&self.dial, &mut self.engine, self.now),
            Core::ReauthenticationDue => self.renew_by_method(),
            Core::ServerAdded { server, name, by } => self.add_server(server, &name, by),
            Core::Subscribed { id, result } => self.answered(id, result),
            Core::Unsubscribed { id, reason } => self.routes.unsubscribed(id, reason),
            other => {
                if let Core::Undecided { id } = other {
                    self.pending.ask(id);
                }
                self.note_gaps(&other);
                if translate::blames_the_login(&other) {
                    self.dial.login_refused();
                }
                if let Some(event) =
                    translate::public(other, self.now.mono, &mut self.repeats, &mut self.stages)
                {
                    self.publish_event(&event);
                }
            }
        }
    }

    pub(crate) fn publish_event(&mut self, event: &Event) {
        // Who is woken by an event and looks at the state finds it changed already.
        self.publish_state();
        self.recorder.event(event, &self.shared.meters);
        self.shared.ward.note(event, &self.engine.stats());
        match event {
            Event::Oversized { size, .. } => {
                if let Some(untold) = self.oversized.turn(Instant::now()) {
                    translate::oversized(&self.shared.client_id(), *size, untold);
                }
            }
            event => translate::log(&self.shared.client_id(), event),
        }
        self.rest_due |= matches!(event, Event::Opened { .. });
        if matches!(event, Event::Stopped { .. }) {
            // Told when everything is answered for: it is the last.
            self.last_event = Some(Box::new(event.clone()));
            return;
        }
        self.shared.events.tell(event);
    }

    fn answered(&mut self, id: SubscriptionId, result: SubscribeResult) {
        // Who is woken by the answer finds a client that is ready.
        self.publish_state();
        let Some(filter) = self.routes.answered(id, &result) else { return };
        let filter = filter.text().clone();
        self.note_answer(id, &filter, &result);
        if let Some(why) = refusal(&result, || filter.as_str().to_owned()) {
            self.publish_event(&Event::SubscriptionRefused { filter, why });
        }
    }

    /// Something of the state that the engine does not know of changed.
    pub(crate) fn state_changed(&mut self) {
        self.revision = None;
        self.publish_state();
    }

    fn publish_state(&mut self) {
        let revision = self.engine.status_revision();
        if self.revision != Some(revision) {
            self.revision = Some(revision);
            let status = self.engine.status();
            let since = status.since;
            let mut state = State::from_status(status, &self.shared.clock, |server| self.server_name(server));
            self.recorder.state(state.link.name(), since, &self.shared.meters);
            state.revision += self.storage.as_deref().map_or(0, Storage::changes) + u64::from(self.closing);
            self.shared.state.show(self.shared.complete(state));
        }
        self.shared.ward.waits_twice(self.routes.waits_twice());
        let stats = self.engine.stats();
        let oldest = self.pending.oldest_accepted();
        self.recorder.turn(&stats, self.engine.in_flight(), oldest, &self.shared.meters);
        *lock(&self.shared.stats) = stats;
    }

    /// Gives back what a burst needed, once it is over: an idle client is to cost little. Done only after a tick or a new
    /// link, and only when there is nothing left to do: a busy client has few such moments.
    fn rest(&mut self) {
        if !std::mem::take(&mut self.rest_due) {
            return;
        }
        self.engine.rest();
        self.pending.rest();
        self.routes.rest();
        self.shared.rest();
        if self.commands.is_empty() {
            self.commands.shrink_to_fit();
        }
        if let Wire::Open(open) = &mut self.wire {
            open.rest();
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..ROUNDS {
            if this.round(cx) {
                if this.routes.take_fed() {
                    break;
                }
                continue;
            }
            if this.poll_end(cx) {
                this.end();
                return Poll::Ready(());
            }
            if this.shared.sleep(cx.waker()) {
                this.rest();
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}
