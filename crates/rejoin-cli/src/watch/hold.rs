//! Holds the connection and keeps the record: events and measurements go into the run, the run goes to the picture, the
//! recording, the document and the report.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use rejoin::{Client, Event, Events, Qos, Subscription, TopicFilter};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::args::WatchArgs;
use super::{command, screen, words};
use crate::args::OutputKind;
use crate::exit::{Exit, Failure};
use crate::facts::Facts;
use crate::narrator::Role;
use crate::observe::document::{Document, Level, Program, Subject};
use crate::observe::measure::{Zero, moment};
use crate::observe::recording::Recording;
use crate::observe::run::{Head, Run};
use crate::output::{Line, Teller, Weight};
use crate::report;
use crate::running::{Running, at, exit_of, is_hopeless, stopped};
use crate::settings::{Connection, Typed};
use crate::terminal::{self, Key, Stage, wants_picture};

/// Between two samples.
const SAMPLE: Duration = Duration::from_millis(250);

/// `rejoin watch`, checked.
#[derive(Debug)]
pub(crate) struct Watch {
    connection: Connection,
    filters: Vec<TopicFilter>,
    qos: Qos,
    length: Option<Duration>,
    json: bool,
    picture: bool,
    record: Option<PathBuf>,
    report: Option<PathBuf>,
}

impl Watch {
    /// Settles whether a picture is shown: state lines do not go to stderr then.
    pub(crate) fn prepare(args: &mut WatchArgs) {
        args.connect.url.extend(args.broker.take());
        let picture = wants_picture(args.no_tui, args.json || args.connect.output.output == OutputKind::Json);
        args.no_tui = !picture;
        args.connect.output.quiet |= picture;
    }

    /// Checks everything that was typed.
    pub(crate) fn new(args: WatchArgs, typed: &Typed) -> Result<Self, Failure> {
        let WatchArgs { topic, qos, length, json, no_tui, record, report, connect, .. } = args;
        if record.is_some() && record == report {
            return Err(Failure::usage("--record and --report name the same file; give each its own"));
        }
        let connection = Connection::new(connect, typed, !topic.is_empty())?;
        let mut topics = topic;
        topics.extend(connection.path.clone());
        let filters = topics.into_iter().map(TopicFilter::try_from).collect::<Result<Vec<_>, _>>();
        let filters = filters.map_err(|e| Failure::usage(format!("-t: {e}")))?;
        let qos = Qos::from_u8(qos).unwrap_or(Qos::AtMostOnce);
        Ok(Self { connection, filters, qos, length, json, picture: !no_tui, record, report })
    }

    fn role(&self) -> Role {
        Role {
            subscribes: !self.filters.is_empty(),
            qos0: self.qos == Qos::AtMostOnce,
            kept: self.connection.kept,
            ..Role::default()
        }
    }

    fn head(&self) -> Head {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Head {
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                verb: "watch".to_owned(),
                command: command::masked(),
                seed: None,
                machine: format!("{} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH),
            },
            started_unix_ms: u64::try_from(started.as_millis()).unwrap_or(u64::MAX),
            subject: Subject {
                id: self.connection.id.clone().unwrap_or_default(),
                servers: self.connection.places(),
                name: String::new(),
            },
            role: self.role(),
            controls: Vec::new(),
            proxied: false,
            zone: jiff::tz::TimeZone::system(),
        }
    }
}

/// Watches until somebody or a limit ends it.
pub(crate) async fn run(watch: Watch, teller: Teller) -> Result<Exit, Failure> {
    let declare = |client: &Client| {
        let events = client.events();
        declare(client, &watch).map(|subscription| (events, subscription))
    };
    let zero = Zero(Instant::now());
    let mut record = Run::new(watch.head());
    let (running, (events, subscription)) =
        Running::start(watch.connection.builder(), watch.role(), watch.connection.places(), teller, declare)?;
    record.observe(moment(&running.client, zero));
    let recording = watch.record.as_deref().map(|path| {
        Recording::create(path, record.document())
            .map_err(|e| Failure::local(format!("cannot record to {}: {e}", path.display())))
    });
    let recording = match recording.transpose() {
        Ok(recording) => recording,
        Err(failure) => {
            running.end(Some(Duration::ZERO)).await;
            return Err(failure);
        }
    };
    let face = if watch.picture {
        let stage = Stage::take();
        let (stage, keys) = stage.map_err(|e| Failure::local(format!("terminal: {e}; try --no-tui")))?;
        Some(Face { stage, keys, colour: std::env::var_os("NO_COLOR").is_none() })
    } else {
        None
    };
    let mut holding =
        Holding { watch, running, events, subscription, zero, run: record, recording, face, opened: false };
    let ended = holding.hold().await;
    holding.end(ended).await
}

fn declare(client: &Client, watch: &Watch) -> Result<Option<Subscription>, Failure> {
    if watch.filters.is_empty() {
        return Ok(None);
    }
    let filters = watch.filters.iter().map(|filter| (filter.clone(), watch.qos));
    client.subscribe_many(filters).declare().map(Some).map_err(|e| Failure::usage(e.to_string()))
}

/// The picture.
struct Face {
    stage: Stage,
    keys: mpsc::UnboundedReceiver<Key>,
    colour: bool,
}

/// A connection that is held.
struct Holding {
    watch: Watch,
    running: Running,
    events: Events,
    subscription: Option<Subscription>,
    zero: Zero,
    run: Run,
    recording: Option<Recording>,
    face: Option<Face>,
    opened: bool,
}

impl Holding {
    async fn hold(&mut self) -> Result<Exit, Failure> {
        let mut expired = pin!(at(self.watch.length));
        let mut late = pin!(at(self.watch.connection.deadline().duration()));
        let mut ticks = interval(SAMPLE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                exit = self.running.signals.first() => return Ok(exit),
                key = pressed(&mut self.face) => match key {
                    Key::Quit => return Ok(self.done()),
                    Key::Interrupt => return Ok(Exit::Signal(2)),
                    Key::Letter('n') => {
                        drop(self.running.client.nudge());
                        self.run.note(self.zero.now_ms(), Level::Info, "nudge", "asked to look at the link now");
                    }
                    Key::Letter(_) => {}
                },
                event = self.events.next() => {
                    let Some(event) = event else {
                        return Err(Failure::new(Exit::NoConnection, "the client stopped"));
                    };
                    self.tell(&event)?;
                }
                () = &mut expired => return Ok(self.done()),
                () = &mut late, if !self.opened => {
                    let within = self.watch.connection.deadline().duration().unwrap_or_default();
                    let text = format!("no connection within {}", crate::quantity::short(within));
                    return Err(Failure::new(Exit::NoConnection, text));
                }
                () = count(&mut self.subscription) => {}
                _ = ticks.tick() => self.tick()?,
            }
        }
    }

    /// The end of a watch that was to end: 3 if there was nothing to watch.
    const fn done(&self) -> Exit {
        if self.opened { Exit::Done } else { Exit::NoConnection }
    }

    fn tell(&mut self, event: &Event) -> Result<(), Failure> {
        self.run.tell(self.zero.now_ms(), event);
        match event {
            Event::Opened { .. } => self.opened = true,
            Event::AttemptFailed { cause, verdict, .. } if !self.opened && is_hopeless(*verdict) => {
                let hint = rejoin::hint(cause).map(|hint| format!("; {hint}")).unwrap_or_default();
                return Err(Failure::new(exit_of(cause), format!("{cause}{hint}")));
            }
            Event::Stopped { reason } => return Err(stopped(reason)),
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Failure> {
        let now_ms = self.zero.now_ms();
        self.run.observe(moment(&self.running.client, self.zero));
        self.run.sample(now_ms);
        self.update(now_ms);
        if let Some(face) = &mut self.face {
            let facts = facts(self.run.document());
            let view = screen::View { facts: &facts, colour: face.colour };
            face.stage
                .show(|frame| screen::draw(frame, &view))
                .map_err(|e| Failure::local(format!("terminal: {e}; try --no-tui")))?;
        }
        Ok(())
    }

    fn update(&mut self, now_ms: u64) {
        let update = self.run.update(now_ms);
        if let Some(recording) = &mut self.recording
            && let Err(error) = recording.append(&update)
        {
            // A full disk ends the recording and not the watch.
            let text =
                format!("cannot record to {}: {error}; the recording ends here", recording.path().display());
            self.running.teller.tell(&Line::state("record", "record", text).weighing(Weight::Error));
            self.recording = None;
        }
    }

    /// The last words of the client, then everything that was asked for.
    async fn end(mut self, ended: Result<Exit, Failure>) -> Result<Exit, Failure> {
        // The terminal is given back before anything is printed.
        self.face = None;
        self.run.observe(moment(&self.running.client, self.zero));
        let now_ms = self.zero.now_ms();
        self.run.sample(now_ms);
        if let Err(failure) = &ended {
            self.run.note(now_ms, Level::Bad, "error", failure.message.clone());
        }
        self.update(now_ms);
        drop(self.subscription.take());
        let over = self.running.end(None).await;
        let Watch { json, report, .. } = self.watch;
        let document = self.run.document();
        if let Some(recording) = &self.recording {
            // What could not be synced was told about at the write.
            let _: io::Result<()> = recording.finish();
        }
        let value =
            serde_json::to_value(document).map_err(|e| Failure::local(format!("the document: {e}")))?;
        let mut shown = if json { format!("{value:#}\n") } else { words::summary(&facts(document)) };
        if let Some(to) = &report {
            let page = report::html(&value).map_err(Failure::local)?;
            report::save(to, &page)?;
            let text = format!("in {}", to.display());
            over.teller.tell(&Line::state("report", "report", text).with("file", to.display().to_string()));
        }
        if over.teller.is_json() && !json {
            shown = format!("{value}\n");
        }
        match io::stdout().lock().write_all(shown.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::local(format!("cannot write to stdout: {error}")))
            }
            _ => ended,
        }
    }
}

fn facts(document: &Document) -> Facts {
    let value = serde_json::to_value(document).unwrap_or_default();
    Facts::of(&value).unwrap_or_default()
}

/// A message was taken; never, where nothing is subscribed to.
async fn count(subscription: &mut Option<Subscription>) {
    match subscription {
        Some(subscription) => match subscription.next().await {
            Some(message) => drop(message),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn pressed(face: &mut Option<Face>) -> Key {
    match face {
        Some(face) => terminal::pressed(&mut face.keys).await,
        None => std::future::pending().await,
    }
}
