//! What `rejoin queue` needs, from a queue at rest and from one in use.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use rejoin::store::tools::{Answer, Body, Cursor, Entry, EntryName, EntryState, Request, Selection};
use rejoin::store::{Folder, Identity, Parking, Record, Store, Visitor};
use rejoin_core::{Message, MessageId, PublishId, Qos, Text, TopicFilter};

use crate::folder::Scratch;
use crate::places::enqueued;

/// Messages in every state.
fn fill(queue: &mut Folder) {
    let id = |n| PublishId(n);
    let packet = |n| std::num::NonZeroU16::new(n).unwrap();
    queue.recover().unwrap();
    queue.commit(&[enqueued(5, "room/5"), Record::Assigned { id: id(5), packet_id: packet(9) }]).unwrap();
    queue.commit(&[Record::Asked { id: id(5) }]).unwrap();
    queue.commit(&[Record::SessionStarted { epoch: 1, server: "broker:1883".to_owned() }]).unwrap();
    queue.commit(&(1..=4).map(|n| enqueued(n + 10, "room/1")).collect::<Vec<_>>()).unwrap();
    queue.commit(&[Record::Assigned { id: id(11), packet_id: packet(1) }]).unwrap();
    queue
        .commit(&[
            Record::Assigned { id: id(12), packet_id: packet(2) },
            Record::Received { id: id(12) },
            enqueued(20, "hall/1"),
            enqueued(21, "hall/2"),
        ])
        .unwrap();
    queue.commit(&[Record::Parked { id: id(20), why: Parking::Cut { cuts: 2 } }]).unwrap();
    let message = Message {
        id: Some(MessageId(7)),
        topic: Text::from_static("in/1"),
        payload: "inbound".into(),
        qos: Qos::ExactlyOnce,
        retain: false,
        dup: false,
        properties: None,
    };
    queue.commit(&[Record::Held { id: MessageId(7), packet_id: packet(40), message }]).unwrap();
}

fn words(entries: &[Entry]) -> Vec<String> {
    let word = |entry: &Entry| {
        let name = match entry.name {
            EntryName::Publish(id) => id.0.to_string(),
            EntryName::Message(id) => format!("in {}", id.0),
        };
        let state = match &entry.state {
            EntryState::Waiting { .. } => "waiting",
            EntryState::Sent { .. } => "sent",
            EntryState::Released { .. } => "released",
            EntryState::Undecided => "undecided",
            EntryState::Parked { why: Parking::Cut { cuts: 2 }, .. } => "parked after 2 cuts",
            EntryState::Inbound { packet_id: Some(40) } => "inbound",
            EntryState::Damaged { .. } => "damaged",
            other => panic!("{other:?}"),
        };
        format!("{name} {} {state}", entry.topic)
    };
    entries.iter().map(word).collect()
}

const ALL: [&str; 8] = [
    "5 room/5 undecided",
    "11 room/1 sent",
    "12 room/1 released",
    "13 room/1 waiting",
    "14 room/1 waiting",
    "21 hall/2 waiting",
    "20 hall/1 parked after 2 cuts",
    "in 7 in/1 inbound",
];

/// All pages of a list.
fn list(queue: &mut Visitor, most: u32) -> Vec<Entry> {
    let (mut all, mut after) = (Vec::new(), None::<Cursor>);
    loop {
        let answer = queue.ask(&Request::List { after, most }).unwrap();
        let Answer::Entries { entries, next } = answer else { panic!("{answer:?}") };
        assert!(entries.len() <= most as usize);
        all.extend(entries);
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

fn ask(queue: &mut Visitor, request: Request) -> Answer {
    queue.ask(&request).unwrap()
}

/// What is asked of a queue at rest and of one in use alike.
fn looks_right(queue: &mut Visitor) {
    for most in [1, 2, 3, 100] {
        assert_eq!(words(&list(queue, most)), ALL, "pages of {most}");
    }
    let Answer::Stats(stats) = ask(queue, Request::Stats) else { panic!() };
    let counts = [stats.waiting, stats.sent, stats.released, stats.undecided, stats.parked, stats.inbound];
    assert_eq!(counts, [3, 2, 1, 1, 1, 1]);
    assert_eq!(stats.session_server.as_deref(), Some("broker:1883"));
    assert_eq!(stats.oldest_accepted_wall_ms, Some(1_790_000_000_000));
    assert!(stats.live_bytes > 200 && stats.store.file_bytes > stats.live_bytes);

    for (id, topic) in [(13, "room/1"), (20, "hall/1")] {
        let Answer::Bodies { bodies, .. } = ask(queue, Request::Show(PublishId(id))) else { panic!() };
        let [(entry, Some(Body::Publication(body)))] = bodies.as_slice() else { panic!("{bodies:?}") };
        assert_eq!((body.topic.as_str(), &body.payload[..]), (topic, &b"payload"[..]));
        assert_eq!(entry.payload_bytes, 7);
    }
    let none = Answer::Bodies { bodies: Vec::new(), next: None };
    assert_eq!(ask(queue, Request::Show(PublishId(99))), none);

    let Answer::Bodies { bodies, next: None } = ask(queue, Request::Export { after: None, most: 100 }) else {
        panic!()
    };
    assert_eq!(bodies.len(), ALL.len());
    assert!(bodies.iter().all(|(_, body)| body.is_some()));
    assert!(matches!(&bodies[7].1, Some(Body::Message(message)) if message.payload == "inbound"));

    let (mut after, mut rows) = (None, 0);
    loop {
        let answer = ask(queue, Request::Verify { after, most: 2 });
        let Answer::Verified { rows: looked, of, damaged, next } = answer else { panic!() };
        assert!(damaged.is_empty() && looked <= 2);
        rows += looked;
        after = next;
        if after.is_none() {
            assert_eq!(rows, of);
            break;
        }
    }
}

#[test]
fn a_queue_at_rest_is_listed_shown_checked_and_exported() {
    let scratch = Scratch::new();
    let path = scratch.join("queue");
    fill(&mut Folder::open(&path, &Identity::default()).unwrap());
    let mut queue = Visitor::enter(&path).unwrap();
    assert!(!queue.is_live());
    looks_right(&mut queue);
}

#[test]
fn a_queue_at_rest_is_purged_and_compacted() {
    let scratch = Scratch::new();
    let path = scratch.join("queue");
    fill(&mut Folder::open(&path, &Identity::default()).unwrap());
    let mut queue = Visitor::enter(&path).unwrap();
    let mut purge = |selection| match queue.ask(&Request::Purge(selection)).unwrap() {
        Answer::Purged { messages, bytes } => {
            assert_eq!(messages == 0, bytes == 0);
            messages
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(purge(Selection::Publish(PublishId(13))), 1);
    assert_eq!(purge(Selection::Publish(PublishId(13))), 0);
    assert_eq!(purge(Selection::Topic(TopicFilter::new("hall/#").unwrap())), 2);
    assert_eq!(purge(Selection::Parked), 0);
    assert_eq!(purge(Selection::Damaged), 0);
    assert_eq!(purge(Selection::All), 4);
    assert_eq!(words(&list(&mut queue, 10)), ["in 7 in/1 inbound"]);
    let answer = queue.ask(&Request::Compact).unwrap();
    assert!(matches!(answer, Answer::Compacted { before_bytes, after_bytes } if after_bytes <= before_bytes));
    drop(queue);
    let found = Folder::open(&path, &Identity::default()).unwrap().recover().unwrap();
    assert_eq!((found.waiting.len(), found.sent.len(), found.held.len()), (0, 0, 1));
    assert!(found.last_publish >= PublishId(21), "names are not used again after a purge");
}

/// An exchange of QoS 2 that the server may still have, begun in the commit that brought the message and in a later one.
fn exchanges(queue: &mut Folder) {
    let packet = |n| std::num::NonZeroU16::new(n).unwrap();
    let exactly_once = |id| match enqueued(id, if id == 1 { "DAMAGE/ME" } else { "a" }) {
        Record::Enqueued { id, mut publication, accepted_wall_ms } => {
            publication.qos = Qos::ExactlyOnce;
            Record::Enqueued { id, publication, accepted_wall_ms }
        }
        other => other,
    };
    let assigned = |id, of| Record::Assigned { id: PublishId(id), packet_id: packet(of) };
    queue.recover().unwrap();
    queue
        .commit(&[
            Record::SessionStarted { epoch: 1, server: "broker:1883".to_owned() },
            Record::Leased { packet_id: packet(6) },
            exactly_once(1),
        ])
        .unwrap();
    queue.commit(&[assigned(1, 4), enqueued(2, "a"), assigned(2, 5)]).unwrap();
    queue.commit(&[exactly_once(3), assigned(3, 3), exactly_once(4)]).unwrap();
    queue.commit(&[Record::Received { id: PublishId(3) }]).unwrap();
    queue.commit(&[exactly_once(5), assigned(5, 2)]).unwrap();
}

fn leased(path: &Path) -> Vec<u16> {
    let found = Folder::open(path, &Identity::default()).unwrap().recover().unwrap();
    assert_eq!(found.epoch, 1, "the session goes on");
    found.leased.iter().map(|packet_id| packet_id.get()).collect()
}

/// The server may have the message under it, and would take the next one for a copy.
#[test]
fn the_identifier_of_a_purged_qos_2_message_stays_taken() {
    let scratch = Scratch::new();
    let path = scratch.join("queue");
    exchanges(&mut Folder::open(&path, &Identity::default()).unwrap());
    let mut queue = Visitor::enter(&path).unwrap();
    ask(&mut queue, Request::Purge(Selection::Publish(PublishId(3))));
    drop(queue);
    assert_eq!(leased(&path), [3, 6]);
    let mut queue = Visitor::enter(&path).unwrap();
    ask(&mut queue, Request::Purge(Selection::All));
    drop(queue);
    assert_eq!(leased(&path), [2, 3, 4, 6], "not 5, which is of QoS 1");
}

/// The row of the message cannot be read, the one of its exchange can.
#[test]
fn the_identifier_of_a_damaged_message_stays_taken() {
    let scratch = Scratch::new();
    let path = scratch.join("queue");
    exchanges(&mut Folder::open(&path, &Identity::default()).unwrap());
    damage(&path);
    let mut queue = Visitor::enter(&path).unwrap();
    let purged = ask(&mut queue, Request::Purge(Selection::Damaged));
    assert!(matches!(purged, Answer::Purged { messages: 1, .. }), "{purged:?}");
    drop(queue);
    assert_eq!(leased(&path), [4, 6]);
}

/// A client as far as a queue is concerned: its thread has the store and serves it when the bell is rung. Ends when told
/// to, with what it was to withdraw.
fn in_use(path: &Path) -> (Sender<bool>, JoinHandle<Vec<PublishId>>) {
    let mut queue = Folder::open(path, &Identity::default()).unwrap();
    fill(&mut queue);
    let (bell, rung) = channel::<bool>();
    let ring = bell.clone();
    queue.attend(Box::new(move || ring.send(true).unwrap_or_default()));
    let keeper = std::thread::spawn(move || {
        let mut withdrawn = Vec::new();
        while let Ok(true) = rung.recv() {
            withdrawn.extend(queue.serve());
        }
        withdrawn
    });
    (bell, keeper)
}

#[test]
fn a_queue_in_use_answers_through_its_door() {
    let scratch = Scratch::new();
    // Longer than the path of a socket may be.
    let path = scratch.join("long".repeat(40)).join("queue");
    let (bell, keeper) = in_use(&path);
    let mut queue = Visitor::enter(&path).unwrap();
    assert!(queue.is_live());
    looks_right(&mut queue);
    let socket = path.join("queue.sock");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::symlink_metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let purged = ask(&mut queue, Request::Purge(Selection::Topic(TopicFilter::new("hall/+").unwrap())));
    assert!(matches!(purged, Answer::Purged { messages: 2, .. }), "{purged:?}");
    assert!(matches!(ask(&mut queue, Request::Purge(Selection::Damaged)), Answer::Refused(_)));
    assert!(matches!(ask(&mut queue, Request::Compact), Answer::Compacted { .. }));
    bell.send(false).unwrap();
    assert_eq!(keeper.join().unwrap(), [PublishId(21)], "the client is to withdraw what it knows of");
    assert!(!socket.exists());
    assert!(queue.ask(&Request::Stats).unwrap_err().to_string().contains("does not answer"));
}

#[test]
fn visitors_that_misbehave_do_not_keep_others_out() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let scratch = Scratch::new();
    let path = scratch.join("queue");
    let (bell, keeper) = in_use(&path);
    let socket = path.join("queue.sock");
    let mut silent = UnixStream::connect(&socket).unwrap();
    for question in
        [&b"\xFF\xFF\xFF\xFFx"[..], b"\x02\0\0\0\x09\x01", b"\x02\0\0\0\x01\xEE", b"\x10\0\0\0\x01"]
    {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(question).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 200, "{} bytes", answer.len());
    }
    assert_eq!(words(&list(&mut Visitor::enter(&path).unwrap(), 100)), ALL);
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0, "who says nothing is sent away");
    bell.send(false).unwrap();
    keeper.join().unwrap();
}

/// Turns over a bit of each message to this topic.
fn damage(path: &Path) {
    let file = path.join("queue.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"DAMAGE/ME")).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();
}

/// A row is damaged in the file: the rest can be listed, saved, and used again after a purge of what cannot be read.
#[test]
fn a_damaged_queue_is_refused_and_what_can_be_read_is_saved() {
    let scratch = Scratch::new();
    let path = scratch.join("queue");
    let mut queue = Folder::open(&path, &Identity::default()).unwrap();
    queue.recover().unwrap();
    queue.commit(&[enqueued(1, "a/1"), enqueued(2, "DAMAGE/ME"), enqueued(3, "a/3")]).unwrap();
    drop(queue);
    damage(&path);
    let error = Folder::open(&path, &Identity::default()).unwrap().recover().unwrap_err().to_string();
    assert!(
        error.contains("message 2: its checksum does not fit; 1 rows are damaged, 4 are whole"),
        "{error}"
    );
    assert!(error.contains("rejoin queue export"));
    let mut queue = Visitor::enter(&path).unwrap();
    assert_eq!(words(&list(&mut queue, 10)), ["1 a/1 waiting", "2  damaged", "3 a/3 waiting"]);
    let Answer::Verified { damaged, .. } = ask(&mut queue, Request::Verify { after: None, most: 99 }) else {
        panic!()
    };
    assert_eq!(damaged, ["message 2: its checksum does not fit"]);
    let Answer::Bodies { bodies, .. } = ask(&mut queue, Request::Export { after: None, most: 99 }) else {
        panic!()
    };
    assert_eq!(bodies.iter().filter(|(_, body)| body.is_some()).count(), 2);
    let purged = ask(&mut queue, Request::Purge(Selection::Damaged));
    assert!(matches!(purged, Answer::Purged { messages: 1, .. }), "{purged:?}");
    drop(queue);
    let found = Folder::open(&path, &Identity::default()).unwrap().recover().unwrap();
    assert_eq!(found.waiting.iter().map(|waits| waits.id.0).collect::<Vec<_>>(), [1, 3]);
}
