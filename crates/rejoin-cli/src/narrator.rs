//! Turns events into lines: one at loss, one at each different error with its repeats counted, one at recovery with
//! the bill. Nothing is written here, so what is told can be tested without a clock and a terminal.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Zoned};
use rejoin::health::GapCause;
use rejoin::{Event, LossCause, SessionState, Stages, StopReason};
use rejoin_core::ReasonCode;
use rejoin_core::error::LocalCause;
use serde_json::{Map, Value};

use crate::output::{Line, Weight};
use crate::quantity::short;
use crate::why;

/// What the verb adds to the story.
#[derive(Clone, Debug, Default)]
pub(crate) struct Role {
    /// Messages of ours are at stake: losses say what becomes of them.
    pub(crate) publishes: bool,
    /// Messages of others are at stake: gaps are told.
    pub(crate) subscribes: bool,
    /// The user asked the broker to keep the session.
    pub(crate) kept: bool,
    /// Messages of ours are on disk until they are acknowledged.
    pub(crate) durable: bool,
}

/// The story so far.
#[derive(Debug)]
pub(crate) struct Narrator {
    role: Role,
    servers: Vec<String>,
    /// The error told last in this outage.
    told: Option<Repeated>,
    /// When the link was lost.
    lost_at: Option<Zoned>,
    /// Outages that ended, and how long they took together.
    outages: u32,
    outage_time: Duration,
    resubscribed: Option<(usize, usize)>,
    /// Refusals for now, by code; told once for each code and link.
    retrying: Vec<(ReasonCode, u64)>,
    last_server: Option<usize>,
    /// The last link was lost, not ended by us.
    outage_lasts: bool,
    /// The last link made way for one with new credentials, and nothing went wrong since.
    renewing: bool,
}

#[derive(Debug)]
struct Repeated {
    key: (&'static str, Option<ReasonCode>, usize),
    text: String,
    count: u32,
    last: Zoned,
}

/// What the summary says of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outages {
    /// How many ended.
    pub(crate) count: u32,
    /// How long they took together.
    pub(crate) time: Duration,
}

impl Narrator {
    /// A story about these servers.
    pub(crate) fn new(role: Role, servers: Vec<String>) -> Self {
        Self {
            role,
            servers,
            told: None,
            lost_at: None,
            outages: 0,
            outage_time: Duration::ZERO,
            resubscribed: None,
            retrying: Vec::new(),
            last_server: None,
            outage_lasts: false,
            renewing: false,
        }
    }

    /// What the summary says of the connection; an outage that still lasts counts up to now.
    pub(crate) fn outages(&self, now: &Zoned) -> Outages {
        let lasting = self.lost_at.as_ref().filter(|_| self.outage_lasts);
        let so_far = lasting.map(|from| from.duration_until(now).unsigned_abs()).unwrap_or_default();
        Outages { count: self.outages + u32::from(lasting.is_some()), time: self.outage_time + so_far }
    }

    /// The lines for one event, in order.
    pub(crate) fn tell(&mut self, event: &Event, now: &Zoned) -> Vec<Line> {
        match event {
            Event::Attempt { attempt, server } => vec![
                Line::state("attempt", event.name(), format!("{attempt}. to {}", self.server(*server)))
                    .weighing(Weight::Debug)
                    .with("attempt", *attempt)
                    .with("server", self.server(*server)),
            ],
            Event::AttemptFailed { .. } => self.attempt_failed(event, now),
            Event::Opened { .. } => self.opened(event),
            Event::Gap { .. } => self.gap(event, now).into_iter().collect(),
            Event::Closed { .. } => self.closed(event, now),
            Event::Suspect { silent_for } => {
                let text = format!("nothing heard for {}, a ping is unanswered", short(*silent_for));
                vec![Line::state("suspect", event.name(), text).with("silent_for_ms", ms(*silent_for))]
            }
            Event::Trusted => vec![Line::state("trusted", event.name(), "the link spoke again")],
            Event::Resubscribed { granted, refused } => {
                self.resubscribed = Some((*granted, granted + refused));
                let text = format!("{granted}/{}", granted + refused);
                vec![
                    Line::state("subscribed", event.name(), text)
                        .weighing(Weight::Debug)
                        .with("granted", *granted)
                        .with("refused", *refused),
                ]
            }
            Event::Recovered { .. } => self.recovered(event),
            Event::Retrying { reason, again_in, .. } => self.retrying(event.name(), *reason, *again_in),
            Event::ServerAdded { .. } => self.added(event),
            Event::Stopped { reason } => self.stopped(event.name(), reason),
            _ => vec![rare(event, |server| self.server(server))],
        }
    }

    /// The repeats not told yet, at the end of the run.
    pub(crate) fn finish(&mut self) -> Vec<Line> {
        self.repeats().into_iter().collect()
    }

    /// A broker named it; from now on it has a name in the lines, too.
    fn added(&mut self, event: &Event) -> Vec<Line> {
        let Event::ServerAdded { server, name, by } = event else { return Vec::new() };
        let by = self.server(*by);
        self.servers.resize(self.servers.len().max(*server + 1), String::new());
        name.as_str().clone_into(&mut self.servers[*server]);
        vec![
            Line::state("server", event.name(), format!("{by} names {name}, which is followed"))
                .with("server", name.as_str())
                .with("by", by),
        ]
    }

    fn server(&self, index: usize) -> String {
        self.servers.get(index).cloned().unwrap_or_default()
    }

    /// Closes the count of an error: told only when it came more than once.
    fn repeats(&mut self) -> Option<Line> {
        let told = self.told.take()?;
        (told.count > 1).then(|| {
            let until = told.last.strftime("%H:%M:%S");
            Line::state("retry", "repeated", format!("{} (×{} until {until})", told.text, told.count))
                .weighing(Weight::Echo)
        })
    }

    fn attempt_failed(&mut self, event: &Event, now: &Zoned) -> Vec<Line> {
        let Event::AttemptFailed {
            attempt,
            server,
            cause,
            verdict,
            next_in,
            held_by_budget,
            repeated,
            stages,
        } = event
        else {
            return Vec::new();
        };
        // A change-over that does not come through at once is an outage after all.
        self.outage_lasts |= std::mem::take(&mut self.renewing);
        let place = self.server(*server);
        let text = why::brief(cause, &place, stages);
        let key = (cause.name(), cause.reason_code(), *server);
        let known = self.told.as_ref().is_some_and(|told| told.key == key);
        let mut lines = Vec::new();
        if !known {
            lines.extend(self.repeats());
        }
        let hint = why::hint(cause, stages).map(|hint| format!("; {hint}")).unwrap_or_default();
        let mut line =
            Line::state("retry", event.name(), format!("{text}{hint}{}", next(*next_in, *held_by_budget)))
                .with("attempt", *attempt)
                .with("server", place)
                .with("cause", cause.name())
                .with("detail", cause.to_string())
                .with("reason_code", cause.reason_code().map(|code| code.0))
                .with("verdict", verdict.name())
                .with("next_in_ms", next_in.map(ms))
                .with("held_by_budget", *held_by_budget)
                .with("repeated", *repeated)
                .with("stages_ms", stages_ms(stages));
        match &mut self.told {
            Some(told) => {
                told.count += 1;
                told.last = now.clone();
                line = line.weighing(Weight::Debug);
            }
            None => self.told = Some(Repeated { key, text, count: 1, last: now.clone() }),
        }
        lines.push(line);
        lines
    }

    fn opened(&mut self, event: &Event) -> Vec<Line> {
        let Event::Opened { server, version, attempt, took, stages, session, outage, resending } = event
        else {
            return Vec::new();
        };
        let mut lines: Vec<Line> = self.repeats().into_iter().collect();
        let mut text = format!("{:.3}s", took.as_secs_f64());
        if stages.iter().next().is_some() {
            text.push_str(&format!(" ({stages})"));
        }
        if self.last_server.replace(*server) != Some(*server) {
            text.push_str(&format!("  {}  {version}", self.server(*server)));
        }
        text.push_str(&format!("  session={}", session_word(*session)));
        if *resending > 0 {
            text.push_str(&format!("  resent={resending} (dup)"));
        }
        let mut line = Line::state("open", event.name(), String::new())
            .with("server", self.server(*server))
            .with("version", version.to_string())
            .with("attempt", *attempt)
            .with("took_ms", ms(*took))
            .with("stages_ms", stages_ms(stages))
            .with("session", session_word(*session).to_lowercase())
            .with("outage_ms", outage.map(ms))
            .with("resending", *resending);
        if let SessionState::Lost(loss) = session {
            text.push_str(&format!("  requeued={} unknown={}", loss.requeued, loss.unknown));
            line = line.with("requeued", loss.requeued).with("unknown", loss.unknown);
        }
        line.text = text;
        lines.push(line);
        let lost_at = self.lost_at.take();
        if let (Some(outage), Some(_), false) = (outage, lost_at, self.renewing) {
            self.outages += 1;
            self.outage_time += *outage;
        }
        self.outage_lasts = false;
        self.retrying.clear();
        lines
    }

    /// Messages may be missing. The client knows since when and why; what to do depends on what was asked for.
    fn gap(&self, event: &Event, now: &Zoned) -> Option<Line> {
        let Event::Gap { from, to, cause } = event else { return None };
        let why = match cause {
            GapCause::SessionLost | GapCause::SessionNotKept if self.role.kept => {
                "the broker lost the session it was to keep"
            }
            GapCause::SessionLost | GapCause::SessionNotKept => "broker kept no session; add -c -i NAME",
            GapCause::QosZero => "no session keeps QoS 0; use -q 1",
            _ => cause.name(),
        };
        let moment = |at: SystemTime| Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let shown = |at| format!("{:.1}", moment(at).to_zoned(now.time_zone().clone()).time());
        let json = |at| Value::from(format!("{:.3}", moment(at)));
        let since = from.map_or_else(|| "the last run".to_owned(), shown);
        let text = format!("messages between {since} and {} may be missing ({why})", shown(*to));
        let line = Line::state("gap", event.name(), text).with("from", from.map_or(Value::Null, json));
        Some(line.with("to", json(*to)).with("cause", cause.name()).with("why", why))
    }

    fn closed(&mut self, event: &Event, now: &Zoned) -> Vec<Line> {
        let Event::Closed { cause, verdict, lasted, in_flight, queued, next_in, held_by_budget } = event
        else {
            return Vec::new();
        };
        let ours = matches!(cause, LossCause::Local(LocalCause::Shutdown));
        self.renewing = matches!(cause, LossCause::Local(LocalCause::Renewal));
        self.lost_at = Some(now.clone());
        self.outage_lasts = !ours && !self.renewing;
        self.resubscribed = None;
        let (word, why) = match self.renewing {
            true => ("renewal", "changing over to new credentials".to_owned()),
            false => ("lost", loss(cause)),
        };
        let mut text = format!("{why} after {}", short(*lasted));
        if self.role.publishes {
            text.push_str(&format!("  in-flight={in_flight} queued={queued}"));
            text.push_str(match next_in {
                Some(_) if self.role.durable => "  will deliver: yes (on disk)",
                Some(_) => "  will deliver: yes (from memory)",
                None if self.role.durable => "  will deliver: with the next run",
                None => "  will deliver: no, stopped",
            });
        }
        text.push_str(&next(*next_in, *held_by_budget));
        let line = Line::state(word, event.name(), text)
            .weighing(if ours { Weight::Debug } else { Weight::State })
            .with("cause", cause.name())
            .with("detail", cause.to_string())
            .with("reason_code", cause.reason_code().map(|code| code.0))
            .with("verdict", verdict.name())
            .with("lasted_ms", ms(*lasted))
            .with("in_flight", *in_flight)
            .with("queued", *queued)
            .with("next_in_ms", next_in.map(ms))
            .with("held_by_budget", *held_by_budget);
        vec![line]
    }

    fn recovered(&mut self, event: &Event) -> Vec<Line> {
        let Event::Recovered { bill, drained } = event else { return Vec::new() };
        let whole = bill.detect + bill.total;
        let mut text = format!(
            "outage {} = detect {} + refused {} + waited {} + connect {}",
            short(whole),
            part(bill.detect),
            part(bill.refused),
            part(bill.waited),
            part(bill.connect)
        );
        if self.role.subscribes {
            text.push_str(&format!(" + resubscribe {}", part(bill.resubscribe)));
        }
        if self.role.publishes {
            text.push_str(&format!(" + drain {}   backlog {drained} answered for", part(bill.drain)));
        }
        if let Some((granted, all)) = self.resubscribed.take().filter(|_| self.role.subscribes) {
            text.push_str(&format!("   resubscribed {granted}/{all}"));
        }
        // A change-over has no bill to pay; programs get it all the same.
        let weight = if std::mem::take(&mut self.renewing) { Weight::Debug } else { Weight::State };
        vec![
            Line::state("recovered", event.name(), text)
                .weighing(weight)
                .with("outage_ms", ms(whole))
                .with("detect_ms", ms(bill.detect))
                .with("refused_ms", ms(bill.refused))
                .with("waited_ms", ms(bill.waited))
                .with("connect_ms", ms(bill.connect))
                .with("resubscribe_ms", ms(bill.resubscribe))
                .with("drain_ms", ms(bill.drain))
                .with("drained", *drained),
        ]
    }

    fn retrying(&mut self, name: &'static str, reason: ReasonCode, again_in: Duration) -> Vec<Line> {
        let first = match self.retrying.iter_mut().find(|(code, _)| *code == reason) {
            Some((_, count)) => {
                *count += 1;
                false
            }
            None => {
                self.retrying.push((reason, 1));
                true
            }
        };
        let text =
            format!("for now, by the broker: {reason}; sent again in {}, behind others", short(again_in));
        vec![
            Line::state("refused", name, text)
                .weighing(if first { Weight::State } else { Weight::Debug })
                .with("reason_code", reason.0)
                .with("again_in_ms", ms(again_in)),
        ]
    }

    fn stopped(&mut self, name: &'static str, reason: &StopReason) -> Vec<Line> {
        let mut lines: Vec<Line> = self.repeats().into_iter().collect();
        let (text, weight, cause) = match reason {
            StopReason::NoReconnect(cause) => {
                (format!("reconnecting is off: {cause}"), Weight::State, Some(cause))
            }
            StopReason::GaveUp(cause) => {
                (format!("trying again does not help: {cause}"), Weight::State, Some(cause))
            }
            _ => ("shut down".to_owned(), Weight::Debug, None),
        };
        lines.push(
            Line::state("stopped", name, text).weighing(weight).with("cause", cause.map(LossCause::name)),
        );
        lines
    }
}

/// What exactly once is worth here.
const DOWNGRADED: &str =
    "this broker takes QoS 2 as QoS 1: delivered at least once, not exactly once; -q 1 says the same";
const QOS2_MAY_REPEAT: &str = "QoS 2 at 3.1.1 without a kept session may repeat after a cut; add -c -i NAME";

/// What happens seldom and needs no memory.
fn rare(event: &Event, server: impl Fn(usize) -> String) -> Line {
    match event {
        Event::SubscriptionRefused { filter, why } => {
            Line::state("refused", event.name(), format!("{why}; asked again on the next link"))
                .with("filter", filter.as_str())
                .with("detail", why.to_string())
        }
        Event::Oversized { topic, size } => Line::state(
            "skipped",
            event.name(),
            format!(
                "a message of {size} bytes on {topic} is above our limit (--maximum-packet-size); acknowledged, not \
                 printed"
            ),
        )
        .with("topic", topic.as_str())
        .with("size_bytes", *size),
        Event::TakenOver { evidence } => {
            Line::state("conflict", event.name(), format!("another client uses our id: {evidence}"))
                .with("evidence", evidence.as_str())
        }
        Event::FellBack { server: index } => {
            let place = server(*index);
            Line::state(
                "fallback",
                event.name(),
                format!("{place} does not speak MQTT 5; 3.1.1 from now on (-V 311 asks for it at once)"),
            )
            .with("server", place)
        }
        Event::SessionLeftBehind { at, .. } => Line::state(
            "note",
            event.name(),
            format!("the session stays on {at}: it does not follow to another server unless they share their sessions"),
        )
        .with("at", at.as_str()),
        Event::Downgraded { .. } => Line::state("note", event.name(), DOWNGRADED),
        Event::Qos2MayRepeat => Line::state("note", event.name(), QOS2_MAY_REPEAT),
        Event::Found { messages } => {
            let text = format!("{messages} messages of an earlier run are in the queue; they go out first");
            Line::state("found", event.name(), text).with("messages", *messages)
        }
        Event::StoreTrouble { error, refusing } => {
            let then = if *refusing { "nothing is taken meanwhile" } else { "going on in memory" };
            Line::state("disk", event.name(), format!("{error}; {then}"))
                .weighing(Weight::Error)
                .with("detail", error.to_string())
                .with("refusing", *refusing)
        }
        Event::StoreWell => Line::state("disk", event.name(), "the queue can be written again"),
        Event::Lagged(lost) => {
            Line::state("note", event.name(), format!("{lost} events came too fast to be told"))
                .with("lost", *lost)
        }
        Event::QueueHigh { messages, bytes, limit_bytes } => {
            let text = format!("{messages} messages wait; {bytes} of {limit_bytes} bytes are taken");
            Line::state("queue", event.name(), text).with("messages", *messages)
        }
        Event::Silent { what, restarts, .. } => {
            let then = if *restarts { "the link is restarted" } else { "the link is left alone" };
            Line::state("silent", event.name(), format!("{what}; {then}")).with("restarts", *restarts)
        }
        other => Line::state("note", other.name(), other.name()).weighing(Weight::Debug),
    }
}

fn ms(d: Duration) -> Value {
    // Three decimals say microseconds; more would pretend.
    Value::from((d.as_secs_f64() * 1e6).round() / 1e3)
}

/// The stages of opening by their names.
fn stages_ms(stages: &Stages) -> Value {
    stages.iter().map(|(stage, time)| (stage.name().to_owned(), ms(time))).collect::<Map<_, _>>().into()
}

/// A share of an outage, in seconds without the unit.
fn part(d: Duration) -> String {
    let seconds = d.as_secs_f64();
    if seconds < 1.0 { format!("{seconds:.2}") } else { format!("{seconds:.1}") }
}

fn next(next_in: Option<Duration>, held_by_budget: bool) -> String {
    match next_in {
        None => String::new(),
        Some(wait) if held_by_budget => format!("  next in {} (held by the connect budget)", short(wait)),
        Some(wait) => format!("  next in {}", short(wait)),
    }
}

pub(crate) const fn session_word(session: SessionState) -> &'static str {
    match session {
        SessionState::New => "new",
        SessionState::Kept => "kept",
        SessionState::Lost(_) => "LOST",
    }
}

/// Why a link ended: its class, and what the broker said where it said something.
fn loss(cause: &LossCause) -> String {
    match cause {
        LossCause::Protocol(_) => format!("{} ({cause}; see the broker's log)", cause.name()),
        LossCause::ServerDisconnect { .. } | LossCause::Transport(_) => {
            format!("{} ({cause})", cause.name())
        }
        _ => cause.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use rejoin::{OutageBill, SessionLoss, TransportErrorKind, Verdict, Version};
    use rejoin_core::TransportError;
    use rejoin_core::error::Stage;

    use super::*;

    fn at(second: i8) -> Zoned {
        date(2026, 11, 24).at(9, 15, second, 0).to_zoned(TimeZone::UTC).unwrap()
    }

    fn narrator(role: Role) -> Narrator {
        Narrator::new(role, vec!["broker:1883".to_owned()])
    }

    fn failed(attempt: u32, kind: TransportErrorKind) -> Event {
        Event::AttemptFailed {
            attempt,
            server: 0,
            cause: LossCause::Open { stage: Stage::Tcp, error: TransportError::new(kind, "os error 111") },
            verdict: Verdict::Absent,
            next_in: Some(Duration::from_millis(8300)),
            held_by_budget: false,
            repeated: attempt,
            stages: Box::default(),
        }
    }

    fn opened(session: SessionState, outage: Option<Duration>) -> Event {
        Event::Opened {
            server: 0,
            version: Version::V5,
            attempt: 1,
            took: Duration::from_millis(128),
            stages: Box::default(),
            session,
            outage,
            resending: 3,
        }
    }

    fn closed(cause: LossCause) -> Event {
        Event::Closed {
            cause,
            verdict: Verdict::Now,
            lasted: Duration::from_secs(92),
            in_flight: 3,
            queued: 0,
            next_in: Some(Duration::from_millis(140)),
            held_by_budget: false,
        }
    }

    /// What a person sees without `-d`.
    fn seen(lines: &[Line]) -> Vec<String> {
        let shown = lines.iter().filter(|line| line.weight != Weight::Debug);
        shown.map(|line| format!("{} {}", line.word, line.text)).collect()
    }

    #[test]
    fn a_repeated_error_is_told_once_and_counted() {
        let mut story = narrator(Role { publishes: true, ..Role::default() });
        let first = story.tell(&failed(1, TransportErrorKind::Refused), &at(1));
        assert_eq!(
            seen(&first),
            [
                "retry connection refused by broker:1883 (nobody listens there); is a broker listening on this port?  next in 8.3s"
            ]
        );
        for n in 2..=6 {
            let again = story.tell(&failed(n, TransportErrorKind::Refused), &at(40));
            assert_eq!(seen(&again), Vec::<String>::new());
            assert_eq!(again[0].fields["repeated"], n, "programs get every one");
        }
        let other = seen(&story.tell(&failed(7, TransportErrorKind::Unreachable), &at(47)));
        assert_eq!(
            other[0],
            "retry connection refused by broker:1883 (nobody listens there) (×6 until 09:15:40)"
        );
        assert!(other[1].starts_with("retry broker:1883 cannot be reached"), "{other:?}");
        let open = seen(&story.tell(&opened(SessionState::Kept, None), &at(50)));
        assert_eq!(
            open,
            ["open 0.128s  broker:1883  MQTT 5.0  session=kept  resent=3 (dup)"],
            "one needs no count"
        );
    }

    #[test]
    fn a_loss_says_why_and_what_becomes_of_the_messages() {
        let mut story = narrator(Role { publishes: true, ..Role::default() });
        let lines = story.tell(&closed(LossCause::PingTimeout(Duration::from_secs(5))), &at(34));
        assert_eq!(
            seen(&lines),
            [
                "lost ping-timeout after 1m32s  in-flight=3 queued=0  will deliver: yes (from memory)  next in 140ms"
            ]
        );
        assert_eq!(
            (&lines[0].fields["cause"], &lines[0].fields["lasted_ms"]),
            (&"ping-timeout".into(), &92_000.0.into())
        );
        assert_eq!(
            story.outages(&at(44)),
            Outages { count: 1, time: Duration::from_secs(10) },
            "it still lasts"
        );
        let ours = story.tell(&closed(LossCause::Local(LocalCause::Shutdown)), &at(50));
        assert_eq!(seen(&ours), Vec::<String>::new(), "an end that was asked for is no loss");
    }

    #[test]
    fn a_change_over_to_new_credentials_is_told_as_one_and_is_no_outage() {
        let mut story = narrator(Role { publishes: true, ..Role::default() });
        let renewal = closed(LossCause::Local(LocalCause::Renewal));
        let bill = Event::Recovered { bill: OutageBill::default(), drained: 0 };
        let outage = Some(Duration::from_millis(3));
        assert_eq!(
            seen(&story.tell(&renewal, &at(1))),
            [
                "renewal changing over to new credentials after 1m32s  in-flight=3 queued=0  will deliver: yes (from memory)  next in 140ms"
            ]
        );
        assert_eq!(story.outages(&at(2)), Outages::default());
        story.tell(&opened(SessionState::Kept, outage), &at(2));
        assert_eq!(seen(&story.tell(&bill, &at(2))), Vec::<String>::new());
        assert_eq!(story.outages(&at(9)), Outages::default());

        story.tell(&renewal, &at(10));
        story.tell(&failed(1, TransportErrorKind::Refused), &at(11));
        assert_eq!(story.outages(&at(12)).count, 1, "one that does not come through is an outage");
        story.tell(&opened(SessionState::Kept, outage), &at(13));
        assert_eq!(seen(&story.tell(&bill, &at(13))).len(), 1);
        assert_eq!(story.outages(&at(14)), Outages { count: 1, time: Duration::from_millis(3) });
    }

    #[test]
    fn the_bill_adds_up() {
        let mut story = narrator(Role { publishes: true, ..Role::default() });
        let bill = OutageBill {
            detect: Duration::from_secs(7),
            refused: Duration::from_millis(12_100),
            waited: Duration::from_millis(8300),
            connect: Duration::from_millis(130),
            resubscribe: Duration::ZERO,
            drain: Duration::from_millis(330),
            total: Duration::from_millis(20_860),
        };
        let lines = story.tell(&Event::Recovered { bill, drained: 118 }, &at(55));
        assert_eq!(
            seen(&lines),
            [
                "recovered outage 27.9s = detect 7.0 + refused 12.1 + waited 8.3 + connect 0.13 + drain 0.33   backlog 118 answered for"
            ]
        );
    }

    #[test]
    fn a_gap_is_told_once_with_its_times_and_what_to_do() {
        let lost = SessionState::Lost(SessionLoss::default());
        let moment = |second| SystemTime::from(at(second).timestamp());
        let tell = |role: Role, zone: TimeZone, cause, from: Option<SystemTime>| {
            let mut story = narrator(role);
            let mut lines = story.tell(&closed(LossCause::PeerClosed), &at(33));
            lines.extend(story.tell(&opened(lost, Some(Duration::from_secs(3))), &at(36)));
            let now = at(37).with_time_zone(zone);
            lines.extend(story.tell(&Event::Gap { from, to: moment(36), cause }, &now));
            lines.retain(|line| line.event == "gap");
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines.remove(0)
        };
        let sub = Role { subscribes: true, ..Role::default() };
        let since = Some(moment(10));
        let line = tell(sub.clone(), TimeZone::UTC, GapCause::SessionLost, since);
        let text = "messages between 09:15:10.0 and 09:15:36.0 may be missing (broker kept no session; add -c -i NAME)";
        assert_eq!(line.text, text);
        assert_eq!(line.fields["from"], "2026-11-24T09:15:10.000Z");
        assert_eq!(
            (&line.fields["to"], &line.fields["cause"]),
            (&"2026-11-24T09:15:36.000Z".into(), &"session-lost".into())
        );
        let east = tell(sub.clone(), TimeZone::fixed(jiff::tz::offset(2)), GapCause::SessionLost, since);
        assert!(
            east.text.contains("between 11:15:10.0 and 11:15:36.0"),
            "the zone of the lines: {}",
            east.text
        );
        let kept = tell(Role { kept: true, ..sub }, TimeZone::UTC, GapCause::SessionLost, None);
        assert!(
            kept.text.contains("it was to keep") && kept.text.contains("between the last run and"),
            "{kept:?}"
        );
        assert_eq!(kept.fields["from"], Value::Null);
        let qos0 = tell(sub, TimeZone::UTC, GapCause::QosZero, since);
        assert!(qos0.text.contains("use -q 1"), "{qos0:?}");
    }
}
