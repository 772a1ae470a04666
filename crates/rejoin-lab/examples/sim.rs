//! The simulation as a program; `cargo xtask sim` builds and runs it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rejoin_lab::sim::campaign::{Plan, Sum, go};
use rejoin_lab::sim::{Case, Marks, run, run_recorded, shrink};

/// What was asked for.
#[derive(Debug)]
struct Asked {
    plan: Plan,
    replay: Option<Case>,
    shrinks: bool,
    all_lines: bool,
    quiet: bool,
    /// Every place must have been visited.
    marks: bool,
    state: Option<std::path::PathBuf>,
    /// Look for every planted defect; the table goes there.
    proof: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let asked = match read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(error) => {
            say(&format!("sim: {error}"));
            return ExitCode::from(2);
        }
    };
    // A panic inside a world is a finding of its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(page) = &asked.proof {
        return proof(page, &asked);
    }
    match &asked.replay {
        Some(case) => replay(case, &asked),
        None => campaign(&asked),
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let plan = Plan {
        from: 0,
        seeds: u64::MAX,
        most: Duration::MAX,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        twice: 50,
        stops: false,
        real_queue: false,
    };
    let mut asked = Asked {
        plan,
        replay: None,
        shrinks: true,
        all_lines: false,
        quiet: false,
        marks: false,
        state: None,
        proof: None,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--seeds" => asked.plan.seeds = number(&value()?)?,
            "--from" => asked.plan.from = number(&value()?)?,
            "--minutes" => asked.plan.most = Duration::from_secs_f64(fraction(&value()?)? * 60.0),
            "--jobs" => asked.plan.jobs = usize::try_from(number(&value()?)?).unwrap_or(1),
            "--twice" => asked.plan.twice = number(&value()?)?,
            "--replay" => asked.replay = Some(Case::of(number(&value()?)?)),
            "--until" => {
                let until = number(&value()?)?;
                asked.replay.as_mut().ok_or("`--until` goes behind `--replay`")?.until = Some(until);
            }
            "--keep" => {
                let list = value()?;
                let numbers = list.split(',').filter(|word| *word != "none").map(number);
                let numbers: Result<Vec<u64>, String> = numbers.collect();
                let keep = numbers?.into_iter().filter_map(|n| usize::try_from(n).ok()).collect();
                asked.replay.as_mut().ok_or("`--keep` goes behind `--replay`")?.keep = Some(keep);
            }
            "--real-queue" => match &mut asked.replay {
                Some(case) => case.real_queue = true,
                None => asked.plan.real_queue = true,
            },
            "--stop" => asked.plan.stops = true,
            "--no-shrink" => asked.shrinks = false,
            "--all" => asked.all_lines = true,
            "--proof" => asked.proof = Some(value()?.into()),
            "--quiet" => asked.quiet = true,
            "--marks" => asked.marks = true,
            "--state" => asked.state = Some(value()?.into()),
            other => return Err(format!("`{other}` is no flag of the simulation")),
        }
    }
    if asked.plan.seeds == u64::MAX && asked.plan.most == Duration::MAX {
        asked.plan.most = Duration::from_secs(60);
    }
    // All seeds before the one that the file names are green, in the world that it is about: what would leave some out, or
    // run them in another world, cannot be told there.
    if asked.state.is_some() && (asked.plan.from != 0 || asked.plan.real_queue) {
        return Err(
            "`--state` is where the long run goes on: it takes neither `--from` nor `--real-queue`".into()
        );
    }
    Ok(asked)
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn fraction(word: &str) -> Result<f64, String> {
    word.parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.0)
        .ok_or_else(|| format!("`{word}` is no number"))
}

fn replay(case: &Case, asked: &Asked) -> ExitCode {
    let report = run_recorded(case, asked.all_lines);
    if !asked.quiet {
        report.lines.iter().for_each(|line| say(line));
    }
    say(&format!(
        "trace {:#018x}, {} faults, {:.0} s simulated",
        report.trace,
        report.faults,
        report.simulated.as_secs_f64()
    ));
    let same = run(case).trace == report.trace;
    say(if same { "a second run leaves the same trace" } else { "O24: a second run leaves ANOTHER trace" });
    match report.alarm {
        None => {
            say(&format!("seed {}: green", case.seed));
            if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Some(alarm) => {
            say(&format!("seed {}: {alarm}", case.seed));
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(rejoin_defects))]
fn proof(_: &Path, _: &Asked) -> ExitCode {
    say("sim: this build has no planted defects; `cargo xtask mutants` makes one");
    ExitCode::from(2)
}

/// The seeds within which a defect must be found.
#[cfg(rejoin_defects)]
const WITHIN: u64 = 200;

#[cfg(rejoin_defects)]
fn proof(page: &Path, asked: &Asked) -> ExitCode {
    use rejoin_lab::sim::proof::{Found, find_all};
    let sample = asked.plan.seeds.min(WITHIN);
    let line = |found: &Found| {
        let (first, saw) = match &found.first {
            Some((seed, alarm)) => (seed.to_string(), alarm.split(':').next().unwrap_or_default().to_owned()),
            None => ("never".to_owned(), String::new()),
        };
        let (failed, of) = found.share;
        let share = failed as f64 * 100.0 / of.max(1) as f64;
        format!("| {:?} | {} | {first} | {share:.0} % | {saw} |", found.defect, found.defect.words())
    };
    let head = "| defect | what is wrong | first seed | share of seeds | oracle |\n|---|---|---|---|---|";
    say(head);
    let all = find_all(WITHIN, sample, asked.plan.jobs, &|found| say(&line(found)));
    let none = go(Plan { from: 0, seeds: WITHIN, twice: 0, ..asked.plan }, &|_| {});
    let missed = all.iter().filter(|found| found.first.is_none()).count();
    let verdict = format!(
        "{} of {} planted defects found within {WITHIN} seeds, shares over the first {sample}; without a defect {} alarms in {} seeds.",
        all.len() - missed,
        all.len(),
        none.failures.len(),
        none.seeds,
    );
    say(&verdict);
    let lines: Vec<String> = all.iter().map(line).collect();
    let table = format!("{verdict}\n\n{head}\n{}\n", lines.join("\n"));
    if let Err(error) = std::fs::write(page, table) {
        say(&format!("sim: {}: {error}", page.display()));
        return ExitCode::FAILURE;
    }
    if missed == 0 && none.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn campaign(asked: &Asked) -> ExitCode {
    let told = std::sync::Mutex::new(0);
    let mut before = match asked.state.as_deref().map_or_else(|| Ok(Kept::default()), Kept::read) {
        Ok(before) => before,
        Err(error) => {
            say(&format!("sim: {error}"));
            return ExitCode::FAILURE;
        }
    };
    before.look_again();
    let mut plan = asked.plan;
    plan.from = plan.from.max(before.next_seed);
    let sum = go(plan, &|sum: &Sum| {
        if let Some(path) = &asked.state
            && let Err(error) = before.and(sum, asked.plan.jobs).write(path)
        {
            say(&format!("sim: {error}"));
        }
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (seed, why) in &sum.failures[*told..] {
            say(&format!("seed {seed}: {why}"));
        }
        *told = sum.failures.len();
    });
    if asked.shrinks {
        say_the_least(plan, &sum);
    }
    let all = before.and(&sum, 0);
    let written = asked.state.as_ref().map_or(Ok(()), |path| all.write(path));
    let missing = sum.marks.missing();
    say(&format!(
        "{} seeds from {} on, {:.1} h simulated ({:.1} client-hours), {} faults, {} messages, {} marks of {}, {} run twice, {} good messages parked, {} not judged to the end",
        sum.seeds,
        plan.from,
        sum.simulated.as_secs_f64() / 3600.0,
        sum.client_time.as_secs_f64() / 3600.0,
        sum.faults,
        sum.messages,
        Marks::wanted() - missing.len(),
        Marks::wanted(),
        sum.twice,
        sum.parked,
        sum.unjudged,
    ));
    say(&format!(
        "{:.1} s real, {:.1} s busy: {:.2} h a second ({:.2} client-hours), {:.0} faults a second on one core; next seed {}",
        sum.took.as_secs_f64(),
        sum.busy.as_secs_f64(),
        sum.hours_a_second(),
        sum.client_hours_a_second(),
        sum.faults_a_second(),
        sum.next,
    ));
    if !missing.is_empty() {
        say(&format!("never seen: {}", missing.join(", ")));
    }
    if !sum.failures.is_empty() || !all.red.is_empty() {
        say(&format!("{} seeds of {} FAILED; red are {:?}", sum.failures.len(), sum.seeds, all.red));
        return ExitCode::FAILURE;
    }
    if asked.marks && !missing.is_empty() {
        say("a soak must have been everywhere");
        return ExitCode::FAILURE;
    }
    if let Err(error) = written {
        say(&format!("sim: how far it came is not kept: {error}"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn say_the_least(plan: Plan, sum: &Sum) {
    for (seed, why) in sum.failures.iter().take(3) {
        let least = shrink(&plan.case(*seed));
        say(&format!("seed {seed} fails: {why}\n  least: {}", least.command()));
    }
}

/// How far the long run came, in a file beside its page.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    next_seed: u64,
    /// Seeds before it that failed and were not green since.
    red: Vec<u64>,
    simulated_seconds: u64,
    faults: u64,
    messages: u64,
    busy_seconds: u64,
}

impl Kept {
    /// A file that is not there is the beginning; one that cannot be read is not, or the long run would begin again.
    fn read(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let words = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" ="));
            line.ok_or_else(|| format!("{}: no `{name}` in it; git has what was there", path.display()))
        };
        let value = |name: &str| number(words(name)?.trim()).map_err(|why| format!("{name}: {why}"));
        Ok(Self {
            next_seed: value("next_seed")?,
            red: words("red")?.split_whitespace().map(number).collect::<Result<_, _>>()?,
            simulated_seconds: value("simulated_seconds")?,
            faults: value("faults")?,
            messages: value("messages")?,
            busy_seconds: value("busy_seconds")?,
        })
    }

    /// What failed may have been mended.
    fn look_again(&mut self) {
        self.red.retain(|seed| {
            let alarm = run(&Case::of(*seed)).alarm;
            say(&format!(
                "seed {seed}, red before: {}",
                alarm.as_ref().map_or_else(|| "green".into(), ToString::to_string)
            ));
            alarm.is_some()
        });
    }

    /// `running`: seeds handed out and not yet over are run again next time.
    fn and(&self, sum: &Sum, running: usize) -> Self {
        let next_seed = sum.next.saturating_sub(running as u64).max(self.next_seed);
        let failed = sum.failures.iter().map(|(seed, _)| *seed).filter(|seed| *seed < next_seed);
        let mut red: Vec<u64> = self.red.iter().copied().chain(failed).collect();
        red.sort_unstable();
        red.dedup();
        Self {
            next_seed,
            red,
            simulated_seconds: self.simulated_seconds + sum.simulated.as_secs(),
            faults: self.faults + sum.faults,
            messages: self.messages + sum.messages,
            busy_seconds: self.busy_seconds + sum.busy.as_secs(),
        }
    }

    /// Beside the file, and renamed: who is stopped meanwhile leaves the one before it.
    fn write(&self, path: &Path) -> Result<(), String> {
        let Self { next_seed, red, simulated_seconds, faults, messages, busy_seconds } = self;
        let red: String = red.iter().map(|seed| format!(" {seed}")).collect();
        let but = if red.is_empty() { "" } else { " but those called `red`" };
        let hours = *simulated_seconds as f64 / 3600.0;
        let text = format!(
            "# All seeds before `next_seed` are green{but}: {hours:.1} simulated hours. `cargo xtask sim --soak` goes on.\n\
             next_seed = {next_seed}\nred ={red}\nsimulated_seconds = {simulated_seconds}\nfaults = {faults}\n\
             messages = {messages}\nbusy_seconds = {busy_seconds}\n"
        );
        let beside = path.with_extension("new");
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_the_long_run_came_is_never_forgotten_silently() {
        let path = std::env::temp_dir().join(format!("rejoin-sim-{}.state", std::process::id()));
        assert_eq!(Kept::read(&path), Ok(Kept::default()), "the beginning");
        let kept = Kept { next_seed: 143_207, red: vec![7, 142_554], faults: 9, ..Kept::default() };
        assert_eq!(kept.write(&path), Ok(()));
        assert_eq!(Kept::read(&path), Ok(kept));
        let text = std::fs::read_to_string(&path).expect("it was written");
        for cut in
            ["", "next_seed = 143207\n", &text.replace("143207", "many"), &text.replace("7 ", "seven ")]
        {
            std::fs::write(&path, cut).expect("a file of the test");
            assert!(Kept::read(&path).is_err(), "{cut}");
        }
        std::fs::remove_file(&path).expect("a file of the test");
        assert!(Kept::default().write(&path.join("nowhere")).is_err());
    }

    #[test]
    fn what_the_file_cannot_tell_is_not_done_with_it() {
        let asked = |words: &[&str]| read(words.iter().map(ToString::to_string));
        for words in [&["--state", "x", "--from", "200000"][..], &["--real-queue", "--state", "x"]] {
            assert!(asked(words).is_err_and(|why| why.contains("--state")), "{words:?}");
        }
        assert!(asked(&["--state", "x", "--minutes", "5"]).is_ok() && asked(&["--from", "7"]).is_ok());
    }
}
