//! Recovery in virtual time, with the true defaults.

mod codes;
mod parts;
mod pool;
mod table;
mod timing;

use std::time::Duration;

use super::{Attempt, LossContext, Plan, Recovery, Verdict};
use crate::codec::packet::Version;
use crate::codec::reason::ReasonCode;
use crate::config::{LinkConfig, RecoveryConfig, VersionPolicy};
use crate::error::{LossCause, Stage, TransportError, TransportErrorKind};
use crate::time::Timestamp;

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn open_failed(kind: TransportErrorKind) -> LossCause {
    LossCause::Open { stage: Stage::Tcp, error: TransportError::new(kind, "scripted") }
}

pub(super) fn nobody_listens() -> LossCause {
    open_failed(TransportErrorKind::Refused)
}

pub(super) fn reset() -> LossCause {
    LossCause::Transport(TransportError::new(TransportErrorKind::Reset, "scripted"))
}

/// The transport broke in another way than by an end of the peer.
pub(super) fn broke(kind: TransportErrorKind) -> LossCause {
    LossCause::Transport(TransportError::new(kind, "scripted"))
}

pub(super) fn refused(reason: ReasonCode) -> LossCause {
    LossCause::Refused { reason, text: None, server_reference: None, v311_form: false, maximum_qos: None }
}

pub(super) fn disconnected(reason: ReasonCode) -> LossCause {
    LossCause::ServerDisconnect { reason, text: None, server_reference: None }
}

/// An attempt at 5.0 that came to nothing, of which the link knows nothing else.
pub(super) const NEVER_OPEN: LossContext = LossContext {
    lasted: None,
    unacked: false,
    version: Version::V5,
    local_evidence: false,
    credentials_ended: false,
    needs_v5: false,
};

/// A machine and the hours it spends.
pub(super) struct World {
    pub(super) recovery: Recovery,
    pub(super) now: Timestamp,
    version: Version,
    /// When a broker was reached.
    pub(super) reached: Vec<Timestamp>,
}

impl World {
    pub(super) fn new(config: &RecoveryConfig, seed: u64) -> Self {
        Self::with(config, VersionPolicy::Prefer5, 1, seed)
    }

    pub(super) fn with(config: &RecoveryConfig, policy: VersionPolicy, servers: usize, seed: u64) -> Self {
        let now = Timestamp::from_micros(77_000_000);
        let mut recovery =
            Recovery::new(&config.clone().into(), &LinkConfig::default(), policy, servers, seed);
        let first = recovery.start(now);
        assert_eq!((first.verdict, first.retry_at), (Verdict::Now, Some(now)));
        Self { recovery, now, version: Version::V5, reached: Vec::new() }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Waits until the next attempt is due and begins it.
    pub(super) fn begin(&mut self) -> Attempt {
        self.now = self.now.max(self.recovery.due().expect("an attempt is planned"));
        let attempt = self.recovery.begin_attempt(self.now);
        self.version = attempt.version;
        assert_eq!(self.recovery.due(), None);
        attempt
    }

    pub(super) fn reach(&mut self) {
        self.recovery.reached_broker(self.now);
        self.reached.push(self.now);
    }

    fn context(&self, lasted: Option<Duration>) -> LossContext {
        LossContext { lasted, version: self.version, ..NEVER_OPEN }
    }

    /// The next attempt, which fails without reaching a broker.
    pub(super) fn attempt(&mut self, cause: &LossCause) -> Plan {
        self.begin();
        self.recovery.lost(cause, self.context(None), self.now)
    }

    /// The next attempt, which a broker turns down.
    pub(super) fn turned_down(&mut self, cause: &LossCause) -> Plan {
        self.begin();
        self.reach();
        self.recovery.lost(cause, self.context(None), self.now)
    }

    /// The next attempt, which becomes a link of this life.
    pub(super) fn link(&mut self, life: Duration, cause: &LossCause) -> Plan {
        let context = self.context(None);
        self.link_ending(life, cause, context)
    }

    /// The same with a context of its own, whose life and version are filled in.
    pub(super) fn link_ending(&mut self, life: Duration, cause: &LossCause, context: LossContext) -> Plan {
        self.begin();
        self.reach();
        self.recovery.link_up(self.now);
        self.pass(life);
        let context = LossContext { lasted: Some(life), version: self.version, ..context };
        self.recovery.lost(cause, context, self.now)
    }

    /// How long the plan waits from now.
    pub(super) fn wait(&self, plan: &Plan) -> Duration {
        plan.retry_at.expect("an attempt is planned").since(self.now)
    }

    /// Holds the budget against every sliding window.
    pub(super) fn assert_within_budget(&self) {
        for pair in self.reached.windows(2) {
            assert!(pair[1].since(pair[0]) >= secs(1), "two attempts within a second: {pair:?}");
        }
        for run in self.reached.windows(13) {
            assert!(run[12].since(run[0]) >= secs(60), "13 attempts within a minute: {run:?}");
        }
    }
}

/// The waits of many seeds, sorted.
pub(super) fn waits(seeds: u64, mut one: impl FnMut(u64) -> Duration) -> Vec<Duration> {
    let mut waits: Vec<_> = (0..seeds).map(&mut one).collect();
    waits.sort_unstable();
    waits
}

/// Holds that the waits fill the range evenly enough to be U(low, high).
pub(super) fn assert_uniform(waits: &[Duration], low: Duration, high: Duration) {
    let (first, last) = (waits[0], waits[waits.len() - 1]);
    assert!(first >= low && last <= high, "{first:?}..{last:?} is outside {low:?}..{high:?}");
    let tenth = (high - low) / 10;
    assert!(
        first <= low + tenth && last >= high - tenth,
        "{first:?}..{last:?} does not fill {low:?}..{high:?}"
    );
    let middle = waits[waits.len() / 2];
    let centre = low + (high - low) / 2;
    assert!(
        middle >= centre - tenth && middle <= centre + tenth,
        "the median {middle:?} is not near {centre:?}"
    );
}
