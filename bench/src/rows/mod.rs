//! The rows of the benchmark, in the order in which they are measured.

mod codec;
mod cost;
mod echo;
mod idle;
pub(crate) mod instructions;
pub(crate) mod rates;
mod recovery;

use crate::args::Args;
use crate::cast::Cast;
use crate::figures::Figures;
use crate::{machine, page};
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Seconds that one run of a rate should last.
    pub(crate) target: f64,
}

/// One row: what `--only` calls it, minutes that it takes at most on two idle cores, and how it is measured.
pub(crate) struct Row {
    pub(crate) key: &'static str,
    minutes: u64,
    /// Part of a quick look, too.
    quick: bool,
    measure: fn(&Cast, Effort, &mut Figures) -> Result<(), String>,
}

const fn row(
    key: &'static str,
    minutes: u64,
    quick: bool,
    measure: fn(&Cast, Effort, &mut Figures) -> Result<(), String>,
) -> Row {
    Row { key, minutes, quick, measure }
}

pub(crate) const ROWS: [Row; 18] = [
    row("rates-5", 6, true, rates::five),
    row("rates-4", 6, false, rates::four),
    row("rates-16", 6, false, rates::small),
    row("rates-16k", 6, false, rates::large),
    row("rates-wide", 2, false, rates::wide),
    row("rates-threads", 2, false, rates::threads),
    row("rates-sleeps", 2, false, rates::sleeps),
    row("tls", 2, true, rates::tls),
    row("observe", 2, true, rates::observe),
    row("echo", 3, true, echo::measure),
    row("idle", 7, true, idle::measure),
    row("offline", 4, true, recovery::offline),
    row("fin", 3, true, recovery::fin),
    row("back", 4, true, recovery::back),
    row("kill", 9, true, recovery::kill),
    row("codec", 1, true, codec::measure),
    row("instructions", 2, false, instructions::measure),
    row("cost", 8, false, cost::measure),
];

/// `bench run`: every row, or those of `--only`; a full row is kept, and the page is written from all that are.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let quick = args.has("quick");
    let words = |name: &str| -> Vec<String> {
        args.text(name, "").split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let only = words("only");
    if let Some(unknown) = only.iter().find(|key| !ROWS.iter().any(|row| row.key == key.as_str())) {
        let all: Vec<_> = ROWS.iter().map(|row| row.key).collect();
        return Err(format!("--only {unknown}: the rows are {}", all.join(", ")));
    }
    let wanted = |row: &&Row| {
        if only.is_empty() { row.quick || !quick } else { only.iter().any(|key| key == row.key) }
    };
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    let effort = Effort {
        quick,
        rounds: args.value("rounds", if quick { 1 } else { 3 })?,
        target: args.value("seconds", if quick { 0.1 } else { 0.3 })?,
    };
    let minutes: u64 = rows.iter().map(|row| row.minutes).sum();
    let most = if quick { minutes.div_ceil(3) } else { minutes };
    eprintln!("bench: {} rows, at most {most} minutes; {}", rows.len(), machine::busy());
    let clients = words("clients");
    // Some clients alone must not replace the figures of all.
    let keep = !quick && clients.is_empty();
    let cast = Cast::gather(clients);
    let begun = Instant::now();
    let mut left_out = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        eprintln!("[{}/{}] {} after {:.0} s", number + 1, rows.len(), row.key, begun.elapsed().as_secs_f64());
        let mut figures = Figures::new(row.key);
        // One row that cannot be measured here keeps no other away.
        if let Err(why) = (row.measure)(&cast, effort, &mut figures) {
            eprintln!("bench: {} is left out: {why}", row.key);
            left_out.push(row.key);
            continue;
        }
        println!("{}", page::row(&figures));
        if keep {
            figures.save()?;
        }
    }
    if keep && left_out.len() < rows.len() {
        page::save()?;
    }
    match left_out.is_empty() {
        true => Ok(()),
        false => Err(format!("not measured here, and kept as they were: {}", left_out.join(", "))),
    }
}

/// A wait that is part of what is measured.
fn wait(time: Duration) {
    // waits: the links have to be there for a while.
    std::thread::sleep(time);
}
