//! Judges a run: what arrived, what the publisher was told, and what the broker's log proves about the difference.

use std::collections::BTreeMap;

use crate::evidence::{Entry, Evidence, Fact};

/// What a run left behind.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) qos: u8,
    pub(crate) lines: u64,
    /// How often each number arrived.
    pub(crate) arrived: BTreeMap<u64, u64>,
    /// Numbers whose end nobody can know, as the publisher was told.
    pub(crate) unknown: Vec<u64>,
    /// A CONNECT of the publisher was never answered: the session it found later may have been a new one.
    pub(crate) doubt: bool,
    pub(crate) evidence: Evidence,
}

/// The verdict over a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Missing, and the publisher was told that nobody can know.
    pub(crate) told_unknown: u64,
    /// Missing, and the broker acknowledged and then forgot them: the proofs.
    pub(crate) forgotten: Vec<String>,
    /// Repeated by the broker, which forgot what it had not saved: the proofs.
    pub(crate) repeated: Vec<String>,
    /// Sent by the broker as PUBLISH after it had sent, and saved, PUBREL: the proofs.
    pub(crate) sent_after_release: Vec<String>,
    /// At QoS 1 repeats are allowed: how many there were.
    pub(crate) allowed_repeats: u64,
    /// What nothing explains.
    pub(crate) faults: Vec<String>,
}

/// Why the broker sent a message of QoS 2 anew.
enum Anew {
    /// It forgot, by a kill between saves.
    Forgotten(String),
    /// It went back behind a PUBREL it had sent and saved: Debian's mosquitto restores every unfinished delivery as
    /// not yet answered and sends PUBLISH again, which [MQTT-4.3.3-6] forbids. The receiver has no means to tell.
    Released(String),
}

impl Ledger {
    /// Judges.
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for number in 1..=self.lines {
            let copies = self.arrived.get(&number).copied().unwrap_or_default();
            match copies {
                0 if self.unknown.contains(&number) => verdict.told_unknown += 1,
                0 => match self.why_missing(number) {
                    Ok(proof) => verdict.forgotten.push(proof),
                    Err(fault) => verdict.faults.push(fault),
                },
                1 => {}
                _ if self.qos < 2 => verdict.allowed_repeats += copies - 1,
                _ => {
                    let proofs = self.why_repeated(number);
                    if (proofs.len() as u64) < copies - 1 {
                        verdict.faults.push(format!(
                            "number {number} arrived {copies} times, the log explains {} of them\n{}",
                            proofs.len(),
                            self.history(number)
                        ));
                    }
                    for proof in proofs {
                        match proof {
                            Anew::Forgotten(proof) => verdict.repeated.push(proof),
                            Anew::Released(proof) => verdict.sent_after_release.push(proof),
                        }
                    }
                }
            }
        }
        // A session that the broker kept leaves nothing unknown.
        let forgot = self.evidence.all(|fact| *fact == Fact::PublisherForgotten);
        if !self.unknown.is_empty() && !self.doubt && forgot.iter().all(|entry| entry.run == 0) {
            verdict.faults.push(format!(
                "{} numbers ended as unknown, yet the broker's log has no CONNACK that forgot the \
                 publisher, and no CONNECT of it went unanswered",
                self.unknown.len()
            ));
        }
        verdict
    }

    /// Proves that the broker forgot a number it had acknowledged.
    fn why_missing(&self, number: u64) -> Result<String, String> {
        let fault = |why: &str| Err(format!("number {number} is missing: {why}\n{}", self.history(number)));
        let log = &self.evidence;
        let came = log.all(|fact| matches!(fact, Fact::FromPublisher { number: n, .. } if *n == number));
        let Some(last) = came.last() else { return fault("the broker never got it") };
        let id = id_of(last);
        let answer = log.all(|fact| *fact == Fact::AnswerToPublisher { id });
        let Some(answer) = answer.iter().rfind(|entry| entry.line > came[0].line) else {
            return fault("the broker never acknowledged it");
        };
        let sent = log.all(|fact| matches!(fact, Fact::ToSubscriber { number: n, .. } if *n == number));
        for sent in &sent {
            if let Some(swallowed) = self.id_given_twice(number, sent) {
                return Ok(swallowed);
            }
            if self.answered_by_subscriber(sent).is_some() {
                return fault("the subscriber answered for it and never printed it");
            }
        }
        let released = log.all(|fact| *fact == Fact::ReleaseFromPublisher { id });
        let mut held = std::iter::once(last).chain(released.iter().filter(|entry| entry.line > last.line));
        match held.rfind(|entry| log.is_unsaved(entry)) {
            Some(held) => Ok(format!(
                "number {number}: received in line {}, acknowledged in line {}, last save before that {}, killed in \
                 line {}",
                held.line,
                answer.line,
                log.last_save(held.line).map_or_else(|| "never".to_owned(), |line| format!("in line {line}")),
                log.killed[&held.run],
            )),
            None => fault("the broker acknowledged and saved it"),
        }
    }

    /// After a rollback the broker gives a packet id out again that the subscriber still holds for another message
    /// of QoS 2: it must take it for a repeat [MQTT-4.3.3-10].
    fn id_given_twice(&self, number: u64, sent: &Entry) -> Option<String> {
        let (log, id) = (&self.evidence, id_of(sent));
        let other =
            |fact: &Fact| matches!(fact, Fact::ToSubscriber { number: n, id: i } if *n != number && *i == id);
        let earlier = log.all(other).into_iter().rfind(|e| e.run < sent.run && log.is_unsaved(e))?;
        let completed = log.all(|fact| *fact == Fact::CompleteFromSubscriber { id });
        let free = completed.iter().any(|entry| (earlier.line..sent.line).contains(&entry.line));
        (self.qos == 2 && !free).then(|| {
            format!(
                "number {number}: sent in line {} with packet id {id}, which line {} had given to another message \
                 before the broker was rolled back by the kill in line {}",
                sent.line, earlier.line, log.killed[&earlier.run]
            )
        })
    }

    /// Proves, for each time the broker sent a number anew, that it had forgotten having sent it.
    fn why_repeated(&self, number: u64) -> Vec<Anew> {
        let log = &self.evidence;
        let sent = log.all(|fact| matches!(fact, Fact::ToSubscriber { number: n, .. } if *n == number));
        sent.windows(2).filter_map(|pair| self.sent_anew(number, &pair[0], &pair[1])).collect()
    }

    fn sent_anew(&self, number: u64, first: &Entry, again: &Entry) -> Option<Anew> {
        let log = &self.evidence;
        let told = |why: String| {
            format!("number {number}: sent in line {}, {why}, sent again in line {}", first.line, again.line)
        };
        let forgot = log.all(|fact| *fact == Fact::SubscriberForgotten);
        if let Some(entry) = forgot.iter().find(|entry| (first.line..again.line).contains(&entry.line)) {
            let why = format!("the subscriber's session forgotten in line {}", entry.line);
            return Some(Anew::Forgotten(told(why)));
        }
        let kill = log.killed.get(&first.run).filter(|_| again.run > first.run)?;
        if id_of(first) == id_of(again) {
            // Until PUBREL the receiver knows a repeat by its packet id [MQTT-4.3.3-10]: that one would be ours.
            let released = log.all(|fact| *fact == Fact::ReleaseToSubscriber { id: id_of(first) });
            let released = released.iter().find(|entry| (first.line..again.line).contains(&entry.line))?;
            if log.is_unsaved(released) {
                let why = format!("PUBREL in line {} unsaved when killed in line {kill}", released.line);
                return Some(Anew::Forgotten(told(why)));
            }
            let saved = log.saved(released.line)?;
            let why = format!("PUBREL sent in line {}, saved in line {saved}", released.line);
            return Some(Anew::Released(told(why)));
        }
        // Another packet id: a new delivery, because the release by the publisher was forgotten and came again.
        let came = log.all(|fact| matches!(fact, Fact::FromPublisher { number: n, .. } if *n == number));
        let same = came.windows(2).all(|pair| id_of(&pair[0]) == id_of(&pair[1]));
        let id = id_of(came.first()?);
        let releases = log.all(|fact| *fact == Fact::ReleaseFromPublisher { id });
        let release = releases.iter().rfind(|entry| entry.line < first.line && entry.run == first.run)?;
        let why =
            format!("the publisher's PUBREL in line {} unsaved when killed in line {kill}", release.line);
        (same && log.is_unsaved(release)).then(|| Anew::Forgotten(told(why)))
    }

    /// The subscriber's PUBACK or PUBREC for a delivery, before its packet id served another message.
    fn answered_by_subscriber(&self, sent: &Entry) -> Option<Entry> {
        let id = id_of(sent);
        let later = self.evidence.entries.iter().filter(|entry| entry.line > sent.line);
        let ours = later.take_while(|entry| {
            let other = matches!(entry.fact, Fact::ToSubscriber { id: i, .. } if i == id);
            !(other && entry.fact != sent.fact)
        });
        ours.copied().find(|entry| entry.fact == Fact::AnswerFromSubscriber { id })
    }

    /// All the log has on a number, for whoever reads a failure.
    fn history(&self, number: u64) -> String {
        let log = &self.evidence;
        let of = |fact: &Fact| match fact {
            Fact::FromPublisher { number: n, .. } | Fact::ToSubscriber { number: n, .. } => *n == number,
            _ => false,
        };
        let ids: Vec<(bool, u16)> = log
            .all(of)
            .iter()
            .map(|entry| (matches!(entry.fact, Fact::ToSubscriber { .. }), id_of(entry)))
            .collect();
        let told = log.all(|fact| match fact {
            Fact::AnswerToPublisher { id } | Fact::ReleaseFromPublisher { id } => ids.contains(&(false, *id)),
            Fact::AnswerFromSubscriber { id }
            | Fact::ReleaseToSubscriber { id }
            | Fact::CompleteFromSubscriber { id } => ids.contains(&(true, *id)),
            Fact::ToSubscriber { id, .. } => ids.contains(&(true, *id)),
            other => of(other),
        });
        let lines: Vec<String> = told
            .iter()
            .map(|e| {
                let saved = if log.is_unsaved(e) { ", unsaved when killed" } else { "" };
                format!("    run {} line {}: {:?}{saved}", e.run, e.line, e.fact)
            })
            .collect();
        lines.join("\n")
    }
}

fn id_of(entry: &Entry) -> u16 {
    match entry.fact {
        Fact::FromPublisher { id, .. }
        | Fact::AnswerToPublisher { id }
        | Fact::ReleaseFromPublisher { id }
        | Fact::ToSubscriber { id, .. }
        | Fact::AnswerFromSubscriber { id }
        | Fact::ReleaseToSubscriber { id }
        | Fact::CompleteFromSubscriber { id } => id,
        Fact::PublisherForgotten | Fact::SubscriberForgotten => 0,
    }
}

/// A log of QoS 1 in which number 1 is acknowledged and then the broker is killed; `saved` adds a finished save.
#[cfg(test)]
fn acknowledged_then_killed(saved: bool, answered: bool) -> Ledger {
    use crate::broker::KILLED;
    use crate::evidence::payload;
    let size = payload(1).len();
    let mut log = format!("1: Received PUBLISH from P (d0, q1, r0, m1, 'x', ... ({size} bytes))\n");
    log += &format!("1: Sending PUBLISH to S (d0, q1, r0, m1, 'x', ... ({size} bytes))\n");
    log += "1: Sending PUBACK to P (m1, rc0)\n";
    if answered {
        log += "1: Received PUBACK from S (Mid: 1, RC:0)\n";
    }
    if saved {
        log += "1: Saving in-memory database to /x.\n1: No will message specified.\n";
    }
    log += &format!("{KILLED}\n");
    Ledger { qos: 1, lines: 1, evidence: Evidence::read(&log), ..Ledger::default() }
}

#[test]
fn a_missing_number_needs_a_proof_from_the_log() {
    let verdict = acknowledged_then_killed(false, false).judge();
    assert_eq!((verdict.forgotten.len(), verdict.faults.len()), (1, 0), "{verdict:?}");
    let saved = acknowledged_then_killed(true, false).judge();
    assert!(saved.faults[0].contains("acknowledged and saved"), "{saved:?}");
    let answered = acknowledged_then_killed(false, true).judge();
    assert!(answered.faults[0].contains("never printed"), "{answered:?}");
    let nothing = Ledger { qos: 1, lines: 1, ..Ledger::default() }.judge();
    assert!(nothing.faults[0].contains("never got it"), "{nothing:?}");
}

#[test]
fn a_repeat_at_qos_2_and_an_unknown_end_need_a_proof_too() {
    let mut ledger = acknowledged_then_killed(false, false);
    (ledger.qos, ledger.arrived) = (2, BTreeMap::from([(1, 2)]));
    assert_eq!(ledger.judge().faults.len(), 1, "sent once, printed twice");
    let told = Ledger { qos: 2, lines: 1, unknown: vec![1], ..Ledger::default() }.judge();
    assert!(told.faults[0].contains("no CONNACK that forgot"), "{told:?}");
}
