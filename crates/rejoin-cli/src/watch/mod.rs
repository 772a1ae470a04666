//! `rejoin watch`: holds a connection and studies it.

mod words;

pub(crate) use words::{sentences, summary};
