//! Runs the gauntlet: `gauntlet [--times N] [--times-ours N] [--rows 1,2] [--page FILE [--amend]] NAME=PROGRAM...`; `cargo xtask
//! gauntlet` calls it.
//!
//! A column whose name says 3.1.1 is run at it, every other one at 5.0; one whose name says TLS is run over it. A row
//! fails the run only for a client whose name begins with `rejoin`: what others do is a finding, not an error.
#![allow(clippy::print_stdout, reason = "a program that reports")]

mod page;
#[path = "../../tests/gauntlet_tls/self_signed.rs"]
mod self_signed;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use rejoin_core::Version;
use rejoin_lab::gauntlet::{Finding, ROWS, Row, Terms, run};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Rows at a time: most of their time is waiting.
const AT_ONCE: usize = 40;
/// Rows that measure speed run by themselves.
const ALONE: [u32; 4] = [26, 27, 28, 29];

const USAGE: &str =
    "gauntlet [--times N] [--times-ours N] [--rows 1,2] [--page FILE [--amend]] NAME=PROGRAM...";

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
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(why) => {
            println!("gauntlet: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
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
    let broken = ours.flat_map(|(_, column)| column).any(|findings| !page::passed(findings));
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("rejoin")
}

/// What would run nothing of what it seems to is refused.
fn plan(mut words: impl Iterator<Item = String>) -> Result<Plan, String> {
    let (rows, clients) = (Vec::new(), Vec::new());
    let mut plan = Plan { times: 1, times_ours: 1, rows, page: None, amend: false, clients };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--times" => {
                plan.times = times(&value()?)?;
                plan.times_ours = plan.times;
            }
            "--times-ours" => plan.times_ours = times(&value()?)?,
            "--rows" => plan.rows = value()?.split(',').map(row).collect::<Result<_, _>>()?,
            "--amend" => plan.amend = true,
            "--page" => plan.page = Some(value()?.into()),
            other => {
                let (name, program) = other.split_once('=').ok_or_else(|| format!("`{other}`"))?;
                plan.clients.push((name.to_owned(), program.into()));
            }
        }
    }
    if plan.clients.is_empty() {
        return Err("no client is named".to_owned());
    }
    if plan.page.is_some() && !plan.amend && !plan.clients.iter().any(|(name, _)| is_ours(name)) {
        return Err(
            "the page is about rejoin, and rejoin is not among the clients; `--amend` adds to it".to_owned()
        );
    }
    Ok(plan)
}

fn times(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|times| *times > 0).ok_or_else(|| format!("`{word}` is no number of times"))
}

fn row(word: &str) -> Result<u32, String> {
    let number = word.parse().ok().filter(|number| ROWS.iter().any(|row| row.number == *number));
    number.ok_or_else(|| format!("`{word}` is no row; they are 1 to {}", ROWS.len()))
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
            return Finding::new(true, NO_SUCH_PACKET);
        }
        let finding = match run(row, &self.program, &self.terms).await {
            Ok(finding) => finding,
            Err(error) => Finding::new(false, format!("did not start: {error}")),
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
    let running = waiting.into_iter().map(|(column, row)| {
        let (places, client, script) = (Rc::clone(&places), Rc::clone(&clients[column]), *rows[row]);
        let one = async move {
            let _place = places.acquire().await;
            client.one(&script).await
        };
        (column, row, tokio::task::spawn_local(one))
    });
    for (column, row, one) in running.collect::<Vec<_>>() {
        columns[column][row].push(ended(one).await);
    }
    for (column, row) in alone {
        let (client, script) = (Rc::clone(&clients[column]), *rows[row]);
        let one = tokio::task::spawn_local(async move { client.one(&script).await });
        columns[column][row].push(ended(one).await);
    }
    columns
}

/// What a run found. One that panicked fails its row, and no other.
async fn ended(one: JoinHandle<Finding>) -> Finding {
    one.await.unwrap_or_else(|error| {
        let figure = format!("the script itself failed: {error}");
        println!("{figure}");
        Finding::new(false, figure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_nothing_is_refused() {
        let asked = |words: &[&str]| plan(words.iter().map(ToString::to_string)).map(|plan| plan.rows);
        assert_eq!(asked(&["--rows", "1,2", "rejoin=x"]), Ok(vec![1, 2]));
        assert!(asked(&["--rows", "1,99", "rejoin=x"]).is_err_and(|why| why.contains("`99` is no row")));
        assert!(asked(&["--times", "0", "rejoin=x"]).is_err() && asked(&["--times"]).is_err());
        assert!(asked(&["--page", "x", "mqtt5=x"]).is_err_and(|why| why.contains("about rejoin")));
        assert!(asked(&["--page", "x", "--amend", "mqtt5=x"]).is_ok() && asked(&[]).is_err());
    }

    #[tokio::test]
    async fn a_run_that_panics_fails_its_row() {
        let one = tokio::spawn(async { panic!("as it should") });
        let finding = ended(one).await;
        assert!(!finding.passed);
        assert!(finding.figure.starts_with("the script itself failed: task"), "{}", finding.figure);
    }
}
