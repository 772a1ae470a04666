//! What survives a link: the exchanges of the session, and the application's outbox and wishes, which survive
//! the session too.
//!
//! The session does not know whether a link exists. What it needs of one (how much may be sent, what the
//! server offers) the engine passes as an argument.

mod in_flight;
mod inbox;
mod outbox;
mod packet_ids;
mod quarantine;
mod record;
mod subscriptions;

use std::collections::BTreeMap;

pub(crate) use in_flight::{Exchange, Stage};
pub(crate) use inbox::{Arrival, Inbox};
pub(crate) use outbox::{Answered, Entry, Outbox};
pub(crate) use packet_ids::PacketIds;
pub(crate) use quarantine::{Cut, Gate, Quarantine};
pub use record::Record;
pub(crate) use subscriptions::{Offer, SubscriptionAnswer, Subscriptions};

use crate::codec::packet::PacketId;
use crate::config::SessionConfig;
use crate::event::{Message, MessageId, Outcome, Publication, PublishId, SessionLoss, SubscriptionId};
use crate::time::{Now, Timestamp};

/// Session state and what outlives it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) ids: PacketIds,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) quarantine: Quarantine,
    /// Counts the sessions of this client.
    pub(crate) epoch: u64,
    /// The server that has the present session; `None` before the first.
    pub(crate) server: Option<String>,
    /// A CONNECT may have reached the broker without its CONNACK seen: Session Present proves nothing next time.
    pub(crate) connack_unseen: bool,
}

/// What a lost session leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) loss: SessionLoss,
    pub(crate) ended: Vec<(PublishId, Outcome)>,
    pub(crate) undecided: Vec<PublishId>,
    pub(crate) unsubscribed: Vec<SubscriptionId>,
}

impl Session {
    pub(crate) fn new(config: &SessionConfig, seed: u64) -> Self {
        let mut ids = PacketIds::new(config.packet_id_max);
        if config.adopt {
            // Another process may have left exchanges under low identifiers.
            ids.begin_behind(u16::try_from(seed % u64::from(u16::MAX)).unwrap_or(0));
        }
        Self {
            ids,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            subscriptions: Subscriptions::default(),
            quarantine: Quarantine::default(),
            epoch: 0,
            server: None,
            connack_unseen: false,
        }
    }

    /// Whether this client has a session on a server.
    pub(crate) fn exists(&self) -> bool {
        self.server.is_some()
    }

    /// Whether an exchange may belong to another life of the session.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.outbox.in_flight.is_in_doubt()
    }

    /// The link is gone: nothing is on the wire, nothing is granted for sure.
    /// Gives the wishes that ended with it.
    pub(crate) fn link_down(&mut self) -> Vec<SubscriptionId> {
        self.outbox.in_flight.link_down();
        self.inbox.link_down();
        let (open, ended) = self.subscriptions.link_down();
        for id in open {
            self.ids.free(id);
        }
        ended
    }

    /// The server has the session. `unproven`: it may be another life of it. Gives the packets to send again.
    pub(crate) fn resume(&mut self, unproven: bool, resubscribe: bool) -> usize {
        self.subscriptions.link_up(resubscribe);
        self.outbox.in_flight.resume(unproven)
    }

    /// A new session begins on this server; the old one, if there was one, is gone with all its identifiers.
    pub(crate) fn begin(&mut self, server: &str, config: &SessionConfig) -> Aftermath {
        let (loss, ended, undecided) = self.outbox.session_lost(config.on_loss);
        self.ids.clear();
        self.inbox.session_lost();
        let unsubscribed = self.subscriptions.session_lost();
        self.epoch += 1;
        self.server = Some(server.to_owned());
        Aftermath { loss, ended, undecided, unsubscribed }
    }

    /// Takes up what a store kept. Gives the messages that the application never took.
    pub(crate) fn restore(&mut self, records: Vec<Record>, now: Now) -> Vec<(MessageId, Message)> {
        let mut replay = Replay::default();
        for record in records {
            replay.apply(record);
        }
        self.epoch = replay.epoch;
        self.server = replay.server;
        self.connack_unseen = replay.connack_unseen;
        let mut order: Vec<_> = replay.exchanges.iter().map(|(id, (seq, ..))| (*seq, *id)).collect();
        order.sort_unstable();
        for (_, id) in order {
            if let (Some((_, packet_id, released)), Some((publication, accepted))) =
                (replay.exchanges.get(&id).copied(), replay.publications.remove(&id))
            {
                self.ids.claim(packet_id);
                let mut entry = restored_entry(id, publication, accepted, now);
                entry.attempts = 1;
                entry.sent = true;
                self.outbox.restore(entry, Some((packet_id, released)));
            }
        }
        for (id, (publication, accepted)) in replay.publications {
            self.outbox.restore(restored_entry(id, publication, accepted, now), None);
        }
        let mut untaken = Vec::new();
        for (packet_id, message) in replay.held {
            let name = self.inbox.restore(packet_id, message.is_none());
            if let (Some(name), Some(message)) = (name, message) {
                untaken.push((name, message));
            }
        }
        untaken
    }
}

fn restored_entry(id: PublishId, publication: Publication, accepted_wall_ms: u64, now: Now) -> Entry {
    let age = std::time::Duration::from_millis(now.wall_ms.saturating_sub(accepted_wall_ms));
    let expires = publication.expires_after.map(|after| now.mono + after.saturating_sub(age));
    // QoS 1 needs no durable identifier, so it may have been sent before without a trace.
    let possible_duplicate = publication.qos == crate::codec::packet::Qos::AtLeastOnce;
    Entry { id, publication, expires, attempts: 0, sent: false, possible_duplicate, refusals: 0 }
}

/// The state the records add up to.
#[derive(Default)]
struct Replay {
    publications: BTreeMap<PublishId, (Publication, u64)>,
    exchanges: BTreeMap<PublishId, (u64, PacketId, bool)>,
    /// `None`: the application took it.
    held: BTreeMap<PacketId, Option<Message>>,
    seq: u64,
    epoch: u64,
    server: Option<String>,
    connack_unseen: bool,
}

impl Replay {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Enqueued { id, publication, accepted_wall_ms } => {
                self.publications.insert(id, (publication, accepted_wall_ms));
            }
            Record::Assigned { id, packet_id } => {
                self.seq += 1;
                self.exchanges.insert(id, (self.seq, packet_id, false));
            }
            Record::Received { id } => {
                if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.2 = true;
                }
            }
            Record::Done { id } => {
                self.publications.remove(&id);
                self.exchanges.remove(&id);
            }
            Record::Held { packet_id, message } => {
                self.held.insert(packet_id, Some(message));
            }
            Record::Taken { packet_id } => {
                self.held.insert(packet_id, None);
            }
            Record::Freed { packet_id } => {
                self.held.remove(&packet_id);
            }
            Record::SessionStarted { epoch, server } => {
                self.exchanges.clear();
                self.held.clear();
                self.epoch = epoch;
                self.server = Some(server);
            }
            Record::ConnectSent => self.connack_unseen = true,
            Record::ConnackSeen => self.connack_unseen = false,
        }
    }
}

/// The earlier of two moments that may not exist.
pub(crate) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
