//! A watch of the state.

use std::sync::Arc;

use crate::command::Shared;
use crate::status::State;

/// The snapshot as it changes, for loops and `select!`. Made by [`crate::Client::state_watch`].
///
/// It gives copies: whatever is done with one of them, and however long, the client goes on meanwhile. Of changes in quick
/// succession the last is seen. It does not keep the client alive.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) {
/// let mut states = client.state_watch();
/// println!("{:?}", states.state().link);
/// while let Some(state) = states.changed().await {
///     println!("{:?}", state.link);
/// }
/// println!("it has stopped");
/// # }
/// ```
///
/// [`State::heard`], `ahead` and the queue's fill change too often to be published: they are as of the last change of
/// something else. [`crate::Client::state`] has them fresh.
#[derive(Clone, Debug)]
pub struct StateWatch {
    shared: Arc<Shared>,
    /// The revision seen last.
    seen: u64,
}

impl StateWatch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let seen = shared.state.look(|state| state.revision);
        Self { shared, seen }
    }

    /// The present snapshot, which counts as seen.
    pub fn state(&mut self) -> State {
        let state = self.shared.state.look(State::clone);
        self.seen = state.revision;
        state
    }

    /// Whether there is a snapshot that was not seen.
    pub fn has_changed(&self) -> bool {
        self.shared.state.look(|state| state.revision != self.seen)
    }

    /// Waits until there is a snapshot that was not seen, and returns it; `None` when the client has stopped and that was
    /// seen. Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<State> {
        let seen = self.seen;
        let news = |state: &State| state.revision != seen || !state.is_connected();
        let state = self.shared.state.wait_for(news).await;
        self.seen = state.revision;
        (state.revision != seen).then_some(state)
    }

    /// Waits for a snapshot that is `good`, beginning with the present one; all it looks at count as seen. `None` when the
    /// client has stopped and its last snapshot is not. Nothing is lost when the future is dropped.
    pub async fn wait_for(&mut self, mut good: impl FnMut(&State) -> bool) -> Option<State> {
        let shared = Arc::clone(&self.shared);
        let look = || {
            // A copy: the driver does not wait for what is ours.
            let state = self.state();
            if good(&state) {
                return Some(Some(state));
            }
            (!state.is_connected()).then_some(None)
        };
        shared.state.found(look).await
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::{Stage, StopReason};

    use super::*;
    use crate::status::Link;

    fn watch() -> (Arc<Shared>, StateWatch) {
        let shared = Shared::for_tests(tokio::runtime::Handle::current());
        show(&shared, 1);
        (Arc::clone(&shared), StateWatch::new(shared))
    }

    fn show(shared: &Shared, revision: u64) {
        let link = Link::Connecting { attempt: 1, stage: Stage::Tcp, since: std::time::Instant::now() };
        shared.state.show(State { link, revision, ..State::for_tests() });
    }

    fn stop(shared: &Shared, revision: u64) {
        let link = Link::Stopped { reason: StopReason::Shutdown };
        shared.state.show(State { link, revision, ..State::for_tests() });
    }

    #[tokio::test]
    async fn who_watches_is_told_of_each_change_once_and_of_the_end_once() {
        let (shared, mut states) = watch();
        assert!(!states.has_changed());
        show(&shared, 1);
        assert!(!states.has_changed(), "nothing new");
        show(&shared, 2);
        show(&shared, 3);
        assert!(states.has_changed());
        assert_eq!(states.changed().await.map(|state| state.revision), Some(3));
        assert!(!states.has_changed());
        show(&shared, 4);
        assert_eq!((states.state().revision, states.has_changed()), (4, false));
        stop(&shared, 5);
        assert_eq!(states.changed().await.map(|state| state.is_connected()), Some(false));
        assert!(states.changed().await.is_none() && states.changed().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_what_does_not_come_any_more_is_told() {
        let (shared, mut states) = watch();
        let (found, ()) = tokio::join!(states.wait_for(|state| state.revision == 9), async {
            for revision in 2..4 {
                tokio::task::yield_now().await;
                show(&shared, revision);
            }
            tokio::task::yield_now().await;
            stop(&shared, 4);
        });
        assert!(found.is_none());
        let last = states.wait_for(|state| !state.is_connected()).await;
        assert_eq!(last.map(|state| state.revision), Some(4), "the last one is there");
    }
}
