//! Figures as a table: a line for each client, a column for each case or each metric.

use super::spec::{Metric, Spec};
use crate::cast::{OURS, RAW, REFERENCE};
use crate::figures::Figures;
use std::fmt::Write;

/// What is compared with, but no client.
const LIMITS: [&str; 3] = [RAW, "by hand", "by hand, checked"];

/// One column.
struct Column<'a> {
    heading: String,
    case: &'a str,
    metric: &'a Metric,
}

pub(super) fn render(spec: &Spec, figures: &Figures) -> String {
    let mut text = format!("### {}\n\n", spec.title);
    if !spec.intro.is_empty() {
        let _ = writeln!(text, "{}\n", spec.intro);
    }
    let cases = figures.cases();
    let clients = in_order(figures);
    if spec.apart {
        for (number, metric) in spec.metrics.iter().enumerate() {
            let column = |case: &&'_ str| Column {
                heading: (*case).to_owned(),
                case: figures_case(figures, case),
                metric,
            };
            let columns: Vec<Column<'_>> = cases.iter().map(column).collect();
            let _ = writeln!(text, "{}\n", metric.heading);
            table(&mut text, &columns, &clients, figures);
            if number == 0 && spec.ratios {
                ratios(&mut text, &columns, figures);
            }
            text.push('\n');
        }
    } else {
        let mut columns = Vec::new();
        for case in &cases {
            for metric in spec.metrics {
                let heading = match cases.len() {
                    1 => metric.heading.to_owned(),
                    _ => format!("{case}: {}", metric.heading),
                };
                columns.push(Column { heading, case: figures_case(figures, case), metric });
            }
        }
        table(&mut text, &columns, &clients, figures);
        text.push('\n');
    }
    let _ = writeln!(text, "Taken on {}.\n", figures.taken);
    text
}

/// The case as the figures hold it.
fn figures_case<'a>(figures: &'a Figures, case: &str) -> &'a str {
    figures.all.iter().map(|one| one.case.as_str()).find(|one| *one == case).unwrap_or_default()
}

/// Limits first, then ourselves, then the others as they were measured.
fn in_order(figures: &Figures) -> Vec<&str> {
    let mut clients = figures.clients();
    clients.sort_by_key(|client| match *client {
        limit if LIMITS.contains(&limit) => 0,
        OURS => 1,
        _ => 2,
    });
    clients
}

fn table(text: &mut String, columns: &[Column<'_>], clients: &[&str], figures: &Figures) {
    text.push_str("| |");
    for column in columns {
        let _ = write!(text, " {} |", column.heading);
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(columns.len()));
    for client in clients {
        let _ = write!(text, "| {client} |");
        for column in columns {
            let _ = write!(text, " {} |", cell(column, client, figures));
        }
        text.push('\n');
    }
}

fn cell(column: &Column<'_>, client: &str, figures: &Figures) -> String {
    let Some(found) = figures.find(column.case, client, column.metric.name) else { return "-".to_owned() };
    if found.values.is_empty() {
        return found.note.clone();
    }
    let (spread, show) = (found.spread(), column.metric.show);
    let mut text = show(spread.median);
    if found.note.is_empty() && leads(column, client, figures) {
        text = format!("**{text}**");
    }
    if found.values.len() > 1 {
        let _ = write!(text, " ({}–{})", show(spread.least), show(spread.most));
    }
    if !found.note.is_empty() {
        let _ = write!(text, ", {}", found.note);
    }
    text
}

/// No other client is better here.
fn leads(column: &Column<'_>, client: &str, figures: &Figures) -> bool {
    if LIMITS.contains(&client) || figures.clients().len() < 2 {
        return false;
    }
    let Some(ours) = figures.median(column.case, client, column.metric.name) else { return false };
    let others = figures.clients().into_iter().filter(|other| !LIMITS.contains(other) && *other != client);
    let mut values = others.filter_map(|other| figures.median(column.case, other, column.metric.name));
    values.all(|other| if column.metric.rises { ours > other } else { ours < other })
}

/// The best of the clients that are not ours, for this case.
pub(super) fn best_peer<'a>(
    figures: &'a Figures,
    case: &str,
    metric: &str,
    rises: bool,
) -> Option<(&'a str, f64)> {
    let peers = figures.clients().into_iter().filter(|client| !LIMITS.contains(client) && *client != OURS);
    let found = peers.filter_map(|client| Some((client, figures.median(case, client, metric)?)));
    found.max_by(|one, other| {
        let order = one.1.total_cmp(&other.1);
        if rises { order } else { order.reverse() }
    })
}

/// The faster of rumqttc's configurations.
pub(super) fn reference(figures: &Figures, case: &str) -> Option<f64> {
    let rates = REFERENCE.iter().filter_map(|client| figures.median(case, client, "rate_s"));
    rates.max_by(f64::total_cmp)
}

fn ratios(text: &mut String, columns: &[Column<'_>], figures: &Figures) {
    type Of = fn(&Figures, &str) -> Option<f64>;
    let lines: [(&str, Of); 3] = [
        ("rejoin / rumqttc", reference),
        ("rejoin / best peer", |figures, case| {
            best_peer(figures, case, "rate_s", true).map(|(_, rate)| rate)
        }),
        ("rejoin / raw", |figures, case| figures.median(case, RAW, "rate_s")),
    ];
    for (name, of) in lines {
        let _ = write!(text, "| *{name}* |");
        for column in columns {
            match (figures.median(column.case, OURS, "rate_s"), of(figures, column.case)) {
                (Some(ours), Some(theirs)) => {
                    let _ = write!(text, " *{:.2}* |", ours / theirs);
                }
                _ => text.push_str(" - |"),
            }
        }
        text.push('\n');
    }
}
