//! Credentials that end: new ones are had before, and the link changes over on our own terms.
//!
//! ```text
//!   due ──► asked ──► renewed ──► the link has a method: AUTH on the same link (5.0)
//!    ▲        │          └──────► ready ──► the budget allows ──► draining ──► DISCONNECT, the next link at once
//!    └─ later ┘ failed
//! ```
//! DISCONNECT says 0x00: the will is not sent, because we are back at once and bring it again. The session stays as long
//! as CONNECT asked for.

use std::time::Duration;

use super::Engine;
use crate::codec::packet::Disconnect;
use crate::codec::reason::ReasonCode;
use crate::config::Login;
use crate::error::{LocalCause, LossCause};
use crate::event::Event;
use crate::link::Link;
use crate::time::{Now, TimerKind, Timestamp};

/// New credentials are asked for this long before the old ones end, or at nine tenths of their life if that is later:
/// a provider may be slow, and a broker's clock may be ahead of ours.
const MARGIN: Duration = Duration::from_secs(30);
/// A broker that ends the link this long after the known end of its credentials does so because of it. Many look only
/// now and then.
const GRACE: Duration = Duration::from_secs(60);
/// How long the change-over waits for acknowledgements, at most: what is unanswered then is sent again with DUP.
const DRAIN: Duration = Duration::from_secs(1);
/// The first wait after a provider failed is a quarter of the margin, at least this; it doubles up to the second.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// What is known about the end of the credentials in use.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    ends: Option<Timestamp>,
    margin: Duration,
    failures: u32,
    step: Step,
    /// Of the new credentials, while the link proves them: how long they are good for, and since when.
    next: Option<(Option<Duration>, Timestamp)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// Nothing is known to end, or there is no link to keep.
    #[default]
    Idle,
    Due(Timestamp),
    Asked,
    /// The new ones are at hand; the link goes on until the budget allows the next.
    Ready,
    Draining {
        until: Timestamp,
    },
}

impl Renewal {
    fn new(good_for: Option<Duration>, now: Timestamp) -> Self {
        // What has ended already says more about the clocks than about the credentials.
        let Some(life) = good_for.filter(|life| !life.is_zero()) else { return Self::default() };
        Self { ends: Some(now + life), margin: MARGIN.min(life / 10), ..Self::default() }
    }

    /// When to ask: a margin before the end. Later, but not in the last quarter of it, if links would otherwise begin
    /// faster than the budget lets them for ever.
    fn schedule(&mut self, pace: Timestamp) {
        self.step = match self.ends {
            Some(ends) => {
                let latest = before(ends, self.margin / 4);
                Step::Due(before(ends, self.margin).max(pace.min(latest)))
            }
            None => Step::Idle,
        };
    }

    /// The link is gone; whether it went because its credentials had ended is asked before.
    pub(super) fn link_down(&mut self) {
        self.step = Step::Idle;
        self.next = None;
    }

    /// The client is closing, and this link is the last one if it holds: it is not changed for another. An answer that is on
    /// its way is still taken, for the link that is opened where this one is lost first.
    pub(super) fn closing(&mut self) {
        if self.step != Step::Asked {
            self.link_down();
        }
    }

    /// Whether new messages are held back for a moment.
    pub(super) const fn is_draining(&self) -> bool {
        matches!(self.step, Step::Draining { .. })
    }

    /// The credentials of a link that opened then have just ended, or are about to.
    pub(super) fn has_ended(&self, up_since: Option<Timestamp>, now: Timestamp) -> bool {
        let (Some(ends), Some(up_since)) = (self.ends, up_since) else { return false };
        up_since < ends && before(ends, self.margin) <= now && now <= ends + GRACE
    }

    fn again_at(&mut self, now: Timestamp) -> Timestamp {
        let first = (self.margin / 4).max(AGAIN_FIRST);
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(AGAIN_MOST);
        self.failures = self.failures.saturating_add(1);
        now + pause
    }
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::ZERO + at.since(Timestamp::ZERO + by)
}

impl Engine {
    /// The credentials of the present attempt, or of the AUTH under way, are good for this long; `None` where nobody
    /// knows, which is the default. [`Event::RenewalDue`] tells when to get new ones.
    pub fn credentials_end(&mut self, good_for: Option<Duration>, now: Now) {
        self.advance(now);
        self.renewal = Renewal::new(good_for, now.mono);
        if self.is_up() {
            // The link stays, so there is no pace to keep.
            self.renewal.schedule(Timestamp::ZERO);
        }
    }

    /// Answers [`Event::RenewalDue`] with new credentials and how long they are good for; `None` where the
    /// application has only a method of enhanced authentication. Credentials that end no later than the old ones are no
    /// new ones: they are asked for again after a pause.
    pub fn renewed(&mut self, login: Option<Login>, good_for: Option<Duration>, now: Now) {
        self.advance(now);
        if self.renewal.step != Step::Asked || !self.is_up() {
            return;
        }
        // A server that has not answered the last AUTH is asked by a new link, where there is something to open it with.
        let proves = |link: &Link| link.auth_method.is_some() && !link.reauthenticating;
        let reauthenticates = self.closing.is_none() && self.link.as_ref().is_some_and(proves);
        let later = good_for.is_none_or(|life| self.renewal.ends.is_none_or(|ends| now.mono + life > ends));
        if !later || (login.is_none() && !reauthenticates) {
            self.renewal.step = Step::Due(self.renewal.again_at(now.mono));
            return;
        }
        if let Some(login) = login.filter(|_| !defect!(RenewedLoginForgotten)) {
            self.config.login = login;
        }
        if reauthenticates {
            self.renewal.next = Some((good_for, now.mono));
            self.tell(Event::ReauthenticationDue);
        } else {
            self.renewal.step = Step::Ready;
        }
    }

    /// Answers [`Event::RenewalDue`] or [`Event::ReauthenticationDue`]: there are no new credentials. They are asked for
    /// again while the link lives. False when none were asked for.
    pub fn renewal_failed(&mut self, now: Now) -> bool {
        self.advance(now);
        let asked = self.renewal.step == Step::Asked;
        if asked {
            self.renewal.next = None;
            self.renewal.step = Step::Due(self.renewal.again_at(now.mono));
        }
        asked
    }

    /// The proof of new credentials is on its way.
    pub(super) fn reauthentication_begun(&mut self) {
        if let Some((good_for, since)) = self.renewal.next.take() {
            self.renewal = Renewal::new(good_for, since);
            self.renewal.schedule(Timestamp::ZERO);
        }
    }

    /// A link opened with the credentials of its attempt.
    pub(super) fn plan_renewal(&mut self) {
        let pace = self.recovery.pace();
        self.renewal.schedule(pace);
    }

    pub(super) fn renewal_deadline(&self) -> Option<(Timestamp, TimerKind)> {
        if !self.is_up() || self.closing.is_some() || !self.config.recovery.reconnect {
            return None;
        }
        let at = match self.renewal.step {
            Step::Idle | Step::Asked => return None,
            Step::Due(at) => at,
            Step::Ready => self.recovery.free_at(),
            Step::Draining { until } => until,
        };
        Some((at, TimerKind::Renewal))
    }

    /// The next step, when it is due.
    pub(super) fn check_renewal(&mut self) {
        let now = self.now.mono;
        let Some((due, _)) = self.renewal_deadline() else { return };
        match self.renewal.step {
            Step::Due(_) if due <= now => {
                self.renewal.step = Step::Asked;
                self.tell(Event::RenewalDue);
            }
            Step::Ready if due <= now && defect!(NoChangeOver) => self.renewal.step = Step::Idle,
            Step::Ready if due <= now => {
                let ends = self.renewal.ends.unwrap_or(now).max(now);
                self.renewal.step = Step::Draining { until: ends.min(now + DRAIN) };
                self.change_over();
            }
            Step::Draining { .. } => self.change_over(),
            _ => {}
        }
    }

    /// Leaves the link in order once nothing is under way on it, or when it has waited long enough.
    fn change_over(&mut self) {
        let Step::Draining { until } = self.renewal.step else { return };
        let unwritten = self.link.as_ref().is_some_and(|link| link.liveness.unwritten() > 0);
        let in_flight = &self.session.outbox.in_flight;
        let under_way = in_flight.awaiting() > 0 || in_flight.has_resends() || in_flight.has_releases();
        if (unwritten || under_way || self.session.subscriptions.awaiting() > 0) && self.now.mono < until {
            return;
        }
        self.disconnect(Disconnect::new(ReasonCode::SUCCESS));
        self.lose(LossCause::Local(LocalCause::Renewal));
    }
}
