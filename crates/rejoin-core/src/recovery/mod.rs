//! What happens between links: when to try again, which server, and what to do differently.
//!
//! The table in `verdict.rs` says what the end of a link means; this module turns that into a moment. It sees
//! causes and time, never packets, and draws all its jitter from one seed: the same inputs give the same plan.

mod backoff;
mod budget;
mod chance;
mod servers;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use crate::codec::packet::Version;
use crate::codec::reason::ReasonCode;
use crate::common::Common;
use crate::config::{Follow, LinkConfig, RecoveryConfig, VersionPolicy, Window};
use crate::error::{LocalCause, LossCause, TransportErrorKind};
use crate::time::Timestamp;

use backoff::{Backoff, Draw};
use budget::Meter;
use chance::Chance;
use servers::Servers;
use verdict::{Facts, Life};

pub use crate::attempt::Attempt;
pub(crate) use verdict::is_by_peer;
pub use verdict::{Adapt, Verdict, why};

/// Refusals of fresh credentials in a row that are worth another try; then it is not the token's age.
const FRESH_CREDENTIALS_TRIES: u32 = 3;
/// A process that was killed is out of its listening socket within this.
const ON_ITS_WAY_OUT: Duration = Duration::from_secs(1);
/// Links of 3.1.1 closed soon after CONNACK, in a row, before a suspicion is worth naming [MQTT311-3.1.4-2].
const CLOSED_SOON_BEFORE_SUSPICION: u32 = 3;

/// What the link knows of its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossContext {
    /// How long the link was open; `None` when it never was.
    pub lasted: Option<Duration>,
    /// QoS 1 or 2 messages, or wishes to receive, were sent on it and not answered.
    pub unacked: bool,
    /// The version spoken on it.
    pub version: Version,
    /// We saw the end ourselves (a time-out, an address that went away), so other clients were not cut with us.
    pub local_evidence: bool,
    /// The credentials it was opened with have just ended, or were about to.
    pub credentials_ended: bool,
    /// What proves who we are can only be said at 5.0, and going without is no fall-back.
    pub needs_v5: bool,
}

/// When the next attempt comes, and why then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the end of the link means.
    pub verdict: Verdict,
    /// When the next attempt is due; `None` when there is none: stopped for good.
    pub retry_at: Option<Timestamp>,
    /// Index of the server it goes to.
    pub server: usize,
    /// The budget, not the back-off, decides when.
    pub held_by_budget: bool,
    /// Trying again is not expected to help by itself.
    pub slow_lane: bool,
    /// What to do differently from now on.
    pub adapt: Option<Adapt>,
    /// What speaks for another client with our id, or for a message the broker does not bear, in words.
    pub conflict: Option<String>,
    /// What a person can do about it, where there is more to say than the verdict does.
    pub note: Option<String>,
    /// The window the wait was drawn from; zero for an attempt at once.
    pub window: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting { until: Timestamp, held: bool, slow: bool },
    Connecting,
    Open,
    Stopped,
}

/// The state machine between links.
#[derive(Clone, Debug)]
pub struct Recovery {
    config: Common<RecoveryConfig>,
    policy: VersionPolicy,
    chance: Chance,
    servers: Servers,
    budget: Meter,
    phase: Phase,
    absent: Backoff,
    overload: Backoff,
    slow: Backoff,
    banned: Backoff,
    /// For credentials that could not be had: no server is to blame, so none is waited for longer because of it.
    credentials: Backoff,
    /// The window waited out last, of the two back-offs: how long a link must live depends on it.
    last_window: Duration,
    /// The end of the last stable link, or the start.
    outage_since: Timestamp,
    /// The last link was stable and its peer ended it.
    cut_by_peer: bool,
    attempts: u32,
    takeovers: u32,
    credentials_tried: u32,
    /// The server that the broker named with its last word, if it may be followed.
    named: Option<usize>,
    /// Redirects followed since the last stable link.
    redirects: u32,
}

impl Recovery {
    /// A machine at rest; [`Recovery::start`] begins. `servers` is their number (at least one is assumed), `seed`
    /// decides all jitter and the order of a shuffled pool.
    pub fn new(
        config: &Common<RecoveryConfig>,
        link: &LinkConfig,
        version: VersionPolicy,
        servers: usize,
        seed: u64,
    ) -> Self {
        let mut chance = Chance::new(seed);
        let servers = Servers::new(servers, config.servers, link, &mut chance);
        Self {
            policy: version,
            servers,
            chance,
            budget: Meter::new(config.budget),
            phase: Phase::Idle,
            absent: Backoff::default(),
            overload: Backoff::default(),
            slow: Backoff::default(),
            banned: Backoff::default(),
            credentials: Backoff::default(),
            last_window: Duration::ZERO,
            outage_since: Timestamp::ZERO,
            cut_by_peer: false,
            attempts: 0,
            takeovers: 0,
            credentials_tried: 0,
            named: None,
            redirects: 0,
            config: config.clone(),
        }
    }

    /// The last link of an earlier process was to this server: its session lives there. To be called before
    /// [`Recovery::start`].
    pub fn begin_at(&mut self, server: usize) {
        self.servers.begin_at(server);
    }

    /// Begins: the first attempt is due at once.
    pub fn start(&mut self, now: Timestamp) -> Plan {
        self.outage_since = now;
        self.cut_by_peer = false;
        self.plan(Verdict::Now, Some(Draw::AT_ONCE), now)
    }

    /// When the next attempt is due, the budget included; `None` while connecting, open or stopped.
    pub const fn due(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            _ => None,
        }
    }

    /// An attempt begins.
    pub fn begin_attempt(&mut self, _now: Timestamp) -> Attempt {
        self.phase = Phase::Connecting;
        self.attempts = self.attempts.saturating_add(1);
        let (number, server, policy) = (self.attempts, self.servers.current(), self.policy);
        let known = self.servers.now();
        Attempt {
            number,
            server,
            version: known.version(policy),
            connect_limit: known.connect_limit(),
            connack_limit: known.connack_limit(),
            clean_of_aliases: known.aliases_off,
            window_halvings: known.window_halvings,
            ping_quarters: known.ping_quarters,
        }
    }

    /// The transport opened: the attempt reached a broker and is charged to the budget.
    pub fn reached_broker(&mut self, now: Timestamp) {
        self.budget.charge(now);
        self.servers.now().transport_opened();
    }

    /// An attempt of an earlier process reached a broker that long ago. To be called before [`Recovery::start`], the
    /// oldest first: a program that is restarted in a loop must not storm either.
    pub fn recall_attempt(&mut self, age: Duration, now: Timestamp) {
        self.budget.recall(age, now);
    }

    /// CONNACK came with success.
    pub fn link_up(&mut self, _now: Timestamp) {
        self.phase = Phase::Open;
        let version = self.version_for(self.servers.current());
        self.servers.link_opened(version);
    }

    /// A link or an attempt ended. Decides what comes next.
    pub fn lost(&mut self, cause: &LossCause, context: LossContext, now: Timestamp) -> Plan {
        if self.phase == Phase::Stopped {
            return self.plan(Verdict::Stop, None, now);
        }
        let context = LossContext {
            credentials_ended: context.credentials_ended && verdict::may_end_credentials(cause),
            ..context
        };
        let life = self.life(context.lasted);
        let nth = self.remember(cause, &context, life, now);
        let facts = Facts {
            life,
            nth,
            unacked: context.unacked,
            credentials_ended: context.credentials_ended,
            fresh_credentials: self.config.fresh_credentials
                && self.credentials_tried < FRESH_CREDENTIALS_TRIES,
            may_speak_v311: !context.needs_v5 && self.may_speak_v311(cause, context.version),
            another_server: self.servers.has_untried(),
            just_cut: self.just_cut(now),
            named_server: self.named.is_some() && self.redirects < Follow::REDIRECTS,
            herd: self.config.fleet && !context.local_evidence && !matches!(cause, LossCause::Local(_)),
        };
        let judged = verdict::judge(cause, &facts);
        let verdict = self.allowed(judged.verdict, cause);
        let draw = self.draw(verdict, cause, life, now);
        if life == Life::Stable && verdict != Verdict::SlowLane {
            self.slow.reset();
        }
        self.servers.now().adapt(judged.adapt, life == Life::Stable);
        let conflict = self.conflict(cause, &context, nth);
        self.choose_server(verdict, cause, life, judged.stay, now);
        Plan { adapt: judged.adapt, conflict, note: note(cause), ..self.plan(verdict, draw, now) }
    }

    /// Stops waiting: the next attempt is due now, or when the budget allows, and the slow lane is left. Returns
    /// when; `None` where nothing waits.
    pub fn nudge(&mut self, now: Timestamp) -> Option<Timestamp> {
        let Phase::Waiting { slow, .. } = self.phase else { return None };
        if slow {
            self.slow.reset();
        }
        let until = self.budget.free_at().max(now);
        self.phase = Phase::Waiting { until, held: until > now, slow: false };
        Some(until)
    }

    /// One more server, that a broker named; gives its index.
    pub fn add_server(&mut self, link: &LinkConfig) -> usize {
        self.servers.add(link)
    }

    /// The cause told next names this server, which may be followed.
    pub const fn name_server(&mut self, server: usize) {
        self.named = Some(server);
    }

    /// The first moment another attempt may reach a broker; in the past when it may now.
    pub fn free_at(&self) -> Timestamp {
        self.budget.free_at()
    }

    /// When the next attempt would keep the pace that the budget bears for ever.
    pub const fn pace(&self) -> Timestamp {
        self.budget.pace()
    }

    /// No more attempts.
    pub const fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }

    /// Whether there will be no more attempts.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Attempts begun since the last link, the present one included.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The budget, not the back-off, decides when the next attempt comes.
    pub const fn held_by_budget(&self) -> bool {
        matches!(self.phase, Phase::Waiting { held: true, .. })
    }

    /// Between rare attempts, because trying again is not expected to help by itself.
    pub const fn in_slow_lane(&self) -> bool {
        matches!(self.phase, Phase::Waiting { slow: true, .. })
    }

    /// Index of the server in use, or tried next.
    pub const fn server(&self) -> usize {
        self.servers.current()
    }

    /// The version the next attempt on this server speaks.
    pub fn version_for(&self, server: usize) -> Version {
        match self.servers.at(server) {
            Some(known) => known.version(self.policy),
            None if self.policy == VersionPolicy::Only311 => Version::V311,
            None => Version::V5,
        }
    }

    /// The attempt under way must speak 5.0 whatever was learnt of this server: its login cannot be sent at 3.1.1.
    pub fn must_speak_v5(&mut self) {
        self.servers.now().forget_version();
    }

    fn just_cut(&self, now: Timestamp) -> bool {
        let at_once = now.since(self.outage_since) <= ON_ITS_WAY_OUT;
        self.cut_by_peer && self.attempts == 1 && at_once && self.servers.at_home()
    }

    fn life(&self, lasted: Option<Duration>) -> Life {
        let enough = self.config.stable_after.max(self.last_window.saturating_mul(2));
        match lasted {
            None => Life::Never,
            Some(lasted) if lasted >= enough || defect!(BackoffResetEarly) => Life::Stable,
            Some(_) => Life::Short,
        }
    }

    /// Books the end and returns how often in a row it came to this.
    fn remember(&mut self, cause: &LossCause, context: &LossContext, life: Life, now: Timestamp) -> u32 {
        // One duel as long as no link lives longer than that: waiting in the slow lane ends no duel.
        if context.lasted.is_some_and(|lasted| lasted >= self.config.takeover_memory) {
            self.takeovers = 0;
        }
        if life != Life::Never {
            self.attempts = 0;
            self.cut_by_peer = life == Life::Stable && is_by_peer(cause);
        }
        if life == Life::Stable {
            self.outage_since = now;
            self.last_window = Duration::ZERO;
            self.absent.reset();
            self.overload.reset();
            self.banned.reset();
            self.credentials.reset();
            self.credentials_tried = 0;
            self.redirects = 0;
            self.servers.now().settled();
        }
        if context.credentials_ended {
            // They were good to their end: nothing speaks against the next ones, nor against the server.
            self.credentials_tried = 0;
        } else if !matches!(cause, LossCause::Local(_)) && !no_credentials(cause) && life != Life::Stable {
            self.servers.now().troubled(now);
        }
        let nth = match life {
            Life::Never if no_credentials(cause) => return 1,
            Life::Never => self.servers.now().attempt_failed(cause, context.version),
            Life::Short | Life::Stable => self.servers.now().link_cut(cause),
        };
        if !is_takeover(cause) {
            return nth;
        }
        // Who was never in cannot be put out.
        if context.lasted.is_none() {
            return 1;
        }
        self.takeovers = self.takeovers.saturating_add(1);
        self.takeovers
    }

    fn may_speak_v311(&mut self, cause: &LossCause, spoken: Version) -> bool {
        self.policy == VersionPolicy::Prefer5
            && verdict::asks_about_the_version(cause, spoken)
            && self.servers.now().may_speak_v311(cause)
    }

    /// The table's verdict under the settings that overrule it.
    fn allowed(&self, verdict: Verdict, cause: &LossCause) -> Verdict {
        // Another version, and ending a foreign session, are the second half of opening; a restart was asked for.
        let goes_on = match cause {
            LossCause::Local(LocalCause::Restart) => true,
            // Not for ever: somebody else makes it anew each time.
            LossCause::Local(LocalCause::ForeignSession) => verdict == Verdict::Now,
            _ => verdict == Verdict::Adapt(Adapt::SpeakV311),
        };
        if !self.config.reconnect && !goes_on || self.config.give_up && verdict == Verdict::SlowLane {
            return Verdict::Stop;
        }
        verdict
    }

    /// The wait of a verdict, and what follows from giving it. `None` is for ever.
    fn draw(&mut self, verdict: Verdict, cause: &LossCause, life: Life, now: Timestamp) -> Option<Draw> {
        let chance = &mut self.chance;
        let config = &self.config;
        Some(match verdict {
            Verdict::Now | Verdict::Redirected => Draw::AT_ONCE,
            Verdict::Spread => Draw::between(Duration::ZERO, config.spread, chance),
            Verdict::NextServer if life == Life::Never => Draw::AT_ONCE,
            // Told while the link was open, so told to everybody: all of them go to the same next server.
            Verdict::NextServer => Draw::between(Duration::ZERO, config.spread, chance),
            Verdict::Quarantine if life == Life::Stable => Draw::AT_ONCE,
            Verdict::Quarantine if life == Life::Short && defect!(QuarantineNotWaited) => Draw::AT_ONCE,
            Verdict::Absent => self.draw_absent(cause, now),
            Verdict::Overloaded | Verdict::Quarantine => self.draw_overload(),
            Verdict::Credentials => {
                self.credentials_tried = self.credentials_tried.saturating_add(1);
                Draw::AT_ONCE
            }
            Verdict::Adapt(adapt) => self.draw_adapted(adapt, cause),
            Verdict::Takeover => {
                let low = config.takeover_wait.saturating_mul(self.takeovers.clamp(1, 2));
                Draw::between(low, low.saturating_mul(3), chance)
            }
            Verdict::Banned => {
                let ban = config.banned_wait;
                let window = Window { first: ban, growth_percent: 200, cap: ban.saturating_mul(12) };
                self.banned.at_least(window, chance)
            }
            Verdict::Administrative => {
                let low = config.administrative_wait;
                Draw::between(low, low.saturating_mul(2), chance)
            }
            Verdict::Unauthorized | Verdict::Untrusted => {
                let low = config.overload.cap;
                Draw::between(low, low.saturating_add(low / 2), chance)
            }
            Verdict::SlowLane => self.slow.upper_half(config.slow_lane, chance),
            Verdict::Stop => return None,
        })
    }

    fn draw_absent(&mut self, cause: &LossCause, now: Timestamp) -> Draw {
        let outage = now.since(self.outage_since);
        let long = outage >= self.config.long_outage;
        let absent = self.config.absent;
        let cap = if long { self.config.absent_cap_long } else { absent.cap };
        if no_credentials(cause) {
            return self.credentials.full_jitter(absent, cap, outage, &mut self.chance);
        }
        let mut draw = self.absent.full_jitter(absent, cap, outage, &mut self.chance);
        if let LossCause::Open { error, .. } = cause
            && error.kind == TransportErrorKind::Resources
        {
            // Our own machine is short of something; asking it again at once makes that worse.
            draw.wait = draw.wait.max(absent.first / 2);
        }
        self.last_window = draw.window;
        draw
    }

    fn draw_overload(&mut self) -> Draw {
        let mut draw = self.overload.upper_half(self.config.overload, &mut self.chance);
        if defect!(OverloadNotWaited) {
            draw.wait = Duration::ZERO;
        }
        self.last_window = draw.window;
        draw
    }

    fn draw_adapted(&mut self, adapt: Adapt, cause: &LossCause) -> Draw {
        if adapt != Adapt::SpeakV311 {
            return Draw::AT_ONCE;
        }
        let told = matches!(cause, LossCause::Refused { .. });
        let first = self.servers.now().fall_back(told);
        // Guessing a second time costs the broker another connection: no hurry.
        if told || first { Draw::AT_ONCE } else { self.draw_overload() }
    }

    fn choose_server(&mut self, verdict: Verdict, cause: &LossCause, life: Life, stay: bool, now: Timestamp) {
        let named = self.named.take();
        match verdict {
            Verdict::NextServer => return self.servers.pass_over(now),
            Verdict::Redirected => {
                let for_good = cause.reason_code() == Some(ReasonCode::SERVER_MOVED);
                self.redirects = self.redirects.saturating_add(1);
                let to = named.filter(|_| !defect!(RedirectNotFollowed));
                return to.map_or((), |to| self.servers.redirected(to, for_good));
            }
            Verdict::Now | Verdict::Credentials | Verdict::Adapt(_) => return,
            Verdict::Absent if no_credentials(cause) => return,
            Verdict::Absent if life == Life::Never => self.servers.go_home(),
            // The duel is about our session, which lives here.
            Verdict::SlowLane if is_takeover(cause) => {}
            Verdict::Overloaded if stay => self.servers.prefer_another_if_it_never_holds(now),
            Verdict::Overloaded
            | Verdict::Banned
            | Verdict::Unauthorized
            | Verdict::Untrusted
            | Verdict::SlowLane => self.servers.prefer_another(now),
            _ => {}
        }
        self.servers.new_round();
    }

    /// Evidence for another client with our id. At 3.1.1 it can only be guessed, and nothing stops on a guess.
    fn conflict(&mut self, cause: &LossCause, context: &LossContext, nth: u32) -> Option<String> {
        if matches!(cause, LossCause::Local(LocalCause::ForeignSession)) {
            return (nth >= verdict::FOREIGN_AGAIN).then(|| {
                format!(
                    "the broker has a session that is not ours again and again though we end it ({nth} attempts in a \
                     row): it may be another client with the same id; give each client its own"
                )
            });
        }
        let lasted = context.lasted?;
        if is_takeover(cause) {
            return (nth >= 3).then(|| {
                format!(
                    "another client connects with the same client id: the session was taken over {nth} times; \
                     the last link lived {lasted:.1?}; give each client its own id"
                )
            });
        }
        // The first wait of a duel measures how fast the other side fights; both scale together.
        let soon = verdict::is_closed(cause)
            && !context.credentials_ended
            && context.version == Version::V311
            && lasted < self.config.takeover_wait;
        let times = self.servers.now().closed_soon(soon);
        (times >= CLOSED_SOON_BEFORE_SUSPICION).then(|| {
            let or = if context.unacked { ", or a message or subscription the broker refuses" } else { "" };
            format!(
                "{times} links in a row were closed soon after CONNACK: it may be another client with the same \
                 id{or}; MQTT 3.1.1 brokers do not say"
            )
        })
    }

    fn plan(&mut self, verdict: Verdict, draw: Option<Draw>, now: Timestamp) -> Plan {
        let slow_lane = verdict == Verdict::SlowLane;
        let mut held_by_budget = false;
        let retry_at = draw.map(|draw| {
            let (wanted, free) = (now + draw.wait, self.budget.free_at());
            held_by_budget = free > wanted;
            wanted.max(free)
        });
        self.phase = match retry_at {
            Some(until) => Phase::Waiting { until, held: held_by_budget, slow: slow_lane },
            None => Phase::Stopped,
        };
        Plan {
            verdict,
            retry_at,
            server: self.servers.current(),
            held_by_budget,
            slow_lane,
            adapt: None,
            conflict: None,
            note: None,
            window: draw.map_or(Duration::ZERO, |draw| draw.window),
        }
    }
}

/// The application gave no credentials, so no server was asked.
fn no_credentials(cause: &LossCause) -> bool {
    matches!(cause, LossCause::Open { error, .. } if error.kind == TransportErrorKind::Credentials)
}

fn is_takeover(cause: &LossCause) -> bool {
    matches!(cause, LossCause::ServerDisconnect { reason, .. } if *reason == ReasonCode::SESSION_TAKEN_OVER)
}

fn note(cause: &LossCause) -> Option<String> {
    let (LossCause::Refused { server_reference, .. } | LossCause::ServerDisconnect { server_reference, .. }) =
        cause
    else {
        return None;
    };
    let server = server_reference.as_ref()?;
    Some(format!("the server names another one: \"{}\"", server.escape_debug()))
}
