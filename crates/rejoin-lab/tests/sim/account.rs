//! What the application of an exchange handed over, what it was told and what it heard; and the judgement over it.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::{Message, MessageId, Outcome, PublishId, Qos, Record, Recovered};
use rejoin_lab::{Broker, Forward, LedgerEntry, PacketKind};

use crate::exchange::{CLIENT, Exchange, Left, WISHES};

/// A message handed over.
#[derive(Debug)]
struct Handed {
    qos: Qos,
    payload: String,
    /// In each process.
    outcomes: Vec<Vec<Outcome>>,
    stored: bool,
    /// The process died that knew of it, and its store does not.
    forgotten: bool,
    /// The store has it for the next process.
    kept: bool,
}

/// A message that somebody else published.
#[derive(Debug)]
struct Sent {
    qos: Qos,
    payload: String,
    /// The names it was heard under, in each process; at QoS 1 each copy has its own.
    names: Vec<Vec<MessageId>>,
    /// The application took it, in this process or another.
    taken: bool,
    /// It may not be heard again: a process took it, and its store says so.
    over: bool,
    /// The broker had our word for it when the process died.
    confirmed: bool,
}

impl Sent {
    /// Under how many names it was heard.
    fn names(&self) -> usize {
        self.names.iter().flatten().collect::<BTreeSet<_>>().len()
    }
}

/// The books of the application.
#[derive(Debug, Default)]
pub(crate) struct Account {
    handed: Vec<Handed>,
    by_name: BTreeMap<PublishId, usize>,
    sent: Vec<Sent>,
    lives: usize,
    wrong: Vec<String>,
}

impl Account {
    /// A message is handed over under this name. Gives its payload.
    pub(crate) fn accepted(&mut self, id: PublishId, qos: Qos) -> String {
        let payload = format!("message {}", self.handed.len());
        self.by_name.insert(id, self.handed.len());
        self.handed.push(Handed {
            qos,
            payload: payload.clone(),
            outcomes: vec![Vec::new(); self.lives + 1],
            stored: false,
            forgotten: false,
            kept: false,
        });
        payload
    }

    /// Somebody else publishes. Gives the payload.
    pub(crate) fn sent_to_us(&mut self, qos: Qos) -> String {
        let payload = format!("for us {}", self.sent.len());
        self.sent.push(Sent {
            qos,
            payload: payload.clone(),
            names: vec![Vec::new(); self.lives + 1],
            taken: false,
            over: false,
            confirmed: false,
        });
        payload
    }

    pub(crate) fn answered(&mut self, id: PublishId, outcome: Outcome, entries: &[LedgerEntry]) {
        let Some(message) = self.by_name.get(&id).and_then(|at| self.handed.get_mut(*at)) else {
            return self.wrong.push(format!("{id:?} is answered, which nobody handed over: {outcome:?}"));
        };
        if matches!(outcome, Outcome::Delivered(_)) && copies(entries, &message.payload) == 0 {
            self.wrong.push(format!("{} is called delivered before the broker has it", message.payload));
        }
        message.outcomes[self.lives].push(outcome);
    }

    pub(crate) fn stored(&mut self, id: PublishId) {
        if let Some(message) = self.by_name.get(&id).and_then(|at| self.handed.get_mut(*at)) {
            message.stored = true;
        }
    }

    pub(crate) fn heard(&mut self, message: &Message) {
        let Some(sent) = self.sent.iter_mut().find(|sent| message.payload == sent.payload) else {
            return self.wrong.push(format!("heard what nobody said: {message:?}"));
        };
        if sent.over {
            self.wrong.push(format!("{} is heard again, though it was taken", sent.payload));
        }
        match message.id {
            Some(id) if !sent.names[self.lives].contains(&id) => sent.names[self.lives].push(id),
            name => self.wrong.push(format!("{} is heard again as {name:?}", sent.payload)),
        }
    }

    pub(crate) fn taken(&mut self, id: MessageId) {
        for sent in &mut self.sent {
            sent.taken |= sent.names[self.lives].contains(&id);
        }
    }

    /// The process died, and this is what the next one knows.
    pub(crate) fn die(
        &mut self,
        kept: &Recovered,
        records: impl Iterator<Item = Record>,
        entries: &[LedgerEntry],
    ) {
        self.lives += 1;
        let waiting = kept.waiting.iter().map(|waits| waits.id);
        let known: BTreeSet<_> = waiting.chain(kept.sent.iter().map(|sent| sent.id)).collect();
        for (id, at) in &self.by_name {
            let message = &mut self.handed[*at];
            message.kept = known.contains(id);
            message.forgotten = !message.kept && message.outcomes[self.lives - 1].is_empty();
        }
        for message in &mut self.handed {
            message.outcomes.push(Vec::new());
        }
        self.by_name.retain(|id, _| known.contains(id));
        let taken: BTreeSet<_> = records
            .filter_map(|record| if let Record::Taken { id, .. } = record { Some(id) } else { None })
            .collect();
        for sent in &mut self.sent {
            let names = &sent.names[self.lives - 1];
            sent.over = sent.qos == Qos::ExactlyOnce && names.iter().any(|name| taken.contains(name));
            sent.confirmed = is_confirmed(entries, &sent.payload);
            sent.names.push(Vec::new());
        }
    }

    /// Every filter is granted, says the client, and at the end: nothing is under way.
    pub(crate) fn see_subscriptions(&mut self, broker: &Broker, at_the_end: bool) {
        let subscribed = broker.subscriptions(CLIENT);
        for (filter, qos) in WISHES {
            if !subscribed.iter().any(|(name, options)| name == filter && options.qos == qos) {
                self.wrong.push(format!("{filter} is called granted, and the broker has {subscribed:?}"));
            }
        }
        // A process that was not told of the UNSUBSCRIBE of another one cannot repeat it.
        if at_the_end && self.lives == 0 && subscribed.len() > WISHES.len() {
            self.wrong.push(format!("the filter that was left is still there: {subscribed:?}"));
        }
    }

    /// The link is open and nothing is under way: nothing has to wait.
    pub(crate) fn all_is_quiet(&mut self) {
        for message in &self.handed {
            if !message.forgotten && message.outcomes.iter().all(Vec::is_empty) {
                self.wrong.push(format!("{} waits for nothing", message.payload));
            }
        }
    }

    /// The end of the run.
    pub(crate) fn judge(&self, exchange: &Exchange) -> Result<(), String> {
        let mut wrong = self.wrong.clone();
        let entries = exchange.entries();
        for message in &self.handed {
            let copies = copies(&entries, &message.payload);
            wrong.extend(judge_answers(message, exchange));
            wrong.extend(judge_copies(message, copies, exchange));
        }
        wrong.extend(self.judge_order(exchange, &entries));
        for sent in &self.sent {
            wrong.extend(judge_sent(sent, exchange, &entries));
        }
        // That a message of QoS 1 was sent need not be on the store as it leaves: the next process may send it without DUP.
        let forgets = exchange.killed() == Some(Left::Reported);
        let suspicions = exchange.broker.suspicions().filter(|_| !forgets);
        let objections = exchange.broker.violations().chain(suspicions);
        wrong.extend(objections.map(|violation| format!("the broker objects: {violation}")));
        if exchange.broker.owed_to(CLIENT) > 0 && !exchange.was_shut_down() {
            wrong.push(format!("{} messages for us never came to an end", exchange.broker.owed_to(CLIENT)));
        }
        let goodbyes = exchange.broker.counters().received(PacketKind::Disconnect);
        if (exchange.owes_goodbye || !exchange.was_cut_at_the_end()) && goodbyes == 0 {
            wrong.push("the last link ended without DISCONNECT".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n    ")) }
    }

    /// First copies come in the order in which they were handed over, those of one QoS, which have one topic (4.6).
    fn judge_order(&self, exchange: &Exchange, entries: &[LedgerEntry]) -> Option<String> {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            // A lost session takes along what the broker had not passed on yet; and a process that died may have sent
            // without a trace what the next one sends in another place.
            let at_pubrel = qos == Qos::ExactlyOnce && exchange.case.forwards_qos2 == Forward::AtPubrel;
            if exchange.lost_session() && (at_pubrel || self.lives > 0) {
                continue;
            }
            let alike = self.handed.iter().filter(|message| message.qos == qos && !message.forgotten);
            let came: Vec<_> = alike.filter_map(|message| arrival(entries, &message.payload)).collect();
            if !came.is_sorted() {
                return Some(format!("at {qos:?} they came in the order {came:?}"));
            }
        }
        None
    }
}

fn accepted<'a>(entries: &'a [LedgerEntry], payload: &'a str) -> impl Iterator<Item = u64> + 'a {
    entries.iter().filter_map(move |entry| match entry {
        LedgerEntry::Accepted(accepted) if accepted.payload == payload => Some(accepted.arrival),
        _ => None,
    })
}

fn copies(entries: &[LedgerEntry], payload: &str) -> usize {
    accepted(entries, payload).count()
}

fn arrival(entries: &[LedgerEntry], payload: &str) -> Option<u64> {
    accepted(entries, payload).next()
}

fn is_confirmed(entries: &[LedgerEntry], payload: &str) -> bool {
    entries
        .iter()
        .any(|entry| matches!(entry, LedgerEntry::Confirmed(delivery) if delivery.payload == payload))
}

/// One answer, and one that can be true.
fn judge_answers(message: &Handed, exchange: &Exchange) -> Option<String> {
    let all: Vec<&Outcome> = message.outcomes.iter().flatten().collect();
    let says = |what: &str| Some(format!("{} at {:?} {what}: {all:?}", message.payload, message.qos));
    if message.outcomes.iter().any(|outcomes| outcomes.len() > 1) {
        return says("has two answers from one process");
    }
    let queued = message.qos != Qos::AtMostOnce;
    let may_be_forgotten = exchange.killed() == Some(Left::Reported) || !queued;
    match all.len() {
        0 if message.forgotten && !may_be_forgotten => {
            return says("is not on the store that has everything");
        }
        0 if message.forgotten && message.stored => return says("was called stored and is forgotten"),
        0 if !message.forgotten => return says("has no answer"),
        2.. if exchange.killed() != Some(Left::Reported) => return says("has two answers"),
        _ => {}
    }
    if message.kept && message.outcomes.last().is_some_and(Vec::is_empty) {
        return says("is on the store, and the next process says nothing of it");
    }
    let lost = exchange.may_doubt_session();
    let possible = |outcome: &&Outcome| match outcome {
        // Those that stood behind the window when the link went were never sent.
        Outcome::Sent | Outcome::Dropped => !queued,
        Outcome::Delivered(_) => queued,
        Outcome::Stopped { .. } => exchange.was_shut_down(),
        // What passed PUBREC and whose session is gone is not sent again.
        Outcome::Unknown { released } => lost && *released && message.qos == Qos::ExactlyOnce,
        _ => false,
    };
    if all.iter().all(possible) { None } else { says("has an answer that cannot be") }
}

/// As many copies at the broker as its QoS promises and its answers admit.
fn judge_copies(message: &Handed, copies: usize, exchange: &Exchange) -> Option<String> {
    let answers = || message.outcomes.iter().flatten();
    let receipts =
        || answers().filter_map(|o| if let Outcome::Delivered(receipt) = o { Some(receipt) } else { None });
    let says = |what: &str| {
        let answers: Vec<_> = answers().collect();
        Some(format!(
            "{} at {:?}, {copies} copies at the broker, {what}: {answers:?}",
            message.payload, message.qos
        ))
    };
    let admitted = receipts().any(|receipt| receipt.possible_duplicate);
    let may_repeat = exchange.may_doubt_session() || exchange.killed().is_some();
    if receipts().count() > 0 && copies == 0 {
        return says("delivered");
    }
    if admitted && !may_repeat {
        return says("called possibly doubled, on a session that was kept");
    }
    let never_sent = [Outcome::Dropped, Outcome::Stopped { maybe_delivered: false }];
    if copies > 0 && answers().any(|outcome| never_sent.contains(outcome)) {
        return says("called never sent");
    }
    match message.qos {
        Qos::AtMostOnce if copies > 1 => says("at most once"),
        Qos::AtLeastOnce if copies > exchange.links().len() => says("more than links"),
        Qos::AtLeastOnce if copies > 1 && exchange.killed().is_none() => {
            let owned = receipts().all(|receipt| receipt.attempts > 1 || receipt.possible_duplicate);
            if owned { None } else { says("and one attempt") }
        }
        Qos::ExactlyOnce if copies > 1 && !(exchange.lost_session() && admitted) => says("exactly once"),
        _ => None,
    }
}

/// What was sent to us is heard, as often as its QoS promises.
fn judge_sent(sent: &Sent, exchange: &Exchange, entries: &[LedgerEntry]) -> Option<String> {
    let says = |what: &str| Some(format!("{what}: {sent:?}"));
    let confirmed = is_confirmed(entries, &sent.payload);
    if confirmed && !sent.taken {
        return says("confirmed, and nobody took it");
    }
    if !exchange.lost_session() && !exchange.was_shut_down() && !confirmed {
        return says("the broker never had our word for it");
    }
    if sent.qos != Qos::ExactlyOnce {
        return None;
    }
    // One that was not confirmed need not be on the store when the process dies, and is new to the next one.
    let names = if exchange.killed() == Some(Left::Reported) && !sent.confirmed { 2 } else { 1 };
    if sent.names() > names { says("exactly once, and heard under several names") } else { None }
}
