//! Real disks in trouble, in a mount namespace of the test's own: full, and read-only.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rejoin::store::{Folder, Identity, Record, Recovered, Store, StoreError};
use rejoin_lab::store::{Workload, difference};

use crate::folder::Scratch;
use crate::places::enqueued;
use crate::skipped::skipped;

/// Names the folder to the copy of this program that runs in the namespace.
const FOLDER: &str = "REJOIN_TEST_FOLDER";

/// Runs one test of this program again, in a mount namespace of its own after `mount`, in which `$DIR` is a new folder.
/// `None`: this is that run, and here is the folder.
fn in_namespace(test: &str, mount: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let scratch = Scratch::new();
    let folder = scratch.join("mounted");
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let probe = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none"]).arg(&folder).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skipped("disks in trouble", "no mount namespace; it needs root and apt-get install util-linux");
        return None;
    }
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{mount} && exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, &folder)
        .env("DIR", &folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    println!("{}", told.lines().filter(|line| line.contains("seen:")).collect::<Vec<_>>().join("\n"));
    None
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn looks_right(folder: &Path, records: &[Record]) {
    let found = Folder::open(folder, &Identity::default()).unwrap().recover().unwrap();
    assert_eq!(difference(&found, &Recovered::replay(records.iter().cloned()), 10_000), None);
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let test = "trouble::a_full_disk_loses_nothing_and_goes_on_when_there_is_room";
    let Some(disk) = in_namespace(test, "mount -t tmpfs -o size=1m,mode=700 none \"$DIR\"") else { return };
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![0xA5; 300 << 10]).unwrap();
    let folder = disk.join("queue");
    let mut queue = Folder::open(&folder, &Identity::default()).unwrap();
    queue.recover().unwrap();
    let mut workload = Workload::new(11, now_ms(), usize::MAX);
    let mut records = Vec::new();
    let refused = loop {
        let group = workload.group(30);
        match queue.commit(&group) {
            Ok(()) => records.extend(group),
            Err(error) => {
                assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
                break group;
            }
        }
    };
    let kept = records.len();
    for _ in 0..3 {
        let error = queue.commit(&refused).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    }
    assert!(queue.load(&[rejoin_core::PublishId(1)]).is_ok(), "what is there can be read");
    // What the keeper writes apart, so that links open all the same.
    for _ in 0..20 {
        queue.commit(&[Record::ConnectSent]).expect("there is room for as little as that");
        records.push(Record::ConnectSent);
    }
    fs::remove_file(&ballast).unwrap();
    queue.commit(&refused).unwrap();
    records.extend(refused);
    drop(queue);
    looks_right(&folder, &records);

    // Full again, and killed: what counts is what was committed.
    let mut queue = Folder::open(&folder, &Identity::default()).unwrap();
    queue.recover().unwrap();
    loop {
        let group = workload.group(30);
        if queue.commit(&group).is_err() {
            break;
        }
        records.extend(group);
    }
    std::mem::forget(queue);
    let copy = disk.join("copy-of-a-killed-queue");
    assert!(fs::create_dir(&copy).is_ok());
    println!("seen: {kept} records before the disk was full, {} in the end", records.len());
    let elsewhere = Scratch::new();
    let killed = elsewhere.join("killed");
    fs::create_dir(&killed).unwrap();
    for name in ["queue.redb", "queue.format"] {
        fs::copy(folder.join(name), killed.join(name)).unwrap();
    }
    looks_right(&killed, &records);
}

#[test]
fn a_queue_on_a_full_disk_can_be_started_and_loses_nothing() {
    let test = "trouble::a_queue_on_a_full_disk_can_be_started_and_loses_nothing";
    let Some(disk) = in_namespace(test, "mount -t tmpfs -o size=1m,mode=700 none \"$DIR\"") else { return };
    let folder = disk.join("queue");
    let mut queue = Folder::open(&folder, &Identity::default()).unwrap();
    queue.recover().unwrap();
    let all: Vec<_> = (1..=600).map(|id| enqueued(id, "room/1")).collect();
    queue.commit(&all).unwrap();
    drop(queue);
    let mut fill = 900 << 10;
    while fill >= 512 {
        // What is left becomes less and less.
        let name = disk.join(format!("fill-{fill}"));
        if fs::write(&name, vec![1; fill]).is_err() {
            let _ = fs::remove_file(name);
            fill /= 2;
        } else {
            fill -= 512;
        }
    }
    let mut queue = Folder::open(&folder, &Identity::default()).unwrap();
    let found = queue.recover().unwrap();
    assert_eq!(found.waiting.len(), 600);
    let mut drained = 0;
    for ids in found.waiting.chunks(50) {
        let done: Vec<_> = ids.iter().map(|waits| Record::Done { id: waits.id }).collect();
        match queue.commit(&done) {
            Ok(()) => drained += done.len(),
            Err(error) => assert!(matches!(error, StoreError::NoSpace { .. }), "{error}"),
        }
    }
    println!("seen: {drained} of 600 drained on a full disk");
    drop(queue);
    assert_eq!(
        Folder::open(&folder, &Identity::default()).unwrap().recover().unwrap().waiting.len(),
        600 - drained
    );
}

#[test]
fn a_read_only_folder_is_refused_with_the_reason() {
    let mount = "mount -t tmpfs -o mode=700 none \"$DIR\" && mkdir -m 700 \"$DIR/empty\" && mount -o remount,ro \"$DIR\"";
    let Some(disk) = in_namespace("trouble::a_read_only_folder_is_refused_with_the_reason", mount) else {
        return;
    };
    for folder in ["empty", "not/there"] {
        let error = Folder::open(disk.join(folder), &Identity::default()).unwrap_err();
        let StoreError::Place { what, .. } = &error else { panic!("{error}") };
        assert!(what.contains("Read-only") && what.contains("writable by the user"), "{error}");
    }
}

/// A disk that turns read-only under a client, as a file system does after an error of its medium.
#[test]
fn a_folder_that_turns_read_only_is_refused_from_then_on() {
    let mount = "mount -t tmpfs -o mode=700 none \"$DIR\"";
    let test = "trouble::a_folder_that_turns_read_only_is_refused_from_then_on";
    let Some(disk) = in_namespace(test, mount) else { return };
    let folder = disk.join("queue");
    let mut queue = Folder::open(&folder, &Identity::default()).unwrap();
    queue.recover().unwrap();
    queue.commit(&[enqueued(1, "a")]).unwrap();
    drop(queue);
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&disk).status().unwrap().success());
    let error = Folder::open(&folder, &Identity::default()).unwrap_err();
    assert!(matches!(error, StoreError::Place { .. }), "{error}");
    assert!(Command::new("mount").args(["-o", "remount,rw"]).arg(&disk).status().unwrap().success());
    looks_right(&folder, &[enqueued(1, "a")]);
}
