//! What survives a link: the exchanges of the session, and the application's outbox and wishes, which survive
//! the session too.
//!
//! The session does not know whether a link exists. What it needs of one (how much may be sent, what the
//! server offers) the engine passes as an argument.

mod by_packet_id;
mod digest;
mod in_flight;
mod inbox;
mod outbox;
mod packed;
mod packet_ids;
mod quarantine;
mod record;
mod recovered;
mod subscriptions;
mod waiting;

pub use digest::Digest;
pub(crate) use in_flight::{Exchange, Stage};
pub(crate) use inbox::{Arrival, Content, Inbox, Taken};
pub(crate) use outbox::{Answered, Entry, Outbox};
pub(crate) use packet_ids::PacketIds;
pub(crate) use quarantine::{Culprit, Cut, Gate, Quarantine};
pub use record::{Parking, Record};
pub use recovered::{Recovered, Waits, WasHeld, WasSent};
pub(crate) use subscriptions::{Offer, SubscriptionAnswer, Subscriptions};
pub(crate) use waiting::Far;

use std::collections::BTreeMap;

use crate::codec::packet::{PacketId, Qos};
use crate::config::SessionConfig;
use crate::event::{Message, Outcome, PublishId, SessionLoss, SubscriptionId};
use crate::time::{Now, Timestamp};

/// Session state and what outlives it. Owned by the engine, not by the link: no loss of one takes anything of it away
/// [MQTT-4.1.0-1] [MQTT-3.1.2-23].
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
            outbox: Outbox::new(config.durable.then_some(config.memory_window_bytes)),
            inbox: Inbox::default(),
            subscriptions: Subscriptions::default(),
            quarantine: Quarantine::default(),
            epoch: 0,
            server: None,
            connack_unseen: false,
        }
    }

    /// See [`crate::Engine::rest`].
    pub(crate) fn rest(&mut self) {
        self.outbox.waiting.rest();
        self.outbox.in_flight.rest();
        self.inbox.rest();
    }

    /// Whether this client has a session on a server.
    pub(crate) fn exists(&self) -> bool {
        self.server.is_some()
    }

    /// Whether an exchange may belong to another life of the session.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.outbox.in_flight.is_in_doubt() || self.inbox.is_in_doubt()
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
        if unproven {
            self.inbox.doubt();
        }
        self.outbox.in_flight.resume(unproven)
    }

    /// A new session begins on this server; the old one, if there was one, is gone with all its identifiers.
    pub(crate) fn begin(&mut self, server: &str, config: &SessionConfig) -> Aftermath {
        let (loss, ended, undecided) = self.outbox.session_lost(config.on_loss);
        self.ids.clear();
        self.inbox.session_lost(config.durable);
        let unsubscribed = self.subscriptions.session_lost();
        self.is_at(server);
        Aftermath { loss, ended, undecided, unsubscribed }
    }

    /// Another session is ours from here on, which this server has.
    pub(crate) fn is_at(&mut self, server: &str) {
        self.epoch += 1;
        self.server = Some(server.to_owned());
    }

    /// Takes up what a store kept. Gives the messages that the application never took, and those it must decide on.
    pub(crate) fn restore(&mut self, kept: Recovered, config: &SessionConfig, now: Now) -> Restored {
        // QoS 1 needs no durable identifier, so it may have been sent before without a trace. With the option, QoS 2 may
        // have left as QoS 1.
        let may_repeat = |qos| qos == Qos::AtLeastOnce || qos == Qos::ExactlyOnce && config.lower_qos;
        let Recovered {
            waiting,
            sent,
            leased,
            undecided,
            held,
            epoch,
            server,
            connack_unseen,
            last_message,
            ..
        } = kept;
        self.epoch = epoch;
        self.server = server;
        self.connack_unseen = connack_unseen;
        let mut restored = Restored::default();
        // One that went on under another identifier is on the store under its first, which may be another's by now.
        let mut holders = BTreeMap::new();
        for was in &sent {
            self.ids.claim(was.packet_id);
            holders.insert(was.packet_id, was.id);
        }
        leased.iter().for_each(|packet_id| self.ids.claim(*packet_id));
        for was in sent {
            let mut entry = Entry::new(was.id, was.publication, when(was.expires_wall_ms, now));
            entry.attempts = 1;
            let is_its_own = holders.get(&was.packet_id) == Some(&was.id)
                // One that left under it as QoS 1 alone does not keep it taken: another did, and is over.
                && !(was.lowered && leased.contains(&was.packet_id));
            entry.sent = is_its_own;
            entry.possible_duplicate =
                was.possible_duplicate || !was.released && may_repeat(entry.publication.qos);
            let packet_id = if is_its_own { Some(was.packet_id) } else { self.ids.take() };
            let Some(packet_id) = packet_id else {
                self.outbox.waiting.push_again(entry);
                continue;
            };
            let released = was.released && !defect!(PubrecForgottenOnRestart);
            // Of another identifier the store knows nothing: whatever leaves at QoS 2 under it is noted first.
            let lowered = was.lowered || !is_its_own;
            let noted = !lowered && was.possible_duplicate == entry.possible_duplicate;
            let exchange = Exchange { lowered, noted, ..Exchange::new(packet_id, Stage::Published(entry)) };
            self.outbox.restore_sent(exchange, released);
        }
        for packet_id in leased {
            if !self.outbox.in_flight.restore_leased(packet_id) {
                restored.in_use_again.push(packet_id);
            }
        }
        for (id, publication) in undecided {
            let mut entry = Entry::new(id, publication, None);
            entry.attempts = 1;
            entry.possible_duplicate = true;
            self.outbox.restore_undecided(entry);
            restored.undecided.push(id);
        }
        self.restore_waiting(waiting, may_repeat, now);
        self.inbox.begin_behind(last_message);
        for was in held {
            self.inbox.restore(&was);
            restored.untaken.extend(was.message.map(|message| Message { id: Some(was.id), ..message }));
        }
        restored
    }

    /// `may_repeat`: whether a message of this QoS may have been sent without a trace.
    fn restore_waiting(&mut self, waiting: Vec<Waits>, may_repeat: impl Fn(Qos) -> bool, now: Now) {
        for waits in waiting.into_iter().filter(|_| !defect!(QueueLostOnRestart)) {
            let expires = when(waits.expires_wall_ms, now);
            let mut far = Far::new(waits.id, expires, waits.size_bytes);
            far.set_possible_duplicate(waits.possible_duplicate || may_repeat(waits.qos));
            // Its session was lost after it was sent: it is not called unsent, whatever becomes of it.
            far.set_sent(waits.possible_duplicate);
            let latest_of = waits.latest_of.filter(|_| !waits.possible_duplicate);
            self.outbox.waiting.restore_far(far, latest_of);
        }
    }
}

/// What the application has to be told of what a store kept.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) untaken: Vec<Message>,
    pub(crate) undecided: Vec<PublishId>,
    /// Identifiers that a message waits under, so they are not out of use.
    pub(crate) in_use_again: Vec<PacketId>,
}

/// A wall-clock moment on the monotonic clock; in the past when it is over.
fn when(wall_ms: Option<u64>, now: Now) -> Option<Timestamp> {
    wall_ms.map(|at| now.mono + std::time::Duration::from_millis(at.saturating_sub(now.wall_ms)))
}

/// The earlier of two moments that may not exist.
pub(crate) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
