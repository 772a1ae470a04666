//! A cluster of nats-server nodes with JetStream and their MQTT gateways. It speaks 3.1.1.

use super::bring;
use super::check::{Act, Step};
use super::cluster::{Cluster, Manners, Node, free_ports};
use crate::{run, say};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Older ones have no QoS 2, and stall when a node dies.
const SINCE: (u32, u32) = (2, 10);
const NODES: usize = 3;
const LIMIT: Duration = Duration::from_secs(30);

/// What its check does.
pub(super) const STEPS: [Step; 5] = [
    Step::new("311", "1", Act::Kill),
    Step::new("311", "2", Act::Kill),
    Step::new("311", "1", Act::Drain),
    Step::new("311", "2", Act::Drain),
    Step::new("311", "1", Act::OneOfThree),
];

/// Starts it.
pub(super) fn start(folder: &Path) -> Result<Cluster, String> {
    let program = program(folder)?;
    let data = folder.join(format!("nats-{}", std::process::id()));
    let ports = free_ports(3 * NODES)?;
    let (clients, rest) = ports.split_at(NODES);
    let (gateways, routes) = rest.split_at(NODES);
    let all: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut nodes = Vec::new();
    for n in 0..NODES {
        let place = data.join(n.to_string());
        // Leaving in order is for thousands of clients who must not come back together: the shortest that it takes.
        let text = format!(
            "server_name: n{n}\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\n\
             mqtt {{ listen: 127.0.0.1:{}, ack_wait: \"3s\", max_ack_pending: 100 }}\n\
             lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\n\
             cluster {{ name: rejoin, listen: 127.0.0.1:{}, routes: [{}] }}\n",
            clients[n],
            place.display(),
            gateways[n],
            routes[n],
            all.join(", ")
        );
        let told = |error: io::Error| format!("{}: {error}", place.display());
        fs::create_dir_all(&place).map_err(told)?;
        let configuration = place.join("nats.conf");
        fs::write(&configuration, text).map_err(told)?;
        let program = program.clone();
        nodes.push(Node::new(&format!("node {n}"), gateways[n], place.join("log"), move || {
            let mut command = Command::new(&program);
            command.arg("-c").arg(&configuration);
            command
        }));
    }
    let cluster = Cluster::new(data, nodes, LameDuck(program.clone())).started(LIMIT)?;
    let flags = cluster.flags().join(" ");
    Ok(cluster
        .with_hint("the first CONNECT waits for the leader, about 3 s; then, for example:")
        .with_hint(format!("  rejoin sub -V 311 -c -i S -q 2 -t 't/#' -v {flags}"))
        .with_hint(format!("a node leaves in order: {} --signal ldm=PROCESS", program.display())))
}

/// The program, which a signal reaches through itself.
struct LameDuck(PathBuf);

impl Manners for LameDuck {
    /// It moves its leaders away, sends its clients away one by one, and ends.
    fn drain(&self, node: &mut Node) -> Result<(), String> {
        run::within(Command::new(&self.0).arg(format!("--signal=ldm={}", node.id())), LIMIT)
    }

    fn revive(&self, node: &mut Node) -> Result<(), String> {
        node.kill();
        node.start()?;
        node.wait(LIMIT)
    }
}

/// One that is new enough: installed, brought before, or brought now into a folder of its own.
fn program(folder: &Path) -> Result<PathBuf, String> {
    let place = folder.join("nats");
    let brought = place.join("usr").join("sbin").join("nats-server");
    if let Some(found) =
        run::find("nats-server").into_iter().chain([brought.clone()]).find(|path| is_new(path))
    {
        return Ok(found);
    }
    let remedy = format!("install nats-server {}.{} or newer", SINCE.0, SINCE.1);
    if !bring::possible() {
        return Err(remedy);
    }
    let suite = bring::SUITE;
    say::line(&format!("bringing nats-server from Debian {suite} into {} (5 MB)", place.display()));
    bring::unpack(folder, &["nats-server"], &place).map_err(|error| format!("{error}; {remedy}"))?;
    if is_new(&brought) { Ok(brought) } else { Err(remedy) }
}

fn is_new(program: &Path) -> bool {
    let Some(said) = run::answer(Command::new(program).arg("-v")) else { return false };
    let Some((_, version)) = said.rsplit_once('v') else { return false };
    let mut numbers = version.split('.').map_while(|number| number.trim().parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= SINCE
}
