//! `rejoin report`: renders a recorded run, as a page or as text.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use super::html;
use crate::exit::{Exit, Failure};
use crate::facts::Facts;
use crate::observe::recording;
use crate::watch;

/// What `rejoin report` can be asked for.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// The recorded run: what `rejoin watch --record` wrote, or the document of `--json`
    #[arg(value_name = "RUN.jsonl")]
    pub(crate) run: PathBuf,
    /// Where the page goes; `-` is stdout [default: beside the run, with the ending .html]
    #[arg(short, long, value_name = "FILE.html", conflicts_with_all = ["json", "text"])]
    pub(crate) output: Option<PathBuf>,
    /// The run document instead of a page, on stdout
    #[arg(long, conflicts_with = "text")]
    pub(crate) json: bool,
    /// The summary instead of a page, on stdout
    #[arg(long)]
    pub(crate) text: bool,
}

/// Renders a run.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let document = recording::read_any(&args.run).map_err(Failure::local)?;
    let name = args.run.display();
    if args.json {
        return print(&format!("{document:#}\n"));
    }
    if args.text {
        let facts = Facts::of(&document).map_err(|error| Failure::local(format!("{name}: {error}")))?;
        return print(&watch::summary(&facts));
    }
    let page = html(&document).map_err(|error| Failure::local(format!("{name}: {error}")))?;
    let to = args.output.clone().unwrap_or_else(|| args.run.with_extension("html"));
    if to == Path::new("-") {
        return print(&page);
    }
    if to == args.run {
        return Err(Failure::usage(format!("-o {}: that is the run itself", to.display())));
    }
    save(&to, &page)?;
    print(&format!("{}\n", to.display()))
}

/// Writes a page into a file.
pub(crate) fn save(to: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(to, page).map_err(|error| unwritten(to, &error))
}

/// The file of a page that is written at the end of a run: a place that takes none is found out before the run.
#[derive(Debug)]
pub(crate) struct Page {
    path: PathBuf,
    /// A pipe or a device, whose reader is there once only.
    open: Option<File>,
}

impl Page {
    /// Looks whether it can be written, and leaves all as it is. During the run the path is the user's: a report that lies
    /// there may be moved away.
    pub(crate) fn probe(path: &Path) -> Result<Self, Failure> {
        let probed = match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(made) => {
                drop(made);
                std::fs::remove_file(path).map(|()| None)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match OpenOptions::new().write(true).open(path) {
                    // A link to what is not there yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Ok(file) if file.metadata().is_ok_and(|about| about.is_file()) => Ok(None),
                    other => other.map(Some),
                }
            }
            Err(error) => Err(error),
        };
        let open = probed.map_err(|error| unwritten(path, &error))?;
        Ok(Self { path: path.to_owned(), open })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it.
    pub(crate) fn save(self, page: &str) -> Result<(), Failure> {
        match self.open {
            Some(mut open) => open.write_all(page.as_bytes()).map_err(|error| unwritten(&self.path, &error)),
            None => save(&self.path, page),
        }
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("cannot write the report to {}: {error}", path.display()))
}

fn print(text: &str) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Exit::Done),
        // The reader has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::local(format!("cannot write to stdout: {error}"))),
    }
}
