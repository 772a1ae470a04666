//! Bytes written for each message, which is what flash wears by.

use std::num::NonZeroU16;

use rejoin::store::{FolderOptions, Record, Store};
use rejoin_core::{Publication, PublishId, Qos, TopicName};
use rejoin_lab::store::Disk;
use rejoin_lab::store::life::{StoppedClock, queue_on};

const PAYLOAD: usize = 256;

fn enqueued(id: u64) -> Record {
    let mut publication = Publication::new(TopicName::new("room/1/temp").unwrap(), vec![7; PAYLOAD]);
    publication.qos = Qos::AtLeastOnce;
    Record::Enqueued { id: PublishId(id), publication, accepted_wall_ms: StoppedClock::WALL_MS }
}

/// First in, first out, as an engine at QoS 1 writes it: a group comes, one goes out, one is acknowledged.
fn bytes_per_message(group: u64, backlog: u64, assigned: bool) -> f64 {
    let disk = Disk::new();
    let mut queue = queue_on(&disk, FolderOptions::default()).unwrap();
    queue.recover().unwrap();
    queue.commit(&(1..=backlog + 2 * group).map(enqueued).collect::<Vec<_>>()).unwrap();
    let rounds = (2000 / group).max(20);
    let before = queue.stats().written_bytes;
    for round in 0..rounds {
        let head = 1 + round * group;
        let (next, tail) = (head + group, head + backlog + 2 * group);
        let packet = |id: u64| NonZeroU16::new(u16::try_from(id % 65_535).unwrap() + 1).unwrap();
        let mut records: Vec<_> = (tail..tail + group).map(enqueued).collect();
        if assigned {
            records.extend(
                (next..next + group).map(|id| Record::Assigned { id: PublishId(id), packet_id: packet(id) }),
            );
        }
        records.extend((head..head + group).map(|id| Record::Done { id: PublishId(id) }));
        queue.commit(&records).unwrap();
    }
    (queue.stats().written_bytes - before) as f64 / (rounds * group) as f64
}

/// What the design allows: at most 20 % above what was measured when this was written.
#[test]
fn bytes_written_for_each_message_stay_within_bounds() {
    for (group, backlog, most) in [(1, 0, 30_000), (1, 1000, 40_000), (10, 1000, 4_400), (100, 1000, 900)] {
        let with = bytes_per_message(group, backlog, true);
        let without = bytes_per_message(group, backlog, false);
        println!(
            "{group:>3} a commit, backlog {backlog:>4}: {with:.0} B a message ({:.1} x), {without:.0} B without identifiers",
            with / PAYLOAD as f64
        );
        assert!(with < f64::from(most), "{with} B written for each message, {group} a commit");
    }
}

/// What comes and goes within one group is not written at all.
#[test]
fn what_is_acknowledged_before_its_commit_costs_nothing() {
    let disk = Disk::new();
    let mut queue = queue_on(&disk, FolderOptions::default()).unwrap();
    queue.recover().unwrap();
    queue.commit(&[enqueued(1)]).unwrap();
    let before = queue.stats();
    let packet_id = NonZeroU16::MIN;
    queue
        .commit(&[
            enqueued(2),
            Record::Assigned { id: PublishId(2), packet_id },
            Record::Done { id: PublishId(2) },
        ])
        .unwrap();
    queue.commit(&[Record::Done { id: PublishId(77) }]).unwrap();
    let after = queue.stats();
    assert_eq!((after.written_bytes, after.syncs), (before.written_bytes, before.syncs));
}
