//! Runs the plan: within every round the contestants take turns, each in a fresh process and a fresh folder.

use super::contestant::{CONTESTANTS, told};
use super::page;
use crate::args::Args;
use crate::process::Sink;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// The whole client, beside the stores.
pub(super) const CLIENT: &str = "client";

/// Figures of one run by name.
pub(super) type Run = BTreeMap<String, f64>;

/// All runs of one row: by contestant, in the order of the table.
pub(super) struct Row {
    pub(super) key: &'static str,
    pub(super) title: String,
    pub(super) cells: Vec<(&'static str, Vec<Run>)>,
}

pub(super) struct Plan {
    folder: PathBuf,
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) size: u64,
    /// Messages through the backlog, and depths to open and to hold in memory.
    pub(super) through: u64,
    pub(super) depths: Vec<u64>,
    rows: Vec<String>,
    only: Vec<String>,
}

/// Removed at the end, also when a run fails.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let quick = args.has("quick");
    let words = |name| -> Vec<String> {
        args.text(name, "").split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    // Beside the program: the folder for temporary files may be no disk.
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/queues");
    let folder = PathBuf::from(args.text("folder", &here.display().to_string()));
    let plan = Plan {
        folder: folder.join(std::process::id().to_string()),
        rounds: args.value("rounds", if quick { 1 } else { 5 })?,
        seconds: args.value("seconds", if quick { 0.4 } else { 1.0 })?,
        size: args.value("size", 256)?,
        through: args.value("through", if quick { 100_000 } else { 1_000_000 })?,
        depths: if quick { vec![100_000] } else { vec![100_000, 1_000_000] },
        rows: words("rows"),
        only: words("only"),
    };
    fs::create_dir_all(&plan.folder).map_err(told)?;
    let _scratch = Scratch(plan.folder.clone());
    let load = crate::machine::busy();
    let rows = plan.measure()?;
    let page = page::write(&plan, &rows, &load);
    println!("{}", page.tables);
    let out = match args.text("out", "") {
        // A quick look, or a part of the whole, must not replace the figures of a full run.
        none if none.is_empty() && (quick || args.has("rows") || args.has("only")) => return Ok(()),
        none if none.is_empty() => Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance-store.md"),
        named => PathBuf::from(named),
    };
    fs::write(&out, &page.text).map_err(|error| format!("{} cannot be written: {error}", out.display()))
}

impl Plan {
    fn measure(&self) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        for (key, batch) in [("accept-100", 100), ("accept-1", 1)] {
            let title = format!("{batch} in flight");
            let batch = batch.to_string();
            rows.extend(self.row(key, title, true, |name| match name {
                CLIENT => self.timed("client", &["--batch", &batch]),
                _ => self.timed("accept", &["--store", name, "--batch", &batch]),
            })?);
        }
        for (key, depth, batch) in [("fifo-1000", 1000_u64, 10), ("fifo-100000", 100_000, 100)] {
            let title =
                format!("depth {}, {batch} come and {batch} go for each commit", page::grouped(depth as f64));
            let (depth, batch) = (depth.to_string(), batch.to_string());
            rows.extend(self.row(key, title, false, |name| {
                self.timed("fifo", &["--store", name, "--batch", &batch, "--depth", &depth])
            })?);
        }
        rows.extend(self.online()?);
        rows.extend(self.through()?);
        for depth in &self.depths {
            rows.extend(self.reopen(*depth)?);
        }
        for depth in &self.depths {
            rows.extend(self.memory(
                &format!("{} messages", page::grouped(*depth as f64)),
                *depth,
                self.size,
            )?);
        }
        rows.extend(self.memory("20,000 messages of 16 KiB", 20_000, 16 << 10)?);
        Ok(rows)
    }

    fn wants(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| key.starts_with(wanted.as_str()))
    }

    fn wants_contestant(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }

    fn row(
        &self,
        key: &'static str,
        title: String,
        client: bool,
        measure: impl Fn(&str) -> Result<Run, String>,
    ) -> Result<Option<Row>, String> {
        if !self.wants(key) {
            return Ok(None);
        }
        let names = CONTESTANTS.iter().map(|(name, _)| *name).chain(client.then_some(CLIENT));
        let mut cells: Vec<_> =
            names.filter(|name| self.wants_contestant(name)).map(|name| (name, Vec::new())).collect();
        for _ in 0..self.rounds {
            for (name, runs) in &mut cells {
                runs.push(measure(name)?);
            }
        }
        Ok(Some(told_as_it_goes(Row { key, title, cells })))
    }

    /// The whole client while a broker answers: every message comes and goes.
    fn online(&self) -> Result<Vec<Row>, String> {
        if !self.wants("online") {
            return Ok(Vec::new());
        }
        let sink = Sink::start(&["--patience", "0"])?;
        let mut rows = Vec::new();
        let paces = [
            ("online-100", "100 in flight", "100", "0"),
            ("online-1", "1 in flight", "1", "0"),
            ("online-paced", "one, and the next 50 ms after its end", "1", "50"),
            ("online-slow", "one, and the next 150 ms after its end", "1", "150"),
        ];
        for (key, title, batch, pause) in paces {
            let words = ["--batch", batch, "--addr", &sink.address, "--delay", "10", "--pause", pause];
            let runs: Result<_, String> = (0..self.rounds).map(|_| self.timed("online", &words)).collect();
            let cells = vec![(CLIENT, runs?)];
            rows.push(told_as_it_goes(Row { key, title: title.to_owned(), cells }));
        }
        Ok(rows)
    }

    /// Once: the work is the same each time, and a million of messages are long enough.
    fn through(&self) -> Result<Option<Row>, String> {
        let title = format!("{} messages through a backlog of 1,000", page::grouped(self.through as f64));
        let count = self.through.to_string();
        let once = Self { rounds: 1, ..self.clone_of() };
        once.row("through", title, false, |name| {
            self.fresh("through", &["--store", name, "--count", &count, "--depth", "1000", "--batch", "100"])
        })
    }

    fn clone_of(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            depths: self.depths.clone(),
            rows: self.rows.clone(),
            only: self.only.clone(),
            ..*self
        }
    }

    /// Fills once, then opens again and again: after a kill, and after an orderly end.
    fn reopen(&self, depth: u64) -> Result<Vec<Row>, String> {
        if !self.wants("reopen") {
            return Ok(Vec::new());
        }
        let title = |how| format!("{} pending, {how}", page::grouped(depth as f64));
        let mut clean = Row { key: "reopen-clean", title: title("after an orderly end"), cells: Vec::new() };
        let mut killed = Row { key: "reopen-killed", title: title("after SIGKILL"), cells: Vec::new() };
        let names = || CONTESTANTS.iter().map(|(name, _)| *name).filter(|name| self.wants_contestant(name));
        for name in names() {
            self.killed(name, &["--job", "fill", "--count", &depth.to_string()])?;
            clean.cells.push((name, Vec::new()));
            killed.cells.push((name, Vec::new()));
        }
        for round in 0..self.rounds {
            for (at, name) in names().enumerate() {
                if round > 0 {
                    self.killed(name, &["--job", "touch"])?;
                }
                for row in [&mut killed, &mut clean] {
                    let run = self.child(name, &["--job", "reopen", "--store", name])?;
                    if run.get("found") != Some(&(depth as f64)) {
                        return Err(format!("{name} found {:?} of {depth} messages", run.get("found")));
                    }
                    row.cells[at].1.push(run);
                }
            }
        }
        for name in names() {
            let _ = fs::remove_dir_all(self.folder.join(name));
        }
        Ok(vec![told_as_it_goes(killed), told_as_it_goes(clean)])
    }

    fn memory(&self, title: &str, count: u64, size: u64) -> Result<Option<Row>, String> {
        if !self.wants("memory") {
            return Ok(None);
        }
        let (count, size) = (count.to_string(), size.to_string());
        let mut cells = Vec::new();
        for place in ["disk", "memory"] {
            let words = ["--place", place, "--count", &count, "--size", &size];
            let runs: Result<Vec<Run>, String> =
                (0..self.rounds.min(2)).map(|_| self.fresh("memory", &words)).collect();
            cells.push((place, runs?));
        }
        Ok(Some(told_as_it_goes(Row { key: "memory", title: title.to_owned(), cells })))
    }

    fn timed(&self, job: &str, words: &[&str]) -> Result<Run, String> {
        let seconds = self.seconds.to_string();
        self.fresh(job, &[words, &["--seconds", &seconds]].concat())
    }

    /// In a folder of its own, which goes afterwards.
    fn fresh(&self, job: &str, words: &[&str]) -> Result<Run, String> {
        let run = self.child("one", &[&["--job", job], words].concat());
        let _ = fs::remove_dir_all(self.folder.join("one"));
        run
    }

    fn command(&self, folder: &str, words: &[&str]) -> Result<Command, String> {
        let mut command = env::current_exe().map(Command::new).map_err(told)?;
        command.arg("measure").arg("--folder").arg(self.folder.join(folder)).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        // Words given later do not count twice.
        if !words.contains(&"--size") {
            command.args(["--size", &self.size.to_string()]);
        }
        Ok(command)
    }

    fn child(&self, folder: &str, words: &[&str]) -> Result<Run, String> {
        let output = self.command(folder, words)?.output().map_err(told)?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let run = numbers(&line);
        match output.status.success() && !run.is_empty() {
            true => Ok(run),
            false => Err(format!("`{}` ended with {} and `{}`", words.join(" "), output.status, line.trim())),
        }
    }

    /// Runs until it says that it is ready, then kills it.
    fn killed(&self, name: &str, words: &[&str]) -> Result<(), String> {
        let mut child = self.command(name, &[words, &["--store", name]].concat())?.spawn().map_err(told)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(told)?;
        }
        child.kill().and_then(|()| child.wait()).map_err(told)?;
        match line.trim() {
            "ready" => Ok(()),
            _ => Err(format!("{name} was not ready to be killed: `{}`", words.join(" "))),
        }
    }
}

fn told_as_it_goes(row: Row) -> Row {
    eprintln!("{}", page::line(&row));
    row
}

fn numbers(line: &str) -> Run {
    let inside = line.trim().trim_start_matches('{').trim_end_matches('}');
    let pair = |pair: &str| {
        let (name, value) = pair.split_once(':')?;
        Some((name.trim_matches('"').to_owned(), value.parse().ok()?))
    };
    inside.split(',').filter_map(pair).collect()
}
