//! Two brokers, and the one in use dies.

use std::time::{Duration, Instant};

use crate::broker::{Folder, Mosquitto};
use crate::program::Program;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// A broker that is killed closes its sockets, and the next server is tried as soon as the budget of one attempt a
/// second allows: far below any window.
const BOUND: Duration = Duration::from_millis(1500);

#[test]
fn when_the_broker_in_use_dies_the_other_one_is_used_at_once() {
    if !Mosquitto::is_here("fail-over") {
        return;
    }
    let (here, there) = (Folder::new("first"), Folder::new("second"));
    let (mut first, second) = (Mosquitto::start(&here), Mosquitto::start(&there));
    let urls = [format!("mqtt://127.0.0.1:{}", first.port), format!("mqtt://127.0.0.1:{}", second.port)];
    let words = ["sub", "-t", "t", "-v", "-L", &urls[0], "-L", &urls[1], "--stable-after=0s"];
    let mut subscriber = Program::start_anywhere(&here, None, "sub", &words);
    subscriber.wait_for("resubscribed", 0, LIMIT);
    let begin = Instant::now();
    first.kill();
    subscriber.wait_for("resubscribed", 1, LIMIT);
    let took = begin.elapsed();
    let events = subscriber.events();
    let servers: Vec<_> =
        events.iter().filter(|e| e["event"] == "opened").map(|e| e["server"].clone()).collect();
    assert_eq!(servers, [&urls[0][7..], &urls[1][7..]]);
    eprintln!("fail-over: on the other broker, subscribed, after {took:?} (limit {BOUND:?})");
    assert!(took < BOUND, "{took:?}\n{}", subscriber.told());
    let mut publisher = Program::start(&there, &second, None, "pub", &["pub", "-t", "t", "-m", "found"]);
    assert_eq!(publisher.end(LIMIT), Some(0), "{}", publisher.told());
    subscriber.wait_for_output("t found", LIMIT);
    assert_eq!(subscriber.interrupt(LIMIT), Some(130), "{}", subscriber.told());
}
