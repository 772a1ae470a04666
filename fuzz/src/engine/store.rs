//! A store that keeps what it is given, loses it, fails, and gives it to the next process.

use std::collections::VecDeque;

use rejoin_core::codec::packet::PacketId;
use rejoin_core::{
    Digest, Input, Message, MessageId, Parking, Publication, PublishId, Record, Recovered, Text, Ticket,
    TopicName,
};

use super::{Choices, Standing, World, drawn};

/// What a client gave to its store.
#[derive(Default)]
pub(super) struct Store {
    /// Not reported as safe, the oldest first.
    pub(super) given: VecDeque<(Ticket, Vec<Record>)>,
    /// What the next process finds.
    pub(super) kept: Vec<Record>,
    pub(super) issued: Ticket,
    pub(super) standing: Standing,
    pub(super) loads: Vec<Vec<PublishId>>,
}

impl Store {
    fn body(&self, id: PublishId) -> Option<Publication> {
        self.kept.iter().chain(self.given.iter().flat_map(|(_, records)| records)).rev().find_map(|record| {
            match record {
                Record::Enqueued { id: named, publication, .. } if *named == id => Some(publication.clone()),
                _ => None,
            }
        })
    }

    /// The oldest that it was given is safe.
    fn write(&mut self) -> Option<Ticket> {
        let (ticket, records) = self.given.pop_front()?;
        self.kept.extend(records);
        Some(ticket)
    }
}

impl World {
    /// The store reports what it has, or gives bodies back.
    pub(super) fn store_answers(&mut self, choices: &mut Choices<'_>) {
        if !self.store.loads.is_empty() {
            // Some bodies come back, some do not.
            let there = choices.flag();
            let ids = self.store.loads.remove(0);
            let unknown = || Publication::new(TopicName::new("f").expect("a topic name"), "body");
            let body = |id| there.then(|| self.store.body(id).unwrap_or_else(unknown));
            let bodies = ids.into_iter().map(|id| (id, body(id))).collect();
            return self.input(Input::Loaded(bodies));
        }
        let ticket = match self.store.write() {
            Some(ticket) => ticket,
            None if self.lawful => return,
            None => Ticket(u64::from(choices.byte())),
        };
        self.input(Input::Persisted(ticket));
    }

    pub(super) fn given_to_store(&mut self, ticket: Ticket, records: Vec<Record>) {
        assert!(ticket > self.store.issued, "tickets ascend");
        assert!(self.engine.config().session.durable, "there is no store");
        self.store.issued = ticket;
        match self.store.standing {
            Standing::Well => self.store.given.push_back((ticket, records)),
            Standing::InMemory => self.engine.handle(Input::Persisted(ticket), self.now()),
            Standing::Refusing => {}
        }
    }

    /// It fails for good. The client goes on in memory, or leaves to the next process what may not leave without it.
    pub(super) fn store_fails(&mut self, choices: &mut Choices<'_>) {
        let how = choices.byte();
        if self.lawful && !self.engine.config().session.durable {
            return;
        }
        let mut bodies = Vec::new();
        // What it was writing may be there all the same, though nobody will say so.
        for (at, (_, records)) in std::mem::take(&mut self.store.given).into_iter().enumerate() {
            bodies.extend(records.iter().filter_map(|record| match record {
                Record::Enqueued { id, publication, .. } => Some((*id, publication.clone())),
                _ => None,
            }));
            if at == 0 && how & 1 == 1 {
                self.store.kept.extend(records);
            }
        }
        if !self.lawful && how & 4 == 4 {
            bodies.push((PublishId(u64::from(choices.byte())), drawn::publication(choices)));
        }
        self.store.loads.clear();
        self.store.standing = if how & 2 == 2 { Standing::InMemory } else { Standing::Refusing };
        self.engine.handle(Input::StoreLost(bodies), self.now());
        if self.store.standing == Standing::InMemory {
            self.engine.handle(Input::Persisted(self.store.issued), self.now());
        }
        self.drain();
    }

    /// The process dies and another one takes up what it finds, perhaps with other settings.
    pub(super) fn restart(&mut self, choices: &mut Choices<'_>) {
        let landed = usize::from(choices.byte()) % (self.store.given.len() + 1);
        for _ in 0..landed {
            let _ = self.store.write();
        }
        if choices.byte() >= 192 {
            let (config, records) = super::setting::config(choices);
            let more = (0..records).map(|_| record(choices)).collect::<Vec<_>>();
            // It is the store of a client that keeps one to the end.
            if config.check().is_ok() && config.session.durable == self.engine.config().session.durable {
                self.config = config;
                self.store.kept.extend(more);
            }
        }
        self.begin();
    }
}

/// The state that these records add up to, and the names of the messages in it.
pub(super) fn recover(records: &[Record]) -> (Recovered, Vec<u64>) {
    let recovered = Recovered::replay(records.iter().cloned());
    let waiting = recovered.waiting.iter().map(|waits| waits.id.0);
    let sent = recovered.sent.iter().map(|was| was.id.0);
    let undecided = recovered.undecided.iter().map(|(id, _)| id.0);
    let names = waiting.chain(sent).chain(undecided).collect();
    (recovered, names)
}

/// Any record, of few names and identifiers.
pub(super) fn record(choices: &mut Choices<'_>) -> Record {
    let (choice, name) = (choices.byte(), u64::from(choices.byte() % 8) + 1);
    let (id, packet_id) = (PublishId(name), PacketId::MIN.saturating_add(u16::from(choice >> 5)));
    let held = MessageId(name);
    match choice % 24 {
        0..=5 => {
            let publication = drawn::publication(choices);
            Record::Enqueued { id, publication, accepted_wall_ms: u64::from(choices.number()) }
        }
        6..=9 => Record::Assigned { id, packet_id },
        10 => Record::Received { id },
        11 => Record::Asked { id },
        12 => Record::Lowered { id },
        13 => Record::MayRepeat { id },
        14 => Record::Leased { packet_id },
        15 => Record::LeaseEnded { packet_id },
        16 => Record::Requeued { id },
        17 => match choices.byte() % 3 {
            0 => Record::Done { id },
            1 => Record::Parked { id, why: Parking::Cut { cuts: 3 } },
            _ => Record::Parked { id, why: Parking::Unreadable },
        },
        18 | 19 => Record::Held { id: held, packet_id, message: message(held, choices) },
        20 => Record::Taken { id: held, digest: choices.flag().then(|| Digest::of("a", b"")) },
        21 => Record::Freed { id: held },
        22 => Record::SessionStarted {
            epoch: u64::from(choices.byte()),
            server: ["b", "d:1883", "x"][usize::from(choices.byte() % 3)].to_owned(),
        },
        _ => match choices.byte() % 4 {
            0 => Record::ConnectSent,
            1 => Record::ConnackSeen,
            2 => Record::Reached { wall_ms: u64::from(choices.number()) },
            _ => Record::ClientId { id: Text::from_static("chosen") },
        },
    }
}

fn message(id: MessageId, choices: &mut Choices<'_>) -> Message {
    let publication = drawn::publication(choices);
    Message {
        id: Some(id),
        topic: publication.topic.text().clone(),
        payload: publication.payload,
        qos: publication.qos,
        retain: publication.retain,
        dup: choices.flag(),
        properties: publication.properties,
    }
}
