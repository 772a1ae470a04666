//! The bill of an outage: where the time between two links went, as far as a client can know by itself.

use std::time::Duration;

use crate::event::{OutageBill, PublishId};
use crate::time::Timestamp;

/// Adds up one outage, from the loss of a link until the backlog of the next one is answered for.
#[derive(Debug, Default)]
pub(super) struct Outage {
    lost_at: Option<Timestamp>,
    bill: OutageBill,
    /// Start of the pause or attempt under way.
    mark: Timestamp,
    up_at: Option<Timestamp>,
    resubscribed: bool,
    backlog: Option<PublishId>,
    left: usize,
    total: usize,
}

impl Outage {
    /// The link is gone; the last byte came at `heard`. A loss during the drain continues the same outage.
    pub(super) fn lost(&mut self, heard: Timestamp, now: Timestamp) {
        if self.lost_at.is_none() || self.up_at.is_some() {
            *self = Self { lost_at: Some(now), ..Self::default() };
            self.bill.detect = now.since(heard);
        }
        self.mark = now;
    }

    /// An attempt begins.
    pub(super) fn attempt(&mut self, now: Timestamp) {
        self.bill.waited += now.since(self.mark);
        self.mark = now;
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.bill.refused += now.since(self.mark);
        self.mark = now;
    }

    /// The link is up, with `backlog` messages to answer for, the last of them `last`. Gives the length of the
    /// outage without its drain.
    pub(super) fn up(&mut self, backlog: usize, last: PublishId, now: Timestamp) -> Option<Duration> {
        let lost_at = self.lost_at?;
        self.bill.connect = now.since(self.mark);
        self.up_at = Some(now);
        self.backlog = Some(last);
        self.left = backlog;
        self.total = backlog;
        Some(now.since(lost_at))
    }

    /// Every subscription was answered.
    pub(super) fn resubscribed(&mut self, now: Timestamp) {
        if let (Some(up_at), false) = (self.up_at, self.resubscribed) {
            self.resubscribed = true;
            self.bill.resubscribe = now.since(up_at);
        }
    }

    /// A message was answered for.
    pub(super) fn answered(&mut self, id: PublishId) {
        if self.up_at.is_some() && self.backlog.is_some_and(|last| id <= last) {
            self.left = self.left.saturating_sub(1);
        }
    }

    /// The bill, once, when all is back.
    pub(super) fn settled(&mut self, now: Timestamp) -> Option<(OutageBill, usize)> {
        let (lost_at, up_at) = (self.lost_at?, self.up_at?);
        if !self.resubscribed || self.left > 0 {
            return None;
        }
        let mut bill = self.bill;
        bill.drain = now.since(up_at);
        bill.total = now.since(lost_at);
        let total = self.total;
        *self = Self::default();
        Some((bill, total))
    }
}
