//! Documents name files; files move. A map of streets that are gone is worse than none.

use super::Finding;
use crate::tree::{self, Text};
use std::path::Path;

/// Folders whose files are called by their path from the root.
const FOLDERS: [&str; 4] = ["crates/", "xtask/", "docs/", ".ci/"];
/// Folders inside a crate, where the crate is named further up on the page.
const INNER_FOLDERS: [&str; 2] = ["src/", "tests/"];

/// Every path in backticks or in a link's brackets exists.
pub(super) fn check(root: &Path, text: &Text) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.body.lines().enumerate() {
        for path in paths(line).into_iter().filter(|path| !exists(root, path)) {
            found.push(Finding::new("dead-path", text, number, format!("there is no `{path}`")));
        }
    }
    found
}

fn exists(root: &Path, path: &str) -> bool {
    let inner = INNER_FOLDERS.iter().any(|folder| path.starts_with(folder));
    root.join(path).exists()
        || (inner && tree::packages(root).iter().any(|(_, folder)| folder.join(path).exists()))
}

fn paths(line: &str) -> Vec<&str> {
    line.split(['`', '(', ')', ' ', ',', ';', ':', '#'])
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| FOLDERS.iter().chain(&INNER_FOLDERS).any(|folder| word.starts_with(folder)))
        // A pattern or a placeholder names no single file.
        .filter(|word| !word.contains(['*', '{', '<', '|']))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_gone_is_found() {
        let root = tree::root();
        let found = |body: &str| {
            let text = Text { path: "A.md".to_owned(), body: body.to_owned() };
            check(&root, &text).len()
        };
        assert_eq!(found("see `xtask/src/gone.rs` and [that](docs/gone.md#part)."), 2);
        assert_eq!(found("`src/gone.rs` and `tests/gone/`"), 2);
        assert_eq!(found("`src/tidy.rs`"), 0);
        assert_eq!(found("see `xtask/src/tidy.rs`, `crates/*/gone.rs` and xtask/src."), 0);
    }
}
