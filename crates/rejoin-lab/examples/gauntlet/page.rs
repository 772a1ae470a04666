//! The table, what is said above it, and the page that keeps both.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rejoin_lab::gauntlet::Row;

use crate::{Findings, NO_SUCH_PACKET, Plan};

const MARK: &str = "<!-- table -->";
const PASSED: &str = "✓";
const FAILED: &str = "**✗**";
/// What a cell says at most, in characters.
const FIGURE_LONGEST: usize = 90;

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

    /// The same of a run that replaced a part of the table.
    fn amendment(&self, table: &Table, plan: &Plan) -> String {
        let rows: Vec<String> = table.rows.iter().map(|row| row.number.clone()).collect();
        format!(
            "Replaced by a run begun {}, load average {}: rows {} of {}; each was run {}.",
            self.date,
            self.load,
            rows.join(", "),
            table.clients.join("; "),
            times(plan.times_ours),
        )
    }
}

fn times(times: usize) -> String {
    if times == 1 { "once".to_owned() } else { format!("{times} times") }
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Scripts as rows, clients as columns.
#[derive(Clone)]
pub(crate) struct Table {
    clients: Vec<String>,
    rows: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    number: String,
    what: String,
    cells: Vec<String>,
}

impl Table {
    pub(crate) fn new(plan: &Plan, rows: &[&Row], columns: &[Vec<Findings>]) -> Self {
        let line = |(at, row): (usize, &&Row)| Line {
            number: row.number.to_string(),
            what: row.what.to_owned(),
            cells: columns.iter().map(|column| cell(&column[at])).collect(),
        };
        Self {
            clients: plan.clients.iter().map(|(name, _)| name.clone()).collect(),
            rows: rows.iter().enumerate().map(line).collect(),
        }
    }

    /// As it was written.
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let clients = lines.next()?.split(" | ").skip(2).map(str::to_owned).collect();
        let rows = lines.filter_map(|line| {
            let mut cells = line.split(" | ").map(str::to_owned);
            let (number, what) = (cells.next()?, cells.next()?);
            number.parse::<u32>().ok()?;
            Some(Line { number, what, cells: cells.collect() })
        });
        Some(Self { clients, rows: rows.collect() })
    }

    /// Takes over what a later run found, rows that were not there as well; what that did not run stays.
    fn amend(&mut self, later: &Self) {
        for client in &later.clients {
            if !self.clients.contains(client) {
                self.clients.push(client.clone());
            }
        }
        for found in &later.rows {
            if !self.rows.iter().any(|line| line.number == found.number) {
                self.rows.push(Line { cells: Vec::new(), ..found.clone() });
            }
        }
        self.rows.sort_by_key(|line| line.number.parse::<u32>().unwrap_or(u32::MAX));
        for line in &mut self.rows {
            line.cells.resize(self.clients.len(), String::new());
            let Some(found) = later.rows.iter().find(|found| found.number == line.number) else { continue };
            line.what.clone_from(&found.what);
            for (client, cell) in later.clients.iter().zip(&found.cells) {
                if let Some(at) = self.clients.iter().position(|known| known == client) {
                    line.cells[at].clone_from(cell);
                }
            }
        }
    }

    /// Puts it behind the mark of the page, in the place of all that was there, or only of what it replaces.
    pub(crate) fn write(&self, page: &Path, begun: &Moment, plan: &Plan) -> std::io::Result<()> {
        let text = std::fs::read_to_string(page).unwrap_or_default();
        let (head, kept) = text.split_once(MARK).unwrap_or((&text, ""));
        let (account, table) = match Self::read(kept) {
            Some(mut table) if plan.amend => {
                table.amend(self);
                let before = kept.split("\n| ").next().unwrap_or_default().trim();
                (format!("{before}\n\n{}", begun.amendment(self, plan)), table)
            }
            _ => (begun.account(plan), self.clone()),
        };
        std::fs::write(page, format!("{head}{MARK}\n\n{account}\n\n{table}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| # | script | {} |", self.clients.join(" | "))?;
        writeln!(f, "|---:|---|{}", "---|".repeat(self.clients.len()))?;
        for line in &self.rows {
            writeln!(f, "| {} | {} | {} |", line.number, line.what, line.cells.join(" | "))?;
        }
        write!(f, "| | passed |")?;
        for at in 0..self.clients.len() {
            let cells = self.rows.iter().map(|line| line.cells[at].as_str());
            let ran = cells.filter(|cell| !cell.is_empty() && *cell != NO_SUCH_PACKET);
            let (ran, passed) = ran.fold((0, 0), |(ran, passed), cell| {
                (ran + 1, passed + usize::from(cell.starts_with(PASSED)))
            });
            write!(f, " **{passed} of {ran}** |")?;
        }
        writeln!(f)
    }
}

/// Whether a row was run, and passed each time.
pub(crate) fn passed(findings: &Findings) -> bool {
    !findings.is_empty() && findings.iter().all(|finding| finding.passed)
}

/// What one row found, in all its runs.
fn cell(findings: &Findings) -> String {
    if findings.is_empty() {
        return format!("{FAILED} not run");
    }
    if findings.iter().all(|finding| finding.figure == NO_SUCH_PACKET) {
        return NO_SUCH_PACKET.to_owned();
    }
    let passes = findings.iter().filter(|finding| finding.passed).count();
    // A run that failed speaks for the row; of those that passed the one that came nearest to a limit.
    let nearest = || findings.iter().max_by_key(|finding| finding.strain);
    let shown = findings.iter().find(|finding| !finding.passed).or_else(nearest);
    let figure = shown.map_or("", |finding| finding.figure.as_str()).replace('|', "/");
    let mark = if passed(findings) { PASSED } else { FAILED };
    let share = if findings.len() > 1 { format!(" {passes}/{}", findings.len()) } else { String::new() };
    format!("{mark}{share} {}", figure.chars().take(FIGURE_LONGEST).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(clients: &[&str], rows: &[(&str, &[&str])]) -> Table {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let line = |(number, cells): &(&str, &[&str])| Line {
            number: (*number).to_owned(),
            what: format!("script {number}"),
            cells: owned(cells),
        };
        Table { clients: owned(clients), rows: rows.iter().map(line).collect() }
    }

    #[test]
    fn a_later_run_replaces_what_it_ran_and_nothing_else() {
        let first = table(
            &["a", "b, TLS"],
            &[
                ("1", &["✓ 1 s", "**✗** never"]),
                ("2", &["**✗** 3 lost", NO_SUCH_PACKET]),
                ("9", &["✓ x", "✓ y"]),
            ],
        );
        let mut kept = Table::read(&format!("One run.\n\n{first}")).expect("what is written can be read");
        assert_eq!(kept.to_string(), first.to_string());
        kept.amend(&table(&["b, TLS", "c"], &[("1", &["✓ 10/10 2 s", "✓ 4 s"])]));
        let text = kept.to_string();
        assert!(text.contains("| 1 | script 1 | ✓ 1 s | ✓ 10/10 2 s | ✓ 4 s |"), "{text}");
        assert!(text.contains("| 2 | script 2 | **✗** 3 lost | no such packet |  |"), "{text}");
        assert!(text.ends_with("| | passed | **2 of 3** | **2 of 2** | **1 of 1** |\n"), "{text}");
    }

    #[test]
    fn rows_the_page_did_not_have_are_put_where_their_number_belongs() {
        let mut kept = table(&["a", "b"], &[("1", &["✓ 1 s", "✓ 2 s"]), ("10", &["✓ x", "✓ y"])]);
        kept.amend(&table(&["b"], &[("9", &["**✗** never"]), ("11", &["✓ z"])]));
        let text = kept.to_string();
        let numbers: Vec<&str> = kept.rows.iter().map(|line| line.number.as_str()).collect();
        assert_eq!(numbers, ["1", "9", "10", "11"]);
        assert!(text.contains("| 9 | script 9 |  | **✗** never |"), "{text}");
        assert!(text.contains("| 11 | script 11 |  | ✓ z |"), "{text}");
        assert!(text.ends_with("| | passed | **2 of 2** | **3 of 4** |\n"), "{text}");
        let again = Table::read(&format!("One run.\n\n{text}")).expect("what is written can be read");
        assert_eq!(again.to_string(), text);
    }

    #[test]
    fn a_row_nobody_ran_did_not_pass_and_is_counted() {
        assert_eq!(cell(&Vec::new()), "**✗** not run");
        assert!(!passed(&Vec::new()));
        let not_run = cell(&Vec::new());
        let text = table(&["a"], &[("1", &["✓ 1 s"]), ("2", &[not_run.as_str()])]).to_string();
        assert!(text.ends_with("| | passed | **1 of 2** |\n"), "{text}");
    }

    #[test]
    fn a_run_that_failed_speaks_for_its_row() {
        let finding = |passed, figure: &str| rejoin_lab::gauntlet::Finding::new(passed, figure);
        let findings = vec![finding(true, "1 s"), finding(false, "a | b"), finding(true, "2 s")];
        assert_eq!(cell(&findings), "**✗** 2/3 a / b");
        assert_eq!(cell(&vec![finding(true, "1 s"), finding(true, "2 s")]), "✓ 2/2 2 s");
        let strained = |strain, figure| rejoin_lab::gauntlet::Finding { strain, ..finding(true, figure) };
        let runs = vec![strained(900, "9 s"), strained(200, "2 s"), strained(100, "1 s")];
        assert_eq!(cell(&runs), "✓ 3/3 9 s", "the worst, wherever it was");
    }
}
