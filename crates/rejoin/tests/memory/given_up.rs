//! What remains of waits that somebody gave up, while nobody answers.

use std::net::TcpListener;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use rejoin::{Client, Qos};

use crate::{ALLOCATED, turn};

const WAITS: usize = 10_000;
/// A word for each would be a leak.
const BOUND: usize = 8 * WAITS;

#[test]
fn a_flush_whose_time_was_over_costs_nothing() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let grown = runtime.block_on(async {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let nobody = format!("mqtt://{}", silent.local_addr().expect("it is bound"));
        let client = Client::builder(&nobody).start().expect("possible settings");
        client.publish("a", "1").qos(Qos::AtLeastOnce).enqueue().expect("room");
        assert_eq!(client.pending().await.len(), 1);
        let before = ALLOCATED.allocated();
        for _ in 0..WAITS {
            let flush = pin!(client.flush(Duration::from_secs(60)));
            assert!(flush.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            // The driver has its turn.
            tokio::task::yield_now().await;
        }
        assert_eq!(client.pending().await.len(), 1);
        ALLOCATED.allocated().saturating_sub(before)
    });
    assert!(grown < BOUND, "{grown} B after {WAITS} waits");
}
