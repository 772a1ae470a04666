//! Two illnesses of links that show in how links end, recognised by pattern and said in words: another client with our
//! client id, and a link that flaps.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use rejoin_core::{LocalCause, LossCause, ReasonCode, TransportErrorKind};

use super::signal::{median, seconds, spread_about, time};

/// When links that end make a pattern, for alerts and for health alike. Set in
/// [`HealthRules::patterns`](crate::health::HealthRules::patterns), so that both say the same of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PatternRules {
    /// So many takeovers (DISCONNECT with 0x8E) are a contest of two clients about one client id. Default 3: one is a
    /// restart of ourselves, two may be chance.
    pub takeovers: usize,
    /// So many closes without a word, equally long after our CONNACK, look like a contest where the broker does not say
    /// why it closes (MQTT 3.1.1). Default 5: that so many are equal by chance is rare.
    pub silent_closes: usize,
    /// Losses older than this belong to no contest any more, unless the contest itself is slower. Default 10 min.
    pub contest_memory: Duration,
    /// Takeovers further apart than this are no contest, and three times the period of one are remembered for no longer:
    /// what is taken over once a night is restarted once a night. Default 2 h: a client that backs off for an hour is
    /// still in its contest.
    pub contest_period: Duration,
    /// The same for closes without a word. Default 10 min: what closes links after half an hour or an hour is a load
    /// balancer, which is not asked for a second client.
    pub silent_period: Duration,
    /// So many short links within [`PatternRules::flap_within`] are flapping. Default 4.
    pub flaps: usize,
    /// A link that lived shorter than this is short. Default 60 s.
    pub short_link: Duration,
    /// The time in which short links are counted. Default 10 min.
    pub flap_within: Duration,
}

impl Default for PatternRules {
    fn default() -> Self {
        Self {
            takeovers: 3,
            silent_closes: 5,
            contest_memory: Duration::from_secs(600),
            contest_period: Duration::from_secs(7200),
            silent_period: Duration::from_secs(600),
            flaps: 4,
            short_link: Duration::from_secs(60),
            flap_within: Duration::from_secs(600),
        }
    }
}

/// A pattern that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Over how many links.
    pub count: usize,
    /// What speaks for it, in words.
    pub evidence: String,
    /// What a person can do.
    pub hint: String,
}

/// Most losses that are remembered.
const LOSSES_MAX: usize = 64;
/// Times count as equal when they differ from their middle by no more than this part of it.
const EQUAL: f64 = 0.1;
/// So many of a hundred have to be equal.
const EQUAL_PERCENT: usize = 80;

/// In a contest we come back at once, or after as long as the link lived: longer pauses than this and that are something
/// else. Twice what recovery waits at most for a server that is there.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// How a link ended, as far as patterns care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    TakenOver,
    /// Closed by the other side without a DISCONNECT.
    Silent,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Loss {
    at: Instant,
    lived: Duration,
    end: End,
    name: &'static str,
}

/// The last links that were lost, 64 at most, and what they have in common.
///
/// ```
/// use std::time::{Duration, Instant};
/// use rejoin::alerts::Losses;
/// use rejoin::{LossCause, ReasonCode};
///
/// let taken_over = LossCause::ServerDisconnect {
///     reason: ReasonCode::SESSION_TAKEN_OVER,
///     text: None,
///     server_reference: None,
/// };
/// let start = Instant::now();
/// let mut losses = Losses::new();
/// for n in 1..=6 {
///     losses.lost(&taken_over, Duration::from_secs(21), start + Duration::from_secs(31) * n);
/// }
/// let now = start + Duration::from_secs(200);
/// assert_eq!(losses.words(), "6 losses: session taken over ×6 (every 31 s ±0 s)");
/// let contest = losses.contest(&Default::default(), "gw-17", now).expect("six takeovers");
/// assert!(contest.evidence.starts_with("another client uses id \"gw-17\": 6 of 6 closes came 21 s after"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Losses {
    losses: VecDeque<Loss>,
}

impl Losses {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// A link that had lived for `lived` was lost now. Links we ended ourselves, by a shutdown or a restart, are no losses.
    pub fn lost(&mut self, cause: &LossCause, lived: Duration, now: Instant) {
        if is_ours(cause) {
            return;
        }
        while self.losses.len() >= LOSSES_MAX {
            self.losses.pop_front();
        }
        let (end, name) = match cause {
            LossCause::ServerDisconnect { reason, .. } if *reason == ReasonCode::SESSION_TAKEN_OVER => {
                (End::TakenOver, "session taken over")
            }
            LossCause::PeerClosed => (End::Silent, "closed by the peer"),
            LossCause::Transport(error)
                if matches!(error.kind, TransportErrorKind::Reset | TransportErrorKind::Closed) =>
            {
                (End::Silent, "reset by the peer")
            }
            other => (End::Other, words_of(other)),
        };
        self.losses.push_back(Loss { at: now, lived, end, name });
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.losses.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    /// How many came within this time.
    pub fn count_within(&self, within: Duration, now: Instant) -> usize {
        self.recent(within, now).count()
    }

    fn recent(&self, within: Duration, now: Instant) -> impl Iterator<Item = &Loss> {
        self.losses.iter().filter(move |loss| now.saturating_duration_since(loss.at) <= within)
    }

    /// What they were, the most frequent first: `7 losses: session taken over ×6 (every 31 s ±1 s), ping timeout ×1`.
    /// Empty when there was none.
    pub fn words(&self) -> String {
        let mut kinds: Vec<(&'static str, Vec<Instant>)> = Vec::new();
        for loss in &self.losses {
            match kinds.iter_mut().find(|(name, _)| *name == loss.name) {
                Some((_, at)) => at.push(loss.at),
                None => kinds.push((loss.name, vec![loss.at])),
            }
        }
        kinds.sort_by_key(|(_, at)| std::cmp::Reverse(at.len()));
        let mut text = match self.losses.len() {
            0 => return String::new(),
            1 => "1 loss: ".to_owned(),
            many => format!("{many} losses: "),
        };
        for (n, (name, at)) in kinds.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let _ = write!(text, "{comma}{name} ×{}", at.len());
            if let Some(rhythm) = Rhythm::of(&distances(at), 3) {
                let _ = write!(text, " (every {rhythm})");
            }
        }
        text
    }

    /// Whether another client uses our client id: by takeovers the broker tells of, or by closes without a word that come
    /// equally long after our CONNACK.
    pub fn contest(&self, rules: &PatternRules, client_id: &str, now: Instant) -> Option<Finding> {
        self.takeovers(rules, client_id, now).or_else(|| self.silent_contest(rules, client_id, now))
    }

    /// The last of a kind that came one after the other, no further apart than `period`; none when they are long past.
    fn run_of(&self, end: End, rules: &PatternRules, period: Duration, now: Instant) -> Vec<Loss> {
        let mut run: Vec<Loss> = Vec::new();
        for loss in self.losses.iter().rev().filter(|loss| loss.end == end) {
            if run.last().is_some_and(|later| later.at.saturating_duration_since(loss.at) > period) {
                break;
            }
            run.push(*loss);
        }
        run.reverse();
        let at: Vec<Instant> = run.iter().map(|loss| loss.at).collect();
        let usual = median(&mut distances(&at)).unwrap_or(0.0);
        let memory = (3.0 * usual).min(period.as_secs_f64()).max(rules.contest_memory.as_secs_f64());
        let last = at.last().map_or(f64::INFINITY, |at| now.saturating_duration_since(*at).as_secs_f64());
        if last <= memory { run } else { Vec::new() }
    }

    fn takeovers(&self, rules: &PatternRules, client_id: &str, now: Instant) -> Option<Finding> {
        let found = self.run_of(End::TakenOver, rules, rules.contest_period, now);
        (!found.is_empty() && found.len() >= rules.takeovers).then(|| {
            let lives: Vec<f64> = found.iter().map(|loss| loss.lived.as_secs_f64()).collect();
            let (all, count) = (self.losses.len(), found.len());
            Finding {
                count,
                evidence: format!(
                    "another client uses id \"{client_id}\": {count} of {all} closes came {} after our CONNACK with \
                     reason 0x8E; {}",
                    range(&lives),
                    self.words()
                ),
                hint: format!(
                    "look for a second \"{client_id}\" connected from another address, and give each client its own id"
                ),
            }
        })
    }

    fn silent_contest(&self, rules: &PatternRules, client_id: &str, now: Instant) -> Option<Finding> {
        let found = self.run_of(End::Silent, rules, rules.silent_period, now);
        // A contest fills the time: a close now and then is something else, however equal.
        if !fills_the_time(&found) {
            return None;
        }
        let lives: Vec<f64> = found.iter().rev().take(12).map(|loss| loss.lived.as_secs_f64()).collect();
        let rhythm = Rhythm::of(&lives, rules.silent_closes)?;
        let (all, count) = (self.losses.len(), found.len());
        Some(Finding {
            count,
            evidence: format!(
                "another client may use id \"{client_id}\": {count} of {all} closes came {rhythm} after our CONNACK, without \
                 a word; {}",
                self.words()
            ),
            hint: format!(
                "look for a second \"{client_id}\" connected from another address; if there is none, something between us \
                 and the broker ends links after {}: keep-alive must be shorter",
                seconds(rhythm.middle)
            ),
        })
    }

    /// Whether the link flaps: many short links in a short time.
    pub fn flapping(&self, rules: &PatternRules, now: Instant) -> Option<Finding> {
        let lives: Vec<f64> = self
            .recent(rules.flap_within, now)
            .filter(|loss| loss.lived < rules.short_link)
            .map(|loss| loss.lived.as_secs_f64())
            .collect();
        let middle = median(&mut lives.clone())?;
        (lives.len() >= rules.flaps).then(|| Finding {
            count: lives.len(),
            evidence: format!(
                "{} links within {} lived {} (median {}); {}",
                lives.len(),
                time(rules.flap_within),
                range(&lives),
                seconds(middle),
                self.words()
            ),
            hint: "look at the network between us and the broker, and at the broker's log for why it closes"
                .to_owned(),
        })
    }
}

/// We ended it: no illness of the link.
pub(crate) const fn is_ours(cause: &LossCause) -> bool {
    matches!(cause, LossCause::Local(LocalCause::Shutdown | LocalCause::Restart | LocalCause::Renewal))
}

fn words_of(cause: &LossCause) -> &'static str {
    match cause.name() {
        "ping-timeout" => "ping timeout",
        "ack-timeout" => "ack timeout",
        "write-stall" => "write stall",
        "health-watch" => "health watch",
        "protocol-error" => "protocol error",
        "server-disconnect" => "disconnected by the broker",
        "transport-timeout" => "transport timeout",
        "transport-error" => "transport error",
        name => name,
    }
}

/// Whether most of these links were opened soon after the one before was lost.
fn fills_the_time(losses: &[Loss]) -> bool {
    let pairs = losses.windows(2);
    let all = pairs.len();
    let soon = pairs.filter(|pair| {
        let apart = pair[1].at.saturating_duration_since(pair[0].at);
        apart.saturating_sub(pair[1].lived) <= PAUSE_MAX.max(pair[1].lived)
    });
    soon.count() * 100 >= all * EQUAL_PERCENT
}

fn distances(at: &[Instant]) -> Vec<f64> {
    at.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0]).as_secs_f64()).collect()
}

/// `21 s`, or `30-32 s`.
fn range(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let (low, high) = (seconds(low), seconds(high));
    if low == high {
        return low;
    }
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number}-{high}"),
        _ => format!("{low} to {high}"),
    }
}

/// Times that are about equal.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    middle: f64,
    /// How far those that are equal differ from the middle.
    off: f64,
}

impl Rhythm {
    /// `None` when there are fewer than `least`, or they are not equal.
    fn of(values: &[f64], least: usize) -> Option<Self> {
        if values.len() < least.max(2) {
            return None;
        }
        let middle = median(&mut values.to_vec()).filter(|middle| *middle > 0.0)?;
        let equal: Vec<f64> =
            values.iter().map(|v| (v - middle).abs()).filter(|off| *off <= middle * EQUAL).collect();
        // The spread of all is asked too: two clusters around one middle are no rhythm.
        let tight = spread_about(middle, &mut values.to_vec()) <= middle * EQUAL / 2.0;
        (tight && equal.len() * 100 >= values.len() * EQUAL_PERCENT)
            .then(|| Self { middle, off: equal.iter().copied().fold(0.0, f64::max) })
    }
}

impl std::fmt::Display for Rhythm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let middle = seconds(self.middle);
        let unit = middle.split_once(' ').map_or("s", |(_, unit)| unit);
        let off = match unit {
            "µs" => self.off * 1e6,
            "ms" => self.off * 1e3,
            "min" => self.off / 60.0,
            "h" => self.off / 3600.0,
            "d" => self.off / 86_400.0,
            _ => self.off,
        };
        let digits = usize::from(middle.contains('.'));
        write!(f, "{middle} ±{off:.digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_over() -> LossCause {
        LossCause::ServerDisconnect {
            reason: ReasonCode::SESSION_TAKEN_OVER,
            text: None,
            server_reference: None,
        }
    }

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Links of these lives, each opened `pause` after the last was lost.
    fn lives(cause: &LossCause, lives: &[f64], pause: f64) -> (Losses, Instant) {
        let mut now = Instant::now();
        let mut losses = Losses::new();
        for lived in lives {
            now += secs(*lived + pause);
            losses.lost(cause, secs(*lived), now);
        }
        (losses, now)
    }

    #[test]
    fn a_contest_is_said_as_in_the_manual() {
        let (mut losses, now) = lives(&taken_over(), &[31.0, 30.2, 31.6, 30.4, 31.9, 31.0], 0.0);
        let now = now + secs(90.0);
        losses.lost(&LossCause::PingTimeout(secs(5.0)), secs(80.0), now);
        assert_eq!(losses.words(), "7 losses: session taken over ×6 (every 31 s ±1 s), ping timeout ×1");
        let found = losses.contest(&PatternRules::default(), "gw-17", now).unwrap();
        let expected = "another client uses id \"gw-17\": 6 of 7 closes came 30-32 s after our CONNACK with reason 0x8E; ";
        assert!(found.evidence.starts_with(expected), "{}", found.evidence);
        assert!(found.hint.contains("second \"gw-17\""));
        assert!(losses.contest(&PatternRules::default(), "gw-17", now + secs(601.0)).is_none(), "long past");
    }

    #[test]
    fn two_takeovers_are_no_contest_and_three_are() {
        let rules = PatternRules::default();
        let (losses, now) = lives(&taken_over(), &[400.0, 20.0], 5.0);
        assert!(losses.contest(&rules, "a", now).is_none());
        let (losses, now) = lives(&taken_over(), &[400.0, 20.0, 90.0], 5.0);
        let found = losses.contest(&rules, "a", now).unwrap();
        assert!(found.evidence.contains("20 s to 7 min"), "{}", found.evidence);
        assert!(!found.evidence.contains("every"), "no rhythm, none told: {}", found.evidence);
    }

    #[test]
    fn silent_closes_are_a_contest_only_in_a_rhythm() {
        let rules = PatternRules::default();
        let (losses, now) = lives(&LossCause::PeerClosed, &[31.0, 30.5, 31.5, 30.8, 31.2], 10.0);
        let found = losses.contest(&rules, "gw-17", now).unwrap();
        assert!(
            found.evidence.contains("may use id \"gw-17\": 5 of 5 closes came 31 s ±0 s"),
            "{}",
            found.evidence
        );
        let (losses, now) = lives(&LossCause::PeerClosed, &[31.0, 30.5, 31.5, 30.8], 10.0);
        assert!(losses.contest(&rules, "gw-17", now).is_none(), "four are too few");
        let (losses, now) = lives(&LossCause::PeerClosed, &[3.0, 50.0, 11.0, 200.0, 31.0, 7.0], 10.0);
        assert!(losses.contest(&rules, "gw-17", now).is_none(), "no rhythm");
    }

    /// A restart each night, and a load balancer that ends links after a time.
    #[test]
    fn what_ends_links_seldom_is_no_contest() {
        let rules = PatternRules::default();
        let (night, hour) = (24.0 * 3600.0, 3600.0);
        for cause in [taken_over(), LossCause::PeerClosed] {
            let (losses, now) = lives(&cause, &[night - 5.0; 9], 5.0);
            assert_eq!(losses.contest(&rules, "a", now), None, "a restart each night: {cause:?}");
        }
        for age in [0.5 * hour, hour, 12.0 * hour] {
            let (losses, now) = lives(&LossCause::PeerClosed, &[age; 30], 1.0);
            assert_eq!(losses.contest(&rules, "a", now), None, "links end after {age} s");
        }
        let (losses, now) = lives(&LossCause::PeerClosed, &[30.0; 9], 300.0);
        assert_eq!(losses.contest(&rules, "a", now), None, "a close now and then, however equal");
        let (losses, now) = lives(&taken_over(), &[60.0; 3], hour);
        assert!(losses.contest(&rules, "a", now + secs(hour)).is_some(), "in the slow lane");
        assert_eq!(losses.contest(&rules, "a", now + secs(2.0 * hour + 1.0)), None, "and it is forgotten");
        // Those of last week are not counted with those of today.
        let mut losses = losses;
        losses.lost(&taken_over(), secs(20.0), now + secs(7.0 * night));
        assert_eq!(losses.contest(&rules, "a", now + secs(7.0 * night)), None, "one");
    }

    #[test]
    fn flapping_is_many_short_links_in_a_short_time() {
        let rules = PatternRules::default();
        let (losses, now) = lives(&LossCause::PeerClosed, &[2.0, 20.0, 8.0, 11.0], 5.0);
        let found = losses.flapping(&rules, now).unwrap();
        assert!(
            found.evidence.starts_with("4 links within 10 min lived 2.0-20 s (median 9.5 s)"),
            "{}",
            found.evidence
        );
        assert!(losses.flapping(&rules, now + secs(601.0)).is_none(), "over");
        let (losses, now) = lives(&LossCause::PeerClosed, &[2.0, 20.0, 8.0], 5.0);
        assert!(losses.flapping(&rules, now).is_none(), "three");
        let (losses, now) = lives(&LossCause::PeerClosed, &[100.0; 6], 5.0);
        assert!(losses.flapping(&rules, now).is_none(), "long enough");
        let (losses, now) = lives(&LossCause::Local(LocalCause::Restart), &[1.0; 9], 1.0);
        assert!(losses.is_empty() && losses.flapping(&rules, now).is_none(), "asked for");
    }

    #[test]
    fn only_the_last_64_are_remembered() {
        let (losses, now) = lives(&LossCause::PeerClosed, &[1.0; 200], 0.0);
        assert_eq!((losses.len(), losses.count_within(secs(9.5), now)), (64, 10));
    }
}
