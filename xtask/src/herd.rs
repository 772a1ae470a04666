//! The herd: the simulation, then two thousand real sockets, both in release.

use crate::{run, say};
use std::path::Path;
use std::time::Duration;

/// Two sockets for each client, and room for the rest.
const DESCRIPTORS: &str = "8192";
const CLIENTS: &str = "2000";
/// The simulation takes minutes on one core; a run of this length hangs.
const LIMIT: Duration = Duration::from_secs(3600);

/// Writes `docs/herd.md` and `docs/herd.svg`. `--quick` runs the smallest herd and keeps nothing.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let docs = root.join("docs");
    let folder = docs.to_string_lossy();
    let example = ["run", "--release", "--quiet", "--package", "rejoin-lab", "--example", "herd", "--"];
    let mut simulation = run::cargo(root, &example);
    simulation.arg(&*folder);
    match flags {
        [] => {}
        ["--quick"] => {
            simulation.arg("quick");
        }
        other => {
            say::line(&format!("xtask herd: `{}`: the only flag is --quick", other.join(" ")));
            return false;
        }
    }
    let simulated = run::within(&mut simulation, LIMIT);
    // Without the page there is nothing to add to.
    let sockets =
        if flags.is_empty() && docs.join("herd.md").is_file() { sockets(root, &docs) } else { Ok(()) };
    for error in [&simulated, &sockets].into_iter().filter_map(|result| result.as_ref().err()) {
        say::line(&format!("xtask herd: {error}"));
    }
    simulated.is_ok() && sockets.is_ok()
}

/// The limit of open files is the shell's to raise.
fn sockets(root: &Path, docs: &Path) -> Result<(), String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let script = format!(
        "ulimit -n {DESCRIPTORS} && exec \"$0\" test --release --quiet --package rejoin-lab --test herd -- sockets"
    );
    let mut command = run::command("sh", &["-c", &script, &cargo]);
    command.current_dir(root).env("REJOIN_HERD_CLIENTS", CLIENTS);
    command.env("REJOIN_HERD_PAGE", docs.join("herd.md"));
    run::within(&mut command, LIMIT)
}
