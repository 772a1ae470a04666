//! The client over real sockets, against brokers scripted in the test.

mod ending;
mod isolation;
mod peer;
mod publishing;
mod receiving;
mod wishes;
