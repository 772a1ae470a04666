//! Messages a second: within every round the clients take turns, each in a fresh process.

use super::Effort;
use crate::cast::{Cast, Client, OURS, RAW};
use crate::figures::Figures;
use crate::process::{self, End, Sink};

/// Messages of the first run, which only tells how many the second may take.
const FIRST: u64 = 3_000;
/// For one run; the longest that ends takes a fraction of it.
const LIMIT: f64 = 5.0;
/// Clients on tokio, for the tables about the runtime and the window.
const ON_TOKIO: [&str; 5] = [RAW, OURS, "rumqttc-default", "rumqttc", "rumqttc-next"];

/// One table.
struct Section<'a> {
    version: u8,
    window: u16,
    size: u64,
    runtime: &'a str,
    /// Milliseconds for which the sink looks for bytes before it sleeps.
    patience: u64,
    levels: &'a [u8],
    clients: Vec<&'static Client>,
    /// Further flags of sink and driver.
    sink: Vec<&'a str>,
    driver: Vec<&'a str>,
}

impl Section<'_> {
    fn usual(clients: Vec<&'static Client>) -> Self {
        Section {
            version: 5,
            window: 100,
            size: 256,
            runtime: "current",
            patience: 2,
            levels: &[0, 1, 2],
            clients,
            sink: Vec::new(),
            driver: Vec::new(),
        }
    }
}

pub(super) fn five(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    measure(cast, effort, &Section::usual(cast.of_version(5)), figures)
}

pub(super) fn four(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let section = Section { version: 4, ..Section::usual(cast.of_version(4)) };
    measure(cast, effort, &section, figures)
}

pub(super) fn small(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let section = Section { size: 16, ..Section::usual(cast.of_version(5)) };
    measure(cast, effort, &section, figures)
}

pub(super) fn large(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let section = Section { size: 16 * 1024, ..Section::usual(cast.of_version(5)) };
    measure(cast, effort, &section, figures)
}

pub(super) fn wide(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let section = Section { window: 1000, ..Section::usual(cast.named(&ON_TOKIO)) };
    measure(cast, effort, &section, figures)
}

pub(super) fn threads(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let section = Section { runtime: "multi", ..Section::usual(cast.named(&ON_TOKIO)) };
    measure(cast, effort, &section, figures)
}

pub(super) fn sleeps(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let section = Section { patience: 0, ..Section::usual(cast.named(&ON_TOKIO)) };
    measure(cast, effort, &section, figures)
}

pub(super) fn tls(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    if cfg!(not(feature = "tls")) {
        return Err("this build has no TLS".to_owned());
    }
    let file = std::env::temp_dir().join(format!("rejoin-bench-{}.pem", std::process::id()));
    let name = file.to_string_lossy().into_owned();
    let clients = cast.named(&[RAW, OURS, "rumqttc", "rumqttc-next"]);
    let flags = vec!["--tls", name.as_str()];
    let section = Section { levels: &[0, 1], sink: flags.clone(), driver: flags, ..Section::usual(clients) };
    let done = measure(cast, effort, &section, figures);
    let _ = std::fs::remove_file(file);
    done
}

/// rejoin alone, looked at in different ways: the ways are the columns.
pub(super) fn observe(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    const WAYS: [&str; 5] = ["none", "metrics", "info", "debug", "trace"];
    let ours = cast.named(&[OURS]);
    let mut ways = Vec::new();
    for way in WAYS {
        ways.push((
            way,
            Section { driver: vec!["--observe", way], levels: &[1], ..Section::usual(ours.clone()) },
        ));
    }
    // In turns, like clients: each round has every way once.
    for _ in 0..effort.rounds.max(3) {
        for (way, section) in &ways {
            let once = Effort { rounds: 1, ..effort };
            let mut one = Figures::new("observe");
            measure(cast, once, section, &mut one)?;
            for found in one.all {
                for value in found.values {
                    figures.add(&found.case, way, &found.metric, value);
                }
            }
        }
    }
    Ok(())
}

fn measure(cast: &Cast, effort: Effort, section: &Section<'_>, figures: &mut Figures) -> Result<(), String> {
    let (patience, window) = (section.patience.to_string(), section.window.to_string());
    let mut flags = vec!["--patience", &patience, "--window", &window];
    flags.extend(&section.sink);
    let sink = Sink::start(&flags)?;
    for mode in ["publish", "receive"] {
        for qos in section.levels {
            case(cast, effort, section, &sink, (mode, *qos), figures)?;
        }
    }
    Ok(())
}

fn case(
    cast: &Cast,
    effort: Effort,
    section: &Section<'_>,
    sink: &Sink,
    (mode, qos): (&str, u8),
    figures: &mut Figures,
) -> Result<(), String> {
    let title = format!("{mode} QoS {qos}");
    let drive = |client: &Client, count: u64| {
        let flags = flags(section, mode, qos, count);
        process::drive(cast, sink, client, LIMIT, &flags)
    };
    let mut able = Vec::new();
    for client in &section.clients {
        let mut count = FIRST;
        let mut trouble = None;
        // Two steps, because the first messages of a process say little about the rate of a fast client.
        for share in [0.5, 1.0] {
            match drive(client, count)? {
                End::Figures(line) => {
                    let rate = line.get("rate").copied().unwrap_or_default();
                    count = ((rate * effort.target * share) as u64).max(FIRST);
                }
                End::Not(why) => trouble = Some(why),
            }
        }
        match trouble {
            Some(why) => figures.note(&title, client.name, "rate_s", &why),
            None => able.push((*client, count)),
        }
    }
    for _ in 0..effort.rounds {
        for (client, count) in &able {
            match drive(client, *count)? {
                End::Figures(line) => {
                    figures.add(&title, client.name, "rate_s", line.get("rate").copied().unwrap_or_default());
                    figures.add(
                        &title,
                        client.name,
                        "cpu_us",
                        line.get("cpu_us").copied().unwrap_or_default(),
                    );
                }
                End::Not(why) => figures.note(&title, client.name, "rate_s", &why),
            }
        }
    }
    eprintln!("    {title}: {}", said(figures, &title));
    Ok(())
}

fn flags(section: &Section<'_>, mode: &str, qos: u8, count: u64) -> Vec<String> {
    let pairs = [
        ("--mode", mode.to_owned()),
        ("--qos", qos.to_string()),
        ("--count", count.to_string()),
        ("--size", section.size.to_string()),
        ("--window", section.window.to_string()),
        ("--version", section.version.to_string()),
        ("--runtime", section.runtime.to_owned()),
    ];
    let mut flags: Vec<String> =
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    flags.extend(section.driver.iter().map(|word| (*word).to_owned()));
    flags
}

/// One case for the screen while the run goes on.
fn said(figures: &Figures, title: &str) -> String {
    let of = |client: &str| match figures.median(title, client, "rate_s") {
        Some(rate) => format!("{client} {:.0}k", rate / 1e3),
        None => {
            format!("{client} {}", figures.find(title, client, "rate_s").map_or("-", |one| one.note.as_str()))
        }
    };
    figures.clients().into_iter().map(of).collect::<Vec<_>>().join(", ")
}
