//! How many attempts may reach a broker. A hard bound of its own, because no back-off proves one: brokers ban a
//! client id that connects too often, whatever its reasons.

use std::collections::VecDeque;

use crate::config::Budget;
use crate::time::Timestamp;

/// The attempts that reached a broker, over a sliding window. A fixed window would let twice the number through
/// around its border.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    budget: Option<Budget>,
    reached: VecDeque<Timestamp>,
}

impl Meter {
    pub(super) const fn new(budget: Option<Budget>) -> Self {
        Self { budget, reached: VecDeque::new() }
    }

    fn per_period(budget: Budget) -> usize {
        // Zero would mean never; the builder of a client has no use for one that may not connect.
        usize::try_from(budget.per_period.max(1)).unwrap_or(usize::MAX)
    }

    /// An attempt reached a broker.
    pub(super) fn charge(&mut self, now: Timestamp) {
        let Some(budget) = self.budget else { return };
        self.reached.push_back(now);
        while self.reached.len() > Self::per_period(budget) {
            self.reached.pop_front();
        }
    }

    /// The first moment another attempt may reach a broker; in the past when it may now.
    pub(super) fn free_at(&self) -> Timestamp {
        let (Some(budget), Some(last)) = (self.budget, self.reached.back()) else { return Timestamp::ZERO };
        let spaced = *last + budget.spacing;
        match self.reached.front() {
            Some(oldest) if self.reached.len() >= Self::per_period(budget) => {
                spaced.max(*oldest + budget.period)
            }
            _ => spaced,
        }
    }
}
