//! The fault lab.
pub mod broker;
mod port;
pub mod server;
pub mod wire;
