//! The program as people run it: its own process, real sockets on loopback.

mod flags;
mod program;
mod publishing;
mod refusals;
mod subscribing;
