//! What a test says where this machine lacks something: the same words in the tests of the library, the lab and the
//! program, which have this file, too.

use std::fs::OpenOptions;
use std::io::Write;

/// Names the file in which `cargo xtask test` gathers what was skipped.
const LIST: &str = "REJOIN_TEST_SKIPPED";

/// Says that `what` is not tested here, why, and what would bring it. Past the runner, which keeps to itself what a test
/// prints that passes.
pub(crate) fn skipped(what: &str, why: &str) {
    let thread = std::thread::current();
    // Where tests run one at a time they have no threads of their own, and no name.
    let test = thread.name().filter(|name| name.contains("::"));
    let line =
        format!("SKIPPED {what}{}: {why}\n", test.map_or_else(String::new, |name| format!(" ({name})")));
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(LIST) {
        let list = OpenOptions::new().create(true).append(true).open(path);
        // One write: several tests may skip at the same time.
        list.and_then(|mut list| list.write_all(line.as_bytes())).expect("the suite made room for its list");
    }
}
