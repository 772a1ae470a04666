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
/// Where it builds, from one call to the next: only the core is compiled again for each mutant.
const BUILT: &str = "target/line-mutants-built";
/// Tests of the core; examples in the documentation are built one by one, and say little about lines.
const ALL: &[&str] = &["--cargo-arg=--lib", "--cargo-arg=--tests"];
/// Tests of the codec, which know nothing of what is changed and take half of the time.
const FOREIGN: &[&str] = &["--", "--", "--skip", "codec::", "--skip", "properties::packets"];
/// Files whose tests are beside them: in the first round nothing else is built. For the others, the integration tests.
const TESTED_BESIDE: [&str; 7] = [
    "/recovery/",
    "/link/liveness.rs",
    "/session/waiting.rs",
    "/session/packed.rs",
    "/session/packet_ids.rs",
    "/session/by_packet_id.rs",
    "/session/quarantine.rs",
];
/// A file has at most some hundred mutants of a few seconds each.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// All tests of the core take under three seconds: one that runs so long hangs, and a hang is seen.
const HANGS: &str = "15";
/// The same for the first round, which takes half a second.
const FAST_HANGS: &str = "6";
/// The same for 48 seeds of the simulation.
const SEEDS_HANG: &str = "120";

/// Seen by none of the tests nearest to its file; the others were not asked yet.
const NEAREST: &str = "nearest";

const HEAD: &str = "\
# Changed lines

cargo-mutants changes one expression of `session`, `link` and `recovery` at a time: a condition turned round, a function that returns at once, an arm
deleted. The tests of the core must see it, by a failure or because they hang; what none of them sees goes before 48 seeds of the
[simulation](simulation.md). `cargo xtask line-mutants --minutes N` goes on with the files that were not tried as they are now, and writes this
page; `--again` tries only the survivors, after new tests. What was found is in `line-mutants.tsv`, with the reason for each survivor.

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
    /// What the simulation says: `found`, `lives`, or nothing yet; [`NEAREST`] if not even all tests were asked.
    seeds: String,
    why: String,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Tried>,
    survivors: Vec<Survivor>,
}

/// What became of some mutants, by name.
struct Lists {
    caught: Vec<String>,
    hung: Vec<String>,
    unviable: Vec<String>,
    missed: Vec<String>,
}

/// `--minutes N`: how long it begins with further files. `--again`: the survivors, before the tests as they are now.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let minutes = match flags {
        [] => Some(u64::MAX / 60),
        ["--minutes", number] => number.parse().ok(),
        ["--again"] => None,
        _ => {
            let asked = flags.join(" ");
            say::line(&format!("xtask line-mutants: `{asked}`: the flags are --minutes N and --again"));
            return false;
        }
    };
    let done = State::read(root).and_then(|mut state| match minutes {
        Some(minutes) => state.go_on(root, Duration::from_secs(minutes * 60)),
        None => state.again(root),
    });
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
            let hash =
                hash(&fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?);
            if self.files.get(file).is_some_and(|tried| tried.hash == hash) || begun.elapsed() >= time {
                continue;
            }
            say::line(file);
            self.try_file(root, file, hash)?;
            self.write(root, files.len())?;
        }
        for file in &files {
            if begun.elapsed() < time {
                self.before_all(root, file, |one| one.seeds == NEAREST)?;
                self.write(root, files.len())?;
            }
        }
        for file in &files {
            let untried = |one: &&Survivor| one.file == *file && one.seeds.is_empty();
            let names: Vec<_> = self.survivors.iter().filter(untried).map(|one| one.name.clone()).collect();
            if names.is_empty() || begun.elapsed() >= time {
                continue;
            }
            say::line(&format!("{file}: 48 seeds"));
            let missed = simulated(root, file, &names)?;
            for one in self.survivors.iter_mut().filter(|one| names.contains(&one.name)) {
                one.seeds = if missed.contains(&one.name) { "lives" } else { "found" }.to_owned();
            }
            self.write(root, files.len())?;
        }
        self.write(root, files.len())
    }

    /// What was seen by no test goes before the tests as they are now.
    fn again(&mut self, root: &Path) -> Result<(), String> {
        let files = files(root)?;
        for file in &files {
            self.before_all(root, file, |_| true)?;
            self.write(root, files.len())?;
        }
        Ok(())
    }

    /// Puts survivors of a file before all tests of the core.
    fn before_all(
        &mut self,
        root: &Path,
        file: &str,
        which: impl Fn(&Survivor) -> bool,
    ) -> Result<(), String> {
        let (chosen, others): (Vec<_>, Vec<_>) =
            self.survivors.drain(..).partition(|one| one.file == file && which(one));
        self.survivors = others;
        if chosen.is_empty() {
            return Ok(());
        }
        say::line(&format!("{file}: all tests"));
        let names: Vec<_> = chosen.iter().map(|one| one.name.clone()).collect();
        let lists = all_tests(root, &exactly_these(file, &names))?;
        if let Some(tried) = self.files.get_mut(file) {
            tried.caught += lists.caught.len();
            tried.hung += lists.hung.len();
        }
        for mut one in chosen.into_iter().filter(|one| lists.missed.contains(&one.name)) {
            if one.seeds == NEAREST {
                one.seeds.clear();
            }
            self.survivors.push(one);
        }
        Ok(())
    }

    fn try_file(&mut self, root: &Path, file: &str, hash: String) -> Result<(), String> {
        let lists = nearest_tests(root, file)?;
        let (caught, hung, unviable) = (lists.caught.len(), lists.hung.len(), lists.unviable.len());
        self.files.insert(file.to_owned(), Tried { hash, caught, hung, unviable });
        let known = std::mem::take(&mut self.survivors);
        let (old, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|survivor| survivor.file == file);
        self.survivors = others;
        for name in lists.missed {
            // What was said about it before is said again, wherever the line is now.
            let before = old.iter().find(|old| what(&old.name) == what(&name));
            let why = before.map(|before| before.why.clone()).unwrap_or_default();
            self.survivors.push(Survivor { file: file.to_owned(), name, seeds: NEAREST.to_owned(), why });
        }
        Ok(())
    }

    fn write(&self, root: &Path, all: usize) -> Result<(), String> {
        let mut rows = String::new();
        for (file, Tried { hash, caught, hung, unviable }) in &self.files {
            let _ = writeln!(rows, "file\t{file}\t{hash}\t{caught}\t{hung}\t{unviable}");
        }
        for Survivor { file, name, seeds, why } in &self.survivors {
            let row = format!("lives\t{file}\t{name}\t{seeds}\t{why}");
            let _ = writeln!(rows, "{}", row.trim_end());
        }
        let is_changed = |(file, tried): &(&String, &Tried)| {
            fs::read_to_string(root.join(file)).is_ok_and(|text| hash(&text) != tried.hash)
        };
        let page = format!("{HEAD}{}", self.page(all, self.files.iter().filter(is_changed).count()));
        for (name, text) in [(STATE, rows), (PAGE, page)] {
            fs::write(root.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// `changed`: files that are not what they were when they were tried.
    fn page(&self, all: usize, changed: usize) -> String {
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
            "{} of {all} files tried, {changed} of them changed since: {seen} of {total} changes are seen, {share:.1} %.\n\n\
             | file | changes | a test fails | a test hangs | seen by the simulation | seen by nothing |\n\
             |---|---:|---:|---:|---:|---:|\n{rows}\n## Seen by nothing\n\n\
             | change | why it lives |\n|---|---|\n",
            self.files.len()
        );
        for survivor in self.survivors.iter().filter(|survivor| survivor.seeds != "found") {
            let untried = match survivor.seeds.as_str() {
                NEAREST => " (not yet before all tests)",
                "" => " (not yet before the simulation)",
                _ => "",
            };
            let name = survivor.name.trim_start_matches("crates/rejoin-core/src/").replace('|', "\\|");
            let _ = writeln!(page, "| `{name}`{untried} | {} |", survivor.why);
        }
        page
    }
}

/// The files whose lines are changed, in the order of the parts.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let mut command = run::cargo(root, &["mutants", "--list", "--json", "--package", "rejoin-core"]);
    let list = run::answer(&mut command).ok_or("`cargo mutants --list` failed")?;
    let mut files: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"file\": \"")?.split('"').next())
        .filter(|file| part(file).is_some())
        .map(str::to_owned)
        .collect();
    files.sort_by_key(|file| (part(file), file.clone()));
    files.dedup();
    Ok(files)
}

fn part(file: &str) -> Option<usize> {
    PARTS.iter().position(|part| file.contains(&format!("/src/{part}/")))
}

impl Lists {
    fn read(root: &Path) -> Result<Self, String> {
        let list = |name: &str| {
            let path = root.join(OUT).join(format!("mutants.out/{name}.txt"));
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok::<_, String>(text.lines().map(str::to_owned).collect())
        };
        let [caught, hung] = [list("caught")?, list("timeout")?];
        Ok(Self { caught, hung, unviable: list("unviable")?, missed: list("missed")? })
    }
}

/// All mutants of a file before the tests that know it best.
fn nearest_tests(root: &Path, file: &str) -> Result<Lists, String> {
    let beside = TESTED_BESIDE.iter().any(|part| file.contains(part));
    let (nearest, named) = match part(file) {
        Some(part) if beside => ("--cargo-arg=--lib", format!("{}::", PARTS[part])),
        _ => ("--cargo-arg=--test=it", "engine::".to_owned()),
    };
    let arguments = ["--file", file, "--profile", "mutants", "--timeout", FAST_HANGS, nearest];
    mutate(root, &[&arguments, FOREIGN, &[&named]].concat())?;
    Lists::read(root)
}

fn all_tests(root: &Path, which: &[String]) -> Result<Lists, String> {
    let which: Vec<_> = which.iter().map(String::as_str).collect();
    let arguments = ["--profile", "mutants", "--timeout", HANGS];
    mutate(root, &[&which[..], &arguments, ALL, FOREIGN].concat())?;
    Lists::read(root)
}

/// Survivors of a file before the simulation; gives those that it does not find either.
fn simulated(root: &Path, file: &str, names: &[String]) -> Result<Vec<String>, String> {
    let which = exactly_these(file, names);
    let which: Vec<_> = which.iter().map(String::as_str).collect();
    let arguments = ["--timeout", SEEDS_HANG, "--profile", "sim", "--test-package", "rejoin-lab"];
    let tests = ["--cargo-arg=--test=sim", "--", "everything_accepted"];
    mutate(root, &[&which[..], &arguments, &tests].concat())?;
    Ok(Lists::read(root)?.missed)
}

fn mutate(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let always = ["mutants", "--no-shuffle", "--colors", "never", "--baseline", "skip", "--output", OUT];
    let mut command = run::cargo(root, &always);
    command.args(["--package", "rejoin-core"]).args(arguments);
    command.env("CARGO_TARGET_DIR", root.join(BUILT));
    // It says by its exit code that something lived, which is no failure of ours; without its lists it failed.
    let _ = fs::remove_dir_all(root.join(OUT));
    let ended = run::within(&mut command, LIMIT);
    if root.join(OUT).join("mutants.out/outcomes.json").exists() { Ok(()) } else { ended }
}

/// Exactly these mutants of a file, as cargo-mutants wants them.
fn exactly_these(file: &str, names: &[String]) -> Vec<String> {
    let exactly = names.iter().flat_map(|name| ["--re".to_owned(), exactly(name)]);
    ["--file".to_owned(), file.to_owned()].into_iter().chain(exactly).collect()
}

/// A pattern for this name. `\<` would be the border of a word: only what has a meaning is quoted.
fn exactly(name: &str) -> String {
    let quoted: String = name
        .chars()
        .flat_map(|c| r"\.+*?()|[]{}^$#&-~".contains(c).then_some('\\').into_iter().chain([c]))
        .collect();
    format!("^{quoted}$")
}

/// What a mutant changes, without where.
fn what(name: &str) -> &str {
    name.splitn(4, ':').last().unwrap_or(name)
}

/// FNV-1a of what is changed: names a content, nothing more. Tests at the end are not changed.
fn hash(text: &str) -> String {
    let bytes = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text).as_bytes();
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
    fn a_name_is_a_pattern_for_itself_alone() {
        assert_eq!(exactly("a.rs: replace < with <= in f::<T>"), r"^a\.rs: replace < with <= in f::<T>$");
        assert_eq!(
            exactly("replace || with && in <impl A for B>::f"),
            r"^replace \|\| with \&\& in <impl A for B>::f$"
        );
    }

    #[test]
    fn tests_at_the_end_are_not_what_is_changed() {
        let line = "fn f() {}\n";
        assert_eq!(hash(line), hash(&format!("{line}\n#[cfg(test)]\nmod tests {{\n}}\n")));
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
        let page = state.page(19, 1);
        assert!(
            page.contains("1 of 19 files tried, 1 of them changed since: 8 of 10 changes are seen, 80.0 %"),
            "{page}"
        );
        assert!(page.contains("| `link/mod.rs` | 10 | 6 | 1 | 1 | 2 |"), "{page}");
        assert!(
            page.contains("| `link/mod.rs:1:1: replace a \\|\\| b with a` | a matter of speed |"),
            "{page}"
        );
    }
}
