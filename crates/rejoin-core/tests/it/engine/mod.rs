//! The engine, driven packet by packet in virtual time with the true defaults.

mod bench;
mod durable;
mod inbound;
mod liveness;
mod outbound;
mod quarantine;
mod servers;
mod session;
mod subscriptions;
