//! For [`opentelemetry`]: instruments that read the client when they are collected. Feature `otel`.
//!
//! **Unstable**: the semantic conventions for messaging are. Names and attributes here follow them as they are at the time
//! of a release, and change with them without a new major version of this crate.
//!
//! ```no_run
//! # async fn example() -> rejoin::Result<()> {
//! let client = rejoin::Client::connect("mqtt://localhost").await?;
//! let meter = opentelemetry::global::meter("my-program");
//! rejoin::metrics::otel::observe(&meter, &client, "uplink");
//! # Ok(()) }
//! ```
//!
//! | Instrument | Kind | What it is |
//! |---|---|---|
//! | `messaging.client.sent.messages` | counter | acknowledged messages; failed ones have `error.type` = the reason |
//! | `messaging.client.consumed.messages` | counter | messages received |
//! | `messaging.client.operation.duration` | histogram, s | from the acceptance of a message to its acknowledgement |
//! | `mqtt.client.*` | as in the table | everything else: [`super::descriptions`], without unit and `_total` in the name |
//!
//! The first three have `messaging.system` = `mqtt`, `messaging.operation.name` = `publish` or `receive`,
//! `network.protocol.name` and `network.protocol.version`. Every value has `mqtt.client` = the name given. Topics are in no
//! attribute.
//!
//! Durations are recorded when the state of the link is collected, bucket by bucket, each within 6.25 % of what was
//! measured. At most [`MOST_SAMPLES`] are recorded of one histogram at a time: of more, each bucket gets its share, so that
//! quantiles hold and only the count of that histogram is too small.

use std::sync::Mutex;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram as Instrument, Meter};
use rejoin_core::codec::packet::Version;

use super::histogram::Histogram;
use super::snapshot::{MetricsReader, MetricsSnapshot};
use super::table::{Description, Family, Kind, Sample, Value, descriptions};
use crate::Client;
use crate::sync::lock;

/// How many durations of one histogram are recorded in one collection.
pub const MOST_SAMPLES: u64 = 10_000;

/// Makes the instruments of `client` on `meter`; every value has the attribute `mqtt.client` = `name`. They end with the
/// client, and do not keep it alive.
pub fn observe(meter: &Meter, client: &Client, name: &str) {
    let reader = client.metrics_reader();
    let mut durations = Vec::new();
    for description in descriptions() {
        match description.kind {
            Kind::Counter if is_failure(description) => {}
            Kind::Counter => counter(meter, description, &reader, name),
            // It carries the recording of durations.
            Kind::Gauge if description.name == CARRIER => {}
            Kind::Gauge | Kind::Info => gauge(meter, description, &reader, name),
            Kind::Histogram => durations.push(Durations::new(meter, description)),
        }
    }
    carrier(meter, durations, &reader, name);
}

/// Whoever collects anything collects it, once in each collection.
const CARRIER: &str = "mqtt_client_state";
const ACKED: &str = "mqtt_client_publish_acked_total";
const FAILED: &str = "mqtt_client_publish_failed_total";
const RECEIVED: &str = "mqtt_client_received_messages_total";
const ACK_DURATION: &str = "mqtt_client_publish_ack_duration_seconds";

/// Failures share the instrument of what was sent, and its callback.
fn is_failure(description: &Description) -> bool {
    description.name == FAILED
}

fn instrument_name(description: &Description) -> String {
    let name = description.name;
    let known = match name {
        ACKED | FAILED => Some("messaging.client.sent.messages"),
        RECEIVED => Some("messaging.client.consumed.messages"),
        ACK_DURATION => Some("messaging.client.operation.duration"),
        _ => None,
    };
    if let Some(known) = known {
        return known.to_owned();
    }
    let short = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name);
    let unit = description.unit_in_name().filter(|unit| matches!(*unit, "seconds"));
    let short = unit.and_then(|unit| short.strip_suffix(unit)?.strip_suffix('_')).unwrap_or(short);
    short.replacen("mqtt_client_", "mqtt.client.", 1)
}

/// As UCUM has them.
fn unit(description: &Description) -> String {
    match description.unit {
        None | Some("ratio") => "1".to_owned(),
        Some("seconds") => "s".to_owned(),
        Some("bytes") => "By".to_owned(),
        // Annotations are in the singular.
        Some(counted) => format!("{{{}}}", counted.strip_suffix('s').unwrap_or(counted)),
    }
}

fn attributes(
    description: &Description,
    client: &str,
    sample: &Sample,
    snapshot: &MetricsSnapshot,
) -> Vec<KeyValue> {
    let mut all = vec![KeyValue::new("mqtt.client", client.to_owned())];
    let operation = match description.name {
        ACKED | FAILED | ACK_DURATION => Some("publish"),
        RECEIVED => Some("receive"),
        _ => None,
    };
    if let Some(operation) = operation {
        all.push(KeyValue::new("messaging.system", "mqtt"));
        all.push(KeyValue::new("messaging.operation.name", operation));
        all.push(KeyValue::new("network.protocol.name", "mqtt"));
        if let Some(version) = snapshot.protocol {
            let version = match version {
                Version::V311 => "3.1.1",
                Version::V5 => "5.0",
            };
            all.push(KeyValue::new("network.protocol.version", version));
        }
    }
    all.extend(sample.labels.iter().map(|(name, value)| {
        let name = match *name {
            "reason" => "error.type".to_owned(),
            name => format!("mqtt.{name}"),
        };
        KeyValue::new(name, value.to_string())
    }));
    all
}

fn counter(meter: &Meter, description: &'static Description, reader: &MetricsReader, client: &str) {
    let (reader, client) = (reader.clone(), client.to_owned());
    let failures = descriptions().iter().filter(|other| is_failure(other) && description.name == ACKED);
    let read: Vec<&'static Description> = std::iter::once(description).chain(failures).collect();
    let builder = meter.u64_observable_counter(instrument_name(description));
    let builder = builder.with_unit(unit(description)).with_description(description.help);
    let made = builder.with_callback(move |observer| {
        let Some(snapshot) = reader.snapshot() else { return };
        for description in &read {
            for sample in description.read(&snapshot).samples {
                if let Value::Count(count) = sample.value {
                    observer.observe(count, &attributes(description, &client, &sample, &snapshot));
                }
            }
        }
    });
    let _ = made.build();
}

fn gauge(meter: &Meter, description: &'static Description, reader: &MetricsReader, client: &str) {
    let (reader, client) = (reader.clone(), client.to_owned());
    let builder = meter.f64_observable_gauge(instrument_name(description));
    let builder = builder.with_unit(unit(description)).with_description(description.help);
    let made = builder.with_callback(move |observer| {
        let Some(snapshot) = reader.snapshot() else { return };
        for sample in description.read(&snapshot).samples {
            let attributes = attributes(description, &client, &sample, &snapshot);
            match sample.value {
                Value::Number(number) => observer.observe(number, &attributes),
                Value::Count(count) => observer.observe(count as f64, &attributes),
                Value::Histogram(_) => {}
            }
        }
    });
    let _ = made.build();
}

/// The gauge of the state, which records what was measured since the last time.
fn carrier(meter: &Meter, durations: Vec<Durations>, reader: &MetricsReader, client: &str) {
    let Some(description) = descriptions().iter().find(|description| description.name == CARRIER) else {
        return;
    };
    let (reader, client) = (reader.clone(), client.to_owned());
    let builder = meter.f64_observable_gauge(instrument_name(description));
    let builder = builder.with_unit(unit(description)).with_description(description.help);
    let made = builder.with_callback(move |observer| {
        let Some(snapshot) = reader.snapshot() else { return };
        for sample in description.read(&snapshot).samples {
            if let Value::Number(number) = sample.value {
                observer.observe(number, &attributes(description, &client, &sample, &snapshot));
            }
        }
        durations.iter().for_each(|durations| durations.record(&snapshot, &client));
    });
    let _ = made.build();
}

/// One histogram, and what was recorded of it.
struct Durations {
    description: &'static Description,
    instrument: Instrument<f64>,
    recorded: Mutex<Vec<Histogram>>,
}

impl Durations {
    fn new(meter: &Meter, description: &'static Description) -> Self {
        let empty = Histogram::default();
        let bounds = description.buckets(&empty).map(|(bound, _)| bound.as_secs_f64());
        let builder = meter.f64_histogram(instrument_name(description));
        let builder = builder.with_unit(unit(description)).with_description(description.help);
        let instrument = builder.with_boundaries(bounds.collect()).build();
        Self { description, instrument, recorded: Mutex::default() }
    }

    fn record(&self, snapshot: &MetricsSnapshot, client: &str) {
        let Family { samples, .. } = self.description.read(snapshot);
        let mut recorded = lock(&self.recorded);
        recorded.resize(samples.len(), Histogram::default());
        for (sample, before) in samples.iter().zip(recorded.iter_mut()) {
            let Value::Histogram(now) = &sample.value else { continue };
            let new = now.since(before);
            let attributes = attributes(self.description, client, sample, snapshot);
            let all = new.count();
            for (took, times) in new.samples() {
                for _ in 0..share(times, all) {
                    self.instrument.record(took.as_secs_f64(), &attributes);
                }
            }
            before.clone_from(now);
        }
    }
}

/// How many of `times` are recorded, where there are `all` of them.
fn share(times: u64, all: u64) -> u64 {
    match all {
        0..=MOST_SAMPLES => times,
        _ => {
            u64::try_from(u128::from(times) * u128::from(MOST_SAMPLES) / u128::from(all)).unwrap_or(0).max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_totals_are_not_in_names() {
        let name = |wanted: &str| {
            let found = descriptions().iter().find(|description| description.name == wanted).unwrap();
            (instrument_name(found), unit(found))
        };
        let pair = |name: &str, unit: &str| (name.to_owned(), unit.to_owned());
        assert_eq!(name("mqtt_client_disconnects_total"), pair("mqtt.client.disconnects", "{link}"));
        assert_eq!(name("mqtt_client_outage_duration_seconds"), pair("mqtt.client.outage_duration", "s"));
        assert_eq!(name("mqtt_client_sent_bytes_total"), pair("mqtt.client.sent_bytes", "By"));
        assert_eq!(name("mqtt_client_link_open"), pair("mqtt.client.link_open", "1"));
        assert_eq!(name("mqtt_client_build_info"), pair("mqtt.client.build", "1"));
        assert_eq!(name(ACK_DURATION), pair("messaging.client.operation.duration", "s"));
        let missing = [CARRIER, ACKED, FAILED, RECEIVED, ACK_DURATION]
            .into_iter()
            .filter(|wanted| !descriptions().iter().any(|description| description.name == *wanted));
        assert_eq!(missing.count(), 0);
    }

    #[test]
    fn very_many_durations_are_thinned_out_and_no_bucket_is_forgotten() {
        assert_eq!(share(MOST_SAMPLES, MOST_SAMPLES), MOST_SAMPLES);
        assert_eq!(share(1, u64::MAX), 1);
        assert_eq!(share(500_000, 1_000_000), MOST_SAMPLES / 2);
        assert_eq!(share(u64::MAX, u64::MAX), MOST_SAMPLES);
    }
}
