//! A seeded world: one engine, a wire that breaks, a disk that forgets what was not synced, the strict broker.
//!
//! Each seed draws its own settings and its own faults, runs them for ten virtual minutes, then heals everything
//! and demands that all is answered for. `REJOIN_SEEDS=FROM..TO` runs other seeds; a failure names its seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod oracle;
mod world;

use world::World;

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("REJOIN_SEEDS").ok();
    given
        .and_then(|range| {
            let (from, to) = range.split_once("..")?;
            Some(from.parse().ok()?..to.parse().ok()?)
        })
        .unwrap_or(0..400)
}

#[test]
fn everything_accepted_is_delivered_or_answered_for() {
    let mut failures = Vec::new();
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| World::new(seed).run());
        match result {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failures.push(format!("seed {seed}: {why}")),
            Err(_) => failures.push(format!("seed {seed}: panicked")),
        }
    }
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 77] {
        let (mut a, mut b) = (World::new(seed), World::new(seed));
        let _ = (a.run(), b.run());
        assert!(a.trace() > 0);
        assert_eq!(a.trace(), b.trace(), "seed {seed}");
    }
}
