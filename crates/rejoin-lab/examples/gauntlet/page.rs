//! The table, what is said above it, and the page that keeps both.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rejoin_lab::gauntlet::Row;

use crate::{Findings, NO_SUCH_PACKET, Plan};

const MARK: &str = "<!-- table -->";

/// Puts the table behind the mark of the page; what is before it stays.
pub(crate) fn write(page: &Path, table: &str) -> std::io::Result<()> {
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let head = text.split(MARK).next().unwrap_or_default();
    std::fs::write(page, format!("{head}{MARK}\n\n{table}"))
}

/// When a run began, and how busy the machine was.
pub(crate) struct Moment {
    date: String,
    load: String,
    at: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let date = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
        let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self { date: date.unwrap_or_default(), load: load(), at: Instant::now() }
    }

    /// What a reader must know of the run.
    pub(crate) fn account(&self, plan: &Plan) -> String {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let times = |times: usize| if times == 1 { "once".to_owned() } else { format!("{times} times") };
        format!(
            "One run, begun {}, {} min, on {cores} cores; load average (1 min) {} at its begin and {} at its end. Each row \
             of rejoin was run {}, each of the others {}.",
            self.date,
            self.at.elapsed().as_secs().div_ceil(60),
            self.load,
            load(),
            times(plan.times_ours),
            times(plan.times),
        )
    }
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

pub(crate) fn table(plan: &Plan, rows: &[&Row], columns: &[Vec<Findings>]) -> String {
    let mut text = String::from("| # | script |");
    for (name, _) in &plan.clients {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---:|---|");
    text.push_str(&"---|".repeat(plan.clients.len()));
    for (at, row) in rows.iter().enumerate() {
        let _ = write!(text, "\n| {} | {} |", row.number, row.what);
        for column in columns {
            let _ = write!(text, " {} |", cell(&column[at]));
        }
    }
    text.push_str("\n| | passed |");
    for column in columns {
        let ran = column.iter().filter(|findings| findings.iter().any(|f| f.figure != NO_SUCH_PACKET));
        let (ran, passed) = ran.fold((0, 0), |(ran, passed), findings| {
            (ran + 1, passed + usize::from(findings.iter().all(|f| f.passed)))
        });
        let _ = write!(text, " **{passed} of {ran}** |");
    }
    text.push('\n');
    text
}

fn cell(findings: &Findings) -> String {
    if findings.iter().all(|finding| finding.figure == NO_SUCH_PACKET) {
        return NO_SUCH_PACKET.to_owned();
    }
    let passed = findings.iter().filter(|finding| finding.passed).count();
    // The worst run speaks for the row.
    let shown = findings.iter().find(|finding| !finding.passed).or_else(|| findings.last());
    let figure = shown.map_or("", |finding| finding.figure.as_str()).replace('|', "/");
    let mark = if passed == findings.len() { "✓" } else { "**✗**" };
    let share = if findings.len() > 1 { format!(" {passed}/{}", findings.len()) } else { String::new() };
    format!("{mark}{share} {}", figure.chars().take(90).collect::<String>())
}
