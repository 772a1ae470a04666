//! The herd: in virtual time with the true constants, and over real sockets with as many clients as a test may have.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod simulated;
mod sockets;
