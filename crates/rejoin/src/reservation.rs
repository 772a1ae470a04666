//! The bound of the queue: bytes and messages, reserved together before anything is accepted.

use rejoin_core::Publication;

use crate::error::NotAccepted;

/// What a message costs beside its own bytes: the records that follow it until it is answered for.
pub(crate) const OVERHEAD: u64 = 128;

/// How much of the queue is taken.
#[derive(Debug)]
pub(crate) struct Reservation {
    limit_bytes: u64,
    limit_messages: u64,
    bytes: u64,
    messages: u64,
    /// Taken beyond the limit since the driver last looked.
    ahead_bytes: u64,
    ahead_messages: u64,
    told_full: bool,
    /// From where the queue is high.
    high_bytes: u64,
    high_messages: u64,
    told_high: bool,
}

impl Reservation {
    pub(crate) const fn new(limit_bytes: u64, limit_messages: u64) -> Self {
        Self {
            limit_bytes,
            limit_messages,
            bytes: 0,
            messages: 0,
            ahead_bytes: 0,
            ahead_messages: 0,
            told_full: false,
            high_bytes: u64::MAX,
            high_messages: u64::MAX,
            told_high: false,
        }
    }

    /// From this share of the limit on the queue is high.
    pub(crate) const fn high_from(&mut self, percent: u8) {
        self.high_bytes = share(self.limit_bytes, percent);
        self.high_messages = share(self.limit_messages, percent);
    }

    /// Messages, bytes and their limit, if the queue becomes known as high just now.
    pub(crate) const fn tell_high(&mut self) -> Option<(u64, u64, u64)> {
        if self.told_high || (self.bytes < self.high_bytes && self.messages < self.high_messages) {
            return None;
        }
        self.told_high = true;
        Some((self.messages, self.bytes, self.limit_bytes))
    }

    /// Whether there is room for one message of `bytes`.
    pub(crate) const fn fits(&self, bytes: u64) -> Result<(), NotAccepted> {
        if bytes > self.limit_bytes {
            return Err(NotAccepted::LargerThanQueue { bytes, limit_bytes: self.limit_bytes });
        }
        if self.messages >= self.limit_messages || self.bytes + bytes > self.limit_bytes {
            return Err(self.full());
        }
        Ok(())
    }

    const fn full(&self) -> NotAccepted {
        NotAccepted::QueueFull { messages: self.messages, bytes: self.bytes, limit_bytes: self.limit_bytes }
    }

    /// Takes room for one message of `bytes`.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), NotAccepted> {
        self.fits(bytes)?;
        self.bytes += bytes;
        self.messages += 1;
        Ok(())
    }

    /// Takes room for one message of `bytes` beyond the limit: older ones will make room. No more than the limit until the
    /// driver looks, so that memory stays bounded while they have not yet.
    pub(crate) fn overdraw(&mut self, bytes: u64) -> Result<(), NotAccepted> {
        if bytes > self.limit_bytes {
            return Err(NotAccepted::LargerThanQueue { bytes, limit_bytes: self.limit_bytes });
        }
        if self.ahead_messages >= self.limit_messages || self.ahead_bytes + bytes > self.limit_bytes {
            return Err(self.full());
        }
        self.ahead_bytes += bytes;
        self.ahead_messages += 1;
        self.bytes += bytes;
        self.messages += 1;
        Ok(())
    }

    /// The driver takes what was accepted, and sees to it that older ones make room.
    pub(crate) const fn looked(&mut self) {
        (self.ahead_bytes, self.ahead_messages) = (0, 0);
    }

    /// Takes the room of messages an earlier process accepted; they are here whatever the limit is.
    pub(crate) const fn occupy(&mut self, bytes: u64, messages: u64) {
        self.bytes += bytes;
        self.messages += messages;
    }

    /// Bytes and messages taken beyond the limit.
    pub(crate) const fn overdraft(&self) -> (u64, u64) {
        (self.bytes.saturating_sub(self.limit_bytes), self.messages.saturating_sub(self.limit_messages))
    }

    /// Gives room back. True if the queue was reported full or high and is no longer.
    pub(crate) fn give_back(&mut self, bytes: u64, messages: u64) -> bool {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.messages = self.messages.saturating_sub(messages);
        // Some room below the limit first, so that a queue at its limit does not flap once per message.
        let room = self.bytes <= (self.limit_bytes / 4 * 3).min(self.high_bytes)
            && self.messages <= (self.limit_messages / 4 * 3).min(self.high_messages);
        let no_longer_full = (self.told_full || self.told_high) && room;
        if no_longer_full {
            (self.told_full, self.told_high) = (false, false);
        }
        no_longer_full
    }

    /// Whether the queue becomes known as full just now.
    pub(crate) const fn tell_full(&mut self) -> bool {
        !std::mem::replace(&mut self.told_full, true)
    }

    /// Of bytes and of messages.
    pub(crate) const fn limits(&self) -> (u64, u64) {
        (self.limit_bytes, self.limit_messages)
    }

    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a message of ordinary size has no room.
    pub(crate) const fn is_full(&self) -> bool {
        self.messages >= self.limit_messages || self.bytes + OVERHEAD > self.limit_bytes
    }
}

const fn share(limit: u64, percent: u8) -> u64 {
    match limit {
        u64::MAX => u64::MAX,
        limit => {
            limit - (limit as u128 * (100 - (if percent > 100 { 100 } else { percent }) as u128) / 100) as u64
        }
    }
}

/// The room a message takes, in bytes.
pub(crate) fn cost(publication: &Publication) -> u64 {
    let mut bytes = publication.topic.text().len() + publication.payload.len();
    if let Some(properties) = &publication.properties {
        bytes += properties.content_type.as_ref().map_or(0, |text| text.len())
            + properties.response_topic.as_ref().map_or(0, |text| text.len())
            + properties.correlation_data.as_ref().map_or(0, |data| data.len())
            + properties.user_properties.iter().map(|(k, v)| k.len() + v.len() + 16).sum::<usize>();
    }
    OVERHEAD + bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_together() {
        let mut room = Reservation::new(1000, 3);
        room.take(400).unwrap();
        assert!(matches!(room.take(1001), Err(NotAccepted::LargerThanQueue { bytes: 1001, .. })));
        assert!(matches!(room.take(601), Err(NotAccepted::QueueFull { messages: 1, bytes: 400, .. })));
        room.take(600).unwrap();
        assert!(matches!(room.take(1), Err(NotAccepted::QueueFull { .. })), "bytes");
        let _ = room.give_back(1000, 2);
        for _ in 0..3 {
            room.take(1).unwrap();
        }
        assert!(matches!(room.take(1), Err(NotAccepted::QueueFull { messages: 3, .. })), "messages");
    }

    #[test]
    fn an_overdraft_ends_with_the_limit_once_more_until_the_driver_looks() {
        let mut room = Reservation::new(1000, 100);
        room.take(1000).unwrap();
        room.overdraw(900).unwrap();
        assert_eq!(room.overdraft(), (900, 0));
        assert!(matches!(room.overdraw(101), Err(NotAccepted::QueueFull { .. })));
        assert!(matches!(room.overdraw(1001), Err(NotAccepted::LargerThanQueue { .. })));
        // What is on its way makes no room, and keeps out nothing.
        room.looked();
        room.overdraw(1000).unwrap();
        assert!(matches!(room.overdraw(1), Err(NotAccepted::QueueFull { bytes: 2900, .. })));
        let _ = room.give_back(1900, 2);
        assert_eq!(room.overdraft(), (0, 0));
    }

    #[test]
    fn high_is_told_once_until_there_is_room_again() {
        let mut room = Reservation::new(1000, u64::MAX);
        room.high_from(80);
        room.take(799).unwrap();
        assert_eq!(room.tell_high(), None);
        room.take(1).unwrap();
        assert_eq!(room.tell_high(), Some((2, 800, 1000)));
        assert_eq!(room.tell_high(), None, "once");
        assert!(!room.give_back(40, 0));
        assert!(room.give_back(20, 0), "three quarters");
        room.take(100).unwrap();
        assert!(room.tell_high().is_some(), "again");
    }

    #[test]
    fn full_is_told_once_and_unsaid_with_room_to_spare() {
        let mut room = Reservation::new(1000, 100);
        room.take(1000).unwrap();
        assert!(room.tell_full());
        assert!(!room.tell_full());
        assert!(!room.give_back(100, 0));
        assert!(room.give_back(200, 0));
        assert!(!room.give_back(200, 0));
    }
}
