//! How much a replay holds: a file may come from anywhere, and a few bytes of it may claim very many.
//!
//! What the lines claim is added up. Most of it the engine does not keep, so now and then it is asked how many things it
//! has, and none of them is larger than the largest that came.

use std::collections::BTreeMap;

use super::call::Call;
use crate::codec::properties_len;
use crate::engine::Engine;
use crate::event::{Publication, PublishId};
use crate::held::HeldCounts;
use crate::interface::Input;

/// Bytes a replay holds at most: four packets as large as MQTT has them. A flight that needs more is refused, with the
/// line.
pub(super) const HELD_MOST: u64 = 1024 * 1024 * 1024;

/// So little is not counted anew before it adds up: counting walks over what is in flight.
const SMALL: u64 = 1024 * 1024;

/// Bytes that a body takes beyond what it says, roughly.
const PLACE: u64 = 200;

/// What the lines read so far claimed, as far as the engine may still have it.
#[derive(Debug)]
pub(super) struct Weight {
    most: u64,
    /// So much more is claimed before the engine is asked again.
    step: u64,
    /// Of messages that were handed over, or came from the store, and were not answered for.
    messages: BTreeMap<PublishId, u64>,
    unanswered: u64,
    /// Of those, what may be in memory: the bodies of others are on a store alone.
    near: Gauge,
    /// Of the state the engine began with, which is taken to be kept to the end.
    begun: u64,
    /// Of everything else: what came from the peer, first of all.
    rest: Gauge,
    /// The largest of the messages, and the most that one of them is beyond its topic and payload.
    message_most: u64,
    beyond_most: u64,
    /// The most that can have made one packet of the peer.
    packet_most: u64,
    /// Parts of packets, when this was counted last.
    unread: u64,
}

/// A sum that is put right now and then.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    /// What it was then.
    counted: u64,
    /// What was added since.
    added: u64,
}

impl Gauge {
    const fn sum(self) -> u64 {
        self.counted.saturating_add(self.added)
    }

    const fn add(&mut self, bytes: u64) {
        self.added = self.added.saturating_add(bytes);
    }

    /// It is no more than that.
    fn put_right(&mut self, counted: u64) {
        *self = Self { counted: counted.min(self.sum()), added: 0 };
    }
}

impl Weight {
    pub(super) fn up_to(most: u64) -> Self {
        Self {
            most,
            step: SMALL.min(most / 16),
            messages: BTreeMap::new(),
            unanswered: 0,
            near: Gauge::default(),
            begun: 0,
            rest: Gauge::default(),
            message_most: 0,
            beyond_most: 0,
            packet_most: 0,
            unread: 0,
        }
    }

    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// Before a line is read. `None`: it claims more than there is room for.
    pub(super) fn admit(&self, line: &str) -> Option<u64> {
        let bytes = claimed(line);
        let waiting = self.near.sum().min(self.unanswered);
        let all = [self.begun, waiting, self.rest.sum(), bytes].into_iter().fold(0, u64::saturating_add);
        (all <= self.most).then_some(bytes)
    }

    /// A line of the state was read.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.begun = self.begun.saturating_add(bytes);
    }

    /// A call of so many bytes was read.
    pub(super) fn add(&mut self, call: &Call, bytes: u64) {
        match call {
            Call::Publish { id, publication } => {
                self.answered(*id);
                self.message(*id, bytes, bytes.saturating_sub(publication.size_bytes()));
            }
            Call::Handle(Input::Loaded(bodies)) => {
                bodies.iter().filter_map(|(id, body)| Some((*id, body.as_ref()?))).for_each(|(id, body)| {
                    self.loaded(id, body);
                });
            }
            Call::Handle(Input::StoreLost(bodies)) => {
                bodies.iter().for_each(|(id, body)| self.loaded(*id, body));
            }
            _ => self.rest.add(bytes),
        }
    }

    /// A body comes from the store: of a message that was handed over before, perhaps to the process before. What its line
    /// claims is of all bodies in it, so each is asked for its own.
    fn loaded(&mut self, id: PublishId, body: &Publication) {
        let properties = body.properties.as_deref().map_or(0, properties_len) as u64;
        let beyond = properties.saturating_add(PLACE);
        self.answered(id);
        self.message(id, body.size_bytes().saturating_add(beyond), beyond);
    }

    fn message(&mut self, id: PublishId, bytes: u64, beyond: u64) {
        self.messages.insert(id, bytes);
        self.unanswered = self.unanswered.saturating_add(bytes);
        self.near.add(bytes);
        self.message_most = self.message_most.max(bytes);
        self.beyond_most = self.beyond_most.max(beyond);
    }

    /// A message was answered for.
    pub(super) fn answered(&mut self, id: PublishId) {
        self.unanswered = self.unanswered.saturating_sub(self.messages.remove(&id).unwrap_or(0));
    }

    /// Nothing more comes out of the engine: what came from the peer is gone, but for parts of packets and for QoS 2
    /// messages, of which the engine keeps the payload until they are released. What was handed over may be on the store.
    pub(super) fn idle(&mut self, engine: &Engine) {
        if self.rest.added.saturating_add(self.near.added) > self.step {
            self.count(&engine.held());
        }
    }

    fn count(&mut self, held: &HeldCounts) {
        let times = |things: usize, most: u64| (things as u64).saturating_mul(most);
        self.packet_most = self.packet_most.max(self.unread.saturating_add(self.rest.added));
        self.unread = held.unread_bytes as u64;
        let kept = times(held.ids_held.saturating_add(held.untaken), self.packet_most);
        self.rest.put_right(kept.saturating_add(self.unread));
        let whole = [held.in_flight, held.put_off, held.unsent, held.waiting_packed, held.waiting_latest];
        let whole = times(whole.into_iter().fold(0, usize::saturating_add), self.message_most);
        let near = held.waiting_near_bytes.saturating_add(times(held.waiting_near, self.beyond_most));
        self.near.put_right(near.saturating_add(whole).min(self.unanswered));
    }
}

/// Bytes that the runs of a line claim, and not fewer than those it has.
fn claimed(line: &str) -> u64 {
    let runs = line.split('x').skip(1).filter_map(|run| run.split_once(';')?.0.parse::<u64>().ok());
    runs.fold(line.len() as u64, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicName;

    #[test]
    fn bodies_of_one_line_weigh_what_each_of_them_is() {
        let body = || Some(Publication::new(TopicName::new("plant/1/temp").unwrap(), vec![b'x'; 256]));
        let bodies: Vec<_> = (1..=4096).map(|id| (PublishId(id), body())).collect();
        let bytes = 4096 * 320;
        let mut weight = Weight::up_to(4 * 1024 * 1024);
        weight.add(&Call::Handle(Input::Loaded(bodies)), bytes);
        assert_eq!(weight.admit("next"), Some(4));
        let mut held = HeldCounts::default();
        (held.waiting_near, held.waiting_near_bytes) = (4096, 4096 * 268);
        weight.count(&held);
        assert_eq!(weight.admit("next"), Some(4), "nor when the engine was asked");
        assert!(weight.near.sum() >= 4096 * 268, "{weight:?}");
    }
}
