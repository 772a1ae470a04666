//! The command line of rejoin: stdout is payload, stderr is state, the exit status is the verdict.

mod apart;
mod args;
mod assets;
mod check;
mod demo;
mod exit;
mod explain;
mod facts;
mod format;
mod journal;
mod ledger;
mod narrator;
mod observe;
mod output;
mod patterns;
mod picture;
mod properties;
mod publish;
mod quantity;
mod queue;
mod replay;
mod report;
mod running;
mod settings;
mod signals;
mod source;
mod study;
mod subscribe;
mod terminal;
mod token;
mod watch;
mod ways;
mod why;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::args::{Cli, OutputArgs, OutputKind, Verb};
use crate::exit::{Exit, Failure};
use crate::output::Teller;
use crate::queue::args::QueueVerb;
use crate::queue::drain;
use crate::settings::{Publish, Subscribe, Typed};
use crate::watch::Watch;

fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let typed = typed(&matches);
        Cli::from_arg_matches(&matches).map(|cli| (cli.verb, typed))
    });
    let (verb, typed) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    match verb {
        Verb::Demo(args) => block_on(async move { demo::run(args.args).await }).into(),
        Verb::Explain(args) => match explain::text(&args.args.what) {
            Ok(text) => {
                let _ = writeln!(std::io::stdout().lock(), "{text}");
                Exit::Done.into()
            }
            Err(failure) => plainly(&failure),
        },
        Verb::Report(args) => at_once(report::run(&args.args)),
        Verb::Replay(args) => at_once(replay::run(&args.args)),
        Verb::Assets(args) => at_once(assets::run(&args.args)),
        Verb::Watch(mut args) => {
            Watch::prepare(&mut args);
            let output = args.connect.output.clone();
            conclude(&output, || Watch::new(*args, &typed), watch::run)
        }
        Verb::Check(mut args) => {
            let broker = args.broker.take();
            args.connect.url.extend(broker);
            let output = args.connect.output.clone();
            conclude(&output, || check::Check::new(*args, &typed), check::run)
        }
        Verb::Queue(args) => match args.args.verb {
            QueueVerb::Look(verb) => at_once(queue::look(&verb)),
            QueueVerb::Drain(mut args) => {
                if args.json {
                    args.connect.output.output = OutputKind::Json;
                }
                let output = args.connect.output.clone();
                conclude(&output, || drain::Drain::new(*args, &typed), drain::run)
            }
        },
        Verb::Pub(args) => {
            let output = args.connect.output.clone();
            conclude(&output, || Publish::new(*args, &typed), publish::run)
        }
        Verb::Sub(args) => {
            let output = args.connect.output.clone();
            let json = output.output == OutputKind::Json;
            conclude(&output, || Subscribe::new(*args, &typed, json), subscribe::run)
        }
    }
}

/// Runs a verb and tells why, if it could not do what was asked.
fn conclude<S, R>(
    output: &OutputArgs,
    settings: impl FnOnce() -> Result<S, Failure>,
    run: impl FnOnce(S, Teller) -> R,
) -> ExitCode
where
    R: Future<Output = Result<Exit, Failure>>,
{
    let teller = match Teller::new(output) {
        Ok(teller) => teller,
        Err(message) => return refused(output, &Failure::local(message)),
    };
    let settings = match settings() {
        Ok(settings) => settings,
        Err(failure) if teller.is_json() => {
            teller.error(&failure);
            teller.finish();
            return failure.exit.into();
        }
        Err(failure) => return plainly(&failure),
    };
    let exit = match block_on(run(settings, teller.clone())) {
        Ok(exit) => exit,
        Err(failure) => {
            teller.error(&failure);
            failure.exit
        }
    };
    teller.finish();
    exit.into()
}

/// The journal cannot be written, so it is told on stderr alone.
fn refused(output: &OutputArgs, failure: &Failure) -> ExitCode {
    let without = OutputArgs { events: None, ..output.clone() };
    match Teller::new(&without) {
        Ok(teller) if teller.is_json() => {
            teller.error(failure);
            teller.finish();
            failure.exit.into()
        }
        _ => plainly(failure),
    }
}

/// A runtime with one worker, which drives the client, while the verb runs on the main thread: a stdout that is not
/// read blocks the verb, and neither keep-alive nor Ctrl-C.
fn block_on<T: FromFailure>(work: impl Future<Output = T>) -> T {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(work);
            runtime.shutdown_background();
            result
        }
        Err(error) => T::from_failure(Failure::local(format!("cannot start: {error}"))),
    }
}

/// What a failed start becomes.
trait FromFailure {
    fn from_failure(failure: Failure) -> Self;
}

impl FromFailure for Result<Exit, Failure> {
    fn from_failure(failure: Failure) -> Self {
        Err(failure)
    }
}

impl FromFailure for Exit {
    fn from_failure(failure: Failure) -> Self {
        plainly(&failure);
        failure.exit
    }
}

/// The end of a verb that needs no runtime.
fn at_once(result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => plainly(&failure),
    }
}

fn plainly(failure: &Failure) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "error: {}", hidden(&failure.message));
    failure.exit.into()
}

/// What the definition of the flags cannot hold.
fn typed(matches: &ArgMatches) -> Typed {
    let verb = match matches.subcommand() {
        Some(("pub" | "sub" | "check" | "watch", verb)) => verb,
        Some(("queue", queue)) => match queue.subcommand() {
            Some(("drain", verb)) => verb,
            _ => return Typed::default(),
        },
        _ => return Typed::default(),
    };
    let on_line = |name| verb.value_source(name) == Some(ValueSource::CommandLine);
    let told = |name| verb.value_source(name).is_some_and(|source| source != ValueSource::DefaultValue);
    let properties = verb
        .get_occurrences::<String>("property")
        .map(|all| all.map(|words| words.cloned().collect()).collect())
        .unwrap_or_default();
    Typed {
        host: on_line("host") || on_line("port"),
        url: on_line("url"),
        server: ["host", "port", "url", "unix"].into_iter().any(told),
        properties,
    }
}

/// Help and version go to stdout; an error is one line that names the flag, and where help is.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
        _ => {}
    }
    let line = misplaced(error).map_or_else(|| hidden(&in_one_line(error)), |hint| format!("error: {hint}"));
    let _ = writeln!(std::io::stderr().lock(), "{line} (see --help)");
    Exit::Usage.into()
}

/// What clap says, in one line.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let parts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    parts.join("; ").replace(":; ", ": ")
}

/// Where a word stands without a flag, how to write what was most likely meant. A URL is not quoted: a password may be in it.
fn misplaced(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument || word.starts_with('-') {
        return None;
    }
    Some(if word.contains("://") {
        "a URL without a flag: every server is given with -L, as in -L mqtt://a -L mqtt://b".to_owned()
    } else {
        format!(
            "unexpected argument '{word}': a host is given with -h, and what has spaces in it goes in quotes"
        )
    })
}

/// Without the login of a URL that is quoted: a password never prints, not even in the wrong place.
fn hidden(line: &str) -> String {
    match line.split_once("://").map(|(before, rest)| (before, rest.rsplit_once('@'))) {
        Some((before, Some((_, after)))) => format!("{before}://***@{after}"),
        _ => line.to_owned(),
    }
}
