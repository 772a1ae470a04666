//! From runs to tables, ratios in one run, and a verdict on each goal.

use super::contestant::{CONTESTANTS, LOG, OURS};
use super::runner::{CLIENT, Plan, Row, Run};
use crate::figures::Spread;
use crate::machine;
use std::fmt::Write;

pub(super) struct Page {
    pub(super) text: String,
    pub(super) tables: String,
}

impl Row {
    fn runs(&self, name: &str) -> &[Run] {
        self.cells.iter().find(|(cell, _)| *cell == name).map_or(&[], |(_, runs)| runs)
    }

    fn spread(&self, name: &str, figure: &str) -> Option<Spread> {
        let all: Vec<f64> = self.runs(name).iter().filter_map(|run| run.get(figure).copied()).collect();
        (!all.is_empty()).then(|| Spread::of(all))
    }

    fn median(&self, name: &str, figure: &str) -> Option<f64> {
        self.spread(name, figure).map(|spread| spread.median)
    }

    /// How a figure of ours relates to that of another, as a median over rounds: each round ran close together.
    fn ratio(&self, ours: &str, theirs: &str, figure: &str) -> Option<f64> {
        let pairs = self.runs(ours).iter().zip(self.runs(theirs));
        let all: Vec<f64> = pairs.filter_map(|(a, b)| Some(a.get(figure)? / b.get(figure)?)).collect();
        (!all.is_empty()).then(|| Spread::of(all).median)
    }
}

/// One row for the screen while the run goes on.
pub(super) fn line(row: &Row) -> String {
    let mut line = format!("{}, {}:", row.key, row.title);
    for (name, runs) in &row.cells {
        let _ = write!(line, "  {name}");
        for figure in [
            "rate",
            "p50_ms",
            "device",
            "handed",
            "counted",
            "file_bytes",
            "seconds",
            "each",
            "slope",
            "most",
        ] {
            let all: Vec<f64> = runs.iter().filter_map(|run| run.get(figure).copied()).collect();
            if !all.is_empty() {
                let _ = write!(line, " {figure} {}", short(Spread::of(all).median));
            }
        }
    }
    line
}

pub(super) fn write(plan: &Plan, rows: &[Row], load: &str) -> Page {
    let tables =
        [accepts(rows), fifo(rows), written(plan, rows), sizes(rows), reopening(rows), memory(rows)].concat();
    let goals = goals(rows);
    let text = format!(
        "# Performance of the durable queue\n\n\
        Written by `cargo xtask bench --store` on {date}; run it again on your machine, the absolute figures will differ.\n\
        Compare within a table: everything in one ran interleaved. Ratios are medians of the ratios within each round.\n\n\
        {goals}{tables}{method}",
        date = machine::today(),
        method = method(plan, load),
    );
    Page { text, tables: format!("{goals}{tables}") }
}

/// A table with a column for each contestant.
fn table(
    rows: &[&Row],
    names: &[&str],
    cell: impl Fn(&Row, &str) -> String,
    last: &[(&str, &str, &str)],
    figure: &str,
) -> String {
    let mut text = String::from("| |");
    for name in names {
        let _ = write!(text, " {name} |");
    }
    for (title, ..) in last {
        let _ = write!(text, " {title} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(names.len() + last.len()));
    for row in rows {
        let _ = write!(text, "| {} |", row.title);
        for name in names {
            let _ = write!(text, " {} |", cell(row, name));
        }
        for (_, ours, theirs) in last {
            let ratio = row.ratio(ours, theirs, figure);
            let _ = write!(text, " {} |", ratio.map_or("-".to_owned(), |ratio| format!("**{ratio:.2}**")));
        }
        text.push('\n');
    }
    text.push('\n');
    text
}

fn of<'a>(rows: &'a [Row], key: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.key.starts_with(key)).collect()
}

fn names(client: bool) -> Vec<&'static str> {
    CONTESTANTS.iter().map(|(name, _)| *name).chain(client.then_some(CLIENT)).collect()
}

fn spread(row: &Row, name: &str, figure: &str, form: fn(f64) -> String) -> String {
    match row.spread(name, figure) {
        Some(Spread { median, least, most }) if row.runs(name).len() > 1 => {
            format!("{} ({}–{})", form(median), form(least), form(most))
        }
        Some(Spread { median, .. }) => form(median),
        None => "-".to_owned(),
    }
}

fn pair(row: &Row, name: &str, figures: [&str; 2], form: fn(f64) -> String) -> String {
    match (row.median(name, figures[0]), row.median(name, figures[1])) {
        (Some(a), Some(b)) => format!("{} / {}", form(a), form(b)),
        _ => "-".to_owned(),
    }
}

fn accepts(rows: &[Row]) -> String {
    let rows = of(rows, "accept");
    if rows.is_empty() {
        return String::new();
    }
    let last = [
        ("rejoin / log", OURS, LOG),
        ("client / log", CLIENT, LOG),
        ("rejoin / fjall", OURS, "fjall"),
        ("rejoin / sqlite", OURS, "sqlite"),
    ];
    let mut text = String::from(
        "## Accepts\n\nMessages a second that survive a power cut: median (least–most). Commits of 100 and of 1 for the \
        stores; `client` is the whole\nclient while no broker answers, with as many tasks that publish and await `stored()`.\n\n",
    );
    text.push_str(&table(&rows, &names(true), |row, name| spread(row, name, "rate", grouped), &last, "rate"));
    text.push_str("Milliseconds of a commit (of an awaited publish): half of them are faster / one in a hundred is slower.\n\n");
    text.push_str(&table(
        &rows,
        &names(true),
        |row, name| pair(row, name, ["p50_ms", "p99_ms"], |ms| format!("{ms:.2}")),
        &[],
        "",
    ));
    text.push_str("Processor time of the process, µs a message.\n\n");
    text.push_str(&table(
        &rows,
        &names(true),
        |row, name| spread(row, name, "cpu_us", |us| format!("{us:.1}")),
        &[],
        "",
    ));
    text
}

fn fifo(rows: &[Row]) -> String {
    let rows = of(rows, "fifo");
    if rows.is_empty() {
        return String::new();
    }
    let last =
        [("rejoin / log", OURS, LOG), ("rejoin / fjall", OURS, "fjall"), ("rejoin / sqlite", OURS, "sqlite")];
    let mut text = String::from(
        "## First in, first out\n\nThe queue keeps its depth; what goes is drawn from the first 64. Messages a second that \
        came and went.\n\n",
    );
    text.push_str(&table(
        &rows,
        &names(false),
        |row, name| spread(row, name, "rate", grouped),
        &last,
        "rate",
    ));
    text
}

fn written(plan: &Plan, all: &[Row]) -> String {
    let rows: Vec<&Row> =
        of(all, "accept").into_iter().chain(of(all, "fifo")).chain(of(all, "through")).collect();
    if rows.is_empty() {
        return String::new();
    }
    let last =
        [("log / rejoin", LOG, OURS), ("fjall / rejoin", "fjall", OURS), ("sqlite / rejoin", "sqlite", OURS)];
    let mut text = format!(
        "## Bytes written\n\nBytes a message of {} B and its topic of 19 cost: to the device / handed to calls that write. \
        The device gets whole pages,\nand each of them once for each sync. The last columns compare what the device gets.\n\n",
        plan.size
    );
    let cell = |row: &Row, name: &str| pair(row, name, ["device", "handed"], grouped);
    text.push_str(&table(&rows, &names(true), cell, &last, "device"));
    text.push_str(&online(all));
    text.push_str(LOWERED);
    text
}

/// A whole client that delivers.
fn online(rows: &[Row]) -> String {
    let rows = of(rows, "online");
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "The whole client with a broker 10 ms away each way, QoS 1: every message comes, is acknowledged and goes.\n\n\
        | | bytes to the device, a message | handed to the store's file | messages a second |\n|---|---:|---:|---:|\n",
    );
    for row in rows {
        let cell = |figure| spread(row, CLIENT, figure, grouped);
        let _ =
            writeln!(text, "| {} | {} | {} | {} |", row.title, cell("device"), cell("counted"), cell("rate"));
    }
    text.push('\n');
    text
}

/// What a reader should know beside the figures.
const LOWERED: &str = "\
What is done to keep them low: all that waits goes into one commit, and what came and went within it is never written. The end of \
a\nmessage waits up to 100 ms for something else to be committed with, since nobody waits for it: that halves what a program \
writes\nthat says something every 50 ms, beside one whose pauses are longer. New rows are appended at the end of one table, the \
identifier\na message is first sent under is part of its own row, and names are reserved 65,536 at a time, so that a commit \
touches few pages.\nWhat is left is redb's: it writes whole pages of 4 KiB, for a message on its own four of its books, one or \
two leaves and a branch,\nwhere a log writes the one it grows into. `quick_repair` adds half as much again; flash that is written \
to one message at a time\nshould do without it.\n\n";

fn sizes(rows: &[Row]) -> String {
    let rows = of(rows, "through");
    if rows.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("## Size of the files\n\nMiB on the disk: the most while it ran / at its end.\n\n");
    let cell = |row: &Row, name: &str| pair(row, name, ["most_bytes", "file_bytes"], mebibytes);
    text.push_str(&table(&rows, &names(false), cell, &[], ""));
    text
}

fn reopening(rows: &[Row]) -> String {
    let rows = of(rows, "reopen");
    if rows.is_empty() {
        return String::new();
    }
    let last =
        [("rejoin / log", OURS, LOG), ("rejoin / fjall", OURS, "fjall"), ("rejoin / sqlite", OURS, "sqlite")];
    let mut text = String::from(
        "## Opening again\n\nSeconds until it is known what is pending, every body read: median (least–most). The files are \
        in the system's cache.\n\n",
    );
    text.push_str(&table(
        &rows,
        &names(false),
        |row, name| spread(row, name, "seconds", |s| format!("{s:.3}")),
        &last,
        "seconds",
    ));
    text
}

fn memory(rows: &[Row]) -> String {
    let rows = of(rows, "memory");
    if rows.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "## Memory\n\nResident memory of a client in whose queue messages wait while no broker answers, the deliveries \
        dropped. *Grown*: MiB more than\nbefore the first message. *Each*: bytes more for one more message, once the window \
        and the buffers have their size (from 50,000\nmessages on, or half of them); *above*: of it beside topic and payload. \
        A queue on disk has a window of 4 MiB of bodies, and 8 MiB of pages.\n\n\
        | | on disk: grown | most | each | in memory: grown | each | above |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let figure = |place, figure| row.median(place, figure).unwrap_or(f64::NAN);
        let above = figure("memory", "slope") - figure("memory", "own");
        let _ = writeln!(
            text,
            "| {} | {} | {} | **{:.0}** | {} | {:.0} | {above:.0} |",
            row.title,
            mebibytes(figure("disk", "grown")),
            mebibytes(figure("disk", "most")),
            figure("disk", "slope"),
            mebibytes(figure("memory", "grown")),
            figure("memory", "slope"),
        );
    }
    text.push('\n');
    text
}

/// What was aimed at, and whether this run has it.
fn goals(rows: &[Row]) -> String {
    let mut text = String::from("## Goals\n\n| goal | this run | |\n|---|---|---|\n");
    let mut goal = |what: &str, found: Option<(String, bool)>| {
        let Some((found, met)) = found else { return };
        let _ = writeln!(text, "| {what} | {found} | {} |", if met { "met" } else { "**missed**" });
    };
    for (key, title) in [("accept-100", "100 in flight"), ("accept-1", "1 in flight")] {
        let Some(row) = of(rows, key).into_iter().find(|row| row.key == key) else { continue };
        for (name, who) in [(OURS, "the store"), (CLIENT, "the whole client")] {
            let found =
                row.ratio(name, LOG, "rate").map(|ratio| (format!("{:.2} of it", ratio), ratio >= 0.5));
            goal(&format!("accepts with {title} at half the bare log's rate or more: {who}"), found);
        }
    }
    for key in ["reopen-clean", "reopen-killed"] {
        let row = of(rows, key).into_iter().find(|row| row.title.starts_with("100,000"));
        let found = row.and_then(|row| row.median(OURS, "seconds"));
        let how = if key == "reopen-clean" { "after an orderly end" } else { "after SIGKILL" };
        goal(
            &format!("100,000 pending are open within 0.5 s {how}"),
            found.map(|seconds| (format!("{seconds:.3} s"), seconds <= 0.5)),
        );
    }
    for row in of(rows, "memory") {
        let (Some(each), Some(own)) = (row.median("disk", "slope"), row.median("memory", "own")) else {
            continue;
        };
        // What large messages grow by beside their payload is lost in what the allocator keeps.
        let (what, met) = match own < 1000.0 {
            true => ("at most 64 B of memory for each message on disk, none of its payload", each <= 64.0),
            false => ("no payload beyond the window in memory", each <= own / 100.0),
        };
        goal(&format!("{what}: {}", row.title), Some((format!("{each:.0} B"), met)));
    }
    text.push('\n');
    text
}

fn method(plan: &Plan, load: &str) -> String {
    let mut text = format!(
        "## How it was measured\n\n\
        - Machine: {machine}. What else it did: {load}.\n  \
          Other programs built and tested on it all the time, so waiting for a core is part of every commit: compare, do not\n  \
          quote.\n\
        - {rounds} rounds of about {seconds} s each; within a round the contestants take turns, each in a fresh process and a\n  \
          fresh folder. Rows with a fixed number of messages ran once, memory twice.\n\
        - Payloads are random bytes, {size} B, the topic has 19. Every commit is on the disk when it returns.\n\
        - Bytes to the device are `write_bytes` less `cancelled_write_bytes` of `/proc/self/io`, bytes handed over its `wchar`;\n  \
          what the file system writes for itself is in neither.\n\
        - Killed: a child that fills or changes the queue gets SIGKILL, then a fresh process opens it.\n\n\
        The contestants:\n\n",
        machine = machine::machine(),
        rounds = plan.rounds,
        seconds = plan.seconds,
        size = plan.size,
    );
    for (name, what) in &CONTESTANTS {
        let _ = writeln!(text, "- `{name}`: {what}.");
    }
    let _ = writeln!(
        text,
        "- `{CLIENT}`: `Queue::in_dir`, everything on the runtime's one thread but the store's thread."
    );
    text
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.3}") } else { grouped(value) }
}

/// With a comma for thousands.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_their_commas() {
        assert_eq!([999.0, 1000.0, 1_234_567.0].map(grouped), ["999", "1,000", "1,234,567"]);
    }
}
