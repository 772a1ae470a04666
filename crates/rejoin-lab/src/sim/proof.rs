//! The proof of the oracle: defects planted in the client, one at a time, and the seeds that find them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rejoin_core::defect::{Defect, plant};

use super::run::{Case, run};

/// How one defect was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub defect: Defect,
    /// The first seed that fails, and what the oracle said; `None`: no seed within the limit did.
    pub first: Option<(u64, String)>,
    /// Of how many seeds how many failed, where the share was measured.
    pub share: (u64, u64),
}

/// Looks for each defect with seeds from 0 on, `most` at most; then measures the share of the first `sample`.
pub fn find_all(most: u64, sample: u64, jobs: usize, each: &(dyn Fn(&Found) + Sync)) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(defect) = Defect::ALL.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    plant(Some(defect));
                    let found = find(defect, most, sample);
                    plant(None);
                    each(&found);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|found| Defect::ALL.iter().position(|defect| *defect == found.defect));
    all
}

fn find(defect: Defect, most: u64, sample: u64) -> Found {
    let mut found = Found { defect, first: None, share: (0, 0) };
    for seed in 0..most {
        if found.first.is_some() && seed >= sample {
            break;
        }
        let alarm = run(&Case::of(seed)).alarm;
        if seed < sample {
            found.share.0 += u64::from(alarm.is_some());
            found.share.1 += 1;
        }
        if let (None, Some(alarm)) = (&found.first, alarm) {
            found.first = Some((seed, alarm.to_string()));
        }
    }
    found
}
