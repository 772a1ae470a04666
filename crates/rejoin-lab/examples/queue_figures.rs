//! Figures of the durable queue on the disk of this machine: bytes written for each message, commits a second, and how
//! long a start takes.
//!
//! `cargo run --release -p rejoin-lab --example queue_figures [-- FOLDER]`
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::io::Write;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rejoin::store::{Folder, FolderOptions, Identity, Record, Store, StoreError, SystemClock};
use rejoin_core::{Publication, PublishId, Qos, TopicName};

const PAYLOAD: usize = 256;
/// So long each rate is measured.
const TIME: Duration = Duration::from_secs(3);

fn main() -> Result<(), StoreError> {
    let given = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = given.join(format!("rejoin-figures-{}", std::process::id()));
    let result = figures(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn figures(folder: &Path) -> Result<(), StoreError> {
    println!("{PAYLOAD} B payload, 11 B topic, QoS 1\n");
    for group in [100, 1] {
        bare_log(folder, group).expect("a file that grows");
        only_accepted(folder, group as u64, false)?;
    }
    for quick_repair in [false, true] {
        println!("quick repair: {quick_repair}");
        for (group, depth) in [(1, 1), (1, 1000), (10, 1000), (100, 1000), (100, 100_000)] {
            fifo(folder, group, depth, quick_repair)?;
        }
    }
    for count in [100_000, 1_000_000] {
        for quick_repair in [false, true] {
            reopen(folder, count, quick_repair)?;
        }
    }
    through(folder)
}

fn enqueued(id: u64) -> Record {
    let topic = TopicName::new("room/1/temp").expect("no wildcard in it");
    let mut bytes = vec![0; PAYLOAD];
    fastrand::Rng::with_seed(id).fill(&mut bytes);
    let mut publication = Publication::new(topic, bytes);
    publication.qos = Qos::AtLeastOnce;
    Record::Enqueued { id: PublishId(id), publication, accepted_wall_ms: 1_790_000_000_000 }
}

fn assigned(id: u64) -> Record {
    let packet_id = u16::try_from(id % 65_535 + 1).unwrap_or(1);
    Record::Assigned { id: PublishId(id), packet_id: NonZeroU16::new(packet_id).unwrap_or(NonZeroU16::MIN) }
}

fn open(folder: &Path, quick_repair: bool) -> Result<Folder, StoreError> {
    let options = FolderOptions { quick_repair, ..FolderOptions::default() };
    let mut queue = Folder::open_with(folder, &Identity::default(), options, SystemClock)?;
    queue.recover()?;
    Ok(queue)
}

fn filled(queue: &mut Folder, from: u64, to: u64) -> Result<(), StoreError> {
    let mut id = from;
    while id <= to {
        let end = to.min(id + 999);
        queue.commit(&(id..=end).map(enqueued).collect::<Vec<_>>())?;
        id = end + 1;
    }
    Ok(())
}

/// First in, first out: each commit accepts a group, sends one and ends one. Messages go out in the commit after the
/// one that accepted them, or when the backlog lets them.
fn fifo(folder: &Path, group: u64, depth: u64, quick_repair: bool) -> Result<(), StoreError> {
    let _ = std::fs::remove_dir_all(folder);
    let mut queue = open(folder, quick_repair)?;
    filled(&mut queue, 1, depth)?;
    let mut head = 1;
    let (mut tail, mut sent) = (depth + 1, 1);
    let (before, began) = (queue.stats(), Instant::now());
    let mut chance = fastrand::Rng::with_seed(1);
    while began.elapsed() < TIME {
        let mut records: Vec<Record> = (tail..tail + group).map(enqueued).collect();
        records.extend((sent..sent + group).map(assigned));
        // Acknowledgements come near the head, not quite in order.
        let mut ends: Vec<u64> = (head..head + group.min(depth)).collect();
        chance.shuffle(&mut ends);
        records.extend(ends.iter().map(|id| Record::Done { id: PublishId(*id) }).filter(|_| sent > group));
        if sent > group {
            head += group.min(depth);
        }
        queue.commit(&records)?;
        tail += group;
        sent += group;
    }
    let (took, after) = (began.elapsed().as_secs_f64(), queue.stats());
    let messages = (tail - depth - 1) as f64;
    let bytes = (after.written_bytes - before.written_bytes) as f64;
    println!(
        "  first in first out, {group:>3} a commit, backlog {depth:>6}: {:>7.0} msg/s, {:>6.0} B written a message ({:.1} x), {:.2} syncs a commit, file {:.1} MB",
        messages / took,
        bytes / messages,
        bytes / messages / PAYLOAD as f64,
        (after.syncs - before.syncs) as f64 / (after.commits - before.commits) as f64,
        after.file_bytes as f64 / 1e6,
    );
    Ok(())
}

/// The same bytes into a file that grows, write and sync: nothing that is safe can be much faster.
fn bare_log(folder: &Path, group: usize) -> std::io::Result<()> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    let mut file = std::fs::File::create(folder.join("log"))?;
    let bytes = vec![7; (PAYLOAD + 11 + 20) * group];
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < TIME && count < 300_000 {
        file.write_all(&bytes)?;
        file.sync_data()?;
        count += group;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("  bare log,      {group:>3} a sync:   {rate:>7.0} msg/s");
    std::fs::remove_dir_all(folder)
}

fn only_accepted(folder: &Path, group: u64, quick_repair: bool) -> Result<(), StoreError> {
    let _ = std::fs::remove_dir_all(folder);
    let mut queue = open(folder, quick_repair)?;
    let (before, began) = (queue.stats(), Instant::now());
    let mut id = 1;
    while began.elapsed() < TIME && id < 300_000 {
        queue.commit(&(id..id + group).map(enqueued).collect::<Vec<_>>())?;
        id += group;
    }
    let (took, after) = (began.elapsed().as_secs_f64(), queue.stats());
    let bytes = (after.written_bytes - before.written_bytes) as f64 / (id - 1) as f64;
    println!(
        "  accepted only, {group:>3} a commit: {:>7.0} msg/s, {bytes:>6.0} B written a message ({:.1} x)",
        (id - 1) as f64 / took,
        bytes / PAYLOAD as f64
    );
    Ok(())
}

fn reopen(folder: &Path, count: u64, quick_repair: bool) -> Result<(), StoreError> {
    let _ = std::fs::remove_dir_all(folder);
    let mut queue = open(folder, quick_repair)?;
    filled(&mut queue, 1, count)?;
    let file = queue.stats().file_bytes as f64 / 1e6;
    // What a kill leaves behind: the file as it is while the queue is open.
    let killed = folder.with_extension("killed");
    let _ = std::fs::remove_dir_all(&killed);
    std::fs::create_dir(&killed).expect("a folder beside the first one");
    for name in ["queue.redb", "queue.format"] {
        std::fs::copy(folder.join(name), killed.join(name)).expect("a copy of a file that is there");
    }
    drop(queue);
    for (how, folder) in [("after a clean end", folder), ("after a kill", &killed)] {
        let began = Instant::now();
        let mut queue = Folder::open(folder, &Identity::default())?;
        let opened = began.elapsed();
        let found = queue.recover()?.waiting.len();
        println!(
            "{found} messages, {how}: open {opened:.0?}, all {:.0?}, file {file:.0} MB",
            began.elapsed()
        );
    }
    let _ = std::fs::remove_dir_all(&killed);
    Ok(())
}

/// A million messages through a backlog of a thousand.
fn through(folder: &Path) -> Result<(), StoreError> {
    let _ = std::fs::remove_dir_all(folder);
    let mut queue = open(folder, false)?;
    filled(&mut queue, 1, 1000)?;
    for first in (1..=1_000_000).step_by(500) {
        let mut records: Vec<Record> = (first + 1000..first + 1500).map(enqueued).collect();
        records.extend((first..first + 500).map(|id| Record::Done { id: PublishId(id) }));
        queue.commit(&records)?;
    }
    println!(
        "1,000,000 messages through a backlog of 1,000: file {:.1} MB",
        queue.stats().file_bytes as f64 / 1e6
    );
    Ok(())
}
