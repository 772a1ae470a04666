//! A name with several addresses of which the first is a black hole: it costs one head start, in either family.

use std::path::PathBuf;

use crate::broker::{Folder, Mosquitto};
use crate::namespaces::{BROKER, PORT, Wire, ip, or_skipped};
use crate::program::check_in;

/// One head start of 250 ms, and a round trip of nearly nothing.
const BOUND_MS: f64 = 300.0;
/// Addresses behind which nobody is.
const DEAD_V4: &str = "10.201.1.3";
const DEAD_V6: &str = "fd00:201::dead";
/// A link-layer address that no end of the wire has.
const NOBODY: &str = "02:00:00:00:00:99";

/// The hosts file of a namespace, where `ip netns exec` looks for it.
struct Hosts(PathBuf);

impl Hosts {
    fn write(namespace: &str, content: &str) -> std::io::Result<Self> {
        let folder = PathBuf::from("/etc/netns").join(namespace);
        std::fs::create_dir_all(&folder)?;
        let hosts = Self(folder);
        std::fs::write(hosts.0.join("hosts"), content)?;
        Ok(hosts)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn prepare(wire: &Wire) -> Result<Hosts, String> {
    let client = wire.client.as_str();
    ip(&["-n", client, "addr", "add", "fd00:201::1/64", "dev", "vc", "nodad"])?;
    for dead in [DEAD_V4, DEAD_V6] {
        ip(&["-n", client, "neigh", "add", dead, "lladdr", NOBODY, "dev", "vc", "nud", "permanent"])?;
    }
    let hosts = format!(
        "127.0.0.1 localhost\n{DEAD_V6} v6.test\n{BROKER} v6.test\n{DEAD_V4} v4.test\n{BROKER} v4.test\n"
    );
    Hosts::write(client, &hosts).map_err(|error| format!("no hosts file for a namespace: {error}"))
}

#[test]
fn a_first_address_that_is_a_black_hole_costs_one_head_start() {
    if !Mosquitto::is_here("black hole") {
        return;
    }
    let laid = Wire::lay("f").and_then(|wire| prepare(&wire).map(|hosts| (wire, hosts)));
    let Some((wire, _hosts)) = or_skipped("black hole", laid) else { return };
    let folder = Folder::new("families");
    let _broker = Mosquitto::start_at(&folder, BROKER, PORT, Some(&wire.broker));
    for name in ["v6.test", "v4.test"] {
        let (code, found) = check_in(&folder, Some(&wire.client), &[&format!("mqtt://{name}:{PORT}")]);
        assert_eq!(code, Some(0), "{found}");
        let stages = found["stages"].as_array().expect("stages");
        let took = |stage: &str| {
            let stage = stages.iter().find(|found| found["stage"] == stage).expect("it was gone through");
            stage["took_ms"].as_f64().expect("a time")
        };
        eprintln!("black hole: {name} connected after {:.1} ms (limit {BOUND_MS})", took("tcp"));
        assert!(took("tcp") > 200.0, "the black hole was not first: {found}");
        assert!(took("tcp") < BOUND_MS, "{found}");
    }
}
