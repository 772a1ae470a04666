//! Lines changed by a program, one at a time: does a test of the core see it? What none sees goes before the simulation.

use crate::{kept, run, say};
use std::collections::{BTreeMap, BTreeSet};
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

/// Exit codes of cargo-mutants: all were caught, some were missed, some hung. Others say that it did not come to its end.
const CAME_TO_ITS_END: [i32; 3] = [0, 2, 3];
/// What of the simulation is run.
const SEEDS: &str = "everything_accepted";
/// How the line of its JSON begins that each mutant has once.
const FILE: &str = "\"file\": \"";

/// Seen by none of the tests nearest to its file; the others were not asked yet.
const NEAREST: &str = "nearest";

const HEAD: &str = "\
# Changed lines

cargo-mutants changes one expression of `session`, `link` and `recovery` at a time: a condition turned round, a function that returns at once, an arm
deleted. The tests of the core must see it, by a failure or because they hang; what none of them sees goes before 48 seeds of the
[simulation](simulation.md). On 2026-11-27 all 69 there were went there in one build, each switched on at run time, after changes that tests see had
shown that the switch works; one was seen, and a test sees it since. `cargo xtask line-mutants --minutes N` goes on with the files that were not
tried as they are now, and writes this page; `--again` tries only the survivors, after new tests, where the file is still the one that was tried; `--changed` says which are not. What was
found is in `line-mutants.tsv`, with the reason for each survivor.

";

/// What became of the mutants of a file.
#[derive(Clone, Default)]
struct Tried {
    hash: String,
    caught: usize,
    hung: usize,
    unviable: usize,
    /// Day and commit.
    when: String,
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
#[derive(Default)]
struct Lists {
    caught: Vec<String>,
    hung: Vec<String>,
    unviable: Vec<String>,
    missed: Vec<String>,
}

/// Which tests were seen to pass without a mutant in this call: tests that fail anyway see everything.
#[derive(Default)]
struct Sound {
    core: bool,
    seeds: bool,
}

/// `--minutes N`: how long it begins with further files. `--again`: the survivors, before the tests as they are now.
/// `--changed`: which files are not what they were when they were tried.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let minutes = match flags {
        [] => Some(u64::MAX / 60),
        ["--minutes", number] => number.parse().ok(),
        ["--again" | "--changed"] => None,
        _ => {
            let asked = flags.join(" ");
            say::line(&format!(
                "xtask line-mutants: `{asked}`: the flags are --minutes N, --again and --changed"
            ));
            return false;
        }
    };
    let done = State::read(root).and_then(|mut state| {
        match minutes {
            Some(minutes) => state.go_on(root, Duration::from_secs(minutes.saturating_mul(60)))?,
            None if flags == ["--again"] => state.again(root)?,
            None => {}
        }
        state.changed(root).iter().for_each(|line| say::line(line));
        Ok(())
    });
    if let Err(error) = &done {
        say::line(&format!("xtask line-mutants: {error}"));
    }
    done.is_ok()
}

impl State {
    fn read(root: &Path) -> Result<Self, String> {
        let mut state = Self::default();
        for line in kept::read(&root.join(STATE))?.unwrap_or_default().lines() {
            let mut words = line.split('\t');
            let mut next = || words.next().unwrap_or_default().to_owned();
            let kind = next();
            let (file, second) = (next(), next());
            let count = |word: String| word.parse().map_err(|_| format!("{STATE}: `{line}` is no row"));
            match kind.as_str() {
                "file" => {
                    let [caught, hung, unviable] = [count(next())?, count(next())?, count(next())?];
                    state.files.insert(file, Tried { hash: second, caught, hung, unviable, when: next() });
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
        let (begun, files, mut sound) = (Instant::now(), files(root)?, Sound::default());
        self.files.retain(|file, _| files.contains(file));
        for file in &files {
            if self.is_as_tried(root, file) || begun.elapsed() >= time {
                continue;
            }
            say::line(file);
            sound.core(root)?;
            self.try_file(root, file)?;
            self.write(root)?;
        }
        for file in &files {
            if begun.elapsed() < time {
                self.before_all(root, file, &mut sound, |one| one.seeds == NEAREST)?;
                self.write(root)?;
            }
        }
        for file in &files {
            if begun.elapsed() < time {
                self.before_seeds(root, file, &mut sound)?;
                self.write(root)?;
            }
        }
        self.write(root)
    }

    /// What was seen by no test goes before the tests as they are now.
    fn again(&mut self, root: &Path) -> Result<(), String> {
        let mut sound = Sound::default();
        for file in &files(root)? {
            self.before_all(root, file, &mut sound, |_| true)?;
            self.write(root)?;
        }
        Ok(())
    }

    /// Only then do the names of its survivors, which say lines, name anything.
    fn is_as_tried(&self, root: &Path, file: &str) -> bool {
        let text = fs::read_to_string(root.join(file));
        text.is_ok_and(|text| self.files.get(file).is_some_and(|tried| tried.hash == hash(&text)))
    }

    /// What the page cannot say, as it would be another one after each change of a line.
    fn changed(&self, root: &Path) -> Vec<String> {
        let not_as_tried = |file: &&String| !self.is_as_tried(root, file);
        let known = self.files.keys().filter(not_as_tried);
        let mut lines: Vec<String> =
            known.map(|file| format!("{file}: changed since {}", self.files[file].when)).collect();
        for part in PARTS {
            let folder = format!("crates/rejoin-core/src/{part}");
            for entry in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
                let file = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if file.ends_with(".rs") && !self.files.contains_key(&file) {
                    lines.push(format!("{file}: never tried, or nothing in it can be changed"));
                }
            }
        }
        lines.sort();
        lines
    }

    /// Puts survivors of a file before all tests of the core.
    fn before_all(
        &mut self,
        root: &Path,
        file: &str,
        sound: &mut Sound,
        which: impl Fn(&Survivor) -> bool,
    ) -> Result<(), String> {
        let names = self.names(file, which);
        if names.is_empty() || !self.is_as_tried(root, file) {
            return Ok(());
        }
        say::line(&format!("{file}: all tests"));
        sound.core(root)?;
        self.all_said(file, &names, &all_tests(root, &exactly_these(file, &names))?)
    }

    /// Puts what no test sees before the simulation.
    fn before_seeds(&mut self, root: &Path, file: &str, sound: &mut Sound) -> Result<(), String> {
        let names = self.names(file, |one| one.seeds.is_empty());
        if names.is_empty() || !self.is_as_tried(root, file) {
            return Ok(());
        }
        say::line(&format!("{file}: 48 seeds"));
        sound.seeds(root)?;
        self.seeds_said(&names, &simulated(root, file, &names)?)
    }

    fn names(&self, file: &str, which: impl Fn(&Survivor) -> bool) -> Vec<String> {
        let chosen = self.survivors.iter().filter(|one| one.file == file && which(one));
        chosen.map(|one| one.name.clone()).collect()
    }

    /// What all tests said of these. Who was not tried is where it was.
    fn all_said(&mut self, file: &str, names: &[String], lists: &Lists) -> Result<(), String> {
        lists.tell_of(names)?;
        // A field taken out is tried by cargo-mutants in each call, asked for or not, and was counted when its file was.
        let asked = |list: &[String]| list.iter().filter(|name| names.contains(name)).count();
        if let Some(tried) = self.files.get_mut(file) {
            tried.caught += asked(&lists.caught);
            tried.hung += asked(&lists.hung);
            tried.unviable += asked(&lists.unviable);
        }
        self.survivors.retain(|one| !names.contains(&one.name) || lists.missed.contains(&one.name));
        for one in self.survivors.iter_mut().filter(|one| names.contains(&one.name)) {
            if one.seeds == NEAREST {
                one.seeds.clear();
            }
        }
        Ok(())
    }

    /// What the simulation said of these.
    fn seeds_said(&mut self, names: &[String], lists: &Lists) -> Result<(), String> {
        lists.tell_of(names)?;
        for one in self.survivors.iter_mut().filter(|one| names.contains(&one.name)) {
            one.seeds = if lists.missed.contains(&one.name) { "lives" } else { "found" }.to_owned();
        }
        Ok(())
    }

    fn try_file(&mut self, root: &Path, file: &str) -> Result<(), String> {
        let text = fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        let lists = nearest_tests(root, file)?;
        let (caught, hung, unviable) = (lists.caught.len(), lists.hung.len(), lists.unviable.len());
        let (hash, when) = (hash(&text), now(root));
        self.files.insert(file.to_owned(), Tried { hash, caught, hung, unviable, when });
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

    fn write(&self, root: &Path) -> Result<(), String> {
        let mut rows = String::new();
        for (file, Tried { hash, caught, hung, unviable, when }) in &self.files {
            let _ = writeln!(rows, "file\t{file}\t{hash}\t{caught}\t{hung}\t{unviable}\t{when}");
        }
        for Survivor { file, name, seeds, why } in &self.survivors {
            let row = format!("lives\t{file}\t{name}\t{seeds}\t{why}");
            let _ = writeln!(rows, "{}", row.trim_end());
        }
        kept::write(&root.join(STATE), &rows)?;
        kept::write(&root.join(PAGE), &self.page())
    }

    fn page(&self) -> String {
        let (mut rows, mut seen, mut total) = (String::new(), 0, 0);
        for (file, tried) in &self.files {
            let of_file = |survivor: &&Survivor| survivor.file == *file;
            let lives = self.survivors.iter().filter(of_file).count();
            let found = self.survivors.iter().filter(of_file).filter(|one| one.seeds == "found").count();
            let viable = tried.caught + tried.hung + lives;
            (seen, total) = (seen + tried.caught + tried.hung + found, total + viable);
            let short = file.trim_start_matches("crates/rejoin-core/src/");
            let Tried { caught, hung, when, .. } = tried;
            let _ = writeln!(
                rows,
                "| `{short}` | {when} | {viable} | {caught} | {hung} | {found} | {} |",
                lives - found
            );
        }
        let share = seen as f64 * 100.0 / (total.max(1)) as f64;
        let mut page = format!(
            "{HEAD}{} files tried, each as it was on its day: {seen} of {total} changes are seen, {share:.1} %.\n\n\
             | file | as it was | changes | a test fails | a test hangs | seen by the simulation | seen by nothing |\n\
             |---|---|---:|---:|---:|---:|---:|\n{rows}\n## Seen by nothing\n\n\
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

impl Sound {
    fn core(&mut self, root: &Path) -> Result<(), String> {
        let test =
            ["test", "--quiet", "--package", "rejoin-core", "--profile", "mutants", "--lib", "--tests"];
        Self::once(&mut self.core, root, &[&test[..], &FOREIGN[1..]].concat())
    }

    fn seeds(&mut self, root: &Path) -> Result<(), String> {
        let test = ["test", "--quiet", "--package", "rejoin-lab", "--profile", "sim", "--test", "sim"];
        Self::once(&mut self.seeds, root, &[&test[..], &["--", SEEDS]].concat())
    }

    fn once(seen: &mut bool, root: &Path, test: &[&str]) -> Result<(), String> {
        if !*seen {
            // The last mutant of an earlier call lies there, built after our files were written.
            let profile = test.windows(2).find(|two| two[0] == "--profile").map_or("dev", |two| two[1]);
            let forget = ["clean", "--quiet", "--package", "rejoin-core", "--profile", profile];
            for words in [&forget[..], test] {
                let mut command = run::cargo(root, words);
                command.env("CARGO_TARGET_DIR", root.join(BUILT));
                run::within(&mut command, LIMIT).map_err(|error| format!("without any mutant: {error}"))?;
            }
            *seen = true;
        }
        Ok(())
    }
}

/// The files whose lines are changed, in the order of the parts.
fn files(root: &Path) -> Result<Vec<String>, String> {
    let mut command = run::cargo(root, &["mutants", "--list", "--json", "--package", "rejoin-core"]);
    let list = run::answer(&mut command).ok_or("`cargo mutants --list` failed")?;
    let mut files: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix(FILE)?.split('"').next())
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
            let end = if name == "mutants" { "json" } else { "txt" };
            let path = root.join(OUT).join(format!("mutants.out/{name}.{end}"));
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok::<_, String>(text.lines().map(str::to_owned).collect())
        };
        let [caught, hung] = [list("caught")?, list("timeout")?];
        let lists = Self { caught, hung, unviable: list("unviable")?, missed: list("missed")? };
        // One of these lines for each.
        let wanted = list("mutants").map(|lines| lines.iter().filter(|line| names_file(line)).count())?;
        lists.are_all(wanted).map(|()| lists)
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        [&self.caught, &self.hung, &self.unviable, &self.missed].into_iter().flatten()
    }

    /// A run that was stopped leaves lists, too.
    fn are_all(&self, wanted: usize) -> Result<(), String> {
        match self.all().count() {
            tried if tried == wanted && tried > 0 => Ok(()),
            tried => {
                Err(format!("{TOOL} tried {tried} of {wanted} mutants; what it says of them is not kept"))
            }
        }
    }

    /// Whether each of these was tried: what cargo-mutants does not find in the file it passes over.
    fn tell_of(&self, names: &[String]) -> Result<(), String> {
        let tried: BTreeSet<&String> = self.all().collect();
        match names.iter().find(|name| !tried.contains(name)) {
            Some(name) => Err(format!("{TOOL} does not find `{name}`; what it says of others is not kept")),
            None => Ok(()),
        }
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

/// Survivors of a file before the simulation.
fn simulated(root: &Path, file: &str, names: &[String]) -> Result<Lists, String> {
    let which = exactly_these(file, names);
    let which: Vec<_> = which.iter().map(String::as_str).collect();
    let arguments = ["--timeout", SEEDS_HANG, "--profile", "sim", "--test-package", "rejoin-lab"];
    let tests = ["--cargo-arg=--test=sim", "--", SEEDS];
    mutate(root, &[&which[..], &arguments, &tests].concat())?;
    Lists::read(root)
}

fn mutate(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let always = ["mutants", "--no-shuffle", "--colors", "never", "--baseline", "skip", "--output", OUT];
    let mut command = run::cargo(root, &always);
    command.args(["--package", "rejoin-core"]).args(arguments);
    command.env("CARGO_TARGET_DIR", root.join(BUILT));
    let _ = fs::remove_dir_all(root.join(OUT));
    let status = run::status(&mut command, LIMIT)?;
    match status.code().is_some_and(|code| CAME_TO_ITS_END.contains(&code)) {
        true => Ok(()),
        false => Err(format!("{TOOL} ended with {status}")),
    }
}

/// The day, and the commit that is looked at.
fn now(root: &Path) -> String {
    let day = run::answer(&mut run::command("date", &["-u", "+%Y-%m-%d"])).unwrap_or_default();
    let commit = run::answer(run::command("git", &["rev-parse", "--short", "HEAD"]).current_dir(root))
        .unwrap_or_default();
    format!("{} {}", day.trim(), commit.trim()).trim().to_owned()
}

fn names_file(line: &str) -> bool {
    line.trim().starts_with(FILE)
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
    use crate::tree;

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
        let when = "2026-11-27 0ad1fbd".to_owned();
        let tried = Tried { hash: String::new(), caught: 6, hung: 1, unviable: 5, when };
        state.files.insert("crates/rejoin-core/src/link/mod.rs".to_owned(), tried);
        for (seeds, why) in [("found", ""), ("lives", "a matter of speed"), ("", "")] {
            state.survivors.push(Survivor {
                file: "crates/rejoin-core/src/link/mod.rs".to_owned(),
                name: "crates/rejoin-core/src/link/mod.rs:1:1: replace a || b with a".to_owned(),
                seeds: seeds.to_owned(),
                why: why.to_owned(),
            });
        }
        let page = state.page();
        assert!(
            page.contains("1 files tried, each as it was on its day: 8 of 10 changes are seen, 80.0 %"),
            "{page}"
        );
        assert!(page.contains("| `link/mod.rs` | 2026-11-27 0ad1fbd | 10 | 6 | 1 | 1 | 2 |"), "{page}");
        assert!(
            page.contains("| `link/mod.rs:1:1: replace a \\|\\| b with a` | a matter of speed |"),
            "{page}"
        );
    }
    /// A state with one file and one survivor in it, and the lists of a run.
    fn one_lives(seeds: &str) -> (State, Vec<String>) {
        let mut state = State::default();
        let (file, name) = ("a.rs".to_owned(), "a.rs:1:1: replace f with ()".to_owned());
        state.files.insert(file.clone(), Tried { caught: 3, ..Tried::default() });
        let why = "a matter of speed".to_owned();
        state.survivors.push(Survivor { file, name: name.clone(), seeds: seeds.to_owned(), why });
        (state, vec![name])
    }

    #[test]
    fn what_was_not_tried_again_lives_as_before() {
        let (mut state, names) = one_lives("lives");
        assert!(
            state.all_said("a.rs", &names, &Lists::default()).is_err(),
            "lines moved: it selects nothing"
        );
        assert!(state.seeds_said(&names, &Lists::default()).is_err());
        let one = &state.survivors[0];
        assert_eq!((one.seeds.as_str(), one.why.as_str()), ("lives", "a matter of speed"));
        assert_eq!(state.files["a.rs"].caught, 3);
        let lists = Lists { caught: names.clone(), ..Lists::default() };
        assert_eq!(state.all_said("a.rs", &names, &lists), Ok(()));
        assert!(state.survivors.is_empty() && state.files["a.rs"].caught == 4);
    }

    #[test]
    fn what_was_tried_unasked_is_not_counted_twice() {
        let (mut state, names) = one_lives("lives");
        let unasked = || vec!["a.rs:2:1: delete field b from struct C expression in f".to_owned()];
        let missed = names.clone();
        let lists = Lists { caught: unasked(), hung: unasked(), unviable: unasked(), missed };
        assert_eq!(state.all_said("a.rs", &names, &lists), Ok(()));
        let tried = &state.files["a.rs"];
        assert_eq!((tried.caught, tried.hung, tried.unviable, state.survivors.len()), (3, 0, 0, 1));
    }

    #[test]
    fn what_all_tests_miss_goes_on_to_the_simulation_and_keeps_its_reason() {
        let (mut state, names) = one_lives(NEAREST);
        let missed = Lists { missed: names.clone(), ..Lists::default() };
        assert_eq!(state.all_said("a.rs", &names, &missed), Ok(()));
        assert_eq!(state.survivors[0].seeds, "");
        assert_eq!(state.seeds_said(&names, &missed), Ok(()));
        assert_eq!(state.survivors[0].seeds, "lives");
        let hung = Lists { hung: names.clone(), ..Lists::default() };
        assert_eq!(state.seeds_said(&names, &hung), Ok(()));
        assert_eq!(state.survivors[0].seeds, "found");
    }

    #[test]
    fn half_a_run_and_an_empty_one_say_nothing() {
        let half = Lists { caught: vec!["a".to_owned()], missed: vec!["b".to_owned()], ..Lists::default() };
        assert!(half.are_all(3).is_err() && half.are_all(2).is_ok());
        assert!(Lists::default().are_all(0).is_err());
    }

    #[test]
    fn the_page_says_what_the_state_says() {
        let root = tree::root();
        let state = State::read(&root).unwrap();
        assert_eq!(fs::read_to_string(root.join(PAGE)).unwrap(), state.page());
        let mut other = state;
        other.files.values_mut().for_each(|tried| tried.hash.push('x'));
        assert!(other.changed(&root).len() >= other.files.len(), "each is another than it was");
    }
}
