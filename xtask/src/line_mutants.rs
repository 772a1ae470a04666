//! Lines changed by a program, one at a time: does a test of the core see it? What none sees goes before the simulation.

use crate::{run, say};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const TOOL: &str = "cargo-mutants";
const PARTS: [&str; 3] = ["session", "link", "recovery"];
const STATE: &str = "docs/line-mutants.tsv";
const PAGE: &str = "docs/line-mutants.md";
/// Where cargo-mutants leaves its lists.
const OUT: &str = "target/line-mutants";
/// A file has at most some hundred mutants of a few seconds each.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// A test of the core that runs so long hangs, and a hang is seen.
const HANGS: &str = "30";
/// The same for 48 seeds of the simulation.
const SEEDS_HANG: &str = "120";

const HEAD: &str = "\
# Changed lines

cargo-mutants changes one expression of `session`, `link` and `recovery` at a time: a condition turned round, a function that returns at once, an arm
deleted. The tests of the core must see it, by a failure or because they hang; what none of them sees goes before 48 seeds of the
[simulation](simulation.md). `cargo xtask line-mutants --minutes N` goes on with the files that were not tried as they are now, and writes this
page; what was found is in `line-mutants.tsv`, with the reason for each survivor.

";

/// What became of the mutants of a file.
#[derive(Clone, Default)]
struct Tried {
    hash: String,
    caught: usize,
    hung: usize,
    unviable: usize,
}

/// A mutant that no test of the core sees.
#[derive(Clone)]
struct Survivor {
    file: String,
    name: String,
    /// What the simulation says: `found`, `lives`, or nothing yet.
    seeds: String,
    why: String,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Tried>,
    survivors: Vec<Survivor>,
}

/// `--minutes N`: how long it begins with further files.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let minutes = match flags {
        [] => Some(u64::MAX / 60),
        ["--minutes", number] => number.parse().ok(),
        _ => None,
    };
    let Some(minutes) = minutes else {
        say::line(&format!("xtask line-mutants: `{}`: the only flag is --minutes N", flags.join(" ")));
        return false;
    };
    let done = State::read(root).and_then(|mut state| state.go_on(root, Duration::from_secs(minutes * 60)));
    if let Err(error) = &done {
        say::line(&format!("xtask line-mutants: {error}"));
    }
    done.is_ok()
}

impl State {
    fn read(root: &Path) -> Result<Self, String> {
        let mut state = Self::default();
        for line in fs::read_to_string(root.join(STATE)).unwrap_or_default().lines() {
            let mut words = line.split('\t');
            let mut next = || words.next().unwrap_or_default().to_owned();
            let kind = next();
            let (file, second) = (next(), next());
            let count = |word: String| word.parse().map_err(|_| format!("{STATE}: `{line}` is no row"));
            match kind.as_str() {
                "file" => {
                    let [caught, hung, unviable] = [count(next())?, count(next())?, count(next())?];
                    state.files.insert(file, Tried { hash: second, caught, hung, unviable });
                }
                "lives" => state.survivors.push(Survivor { file, name: second, seeds: next(), why: next() }),
                _ => return Err(format!("{STATE}: `{line}` is no row")),
            }
        }
        Ok(state)
    }

    fn go_on(&mut self, root: &Path, time: Duration) -> Result<(), String> {
        if run::find(TOOL).is_none() {
            return Err(format!("{TOOL} is not installed; `cargo install {TOOL}` brings it"));
        }
        let (begun, files) = (Instant::now(), files(root)?);
        self.files.retain(|file, _| files.contains(file));
        for file in &files {
            let hash = hash(&fs::read(root.join(file)).map_err(|error| format!("{file}: {error}"))?);
            if self.files.get(file).is_some_and(|tried| tried.hash == hash) || begun.elapsed() >= time {
                continue;
            }
            say::line(file);
            self.try_file(root, file, hash)?;
            self.write(root, files.len())?;
        }
        while let Some(at) = self.survivors.iter().position(|survivor| survivor.seeds.is_empty()) {
            if begun.elapsed() >= time {
                break;
            }
            say::line(&format!("48 seeds: {}", self.survivors[at].name));
            self.survivors[at].seeds = seeds(root, &self.survivors[at])?;
            self.write(root, files.len())?;
        }
        self.write(root, files.len())
    }

    fn try_file(&mut self, root: &Path, file: &str, hash: String) -> Result<(), String> {
        mutate(
            root,
            &["--package", "rejoin-core", "--file", file, "--timeout", HANGS, "--profile", "mutants"],
        )?;
        let list = |name: &str| listed(root, name);
        let (caught, hung) = (list("caught")?.len(), list("timeout")?.len());
        self.files.insert(file.to_owned(), Tried { hash, caught, hung, unviable: list("unviable")?.len() });
        let known = std::mem::take(&mut self.survivors);
        let (old, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|survivor| survivor.file == file);
        self.survivors = others;
        for name in list("missed")? {
            // What was said about it before is said again, wherever the line is now.
            let before = old.iter().find(|old| what(&old.name) == what(&name));
            let why = before.map(|before| before.why.clone()).unwrap_or_default();
            self.survivors.push(Survivor { file: file.to_owned(), name, seeds: String::new(), why });
        }
        Ok(())
    }

    fn write(&self, root: &Path, all: usize) -> Result<(), String> {
        let mut rows = String::new();
        for (file, Tried { hash, caught, hung, unviable }) in &self.files {
            let _ = writeln!(rows, "file\t{file}\t{hash}\t{caught}\t{hung}\t{unviable}");
        }
        for Survivor { file, name, seeds, why } in &self.survivors {
            let _ = writeln!(rows, "lives\t{file}\t{name}\t{seeds}\t{why}");
        }
        let page = format!("{HEAD}{}", self.page(all));
        for (name, text) in [(STATE, rows), (PAGE, page)] {
            fs::write(root.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn page(&self, all: usize) -> String {
        let (mut rows, mut seen, mut total) = (String::new(), 0, 0);
        for (file, tried) in &self.files {
            let of_file = |survivor: &&Survivor| survivor.file == *file;
            let lives = self.survivors.iter().filter(of_file).count();
            let found = self.survivors.iter().filter(of_file).filter(|one| one.seeds == "found").count();
            let viable = tried.caught + tried.hung + lives;
            (seen, total) = (seen + tried.caught + tried.hung + found, total + viable);
            let short = file.trim_start_matches("crates/rejoin-core/src/");
            let Tried { caught, hung, .. } = tried;
            let _ =
                writeln!(rows, "| `{short}` | {viable} | {caught} | {hung} | {found} | {} |", lives - found);
        }
        let share = seen as f64 * 100.0 / (total.max(1)) as f64;
        let mut page = format!(
            "{} of {all} files tried: {seen} of {total} changes are seen, {share:.1} %.\n\n\
             | file | changes | a test fails | a test hangs | seen by the simulation | seen by nothing |\n\
             |---|---:|---:|---:|---:|---:|\n{rows}\n## Seen by nothing\n\n\
             | change | why it lives |\n|---|---|\n",
            self.files.len()
        );
        for survivor in self.survivors.iter().filter(|survivor| survivor.seeds != "found") {
            let untried = if survivor.seeds.is_empty() { " (not yet before the simulation)" } else { "" };
            let name = survivor.name.trim_start_matches("crates/rejoin-core/src/").replace('|', "\\|");
            let _ = writeln!(page, "| `{name}`{untried} | {} |", survivor.why);
        }
        page
    }
}

/// The files whose lines are changed, in order.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let mut command = run::cargo(root, &["mutants", "--list", "--json", "--package", "rejoin-core"]);
    let list = run::answer(&mut command).ok_or("`cargo mutants --list` failed")?;
    let mut files: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"file\": \"")?.split('"').next())
        .filter(|file| PARTS.iter().any(|part| file.contains(&format!("/src/{part}/"))))
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn mutate(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = run::cargo(
        root,
        &["mutants", "--no-shuffle", "--colors", "never", "--baseline", "skip", "--output", OUT],
    );
    // Examples in the documentation are built one by one, and say little about lines.
    command.args(["--cargo-test-arg=--lib", "--cargo-test-arg=--tests"]).args(arguments);
    // It says by its exit code that something lived, which is no failure of ours; without its lists it failed.
    let _ = fs::remove_dir_all(root.join(OUT));
    let ended = run::within(&mut command, LIMIT);
    if root.join(OUT).join("mutants.out/outcomes.json").exists() { Ok(()) } else { ended }
}

/// A list that cargo-mutants wrote.
fn listed(root: &Path, name: &str) -> Result<Vec<String>, String> {
    let path = root.join(OUT).join(format!("mutants.out/{name}.txt"));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Puts one survivor before the simulation.
fn seeds(root: &Path, survivor: &Survivor) -> Result<String, String> {
    let exactly: String = survivor
        .name
        .chars()
        .flat_map(|c| (!c.is_alphanumeric() && c != ' ').then_some('\\').into_iter().chain([c]))
        .collect();
    let name = format!("^{exactly}$");
    let mut arguments = vec!["--package", "rejoin-core", "--file", &survivor.file, "--re", &name];
    arguments.extend(["--timeout", SEEDS_HANG, "--profile", "sim", "--test-package", "rejoin-lab", "--"]);
    arguments.extend(["--test", "sim", "everything_accepted"]);
    mutate(root, &arguments)?;
    let found = !listed(root, "caught")?.is_empty() || !listed(root, "timeout")?.is_empty();
    Ok(if found { "found" } else { "lives" }.to_owned())
}

/// What a mutant changes, without where.
fn what(name: &str) -> &str {
    name.splitn(4, ':').last().unwrap_or(name)
}

/// FNV-1a: names a content, nothing more.
fn hash(bytes: &[u8]) -> String {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_known_again_where_its_line_moved() {
        assert_eq!(what("a/b.rs:4:9: replace f -> bool with true"), " replace f -> bool with true");
        assert_eq!(
            what("a/b.rs:7:1: replace f -> bool with true"),
            what("a/b.rs:4:9: replace f -> bool with true")
        );
    }

    #[test]
    fn the_page_counts_what_is_seen_by_whom() {
        let mut state = State::default();
        let tried = Tried { hash: String::new(), caught: 6, hung: 1, unviable: 5 };
        state.files.insert("crates/rejoin-core/src/link/mod.rs".to_owned(), tried);
        for (seeds, why) in [("found", ""), ("lives", "a matter of speed"), ("", "")] {
            state.survivors.push(Survivor {
                file: "crates/rejoin-core/src/link/mod.rs".to_owned(),
                name: "crates/rejoin-core/src/link/mod.rs:1:1: replace a || b with a".to_owned(),
                seeds: seeds.to_owned(),
                why: why.to_owned(),
            });
        }
        let page = state.page(19);
        assert!(page.contains("1 of 19 files tried: 8 of 10 changes are seen, 80.0 %"), "{page}");
        assert!(page.contains("| `link/mod.rs` | 10 | 6 | 1 | 1 | 2 |"), "{page}");
        assert!(
            page.contains("| `link/mod.rs:1:1: replace a \\|\\| b with a` | a matter of speed |"),
            "{page}"
        );
    }
}
