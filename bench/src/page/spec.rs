//! How each row is shown.

/// One kind of figure.
pub(super) struct Metric {
    pub(super) name: &'static str,
    /// Over its column or its table, with its unit.
    pub(super) heading: &'static str,
    pub(super) show: fn(f64) -> String,
    /// More is better.
    pub(super) rises: bool,
}

pub(super) struct Spec {
    pub(super) title: &'static str,
    pub(super) intro: &'static str,
    pub(super) metrics: &'static [Metric],
    /// A table for each metric with a column for each case; else one table with a column for each metric of each case.
    pub(super) apart: bool,
    /// Lines that compare rejoin with others, below the first metric.
    pub(super) ratios: bool,
}

const RATES: &[Metric] = &[
    Metric { name: "rate_s", heading: "Thousands of messages a second.", show: thousands, rises: true },
    Metric {
        name: "cpu_us",
        heading: "Processor time of the client process, µs a message.",
        show: hundredths,
        rises: false,
    },
];
const ECHO: &[Metric] = &[
    Metric { name: "p50_ms", heading: "p50, ms", show: thousandths, rises: false },
    Metric { name: "p99_ms", heading: "p99, ms", show: thousandths, rises: false },
    Metric { name: "p999_ms", heading: "p99.9, ms", show: thousandths, rises: false },
];
const IDLE: &[Metric] = &[
    Metric { name: "bytes_each", heading: "KiB each", show: kibibytes, rises: false },
    Metric { name: "cpu_us_s", heading: "µs a second, each", show: hundredths, rises: false },
];
const OFFLINE: &[Metric] = &[
    Metric { name: "accept_s", heading: "accepted within, s", show: hundredths, rises: false },
    Metric { name: "bytes_each", heading: "bytes each", show: whole, rises: false },
    Metric { name: "drain_s", heading: "drained, thousands a second", show: thousands, rises: true },
];
const RETURN: &[Metric] = &[Metric { name: "first_ms", heading: "ms", show: hundredths, rises: false }];
const KILL: &[Metric] = &[
    Metric { name: "seconds", heading: "s", show: hundredths, rises: false },
    Metric { name: "missing", heading: "missing", show: whole, rises: false },
    Metric { name: "again", heading: "came again", show: whole, rises: false },
    Metric { name: "disordered", heading: "out of order", show: whole, rises: false },
];
const CODEC: &[Metric] = &[Metric { name: "ns", heading: "ns a packet", show: tenths, rises: false }];
const INSTRUCTIONS: &[Metric] =
    &[Metric { name: "instructions", heading: "Instructions a message.", show: whole, rises: false }];
const COST: &[Metric] = &[
    Metric { name: "build_s", heading: "clean release build, s", show: whole, rises: false },
    Metric { name: "packages", heading: "packages", show: whole, rises: false },
    Metric { name: "size_bytes", heading: "stripped, KiB", show: kibibytes, rises: false },
];

const fn rates(title: &'static str, intro: &'static str) -> Spec {
    Spec { title, intro, metrics: RATES, apart: true, ratios: true }
}

const fn together(title: &'static str, intro: &'static str, metrics: &'static [Metric]) -> Spec {
    Spec { title, intro, metrics, apart: false, ratios: false }
}

const SPECS: [(&str, Spec); 18] = [
    ("rates-5", rates("MQTT 5, 256 B, window 100", "")),
    ("rates-4", rates("MQTT 3.1.1, 256 B, window 100", "")),
    ("rates-16", rates("MQTT 5, 16 B, window 100", "")),
    ("rates-16k", rates("MQTT 5, 16 KiB, window 100", "")),
    ("rates-wide", rates("MQTT 5, 256 B, window 1,000", "Clients on tokio alone.")),
    (
        "rates-threads",
        rates(
            "MQTT 5, 256 B, window 100, multi-threaded runtime",
            "Clients on tokio alone, all threads on one core.",
        ),
    ),
    (
        "rates-sleeps",
        rates(
            "MQTT 5, 256 B, window 100, a sink that sleeps whenever there is nothing to read",
            "Clients on tokio alone.",
        ),
    ),
    ("tls", rates("Over TLS: MQTT 5, 256 B, window 100", "TLS 1.3 by rustls with ring at both ends.")),
    (
        "observe",
        Spec {
            ratios: false,
            ..rates(
                "rejoin looked at: MQTT 5, 256 B, window 100",
                "`none`: no subscriber of `tracing`, nobody asks for figures, which are counted all the same. `metrics`: a \
                 snapshot of them every 100 ms. `info`, `debug`, `trace`: each event of the log up to that level is put into \
                 words and thrown away.",
            )
        },
    ),
    (
        "echo",
        together(
            "Round trips at 1,000 a second, default options",
            "QoS 1, 256 B: published, sent back by the sink, with the application. The sink's kernel delays its \
             acknowledgements as any does, which is what clients with Nagle's algorithm wait for.",
            ECHO,
        ),
    ),
    (
        "idle",
        together(
            "Idle connections in one process",
            "A window of 100 both ways and a keep-alive of 15 s (rejoin pings after 15 s by itself), so that each connection \
             pings once while it is watched for 15 s. Resident memory is what the process grew by. The window is set \
             because with default options rumqttc, rumqttc-next and mqrstt make room for 65,535 messages in flight at 5.0, \
             12 to 16 MB each; rejoin makes room when it is needed. With the first link some 2.7 MB of rejoin's program \
             itself come into memory, its code and that of the libraries: 2.6 KiB of each figure for 1,000 connections, 0.3 of \
             that for 10,000. The goals are set for 10,000 and for what each \
             connection beyond 1,000 adds.",
            IDLE,
        ),
    ),
    (
        "offline",
        together(
            "100,000 messages while the broker is away",
            "QoS 1, 256 B, handed over by one task while nobody listens, then drained. Bytes each are the growth of the \
             process by the time all were accepted.",
            OFFLINE,
        ),
    ),
    (
        "fin",
        together(
            "From FIN to the first acknowledgement on the next link",
            "Seen by the broker: it sends FIN, accepts at once, and looks when it acknowledges the next message; one is \
             published every millisecond. No client pauses by itself where its options let it be: rumqttc and \
             rumqttc-next are polled again at once, rejoin's link counts as stable after 50 ms (30 s by default).",
            RETURN,
        ),
    ),
    (
        "back",
        together(
            "From the broker listening again to the first acknowledgement",
            "It was away for 500 to 620 ms. All retry after 100 ms where their options or a pause of the application can say so; \
             Paho C and libmosquitto have whole seconds.",
            RETURN,
        ),
    ),
    (
        "kill",
        together(
            "20,000 messages, every link cut 300 ms after it was opened",
            "Acknowledgements are held back for 10 ms, window 100, retry after 100 ms. The broker keeps the session and \
             judges: what is missing, what came again (allowed at QoS 1), what came after a later one.",
            KILL,
        ),
    ),
    (
        "codec",
        together(
            "PUBLISH to bytes and back",
            "256 B at QoS 1 and 5.0, into a buffer that is used again and out of one read of 100 packets. `by hand` writes \
             and reads the fields of just this packet and checks nothing but UTF-8: less than a correct client may do, and what \
             the goal is measured with. `by hand, checked` is written as plainly, for any PUBLISH without properties, and refuses \
             what the standard forbids.",
            CODEC,
        ),
    ),
    (
        "instructions",
        Spec {
            ratios: false,
            ..Spec {
                title: "Instructions for one message",
                intro: "By callgrind, the client process alone, 256 B, window 100: 25,000 messages less 5,000. \
                        `cargo xtask instructions` measures again and fails when one is more than 5 % higher.",
                metrics: INSTRUCTIONS,
                apart: true,
                ratios: false,
            }
        },
    ),
    (
        "cost",
        together(
            "Before the first byte",
            "A program that connects and publishes one message at QoS 1 over TCP, built from nothing with cargo's release \
             profile on the cores of this machine, with the features it needs and no TLS where it can be left out.",
            COST,
        ),
    ),
];

pub(super) fn of(key: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|(name, _)| *name == key).map(|(_, spec)| spec)
}

fn thousands(value: f64) -> String {
    grouped(value / 1000.0)
}

fn whole(value: f64) -> String {
    grouped(value)
}

fn kibibytes(value: f64) -> String {
    let kib = value / 1024.0;
    if kib < 100.0 { format!("{kib:.1}") } else { grouped(kib) }
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

fn hundredths(value: f64) -> String {
    format!("{value:.2}")
}

fn thousandths(value: f64) -> String {
    format!("{value:.3}")
}

/// With a comma between thousands.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_form_and_large_figures_get_their_commas() {
        for row in &crate::rows::ROWS {
            assert!(of(row.key).is_some(), "{} has no form", row.key);
        }
        assert_eq!(
            (thousands(999_000.0), grouped(29_272_429.0)),
            ("999".to_owned(), "29,272,429".to_owned())
        );
    }
}
