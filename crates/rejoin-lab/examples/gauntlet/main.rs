//! Runs the gauntlet: `gauntlet [--times N] [--times-ours N] [--rows 1,2] [--page FILE [--amend]] NAME=PROGRAM...`; `cargo xtask
//! gauntlet` calls it.
//!
//! A column whose name says 3.1.1 is run at it, every other one at 5.0; one whose name says TLS is run over it. A row
//! fails the run only for a client whose name begins with `rejoin`: what others do is a finding, not an error.
#![allow(clippy::print_stdout, reason = "a program that reports")]

mod page;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use rejoin_core::Version;
use rejoin_lab::gauntlet::{Finding, ROWS, Row, Terms, run};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Rows at a time: most of their time is waiting.
const AT_ONCE: usize = 40;
/// Rows that measure speed run by themselves.
const ALONE: [u32; 4] = [26, 27, 28, 29];

/// Said in the place of a figure, and not counted.
const NO_SUCH_PACKET: &str = "no such packet";

struct Plan {
    times: usize,
    times_ours: usize,
    rows: Vec<u32>,
    page: Option<PathBuf>,
    /// What was not run stays in the table of the page.
    amend: bool,
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
        println!(
            "gauntlet [--times N] [--times-ours N] [--rows 1,2] [--page FILE [--amend]] NAME=PROGRAM..."
        );
        return ExitCode::from(2);
    };
    let authority = match tls::Authority::new() {
        Ok(authority) => authority,
        Err(error) => {
            println!("gauntlet: no certificate: {error}");
            return ExitCode::FAILURE;
        }
    };
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| plan.rows.is_empty() || plan.rows.contains(&row.number)).collect();
    let begun = page::Moment::now();
    let clients = plan.clients.iter().map(|client| Rc::new(Client::new(client, &plan, &authority)));
    let clients: Vec<Rc<Client>> = clients.collect();
    let mut columns = Vec::new();
    // Those that keep their pauses share the wait; one that storms would disturb others, so peers come one by one.
    for group in clients.chunk_by(|one, next| is_ours(&one.name) && is_ours(&next.name)) {
        columns.extend(side_by_side(group, &rows).await);
    }
    let table = page::Table::new(&plan, &rows, &columns);
    println!("\n{}\n\n{table}", begun.account(&plan));
    if let Some(file) = &plan.page
        && let Err(error) = table.write(file, &begun, &plan)
    {
        println!("gauntlet: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    let ours = plan.clients.iter().zip(&columns).filter(|((name, _), _)| is_ours(name));
    let broken = ours.flat_map(|(_, column)| column).flatten().any(|finding| !finding.passed);
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("rejoin")
}

fn plan() -> Option<Plan> {
    let (rows, clients) = (Vec::new(), Vec::new());
    let mut plan = Plan { times: 1, times_ours: 1, rows, page: None, amend: false, clients };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--times" => {
                plan.times = words.next()?.parse().ok()?;
                plan.times_ours = plan.times;
            }
            "--times-ours" => plan.times_ours = words.next()?.parse().ok()?,
            "--rows" => {
                plan.rows = words.next()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            }
            "--amend" => plan.amend = true,
            "--page" => plan.page = Some(words.next()?.into()),
            other => {
                let (name, program) = other.split_once('=')?;
                plan.clients.push((name.to_owned(), program.into()));
            }
        }
    }
    (!plan.clients.is_empty()).then_some(plan)
}

/// A column to be.
struct Client {
    name: String,
    program: PathBuf,
    terms: Terms,
    times: usize,
}

impl Client {
    fn new((name, program): &(String, PathBuf), plan: &Plan, authority: &tls::Authority) -> Self {
        let version = if name.contains("3.1.1") { Version::V311 } else { Version::V5 };
        let terms = Terms { version, tls: name.contains("TLS").then(|| authority.secured()) };
        let times = if is_ours(name) { plan.times_ours } else { plan.times };
        Self { name: name.clone(), program: program.clone(), terms, times }
    }

    async fn one(&self, row: &Row) -> Finding {
        if self.terms.version == Version::V311 && row.v5_only {
            return Finding { passed: true, figure: NO_SUCH_PACKET.to_owned() };
        }
        let finding = match run(row, &self.program, &self.terms).await {
            Ok(finding) => finding,
            Err(error) => Finding { passed: false, figure: format!("did not start: {error}") },
        };
        let word = if finding.passed { "pass" } else { "FAIL" };
        println!("{:<18} {:>2} {word}  {}", self.name, row.number, finding.figure);
        finding
    }
}

/// The columns of these clients: first what mostly waits, at the same time, then what measures speed, one by one.
async fn side_by_side(clients: &[Rc<Client>], rows: &[&Row]) -> Vec<Vec<Findings>> {
    let mut columns = vec![vec![Vec::new(); rows.len()]; clients.len()];
    let times = clients.iter().map(|client| client.times).max().unwrap_or(0);
    let every = (0..times).flat_map(|time| {
        let due = clients.iter().enumerate().filter(move |(_, client)| time < client.times);
        due.flat_map(|(column, _)| (0..rows.len()).map(move |row| (column, row)))
    });
    let (alone, waiting): (Vec<_>, Vec<_>) = every.partition(|(_, row)| ALONE.contains(&rows[*row].number));
    let places = Rc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (column, row) in waiting {
        let (places, client, script) = (Rc::clone(&places), Rc::clone(&clients[column]), *rows[row]);
        running.spawn_local(async move {
            let _place = places.acquire().await;
            (column, row, client.one(&script).await)
        });
    }
    while let Some(Ok((column, row, finding))) = running.join_next().await {
        columns[column][row].push(finding);
    }
    for (column, row) in alone {
        columns[column][row].push(clients[column].one(rows[row]).await);
    }
    columns
}
