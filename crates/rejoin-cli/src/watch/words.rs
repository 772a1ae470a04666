//! The study in words: the lines at the end of `rejoin watch`, of `rejoin report --text`, and in the report's banner.

use crate::facts::{Facts, Span};
use crate::report::{length, percent};
use crate::study::{Cause, Study};

/// Columns of the state in lines.
const STRIP: usize = 26;

/// The state of a link in one column of time; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lamp {
    /// Open.
    Open,
    /// Open by the book, unproven.
    Suspect,
    /// Not open.
    Closed,
}

impl Lamp {
    fn of(span: &Span) -> Self {
        match span.what.as_str() {
            "open" => Self::Open,
            "suspect" => Self::Suspect,
            _ => Self::Closed,
        }
    }

    /// As it is drawn.
    pub(crate) const fn mark(self) -> char {
        match self {
            Self::Open => '█',
            Self::Suspect => '▒',
            Self::Closed => '▁',
        }
    }
}

/// The worst of each of so many parts of a time; `None` where nothing was watched.
pub(crate) fn strip(spans: &[Span], from: f64, to: f64, width: usize) -> Vec<Option<Lamp>> {
    let mut columns = vec![None; width];
    let part = (to - from).max(1.0) / width.max(1) as f64;
    let column = |t: f64| ((t / part).max(0.0) as usize).min(width.saturating_sub(1));
    for span in spans.iter().filter(|span| span.to > from && span.from < to) {
        let last = column((span.to - from - 1e-6).max(span.from - from));
        for at in &mut columns[column(span.from - from)..=last] {
            *at = (*at).max(Some(Lamp::of(span)));
        }
    }
    columns
}

/// What was found, each with the word before it.
pub(crate) fn findings(study: &Study) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if study.losses > 0.0 {
        let causes: Vec<String> = study.causes.iter().map(cause).collect();
        let losses = match study.losses {
            ..1.5 => "1 loss".to_owned(),
            losses => format!("{losses:.0} losses"),
        };
        let known = study.told_apart();
        let last = if study.losses > known as f64 { format!("; of the last {known}") } else { String::new() };
        found.push(("why", format!("{losses}{last}: {}", causes.join(", "))));
    } else if study.links > 0.0 {
        found.push(("why", "no loss".to_owned()));
    }
    if let Some(guess) = &study.guess {
        found.push(("guess", guess.says.clone()));
        if !guess.attempt.is_empty() {
            found.push(("try", guess.attempt.clone()));
        }
    }
    let attempts = format!("attempts {:.0}  refused {:.0}", study.attempts, study.refused);
    match study.round_trip {
        Some(trip) => {
            let trip =
                format!("p50 {}  p99 {}  max {}", length(trip.p50), length(trip.p99), length(trip.max));
            found.push(("rtt", format!("{trip}      {attempts}")));
        }
        None => found.push(("rtt", format!("no ping was measured      {attempts}"))),
    }
    found
}

fn cause(cause: &Cause) -> String {
    let Cause { words, times, every } = cause;
    match every {
        Some((every, spread)) if *spread >= 1.0 => {
            format!("{words} ×{times} (every {} ±{})", length(*every), length(*spread))
        }
        Some((every, _)) => format!("{words} ×{times} (every {})", length(*every)),
        None => format!("{words} ×{times}"),
    }
}

/// The same for a page.
pub(crate) fn sentences(study: &Study) -> Vec<String> {
    findings(study).into_iter().map(|(word, text)| format!("{word}: {text}")).collect()
}

/// The lines at the end of a run.
pub(crate) fn summary(facts: &Facts) -> String {
    let study = Study::of(facts);
    let from = facts.client.first().map_or(0.0, |span| span.from);
    let strip: String = strip(&facts.client, from, facts.now_ms, STRIP)
        .into_iter()
        .map(|lamp| lamp.map_or(' ', Lamp::mark))
        .collect();
    let open =
        study.open.map_or_else(|| "never watched".to_owned(), |open| format!("open {} %", percent(open)));
    let mut text = format!(" state  {strip}  {open} of {}  (▒ suspect ▁ closed)\n", length(facts.now_ms));
    for (word, finding) in findings(&study) {
        // One line is one line, whatever a broker writes into its reason string.
        let finding = finding.replace(|c: char| c.is_control(), " ");
        text.push_str(&format!(" {word:<6} {finding}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::facts::SCHEMA;

    fn span(from: u32, to: u32, what: &str) -> Span {
        Span { from: from.into(), to: to.into(), what: what.to_owned(), label: String::new() }
    }

    #[test]
    fn a_short_loss_is_not_lost_in_a_long_time() {
        let spans =
            [span(0, 500_000, "open"), span(500_000, 500_050, "waiting"), span(500_050, 1_000_000, "open")];
        let drawn: String =
            strip(&spans, 0.0, 1e6, 20).into_iter().map(|lamp| lamp.map_or(' ', Lamp::mark)).collect();
        assert_eq!(drawn, "██████████▁█████████");
        assert!(strip(&spans, 0.0, 2e6, 20)[19].is_none());
        assert!(strip(&[], 0.0, 0.0, 0).is_empty());
        assert_eq!(strip(&spans, 1e6, 2e6, 3), [None; 3]);
    }

    #[test]
    fn the_summary_says_all_of_it_in_five_lines() {
        let taken = |n: u64| {
            json!({"start_ms": 31_000 * n, "end_ms": 31_000 * n + 500, "cause": "server-disconnect",
                "words": "session taken over (0x8E)", "code": 0x8E, "lived_ms": 30_500})
        };
        let open = |n: u64| json!({"from_ms": 31_000 * n + 500, "to_ms": 31_000 * (n + 1), "state": "open"});
        let shut = |n: u64| json!({"from_ms": 31_000 * n, "to_ms": 31_000 * n + 500, "state": "connecting"});
        let facts = Facts::of(&json!({
            "schema": SCHEMA, "clock": {"now_ms": 124_000}, "client": {"id": "gw-17"},
            "lanes": {"client": (0..4).flat_map(|n| [shut(n), open(n)]).collect::<Vec<_>>()},
            "outages": (1..4).map(taken).collect::<Vec<_>>(),
            "round_trips": {"count": 9, "p50_ms": 12, "p99_ms": 31, "max_ms": 2_100},
            "totals": {"attempts": 4, "links": 4},
        }))
        .unwrap();
        let text = summary(&facts);
        for part in [
            " state  ▁",
            "open 98.3 % of 2 min 4 s",
            " why    3 losses: session taken over ×3 (every 31 s)",
            " guess  another client uses id \"gw-17\": 3 of 3 closes came",
            " try    rejoin watch -I probe-",
            " rtt    p50 12 ms  p99 31 ms  max 2.1 s      attempts 4  refused 0",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn of_a_long_watch_all_losses_are_counted_and_the_last_told_apart() {
        let lost = |n: u64| json!({"number": 2_000 + n, "start_ms": n * 100, "end_ms": n * 100 + 1, "cause": "reset"});
        let facts = Facts::of(&json!({
            "schema": SCHEMA, "clock": {"now_ms": 1_000},
            "outages": (1..=3).map(lost).collect::<Vec<_>>(), "totals": {"links": 9},
        }))
        .unwrap();
        let text = summary(&facts);
        assert!(text.contains(" why    2003 losses; of the last 3: reset ×3"), "{text}");
    }
}
