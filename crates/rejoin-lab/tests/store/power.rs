use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rejoin::store::{FolderOptions, Record, Recovered, Store, StoreError};
use rejoin_lab::store::life::{StoppedClock, queue_on};
use rejoin_lab::store::{Disk, Life, LifeReport, Survivors, Workload, difference};

use crate::places::enqueued;

/// So long is spent on seeds; the rest of the suite waits for it.
const TIME: Duration = Duration::from_secs(6);

fn live(life: Life, seeds: impl Iterator<Item = u64>, time: Duration) -> LifeReport {
    let began = Instant::now();
    let mut report = LifeReport::default();
    for seed in seeds {
        report.add(life.live(seed));
        if began.elapsed() > time || !report.is_clean() {
            break;
        }
    }
    let rate = report.cuts as f64 / began.elapsed().as_secs_f64();
    println!("{report}; {rate:.0} cuts/s");
    report
}

#[test]
fn what_was_committed_survives_power_cuts_and_nothing_else_appears() {
    let report = live(Life::default(), 0.., TIME);
    assert!(report.is_clean(), "{report}");
    assert!(report.cuts >= 100, "{report}");
}

#[test]
fn with_quick_repair_the_same_holds() {
    let mut life = Life::default();
    life.options.quick_repair = true;
    let report = live(life, 1_000_000.., TIME / 2);
    assert!(report.is_clean(), "{report}");
}

/// The control: a test that passes on a disk that lies proves nothing.
#[test]
fn a_disk_that_ignores_syncs_is_found_out() {
    let life = Life { lying_disk: true, ..Life::default() };
    let mut bad = 0;
    for seed in 0..40 {
        bad += u32::from(!life.live(seed).is_clean());
    }
    assert!(bad >= 20, "only {bad} of 40 lives on a lying disk went wrong");
}

/// Groups of a scripted exchange, at every point of which the power goes.
fn script() -> Vec<Vec<Record>> {
    let mut workload = Workload::new(7, StoppedClock::WALL_MS, 40).complete();
    (0..24).map(|_| workload.group(8)).collect()
}

#[test]
fn at_every_operation_with_every_prefix_of_what_was_not_synced() {
    let options = Life::default().options;
    let disk = Disk::new();
    drop(queue_on(&disk, options).unwrap());
    disk.power_on(Survivors::All, &mut fastrand::Rng::with_seed(1));
    let mut queue = queue_on(&disk, options).unwrap();
    queue.recover().unwrap();
    disk.trace();
    // What may be found from this operation on: the records up to here, or with the group that is under way.
    let mut records: Vec<Record> = Vec::new();
    let mut states = vec![(0, Recovered::default())];
    for group in script() {
        queue.commit(&group).unwrap();
        records.extend(group);
        states.push((disk.traced(), Recovered::replay(records.iter().cloned())));
    }
    let steps = disk.take_trace();
    drop(queue);
    let mut images = 0;
    let mut chance = fastrand::Rng::with_seed(2);
    for (at, step) in steps.iter().enumerate() {
        let done = states.partition_point(|(traced, _)| *traced <= at) - 1;
        let allowed = [&states[done], &states[(done + 1).min(states.len() - 1)]];
        let prefixes = (0..=step.pending()).map(Survivors::Prefix);
        for survivors in prefixes.chain([Survivors::Subset, Survivors::Torn]) {
            let found = queue_on(&step.disk(survivors, &mut chance), options).unwrap().recover().unwrap();
            let wrong = allowed.map(|(_, expected)| difference(&found, expected, 0));
            assert!(wrong.iter().any(Option::is_none), "operation {at}, {survivors:?}: {wrong:?}");
            images += 1;
        }
    }
    println!("{} operations, {images} disks looked at", steps.len());
    assert!(steps.len() > 100 && images > 1000);
}

/// Runs the script until it ends or an error ends the store. Gives the records that count and those that may.
fn run_script(disk: &Disk) -> (Vec<Record>, Vec<Record>, Option<StoreError>) {
    let options = Life::default().options;
    let mut records = Vec::new();
    let mut queue = match queue_on(disk, options) {
        Ok(queue) => queue,
        Err(error) => return (records, Vec::new(), Some(error)),
    };
    if let Err(error) = queue.recover() {
        return (records, Vec::new(), Some(error));
    }
    for group in script() {
        match queue.commit(&group) {
            Ok(()) => records.extend(group),
            Err(error @ StoreError::NoSpace { .. }) => {
                // What a client does: the same records again when there is room.
                disk.set_room(None);
                if let Err(second) = queue.commit(&group) {
                    return (records, group, Some(second));
                }
                records.extend(group);
                assert!(!error.is_fatal());
            }
            Err(error) => {
                let again = queue.commit(&group).unwrap_err();
                assert_eq!(again, error, "after a fatal error the store takes nothing more");
                return (records, group, Some(error));
            }
        }
    }
    (records, Vec::new(), None)
}

fn looks_right(disk: &Disk, records: &[Record], maybe: &[Record], what: &str) {
    let found = queue_on(disk, Life::default().options).unwrap().recover().unwrap();
    let all = || records.iter().chain(maybe).cloned();
    let without = difference(&found, &Recovered::replay(records.iter().cloned()), 0);
    let with = difference(&found, &Recovered::replay(all()), 0);
    assert!(without.is_none() || with.is_none(), "{what}: {without:?}");
}

fn begun() -> Disk {
    let disk = Disk::new();
    drop(queue_on(&disk, Life::default().options).unwrap());
    disk
}

#[test]
fn an_error_at_any_call_loses_nothing_that_was_committed() {
    let disk = begun();
    run_script(&disk);
    let calls = disk.calls();
    let (mut ended, mut passed) = (0, 0);
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for call in (1..calls).step_by(if kind == ErrorKind::Other { 1 } else { 2 }) {
            let disk = begun();
            disk.fail_call(call, kind);
            let (records, maybe, error) = run_script(&disk);
            if error.is_some() {
                ended += 1
            } else {
                passed += 1
            }
            // The power goes as well, so nothing may rest on what only the system's cache had.
            disk.power_on(Survivors::None, &mut fastrand::Rng::with_seed(call));
            looks_right(&disk, &records, &maybe, &format!("{kind:?} at call {call}"));
        }
    }
    println!("{ended} runs ended with the error, {passed} went on");
    assert!(ended > 100 && passed > 50);
}

#[test]
fn a_full_disk_refuses_and_then_goes_on_with_the_same_records() {
    let full = begun();
    run_script(&full);
    let most = full.len_bytes();
    let mut met = 0;
    for room in (0..most).step_by(4096) {
        let disk = begun();
        disk.set_room(Some(room.max(disk.len_bytes())));
        let (records, maybe, error) = run_script(&disk);
        met += u32::from(room < most);
        assert_eq!(error, None, "room for {room} bytes");
        disk.power_on(Survivors::None, &mut fastrand::Rng::with_seed(3));
        looks_right(&disk, &records, &maybe, &format!("room for {room} bytes"));
    }
    assert!(met > 5);
}

/// A disk with a queue that is worth making smaller, and the calls of looking through it without doing that.
fn mostly_empty() -> (Disk, u64) {
    let disk = begun();
    let options = FolderOptions { compact_above_bytes: u64::MAX, ..Life::default().options };
    let mut queue = queue_on(&disk, options).unwrap();
    queue.recover().unwrap();
    let all: Vec<_> = (1..=2_000).map(|id| enqueued(id, "a")).collect();
    queue.commit(&all).unwrap();
    let done: Vec<_> = (2..=2_000).map(|id| Record::Done { id: rejoin_core::PublishId(id) }).collect();
    queue.commit(&done).unwrap();
    drop(queue);
    let look = disk.copy();
    let mut queue = queue_on(&look, options).unwrap();
    let before = look.calls();
    queue.recover().unwrap();
    (disk, look.calls() - before)
}

/// Making the file smaller is for the disk's sake: without room for it the client starts and goes on all the same.
#[test]
fn a_compaction_that_finds_no_space_is_no_trouble() {
    let (disk, looking) = mostly_empty();
    let options = FolderOptions { compact_above_bytes: 4096, ..Life::default().options };
    let all = disk.copy();
    let mut queue = queue_on(&all, options).unwrap();
    let opened = all.calls();
    queue.recover().unwrap();
    let compacting = all.calls() - opened - looking;
    assert!(compacting > 20, "{compacting} calls");
    let mut passed = 0;
    for call in 1..=compacting {
        let copy = disk.copy();
        let mut queue = queue_on(&copy, options).unwrap();
        copy.fail_call(looking + call, ErrorKind::StorageFull);
        match queue.recover() {
            Ok(found) => {
                assert_eq!(found.waiting.len(), 1, "at call {call}");
                queue.commit(&[enqueued(3_000, "a")]).unwrap();
                passed += 1;
            }
            // The one error that nobody may pass over.
            Err(error) => assert!(error.to_string().contains("a sync failed"), "at call {call}: {error}"),
        }
    }
    println!("{passed} of {compacting} calls without space passed over");
    assert!(passed > 10, "{passed}");
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let disk = begun();
    let (records, ..) = run_script(&disk);
    let expected = Recovered::replay(records.iter().cloned());
    let mut chance = fastrand::Rng::with_seed(4);
    let (mut harmless, mut found_out) = (0, 0);
    let mut silent = Vec::new();
    let began = Instant::now();
    let sweep =
        (0..512 * 8).chain(std::iter::repeat_with(|| chance.usize(0..disk.len_bytes() * 8)).take(4000));
    for bit in sweep {
        let copy = disk.copy();
        copy.flip_bit(bit);
        match queue_on(&copy, Life::default().options).and_then(|mut queue| queue.recover()) {
            Err(_) => found_out += 1,
            Ok(found) if difference(&found, &expected, 0).is_none() => harmless += 1,
            Ok(_) => silent.push(bit),
        }
    }
    println!("{found_out} found out, {harmless} harmless, silent: {silent:?}, {:?}", began.elapsed());
    assert!(silent.is_empty(), "{silent:?}");
    assert!(found_out > 100);
}
