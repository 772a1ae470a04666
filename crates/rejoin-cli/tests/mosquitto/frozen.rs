//! A mosquitto that is stopped and goes on later: the kernel still accepts bytes for it, and nobody answers.

use std::time::Duration;

use crate::broker::{Folder, Mosquitto};
use crate::program::Program;

/// What is in flight while the link dies.
pub(crate) const LARGE: usize = 32 * 1024 * 1024;
/// A machine with two busy cores answers late.
pub(crate) const SLACK: Duration = Duration::from_millis(1500);
/// No wait takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Detection as configured here. The true defaults are 15 s, 5 s and 5 s.
pub(crate) const DETECTION: [&str; 7] = [
    "--ping-after=500ms",
    "--ping-timeout=1s",
    "--write-timeout=1s",
    "--connect-timeout=1s",
    "--stable-after=200ms",
    "--backoff=20ms..200ms",
    "--lift-connect-budget",
];
/// An idle link: the ping goes out after its silence, and then nobody answers.
pub(crate) const IDLE: Duration = Duration::from_millis(1500);
/// A busy one: the socket takes no byte for as long as the write time-out, or the ping goes unanswered first.
pub(crate) const BUSY: Duration = Duration::from_millis(1500);

/// A subscriber and a publisher with open links.
pub(crate) fn pair(folder: &Folder, broker: &Mosquitto, namespace: Option<&str>) -> (Program, Program) {
    let words = |first: &[&'static str]| -> Vec<&'static str> {
        [first, &["-q", "1", "-t", "frozen", "-c", "-x", "3600"], &DETECTION].concat()
    };
    let subscriber = words(&["sub", "-i", "S", "-F", "%l", "--maximum-packet-size", "64MiB"]);
    let subscriber = Program::start(folder, broker, namespace, "sub", &subscriber);
    subscriber.wait_for("resubscribed", 0, LIMIT);
    let publisher = words(&["pub", "-l", "-i", "P", "--deadline", "60s"]);
    let publisher = Program::start(folder, broker, namespace, "pub", &publisher);
    publisher.wait_for("opened", 0, LIMIT);
    (subscriber, publisher)
}

/// Both came back, everything was acknowledged, and the subscriber printed these sizes, each at least once.
pub(crate) fn drained(subscriber: &mut Program, publisher: &mut Program, sizes: &[usize]) {
    assert_eq!(publisher.end(LIMIT), Some(0), "everything acknowledged:\n{}", publisher.told());
    let begin = std::time::Instant::now();
    loop {
        let output = std::fs::read_to_string(subscriber.output()).unwrap_or_default();
        let missing = sizes.iter().find(|size| !output.lines().any(|line| line == size.to_string()));
        let Some(missing) = missing else { break };
        assert!(begin.elapsed() < LIMIT, "{missing} bytes never arrived:\n{}", subscriber.told());
        // waits: for another process, which writes to a file
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(subscriber.interrupt(LIMIT), Some(130), "{}", subscriber.told());
}

#[test]
fn a_stopped_broker_is_noticed_in_time_and_everything_drains_when_it_goes_on() {
    if !Mosquitto::is_here("frozen broker") {
        return;
    }
    eprintln!("frozen broker: {}", DETECTION.join(" "));
    let folder = Folder::new("frozen");
    let broker = Mosquitto::start(&folder);
    let (mut subscriber, mut publisher) = pair(&folder, &broker, None);
    publisher.write(b"before\n");
    broker.signal("STOP");
    let idle = subscriber.wait_for("closed", 0, LIMIT);
    publisher.wait_for("closed", 0, LIMIT);
    broker.signal("CONT");
    subscriber.wait_for("opened", 1, LIMIT);
    publisher.wait_for("opened", 1, LIMIT);

    let lost = subscriber.count("closed");
    broker.signal("STOP");
    let large = vec![b'x'; LARGE];
    let known = publisher.count("closed");
    publisher.write(&large);
    publisher.write(b"\n");
    let busy = publisher.wait_for("closed", known, LIMIT);
    subscriber.wait_for("closed", lost, LIMIT);
    // What is accepted while nobody answers must drain too.
    publisher.write(b"while frozen\n");
    broker.signal("CONT");
    drained(&mut subscriber, &mut publisher, &["before".len(), LARGE, "while frozen".len()]);
    eprintln!(
        "frozen broker: idle link left open after {idle:?} (limit {IDLE:?}), with 32 MiB in flight after {busy:?} \
         (limit {BUSY:?})"
    );
    assert!(idle <= IDLE + SLACK, "an idle link: {idle:?}");
    assert!(busy <= BUSY + SLACK, "with 32 MiB in flight: {busy:?}");
}
