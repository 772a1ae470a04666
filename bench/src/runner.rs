//! Runs the plan: one sink, one driver process at a time, the clients in turn within every round.

use crate::args::Args;
use crate::meter::Measured;
use crate::page;
use crate::plan::{Case, Client, Plan, Section};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, thread};

/// Messages of the run that warms up and tells how many fit into the wanted time.
const WARM_UP: u64 = 30_000;

/// Everything about one client in one case.
pub(crate) struct Cell {
    pub(crate) client: &'static Client,
    pub(crate) runs: Vec<Measured>,
}

pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) cells: Vec<Cell>,
}

pub(crate) struct Table {
    pub(crate) section: &'static Section,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let plan = Plan::of(args)?;
    let load = page::load();
    let mut tables = Vec::new();
    for section in &plan.sections {
        let sink = Sink::start(section.patience)?;
        eprintln!("{}: sink on {}, {} rounds of {} s", section.title, sink.address, plan.rounds, plan.target);
        let rows: Result<Vec<Row>, String> =
            plan.cases.iter().map(|case| row(&plan, &sink, section, *case)).collect();
        tables.push(Table { section, rows: rows? });
    }
    let page = page::write(&plan, &tables, &load);
    println!("{}", page.tables);
    let out = match args.text("out", "") {
        // A quick look, or a part of the whole, must not replace the figures of a full run.
        none if none.is_empty() && (args.has("quick") || args.has("only") || args.has("sections")) => {
            return Ok(());
        }
        none if none.is_empty() => Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md"),
        named => PathBuf::from(named),
    };
    let save = |path: &Path, body: &str| {
        fs::write(path, body).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    };
    save(&out, &page.text)?;
    save(&out.with_extension("svg"), &page.chart)
}

fn row(plan: &Plan, sink: &Sink, section: &'static Section, case: Case) -> Result<Row, String> {
    let mut counts = Vec::new();
    let mut cells = Vec::new();
    for client in plan.clients.iter().filter(|client| client.knows(section.version)) {
        // Two steps, because the first messages of a process say little about the rate of a fast client.
        let first = drive(plan, sink, section, case, client, WARM_UP)?;
        let middle = (first.rate * plan.target / 4.0) as u64;
        let second = drive(plan, sink, section, case, client, middle.max(WARM_UP))?;
        counts.push(((second.rate * plan.target) as u64).max(WARM_UP));
        cells.push(Cell { client, runs: Vec::new() });
    }
    for _ in 0..plan.rounds {
        for (cell, &count) in cells.iter_mut().zip(&counts) {
            cell.runs.push(drive(plan, sink, section, case, cell.client, count)?);
        }
    }
    let row = Row { case, cells };
    eprintln!("  {}", page::line(&row));
    Ok(row)
}

fn drive(
    plan: &Plan,
    sink: &Sink,
    section: &Section,
    case: Case,
    client: &Client,
    count: u64,
) -> Result<Measured, String> {
    let mut command = ourselves()?;
    command.args(["drive", "--client", client.name, "--mode", case.mode, "--addr", &sink.address]);
    let numbers = [
        ("--qos", u64::from(case.qos)),
        ("--count", count),
        ("--size", plan.size as u64),
        ("--window", section.window.into()),
        ("--version", section.version.into()),
    ];
    for (flag, number) in numbers {
        command.args([flag, &number.to_string()]);
    }
    command.args(["--runtime", section.runtime]);
    if two_cores() {
        command.args(["--core", "1"]);
    }
    let what = || format!("{} at {}, {count} messages", client.name, case.title());
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("{}: {error}", what()))?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let read = || {
        Some(Measured {
            rate: number(&line, "rate")?,
            cpu: number(&line, "cpu_us")?,
            elapsed: number(&line, "elapsed_s")?,
        })
    };
    read().ok_or_else(|| format!("{} ended with {} and `{}`", what(), output.status, line.trim()))
}

fn number(line: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.parse().ok()
}

/// Sink and client get a core each; on a machine with one core they share it.
fn two_cores() -> bool {
    thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

fn ourselves() -> Result<Command, String> {
    env::current_exe().map(Command::new).map_err(|error| format!("where this program is: {error}"))
}

pub(crate) struct Sink {
    child: Child,
    pub(crate) address: String,
}

impl Sink {
    pub(crate) fn start(patience: u64) -> Result<Self, String> {
        let mut command = ourselves()?;
        command.args(["sink", "--patience", &patience.to_string()]);
        if two_cores() {
            command.args(["--core", "0"]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the sink did not start: {error}"))?;
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = BufReader::new(stdout).read_line(&mut address);
        }
        match address.trim() {
            "" => Err("the sink did not say its address".to_owned()),
            said => Ok(Self { address: said.to_owned(), child }),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
