//! Tests of the core through its public API.

mod codec;
mod engine;
