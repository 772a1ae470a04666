//! Runs the gauntlet: `gauntlet [--times N] [--rows 1,2] [--page FILE] NAME=PROGRAM...`; `cargo xtask gauntlet` calls it.
//!
//! A row fails the run only for a client whose name begins with `rejoin`: what others do is a finding, not an error.
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rejoin_core::Version;
use rejoin_lab::gauntlet::{Finding, ROWS, Row, run};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Rows at a time: most of their time is waiting.
const AT_ONCE: usize = 24;
/// Rows that measure speed run by themselves.
const ALONE: [u32; 4] = [26, 27, 28, 29];

/// Said in the place of a figure, and not counted.
const NO_SUCH_PACKET: &str = "no such packet";

struct Plan {
    times: usize,
    rows: Vec<u32>,
    page: Option<PathBuf>,
    clients: Vec<(String, PathBuf)>,
}

/// Every run of one row by one client.
type Findings = Vec<Finding>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tokio::task::LocalSet::new().run_until(gauntlet()).await
}

async fn gauntlet() -> ExitCode {
    let Some(plan) = plan() else {
        println!("gauntlet [--times N] [--rows 1,2] [--page FILE] NAME=PROGRAM...");
        return ExitCode::from(2);
    };
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| plan.rows.is_empty() || plan.rows.contains(&row.number)).collect();
    let mut columns = Vec::new();
    for (name, program) in &plan.clients {
        columns.push(column(name, program, &rows, plan.times).await);
    }
    let table = table(&plan, &rows, &columns);
    println!("\n{table}");
    if let Some(page) = &plan.page {
        let text = std::fs::read_to_string(page).unwrap_or_default();
        let head = text.split("<!-- table -->").next().unwrap_or_default();
        if let Err(error) = std::fs::write(page, format!("{head}<!-- table -->\n\n{table}")) {
            println!("gauntlet: {}: {error}", page.display());
            return ExitCode::FAILURE;
        }
    }
    let ours = plan.clients.iter().zip(&columns).filter(|((name, _), _)| name.starts_with("rejoin"));
    let broken = ours.flat_map(|(_, column)| column).flatten().any(|finding| !finding.passed);
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn plan() -> Option<Plan> {
    let mut plan = Plan { times: 1, rows: Vec::new(), page: None, clients: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--times" => plan.times = words.next()?.parse().ok()?,
            "--rows" => {
                plan.rows = words.next()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            }
            "--page" => plan.page = Some(words.next()?.into()),
            other => {
                let (name, program) = other.split_once('=')?;
                plan.clients.push((name.to_owned(), program.into()));
            }
        }
    }
    (!plan.clients.is_empty()).then_some(plan)
}

async fn column(name: &str, program: &Path, rows: &[&Row], times: usize) -> Vec<Findings> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (at, row) in rows.iter().enumerate().flat_map(|(at, row)| vec![(at, **row); times]) {
        if ALONE.contains(&row.number) {
            continue;
        }
        let (places, program) = (Arc::clone(&places), program.to_owned());
        let name = name.to_owned();
        running.spawn_local(async move {
            let _place = places.acquire_owned().await;
            (at, one(&name, &row, &program).await)
        });
    }
    let mut column: Vec<Findings> = vec![Vec::new(); rows.len()];
    while let Some(Ok((at, finding))) = running.join_next().await {
        told(name, rows[at], &finding);
        column[at].push(finding);
    }
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| ALONE.contains(&row.number)) {
        for _ in 0..times {
            let finding = one(name, row, program).await;
            told(name, row, &finding);
            column[at].push(finding);
        }
    }
    column
}

/// A column whose name says 3.1.1 is run at it, every other one at 5.0.
async fn one(name: &str, row: &Row, program: &Path) -> Finding {
    let at_311 = name.contains("3.1.1");
    let version = if at_311 { Version::V311 } else { Version::V5 };
    if at_311 && row.v5_only {
        return Finding { passed: true, figure: NO_SUCH_PACKET.to_owned() };
    }
    match run(row, program, version).await {
        Ok(finding) => finding,
        Err(error) => Finding { passed: false, figure: format!("did not start: {error}") },
    }
}

fn told(name: &str, row: &Row, finding: &Finding) {
    let word = if finding.passed { "pass" } else { "FAIL" };
    println!("{name:<18} {:>2} {word}  {}", row.number, finding.figure);
}

fn table(plan: &Plan, rows: &[&Row], columns: &[Vec<Findings>]) -> String {
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
