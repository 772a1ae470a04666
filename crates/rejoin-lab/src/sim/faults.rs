//! What goes wrong, and when: drawn before the run, so that a fault can be taken out without moving the others.

use std::time::Duration;

use fastrand::Rng;
use rejoin_core::codec::packet::Disconnect;
use rejoin_core::{Config, ReasonCode, Resubscribe, SessionMode, Text, VersionPolicy};

use super::overrun::has_small_packets;
use super::setting::SECOND;
use super::world::{Ruling, World};
use crate::{Answer, Ending, PacketKind, Refusal, Times};

macro_rules! kinds {
    ($($kind:ident $name:literal,)*) => {
        /// A kind of fault, or something an application does at a bad moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum FaultKind { $($kind),* }
        impl FaultKind {
            pub(super) const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];
            /// A short stable name.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }
    };
}

kinds! {
    Fin "cut: FIN at any byte",
    Reset "cut: RST",
    HalfOpen "half-open for ever",
    UpDead "black hole to the broker",
    DownDead "black hole from the broker",
    Freeze "stall",
    Refused "closed port",
    DialHangs "dialling hangs",
    Intruder "another client with our id",
    RestartKept "broker restart with its sessions",
    RestartLost "broker restart without its sessions",
    Garbage "broker writes what is not MQTT",
    Snapshot "broker saves",
    Rollback "broker comes back with the last save",
    SessionDropped "broker forgets sessions",
    ClaimSession "broker claims a session it does not have",
    WithholdConnack "no CONNACK",
    CloseOnConnect "close before CONNACK",
    CloseAfterConnack "close after CONNACK",
    RefuseConnect "CONNACK with a code",
    OnlyV311 "broker speaks 3.1.1 only for a while",
    Disconnect "DISCONNECT with a code",
    RefusePublish "PUBACK or PUBREC with a code",
    RefuseSubscribe "SUBACK with a code",
    RefuseUnsubscribe "UNSUBACK with a code",
    Shrink "smaller limits after a restart",
    AckDelay "late acknowledgements",
    SwapAcks "acknowledgements out of order",
    WithholdAnswers "answers withheld on a live link",
    DiskStuck "disk full or busy",
    StoreFails "disk fails for good",
    Overrun "broker overruns our limits",
    Crash "process killed",
    Close "shutdown and new process",
    Cancel "cancel",
    Evict "evict the oldest",
    Subscribe "subscribe",
    Unsubscribe "unsubscribe",
    SlowReader "application takes nothing for a while",
    AckErrors "application refuses messages",
    RestartLink "application restarts the link",
    Nudge "nudge",
    WallJump "wall clock jumps",
}

impl FaultKind {
    /// Whether it means anything under these settings, and what follows can be judged.
    pub(super) fn fits(self, config: &Config) -> bool {
        let v5 = config.version == VersionPolicy::Only5;
        let deaf = config.session.resubscribe == Resubscribe::WhenAbsent;
        let kept = config.session.mode.is_kept();
        match self {
            // 3.1.1 has no codes there, and no limits to announce.
            Self::RefusePublish | Self::Shrink => v5,
            Self::OnlyV311 => config.version == VersionPolicy::Prefer5 && kept,
            // Deaf by choice: the option is for those who know their broker.
            Self::Rollback | Self::ClaimSession => !deaf,
            Self::DiskStuck | Self::StoreFails => config.session.durable,
            Self::Overrun => config.version != VersionPolicy::Only311 || has_small_packets(&config.link),
            Self::Intruder => kept || v5 && matches!(config.session.mode, SessionMode::Fresh { .. }),
            _ => true,
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Its place in the schedule of its seed.
    pub(super) number: usize,
    pub(super) at: u64,
    pub(super) kind: FaultKind,
    pub(super) client: usize,
    /// What it draws from, of its own.
    pub(super) seed: u64,
}

impl Fault {
    pub(super) fn schedule(
        rng: &mut Rng,
        kinds: &[FaultKind],
        mean_gap: u64,
        until: u64,
        clients: usize,
    ) -> Vec<Self> {
        let mut faults = Vec::new();
        let mut at = rng.u64(..mean_gap * 2);
        while at < until && !kinds.is_empty() {
            let kind = kinds[rng.usize(..kinds.len())];
            let client = rng.usize(..clients);
            faults.push(Self { number: faults.len(), at, kind, client, seed: rng.u64(..) });
            // Faults come in pairs now and then: the second while the first is being mended.
            let gap = if rng.u8(..4) == 0 { mean_gap / 8 } else { mean_gap * 2 };
            at += rng.u64(1..gap.max(2));
        }
        faults
    }

    /// A broker that saves, comes back with that soon after, and a process that is killed when it has just come back: it uses
    /// identifiers for other messages than the client holds them for, and what is not on the disk by then is the other ones.
    pub(super) fn kill_behind_rollbacks(faults: &mut Vec<Self>, rng: &mut Rng, until: u64, clients: usize) {
        for _ in 0..ROLLBACKS {
            let saved = rng.u64(..until);
            let back = saved + rng.u64(1..10 * SECOND);
            let killed = back + rng.u64(1..2 * SECOND);
            let client = rng.usize(..clients);
            for (at, kind) in
                [(saved, FaultKind::Snapshot), (back, FaultKind::Rollback), (killed, FaultKind::Crash)]
            {
                faults.push(Self { number: faults.len(), at, kind, client, seed: rng.u64(..) });
            }
        }
        faults.retain(|fault| fault.at < until);
        faults.sort_by_key(|fault| fault.at);
    }
}

/// So often in a seed that has this at all.
const ROLLBACKS: usize = 8;

const CONNACK_CODES: [u8; 22] = [
    0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
    0x9B, 0x9C, 0x9D, 0x9F, 0x88,
];
const DISCONNECT_CODES: [u8; 28] = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
/// What a server that sends its clients away names: the servers of their list, also behind one that is not in it, and one
/// that nobody may be sent to.
const NAMED: [&str; 4] = ["a", "b", "elsewhere:1883 b", "elsewhere:1883"];
const PUBLISH_CODES: [u8; 8] = [0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const SUBACK_CODES: [u8; 9] = [0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
const UNSUBACK_CODES: [u8; 6] = [0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
/// What the broker forgets to say.
const ANSWERS: [PacketKind; 7] = [
    PacketKind::PubAck,
    PacketKind::PubRec,
    PacketKind::PubComp,
    PacketKind::SubAck,
    PacketKind::UnsubAck,
    PacketKind::PubRel,
    PacketKind::PingResp,
];

impl World {
    pub(super) fn inject(&mut self, fault: Fault) -> Ruling {
        let Fault { kind, client: c, seed, .. } = fault;
        let mut rng = Rng::with_seed(seed);
        self.trace.fold(kind as u64);
        self.trace.say(self.at, c, || format!("FAULT {} {}", fault.number, kind.name()));
        self.injected += 1;
        self.marks.hit(kind.name());
        match kind {
            FaultKind::Fin | FaultKind::Reset => self.cut(c, kind == FaultKind::Reset, &mut rng),
            FaultKind::HalfOpen | FaultKind::UpDead | FaultKind::DownDead | FaultKind::Freeze => {
                self.hurt_wire(c, kind, &mut rng);
            }
            FaultKind::Refused => self.clients[c].refuse_until(self.at + rng.u64(..60) * SECOND),
            FaultKind::DialHangs => self.clients[c].dials_that_hang = rng.u8(1..3),
            FaultKind::Intruder => self.intrude(c),
            FaultKind::DiskStuck => {
                self.clients[c].disk.stuck_until = self.at + rng.u64(..20 * SECOND);
            }
            FaultKind::StoreFails => return self.fail_store(c, &mut rng),
            FaultKind::Overrun => self.overrun(c, &mut rng),
            FaultKind::Crash => return self.crash(c),
            FaultKind::Close
            | FaultKind::Cancel
            | FaultKind::Evict
            | FaultKind::Subscribe
            | FaultKind::Unsubscribe
            | FaultKind::SlowReader
            | FaultKind::AckErrors
            | FaultKind::RestartLink
            | FaultKind::Nudge
            | FaultKind::WallJump => return self.application_acts(kind, c, &mut rng),
            _ => return self.hurt_broker(kind, c, &mut rng),
        }
        self.collect();
        Ok(())
    }

    fn hurt_wire(&mut self, c: usize, kind: FaultKind, rng: &mut Rng) {
        let now = self.at;
        let Some(wire) = self.clients[c].wire.as_mut() else { return };
        wire.hurt = true;
        if kind == FaultKind::Freeze {
            wire.freeze(now + rng.u64(..15 * SECOND));
            return;
        }
        if kind != FaultKind::DownDead && !wire.up_dead {
            wire.up_dead = true;
            wire.mute_since = Some(now);
        }
        if kind != FaultKind::UpDead && !wire.down_dead {
            wire.down_dead = true;
            wire.deaf_since = Some(now);
        }
    }

    fn hurt_broker(&mut self, kind: FaultKind, c: usize, rng: &mut Rng) -> Ruling {
        match kind {
            FaultKind::RestartKept => self.restart_broker(true),
            FaultKind::RestartLost => self.restart_broker(false),
            FaultKind::SessionDropped => {
                self.sessions_lost = true;
                self.broker.manners_mut().claim_session_present = Times::Never;
                self.broker.forget_sessions();
                self.hurt_all();
            }
            FaultKind::Snapshot => self.snapshot = Some(self.broker.snapshot()),
            FaultKind::Rollback => {
                if let Some(snapshot) = self.snapshot.clone() {
                    for client in &mut self.clients {
                        client.app.excuse_under_way();
                    }
                    self.rolled_back = true;
                    self.broker.restore(snapshot);
                    self.hurt_all();
                }
            }
            FaultKind::Disconnect => {
                let (code, named) = self.sends_away(&DISCONNECT_CODES, rng);
                let mut packet = Disconnect::new(code);
                packet.server_reference = named.map(Text::from_static);
                if let Some(wire) = &self.clients[c].wire {
                    self.broker.disconnect_packet(wire.id, packet);
                }
            }
            FaultKind::Garbage => {
                if let Some(wire) = &self.clients[c].wire {
                    self.broker.send_raw(wire.id, &[0x00, 0x02, 0xFF]);
                }
            }
            FaultKind::Shrink => {
                self.shrink(rng);
                self.restart_broker(true);
            }
            FaultKind::ClaimSession => {
                self.restart_broker(false);
                for client in &mut self.clients {
                    client.app.excuse_under_way();
                }
                self.rolled_back = true;
                self.broker.manners_mut().claim_session_present = Times::Count(1);
            }
            _ => self.spoil_manners(kind, rng),
        }
        self.collect();
        Ok(())
    }

    fn shrink(&mut self, rng: &mut Rng) {
        let manners = self.broker.manners_mut();
        manners.receive_maximum = Some(rng.u16(1..20));
        manners.maximum_packet_size = rng.bool().then(|| rng.u32(90..300));
        manners.server_keep_alive = rng.bool().then(|| rng.u16(5..60));
        manners.retain_available = rng.bool();
        manners.topic_alias_maximum = rng.u16(..3);
        manners.uses_topic_aliases = rng.bool();
        if rng.u8(..4) == 0 {
            manners.maximum_qos = rejoin_core::Qos::AtLeastOnce;
        } else if self.setting.config.session.lower_qos {
            manners.maximum_qos = rejoin_core::Qos::ExactlyOnce;
        }
    }

    fn spoil_manners(&mut self, kind: FaultKind, rng: &mut Rng) {
        let manners = self.broker.manners_mut();
        let times = rng.u32(1..4);
        match kind {
            FaultKind::WithholdConnack => manners.withhold_connack = Times::Count(times),
            FaultKind::CloseOnConnect => manners.close_on_connect = Times::Count(times),
            FaultKind::CloseAfterConnack => {
                manners.close_after_connack = Times::Count(times);
                manners.close_after = Duration::from_millis(rng.u64(..4_000));
                manners.ending = if rng.bool() { Ending::Fin } else { Ending::Rst };
            }
            FaultKind::RefuseConnect => {
                let (code, named) = self.sends_away(&CONNACK_CODES, rng);
                let mut refusal = Refusal::new(code).times(times);
                refusal.server_reference = named.map(str::to_owned);
                self.broker.manners_mut().refuse_connect = Some(refusal);
            }
            FaultKind::OnlyV311 => {
                manners.knows_only_v311 = !manners.knows_only_v311;
                self.broker.cut_all(Ending::Fin);
                self.hurt_all();
            }
            FaultKind::RefusePublish => {
                let answer = Answer::new(ReasonCode(pick(&PUBLISH_CODES, rng))).times(times);
                if rng.bool() {
                    manners.puback = Some(answer);
                } else {
                    manners.pubrec = Some(answer);
                }
            }
            FaultKind::RefuseSubscribe => {
                manners.suback = Some(Answer::new(ReasonCode(pick(&SUBACK_CODES, rng))).times(times));
            }
            FaultKind::RefuseUnsubscribe => {
                manners.unsuback = Some(Answer::new(ReasonCode(pick(&UNSUBACK_CODES, rng))).times(times));
            }
            FaultKind::AckDelay => manners.ack_delay = Duration::from_millis(rng.u64(..3_000)),
            FaultKind::SwapAcks => manners.swap_acks = rng.bool(),
            FaultKind::WithholdAnswers => {
                let kind = ANSWERS[rng.usize(..ANSWERS.len())];
                manners.lose(kind, Times::Count(times));
            }
            _ => {}
        }
    }

    /// One of these codes, or, where servers name others, one that says where to go instead.
    fn sends_away(&self, codes: &[u8], rng: &mut Rng) -> (ReasonCode, Option<&'static str>) {
        let code = ReasonCode(pick(codes, rng));
        if !self.setting.names_servers || rng.bool() {
            return (code, None);
        }
        let code = if rng.bool() { ReasonCode::USE_ANOTHER_SERVER } else { ReasonCode::SERVER_MOVED };
        (code, Some(NAMED[rng.usize(..NAMED.len())]))
    }

    /// The last fault is over: everything works from now on.
    pub(super) fn heal(&mut self) {
        self.trace.say(self.at, 9, || "HEALED".to_owned());
        let limits = self.broker.manners().clone();
        *self.broker.manners_mut() = crate::Manners {
            receive_maximum: limits.receive_maximum,
            maximum_packet_size: limits.maximum_packet_size,
            server_keep_alive: limits.server_keep_alive,
            retain_available: limits.retain_available,
            topic_alias_maximum: limits.topic_alias_maximum,
            maximum_qos: limits.maximum_qos,
            sends_again_after: None,
            ..self.setting.manners()
        };
        // A link that was to be cut in a moment would be cut when nothing is wrong any more.
        self.broker.call_off_closes();
        for client in &mut self.clients {
            client.refuse_until(0);
            client.refuse_percent = 0;
            client.dials_that_hang = 0;
            client.disk.stuck_until = 0;
            client.app.slow_until = 0;
            client.app.refuses_percent = 0;
        }
    }
}

fn pick(codes: &[u8], rng: &mut Rng) -> u8 {
    codes[rng.usize(..codes.len())]
}
