//! The pool: which server is tried next, and what was learnt about each.

use std::time::Duration;

use super::chance::Chance;
use super::verdict::Adapt;
use crate::codec::packet::Version;
use crate::codec::reason::ReasonCode;
use crate::config::{LinkConfig, ServerPolicy, VersionPolicy};
use crate::error::{LossCause, TransportErrorKind};
use crate::time::Timestamp;

/// No limit grows beyond this, unless the settings ask for more to begin with.
const LONGEST_LIMIT: Duration = Duration::from_secs(60);
/// The limit of opening grows no further than this: who waits for a SYN to be answered holds no place in the
/// broker's queue, and the kernel's next repetition is eight seconds away.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);
/// An attempt that was not let into the queue makes the limit of waiting in it no longer than this.
const LONGEST_UNSEEN: Duration = Duration::from_secs(30);
/// Nor beyond this many times its setting, so that scaled-down settings stay scaled down.
const LIMIT_GROWTH: u32 = 10;
/// So many attempts closed straight after CONNECT, where 5.0 never worked, are worth a try with 3.1.1.
const CLOSES_BEFORE_V311: u32 = 2;
/// What is held against a server counts half after this time, and is forgotten when less than a half is left.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Failures beyond this many add nothing.
const MOST_TROUBLE: u32 = 8;
/// After so many steps there is nothing left of a window to halve, nor of the silence before a ping.
const MOST_STEPS: u32 = 15;
/// After so many links in a row that did not live, another server is preferred. Not after the first: the session
/// lives on this one.
const SHORT_LIVES_BEFORE_MOVING: u32 = 3;

/// The limit of one stage. Doubled on each expiry: leaving a broker's queue too early wastes the slot and, with
/// enough clients, keeps the broker busy with the dead for ever. Halved on success.
#[derive(Clone, Copy, Debug)]
struct Limit {
    set: Duration,
    now: Duration,
    most: Duration,
}

impl Limit {
    fn new(set: Duration, longest: Duration) -> Self {
        Self { set, now: set, most: longest.min(set.saturating_mul(LIMIT_GROWTH)).max(set) }
    }

    fn expired(&mut self) {
        self.expired_within(self.most);
    }

    fn expired_within(&mut self, most: Duration) {
        self.now = self.now.saturating_mul(2).min(self.most).min(most.max(self.now));
    }

    fn held(&mut self) {
        self.now = (self.now / 2).max(self.set);
    }
}

/// What is known of the version a server speaks, under [`VersionPolicy::Prefer5`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// Nothing yet: 5.0 is tried.
    Unknown,
    /// A 5.0 link was open once.
    V5,
    /// 5.0 was closed without a word; 3.1.1 is tried once.
    MaybeV311,
    /// It said so, or a 3.1.1 link was open.
    V311,
}

/// The same cause, how often in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    of: Option<(&'static str, Option<ReasonCode>)>,
    times: u32,
}

impl Run {
    fn count(&mut self, cause: &LossCause) -> u32 {
        let of = Some((cause.name(), cause.reason_code()));
        self.times = if self.of == of { self.times.saturating_add(1) } else { 1 };
        self.of = of;
        self.times
    }
}

/// What was learnt about one server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    speaks: Speaks,
    /// 5.0 attempts in a row closed straight after CONNECT, since 3.1.1 was last tried.
    closed_at_v5: u32,
    /// How many of them it takes; doubles each time 3.1.1 did no better.
    closes_before_v311: u32,
    pub(super) aliases_off: bool,
    /// See [`crate::recovery::Attempt`].
    pub(super) window_halvings: u32,
    pub(super) ping_quarters: u32,
    /// Links in a row that did not live.
    short_lives: u32,
    /// Links in a row that the peer closed soon after CONNACK.
    closed_soon: u32,
    refusals: Run,
    cuts: Run,
    /// Failures, with the time of the last one.
    trouble: (u32, Timestamp),
    tried: bool,
    connect: Limit,
    connack: Limit,
}

impl Server {
    fn new(link: &LinkConfig) -> Self {
        Self {
            speaks: Speaks::Unknown,
            closed_at_v5: 0,
            closes_before_v311: CLOSES_BEFORE_V311,
            aliases_off: false,
            window_halvings: 0,
            ping_quarters: 0,
            short_lives: 0,
            closed_soon: 0,
            refusals: Run::default(),
            cuts: Run::default(),
            trouble: (0, Timestamp::ZERO),
            tried: false,
            connect: Limit::new(link.connect_timeout, LONGEST_CONNECT),
            connack: Limit::new(link.connack_timeout, LONGEST_LIMIT),
        }
    }

    pub(super) const fn connect_limit(&self) -> Duration {
        self.connect.now
    }

    pub(super) const fn connack_limit(&self) -> Duration {
        self.connack.now
    }

    pub(super) const fn version(&self, policy: VersionPolicy) -> Version {
        match (policy, self.speaks) {
            (VersionPolicy::Only311, _) | (VersionPolicy::Prefer5, Speaks::MaybeV311 | Speaks::V311) => {
                Version::V311
            }
            (VersionPolicy::Only5, _) | (VersionPolicy::Prefer5, Speaks::Unknown | Speaks::V5) => Version::V5,
        }
    }

    /// Failures that still count.
    fn trouble(&self, now: Timestamp) -> u32 {
        let (failures, last) = self.trouble;
        let halves = now.since(last).as_secs_f64() / HALF_LIFE.as_secs_f64();
        // Between 0 and MOST_TROUBLE.
        (f64::from(failures) * 0.5_f64.powf(halves) + 0.5) as u32
    }

    /// An attempt or a link of this server ended in a way that speaks against it.
    pub(super) fn troubled(&mut self, now: Timestamp) {
        self.trouble = ((self.trouble(now) + 1).min(MOST_TROUBLE), now);
    }

    pub(super) fn transport_opened(&mut self) {
        self.connect.held();
    }

    pub(super) fn link_opened(&mut self, version: Version) {
        self.connack.held();
        self.refusals = Run::default();
        self.closed_at_v5 = 0;
        self.closes_before_v311 = CLOSES_BEFORE_V311;
        self.speaks = match version {
            Version::V5 => Speaks::V5,
            Version::V311 => Speaks::V311,
        };
    }

    /// An attempt failed. Returns how often in a row this server failed like this.
    pub(super) fn attempt_failed(&mut self, cause: &LossCause, version: Version) -> u32 {
        match cause {
            LossCause::ConnectTimeout(_) => self.not_let_in(),
            LossCause::ConnackTimeout(_) => self.connack.expired(),
            LossCause::Open { stage, error } if error.kind == TransportErrorKind::TimedOut => {
                if stage.is_handshake() { self.connack.expired() } else { self.not_let_in() }
            }
            _ => {}
        }
        let closed = matches!(cause, LossCause::ClosedBeforeConnack);
        match version {
            Version::V5 if closed => self.closed_at_v5 = self.closed_at_v5.saturating_add(1),
            Version::V5 => self.closed_at_v5 = 0,
            Version::V311 => self.v311_failed(cause),
        }
        self.refusals.count(cause)
    }

    /// A SYN without an answer says that the queue is full. Who gets into it next stands in all of it, and would waste
    /// one place to learn that.
    fn not_let_in(&mut self) {
        self.connect.expired();
        self.connack.expired_within(LONGEST_UNSEEN);
    }

    /// 3.1.1 did not help, so it was not the version: 5.0 again. Whoever answers in 3.1.1 speaks it, though.
    fn v311_failed(&mut self, cause: &LossCause) {
        match cause {
            LossCause::Refused { reason, .. } if *reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => {
                self.speaks = Speaks::Unknown;
            }
            LossCause::Refused { .. } if self.speaks == Speaks::MaybeV311 => self.speaks = Speaks::V311,
            LossCause::ClosedBeforeConnack | LossCause::ConnackTimeout(_) | LossCause::Protocol(_)
                if self.speaks == Speaks::MaybeV311 =>
            {
                self.speaks = Speaks::Unknown;
            }
            _ => {}
        }
    }

    /// A link that was open ended early. Returns how often in a row this server ended one like this.
    pub(super) fn link_cut(&mut self, cause: &LossCause) -> u32 {
        self.short_lives = self.short_lives.saturating_add(1);
        self.cuts.count(cause)
    }

    /// A link was stable: whatever went wrong before is over.
    pub(super) fn settled(&mut self) {
        self.short_lives = 0;
        self.trouble.0 = 0;
        self.refusals = Run::default();
        self.cuts = Run::default();
    }

    /// What links of this server do differently from now on. Whatever makes them slower is taken back by a step with each
    /// that held and ended for another reason: one that was blamed for a bad day is not slow for ever.
    pub(super) fn adapt(&mut self, adapt: Option<Adapt>, held: bool) {
        self.aliases_off |= adapt == Some(Adapt::AliasesOff);
        let step = |steps: u32, blamed: bool| match (blamed, held) {
            (true, _) => (steps + 1).min(MOST_STEPS),
            (false, true) => steps.saturating_sub(1),
            (false, false) => steps,
        };
        self.window_halvings = step(self.window_halvings, adapt == Some(Adapt::HalveWindow));
        self.ping_quarters = step(self.ping_quarters, adapt == Some(Adapt::PingMoreOften));
    }

    /// Counts links that the peer closed soon after CONNACK.
    pub(super) fn closed_soon(&mut self, it_did: bool) -> u32 {
        self.closed_soon = if it_did { self.closed_soon.saturating_add(1) } else { 0 };
        self.closed_soon
    }

    /// Whether this failure at 5.0 allows a try with 3.1.1: an explicit refusal does, and so does silence where
    /// 5.0 never worked.
    pub(super) fn may_speak_v311(&self, cause: &LossCause) -> bool {
        match cause {
            LossCause::ClosedBeforeConnack => {
                self.speaks == Speaks::Unknown && self.closed_at_v5 >= self.closes_before_v311
            }
            _ => true,
        }
    }

    /// 5.0 is spoken again, and what becomes of it is learnt anew.
    pub(super) const fn forget_version(&mut self) {
        self.speaks = Speaks::Unknown;
    }

    /// 3.1.1 is spoken from here on: for good when the server said so, for one try otherwise. Returns whether
    /// this is the first time.
    pub(super) fn fall_back(&mut self, told: bool) -> bool {
        let first = self.closes_before_v311 == CLOSES_BEFORE_V311;
        if told {
            self.speaks = Speaks::V311;
        } else {
            self.speaks = Speaks::MaybeV311;
            self.closes_before_v311 = self.closes_before_v311.saturating_mul(2);
        }
        self.closed_at_v5 = 0;
        first
    }
}

/// The servers in the order they are tried. A *round* lasts until a window is waited out: within it, a server
/// that is not there is passed over at once, each server once.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    list: Vec<Server>,
    order: Vec<usize>,
    current: usize,
    policy: ServerPolicy,
    /// Where the last link was: its session lives there, so a new round begins there.
    home: Option<usize>,
}

impl Servers {
    pub(super) fn new(count: usize, policy: ServerPolicy, link: &LinkConfig, chance: &mut Chance) -> Self {
        let mut order: Vec<usize> = (0..count.max(1)).collect();
        if policy == ServerPolicy::Shuffled {
            chance.shuffle(&mut order);
        }
        let current = order.first().copied().unwrap_or(0);
        Self { list: order.iter().map(|_| Server::new(link)).collect(), order, current, policy, home: None }
    }

    /// The last link was on this server.
    pub(super) fn begin_at(&mut self, server: usize) {
        self.home = Some(server);
        self.go_home();
    }

    /// Index of the server in use or tried next.
    pub(super) const fn current(&self) -> usize {
        self.current
    }

    /// What is known of the server in use.
    pub(super) fn now(&mut self) -> &mut Server {
        &mut self.list[self.current]
    }

    pub(super) fn at(&self, index: usize) -> Option<&Server> {
        self.list.get(index)
    }

    fn after_current(&self) -> impl Iterator<Item = usize> {
        let here = self.order.iter().position(|&s| s == self.current).unwrap_or(0);
        self.order.iter().cycle().skip(here + 1).take(self.order.len() - 1).copied()
    }

    /// The healthiest of these, the first of them where several are.
    fn healthiest(&self, of: impl Iterator<Item = usize>, now: Timestamp) -> Option<usize> {
        of.min_by_key(|&server| self.list[server].trouble(now))
    }

    fn untried(&self) -> impl Iterator<Item = usize> {
        self.after_current().filter(|&server| !self.list[server].tried)
    }

    /// Whether another server is left in this round.
    pub(super) fn has_untried(&self) -> bool {
        self.untried().next().is_some()
    }

    /// Passes the present server over within the round.
    pub(super) fn pass_over(&mut self, now: Timestamp) {
        self.now().tried = true;
        if let Some(next) = self.healthiest(self.untried(), now) {
            self.current = next;
        }
    }

    /// A window is waited out: everybody may be tried again.
    pub(super) fn new_round(&mut self) {
        for server in &mut self.list {
            server.tried = false;
        }
    }

    /// Whether the last link was on the present server.
    pub(super) fn at_home(&self) -> bool {
        self.home == Some(self.current)
    }

    /// The next round begins at home, or else with the first choice.
    pub(super) fn go_home(&mut self) {
        let home = self.home.filter(|_| self.policy != ServerPolicy::Ordered);
        self.current = home.or_else(|| self.order.first().copied()).unwrap_or(0);
    }

    /// The next round begins with another server, where there is one.
    pub(super) fn prefer_another(&mut self, now: Timestamp) {
        let next = self.healthiest(self.after_current(), now);
        self.current = next.unwrap_or(self.current);
    }

    /// One more server, that a broker named. Tried in its turn after all others.
    pub(super) fn add(&mut self, link: &LinkConfig) -> usize {
        let index = self.list.len();
        self.list.push(Server::new(link));
        self.order.push(index);
        index
    }

    /// The broker named this server; for good, if its place is taken by it.
    pub(super) fn redirected(&mut self, to: usize, for_good: bool) {
        if for_good && self.order.contains(&to) {
            self.order.retain(|&server| server != to);
            self.order.insert(0, to);
            self.home = None;
        }
        self.current = to;
    }

    /// As `prefer_another`, but a server that keeps cutting links is given up only after a while.
    pub(super) fn prefer_another_if_it_never_holds(&mut self, now: Timestamp) {
        if self.now().short_lives >= SHORT_LIVES_BEFORE_MOVING {
            self.prefer_another(now);
        }
    }

    pub(super) fn link_opened(&mut self, version: Version) {
        self.new_round();
        self.home = Some(self.current);
        self.now().link_opened(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::new(&LinkConfig::default())
    }

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_is_held_against_a_server_halves_each_minute_and_is_forgotten() {
        let mut server = server();
        assert_eq!(server.trouble(at(10)), 0);
        server.troubled(at(10));
        assert_eq!([10, 70, 71].map(|now| server.trouble(at(now))), [1, 1, 0]);
        for _ in 0..7 {
            server.troubled(at(10));
        }
        assert_eq!([10, 70, 130, 190, 250, 251].map(|now| server.trouble(at(now))), [8, 4, 2, 1, 1, 0]);
        server.troubled(at(10));
        assert_eq!(server.trouble(at(10)), 8, "more adds nothing");
        // What is added is added to what is left.
        server.troubled(at(70));
        assert_eq!(server.trouble(at(70)), 5);
        server.settled();
        assert_eq!(server.trouble(at(70)), 0);
    }

    #[test]
    fn the_healthiest_comes_next_and_the_first_of_equals() {
        let mut chance = Chance::new(1);
        let mut servers = Servers::new(4, ServerPolicy::default(), &LinkConfig::default(), &mut chance);
        servers.list[1].troubled(at(0));
        servers.list[1].troubled(at(0));
        servers.list[3].troubled(at(0));
        servers.prefer_another(at(0));
        assert_eq!(servers.current(), 2);
        servers.prefer_another(at(0));
        assert_eq!(servers.current(), 0);
        // Within a round each is passed over once.
        let mut order = Vec::new();
        while servers.has_untried() {
            servers.pass_over(at(0));
            order.push(servers.current());
        }
        assert_eq!(order, [2, 3, 1]);
        servers.pass_over(at(0));
        assert_eq!(servers.current(), 1, "nobody is left");
        servers.new_round();
        assert!(servers.has_untried());
    }

    #[test]
    fn a_server_alone_has_nobody_to_pass_over_to() {
        let mut chance = Chance::new(1);
        let mut servers = Servers::new(0, ServerPolicy::default(), &LinkConfig::default(), &mut chance);
        assert!(!servers.has_untried());
        servers.prefer_another(at(0));
        servers.pass_over(at(0));
        assert_eq!((servers.current(), servers.at_home()), (0, false));
        servers.link_opened(Version::V5);
        assert!(servers.at_home());
        assert_eq!(servers.add(&LinkConfig::default()), 1);
        assert!(servers.has_untried());
    }

    #[test]
    fn who_closes_5_0_twice_is_asked_once_in_3_1_1_and_then_after_twice_as_many() {
        let closed = LossCause::ClosedBeforeConnack;
        let mut server = server();
        for (closes, first) in [(2, true), (4, false), (8, false)] {
            for n in 1..=closes {
                assert!(!server.may_speak_v311(&closed), "{n} of {closes}");
                assert_eq!(server.version(VersionPolicy::Prefer5), Version::V5);
                server.attempt_failed(&closed, Version::V5);
            }
            assert!(server.may_speak_v311(&closed));
            assert_eq!(server.fall_back(false), first);
            assert_eq!(server.version(VersionPolicy::Prefer5), Version::V311);
            // It did not help: 5.0 again.
            server.attempt_failed(&closed, Version::V311);
        }
        // Something else in between ends the row.
        server.attempt_failed(&closed, Version::V5);
        server.attempt_failed(&LossCause::ConnackTimeout(Duration::ZERO), Version::V5);
        assert_eq!(server.closed_at_v5, 0);
        // Once 5.0 was open there is no doubt.
        server.link_opened(Version::V5);
        for _ in 0..100 {
            server.attempt_failed(&closed, Version::V5);
        }
        assert!(!server.may_speak_v311(&closed));
        // Nor where it was said.
        assert!(server.may_speak_v311(&LossCause::Refused {
            reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            text: None,
            server_reference: None,
            v311_form: true,
            maximum_qos: None,
        }));
        server.fall_back(true);
        server.attempt_failed(&closed, Version::V311);
        assert_eq!(server.version(VersionPolicy::Prefer5), Version::V311, "it said so");
    }

    #[test]
    fn whoever_answers_in_3_1_1_speaks_it_and_whoever_refuses_it_does_not() {
        let refused = |reason| LossCause::Refused {
            reason,
            text: None,
            server_reference: None,
            v311_form: true,
            maximum_qos: None,
        };
        for (cause, stays) in [
            (refused(ReasonCode::NOT_AUTHORIZED), true),
            (refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION), false),
            (LossCause::ClosedBeforeConnack, false),
            (LossCause::ConnackTimeout(Duration::ZERO), false),
            (LossCause::ConnectTimeout(Duration::ZERO), true),
        ] {
            let mut server = server();
            server.fall_back(false);
            server.attempt_failed(&cause, Version::V311);
            let version = if stays { Version::V311 } else { Version::V5 };
            assert_eq!(server.version(VersionPolicy::Prefer5), version, "{cause:?}");
            if cause == refused(ReasonCode::NOT_AUTHORIZED) {
                server.attempt_failed(&LossCause::ClosedBeforeConnack, Version::V311);
                assert_eq!(server.version(VersionPolicy::Prefer5), Version::V311, "known from then on");
            }
        }
    }

    #[test]
    fn a_row_is_of_one_cause() {
        let mut server = server();
        let closed = LossCause::ClosedBeforeConnack;
        let late = LossCause::ConnackTimeout(Duration::ZERO);
        let row = [&closed, &closed, &closed, &late, &closed]
            .map(|cause| server.attempt_failed(cause, Version::V5));
        assert_eq!(row, [1, 2, 3, 1, 1]);
        let cut = LossCause::PeerClosed;
        assert_eq!([server.link_cut(&cut), server.link_cut(&cut)], [1, 2]);
        assert_eq!([true, true, false, true].map(|soon| server.closed_soon(soon)), [1, 2, 0, 1]);
        server.settled();
        assert_eq!((server.link_cut(&cut), server.attempt_failed(&closed, Version::V5)), (1, 1));
    }

    #[test]
    fn limits_grow_within_their_bounds() {
        let secs = Duration::from_secs;
        let mut limit = Limit::new(secs(3), secs(60));
        let grown = [6, 12, 24, 30].map(|n| {
            limit.expired();
            assert_eq!(limit.now, secs(n));
            n
        });
        assert_eq!(grown.len(), 4);
        for n in [15_000, 7500, 3750, 3000] {
            limit.held();
            assert_eq!(limit.now, Duration::from_millis(n));
        }
    }
}
