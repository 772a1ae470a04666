//! Shared with `xtask`, which brings a browser only where none of these is there.

/// Names under which systems have Chromium, or what works as well.
pub(crate) const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
