//! Holds the connection and keeps the record: events and measurements go into the run, the run goes to the picture, the
//! recording, the document and the report.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use rejoin::{Client, Event, Qos, Subscription, TopicFilter};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::args::WatchArgs;
use super::{screen, words};
use crate::args::OutputKind;
use crate::exit::{Exit, Failure};
use crate::facts::Facts;
use crate::narrator::Role;
use crate::observe;
use crate::observe::document::{Document, Level};
use crate::observe::flags::{Places, ServeArgs};
use crate::observe::observer::{Observer, Plan, Told};
use crate::output::{Line, Teller};
use crate::report;
use crate::running::{Cast, Running, at, exit_of, is_hopeless, stopped};
use crate::settings::{Connection, Typed};
use crate::terminal::{self, Key, Stage, wants_picture};

/// Between two frames: as often as there is something new.
const FRAME: Duration = Duration::from_millis(250);

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
    serve: ServeArgs,
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
        let WatchArgs { topic, qos, length, json, no_tui, record, report, serve, connect, .. } = args;
        if record.is_some() && record == report {
            return Err(Failure::usage("--record and --report name the same file; give each its own"));
        }
        let connection = Connection::new(connect, typed, !topic.is_empty())?;
        let mut topics = topic;
        topics.extend(connection.path.clone());
        let filters = topics.into_iter().map(TopicFilter::try_from).collect::<Result<Vec<_>, _>>();
        let filters = filters.map_err(|e| Failure::usage(format!("-t: {e}")))?;
        let qos = Qos::from_u8(qos).unwrap_or(Qos::AtMostOnce);
        Ok(Self { connection, filters, qos, length, json, picture: !no_tui, record, report, serve })
    }

    fn role(&self) -> Role {
        Role {
            subscribes: !self.filters.is_empty(),
            qos0: self.qos == Qos::AtMostOnce,
            kept: self.connection.kept,
            ..Role::default()
        }
    }
}

/// Watches until somebody or a limit ends it.
pub(crate) async fn run(watch: Watch, teller: Teller) -> Result<Exit, Failure> {
    let places = watch.serve.take()?;
    // Before the terminal is taken: the line stands there again when the picture is gone.
    observe::announce(&places, &teller);
    let urls = places.urls();
    let head = observe::head("watch", watch.connection.places(), watch.role());
    let plan = Plan { head, places, recording: watch.record.clone(), asked: None };
    let before = |client: &Client| {
        let subscription = declare(client, &watch)?;
        let observer = Observer::start(client.clone(), client.events(), plan).map_err(Failure::local)?;
        Ok((observer, subscription))
    };
    let cast = Cast {
        builder: watch.connection.builder(),
        role: watch.role(),
        servers: watch.connection.places(),
        verb: "watch",
        // It is served with the record that is kept here.
        places: Places::default(),
    };
    let (running, (observer, subscription)) = Running::start(cast, teller, before)?;
    let face = watch.picture.then(|| Face::take(urls)).transpose()?;
    let mut holding = Holding { watch, running, observer, subscription, face, opened: false };
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
    /// Where else it is shown, with the token.
    urls: Vec<String>,
}

impl Face {
    fn take(urls: Vec<String>) -> Result<Self, Failure> {
        let (stage, keys) =
            Stage::take().map_err(|e| Failure::local(format!("terminal: {e}; try --no-tui")))?;
        Ok(Self { stage, keys, colour: std::env::var_os("NO_COLOR").is_none(), urls })
    }
}

/// A connection that is held.
struct Holding {
    watch: Watch,
    running: Running,
    observer: Observer,
    subscription: Option<Subscription>,
    face: Option<Face>,
    opened: bool,
}

impl Holding {
    async fn hold(&mut self) -> Result<Exit, Failure> {
        let mut expired = pin!(at(self.watch.length));
        let mut late = pin!(at(self.watch.connection.deadline().duration()));
        let mut ticks = interval(FRAME);
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
                        self.note(Level::Info, "nudge", "asked to look at the link now".to_owned());
                    }
                    Key::Letter(_) => {}
                },
                event = self.running.events.next() => {
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
                _ = ticks.tick(), if self.face.is_some() => self.show()?,
            }
        }
    }

    /// The end of a watch that was to end: 3 if there was nothing to watch.
    const fn done(&self) -> Exit {
        if self.opened { Exit::Done } else { Exit::NoConnection }
    }

    fn tell(&mut self, event: &Event) -> Result<(), Failure> {
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

    fn note(&self, level: Level, word: &'static str, text: String) {
        self.observer.tell(Told::Note { at: Instant::now(), level, word, text });
    }

    fn show(&mut self) -> Result<(), Failure> {
        let Some(face) = &mut self.face else { return Ok(()) };
        let facts = self.observer.live().read(facts);
        let view = screen::View { facts: &facts, colour: face.colour, urls: &face.urls };
        face.stage
            .show(|frame| screen::draw(frame, &view))
            .map_err(|e| Failure::local(format!("terminal: {e}; try --no-tui")))
    }

    /// The record ends before the client does: what is asked of it is how the link was, and not that we left.
    async fn end(mut self, ended: Result<Exit, Failure>) -> Result<Exit, Failure> {
        // The terminal is given back before anything is printed.
        self.face = None;
        if let Err(failure) = &ended {
            self.note(Level::Bad, "error", failure.message.clone());
        }
        let live = self.observer.live();
        // Its thread writes the last line of the recording.
        drop(self.observer);
        let document = live.read(Document::clone);
        drop(self.subscription.take());
        let over = self.running.end(None).await;
        let told = conclude(&self.watch, &document, &over.teller);
        ended.and_then(|exit| told.map(|()| exit))
    }
}

/// Everything that was asked for at the end.
fn conclude(watch: &Watch, document: &Document, teller: &Teller) -> Result<(), Failure> {
    let value = serde_json::to_value(document).map_err(|e| Failure::local(format!("the document: {e}")))?;
    if let Some(to) = &watch.report {
        let page = report::html(&value).map_err(Failure::local)?;
        report::save(to, &page)?;
        let text = format!("in {}", to.display());
        teller.tell(&Line::state("report", "report", text).with("file", to.display().to_string()));
    }
    let shown = match (watch.json, teller.is_json()) {
        (true, _) => format!("{value:#}\n"),
        (false, true) => format!("{value}\n"),
        (false, false) => words::summary(&facts(document)),
    };
    match io::stdout().lock().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::local(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
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
