//! Holds the connection and keeps the record: events and measurements go into the run, the run goes to the picture, the
//! recording, the document and the report.

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use rejoin::{Client, Event, Qos, Subscription, TopicFilter};
use serde_json::Value;
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
use crate::observe::live::Live;
use crate::observe::observer::{Observer, Plan, Told};
use crate::output::{Line, Teller};
use crate::report;
use crate::running::{Cast, Running, at, exit_of, is_hopeless, judged, stopped};
use crate::settings::{Connection, Typed};
use crate::terminal::{self, Key, Stage, wants_picture};
use crate::why;

/// Between two frames: as often as there is something new.
const FRAME: Duration = Duration::from_millis(250);

/// Reading a long run for the picture takes at most one part in so many of the time, and waits for this at most.
const READING_SHARE: u32 = 20;
const READING_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A picture is called old when nothing new came for longer than this, in milliseconds: twelve updates.
const OLD_MS: f64 = 3_000.0;

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
        Role { subscribes: !self.filters.is_empty(), kept: self.connection.kept, ..Role::default() }
    }
}

/// Watches until somebody or a limit ends it.
pub(crate) async fn run(watch: Watch, teller: Teller) -> Result<Exit, Failure> {
    let places = watch.serve.take()?;
    let page = watch.report.as_deref().map(report::Page::probe).transpose()?;
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
        // It is looked at whether or not it is served.
        builder: judged(watch.connection.builder()),
        role: watch.role(),
        servers: watch.connection.places(),
        proxied: watch.connection.may_be_proxied(),
        verb: "watch",
        // It is served with the record that is kept here.
        places: Places::default(),
    };
    let (running, (observer, subscription)) = Running::start(cast, teller, before)?;
    let face = watch.picture.then(|| Face::take(urls)).transpose()?;
    let mut holding = Holding { watch, running, observer, subscription, face, page, opened: false };
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
    reading: Reading,
}

/// The run as the picture shows it.
#[derive(Debug, Default)]
struct Reading {
    facts: Facts,
    /// When it was read last, and how long that took.
    last: Option<(Instant, Duration)>,
}

impl Reading {
    fn is_due(&self, now: Instant) -> bool {
        self.last.is_none_or(|(at, took)| {
            now.saturating_duration_since(at) >= (took * READING_SHARE).min(READING_PAUSE_MAX)
        })
    }

    /// Reads it anew. The run is only copied while others wait for it.
    fn take(&mut self, live: &Live) {
        let begun = Instant::now();
        let document = live.read(Document::clone);
        self.facts = facts(&document);
        self.last = Some((begun, begun.elapsed()));
    }

    /// For how long nothing new came, where that is too long.
    fn old(&self, now_ms: u64) -> Option<f64> {
        Some(now_ms as f64 - self.facts.now_ms).filter(|old| *old > OLD_MS)
    }
}

impl Face {
    fn take(urls: Vec<String>) -> Result<Self, Failure> {
        let (stage, keys) =
            Stage::take().map_err(|e| Failure::local(format!("terminal: {e}; try --no-tui")))?;
        let colour = std::env::var_os("NO_COLOR").is_none();
        Ok(Self { stage, keys, colour, reading: Reading::default(), urls })
    }
}

/// A connection that is held.
struct Holding {
    watch: Watch,
    running: Running,
    observer: Observer,
    subscription: Option<Subscription>,
    face: Option<Face>,
    /// Where the report goes.
    page: Option<report::Page>,
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
            Event::AttemptFailed { cause, verdict, stages, .. } if !self.opened && is_hopeless(*verdict) => {
                let hint = why::hint(cause, stages).map(|hint| format!("; {hint}")).unwrap_or_default();
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
        if face.reading.is_due(Instant::now()) {
            face.reading.take(&self.observer.live());
        }
        let old = face.reading.old(self.observer.now_ms());
        let view = screen::View { facts: &face.reading.facts, colour: face.colour, urls: &face.urls, old };
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
        let (live, unrecorded) = (self.observer.live(), self.observer.unrecorded());
        // Its thread sees to the last line of the recording.
        drop(self.observer);
        let document = live.read(Document::clone);
        drop(self.subscription.take());
        let over = self.running.end(None).await;
        let told = conclude(&self.watch, self.page, &document, &over.teller);
        let recorded = unrecorded.get().map_or(Ok(()), |lost| Err(Failure::local(lost.clone())));
        ended.and_then(|exit| told.and(recorded).map(|()| exit))
    }
}

/// Everything that was asked for at the end. What cannot be written keeps nothing else from being told.
fn conclude(
    watch: &Watch,
    page: Option<report::Page>,
    document: &Document,
    teller: &Teller,
) -> Result<(), Failure> {
    let value = serde_json::to_value(document).map_err(|e| Failure::local(format!("the document: {e}")))?;
    let shown = match (watch.json, teller.is_json()) {
        (true, _) => format!("{value:#}\n"),
        (false, true) => format!("{value}\n"),
        (false, false) => words::summary(&facts(document)),
    };
    let mut stdout = io::stdout().lock();
    let printed = match stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::local(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    };
    let reported = page.map_or(Ok(()), |page| write_report(page, &value, teller));
    reported.and(printed)
}

fn write_report(page: report::Page, document: &Value, teller: &Teller) -> Result<(), Failure> {
    let to = page.path().display().to_string();
    page.save(&report::html(document).map_err(Failure::local)?)?;
    teller.tell(&Line::state("report", "report", format!("in {to}")).with("file", to));
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_read_less_often_and_what_stands_still_is_old() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let read = |took| Reading { facts: Facts::default(), last: Some((now, took)) };
        assert!(Reading::default().is_due(now));
        assert!(read(ms(1)).is_due(now + FRAME), "a short run with each frame");
        assert!(!read(ms(30)).is_due(now + ms(500)) && read(ms(30)).is_due(now + ms(600)));
        assert!(read(ms(900)).is_due(now + READING_PAUSE_MAX), "not so seldom that it would be called old");
        let mut reading = Reading::default();
        reading.facts.now_ms = 10_000.0;
        assert_eq!((reading.old(13_000), reading.old(13_001)), (None, Some(3_001.0)));
        assert_eq!(reading.old(0), None);
    }
}
