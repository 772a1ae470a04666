//! What a seed draws before anything happens: limits as tiny as they can be, one mix of faults, one density.

use std::time::Duration;

use fastrand::Rng;
use rejoin_core::{Config, RecoveryConfig, Resubscribe, SessionLossPolicy, SessionMode, Text, VersionPolicy};

use super::auth;
use super::client::{HEARD_TOO, LANES};
use super::faults::{Fault, FaultKind};
use crate::{Forward, Manners};

/// One second of the virtual clock.
pub(super) const SECOND: u64 = 1_000_000;

/// Names the first stream of draws, which the others must not move.
const SEED: u64 = 0x5e77;

/// Names the stream of draws that says which clients may lower QoS 2.
const LOWERS: u64 = 0x10e5;

/// Names the stream of draws that says which applications leave messages.
const LEAVES: u64 = 0x2e1;

/// Names the stream of draws that says in which seeds a process is killed when the broker has just come back with an older
/// memory.
const FOLLOWS: u64 = 0x9_ef9a;

/// Names the stream of draws that says in which seeds attempts to open a transport fail in all their ways: in none of those that
/// were red before there was such a thing.
pub(super) const OPENS: u64 = 0x65;

/// Names the stream of draws that says in which seeds there is a second server: in none of those either.
const SERVERS: u64 = 0x9d3;

/// Names the stream of draws that says in which seeds the first client leaves its client id to the server: likewise.
const UNNAMED: u64 = 0x2612;

/// Names the stream from which it is drawn whether the broker sends again on a live link.
const AGAIN: u64 = 0x76a;

/// Names the stream from which it is drawn whether the broker uses topic aliases from the start, and for two topics. It and
/// the one above move no seed of those that were red before there were any.
const ALIASES: u64 = 0xfb0;

/// Names the stream from which it is drawn whether servers name another one, where there are two: likewise.
const NAMES: u64 = 0x309;

/// Names the stream from which it is drawn whether clients prove who they are by enhanced authentication: likewise.
const PROVES: u64 = 0x3838;

/// One of the streams of draws of a seed: what is drawn from it moves no other.
pub(super) fn stream(seed: u64, name: u64) -> Rng {
    Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ name)
}

/// The world of one seed.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) clients: usize,
    pub(super) config: Config,
    /// How long faults come, in microseconds.
    pub(super) faults_for: u64,
    pub(super) faults: Vec<Fault>,
    /// Longest time a chunk needs one way, in microseconds.
    pub(super) latency: u64,
    /// Longest time a sync needs, in microseconds.
    pub(super) sync: u64,
    /// Bytes the system takes from a client that the broker has not read.
    pub(super) kernel: usize,
    /// One chunk of so many is cut into pieces.
    pub(super) slices: u8,
    /// Messages handed over at a time, at most.
    pub(super) burst: u64,
    /// Mean time between bursts, in microseconds.
    pub(super) pause: u64,
    /// Longest time the application takes over a message, in microseconds.
    pub(super) taking: u64,
    pub(super) at_pubrel: bool,
    pub(super) receive_maximum: u16,
    /// A topic the broker cuts the link over.
    pub(super) poison: bool,
    /// Answers are withheld by the broker in some runs; the judge knows.
    pub(super) loses_packets: bool,
    /// The broker takes QoS 2 as QoS 1.
    pub(super) downgrades: bool,
    /// Credentials are good for this long, in microseconds; `None`: for ever.
    pub(super) credential_life: Option<u64>,
    /// Share of the times that the application has no new ones when asked, in percent.
    pub(super) provider_fails: u8,
    /// The broker refuses messages in some runs.
    pub(super) refuses: bool,
    /// What is safe is also in the queue that users have.
    pub(super) real_queue: bool,
    /// The application leaves messages for later, as it does with what no stream takes.
    pub(super) leaves: bool,
    /// While faults come, the broker sends again on a live link what has no answer for so long.
    pub(super) sends_again: Option<Duration>,
    /// The broker uses topic aliases from the start, and clients hear two topics.
    pub(super) aliases: bool,
    /// A server that sends its clients away sometimes says where to.
    pub(super) names_servers: bool,
    /// The first client has no client id of its own.
    pub(super) unnamed: bool,
    /// Clients prove who they are, in exchanges of so many challenges.
    pub(super) proves: Option<u8>,
    /// Share of attempts that meet a closed port while faults come, in percent.
    pub(super) refuse_percent: u8,
}

impl Setting {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = stream(seed, SEED);
        let mut config = config(&mut rng);
        let burst = [1, 10, 10, 40][rng.usize(..4)];
        let mean_gap = [4, 12, 30, 30, 60][rng.usize(..5)] * SECOND;
        let durable = config.session.durable;
        // Half of the kinds, so that faults meet that rarely do, and some runs have few.
        let mut kinds: Vec<FaultKind> =
            FaultKind::ALL.into_iter().filter(|_| rng.bool()).filter(|kind| kind.fits(&config)).collect();
        if durable && rng.bool() && !kinds.contains(&FaultKind::Crash) {
            kinds.push(FaultKind::Crash);
        }
        let poison = rng.u8(..8) == 0;
        if poison || kinds.contains(&FaultKind::Shrink) {
            // Identifiers of what was set aside stay taken until the session ends: a tiny space would run out of them.
            config.session.packet_id_max = u16::MAX;
        }
        let credential_life = (rng.u8(..4) == 0).then(|| rng.u64(40..400) * SECOND);
        config.recovery.fresh_credentials = credential_life.is_some();
        // Of a stream of its own, so that it moves no other draw.
        config.session.lower_qos = stream(seed, LOWERS).bool();
        // Likewise, and of one that moves no seed of those that were red once.
        let leaves = stream(seed, LEAVES).u8(..4) == 0;
        let names_servers = add_server(seed, &mut config);
        let mut again = stream(seed, AGAIN);
        let sends_again = (again.u8(..8) == 0).then(|| Duration::from_millis(again.u64(200..20_000)));
        // At 5.0 nobody may do it: what was left counts a second time then.
        let sends_again = sends_again.filter(|_| !leaves || config.version == VersionPolicy::Only311);
        let aliases = stream(seed, ALIASES).u8(..8) == 0;
        let unnamed = stream(seed, UNNAMED).u8(..8) == 0 && config.version == VersionPolicy::Only5;
        let proves = asks_for_proof(seed, &mut config);
        let faults_for = rng.u64(300..900) * SECOND;
        let clients = [1, 1, 1, 2, 3][rng.usize(..5)];
        let mut faults = Fault::schedule(&mut rng, &kinds, mean_gap, faults_for, clients);
        let mut follows = stream(seed, FOLLOWS);
        if durable && follows.u8(..4) == 0 && FaultKind::Rollback.fits(&config) {
            Fault::kill_behind_rollbacks(&mut faults, &mut follows, faults_for, clients);
        }
        Self {
            clients,
            faults_for,
            latency: [2_000, 20_000, 200_000][rng.usize(..3)],
            sync: [200, 5_000, 50_000, 500_000][rng.usize(..4)],
            kernel: [600, 64 * 1024, 64 * 1024][rng.usize(..3)],
            slices: [0, 16, 64][rng.usize(..3)],
            burst,
            // Ten messages a second; some are quiet, since an idle link dies in other ways.
            pause: if rng.u8(..6) == 0 { 60 * SECOND } else { (burst + 1) * SECOND / 20 },
            taking: [1_000, 100_000, 3_000_000][rng.usize(..3)],
            at_pubrel: rng.bool(),
            receive_maximum: [3, 20, 1000][rng.usize(..3)],
            poison,
            downgrades: rng.u8(..8) == 0,
            provider_fails: [0, 30][rng.usize(..2)],
            credential_life,
            real_queue: false,
            refuses: kinds.contains(&FaultKind::RefusePublish),
            loses_packets: kinds.contains(&FaultKind::WithholdAnswers),
            leaves,
            sends_again,
            aliases,
            names_servers,
            unnamed,
            proves,
            refuse_percent: [0, 0, 20, 60][rng.usize(..4)],
            faults,
            config,
        }
    }

    /// Faults come until then. If that is later than the seed says they come again from the first, with chance of their own
    /// and under numbers that go on.
    pub(super) fn last_until(&mut self, until: u64) {
        let drawn = self.faults.clone();
        let mut begun = self.faults_for;
        while begun < until && !drawn.is_empty() {
            let count = self.faults.len();
            self.faults.extend(drawn.iter().map(|fault| Fault {
                number: fault.number + count,
                at: fault.at + begun,
                seed: fault.seed.wrapping_add(begun),
                ..*fault
            }));
            begun += self.faults_for;
        }
        self.faults.retain(|fault| fault.at < until);
        self.faults_for = until;
    }

    /// The manners of the broker while nothing is wrong with it.
    pub(super) fn manners(&self) -> Manners {
        let forwards_qos2 = if self.at_pubrel { Forward::AtPubrel } else { Forward::AtPublish };
        Manners {
            forwards_qos2,
            receive_maximum: Some(self.receive_maximum),
            path_loses_packets: self.loses_packets,
            downgrades_qos2: self.downgrades,
            sends_again_after: self.sends_again,
            uses_topic_aliases: self.aliases,
            authentication: self.proves.map(auth::asked),
            ..Manners::default()
        }
    }

    /// The topic of a lane.
    pub(super) const fn topic(&self, lane: usize) -> &'static str {
        if lane == HEARD_TOO && self.aliases { "e/1" } else { LANES[lane] }
    }

    pub(super) fn client_id(&self, index: usize) -> Text {
        Text::from_static([if self.unnamed { "" } else { "c0" }, "c1", "c2"][index % 3])
    }
}

/// In some seeds there is a second server. Gives whether one names the other.
fn add_server(seed: u64, config: &mut Config) -> bool {
    let mut servers = stream(seed, SERVERS);
    if servers.u8(..8) != 0 {
        return false;
    }
    config.servers.push(Text::from_static("b"));
    config.session.clustered = servers.u8(..4) == 0;
    stream(seed, NAMES).u8(..2) == 0
}

/// In some seeds clients prove who they are, and do not renew what they log in with. Gives how many challenges there are.
fn asks_for_proof(seed: u64, config: &mut Config) -> Option<u8> {
    let mut proving = stream(seed, PROVES);
    let proves =
        proving.u8(..8) == 0 && config.version == VersionPolicy::Only5 && !config.recovery.fresh_credentials;
    proves.then(|| {
        config.authentication = Some(auth::method());
        proving.u8(..3)
    })
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config::new(Text::from_static("c"), Text::from_static("a"));
    config.version = match rng.u8(..8) {
        0 | 1 => VersionPolicy::Only311,
        2 => VersionPolicy::Prefer5,
        _ => VersionPolicy::Only5,
    };
    config.recovery = RecoveryConfig::default().divided_by([1, 10, 10, 20][rng.usize(..4)]).into();
    config.recovery.fleet = rng.u8(..4) == 0;
    config.session.mode = match rng.u8(..3) {
        0 => SessionMode::Fresh { linger: Duration::from_secs(300) },
        _ => SessionMode::Kept(Duration::from_secs(3600)),
    };
    config.session.packet_id_max = if rng.bool() { rng.u16(2..40) } else { u16::MAX };
    config.session.in_flight_max = if rng.bool() { Some(rng.u16(1..30)) } else { None };
    config.session.on_loss = match rng.u8(..6) {
        0 => SessionLossPolicy::Fail,
        1 => SessionLossPolicy::Ask,
        _ => SessionLossPolicy::Resend,
    };
    config.session.resubscribe = if rng.u8(..4) == 0 { Resubscribe::WhenAbsent } else { Resubscribe::Always };
    config.session.durable = rng.bool();
    config.session.memory_window_bytes = if rng.bool() { 300 } else { 4 * 1024 * 1024 };
    config.link.receive_maximum = rng.u16(1..30);
    config.link.receive_overrun = 0;
    config.link.maximum_packet_size = if rng.bool() { 4096 } else { 1024 * 1024 };
    config.link.write_buffer = if rng.bool() { 200 } else { 256 * 1024 };
    config.link.topic_alias_maximum = if rng.bool() { 4 } else { 0 };
    config
}
