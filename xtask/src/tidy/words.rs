//! What must not stand in a handed-over file, whatever it means.

use super::{Finding, scan};
use crate::tree::Text;

/// Marks a sleep in a test as thought about.
const WAITS: &str = "// waits:";
// Written in two halves, so that this file passes its own check.
const LEFT_OVER_MACROS: [&str; 3] =
    [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("db", "g!")];
const LEFT_OVER_NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];
const HOLLOW_TESTS: [&str; 2] = [concat!("#[ign", "ore"), concat!("should_", "panic")];
const HOME_FOLDERS: [&str; 3] = [concat!("/wo", "rk"), concat!("/ro", "ot"), concat!("/ho", "me/")];
const SCRATCH_FOLDER: &str = concat!("/t", "mp/");

/// Rules for every text file.
pub(super) fn check_any(text: &Text) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.body.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            found.push(Finding::new("trailing-space", text, number, "white space at the end of the line"));
        }
        if names_a_machine(line) {
            let what =
                "an absolute path of one machine: ask the system for a folder, or take it as an argument";
            found.push(Finding::new("machine-path", text, number, what));
        }
    }
    found
}

/// Rules for Rust files.
pub(super) fn check_rust(text: &Text, code: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for word in LEFT_OVER_MACROS {
        for number in scan::lines_with(code, word) {
            found.push(Finding::new("left-over", text, number, format!("`{word}` must not be handed over")));
        }
    }
    for (number, line) in text.body.lines().enumerate() {
        for word in LEFT_OVER_NOTES.into_iter().filter(|word| scan::has_word(line, word)) {
            found.push(Finding::new("left-over", text, number, format!("{word}: do it, or open an issue")));
        }
        for word in HOLLOW_TESTS.into_iter().filter(|word| line.contains(word)) {
            let what = format!("`{word}`: a test runs always and says what it expects");
            found.push(Finding::new("hollow-test", text, number, what));
        }
    }
    found.extend(sleeps(text, code));
    found
}

/// A test that sleeps must say what it waits for: everything else can be waited for by name.
fn sleeps(text: &Text, code: &str) -> Vec<Finding> {
    let whole_file = text.path.contains("/tests/") || text.path.ends_with("/tests.rs");
    let tests_from = if whole_file { 0 } else { scan::lines_before_tests(code) };
    let lines: Vec<&str> = text.body.lines().collect();
    let mut found = Vec::new();
    for number in scan::lines_with(code, "sleep(").filter(|&number| number >= tests_from) {
        let line = code.lines().nth(number).unwrap_or_default();
        let is_ours = line.contains(".sleep(") || line.contains("fn sleep(");
        if !is_ours && !explained(&lines, number) {
            let what = format!("a sleep in a test: wait for the event, or say why not with `{WAITS} REASON`");
            found.push(Finding::new("sleep", text, number, what));
        }
    }
    found
}

fn explained(lines: &[&str], number: usize) -> bool {
    let above = lines[..number].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
    lines[number].contains(WAITS) || above.into_iter().any(|line| line.trim_start().starts_with(WAITS))
}

fn names_a_machine(line: &str) -> bool {
    let fresh = |at: usize| !line[..at].chars().next_back().is_some_and(|before| before.is_ascii_lowercase());
    let home = HOME_FOLDERS.iter().any(|folder| line.match_indices(folder).any(|(at, _)| fresh(at)));
    let scratch = line.match_indices(SCRATCH_FOLDER).any(|(at, _)| {
        fresh(at) && line[at + SCRATCH_FOLDER.len()..].starts_with(|next: char| next.is_ascii_lowercase())
    });
    home || scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, body: &str) -> Vec<&'static str> {
        let text = Text { path: path.to_owned(), body: body.to_owned() };
        let mut found = check_any(&text);
        found.extend(check_rust(&text, &scan::code_only(&text.body)));
        found.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn left_overs_are_found_in_code_and_notes_everywhere() {
        for word in LEFT_OVER_MACROS {
            assert_eq!(rules("a.rs", &format!("fn a() {{ {word}() }}")), ["left-over"]);
            assert!(rules("a.rs", &format!("// says {word}()")).is_empty());
        }
        for word in LEFT_OVER_NOTES {
            assert_eq!(rules("a.rs", &format!("// {word} later")), ["left-over"]);
        }
    }

    #[test]
    fn hollow_tests_are_found() {
        for word in HOLLOW_TESTS {
            assert_eq!(rules("a.rs", &format!("{word} = \"later\"")), ["hollow-test"]);
        }
    }

    #[test]
    fn a_sleep_in_a_test_needs_its_reason() {
        let bare = "fn a() {\n    thread::sleep(d);\n}";
        assert_eq!(rules("x/tests/it/a.rs", bare), ["sleep"]);
        assert_eq!(rules("x/src/tests.rs", "async fn a() {\n    sleep(d).await;\n}"), ["sleep"]);
        assert!(rules("x/src/a.rs", bare).is_empty());
        assert_eq!(
            rules("x/src/a.rs", &format!("fn b() {{}}\n#[cfg(test)]\nmod tests {{\n{bare}\n}}\n")),
            ["sleep"]
        );
        assert!(rules("x/tests/a.rs", "// waits: nothing to see\n// but time\nthread::sleep(d);").is_empty());
        assert!(rules("x/tests/a.rs", "time::sleep(d); // waits: for a freeze to last").is_empty());
        assert_eq!(rules("x/tests/a.rs", "// waits: other\n\nthread::sleep(d);"), ["sleep"]);
        assert!(rules("x/tests/a.rs", "world.sleep(d);").is_empty());
    }

    #[test]
    fn machine_paths_and_trailing_space_are_found_in_any_file() {
        for folder in HOME_FOLDERS {
            assert_eq!(rules("a.md", &format!("see {folder}/x")), ["machine-path"]);
        }
        assert_eq!(rules("a.md", &format!("{SCRATCH_FOLDER}abc")), ["machine-path"]);
        assert!(rules("a.md", &format!("plant{}", HOME_FOLDERS[0])).is_empty());
        assert_eq!(rules("a.md", "words "), ["trailing-space"]);
    }
}
