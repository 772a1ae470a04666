//! Tests that pass because this machine lacks what they need: each adds a line to a list, and the suite reads it out.

use crate::{kept, say};
use std::path::{Path, PathBuf};

/// As in `crates/rejoin/tests/it/skipped.rs`.
pub(crate) const LIST: &str = "REJOIN_TEST_SKIPPED";

/// An empty list.
pub(crate) fn begin(root: &Path) -> Result<PathBuf, String> {
    let list = place(root);
    kept::forget(&list).map(|()| list)
}

/// How many there are; nothing to say when there are none.
pub(crate) fn count(root: &Path) -> String {
    match read(&place(root)).len() {
        0 => String::new(),
        1 => "but one skipped something, see below".to_owned(),
        several => format!("but {several} skipped something, see below"),
    }
}

/// One line for each, with what would bring it.
pub(crate) fn tell(root: &Path) {
    let lines = read(&place(root));
    if !lines.is_empty() {
        say::headline("tests that skipped something on this machine");
        lines.iter().for_each(|line| say::line(line));
    }
}

fn place(root: &Path) -> PathBuf {
    root.join("target/skipped.txt")
}

fn read(list: &Path) -> Vec<String> {
    let mut lines: Vec<String> =
        std::fs::read_to_string(list).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[cfg(test)]
#[path = "../../crates/rejoin/tests/it/skipped.rs"]
mod skipped;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;
    use std::process::Command;

    #[test]
    fn no_test_says_it_where_nobody_hears_it() {
        // Behind a quotation mark, as in what is printed.
        let words = ["\"SKIPPED ", "\"SKIPPED: ", "\"skipped: ", "\"skipping "];
        for text in tree::texts(&tree::root()) {
            if text.path.contains("/tests/") && text.is_rust() && !text.path.ends_with("/it/skipped.rs") {
                let said = words.iter().find(|word| text.body.contains(**word));
                assert!(
                    said.is_none(),
                    "{}: {said:?}: call `skipped` of rejoin/tests/it/skipped.rs",
                    text.path
                );
            }
        }
    }

    /// Makes the copy of this program that the test starts skip something.
    const SKIPS: &str = "XTASK_TEST_SKIPS";

    #[test]
    fn a_test_that_skips_is_heard_though_it_passes() {
        if std::env::var_os(SKIPS).is_some() {
            return skipped::skipped("the moon", "it is not there; apt-get install moon");
        }
        let root = std::env::temp_dir().join(format!("xtask-skips-{}", std::process::id()));
        std::fs::create_dir_all(root.join("target")).unwrap();
        let list = begin(&root).unwrap();
        assert_eq!(count(&root), "");
        let test = "skips::tests::a_test_that_skips_is_heard_though_it_passes";
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--test-threads=2"])
            .env(SKIPS, "yes")
            .env(LIST, &list)
            .output()
            .unwrap();
        let line = format!("SKIPPED the moon ({test}): it is not there; apt-get install moon");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(
            ran.status.success() && said.contains(&line),
            "the runner keeps what a passing test prints: {said}"
        );
        assert_eq!(read(&list), [line]);
        assert_eq!(count(&root), "but one skipped something, see below");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
