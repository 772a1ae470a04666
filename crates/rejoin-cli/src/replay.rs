//! `rejoin replay`: a file of the flight recorder, played again and judged.

use std::io::Write;
use std::path::{Path, PathBuf};

use rejoin_lab::flight::{Judgement, judge};
use serde_json::json;

use crate::exit::{Exit, Failure};

/// Lines shown before the one that matters.
const BEFORE: usize = 12;
/// A line is shown up to here; what is left out is bytes.
const WIDTH: usize = 160;
/// A recording is read whole: larger ones than any recorder writes are not ours.
const LARGEST: u64 = 1024 * 1024 * 1024;

/// `rejoin replay`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What `--flight FILE` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Keep the flight up to what went wrong, as a test: a file in crates/rejoin-lab/tests/flights that fails until it is mended
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// The result as JSON
    #[arg(long)]
    json: bool,
}

/// Replays a file. The verdict is the exit code: 0, or 6 where a rule is broken or this build goes another way.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let text = read(&args.file)?;
    let judged = judge(&text)
        .map_err(|error| Failure::usage(format!("{}, {}", args.file.display(), plain(&error.to_string()))))?;
    let words = if args.json { as_json(&judged) } else { as_text(&judged, &text) };
    let _ = writeln!(std::io::stdout().lock(), "{words}");
    if let Some(place) = &args.test {
        keep(place, &judged, &text)?;
    }
    Ok(if judged.is_clean() { Exit::Done } else { Exit::VerdictFailed })
}

fn read(file: &Path) -> Result<String, Failure> {
    let told = |error: std::io::Error| Failure::local(format!("cannot read {}: {error}", file.display()));
    let size = std::fs::metadata(file).map_err(told)?.len();
    if size > LARGEST {
        let what = format!("{} has {size} bytes; no flight is larger than {LARGEST}", file.display());
        return Err(Failure::usage(what));
    }
    let mut bytes = std::fs::read(file).map_err(told)?;
    // A write that was torn may end inside a character: the last line without its end is left out anyway.
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{} is no flight: it is no text; `--flight FILE` writes one", file.display()))
    })
}

/// The line that matters, and why.
fn finding(judged: &Judgement) -> Option<(usize, f64, String)> {
    let broken = judged.broken.as_ref().map(|broken| {
        (broken.line, broken.at, format!("a rule is broken: {}", plain(&broken.alarm.to_string())))
    });
    let differs = || {
        judged.replayed.difference.as_ref().map(|found| {
            let then = plain(&found.recorded);
            let now = found.replayed.as_deref().map_or_else(|| "nothing".to_owned(), plain);
            let what = format!("this build does something else here:\n  then  {then}\n  now   {now}");
            (found.line, found.at, what)
        })
    };
    broken.or_else(differs).map(|(line, at, what)| (line, at.as_micros() as f64 / 1e6, what))
}

fn as_text(judged: &Judgement, text: &str) -> String {
    let found = &judged.replayed;
    let sum = format!(
        "{} inputs in {:.3} s gave {} outputs as recorded; links {}, messages {}, of these answered for {}",
        found.inputs,
        found.until.as_micros() as f64 / 1e6,
        found.outputs,
        judged.links,
        judged.published,
        judged.answered
    );
    let cut = match &found.cut {
        Some(why) => format!("\nthe recording ends early: {}", plain(why)),
        None if found.stopped || found.difference.is_some() => String::new(),
        None => {
            "\nthe recording ends before the client did: its process was killed, or the disk took no more"
                .to_owned()
        }
    };
    let Some((line, at, what)) = finding(judged) else {
        return format!("{sum}{cut}\nnothing speaks against the client");
    };
    let first = line.saturating_sub(BEFORE + 1);
    let shown: Vec<String> = text
        .lines()
        .enumerate()
        .skip(first)
        .take(line - first)
        .map(|(number, content)| format!("{:>8}  {}", number + 1, short(content)))
        .collect();
    format!("{sum}{cut}\n{}\nline {line}, {at:.6} s: {what}", shown.join("\n"))
}

/// A file may come from anywhere: what a terminal obeys is not shown.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn short(line: &str) -> String {
    let line = plain(line);
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

fn as_json(judged: &Judgement) -> String {
    let found = &judged.replayed;
    let broken = judged.broken.as_ref().map(|broken| {
        json!({
            "line": broken.line,
            "at_us": broken.at.as_micros(),
            "rule": broken.alarm.oracle,
            "what": broken.alarm.what,
        })
    });
    let difference = found.difference.as_ref().map(|found| {
        json!({
            "line": found.line,
            "at_us": found.at.as_micros(),
            "recorded": found.recorded,
            "replayed": found.replayed,
        })
    });
    json!({
        "clean": judged.is_clean(),
        "inputs": found.inputs,
        "outputs": found.outputs,
        "until_us": found.until.as_micros(),
        "links": judged.links,
        "published": judged.published,
        "answered": judged.answered,
        "cut": found.cut,
        "stopped": found.stopped,
        "broken": broken,
        "difference": difference,
    })
    .to_string()
}

fn keep(place: &Path, judged: &Judgement, text: &str) -> Result<(), Failure> {
    let Some((line, ..)) = finding(judged) else {
        return Err(Failure::usage(
            "--test: nothing went wrong in this flight, so it can be no failing test",
        ));
    };
    if judged.broken.is_none() {
        return Err(Failure::usage(
            "--test: no rule is broken, this build only does something else than the one that was recorded; replay it \
             with that build",
        ));
    }
    let part: String = text.lines().take(line).map(|content| format!("{content}\n")).collect();
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(place);
    file.and_then(|mut file| file.write_all(part.as_bytes()))
        .map_err(|error| Failure::local(format!("cannot write {}: {error}", place.display())))?;
    let _ = writeln!(
        std::io::stderr().lock(),
        "kept {line} lines in {}; in crates/rejoin-lab/tests/flights it is a test: cargo test -p rejoin-lab --test flights",
        place.display()
    );
    Ok(())
}
