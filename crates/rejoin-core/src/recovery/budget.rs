//! How many attempts may reach a broker. A hard bound of its own, because no back-off proves one: brokers ban a
//! client id that connects too often, whatever its reasons.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Budget;
use crate::time::Timestamp;

/// The attempts that reached a broker, over a sliding window. A fixed window would let twice the number through
/// around its border.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    budget: Option<Budget>,
    /// When each of them leaves the period.
    leave: VecDeque<Timestamp>,
    /// When the last one is far enough away.
    spaced: Timestamp,
    /// When it is so far away that attempts at this distance never fill the period.
    paced: Timestamp,
}

impl Meter {
    pub(super) const fn new(budget: Option<Budget>) -> Self {
        Self { budget, leave: VecDeque::new(), spaced: Timestamp::ZERO, paced: Timestamp::ZERO }
    }

    fn per_period(budget: Budget) -> usize {
        // Zero would mean never; the builder of a client has no use for one that may not connect.
        usize::try_from(budget.per_period.max(1)).unwrap_or(usize::MAX)
    }

    /// An attempt reached a broker.
    pub(super) fn charge(&mut self, now: Timestamp) {
        self.recall(Duration::ZERO, now);
    }

    /// An attempt reached a broker that long ago, in this process or an earlier one. The oldest is recalled first.
    pub(super) fn recall(&mut self, age: Duration, now: Timestamp) {
        let Some(budget) = self.budget else { return };
        self.leave.push_back(now + budget.period.saturating_sub(age));
        self.spaced = now + budget.spacing.saturating_sub(age);
        self.paced = now + (budget.period / budget.per_period.max(1)).saturating_sub(age);
        while self.leave.len() > Self::per_period(budget) {
            self.leave.pop_front();
        }
    }

    pub(super) const fn pace(&self) -> Timestamp {
        self.paced
    }

    /// The first moment another attempt may reach a broker; in the past when it may now.
    pub(super) fn free_at(&self) -> Timestamp {
        if defect!(BudgetIgnored) {
            return Timestamp::ZERO;
        }
        let Some(budget) = self.budget else { return Timestamp::ZERO };
        match self.leave.front() {
            Some(oldest) if self.leave.len() >= Self::per_period(budget) => self.spaced.max(*oldest),
            _ => self.spaced,
        }
    }
}
