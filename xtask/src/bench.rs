//! Speed, in the workspace of its own that ordinary builds never touch.

use crate::{run, say};
use std::path::Path;

/// Hands the flags on: `--quick` and those that `bench/src/main.rs` lists. With `--store` it is about the durable queue.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let mut arguments = vec!["run", "--release", "--manifest-path", "bench/Cargo.toml"];
    arguments.extend(match flags.contains(&"--store") {
        true => &["--features", "stores", "--", "stores"][..],
        false => &["--", "run"],
    });
    arguments.extend(flags.iter().filter(|flag| **flag != "--store"));
    match run::cargo(root, &arguments).status() {
        Ok(status) => status.success(),
        Err(error) => {
            say::line(&format!("xtask: cargo did not start: {error}"));
            false
        }
    }
}
