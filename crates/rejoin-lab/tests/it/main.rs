//! The lab, seen from outside: one binary, a module for each part.

mod audited;
mod judge;
mod model;
mod peer;
mod proxied;
mod raw;
mod scripted;
mod served;
