//! From runs to medians, ratios, a page and its chart.

use crate::plan::{CLIENTS, OURS, Plan, RAW, REFERENCE};
use crate::runner::{Cell, Row, Table};
use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Page {
    pub(crate) text: String,
    pub(crate) tables: String,
    pub(crate) chart: String,
}

/// Middle, smallest and largest of the rounds.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        Self { median: at(all.len() / 2), least: at(0), most: at(all.len().saturating_sub(1)) }
    }
}

impl Cell {
    fn rate(&self) -> Spread {
        Spread::of(self.runs.iter().map(|run| run.rate).collect())
    }

    fn cpu(&self) -> Spread {
        Spread::of(self.runs.iter().map(|run| run.cpu).collect())
    }
}

impl Row {
    /// The faster of the reference's configurations here.
    fn reference(&self) -> Option<f64> {
        let rates = self.cells.iter().filter(|cell| REFERENCE.contains(&cell.client.name));
        rates.map(|cell| cell.rate().median).max_by(f64::total_cmp)
    }
}

/// One row for the screen while the run goes on.
pub(crate) fn line(row: &Row) -> String {
    let mut line = row.case.title();
    for cell in &row.cells {
        let _ = write!(
            line,
            "  {} {} k/s {:.2} µs",
            cell.client.name,
            thousands(cell.rate().median),
            cell.cpu().median
        );
    }
    line
}

/// Two versions of ourselves are beside each other there, so a run cannot take it.
const COUNTING: &str = include_str!("counting.md");
/// Nor do other clients have the same queue: `memory_figures` of rejoin-lab takes it.
const WAITING: &str = include_str!("waiting.md");

pub(crate) fn write(plan: &Plan, tables: &[Table], load: &str) -> Page {
    let figures: String = tables.iter().map(|each| table(plan, each)).collect();
    let (ahead, all) = standing(tables);
    let verdict = match all {
        0 => String::new(),
        _ if ahead == all => format!("In this run rejoin is ahead of rumqttc in all {all} rows.\n\n"),
        _ => format!(
            "In this run rejoin is ahead of rumqttc in {ahead} of {all} rows; the others are below 1.00 in the last column.\n\n"
        ),
    };
    let text = format!(
        "# Performance\n\n\
        Written by `cargo xtask bench` on {date}; run it again on your machine, the absolute figures will differ.\n\
        Compare within a table: everything in one ran interleaved, minutes apart at most.\n\n\
        {verdict}![rates as multiples of rumqttc](performance.svg)\n\n\
        ## Figures\n\n{figures}{WAITING}\n{COUNTING}\n{method}",
        date = today(),
        method = method(plan, load),
    );
    Page { text, tables: figures, chart: chart(tables) }
}

fn table(plan: &Plan, table: &Table) -> String {
    let clients: Vec<_> = plan.clients.iter().filter(|client| client.knows(table.section.version)).collect();
    let mut text = format!("### {}\n\n", table.section.title);
    text.push_str("Thousands of messages a second: median (least–most).\n\n| |");
    for client in &clients {
        let _ = write!(text, " {} |", client.name);
    }
    let _ = writeln!(text, " {OURS} / rumqttc | {OURS} / raw |\n|---|{}", "---:|".repeat(clients.len() + 2));
    for row in &table.rows {
        let _ = write!(text, "| {} |", row.case.title());
        for cell in &row.cells {
            let Spread { median, least, most } = cell.rate();
            let _ = write!(text, " {} ({}–{}) |", thousands(median), thousands(least), thousands(most));
        }
        let rate_of =
            |name| row.cells.iter().find(|cell| cell.client.name == name).map(|cell| cell.rate().median);
        let _ = writeln!(
            text,
            " {} | {} |",
            ratio(rate_of(OURS), row.reference()),
            ratio(rate_of(OURS), rate_of(RAW))
        );
    }
    text.push_str("\nProcessor time of the client process, µs a message.\n\n| |");
    for client in &clients {
        let _ = write!(text, " {} |", client.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(clients.len()));
    for row in &table.rows {
        let _ = write!(text, "| {} |", row.case.title());
        for cell in &row.cells {
            let Spread { median, least, most } = cell.cpu();
            let _ = write!(text, " {median:.2} ({least:.2}–{most:.2}) |");
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => format!("**{:.2}**", ours / theirs),
        _ => "-".to_owned(),
    }
}

/// Rows in which rejoin is ahead of the reference, of those that have both.
fn standing(tables: &[Table]) -> (usize, usize) {
    let rows = tables.iter().flat_map(|table| &table.rows);
    let both = rows.filter_map(|row| {
        let ours = row.cells.iter().find(|cell| cell.client.name == OURS)?;
        Some((ours.rate().median, row.reference()?))
    });
    both.fold((0, 0), |(ahead, all), (ours, theirs)| (ahead + usize::from(ours > theirs), all + 1))
}

fn method(plan: &Plan, load: &str) -> String {
    let mut text = format!(
        "## How it was measured\n\n\
        - Machine: {machine}. Client and sink are two processes on loopback, each on a core of its own.\n  \
          What else the machine did: {load}.\n\
        - Payload {size} B, one topic, one connection. {rounds} rounds of about {target} s each; within a round the\n  \
          clients take turns, each in a fresh process after two shorter runs that warm up and set the count.\n\
        - The sink is no broker: it answers handshake and acknowledgements from one read buffer, all answers to one\n  \
          read in one write, and sends pre-encoded messages as far as the window lets it. It is the same for all.\n  \
          It looks for bytes without sleeping for 2 ms, because waking it would be booked on the client; that gives\n  \
          small batches and keeps the client's core busy. The last table shows the same with a sink that sleeps.\n\
        - *Window* is the number of unacknowledged messages: what the publisher may have in flight, and the receive\n  \
          maximum that a subscriber grants. A publish run ends with the last acknowledgement (at QoS 0 with that of one\n  \
          QoS 1 message behind them), a receive run when the application has the last message.\n\
        - Processor time is user and system time of the whole client process between first and last message.\n\
        - Tokio clients run on the current-thread runtime, where rumqttc is fastest, unless the title says otherwise.\n\
        - `{OURS} / rumqttc` compares with the faster of rumqttc's two configurations in that row.\n\n\
        The clients:\n\n",
        machine = machine(),
        size = plan.size,
        rounds = plan.rounds,
        target = plan.target,
    );
    for client in &CLIENTS {
        let _ = writeln!(text, "- `{}`: {}.", client.name, client.what);
    }
    text
}

/// The rate of every client as a multiple of the reference, one bar each.
fn chart(tables: &[Table]) -> String {
    const BAR: usize = 14;
    const SCALE: f64 = 110.0;
    const LEFT: f64 = 260.0;
    let mut body = String::new();
    let mut y = 30;
    for table in tables {
        let _ = writeln!(body, "<text x=\"10\" y=\"{}\" class=\"t\">{}</text>", y, table.section.title);
        y += 10;
        for row in &table.rows {
            let Some(reference) = row.reference() else { continue };
            for cell in row.cells.iter().filter(|cell| cell.client.name != RAW) {
                let times = cell.rate().median / reference;
                let class = if cell.client.name == OURS { "us" } else { "they" };
                let (text_y, width) = (y + BAR - 3, (times * SCALE).min(580.0));
                let label = format!("{}, {}", row.case.title(), cell.client.name);
                let _ = writeln!(body, "<text x=\"250\" y=\"{text_y}\" class=\"l\">{label}</text>");
                let _ = writeln!(
                    body,
                    "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" class=\"{class}\"/>",
                    BAR - 3
                );
                let _ =
                    writeln!(body, "<text x=\"{:.1}\" y=\"{text_y}\">{times:.2}</text>", LEFT + width + 5.0);
                y += BAR;
            }
            y += 8;
        }
        y += 26;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {y}\" font-family=\"sans-serif\" font-size=\"11\">\n\
        <style>.t{{font-size:14px;font-weight:bold}}.l{{text-anchor:end}}.us{{fill:#0a7d4f}}.they{{fill:#9aa5b1}}</style>\n\
        <rect width=\"900\" height=\"{y}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

fn thousands(rate: f64) -> String {
    let digits = format!("{:.0}", rate / 1000.0);
    match digits.len() {
        0..=3 => digits,
        length => format!("{},{}", &digits[..length - 3], &digits[length - 3..]),
    }
}

/// How busy the machine was before the run: other work makes the spread wide and all figures low.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    match text.split(' ').next().and_then(|first| first.parse::<f64>().ok()) {
        Some(load) if load < 0.5 => format!("nothing to speak of (load average {load} before the run)"),
        Some(load) => format!("it was not idle (load average {load} before the run), so the spread is wide"),
        None => "unknown".to_owned(),
    }
}

pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = field("model name").unwrap_or_else(|| "processor of unknown model".to_owned());
    let kind = if info.contains(" hypervisor ") { "virtual machine" } else { "machine" };
    format!("a {kind} with {cores} cores ({model}), {}", std::env::consts::OS)
}

/// The date by the civil calendar, from days since 1970.
pub(crate) fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    // Years that begin in March put the leap day last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_rates_get_their_comma() {
        assert_eq!((thousands(999_000.0), thousands(29_272_429.0)), ("999".to_owned(), "29,272".to_owned()));
    }
}
