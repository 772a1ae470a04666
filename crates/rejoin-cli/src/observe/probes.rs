//! What Prometheus and Kubernetes ask for: the library's own answers.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rejoin::Client;
use rejoin::health::{self, Answer, Ready};
use rejoin::metrics::prometheus;

/// What the text of the metrics is.
pub(crate) const METRICS_TYPE: &str = prometheus::CONTENT_TYPE;

/// Answers for one client.
#[derive(Clone, Debug)]
pub(crate) struct Probes {
    client: Client,
    registry: Arc<Registry>,
    ready: Ready,
}

impl Probes {
    /// For a client; `name` is the label of its metrics, `ready` what it is to be called ready for.
    pub(crate) fn new(client: Client, name: &str, ready: Ready) -> Self {
        let mut registry = Registry::default();
        let registered = prometheus::register(&mut registry, &client, name);
        debug_assert!(registered.is_ok(), "the registry is new: {registered:?}");
        Self { client, registry: Arc::new(registry), ready }
    }

    /// OpenMetrics text; `None` if it cannot be written.
    pub(crate) fn metrics(&self) -> Option<String> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).ok().map(|()| page)
    }

    /// Whether the process should be left alone.
    pub(crate) fn livez(&self) -> Answer {
        health::livez(&self.client)
    }

    /// Whether work should be given to it.
    pub(crate) fn readyz(&self, verbose: bool) -> Answer {
        health::readyz(&self.client, self.ready, verbose)
    }
}
