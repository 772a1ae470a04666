//! How other clients space their attempts, from their sources and documents (November 2026).
//!
//! Each is the rule alone, in the herd's world; a client may do more. Three are nobody's: two ways to draw a pause that a
//! widely read article compares, and rejoin's own waits with one clock for an attempt, to show what the second is for.

use std::time::Duration;

use super::{CUT_AT, SECOND};

/// One rule: given the past and now, when to try next.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Whose it is.
    pub name: &'static str,
    /// The rule in words.
    pub words: &'static str,
    wait: Wait,
    /// After so many failures the client closes itself.
    tries_max: u32,
    /// The limit of an attempt that the client has by default, in seconds, where its documents say.
    own_limit: Option<u64>,
    /// That limit doubles when it expires, to a minute.
    limit_doubles: bool,
}

/// What a client remembers since the loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    /// Failures before this one: none at the loss itself.
    pub(super) failures: u32,
    /// Failures by which the broker showed that it is there and has too much to do.
    pub(super) overloads: u32,
    /// The last failure was one of these.
    pub(super) overloaded: bool,
    /// The start of the last attempt.
    pub(super) started: u64,
    /// The pause before it.
    pub(super) waited: u64,
}

impl Default for Past {
    fn default() -> Self {
        Self { failures: 0, overloads: 0, overloaded: false, started: CUT_AT, waited: 0 }
    }
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    /// At the next tick of a clock all clients share.
    Grid(u64),
    /// One wait, then always the same.
    Fixed { first: u64, then: u64 },
    /// Always the same plus U(0, jitter), before the first try too.
    Steady { wait: u64, jitter: u64 },
    /// base × (n+1)², up to the cap.
    Square { base: u64, cap: u64 },
    /// base × factor^n up to the cap, times U(low, high), and never beyond `most`.
    Exponential { base: u64, factor: f64, cap: u64, low: f64, high: f64, most: u64 },
    /// As `Exponential`, but the first try comes at once.
    AtOnceThen { base: u64, factor: f64, cap: u64, low: f64, high: f64 },
    /// As `Exponential`, counted from the start of the last attempt.
    FromStart { base: u64, factor: f64, cap: u64, low: f64, high: f64 },
    /// Whole seconds in [base/1.2, base×1.2], base doubling from 1 s to 60 s, seen by a poll every 3 s.
    Polled,
    /// As `Exponential` up to ten failures, then exactly the cap.
    ThenExactly { base: u64, cap: u64, low: f64, high: f64 },
    /// U(base, 3 × the last wait), up to the cap.
    Decorrelated { base: u64, cap: u64 },
    /// rejoin's: one window while the broker is absent, another while it is overloaded.
    TwoSignals,
}

const MILLISECOND: u64 = SECOND / 1000;
const NO_LIMIT: u32 = u32::MAX;
const POLL: u64 = 3 * SECOND;
const LONGEST_LIMIT: u64 = 60 * SECOND;

const fn rule(name: &'static str, words: &'static str, wait: Wait) -> Rule {
    Rule { name, words, wait, tries_max: NO_LIMIT, own_limit: None, limit_doubles: false }
}

const fn full_jitter(name: &'static str, words: &'static str, cap: u64) -> Rule {
    rule(
        name,
        words,
        Wait::Exponential {
            base: SECOND,
            factor: 2.0,
            cap: cap * SECOND,
            low: 0.0,
            high: 1.0,
            most: u64::MAX,
        },
    )
}

/// All rules of the tables, in their order.
pub const ALL: [Rule; 21] = [
    rule("MQTT.js", "interval timer of 1 s, same phase for all", Wait::Grid(SECOND)).limited_to(30),
    rule("libmosquitto", "1 s, no jitter", Wait::Steady { wait: SECOND, jitter: 0 }),
    rule(
        "libmosquitto (1, 30, exp)",
        "1 s × (n+1)² up to 30 s, no jitter",
        Wait::Square { base: SECOND, cap: 30 * SECOND },
    ),
    rule(
        "HiveMQ Java",
        "min(1 s × 2^n, 120 s) × U(0.75, 1.25)",
        Wait::Exponential {
            base: SECOND,
            factor: 2.0,
            cap: 120 * SECOND,
            low: 0.75,
            high: 1.25,
            most: u64::MAX,
        },
    )
    .limited_to(60),
    rule("Paho C", "whole seconds around 1 s doubling to 60 s, seen by a 3 s poll", Wait::Polled)
        .limited_to(30),
    rule(
        "Paho Java",
        "1 s doubling to 128 s, no jitter",
        Wait::Exponential {
            base: SECOND,
            factor: 2.0,
            cap: 128 * SECOND,
            low: 1.0,
            high: 1.0,
            most: u64::MAX,
        },
    )
    .limited_to(30),
    rule(
        "aws-c-mqtt",
        "min(U(0, 1 s × 2^n), 120 s)",
        Wait::Exponential {
            base: SECOND,
            factor: 2.0,
            cap: u64::MAX,
            low: 0.0,
            high: 1.0,
            most: 120 * SECOND,
        },
    )
    .limited_to(20),
    Rule {
        tries_max: 60,
        ..rule(
            "nats.go",
            "2 s + U(0, 0.1 s), before the first try too with one server; closed after 60 tries",
            Wait::Steady { wait: 2 * SECOND, jitter: 100 * MILLISECOND },
        )
        .limited_to(2)
    },
    Rule {
        tries_max: 60,
        ..rule(
            "nats.go TLS",
            "2 s + U(0, 1 s), before the first try too with one server; closed after 60 tries",
            Wait::Steady { wait: 2 * SECOND, jitter: SECOND },
        )
        .limited_to(2)
    },
    rule(
        "nats.rs",
        "at once, then 2 ms doubling to 4 s, no jitter",
        Wait::AtOnceThen { base: 2 * MILLISECOND, factor: 2.0, cap: 4 * SECOND, low: 1.0, high: 1.0 },
    )
    .limited_to(5),
    rule(
        "gRPC",
        "1 s × 1.6^n up to 120 s, ±20 %, from the start of the attempt",
        Wait::FromStart { base: SECOND, factor: 1.6, cap: 120 * SECOND, low: 0.8, high: 1.2 },
    ),
    rule("autopaho", "at once, then 10 s", Wait::Fixed { first: 0, then: 10 * SECOND }),
    rule(
        "librdkafka",
        "100 ms doubling to 10 s, −25…+50 %, cap after the jitter",
        Wait::Exponential {
            base: 100 * MILLISECOND,
            factor: 2.0,
            cap: 10 * SECOND,
            low: 0.75,
            high: 1.5,
            most: 10 * SECOND,
        },
    ),
    rule(
        "franz-go",
        "250 ms × 2^n ±20 % up to 5 s; exactly 5 s after 10 failures",
        Wait::ThenExactly { base: 250 * MILLISECOND, cap: 5 * SECOND, low: 0.8, high: 1.2 },
    ),
    rule(
        "Azure SDK (Rust)",
        "at once, then 2^(n+7) ms up to 60 s, × U(0.9, 1)",
        Wait::AtOnceThen { base: 256 * MILLISECOND, factor: 2.0, cap: 60 * SECOND, low: 0.9, high: 1.0 },
    ),
    rule(
        "decorrelated jitter, 120 s",
        "min(120 s, U(1 s, 3 × the last wait))",
        Wait::Decorrelated { base: SECOND, cap: 120 * SECOND },
    ),
    rule(
        "equal jitter, 120 s",
        "half of min(120 s, 1 s × 2^n), plus U(0, the same)",
        Wait::Exponential {
            base: SECOND,
            factor: 2.0,
            cap: 120 * SECOND,
            low: 0.5,
            high: 1.0,
            most: u64::MAX,
        },
    ),
    full_jitter("full jitter, 5 s", "U(0, min(5 s, 1 s × 2^n))", 5),
    full_jitter("full jitter, 15 s", "U(0, min(15 s, 1 s × 2^n))", 15),
    full_jitter("full jitter, 30 s", "U(0, min(30 s, 1 s × 2^n))", 30),
    Rule {
        limit_doubles: true,
        ..rule(
            "rejoin's waits, one clock",
            "U(0, 2 s), then as rejoin waits for the absent and for the overloaded; the limit doubles when it expires",
            Wait::TwoSignals,
        )
    },
];

impl Rule {
    /// The rule of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|rule| rule.name == name)
    }

    /// The limit of an attempt that this client has by default; `None` where it is not known to us.
    pub fn own_limit(&self) -> Option<Duration> {
        self.own_limit.map(Duration::from_secs)
    }

    const fn limited_to(mut self, seconds: u64) -> Self {
        self.own_limit = Some(seconds);
        self
    }

    /// The limit of the next attempt, where this one expired.
    pub(super) fn time_out_after(&self, expired: u64) -> u64 {
        if self.limit_doubles { (expired * 2).min(LONGEST_LIMIT).max(expired) } else { expired }
    }

    /// When the next attempt comes; `None` when there is none any more.
    pub(super) fn next(&self, past: &Past, at: u64, chance: &mut fastrand::Rng) -> Option<u64> {
        let failures = past.failures;
        if failures >= self.tries_max {
            return None;
        }
        Some(match self.wait {
            Wait::Grid(step) => at + step - (at - CUT_AT) % step,
            Wait::Fixed { first, .. } if failures == 0 => at + first,
            Wait::Fixed { then, .. } => at + then,
            Wait::Steady { wait, jitter } => at + wait + chance.u64(0..=jitter),
            Wait::Square { base, cap } => {
                let n = u64::from(failures) + 1;
                at + base.saturating_mul(n * n).min(cap)
            }
            Wait::Exponential { base, factor, cap, low, high, most } => {
                at + drawn(base, factor, cap, (low, high), failures, chance).min(most)
            }
            Wait::AtOnceThen { .. } if failures == 0 => at,
            Wait::AtOnceThen { base, factor, cap, low, high } => {
                at + drawn(base, factor, cap, (low, high), failures - 1, chance)
            }
            Wait::FromStart { base, factor, cap, low, high } => {
                at.max(past.started + drawn(base, factor, cap, (low, high), failures, chance))
            }
            Wait::Polled => polled(failures, at, chance),
            Wait::ThenExactly { cap, .. } if failures >= 10 => at + cap,
            Wait::ThenExactly { base, cap, low, high } => {
                at + drawn(base, 2.0, cap, (low, high), failures, chance)
            }
            Wait::Decorrelated { base, cap } => {
                at + chance.u64(base..=past.waited.max(base).saturating_mul(3)).min(cap)
            }
            Wait::TwoSignals => at + two_signals(past, at, chance),
        })
    }
}

fn drawn(base: u64, factor: f64, cap: u64, range: (f64, f64), n: u32, chance: &mut fastrand::Rng) -> u64 {
    let window = (base as f64 * factor.powi(n.min(60).cast_signed())).min(cap as f64);
    (window * (range.0 + (range.1 - range.0) * chance.f64())) as u64
}

fn two_signals(past: &Past, at: u64, chance: &mut fastrand::Rng) -> u64 {
    if past.overloaded {
        return drawn(10 * SECOND, 1.5, 60 * SECOND, (0.5, 1.0), past.overloads - 1, chance);
    }
    let first = 2 * SECOND;
    let cap = (15 * SECOND).min((at - CUT_AT).max(first));
    drawn(first, 2.0, cap, (0.0, 1.0), past.failures.saturating_sub(past.overloads + 1), chance)
}

fn polled(failures: u32, at: u64, chance: &mut fastrand::Rng) -> u64 {
    let base = (1_u64 << failures.min(6)).min(60) as f64;
    let (low, high) = ((base / 1.2) as u64, (base * 1.2) as u64);
    let due = at + chance.u64(low..=high) * SECOND;
    // Each process polls in a phase of its own.
    due + chance.u64(0..POLL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_before_the_first_try_does() {
        let first =
            |name| Rule::named(name)?.next(&Past::default(), CUT_AT, &mut fastrand::Rng::with_seed(1));
        for (name, least, most) in [
            ("nats.go", 2 * SECOND, 2 * SECOND + 100 * MILLISECOND),
            ("nats.go TLS", 2 * SECOND, 3 * SECOND),
            ("libmosquitto", SECOND, SECOND),
            ("autopaho", 0, 0),
        ] {
            let waits = first(name).map(|at| at - CUT_AT);
            assert!(waits.is_some_and(|waits| (least..=most).contains(&waits)), "{name}: {waits:?}");
        }
    }
}
