//! `rejoin check`: can this broker be used? Every stage with its time, and one of three verdicts.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use rejoin::{Client, Event, Events, LossCause, Qos, Stage, Stages, TopicFilter, TopicName};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use crate::args::{CheckArgs, OutputKind};
use crate::exit::{Exit, Failure};
use crate::output::Teller;
use crate::quantity::short;
use crate::running::at;
use crate::settings::{Connection, Typed};
use crate::why;

/// How long the end waits for DISCONNECT to be taken.
const GOODBYE: Duration = Duration::from_secs(2);
/// A day.
const DAY: u64 = 86_400;

/// `rejoin check`, checked.
#[derive(Debug)]
pub(crate) struct Check {
    connection: Connection,
    loopback: Option<TopicName>,
    slow: Duration,
    certificate_days: u64,
    json: bool,
}

impl Check {
    /// Looks at what was typed.
    pub(crate) fn new(args: CheckArgs, typed: &Typed) -> Result<Self, Failure> {
        let json = args.json || args.connect.output.output == OutputKind::Json;
        let loopback = args.loopback.map(|topic| {
            let random: String = (0..8).map(|_| fastrand::alphanumeric()).collect();
            TopicName::try_from(format!("{topic}/{random}"))
        });
        let loopback = loopback.transpose().map_err(|e| Failure::usage(format!("--loopback: {e}")))?;
        let (slow, certificate_days) = (args.slow, args.certificate_days);
        let connection = Connection::new(args.connect, typed, loopback.is_some())?;
        Ok(Self { connection, loopback, slow, certificate_days, json })
    }
}

/// One line of the result.
#[derive(Debug)]
struct Step {
    name: &'static str,
    how: How,
    took: Option<Duration>,
    note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Fine,
    Slow,
    Doubtful,
    Failed,
}

impl How {
    const fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Slow => "slow",
            Self::Doubtful => "doubtful",
            Self::Failed => "FAILED",
        }
    }
}

/// The result so far.
#[derive(Debug, Default)]
struct Findings {
    steps: Vec<Step>,
    /// What speaks against the broker, the worst last.
    complaints: Vec<(Exit, String)>,
    cause: Option<&'static str>,
}

/// Runs the verb.
pub(crate) async fn run(check: Check, teller: Teller) -> Result<Exit, Failure> {
    let place = check.connection.places().into_iter().next().unwrap_or_default();
    let builder = check.connection.builder().config(|config| config.recovery.reconnect = false);
    let prepared = builder.prepare().map_err(|e| Failure::usage(e.to_string()))?;
    let mut events = prepared.client().events();
    let client = prepared.start();
    let mut findings = Findings::default();
    let opened = first_link(&check, &client, &mut events, &place, &mut findings).await;
    if let (true, Some(topic)) = (opened, &check.loopback) {
        loopback(&check, &client, topic, &mut findings).await;
    }
    client.shutdown().within(GOODBYE).await;
    let exit = findings.exit();
    let text = if check.json { findings.json(&place, exit) } else { findings.text(exit) };
    print(&text).map_err(|e| Failure::local(format!("cannot write to stdout: {e}")))?;
    drop(teller);
    Ok(exit)
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// Waits for the link and notes the stages. True when it is open.
async fn first_link(
    check: &Check,
    client: &Client,
    events: &mut Events,
    place: &str,
    findings: &mut Findings,
) -> bool {
    let begin = Instant::now();
    let expired = at(check.connection.deadline().duration());
    tokio::pin!(expired);
    loop {
        tokio::select! {
            () = &mut expired => {
                let stage = match client.state().link {
                    rejoin::Link::Connecting { stage, .. } => stage,
                    _ => Stage::Tcp,
                };
                let within = short(begin.elapsed());
                let why = why::no_answer(stage, place, check.connection.may_be_proxied());
                findings.failed(stage.name(), None, format!("no connection within {within}: {why}"));
                return false;
            }
            event = events.next() => match event {
                Some(Event::Opened { stages, version, session, .. }) => {
                    findings.stages(check, &stages, None);
                    if let Some(step) = findings.steps.last_mut() {
                        step.note = format!("{version}, session {}", crate::narrator::session_word(session).to_lowercase());
                    }
                    return true;
                }
                Some(Event::AttemptFailed { cause, stages, .. }) => {
                    let stage = stage_of(&cause, client);
                    findings.stages(check, &stages, Some(stage));
                    findings.failed(stage.name(), stages.get(stage), why::told(&cause, place, &stages));
                    findings.cause = Some(cause.name());
                    // 3.1.1 is tried after an explicit refusal of 5.0.
                    if !matches!(client.state().link, rejoin::Link::Stopped { .. }) {
                        findings.steps.clear();
                        findings.complaints.clear();
                        findings.cause = None;
                        continue;
                    }
                    return false;
                }
                Some(Event::Stopped { .. }) | None => return false,
                Some(_) => {}
            },
        }
    }
}

/// The stage a failure belongs to.
fn stage_of(cause: &LossCause, client: &Client) -> Stage {
    match (cause, client.state().link) {
        (LossCause::Open { stage, .. }, _) => *stage,
        (LossCause::ConnectTimeout(_), rejoin::Link::Connecting { stage, .. }) => stage,
        (LossCause::ConnectTimeout(_), _) => Stage::Tcp,
        _ => Stage::Connack,
    }
}

/// Sends a message to ourselves.
async fn loopback(check: &Check, client: &Client, topic: &TopicName, findings: &mut Findings) {
    let limit = check.connection.deadline().duration().unwrap_or(Duration::from_secs(30));
    let begin = Instant::now();
    let filter = match TopicFilter::try_from(topic.text().as_str()) {
        Ok(filter) => filter,
        Err(error) => return findings.failed("suback", None, error.to_string()),
    };
    let mut stream = match client.subscribe(filter, Qos::AtLeastOnce).within(limit).await {
        Ok(stream) => stream,
        Err(error) => return findings.failed("suback", Some(begin.elapsed()), error.to_string()),
    };
    findings.took(check, "suback", begin.elapsed(), String::new());
    let begin = Instant::now();
    let echo = async {
        client
            .publish(topic.clone(), "rejoin check")
            .qos(Qos::AtLeastOnce)
            .await
            .map_err(|e| e.to_string())?;
        stream.next().await.map(drop).ok_or_else(|| "the link ended".to_owned())
    };
    match timeout(limit, echo).await {
        Ok(Ok(())) => findings.took(check, "loopback", begin.elapsed(), String::new()),
        Ok(Err(why)) => findings.failed("loopback", Some(begin.elapsed()), why),
        Err(_) => findings.failed(
            "loopback",
            None,
            format!("the message did not come back within {}", short(limit)),
        ),
    }
}

impl Findings {
    fn failed(&mut self, name: &'static str, took: Option<Duration>, note: String) {
        self.complaints.push((Exit::Unhealthy, format!("{name}: {note}")));
        self.steps.push(Step { name, how: How::Failed, took, note: String::new() });
    }

    fn took(&mut self, check: &Check, name: &'static str, took: Duration, note: String) {
        let slow = took > check.slow;
        if slow {
            let what = format!("{name} took {}, the limit is {}", short(took), short(check.slow));
            self.complaints.push((Exit::Degraded, what));
        }
        self.steps.push(Step { name, how: if slow { How::Slow } else { How::Fine }, took: Some(took), note });
    }

    fn doubt(&mut self, why: String) {
        if let Some(step) = self.steps.last_mut() {
            step.how = How::Doubtful;
        }
        self.complaints.push((Exit::Degraded, why));
    }

    /// The stages that were gone through, up to the one that failed.
    fn stages(&mut self, check: &Check, stages: &Stages, failed: Option<Stage>) {
        for (stage, time) in stages.iter().filter(|(stage, _)| failed.is_none_or(|failed| *stage < failed)) {
            self.took(check, stage.name(), time, String::new());
            let note = match stage {
                Stage::Dns if stages.addresses_are_old => {
                    self.doubt(
                        "the name service did not answer; addresses that worked before were used".to_owned(),
                    );
                    format!("{} old addresses", stages.addresses)
                }
                Stage::Dns => match stages.addresses {
                    1 => "1 address".to_owned(),
                    many => format!("{many} addresses"),
                },
                Stage::Tcp => stages.peer.map(|peer| peer.to_string()).unwrap_or_default(),
                Stage::Proxy => stages.proxy.clone().unwrap_or_default(),
                Stage::Tls => self.tls(check, stages),
                _ => String::new(),
            };
            if let Some(step) = self.steps.last_mut() {
                step.note = note;
            }
        }
    }

    fn tls(&mut self, check: &Check, stages: &Stages) -> String {
        let Some(tls) = &stages.tls else { return String::new() };
        let mut notes = vec![tls.version.to_owned()];
        if let Some(protocol) = &tls.alpn {
            notes.push(format!("ALPN {protocol}"));
        }
        if !tls.verified {
            self.doubt("nobody looked whether the certificate is the right one".to_owned());
            notes.push("certificate NOT verified".to_owned());
        } else if let Some(days) = tls.expires.map(days_until) {
            if days < check.certificate_days {
                self.doubt(format!("the certificate is valid for {days} more days only"));
            }
            notes.push(format!("certificate valid {days} days"));
        }
        notes.join(", ")
    }

    fn exit(&self) -> Exit {
        let has = |exit| self.complaints.iter().any(|(worst, _)| *worst == exit);
        match (has(Exit::Unhealthy), has(Exit::Degraded)) {
            (true, _) => Exit::Unhealthy,
            (false, true) => Exit::Degraded,
            (false, false) => Exit::Done,
        }
    }

    fn text(&self, exit: Exit) -> String {
        let mut text = String::new();
        for Step { name, how, took, note } in &self.steps {
            let took = took.map(|took| format!("{:.0} ms", took.as_secs_f64() * 1e3)).unwrap_or_default();
            let line = format!("{name:<11} {:<8} {took:>8}   {note}", how.name());
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let verdict = verdict(exit);
        let mut why = self.complaints.iter().filter(|(worst, _)| *worst == exit).map(|(_, why)| why.as_str());
        text.push_str(&match why.next() {
            Some(first) => {
                format!("{verdict}  {}\n", why.fold(first.to_owned(), |all, one| format!("{all}; {one}")))
            }
            None => format!("{verdict}\n"),
        });
        text
    }

    fn json(&self, place: &str, exit: Exit) -> String {
        let ms = |took: Duration| (took.as_secs_f64() * 1e6).round() / 1e3;
        let steps = self.steps.iter().map(|step| {
            let mut fields = Map::new();
            fields.insert("stage".to_owned(), step.name.into());
            fields.insert("result".to_owned(), step.how.name().to_lowercase().into());
            fields.insert("took_ms".to_owned(), step.took.map(ms).into());
            fields.insert("note".to_owned(), step.note.as_str().into());
            Value::from(fields)
        });
        let why: Vec<_> = self.complaints.iter().map(|(_, why)| why.as_str()).collect();
        let all = json!({
            "server": place,
            "verdict": verdict(exit).to_lowercase(),
            "exit": exit.code(),
            "cause": self.cause,
            "why": why,
            "stages": steps.collect::<Vec<_>>(),
        });
        format!("{all}\n")
    }
}

const fn verdict(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "HEALTHY",
        Exit::Degraded => "DEGRADED",
        _ => "UNHEALTHY",
    }
}

fn days_until(end: SystemTime) -> u64 {
    end.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs() / DAY)
}
