//! The state as it is shown: to those who look, and to those who wait.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::news;
use crate::status::State;
use crate::sync::lock;

/// One snapshot, and who waits for another.
#[derive(Debug)]
pub(crate) struct Board {
    shown: Mutex<State>,
    changed: Notify,
}

impl Board {
    pub(crate) const fn new(state: State) -> Self {
        Self { shown: Mutex::new(state), changed: Notify::const_new() }
    }

    /// Looks at it as it is. Nothing else may be asked of the board meanwhile, and the driver waits: no code of a user's
    /// looks here.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.shown))
    }

    /// Shows another one. Only the driver does.
    pub(crate) fn show(&self, state: State) {
        self.change(|shown| *shown = state);
    }

    /// Changes what is shown, its revision with it. Only the driver does.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.shown));
        // Without the lock: wakers are not ours.
        self.changed.notify_waiters();
    }

    /// The first state from now on that is `good`.
    pub(crate) async fn wait_for(&self, good: impl Fn(&State) -> bool) -> State {
        self.found(|| self.look(|state| good(state).then(|| state.clone()))).await
    }

    /// What is found by looking now, or after one of the next changes.
    pub(crate) async fn found<T>(&self, look: impl FnMut() -> Option<T>) -> T {
        news::found(&self.changed, look).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(revision: u64) -> State {
        State { revision, ..State::for_tests() }
    }

    #[tokio::test]
    async fn who_waits_misses_nothing() {
        let board = Board::new(state(1));
        let (found, ()) = tokio::join!(board.wait_for(|state| state.revision == 3), async {
            for revision in 2..=3 {
                tokio::task::yield_now().await;
                board.show(state(revision));
            }
        });
        assert_eq!(found.revision, 3);
        assert_eq!(board.wait_for(|_| true).await.revision, 3, "it is there already");
    }
}
