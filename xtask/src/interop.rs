//! Sets up real brokers to look at: `cargo xtask interop nats`. They run until Enter is pressed or stdin ends.

use crate::{run, say};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const HELP: &str = "\
cargo xtask interop nats    three nats-server nodes with JetStream and their MQTT gateways, as one cluster";

/// Older ones have no QoS 2, and stall when a node dies.
const NATS_SINCE: (u32, u32) = (2, 10);
/// Where Debian has such a version.
const SUITE: &str = "trixie";
/// The package lists that a Debian system reads.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const LIMIT: Duration = Duration::from_secs(300);
const NODES: usize = 3;

/// Starts the set-up of this name. True when it ran.
pub(crate) fn run(root: &Path, words: &[&str]) -> bool {
    let done = match words {
        ["nats"] => nats(root),
        _ => Err(format!("which brokers?\n{HELP}")),
    };
    if let Err(error) = &done {
        say::line(&format!("interop: {error}"));
    }
    done.is_ok()
}

/// Nodes that run. Dropping them ends the processes, by their ids.
struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn nats(root: &Path) -> Result<(), String> {
    let folder = root.join("target").join("interop");
    let program = nats_server(&folder)?;
    let data = folder.join(format!("nats-{}", std::process::id()));
    let ports = free_ports(3 * NODES).map_err(|error| format!("no free ports: {error}"))?;
    let (clients, rest) = ports.split_at(NODES);
    let (gateways, routes) = rest.split_at(NODES);
    let all: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let mut nodes = Nodes(Vec::new());
    for n in 0..NODES {
        let place = data.join(n.to_string());
        let text = format!(
            "server_name: n{n}\nlisten: 127.0.0.1:{}\njetstream {{ store_dir: \"{}\" }}\n\
             mqtt {{ listen: 127.0.0.1:{}, ack_wait: \"3s\", max_ack_pending: 100 }}\n\
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
        let log = fs::File::create(place.join("log")).map_err(told)?;
        let node = Command::new(&program)
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        say::line(&format!("node {n}: process {}, -L mqtt://127.0.0.1:{}", node.id(), gateways[n]));
        nodes.0.push(node);
    }
    let urls: Vec<String> = gateways.iter().map(|port| format!("-L mqtt://127.0.0.1:{port}")).collect();
    say::line(&format!("logs and data: {}", data.display()));
    say::line("the first CONNECT waits for the leader, about 3 s; then, for example:");
    say::line(&format!("  rejoin sub -V 311 -c -i S -q 2 -t 't/#' -v {}", urls.join(" ")));
    say::line("and kill -9 the process it is connected to. Enter ends all of them.");
    let _ = io::stdin().read_line(&mut String::new());
    drop(nodes);
    fs::remove_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))
}

/// One that is new enough: installed, brought before, or brought now into a folder of its own.
fn nats_server(folder: &Path) -> Result<PathBuf, String> {
    let brought = folder.join("nats").join("usr").join("sbin").join("nats-server");
    if let Some(found) =
        run::find("nats-server").into_iter().chain([brought.clone()]).find(|path| is_new(path))
    {
        return Ok(found);
    }
    let remedy = format!("install nats-server {}.{} or newer", NATS_SINCE.0, NATS_SINCE.1);
    if run::find("apt-get").is_none() || run::find("dpkg-deb").is_none() || !Path::new(SOURCES).exists() {
        return Err(remedy);
    }
    say::line(&format!(
        "bringing nats-server from Debian {SUITE} into {} (nothing is installed)",
        folder.display()
    ));
    bring(folder, "nats-server").map_err(|error| format!("{error}; {remedy}"))?;
    if is_new(&brought) { Ok(brought) } else { Err(remedy) }
}

fn is_new(program: &Path) -> bool {
    let Some(said) = run::answer(Command::new(program).arg("-v")) else { return false };
    let Some((_, version)) = said.rsplit_once('v') else { return false };
    let mut numbers = version.split('.').map_while(|number| number.trim().parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found >= NATS_SINCE
}

/// Unpacks a package of the suite without touching the system's own lists and packages.
fn bring(folder: &Path, package: &str) -> Result<(), String> {
    let apt = folder.join("apt");
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(part)).map_err(told)?;
    }
    fs::write(apt.join("status"), "").map_err(told)?;
    let sources = fs::read_to_string(SOURCES).map_err(|error| format!("{SOURCES}: {error}"))?;
    fs::write(apt.join("d.sources"), of_suite(&sources)).map_err(told)?;
    let options = [
        format!("Dir::State::lists={}", apt.join("lists").display()),
        format!("Dir::Etc::sourcelist={}", apt.join("d.sources").display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::Cache={}", apt.join("cache").display()),
        format!("Dir::State::status={}", apt.join("status").display()),
    ];
    let flags: Vec<&str> = options.iter().flat_map(|option| ["-o", option.as_str()]).collect();
    run::within(run::command("apt-get", &flags).args(["-qq", "update"]), LIMIT)?;
    run::within(
        run::command("apt-get", &flags).args(["-qq", "download", package]).current_dir(folder),
        LIMIT,
    )?;
    let files = fs::read_dir(folder).map_err(told)?.flatten().map(|entry| entry.path());
    let file = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(package)))
        .ok_or_else(|| format!("{package} was not downloaded"))?;
    let place = folder.join(package.trim_end_matches("-server"));
    run::within(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&place), LIMIT)
}

/// The first entry of the sources, for our suite.
fn of_suite(sources: &str) -> String {
    let first = sources.split("\n\n").next().unwrap_or_default();
    let lines = first
        .lines()
        .map(|line| if line.starts_with("Suites:") { format!("Suites: {SUITE}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Ports that are free now, all held until the last is found, so that they differ.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    held.iter().map(|listener| listener.local_addr().map(|address| address.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_suite_of_the_first_entry_is_changed() {
        let sources =
            "Types: deb\nURIs: http://x\nSuites: bookworm bookworm-updates\n\nTypes: deb\nSuites: y\n";
        assert_eq!(of_suite(sources), format!("Types: deb\nURIs: http://x\nSuites: {SUITE}\n"));
    }

    #[test]
    fn ports_differ() {
        let mut ports = free_ports(20).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
