//! The kill loop: our own process is killed with -9 while a real mosquitto goes on, as often as asked for.

use crate::{run, say};
use std::path::Path;
use std::time::Duration;

/// Runs at a time: MQTT 5 and 3.1.1, each at QoS 1 and 2.
const RUNS: u64 = 4;
const ROUNDS: u64 = 500;
/// A round takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(3600);

const HEAD: &str = "\
# Killed in the middle of its lines

`rejoin pub -l --queue DIR --report-stored FILE` streams numbered lines to Debian's mosquitto and is killed with -9 at a random moment between
its first millisecond and its 150th, again and again. Who feeds it reads which lines were reported as stored and feeds only the others to
the next process, each time with a new mark, so that every message fed is one of a kind. In the end `rejoin queue drain` delivers what is left,
and a `mosquitto_sub` that was subscribed all the time says what arrived.

*lost* counts messages that were reported as stored and never arrived: it must be 0. *repeated* counts arrivals beyond the first of each message: at
QoS 2 it must be 0; at QoS 1 a resend with DUP after a kill is what the standard asks for. *told as unknown* counts messages that the drain ends with
\"nobody can know\", exit 4: their PUBREL was under way when a process died between CONNECT and CONNACK. Where they were reported as stored they had to arrive all the same. Written by `cargo xtask kill`; `cargo xtask test` runs
100 kills of the same.

";

/// `--rounds N` kills in all.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let rounds = match flags {
        [] => ROUNDS,
        ["--rounds", number] => match number.parse() {
            Ok(rounds) => rounds,
            Err(_) => {
                say::line(&format!("xtask kill: `{number}` is no number of rounds"));
                return false;
            }
        },
        other => {
            say::line(&format!("xtask kill: `{}`: the only flag is --rounds N", other.join(" ")));
            return false;
        }
    };
    let table = root.join("target").join("killed.md");
    let test = ["test", "--quiet", "--package", "rejoin-cli", "--test", "mosquitto", "--"];
    let mut command = run::cargo(root, &test);
    command.args(["process::what_was_stored_outlives_every_kill_of_our_process", "--exact", "--nocapture"]);
    command.env("REJOIN_KILL_ROUNDS", rounds.div_ceil(RUNS).to_string()).env("REJOIN_KILL_PAGE", &table);
    let done = run::within(&mut command, LIMIT).and_then(|()| {
        let table = std::fs::read_to_string(&table)
            .map_err(|_| "the run was skipped; the line above says what is missing".to_owned())?;
        std::fs::write(root.join("docs/queue-proof.md"), format!("{HEAD}{table}"))
            .map_err(|error| format!("docs/queue-proof.md: {error}"))
    });
    if let Err(error) = &done {
        say::line(&format!("xtask kill: {error}"));
    }
    done.is_ok()
}
