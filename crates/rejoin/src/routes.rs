//! Which stream gets a message, and which messages were taken: the driver's side of every subscription.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rejoin_core::codec::packet::{Qos, RetainHandling, SubscriptionOptions, UserProperties};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::{
    Message, MessageId, SubscribeRequest, SubscribeResult, SubscriptionId, Timestamp, TopicFilter,
};
use tokio::sync::{oneshot, watch};

use crate::command::{Counters, Leave, Leaving, Wishes};
use crate::health::{Gap, Refused};
use crate::route::{Given, Route};

/// One filter on the broker, for all who asked for it.
struct Wish {
    filter: TopicFilter,
    options: SubscriptionOptions,
    answer: Option<SubscribeResult>,
    /// The broker had granted it before the present answer.
    granted_before: bool,
    /// Slots of the streams, with whom to tell the broker's answer.
    listeners: Vec<(usize, watch::Sender<Option<SubscribeResult>>)>,
}

/// One stream.
struct Slot {
    route: Arc<Route>,
    staged: VecDeque<Message>,
    /// Messages handed over that will be acknowledged when they are taken, in order.
    untaken: VecDeque<MessageId>,
    /// Where the last message that came again was among them.
    replaced: usize,
    taken: u64,
    /// It did not make room in the time it was given; it gets no more.
    impatient: bool,
    crowded: bool,
}

impl Slot {
    /// Hands everything staged to the stream, and counts what that drops.
    fn hand_over(&mut self, counters: &Counters) -> Given {
        let given = self.route.give(&mut self.staged);
        if given.dropped > 0 {
            counters.dropped_qos0.fetch_add(given.dropped, Ordering::Relaxed);
        }
        given
    }

    /// A message that comes again takes the place of its earlier copy, if that one is unread: a stream that is read
    /// slowly does not grow with every link of a session.
    fn replace(&mut self, earlier: MessageId, message: Message) -> Result<(), Message> {
        let id = message.id;
        self.route.replace(earlier, message)?;
        // They come again in the order in which they came, so the next one is the nearest.
        let from = self.replaced.min(self.untaken.len());
        let behind = self.untaken.range(from..).position(|untaken| *untaken == earlier).map(|n| from + n);
        let place = behind.or_else(|| self.untaken.range(..from).position(|untaken| *untaken == earlier));
        if let (Some(place), Some(id)) = (place, id) {
            self.untaken[place] = id;
            self.replaced = place + 1;
        }
        Ok(())
    }
}

/// A message that more than one stream has to take before it is acknowledged.
struct Share {
    left: usize,
    reason: ReasonCode,
}

/// A message nobody wants yet.
struct Held {
    id: MessageId,
    /// `None` for one that was handed out and not dealt with.
    message: Option<Message>,
    until: Timestamp,
}

/// Most messages that are kept for a stream that may come at any time. Of more the broker keeps them, and sends them again
/// on the next link. 64, what may be unanswered on a link unless the settings say otherwise.
const HELD_MAX: usize = 64;

/// What the engine is to be told after a stream went away.
pub(crate) enum Parting {
    Detach(SubscriptionId),
    Unsubscribe(SubscriptionId),
}

pub(crate) struct Routes {
    wishes: BTreeMap<SubscriptionId, Wish>,
    last_id: u32,
    leaving: BTreeMap<SubscriptionId, oneshot::Sender<ReasonCode>>,
    slots: Vec<Option<Slot>>,
    shares: BTreeMap<MessageId, Share>,
    /// How many streams wait for a message that another one waits for, too.
    waits_twice: u64,
    held: VecDeque<Held>,
    hold: Duration,
    /// Until then a subscription may still come for what a kept session delivers.
    grace_until: Timestamp,
    fallback: Option<usize>,
    targets: Vec<usize>,
    touched: Vec<usize>,
    /// A stream got messages, and it is its turn.
    fed: bool,
    /// The next message came before, under this name.
    earlier: Option<MessageId>,
    /// Other filters are wanted than before.
    changed: bool,
    /// What the engine is to be told of messages.
    pub(crate) acks: Vec<(MessageId, Told)>,
}

/// What the engine is to be told of a message.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// It was taken, or refused.
    Taken(ReasonCode),
    /// It is held without an end: nothing is to wait for it. `spare`: more is held than is worth its room.
    Left { spare: bool },
}

impl Routes {
    pub(crate) fn new(hold: Duration, now: Timestamp) -> Self {
        Self {
            wishes: BTreeMap::new(),
            last_id: 0,
            leaving: BTreeMap::new(),
            slots: Vec::new(),
            shares: BTreeMap::new(),
            waits_twice: 0,
            held: VecDeque::new(),
            hold,
            grace_until: now + hold,
            fallback: None,
            targets: Vec::new(),
            touched: Vec::new(),
            fed: false,
            earlier: None,
            changed: false,
            acks: Vec::new(),
        }
    }

    fn add_slot(&mut self, route: Arc<Route>) -> usize {
        let slot = Slot {
            route,
            staged: VecDeque::new(),
            untaken: VecDeque::new(),
            replaced: 0,
            taken: 0,
            impatient: false,
            crowded: false,
        };
        match self.slots.iter().position(Option::is_none) {
            Some(free) => {
                self.slots[free] = Some(slot);
                free
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() - 1
            }
        }
    }

    /// A stream for some filters. Returns what the broker has to be asked; equal filters are asked once.
    pub(crate) fn subscribe(&mut self, wishes: Wishes) -> Vec<SubscribeRequest> {
        self.changed = true;
        let slot = self.add_slot(wishes.route);
        let mut requests = Vec::new();
        for wish in wishes.filters {
            let (filter, sender) = (wish.filter, wish.granted);
            let known = self.wishes.iter_mut().find(|(_, known)| known.filter == filter);
            let request = match known {
                Some((id, known)) => {
                    let options = together(known.options, wish.options);
                    // What the broker retains came before this stream.
                    let is_late = wish.options.retain_handling == RetainHandling::Send
                        && matches!(known.answer, Some(SubscribeResult::Granted(_)))
                        && !filter.is_shared();
                    let asks = is_late || options != known.options;
                    if options.no_local && !wish.options.no_local {
                        tracing::warn!(
                            target: "rejoin",
                            filter = filter.as_str(),
                            "another stream has this filter with no_local(), which counts for both"
                        );
                    }
                    if asks {
                        known.options = options;
                        let answer = known.answer.take();
                        known.granted_before |= matches!(answer, Some(SubscribeResult::Granted(_)));
                    } else if known.answer.is_some() {
                        sender.send_replace(known.answer.clone());
                    }
                    known.listeners.push((slot, sender));
                    asks.then_some((*id, options))
                }
                None => {
                    self.last_id += 1;
                    let id = SubscriptionId(self.last_id);
                    let options = wish.options;
                    let listeners = vec![(slot, sender)];
                    let new = Wish {
                        filter: filter.clone(),
                        options,
                        answer: None,
                        granted_before: false,
                        listeners,
                    };
                    self.wishes.insert(id, new);
                    Some((id, options))
                }
            };
            if let Some((id, options)) = request {
                requests.push(request_for(id, filter.clone(), options, wishes.user_properties.clone()));
            }
            self.hand_over_held(slot, |message| filter.matches_text(&message.topic));
        }
        requests
    }

    /// The stream of what nobody wants.
    pub(crate) fn set_fallback(&mut self, route: Arc<Route>) {
        let slot = self.add_slot(route);
        if let Some(old) = self.fallback.replace(slot).and_then(|old| self.slots[old].as_ref()) {
            old.route.end();
        }
        self.hand_over_held(slot, |_| true);
    }

    fn hand_over_held(&mut self, slot: usize, wanted: impl Fn(&Message) -> bool) {
        for mut held in std::mem::take(&mut self.held) {
            match held.message.take_if(|message| wanted(message)) {
                Some(message) => self.give(slot, message),
                None => self.held.push_back(held),
            }
        }
    }

    /// A stream went away. Call [`Routes::take_marks`] first.
    pub(crate) fn leave(&mut self, leave: Leave, now: Timestamp, counters: &Counters) -> Vec<Parting> {
        let Leave { route, how } = leave;
        let found = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|s| s.route.id == route.id));
        let Some(index) = found else { return Vec::new() };
        let Some(mut slot) = self.slots[index].take() else { return Vec::new() };
        if self.fallback == Some(index) {
            self.fallback = None;
        }
        self.touched.retain(|touched| *touched != index);
        slot.hand_over(counters);
        self.orphan(slot, matches!(how, Leaving::Detach), now, counters);
        let mut partings = Vec::new();
        let (detach, mut reply) = match how {
            Leaving::Detach => (true, None),
            Leaving::Unsubscribe(reply) => (false, reply),
        };
        self.wishes.retain(|id, wish| {
            let before = wish.listeners.len();
            wish.listeners.retain(|(listener, _)| *listener != index);
            if wish.listeners.len() == before || !wish.listeners.is_empty() {
                return true;
            }
            self.changed = true;
            partings.push(if detach { Parting::Detach(*id) } else { Parting::Unsubscribe(*id) });
            false
        });
        // UNSUBACKs come in the order asked for: who waits for the last waits for all.
        match partings.last() {
            Some(Parting::Unsubscribe(id)) => {
                if let Some(reply) = reply.take() {
                    self.leaving.insert(*id, reply);
                }
            }
            _ => {
                if let Some(reply) = reply.take() {
                    let _ = reply.send(ReasonCode::SUCCESS);
                }
            }
        }
        partings
    }

    /// What becomes of messages their stream never handed out.
    fn orphan(&mut self, slot: Slot, hold: bool, now: Timestamp, counters: &Counters) {
        let unread = slot.route.take_unread();
        let until = now + self.hold;
        let mut in_hand: BTreeSet<MessageId> = slot.untaken.iter().copied().collect();
        for message in unread {
            let Some(id) = message.id else { continue };
            in_hand.remove(&id);
            if hold {
                self.hold(Held { id, message: Some(message), until });
            } else {
                counters.unrouted.fetch_add(1, Ordering::Relaxed);
                self.finish(id, ReasonCode::SUCCESS);
            }
        }
        for id in in_hand {
            // Handed out in a panic: perhaps not dealt with, so not acknowledged at once.
            self.hold(Held { id, message: None, until });
        }
    }

    /// The broker answered, or the engine did for it. Returns the filter.
    pub(crate) fn answered(&mut self, id: SubscriptionId, result: &SubscribeResult) -> Option<&TopicFilter> {
        let wish = self.wishes.get_mut(&id)?;
        wish.granted_before |= matches!(wish.answer, Some(SubscribeResult::Granted(_)));
        wish.answer = Some(result.clone());
        for (_, listener) in &wish.listeners {
            listener.send_replace(wish.answer.clone());
        }
        Some(&wish.filter)
    }

    /// How many filters are wanted, this one not counted.
    pub(crate) fn wanted(&self, but: Option<&Text>) -> usize {
        self.wishes.values().filter(|wish| but != Some(wish.filter.text())).count()
    }

    /// The names of what is wanted.
    pub(crate) fn ids(&self) -> BTreeSet<SubscriptionId> {
        self.wishes.keys().copied().collect()
    }

    /// What of it the broker does not grant now.
    pub(crate) fn refused(&self) -> Refused {
        let granted = |wish: &&Wish| matches!(wish.answer, Some(SubscribeResult::Granted(_)));
        let refused = || self.wishes.values().filter(|wish| !granted(wish));
        Refused { any: refused().next().is_some(), granted_before: refused().any(|wish| wish.granted_before) }
    }

    /// Whether this filter is wanted.
    pub(crate) fn wants(&self, filter: &Text) -> bool {
        self.wishes.values().any(|wish| wish.filter.text() == filter)
    }

    /// Whether other filters are wanted than when this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether the broker had granted it before the present answer.
    pub(crate) fn was_granted(&self, id: SubscriptionId) -> bool {
        self.wishes.get(&id).is_some_and(|wish| wish.granted_before)
    }

    /// Filters that were granted and not asked for again.
    pub(crate) fn granted(&self) -> Vec<(SubscriptionId, Qos)> {
        let of = |(id, wish): (&SubscriptionId, &Wish)| match wish.answer {
            Some(SubscribeResult::Granted(qos)) => Some((*id, qos)),
            _ => None,
        };
        self.wishes.iter().filter_map(of).collect()
    }

    /// Messages of a filter may be missing: told to its streams, in its place among the messages.
    pub(crate) fn gap(&mut self, id: SubscriptionId, gap: Gap, counters: &Counters) {
        let Some(wish) = self.wishes.get(&id) else { return };
        for (slot, _) in &wish.listeners {
            if let Some(slot) = self.slots.get_mut(*slot).and_then(Option::as_mut) {
                slot.hand_over(counters);
                slot.route.gap(gap);
            }
        }
    }

    pub(crate) fn unsubscribed(&mut self, id: SubscriptionId, reason: ReasonCode) {
        if let Some(reply) = self.leaving.remove(&id) {
            let _ = reply.send(reason);
        }
    }

    /// What applications have in hand and would acknowledge themselves means nothing any more, at this QoS.
    pub(crate) fn void(&self, qos: Qos) {
        self.slots.iter().flatten().for_each(|slot| slot.route.void(qos));
    }

    /// The next message came on an earlier link, under this name.
    pub(crate) const fn comes_again(&mut self, earlier: MessageId) {
        self.earlier = Some(earlier);
    }

    /// Finds the streams of a message: by subscription identifier where the broker names one that fits, else by
    /// filter. Each stream gets it once, however many identifiers lead there [MQTT-3.3.4-4].
    pub(crate) fn dispatch(&mut self, message: Message, now: Timestamp, counters: &Counters) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        if let Some(properties) = &message.properties {
            for id in &properties.subscription_ids {
                // A kept session may still name the subscriptions of a former process.
                let wish = self.wishes.get(&SubscriptionId(*id));
                if let Some(wish) = wish.filter(|wish| wish.filter.matches_text(&message.topic)) {
                    add_targets(&mut targets, wish);
                }
            }
        }
        if targets.is_empty() {
            for wish in self.wishes.values().filter(|wish| wish.filter.matches_text(&message.topic)) {
                add_targets(&mut targets, wish);
            }
        }
        match targets.as_slice() {
            [] => self.unwanted(message, now, counters),
            [one] => self.give(*one, message),
            many => {
                if let Some(id) = message.id {
                    self.waits_twice += many.len() as u64 - 1;
                    self.shares.insert(id, Share { left: many.len(), reason: ReasonCode::SUCCESS });
                }
                for slot in many {
                    self.give(*slot, message.clone());
                }
            }
        }
        self.targets = targets;
        self.earlier = None;
    }

    /// No filter of ours matches [MQTT-3.3.2-3].
    fn unwanted(&mut self, message: Message, now: Timestamp, counters: &Counters) {
        if let Some(fallback) = self.fallback {
            return self.give(fallback, message);
        }
        if let Some(earlier) = self.earlier
            && let Some(place) = self.held.iter().position(|held| held.id == earlier)
        {
            // One copy is held, however many links it comes on.
            self.held.remove(place);
            self.unshare(earlier);
        }
        match message.id {
            Some(id) if now < self.grace_until => {
                let until = self.grace_until;
                self.hold(Held { id, message: Some(message), until });
            }
            id => {
                counters.unrouted.fetch_add(1, Ordering::Relaxed);
                if let Some(id) = id {
                    self.finish(id, ReasonCode::SUCCESS);
                }
            }
        }
    }

    fn hold(&mut self, held: Held) {
        if held.until == Timestamp::NEVER {
            // A copy of what another stream waits for, or has, would reach it twice.
            let spare = self.held.len() >= HELD_MAX && !self.shares.contains_key(&held.id);
            self.acks.push((held.id, Told::Left { spare }));
        }
        self.held.push_back(held);
    }

    /// Drops a message that is held: the broker has it and sends it again.
    pub(crate) fn forget(&mut self, id: MessageId) {
        if let Some(place) = self.held.iter().rposition(|held| held.id == id) {
            self.held.remove(place);
            self.unshare(id);
        }
    }

    fn give(&mut self, index: usize, message: Message) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let message = match self.earlier {
            None => message,
            Some(earlier) => {
                let replaced = slot.replace(earlier, message);
                // Read or not, the earlier copy is not to be acknowledged any more.
                self.unshare(earlier);
                let Err(message) = replaced else { return };
                message
            }
        };
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        if let (Some(id), false) = (message.id, slot.route.manual) {
            slot.untaken.push_back(id);
        }
        if slot.staged.is_empty() {
            self.touched.push(index);
        }
        slot.staged.push_back(message);
    }

    /// Hands everything staged to its stream, one lock and one wake for each. True if one of them is so full that
    /// reading should wait for it a little.
    pub(crate) fn flush(&mut self, counters: &Counters) -> bool {
        let mut wait = false;
        for index in self.touched.drain(..) {
            let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else { continue };
            // Empty where a gap came in between: then the stream has had its messages.
            self.fed |= !slot.staged.is_empty();
            let given = slot.hand_over(counters);
            slot.crowded = given.crowded;
            slot.impatient &= given.crowded;
            wait |= given.crowded && !slot.impatient;
        }
        wait
    }

    /// Whether a stream got messages since this was last asked.
    pub(crate) fn take_fed(&mut self) -> bool {
        std::mem::take(&mut self.fed)
    }

    /// Nothing happens for a while: gives back the room that a burst took.
    pub(crate) fn rest(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if slot.staged.is_empty() {
                slot.staged.shrink_to_fit();
            }
            if slot.untaken.is_empty() {
                slot.untaken.shrink_to_fit();
            }
            slot.route.rest();
        }
        self.targets = Vec::new();
        self.touched.shrink_to_fit();
        self.acks.shrink_to_fit();
    }

    /// Streams that are still full had their time.
    pub(crate) fn lose_patience(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.impatient |= slot.crowded;
        }
    }

    /// What streams took since the last look is to be acknowledged.
    pub(crate) fn take_marks(&mut self) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots[index].as_mut() else { continue };
            let fresh = slot.route.taken() - slot.taken;
            slot.taken += fresh;
            for _ in 0..fresh {
                let next = self.slots[index].as_mut().and_then(|slot| slot.untaken.pop_front());
                if let Some(id) = next {
                    self.finish(id, ReasonCode::SUCCESS);
                }
            }
        }
    }

    /// One stream is done with a message. Acknowledged when all are; a refusal by one is the answer of all.
    pub(crate) fn finish(&mut self, id: MessageId, reason: ReasonCode) {
        let Some(share) = self.shares.get_mut(&id) else {
            self.acks.push((id, Told::Taken(reason)));
            return;
        };
        share.left -= 1;
        if reason.is_error() {
            share.reason = reason;
        }
        if share.left > 0 {
            self.waits_twice = self.waits_twice.saturating_sub(1);
        } else {
            let reason = share.reason;
            self.shares.remove(&id);
            self.acks.push((id, Told::Taken(reason)));
        }
    }

    /// One stream has another copy in place of a message, which is not to be acknowledged any more.
    fn unshare(&mut self, id: MessageId) {
        let Some(share) = self.shares.get_mut(&id) else { return };
        share.left -= 1;
        if share.left > 0 {
            self.waits_twice = self.waits_twice.saturating_sub(1);
        } else {
            self.shares.remove(&id);
        }
    }

    /// Summed over all streams, messages that wait count so many times too often: the window counts each of them once.
    pub(crate) const fn waits_twice(&self) -> u64 {
        self.waits_twice
    }

    /// Messages nobody came for are acknowledged and counted.
    pub(crate) fn expire_held(&mut self, now: Timestamp, counters: &Counters) {
        for held in std::mem::take(&mut self.held) {
            if held.until > now {
                self.held.push_back(held);
                continue;
            }
            counters.unrouted.fetch_add(1, Ordering::Relaxed);
            if let Some(message) = &held.message {
                tracing::warn!(
                    target: "rejoin",
                    bytes = message.payload.len(),
                    "a message that no subscription wants was acknowledged and dropped"
                );
            }
            self.finish(held.id, ReasonCode::SUCCESS);
        }
    }

    /// When [`Routes::expire_held`] has work.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.held.iter().map(|held| held.until).min()
    }

    /// No message follows, and no answer.
    pub(crate) fn end(&mut self, counters: &Counters) {
        for slot in self.slots.iter_mut().flatten() {
            slot.hand_over(counters);
            slot.route.end();
        }
        self.wishes.clear();
        self.leaving.clear();
    }
}

fn add_targets(targets: &mut Vec<usize>, wish: &Wish) {
    for (slot, _) in &wish.listeners {
        if !targets.contains(slot) {
            targets.push(*slot);
        }
    }
}

/// What two streams of one filter ask for: nobody gets less than it asked for, but that what one must not get, because it
/// is its own, none does.
fn together(one: SubscriptionOptions, other: SubscriptionOptions) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: one.qos.max(other.qos),
        no_local: one.no_local || other.no_local,
        retain_as_published: one.retain_as_published || other.retain_as_published,
        retain_handling: one.retain_handling.min(other.retain_handling),
    }
}

const fn request_for(
    id: SubscriptionId,
    filter: TopicFilter,
    options: SubscriptionOptions,
    user_properties: UserProperties,
) -> SubscribeRequest {
    SubscribeRequest { id, filter, options, user_properties }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::command;
    use crate::route::tests::message;

    /// It goes round: staged, unread, and in the hands of the stream.
    #[test]
    fn the_room_of_a_burst_is_given_back() {
        let (mut routes, counters) = (Routes::new(Duration::ZERO, Timestamp::ZERO), Counters::default());
        let route = stream(&mut routes, 1);
        let mut local = VecDeque::new();
        for _ in 0..3 {
            for _ in 0..1_000 {
                routes.dispatch(message(None), Timestamp::ZERO, &counters);
            }
            routes.flush(&counters);
            assert!(route.poll_swap(&mut local, &std::task::Context::from_waker(Waker::noop())).is_ready());
            local.clear();
        }
        assert!(routes.room() >= 1_000, "nothing to give back");
        routes.rest();
        assert_eq!(routes.room(), 0);
    }

    fn stream(routes: &mut Routes, id: u64) -> Arc<Route> {
        let route = Arc::new(Route::new(id, false, 10_000));
        let (granted, _answer) = watch::channel(None);
        let filter = TopicFilter::try_from("t").unwrap();
        let filters = vec![command::Wish { filter, options: SubscriptionOptions::default(), granted }];
        routes.subscribe(Wishes { route: Arc::clone(&route), filters, user_properties: Vec::new() });
        route
    }

    /// The broker would send it again, as a new one, and the other stream has it.
    #[test]
    fn what_another_stream_has_too_is_held_also_where_much_is() {
        let (mut routes, counters) = (Routes::new(Duration::MAX, Timestamp::ZERO), Counters::default());
        for n in 1..=HELD_MAX as u64 {
            routes.dispatch(message(Some(n)), Timestamp::ZERO, &counters);
        }
        let (one, _other) = (stream(&mut routes, 1), stream(&mut routes, 2));
        let id = 1 + HELD_MAX as u64;
        for held in 1..=HELD_MAX as u64 {
            let other = Message { topic: Text::from_static("other"), ..message(Some(id + held)) };
            routes.dispatch(other, Timestamp::ZERO, &counters);
        }
        routes.dispatch(message(Some(id)), Timestamp::ZERO, &counters);
        routes.flush(&counters);
        routes.acks.clear();
        routes.leave(Leave { route: one, how: Leaving::Detach }, Timestamp::ZERO, &counters);
        let spare = |id| routes.acks.iter().find(|(told, _)| *told == MessageId(id)).map(|(_, told)| *told);
        assert!(matches!(spare(id), Some(Told::Left { spare: false })));
        assert!(matches!(spare(1), Some(Told::Left { spare: true })), "that was for one stream");
    }

    impl Routes {
        fn room(&self) -> usize {
            self.slots.iter().flatten().map(|slot| slot.staged.capacity() + slot.route.room()).sum()
        }
    }
}
