//! What a queue keeps of an inbound message that the application took while the server may still send it again.

use std::num::NonZeroU16;

use rejoin::store::{Digest, Folder, Identity, Record, Store, WasHeld};
use rejoin_core::{Message, MessageId, Qos, Text};

use crate::folder::Scratch;

const TAKEN: MessageId = MessageId(7);

fn held(payload: &'static str) -> Record {
    let message = Message {
        id: Some(TAKEN),
        topic: Text::from_static("door/1"),
        payload: payload.into(),
        qos: Qos::ExactlyOnce,
        retain: false,
        dup: false,
        properties: None,
    };
    Record::Held { id: TAKEN, packet_id: NonZeroU16::MIN, message }
}

/// Each group in a process of its own; gives what the next one finds.
fn after(groups: &[Vec<Record>]) -> Vec<WasHeld> {
    let scratch = Scratch::new();
    let opened = || Folder::open(scratch.join("queue"), &Identity::default()).unwrap();
    for group in groups {
        let mut queue = opened();
        queue.recover().unwrap();
        queue.commit(group).unwrap();
    }
    opened().recover().unwrap().held
}

#[test]
fn the_digest_of_what_was_taken_outlives_the_process() {
    let digest = Some(Digest::of("door/1", b"open"));
    // The second row is as versions wrote it that knew of no digest.
    for digest in [digest, None] {
        let taken = Record::Taken { id: TAKEN, digest };
        let kept = WasHeld { id: TAKEN, packet_id: Some(NonZeroU16::MIN), message: None, digest };
        for groups in [
            vec![vec![held("open")], vec![taken.clone()]],
            vec![vec![held("open"), taken.clone()]],
            vec![vec![held("open")], vec![taken.clone()], vec![Record::ConnectSent]],
        ] {
            assert_eq!(after(&groups), std::slice::from_ref(&kept), "{groups:?}");
        }
    }
}

#[test]
fn it_goes_when_the_server_released_the_identifier_or_its_session_is_over() {
    let digest = Some(Digest::of("door/1", b"open"));
    let taken = Record::Taken { id: TAKEN, digest };
    let over = Record::SessionStarted { epoch: 2, server: "broker".to_owned() };
    for end in [Record::Freed { id: TAKEN }, over] {
        assert_eq!(after(&[vec![held("open")], vec![taken.clone()], vec![end]]), []);
    }
}
