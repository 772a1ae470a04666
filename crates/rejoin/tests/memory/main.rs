//! What a message that waits in memory costs, and a client, counted by the allocator: a binary of its own, because it has
//! only one.

mod given_up;
mod idle;

use std::alloc::System;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap::Cap;
use rejoin::{Client, Qos, Queue};

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

const MESSAGES: usize = 50_000;
const PAYLOAD: usize = 256;
const TOPIC: usize = 12;
/// Messages handed over before the driver has its turn, where it keeps up.
const TURN: usize = 64;
/// What is kept of a message beside its bytes: flags and a length, five words in the queue of the core, four in the list
/// of what is pending, and an eighth of both that is not filled.
const RECORDS: usize = 3 + 40 + 32 + (40 + 32) / 8;
/// What tells a delivery that somebody holds.
const CELL: usize = 56;
/// Beside the messages: what the client allocates of late, spread over them.
const REST: usize = 4;
/// The inbox, which keeps room for 8192 commands of up to 128 B, twice, after a burst.
const INBOX: usize = 2 * 8192 * 128 / MESSAGES;

/// What one test allocates must not be counted by another.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Whether the application keeps the deliveries.
    kept: bool,
    /// Whether all is handed over before the driver has a turn.
    at_once: bool,
}

/// Bytes allocated for each message while nobody answers, without the handle that the application has.
async fn bytes_each(case: Case) -> usize {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = format!("mqtt://{}", silent.local_addr().expect("it is bound"));
    let client = Client::builder(&nobody).queue(Queue::in_memory()).start().expect("possible settings");
    let mut held = Vec::with_capacity(if case.kept { MESSAGES } else { 0 });
    assert_eq!(client.pending().await.len(), 0);
    let before = ALLOCATED.allocated();
    for n in 0..MESSAGES {
        // Topic and payload have memory of their own, as with a program that formats both.
        let (topic, payload) = (format!("room/{n:07}"), vec![0x55; PAYLOAD]);
        assert_eq!(topic.len(), TOPIC);
        let delivery = client.publish(topic, payload).qos(Qos::AtLeastOnce).enqueue().expect("room");
        if case.kept {
            held.push(delivery);
        }
        if !case.at_once && n % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    // The answer comes behind all that was handed over, the second when the driver had nothing to do in between.
    assert_eq!(client.pending().await.len(), MESSAGES);
    tokio::task::yield_now().await;
    assert_eq!(client.pending().await.len(), MESSAGES);
    (ALLOCATED.allocated() - before) / MESSAGES
}

#[test]
fn a_message_in_memory_costs_little_beside_its_bytes() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (kept, at_once) in [(false, false), (true, false), (false, true), (true, true)] {
        let case = Case { kept, at_once };
        let mut bound = TOPIC + PAYLOAD + RECORDS + REST;
        bound += if kept { CELL } else { 0 };
        bound += if at_once { INBOX } else { 0 };
        let each = runtime.block_on(bytes_each(case));
        assert!(each <= bound, "{case:?}: {each} B a message, {bound} B are enough");
    }
}
