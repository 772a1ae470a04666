//! `rejoin pub`.

use std::io::Write;
use std::time::Duration;

use rejoin::{Client, Delivery, EnqueueError, NotAccepted, Publication};
use rejoin_core::codec::packet::PublishProperties;

use crate::exit::{Exit, Failure};
use crate::ledger::{self, Ledger};
use crate::output::{Line, Teller, Weight};
use crate::queue::stored::Report;
use crate::running::{Cast, Over, Running, SIGNAL_DRAIN, at};
use crate::settings::Publish;
use crate::source::{Item, Items};

/// Publishes what was asked for; the exit is the verdict over all messages.
pub(crate) async fn run(settings: Publish, teller: Teller) -> Result<Exit, Failure> {
    settings.source.check()?;
    let report = settings.queue.report_stored.as_deref();
    let report = report.map(|path| Report::open(path)?.start(teller.clone())).transpose()?;
    let cast = Cast {
        builder: settings.builder(),
        role: settings.role(),
        servers: settings.connection.places(),
        proxied: settings.connection.may_be_proxied(),
        verb: "pub",
        places: settings.serve.take()?,
    };
    let (mut running, ()) = Running::start(cast, teller, |_| Ok(()))?;
    let deadline = settings.connection.deadline();
    // What is safe on disk needs no connection to be taken.
    if !settings.is_durable()
        && let Err(failure) = running.first_link(deadline).await
    {
        running.end(Some(Duration::ZERO)).await;
        return Err(failure);
    }
    let template = template(&settings);
    let mut ledger = Ledger::new(running.teller.clone(), report);
    let terms = Terms { template, waits: settings.queue.waits() };
    let ended = feed(&mut running, &mut ledger, settings.source.clone().open(), &terms).await;
    let limit = match ended {
        Ended::Signal(_) => Some(SIGNAL_DRAIN),
        Ended::Stopped(_) => Some(Duration::ZERO),
        Ended::Input | Ended::Source(_) => deadline.duration(),
    };
    let (ended, settled) = drain(&mut running, &mut ledger, ended, limit).await;
    let Over { teller, outages, still_queued } = running.end((!settled).then_some(Duration::ZERO)).await;
    ledger.close().await;
    let exit = match verdict(&ended, &ledger) {
        // Messages of an earlier run are left.
        Exit::Done if still_queued > 0 => Exit::StillQueued,
        exit => exit,
    };
    let summary = ledger::summary(ledger.counts(), outages, exit);
    teller.tell(&summary);
    if teller.is_json() {
        let mut text = serde_json::Value::Object(summary.fields).to_string();
        text.push('\n');
        // A reader that went away does not change what became of the messages.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
    conclude(ended, exit)
}

/// Why no more messages were read.
enum Ended {
    /// The input ended.
    Input,
    /// The input failed.
    Source(Failure),
    /// The user asked for the end.
    Signal(Exit),
    /// The client stopped for good.
    Stopped(Failure),
}

fn verdict(ended: &Ended, ledger: &Ledger) -> Exit {
    let messages = ledger.counts().exit();
    match ended {
        Ended::Signal(exit) => *exit,
        Ended::Input => messages,
        // What was lost weighs more than why no more was read.
        Ended::Stopped(failure) | Ended::Source(failure) => match (messages, failure.exit) {
            (Exit::Done, exit) | (_, exit @ Exit::Refused(_)) => exit,
            (lost, _) => lost,
        },
    }
}

fn conclude(ended: Ended, exit: Exit) -> Result<Exit, Failure> {
    match ended {
        Ended::Stopped(failure) | Ended::Source(failure) => Err(Failure::new(exit, failure.message)),
        Ended::Signal(_) | Ended::Input => Ok(exit),
    }
}

/// What holds for every message.
struct Terms {
    /// Everything but the payload.
    template: Publication,
    /// One that finds no room waits for some.
    waits: bool,
}

/// Everything of a message but its payload.
fn template(settings: &Publish) -> Publication {
    let mut properties = settings.connection.properties.publish.clone();
    let expiry = properties.message_expiry.take();
    let mut publication = Publication::new(settings.topic.clone(), bytes::Bytes::new());
    publication.qos = settings.qos;
    publication.retain = settings.retain;
    // The program waits for the link rather than dropping what it was told to send.
    publication.queue_qos0 = true;
    publication.expires_after = expiry.map(|seconds| Duration::from_secs(seconds.into()));
    publication.properties = (properties != PublishProperties::default()).then(|| Box::new(properties));
    publication
}

/// Hands messages over as they come, until the input ends or somebody ends it. A line that was read by then and not
/// handed over is answered for, too: nobody else has it.
async fn feed(running: &mut Running, ledger: &mut Ledger, mut items: Items, terms: &Terms) -> Ended {
    let mut last = 0;
    let ended = pass_on(running, ledger, &mut items, terms, &mut last).await;
    let why = match ended {
        Ended::Stopped(_) => "the client stopped before it was handed over",
        Ended::Source(_) => "not handed over, because an earlier line failed",
        Ended::Signal(_) | Ended::Input => "not handed over before the end was asked for",
    };
    for line in last + 1..=items.close() {
        ledger.not_accepted(line, why);
    }
    ended
}

/// The same; `last` is the number of the last line that was answered for or handed over.
async fn pass_on(
    running: &mut Running,
    ledger: &mut Ledger,
    items: &mut Items,
    terms: &Terms,
    last: &mut u64,
) -> Ended {
    let client = running.client.clone();
    let stopped = Running::stopped(&client);
    tokio::pin!(stopped);
    loop {
        let batch = tokio::select! {
            biased;
            exit = running.signals.first() => return Ended::Signal(exit),
            failure = &mut stopped => return Ended::Stopped(failure),
            batch = items.next() => batch,
            () = ledger.settle() => continue,
        };
        let batch = match batch {
            None => return Ended::Input,
            Some(Err(failure)) => return Ended::Source(failure),
            Some(Ok(batch)) => batch,
        };
        for item in batch {
            *last = item.line;
            if let Some(ended) = hand_over(running, ledger, item, terms).await {
                return ended;
            }
        }
    }
}

/// Hands one message over; waits while the queue is full, which is what slows the reading of stdin down.
async fn hand_over(running: &mut Running, ledger: &mut Ledger, item: Item, terms: &Terms) -> Option<Ended> {
    let line = item.line;
    if let Some(size) = item.too_long {
        ledger.not_accepted(line, &format!("{size} bytes, MQTT can carry 268435455; split it"));
        return None;
    }
    let mut publication = terms.template.clone();
    publication.payload = item.payload;
    let handing = take(running.client.clone(), publication, terms.waits);
    tokio::pin!(handing);
    let accepted = loop {
        tokio::select! {
            biased;
            accepted = &mut handing => break accepted,
            exit = running.signals.first() => {
                ledger.not_accepted(line, "not handed over before the end was asked for");
                return Some(Ended::Signal(exit));
            }
            () = ledger.settle() => {}
        }
    };
    let error = match accepted {
        Ok(delivery) => {
            ledger.published(line, delivery);
            return None;
        }
        Err(error) => error,
    };
    match error.reason() {
        NotAccepted::Stopped => {
            ledger.not_accepted(line, "the client stopped before it was handed over");
            Some(Ended::Stopped(Running::stopped(&running.client).await))
        }
        NotAccepted::Store(error) => {
            ledger.not_accepted(line, &error.to_string());
            Some(Ended::Source(Failure::local(error.to_string())))
        }
        NotAccepted::LargerThanQueue { bytes, limit_bytes } => {
            let why =
                format!("{bytes} bytes with its overhead, the queue has {limit_bytes}; raise --queue-max");
            ledger.not_accepted(line, &why);
            None
        }
        other => {
            ledger.not_accepted(line, &other.to_string());
            None
        }
    }
}

/// Hands a message to the client. While the disk is full, and where the queue may be waited for, it waits.
async fn take(client: Client, mut publication: Publication, waits: bool) -> Result<Delivery, EnqueueError> {
    let mut states = client.state_watch();
    loop {
        let handing = client.publish_again(publication);
        let error = match if waits { handing.enqueue_when_room().await } else { handing.enqueue() } {
            Ok(delivery) => return Ok(delivery),
            Err(error) => error,
        };
        let full_disk = matches!(error.reason(), NotAccepted::Store(why) if !why.is_fatal());
        if !full_disk || states.wait_for(|state| !state.refusing).await.is_none() {
            return Err(error);
        }
        match error.clone().into_publication() {
            Some(back) => publication = back,
            None => return Err(error),
        }
    }
}

/// Waits until everything is answered for, within the limit. Says whether it is.
async fn drain(
    running: &mut Running,
    ledger: &mut Ledger,
    mut ended: Ended,
    limit: Option<Duration>,
) -> (Ended, bool) {
    if let Ended::Signal(_) = ended {
        say_signal(&running.teller, ledger);
    }
    let mut expired = Box::pin(at(limit));
    let client = running.client.clone();
    let stopped = Running::stopped(&client);
    tokio::pin!(stopped);
    // In a queue on disk there may be messages of earlier runs, which nobody here has a delivery of.
    let all = client.flush(Duration::MAX);
    tokio::pin!(all);
    let mut empty = false;
    while !ledger.is_settled() || !empty {
        tokio::select! {
            biased;
            () = ledger.settle() => {}
            _ = &mut all, if !empty => empty = true,
            exit = running.signals.first(), if !matches!(ended, Ended::Signal(_)) => {
                ended = Ended::Signal(exit);
                say_signal(&running.teller, ledger);
                expired = Box::pin(at(Some(limit.map_or(SIGNAL_DRAIN, |limit| limit.min(SIGNAL_DRAIN)))));
            }
            failure = &mut stopped => {
                if !matches!(ended, Ended::Signal(_)) {
                    ended = Ended::Stopped(failure);
                }
                ledger.settle_ready();
                return (ended, ledger.is_settled());
            }
            () = &mut expired => {
                ledger.settle_ready();
                return (ended, ledger.is_settled());
            }
        }
    }
    (ended, true)
}

fn say_signal(teller: &Teller, ledger: &Ledger) {
    let text = if ledger.is_settled() {
        "asked to end".to_owned()
    } else {
        "asked to end: waiting up to 5s for acknowledgements; a second signal quits at once".to_owned()
    };
    teller.tell(&Line::state("signal", "signal", text).weighing(Weight::State));
}
