//! The least that still fails: fewer faults, less time.

use super::run::{Case, run};

/// Runs at most so many cases.
const MOST_RUNS: u32 = 400;

/// Takes faults out of a failing case, and time, as long as the same oracle still alarms.
pub fn shrink(case: &Case) -> Case {
    let Some(alarm) = run(case).alarm else { return case.clone() };
    let mut runs = 0;
    shrink_while(case, |case| {
        runs += 1;
        runs <= MOST_RUNS && run(case).alarm.is_some_and(|other| other.oracle == alarm.oracle)
    })
}

/// The same, for whatever is wrong with a case.
pub fn shrink_while(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    best.until = best.until.or_else(|| Some(case.length()));
    // Time first: everything after it is cheaper then.
    let (mut low, mut high) = (0, best.until.unwrap_or_default());
    while low + 1 < high {
        let middle = (low + high) / 2;
        let shorter = Case { until: Some(middle), ..best.clone() };
        if fails(&shorter) {
            best = shorter;
            high = middle;
        } else {
            low = middle;
        }
    }
    let mut kept: Vec<usize> = best.faults().into_iter().map(|(number, _)| number).collect();
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < kept.len() {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + size).min(kept.len()));
            let smaller = Case { keep: Some(fewer.clone()), ..best.clone() };
            if fails(&smaller) {
                kept = fewer;
                best = smaller;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    best
}
