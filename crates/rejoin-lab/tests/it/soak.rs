//! Thousands of reconnects in one process: descriptors, tasks and memory stay flat. `REJOIN_SOAK=10000` makes it long.

use std::io::Write;
use std::time::{Duration, Instant};

use rejoin::{Client, Qos, Session, VersionPolicy};
use rejoin_core::RecoveryConfig;
use rejoin_lab::ScriptedBroker;

use crate::skipped::skipped;

/// Of an ordinary run.
const RECONNECTS: usize = 400;
/// The first links fill caches and pools; what comes after them must add nothing.
const WARM_UP: usize = 100;
/// What the system may keep of sockets that just ended.
const DESCRIPTORS: usize = 4;
const TASKS: usize = 4;
/// Noise of the allocator, whatever the number of reconnects.
const MEMORY: u64 = 2 * 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Footprint {
    descriptors: usize,
    tasks: usize,
    memory: u64,
}

impl Footprint {
    /// Nothing where the system has no `/proc`.
    fn now() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(Self {
            descriptors: std::fs::read_dir("/proc/self/fd").ok()?.count(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            memory: kib * 1024,
        })
    }
}

/// A process of its own: the descriptors and the memory of other tests are not counted.
#[test]
fn thousands_of_reconnects_leave_nothing_behind() {
    const INSIDE: &str = "REJOIN_SOAK_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(soak());
        return;
    }
    let me = std::env::current_exe().unwrap();
    let done = std::process::Command::new(me)
        .args(["--exact", "soak::thousands_of_reconnects_leave_nothing_behind", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    for line in said.lines().filter(|line| line.starts_with("soak:") || line.starts_with("SKIPPED")) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
    assert!(done.status.success(), "{said}");
}

async fn soak() {
    let reconnects =
        std::env::var("REJOIN_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(RECONNECTS);
    let mut broker = ScriptedBroker::start().await.unwrap();
    let client = Client::builder(&format!("mqtt://{}", broker.addr()))
        .client_id("soak")
        .version(VersionPolicy::Only5)
        .session(Session::kept_for(Duration::from_secs(3600)))
        .lift_connect_budget()
        .config(|config| {
            config.recovery = RecoveryConfig::default().divided_by(10_000).into();
            config.recovery.budget = None;
            config.recovery.stable_after = Duration::ZERO;
        })
        .start()
        .unwrap();
    let (begin, mut warm) = (Instant::now(), None);
    for link in 0..reconnects {
        let (mut peer, _) = broker.accept_session(link > 0).await.unwrap();
        let delivery = client.publish("soak/t", link.to_string()).qos(Qos::AtLeastOnce).enqueue().unwrap();
        let publish = peer.expect_publish().await.unwrap();
        peer.puback(publish.packet_id.unwrap(), rejoin::ReasonCode::SUCCESS).await.unwrap();
        tokio::time::timeout(LIMIT, delivery.acked()).await.unwrap().unwrap();
        peer.reset();
        if link + 1 == WARM_UP {
            warm = Footprint::now();
        }
    }
    let (Some(warm), Some(end)) = (warm, Footprint::now()) else {
        skipped("the measurement of the soak", "no /proc here");
        return;
    };
    let took = begin.elapsed().as_secs_f64();
    let _ = writeln!(
        std::io::stderr(),
        "soak: {reconnects} reconnects in {took:.1} s; after {WARM_UP}: {warm:?}; at the end: {end:?}"
    );
    assert!(end.descriptors <= warm.descriptors + DESCRIPTORS, "{warm:?} {end:?}");
    assert!(end.tasks <= warm.tasks + TASKS, "{warm:?} {end:?}");
    assert!(end.memory <= warm.memory + MEMORY, "{warm:?} {end:?}");
}
