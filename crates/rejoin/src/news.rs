//! Waiting for what another task tells.

use tokio::sync::Notify;

/// What `look` finds, now or after one of the times that `told` wakes those who wait.
pub(crate) async fn found<T>(told: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        // Hears of all that is told after this line, so of all that the next one does not see.
        let news = told.notified();
        if let Some(found) = look() {
            return found;
        }
        news.await;
    }
}
