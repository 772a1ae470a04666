//! The queue on disk, from the command line.

pub(crate) mod flags;
