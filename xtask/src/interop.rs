//! Sets up real brokers: `cargo xtask interop NAME` runs them until Enter is pressed or stdin ends, `--check` puts rejoin
//! in front of them, breaks them and judges.

mod bring;
mod check;
mod cluster;
mod foreign;
mod judge;
mod nats;
mod rabbit;
mod token;

use crate::say;
use cluster::Cluster;
use std::io;
use std::path::{Path, PathBuf};

const HELP: &str = "\
cargo xtask interop nats               three nats-server nodes with JetStream and their MQTT gateways, as one cluster
cargo xtask interop rabbitmq           three RabbitMQ nodes with quorum queues, MQTT 5 and OAuth 2, as one cluster
cargo xtask interop nats --check       kill, drain and one node of three, with rejoin in front; verdicts, and an exit code
cargo xtask interop rabbitmq --check   the same, and tokens that end
cargo xtask interop NAME --check WORD  only the steps whose titles contain this word";

/// Starts the set-up of this name. True when it ran, and when its check passed.
pub(crate) fn run(root: &Path, words: &[&str]) -> bool {
    let done = match words {
        ["nats"] => nats::start(&folder(root)).and_then(show),
        ["rabbitmq"] => rabbit::start(&folder(root)).and_then(show),
        ["nats", "--check", word @ ..] if word.len() < 2 => {
            check::run(root, nats::start, &nats::STEPS, &word.concat())
        }
        ["rabbitmq", "--check", word @ ..] if word.len() < 2 => {
            check::run(root, rabbit::start, &rabbit::STEPS, &word.concat())
        }
        _ => Err(format!("which brokers?\n{HELP}")),
    };
    if let Err(error) = &done {
        say::line(&format!("interop: {error}"));
    }
    done.is_ok()
}

/// What is brought and what runs lies below this folder; removing it removes all of it.
fn folder(root: &Path) -> PathBuf {
    root.join("target").join("interop")
}

/// Tells how to use a cluster and lets it run.
fn show(cluster: Cluster) -> Result<(), String> {
    for node in cluster.nodes() {
        say::line(&format!("{}: process {}, -L {}", node.name(), node.id(), node.url()));
    }
    say::line(&format!("logs and data: {}", cluster.data().display()));
    for line in cluster.hints() {
        say::line(line);
    }
    say::line("kill -9 the process a client is connected to. Enter ends all of them.");
    let _ = io::stdin().read_line(&mut String::new());
    cluster.end()
}
