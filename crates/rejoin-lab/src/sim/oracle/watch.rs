//! What the client says about itself: a legal word of states, waits within their windows, attempts within the budget
//! (O15 to O17).

use std::collections::VecDeque;
use std::time::Duration;

use rejoin_core::{
    Event, LinkState, LocalCause, LossCause, RecoveryConfig, SessionState, Timestamp, Verdict,
};

use super::Alarm;
use super::windows::{self, Windows};
use crate::sim::marks::Marks;
use crate::sim::world::Ruling;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    Attempting,
    Up,
    Stopped,
}

/// Follows one process of one client.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    state: State,
    /// No attempt before that.
    due: u64,
    windows: Windows,
    /// What the last wait was at least drawn from.
    window: Duration,
    /// When attempts reached a broker.
    reached: VecDeque<u64>,
    /// Attempts and links that failed since it was last set to zero.
    pub(in crate::sim) failures: u32,
    pub(in crate::sim) retry_at: u64,
    /// The same, change-overs to new credentials apart.
    pub(in crate::sim) retry_after_failure: u64,
    suspect: bool,
}

impl Watch {
    /// Somebody said that the network may be back.
    pub(crate) const fn nudged(&mut self) {
        self.due = 0;
    }

    pub(in crate::sim) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(in crate::sim) fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// An event came; its order must be legal.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        config: &RecoveryConfig,
        now: u64,
        marks: &mut Marks,
    ) -> Ruling {
        if self.state == State::Stopped {
            return Err(Alarm::new("O15", format!("{event:?} after the end")));
        }
        let next = match event {
            Event::Attempt { .. } => {
                self.must_be(State::Between, event)?;
                if now < self.due {
                    let early = Duration::from_micros(self.due - now);
                    return Err(Alarm::new("O17", format!("an attempt {early:?} before its time")));
                }
                State::Attempting
            }
            Event::AttemptFailed { cause, verdict, retry_at, held_by_budget, .. } => {
                self.must_be(State::Attempting, event)?;
                self.lost(cause, *verdict, None, *retry_at, *held_by_budget, config, now, marks)?;
                State::Between
            }
            Event::Opened { session, .. } => {
                self.must_be(State::Attempting, event)?;
                marks.hit(match session {
                    SessionState::New => "session new",
                    SessionState::Kept => "session kept",
                    SessionState::Lost(_) => "session lost",
                });
                State::Up
            }
            Event::Closed { cause, verdict, lasted, retry_at, held_by_budget, .. } => {
                self.must_be(State::Up, event)?;
                self.lost(cause, *verdict, Some(*lasted), *retry_at, *held_by_budget, config, now, marks)?;
                State::Between
            }
            Event::Suspect { .. } => {
                self.must_be(State::Up, event)?;
                self.suspect = true;
                State::Up
            }
            Event::Trusted => {
                self.must_be(State::Up, event)?;
                if self.suspect {
                    marks.hit("suspect and trusted again");
                }
                self.suspect = false;
                State::Up
            }
            Event::Stopped { .. } => State::Stopped,
            _ => return Ok(()),
        };
        self.state = next;
        Ok(())
    }

    fn must_be(&self, state: State, event: &Event) -> Ruling {
        if self.state == state {
            return Ok(());
        }
        Err(Alarm::new("O15", format!("{event:?} while {:?}", self.state)))
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    fn lost(
        &mut self,
        cause: &LossCause,
        verdict: Verdict,
        lasted: Option<Duration>,
        retry_at: Option<Timestamp>,
        held: bool,
        config: &RecoveryConfig,
        now: u64,
        marks: &mut Marks,
    ) -> Ruling {
        marks.hit(verdict_mark(verdict));
        marks.hit(cause_mark(cause));
        if held {
            marks.hit("held by budget");
        }
        self.suspect = false;
        let renews = matches!(cause, LossCause::Local(LocalCause::Renewal));
        self.failures += u32::from(!renews);
        let Some(retry_at) = retry_at else {
            if !config.reconnect || config.give_up || verdict == Verdict::Stop {
                return Ok(());
            }
            return Err(Alarm::new("O17", format!("no attempt after {cause}: nobody asked for that")));
        };
        self.due = retry_at.as_micros();
        self.retry_at = self.due;
        if !renews {
            // A change-over every minute must not put off for ever what has to be done by a certain time.
            self.retry_after_failure = self.due;
        }
        let wait = Duration::from_micros(self.due.saturating_sub(now));
        let stable =
            lasted.is_some_and(|lasted| lasted >= config.stable_after.max(self.window.saturating_mul(2)));
        let ours = matches!(
            cause,
            LossCause::Local(LocalCause::Restart | LocalCause::ForeignSession | LocalCause::Renewal)
        );
        if lasted.is_some() && !stable && !ours && is_quick(verdict) {
            let what = format!("{verdict:?} after a link of {lasted:?}: it was not stable ({cause})");
            return Err(Alarm::new("O17", what));
        }
        // How many windows the client counts is not known for sure: it may ask for a longer life than this.
        let widest = config.overload.cap.max(config.absent.cap).max(config.absent_cap_long);
        let doubtful = stable && lasted.is_some_and(|lasted| lasted < widest.saturating_mul(2));
        // One that waits was not stable for the client, or the budget holds it.
        let at_once = wait.is_zero() || held;
        let stable = stable && !(doubtful && verdict == Verdict::Quarantine && !at_once);
        if stable && !doubtful {
            windows::spreads(verdict, cause, config)?;
        }
        if stable {
            self.window = Duration::ZERO;
        }
        self.windows.lost(stable, doubtful, now);
        let (least, mut most) = self.bounds(verdict, stable, config);
        if verdict != Verdict::Quarantine || !stable {
            self.windows.waits((verdict, cause), wait, held, config, now)?;
        }
        if doubtful && verdict == Verdict::Quarantine {
            most = config.overload.cap;
        }
        let budget = config.budget.map_or(Duration::ZERO, |b| b.period);
        if wait < least || wait > most.max(if held { budget } else { Duration::ZERO }) {
            let what = format!("{verdict:?} waits {wait:?}, not within {least:?} and {most:?} ({cause})");
            return Err(Alarm::new("O17", what));
        }
        Ok(())
    }

    /// Between which times the wait of a verdict lies. Where the window is not known for sure, the bounds are wide.
    fn bounds(&mut self, verdict: Verdict, stable: bool, config: &RecoveryConfig) -> (Duration, Duration) {
        let zero = Duration::ZERO;
        match verdict {
            Verdict::Now | Verdict::Credentials | Verdict::Redirected => (zero, zero),
            Verdict::Spread | Verdict::NextServer => (zero, config.spread),
            Verdict::Absent => {
                self.window = zero;
                (zero, config.absent.cap.max(config.absent_cap_long))
            }
            Verdict::Quarantine if stable => (zero, zero),
            Verdict::Overloaded | Verdict::Quarantine => {
                let width = self.windows.overloaded_at_least(config);
                self.window = width;
                (width / 2, config.overload.cap)
            }
            Verdict::Adapt(_) => {
                self.window = zero;
                (zero, config.overload.cap)
            }
            Verdict::Takeover => (config.takeover_wait, config.takeover_wait.saturating_mul(6)),
            Verdict::Banned => (config.banned_wait, config.banned_wait.saturating_mul(15)),
            Verdict::Administrative => {
                (config.administrative_wait, config.administrative_wait.saturating_mul(2))
            }
            Verdict::Unauthorized => {
                (config.overload.cap, config.overload.cap.saturating_add(config.overload.cap / 2))
            }
            Verdict::SlowLane => (config.slow_lane.first / 2, config.slow_lane.cap),
            _ => (zero, Duration::MAX),
        }
    }

    /// A CONNECT leaves: the budget of attempts.
    pub(crate) fn connects(&mut self, config: &RecoveryConfig, now: u64) -> Ruling {
        let Some(budget) = config.budget else { return Ok(()) };
        let period = u64::try_from(budget.period.as_micros()).unwrap_or(u64::MAX);
        while self.reached.front().is_some_and(|at| at.saturating_add(period) <= now) {
            self.reached.pop_front();
        }
        let last =
            self.reached.back().map_or(Duration::MAX, |at| Duration::from_micros(now.saturating_sub(*at)));
        self.reached.push_back(now);
        if self.reached.len() > budget.per_period as usize || last < budget.spacing {
            let what =
                format!("{} attempts within {:?}, the last {last:?} ago", self.reached.len(), budget.period);
            return Err(Alarm::new("O17", what));
        }
        Ok(())
    }

    /// The status says the same as the events.
    pub(crate) fn status(&self, link: &LinkState) -> Ruling {
        let fits = matches!(
            (self.state, link),
            (State::Between, LinkState::Waiting { .. })
                | (State::Attempting, LinkState::Connecting { .. })
                | (State::Up, LinkState::Open | LinkState::Suspect)
                | (State::Stopped, LinkState::Stopped(_))
        );
        if fits {
            return Ok(());
        }
        Err(Alarm::new("O15", format!("the status says {link:?}, the events say {:?}", self.state)))
    }
}

/// A verdict that does not wait for the window; quarantine waits for it after a link that was not stable.
const fn is_quick(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Now | Verdict::Spread | Verdict::Absent | Verdict::NextServer)
}

const fn verdict_mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Now => "verdict now",
        Verdict::Spread => "verdict spread",
        Verdict::Absent => "verdict absent",
        Verdict::Overloaded => "verdict overloaded",
        Verdict::NextServer => "verdict next-server",
        Verdict::Credentials => "verdict credentials",
        Verdict::Adapt(_) => "verdict adapt",
        Verdict::Quarantine => "verdict quarantine",
        Verdict::Takeover => "verdict takeover",
        Verdict::Banned => "verdict banned",
        Verdict::Administrative => "verdict administrative",
        Verdict::Unauthorized => "verdict unauthorized",
        Verdict::SlowLane => "verdict slow-lane",
        Verdict::Redirected => "verdict redirected",
        Verdict::Untrusted => "verdict untrusted",
        Verdict::Stop => "verdict stop",
        _ => "verdict other",
    }
}

fn cause_mark(cause: &LossCause) -> &'static str {
    match cause.name() {
        "connection-refused" => "lost: connection-refused",
        "connect-timeout" => "lost: connect-timeout",
        "connack-timeout" => "lost: connack-timeout",
        "closed-before-connack" => "lost: closed-before-connack",
        "refused" => "lost: refused",
        "peer-closed" => "lost: peer-closed",
        "reset" => "lost: reset",
        "server-disconnect" => "lost: server-disconnect",
        "ping-timeout" => "lost: ping-timeout",
        "write-stall" => "lost: write-stall",
        "ack-timeout" => "lost: ack-timeout",
        "protocol-error" => "lost: protocol-error",
        "restart" => "lost: restart",
        "foreign-session" => "lost: foreign-session",
        "renewal" => "lost: renewal",
        "name-not-found" => "lost: name-not-found",
        "resolver-failed" => "lost: resolver-failed",
        "unreachable" => "lost: unreachable",
        "out-of-resources" => "lost: out-of-resources",
        "certificate-not-accepted" => "lost: certificate-not-accepted",
        "client-certificate-refused" => "lost: client-certificate-refused",
        "handshake-failed" => "lost: handshake-failed",
        "unauthorized" => "lost: unauthorized",
        "proxy-failed" => "lost: proxy-failed",
        "health-watch" => "lost: health-watch",
        _ => "lost: other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin_core::Window;

    /// A flight of a user may set every time as long as it likes.
    #[test]
    fn no_setting_is_too_long_to_be_judged() {
        let most = Duration::MAX;
        let window = Window { first: most / 2, cap: most, growth_percent: u32::MAX };
        let mut config = RecoveryConfig::default();
        (config.absent, config.overload, config.slow_lane) = (window, window, window);
        (config.absent_cap_long, config.spread, config.stable_after) = (most, most, most);
        (config.takeover_wait, config.banned_wait, config.administrative_wait) = (most, most, most);
        if let Some(budget) = &mut config.budget {
            (budget.period, budget.spacing) = (most, most);
        }
        let mut marks = Marks::default();
        for verdict in [
            Verdict::Overloaded,
            Verdict::Quarantine,
            Verdict::Takeover,
            Verdict::Banned,
            Verdict::Administrative,
            Verdict::Unauthorized,
            Verdict::SlowLane,
            Verdict::Absent,
            Verdict::Spread,
        ] {
            for lasted in [None, Some(most), Some(Duration::ZERO)] {
                let mut watch = Watch::default();
                for _ in 0..3 {
                    // What is found is not asked here: it must be found without a panic.
                    let retry = Some(Timestamp::from_micros(u64::MAX));
                    let cause = &LossCause::PeerClosed;
                    let _ = watch.lost(cause, verdict, lasted, retry, true, &config, 0, &mut marks);
                    let _ = watch.connects(&config, u64::MAX);
                }
            }
        }
    }
}
