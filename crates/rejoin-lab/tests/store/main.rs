//! Durable queues: the contract, and the power cut at every write.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
#![allow(clippy::print_stdout, reason = "figures for who runs it with --nocapture")]

mod bytes;
mod contract;
mod folder;
mod golden;
mod live;
mod places;
mod power;
#[path = "../../../rejoin/tests/it/skipped.rs"]
mod skipped;
mod taken;
mod tools;
mod trouble;
