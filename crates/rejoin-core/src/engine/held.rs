//! Counts what the machines hold.

use super::Engine;
use crate::codec::packet::PacketId;
use crate::event::MessageId;
use crate::held::HeldCounts;
use crate::session::Content;

impl Engine {
    /// What the engine holds now, counted for the purpose: it walks over no message, but over every exchange in flight.
    pub fn held(&self) -> HeldCounts {
        let mut held = HeldCounts {
            packet_ids: self.session.ids.in_use(),
            storing: self.journal.storing.len(),
            outputs: self.outputs.len(),
            ..HeldCounts::default()
        };
        self.session.outbox.count(&mut held);
        self.session.inbox.count(&mut held);
        self.session.subscriptions.count_held(&mut held);
        if let Some(link) = &self.link {
            link.count(&mut held);
        }
        held
    }

    /// See [`crate::session::Inbox::content`].
    pub(crate) fn held_content(&self, packet_id: PacketId, message: MessageId) -> Option<Option<&Content>> {
        self.session.inbox.content(packet_id, message)
    }
}
