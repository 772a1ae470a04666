//! The program as people run it: its own process, real sockets on loopback.

mod assets;
mod demo;
mod endings;
mod flags;
mod hostile;
mod login;
mod program;
mod publishing;
mod queue;
mod refusals;
mod replay;
mod serving;
#[path = "../../../rejoin/tests/it/skipped.rs"]
mod skipped;
mod subscribing;
mod watching;
