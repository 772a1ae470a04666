//! What is seen of a client while it runs: the model of a run, and whoever shows it to browsers and probes.
//!
//! ```text
//!   client ──events──┐                       ┌─► stream (server-sent events)
//!   state ──4 a second┼─► Run ──► Update ────┼─► recording (--record)
//!   proxy ──truth────┘    └──► Document      └─► page, report, watch
//! ```

mod answers;
pub(crate) mod document;
mod lanes;
pub(crate) mod measure;
mod outages;
pub(crate) mod recording;
pub(crate) mod run;
mod samples;
#[cfg(test)]
mod tests;
pub(crate) mod update;
