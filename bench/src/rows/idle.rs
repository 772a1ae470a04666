//! Thousands of connections in one process on which nothing happens but a ping every 15 s.

use super::Effort;
use crate::cast::Cast;
use crate::figures::Figures;
use crate::process::{self, End, Sink};

/// What rejoin does by itself; the others are told so, that each connection pings once while it is watched.
const KEEP_ALIVE: u64 = 15;
const CLIENTS: [&str; 7] =
    [crate::cast::OURS, "rumqttc", "rumqttc-next", "mqrstt", "mqtt5", "flowsdk", "paho-go 1.1.1"];

pub(super) fn measure(cast: &Cast, effort: Effort, figures: &mut Figures) -> Result<(), String> {
    let crowds: &[u64] = if effort.quick { &[1_000] } else { &[1_000, 10_000] };
    for count in crowds {
        for client in cast.named(&CLIENTS) {
            // A sink for each: the one before it may still be busy with what the last one left.
            let sink = Sink::start(&["--kind", "crowd"])?;
            let case = format!("{count} connections");
            let pairs = [
                ("--mode", "idle".to_owned()),
                ("--count", count.to_string()),
                ("--keep-alive", KEEP_ALIVE.to_string()),
                ("--seconds", KEEP_ALIVE.to_string()),
            ];
            let flags: Vec<String> =
                pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            match process::drive(cast, &sink, client, 60.0, &flags)? {
                End::Figures(line) => {
                    for metric in ["bytes_each", "cpu_us_s"] {
                        figures.add(
                            &case,
                            client.name,
                            metric,
                            line.get(metric).copied().unwrap_or_default(),
                        );
                    }
                    eprintln!("    {case}: {} {line:?}", client.name);
                }
                End::Not(why) => figures.note(&case, client.name, "bytes_each", &why),
            }
        }
    }
    Ok(())
}
