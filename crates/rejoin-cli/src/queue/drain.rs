//! `rejoin queue drain`: a client without messages of its own, for what earlier ones left.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rejoin::store::Folder;
use rejoin::store::tools::{Answer, Request};
use rejoin::{Event, Events, PublishError, Queue};
use serde_json::Value;
use tokio::sync::oneshot;

use super::args::DrainArgs;
use super::{ask, entry};
use crate::args::ConnectArgs;
use crate::exit::{Exit, Failure};
use crate::narrator::Role;
use crate::observe::flags::Places;
use crate::output::{Line, Teller, Weight};
use crate::quantity::{Limit, count};
use crate::running::{Cast, Over, Running, SIGNAL_DRAIN, at};
use crate::settings::{Connection, Typed};
use crate::signals::Signals;

/// Pause between two looks at a queue in use.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Messages that ended badly get a line of their own up to here; the summary counts them all.
const NAMED: u64 = 20;

/// What was typed, checked.
#[derive(Debug)]
pub(crate) struct Drain {
    connection: Connection,
    folder: PathBuf,
    moved: bool,
}

impl Drain {
    /// Checks everything that was typed, and asks the queue for what was not.
    pub(crate) fn new(args: DrainArgs, typed: &Typed) -> Result<Self, Failure> {
        let DrainArgs { folder, moved, json: _, mut connect } = args;
        if moved && !typed.server {
            return Err(Failure::usage("--moved: where to? name the new server with -L or -h"));
        }
        if !typed.server {
            let Answer::Stats(stats) = ask::ask(&folder, &Request::Stats)?.answer else {
                return Err(ask::other_answer());
            };
            if stats.servers.is_empty() {
                return Err(Failure::usage("the queue was used with no server yet; name one with -L or -h"));
            }
            connect.url = stats.servers.iter().map(|place| url(place, &connect)).collect();
        }
        let mut connection = Connection::new(connect, typed, false)?;
        connection.outlive()?;
        Ok(Self { connection, folder, moved })
    }

    fn shown(&self) -> String {
        self.folder.display().to_string()
    }
}

/// The queue knows host and port, or the path of a socket; how to speak there is for the flags to say.
fn url(place: &str, connect: &ConnectArgs) -> String {
    if place.starts_with('/') {
        return format!("unix://{}", place.replace('%', "%25").replace('?', "%3F"));
    }
    let port = place.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    format!("{}://{place}", connect.ways.scheme(port).name())
}

/// Delivers what is in the queue; the exit says whether anything is left.
pub(crate) async fn run(drain: Drain, teller: Teller) -> Result<Exit, Failure> {
    let begin = Instant::now();
    let limit = drain.connection.deadline().duration();
    let bill = match watch(&drain, &teller, limit).await? {
        Watched::Empty => Bill::default(),
        Watched::Left(still_queued, exit) => {
            Bill { still_queued: Some(still_queued), ended: Some(exit), ..Bill::default() }
        }
        Watched::AtRest => {
            let left = match limit {
                Some(limit) => Limit::After(limit.saturating_sub(begin.elapsed())),
                None => Limit::Never,
            };
            deliver(&drain, &teller, left).await?
        }
    };
    let exit = bill.exit();
    let summary = bill.summary(exit);
    teller.tell(&summary);
    if teller.is_json() {
        let text = format!("{}\n", Value::Object(summary.fields));
        // A reader that went away does not change what became of the messages.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
    match bill.failure {
        Some(message) if exit != Exit::Done => Err(Failure::new(exit, message)),
        _ => Ok(exit),
    }
}

/// What became of the messages.
#[derive(Debug, Default)]
struct Bill {
    delivered: u64,
    failed: u64,
    /// `None`: nothing.
    still_queued: Option<u64>,
    /// It ended for another reason than the messages.
    ended: Option<Exit>,
    failure: Option<String>,
}

impl Bill {
    fn exit(&self) -> Exit {
        match (self.ended, self.still_queued) {
            (Some(exit @ (Exit::Signal(_) | Exit::Refused(_))), Some(_)) => exit,
            _ if self.failed > 0 => Exit::Undelivered,
            (_, Some(_)) => Exit::StillQueued,
            (_, None) => Exit::Done,
        }
    }

    fn summary(&self, exit: Exit) -> Line {
        let left = self.still_queued.unwrap_or_default();
        let mut text = format!("delivered {}", count(self.delivered));
        if self.failed > 0 {
            text.push_str(&format!(" · ended otherwise {}", count(self.failed)));
        }
        text.push_str(&match self.still_queued {
            None => " · queue empty".to_owned(),
            Some(left) => format!(" · safe in the queue {}", count(left)),
        });
        Line::state("summary", "summary", text)
            .with("delivered", self.delivered)
            .with("failed", self.failed)
            .with("still_queued", left)
            .with("exit", exit.name())
            .with("exit_code", exit.code())
    }
}

/// What became of a queue while somebody else had it.
enum Watched {
    Empty,
    /// Nobody has it, and something is in it.
    AtRest,
    /// Somebody still has it, with so many messages.
    Left(u64, Exit),
}

/// Watches a queue in use until it is empty or given back.
async fn watch(drain: &Drain, teller: &Teller, limit: Option<Duration>) -> Result<Watched, Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::local(format!("cannot listen for signals: {error}")))?;
    let expired = at(limit);
    tokio::pin!(expired);
    let mut owner: Option<String> = None;
    loop {
        let (is_empty, by) = look(drain).await?;
        if is_empty {
            return Ok(Watched::Empty);
        }
        match (&owner, by) {
            (None, None) => return Ok(Watched::AtRest),
            (Some(_), None) => {
                let text = "its client ended with messages in the queue; delivering them from here";
                teller.tell(&Line::state("queue", "queue-at-rest", text));
                return Ok(Watched::AtRest);
            }
            (None, Some(by)) => {
                let text = format!("in use by {by}, which delivers; watching until the queue is empty");
                teller.tell(&Line::state("queue", "queue-in-use", text).with("in_use_by", by.as_str()));
                owner = Some(by);
            }
            (Some(_), Some(_)) => {}
        }
        let ended = tokio::select! {
            exit = signals.first() => exit,
            () = &mut expired => Exit::StillQueued,
            // waits: another process tells nobody when its queue is empty
            () = tokio::time::sleep(LOOK_EVERY) => continue,
        };
        return Ok(Watched::Left(left(drain).await?, ended));
    }
}

/// Whether nothing is to be delivered, and who has the queue.
async fn look(drain: &Drain) -> Result<(bool, Option<String>), Failure> {
    let told = asked(drain, Request::List { after: None, most: 1 }).await?;
    match told.answer {
        // What is to be delivered comes first in a list.
        Answer::Entries { entries, .. } => Ok((!entries.first().is_some_and(entry::is_outbound), told.owner)),
        _ => Err(ask::other_answer()),
    }
}

/// How much is to be delivered.
async fn left(drain: &Drain) -> Result<u64, Failure> {
    match asked(drain, Request::Stats).await?.answer {
        Answer::Stats(stats) => Ok(stats.waiting + stats.sent + stats.undecided),
        _ => Err(ask::other_answer()),
    }
}

async fn asked(drain: &Drain, request: Request) -> Result<ask::Told, Failure> {
    let folder = drain.folder.clone();
    let asking = tokio::task::spawn_blocking(move || ask::ask(&folder, &request));
    asking.await.map_err(|error| Failure::local(error.to_string()))?
}

/// Delivers it as the client of the queue.
async fn deliver(drain: &Drain, teller: &Teller, limit: Limit) -> Result<Bill, Failure> {
    let begin = Instant::now();
    if drain.moved {
        let servers = drain.connection.places();
        let queue = Folder::visit(&drain.folder).and_then(|mut queue| queue.move_to(servers));
        queue.map_err(|error| Failure::local(error.to_string()))?;
    }
    // What comes in is for the application whose queue it is: nobody here answers for it, however long this takes.
    let builder = drain.connection.builder().unrouted_after(Duration::MAX);
    let builder = builder.queue(Queue::in_dir(&drain.folder).max_bytes(u64::MAX));
    let role = Role { publishes: true, kept: true, durable: true, ..Role::default() };
    let cast = Cast {
        builder,
        role,
        servers: drain.connection.places(),
        proxied: drain.connection.may_be_proxied(),
        verb: "queue drain",
        places: Places::default(),
    };
    let (mut running, deliveries) =
        Running::start(cast, teller.clone(), |client| Ok(client.events().with_deliveries()))?;
    let counting = counted(deliveries, teller.clone())?;
    if let Err(failure) = running.first_link(limit).await {
        let over = running.end(Some(Duration::ZERO)).await;
        let left = count(over.still_queued);
        let what = format!("{}; {left} messages stay safe in {}", failure.message, drain.shown());
        return Err(Failure::new(failure.exit, what));
    }
    let left = limit.duration().map(|limit| limit.saturating_sub(begin.elapsed()));
    let (ended, failure) = until_empty(&mut running, left).await;
    // After a signal what is under way gets its time; otherwise it had it.
    let grace = matches!(ended, Some(Exit::Signal(_))).then_some(SIGNAL_DRAIN);
    let Over { still_queued, .. } =
        running.end(if ended.is_none() { None } else { Some(grace.unwrap_or_default()) }).await;
    let (delivered, failed) = counting.await.unwrap_or_default();
    let still_queued = (still_queued > 0).then_some(still_queued);
    Ok(Bill { delivered, failed, still_queued, ended, failure })
}

/// Why it ended, unless the queue is empty.
async fn until_empty(running: &mut Running, limit: Option<Duration>) -> (Option<Exit>, Option<String>) {
    let client = running.client.clone();
    tokio::select! {
        biased;
        _ = client.flush(Duration::MAX) => (None, None),
        exit = running.signals.first() => (Some(exit), None),
        failure = Running::stopped(&client) => (Some(failure.exit), Some(failure.message)),
        () = at(limit) => (Some(Exit::StillQueued), None),
    }
}

/// Counts on a thread of its own: lines that nobody reads stop no delivery.
fn counted(deliveries: Events, teller: Teller) -> Result<oneshot::Receiver<(u64, u64)>, Failure> {
    let (sender, counts) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("answers".to_owned())
        .spawn(move || sender.send(runtime.block_on(tally(deliveries, teller))))
        .map_err(|error| Failure::local(format!("no thread to count answers: {error}")))?;
    Ok(counts)
}

/// Counts how messages end: well, and otherwise.
async fn tally(mut events: Events, teller: Teller) -> (u64, u64) {
    let (mut delivered, mut failed) = (0, 0);
    while let Some(event) = events.next().await {
        match event {
            Event::Delivered { .. } => delivered += 1,
            Event::Failed { id, why } if !matches!(*why, PublishError::StillQueued { .. }) => {
                failed += 1;
                let weight = if failed <= NAMED { Weight::Error } else { Weight::Debug };
                let line =
                    Line::state("failed", "failed", format!("message {}: {why}", id.0)).weighing(weight);
                teller.tell(&line.with("id", id.0).with("class", why.name()).with("detail", why.to_string()));
            }
            _ => {}
        }
    }
    (delivered, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_never_exit_0() {
        let bill = |failed, still_queued, ended| Bill { failed, still_queued, ended, ..Bill::default() };
        assert_eq!(bill(0, None, None).exit(), Exit::Done);
        assert_eq!(bill(0, Some(1), None).exit(), Exit::StillQueued);
        assert_eq!(bill(0, Some(1), Some(Exit::NoConnection)).exit(), Exit::StillQueued);
        assert_eq!(bill(0, Some(1), Some(Exit::Signal(2))).exit(), Exit::Signal(2));
        assert_eq!(bill(1, None, None).exit(), Exit::Undelivered);
    }
}
