//! The lanes: what was injected, what was true, what the client said, and where it said too much.
//!
//! The height of a block is its state, as in the terminal: open is full, suspect is half, closed is a line at the ground.

use super::axis::length;
use super::chart::{self, Block, Figure, Key, Sheet, head, plot, scroller};
use super::markup::Markup;
use crate::facts::{Facts, Span};

/// Height of one lane, and of the gap below it.
const LANE: f64 = 26.0;
const GAP: f64 = 8.0;

/// More spans than this are drawn as columns, each as high as its share of open time.
const SPANS: usize = 1_200;
const COLUMNS: usize = 800;

/// Rows of the table behind it.
const ROWS: usize = 200;

/// A lane to draw.
struct Lane {
    name: &'static str,
    spans: Vec<Span>,
}

/// Writes the lanes.
pub(crate) fn write(page: &mut Markup, sheet: &Sheet<'_>) {
    let facts = sheet.facts;
    let lanes = lanes(facts);
    let gist = gist(facts);
    Figure { id: "lanes", title: "What was so, and what the client said", gist: &gist, keys: &keys(facts) }
        .begin(page);
    let height = (lanes.len() as f64 * (LANE + GAP)).max(LANE) as u32;
    let names = |page: &mut Markup| {
        for (n, lane) in lanes.iter().enumerate() {
            chart::name(page, top(n) + LANE / 2.0, lane.name);
        }
    };
    plot(page, height, &format!("Lanes over time. {gist}"), names, |page| {
        sheet.bands(page, height);
        sheet.times(page, height);
        for (n, lane) in lanes.iter().enumerate() {
            if lane.spans.len() > SPANS {
                shares(page, sheet, lane, top(n));
                continue;
            }
            for span in &lane.spans {
                draw(page, sheet, lane.name, span, top(n));
            }
        }
        let said = lanes.iter().position(|lane| lane.name == "client").unwrap_or(0);
        for (from, to) in facts.lies() {
            let title = format!("claimed open while closed for {}", length(to - from));
            let (from, to) = (sheet.time.at(from), sheet.time.at(to));
            Block { class: "lie", from, to, y: top(said), height: LANE, title: &title }.draw(page);
        }
    });
    table(page, facts, &lanes);
    page.close();
}

fn top(lane: usize) -> f64 {
    lane as f64 * (LANE + GAP) + GAP / 2.0
}

fn lanes(facts: &Facts) -> Vec<Lane> {
    let mut lanes = Vec::new();
    if !facts.truth.is_empty() {
        lanes.push(Lane { name: "injected", spans: facts.injected.clone() });
        lanes.push(Lane { name: "truth", spans: facts.truth.clone() });
    }
    lanes.push(Lane { name: "client", spans: facts.client.clone() });
    if facts.truth.is_empty() && facts.samples.has("silent_ms") {
        let spans = heard(facts);
        // Of a very long run the rows are too far apart to show ticks.
        if spans.len() <= SPANS {
            lanes.push(Lane { name: "heard", spans });
        }
    }
    lanes
}

/// Of a time whose rows were merged it is not known any more when the broker was heard.
const NOT_KEPT: &str = "not kept";

/// Where the broker was heard: rows with less silence than their distance.
fn heard(facts: &Facts) -> Vec<Span> {
    let samples = &facts.samples;
    let every = samples.every_ms;
    let mut spans: Vec<Span> = Vec::new();
    let fine = samples.finely_from();
    if fine > 0 {
        let to = samples.t_ms.get(fine).copied().unwrap_or(facts.now_ms);
        spans.push(Span { from: 0.0, to, what: NOT_KEPT.to_owned(), label: String::new() });
    }
    for (t, silent) in samples.t_ms.iter().zip(samples.column("silent_ms")).skip(fine) {
        let Some(silent) = silent.filter(|silent| *silent < every) else { continue };
        let (from, to) = ((t - silent - every / 4.0).max(0.0), *t);
        match spans.last_mut() {
            Some(last) if last.what != NOT_KEPT && from <= last.to + every / 4.0 => last.to = to,
            _ => spans.push(Span { from, to, what: "heard".to_owned(), label: String::new() }),
        }
    }
    spans
}

fn gist(facts: &Facts) -> String {
    match facts.honesty {
        Some((all, _)) if all < 0.5 => {
            "The client never claimed an open link while nothing got through.".to_owned()
        }
        Some((all, longest)) => format!(
            "Claimed open while closed: {} in all, at most {} in a row (hatched).",
            length(all),
            length(longest)
        ),
        None if facts.client.len() > SPANS => format!(
            "Open for {} of {}; so many changes are drawn as the share of time in which it was open.",
            length(facts.time_open().0),
            length(facts.now_ms)
        ),
        None => format!("Open for {} of {}.", length(facts.time_open().0), length(facts.now_ms)),
    }
}

fn keys(facts: &Facts) -> Vec<Key> {
    let mut keys = vec![
        Key { class: "open", words: "open" },
        Key { class: "suspect", words: "suspect" },
        Key { class: "connecting", words: "connecting" },
        Key { class: "waiting", words: "waiting, closed" },
    ];
    if !facts.truth.is_empty() {
        keys.push(Key { class: "lie", words: "claimed open while closed" });
    }
    keys.push(Key { class: "band", words: "outage" });
    keys
}

/// How high a state stands, as a share of the lane, and how it is drawn.
fn look(lane: &str, what: &str) -> (f64, &'static str) {
    match (lane, what) {
        ("injected", _) => (1.0, "fault"),
        ("heard", NOT_KEPT) => (0.12, "unheard"),
        ("heard", _) => (0.55, "heard"),
        (_, "open") => (1.0, "open"),
        (_, "suspect") => (0.55, "suspect"),
        (_, "connecting") => (0.3, "connecting"),
        (_, "stopped") => (0.12, "stopped"),
        _ => (0.12, "waiting"),
    }
}

fn draw(page: &mut Markup, sheet: &Sheet<'_>, lane: &str, span: &Span, top: f64) {
    let (share, class) = look(lane, &span.what);
    let height = LANE * share;
    let words =
        if span.label.is_empty() { span.what.clone() } else { format!("{}: {}", span.what, span.label) };
    let title = format!(
        "{lane}: {words}, {} to {} ({})",
        chart::when(span.from),
        chart::when(span.to),
        length(span.to - span.from)
    );
    let (from, to) = (sheet.time.at(span.from), sheet.time.at(span.to));
    let block = Block { class, from, to, y: top + LANE - height, height, title: &title };
    block.draw(page);
    match class {
        "fault" => {
            let name = if span.label.is_empty() { &span.what } else { &span.label };
            let text = if chart::fit(name, to - from).is_some() { name } else { &span.what };
            block.label(page, "on-fault", text);
        }
        "heard" => {}
        _ if share > 0.9 => block.label(page, "on-block", &span.what),
        _ => {
            let above = Block { y: top - 2.0, height: LANE - height, ..block };
            if share < 0.5 {
                above.label(page, "tick", &span.what);
            }
        }
    }
}

/// A lane of too many spans: each column is as high as the share of its time in which the link was open.
fn shares(page: &mut Markup, sheet: &Sheet<'_>, lane: &Lane, top: f64) {
    let width = sheet.time.length() / COLUMNS as f64;
    let mut open = vec![0.0; COLUMNS];
    for span in lane.spans.iter().filter(|span| matches!(span.what.as_str(), "open" | "heard")) {
        let column = |t: f64| ((t / width) as usize).min(COLUMNS - 1);
        for (n, at) in open.iter_mut().enumerate().take(column(span.to) + 1).skip(column(span.from)) {
            let (from, to) = (n as f64 * width, (n + 1) as f64 * width);
            *at += (span.to.min(to) - span.from.max(from)).max(0.0) / width;
        }
    }
    // Columns that look the same are one block.
    let same = |a: &f64, b: &f64| (a * LANE).round() == (b * LANE).round();
    let mut from = 0;
    for columns in open.chunk_by(same) {
        let to = from + columns.len();
        let share = columns.iter().sum::<f64>() / columns.len() as f64;
        let class = if share > 0.0 { "open" } else { "waiting" };
        let height = (LANE * share.min(1.0)).max(LANE * 0.12);
        let at = |column: usize| column as f64 / COLUMNS as f64;
        let (start, end) = (from as f64 * width, to as f64 * width);
        let title = format!(
            "{}: open {} % of the time from {} to {}",
            lane.name,
            super::percent(share),
            chart::when(start),
            chart::when(end)
        );
        Block { class, from: at(from), to: at(to), y: top + LANE - height, height, title: &title }.draw(page);
        from = to;
    }
}

fn table(page: &mut Markup, facts: &Facts, lanes: &[Lane]) {
    page.open("details", &[]);
    page.element("summary", &[], "Table");
    scroller(page, "Lanes as a table");
    page.open("table", &[]);
    head(page, &["lane", "from", "for", "state", "why"]);
    page.open("tbody", &[]);
    let all = lanes.iter().filter(|lane| lane.name != "heard");
    let all: Vec<_> = all.flat_map(|lane| lane.spans.iter().map(move |span| (lane.name, span))).collect();
    for (lane, span) in all.iter().take(ROWS) {
        page.open("tr", &[]);
        page.element("th", &[("scope", &"row")], lane);
        page.element("td", &[], &chart::when(span.from));
        page.element("td", &[], &length(span.to - span.from));
        page.element("td", &[], &span.what);
        page.element("td", &[], &span.label);
        page.close();
    }
    for (from, to) in facts.lies().iter().take(ROWS) {
        page.open("tr", &[]);
        page.element("th", &[("scope", &"row")], "honesty");
        page.element("td", &[], &chart::when(*from));
        page.element("td", &[], &length(to - from));
        page.element("td", &[], "claimed open while closed");
        page.element("td", &[], "");
        page.close();
    }
    page.close();
    page.close();
    page.close();
    if all.len() > ROWS {
        let left = all.len() - ROWS;
        page.element(
            "p",
            &[("class", &"note")],
            &format!("{left} more are in the data at the end of this page"),
        );
    }
    page.close();
}
