//! The lab, seen from outside: one binary, a module for each part.

mod judge;
mod model;
mod peer;
