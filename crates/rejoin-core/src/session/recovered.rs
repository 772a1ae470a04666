//! What a store kept, as the engine takes it up.

use std::collections::{BTreeMap, BTreeSet};

use super::digest::Digest;
use super::record::Record;
use crate::codec::packet::{PacketId, Qos};
use crate::event::{Message, MessageId, Publication, PublishId};
use crate::text::Text;

/// The state all records of a client add up to; empty for a client without a store.
///
/// A store fills it when it is opened. Bodies of messages that only wait may stay on the store: the engine asks for
/// them with [`crate::Output::Load`] when their turn comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Messages that wait to be sent for the first time in the present session, in the order they were accepted.
    pub waiting: Vec<Waits>,
    /// Messages sent in the present session and not answered for: the released ones in the order of their PUBREC, and
    /// the others in the order they were first sent.
    pub sent: Vec<WasSent>,
    /// Identifiers that no message waits under and that stay taken until the session ends, as the server may hold the
    /// exchange: a new QoS 2 message under one of them would be taken for a copy.
    pub leased: Vec<PacketId>,
    /// Messages of a lost session that the application must decide on.
    pub undecided: Vec<(PublishId, Publication)>,
    /// Inbound QoS 2 messages not done with, in the order they came.
    pub held: Vec<WasHeld>,
    /// Counts the sessions of this client.
    pub epoch: u64,
    /// The server that has the present session.
    pub server: Option<String>,
    /// A CONNECT may have reached the broker without its CONNACK seen.
    pub connack_unseen: bool,
    /// The client id the server chose.
    pub client_id: Option<Text>,
    /// When attempts reached a broker lately, in milliseconds since the Unix epoch, oldest first.
    pub reached_wall_ms: Vec<u64>,
    /// The highest name of a publish ever given out. New ones begin above it, so that no name is used twice.
    pub last_publish: PublishId,
    /// The same for inbound messages.
    pub last_message: MessageId,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Its name.
    pub id: PublishId,
    /// QoS.
    pub qos: Qos,
    /// Bytes of topic and payload.
    pub size_bytes: u64,
    /// When it expires, in milliseconds since the Unix epoch; `None`: never.
    pub expires_wall_ms: Option<u64>,
    /// It was sent in a former session, or as QoS 1 though it is one of QoS 2, so a second copy may arrive.
    pub possible_duplicate: bool,
    /// Its topic, if a newer message to it takes its place.
    pub latest_of: Option<Text>,
    /// The body, where it is at hand.
    pub body: Option<Publication>,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasSent {
    /// Its name.
    pub id: PublishId,
    /// Its identifier in the present session.
    pub packet_id: PacketId,
    /// PUBREC came.
    pub released: bool,
    /// It was sent in a former session too, or as QoS 1 though it is one of QoS 2.
    pub possible_duplicate: bool,
    /// It left under this identifier as QoS 1 alone, though it is one of QoS 2: the server holds no exchange of QoS 2
    /// under it.
    pub lowered: bool,
    /// When it would expire, in milliseconds since the Unix epoch; it no longer does, but the server is told what
    /// is left.
    pub expires_wall_ms: Option<u64>,
    /// The body.
    pub publication: Publication,
}

/// An inbound QoS 2 message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasHeld {
    /// Our name of it.
    pub id: MessageId,
    /// The server's identifier, until PUBREL came or the session was lost.
    pub packet_id: Option<PacketId>,
    /// The message, unless the application took it.
    pub message: Option<Message>,
    /// What it was, where the application took it and its identifier is held. `None` too where it was taken in a process of
    /// a rejoin that kept none: what comes under its identifier is then taken for a copy, unless it says with a missing
    /// DUP that it is not, after a session that nobody can vouch for.
    pub digest: Option<Digest>,
}

impl Recovered {
    /// What these records add up to. For stores that keep records as they are; the order is theirs.
    pub fn replay(records: impl IntoIterator<Item = Record>) -> Self {
        let mut replay = Replay::default();
        for record in records {
            replay.apply(record);
        }
        replay.finish()
    }
}

#[derive(Debug)]
struct Accepted {
    publication: Publication,
    expires_wall_ms: Option<u64>,
    possible_duplicate: bool,
    asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    position: u64,
    packet_id: PacketId,
    /// PUBREC came.
    released: bool,
    lowered: bool,
}

#[derive(Debug)]
struct Holding {
    packet_id: Option<PacketId>,
    message: Option<Message>,
    digest: Option<Digest>,
}

/// The state while records are read.
#[derive(Debug, Default)]
struct Replay {
    accepted: BTreeMap<PublishId, Accepted>,
    sent: BTreeMap<PublishId, Sending>,
    leased: BTreeSet<PacketId>,
    held: BTreeMap<MessageId, Holding>,
    seq: u64,
    rest: Recovered,
}

impl Replay {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Enqueued { id, publication, accepted_wall_ms } => {
                let expires_wall_ms = publication.expires_wall_ms(accepted_wall_ms);
                let new = Accepted { publication, expires_wall_ms, possible_duplicate: false, asked: false };
                self.accepted.insert(id, new);
                self.rest.last_publish = self.rest.last_publish.max(id);
            }
            Record::Assigned { id, packet_id } => {
                self.seq += 1;
                // Under the same identifier again it is sent at QoS 2 after all, in its place.
                let again =
                    self.sent.get(&id).filter(|before| before.packet_id == packet_id && before.lowered);
                let position = again.map_or(self.seq, |before| before.position);
                self.sent.insert(id, Sending { position, packet_id, released: false, lowered: false });
                self.leased.remove(&packet_id);
            }
            Record::Received { id } => {
                if let Some(sending) = self.sent.get_mut(&id) {
                    // From here on its place is among the PUBRELs [MQTT-4.6.0-4].
                    self.seq += 1;
                    (sending.position, sending.released, sending.lowered) = (self.seq, true, false);
                }
            }
            Record::MayRepeat { id } => self.set_may_repeat(id),
            Record::Lowered { id } => {
                self.set_may_repeat(id);
                if let Some(sending) = self.sent.get_mut(&id) {
                    // Where its identifier stays taken, it went on under another, or that one keeps it from it.
                    sending.lowered |= !self.leased.contains(&sending.packet_id);
                }
            }
            Record::Leased { packet_id } => {
                self.leased.insert(packet_id);
            }
            Record::LeaseEnded { packet_id } => {
                self.leased.remove(&packet_id);
            }
            Record::Asked { id } => self.set_asked(id, true),
            Record::Requeued { id } => {
                self.sent.remove(&id);
                self.set_asked(id, false);
            }
            Record::Done { id } | Record::Parked { id, .. } => {
                self.accepted.remove(&id);
                self.sent.remove(&id);
            }
            Record::Held { .. } | Record::Taken { .. } | Record::Freed { .. } => self.apply_inbound(record),
            Record::ConnectSent => self.rest.connack_unseen = true,
            Record::Reached { wall_ms } => self.rest.reached_wall_ms.push(wall_ms),
            Record::ConnackSeen => self.rest.connack_unseen = false,
            Record::ClientId { id } => self.rest.client_id = Some(id),
            Record::SessionStarted { epoch, server } => {
                for id in std::mem::take(&mut self.sent).into_keys() {
                    self.set_may_repeat(id);
                }
                self.held.retain(|_, holding| {
                    holding.packet_id = None;
                    holding.message.is_some()
                });
                self.leased.clear();
                self.rest.epoch = epoch;
                self.rest.server = Some(server);
            }
        }
    }

    fn set_may_repeat(&mut self, id: PublishId) {
        if let Some(accepted) = self.accepted.get_mut(&id) {
            accepted.possible_duplicate = true;
        }
    }

    fn set_asked(&mut self, id: PublishId, asked: bool) {
        if let Some(accepted) = self.accepted.get_mut(&id) {
            accepted.asked = asked;
        }
    }

    fn apply_inbound(&mut self, record: Record) {
        match record {
            Record::Held { id, packet_id, message } => {
                let holding = Holding { packet_id: Some(packet_id), message: Some(message), digest: None };
                self.held.insert(id, holding);
                self.rest.last_message = self.rest.last_message.max(id);
            }
            Record::Taken { id, digest } => self.let_go(id, |holding| {
                holding.message = None;
                holding.digest = digest;
            }),
            Record::Freed { id } => self.let_go(id, |holding| holding.packet_id = None),
            _ => {}
        }
    }

    fn let_go(&mut self, id: MessageId, how: impl FnOnce(&mut Holding)) {
        if let Some(holding) = self.held.get_mut(&id) {
            how(holding);
            if holding.packet_id.is_none() && holding.message.is_none() {
                self.held.remove(&id);
            }
        }
    }

    fn finish(mut self) -> Recovered {
        let mut order: Vec<_> = self.sent.into_iter().collect();
        order.sort_unstable_by_key(|(_, sending)| sending.position);
        for (id, Sending { packet_id, released, lowered, .. }) in order {
            if let Some(Accepted { publication, expires_wall_ms, possible_duplicate, .. }) =
                self.accepted.remove(&id)
            {
                self.rest.sent.push(WasSent {
                    id,
                    packet_id,
                    released,
                    possible_duplicate,
                    lowered,
                    expires_wall_ms,
                    publication,
                });
            }
        }
        for (id, accepted) in self.accepted {
            let Accepted { publication, expires_wall_ms, possible_duplicate, asked } = accepted;
            if asked {
                self.rest.undecided.push((id, publication));
                continue;
            }
            self.rest.waiting.push(Waits {
                id,
                qos: publication.qos,
                size_bytes: publication.size_bytes(),
                expires_wall_ms,
                possible_duplicate,
                latest_of: publication.latest_only.then(|| publication.topic.text().clone()),
                body: Some(publication),
            });
        }
        self.rest.leased = self.leased.into_iter().collect();
        for (id, Holding { packet_id, message, digest }) in self.held {
            self.rest.held.push(WasHeld { id, packet_id, message, digest });
        }
        self.rest
    }
}
