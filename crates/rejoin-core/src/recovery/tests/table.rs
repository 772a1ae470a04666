//! Walks every cause and every code, and holds the whole table against a page people can read.

use std::fmt::Write as _;

use super::super::verdict::{Facts, Life, judge};
use super::*;
use crate::codec::packet::Qos;
use crate::error::{LocalCause, ProtocolError};

/// Every cause without a code, with whether it can end an attempt and whether it can end a link.
fn causes() -> Vec<(LossCause, bool, bool)> {
    use TransportErrorKind as T;
    let d = secs(5);
    let kinds = [
        T::NameNotFound,
        T::ResolverFailed,
        T::Refused,
        T::Unreachable,
        T::TimedOut,
        T::Reset,
        T::Closed,
        T::Resources,
        T::Certificate,
        T::CertificateRefused,
        T::Handshake,
        T::Unauthorized,
        T::Proxy,
        T::Credentials,
        T::Other,
    ];
    let mut all: Vec<_> = kinds.map(|kind| (open_failed(kind), true, false)).into();
    all.extend([
        (LossCause::ConnectTimeout(d), true, false),
        (LossCause::ConnackTimeout(d), true, false),
        (LossCause::ClosedBeforeConnack, true, false),
        (LossCause::PeerClosed, false, true),
    ]);
    let in_use = [T::Reset, T::Closed, T::TimedOut, T::Unreachable, T::Resources, T::Other];
    // Before CONNACK an end of the peer has a name of its own.
    all.extend(in_use.map(|kind| (broke(kind), !matches!(kind, T::Reset | T::Closed), true)));
    all.extend([
        (LossCause::PingTimeout(d), false, true),
        (LossCause::WriteStall(d), false, true),
        (LossCause::AckTimeout(d), false, true),
        (LossCause::HealthWatch(d), false, true),
        (LossCause::Protocol(ProtocolError::new(ReasonCode::MALFORMED_PACKET, "scripted")), true, true),
        (LossCause::Local(LocalCause::Shutdown), true, true),
        (LossCause::Local(LocalCause::Restart), true, true),
        (LossCause::Local(LocalCause::ForeignSession), true, true),
        (LossCause::Local(LocalCause::Renewal), false, true),
    ]);
    all
}

/// A number for each kind of cause: a kind added to `LossCause` does not compile here until the walk has it.
fn number(cause: &LossCause) -> usize {
    match cause {
        LossCause::Open { .. } => 0,
        LossCause::ConnectTimeout(_) => 1,
        LossCause::ConnackTimeout(_) => 2,
        LossCause::ClosedBeforeConnack => 3,
        LossCause::Refused { .. } => 4,
        LossCause::PeerClosed => 5,
        LossCause::Transport(_) => 6,
        LossCause::ServerDisconnect { .. } => 7,
        LossCause::PingTimeout(_) => 8,
        LossCause::WriteStall(_) => 9,
        LossCause::AckTimeout(_) => 10,
        LossCause::HealthWatch(_) => 11,
        LossCause::Protocol(_) => 12,
        LossCause::Local(LocalCause::Shutdown) => 13,
        LossCause::Local(LocalCause::Restart) => 14,
        LossCause::Local(LocalCause::ForeignSession) => 15,
        LossCause::Local(LocalCause::Renewal) => 16,
    }
}

const ALONE: Facts = Facts {
    life: Life::Never,
    nth: 1,
    unacked: false,
    credentials_ended: false,
    fresh_credentials: false,
    may_speak_v311: false,
    another_server: false,
    just_cut: false,
    named_server: false,
    herd: false,
};
/// Everything that helps is at hand.
const EQUIPPED: Facts = Facts {
    fresh_credentials: true,
    may_speak_v311: true,
    another_server: true,
    named_server: true,
    ..ALONE
};

/// The verdicts for the first seven times in a row: `now, 2: slow-lane`.
fn told(cause: &LossCause, facts: Facts) -> String {
    let mut out = String::new();
    let mut last = String::new();
    for nth in 1..=7 {
        let judged = judge(cause, &Facts { nth, ..facts });
        let mut word = judged.verdict.name().to_owned();
        match judged.adapt {
            Some(adapt) if judged.verdict == Verdict::Adapt(adapt) => word = format!("{adapt:?}"),
            Some(adapt) => write!(word, " + {adapt:?}").expect("a string takes everything"),
            None => {}
        }
        if word == last {
            continue;
        }
        match nth {
            1 => out.push_str(&word),
            _ => write!(out, ", {nth}: {word}").expect("a string takes everything"),
        }
        last = word;
    }
    out
}

/// One part of the page: a title, its columns, its rows.
struct Part {
    rows: Vec<Vec<String>>,
}

impl Part {
    fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    fn row(&mut self, name: String, cells: impl IntoIterator<Item = String>) {
        self.rows.push(std::iter::once(name).chain(cells).collect());
    }

    fn print(&self, out: &mut String) {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        out.push('\n');
        for (n, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
            out.push_str(cells.join(" | ").trim_end());
            out.push('\n');
            if n == 0 {
                let rules: Vec<_> = widths.iter().map(|&w| "-".repeat(w)).collect();
                out.push_str(&rules.join("-|-"));
                out.push('\n');
            }
        }
    }
}

fn codes() -> Vec<ReasonCode> {
    let mut codes = ReasonCode::ALL.to_vec();
    codes.extend([ReasonCode(0xA3), ReasonCode(0xFF)]);
    codes
}

fn whole_table() -> String {
    let mut out = String::from(
        "What the end of a link or an attempt means. \"3: x\" is x from the third time in a row.\n\
         alone: one server, no fresh credentials, no other version. equipped: all three at hand.\n",
    );
    let stable = |facts: Facts| Facts { life: Life::Stable, ..facts };
    let short = |facts: Facts| Facts { life: Life::Short, ..facts };

    let at_v311 = Facts { may_speak_v311: false, ..EQUIPPED };
    let mut part = Part::new(&["an attempt failed", "5.0, alone", "5.0, equipped", "3.1.1, equipped"]);
    for (cause, ..) in causes().iter().filter(|(_, attempt, _)| *attempt) {
        part.row(title(cause), [ALONE, EQUIPPED, at_v311].map(|facts| told(cause, facts)));
    }
    part.print(&mut out);

    let mut part = Part::new(&["CONNACK", "5.0, alone", "5.0, equipped", "3.1.1, equipped"]);
    for code in codes() {
        let cause = &refused(code);
        let in_v311 = matches!(code.0, 0x84..=0x88);
        let old = if in_v311 { told(cause, at_v311) } else { "-".to_owned() };
        part.row(code.to_string(), [told(cause, ALONE), told(cause, EQUIPPED), old]);
    }
    part.print(&mut out);

    let mut part =
        Part::new(&["a link ended (both versions)", "stable", "short life", "stable, one of a fleet"]);
    for (cause, ..) in causes().iter().filter(|(_, _, link)| *link) {
        let herd = Facts { herd: !matches!(cause, LossCause::Local(_)), ..stable(ALONE) };
        part.row(title(cause), [stable(ALONE), short(ALONE), herd].map(|facts| told(cause, facts)));
    }
    part.print(&mut out);

    let columns =
        ["DISCONNECT (5.0)", "stable, alone", "stable, equipped", "short life, alone", "short life, unacked"];
    let mut part = Part::new(&columns);
    let unacked = Facts { unacked: true, ..short(ALONE) };
    for code in codes() {
        let cause = &disconnected(code);
        let facts = [stable(ALONE), stable(EQUIPPED), short(ALONE), unacked];
        part.row(code.to_string(), facts.map(|facts| told(cause, facts)));
    }
    part.print(&mut out);
    out
}

fn title(cause: &LossCause) -> String {
    match cause {
        LossCause::Open { error, .. } => format!("open: {:?}", error.kind),
        LossCause::Transport(error) => format!("transport: {:?}", error.kind),
        other => other.name().to_owned(),
    }
}

#[test]
fn the_walk_has_every_cause() {
    let mut seen: Vec<_> = causes().iter().map(|(cause, ..)| number(cause)).collect();
    seen.extend([number(&refused(ReasonCode::BANNED)), number(&disconnected(ReasonCode::BANNED))]);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..=16).collect::<Vec<_>>());
}

#[test]
fn the_table_is_the_page() {
    // [MQTT-3.1.3-5] [MQTT-3.1.3-8] [MQTT-3.2.2-13]
    let expected = include_str!("verdicts.txt");
    let actual = whole_table();
    let first = actual.lines().zip(expected.lines()).find(|(a, e)| a != e);
    assert!(
        actual == expected,
        "the table differs from tests/verdicts.txt, first here: {first:#?}\nthe whole table now:\n{actual}"
    );
}

#[test]
fn every_row_has_a_reason() {
    let mut all: Vec<_> = causes().into_iter().map(|(cause, ..)| cause).collect();
    all.extend(codes().into_iter().flat_map(|code| [refused(code), disconnected(code)]));
    for cause in all {
        for opened in [false, true] {
            let why = super::super::why(&cause, opened);
            assert!(!why.is_empty() && !why.ends_with('.'), "{cause}: {why:?}");
        }
    }
}

#[test]
fn the_will_is_lowered_to_what_the_connack_offers() {
    let cause = LossCause::Refused {
        reason: ReasonCode::QOS_NOT_SUPPORTED,
        text: None,
        server_reference: None,
        v311_form: false,
        maximum_qos: Some(Qos::AtLeastOnce),
    };
    assert_eq!(told(&cause, ALONE), "WillQos(AtLeastOnce), 2: slow-lane"); // [MQTT-3.2.2-12]
}

#[test]
fn nothing_at_all_stops_by_the_table_but_a_shutdown() {
    let mut all: Vec<_> = causes().into_iter().map(|(cause, ..)| cause).collect();
    all.extend(codes().into_iter().flat_map(|code| [refused(code), disconnected(code)]));
    for cause in all.iter().filter(|c| **c != LossCause::Local(LocalCause::Shutdown)) {
        for life in [Life::Never, Life::Short, Life::Stable] {
            for nth in 1..20 {
                let verdict = judge(cause, &Facts { life, nth, ..ALONE }).verdict;
                assert_ne!(verdict, Verdict::Stop, "{cause}, {life:?}, {nth}");
            }
        }
    }
}
