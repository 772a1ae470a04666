//! What is best read as a table: health, alerts, baselines, what was expected, what happened, how to repeat it.

use super::axis::{count, length};
use super::chart::{self, head, scroller};
use super::markup::{Markup, Number};
use crate::facts::{Baseline, Facts, Tone, Verdict};

/// So many rows has the event log: the latest.
const EVENTS: usize = 600;

/// A table in a section of its own. Cells that are wide are texts.
fn table(page: &mut Markup, title: &str, names: &[&str], rows: impl Iterator<Item = Vec<(Tone, String)>>) {
    page.open("section", &[]);
    page.element("h2", &[], title);
    scroller(page, title);
    page.open("table", &[]);
    head(page, names);
    page.open("tbody", &[]);
    for row in rows {
        page.open("tr", &[]);
        for (tone, cell) in row {
            cell_of(page, tone, &cell);
        }
        page.close();
    }
    page.close();
    page.close();
    page.close();
    page.close();
}

/// A cell; one that is good or bad has a sign beside its words.
fn cell_of(page: &mut Markup, tone: Tone, text: &str) {
    match tone {
        Tone::Plain => page.element("td", &[("class", &"words")], text),
        _ => {
            page.open("td", &[("class", &class(tone))]);
            sign(page, tone, 12);
            page.words(text);
            page.close();
        }
    }
}

/// The class of a tone.
pub(crate) const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Wait => "wait",
        Tone::Bad => "bad",
    }
}

/// A shape for each tone, so that nobody needs to see colours: a disc with a tick, a triangle, a square with a cross.
pub(crate) fn sign(page: &mut Markup, tone: Tone, size: u32) {
    let (shape, stroke) = match tone {
        Tone::Plain => return,
        Tone::Good => ("M8 .5a7.5 7.5 0 1 1 0 15a7.5 7.5 0 1 1 0-15z", "M4.4 8.2l2.6 2.6 4.6-5.2"),
        Tone::Wait => ("M8 .8L15.7 14.8H.3z", "M8 5.6v4M8 11.9v.8"),
        Tone::Bad => ("M1 1h14v14H1z", "M4.8 4.8l6.4 6.4M11.2 4.8l-6.4 6.4"),
    };
    let class = format!("sign {}", class(tone));
    page.open(
        "svg",
        &[
            ("class", &class),
            ("width", &size),
            ("height", &size),
            ("viewBox", &"0 0 16 16"),
            ("aria-hidden", &"true"),
        ],
    );
    page.leaf("path", &[("class", &"shape"), ("d", &shape)]);
    page.leaf("path", &[("class", &"stroke"), ("d", &stroke)]);
    page.close();
}

fn status(word: &str) -> Tone {
    match word {
        "healthy" | "ok" | "resolved" | "ready" => Tone::Good,
        "degraded" | "pending" => Tone::Wait,
        "unhealthy" | "firing" => Tone::Bad,
        _ => Tone::Plain,
    }
}

fn plain(text: impl Into<String>) -> (Tone, String) {
    (Tone::Plain, text.into())
}

fn since(at: Option<f64>) -> (Tone, String) {
    plain(at.map_or_else(|| "–".to_owned(), chart::when))
}

/// What was expected of the run, and what was odd about it.
pub(crate) fn verdict(page: &mut Markup, verdict: &Verdict) {
    if !verdict.expectations.is_empty() {
        let rows = verdict.expectations.iter().map(|(name, limit, value, pass)| {
            let tone = if *pass { (Tone::Good, "pass".to_owned()) } else { (Tone::Bad, "fail".to_owned()) };
            vec![plain(name), plain(limit), plain(value), tone]
        });
        table(page, "Expectations", &["what", "limit", "value", "verdict"], rows);
    }
    if !verdict.anomalies.is_empty() {
        let rows = verdict.anomalies.iter().map(|what| vec![plain(what)]);
        table(page, "Anomalies", &["what"], rows);
    }
}

/// Alerts, health and what is normal; what is not there is left out.
pub(crate) fn health(page: &mut Markup, facts: &Facts) {
    if !facts.alerts.is_empty() {
        let rows = facts.alerts.iter().map(|alert| {
            let number =
                |value: Option<f64>| plain(value.map_or_else(String::new, |value| Number(value).to_string()));
            let why = [alert.evidence.as_str(), alert.hint.as_str()];
            let why: Vec<&str> = why.into_iter().filter(|text| !text.is_empty()).collect();
            vec![
                (status(&alert.state), alert.state.clone()),
                plain(&alert.rule),
                number(alert.value),
                number(alert.limit),
                since(alert.since),
                plain(why.join("; ")),
            ]
        });
        table(page, "Alerts", &["state", "rule", "value", "limit", "since", "evidence and hint"], rows);
    }
    if !facts.checks.is_empty() {
        let rows = facts.checks.iter().map(|check| {
            vec![
                (status(&check.status), check.status.clone()),
                plain(&check.name),
                plain(&check.detail),
                since(check.since),
            ]
        });
        let title =
            if facts.health.is_empty() { "Health".to_owned() } else { format!("Health: {}", facts.health) };
        table(page, &title, &["status", "check", "detail", "since"], rows);
    }
    if !facts.baselines.is_empty() {
        let rows = facts.baselines.iter().map(|baseline| {
            let value = |value: Option<f64>| {
                plain(value.map_or_else(|| "–".to_owned(), |value| said(baseline, value)))
            };
            let ratio = baseline.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("× {}", Number(ratio)));
            vec![
                plain(baseline.signal.replace('_', " ")),
                plain(&baseline.state),
                value(baseline.median),
                value(baseline.spread),
                value(baseline.now),
                plain(ratio),
            ]
        });
        table(
            page,
            "What is normal here",
            &["signal", "state", "median", "spread", "now", "now by median"],
            rows,
        );
    }
}

fn said(baseline: &Baseline, value: f64) -> String {
    match baseline.unit.as_str() {
        "s" => length(value * 1e3),
        "ms" => length(value),
        "1/h" => format!("{} per hour", Number(value)),
        unit => format!("{} {unit}", Number(value)),
    }
}

/// What happened. The filter needs no script.
pub(crate) fn events(page: &mut Markup, facts: &Facts) {
    page.open("section", &[("id", &"events")]);
    page.element("h2", &[], "What happened");
    if facts.events.is_empty() {
        page.element("p", &[("class", &"note")], "Nothing was told.");
        page.close();
        return;
    }
    page.open("fieldset", &[]);
    page.element("legend", &[], "Show");
    for (id, words, checked) in [("all", "everything", true), ("trouble", "only trouble", false)] {
        page.open("label", &[]);
        let name: (&'static str, &dyn std::fmt::Display) = ("name", &"filter");
        if checked {
            page.leaf("input", &[("type", &"radio"), name, ("id", &id), ("checked", &"checked")]);
        } else {
            page.leaf("input", &[("type", &"radio"), name, ("id", &id)]);
        }
        page.words(words);
        page.close();
    }
    page.close();
    let skipped = facts.events.len().saturating_sub(EVENTS);
    scroller(page, "Event log");
    page.open("table", &[("class", &"log")]);
    head(page, &["at", "what", "in words"]);
    page.open("tbody", &[]);
    for event in &facts.events[skipped..] {
        page.open("tr", &[("class", &class(event.tone))]);
        page.element("td", &[], &chart::when(event.at));
        cell_of(page, event.tone, &event.word);
        page.element("td", &[("class", &"words")], &event.text);
        page.close();
    }
    page.close();
    page.close();
    page.close();
    if skipped > 0 {
        page.element("p", &[("class", &"note")], &format!("{skipped} earlier ones are in the data below"));
    }
    page.close();
}

/// How to repeat it.
pub(crate) fn repeat(page: &mut Markup, facts: &Facts) {
    let program = &facts.program;
    page.open("section", &[]);
    page.element("h2", &[], "How to repeat it");
    page.open("pre", &[("tabindex", &"0")]);
    page.words(if program.command.is_empty() {
        "(the command is not in the document)"
    } else {
        &program.command
    });
    page.close();
    page.open("dl", &[]);
    let row = |page: &mut Markup, name: &str, value: &str| {
        if !value.is_empty() {
            page.element("dt", &[], name);
            page.element("dd", &[], value);
        }
    };
    row(page, "seed", program.seed.as_deref().unwrap_or_default());
    row(page, "version", &program.version);
    row(page, "machine", &program.machine);
    row(page, "client id", &facts.client_id);
    row(page, "servers", &facts.servers.join(", "));
    for (name, value) in &facts.totals {
        row(page, &name.replace('_', " "), &count(*value));
    }
    page.close();
    page.close();
}
