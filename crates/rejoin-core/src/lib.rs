//! The sans-IO heart of rejoin: MQTT 3.1.1 and 5.0 as pure state machines.
pub mod codec;
pub mod text;
pub mod time;
