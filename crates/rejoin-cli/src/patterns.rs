//! What the library's rules find in the losses of a document: a contest about the client id, a link that flaps. The same
//! rules as of the alerts, so that a report accuses nobody whom a running client would not.

use std::time::{Duration, Instant};

use rejoin::alerts::{Finding, Losses, PatternRules};
use rejoin::{LossCause, ReasonCode, TransportErrorKind};
use rejoin_core::TransportError;
use rejoin_core::error::LocalCause;

use crate::facts::{Facts, Outage};

/// The losses of a document, as the library counts them.
#[derive(Debug)]
pub(crate) struct Patterns {
    losses: Losses,
    /// When the last of them was. What a run shows is judged as of then: an hour without a loss after it makes it no
    /// less likely.
    last: Instant,
    rules: PatternRules,
}

impl Patterns {
    /// Counts the losses of a run: those we brought about ourselves are none.
    pub(crate) fn of(facts: &Facts) -> Self {
        let zero = Instant::now();
        let mut patterns = Self { losses: Losses::new(), last: zero, rules: PatternRules::default() };
        for outage in facts.outages.iter().filter(|outage| !is_ours(outage)) {
            let length = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).ok();
            let at = length(lost_at(outage)).and_then(|after| zero.checked_add(after));
            let (Some(at), Some(lived)) = (at, outage.lived.and_then(length)) else { continue };
            patterns.losses.lost(&cause(outage), lived, at);
            patterns.last = patterns.last.max(at);
        }
        patterns
    }

    /// Another client uses our client id.
    pub(crate) fn contest(&self, client_id: &str) -> Option<Finding> {
        self.losses.contest(&self.rules, client_id, self.last).map(|found| self.brief(found))
    }

    /// Many short links in a short time.
    pub(crate) fn flapping(&self) -> Option<Finding> {
        self.losses.flapping(&self.rules, self.last).map(|found| self.brief(found))
    }

    /// So many losses that are alike are no chance, where nobody says why.
    pub(crate) const fn alike(&self) -> usize {
        self.rules.silent_closes
    }

    /// Without the list of losses at the end, which stands beside it.
    fn brief(&self, mut found: Finding) -> Finding {
        if let Some(evidence) = found.evidence.strip_suffix(&format!("; {}", self.losses.words())) {
            found.evidence = evidence.to_owned();
        }
        found
    }
}

/// When the client gave the link up: the document counts an outage from the last byte heard.
pub(crate) fn lost_at(outage: &Outage) -> f64 {
    outage.start + outage.phases[0].unwrap_or(0.0)
}

/// The broker said that another connection took the session.
pub(crate) fn is_taken_over(outage: &Outage) -> bool {
    outage.cause == "server-disconnect" && outage.code == Some(ReasonCode::SESSION_TAKEN_OVER.0)
}

/// We ended the link: by a restart, because no message came, for new credentials, at the end.
pub(crate) fn is_ours(outage: &Outage) -> bool {
    matches!(outage.cause.as_str(), "health-watch" | "restart" | "renewal" | "shutdown")
}

/// Nothing was heard any more, and nobody closed the link.
pub(crate) fn fell_silent(outage: &Outage) -> bool {
    matches!(outage.cause.as_str(), "ping-timeout" | "write-stall" | "ack-timeout" | "transport-timeout")
}

/// The cause behind a name of the document, as far as patterns care.
fn cause(outage: &Outage) -> LossCause {
    let transport = |kind| LossCause::Transport(TransportError::new(kind, ""));
    match outage.cause.as_str() {
        "server-disconnect" => LossCause::ServerDisconnect {
            reason: ReasonCode(outage.code.unwrap_or(ReasonCode::UNSPECIFIED_ERROR.0)),
            text: None,
            server_reference: None,
        },
        "peer-closed" => LossCause::PeerClosed,
        "reset" => transport(TransportErrorKind::Reset),
        "transport-timeout" => transport(TransportErrorKind::TimedOut),
        "ping-timeout" => LossCause::PingTimeout(Duration::ZERO),
        "write-stall" => LossCause::WriteStall(Duration::ZERO),
        "ack-timeout" => LossCause::AckTimeout(Duration::ZERO),
        "foreign-session" => LossCause::Local(LocalCause::ForeignSession),
        _ => transport(TransportErrorKind::Other),
    }
}
