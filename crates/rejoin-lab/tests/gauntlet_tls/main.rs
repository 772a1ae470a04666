//! Every row of the gauntlet again, over TLS: the client does the whole of it, and the other end is taken off in this
//! process, in front of the scripted brokers and proxies of the rows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

#[macro_use]
#[path = "../gauntlet/kit.rs"]
mod kit;

#[path = "../gauntlet/duel.rs"]
mod duel;
#[path = "../gauntlet/ending.rs"]
mod ending;
#[path = "../gauntlet/flapping.rs"]
mod flapping;
#[path = "../gauntlet/floods.rs"]
mod floods;
#[path = "../gauntlet/handlers.rs"]
mod handlers;
#[path = "../gauntlet/handshake.rs"]
mod handshake;
#[path = "../gauntlet/liveness.rs"]
mod liveness;
#[path = "../gauntlet/memory.rs"]
mod memory;
#[path = "../gauntlet/poison.rs"]
mod poison;
#[path = "../gauntlet/publishing.rs"]
mod publishing;
#[path = "../gauntlet/refusals.rs"]
mod refusals;
#[path = "../gauntlet/session_loss.rs"]
mod session_loss;
mod way;
