//! Speed, in the workspace of its own that ordinary builds never touch.

use crate::{run, say};
use std::path::Path;

/// Hands the flags on: `--quick` and those that `bench/src/main.rs` lists.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let mut arguments = vec!["run", "--release", "--manifest-path", "bench/Cargo.toml", "--", "run"];
    arguments.extend(flags);
    match run::cargo(root, &arguments).status() {
        Ok(status) => status.success(),
        Err(error) => {
            say::line(&format!("xtask: cargo did not start: {error}"));
            false
        }
    }
}
