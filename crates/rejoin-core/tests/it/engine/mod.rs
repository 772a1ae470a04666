//! The engine, driven packet by packet in virtual time with the true defaults.

mod auth;
pub(crate) mod bench;
mod conduct;
mod copies;
mod downgraded;
mod durable;
mod ended;
mod endless;
mod found;
mod held;
mod inbound;
mod leased;
mod liveness;
mod login;
mod outbound;
mod quarantine;
mod redelivered;
mod refusals;
mod renewal;
mod servers;
mod session;
mod subscriptions;
mod transitions;
mod unruly;
mod wire;
mod wishes;
