//! The exchanges under way, in the order they were first sent.
//!
//! ```text
//!            QoS 1                                QoS 2
//!   Published ── PUBACK ──► gone      Published ── PUBREC ──► Released ── PUBCOMP ──► gone
//!       │                                 │
//!       └── set aside (parked, a limit shrank, lowered) ──► Leased: nobody waits for it, but its identifier
//!                                              stays taken until the session ends [MQTT-4.4.0-1]
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::by_packet_id::ByPacketId;
use super::outbox::Entry;
use crate::codec::packet::{PacketId, Qos};
use crate::event::PublishId;
use crate::held::HeldCounts;
use crate::interface::Ticket;

/// Places of exchanges that ended are kept up to this number beside as many again as there are exchanges.
const SPARE_SLOTS: usize = 64;

/// One exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) packet_id: PacketId,
    pub(crate) stage: Stage,
    /// PUBLISH, or PUBREL when released, was sent on the present link.
    pub(crate) on_wire: bool,
    /// The PUBLISH was sent on the present link and took one of its quota.
    pub(crate) charged: bool,
    /// What must be on the store before the next packet of this exchange leaves.
    pub(crate) needs: Ticket,
    /// A session we cannot vouch for lies in between: PUBCOMP proves nothing any more, unless PUBREC comes after it.
    pub(crate) doubtful: bool,
    /// PUBREL may have left on an earlier link, so the server may have completed the exchange.
    pub(crate) completed: bool,
    /// It is one of QoS 2, and a process before this one sent it as QoS 1 alone or under another identifier: under this one
    /// the server holds no exchange of QoS 2, and the store knows of none.
    pub(crate) lowered: bool,
    /// The store was told what it must know before this leaves at QoS 2: its identifier, and that it may arrive twice.
    pub(crate) noted: bool,
    /// The identifier it left under at QoS 2 before it began anew, which is the one the store knows it under.
    pub(crate) began_under: Option<PacketId>,
}

impl Exchange {
    /// Of this process, and not sent yet.
    pub(crate) fn new(packet_id: PacketId, stage: Stage) -> Self {
        Self {
            packet_id,
            stage,
            on_wire: false,
            charged: false,
            needs: Ticket::default(),
            doubtful: false,
            completed: false,
            lowered: false,
            noted: true,
            began_under: None,
        }
    }

    /// For a planted defect.
    fn is_qos1(&self) -> bool {
        matches!(&self.stage, Stage::Published(e) if e.publication.qos == Qos::AtLeastOnce)
    }
}

/// How far an exchange is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// PUBLISH sent or to be sent again, until PUBACK [MQTT-4.3.2-3] or PUBREC [MQTT-4.3.3-3].
    Published(Entry),
    /// PUBREC came; only PUBREL may follow [MQTT-4.3.3-6], until PUBCOMP [MQTT-4.3.3-5].
    Released(Entry),
    /// Answered for, but the identifier is still taken.
    Leased,
    /// Gone; the slot waits to be trimmed.
    Gone,
}

/// All exchanges of the session.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    slots: VecDeque<Exchange>,
    /// Sequence number of the first slot.
    base: u64,
    by_id: ByPacketId<u64>,
    /// Sequence numbers whose PUBLISH must be sent again on this link, in order [MQTT-4.6.0-1].
    resend: VecDeque<u64>,
    /// Released exchanges whose PUBREL must be sent on this link, in order of PUBREC [MQTT-4.6.0-4].
    release: VecDeque<PacketId>,
    /// All released exchanges in order of PUBREC.
    released: VecDeque<PacketId>,
    on_wire: usize,
    awaited: usize,
}

impl InFlight {
    /// Exchanges that somebody waits for. Leased identifiers do not count.
    pub(crate) fn len(&self) -> usize {
        self.awaited
    }

    /// See [`HeldCounts`].
    pub(crate) fn count(&self, held: &mut HeldCounts) {
        held.in_flight = self.by_id.len();
        held.in_flight_places = self.slots.len();
    }

    /// See [`crate::Engine::rest`].
    pub(crate) fn rest(&mut self) {
        if self.slots.is_empty() {
            self.slots.shrink_to_fit();
            self.by_id.clear();
        }
    }

    /// Exchanges with an unanswered packet on the present link.
    pub(crate) fn awaiting(&self) -> usize {
        self.on_wire
    }

    /// Whether a PUBLISH of an earlier link still has to be sent again.
    pub(crate) fn has_resends(&self) -> bool {
        !self.resend.is_empty()
    }

    /// Whether a PUBREL still has to leave on this link.
    pub(crate) fn has_releases(&self) -> bool {
        !self.release.is_empty()
    }

    pub(crate) fn push(&mut self, exchange: Exchange) {
        let seq = self.base + self.slots.len() as u64;
        self.by_id.insert(exchange.packet_id, seq);
        if exchange.on_wire {
            self.on_wire += 1;
        } else {
            self.resend.push_back(seq);
        }
        self.awaited += 1;
        self.slots.push_back(exchange);
    }

    fn slot(&mut self, seq: u64) -> Option<&mut Exchange> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.slots.get_mut(index)
    }

    pub(crate) fn exchange(&mut self, id: PacketId) -> Option<&mut Exchange> {
        let seq = *self.by_id.get(id)?;
        self.slot(seq)
    }

    /// Ends the exchange and gives back what it was about.
    pub(crate) fn remove(&mut self, id: PacketId) -> Option<Stage> {
        let seq = self.by_id.remove(id)?;
        let slot = self.slot(seq)?;
        let stage = std::mem::replace(&mut slot.stage, Stage::Gone);
        let was_on_wire = std::mem::take(&mut slot.on_wire);
        self.on_wire -= usize::from(was_on_wire);
        self.awaited -= usize::from(matches!(stage, Stage::Published(_) | Stage::Released(_)));
        if matches!(stage, Stage::Released(_)) {
            remove_first(&mut self.released, id);
            remove_first(&mut self.release, id);
        }
        while matches!(self.slots.front(), Some(Exchange { stage: Stage::Gone, .. })) {
            self.slots.pop_front();
            self.base += 1;
        }
        if self.slots.len() > 2 * self.by_id.len() + SPARE_SLOTS && !defect!(EndedExchangesKept) {
            self.close_ranks();
        }
        Some(stage)
    }

    /// One that does not end, such as a leased identifier, would else keep the places of all that ended behind it.
    fn close_ranks(&mut self) {
        let mut numbers = BTreeMap::new();
        let (base, mut at, mut kept) = (self.base, 0, 0);
        self.slots.retain(|slot| {
            let stays = !matches!(slot.stage, Stage::Gone);
            if stays {
                numbers.insert(base + at, base + kept);
                kept += 1;
            }
            at += 1;
            stays
        });
        for seq in self.by_id.values_mut() {
            *seq = numbers.get(seq).copied().unwrap_or(*seq);
        }
        self.resend = self.resend.iter().filter_map(|seq| numbers.get(seq).copied()).collect();
    }

    /// PUBREC came: from now on this exchange is only ever released [MQTT-4.3.3-4].
    pub(crate) fn mark_released(&mut self, id: PacketId, needs: Ticket) {
        let Some(slot) = self.exchange(id) else { return };
        match std::mem::replace(&mut slot.stage, Stage::Gone) {
            Stage::Published(entry) => {
                slot.stage = Stage::Released(entry);
                slot.needs = needs;
                slot.doubtful = false;
                let was_on_wire = std::mem::take(&mut slot.on_wire);
                self.on_wire -= usize::from(was_on_wire);
                self.released.push_back(id);
                self.release.push_back(id);
            }
            other => slot.stage = other,
        }
    }

    /// Nobody waits for it any more, but the identifier stays taken until the session ends.
    pub(crate) fn lease(&mut self, id: PacketId) -> Option<Entry> {
        let slot = self.exchange(id)?;
        let was_on_wire = std::mem::take(&mut slot.on_wire);
        let stage = std::mem::replace(&mut slot.stage, Stage::Leased);
        self.on_wire -= usize::from(was_on_wire);
        match stage {
            Stage::Published(entry) | Stage::Released(entry) => {
                self.awaited -= 1;
                remove_first(&mut self.released, id);
                remove_first(&mut self.release, id);
                Some(entry)
            }
            Stage::Leased | Stage::Gone => None,
        }
    }

    /// Takes up an identifier that stayed taken when the process before ended. `false`: a message waits under it.
    pub(crate) fn restore_leased(&mut self, packet_id: PacketId) -> bool {
        if self.by_id.get(packet_id).is_some() {
            return false;
        }
        self.by_id.insert(packet_id, self.base + self.slots.len() as u64);
        self.slots.push_back(Exchange::new(packet_id, Stage::Leased));
        true
    }

    /// The next to be sent again begins anew under another identifier. What was sent before it has its place before it
    /// when all is sent again [MQTT-4.6.0-1]. The first identifier stays taken until the session ends.
    pub(crate) fn move_to(&mut self, from: PacketId, to: PacketId) -> Option<&mut Entry> {
        let seq = *self.by_id.get(from)?;
        let at = self.place_anew(self.published(seq)?);
        let slot = self.slot(seq)?;
        let stage = std::mem::replace(&mut slot.stage, Stage::Leased);
        let (needs, doubtful) = (slot.needs, slot.doubtful);
        let exchange = Exchange { needs, doubtful, began_under: Some(from), ..Exchange::new(to, stage) };
        let anew = self.insert(at, exchange);
        self.by_id.insert(to, anew);
        if let Some(next) = self.resend.front_mut().filter(|next| **next == seq) {
            *next = anew;
        }
        match &mut self.slot(anew)?.stage {
            Stage::Published(entry) => Some(entry),
            _ => None,
        }
    }

    /// The place of a message that begins anew: behind all that was sent, and, of what has an identifier and was not, behind
    /// what was published before it. That leaves after it, so it is also sent again after it.
    fn place_anew(&self, id: PublishId) -> usize {
        let leaves_before = |slot: &Exchange| match &slot.stage {
            Stage::Published(entry) => entry.sent || entry.id < id,
            Stage::Released(_) => true,
            Stage::Leased | Stage::Gone => false,
        };
        self.slots.iter().rposition(leaves_before).map_or(0, |last| last + 1)
    }

    /// Puts an exchange into a place, and those from there on into the next ones. Gives its sequence number.
    fn insert(&mut self, at: usize, exchange: Exchange) -> u64 {
        let seq = self.base + at as u64;
        if at < self.slots.len() {
            self.by_id
                .values_mut()
                .chain(&mut self.resend)
                .filter(|other| **other >= seq)
                .for_each(|o| *o += 1);
        }
        self.slots.insert(at, exchange);
        seq
    }

    /// The message that left under this identifier at QoS 2, and goes on under another. Asked once, when the server has
    /// ended the exchange.
    pub(crate) fn began_under(&mut self, first: PacketId) -> Option<PublishId> {
        let slot = self.slots.iter_mut().find(|slot| slot.began_under == Some(first))?;
        slot.began_under = None;
        match &slot.stage {
            Stage::Published(entry) => Some(entry.id),
            _ => None,
        }
    }

    /// Puts the next to be sent again behind those that were published before it and still wait to be, for it is about to
    /// begin anew and those that began anew before it are among them. What needs more than `ever` leaves in no case while
    /// this process lives: nobody waits for that. `false`: there is none.
    pub(crate) fn let_earlier_pass(&mut self, ever: Ticket) -> bool {
        let Some(seq) = self.resend.front().copied() else { return false };
        let name = self.published(seq);
        let is_earlier = |waiting: &u64| {
            self.published(*waiting).is_some_and(|other| Some(other) < name) && self.needs(*waiting) <= ever
        };
        let Some(last) = self.resend.iter().rposition(is_earlier) else { return false };
        self.resend.pop_front();
        self.resend.insert(last, seq);
        true
    }

    /// Puts the first to be sent again that waits for no store before those that do. `false`: there is none.
    pub(crate) fn let_ready_pass(&mut self, durable: Ticket) -> bool {
        let first = self.resend.iter().position(|seq| self.needs(*seq) <= durable);
        let Some(ready) = first.and_then(|at| self.resend.remove(at)) else { return false };
        self.resend.push_front(ready);
        true
    }

    /// What the store must have before what is in this place leaves.
    fn needs(&self, seq: u64) -> Ticket {
        self.in_place(seq).map_or_else(Ticket::default, |exchange| exchange.needs)
    }

    fn in_place(&self, seq: u64) -> Option<&Exchange> {
        self.slots.get(usize::try_from(seq.checked_sub(self.base)?).ok()?)
    }

    /// The name of what waits for its answer in this place.
    fn published(&self, seq: u64) -> Option<PublishId> {
        match &self.in_place(seq)?.stage {
            Stage::Published(entry) => Some(entry.id),
            _ => None,
        }
    }

    /// The next PUBREL that may leave.
    pub(crate) fn next_release(&mut self, durable: Ticket) -> Option<PacketId> {
        let id = *self.release.front()?;
        let slot = self.exchange(id)?;
        if slot.needs > durable && !defect!(PubrelBeforeDurable) {
            return None;
        }
        slot.on_wire = true;
        self.on_wire += 1;
        self.release.pop_front();
        Some(id)
    }

    /// The next PUBLISH to send again, without taking it.
    pub(crate) fn peek_resend(&mut self) -> Option<&mut Exchange> {
        while let Some(seq) = self.resend.front().copied() {
            let live =
                matches!(self.slot(seq), Some(Exchange { stage: Stage::Published(_), on_wire: false, .. }));
            if live {
                return self.slot(seq);
            }
            self.resend.pop_front();
        }
        None
    }

    /// The PUBLISH last peeked at was sent.
    pub(crate) fn resent(&mut self) {
        if let Some(seq) = self.resend.pop_front()
            && let Some(slot) = self.slot(seq)
        {
            slot.on_wire = true;
            slot.charged = true;
            self.on_wire += 1;
        }
    }

    /// The link is gone: nothing is on the wire.
    pub(crate) fn link_down(&mut self) {
        for slot in &mut self.slots {
            slot.completed |= slot.on_wire && matches!(slot.stage, Stage::Released(_));
            slot.on_wire = false;
            slot.charged = false;
        }
        self.on_wire = 0;
        self.resend.clear();
        self.release.clear();
    }

    /// The session was resumed: everything unanswered goes out again, in its first order [MQTT-4.4.0-1] [MQTT-4.6.0-1].
    pub(crate) fn resume(&mut self, unproven: bool) -> usize {
        if defect!(PublishAfterPubrel) {
            self.forget_releases();
        }
        self.resend = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, s)| matches!(s.stage, Stage::Published(_)))
            .filter(|(_, s)| !(defect!(Qos1DroppedOnLoss) && s.is_qos1()))
            .map(|(i, _)| self.base + i as u64)
            .collect();
        if defect!(ResendReversed) {
            self.resend = self.resend.iter().rev().copied().collect();
        }
        if !defect!(PubrelForgotten) {
            self.release = self.released.clone();
        }
        if unproven {
            for slot in &mut self.slots {
                match &mut slot.stage {
                    // The server may never have seen it, or have passed it on and forgotten: it may arrive twice.
                    Stage::Published(entry) if entry.attempts > 0 => {
                        slot.noted &= entry.possible_duplicate;
                        entry.possible_duplicate = true;
                        slot.doubtful = true;
                    }
                    Stage::Released(_) => slot.doubtful = true,
                    _ => {}
                }
            }
        }
        self.resend.len() + self.release.len()
    }

    /// What goes out again at QoS 2 and of which the store does not know enough.
    pub(crate) fn unnoted(&mut self) -> impl Iterator<Item = (PublishId, &mut Exchange)> {
        self.slots.iter_mut().filter(|slot| !slot.noted).filter_map(|slot| match &slot.stage {
            Stage::Published(entry) if entry.publication.qos == Qos::ExactlyOnce => Some((entry.id, slot)),
            _ => None,
        })
    }

    /// A planted defect: what was sent is withdrawn.
    pub(crate) fn cancel(&mut self, id: PublishId) -> bool {
        let slot = self.slots.iter().find(|s| matches!(&s.stage, Stage::Published(e) if e.id == id));
        let packet_id = slot.map(|s| s.packet_id);
        packet_id.and_then(|packet_id| self.lease(packet_id)).is_some()
    }

    /// A planted defect: PUBREC is forgotten.
    fn forget_releases(&mut self) {
        for slot in &mut self.slots {
            slot.stage = match std::mem::replace(&mut slot.stage, Stage::Gone) {
                Stage::Released(entry) => Stage::Published(entry),
                other => other,
            };
        }
        self.released.clear();
    }

    /// Whether a session we cannot vouch for lies between an exchange and its end.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.slots.iter().any(|slot| slot.doubtful && !matches!(slot.stage, Stage::Leased | Stage::Gone))
    }

    /// Gives every exchange away in the order of first sending; identifiers mean nothing any more.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Stage> + '_ {
        self.by_id.clear();
        self.resend.clear();
        self.release.clear();
        self.released.clear();
        self.on_wire = 0;
        self.awaited = 0;
        self.base = 0;
        self.slots.drain(..).map(|s| s.stage)
    }

    /// The only unanswered PUBLISH on the wire, if it is the only one.
    pub(crate) fn sole_on_wire(&self) -> Option<(PacketId, &Entry)> {
        if self.on_wire != 1 {
            return None;
        }
        self.slots.iter().find(|s| s.on_wire).and_then(|s| match &s.stage {
            Stage::Published(entry) => Some((s.packet_id, entry)),
            _ => None,
        })
    }
}

fn remove_first(queue: &mut VecDeque<PacketId>, id: PacketId) {
    if let Some(at) = queue.iter().position(|i| *i == id) {
        queue.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Publication;

    fn exchange(id: u16) -> Exchange {
        let mut publication = Publication::new("a".try_into().unwrap(), "1");
        publication.qos = Qos::AtLeastOnce;
        let stage = Stage::Published(Entry::new(PublishId(u64::from(id)), publication, None));
        Exchange { on_wire: true, charged: true, ..Exchange::new(PacketId::new(id).unwrap(), stage) }
    }

    #[test]
    fn what_begins_anew_is_sent_again_before_what_left_after_it() {
        let mut all = InFlight::default();
        let id = |n| PacketId::new(n).unwrap();
        let send = |all: &mut InFlight| {
            let sent = all.peek_resend().map(|exchange| {
                if let Stage::Published(entry) = &mut exchange.stage {
                    entry.sent = true;
                }
                exchange.packet_id.get()
            });
            all.resent();
            sent
        };
        // Two have left; two have an identifier and wait for the store when the link is lost.
        for n in 1..=4 {
            all.push(Exchange { on_wire: false, charged: false, ..exchange(n) });
        }
        assert_eq!((send(&mut all), send(&mut all)), (Some(1), Some(2)));
        all.link_down();
        all.resume(false);
        for (from, to) in [(1, 11), (2, 12)] {
            all.move_to(id(from), id(to)).unwrap().sent = false;
            assert_eq!(send(&mut all), Some(to));
        }
        assert_eq!((send(&mut all), send(&mut all)), (Some(3), Some(4)));
        all.link_down();
        all.resume(false);
        let again: Vec<_> = std::iter::from_fn(|| send(&mut all)).collect();
        assert_eq!(again, [11, 12, 3, 4], "as they were sent");
        for n in [1, 2, 3, 4, 11, 12] {
            assert!(all.remove(id(n)).is_some(), "{n} is found");
        }
    }

    #[test]
    fn an_exchange_that_does_not_end_keeps_no_places_behind_it() {
        let mut all = InFlight::default();
        let id = |n| PacketId::new(n).unwrap();
        all.push(exchange(1));
        all.lease(id(1));
        all.push(exchange(2));
        for n in 3..10_000 {
            all.push(exchange(n));
            all.remove(id(n));
            assert!(all.slots.len() <= 2 * 2 + SPARE_SLOTS, "{}", all.slots.len());
        }
        all.push(exchange(10_000));
        assert_eq!(all.len(), 2);
        all.link_down();
        assert_eq!(all.resume(false), 2);
        let again = |all: &mut InFlight| all.peek_resend().map(|exchange| exchange.packet_id.get());
        assert_eq!(again(&mut all), Some(2));
        // Ranks are closed in the middle of sending again, too.
        for n in 10_001..10_200 {
            all.push(exchange(n));
            all.remove(id(n));
        }
        assert_eq!(again(&mut all), Some(2));
        all.resent();
        assert_eq!(again(&mut all), Some(10_000));
        all.resent();
        assert_eq!((again(&mut all), all.awaiting()), (None, 2));
        for n in [1, 2, 10_000] {
            assert!(all.remove(id(n)).is_some(), "{n} is still found");
        }
        assert!(all.by_id.len() == 0 && all.slots.is_empty());
    }

    #[test]
    fn what_ended_keeps_no_places_whatever_the_number_of_those_that_were_sent() {
        for sent in [200, 201] {
            let mut all = InFlight::default();
            (1..=sent).for_each(|n| all.push(exchange(n)));
            // The first has no answer yet.
            for n in 2..=sent {
                all.remove(PacketId::new(n).unwrap());
                let most = 2 * all.by_id.len() + SPARE_SLOTS;
                assert!(all.slots.len() <= most, "{} of {sent}, at most {most}", all.slots.len());
            }
        }
    }

    #[test]
    fn what_begins_anew_goes_behind_what_was_published_before_it_and_has_not_left() {
        let mut all = InFlight::default();
        let id = |n| PacketId::new(n).unwrap();
        all.push(exchange(2));
        all.push(Exchange { on_wire: false, charged: false, ..exchange(1) });
        if let Some(Exchange { stage: Stage::Published(entry), .. }) = all.exchange(id(2)) {
            entry.sent = true;
        }
        all.link_down();
        all.resume(false);
        all.move_to(id(2), id(12)).unwrap().sent = false;
        all.link_down();
        all.resume(false);
        let next = |all: &mut InFlight| {
            let next = all.peek_resend().map(|exchange| exchange.packet_id);
            all.resent();
            next
        };
        assert_eq!((next(&mut all), next(&mut all)), (Some(id(1)), Some(id(12))));
    }

    #[test]
    fn what_the_store_has_up_to_its_last_ticket_passes_what_waits_for_a_later_one() {
        let mut all = InFlight::default();
        for n in [2, 1] {
            let needs = Ticket(u64::from(n));
            all.push(Exchange { on_wire: false, charged: false, needs, ..exchange(n) });
        }
        assert!(!all.let_ready_pass(Ticket(0)));
        assert!(all.let_ready_pass(Ticket(1)));
        assert_eq!(all.peek_resend().map(|exchange| exchange.packet_id.get()), Some(1));
    }
}
