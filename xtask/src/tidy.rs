//! The house rules that a program can check. STYLE.md says why each of them exists.

mod imports;
mod links;
mod manifest;
mod readme;
pub(crate) mod scan;
mod size;
mod words;

use crate::tree::{self, Text};
use crate::{clauses, say};
use std::path::Path;

/// Places that may break a rule: the rule, the file, and why it is better so. Empty is the goal.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// One broken rule at one place.
struct Finding {
    rule: &'static str,
    path: String,
    /// Counted from 1, as editors do.
    line: usize,
    what: String,
}

impl Finding {
    /// `number` counts from 0, as `lines().enumerate()` does.
    fn new(rule: &'static str, text: &Text, number: usize, what: impl Into<String>) -> Self {
        Self { rule, path: text.path.clone(), line: number + 1, what: what.into() }
    }

    fn is_excepted(&self) -> bool {
        EXCEPTIONS.iter().any(|(rule, path, _)| *rule == self.rule && *path == self.path)
    }
}

/// Prints what is broken, one line each, and the counts. True when nothing is.
pub(crate) fn report(root: &Path) -> bool {
    let texts = tree::texts(root);
    let mut found: Vec<Finding> = texts.iter().flat_map(one).collect();
    found.extend(
        texts.iter().filter(|text| text.path.ends_with(".md")).flat_map(|text| links::check(root, text)),
    );
    found.extend(readme::check(&texts));
    found.extend(manifest::count(root));
    found.extend(clauses::check(&texts).into_iter().map(|clauses::Gap { path, line, what }| Finding {
        rule: "clauses",
        path,
        line: line + 1,
        what,
    }));
    found.retain(|finding| !finding.is_excepted());
    for Finding { rule, path, line, what } in &found {
        say::line(&format!("{path}:{line}: {rule}: {what}"));
    }
    let rust = texts.iter().filter(|text| text.is_rust()).count();
    say::line(&format!("tidy: {} files, {rust} of them Rust, {} findings", texts.len(), found.len()));
    found.is_empty()
}

fn one(text: &Text) -> Vec<Finding> {
    let mut found = words::check_any(text);
    if text.is_rust() {
        let code = scan::code_only(&text.body);
        found.extend(size::check(text, &code));
        found.extend(words::check_rust(text, &code));
        found.extend(imports::check(text, &code));
    } else if text.path.ends_with("Cargo.toml") {
        found.extend(manifest::check(text));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_found_by_the_rules_for_its_kind() {
        let text = |path: &str, body: &str| Text { path: path.to_owned(), body: body.to_owned() };
        let rules = |text: &Text| one(text).into_iter().map(|finding| finding.rule).collect::<Vec<_>>();
        let bad = "use crate::link::A; \n";
        assert_eq!(rules(&text("crates/rejoin-core/src/session/mod.rs", bad)), ["trailing-space", "imports"]);
        assert_eq!(rules(&text("docs/a.md", bad)), ["trailing-space"]);
        let manifest = "[package]\nname = \"xtask\"\n[dependencies]\nx = \"1\"\n";
        assert_eq!(rules(&text("xtask/Cargo.toml", manifest)), ["dependencies"]);
    }
}
