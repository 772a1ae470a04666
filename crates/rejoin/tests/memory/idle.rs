//! What a client costs that is open and has nothing to do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rejoin::{Client, VersionPolicy};

use crate::{ALLOCATED, turn};

const CLIENTS: usize = 50;
/// Bytes allocated for each whose link has just opened, tokio's share included. What the allocator of the system adds is
/// not counted: it is what is missing to 8 KiB.
const OPEN: usize = 7_400;
/// Beside it: the histogram of round trips, which falls into another doubling now and then.
const PINGED: usize = OPEN + 500;
/// For everything that has to happen.
const LIMIT: Duration = Duration::from_secs(20);
const PING_EVERY: Duration = Duration::from_millis(200);

/// Answers CONNECT and PINGREQ until the client is gone; allocates nothing.
fn serve(mut socket: TcpStream) {
    let mut buffer = [0; 256];
    while let Ok(count) = socket.read(&mut buffer) {
        let answer: &[u8] = match buffer[0] & 0xF0 {
            _ if count == 0 => return,
            0x10 => &[0x20, 3, 0, 0, 0],
            0xC0 => &[0xD0, 0],
            _ => continue,
        };
        if socket.write_all(answer).is_err() {
            return;
        }
    }
}

/// A broker for so many connections, a thread for each, all of them there before the first client is.
fn broker() -> String {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let ready = Arc::new(Barrier::new(CLIENTS + 1));
    for _ in 0..CLIENTS {
        let (listener, ready) = (Arc::clone(&listener), Arc::clone(&ready));
        thread::spawn(move || {
            ready.wait();
            if let Ok((socket, _)) = listener.accept() {
                serve(socket);
            }
        });
    }
    ready.wait();
    format!("mqtt://{}", listener.local_addr().expect("it is bound"))
}

fn each(before: usize) -> usize {
    ALLOCATED.allocated().saturating_sub(before) / CLIENTS
}

/// Waits until no more than that is allocated: what opening the links took goes a little later.
async fn settled(before: usize, bound: usize) {
    let begin = Instant::now();
    while each(before) > bound {
        assert!(begin.elapsed() < LIMIT, "{} B a client, {bound} B are enough", each(before));
        // waits: for the drivers, which say nothing when they go to sleep.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn idle() {
    let place = broker();
    let mut clients = Vec::with_capacity(CLIENTS);
    let before = ALLOCATED.allocated();
    for number in 0..CLIENTS {
        let builder = Client::builder(&place)
            .client_id(format!("idle-{number}"))
            .version(VersionPolicy::Only5)
            .config(|config| config.link.ping_after = PING_EVERY);
        clients.push(builder.start().expect("possible settings"));
    }
    for client in &clients {
        client.wait_open(LIMIT).await.expect("the broker answers");
    }
    settled(before, OPEN).await;
    let begin = Instant::now();
    while clients.iter().any(|client| client.stats().engine.pings_answered < 5) {
        assert!(begin.elapsed() < LIMIT, "no answers to pings");
        // waits: for pings, of which nothing tells.
        tokio::time::sleep(PING_EVERY / 4).await;
    }
    settled(before, PINGED).await;
}

#[test]
fn an_idle_client_costs_no_more_than_eight_kilobytes() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(idle());
}
