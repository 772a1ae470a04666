//! Bytes under way between a client and the broker: two queues, so that nothing overtakes, whatever is done to them.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use fastrand::Rng;

use crate::broker::ConnectionId;

/// What the client's end sees.
#[derive(Debug)]
pub(super) enum Down {
    Bytes(Bytes),
    /// The broker closed.
    End,
    /// The broker reset.
    Reset,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) id: ConnectionId,
    /// Taken by the system, with the time of arrival.
    up: VecDeque<(u64, Bytes)>,
    up_bytes: usize,
    kernel: usize,
    /// Handed over and not taken by the system.
    waiting: VecDeque<Bytes>,
    down: VecDeque<(u64, Down)>,
    /// Nothing arrives in this direction any more, and nobody is told.
    pub(super) up_dead: bool,
    pub(super) down_dead: bool,
    /// Nothing arrives before that.
    frozen_until: u64,
    /// The client was told of the end.
    pub(super) over: bool,
    /// Since when the client cannot hear, for good.
    pub(super) deaf_since: Option<u64>,
    /// Since when nothing arrives at the broker.
    pub(super) mute_since: Option<u64>,
    /// Something was done to it: what looks like silence may be that.
    pub(super) hurt: bool,
    latency: u64,
    slices: u8,
}

impl Wire {
    pub(super) fn new(id: ConnectionId, kernel: usize, latency: u64, slices: u8) -> Self {
        Self {
            id,
            up: VecDeque::new(),
            up_bytes: 0,
            kernel,
            waiting: VecDeque::new(),
            down: VecDeque::new(),
            up_dead: false,
            down_dead: false,
            frozen_until: 0,
            over: false,
            deaf_since: None,
            mute_since: None,
            hurt: false,
            latency,
            slices,
        }
    }

    fn arrival(&self, last: u64, now: u64, rng: &mut Rng) -> u64 {
        last.max(now + self.latency / 2 + rng.u64(..=self.latency / 2))
    }

    /// The client writes. Gives how many bytes the system took at once.
    pub(super) fn write(&mut self, bytes: Bytes, now: u64, rng: &mut Rng) -> usize {
        self.waiting.push_back(bytes);
        self.take_waiting(now, rng)
    }

    /// Bytes the system has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(Bytes::len).sum()
    }

    /// The system takes what it has room for.
    fn take_waiting(&mut self, now: u64, rng: &mut Rng) -> usize {
        let mut taken = 0;
        while let Some(front) = self.waiting.front_mut() {
            let room = self.kernel.saturating_sub(self.up_bytes);
            let size = front.len().min(room);
            if size == 0 && !front.is_empty() {
                break;
            }
            let part = front.split_to(size);
            if front.is_empty() {
                self.waiting.pop_front();
            }
            taken += size;
            self.up_bytes += size;
            let due = self.arrival(self.up.back().map_or(0, |(at, _)| *at), now, rng);
            slice(part, self.slices, rng, |part| self.up.push_back((due, part)));
        }
        taken
    }

    /// The broker writes.
    pub(super) fn send_down(&mut self, bytes: Bytes, now: u64, rng: &mut Rng) {
        let due = self.arrival(self.down.back().map_or(0, |(at, _)| *at), now, rng);
        slice(bytes, self.slices, rng, |part| self.down.push_back((due, Down::Bytes(part))));
    }

    /// The broker ends the connection. A reset destroys what is under way. Where nothing passes to the broker, what the system
    /// has taken it keeps, and where nothing comes from it: only an answer of the peer makes room.
    pub(super) fn end_down(&mut self, reset: bool, now: u64, rng: &mut Rng) {
        if reset {
            self.down.clear();
        }
        let due = self.arrival(self.down.back().map_or(0, |(at, _)| *at), now, rng);
        self.down.push_back((due, if reset { Down::Reset } else { Down::End }));
        if !self.up_dead {
            self.up.clear();
            self.up_bytes = if self.down_dead { self.up_bytes } else { 0 };
        }
    }

    /// When bytes arrive at the broker next.
    pub(super) fn next_up(&self) -> Option<u64> {
        if self.up_dead {
            return None;
        }
        self.up.front().map(|(at, _)| (*at).max(self.frozen_until))
    }

    /// When something arrives at the client next.
    pub(super) fn next_down(&self) -> Option<u64> {
        if self.down_dead || self.over {
            return None;
        }
        self.down.front().map(|(at, _)| (*at).max(self.frozen_until))
    }

    /// Bytes arrive at the broker; the system takes more, if it hears that they did. Gives them, and how much it took.
    pub(super) fn arrive_up(&mut self, now: u64, rng: &mut Rng) -> Option<(Bytes, usize)> {
        let (_, bytes) = self.up.pop_front()?;
        if self.down_dead {
            return Some((bytes, 0));
        }
        self.up_bytes -= bytes.len();
        let taken = self.take_waiting(now, rng);
        Some((bytes, taken))
    }

    pub(super) fn arrive_down(&mut self) -> Option<Down> {
        self.down.pop_front().map(|(_, what)| what)
    }

    /// Whether bytes pass, both ways.
    pub(super) const fn passes(&self, now: u64) -> bool {
        !self.up_dead && !self.down_dead && self.frozen_until <= now
    }

    /// A stall inflates what is known of the round trip, and with it the patience.
    pub(super) const fn was_frozen(&self) -> bool {
        self.frozen_until > 0
    }

    /// Everything stands still for a while.
    pub(super) fn freeze(&mut self, until: u64) {
        self.frozen_until = self.frozen_until.max(until);
        self.hurt = true;
    }

    /// Of what is under way only the first bytes arrive.
    pub(super) fn cut_up(&mut self, rng: &mut Rng) {
        let mut left = rng.usize(0..=self.up_bytes);
        self.waiting.clear();
        let mut kept = VecDeque::new();
        while let Some((at, mut bytes)) = self.up.pop_front() {
            let size = left.min(bytes.len());
            if size == 0 {
                break;
            }
            bytes.truncate(size);
            left -= size;
            kept.push_back((at, bytes));
        }
        self.up = kept;
        self.up_bytes = self.up.iter().map(|(_, bytes)| bytes.len()).sum();
    }

    /// Of what is under way to the client only the first bytes arrive, then the end.
    pub(super) fn cut_down(&mut self, reset: bool, now: u64, rng: &mut Rng) {
        let size =
            self.down.iter().map(|(_, what)| if let Down::Bytes(b) = what { b.len() } else { 0 }).sum();
        let mut left: usize = if reset { 0 } else { rng.usize(0..=size) };
        let mut kept = VecDeque::new();
        for (at, what) in self.down.drain(..) {
            if let Down::Bytes(mut bytes) = what {
                bytes.truncate(left);
                left -= bytes.len();
                if bytes.has_remaining() {
                    kept.push_back((at, Down::Bytes(bytes)));
                }
            }
        }
        let due = kept.back().map_or(now, |(at, _)| *at).max(now);
        kept.push_back((due, if reset { Down::Reset } else { Down::End }));
        self.down = kept;
        self.hurt = true;
    }

    /// The client closed it; what the system has goes on its way, with `waiting` if the close was orderly.
    pub(super) fn leave(&mut self, graceful: bool, now: u64, rng: &mut Rng) {
        self.over = true;
        self.down.clear();
        if graceful {
            self.kernel = usize::MAX;
            self.take_waiting(now, rng);
        } else {
            self.cut_up(rng);
        }
    }
}

fn slice(bytes: Bytes, slices: u8, rng: &mut Rng, mut put: impl FnMut(Bytes)) {
    if bytes.is_empty() {
        return;
    }
    if slices == 0 || rng.u8(..slices) != 0 {
        return put(bytes);
    }
    if rng.u8(..8) == 0 && bytes.len() < 200 {
        for at in 0..bytes.len() {
            put(bytes.slice(at..=at));
        }
        return;
    }
    let at = rng.usize(0..=bytes.len());
    for part in [bytes.slice(..at), bytes.slice(at..)] {
        if !part.is_empty() {
            put(part);
        }
    }
}
