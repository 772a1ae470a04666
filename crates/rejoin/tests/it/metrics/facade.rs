//! What a recorder of the facade is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use rejoin::metrics::descriptions;
use rejoin::metrics::facade::Facade;

use super::{publish_one, published};
use crate::peer::{LIMIT, Listener, limited};

type Told = Arc<Mutex<BTreeMap<String, f64>>>;

/// Remembers everything: of histograms how many values came.
#[derive(Default)]
struct Memory {
    told: Told,
    described: Mutex<Vec<(String, &'static str)>>,
}

struct Cell(String, Told);

impl Cell {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        change(self.1.lock().unwrap().entry(self.0.clone()).or_default());
    }
}

impl CounterFn for Cell {
    fn increment(&self, _: u64) {
        panic!("counters are told as they stand");
    }

    fn absolute(&self, value: u64) {
        self.change(|known| *known = value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("gauges are told as they stand");
    }

    fn decrement(&self, _: f64) {
        panic!("gauges are told as they stand");
    }

    fn set(&self, value: f64) {
        self.change(|known| *known = value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, _: f64) {
        self.change(|known| *known += 1.0);
    }
}

impl Memory {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<String> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let cell = Arc::new(Cell(name, Arc::clone(&self.told)));
        cell.change(|_| {});
        cell
    }

    fn describe(&self, key: &KeyName, kind: &'static str) {
        self.described.lock().unwrap().push((key.as_str().to_owned(), kind));
    }

    fn told(&self, name: &str) -> f64 {
        let told = self.told.lock().unwrap();
        *told.get(name).unwrap_or_else(|| panic!("{name} was not told: {told:#?}"))
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key, "counter");
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key, "gauge");
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&key, "histogram");
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.cell(key).into()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.cell(key).into()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell(key).into()
    }
}

#[tokio::test]
async fn a_recorder_is_told_all_figures_and_each_duration_once() {
    let listener = Listener::bind().await;
    let (client, mut peer) = published(&listener).await;
    let memory = Memory::default();
    let mut facade = metrics::with_local_recorder(&memory, || Facade::new(&client, "up"));
    let report = |facade: &mut Facade| metrics::with_local_recorder(&memory, || facade.report());
    assert!(report(&mut facade) && report(&mut facade));
    assert_eq!(memory.told("mqtt_client_publish_acked_total client=up qos=1"), 1.0);
    assert_eq!(memory.told("mqtt_client_state client=up state=open"), 1.0);
    assert_eq!(memory.told("mqtt_client_outage_duration_seconds client=up"), 0.0);
    let acks = "mqtt_client_publish_ack_duration_seconds client=up qos=1";
    assert_eq!(memory.told(acks), 1.0, "told twice, measured once");
    publish_one(&client, &mut peer).await;
    report(&mut facade);
    assert_eq!(memory.told(acks), 2.0);
    let described = memory.described.lock().unwrap().clone();
    let names: Vec<&str> = described.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, descriptions().iter().map(|description| description.name).collect::<Vec<_>>());
    limited(client.shutdown().within(LIMIT / 10).into_future()).await;
    assert!(report(&mut facade));
    drop(client);
    assert!(!report(&mut facade), "nothing is left to tell");
}
