//! From figures to a page: docs/performance.md and its charts.

mod chart;
mod goals;
mod spec;
mod table;

use crate::figures::Figures;
use crate::rows::ROWS;
use crate::{cast, machine};
use std::fs;
use std::path::Path;

/// Two versions of ourselves are beside each other there, so a run cannot take it.
const COUNTING: &str = include_str!("counting.md");
/// Nor do other clients have the same queue: `memory_figures` of rejoin-lab takes it.
const WAITING: &str = include_str!("waiting.md");
/// What a run cannot say of its own figures.
const BEHIND: &str = include_str!("behind.md");
const METHOD: &str = include_str!("method.md");

/// One row, for the screen.
pub(crate) fn row(figures: &Figures) -> String {
    spec::of(&figures.key).map_or_else(String::new, |spec| table::render(spec, figures))
}

/// Writes the page from all figures that are kept.
pub(crate) fn save() -> Result<(), String> {
    let all: Vec<Figures> = ROWS.iter().map(|row| Figures::load(row.key)).collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let write = |name: &str, body: &str| {
        let path = docs.join(name);
        fs::write(&path, body).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    };
    write("performance.md", &text(&all))?;
    write("performance.svg", &chart::rates(&all))?;
    write("performance-recovery.svg", &chart::recovery(&all))
}

fn text(all: &[Figures]) -> String {
    let tables: String = all.iter().filter(|figures| !figures.all.is_empty()).map(row).collect();
    let missing: Vec<&str> =
        all.iter().filter(|figures| figures.all.is_empty()).map(|figures| figures.key.as_str()).collect();
    let missing = match missing.is_empty() {
        true => String::new(),
        false => format!("Not measured yet: {}.\n\n", missing.join(", ")),
    };
    format!(
        "# Performance\n\n\
        Written by `cargo xtask bench` from the figures in `bench/figures`; run it again on your machine, the absolute\n\
        figures will differ. Compare within a table: everything in one ran interleaved, minutes apart at most. Each table\n\
        says when it was taken and how busy the machine was; of several runs it has the median (least–most).\n\n\
        {missing}{goals}\n\
        ![rates as multiples of rumqttc](performance.svg)\n\n\
        ![round trips, returns and idle connections](performance-recovery.svg)\n\n\
        ## Figures\n\n{tables}{BEHIND}\n{WAITING}\n{COUNTING}\n{METHOD}\nThe machine of this page: {machine}.\n\n\
        ## The clients\n\n{clients}",
        goals = goals::section(all),
        machine = machine::machine(),
        clients = cast::described(),
    )
}
