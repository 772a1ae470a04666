//! How much a replay holds: a file may come from anywhere, and a few bytes of it may claim very many.

use std::collections::BTreeMap;

use super::call::Call;
use crate::engine::Engine;
use crate::event::PublishId;

/// Bytes a replay holds at most: four packets as large as MQTT has them. A flight that needs more is refused, with the
/// line.
pub(super) const HELD_MOST: u64 = 1024 * 1024 * 1024;

/// So little is not counted anew before it adds up: counting walks over what is in flight.
const SMALL: u64 = 1024 * 1024;

/// What the lines read so far claimed, as far as the engine may still have it.
#[derive(Debug)]
pub(super) struct Weight {
    most: u64,
    /// Of messages that were handed over and not answered for.
    messages: BTreeMap<PublishId, u64>,
    waiting: u64,
    /// Of the state the engine began with, which is taken to be kept to the end.
    begun: u64,
    /// Of everything else: what came from the peer, first of all.
    rest: u64,
}

impl Weight {
    pub(super) const fn up_to(most: u64) -> Self {
        Self { most, messages: BTreeMap::new(), waiting: 0, begun: 0, rest: 0 }
    }

    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// Before a line is read. `None`: it claims more than there is room for.
    pub(super) fn admit(&self, line: &str) -> Option<u64> {
        let bytes = claimed(line);
        let all = [self.begun, self.waiting, self.rest, bytes].into_iter().fold(0, u64::saturating_add);
        (all <= self.most).then_some(bytes)
    }

    /// A line of the state was read.
    pub(super) fn begin(&mut self, bytes: u64) {
        self.begun = self.begun.saturating_add(bytes);
    }

    /// A call of so many bytes was read.
    pub(super) fn add(&mut self, call: &Call, bytes: u64) {
        let Call::Publish { id, .. } = call else {
            self.rest = self.rest.saturating_add(bytes);
            return;
        };
        let before = self.messages.insert(*id, bytes).unwrap_or(0);
        self.waiting = self.waiting.saturating_sub(before).saturating_add(bytes);
    }

    /// A message was answered for.
    pub(super) fn answered(&mut self, id: PublishId) {
        self.waiting = self.waiting.saturating_sub(self.messages.remove(&id).unwrap_or(0));
    }

    /// Nothing more comes out of the engine: what came from the peer is gone, but for parts of packets and for QoS 2
    /// messages, of which the engine keeps the payload until they are released.
    pub(super) fn idle(&mut self, engine: &Engine) {
        if self.rest > SMALL {
            let held = engine.held();
            if held.ids_held + held.untaken == 0 {
                self.rest = held.unread_bytes as u64;
            }
        }
    }
}

/// Bytes that the runs of a line claim, and not fewer than those it has.
fn claimed(line: &str) -> u64 {
    let runs = line.split('x').skip(1).filter_map(|run| run.split_once(';')?.0.parse::<u64>().ok());
    runs.fold(line.len() as u64, u64::saturating_add)
}
