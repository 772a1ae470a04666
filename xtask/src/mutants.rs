//! The proof of the simulation's oracle: a build with planted defects, each of which must be found.

use crate::{kept, run, say};
use std::path::Path;
use std::time::Duration;

/// Planted defects exist under this flag alone; its build has a folder of its own.
const FLAG: &str = "--cfg rejoin_defects";
const FOLDER: &str = "target/defects";
const LIMIT: Duration = Duration::from_secs(3600);

const HEAD: &str = "\
# Planted defects

The oracle of the [simulation](simulation.md) is proved by defects planted in the client, one at a time: one for each write-before-send barrier and each rule
about sessions, and those that clients are known for. Its world has the core alone: that equal filters are counted and that a dropped subscription detaches is
the library's own, and held by its tests (`rejoin/tests/it/wishes.rs`). `cargo xtask mutants` makes a build that has them (`--cfg rejoin_defects`; in any other build the macro
`defect!` is the word `false`), looks for each with seeds from 0 on, and writes this page. Each must be found within 200 seeds; without a defect there must be no alarm.
The share says how many of the first seeds fail.

";

/// Looks for every planted defect and writes `docs/mutants.md`. True when all were found.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let table = root.join(FOLDER).join("table.md");
    let mut command = run::cargo(root, &["run", "--profile", "sim", "--quiet", "--package", "rejoin-lab"]);
    command.args(["--example", "sim", "--target-dir", FOLDER, "--", "--seeds", "20"]).args(flags);
    command.arg("--proof").arg(&table).env("RUSTFLAGS", FLAG);
    let found = kept::forget(&table).and_then(|()| run::within(&mut command, LIMIT));
    ended(found, &table, &root.join("docs/mutants.md"))
}

/// What did not find every defect leaves its page, too; what left no table leaves the page as it was.
fn ended(found: Result<(), String>, table: &Path, page: &Path) -> bool {
    let written = std::fs::read_to_string(table)
        .map_err(|error| format!("the run left no table: {}: {error}", table.display()))
        .and_then(|table| kept::write(page, &format!("{HEAD}{table}")));
    for error in [&found, &written].iter().filter_map(|result| result.as_ref().err()) {
        say::line(&format!("xtask mutants: {error}"));
    }
    found.is_ok() && written.is_ok() && found_all(page)
}

/// The page says itself whether the proof holds.
fn found_all(page: &Path) -> bool {
    let text = std::fs::read_to_string(page).unwrap_or_default();
    let Some(line) = text.lines().find(|line| line.contains("planted defects found within")) else {
        return false;
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    words.first() == words.get(2) && line.contains("without a defect 0 alarms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_a_defect_that_was_not_found_is_no_proof() {
        let folder = std::env::temp_dir().join(format!("xtask-mutants-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let page = folder.join("page.md");
        let says = |line: &str| {
            std::fs::write(&page, line).unwrap();
            found_all(&page)
        };
        let rest = "planted defects found within 200 seeds, shares over the first 20; without a defect";
        assert!(says(&format!("48 of 48 {rest} 0 alarms in 200 seeds.")));
        assert!(!says(&format!("47 of 48 {rest} 0 alarms in 200 seeds.")));
        assert!(!says(&format!("48 of 48 {rest} 1 alarms in 200 seeds.")));
        assert!(!says("nothing"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_good_page_of_last_week_does_not_make_up_for_a_run_that_failed() {
        let folder = std::env::temp_dir().join(format!("xtask-mutants-failed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (page, table) = (folder.join("page.md"), folder.join("table.md"));
        let good = "48 of 48 planted defects found within 200 seeds; without a defect 0 alarms in 200 seeds.";
        std::fs::write(&page, good).unwrap();
        assert!(!ended(Err("it did not build".to_owned()), &table, &page), "no table at all");
        assert!(!ended(Ok(()), &table, &page), "no table at all");
        assert_eq!(std::fs::read_to_string(&page).unwrap(), good);
        std::fs::write(&table, good).unwrap();
        assert!(!ended(Err("exit status: 1".to_owned()), &table, &page));
        assert!(ended(Ok(()), &table, &page));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
