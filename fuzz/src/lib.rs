//! What is fuzzed, as plain functions of bytes: `cargo fuzz` runs them, and so does a test of `rejoin-lab` over the
//! corpora, on any machine.

mod codec;
mod engine;
mod input;
mod names;
mod settings;

pub use codec::{decode_v5, decode_v311, round_trip, slicing};
pub use engine::engine;
pub use names::{filter, url};
pub use settings::settings;

/// Takes any bytes; panics when something is wrong.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 8] = [
    ("decode_v5", decode_v5),
    ("decode_v311", decode_v311),
    ("round_trip", round_trip),
    ("slicing", slicing),
    ("engine", engine),
    ("settings", settings),
    ("url", url),
    ("filter", filter),
];
