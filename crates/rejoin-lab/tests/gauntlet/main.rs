//! The recovery gauntlet: scripts that real clients fail, one test a row, over real sockets on loopback.
//!
//! A row is `row_NN_what_must_hold`, at 5.0 and, where its packets exist there, at 3.1.1. The constants are scaled
//! down and printed at the start; the true defaults are held by tests in virtual time, in `rejoin-core`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

#[macro_use]
mod kit;

mod duel;
mod ending;
mod flapping;
mod floods;
mod handlers;
mod handshake;
mod liveness;
mod memory;
mod poison;
mod publishing;
mod refusals;
mod session_loss;
mod way;
