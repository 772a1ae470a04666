//! What Prometheus and Kubernetes ask for.

use rejoin::{Client, Link};

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
    /// It publishes nothing: ready means subscribed.
    subscribes_only: bool,
}

impl Probes {
    /// For a client; `subscribes_only` chooses what ready means.
    pub(crate) const fn new(client: Client, subscribes_only: bool) -> Self {
        Self { client, subscribes_only }
    }

    /// OpenMetrics text; `None` where this build has no metrics.
    pub(crate) const fn metrics(&self) -> Option<String> {
        None
    }

    /// Whether the process should be left alone. The broker has no say in it.
    pub(crate) fn livez(&self, verbose: bool) -> Answer {
        let stopped = matches!(self.client.state().link, Link::Stopped { .. });
        answer(!stopped, "the client stopped", verbose)
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
