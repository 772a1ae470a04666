//! The page and the picture of a herd.

use std::fmt::Write as _;

use super::{Outcome, SECOND, Scenario};

/// One line of a table: a client with two time-outs.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose rule.
    pub name: String,
    /// The rule in words.
    pub words: String,
    /// With a time-out of 1 s for an attempt, where that was run.
    pub short: Option<Outcome>,
    /// With 10 s, or with what the client has by default where the words say so.
    pub long: Outcome,
}

/// A table of one size of herd, with its heading.
pub fn table(scenario: &Scenario, clients: usize, rows: &[Row]) -> String {
    let bound = scenario.bound(clients);
    let mut page = format!("\n### {} clients, bound {} s\n\n", thousands(clients), seconds(bound));
    page.push_str(
        "| client | tries each while down | peak tries/s | limit 1 s: 50 / 99 / 100 % back | tries each \
         | limit 10 s: 50 / 99 / 100 % back | tries each | slots wasted, 1 s / 10 s |\n|---|---:|---:|---|---:|---|---:|---:|\n",
    );
    for row in rows {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} / {} |",
            row.name,
            each(row.long.tries_while_down, clients),
            thousands(usize::try_from(row.long.peak_tries).unwrap_or(usize::MAX)),
            shown(row, returns),
            shown(row, |short| each(short.tries, clients)),
            returns(&row.long),
            each(row.long.tries, clients),
            shown(row, |short| thousands(usize::try_from(short.wasted).unwrap_or(usize::MAX))),
            thousands(usize::try_from(row.long.wasted).unwrap_or(usize::MAX)),
        );
    }
    page
}

fn shown(row: &Row, what: impl Fn(&Outcome) -> String) -> String {
    row.short.as_ref().map_or_else(|| "–".to_owned(), what)
}

/// The three shares of one outcome, or why there is none.
pub fn returns(outcome: &Outcome) -> String {
    let shares = [50, 99, 100].map(|percent| outcome.back(percent).map_or_else(|| "–".to_owned(), seconds));
    let closed = match outcome.closed {
        0 => String::new(),
        n => format!(" ({} closed for good)", thousands(n)),
    };
    if outcome.all_back().is_some() || outcome.closed > 0 {
        return format!("{}{closed}", shares.join(" / "));
    }
    let share = outcome.returns.len() as f64 * 100.0 / outcome.clients.max(1) as f64;
    format!("**never** ({share:.1} % back after 30 min)")
}

/// Microseconds as seconds with one digit.
pub fn seconds(micros: u64) -> String {
    format!("{:.1}", micros as f64 / SECOND as f64)
}

/// Attempts of one client, on average.
pub fn tries_each(outcome: &Outcome) -> String {
    each(outcome.tries, outcome.clients)
}

fn each(total: u64, clients: usize) -> String {
    format!("{:.1}", total as f64 / clients.max(1) as f64)
}

/// A number with commas.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;
const POINTS: usize = 160;
const BOUND: &str = "#111827";
const COLOURS: [&str; 8] =
    ["#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#0e7490", "#a16207", "#be185d", "#475569"];

/// The share of the herd that is back over the time since the broker's return, one curve for each row.
pub fn curves(scenario: &Scenario, title: &str, rows: &[(&str, &Outcome)], until: u64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" fill=\"#111827\">{title}</text>\n"
    );
    grid(&mut svg, until);
    let clients = rows.first().map_or(1, |(_, outcome)| outcome.clients);
    let bound = scenario.bound(clients);
    // The first row is drawn over the others, and the bound over it: they nearly meet.
    for (nth, (name, outcome)) in rows.iter().enumerate().rev() {
        let colour = COLOURS[nth % COLOURS.len()];
        let points: Vec<(u64, f64)> = (0..=POINTS)
            .map(|step| until * step as u64 / POINTS as u64)
            .map(|at| (at, outcome.back_by(at) as f64 * 100.0 / outcome.clients.max(1) as f64))
            .collect();
        let width = if nth == 0 { "stroke-width=\"4\"" } else { "stroke-width=\"1.5\"" };
        line(&mut svg, &points, until, colour, width);
        label(&mut svg, nth + 1, colour, &name.replace('`', ""));
    }
    let ideal = [(0, 0.0), (bound, 100.0), (until, 100.0)];
    line(&mut svg, &ideal, until, BOUND, "stroke-dasharray=\"5 4\"");
    label(&mut svg, 0, BOUND, "the bound");
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String, until: u64) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for percent in [0, 25, 50, 75, 100] {
        let y = vertical(f64::from(percent));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e5e7eb\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#374151\">{percent} %</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for tenth in 0..=6 {
        let at = until * tenth / 6;
        let x = horizontal(at, until);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#374151\">{} s</text>",
            bottom + 18.0,
            at / SECOND
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#374151\">after the broker is back</text>",
        (LEFT + right) / 2.0,
        bottom + 38.0
    );
}

fn line(svg: &mut String, points: &[(u64, f64)], until: u64, colour: &str, more: &str) {
    let path: Vec<String> = points
        .iter()
        .map(|(at, percent)| format!("{:.1},{:.1}", horizontal(*at, until), vertical(*percent)))
        .collect();
    let _ =
        writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" {more}/>", path.join(" "));
}

fn label(svg: &mut String, nth: usize, colour: &str, name: &str) {
    let y = TOP + 14.0 + 20.0 * nth as f64;
    let x = WIDTH - RIGHT + 16.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
         <text x=\"{}\" y=\"{y}\" fill=\"#111827\">{name}</text>",
        x + 18.0,
        y - 4.0,
        y - 4.0,
        x + 24.0
    );
}

fn horizontal(at: u64, until: u64) -> f64 {
    LEFT + (WIDTH - RIGHT - LEFT) * at as f64 / until.max(1) as f64
}

fn vertical(percent: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * percent / 100.0
}
