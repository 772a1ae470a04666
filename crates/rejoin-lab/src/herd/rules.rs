//! How other clients space their attempts, from their sources and documents (November 2026).
//!
//! Each is the rule alone, in the herd's world; a client may do more. `failures` counts from zero for the first wait
//! after the loss.

use super::{CUT_AT, SECOND};

/// One rule: given the failures so far, the start of the last attempt and now, when to try next.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Whose it is.
    pub name: &'static str,
    /// The rule in words.
    pub words: &'static str,
    wait: Wait,
    /// After so many failures the client closes itself.
    tries_max: u32,
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
}

const MILLISECOND: u64 = SECOND / 1000;
const NO_LIMIT: u32 = u32::MAX;
const POLL: u64 = 3 * SECOND;

const fn rule(name: &'static str, words: &'static str, wait: Wait) -> Rule {
    Rule { name, words, wait, tries_max: NO_LIMIT }
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
pub const ALL: [Rule; 18] = [
    rule("MQTT.js", "interval timer of 1 s, same phase for all", Wait::Grid(SECOND)),
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
    ),
    rule("Paho C", "whole seconds around 1 s doubling to 60 s, seen by a 3 s poll", Wait::Polled),
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
    ),
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
    ),
    Rule {
        tries_max: 60,
        ..rule(
            "nats.go",
            "2 s + U(0, 0.1 s), before the first try too with one server; closed after 60 tries",
            Wait::Steady { wait: 2 * SECOND, jitter: 100 * MILLISECOND },
        )
    },
    Rule {
        tries_max: 60,
        ..rule(
            "nats.go TLS",
            "2 s + U(0, 1 s), before the first try too with one server; closed after 60 tries",
            Wait::Steady { wait: 2 * SECOND, jitter: SECOND },
        )
    },
    rule(
        "nats.rs",
        "at once, then 2 ms doubling to 4 s, no jitter",
        Wait::AtOnceThen { base: 2 * MILLISECOND, factor: 2.0, cap: 4 * SECOND, low: 1.0, high: 1.0 },
    ),
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
    full_jitter("full jitter, 5 s", "U(0, min(5 s, 1 s × 2^n))", 5),
    full_jitter("full jitter, 15 s", "U(0, min(15 s, 1 s × 2^n))", 15),
    full_jitter("full jitter, 30 s", "U(0, min(30 s, 1 s × 2^n))", 30),
];

impl Rule {
    /// The rule of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|rule| rule.name == name)
    }

    /// When the next attempt comes; `None` when there is none any more.
    pub(super) fn next(
        &self,
        failures: u32,
        started: u64,
        at: u64,
        chance: &mut fastrand::Rng,
    ) -> Option<u64> {
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
                at.max(started + drawn(base, factor, cap, (low, high), failures, chance))
            }
            Wait::Polled => polled(failures, at, chance),
            Wait::ThenExactly { cap, .. } if failures >= 10 => at + cap,
            Wait::ThenExactly { base, cap, low, high } => {
                at + drawn(base, 2.0, cap, (low, high), failures, chance)
            }
        })
    }
}

fn drawn(base: u64, factor: f64, cap: u64, range: (f64, f64), n: u32, chance: &mut fastrand::Rng) -> u64 {
    let window = (base as f64 * factor.powi(n.min(60).cast_signed())).min(cap as f64);
    (window * (range.0 + (range.1 - range.0) * chance.f64())) as u64
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
        let first = |name| Rule::named(name)?.next(0, 0, CUT_AT, &mut fastrand::Rng::with_seed(1));
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
