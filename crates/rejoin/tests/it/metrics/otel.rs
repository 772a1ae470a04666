//! What an OpenTelemetry reader collects, by a provider of instruments that a test can read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrument, AsyncInstrumentBuilder, Callback, Histogram, HistogramBuilder, InstrumentProvider,
    Meter, ObservableCounter, ObservableGauge, SyncInstrument,
};
use rejoin::metrics::otel::observe;

use super::{publish_one, published};
use crate::peer::Listener;

type Seen = Arc<Mutex<BTreeMap<String, f64>>>;

#[derive(Default)]
struct Provider {
    seen: Seen,
    counters: Mutex<Vec<(String, Vec<Callback<u64>>)>>,
    gauges: Mutex<Vec<(String, Vec<Callback<f64>>)>>,
}

struct One(String, Seen);

impl One {
    fn change(&self, attributes: &[KeyValue], change: impl FnOnce(&mut f64)) {
        let attributes: Vec<String> = attributes.iter().map(|a| format!("{}={}", a.key, a.value)).collect();
        let name = format!("{} {}", self.0, attributes.join(" "));
        change(self.1.lock().unwrap().entry(name).or_default());
    }
}

impl AsyncInstrument<u64> for One {
    fn observe(&self, value: u64, attributes: &[KeyValue]) {
        self.change(attributes, |known| *known = value as f64);
    }
}

impl AsyncInstrument<f64> for One {
    fn observe(&self, value: f64, attributes: &[KeyValue]) {
        self.change(attributes, |known| *known = value);
    }
}

impl SyncInstrument<f64> for One {
    fn measure(&self, _: f64, attributes: &[KeyValue]) {
        self.change(attributes, |known| *known += 1.0);
    }
}

impl InstrumentProvider for Provider {
    fn u64_observable_counter(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableCounter<u64>, u64>,
    ) -> ObservableCounter<u64> {
        let name = format!("{} [{}]", builder.name, builder.unit.unwrap());
        self.counters.lock().unwrap().push((name, builder.callbacks));
        ObservableCounter::new()
    }

    fn f64_observable_gauge(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableGauge<f64>, f64>,
    ) -> ObservableGauge<f64> {
        let name = format!("{} [{}]", builder.name, builder.unit.unwrap());
        self.gauges.lock().unwrap().push((name, builder.callbacks));
        ObservableGauge::new()
    }

    fn f64_histogram(&self, builder: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
        assert!(builder.boundaries.is_some_and(|bounds| bounds.is_sorted() && bounds.len() > 10));
        let name = format!("{} [{}]", builder.name, builder.unit.unwrap());
        Histogram::new(Arc::new(One(name, Arc::clone(&self.seen))))
    }
}

impl Provider {
    fn collect(&self) -> BTreeMap<String, f64> {
        for (name, callbacks) in &*self.counters.lock().unwrap() {
            callbacks.iter().for_each(|call| call(&One(name.clone(), Arc::clone(&self.seen))));
        }
        for (name, callbacks) in &*self.gauges.lock().unwrap() {
            callbacks.iter().for_each(|call| call(&One(name.clone(), Arc::clone(&self.seen))));
        }
        self.seen.lock().unwrap().clone()
    }
}

const MESSAGING: &str = "mqtt.client=up messaging.system=mqtt messaging.operation.name=publish \
                         network.protocol.name=mqtt network.protocol.version=5.0";

#[tokio::test]
async fn a_reader_sees_the_names_of_the_conventions_and_each_duration_once() {
    let listener = Listener::bind().await;
    let (client, mut peer) = published(&listener).await;
    let provider = Arc::new(Provider::default());
    observe(&Meter::new(Arc::clone(&provider) as Arc<_>), &client, "up");
    provider.collect();
    let seen = provider.collect();
    let at = |seen: &BTreeMap<String, f64>, name: &str| {
        *seen.get(name).unwrap_or_else(|| panic!("{name} was not seen: {seen:#?}"))
    };
    let sent = format!("messaging.client.sent.messages [{{message}}] {MESSAGING}");
    assert_eq!(at(&seen, &format!("{sent} mqtt.qos=1")), 1.0);
    assert_eq!(at(&seen, &format!("{sent} error.type=expired")), 0.0);
    let took = format!("messaging.client.operation.duration [s] {MESSAGING} mqtt.qos=1");
    assert_eq!(at(&seen, &took), 1.0, "collected twice, measured once");
    assert_eq!(at(&seen, "mqtt.client.state [1] mqtt.client=up mqtt.state=open"), 1.0);
    assert_eq!(at(&seen, "mqtt.client.queue_bytes [By] mqtt.client=up"), 0.0);
    assert_eq!(at(&seen, "mqtt.client.disconnects [{link}] mqtt.client=up error.type=reset"), 0.0);
    assert!(seen.keys().all(|name| !name.contains("secret")), "no topics");
    publish_one(&client, &mut peer).await;
    assert_eq!(at(&provider.collect(), &took), 2.0);
}

#[tokio::test]
async fn a_client_that_is_gone_is_not_observed() {
    let listener = Listener::bind().await;
    let (client, _peer) = published(&listener).await;
    let provider = Arc::new(Provider::default());
    observe(&Meter::new(Arc::clone(&provider) as Arc<_>), &client, "up");
    client.shutdown().within_secs(2).await;
    drop(client);
    assert!(provider.collect().is_empty());
}
