//! What is measured: the clients, the sections of the page, the cases of each section.

use crate::args::Args;

/// One client in one configuration.
pub(crate) struct Client {
    /// As the driver knows it.
    pub(crate) name: &'static str,
    /// What its configuration is, for the page.
    pub(crate) what: &'static str,
    /// Protocol versions that its driver has.
    versions: &'static [u8],
}

pub(crate) const RAW: &str = "raw";
pub(crate) const OURS: &str = "rejoin";
/// Ratios are to the fastest of these in the same case.
pub(crate) const REFERENCE: [&str; 2] = ["rumqttc-default", "rumqttc"];

pub(crate) const CLIENTS: [Client; 5] = [
    Client {
        name: RAW,
        what: "pre-encoded packets and blocking calls, no client at all: what this machine can do",
        versions: &[4, 5],
    },
    Client {
        name: "rumqttc-default",
        what: "rumqttc 0.25.1 with its default options (Nagle's algorithm on, 100 in flight at 3.1.1) and the channel of 10 of its examples",
        versions: &[4, 5],
    },
    Client {
        name: "rumqttc",
        what: "rumqttc 0.25.1 with TCP_NODELAY, the window as its in-flight limit and receive maximum, and a channel of 1,000",
        versions: &[4, 5],
    },
    Client {
        name: "rumqttc-next",
        what: "rumqttc-next 0.34.0 with TCP_NODELAY, the window both ways, a channel of 1,000 and request batches of 64",
        versions: &[5],
    },
    Client {
        name: OURS,
        what: "rejoin with the window as in-flight limit and receive maximum, and room for 1,000 waiting messages",
        versions: &[4, 5],
    },
];

/// A table of the page: everything in it ran interleaved.
pub(crate) struct Section {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) version: u8,
    pub(crate) window: u16,
    pub(crate) runtime: &'static str,
    /// Milliseconds for which the sink looks for bytes before it sleeps.
    pub(crate) patience: u64,
}

const SECTIONS: [Section; 5] = [
    Section {
        key: "5",
        title: "MQTT 5, window 100",
        version: 5,
        window: 100,
        runtime: "current",
        patience: 2,
    },
    Section {
        key: "5-wide",
        title: "MQTT 5, window 1,000",
        version: 5,
        window: 1000,
        runtime: "current",
        patience: 2,
    },
    Section {
        key: "4",
        title: "MQTT 3.1.1, window 100",
        version: 4,
        window: 100,
        runtime: "current",
        patience: 2,
    },
    Section {
        key: "5-threads",
        title: "MQTT 5, window 100, multi-threaded runtime",
        version: 5,
        window: 100,
        runtime: "multi",
        patience: 2,
    },
    Section {
        key: "5-sleeps",
        title: "MQTT 5, window 100, a sink that sleeps whenever there is nothing to read",
        version: 5,
        window: 100,
        runtime: "current",
        patience: 0,
    },
];

/// One row.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) mode: &'static str,
    pub(crate) qos: u8,
}

pub(crate) struct Plan {
    pub(crate) clients: Vec<&'static Client>,
    pub(crate) sections: Vec<&'static Section>,
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
    /// Seconds that one run should last.
    pub(crate) target: f64,
    pub(crate) size: usize,
}

impl Plan {
    pub(crate) fn of(args: &Args) -> Result<Self, String> {
        let quick = args.has("quick");
        let chosen = |name: &str, otherwise: &str| -> Vec<String> {
            args.text(name, otherwise).split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let (only, keys) = (
            chosen("only", ""),
            chosen("sections", if quick { "5" } else { "5,5-wide,4,5-threads,5-sleeps" }),
        );
        let (modes, levels) = (chosen("modes", "publish,receive"), chosen("levels", "0,1,2"));
        let wanted = |client: &&Client| only.is_empty() || only.iter().any(|name| name == client.name);
        let mut cases = Vec::new();
        for mode in ["publish", "receive"].into_iter().filter(|mode| modes.iter().any(|m| m == mode)) {
            cases.extend(
                (0..3).filter(|qos: &u8| levels.contains(&qos.to_string())).map(|qos| Case { mode, qos }),
            );
        }
        let plan = Self {
            clients: CLIENTS.iter().filter(wanted).collect(),
            sections: SECTIONS.iter().filter(|section| keys.iter().any(|key| key == section.key)).collect(),
            cases,
            rounds: args.value("rounds", if quick { 3 } else { 5 })?,
            target: args.value("seconds", if quick { 0.25 } else { 0.3 })?,
            size: args.value("size", 256)?,
        };
        match plan.clients.is_empty() || plan.sections.is_empty() || plan.cases.is_empty() {
            true => {
                Err("nothing is left to measure: look at --only, --sections, --modes and --levels".to_owned())
            }
            false => Ok(plan),
        }
    }
}

impl Client {
    pub(crate) fn knows(&self, version: u8) -> bool {
        self.versions.contains(&version)
    }
}

impl Case {
    pub(crate) fn title(self) -> String {
        format!("{} QoS {}", self.mode, self.qos)
    }
}
