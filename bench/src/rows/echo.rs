//! Round trips at 1,000 a second with default options: a message goes out and comes back.

use super::Effort;
use crate::cast::{Cast, Client};
use crate::figures::Figures;
use crate::process::{self, End, Sink};

/// Round trips of one run.
const COUNT: u64 = 2_000;
const LIMIT: f64 = 8.0;

pub(super) fn measure(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    // Its kernel acknowledges as those of brokers do: a client with Nagle's algorithm waits for that.
    let sink = Sink::start(&["--tardy"])?;
    let mut clients: Vec<&'static Client> = cast.of_version(5);
    clients.retain(|client| client.name != "rumqttc");
    let count = if effort.quick { COUNT / 4 } else { COUNT };
    for _ in 0..effort.rounds {
        for client in &clients {
            let words = ["--mode", "echo", "--qos", "1", "--plain", "--count", &count.to_string()];
            let flags: Vec<String> = words.into_iter().map(str::to_owned).collect();
            match process::drive(cast, &sink, client, LIMIT, &flags)? {
                End::Figures(line) => {
                    for metric in ["p50_ms", "p99_ms", "p999_ms"] {
                        let value = line.get(metric).copied().unwrap_or_default();
                        figures.add("echo QoS 1", client.name, metric, value);
                    }
                }
                End::Not(why) => figures.note("echo QoS 1", client.name, "p50_ms", &why),
            }
        }
    }
    Ok(())
}
