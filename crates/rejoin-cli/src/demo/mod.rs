//! `rejoin demo`: the recovery story in thirty seconds, without a broker of one's own.
//!
//! ```text
//!   our client ──┐
//!                ├─► proxy ──► broker ──ledger──► auditors ──► verdict
//!   plain lane ──┘
//! ```
//!
//! The verdict is the auditor's, from the broker's side; no counter of a client has a word in it.

mod chronicle;
mod clock;
mod killed;
mod lines;
mod model;
mod plain;
mod screen;
mod script;
mod seen;
mod show;
mod verdict;
mod world;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use rejoin::Qos;

use crate::exit::Exit;
use crate::observe::document::Document;
use crate::observe::flags::{Places, ServeArgs};
use crate::report;
use crate::terminal::{Stage, wants_picture};
use lines::{Lines, To};
use script::{Pace, Times};
use show::{Ending, Face, Show};
use world::Settings;

/// What `rejoin demo` can be asked for.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// The whole story in 6 s, with smaller times
    #[arg(long)]
    pub(crate) fast: bool,
    /// Repeat a run: the seed of every random choice
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Quality of service of the workload
    #[arg(long, value_name = "0|1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Leave out the lane without recovery
    #[arg(long)]
    pub(crate) no_plain: bool,
    /// One JSON document at the end on stdout; lines go to stderr meanwhile
    #[arg(long)]
    pub(crate) json: bool,
    /// Lines instead of the live picture
    #[arg(long)]
    pub(crate) no_tui: bool,
    /// Write the report of the run at the end: one HTML file with everything in it
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Where to be seen
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// Runs the demo; the exit is the auditor's verdict.
pub(crate) async fn run(args: Args) -> Exit {
    let places = match args.serve.take() {
        Ok(places) => places,
        Err(failure) => {
            let _ = writeln!(io::stderr().lock(), "error: {}", failure.message);
            return failure.exit;
        }
    };
    match play(&args, places).await {
        Ok(exit) => exit,
        Err(message) => {
            let _ = writeln!(io::stderr().lock(), "error: {message}");
            Exit::Local
        }
    }
}

async fn play(args: &Args, places: Places) -> Result<Exit, String> {
    let settings = Settings {
        pace: if args.fast { Pace::FAST } else { Pace::SHOW },
        // Short enough to be typed again.
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        qos: Qos::from_u8(args.qos).unwrap_or(Qos::AtLeastOnce),
        plain: !args.no_plain,
    };
    let lines = Lines::new(if args.json { To::Stderr } else { To::Stdout });
    let picture = wants_picture(args.no_tui, args.json);
    if !picture {
        lines.say(&format!("rejoin demo, {} s, seed {}", settings.pace.total().as_secs(), settings.seed));
        lines.say(&Times::at(settings.pace).to_string());
    }
    let urls = places.urls();
    for url in &urls {
        // Also with a picture: it goes over another screen, and this line is there again afterwards.
        let _ = writeln!(io::stderr().lock(), "serving {url}");
    }
    let show = Show::start(settings, (!urls.is_empty() || args.report.is_some()).then_some(places)).await?;
    let mut face = if picture {
        let (stage, keys) =
            Stage::take().map_err(|error| format!("demo: terminal: {error}; try --no-tui"))?;
        Face::Picture { stage: Box::new(stage), keys, colour: std::env::var_os("NO_COLOR").is_none() }
    } else {
        Face::Lines(lines)
    };
    let ending = show.run(&mut face).await;
    // The terminal is given back before anything is printed.
    drop(face);
    let Ending { judgement, chronicle, signal, seen, document, mut signals } = ending?;
    let mut lines = Lines::new(if args.json { To::Stderr } else { To::Stdout });
    if picture {
        lines.say(&Times::at(settings.pace).to_string());
        lines.catch_up(chronicle.lines());
    }
    for line in judgement.lines() {
        lines.say(&line);
    }
    if args.json {
        let document = judgement.json(&chronicle);
        writeln!(io::stdout().lock(), "{document:#}").map_err(|error| format!("demo: stdout: {error}"))?;
    }
    if let (Some(to), Some(document)) = (&args.report, document) {
        write_report(to, &document)?;
        lines.say(&format!("      report: {}", to.display()));
    }
    // Whoever looks on may go on looking.
    if seen.is_some() && !urls.is_empty() && signal.is_none() {
        let _ = writeln!(io::stderr().lock(), "still serving {} until Ctrl-C", urls.join(" "));
        signals.first().await;
    }
    let verdict = if judgement.passes() { Exit::Done } else { Exit::VerdictFailed };
    Ok(signal.unwrap_or(verdict))
}

fn write_report(to: &Path, document: &Document) -> Result<(), String> {
    let value = serde_json::to_value(document).map_err(|error| format!("demo: the document: {error}"))?;
    let page = report::html(&value).map_err(|error| format!("demo: the report: {error}"))?;
    report::save(to, &page).map_err(|failure| failure.message)
}
