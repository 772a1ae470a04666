//! `rejoin watch`: holds a connection and studies it.

mod args;
mod hold;
mod screen;
mod words;

pub(crate) use args::WatchArgs;
pub(crate) use hold::{Watch, run};
pub(crate) use words::{sentences, summary};
