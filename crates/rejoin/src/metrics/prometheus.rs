//! For [`prometheus_client`]: a collector that reads the client when it is asked to. Feature `prometheus`.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use prometheus_client::{encoding::text, registry::Registry};
//! use rejoin::{Client, metrics::prometheus};
//!
//! let client = Client::connect("mqtt://localhost").await?;
//! let mut registry = Registry::default();
//! let clients = prometheus::register(&mut registry, &client, "uplink")?;
//!
//! let local = Client::connect("mqtt://localhost:1884").await?;
//! clients.add(&local, "local")?;
//!
//! let mut page = String::new();
//! text::encode(&mut page, &registry)?; // answer GET /metrics with it, as `prometheus::CONTENT_TYPE`
//! # Ok(()) }
//! ```
//!
//! Every value has the label `client`. A client that is gone with everything that was made of it is left out.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Histogram;
use super::snapshot::{MetricsReader, MetricsSnapshot};
use super::table::{Description, Kind, Sample, Value, descriptions};
use crate::Client;
use crate::sync::lock;

/// The content type of what [`prometheus_client::encoding::text::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why a client was not registered. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another client has this name: two series would be one.
    #[error("another client is registered as `{name}`; give each client a name of its own")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The registry has metrics of our names: of a client registered before, or of somebody else.
    #[error(
        "the registry has `{metric}` already; give further clients to `add` of what the first `register` returned, or \
         use a registry with another prefix"
    )]
    MetricTaken {
        /// The first one found, as the registry has it.
        metric: String,
    },
}

/// The clients of one registry. Clones share them.
#[derive(Clone, Default)]
#[must_use = "further clients are given to it"]
pub struct Clients {
    all: Arc<Mutex<Vec<(String, MetricsReader)>>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(lock(&self.all).iter().map(|(name, _)| name)).finish()
    }
}

/// Registers the metrics of `client`, with the label `client` = `name`. What it returns takes further clients: a registry
/// has each metric once.
///
/// # Errors
/// The registry has metrics of our names.
pub fn register(registry: &mut Registry, client: &Client, name: &str) -> Result<Clients, RegisterError> {
    if let Some(metric) = taken(registry) {
        return Err(RegisterError::MetricTaken { metric });
    }
    let clients = Clients::default();
    clients.add(client, name)?;
    registry.register_collector(Box::new(clients.clone()));
    Ok(clients)
}

/// A metric of ours that the registry has. It tells what it has only by writing it.
fn taken(registry: &Registry) -> Option<String> {
    let mut page = String::new();
    text::encode(&mut page, registry).ok()?;
    let ours = |name: &str| {
        descriptions().iter().map(family_name).any(|our| {
            name.strip_suffix(our).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
        })
    };
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.filter(|name| ours(name)).map(str::to_owned).next()
}

impl Clients {
    /// Adds a client under a name of its own.
    ///
    /// # Errors
    /// Another client has the name.
    pub fn add(&self, client: &Client, name: &str) -> Result<(), RegisterError> {
        let mut all = lock(&self.all);
        all.retain(|(_, reader)| reader.is_alive());
        if all.iter().any(|(known, _)| known == name) {
            return Err(RegisterError::NameTaken { name: name.to_owned() });
        }
        all.push((name.to_owned(), client.metrics_reader()));
        Ok(())
    }

    /// Takes the client of this name out. True if there was one.
    pub fn remove(&self, name: &str) -> bool {
        let mut all = lock(&self.all);
        let before = all.len();
        all.retain(|(known, _)| known != name);
        all.len() < before
    }

    fn snapshots(&self) -> Vec<(String, MetricsSnapshot)> {
        let all = lock(&self.all).clone();
        all.into_iter().filter_map(|(name, reader)| Some((name, reader.snapshot()?))).collect()
    }
}

impl Collector for Clients {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshots = self.snapshots();
        for description in descriptions() {
            let of = |(name, snapshot): &(String, MetricsSnapshot)| {
                (name.clone(), description.read(snapshot).samples)
            };
            let read: Vec<(String, Vec<Sample>)> = snapshots.iter().map(of).collect();
            if read.iter().all(|(_, samples)| samples.is_empty()) {
                continue;
            }
            let unit = description.unit_in_name().map(|unit| Unit::Other(unit.to_owned()));
            let kind = match description.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let name = short_name(description);
            let mut family = encoder.encode_descriptor(name, description.help, unit.as_ref(), kind)?;
            for (client, samples) in &read {
                for sample in samples {
                    write(&mut family, description, client, sample)?;
                }
            }
        }
        Ok(())
    }
}

/// Without `_total` and `_info`, which the encoder adds.
fn family_name(description: &Description) -> &'static str {
    let name = description.name;
    name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name)
}

/// Without the unit, too.
fn short_name(description: &Description) -> &'static str {
    let name = family_name(description);
    let short = description.unit_in_name().and_then(|unit| name.strip_suffix(unit)?.strip_suffix('_'));
    short.unwrap_or(name)
}

fn write(
    family: &mut MetricEncoder<'_>,
    description: &Description,
    client: &str,
    sample: &Sample,
) -> fmt::Result {
    let mut labels: Vec<(&str, &str)> = vec![("client", client)];
    labels.extend(sample.labels.iter().map(|(name, value): &(_, Cow<'static, str>)| (*name, &**value)));
    if description.kind == Kind::Info {
        return family.encode_info(&labels);
    }
    let mut one = family.encode_family(&labels)?;
    match &sample.value {
        Value::Count(count) => {
            let without: Option<&Exemplar<Vec<(String, String)>, u64>> = None;
            one.encode_counter(count, without)
        }
        Value::Number(number) => one.encode_gauge(number),
        Value::Histogram(histogram) => {
            let buckets = separate(description, histogram);
            let sum = histogram.sum().as_secs_f64();
            one.encode_histogram::<Vec<(String, String)>>(sum, histogram.count(), &buckets, None)
        }
    }
}

/// The encoder adds the buckets up itself.
fn separate(description: &Description, histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut before = 0;
    let mut buckets: Vec<(f64, u64)> = description
        .buckets(histogram)
        .map(|(bound, up_to)| (bound.as_secs_f64(), up_to - std::mem::replace(&mut before, up_to)))
        .collect();
    buckets.push((f64::INFINITY, histogram.count() - before));
    buckets
}
