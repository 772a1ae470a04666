//! How much of the watched time the link was open: summed up as it happens, because the lanes forget.

use super::document::LinkWord;

/// Sums up the time of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenTime {
    began_ms: Option<u64>,
    /// Since when the link is open, if it is.
    open_since_ms: Option<u64>,
    /// In the spans that are over.
    open_ms: u64,
}

impl OpenTime {
    /// The link is in this state from now on.
    pub(crate) fn claim(&mut self, at_ms: u64, state: LinkWord) {
        self.began_ms.get_or_insert(at_ms);
        if state == LinkWord::Open {
            self.open_since_ms.get_or_insert(at_ms);
        } else if let Some(since_ms) = self.open_since_ms.take() {
            self.open_ms += at_ms.saturating_sub(since_ms);
        }
    }

    /// How long the link was open until now, in milliseconds.
    pub(crate) fn open_ms(&self, now_ms: u64) -> u64 {
        self.open_ms + self.open_since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// How long it was watched until now, in milliseconds.
    pub(crate) fn watched_ms(&self, now_ms: u64) -> u64 {
        self.began_ms.map_or(0, |began_ms| now_ms.saturating_sub(began_ms))
    }
}
