//! The ledger of a run, kept from the broker's side: nothing a client says about itself counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rejoin_core::codec::packet::{PacketId, Qos};
use rejoin_core::text::Text;

use crate::broker::{Accepted, Broker, ConnectionId, Ledger, LedgerEntry};

/// Reasons a verdict lists of each kind; the counts are always exact.
const LISTED: usize = 20;

/// Follows numbered messages from the application's word to the broker's ledger.
///
/// The payload of a message is `RUN:NUMBER`, then nothing or a space and anything ([`Auditor::payload`]). The
/// auditor reads the broker's ledger directly, so nothing between client and broker can hide a message from it.
/// Clones share the book.
#[derive(Clone, Debug)]
pub struct Auditor {
    run: Arc<str>,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    published: BTreeSet<u64>,
    excused: BTreeMap<u64, Word>,
    arrivals: BTreeMap<u64, Arrival>,
    /// Messages of QoS 1 and 2 accepted on each connection.
    positions: BTreeMap<ConnectionId, u64>,
    /// Messages whose last acknowledgement was not sent, by their place in the order of arrival.
    unsettled: BTreeMap<u64, u64>,
    /// For each topic, messages by number and when they first arrived.
    order: BTreeMap<Text, BTreeMap<u64, u64>>,
    explained: u64,
    unexplained: u64,
    reasons: Vec<String>,
    out_of_order: u64,
    false_acknowledgements: u64,
}

/// What the application was told instead of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Failed,
    Unknown,
}

/// The latest arrival of a message.
#[derive(Clone, Debug)]
struct Arrival {
    connection: ConnectionId,
    session: u64,
    packet_id: Option<PacketId>,
    /// How many messages above QoS 0 its connection had brought when its last acknowledgement was sent.
    settled: Option<u64>,
}

impl Auditor {
    /// An auditor for the messages of one run. The name must not hold `:`.
    pub fn new(run: impl Into<String>) -> Self {
        Self { run: run.into().into(), book: Arc::default() }
    }

    /// What [`Broker::add_ledger`] takes.
    pub fn ledger(&self) -> Ledger {
        let auditor = self.clone();
        Box::new(move |entry| match entry {
            LedgerEntry::Accepted(accepted) => auditor.arrived(accepted),
            LedgerEntry::Settled { arrival } => auditor.book().settle(*arrival),
            _ => {}
        })
    }

    /// The payload of a message, as short as it can be.
    pub fn payload(&self, number: u64) -> Bytes {
        format!("{}:{number}", self.run).into()
    }

    /// The payload of a message, padded to a length in bytes.
    pub fn payload_of(&self, number: u64, length: usize) -> Bytes {
        let mut text = format!("{}:{number}", self.run).into_bytes();
        if text.len() < length {
            text.push(b' ');
            text.resize(length, b'.');
        }
        text.into()
    }

    /// The number in a payload of this run.
    pub fn number(&self, payload: &[u8]) -> Option<u64> {
        let rest = payload.strip_prefix(self.run.as_bytes())?.strip_prefix(b":")?;
        let digits = rest.split(|b| *b == b' ').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The application's publish call took this message.
    pub fn published(&self, number: u64) {
        self.book().published.insert(number);
    }

    /// The application was told that this message is delivered. Before the broker has it that is a lie.
    pub fn acknowledged(&self, number: u64) {
        let mut book = self.book();
        if !book.arrivals.contains_key(&number) {
            book.false_acknowledgements += 1;
            book.list(format!("{number} was called delivered before the broker had it"));
        }
    }

    /// The application was told that this message failed: it is not lost. If the broker has it, or gets it after all, that
    /// was a lie.
    pub fn told_failed(&self, number: u64) {
        self.book().excused.insert(number, Word::Failed);
    }

    /// The application was told that the fate of this message is unknown: it is not lost.
    pub fn told_unknown(&self, number: u64) {
        self.book().excused.insert(number, Word::Unknown);
    }

    /// Messages of the run that the broker has, each counted once.
    pub fn delivered(&self) -> u64 {
        self.book().arrivals.len() as u64
    }

    /// Messages taken by publish calls so far.
    pub fn published_count(&self) -> u64 {
        self.book().published.len() as u64
    }

    /// Messages that were taken, not excused, and are not at the broker. Before the end they may be on their way.
    pub fn missing(&self) -> Vec<u64> {
        self.book().missing().collect()
    }

    /// The verdict over all that was seen so far.
    pub fn verdict(&self) -> Verdict {
        let book = self.book();
        let told = |word: Word| book.excused.values().filter(|w| **w == word).count() as u64;
        Verdict {
            published: book.published.len() as u64,
            delivered: book.arrivals.len() as u64,
            lost: book.missing().collect(),
            told_failed: told(Word::Failed),
            told_unknown: told(Word::Unknown),
            duplicates_explained: book.explained,
            duplicates_unexplained: book.unexplained,
            out_of_order: book.out_of_order,
            invented: book.arrivals.keys().filter(|number| !book.published.contains(number)).count() as u64,
            false_acknowledgements: book.false_acknowledgements,
            false_failures: book.falsely_failed().count() as u64,
            violations: 0,
            reasons: book.all_reasons(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, accepted: &Accepted) {
        let mut book = self.book();
        let place = book.positions.entry(accepted.connection).or_insert(0);
        *place += u64::from(accepted.qos != Qos::AtMostOnce);
        let Some(number) = self.number(&accepted.payload) else { return };
        let now = Arrival {
            connection: accepted.connection,
            session: accepted.session,
            packet_id: accepted.packet_id,
            settled: None,
        };
        if accepted.qos != Qos::AtMostOnce {
            book.unsettled.insert(accepted.arrival, number);
        }
        match book.arrivals.insert(number, now) {
            None => book.check_order(accepted, number),
            Some(before) => match book.explanation(&before, accepted) {
                Ok(()) => book.explained += 1,
                Err(why) => {
                    book.unexplained += 1;
                    book.list(format!("{number} came again on {}: {why}", accepted.connection));
                }
            },
        }
    }
}

impl Book {
    fn missing(&self) -> impl Iterator<Item = u64> {
        self.published
            .iter()
            .copied()
            .filter(|number| !self.arrivals.contains_key(number) && !self.excused.contains_key(number))
    }

    /// Messages that were said to have failed, and are at the broker.
    fn falsely_failed(&self) -> impl Iterator<Item = u64> {
        let told = self.excused.iter().filter(|(_, word)| **word == Word::Failed);
        told.map(|(number, _)| *number).filter(|number| self.arrivals.contains_key(number))
    }

    /// What was listed, and the lies that are known only at the end.
    fn all_reasons(&self) -> Vec<String> {
        let lies = self.falsely_failed().take(LISTED);
        let lies = lies.map(|number| format!("{number} was said to have failed, and the broker has it"));
        self.reasons.iter().cloned().chain(lies).collect()
    }

    fn settle(&mut self, arrival: u64) {
        let Some(number) = self.unsettled.remove(&arrival) else { return };
        if let Some(message) = self.arrivals.get_mut(&number) {
            message.settled = self.positions.get(&message.connection).copied();
        }
    }

    /// A message must arrive after its predecessor on the topic and before its successor.
    fn check_order(&mut self, accepted: &Accepted, number: u64) {
        let arrival = accepted.arrival;
        let arrivals = self.order.entry(accepted.topic.clone()).or_default();
        let earlier = arrivals.range(..number).next_back().filter(|(_, at)| **at > arrival);
        let later = arrivals.range(number..).next().filter(|(_, at)| **at < arrival);
        let pair = match (earlier, later) {
            (Some((before, _)), _) => Some((*before, number)),
            (_, Some((after, _))) => Some((number, *after)),
            _ => None,
        };
        arrivals.insert(number, arrival);
        if let Some((first, second)) = pair {
            self.out_of_order += 1;
            self.list(format!("{first} came after {second} on `{}`", accepted.topic));
        }
    }

    /// Whether a second copy had to be expected: its acknowledgement may have been lost with the connection.
    fn explanation(&self, before: &Arrival, copy: &Accepted) -> Result<(), &'static str> {
        if copy.qos == Qos::AtMostOnce {
            return Err("QoS 0 is sent once");
        }
        if before.connection == copy.connection {
            return Err("on the connection that had brought it");
        }
        if before.session == copy.session {
            return match (copy.qos, copy.dup && before.packet_id == copy.packet_id) {
                (Qos::ExactlyOnce, _) => Err("QoS 2 in one session"),
                (_, false) => Err("in the same session, but not as a resend of the same id"),
                (_, true) => Ok(()),
            };
        }
        // The session was lost: what was under way at the end of the old connection may come again as new.
        let Some(settled) = before.settled else { return Ok(()) };
        let total = self.positions.get(&before.connection).copied().unwrap_or(0);
        if total.saturating_sub(settled) < u64::from(copy.window) {
            Ok(())
        } else {
            Err("it had left the window of the connection long before the session was lost")
        }
    }

    fn list(&mut self, reason: String) {
        if self.reasons.len() < LISTED {
            self.reasons.push(reason);
        }
    }
}

/// What the auditor found. [`fmt::Display`] gives the line the demo ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages taken by publish calls.
    pub published: u64,
    /// Of all messages, those the broker has.
    pub delivered: u64,
    /// Taken, not at the broker, and nobody was told so.
    pub lost: Vec<u64>,
    /// The application was told that they failed.
    pub told_failed: u64,
    /// The application was told that nobody can know.
    pub told_unknown: u64,
    /// Copies that had to be expected: the first acknowledgement may have been lost with its connection.
    pub duplicates_explained: u64,
    /// Copies without an excuse.
    pub duplicates_unexplained: u64,
    /// First copies that came after a younger message on their topic.
    pub out_of_order: u64,
    /// At the broker, but never published.
    pub invented: u64,
    /// Called delivered before the broker had them.
    pub false_acknowledgements: u64,
    /// Said to have failed, and at the broker.
    pub false_failures: u64,
    /// Rules of the standard broken towards the broker, where [`Verdict::with_violations`] was asked.
    pub violations: u64,
    /// Why, in words: the first few of each kind.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Adds what the broker's judge found.
    #[must_use]
    pub fn with_violations(mut self, broker: &Broker) -> Self {
        self.violations += broker.violations().count() as u64;
        self.reasons.extend(broker.violations().take(LISTED).map(ToString::to_string));
        self
    }

    /// Whether nothing was lost, invented, repeated without reason, reordered or lied about.
    pub const fn passes(&self) -> bool {
        self.lost.is_empty()
            && self.duplicates_unexplained == 0
            && self.out_of_order == 0
            && self.invented == 0
            && self.false_acknowledgements == 0
            && self.false_failures == 0
            && self.violations == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passes() { "PASS" } else { "FAIL" };
        let copies = self.duplicates_explained + self.duplicates_unexplained;
        write!(
            f,
            "{word}  published {}, delivered {}, lost {}, duplicated {copies}",
            self.published,
            self.delivered,
            self.lost.len()
        )?;
        match (copies, self.duplicates_unexplained) {
            (0, _) => {}
            (_, 0) => f.write_str(" (all explained)")?,
            (_, n) => write!(f, " ({n} unexplained)")?,
        }
        let rest = [
            ("told failed", self.told_failed),
            ("told unknown", self.told_unknown),
            ("out of order", self.out_of_order),
            ("invented", self.invented),
            ("falsely acknowledged", self.false_acknowledgements),
            ("falsely said to have failed", self.false_failures),
            ("protocol violations", self.violations),
        ];
        for (what, n) in rest.into_iter().filter(|(_, n)| *n > 0) {
            write!(f, ", {what} {n}")?;
        }
        Ok(())
    }
}
