//! Seeded groups of records: what an engine writes, and now and then what it never would.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use rejoin::store::Record;
use rejoin_core::{
    Digest, Message, MessageId, Parking, Publication, PublishId, PublishProperties, Qos, SessionLossPolicy,
    Text, TopicName,
};

/// Makes groups of records from a seed.
#[derive(Clone, Debug)]
pub struct Workload {
    chance: fastrand::Rng,
    wall_ms: u64,
    /// Messages kept at most, so that a run stays small.
    depth: usize,
    next_publish: u64,
    next_message: u64,
    next_packet: u16,
    epoch: u64,
    open: Vec<PublishId>,
    held: Vec<MessageId>,
    complete: bool,
}

impl Workload {
    /// The same seed gives the same groups. `wall_ms`: the present of the store's clock, in milliseconds since the
    /// Unix epoch. `depth`: messages kept at most.
    pub fn new(seed: u64, wall_ms: u64, depth: usize) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            wall_ms,
            depth: depth.max(1),
            next_publish: 1,
            next_message: 1,
            next_packet: 1,
            epoch: 0,
            open: Vec::new(),
            held: Vec::new(),
            complete: false,
        }
    }

    /// With every kind of record. Without it there are none of identifiers that stay taken and of messages that were
    /// lowered, and no digests of what was taken, so that what the first versions wrote stays what it was.
    #[must_use]
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    /// The next group, of 1 to `most` records.
    pub fn group(&mut self, most: usize) -> Vec<Record> {
        (0..self.chance.usize(1..=most.max(1))).map(|_| self.record()).collect()
    }

    fn record(&mut self) -> Record {
        let full = self.open.len() >= self.depth;
        match self.chance.u32(0..100) {
            0..35 if !full => self.enqueued(),
            0..50 => Record::Assigned { id: self.some_publish(), packet_id: self.packet_id() },
            50..58 => Record::Received { id: self.some_publish() },
            58..76 => self.ended(),
            76..78 => Record::Asked { id: self.some_publish() },
            78 if self.complete && self.chance.bool() => Record::MayRepeat { id: self.some_publish() },
            78 if self.complete => Record::Lowered { id: self.some_publish() },
            78..80 => Record::Requeued { id: self.some_publish() },
            80..85 => self.held(),
            85 if !self.complete => self.held(),
            85 if self.complete && self.chance.bool() => {
                Record::LeaseEnded { packet_id: self.near_packet_id() }
            }
            85 if self.complete => Record::Leased { packet_id: self.near_packet_id() },
            86..90 => Record::Taken { id: self.some_message(), digest: self.digest() },
            90..94 => Record::Freed { id: self.some_message() },
            94 => Record::ConnectSent,
            95 => Record::ConnackSeen,
            96 => Record::Reached { wall_ms: self.wall_ms + self.chance.u64(0..1000) },
            97 => Record::ClientId { id: text(&format!("assigned-{}", self.chance.u8(..))) },
            _ => self.session(),
        }
    }

    fn enqueued(&mut self) -> Record {
        let id = PublishId(self.next_publish);
        self.next_publish += 1 + u64::from(self.chance.u8(..) == 0) * self.chance.u64(0..100_000);
        self.open.push(id);
        Record::Enqueued { id, publication: self.publication(), accepted_wall_ms: self.wall_ms }
    }

    fn publication(&mut self) -> Publication {
        let topic = TopicName::new(format!("room/{}/temp", self.chance.u8(..))).expect("no wildcard in it");
        let mut publication = Publication::new(topic, self.bytes());
        publication.qos =
            *self.chance.choice(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]).expect("not empty");
        publication.queue_qos0 = publication.qos == Qos::AtMostOnce;
        publication.retain = self.chance.bool();
        publication.latest_only = self.chance.u8(..) < 30;
        if self.chance.u8(..) < 60 {
            publication.expires_after = Some(Duration::new(self.chance.u64(1..100_000), 123_456_789));
        }
        publication.on_loss = *self
            .chance
            .choice(&[
                None,
                Some(SessionLossPolicy::Resend),
                Some(SessionLossPolicy::Fail),
                Some(SessionLossPolicy::Ask),
            ])
            .expect("not empty");
        publication.properties = self.properties();
        publication
    }

    /// Mostly small, now and then larger than a page.
    fn bytes(&mut self) -> Bytes {
        let most = if self.chance.u8(..) < 12 { 9000 } else { 300 };
        let len = self.chance.usize(0..most);
        let mut bytes = vec![0; len];
        self.chance.fill(&mut bytes);
        bytes.into()
    }

    fn properties(&mut self) -> Option<Box<PublishProperties>> {
        if self.chance.u8(..) > 50 {
            return None;
        }
        let mut set = PublishProperties::default();
        if self.chance.bool() {
            set.payload_is_utf8 = Some(self.chance.bool());
            set.message_expiry = Some(self.chance.u32(..));
            set.content_type = Some(text("text/plain"));
        }
        if self.chance.bool() {
            set.response_topic = Some(text("answers/here"));
            set.correlation_data = Some(self.bytes());
            set.user_properties = vec![(text("a"), text("1")), (text("a"), text(""))];
            set.subscription_ids = vec![1, 268_435_455];
            set.topic_alias = NonZeroU16::new(self.chance.u16(..));
        }
        Some(Box::new(set))
    }

    fn ended(&mut self) -> Record {
        if self.open.is_empty() || self.chance.u8(..) < 10 {
            return Record::Done { id: PublishId(self.next_publish + 1_000_000) };
        }
        // Mostly near the head, as acknowledgements come.
        let reach = if self.chance.u8(..) < 40 { self.open.len() } else { self.open.len().min(8) };
        let id = self.open.remove(self.chance.usize(0..reach));
        match self.chance.u8(..) {
            0..10 => Record::Parked { id, why: Parking::Cut { cuts: 2 } },
            10..14 => Record::Parked { id, why: Parking::Unreadable },
            _ => Record::Done { id },
        }
    }

    fn held(&mut self) -> Record {
        let id = MessageId(self.next_message);
        self.next_message += 1;
        self.held.push(id);
        if self.held.len() > 32 {
            self.held.remove(0);
        }
        let message = Message {
            id: Some(id),
            topic: text(&format!("in/{}", self.chance.u8(..))),
            payload: self.bytes(),
            qos: Qos::ExactlyOnce,
            retain: self.chance.bool(),
            dup: self.chance.bool(),
            properties: self.properties(),
        };
        Record::Held { id, packet_id: self.packet_id(), message }
    }

    fn digest(&mut self) -> Option<Digest> {
        (self.complete && self.chance.bool()).then(|| Digest(self.chance.u64(..)))
    }

    fn session(&mut self) -> Record {
        self.epoch += 1;
        Record::SessionStarted { epoch: self.epoch, server: format!("broker-{}", self.epoch % 3) }
    }

    fn packet_id(&mut self) -> NonZeroU16 {
        self.next_packet = self.next_packet.checked_add(1).unwrap_or(1);
        NonZeroU16::new(self.next_packet).unwrap_or(NonZeroU16::MIN)
    }

    /// One given lately, or soon.
    fn near_packet_id(&mut self) -> NonZeroU16 {
        let at = self.next_packet.saturating_sub(self.chance.u16(0..20)) + self.chance.u16(0..8);
        NonZeroU16::new(at).unwrap_or(NonZeroU16::MIN)
    }

    /// One that is open; now and then one that is not.
    fn some_publish(&mut self) -> PublishId {
        if self.open.is_empty() || self.chance.u8(..) < 5 {
            return PublishId(self.next_publish + 2_000_000);
        }
        self.open[self.chance.usize(0..self.open.len())]
    }

    fn some_message(&mut self) -> MessageId {
        if self.held.is_empty() || self.chance.u8(..) < 5 {
            return MessageId(self.next_message + 2_000_000);
        }
        self.held[self.chance.usize(0..self.held.len())]
    }
}

fn text(text: &str) -> Text {
    Text::try_from(text).expect("a plain word")
}
