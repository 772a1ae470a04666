//! What a burst needed and a quiet client does not.

use super::Engine;

impl Engine {
    /// Nothing is expected to happen for a while: queues that are empty give back the room they had grown to. Changes
    /// nothing that can be seen but the memory that is used; whoever has many clients of which most are quiet calls it
    /// when the one is.
    pub fn rest(&mut self) {
        if self.outputs.is_empty() {
            self.outputs.shrink_to_fit();
        }
        if self.journal.storing.is_empty() {
            self.journal.storing.shrink_to_fit();
        }
        self.wire.rest();
        self.session.rest();
        if let Some(link) = &mut self.link {
            link.rest();
        }
    }
}
