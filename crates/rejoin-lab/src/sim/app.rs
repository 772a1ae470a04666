//! The application: what it handed over, what it was told, what it heard.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use rejoin_core::{MessageId, Outcome as Answer, Qos, SubscriptionId};

/// Names of one client's messages lie below this; above it is the number of the client.
const CLIENT_SHIFT: u32 = 40;

/// What became of one message, from both sides.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    pub(super) qos: u8,
    pub(super) lane: u8,
    pub(super) topic: &'static str,
    /// It ends when a newer one to its topic comes.
    pub(super) latest_only: bool,
    pub(super) expires: bool,
    pub(super) payload_len: u16,
    pub(super) retain: bool,
    /// Processes before the one that was given it.
    pub(super) born: u32,
    /// Final answers. More than one is right only after a crash.
    pub(super) answers: u8,
    /// The client may have forgotten the answer: the process died since.
    pub(super) may_repeat: bool,
    /// Some answer owned up to a possible second copy.
    pub(super) excused: bool,
    /// The broker came back with an older memory while it was under way: nobody can know.
    pub(super) nobody_knows: bool,
    /// An answer said it was never sent, or the process died before it was safe.
    pub(super) never_sent: bool,
    pub(super) forgotten: bool,
    /// It waits for a link, so a store keeps it.
    pub(super) on_disk: bool,
    /// The client said so.
    pub(super) stored: bool,
    pub(super) delivered: bool,
    /// It may have left its place in the order.
    pub(super) out_of_order: bool,
    /// The last process that handed its PUBLISH to the transport, counted from 1.
    pub(super) sent_by: u32,
    /// The last process that made it one of QoS 1.
    pub(super) lowered_by: u32,
    /// The identifier under which it left at QoS 2 last; 0 for none.
    pub(super) qos2_under: u16,
    /// How often its PUBLISH was handed to the transport.
    pub(super) transmitted: u16,
    /// How often the broker took it over.
    pub(super) copies: u16,
    /// Position of its first copy in the order of arrival.
    pub(super) arrival: u64,
    /// The QoS that copy came with.
    pub(super) arrived_qos: u8,
}

impl Published {
    /// Whether this is the topic it was given for and, to the byte, the payload.
    pub(super) fn is_as_given(&self, topic: &str, payload: &[u8]) -> bool {
        let Some((number, rest)) = payload.split_first_chunk::<8>() else { return false };
        topic == self.topic
            && payload.len() == usize::from(self.payload_len)
            && pattern(u64::from_be_bytes(*number)).zip(rest).all(|(right, byte)| right == *byte)
    }
}

/// A message heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Names it came under at QoS 2; a repeat under the same name is recognisable.
    pub(super) ids: Vec<MessageId>,
    /// It was heard by some process.
    pub(super) ever: bool,
    /// The application took it, or refused it.
    pub(super) taken: bool,
    /// The broker has our PUBACK or PUBREC for it.
    pub(super) confirmed: bool,
    /// The disk has it, though it takes nothing more.
    pub(super) on_disk: bool,
    /// How often the broker gave it to a session of ours.
    pub(super) handed_over: u16,
}

/// A wish to receive.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) filter: String,
    pub(super) refused: bool,
    /// The present process knows of it.
    pub(super) asked: bool,
}

/// The application of one client.
#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) published: Vec<Published>,
    /// Without an answer, QoS 0 that does not wait for a link apart.
    pub(super) open: usize,
    pub(super) open_qos0: usize,
    /// The newest place that the broker gave to one of them.
    pub(super) last_arrival: u64,
    /// By publisher and number.
    pub(super) heard: BTreeMap<u64, Heard>,
    pub(super) probes: u32,
    /// Messages to take, by the time.
    pub(super) to_take: BTreeSet<(u64, MessageId)>,
    /// Which message a name stands for.
    pub(super) named: BTreeMap<MessageId, u64>,
    pub(super) wishes: BTreeMap<u32, Wish>,
    pub(super) last_wish: u32,
    pub(super) leaving: BTreeSet<u32>,
    pub(super) slow_until: u64,
    pub(super) refuses_percent: u8,
    /// Processes before this one.
    pub(super) lives: u32,
    pub(super) parked: u32,
}

impl App {
    pub(super) fn message(&mut self, k: u64) -> Option<&mut Published> {
        self.published.get_mut(usize::try_from(k.checked_sub(1)?).ok()?)
    }

    /// What is under way cannot be told by anybody from now on: the broker's memory of it was swapped.
    pub(super) fn excuse_under_way(&mut self) {
        // What was answered may be under way again, where the answer did not reach the disk before the process died.
        let under_way = |m: &&mut Published| m.transmitted > 0 && (m.answers == 0 || m.may_repeat);
        for message in self.published.iter_mut().filter(under_way) {
            message.nobody_knows = true;
            message.out_of_order = true;
        }
        for heard in self.heard.values_mut() {
            heard.handed_over = heard.handed_over.saturating_add(8);
        }
    }

    /// The disk takes nothing more: what waits for the next process is out of order then. `held`: inbound messages that are
    /// safe.
    pub(super) fn store_failed(&mut self, held: Vec<MessageId>) {
        for message in self.published.iter_mut().filter(|message| message.answers == 0) {
            message.out_of_order = true;
        }
        for number in held.iter().filter_map(|id| self.named.get(id)) {
            if let Some(heard) = self.heard.get_mut(number) {
                heard.on_disk = true;
            }
        }
    }

    /// The process is another one: names that no store kept mean nothing any more. `kept` are those that do.
    pub(super) fn new_process(&mut self, kept: BTreeSet<MessageId>) {
        self.to_take.clear();
        self.leaving.clear();
        self.named.retain(|id, _| kept.contains(id));
        for heard in self.heard.values_mut() {
            // What the broker was not told of is sent again, and has a new name then.
            heard.ids.retain(|id| kept.contains(id));
        }
    }

    /// The client dropped a message as if it had not come: the broker has to send it again, as a new one.
    pub(super) fn never_came(&mut self, id: MessageId) {
        let Some(number) = self.named.remove(&id) else { return };
        // At QoS 1 another copy of it may have come, under another name.
        let in_hand = self.to_take.iter().any(|(_, other)| self.named.get(other) == Some(&number));
        let Some(heard) = self.heard.get_mut(&number) else { return };
        heard.ids.clear();
        heard.ever = heard.taken || in_hand;
    }

    pub(super) fn next_wish(&mut self, filter: String) -> SubscriptionId {
        self.last_wish += 1;
        self.wishes.insert(self.last_wish, Wish { filter, refused: false, asked: false });
        SubscriptionId(self.last_wish)
    }

    /// When it takes a message next.
    pub(super) fn next_taking(&self) -> Option<u64> {
        self.to_take.first().map(|(at, _)| (*at).max(self.slow_until))
    }
}

/// The payload that names message `k` of a client.
pub(super) fn payload(client: usize, k: u64, rng: &mut Rng) -> Bytes {
    let padding = if rng.u8(..4) == 0 { rng.usize(..200) } else { 0 };
    let mut payload = BytesMut::with_capacity(8 + padding);
    let number = (client as u64) << CLIENT_SHIFT | k;
    payload.put_u64(number);
    payload.extend(pattern(number).take(padding));
    payload.freeze()
}

/// What stands behind the number: for each message something else.
fn pattern(number: u64) -> impl Iterator<Item = u8> {
    let mut rng = Rng::with_seed(number);
    std::iter::repeat_with(move || rng.u8(..))
}

/// The number a payload names; `None` for one the world made itself.
pub(super) fn number(payload: &[u8]) -> Option<u64> {
    let name = payload.first_chunk::<8>()?;
    (payload.first() == Some(&0)).then(|| u64::from_be_bytes(*name))
}

/// Which client published it, and its number there.
pub(super) fn whose(number: u64) -> (usize, u64) {
    ((number >> CLIENT_SHIFT) as usize, number & ((1 << CLIENT_SHIFT) - 1))
}

/// Whether this answer says that the message was never sent.
pub(super) const fn says_never_sent(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Expired
            | Answer::Dropped
            | Answer::Cancelled
            | Answer::Superseded
            | Answer::Evicted
            | Answer::Stopped { maybe_delivered: false }
    )
}

pub(super) const fn qos_of(level: u8) -> Qos {
    match level {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}
