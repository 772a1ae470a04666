//! What a group of records changes on the disk, before anything is written: what came and went within the group is
//! never written at all.

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::codec::packet::PacketId;
use rejoin_core::{Message, MessageId, Parking, Publication, PublishId};

use super::row::{Exchange, Holding, Identity, Names, REACHED_MOST, SessionRow};
use crate::store::Record;

/// What a store keeps in memory: everything but messages, which is bounded by the identifiers of MQTT.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) identity: Identity,
    pub(super) session: SessionRow,
    pub(super) names: Names,
    pub(super) exchanges: BTreeMap<PublishId, Exchange>,
    pub(super) holdings: BTreeMap<MessageId, Holding>,
    pub(super) parked: BTreeSet<PublishId>,
    /// The order of the next exchange.
    pub(super) next_order: u64,
    /// Bytes of all rows.
    pub(super) live_bytes: u64,
}

/// Changes over a map that stays as it is until they are on the disk.
#[derive(Debug)]
pub(super) struct Overlay<'a, K, V> {
    base: &'a BTreeMap<K, V>,
    pub(super) changed: BTreeMap<K, Option<V>>,
}

impl<'a, K: Ord + Copy, V: Copy> Overlay<'a, K, V> {
    const fn new(base: &'a BTreeMap<K, V>) -> Self {
        Self { base, changed: BTreeMap::new() }
    }

    fn get(&self, key: K) -> Option<V> {
        self.changed.get(&key).copied().unwrap_or_else(|| self.base.get(&key).copied())
    }

    fn set(&mut self, key: K, value: V) {
        self.changed.insert(key, Some(value));
    }

    /// Changes what is there.
    fn update(&mut self, key: K, how: impl FnOnce(&mut V)) {
        if let Some(mut value) = self.get(key) {
            how(&mut value);
            self.set(key, value);
        }
    }

    fn remove(&mut self, key: K) {
        if self.base.contains_key(&key) {
            self.changed.insert(key, None);
        } else {
            self.changed.remove(&key);
        }
    }

    fn keys(&self) -> Vec<K> {
        let new = self.changed.keys().filter(|key| !self.base.contains_key(key));
        self.base.keys().chain(new).copied().collect()
    }
}

/// A message and when it was accepted, in milliseconds since the Unix epoch.
pub(super) type New<'a> = (&'a Publication, u64);

/// The changes of one commit.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) new: BTreeMap<PublishId, New<'a>>,
    /// Rows of messages that go, if there are any.
    pub(super) gone: BTreeSet<PublishId>,
    pub(super) exchanges: Overlay<'a, PublishId, Exchange>,
    pub(super) inbox: BTreeMap<MessageId, (PacketId, &'a Message)>,
    pub(super) holdings: Overlay<'a, MessageId, Holding>,
    pub(super) parked: Vec<(PublishId, Parking, Option<New<'a>>)>,
    pub(super) session: SessionRow,
    pub(super) names: Names,
    pub(super) next_order: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(index: &'a Index, records: &'a [Record]) -> Self {
        let mut plan = Self {
            new: BTreeMap::new(),
            gone: BTreeSet::new(),
            exchanges: Overlay::new(&index.exchanges),
            inbox: BTreeMap::new(),
            holdings: Overlay::new(&index.holdings),
            parked: Vec::new(),
            session: index.session.clone(),
            names: index.names,
            next_order: index.next_order,
        };
        for record in records {
            plan.apply(record);
        }
        plan
    }

    fn apply(&mut self, record: &'a Record) {
        match record {
            Record::Enqueued { id, publication, accepted_wall_ms } => {
                self.gone.remove(id);
                self.new.insert(*id, (publication, *accepted_wall_ms));
                self.exchanges.update(*id, |exchange| {
                    *exchange = Exchange { asked: false, again: false, ..*exchange };
                });
                Names::reserve(&mut self.names.publish_most, id.0);
            }
            Record::Assigned { id, packet_id } => self.assign(*id, *packet_id),
            Record::Received { id } => {
                // From here on its place is among the PUBRELs [MQTT-4.6.0-4].
                let order = self.next_order;
                self.next_order += 1;
                self.exchanges.update(*id, |exchange| {
                    let released = exchange.packet_id.is_some();
                    *exchange = Exchange { order, released, lowered: false, ..*exchange };
                });
            }
            Record::Lowered { id } => {
                let before = self.exchanges.get(*id).unwrap_or_default();
                // Where its identifier stays taken, it went on under another.
                let on_its_own = before.packet_id.is_some_and(|id| !self.session.leased.contains(&id));
                let lowered = before.lowered || on_its_own;
                self.exchanges.set(*id, Exchange { again: true, lowered, ..before });
            }
            Record::MayRepeat { id } => {
                let before = self.exchanges.get(*id).unwrap_or_default();
                self.exchanges.set(*id, Exchange { again: true, ..before });
            }
            Record::Leased { packet_id } => {
                let leased = &mut self.session.leased;
                if let Err(place) = leased.binary_search(packet_id) {
                    leased.insert(place, *packet_id);
                }
            }
            Record::LeaseEnded { packet_id } => self.session.leased.retain(|leased| leased != packet_id),
            Record::Asked { id } => {
                let before = self.exchanges.get(*id).unwrap_or_default();
                self.exchanges.set(*id, Exchange { asked: true, ..before });
            }
            Record::Requeued { id } => self.exchanges.update(*id, |exchange| {
                let (packet_id, released, asked, lowered) = (None, false, false, false);
                *exchange = Exchange { packet_id, released, asked, lowered, ..*exchange };
            }),
            Record::Done { id } => {
                self.end(*id);
            }
            Record::Parked { id, why } => {
                let publication = self.end(*id);
                self.parked.push((*id, *why, publication));
            }
            Record::Held { .. } | Record::Taken { .. } | Record::Freed { .. } => self.apply_inbound(record),
            Record::SessionStarted { epoch, server } => self.start_session(*epoch, server),
            Record::ConnectSent => self.session.connack_unseen = true,
            Record::ConnackSeen => self.session.connack_unseen = false,
            Record::ClientId { id } => self.session.assigned_client_id = Some(id.clone()),
            Record::Reached { wall_ms } => {
                let reached = &mut self.session.reached_wall_ms;
                reached.push(*wall_ms);
                reached.drain(..reached.len().saturating_sub(REACHED_MOST));
            }
            // The engine of this version has no other facts.
            _ => {}
        }
    }

    fn assign(&mut self, id: PublishId, packet_id: PacketId) {
        let before = self.exchanges.get(id).unwrap_or_default();
        self.session.leased.retain(|leased| *leased != packet_id);
        let packet_id = Some(packet_id);
        // Under the same identifier again it is sent at QoS 2 after all, in its place.
        let again = before.lowered && before.packet_id == packet_id;
        let order = if again { before.order } else { self.next_order };
        self.next_order += 1;
        self.exchanges.set(id, Exchange { order, packet_id, released: false, lowered: false, ..before });
    }

    /// Gives the message, where this very group brought it.
    fn end(&mut self, id: PublishId) -> Option<New<'a>> {
        self.exchanges.remove(id);
        let new = self.new.remove(&id);
        self.gone.insert(id);
        new
    }

    fn apply_inbound(&mut self, record: &'a Record) {
        match record {
            Record::Held { id, packet_id, message } => {
                self.inbox.insert(*id, (*packet_id, message));
                self.holdings.set(*id, Holding { packet_id: Some(*packet_id), taken: false, digest: None });
                Names::reserve(&mut self.names.message_most, id.0);
            }
            Record::Taken { id, digest } => self.let_go(*id, |holding| {
                *holding = Holding { taken: true, digest: *digest, ..*holding };
            }),
            Record::Freed { id } => self.let_go(*id, |holding| holding.packet_id = None),
            _ => {}
        }
    }

    fn let_go(&mut self, id: MessageId, how: impl FnOnce(&mut Holding)) {
        let Some(mut holding) = self.holdings.get(id) else { return };
        how(&mut holding);
        if holding.taken {
            self.inbox.remove(&id);
        }
        if holding.taken && holding.packet_id.is_none() {
            self.holdings.remove(id);
        } else {
            self.holdings.set(id, holding);
        }
    }

    /// Identifiers of the old session mean nothing any more.
    fn start_session(&mut self, epoch: u64, server: &str) {
        for id in self.exchanges.keys() {
            self.exchanges.update(id, |exchange| {
                exchange.again |= exchange.packet_id.is_some();
                exchange.packet_id = None;
                exchange.released = false;
                exchange.lowered = false;
            });
        }
        for id in self.holdings.keys() {
            self.let_go(id, |holding| holding.packet_id = None);
        }
        self.session.leased.clear();
        self.session.epoch = epoch;
        self.session.server = Some(server.to_owned());
    }
}
