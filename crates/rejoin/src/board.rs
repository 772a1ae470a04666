//! The state as it is shown: to those who look, those who wait, and those who watch.

use std::sync::{Mutex, OnceLock};

use tokio::sync::{Notify, watch};

use crate::status::State;
use crate::sync::lock;

/// One snapshot. The channel for those who watch is larger than all else here, and made for the first of them.
#[derive(Debug)]
pub(crate) struct Board {
    shown: Mutex<State>,
    changed: Notify,
    watched: OnceLock<Box<watch::Sender<State>>>,
}

impl Board {
    pub(crate) const fn new(state: State) -> Self {
        Self { shown: Mutex::new(state), changed: Notify::const_new(), watched: OnceLock::new() }
    }

    /// Looks at it as it is. Nothing else may be asked of the board meanwhile.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.shown))
    }

    /// Shows another one. Only the driver does.
    pub(crate) fn show(&self, state: State) {
        self.change(|shown| *shown = state);
    }

    /// Changes what is shown, its revision with it. Only the driver does.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        let state = {
            let mut shown = lock(&self.shown);
            change(&mut shown);
            self.watched.get().map(|watched| (watched, shown.clone()))
        };
        // Without the lock: wakers are not ours.
        if let Some((watched, state)) = state {
            watched.send_if_modified(|seen| {
                let news = seen.revision != state.revision;
                *seen = state;
                news
            });
        }
        self.changed.notify_waiters();
    }

    /// A watch of it, from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<State> {
        let shown = lock(&self.shown);
        self.watched.get_or_init(|| Box::new(watch::Sender::new(shown.clone()))).subscribe()
    }

    /// The first state from now on that is `good`.
    pub(crate) async fn wait_for(&self, good: impl Fn(&State) -> bool) -> State {
        loop {
            // Hears of every change from here on, so of each that the next lines do not see.
            let changed = self.changed.notified();
            if let Some(state) = self.look(|state| good(state).then(|| state.clone())) {
                return state;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(revision: u64) -> State {
        State { revision, ..State::for_tests() }
    }

    #[tokio::test]
    async fn who_watches_sees_what_is_shown_from_then_on_and_is_told_of_changes_only() {
        let board = Board::new(state(1));
        board.show(state(2));
        let mut watch = board.subscribe();
        assert_eq!((watch.borrow().revision, watch.has_changed().unwrap()), (2, false));
        board.show(state(2));
        assert!(!watch.has_changed().unwrap(), "nothing new");
        board.show(state(3));
        assert!(watch.has_changed().unwrap());
        assert_eq!(watch.borrow_and_update().revision, 3);
        assert_eq!(board.look(|state| state.revision), 3);
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
