//! Everything that must hold before a change is handed over, step by step, with a table at the end.

use crate::bench::{self, Held};
use crate::fuzz::{self, Round};
use crate::install::{self, Installed};
use crate::{features, run, say, sim, skips, tidy, tree};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A cold build of one profile on two cores takes a fraction of this.
const BUILD_LIMIT: Duration = Duration::from_secs(600);
/// Several times what the suite takes: one that needs longer hangs.
const TEST_LIMIT: Duration = Duration::from_secs(1200);
/// `demo --fast` shows six seconds.
const DEMO_LIMIT: Duration = Duration::from_secs(60);
/// For each fuzz target.
const FUZZ_SECONDS: u64 = 10;
const WASM: &str = "wasm32-unknown-unknown";

enum End {
    Passed(String),
    Skipped(String),
    Failed(String),
}

struct Done {
    step: &'static str,
    took: Duration,
    end: End,
}

/// Runs every step, also after a failure, so that one run shows all there is to mend. True when nothing failed.
pub(crate) fn everything(root: &Path) -> bool {
    let steps: [(&'static str, &dyn Fn() -> End); 13] = [
        ("install", &install),
        ("format", &|| format(root)),
        ("clippy", &|| clippy(root)),
        ("tidy", &|| if tidy::report(root) { passed("") } else { failed("house rules, listed above") }),
        ("docs", &|| docs(root)),
        ("core for wasm32", &|| wasm(root)),
        ("aws-lc", &|| aws_lc(root)),
        ("tests", &|| tests(root)),
        ("simulation", &|| ended(sim::minute(root, BUILD_LIMIT))),
        ("release build", &|| release(root)),
        ("demo --fast", &|| demo(root)),
        ("fuzz", &|| fuzzing(root)),
        ("instructions", &|| instructions(root)),
    ];
    let begin = Instant::now();
    let mut done = Vec::new();
    for (number, (step, work)) in steps.iter().enumerate() {
        say::headline(&format!("{}/{} {step}", number + 1, steps.len()));
        let begin = Instant::now();
        let end = work();
        let took = begin.elapsed();
        say::line(&format!("    {step}: {} after {:.1} s", told(&end), took.as_secs_f64()));
        done.push(Done { step, took, end });
    }
    say::headline("summary");
    summary(&done, begin.elapsed());
    skips::tell(root);
    !done.iter().any(|done| matches!(done.end, End::Failed(_)))
}

fn install() -> End {
    match install::what_tests_need() {
        Ok(Installed::Ready(how)) => End::Passed(how),
        Ok(Installed::Without(why)) => End::Skipped(why),
        Err(error) => End::Failed(error),
    }
}

fn format(root: &Path) -> End {
    if run::answer(&mut run::cargo(root, &["fmt", "--version"])).is_none() {
        return End::Skipped("rustfmt is not installed: rustup component add rustfmt".to_owned());
    }
    ended(run::within(&mut run::cargo(root, &["fmt", "--all", "--check"]), BUILD_LIMIT))
}

/// Package by package: together, a feature that one of them switches on hides a warning in another. The library twice,
/// as most of it is behind features.
fn clippy(root: &Path) -> End {
    if run::answer(&mut run::cargo(root, &["clippy", "--version"])).is_none() {
        return End::Skipped("clippy is not installed: rustup component add clippy".to_owned());
    }
    let mut broken = Vec::new();
    let plain = tree::packages(root).into_iter().map(|(name, _)| (name, String::new()));
    for (name, features) in plain.chain([("rejoin".to_owned(), features::of_library())]) {
        // Without `--no-deps` a warning in core would be told once for each crate above it.
        let mut clippy =
            run::cargo(root, &["clippy", "--quiet", "--no-deps", "--package", &name, "--all-targets"]);
        clippy.args(["--features", &features, "--", "-D", "warnings"]);
        if run::within(&mut clippy, BUILD_LIMIT).is_err() {
            broken.push(if features.is_empty() { name } else { format!("{name} with {features}") });
        }
    }
    if broken.is_empty() { passed("") } else { End::Failed(format!("warnings in {}", broken.join(", "))) }
}

/// The program and the library are both called `rejoin`: the program's pages first, so that the library's stay; and of
/// these, the ones with all that is behind features.
fn docs(root: &Path) -> End {
    let common = ["doc", "--quiet", "--no-deps", "--document-private-items"];
    let features = features::of_library();
    let parts: [&[&str]; 3] = [
        &["--package", "rejoin-cli"],
        &["--workspace", "--exclude", "rejoin-cli", "--exclude", "xtask"],
        &["--package", "rejoin", "--features", &features],
    ];
    for part in parts {
        let mut command = run::cargo(root, &common);
        command.args(part).env("RUSTDOCFLAGS", "-D warnings");
        if let Err(error) = run::within(&mut command, BUILD_LIMIT) {
            return End::Failed(error);
        }
    }
    passed("")
}

/// A target without clock, threads and sockets is the plainest proof that the core uses none.
fn wasm(root: &Path) -> End {
    let libraries =
        run::answer(run::command("rustc", &["--print", "target-libdir", "--target", WASM]).current_dir(root));
    if !libraries.is_some_and(|folder| Path::new(folder.trim()).is_dir()) {
        return End::Skipped(format!("the target is not installed: rustup target add {WASM}"));
    }
    ended(run::within(
        &mut run::cargo(root, &["check", "--quiet", "--package", "rejoin-core", "--target", WASM]),
        BUILD_LIMIT,
    ))
}

/// That the library and its tests build with the other cryptography. To run them takes 150 s of processor time more when
/// nothing is built yet, half of it C, for code that is rustls's and not ours; by hand:
/// `cargo test -p rejoin --features aws-lc --test it tls::`.
fn aws_lc(root: &Path) -> End {
    if run::find("cc").is_none() {
        return End::Skipped("it needs a C compiler: install gcc or clang".to_owned());
    }
    let check = ["check", "--quiet", "--package", "rejoin", "--features", "aws-lc", "--tests"];
    ended(run::within(&mut run::cargo(root, &check), BUILD_LIMIT))
}

fn tests(root: &Path) -> End {
    let list = match skips::begin(root) {
        Ok(list) => list,
        Err(error) => return End::Failed(error),
    };
    // Built apart, so that the limit of the run is about the tests and not about the compiler.
    let features = features::of_workspace();
    let all = ["test", "--workspace", "--features", &features];
    let built = run::within(run::cargo(root, &all).args(["--quiet", "--no-run"]), BUILD_LIMIT);
    if let Err(error) = built {
        return End::Failed(error);
    }
    let ran = run::within(run::cargo(root, &all).arg("--no-fail-fast").env(skips::LIST, list), TEST_LIMIT);
    ran.map_or_else(End::Failed, |()| End::Passed(skips::count(root)))
}

fn release(root: &Path) -> End {
    ended(run::within(
        &mut run::cargo(root, &["build", "--quiet", "--release", "--package", "rejoin-cli"]),
        BUILD_LIMIT,
    ))
}

fn demo(root: &Path) -> End {
    let rejoin = ["run", "--quiet", "--release", "--package", "rejoin-cli", "--", "demo", "--fast"];
    ended(piped(&mut run::cargo(root, &rejoin), DEMO_LIMIT))
}

/// Ten seconds each: enough for what a change broke near the surface. The corpora are replayed by the tests anyway.
fn fuzzing(root: &Path) -> End {
    match fuzz::round(root, FUZZ_SECONDS) {
        Round::Clean(note) => End::Passed(note),
        Round::Absent(why) => End::Skipped(why),
        Round::Found(why) => End::Failed(why),
    }
}

/// Speed that does not depend on what else the machine does. Last, as it builds the client once more, as a program does.
fn instructions(root: &Path) -> End {
    match bench::hold(root) {
        Held::Kept => passed("no message takes 5 % more than was kept"),
        Held::Absent(why) => End::Skipped(why),
        Held::Risen(why) => End::Failed(why),
    }
}

/// Runs with standard output through a pipe, so that a program that draws on terminals writes plain lines.
fn piped(command: &mut Command, limit: Duration) -> Result<(), String> {
    let (mut reader, writer) = io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    command.stdout(writer).stderr(Stdio::inherit());
    let copy = thread::spawn(move || io::copy(&mut reader, &mut io::stdout().lock()));
    let result = run::within(command, limit);
    // The command holds the other end of the pipe; without it the copy would never see the end.
    command.stdout(Stdio::null());
    let _ = copy.join();
    result
}

fn passed(note: &str) -> End {
    End::Passed(note.to_owned())
}

fn failed(why: &str) -> End {
    End::Failed(why.to_owned())
}

fn ended(result: Result<(), String>) -> End {
    match result {
        Ok(()) => passed(""),
        Err(error) => End::Failed(error),
    }
}

fn told(end: &End) -> String {
    let (word, why) = words(end);
    if why.is_empty() { word.to_owned() } else { format!("{word} ({why})") }
}

fn words(end: &End) -> (&'static str, &str) {
    match end {
        End::Passed(note) => ("passed", note),
        End::Skipped(why) => ("SKIPPED", why),
        End::Failed(why) => ("FAILED", why),
    }
}

fn summary(done: &[Done], total: Duration) {
    for Done { step, took, end } in done {
        let (word, why) = words(end);
        say::line(format!("{step:<16} {:>7.1} s  {word:<8} {why}", took.as_secs_f64()).trim_end());
    }
    let count = |wanted: &str| done.iter().filter(|done| words(&done.end).0 == wanted).count();
    let (passed, skipped, failed) = (count("passed"), count("SKIPPED"), count("FAILED"));
    let all = format!("{passed} passed, {skipped} skipped, {failed} failed");
    say::line(&format!("{:<16} {:>7.1} s  {all}", "total", total.as_secs_f64()));
}
