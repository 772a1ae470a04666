//! Client and broker in network namespaces of their own, joined by a veth whose end goes down: packets vanish, and no
//! process sees anything closed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::{Folder, Mosquitto};
use crate::frozen::{BUSY, DETECTION, IDLE, LARGE, LIMIT, SLACK, drained, pair};
use crate::skipped::skipped;

/// The addresses of both ends. Nobody else is in these namespaces.
pub(crate) const CLIENT: &str = "10.201.1.1";
pub(crate) const BROKER: &str = "10.201.1.2";
pub(crate) const PORT: u16 = 1883;

/// Words of the system where a machine cannot do what is asked. Any other failure is ours.
const CANNOT: [&str; 8] = [
    "Operation not permitted",
    "Permission denied",
    "Read-only file system",
    "not supported",
    "Unknown device type",
    "qdisc kind is unknown",
    "exec of \"tc\" failed",
    "ip: No such file",
];

/// Sets one end of the wire `up` or `down`.
type SetEnd<'a> = &'a dyn Fn(&str);

/// Two namespaces and the veth between them. Dropping it removes both.
pub(crate) struct Wire {
    pub(crate) client: String,
    pub(crate) broker: String,
}

impl Wire {
    /// Lays it, or says why this machine cannot.
    pub(crate) fn lay(name: &str) -> Result<Self, String> {
        remove_those_of_the_dead();
        let run = std::process::id();
        let wire = Self { client: format!("rj-{name}c-{run}"), broker: format!("rj-{name}b-{run}") };
        let (client, broker) = (wire.client.as_str(), wire.broker.as_str());
        ip(&["netns", "add", client])?;
        ip(&["netns", "add", broker])?;
        ip(&["-n", client, "link", "add", "vc", "type", "veth", "peer", "name", "vb", "netns", broker])?;
        for (namespace, end, address) in [(client, "vc", CLIENT), (broker, "vb", BROKER)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", end])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", end, "up"])?;
        }
        Ok(wire)
    }

    fn client_end(&self, state: &str) {
        ip(&["-n", &self.client, "link", "set", "vc", state]).expect("the wire is laid");
    }

    fn broker_end(&self, state: &str) {
        ip(&["-n", &self.broker, "link", "set", "vb", state]).expect("the wire is laid");
    }

    /// Makes the wire so slow that a large message takes seconds. False where the system cannot.
    fn slow_down(&self) -> bool {
        let rate = ["dev", "vc", "root", "tbf", "rate", "100mbit", "burst", "256k", "latency", "200ms"];
        let tc = Command::new("ip")
            .args(["netns", "exec", &self.client, "tc", "qdisc", "add"])
            .args(rate)
            .output();
        tc.is_ok_and(|done| done.status.success())
    }

    /// Waits until so many bytes more went onto the wire.
    fn wait_for_bytes(&self, bytes: u64) {
        let sent = || -> u64 {
            let told = Command::new("ip")
                .args(["netns", "exec", &self.client, "cat", "/sys/class/net/vc/statistics/tx_bytes"])
                .output()
                .expect("ip is there");
            String::from_utf8_lossy(&told.stdout).trim().parse().expect("a counter")
        };
        let (begin, before) = (Instant::now(), sent());
        while sent() < before + bytes {
            assert!(begin.elapsed() < LIMIT, "{bytes} bytes did not go out within {LIMIT:?}");
            // waits: for the kernel, whose counters tell nobody
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.broker] {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// Who is killed removes nothing: what its run left goes with the next one.
fn remove_those_of_the_dead() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let run = name.strip_prefix("rj-").and_then(|rest| rest.rsplit_once('-')?.1.parse::<u32>().ok());
        if run.is_some_and(|run| !Path::new("/proc").join(run.to_string()).exists()) {
            let _ = ip(&["netns", "del", &name]);
            let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(&*name));
        }
    }
}

/// What was made; nothing, and a line about it, where this machine cannot.
pub(crate) fn or_skipped<T>(what: &str, made: Result<T, String>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(why) => {
            assert!(cannot(&why), "{what}: {why}");
            skipped(what, &format!("{why}; this takes root and apt-get install iproute2"));
            None
        }
    }
}

fn cannot(why: &str) -> bool {
    CANNOT.iter().any(|words| why.contains(words))
}

pub(crate) fn ip(words: &[&str]) -> Result<(), String> {
    let done = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    let why = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    done.status.success().then_some(()).ok_or_else(|| format!("`ip {}`: {why}", words.join(" ")))
}

#[test]
fn a_wire_that_goes_down_is_noticed_in_time_and_everything_drains_when_it_is_up_again() {
    if !Mosquitto::is_here("network namespaces") {
        return;
    }
    let Some(wire) = or_skipped("network namespaces", Wire::lay("")) else { return };
    eprintln!("network namespaces: {}", DETECTION.join(" "));
    let folder = Folder::new("namespaces");
    let broker = Mosquitto::start_at(&folder, BROKER, PORT, Some(&wire.broker));
    let (mut subscriber, mut publisher) = pair(&folder, &broker, Some(&wire.client));
    publisher.write(b"before\n");

    let mut idle = Duration::ZERO;
    let ends: [(&str, SetEnd<'_>); 2] = [
        ("the broker's", &|state| wire.broker_end(state)),
        ("the client's", &|state| wire.client_end(state)),
    ];
    for (end, set) in ends {
        let known = [subscriber.count("closed"), subscriber.count("opened"), publisher.count("closed")];
        let opened = publisher.count("opened");
        set("down");
        let took = subscriber.wait_for("closed", known[0], LIMIT);
        publisher.wait_for("closed", known[2], LIMIT);
        eprintln!(
            "network namespaces: {end} end down: an idle link left open after {took:?} (limit {IDLE:?})"
        );
        idle = idle.max(took);
        set("up");
        subscriber.wait_for("opened", known[1], LIMIT);
        publisher.wait_for("opened", opened, LIMIT);
    }

    let slow = wire.slow_down();
    let known = publisher.count("closed");
    publisher.write(&vec![b'x'; LARGE]);
    if slow {
        publisher.write(b"\n");
        wire.wait_for_bytes(4 * 1024 * 1024);
        wire.broker_end("down");
    } else {
        skipped("a wire cut in the middle of 32 MiB", "no traffic shaping here; apt-get install iproute2");
        wire.broker_end("down");
        publisher.write(b"\n");
    }
    let busy = publisher.wait_for("closed", known, LIMIT);
    publisher.write(b"while down\n");
    wire.broker_end("up");
    drained(&mut subscriber, &mut publisher, &["before".len(), LARGE, "while down".len()]);
    eprintln!("network namespaces: with 32 MiB in flight, left open after {busy:?} (limit {BUSY:?})");
    assert!(idle <= IDLE + SLACK, "an idle link: {idle:?}");
    assert!(busy <= BUSY + SLACK, "with 32 MiB in flight: {busy:?}");
}

#[test]
fn what_fails_for_another_reason_than_the_machine_is_no_skip() {
    for why in [
        "`ip netns add x`: mount --make-shared /run/netns failed: Operation not permitted",
        "`ip netns add x`: mkdir /run/netns failed: Permission denied",
        "`ip -n x link add`: Error: Unknown device type.",
        "ip: No such file or directory (os error 2)",
        "`ip netns exec x tc`: exec of \"tc\" failed: No such file or directory",
    ] {
        assert!(cannot(why), "{why}");
    }
    for why in [
        "`ip netns add x`: Cannot create namespace file \"/run/netns/x\": File exists",
        "`ip -n x link`: Cannot open network namespace \"x\": No such file or directory",
        "`ip link add`: RTNETLINK answers: Invalid argument",
    ] {
        assert!(!cannot(why), "{why}");
    }
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let mut dead = Command::new("true").spawn().expect("it is everywhere");
    let (gone, ours) = (format!("rj-gone-{}", dead.id()), format!("rj-kept-{}", std::process::id()));
    dead.wait().expect("it ends");
    let made = ip(&["netns", "add", &gone]).and_then(|()| ip(&["netns", "add", &ours]));
    let Some(()) = or_skipped("left namespaces", made) else { return };
    remove_those_of_the_dead();
    let is_there = |name: &str| Path::new("/run/netns").join(name).exists();
    let (gone, kept) = (!is_there(&gone), is_there(&ours));
    let _ = ip(&["netns", "del", &ours]);
    assert!(gone && kept, "gone: {gone}, kept: {kept}");
}
