//! The order in which a client has to answer what was sent to it.

use std::collections::VecDeque;

use rejoin_core::codec::packet::PacketId;

/// Messages of one QoS that were sent on a connection and not answered, in order.
///
/// A client may leave one unanswered, because nothing took it, and answer what came behind it: the standard wants an order
/// of the answers that it sends. So it is the answer of the earlier one, coming late, that is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    waiting: VecDeque<(PacketId, u64)>,
    sent: u64,
    /// The latest that was answered.
    answered: u64,
}

impl Owed {
    pub(super) fn sent(&mut self, packet_id: PacketId) {
        self.sent += 1;
        self.waiting.push_back((packet_id, self.sent));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The answer came. `None`: no such message waits for one; else whether it is in order.
    pub(super) fn answered(&mut self, packet_id: PacketId) -> Option<bool> {
        let place = |late: bool| {
            let fits = |(id, number): &(PacketId, u64)| *id == packet_id && (late || *number > self.answered);
            self.waiting.iter().position(fits)
        };
        // Of one that was sent twice either may be meant: it is late only where it is for both.
        let at = place(false).or_else(|| place(true))?;
        let (_, number) = self.waiting.remove(at)?;
        let in_order = number > self.answered;
        self.answered = self.answered.max(number);
        Some(in_order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_may_be_left_out_and_not_come_late() {
        let id = |n| PacketId::new(n).unwrap();
        let mut owed = Owed::default();
        (1..=3).for_each(|n| owed.sent(id(n)));
        assert_eq!(owed.answered(id(2)), Some(true));
        assert_eq!(owed.answered(id(3)), Some(true));
        assert_eq!(owed.answered(id(1)), Some(false));
        assert_eq!(owed.answered(id(1)), None);
    }
}
