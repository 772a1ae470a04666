//! For the facade [`metrics`]: the figures of a client, told to whatever recorder the program installed.
//! Feature `metrics`.
//!
//! ```no_run
//! # async fn example() -> rejoin::Result<()> {
//! use std::time::Duration;
//!
//! use rejoin::{Client, metrics::facade::Facade};
//!
//! // Install a recorder first: what is told before is lost.
//! let client = Client::connect("mqtt://localhost").await?;
//! tokio::spawn(Facade::new(&client, "uplink").report_every(Duration::from_secs(10)));
//! # Ok(()) }
//! ```
//!
//! The facade is told, it does not ask; so somebody has to call [`Facade::report`], and figures are as old as the last
//! call. Names are those of all exporters, and every value has the label `client`. Durations are told bucket by bucket: a
//! recorder gets each within 6.25 % of what was measured.

use std::collections::HashMap;
use std::time::Duration;

use ::metrics::{Key, Label, Level, Metadata, Unit, with_recorder};

use super::histogram::Histogram;
use super::snapshot::MetricsReader;
use super::table::{Family, Kind, Value, descriptions};
use crate::Client;

const METADATA: Metadata<'static> = Metadata::new("rejoin", Level::INFO, Some(module_path!()));

/// Tells the figures of one client.
#[derive(Debug)]
#[must_use = "nothing is told until `report` is called"]
pub struct Facade {
    reader: MetricsReader,
    client: String,
    /// What was told of each histogram.
    told: HashMap<Key, Histogram>,
}

impl Facade {
    /// Describes every metric to the recorder that is installed now. Every value will have the label `client` = `name`;
    /// give each client a name of its own.
    pub fn new(client: &Client, name: &str) -> Self {
        for description in descriptions() {
            let unit = match description.unit {
                Some("seconds") => Some(Unit::Seconds),
                Some("bytes") => Some(Unit::Bytes),
                Some("ratio") | None => None,
                Some(_) => Some(Unit::Count),
            };
            let (name, help) = (description.name.into(), description.help.into());
            with_recorder(|recorder| match description.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
                Kind::Gauge | Kind::Info => recorder.describe_gauge(name, unit, help),
            });
        }
        Self { reader: client.metrics_reader(), client: name.to_owned(), told: HashMap::new() }
    }

    /// Tells all figures. False once the client is gone: then there is nothing more to tell.
    pub fn report(&mut self) -> bool {
        let Some(snapshot) = self.reader.snapshot() else { return false };
        for family in snapshot.families() {
            self.tell(family);
        }
        true
    }

    /// Does so again and again until the client is gone.
    pub async fn report_every(mut self, pause: Duration) {
        while self.report() {
            tokio::time::sleep(pause).await;
        }
    }

    fn tell(&mut self, family: Family) {
        for sample in family.samples {
            let mut labels = vec![Label::new("client", self.client.clone())];
            labels.extend(sample.labels.into_iter().map(|(name, value)| Label::new(name, value)));
            let key = Key::from_parts(family.description.name, labels);
            match sample.value {
                Value::Count(count) if family.description.kind == Kind::Info => {
                    with_recorder(|to| to.register_gauge(&key, &METADATA).set(count as f64));
                }
                Value::Count(count) => {
                    with_recorder(|to| to.register_counter(&key, &METADATA).absolute(count));
                }
                Value::Number(number) => {
                    with_recorder(|to| to.register_gauge(&key, &METADATA).set(number));
                }
                Value::Histogram(histogram) => self.tell_histogram(key, histogram),
            }
        }
    }

    fn tell_histogram(&mut self, key: Key, histogram: Histogram) {
        let told = self.told.get(&key);
        let new = told.map_or_else(|| histogram.clone(), |told| histogram.since(told));
        // Told also when it is empty: who looks for the metric finds it.
        let to = with_recorder(|to| to.register_histogram(&key, &METADATA));
        for (took, times) in new.samples() {
            to.record_many(took.as_secs_f64(), usize::try_from(times).unwrap_or(usize::MAX));
        }
        self.told.insert(key, histogram);
    }
}
