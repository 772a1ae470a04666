//! Tests of the core through its public API.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod codec;
mod engine;
mod properties;
