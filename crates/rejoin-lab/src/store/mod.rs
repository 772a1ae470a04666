//! What a durable queue must stand: the contract any [`rejoin::store::Store`] must keep, and a disk whose power goes.
//!
//! | part | what it is |
//! |---|---|
//! | [`contract()`] | the clauses of the `Store` trait, tried one by one on any store |
//! | [`Workload`] | seeded groups of records as an engine writes them, and a few it never would |
//! | [`Disk`] | writes that are not synced may survive a power cut whole, torn, out of order or not at all |
//! | [`life`] | seeded lives of a queue on such a disk, compared with what [`Recovered::replay`] says |
//!
//! [`Recovered::replay`]: rejoin_core::Recovered::replay

mod compare;
pub mod contract;
pub mod disk;
pub mod life;
mod workload;

pub use compare::difference;
pub use contract::contract;
pub use disk::{Disk, Survivors};
pub use life::{Life, LifeReport};
pub use workload::Workload;
