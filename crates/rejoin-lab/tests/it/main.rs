//! The lab, seen from outside: one binary, a module for each part.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod audited;
mod blameless;
mod gauntlet;
mod judge;
mod model;
mod peer;
mod proves;
mod proxied;
mod raw;
mod scripted;
mod served;
#[path = "../../../rejoin/tests/it/skipped.rs"]
mod skipped;
mod soak;
