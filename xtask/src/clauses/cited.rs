//! Where clauses are cited. `[MQTT-4.4.0-1]` is a clause of 5.0, `[MQTT311-4.4.0-1]` of 3.1.1; `[u5-4.11]` and `[u311-3.2]`
//! are rules that the standards do not number.

use crate::tidy::scan;
use crate::tree::Text;

/// What a citation means, told by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Code of the client: the line decides that the clause is obeyed.
    Obeys,
    /// A test, or a rule of the lab's broker by which it judges every packet of a client.
    Proves,
    /// The lab's broker playing its own part.
    Mentions,
}

/// One citation.
#[derive(Debug)]
pub(super) struct Citation {
    pub(super) clause: String,
    pub(super) role: Role,
    pub(super) path: String,
    /// Counted from 0.
    pub(super) line: usize,
    /// The function, constant or type it stands in or above.
    pub(super) item: String,
    /// A rule of the judge.
    pub(super) is_judge: bool,
}

const PREFIXES: [&str; 4] = ["MQTT-", "MQTT311-", "u5-", "u311-"];
const LAB: &str = "crates/rejoin-lab/src/";
const JUDGE: &str = "crates/rejoin-lab/src/broker/";

/// Every citation in a Rust file of a crate.
pub(super) fn find(text: &Text) -> Vec<Citation> {
    if !text.is_rust() || !text.path.starts_with("crates/") {
        return Vec::new();
    }
    let whole_file = text.path.contains("/tests/") || text.path.ends_with("/tests.rs");
    let tests_from = if whole_file { 0 } else { scan::lines_before_tests(&scan::code_only(&text.body)) };
    let lines: Vec<&str> = text.body.lines().collect();
    let judges = text.path.starts_with(JUDGE);
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let is_test = number >= tests_from;
        let role = match (is_test, text.path.starts_with(LAB)) {
            (true, _) => Role::Proves,
            (false, true) => Role::Mentions,
            (false, false) => Role::Obeys,
        };
        let mut cite = |clause: &str, role, is_judge| {
            found.push(Citation {
                clause: clause.to_owned(),
                role,
                path: text.path.clone(),
                line: number,
                item: item(&lines, number),
                is_judge,
            });
        };
        between(line, '[', ']').for_each(|clause| cite(clause, role, false));
        if judges && !is_test {
            between(line, '"', '"').for_each(|clause| cite(clause, Role::Proves, true));
        }
    }
    found
}

/// The clauses that stand between two such characters.
fn between(line: &str, open: char, close: char) -> impl Iterator<Item = &str> {
    line.match_indices(open)
        .filter_map(move |(at, _)| line[at + 1..].split_once(close))
        .map(|(inside, _)| inside)
        .filter(|inside| {
            PREFIXES.iter().any(|prefix| inside.strip_prefix(prefix).is_some_and(starts_numbered))
        })
}

fn starts_numbered(rest: &str) -> bool {
    rest.starts_with(|first: char| first.is_ascii_digit())
}

/// The item a comment stands in, or that it is the documentation of.
fn item(lines: &[&str], number: usize) -> String {
    let is_lead = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    };
    if lines[number].trim_start().starts_with("//!") {
        return String::new();
    }
    let below = lines[number..].iter().find(|line| !is_lead(line)).and_then(|line| declared(line));
    let documents = is_lead(&&lines[number]) && below.is_some();
    let above = || lines[..=number].iter().rev().find_map(|line| declared(line));
    (if documents { below } else { above() }).unwrap_or_default().to_owned()
}

/// The name that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split([' ', '(']);
    let is_kind = |word: &str| matches!(word, "fn" | "struct" | "enum" | "trait" | "macro_rules!" | "static");
    let mut word = words.next()?;
    while matches!(word, "pub" | "async" | "unsafe" | "crate)" | "super)" | "const") {
        let next = words.next()?;
        // A constant has its name where a constant function has its kind.
        if word == "const" && !matches!(next, "fn" | "async") {
            return name(next);
        }
        word = next;
    }
    if is_kind(word) { name(words.next()?) } else { None }
}

fn name(word: &str) -> Option<&str> {
    let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
    (end > 0).then(|| &word[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, body: &str) -> Vec<(String, Role, String)> {
        let text = Text { path: path.to_owned(), body: body.to_owned() };
        find(&text).into_iter().map(|c| (c.clause, c.role, c.item)).collect()
    }

    #[test]
    fn the_place_tells_what_a_citation_means() {
        let role =
            |path: &str, body: &str| at(path, body).into_iter().map(|(_, role, _)| role).collect::<Vec<_>>();
        let line = "fn a() {} // [MQTT-1.5.4-1]\n";
        assert_eq!(role("crates/a/src/b.rs", line), [Role::Obeys]);
        assert_eq!(role("crates/a/src/b/tests/c.rs", line), [Role::Proves]);
        let module = format!("#[cfg(test)]\nmod tests {{\n    {line}}}\n");
        assert_eq!(role("crates/a/src/b.rs", &module), [Role::Proves]);
        assert_eq!(role("crates/rejoin-lab/src/broker/mod.rs", line), [Role::Mentions]);
        assert_eq!(role("crates/rejoin-lab/src/broker/mod.rs", "\"MQTT-1.5.4-1\"\n"), [Role::Proves]);
        assert_eq!(role("crates/rejoin-lab/tests/it/a.rs", "\"MQTT-1.5.4-1\"\n"), []);
        assert_eq!(role("xtask/src/b.rs", line), []);
    }

    #[test]
    fn every_form_is_read_and_nothing_else() {
        let line = "// [MQTT-4.4.0-1] and [MQTT311-2.3.1-3], [u5-4.11]; [u311-3.2]: [MQTT-x] [u5] a[u5-1";
        let found: Vec<String> =
            at("crates/a/src/b.rs", line).into_iter().map(|(clause, ..)| clause).collect();
        assert_eq!(found, ["MQTT-4.4.0-1", "MQTT311-2.3.1-3", "u5-4.11", "u311-3.2"]);
    }

    #[test]
    fn the_item_is_the_one_around_or_below() {
        let of = |body: &str| at("crates/a/src/b.rs", body).remove(0).2;
        assert_eq!(of("fn a() {\n    // [MQTT-1.5.4-1]\n    let b = 1;\n}\n"), "a");
        assert_eq!(of("fn a() {}\n/// [MQTT-1.5.4-1]\n#[inline]\npub(super) const fn b() {}\n"), "b");
        assert_eq!(of("pub const ROWS: &[u8] = &[\n    // [MQTT-1.5.4-1]\n    1,\n];\n"), "ROWS");
        assert_eq!(of("struct S {\n    /// [MQTT-1.5.4-1]\n    field: u8,\n}\n"), "S");
        assert_eq!(of("//! [MQTT-1.5.4-1]\nfn a() {}\n"), "");
    }
}
