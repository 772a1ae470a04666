//! The bill of an outage: where the time between two links went, as far as a client can know by itself.

use std::time::Duration;

use crate::event::{OutageBill, PublishId};
use crate::time::Timestamp;

/// Adds up one outage, from the loss of a link until the backlog of the next one is answered for. Without one there is
/// nothing to add up, and nothing is kept.
#[derive(Debug, Default)]
pub(super) struct Outage(Option<Box<Account>>);

#[derive(Debug, Default)]
struct Account {
    lost_at: Timestamp,
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
    /// A link that was up is gone; the last byte came at `heard`. Each is an outage of its own, also while what waited in
    /// the one before still drains.
    pub(super) fn lost(&mut self, heard: Timestamp, now: Timestamp) {
        let mut account = Account { lost_at: now, ..Account::default() };
        account.bill.detect = now.since(heard);
        self.0 = Some(Box::new(account));
        self.mark(now);
    }

    /// An attempt begins.
    pub(super) fn attempt(&mut self, now: Timestamp) {
        let since = self.mark(now);
        if let Some(account) = &mut self.0 {
            account.bill.waited += since;
        }
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Timestamp) {
        let since = self.mark(now);
        if let Some(account) = &mut self.0 {
            account.bill.refused += since;
        }
    }

    /// The pause or attempt under way is over; gives how long it was.
    fn mark(&mut self, now: Timestamp) -> Duration {
        let Some(account) = &mut self.0 else { return Duration::ZERO };
        now.since(std::mem::replace(&mut account.mark, now))
    }

    /// The link is up, with `backlog` messages to answer for, the last of them `last`. Gives the length of the
    /// outage without its drain.
    pub(super) fn up(&mut self, backlog: usize, last: PublishId, now: Timestamp) -> Option<Duration> {
        let account = self.0.as_mut()?;
        account.bill.connect = now.since(account.mark);
        account.up_at = Some(now);
        account.backlog = Some(last);
        account.left = backlog;
        account.total = backlog;
        Some(now.since(account.lost_at))
    }

    /// Every subscription was answered.
    pub(super) fn resubscribed(&mut self, now: Timestamp) {
        let Some(account) = &mut self.0 else { return };
        if let (Some(up_at), false) = (account.up_at, account.resubscribed) {
            account.resubscribed = true;
            account.bill.resubscribe = now.since(up_at);
        }
    }

    /// A message was answered for.
    pub(super) fn answered(&mut self, id: PublishId) {
        let Some(account) = &mut self.0 else { return };
        if account.up_at.is_some() && account.backlog.is_some_and(|last| id <= last) {
            account.left = account.left.saturating_sub(1);
        }
    }

    /// The bill, once, when all is back.
    pub(super) fn settled(&mut self, now: Timestamp) -> Option<(OutageBill, usize)> {
        let account = self.0.as_ref()?;
        let up_at = account.up_at?;
        if !account.resubscribed || account.left > 0 {
            return None;
        }
        let mut bill = account.bill;
        bill.drain = now.since(up_at);
        bill.total = now.since(account.lost_at);
        let total = account.total;
        self.0 = None;
        Some((bill, total))
    }
}
