//! Messages that wait in memory while the broker is away, each as one piece of memory.
//!
//! A [`Publication`] is made to be worked with: topic and payload are two handles to memory of their own, with room for
//! all that can be asked. A backlog is long and only kept, so what it holds of a message is a copy without gaps:
//!
//! ```text
//!   flags │ length of the topic │ expires after, if it does │ topic │ payload
//!     1   │          2          │            12             │
//! ```

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::outbox::Entry;
use crate::codec::packet::Qos;
use crate::config::SessionLossPolicy;
use crate::event::{Publication, PublishId};
use crate::text::Text;
use crate::time::Timestamp;
use crate::topic::TopicName;

/// Payloads above are not copied: what is saved is little beside them.
const COPIED_MOST: usize = 4096;
/// Payloads above are not copied while somebody else holds them too: the copy would be memory on top.
const SHARED_MOST: usize = size_of::<Publication>();

const EXPIRES: u8 = 1 << 7;
const RETAIN: u8 = 1 << 6;
const QUEUE_QOS0: u8 = 1 << 5;
const LATEST_ONLY: u8 = 1 << 4;
/// Above the two bits of the QoS: 0 for none, else one more than the policy's number.
const ON_LOSS_SHIFT: u8 = 2;
const FLAGS_AND_LENGTH: usize = 3;
const EXPIRES_LENGTH: usize = 12;

/// A message that was never sent.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) id: PublishId,
    pub(crate) place: u64,
    /// [`Timestamp::NEVER`]: it does not expire.
    pub(crate) expires: Timestamp,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Copied(Box<[u8]>),
    /// What a copy would not make smaller.
    Whole(Box<Publication>),
}

impl Packed {
    pub(crate) fn new(entry: Entry) -> Self {
        debug_assert!(entry.attempts == 0 && entry.refusals == 0 && !entry.possible_duplicate);
        Self {
            id: entry.id,
            place: entry.place,
            expires: entry.expires.unwrap_or(Timestamp::NEVER),
            body: Body::of(entry.publication),
        }
    }

    pub(crate) fn unpack(self) -> Entry {
        let expires = (self.expires != Timestamp::NEVER).then_some(self.expires);
        let publication = match self.body {
            Body::Whole(publication) => *publication,
            Body::Copied(bytes) => unpack(bytes.into()),
        };
        let mut entry = Entry::new(self.id, publication, expires);
        entry.place = self.place;
        entry
    }

    pub(crate) fn is_queued(&self) -> bool {
        match &self.body {
            Body::Whole(publication) => publication.is_queued(),
            Body::Copied(bytes) => bytes[0] & QUEUE_QOS0 != 0 || qos(bytes[0]) != Qos::AtMostOnce,
        }
    }

    pub(crate) fn is_latest_only(&self) -> bool {
        match &self.body {
            Body::Whole(publication) => publication.latest_only,
            Body::Copied(bytes) => bytes[0] & LATEST_ONLY != 0,
        }
    }
}

impl Body {
    fn of(publication: Publication) -> Self {
        let payload = &publication.payload;
        let worth = payload.len() <= SHARED_MOST || payload.len() <= COPIED_MOST && payload.is_unique();
        match u16::try_from(publication.topic.text().len()) {
            Ok(length) if worth && publication.properties.is_none() => {
                Self::Copied(pack(&publication, length))
            }
            _ => Self::Whole(Box::new(publication)),
        }
    }
}

fn pack(publication: &Publication, topic_length: u16) -> Box<[u8]> {
    let Publication { topic, payload, expires_after, .. } = publication;
    let expires_length = expires_after.map_or(0, |_| EXPIRES_LENGTH);
    let mut bytes =
        Vec::with_capacity(FLAGS_AND_LENGTH + expires_length + usize::from(topic_length) + payload.len());
    bytes.push(flags(publication));
    bytes.extend_from_slice(&topic_length.to_be_bytes());
    if let Some(after) = expires_after {
        bytes.extend_from_slice(&after.as_secs().to_be_bytes());
        bytes.extend_from_slice(&after.subsec_nanos().to_be_bytes());
    }
    bytes.extend_from_slice(topic.text().as_bytes());
    bytes.extend_from_slice(payload);
    bytes.into_boxed_slice()
}

fn flags(publication: &Publication) -> u8 {
    let flag = |is_set, bit| if is_set { bit } else { 0 };
    let on_loss = match publication.on_loss {
        None => 0,
        Some(SessionLossPolicy::Resend) => 1,
        Some(SessionLossPolicy::Fail) => 2,
        Some(SessionLossPolicy::Ask) => 3,
    };
    publication.qos as u8
        | on_loss << ON_LOSS_SHIFT
        | flag(publication.latest_only, LATEST_ONLY)
        | flag(publication.queue_qos0, QUEUE_QOS0)
        | flag(publication.retain, RETAIN)
        | flag(publication.expires_after.is_some(), EXPIRES)
}

/// Topic and payload share the one piece of memory from now on.
fn unpack(mut bytes: Bytes) -> Publication {
    let flags = bytes.get_u8();
    let topic_length = usize::from(bytes.get_u16());
    let expires_after =
        (flags & EXPIRES != 0).then(|| Duration::from_secs(bytes.get_u64()) + nanos(bytes.get_u32()));
    let topic = bytes.split_to(topic_length);
    Publication {
        topic: TopicName::checked_before(Text::checked_before(topic)),
        payload: bytes,
        qos: qos(flags),
        retain: flags & RETAIN != 0,
        properties: None,
        expires_after,
        queue_qos0: flags & QUEUE_QOS0 != 0,
        on_loss: match flags >> ON_LOSS_SHIFT & 0b11 {
            0 => None,
            1 => Some(SessionLossPolicy::Resend),
            2 => Some(SessionLossPolicy::Fail),
            _ => Some(SessionLossPolicy::Ask),
        },
        latest_only: flags & LATEST_ONLY != 0,
    }
}

const fn nanos(below_a_second: u32) -> Duration {
    Duration::from_nanos(below_a_second as u64)
}

const fn qos(flags: u8) -> Qos {
    match flags & 0b11 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(publication: Publication) -> Packed {
        Packed::new(Entry::new(PublishId(7), publication, None))
    }

    fn is_copied(publication: Publication) -> bool {
        matches!(packed(publication).body, Body::Copied(_))
    }

    fn publication(payload: impl Into<Bytes>) -> Publication {
        Publication::new("room/1/temp".try_into().unwrap(), payload)
    }

    #[test]
    fn a_packed_message_costs_five_words_and_its_bytes() {
        assert_eq!(size_of::<Packed>(), 40);
        let Body::Copied(bytes) = packed(publication(vec![1; 256])).body else { panic!("it is worth it") };
        assert_eq!(bytes.len(), 3 + 11 + 256);
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let qualities = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
        let policies = [
            None,
            Some(SessionLossPolicy::Resend),
            Some(SessionLossPolicy::Fail),
            Some(SessionLossPolicy::Ask),
        ];
        let times = [None, Some(Duration::ZERO), Some(Duration::new(5, 7)), Some(Duration::MAX)];
        for (n, qos) in qualities.into_iter().enumerate() {
            for (on_loss, expires_after) in policies.into_iter().flat_map(|p| times.map(|t| (p, t))) {
                for bits in 0..8 {
                    let mut given = publication(vec![n as u8; 10 * bits]);
                    (given.qos, given.on_loss, given.expires_after) = (qos, on_loss, expires_after);
                    given.retain = bits & 1 != 0;
                    given.queue_qos0 = bits & 2 != 0;
                    given.latest_only = bits & 4 != 0;
                    let mut entry = Entry::new(PublishId(7), given.clone(), Some(Timestamp::from_micros(3)));
                    entry.place = 11;
                    let packed = Packed::new(entry);
                    assert!(matches!(packed.body, Body::Copied(_)));
                    assert_eq!(packed.is_queued(), given.is_queued());
                    assert_eq!(packed.is_latest_only(), given.latest_only);
                    let out = packed.unpack();
                    assert_eq!((out.id, out.place), (PublishId(7), 11));
                    assert_eq!(out.expires, Some(Timestamp::from_micros(3)));
                    assert_eq!(out.publication, given);
                }
            }
        }
    }

    #[test]
    fn what_a_copy_would_not_make_smaller_stays_as_it_is() {
        assert!(is_copied(publication(vec![1; COPIED_MOST])));
        assert!(!is_copied(publication(vec![1; COPIED_MOST + 1])));
        let shared = Bytes::from(vec![1; SHARED_MOST + 1]);
        assert!(!is_copied(publication(shared.clone())));
        assert!(is_copied(publication(shared.slice(1..))));
        let mut with_properties = publication("1");
        with_properties.properties = Some(Box::default());
        let packed = packed(with_properties.clone());
        assert!(matches!(packed.body, Body::Whole(_)));
        assert_eq!(packed.unpack().publication, with_properties);
    }

    #[test]
    fn one_that_stays_as_it_is_says_the_same_of_itself() {
        for (qos, latest_only) in [(Qos::AtMostOnce, true), (Qos::AtLeastOnce, false)] {
            let mut given = publication("1");
            given.properties = Some(Box::default());
            (given.qos, given.latest_only) = (qos, latest_only);
            let packed = packed(given);
            assert_eq!(packed.is_queued(), qos != Qos::AtMostOnce);
            assert_eq!(packed.is_latest_only(), latest_only);
        }
    }
}
