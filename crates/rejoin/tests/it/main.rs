//! The client over real sockets, against brokers scripted in the test.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

mod asked;
mod ending;
mod flight;
mod giving_up;
mod health;
mod identity;
mod isolation;
mod links;
mod loopback;
mod metrics;
mod peer;
mod publishing;
mod queue;
mod receiving;
mod renewal;
mod secrets;
mod skipped;
#[cfg(feature = "tls")]
mod tls;
mod ways;
#[cfg(feature = "axum")]
mod web;
#[cfg(feature = "ws")]
mod websocket;
mod wishes;
