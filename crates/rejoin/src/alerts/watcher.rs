//! What the rules see: facts go in with their time, alerts that changed come out. No clock, no IO.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rejoin_core::LossCause;

use super::baseline::{Baseline, Learning};
use super::patterns::{Finding, Losses, PatternRules};
use super::rule::{AlertState, Guard, Kind, Rule, WITHIN_MAX};
use super::signal::{Signal, median, time};
use super::{AlertStatus, BaselineStatus};

/// What is seen of a client at one look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// The link is open.
    pub(crate) open: bool,
    /// Somebody waits for messages.
    pub(crate) subscribed: bool,
    /// The application has many messages that it is not done with: the broker may not be allowed to send more.
    pub(crate) withheld: bool,
    /// Age of the oldest message not answered for; `None` when there is none.
    pub(crate) queue_age: Option<Duration>,
    /// When the last message came.
    pub(crate) last_message: Option<Instant>,
    /// Round trip of a ping that came back since the last look.
    pub(crate) ping: Option<Duration>,
    /// The slowest hundredth of the acknowledgements since the last look.
    pub(crate) ack: Option<Duration>,
}

/// Most values of one signal that are remembered: an hour of looks of 5 s.
const RECENT_MAX: usize = 720;
/// A median of fewer values is none.
const MEDIAN_OF: usize = 3;
/// And of fewer lives of links, which differ more.
const LIVES_OF: usize = 4;
/// Values older than so many times the time of a rule do not stand in for newer ones.
const STALE: u32 = 5;

/// Values of one signal, the newest last.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Instant, f64)>);

impl Recent {
    fn push(&mut self, value: f64, now: Instant) {
        while self.0.len() >= RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, value));
    }

    /// The median of what came within this time; of the last three values where fewer did.
    fn median(&self, within: Duration, now: Instant) -> Option<f64> {
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let fresh = self.0.iter().rev().take_while(|(at, _)| age(at) <= within).count().max(MEDIAN_OF);
        let mut values: Vec<f64> = self
            .0
            .iter()
            .rev()
            .take(fresh)
            .filter(|(at, _)| age(at) <= within.saturating_mul(STALE))
            .map(|(_, value)| *value)
            .collect();
        if values.len() < MEDIAN_OF { None } else { median(&mut values) }
    }

    /// Exactly what came within this time, if it is enough.
    fn median_strictly(&self, within: Duration, now: Instant) -> Option<f64> {
        let fresh = self.0.iter().rev().take_while(|(at, _)| now.saturating_duration_since(*at) <= within);
        let mut values: Vec<f64> = fresh.map(|(_, value)| *value).collect();
        if values.len() < LIVES_OF { None } else { median(&mut values) }
    }
}

/// The rules of one client with everything they look at.
#[derive(Debug)]
pub(crate) struct Watcher {
    learning: Learning,
    patterns: PatternRules,
    baselines: [Baseline; 6],
    recent: [Recent; 6],
    guards: Vec<Guard>,
    losses: Losses,
    /// When links were lost, for counting; the newest last.
    lost_at: VecDeque<Instant>,
    last_message: Option<Instant>,
    /// Since when silence counts: the link opened, or a message came.
    silent_since: Option<Instant>,
    /// A link was cut over the silence: it goes on over that link.
    cut_over_silence: bool,
    /// Since when there is no link, for what goes on over it: the outage itself is no silence.
    closed_since: Option<Instant>,
    /// Since the last message it was up to us for a while that nothing came.
    was_withheld: bool,
    /// Signals whose baselines begin anew, because what an alert complained of is the new normal.
    begins_anew: [bool; 6],
    now_values: [Option<f64>; 6],
    /// The link is open.
    open: bool,
    subscribed: bool,
}

impl Watcher {
    pub(crate) fn new(rules: Vec<Rule>, patterns: PatternRules, learning: Learning, now: Instant) -> Self {
        Self {
            learning,
            patterns,
            baselines: Signal::ALL.map(|signal| Baseline::new(signal, learning)),
            recent: Default::default(),
            guards: guards(rules, now),
            losses: Losses::new(),
            lost_at: VecDeque::new(),
            last_message: None,
            silent_since: None,
            cut_over_silence: false,
            closed_since: None,
            was_withheld: false,
            begins_anew: [false; 6],
            now_values: [None; 6],
            open: false,
            subscribed: false,
        }
    }

    /// Goes on with what an earlier process learned.
    pub(crate) fn recall(&mut self, baselines: [Baseline; 6]) {
        self.baselines = baselines;
    }

    /// A link was lost.
    pub(crate) fn lost(&mut self, cause: &LossCause, lived: Duration, now: Instant) {
        self.cut_over_silence |= matches!(cause, LossCause::HealthWatch(_));
        self.closed_since.get_or_insert(now);
        if !self.cut_over_silence {
            self.silent_since = None;
        }
        if super::patterns::is_ours(cause) {
            return;
        }
        self.losses.lost(cause, lived, now);
        self.lost_at.push_back(now);
        while self.lost_at.len() > RECENT_MAX {
            self.lost_at.pop_front();
        }
        let lived = lived.as_secs_f64();
        self.recent[Signal::LinkLife.index()].push(lived, now);
        self.baselines[Signal::LinkLife.index()].offer(lived, now);
    }

    /// Looks at everything. Gives the alerts whose state changed.
    pub(crate) fn look(&mut self, client_id: &str, seen: &Look, now: Instant) -> Vec<AlertStatus> {
        (self.open, self.subscribed) = (seen.open, seen.subscribed);
        self.sample(seen, now);
        let mut changed = Vec::new();
        for n in 0..self.guards.len() {
            if self.judge(n, client_id, now) {
                changed.push(self.status(n));
            }
        }
        for signal in Signal::ALL {
            changed.extend(self.accept_if_due(signal, now).into_iter().map(|n| self.status(n)));
            let (baseline, begins_anew) =
                (&mut self.baselines[signal.index()], &mut self.begins_anew[signal.index()]);
            *begins_anew &= baseline.usual().is_none();
            // What was accepted is to be learned, though a rule without a baseline goes on firing over it.
            let fires = |guard: &Guard| {
                guard.rule.signal == signal
                    && guard.state == AlertState::Firing
                    && (guard.rule.has_baseline() || !*begins_anew)
            };
            baseline.freeze(self.guards.iter().any(fires));
        }
        changed
    }

    /// What alerts complained of for too long is taken as the new normal. Gives all whose measure that was.
    fn accept_if_due(&mut self, signal: Signal, now: Instant) -> Vec<usize> {
        let fires = |guard: &Guard| {
            guard.rule.signal == signal && guard.rule.has_baseline() && guard.state == AlertState::Firing
        };
        let firing = || self.guards.iter().enumerate().filter(|(_, guard)| fires(guard));
        let longest = firing().map(|(_, guard)| now.saturating_duration_since(guard.since)).max();
        if longest.is_none_or(|longest| longest < self.learning.frozen_max) {
            return Vec::new();
        }
        let accepted: Vec<usize> = firing().map(|(n, _)| n).collect();
        for n in &accepted {
            let guard = &mut self.guards[*n];
            guard.accept(now);
            let fired = time(self.learning.frozen_max);
            guard.evidence =
                format!("it was so for {fired}: taken as the new normal, learned from the start");
        }
        self.baselines[signal.index()].begin_anew();
        self.begins_anew[signal.index()] = true;
        accepted
    }

    fn sample(&mut self, seen: &Look, now: Instant) {
        let mut sample = |signal: Signal, value: f64, learn: bool| {
            self.recent[signal.index()].push(value, now);
            self.now_values[signal.index()] = Some(value);
            if learn {
                self.baselines[signal.index()].offer(value, now);
            }
        };
        if let Some(ping) = seen.ping {
            sample(Signal::PingRoundTrip, ping.as_secs_f64(), true);
        }
        if let Some(ack) = seen.ack {
            sample(Signal::AckLatency, ack.as_secs_f64(), true);
        }
        sample(Signal::QueueAge, seen.queue_age.unwrap_or_default().as_secs_f64(), true);
        while self.lost_at.front().is_some_and(|at| now.saturating_duration_since(*at) > WITHIN_MAX) {
            self.lost_at.pop_front();
        }
        sample(Signal::Reconnects, self.lost_at.len() as f64, true);
        self.now_values[Signal::LinkLife.index()] =
            self.recent[Signal::LinkLife.index()].0.back().map(|(_, lived)| *lived);
        self.silence(seen, now);
    }

    /// Silence counts on an open link on which something is wanted. What is learned are the gaps between messages: the
    /// silence of now grows with every look and says nothing of how long it usually gets. Between two looks only the last
    /// message is seen, so no gap is found to be shorter than the pause between them.
    fn silence(&mut self, seen: &Look, now: Instant) {
        let index = Signal::MessageSilence.index();
        if seen.open {
            let closed =
                self.closed_since.take().map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            self.silent_since = self.silent_since.map(|since| since + closed);
        } else {
            self.closed_since.get_or_insert(now);
        }
        if !seen.open || !seen.subscribed {
            self.cut_over_silence &= seen.subscribed;
            if !self.cut_over_silence {
                (self.silent_since, self.was_withheld) = (None, false);
            }
            self.last_message = seen.last_message;
            self.now_values[index] = None;
            return;
        }
        let since = *self.silent_since.get_or_insert(now);
        let came = seen.last_message.filter(|at| Some(*at) != self.last_message);
        if let Some(at) = came {
            self.last_message = Some(at);
            let gap = at.saturating_duration_since(since).as_secs_f64();
            if !std::mem::take(&mut self.was_withheld) {
                // How long a silence was is learned when it is over, also of one that raised an alarm: who pauses for
                // long would raise it for ever.
                self.baselines[index].freeze(false);
                self.baselines[index].offer_length(gap, now);
            }
            self.silent_since = Some(at);
            self.cut_over_silence = false;
        }
        if seen.withheld {
            // It is up to us that nothing comes, and how long that lasts says nothing of what is usual.
            (self.silent_since, self.was_withheld) = (Some(now), true);
            self.now_values[index] = None;
            return;
        }
        let since = self.silent_since.unwrap_or(now);
        self.now_values[index] = Some(now.saturating_duration_since(since).as_secs_f64());
    }

    /// What a rule compares with its limit.
    fn value(&self, rule: &Rule, now: Instant) -> Option<f64> {
        let recent = &self.recent[rule.signal.index()];
        match rule.signal {
            Signal::Reconnects => {
                let within = |at: &&Instant| now.saturating_duration_since(**at) <= rule.within;
                let count = self.lost_at.iter().filter(within).count() as f64;
                let per_hour = 3600.0 / rule.within.as_secs_f64().max(1.0);
                Some(if matches!(rule.kind, Kind::TimesBaseline(_)) { count * per_hour } else { count })
            }
            // Lives that ended long ago are no news.
            Signal::LinkLife => recent.median_strictly(rule.within, now),
            Signal::PingRoundTrip | Signal::AckLatency => recent.median(rule.within, now),
            Signal::QueueAge | Signal::MessageSilence => self.now_values[rule.signal.index()],
        }
    }

    /// One rule. True when its state changed.
    fn judge(&mut self, n: usize, client_id: &str, now: Instant) -> bool {
        let rule = &self.guards[n].rule;
        let found = match rule.kind {
            Kind::Contest => Some(self.losses.contest(&self.patterns, client_id, now)),
            Kind::Flapping => Some(self.losses.flapping(&self.patterns, now)),
            _ => None,
        };
        if let Some(found) = found {
            return self.judge_pattern(n, found, now);
        }
        let usual = self.baselines[rule.signal.index()].usual();
        let (value, limit) = (self.value(rule, now), rule.limit(usual));
        let beyond = match (value, limit) {
            (Some(value), Some(limit)) => Some(rule.is_beyond(value, limit)),
            // No link ended for a while: lives are as long as they should be.
            (None, Some(_)) if rule.signal == Signal::LinkLife => Some(false),
            (None, Some(limit)) if self.is_past(rule.signal, limit) => Some(false),
            // Nobody waits for anything, or a message came, and since then nobody can say.
            (None, _) if rule.signal == Signal::MessageSilence && (!self.subscribed || self.came(n)) => {
                Some(false)
            }
            _ => None,
        };
        let beyond = beyond.filter(|beyond| *beyond || !self.is_still_silent(&self.guards[n]));
        let evidence = match (value, limit) {
            (Some(value), Some(limit)) if beyond == Some(true) => self.evidence(rule, value, limit),
            _ => String::new(),
        };
        let hint = rule.hint.clone().unwrap_or_else(|| hint(rule.signal).to_owned());
        let guard = &mut self.guards[n];
        (guard.value, guard.limit) = (value, limit);
        if beyond == Some(true) {
            (guard.evidence, guard.hint) = (evidence, hint);
        }
        guard.look(beyond, now)
    }

    /// A silence is not over because it is counted from a new link: a message has to come.
    fn is_still_silent(&self, guard: &Guard) -> bool {
        guard.rule.signal == Signal::MessageSilence
            && guard.state == AlertState::Firing
            && self.subscribed
            && !self.came_since(guard.since)
    }

    /// Whether a message came since this rule is as it is.
    fn came(&self, n: usize) -> bool {
        self.came_since(self.guards[n].since)
    }

    fn came_since(&self, since: Instant) -> bool {
        self.last_message.is_some_and(|at| at > since)
    }

    /// Nothing to measure on an open link, and nothing that waits longer than it should: a latency is over, or it would
    /// fire for ever once the last message was sent.
    fn is_past(&self, signal: Signal, limit: f64) -> bool {
        let waits = || self.now_values[Signal::QueueAge.index()].is_some_and(|age| age > limit);
        match signal {
            Signal::PingRoundTrip => self.open,
            Signal::AckLatency => self.open && !waits(),
            _ => false,
        }
    }

    fn judge_pattern(&mut self, n: usize, found: Option<Finding>, now: Instant) -> bool {
        let guard = &mut self.guards[n];
        let (limit, count) = match guard.rule.kind {
            Kind::Contest => (self.patterns.takeovers, found.as_ref().map_or(0, |found| found.count)),
            _ => (self.patterns.flaps, found.as_ref().map_or(0, |found| found.count)),
        };
        (guard.value, guard.limit) = (Some(count as f64), Some(limit as f64));
        let beyond = found.is_some();
        if let Some(found) = found {
            guard.evidence = found.evidence;
            guard.hint = guard.rule.hint.clone().unwrap_or(found.hint);
        }
        guard.look(Some(beyond), now)
    }

    fn evidence(&self, rule: &Rule, value: f64, limit: f64) -> String {
        let signal = rule.signal;
        let (shown, limit) = (signal.show(value), signal.show(limit));
        let than = if rule.is_beyond(0.0, 1.0) { "less" } else { "more" };
        let mut text = match (signal, rule.kind) {
            (Signal::Reconnects, Kind::TimesBaseline(_)) => {
                format!("{shown} reconnects per hour, {than} than {limit}")
            }
            (Signal::Reconnects, _) => {
                format!("{shown} reconnects within {}, {than} than {limit}", time(rule.within))
            }
            (Signal::QueueAge, _) => {
                format!("the oldest message waits for its answer for {shown}, {than} than {limit}")
            }
            (Signal::MessageSilence, _) => format!("no message came for {shown}, {than} than {limit}"),
            (Signal::LinkLife, _) => format!("links live {shown} (median), {than} than {limit}"),
            (signal, _) => format!("{signal} {shown} (median), {than} than {limit}"),
        };
        if let (Kind::TimesBaseline(_), Some(usual)) = (rule.kind, self.baselines[signal.index()].usual()) {
            let usually = signal.show(usual.median);
            let ratio = super::signal::number(ratio(signal, value, usual.median).unwrap_or(0.0));
            text.push_str(&match signal.less_is_worse() {
                true => format!("; usual is {usually}"),
                false => format!("; {ratio} times the usual {usually}"),
            });
        }
        if matches!(signal, Signal::Reconnects | Signal::LinkLife) && !self.losses.is_empty() {
            text.push_str("; ");
            text.push_str(&self.losses.words());
        }
        text
    }

    fn status(&self, n: usize) -> AlertStatus {
        let guard = &self.guards[n];
        AlertStatus {
            rule: guard.name.clone(),
            signal: guard.rule.signal,
            state: guard.state,
            since: guard.since,
            value: guard.value,
            limit: guard.limit,
            evidence: if guard.state == AlertState::Ok { String::new() } else { guard.evidence.clone() },
            hint: if guard.state == AlertState::Ok { String::new() } else { guard.hint.clone() },
        }
    }

    /// Where every rule stands, in the order of the settings.
    pub(crate) fn alerts(&self) -> Vec<AlertStatus> {
        (0..self.guards.len()).map(|n| self.status(n)).collect()
    }

    /// What is known of every signal.
    pub(crate) fn baselines(&self) -> Vec<BaselineStatus> {
        let of = |signal: Signal| {
            let baseline = &self.baselines[signal.index()];
            let usual = baseline.so_far();
            let now = self.now_values[signal.index()];
            BaselineStatus {
                signal,
                state: baseline.state(),
                median: usual.map(|usual| usual.median),
                spread: usual.map(|usual| usual.spread),
                now,
                ratio: now.zip(usual).and_then(|(now, usual)| ratio(signal, now, usual.median)),
                samples: baseline.count(),
            }
        };
        Signal::ALL.map(of).into()
    }

    /// What the next process need not learn anew.
    pub(crate) fn record(&self) -> String {
        super::baseline::record(&self.baselines)
    }
}

/// Each has a name of its own: one that says the same as another before it is counted.
fn guards(rules: Vec<Rule>, now: Instant) -> Vec<Guard> {
    let mut guards: Vec<Guard> = Vec::new();
    for rule in rules {
        let words = rule.to_string();
        let before = guards.iter().filter(|guard| guard.rule.to_string() == words).count();
        let name = if before == 0 { words } else { format!("{words} ({})", before + 1) };
        guards.push(Guard::new(rule, name, now));
    }
    guards
}

/// How many times worse than usual; `None` where usual is nothing.
fn ratio(signal: Signal, now: f64, usual: f64) -> Option<f64> {
    let (above, below) = if signal.less_is_worse() { (usual, now) } else { (now, usual) };
    (below > 0.0).then(|| above / below)
}

/// What a person can do, where the rule says nothing of its own.
const fn hint(signal: Signal) -> &'static str {
    match signal {
        Signal::Reconnects => {
            "the evidence says how links end: `rejoin explain` knows what to do about each cause"
        }
        Signal::LinkLife => {
            "something ends links sooner than it used to: look at what changed between us and the broker"
        }
        Signal::PingRoundTrip => {
            "the way to the broker, or the broker itself, is slower than usual: look at its load"
        }
        Signal::AckLatency => {
            "the broker takes longer than usual to take messages: look at its disk and its load"
        }
        Signal::QueueAge => {
            "messages are handed over faster than they are taken, or the link is down: look at the link first"
        }
        Signal::MessageSilence => {
            "check that the publishers run, that topic and filter fit, and that nobody else took over the subscription"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A minute of latencies of a second, then nothing to measure. Gives what became of the rule at each minute.
    fn after_the_last(signal: Signal, then: Look) -> Vec<AlertState> {
        let start = Instant::now();
        let rule = Rule::over(signal, SECOND / 2);
        let mut watcher = Watcher::new(vec![rule], PatternRules::default(), Learning::default(), start);
        let slow = Look { open: true, ping: Some(SECOND), ack: Some(SECOND), ..Look::default() };
        let mut states = Vec::new();
        for look in 0..12 * 15 {
            let seen = if look < 12 { slow } else { then };
            watcher.look("a", &seen, start + SECOND * 5 * look);
            if look % 12 == 11 {
                states.push(watcher.alerts()[0].state);
            }
        }
        states
    }

    #[test]
    fn a_latency_is_over_when_an_open_link_has_nothing_to_measure() {
        let open = Look { open: true, ..Look::default() };
        for signal in [Signal::PingRoundTrip, Signal::AckLatency] {
            let states = after_the_last(signal, open);
            assert_eq!(states[..4], [AlertState::Firing; 4], "{signal}: what was seen last counts for 5 min");
            assert_eq!(states[8], AlertState::Resolved, "{signal}: {states:?}");
            let states = after_the_last(signal, Look::default());
            assert_eq!(states.last(), Some(&AlertState::Firing), "{signal}: closed, nobody can say");
        }
        let waits = Look { queue_age: Some(SECOND * 60), ..open };
        let states = after_the_last(Signal::AckLatency, waits);
        assert_eq!(states.last(), Some(&AlertState::Firing), "nothing is acknowledged at all");
    }

    /// A client whose one rule is a silence of more than a minute, and its state after each look.
    struct Silence {
        watcher: Watcher,
        start: Instant,
        at: Duration,
        seen: Look,
    }

    impl Silence {
        fn begin() -> Self {
            let start = Instant::now();
            let rule = Rule::over(Signal::MessageSilence, SECOND * 60);
            let watcher = Watcher::new(vec![rule], PatternRules::default(), Learning::default(), start);
            let seen = Look { open: true, subscribed: true, ..Look::default() };
            Self { watcher, start, at: Duration::ZERO, seen }
        }

        /// A look each 5 s for so long.
        fn pass(&mut self, seconds: u64) -> AlertState {
            for _ in 0..seconds / 5 {
                self.at += SECOND * 5;
                self.watcher.look("a", &self.seen, self.start + self.at);
            }
            self.watcher.alerts()[0].state
        }

        /// The longest gap between messages that was learned, in seconds.
        fn longest(&self) -> Option<f64> {
            self.watcher.baselines[Signal::MessageSilence.index()].longest()
        }

        fn message(&mut self) {
            self.seen.last_message = Some(self.start + self.at);
        }

        /// The link is lost and, after 5 s, open again.
        fn reconnect(&mut self, cause: &LossCause) {
            self.watcher.lost(cause, SECOND * 60, self.start + self.at);
            self.seen.open = false;
            self.pass(5);
            self.seen.open = true;
        }
    }

    #[test]
    fn an_alert_of_silence_ends_with_a_message_or_with_the_last_subscription_and_not_with_a_new_link() {
        let mut silence = Silence::begin();
        assert_eq!(silence.pass(70), AlertState::Firing);
        silence.reconnect(&LossCause::PeerClosed);
        assert_eq!(silence.pass(600), AlertState::Firing, "counted from a new link, and still silent");
        silence.message();
        silence.pass(30);
        silence.message();
        silence.pass(30);
        silence.message();
        assert_eq!(silence.pass(30), AlertState::Resolved);
        let mut silence = Silence::begin();
        assert_eq!(silence.pass(70), AlertState::Firing);
        silence.seen.subscribed = false;
        assert_eq!(silence.pass(70), AlertState::Resolved, "nobody waits for anything");
    }

    #[test]
    fn a_silence_over_which_links_are_cut_is_told_all_the_same() {
        let mut silence = Silence::begin();
        assert_eq!(silence.pass(60), AlertState::Ok);
        silence.reconnect(&LossCause::HealthWatch(SECOND * 60));
        assert_eq!(silence.pass(15), AlertState::Firing);
        let mut silence = Silence::begin();
        for _ in 0..5 {
            assert_eq!(silence.pass(60), AlertState::Ok, "the link was lost over something else");
            silence.reconnect(&LossCause::PeerClosed);
        }
    }

    #[test]
    fn while_the_application_holds_the_window_no_silence_is_told() {
        let mut silence = Silence::begin();
        silence.seen.withheld = true;
        assert_eq!(silence.pass(600), AlertState::Ok);
        silence.seen.withheld = false;
        assert_eq!(silence.pass(60), AlertState::Ok, "counted from when it was done");
        assert_eq!(silence.pass(10), AlertState::Firing);
    }

    #[test]
    fn an_alert_of_silence_ends_with_messages_also_where_the_application_always_has_some_in_hand() {
        let mut silence = Silence::begin();
        assert_eq!(silence.pass(70), AlertState::Firing);
        silence.seen.withheld = true;
        assert_eq!(silence.pass(600), AlertState::Firing, "nobody can say");
        for _ in 0..120 {
            silence.message();
            silence.pass(5);
        }
        assert_eq!(silence.pass(5), AlertState::Resolved);
        assert_eq!(
            silence.longest(),
            None,
            "how long we hold the window is not how long it is usually silent"
        );
    }

    #[test]
    fn an_outage_after_a_cut_over_silence_is_no_silence() {
        let mut silence = Silence::begin();
        assert_eq!(silence.pass(40), AlertState::Ok);
        silence.watcher.lost(&LossCause::HealthWatch(SECOND * 60), SECOND * 60, silence.start + silence.at);
        silence.seen.open = false;
        assert_eq!(silence.pass(1800), AlertState::Ok);
        silence.seen.open = true;
        assert_eq!(silence.pass(25), AlertState::Ok, "under a minute on open links");
        silence.message();
        silence.pass(5);
        assert!(silence.longest().is_some_and(|seconds| seconds <= 60.0), "{:?}", silence.longest());
        let mut silence = Silence::begin();
        silence.pass(40);
        silence.watcher.lost(&LossCause::HealthWatch(SECOND * 60), SECOND * 60, silence.start + silence.at);
        silence.seen.open = false;
        silence.pass(1800);
        silence.seen.open = true;
        assert_eq!(silence.pass(40), AlertState::Firing, "and both links count");
    }

    #[test]
    fn rules_in_the_same_words_have_names_of_their_own() {
        let rule = Rule::times_baseline(Signal::AckLatency, 4.0);
        let rules = vec![rule.clone(), rule.clone().at_least(SECOND), rule.spreads(9.0)];
        let watcher = Watcher::new(rules, PatternRules::default(), Learning::default(), Instant::now());
        let names: Vec<_> = watcher.alerts().into_iter().map(|alert| alert.rule).collect();
        let words = "ack latency over 4 times its baseline";
        assert_eq!(names, [words.to_owned(), format!("{words} (2)"), format!("{words} (3)")]);
    }
}
