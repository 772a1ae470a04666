//! Flights that showed a fault, each ending at the line where it was seen: the engine of today does not do it again. The
//! first four are of engines with a defect planted in them (docs/mutants.md), so that the judge is seen to see.
//!
//! `rejoin replay FILE --test crates/rejoin-lab/tests/flights/NAME.flight` adds one.

mod correct;

use rejoin_lab::flight::judge;

/// The fault is among so many lines at the end: what came out of the last input.
const NEAR: usize = 7;

#[test]
fn no_flight_ends_where_it_once_did() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/flights");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of this test") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "flight") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a flight is text");
        let judged = judge(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(judged.broken, None, "{}", path.display());
        let Some(difference) = judged.replayed.difference else {
            panic!("{}: it still does what it did", path.display());
        };
        // Another one before it would hide whether the fault is still done.
        let fault = text.lines().count() - NEAR;
        assert!(difference.line > fault, "{}: not the fault, line {}", path.display(), difference.line);
        seen += 1;
    }
    assert!(seen > 0, "no flight in {folder}");
}
