//! What Prometheus and Kubernetes ask for.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rejoin::Client;
use rejoin::metrics::prometheus;

/// What the text is.
pub(crate) const METRICS_TYPE: &str = prometheus::CONTENT_TYPE;

/// The answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// In words.
    pub(crate) body: String,
}

/// Answers for one client.
#[derive(Clone, Debug)]
pub(crate) struct Probes {
    client: Client,
    registry: Arc<Registry>,
    /// It publishes nothing: ready means subscribed.
    subscribes_only: bool,
}

impl Probes {
    /// For a client; `subscribes_only` chooses what ready means, `name` is the label of its metrics.
    pub(crate) fn new(client: Client, name: &str, subscribes_only: bool) -> Self {
        let mut registry = Registry::default();
        let registered = prometheus::register(&mut registry, &client, name);
        debug_assert!(registered.is_ok(), "the registry is new: {registered:?}");
        Self { client, registry: Arc::new(registry), subscribes_only }
    }

    /// OpenMetrics text; `None` if it cannot be written.
    pub(crate) fn metrics(&self) -> Option<String> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).ok().map(|()| page)
    }

    /// Whether the process should be left alone. The broker has no say in it, and whoever stopped on purpose is well.
    pub(crate) fn livez(verbose: bool) -> Answer {
        answer(true, "", verbose)
    }

    /// Whether work should be given to it.
    pub(crate) fn readyz(&self, verbose: bool) -> Answer {
        let state = self.client.state();
        let (ready, why) = if self.subscribes_only {
            (state.ready(), "not every subscription is granted on an open link")
        } else {
            (state.outlook().will_deliver(), "what is handed over would not be delivered")
        };
        answer(ready, why, verbose)
    }
}

fn answer(well: bool, why: &str, verbose: bool) -> Answer {
    match (well, verbose) {
        (true, false) => Answer { status: 200, body: "ok".to_owned() },
        (true, true) => Answer { status: 200, body: "[+]client ok\nok".to_owned() },
        (false, false) => Answer { status: 503, body: why.to_owned() },
        (false, true) => Answer { status: 503, body: format!("[-]client failed: {why}\nfailed") },
    }
}
