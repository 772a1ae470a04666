//! A cluster of RabbitMQ nodes with MQTT, whose sessions are quorum queues, and with OAuth 2.
//!
//! Debian's package of the next release, with the Erlang and the C library it needs, unpacked into a folder. Each node
//! has its own settings and data; they share a cookie, and a name server of their own (epmd) on a port of its own.

use super::check::{Act, Step};
use super::cluster::{Cluster, Manners, Node, free_ports};
use super::{bring, foreign, token};
use crate::{run, say};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// RabbitMQ, the parts of Erlang it asks for, and the libraries these are linked with.
const PACKAGES: [&str; 25] = [
    "rabbitmq-server",
    "erlang-asn1",
    "erlang-base",
    "erlang-crypto",
    "erlang-eldap",
    "erlang-inets",
    "erlang-mnesia",
    "erlang-os-mon",
    "erlang-parsetools",
    "erlang-public-key",
    "erlang-runtime-tools",
    "erlang-ssl",
    "erlang-syntax-tools",
    "erlang-tools",
    "erlang-xmerl",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "libssl3t64",
    "libstdc++6",
    "libsystemd0",
    "libtinfo6",
    "openssl-provider-legacy",
    "zlib1g",
    "libzstd1",
];
const NODES: usize = 3;
const PLUGINS: &str = "[rabbitmq_mqtt, rabbitmq_auth_backend_oauth2].\n";
/// Three machines of Erlang on two cores take 9 s.
const LIMIT: Duration = Duration::from_secs(120);

/// What its check does.
pub(super) const STEPS: [Step; 10] = [
    Step::new("5", "1", Act::Kill),
    Step::new("311", "1", Act::Kill),
    Step::new("5", "2", Act::Kill).lowered(),
    Step::new("311", "2", Act::Kill).lowered(),
    Step::new("5", "1", Act::Drain),
    Step::new("311", "1", Act::Drain),
    Step::new("5", "1", Act::OneOfThree),
    Step::new("311", "1", Act::OneOfThree),
    Step::new("5", "1", Act::Tokens),
    Step::new("311", "1", Act::Tokens),
];

/// Where the parts lie.
#[derive(Clone)]
struct Unpacked {
    erlang: PathBuf,
    scripts: PathBuf,
}

/// What every process of a cluster has in its environment.
#[derive(Clone)]
struct Surroundings {
    home: PathBuf,
    path: String,
    names_port: u16,
}

impl Surroundings {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("LANG", "C.UTF-8")
            .env("ERL_EPMD_PORT", self.names_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_CRASH_DUMP", self.home.join("erl_crash.dump"))
            // Instead of the system's; a file that is not there is none.
            .env("RABBITMQ_CONF_ENV_FILE", self.home.join("none"))
            // The tools take a port that is free, and not one of ten that everybody's tools take.
            .env("RABBITMQ_CTL_DIST_PORT_MIN", "0")
            .env("RABBITMQ_CTL_DIST_PORT_MAX", "0");
        command
    }
}

/// Starts it.
pub(super) fn start(folder: &Path) -> Result<Cluster, String> {
    let unpacked = unpacked(folder)?;
    let data = folder.join(format!("rabbitmq-{}", std::process::id()));
    fs::create_dir_all(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    let ports = free_ports(2 * NODES + 1)?;
    let (gateways, rest) = ports.split_at(NODES);
    let (links, names) = rest.split_at(NODES);
    let system = std::env::var("PATH").unwrap_or_default();
    let around = Surroundings {
        home: data.clone(),
        path: format!("{}:{system}", unpacked.erlang.join("bin").display()),
        names_port: names[0],
    };
    cookie(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    token::script(&data)?;
    let mut nodes = Vec::new();
    for n in 0..NODES {
        nodes.push(node(&unpacked, &around, n, gateways[n], links[n])?);
    }
    // Last of what can fail: from here on it ends with its cluster.
    let name_server = around
        .command(&unpacked.erlang.join("bin").join("epmd"))
        .args(["-address", "127.0.0.1", "-port", &names[0].to_string()])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("epmd: {error}"))?;
    let tools = Tools { scripts: unpacked.scripts, around };
    let hint = format!(
        "a node leaves in order, and comes back:\n  {}\n  {}",
        tools.shown("drain"),
        tools.shown("revive")
    );
    let cluster = Cluster::new(data, nodes, tools).with_servant(name_server).started(LIMIT)?;
    let flags = cluster.flags().join(" ");
    Ok(cluster
        .with_hint("for example:")
        .with_hint(format!("  rejoin sub -c -i S -q 1 -t 't/#' -v {flags}"))
        .with_hint(hint))
}

/// A shared secret of the nodes, which they take from their home.
fn cookie(home: &Path) -> io::Result<()> {
    let file = home.join(".erlang.cookie");
    fs::write(&file, format!("rejoin{}", std::process::id()))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o400))
}

fn node(unpacked: &Unpacked, around: &Surroundings, n: usize, port: u16, link: u16) -> Result<Node, String> {
    let place = around.home.join(n.to_string());
    let told = |error: io::Error| format!("{}: {error}", place.display());
    let name = name(n);
    let members: Vec<String> = (0..NODES)
        .map(|n| format!("cluster_formation.classic_config.nodes.{} = {}\n", n + 1, self::name(n)))
        .collect();
    let settings = format!(
        "listeners.tcp = none\nmqtt.listeners.tcp.default = 127.0.0.1:{port}\ncluster_name = rejoin\n\
         cluster_formation.peer_discovery_backend = classic_config\n{}\
         auth_backends.1 = rabbit_auth_backend_internal\nauth_backends.2 = rabbit_auth_backend_oauth2\n",
        members.concat()
    );
    let more = format!("[{{rabbitmq_mqtt, [{{durable_queue_type, quorum}}]}}, {}].\n", token::SETTINGS);
    fs::create_dir_all(&place).map_err(told)?;
    for (file, text) in
        [("rabbitmq.conf", settings.as_str()), ("advanced.config", &more), ("enabled_plugins", PLUGINS)]
    {
        fs::write(place.join(file), text).map_err(told)?;
    }
    let (program, around) = (unpacked.scripts.join("rabbitmq-server"), around.clone());
    let log = place.join("out");
    Ok(Node::new(&format!("node {n} ({name})"), port, log, move || {
        let mut command = around.command(&program);
        command
            .arg("-noinput")
            // A node that is killed while it starts writes where it stands.
            .current_dir(&place)
            .env("RABBITMQ_NODENAME", &name)
            .env("RABBITMQ_CONFIG_FILE", place.join("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", place.join("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", place.join("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", place.join("data"))
            .env("RABBITMQ_LOG_BASE", place.join("log"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", place.join("generated"))
            .env("RABBITMQ_PID_FILE", place.join("id"))
            .env("RABBITMQ_DIST_PORT", link.to_string())
            // Then the script becomes the node, which so has the id of our child; it gets no input all the same.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +Bd",
            );
        command
    }))
}

fn name(n: usize) -> String {
    format!("rejoin{n}@localhost")
}

/// Its own tools, which talk to a node by its name.
struct Tools {
    scripts: PathBuf,
    around: Surroundings,
}

impl Tools {
    fn upgrade(&self, node: &Node, word: &str) -> Result<(), String> {
        let name = node.name().split(['(', ')']).nth(1).unwrap_or_default();
        let mut command = self.around.command(&self.scripts.join("rabbitmq-upgrade"));
        run::within(command.args(["--quiet", "-n", name, word]).stdout(Stdio::null()), LIMIT)
    }

    /// What to type.
    fn shown(&self, word: &str) -> String {
        format!(
            "HOME={} ERL_EPMD_PORT={} PATH={}:$PATH {} -n {} {word}",
            foreign::quoted(&self.around.home),
            self.around.names_port,
            foreign::quoted(Path::new(self.around.path.split(':').next().unwrap_or_default())),
            foreign::quoted(&self.scripts.join("rabbitmq-upgrade")),
            name(0)
        )
    }
}

impl Manners for Tools {
    fn drain(&self, node: &mut Node) -> Result<(), String> {
        self.upgrade(node, "drain")
    }

    fn revive(&self, node: &mut Node) -> Result<(), String> {
        self.upgrade(node, "revive")?;
        node.wait(LIMIT)
    }
}

/// Brought before, or brought now. The scripts in it know where they lie: a folder that was moved is unpacked anew.
fn unpacked(folder: &Path) -> Result<Unpacked, String> {
    let place = folder.join("rabbitmq");
    let whole = place.join("whole");
    let here = place.display().to_string();
    if fs::read_to_string(&whole).is_ok_and(|there| there == here) {
        return found(&place);
    }
    let remedy = "it needs a Debian system with apt-get and dpkg-deb";
    if !bring::possible() {
        return Err(format!("RabbitMQ is brought from Debian {}: {remedy}", bring::SUITE));
    }
    say::line(&format!(
        "bringing RabbitMQ and its Erlang from Debian {} into {here} (47 MB; nothing is installed)",
        bring::SUITE
    ));
    let _ = fs::remove_dir_all(&place);
    bring::unpack(folder, &PACKAGES, &place)?;
    let unpacked = found(&place)?;
    foreign::adopt(&place, &unpacked.erlang)?;
    let told = |error: io::Error| format!("{here}: {error}");
    for starter in starters(&unpacked.erlang).map_err(told)? {
        let script = fs::read_to_string(&starter).map_err(told)?;
        fs::write(&starter, at_home(&script, &unpacked.erlang)).map_err(told)?;
    }
    fs::write(&whole, &here).map_err(told)?;
    Ok(unpacked)
}

fn found(place: &Path) -> Result<Unpacked, String> {
    let library = place.join("usr").join("lib");
    let versions = library.join("rabbitmq").join("lib");
    let scripts = fs::read_dir(&versions)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("sbin"))
        .find(|scripts| scripts.join("rabbitmq-server").is_file())
        .ok_or_else(|| format!("no RabbitMQ in {}", versions.display()))?;
    Ok(Unpacked { erlang: library.join("erlang"), scripts })
}

/// One for people, and one that a node starts others with.
fn starters(erlang: &Path) -> io::Result<Vec<PathBuf>> {
    let parts = fs::read_dir(erlang)?.collect::<io::Result<Vec<_>>>()?;
    let inner = parts.iter().map(|part| part.path().join("bin").join("erl"));
    let all = inner.chain([erlang.join("bin").join("erl")]);
    Ok(all.filter(|starter| starter.is_file()).collect())
}

/// Erlang's starter believes to be where its package puts it.
fn at_home(script: &str, erlang: &Path) -> String {
    let lines = script.lines().map(|line| match line.split_once("ROOTDIR=") {
        Some((before, "/usr/lib/erlang")) => format!("{before}ROOTDIR={}", foreign::quoted(erlang)),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starter_is_told_where_it_is() {
        let script = "#!/bin/sh\nif x\n    ROOTDIR=/usr/lib/erlang\nfi\nBINDIR=\"$ROOTDIR/bin\"\n";
        let told = at_home(script, Path::new("/a b/erlang"));
        assert_eq!(told, "#!/bin/sh\nif x\n    ROOTDIR='/a b/erlang'\nfi\nBINDIR=\"$ROOTDIR/bin\"\n");
    }
}
