//! Answers for probes: a status code and a body, for whatever HTTP server there is.

use crate::client::Client;
use crate::command::Shared;
use crate::health::HealthStatus;
use crate::status::Outlook;

/// What a probe is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code of HTTP: 200 or 503.
    pub status: u16,
    /// Plain text in UTF-8.
    pub body: String,
}

/// What *ready* means for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ready {
    /// What is handed over is accepted and will be delivered, now or later: for producers with a queue. An outage of the
    /// broker does not take them out of service.
    WillDeliver,
    /// The link is open: for what is of no use without the broker.
    LinkOpen,
    /// The link is open and every subscription granted on it: for consumers.
    Subscribed,
}

impl Ready {
    /// A short stable name: `will-deliver`, `link-open` or `subscribed`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WillDeliver => "will-deliver",
            Self::LinkOpen => "link-open",
            Self::Subscribed => "subscribed",
        }
    }

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::WillDeliver, Self::LinkOpen, Self::Subscribed].into_iter().find(|policy| policy.name() == name)
    }
}

/// Should this process be restarted? 503 only for what a restart mends: a driver task that is stuck or gone, or a queue on
/// disk that takes nothing more until it is opened anew. **An outage of the broker is no reason**: else an orchestrator would
/// restart a whole fleet because its broker is down. A client that was shut down is alive, too.
///
/// A driver that sleeps is woken at most once in [`HealthRules::stuck_after`](crate::health::HealthRules::stuck_after), to
/// show that it can be; it is called stuck when it did not answer for as long again. The call itself never waits.
pub fn livez(client: &Client) -> Answer {
    livez_of(client.shared())
}

/// Should this process be given work? By a policy, and with `verbose` one line for each check, as Kubernetes writes them.
pub fn readyz(client: &Client, policy: Ready, verbose: bool) -> Answer {
    readyz_of(client.shared(), policy, verbose)
}

pub(crate) fn livez_of(shared: &Shared) -> Answer {
    let state = shared.state();
    let broken = state.store_error.as_ref().filter(|error| state.refusing && error.is_fatal());
    let trouble = if shared.ward.is_driver_gone() {
        Some("the driver task is gone".to_owned())
    } else if let Some(error) = broken {
        Some(format!("the queue is broken: {error}"))
    } else {
        shared.stuck_for().map(|time| format!("the driver task is stuck: no sign of life for {time:.0?}"))
    };
    match trouble {
        Some(trouble) => Answer { status: 503, body: format!("{trouble}\n") },
        None => Answer { status: 200, body: "ok\n".to_owned() },
    }
}

pub(crate) fn readyz_of(shared: &Shared, policy: Ready, verbose: bool) -> Answer {
    let state = shared.state();
    let (ready, why) = match policy {
        Ready::WillDeliver => {
            let outlook = state.outlook();
            let why = match &outlook {
                Outlook::Now { .. } => "what is handed over goes out now".to_owned(),
                Outlook::Later { durable: true, .. } => "when the link is back; kept on disk".to_owned(),
                Outlook::Later { .. } => "when the link is back; kept in memory".to_owned(),
                Outlook::Blocked { why } => format!("blocked: {why:?}"),
                Outlook::Never { why } => format!("stopped: {why:?}"),
            };
            (outlook.will_deliver(), why)
        }
        Ready::LinkOpen => (state.is_connection_open(), format!("the link is {}", state.link.name())),
        Ready::Subscribed if state.is_connection_open() && !state.ready() => {
            (false, "not every subscription is granted".to_owned())
        }
        Ready::Subscribed => (state.ready(), format!("the link is {}", state.link.name())),
    };
    let status = if ready { 200 } else { 503 };
    if !verbose {
        let body = if ready { "ok\n".to_owned() } else { format!("not ready: {}: {why}\n", policy.name()) };
        return Answer { status, body };
    }
    let line = |well: bool, name: &str, detail: &str| match well {
        true => format!("[+]{name} ok: {detail}\n"),
        false => format!("[-]{name} failed: {detail}\n"),
    };
    let mut body = line(ready, policy.name(), &why);
    for check in shared.health().checks {
        // Only the policy decides; the checks say what is known beside it.
        match check.status {
            HealthStatus::Degraded => {
                body.push_str(&format!("[+]{} degraded: {}\n", check.name, check.detail))
            }
            status => body.push_str(&line(status == HealthStatus::Healthy, check.name, &check.detail)),
        }
    }
    body.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
    Answer { status, body }
}
