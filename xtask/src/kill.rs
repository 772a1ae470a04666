//! The kill loop: our own process is killed with -9 while a real mosquitto goes on, as often as asked for.

use crate::{kept, run, say};
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

/// `--rounds N` kills in all. The page is a proof: fewer than all do not replace it.
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
    let done = kept::forget(&table)
        .and_then(|()| run::within(&mut command, LIMIT))
        .and_then(|()| keep(rounds, &table, &root.join("docs/queue-proof.md")));
    if let Err(error) = &done {
        say::line(&format!("xtask kill: {error}"));
    }
    done.is_ok()
}

fn keep(rounds: u64, table: &Path, page: &Path) -> Result<(), String> {
    let table = std::fs::read_to_string(table)
        .map_err(|_| "the run was skipped; the line above says what is missing".to_owned())?;
    if rounds < ROUNDS {
        say::line(&format!("xtask kill: fewer than {ROUNDS} kills; {} stays as it is", page.display()));
        return Ok(());
    }
    kept::write(page, &format!("{HEAD}{table}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_kills_or_none_do_not_replace_the_proof() {
        let folder = std::env::temp_dir().join(format!("xtask-kill-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (page, table) = (folder.join("page.md"), folder.join("table.md"));
        std::fs::write(&page, "500 kills").unwrap();
        assert!(keep(ROUNDS, &table, &page).unwrap_err().contains("skipped"));
        std::fs::write(&table, "4 kills").unwrap();
        assert_eq!(keep(4, &table, &page), Ok(()));
        assert_eq!(std::fs::read_to_string(&page).unwrap(), "500 kills");
        assert_eq!(keep(ROUNDS, &table, &page), Ok(()));
        assert!(std::fs::read_to_string(&page).unwrap().ends_with("4 kills"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
