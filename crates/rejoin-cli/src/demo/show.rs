//! One run: the script, the client's words and the keys, brought together until the end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rejoin::State;
use tokio::sync::mpsc;

use super::chronicle::{Chronicle, is_ack_timeout};
use super::lines::Lines;
use super::model::History;
use super::screen::{View, draw};
use super::script::{Act, Fault, Times, story};
use super::seen::{self, Seen};
use super::verdict::Judgement;
use super::world::{Settings, Told, World};
use crate::exit::Exit;
use crate::observe::document::Document;
use crate::observe::flags::Places;
use crate::observe::routes::{Action, Asked};
use crate::signals::Signals;
use crate::terminal::{self, Key, Stage};

/// Between two looks at the script.
const LOOK: Duration = Duration::from_millis(5);
/// How long a broker that somebody restarts is down, at the pace of the show.
const RESTART_MS: u64 = 2_000;
/// Between two frames.
const FRAME: Duration = Duration::from_millis(50);
/// How long the end waits for what is still on its way.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// The same after somebody asked for the end.
const HURRIED_DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// Where the run is shown.
pub(crate) enum Face {
    /// As lines.
    Lines(Lines),
    /// As a picture.
    Picture {
        /// The terminal.
        stage: Box<Stage>,
        /// What is pressed.
        keys: mpsc::UnboundedReceiver<Key>,
        /// Whether colours are wanted.
        colour: bool,
    },
}

/// How a run ended.
pub(crate) struct Ending {
    /// The verdict.
    pub(crate) judgement: Judgement,
    /// What happened.
    pub(crate) chronicle: Chronicle,
    /// The signal that ended it.
    pub(crate) signal: Option<Exit>,
    /// Whoever looks on, also after the end.
    pub(crate) seen: Option<Seen>,
    /// The run as it was seen, before the client left.
    pub(crate) document: Option<Document>,
    /// Ctrl-C.
    pub(crate) signals: Signals,
}

/// A run.
pub(crate) struct Show {
    settings: Settings,
    world: World,
    told: mpsc::UnboundedReceiver<Told>,
    script: VecDeque<(Duration, Act)>,
    chronicle: Chronicle,
    history: History,
    /// When somebody asked for the end, or the story was over.
    ending: Option<Instant>,
    drain_limit: Duration,
    signal: Option<Exit>,
    seen: Option<Seen>,
}

impl Show {
    /// Starts the parts.
    pub(crate) async fn start(settings: Settings, places: Option<Places>) -> Result<Self, String> {
        let (mut world, told) = World::start(&settings).await?;
        let seen = match (places, world.observed.take()) {
            (Some(places), Some(events)) => {
                Some(Seen::start(world.client.clone(), events, world.place(), &settings, places)?)
            }
            _ => None,
        };
        let pace = settings.pace;
        Ok(Self {
            settings,
            world,
            told,
            script: story(pace).into(),
            chronicle: Chronicle::new(settings.qos),
            history: History::new(pace.sampling(), pace.total()),
            ending: None,
            drain_limit: DRAIN_LIMIT,
            signal: None,
            seen,
        })
    }

    /// Runs to the end.
    pub(crate) async fn run(mut self, face: &mut Face) -> Result<Ending, String> {
        let mut signals = Signals::listen().map_err(|error| format!("demo: signals: {error}"))?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut framed: Option<Instant> = None;
        while !self.is_over() {
            tokio::select! {
                _ = look.tick() => {}
                Some(told) = self.told.recv() => self.tell(&told).await?,
                key = pressed(face) => self.press(key).await?,
                asked = seen::asked(&mut self.seen) => self.asked(asked).await?,
                exit = signals.first(), if self.signal.is_none() => self.interrupt(exit).await?,
            }
            self.advance().await?;
            let state = self.world.client.state();
            self.sample(&state);
            match face {
                Face::Lines(lines) => lines.catch_up(self.chronicle.lines()),
                Face::Picture { stage, colour, .. } => {
                    if framed.is_none_or(|at| at.elapsed() >= FRAME) {
                        framed = Some(Instant::now());
                        let view = self.view(&state, *colour);
                        stage
                            .show(|frame| draw(frame, &view))
                            .map_err(|error| format!("demo: terminal: {error}"))?;
                    }
                }
            }
        }
        Ok(self.finish(face, signals).await)
    }

    async fn finish(mut self, face: &mut Face, signals: Signals) -> Ending {
        if self.world.is_drained() {
            self.world.listen_out().await;
        }
        while let Ok(told) = self.told.try_recv() {
            let at = self.world.clock.at(told.moment);
            self.chronicle.tell(&told.event, told.moment, at);
        }
        if let Face::Lines(lines) = face {
            lines.catch_up(self.chronicle.lines());
        }
        let judgement = Judgement::of(&self.settings, &self.world, &self.chronicle);
        let within = self.settings.pace.of(1_000);
        let mut document = None;
        if let Some(seen) = &mut self.seen {
            seen.truth(&self.world.truth());
            seen.judge(judgement.view());
            document = Some(seen.document().await);
        }
        self.world.client.shutdown().within(within).await;
        if let Some(seen) = &mut self.seen {
            seen.close().await;
        }
        let Self { chronicle, signal, seen, .. } = self;
        Ending { judgement, chronicle, signal, seen, document, signals }
    }

    fn is_over(&mut self) -> bool {
        let Some(since) = self.ending else { return false };
        let all_back = self.world.is_drained() && !self.chronicle.is_recovering();
        all_back || since.elapsed() >= self.drain_limit
    }

    async fn tell(&mut self, told: &Told) -> Result<(), String> {
        let at = self.world.clock.at(told.moment);
        self.chronicle.tell(&told.event, told.moment, at);
        // The acknowledgements were lost on that connection; it is gone.
        if is_ack_timeout(&told.event) {
            self.end(Fault::LostAcks).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, fault: Fault) -> Result<(), String> {
        self.chronicle.begin(fault, self.world.clock.now());
        if let Some(seen) = &self.seen {
            seen.begin(fault);
        }
        self.world.act(Act::Begin(fault)).await
    }

    async fn end(&mut self, fault: Fault) -> Result<(), String> {
        if self.chronicle.is_on(fault) {
            self.world.act(Act::End(fault)).await?;
            let at = self.world.clock.now();
            self.chronicle.end(fault, Instant::now(), at);
            if let Some(seen) = &self.seen {
                seen.end(fault);
            }
            if let (Fault::Kill, Some(survivors)) = (fault, self.world.survivors()) {
                self.chronicle.note(at, "found", format!("{} messages of it are on disk", survivors.stored));
            }
        }
        Ok(())
    }

    async fn advance(&mut self) -> Result<(), String> {
        let now = self.world.clock.now();
        while let Some((_, act)) = self.script.pop_front_if(|(at, _)| *at <= now) {
            match act {
                Act::Begin(fault) => self.begin(fault).await?,
                Act::End(fault) => self.end(fault).await?,
                Act::StopPublishing => {
                    self.end(Fault::HeldByKey).await?;
                    let text = "no more messages; what is on its way drains, then the audit";
                    self.chronicle.note(now, "stop", text);
                }
            }
        }
        if now >= self.settings.pace.total() {
            self.ending.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    async fn press(&mut self, key: Key) -> Result<(), String> {
        let now = self.world.clock.now();
        match key {
            Key::Quit => self.hurry("ended by key q").await?,
            Key::Interrupt => self.interrupt(Exit::Signal(2)).await?,
            Key::Letter(' ') => {
                let text = if self.world.clock.toggle() { "the story stands still" } else { "it goes on" };
                self.chronicle.note(now, "pause", text);
            }
            // The end of the run is for draining.
            _ if self.ending.is_some() || self.script.is_empty() => {}
            Key::Letter('f') if self.chronicle.injected() != Some(Fault::Freeze) => {
                if !self.chronicle.is_on(Fault::HeldByKey) {
                    self.begin(Fault::HeldByKey).await?;
                }
            }
            Key::Letter('c') => {
                self.begin(Fault::Cut).await?;
                self.end(Fault::Cut).await?;
            }
            Key::Letter('h') => {
                self.end(Fault::HeldByKey).await?;
                self.end(Fault::Freeze).await?;
                self.end(Fault::LostAcks).await?;
            }
            Key::Letter(_) => {}
        }
        Ok(())
    }

    /// Somebody who looks on asks for something.
    async fn asked(&mut self, asked: Asked) -> Result<(), String> {
        let late = self.ending.is_some() || self.script.is_empty();
        let answer = match asked.action {
            _ if late => Err("the story is over; what is on its way drains"),
            Action::Cut => Ok(self.press(Key::Letter('c')).await?),
            Action::Heal => Ok(self.press(Key::Letter('h')).await?),
            Action::Freeze => Ok(self.press(Key::Letter('f')).await?),
            Action::Restart => self.restart().await?,
            Action::Nudge => Err("there is nothing to hurry here"),
        };
        // Whoever asked may be gone by now.
        let _ = asked.reply.send(answer.map_err(str::to_owned));
        Ok(())
    }

    /// The broker is killed, and started again a little later, with its sessions.
    async fn restart(&mut self) -> Result<Result<(), &'static str>, String> {
        if [Fault::Restart, Fault::Amnesia, Fault::Kill].into_iter().any(|fault| self.chronicle.is_on(fault))
        {
            return Ok(Err("the broker is down already"));
        }
        self.begin(Fault::Restart).await?;
        let back = self.world.clock.now() + self.settings.pace.of(RESTART_MS);
        let place = self.script.partition_point(|(at, _)| *at <= back);
        self.script.insert(place, (back, Act::End(Fault::Restart)));
        Ok(Ok(()))
    }

    async fn interrupt(&mut self, exit: Exit) -> Result<(), String> {
        self.signal = Some(exit);
        self.hurry("ended by a signal").await
    }

    /// Somebody wants the end: everything is healed, and what was published gets a moment to arrive.
    async fn hurry(&mut self, why: &'static str) -> Result<(), String> {
        if self.ending.is_some() {
            // Asked twice: now.
            self.drain_limit = Duration::ZERO;
            return Ok(());
        }
        self.chronicle.note(self.world.clock.now(), "stop", why);
        self.world.stop_publishing();
        self.script.clear();
        for fault in
            [Fault::Restart, Fault::Freeze, Fault::LostAcks, Fault::Amnesia, Fault::Kill, Fault::HeldByKey]
        {
            self.end(fault).await?;
        }
        self.ending = Some(Instant::now());
        self.drain_limit = HURRIED_DRAIN_LIMIT;
        Ok(())
    }

    fn sample(&mut self, state: &State) {
        if let Some(seen) = &mut self.seen {
            seen.truth(&self.world.truth());
        }
        if !self.world.clock.is_paused() {
            let sample = self.world.sample(state, self.chronicle.injected());
            self.history.sample(self.world.clock.now(), sample);
        }
    }

    fn view<'a>(&'a self, state: &'a State, colour: bool) -> View<'a> {
        let ours = self.world.ours();
        View {
            at: self.world.clock.now(),
            total: self.settings.pace.total(),
            paused: self.world.clock.is_paused(),
            chronicle: &self.chronicle,
            history: &self.history,
            state,
            passing: self.world.sample(state, None).passing,
            ours,
            plain: self.world.plain(),
            oldest_queued: self.world.oldest_queued(ours.queued),
            times: Times::at(self.settings.pace),
            colour,
        }
    }
}

/// The next key; never, where there is no keyboard.
async fn pressed(face: &mut Face) -> Key {
    match face {
        Face::Picture { keys, .. } => terminal::pressed(keys).await,
        Face::Lines(_) => std::future::pending().await,
    }
}
