//! What happened, as lines with times, and what each outage cost.

use std::time::{Duration, Instant};

use rejoin::{Event, LossCause, Qos, SessionState};

use super::script::Fault;

/// A fact, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where the story was.
    pub(crate) at: Duration,
    /// One word for it.
    pub(crate) word: &'static str,
    /// The rest.
    pub(crate) text: String,
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug)]
struct Injection {
    fault: Fault,
    ended: Option<Instant>,
}

/// A link that was lost and came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// Why the client gave the link up.
    pub(crate) cause: &'static str,
    /// The fault behind it, if one was injected.
    pub(crate) fault: Option<Fault>,
    /// When the client gave the link up.
    pub(crate) lost_at: Duration,
    /// When everything accepted by then was answered for and every subscription granted.
    pub(crate) recovered_at: Duration,
    /// From the end of the fault (or, where the client lost a healthy link, from the loss) until then.
    pub(crate) recovered_in: Duration,
    /// Messages of the backlog.
    pub(crate) drained: usize,
}

/// The loss an outage began with.
#[derive(Clone, Copy, Debug)]
struct Loss {
    moment: Instant,
    at: Duration,
    cause: &'static str,
}

/// The record of one run.
#[derive(Debug, Default)]
pub(crate) struct Chronicle {
    lines: Vec<Line>,
    outages: Vec<Outage>,
    injections: Vec<Injection>,
    lost: Option<Loss>,
    recovered: Option<Instant>,
    failed_attempts: u32,
    gaps: u32,
    /// The subscription is QoS 0, which no session keeps.
    qos0: bool,
}

impl Chronicle {
    /// An empty one.
    pub(crate) fn new(qos: Qos) -> Self {
        Self { qos0: qos == Qos::AtMostOnce, ..Self::default() }
    }

    /// Everything so far.
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Outages that are over.
    pub(crate) fn outages(&self) -> &[Outage] {
        &self.outages
    }

    /// How often the subscriber was told that messages may be missing.
    pub(crate) const fn gaps(&self) -> u32 {
        self.gaps
    }

    /// The link was lost and is not all back.
    pub(crate) const fn is_recovering(&self) -> bool {
        self.lost.is_some()
    }

    /// Whether this fault is on.
    pub(crate) fn is_on(&self, fault: Fault) -> bool {
        self.injections.iter().any(|injection| injection.fault == fault && injection.ended.is_none())
    }

    /// The fault that is on; the newest if there are several.
    pub(crate) fn injected(&self) -> Option<Fault> {
        self.injections.iter().rev().find(|injection| injection.ended.is_none()).map(|i| i.fault)
    }

    /// Adds a line.
    pub(crate) fn note(&mut self, at: Duration, word: &'static str, text: impl Into<String>) {
        self.lines.push(Line { at, word, text: text.into() });
    }

    /// A fault was injected.
    pub(crate) fn begin(&mut self, fault: Fault, at: Duration) {
        self.injections.push(Injection { fault, ended: None });
        let text = match fault {
            Fault::Restart => "the broker is killed; its sessions survive",
            Fault::Freeze | Fault::HeldByKey => "the link is frozen: no FIN, no RST, the socket looks open",
            Fault::LostAcks => "acknowledgements are lost on this connection",
            Fault::Amnesia => "the broker is killed and will forget all sessions",
            Fault::Kill => "rejoin pub --queue DIR has 31 messages and no link; it is killed (kill -9)",
            Fault::Cut => "the link is cut with RST",
        };
        self.note(at, "injected", text);
    }

    /// A fault is over.
    pub(crate) fn end(&mut self, fault: Fault, moment: Instant, at: Duration) {
        let on = self.injections.iter_mut().filter(|i| i.fault == fault && i.ended.is_none());
        on.for_each(|injection| injection.ended = Some(moment));
        let text = match fault {
            Fault::Restart => "the broker is back with its sessions",
            Fault::Freeze | Fault::HeldByKey => "the link goes on",
            Fault::LostAcks => "acknowledgements arrive again",
            Fault::Amnesia => "the broker is back and knows nobody",
            Fault::Kill => "it is started again on the same folder, and the network is back",
            Fault::Cut => return,
        };
        self.note(at, "healed", text);
    }

    /// The client told something.
    pub(crate) fn tell(&mut self, event: &Event, moment: Instant, at: Duration) {
        match event {
            Event::AttemptFailed { cause, next_in, .. } => {
                self.failed_attempts += 1;
                if self.failed_attempts == 1 {
                    let next = next_in.map(|wait| format!("; next try in {}", short(wait)));
                    self.note(at, "retry", format!("{}{}", cause.name(), next.unwrap_or_default()));
                }
            }
            Event::Opened { .. } => self.opened(event, at),
            Event::Suspect { silent_for } => {
                self.note(at, "suspect", format!("nothing heard for {}", short(*silent_for)));
            }
            Event::Trusted => self.note(at, "trusted", "heard again"),
            Event::Closed { cause, lasted, in_flight, queued, .. } => {
                let name = cause.name();
                self.lost.get_or_insert(Loss { moment, at, cause: name });
                let text = format!("{name} after {}; in flight {in_flight}, queued {queued}", short(*lasted));
                self.note(at, "lost", text);
            }
            Event::Resubscribed { granted, refused } if self.lost.is_some() || *refused > 0 => {
                self.note(at, "resubscribed", format!("{granted}/{}", granted + refused));
            }
            Event::Recovered { drained, .. } => self.recovered(*drained, moment, at),
            Event::Stopped { reason } => self.note(at, "stopped", format!("{reason:?}")),
            Event::TakenOver { evidence } => self.note(at, "taken-over", evidence.as_str()),
            // A gap is told with the link that opened after it.
            Event::Attempt { .. } | Event::Resubscribed { .. } | Event::Gap { .. } => {}
            other => self.note(at, other.name(), String::new()),
        }
    }

    fn opened(&mut self, event: &Event, at: Duration) {
        let Event::Opened { took, session, outage, resending, .. } = event else { return };
        let mut text = format!("in {}", short(*took));
        if self.failed_attempts > 0 {
            text.push_str(&format!(", after {} failed tries", self.failed_attempts));
        }
        text.push_str(match session {
            SessionState::New => ", session new",
            SessionState::Kept => ", session kept",
            SessionState::Lost(_) => ", session LOST",
        });
        if let SessionState::Lost(loss) = session
            && loss.requeued > 0
        {
            text.push_str(&format!(", {} sent again as new", loss.requeued));
        }
        if *resending > 0 {
            text.push_str(&format!(", {resending} resent with DUP"));
        }
        self.failed_attempts = 0;
        self.note(at, "open", text);
        let why = match session {
            SessionState::Kept if self.qos0 => "no session keeps QoS 0",
            SessionState::Kept => return,
            _ => "the broker kept no session",
        };
        if outage.is_some() {
            self.gaps += 1;
            let from = self.lost.map_or(at, |loss| loss.at);
            let (from, to) = (short(from), short(at));
            let text = format!("subscriber: messages between {from} and {to} may be missing ({why})");
            self.note(at, "gap", text);
        }
    }

    fn recovered(&mut self, drained: usize, moment: Instant, at: Duration) {
        let Some(loss) = self.lost.take() else { return };
        // Faults that ended since the last recovery are those this outage had to outlive.
        let ended = self.injections.iter().filter_map(|i| i.ended.map(|ended| (i.fault, ended)));
        let ended = ended.filter(|(_, end)| *end <= moment && self.recovered.is_none_or(|last| *end > last));
        let last = ended.max_by_key(|(_, end)| *end);
        let from = last.map_or(loss.moment, |(_, end)| end);
        let outage = Outage {
            cause: loss.cause,
            fault: last.map(|(fault, _)| fault),
            lost_at: loss.at,
            recovered_at: at,
            recovered_in: moment.saturating_duration_since(from),
            drained,
        };
        self.recovered = Some(moment);
        self.note(at, "recovered", format!("in {}, {drained} drained", short(outage.recovered_in)));
        self.outages.push(outage);
    }
}

/// Whether a loss came from acknowledgements that did not come.
pub(crate) const fn is_ack_timeout(event: &Event) -> bool {
    matches!(event, Event::Closed { cause: LossCause::AckTimeout(_), .. })
}

/// A time with the digits it deserves.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..0.1 => format!("{:.0} ms", seconds * 1e3),
        ..1.0 => format!("{seconds:.2} s"),
        _ => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use rejoin::{OutageBill, Verdict, Version};
    use rejoin_core::SessionLoss;

    use super::*;

    fn closed() -> Event {
        Event::Closed {
            cause: LossCause::PingTimeout(Duration::from_secs(1)),
            verdict: Verdict::Now,
            lasted: Duration::from_secs(5),
            in_flight: 3,
            queued: 0,
            next_in: Some(Duration::ZERO),
            held_by_budget: false,
        }
    }

    fn opened(session: SessionState) -> Event {
        Event::Opened {
            server: 0,
            version: Version::V5,
            attempt: 1,
            took: Duration::from_millis(2),
            stages: Box::default(),
            session,
            outage: Some(Duration::from_secs(2)),
            resending: 3,
        }
    }

    fn recovered() -> Event {
        Event::Recovered { bill: OutageBill::default(), drained: 7 }
    }

    struct Run {
        chronicle: Chronicle,
        zero: Instant,
    }

    impl Run {
        fn new() -> Self {
            Self { chronicle: Chronicle::default(), zero: Instant::now() }
        }

        fn tell(&mut self, millis: u64, event: &Event) {
            let at = Duration::from_millis(millis);
            self.chronicle.tell(event, self.zero + at, at);
        }

        fn end(&mut self, millis: u64, fault: Fault) {
            let at = Duration::from_millis(millis);
            self.chronicle.end(fault, self.zero + at, at);
        }

        fn words(&self) -> Vec<&str> {
            self.chronicle.lines().iter().map(|line| line.word).collect()
        }
    }

    #[test]
    fn recovery_counts_from_the_end_of_the_fault_and_not_from_our_notice() {
        let mut run = Run::new();
        run.chronicle.begin(Fault::Freeze, Duration::from_secs(1));
        assert_eq!(run.chronicle.injected(), Some(Fault::Freeze));
        run.tell(3_500, &closed());
        run.end(5_000, Fault::Freeze);
        run.tell(5_010, &opened(SessionState::Kept));
        run.tell(5_040, &recovered());
        let outage = &run.chronicle.outages()[0];
        assert_eq!((outage.fault, outage.recovered_in), (Some(Fault::Freeze), Duration::from_millis(40)));
        assert_eq!((outage.cause, outage.drained), ("ping-timeout", 7));
        // Noticed only after it was over: the late notice is part of the recovery.
        run.chronicle.begin(Fault::Freeze, Duration::from_secs(6));
        run.end(7_000, Fault::Freeze);
        run.tell(7_300, &closed());
        run.tell(7_400, &recovered());
        assert_eq!(run.chronicle.outages()[1].recovered_in, Duration::from_millis(400));
        // A link lost without a fault of ours counts from the loss.
        run.tell(9_000, &closed());
        run.tell(9_100, &recovered());
        let outage = &run.chronicle.outages()[2];
        assert_eq!((outage.fault, outage.recovered_in), (None, Duration::from_millis(100)));
        assert_eq!(run.chronicle.injected(), None);
    }

    #[test]
    fn a_forgotten_session_is_told_as_a_gap_and_a_kept_one_is_not() {
        let mut run = Run::new();
        run.tell(1_000, &closed());
        run.tell(1_500, &opened(SessionState::Kept));
        assert_eq!((run.chronicle.gaps(), run.words()), (0, vec!["lost", "open"]));
        run.tell(1_600, &recovered());
        run.tell(2_000, &closed());
        run.tell(2_500, &opened(SessionState::Lost(SessionLoss { requeued: 2, unknown: 0 })));
        assert_eq!(run.chronicle.gaps(), 1);
        let gap = run.chronicle.lines().last().unwrap();
        assert!(gap.word == "gap" && gap.text.contains("between 2.0 s and 2.5 s"), "{gap:?}");
        let mut run = Run { chronicle: Chronicle::new(Qos::AtMostOnce), zero: Instant::now() };
        run.tell(1_000, &closed());
        run.tell(1_500, &opened(SessionState::Kept));
        assert_eq!(run.chronicle.gaps(), 1);
    }
}
