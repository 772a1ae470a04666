//! The clients, how each is set up, and what it can do.

use crate::foreign;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// One client in one configuration.
pub(crate) struct Client {
    /// As tables call it.
    pub(crate) name: &'static str,
    /// What its driver is called.
    driver: &'static str,
    /// Flags of its own.
    pub(crate) flags: &'static [&'static str],
    /// What its configuration is, for the page.
    pub(crate) what: &'static str,
    /// Protocol versions that its driver has.
    versions: &'static [u8],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No client: the limit of the machine.
    Limit,
    /// In this program, on tokio.
    Tokio,
    /// In this program where it was built with Paho C.
    Bundled,
    /// A program of its own.
    Foreign,
}

pub(crate) const RAW: &str = "raw";
pub(crate) const OURS: &str = "rejoin";
/// Ratios are to the faster of these in the same case.
pub(crate) const REFERENCE: [&str; 2] = ["rumqttc-default", "rumqttc"];

const ALL: [Client; 13] = [
    Client {
        name: RAW,
        driver: "raw",
        flags: &[],
        what: "pre-encoded packets and blocking calls, no client at all: what this machine can do",
        versions: &[4, 5],
        kind: Kind::Limit,
    },
    Client {
        name: OURS,
        driver: "rejoin",
        flags: &[],
        what: "rejoin with the window as in-flight limit and receive maximum, and room for 1,000 waiting messages",
        versions: &[4, 5],
        kind: Kind::Tokio,
    },
    Client {
        name: "rumqttc-default",
        driver: "rumqttc",
        flags: &["--plain"],
        what: "rumqttc 0.25.1 with its default options (Nagle's algorithm on, 100 in flight at 3.1.1) and the channel of 10 of its examples",
        versions: &[4, 5],
        kind: Kind::Tokio,
    },
    Client {
        name: "rumqttc",
        driver: "rumqttc",
        flags: &[],
        what: "rumqttc 0.25.1 with TCP_NODELAY, the window as its in-flight limit and receive maximum, and a channel of 1,000",
        versions: &[4, 5],
        kind: Kind::Tokio,
    },
    Client {
        name: "rumqttc-next",
        driver: "rumqttc-next",
        flags: &[],
        what: "rumqttc-next 0.34.0 with TCP_NODELAY, the window both ways, a channel of 1,000 and request batches of 64",
        versions: &[5],
        kind: Kind::Tokio,
    },
    Client {
        name: "mqrstt",
        driver: "mqrstt",
        flags: &[],
        what: "mqrstt 0.4.2 over a BufStream, as in its example, with TCP_NODELAY, send and receive maximum set to the window; links are opened again by the application, since it does not",
        versions: &[5],
        kind: Kind::Tokio,
    },
    Client {
        name: "mqtt5",
        driver: "mqtt5",
        flags: &[],
        what: "mqtt5 0.49.0 with the window as receive maximum; its publish waits for the acknowledgement, so as many run at once as the window has",
        versions: &[4, 5],
        kind: Kind::Tokio,
    },
    Client {
        name: "flowsdk",
        driver: "flowsdk",
        flags: &[],
        what: "flowsdk 0.7.0 by its tokio client, TCP_NODELAY, queues of 1,000, the window as receive maximum; QoS 1 and 2 by `publish` with no more open than the window has, QoS 0 by `publish_sync`, which waits until the message is queued",
        versions: &[4, 5],
        kind: Kind::Tokio,
    },
    Client {
        name: "paho-mqtt",
        driver: "paho-mqtt",
        flags: &[],
        what: "paho-mqtt 0.14.0 over the Paho C that it builds, no persistence, the window as in-flight limit and receive maximum; no more handed over than the window has, since its queue sleeps up to a second when there is more",
        versions: &[4, 5],
        kind: Kind::Bundled,
    },
    Client {
        name: "libmosquitto",
        driver: "libmosquitto",
        flags: &[],
        what: "libmosquitto of Debian with its own thread (`mosquitto_loop_start`), TCP_NODELAY, the window as send and receive maximum, at most window and 1,000 handed over",
        versions: &[4, 5],
        kind: Kind::Foreign,
    },
    Client {
        name: "paho-c",
        driver: "paho-c",
        flags: &[],
        what: "Paho C of Debian (MQTTAsync), no persistence, set up as paho-mqtt is",
        versions: &[4, 5],
        kind: Kind::Foreign,
    },
    Client {
        name: "paho-go 1.1.1",
        driver: "paho-go",
        flags: &[],
        what: "paho.mqtt.golang 1.1.1, which Debian has and which is years behind its newest version; 3.1.1 only, so its figures stand in the tables of 5.0 too; channel depth as room, the window as open tokens",
        versions: &[4],
        kind: Kind::Foreign,
    },
    Client {
        name: "rejoin-core",
        driver: "rejoin-core",
        flags: &[],
        what: "rejoin-core between blocking calls: what the engine costs before a runtime, tasks and handles come on top",
        versions: &[4, 5],
        kind: Kind::Limit,
    },
];

/// The clients of which there is a driver, and why others have none.
pub(crate) struct Cast {
    programs: BTreeMap<&'static str, PathBuf>,
    only: Vec<String>,
}

impl Cast {
    /// Builds what is not in this program, and says aloud what is left out.
    pub(crate) fn gather(only: Vec<String>) -> Self {
        let mut programs = BTreeMap::new();
        for client in ALL.iter().filter(|client| client.kind == Kind::Foreign) {
            match foreign::build(client.driver) {
                Ok(path) => {
                    programs.insert(client.driver, path);
                }
                Err(why) => eprintln!("bench: {} is left out: {why}", client.name),
            }
        }
        if cfg!(not(feature = "paho")) {
            eprintln!(
                "bench: paho-mqtt is left out: apt-get install cmake gcc, then `cargo xtask bench` builds it"
            );
        }
        Self { programs, only }
    }

    fn has(&self, client: &Client) -> bool {
        let built = match client.kind {
            Kind::Limit => true,
            Kind::Tokio => client.name == OURS || cfg!(feature = "peers"),
            Kind::Bundled => cfg!(feature = "paho"),
            Kind::Foreign => self.programs.contains_key(client.driver),
        };
        built && (self.only.is_empty() || self.only.iter().any(|name| name == client.name))
    }

    /// For the tables of rates.
    pub(crate) fn of_version(&self, version: u8) -> Vec<&'static Client> {
        let knows = |client: &&Client| client.versions.contains(&version) || client.driver == "paho-go";
        ALL.iter()
            .filter(|client| client.name != "rejoin-core")
            .filter(knows)
            .filter(|c| self.has(c))
            .collect()
    }

    pub(crate) fn named(&self, names: &[&str]) -> Vec<&'static Client> {
        ALL.iter().filter(|client| names.contains(&client.name) && self.has(client)).collect()
    }

    /// Everything that comes back after a loss; the version is 5 where the client has it.
    pub(crate) fn that_recover(&self) -> Vec<&'static Client> {
        let mut all = self.of_version(5);
        all.retain(|client| !matches!(client.name, RAW | "rumqttc-default"));
        all
    }

    pub(crate) fn command(&self, client: &Client) -> Result<Command, String> {
        let mut command = match self.programs.get(client.driver) {
            Some(path) => Command::new(path),
            None => {
                let mut command = crate::process::ourselves()?;
                command.args(["drive", "--client", client.driver]);
                command
            }
        };
        command.args(client.flags);
        Ok(command)
    }
}

/// `- name: what` for the page.
pub(crate) fn described() -> String {
    ALL.iter().map(|client| format!("- `{}`: {}.\n", client.name, client.what)).collect()
}
