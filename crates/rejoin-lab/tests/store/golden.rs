//! Queues as released versions wrote them: each opens and says what was put into it.
//!
//! A new format gets a new folder beside these, written by `REJOIN_GOLDEN=write cargo test -p rejoin-lab --test store
//! golden`; the old ones stay as they are.

use std::fs;
use std::path::{Path, PathBuf};

use rejoin::store::{Folder, FolderOptions, Identity, Record, Recovered, Store};
use rejoin_core::Text;
use rejoin_lab::store::life::StoppedClock;
use rejoin_lab::store::{Workload, difference};

use crate::folder::Scratch;

fn golden(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/store/golden/format-{format}"))
}

fn whose() -> Identity {
    Identity {
        client_id: Some(Text::from_static("golden-1")),
        servers: vec!["a.example:8883".to_owned(), "b.example:8883".to_owned()],
    }
}

fn open(folder: &Path, whose: &Identity) -> Folder {
    Folder::open_with(folder, whose, FolderOptions::default(), StoppedClock).unwrap()
}

/// Every kind of record, in a fixed order.
fn groups() -> Vec<Vec<Record>> {
    let mut workload = Workload::new(2027, StoppedClock::WALL_MS, 14);
    let mut groups: Vec<_> = (0..60).map(|_| workload.group(6)).collect();
    let waiting = Recovered::replay(groups.concat()).waiting;
    groups.push(vec![Record::Asked { id: waiting[0].id }]);
    groups
}

fn write(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    let mut queue = open(folder, &whose());
    queue.recover().unwrap();
    for group in groups() {
        queue.commit(&group).unwrap();
    }
    drop(queue);
    let mut queue = rejoin::store::Visitor::enter(folder).unwrap();
    queue.ask(&rejoin::store::tools::Request::Compact).unwrap();
    drop(queue);
    fs::remove_file(folder.join("queue.lock")).unwrap();
}

#[test]
fn a_queue_of_format_1_opens_and_is_whole() {
    let kept = golden(1);
    if std::env::var("REJOIN_GOLDEN").is_ok_and(|word| word == "write") {
        write(&kept);
    }
    let scratch = Scratch::new();
    let folder = scratch.join("queue");
    fs::create_dir(&folder).unwrap();
    for name in ["queue.redb", "queue.format"] {
        fs::copy(kept.join(name), folder.join(name)).unwrap();
    }
    let mut queue = open(&folder, &Identity::default());
    assert_eq!(queue.client_id().map(Text::as_str), Some("golden-1"));
    let found = queue.recover().unwrap();
    let expected = Recovered::replay(groups().concat());
    let states = [found.waiting.len(), found.sent.len(), found.undecided.len(), found.held.len()];
    assert!(states.iter().all(|count| *count > 0), "every state is in it: {states:?}");
    assert_eq!(difference(&found, &expected, 0), None);
    for waits in &expected.waiting {
        assert_eq!(queue.load(&[waits.id]).unwrap()[0], waits.body);
    }
    queue.commit(&[Record::Done { id: found.waiting[0].id }]).unwrap();
    drop(queue);
    assert_eq!(open(&folder, &whose()).recover().unwrap().waiting.len(), expected.waiting.len() - 1);
}
