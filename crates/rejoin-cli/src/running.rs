//! A client at work: its state lines on a thread of their own, its first link, its end.

use std::time::Duration;

use rejoin::alerts::Alerts;
use rejoin::health::HealthRules;
use rejoin::{BuildError, Builder, Client, Event, Events, LossCause, Stage, Stages, StopReason, Verdict};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::exit::{Exit, Failure};
use crate::narrator::{Narrator, Outages, Role};
use crate::observe;
use crate::observe::flags::Places;
use crate::observe::observer::{Observer, Plan};
use crate::observe::run::Head;
use crate::output::Teller;
use crate::quantity::{Limit, short};
use crate::signals::Signals;
use crate::why;

/// How long the first Ctrl-C drains.
pub(crate) const SIGNAL_DRAIN: Duration = Duration::from_secs(5);

/// How long the end waits for DISCONNECT to be taken, when nothing else is left to do.
const GOODBYE: Duration = Duration::from_secs(2);

/// A started client and what belongs to it.
pub(crate) struct Running {
    /// The client.
    pub(crate) client: Client,
    /// Where lines go.
    pub(crate) teller: Teller,
    /// Ctrl-C.
    pub(crate) signals: Signals,
    places: Vec<String>,
    proxied: bool,
    reporter: Reporter,
    /// Events the verb itself reads.
    pub(crate) events: Events,
    /// Whoever looks on, if somebody asked for it.
    observer: Option<Observer>,
}

/// A client and how it is to be seen, before it is started.
pub(crate) struct Cast {
    /// The client.
    pub(crate) builder: Builder,
    /// What the verb adds to the story.
    pub(crate) role: Role,
    /// Its servers.
    pub(crate) servers: Vec<String>,
    /// A proxy may stand in front of one of them.
    pub(crate) proxied: bool,
    /// The verb's name.
    pub(crate) verb: &'static str,
    /// Where it is served.
    pub(crate) places: Places,
}

/// What is left of a client that ended.
pub(crate) struct Over {
    /// Where lines go.
    pub(crate) teller: Teller,
    /// How often and how long there was no link.
    pub(crate) outages: Outages,
    /// Messages on disk for the next run, those of earlier runs included.
    pub(crate) still_queued: u64,
}

impl Running {
    /// Starts a client. `before` declares what must be there before the first link.
    pub(crate) fn start<D>(
        cast: Cast,
        teller: Teller,
        before: impl FnOnce(&Client) -> Result<D, Failure>,
    ) -> Result<(Self, D), Failure> {
        let Cast { builder, role, servers: places, proxied, verb, places: served } = cast;
        let signals =
            Signals::listen().map_err(|e| Failure::local(format!("cannot listen for signals: {e}")))?;
        let builder = if served.places.is_empty() { builder } else { judged(builder) };
        let prepared = builder.prepare().map_err(|error| match error {
            BuildError::Store(error) => Failure::local(error.to_string()),
            // A recording that is there already was named by mistake; one that cannot be made is the machine's fault.
            BuildError::Recorder { ref path, .. } if !path.exists() => Failure::local(error.to_string()),
            error => Failure::usage(error.to_string()),
        })?;
        let declared = before(prepared.client())?;
        let observer =
            observe(prepared.client(), observe::head(verb, places.clone(), role.clone()), served, &teller)?;
        let narrator = Narrator::new(role, places.clone());
        let reporter = Reporter::start(prepared.client().events(), narrator, teller.clone())
            .map_err(|e| Failure::local(format!("no thread for state lines: {e}")))?;
        let events = prepared.client().events();
        let client = prepared.start();
        Ok((Self { client, teller, signals, places, proxied, reporter, events, observer }, declared))
    }

    /// Waits for the first link. A refusal that trying again does not help ends the wait at once.
    pub(crate) async fn first_link(&mut self, deadline: Limit) -> Result<(), Failure> {
        let expired = at(deadline.duration());
        tokio::pin!(expired);
        let mut last = None;
        loop {
            tokio::select! {
                biased;
                exit = self.signals.first() => {
                    return Err(Failure::new(exit, "ended before the first connection; nothing was accepted"));
                }
                () = &mut expired => {
                    let within = deadline.duration().unwrap_or_default();
                    return Err(self.no_connection(within, last));
                }
                event = self.events.next() => match event {
                    Some(Event::Opened { .. }) => return Ok(()),
                    Some(Event::AttemptFailed { cause, verdict, server, stages, .. }) => {
                        let told = (exit_of(&cause), self.told(&cause, server, &stages));
                        if is_hopeless(verdict) {
                            return Err(Failure::new(told.0, told.1));
                        }
                        last = Some(told);
                    }
                    Some(Event::Stopped { reason }) => return Err(stopped(&reason)),
                    None => return Err(Failure::new(Exit::NoConnection, "the client stopped")),
                    Some(_) => {}
                },
            }
        }
    }

    fn no_connection(&self, within: Duration, last: Option<(Exit, String)>) -> Failure {
        let within = short(within);
        match last {
            Some((exit, told)) => Failure::new(exit, format!("no connection within {within}: {told}")),
            None => Failure::new(Exit::NoConnection, self.no_answer(&within)),
        }
    }

    /// The deadline came before the first attempt ended.
    fn no_answer(&self, within: &str) -> String {
        let state = self.client.state();
        let stage = match state.link {
            rejoin::Link::Connecting { stage, .. } => stage,
            _ => Stage::Tcp,
        };
        let why = why::no_answer(stage, &state.server_name, self.proxied);
        format!("no connection within {within}: {why}")
    }

    fn told(&self, cause: &LossCause, server: usize, stages: &Stages) -> String {
        let place = self.places.get(server).map(String::as_str).unwrap_or_default();
        let remedy = match cause {
            LossCause::Open { .. } if stages.proxy.is_none() => " (try --host and --port)",
            _ => "",
        };
        format!("{}{remedy}", why::told(cause, place, stages))
    }

    /// Resolves when the client stopped for good by itself.
    pub(crate) async fn stopped(client: &Client) -> Failure {
        let mut states = client.state_watch();
        let found = states.wait_for(|state| matches!(state.link, rejoin::Link::Stopped { .. })).await;
        match found.map(|state| state.link) {
            Some(rejoin::Link::Stopped { reason }) => stopped(&reason),
            _ => Failure::new(Exit::NoConnection, "the client stopped"),
        }
    }

    /// Says goodbye to the broker, within `limit` or what DISCONNECT alone needs, and tells the last state lines.
    pub(crate) async fn end(mut self, limit: Option<Duration>) -> Over {
        let report = self.client.shutdown().within(limit.unwrap_or(GOODBYE)).await;
        let outages = self.reporter.finish().await;
        if let Some(observer) = &mut self.observer {
            observer.settle().await;
        }
        Over { teller: self.teller, outages, still_queued: report.still_queued }
    }
}

/// A client that somebody looks at judges itself: without it there are neither health nor baselines nor alerts to show.
pub(crate) fn judged(builder: Builder) -> Builder {
    builder.health(HealthRules::default()).alerts(Alerts::default())
}

/// Trying again is not expected to help before somebody does something.
pub(crate) const fn is_hopeless(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::SlowLane | Verdict::Stop | Verdict::Unauthorized | Verdict::Untrusted | Verdict::Banned
    )
}

/// Looks on, where somebody asked for it.
fn observe(
    client: &Client,
    head: Head,
    places: Places,
    teller: &Teller,
) -> Result<Option<Observer>, Failure> {
    if places.places.is_empty() {
        return Ok(None);
    }
    observe::announce(&places, teller);
    let plan = Plan { head, places, recording: None, asked: None };
    Observer::start(client.clone(), client.events(), plan).map(Some).map_err(Failure::local)
}

/// The exit for why there is no link.
pub(crate) fn exit_of(cause: &LossCause) -> Exit {
    match cause {
        LossCause::Refused { reason, .. } => Exit::Refused(*reason),
        _ => Exit::NoConnection,
    }
}

/// What a verb tells of a client that stopped for good by itself.
pub(crate) fn stopped(reason: &StopReason) -> Failure {
    match reason {
        StopReason::NoReconnect(cause) => {
            Failure::new(exit_of(cause), format!("the link is gone and reconnecting is off: {cause}"))
        }
        StopReason::GaveUp(cause) => {
            let hint = rejoin::hint(cause).map(|hint| format!("; {hint}")).unwrap_or_default();
            Failure::new(exit_of(cause), format!("gave up: {cause}{hint}"))
        }
        _ => Failure::new(Exit::NoConnection, "the client stopped"),
    }
}

/// Resolves after `limit`, or never.
pub(crate) async fn at(limit: Option<Duration>) {
    match limit.and_then(|limit| Instant::now().checked_add(limit)) {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Tells events as lines, on a thread of its own: a terminal that is not read blocks nobody else.
#[derive(Debug)]
struct Reporter {
    done: oneshot::Receiver<Outages>,
}

impl Reporter {
    fn start(mut events: Events, mut narrator: Narrator, teller: Teller) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (sender, done) = oneshot::channel();
        std::thread::Builder::new().name("state-lines".to_owned()).spawn(move || {
            while let Some(event) = runtime.block_on(events.next()) {
                for line in narrator.tell(&event, &teller.now()) {
                    teller.tell(&line);
                }
            }
            for line in narrator.finish() {
                teller.tell(&line);
            }
            let _ = sender.send(narrator.outages(&teller.now()));
        })?;
        Ok(Self { done })
    }

    /// Waits for the last line, but not for a terminal that is never read.
    async fn finish(self) -> Outages {
        timeout(Duration::from_secs(1), self.done).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}
