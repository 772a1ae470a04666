//! The durable queue beside other stores that do the same work, interleaved, one process for each measurement.

mod client;
mod contestant;
mod far;
mod job;
mod log;
mod page;
mod process;
mod runner;

pub(crate) use job::run as measure;
pub(crate) use runner::run;
