//! `rejoin sub`.

use std::future::ready;
use std::io::{self, Write};
use std::pin::pin;

use rejoin::{Client, Event, Message, ReasonCode, SubscribeError, Subscription};

use crate::exit::{Exit, Failure};
use crate::format::View;
use crate::output::{Line, Teller, Weight};
use crate::running::{Cast, Over, Running, at};
use crate::settings::Subscribe;

/// Bytes of output collected before they are written, while more messages are there already.
const FLUSH_BYTES: usize = 64 * 1024;

/// Prints messages until somebody or a limit ends it.
pub(crate) async fn run(settings: Subscribe, teller: Teller) -> Result<Exit, Failure> {
    let declare = |client: &Client| declare(client, &settings);
    let cast = Cast {
        builder: settings.builder(),
        role: settings.role(),
        servers: settings.connection.places(),
        proxied: settings.connection.may_be_proxied(),
        verb: "sub",
        places: settings.serve.take()?,
    };
    let (mut running, mut stream) = Running::start(cast, teller, declare)?;
    if let Err(failure) = running.first_link(settings.connection.deadline()).await {
        drop(stream);
        running.end(Some(std::time::Duration::ZERO)).await;
        return Err(failure);
    }
    let mut printer = Printer::new(&settings, running.teller.clone());
    let mut answers = Answers::default();
    let ended = follow(&mut running, &settings, &mut stream, &mut printer, &mut answers).await;
    if settings.connection.kept {
        stream.detach();
    }
    let Over { teller, outages, .. } = running.end(None).await;
    let exit = match (&ended, answers.refused) {
        (Ok(Exit::Done), Some(code)) => Exit::Refused(code),
        (Ok(exit), _) => *exit,
        (Err(failure), _) => failure.exit,
    };
    let text = format!("received {} · outages {}", printer.printed, outages.count);
    let line = Line::state("summary", "summary", text)
        .with("received", printer.printed)
        .with("outages", outages.count)
        .with("outage_ms", outages.time.as_millis() as u64)
        .with("exit", exit.name())
        .with("exit_code", exit.code());
    teller.tell(&line);
    ended.map(|_| exit)
}

fn declare(client: &Client, settings: &Subscribe) -> Result<Subscription, Failure> {
    let filters = settings.filters.iter().map(|filter| (filter.clone(), settings.qos));
    let mut asked = client.subscribe_many(filters).manual_ack();
    for (name, value) in &settings.connection.properties.subscribe {
        asked = asked.user_property(name, value);
    }
    asked.declare().map_err(|e| Failure::usage(e.to_string()))
}

/// What the broker answered to the subscriptions.
#[derive(Debug, Default)]
struct Answers {
    /// The code of the last refusal; a run with one does not end as done.
    refused: Option<ReasonCode>,
    told_qos: bool,
}

impl Answers {
    /// Notes an event. An error when nothing is subscribed to.
    fn note(
        &mut self,
        event: Option<Event>,
        stream: &Subscription,
        settings: &Subscribe,
        teller: &Teller,
    ) -> Result<(), Failure> {
        match event {
            Some(Event::SubscriptionRefused { why, .. }) => {
                self.refused = Some(match why {
                    SubscribeError::Refused { reason, .. } => reason,
                    _ => ReasonCode::UNSPECIFIED_ERROR,
                });
            }
            Some(Event::Resubscribed { granted: 0, .. }) if self.refused.is_some() => {
                let code = self.refused.unwrap_or(ReasonCode::UNSPECIFIED_ERROR);
                return Err(Failure::new(
                    Exit::Refused(code),
                    format!(
                        "the broker refused every subscription: {code}; check the filters and its access rules"
                    ),
                ));
            }
            Some(Event::Resubscribed { refused: 0, .. }) => {
                self.refused = None;
                let granted = stream.granted().filter(|granted| *granted < settings.qos && !self.told_qos);
                if let Some(granted) = granted {
                    self.told_qos = true;
                    let text =
                        format!("the broker granted QoS {}, asked was {}", granted as u8, settings.qos as u8);
                    teller.tell(
                        &Line::state("note", "granted-lower", text)
                            .with("granted_qos", granted as u8)
                            .with("asked_qos", settings.qos as u8),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Prints until the end; the error is the one line to tell.
async fn follow(
    running: &mut Running,
    settings: &Subscribe,
    stream: &mut Subscription,
    printer: &mut Printer,
    answers: &mut Answers,
) -> Result<Exit, Failure> {
    let mut expired = pin!(at(settings.wait));
    let client = running.client.clone();
    let mut stopped = pin!(Running::stopped(&client));
    let mut events_end = false;
    loop {
        tokio::select! {
            biased;
            exit = running.signals.first() => {
                printer.flush()?;
                running.teller.tell(&Line::state("signal", "signal", "asked to end").weighing(Weight::State));
                return Ok(exit);
            }
            () = &mut expired => {
                printer.flush()?;
                return Ok(Exit::TimedOut);
            }
            event = running.events.next(), if !events_end => {
                events_end = event.is_none();
                answers.note(event, stream, settings, &running.teller)?;
            }
            message = stream.next() => {
                let Some(message) = message else {
                    printer.flush()?;
                    return Err(stopped.await);
                };
                if printer.print(message)? == Pipe::Closed {
                    return Ok(Exit::Done);
                }
                if settings.count.is_some_and(|count| printer.printed >= count) {
                    printer.flush()?;
                    return Ok(Exit::Done);
                }
            }
            failure = &mut stopped => {
                printer.flush()?;
                return Err(failure);
            }
            // Reached when no message is there: what is collected must not wait for the next one.
            () = ready(()), if printer.holds() => {
                if printer.flush()? == Pipe::Closed {
                    return Ok(Exit::Done);
                }
            }
        }
    }
}

/// Whether somebody still reads stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pipe {
    Open,
    Closed,
}

/// Writes messages to stdout, and acknowledges each one only when it was written.
#[derive(Debug)]
struct Printer {
    settings: Printing,
    teller: Teller,
    out: Vec<u8>,
    /// Printed into `out`, and not acknowledged yet.
    unacknowledged: Vec<Message>,
    printed: u64,
    /// Messages at QoS 1 and 2 so far: what `%m` prints.
    numbered: u64,
}

#[derive(Debug)]
struct Printing {
    format: Option<crate::format::Format>,
    topic_first: bool,
    line_end: bool,
    no_retained: bool,
}

impl Printer {
    fn new(settings: &Subscribe, teller: Teller) -> Self {
        let settings = Printing {
            format: settings.format.clone(),
            topic_first: settings.topic_first,
            line_end: settings.line_end,
            no_retained: settings.no_retained,
        };
        let (out, unacknowledged) = (Vec::new(), Vec::new());
        Self { settings, teller, out, unacknowledged, printed: 0, numbered: 0 }
    }

    fn holds(&self) -> bool {
        !self.out.is_empty() || !self.unacknowledged.is_empty()
    }

    fn print(&mut self, message: Message) -> Result<Pipe, Failure> {
        if !(self.settings.no_retained && message.retain) {
            self.show(&message);
            self.printed += 1;
        }
        self.unacknowledged.push(message);
        if self.out.len() >= FLUSH_BYTES { self.flush() } else { Ok(Pipe::Open) }
    }

    fn show(&mut self, message: &Message) {
        let Some(format) = &self.settings.format else {
            if self.settings.topic_first {
                self.out.extend_from_slice(message.topic.as_bytes());
                self.out.push(b' ');
            }
            self.out.extend_from_slice(&message.payload);
            self.end_line();
            return;
        };
        let qos = message.qos as u8;
        self.numbered += u64::from(qos > 0);
        let view = View {
            topic: &message.topic,
            payload: &message.payload,
            qos,
            retain: message.retain,
            dup: message.dup,
            id: if qos > 0 { self.numbered } else { 0 },
            properties: message.properties.as_deref(),
        };
        match format.write(&mut self.out, &view, &self.teller.now()) {
            Ok(()) => self.end_line(),
            Err(why) => {
                let line = Line::state("skipped", "not-printed", why.clone()).weighing(Weight::Error);
                self.teller.tell(&line.with("topic", &*message.topic).with("detail", why));
            }
        }
    }

    fn end_line(&mut self) {
        if self.settings.line_end {
            self.out.push(b'\n');
        }
    }

    /// Writes what is collected, and then acknowledges it.
    fn flush(&mut self) -> Result<Pipe, Failure> {
        if !self.out.is_empty() {
            let mut stdout = io::stdout().lock();
            match stdout.write_all(&self.out).and_then(|()| stdout.flush()) {
                Ok(()) => self.out.clear(),
                // The reader has what it wanted. What it did not get stays unacknowledged.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.out.clear();
                    self.unacknowledged.clear();
                    return Ok(Pipe::Closed);
                }
                Err(error) => {
                    self.out.clear();
                    self.unacknowledged.clear();
                    return Err(Failure::local(format!("cannot write to stdout: {error}")));
                }
            }
        }
        for message in self.unacknowledged.drain(..) {
            message.ack();
        }
        Ok(Pipe::Open)
    }
}
