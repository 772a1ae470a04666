//! What only a kernel can do to a link: frames that go one way, a socket that is gone on one side, an address that
//! changes, a line that is thin. In network namespaces made here; skipped aloud where that takes more than we have.

use std::process::Command;
use std::time::Duration;

use crate::broker::{Folder, Mosquitto};
use crate::frozen::{IDLE, LIMIT, SLACK, drained, pair};
use crate::namespaces::{BROKER, CLIENT, PORT, Wire, ip, or_skipped};
use crate::program::Program;
use crate::skipped::skipped;

/// Nobody has this hardware address: frames for it are sent, and nobody takes them.
const NOWHERE: &str = "02:00:00:00:be:ef";
const ANOTHER_ADDRESS: &str = "10.201.1.77";
/// The thin line carries a 200 byte message in a tenth of a second.
const THIN: [&str; 8] = ["dev", "vc", "root", "tbf", "rate", "16kbit", "burst", "4k"];

/// Namespaces, a broker in one of them, and two open links from the other.
struct Scene {
    wire: Wire,
    folder: Folder,
    _broker: Mosquitto,
    subscriber: Program,
    publisher: Program,
}

impl Scene {
    fn set(name: &'static str) -> Option<Self> {
        if !Mosquitto::is_here(name) {
            return None;
        }
        let wire = or_skipped(name, Wire::lay(name))?;
        let folder = Folder::new(name);
        let broker = Mosquitto::start_at(&folder, BROKER, PORT, Some(&wire.broker));
        let (subscriber, mut publisher) = pair(&folder, &broker, Some(&wire.client));
        publisher.write(b"before\n");
        Some(Self { wire, folder, _broker: broker, subscriber, publisher })
    }

    /// Breaks the network, waits until both links were given up, mends it, waits until both are back. Gives how long
    /// the idle link was taken for open.
    fn outage(&self, broken: impl FnOnce(&Wire), mended: impl FnOnce(&Wire)) -> Duration {
        let known = [self.subscriber.count("closed"), self.publisher.count("closed")];
        let opened = [self.subscriber.count("opened"), self.publisher.count("opened")];
        broken(&self.wire);
        let took = self.subscriber.wait_for("closed", known[0], LIMIT);
        self.publisher.wait_for("closed", known[1], LIMIT);
        mended(&self.wire);
        self.subscriber.wait_for("opened", opened[0], LIMIT);
        self.publisher.wait_for("opened", opened[1], LIMIT);
        took
    }

    fn over(mut self, after: &[u8]) {
        self.publisher.write(after);
        self.publisher.write(b"\n");
        drained(&mut self.subscriber, &mut self.publisher, &["before".len(), after.len()]);
        drop(self.folder);
    }
}

fn must(words: &[&str]) {
    ip(words).expect("the wire is laid");
}

#[test]
fn frames_that_go_one_way_only_are_noticed_whichever_way_it_is() {
    let Some(scene) = Scene::set("oneway") else { return };
    let ways = [("the client's", "vc", BROKER), ("the broker's", "vb", CLIENT)];
    for (whose, end, peer) in ways {
        let at = |wire: &Wire| if end == "vc" { wire.client.clone() } else { wire.broker.clone() };
        let took = scene.outage(
            |wire| {
                let nowhere = ["neigh", "replace", peer, "lladdr", NOWHERE, "dev", end, "nud", "permanent"];
                must(&[&["-n", &at(wire)], nowhere.as_slice()].concat());
            },
            |wire| must(&["-n", &at(wire), "neigh", "del", peer, "dev", end]),
        );
        eprintln!("one way: {whose} frames lost: an idle link left open after {took:?} (limit {IDLE:?})");
        assert!(took <= IDLE + SLACK, "{whose} frames lost: {took:?}");
    }
    scene.over(b"after");
}

#[test]
fn an_address_that_changes_is_a_new_link_from_the_new_one() {
    let Some(scene) = Scene::set("addr") else { return };
    let took = scene.outage(
        |wire| must(&["-n", &wire.client, "addr", "del", &format!("{CLIENT}/24"), "dev", "vc"]),
        |wire| must(&["-n", &wire.client, "addr", "add", &format!("{ANOTHER_ADDRESS}/24"), "dev", "vc"]),
    );
    eprintln!("address change: the link from the old address left open after {took:?} (limit {IDLE:?})");
    assert!(took <= IDLE + SLACK, "{took:?}");
    scene.over(b"after");
}

#[test]
fn a_broker_that_forgot_our_socket_is_noticed_at_the_next_ping() {
    let Some(scene) = Scene::set("half") else { return };
    let kill = |wire: &Wire| {
        // The reset that this sends goes nowhere: the wire is down until the sockets are gone.
        must(&["-n", &wire.broker, "link", "set", "vb", "down"]);
        let done =
            Command::new("ip").args(["netns", "exec", &wire.broker, "ss", "-K", "dst", CLIENT]).output();
        must(&["-n", &wire.broker, "link", "set", "vb", "up"]);
        done.is_ok_and(|done| done.status.success())
    };
    let mut killed = false;
    let took = scene.outage(|wire| killed = kill(wire), |_| {});
    if !killed {
        skipped(
            "half-open",
            "no `ss -K` here, so the wire was only down for a moment; root and apt-get install iproute2",
        );
    }
    eprintln!("half-open: left after {took:?} (limit {IDLE:?})");
    assert!(took <= IDLE + SLACK, "{took:?}");
    scene.over(b"after");
}

#[test]
fn a_thin_line_is_slow_and_not_dead() {
    let Some(mut scene) = Scene::set("thin") else { return };
    let words =
        [&["netns", "exec", &scene.wire.client, "tc", "qdisc", "add"], THIN.as_slice(), &["latency", "2s"]];
    let Some(()) = or_skipped("thin line", ip(&words.concat())) else { return };
    let known = scene.publisher.count("closed");
    let message = [b'x'; 200];
    for _ in 0..20 {
        scene.publisher.write(&message);
        scene.publisher.write(b"\n");
    }
    let sizes = [vec!["before".len()], vec![message.len(); 20]].concat();
    drained(&mut scene.subscriber, &mut scene.publisher, &sizes);
    assert_eq!(scene.publisher.count("closed"), known, "slow is not dead:\n{}", scene.publisher.told());
}
