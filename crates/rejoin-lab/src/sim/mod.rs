//! The simulation: whole clients in a seeded world of faults, in virtual time.
//!
//! One seed draws the settings of a world (limits as tiny as they can be), its faults and their density. Faults come
//! for some minutes of virtual time; then all is mended, and everything must be answered for, delivered and back within
//! a stated bound. The oracles watch the whole time. Nothing in here depends on anything but the seed.
//!
//! | file | what is in it |
//! |---|---|
//! | `setting.rs`, `faults.rs` | what a seed draws; what goes wrong |
//! | `world.rs`, `client.rs`, `process.rs`, `acts.rs` | the clock and what happens next; one client; the process that runs it; what its application does |
//! | `opening.rs`, `overrun.rs`, `failing.rs`, `renewal.rs`, `auth.rs` | how attempts to open fail; servers that overrun our limits; disks that fail for good; credentials that end; enhanced authentication |
//! | `wire.rs`, `disk.rs`, `queue.rs` | bytes under way; records that are safe, or not; the queue that users have, on a disk whose power is cut |
//! | `oracle/` | what must be true |
//! | `proof.rs` | in a build of its own: every planted defect must be found |
//! | `run.rs`, `shrink.rs`, `campaign.rs` | one seed; the least that fails; many seeds |
//!
//! `cargo xtask sim` runs it; `docs/simulation.md` says what was run.

mod acts;
mod app;
mod auth;
pub mod campaign;
mod client;
mod disk;
mod failing;
mod faults;
mod flight;
mod marks;
mod opening;
mod oracle;
mod overrun;
mod process;
#[cfg(rejoin_defects)]
pub mod proof;
mod queue;
mod renewal;
mod run;
mod setting;
mod shrink;
mod trace;
mod wire;
mod world;

pub use marks::Marks;
pub use oracle::Alarm;
pub(crate) use oracle::watch::Watch;
pub use run::{Case, Report, Weight, run, run_flights, run_recorded, run_weighed};
pub use shrink::{shrink, shrink_while};
