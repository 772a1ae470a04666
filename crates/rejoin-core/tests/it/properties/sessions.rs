//! Any course of publishing, answering, cutting and waiting: identifiers, windows, DUP, order and outcomes stay right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rejoin_core::codec::packet::{ConnAckProperties, Packet};
use rejoin_core::{Outcome, Qos, ReasonCode, SessionLossPolicy};

use super::cases;
use crate::engine::bench::{Bench, kept};

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(Qos),
    /// The broker answers what it has had longest.
    Answer,
    /// It refuses it.
    Refuse,
    Cut,
    /// The next link, with the session or without it, and the broker's Receive Maximum.
    Link {
        present: bool,
        window: u16,
    },
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Publish(Qos::AtLeastOnce)),
        3 => Just(Step::Publish(Qos::ExactlyOnce)),
        1 => Just(Step::Publish(Qos::AtMostOnce)),
        6 => Just(Step::Answer),
        1 => Just(Step::Refuse),
        2 => Just(Step::Cut),
        3 => (prop::bool::weighted(0.8), 1..6_u16).prop_map(|(present, window)| Step::Link { present, window }),
        1 => (1..40_u8).prop_map(Step::Wait),
    ]
}

/// The broker's half: what it has, by packet identifier, and whether the release came.
#[derive(Default)]
struct Broker {
    up: bool,
    window: u16,
    session: bool,
    /// PUBLISH above QoS 0 of this link without a final answer.
    open: Vec<(u16, Qos)>,
    /// Identifiers whose PUBREC we gave and whose PUBREL has not come, over links.
    received: BTreeSet<u16>,
    /// PUBREL that wait for PUBCOMP.
    releases: Vec<u16>,
    /// The payload each identifier was last used for in this session.
    held: BTreeMap<u16, String>,
    /// First sends in their order, by payload.
    first_sends: Vec<u64>,
    sent: BTreeSet<String>,
}

impl Broker {
    /// Judges every packet that was written since the last look.
    fn look(&mut self, bench: &mut Bench) -> Result<(), TestCaseError> {
        for packet in std::mem::take(&mut bench.sent) {
            match packet {
                Packet::Publish(publish) if publish.qos != Qos::AtMostOnce => {
                    let id = publish.packet_id.map_or(0, std::num::NonZero::get);
                    let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                    prop_assert!(!self.open.iter().any(|(open, _)| *open == id), "{} is in use", id);
                    prop_assert!(!self.received.contains(&id), "a PUBLISH after PUBREC: {}", id);
                    let again = self.held.get(&id) == Some(&payload);
                    prop_assert_eq!(publish.dup, again, "DUP means sent before: {}", payload);
                    self.held.insert(id, payload.clone());
                    if self.sent.insert(payload.clone()) {
                        self.first_sends.push(payload.parse().unwrap());
                    }
                    self.open.push((id, publish.qos));
                    prop_assert!(self.open.len() <= usize::from(self.window), "{:?}", self.open);
                }
                Packet::PubRel(ack) => {
                    prop_assert!(self.received.contains(&ack.packet_id.get()) || !self.session);
                    self.releases.push(ack.packet_id.get());
                }
                Packet::PingReq => bench.receive(&Packet::PingResp),
                _ => {}
            }
        }
        prop_assert!(self.first_sends.is_sorted(), "first sends in the order of publishing");
        Ok(())
    }

    fn answer(&mut self, bench: &mut Bench, reason: ReasonCode) {
        if !self.up {
            return;
        }
        if let Some(id) = self.releases.pop() {
            self.received.remove(&id);
            self.held.remove(&id);
            bench.pubcomp(id);
        } else if !self.open.is_empty() {
            let (id, qos) = self.open.remove(0);
            let refused = reason != ReasonCode::SUCCESS;
            if qos == Qos::AtLeastOnce || refused {
                self.held.remove(&id);
            } else {
                self.received.insert(id);
            }
            match qos {
                Qos::AtLeastOnce => bench.puback(id, reason),
                _ => bench.pubrec(id, reason),
            }
        }
    }

    fn cut(&mut self, bench: &mut Bench) {
        if self.up {
            bench.lose();
            self.went();
        }
    }

    fn went(&mut self) {
        self.up = false;
        self.open.clear();
        self.releases.clear();
    }

    fn link(&mut self, bench: &mut Bench, present: bool, window: u16) {
        if self.up {
            return;
        }
        let connect = bench.open();
        let present = present && !connect.clean_start && self.session;
        if !present {
            self.received.clear();
            self.held.clear();
        }
        (self.up, self.session, self.window) = (true, true, window);
        let limits = ConnAckProperties {
            receive_maximum: std::num::NonZeroU16::new(window),
            ..ConnAckProperties::default()
        };
        bench.connack(present, limits);
    }
}

fn run(steps: &[Step], policy: SessionLossPolicy) -> Result<(), TestCaseError> {
    let mut config = kept();
    config.session.packet_id_max = 12;
    config.session.on_loss = policy;
    config.session.quota_retries = 0;
    config.recovery.budget = None;
    let mut bench = Bench::new(config);
    let mut broker = Broker::default();
    let mut accepted = 0;
    for step in steps {
        let losses = bench.engine.stats().losses;
        match *step {
            Step::Publish(qos) => accepted = bench.publish(qos),
            Step::Answer => broker.answer(&mut bench, ReasonCode::SUCCESS),
            Step::Refuse => broker.answer(&mut bench, ReasonCode::NOT_AUTHORIZED),
            Step::Cut => broker.cut(&mut bench),
            Step::Link { present, window } => broker.link(&mut bench, present, window),
            Step::Wait(seconds) => bench.live(u64::from(seconds)),
        }
        broker.look(&mut bench)?;
        if broker.up && bench.engine.stats().losses > losses {
            // Its acknowledgements did not come in time.
            broker.went();
        }
        once(&bench)?;
    }
    bench.engine.close(Duration::ZERO, bench.now());
    bench.drain();
    once(&bench)?;
    let ended: BTreeSet<u64> = bench.outcomes.iter().map(|(id, _)| *id).collect();
    prop_assert_eq!(ended, (1..=accepted).collect::<BTreeSet<u64>>(), "everything accepted has its answer");
    Ok(())
}

fn once(bench: &Bench) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for (id, outcome) in &bench.outcomes {
        prop_assert!(seen.insert(*id), "{} ended twice, last as {:?}", id, outcome);
    }
    Ok(())
}

/// Links that keep the session, and a broker that answers everything at the end.
fn calm(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut config = kept();
    config.recovery.budget = None;
    let mut bench = Bench::new(config);
    let mut broker = Broker::default();
    let mut above = Vec::new();
    for step in steps {
        match *step {
            Step::Publish(Qos::AtMostOnce) | Step::Wait(_) | Step::Refuse => {}
            Step::Publish(qos) => above.push(bench.publish(qos)),
            Step::Answer => broker.answer(&mut bench, ReasonCode::SUCCESS),
            Step::Cut => broker.cut(&mut bench),
            Step::Link { window, .. } => broker.link(&mut bench, true, window),
        }
        broker.look(&mut bench)?;
    }
    broker.link(&mut bench, true, 5);
    // A message that was alone on two links that broke is held back until a link has lived without it.
    for _ in 0..4 * above.len() + 60 {
        let losses = bench.engine.stats().losses;
        broker.look(&mut bench)?;
        broker.answer(&mut bench, ReasonCode::SUCCESS);
        broker.look(&mut bench)?;
        bench.live(5);
        if bench.engine.stats().losses > losses {
            broker.went();
            broker.link(&mut bench, true, 5);
        }
    }
    for id in above {
        let outcome = bench.outcome(id);
        prop_assert!(matches!(outcome, Outcome::Delivered(_) | Outcome::Parked { .. }), "{:?}", outcome);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn every_course_of_events_is_legal_and_answers_each_message_once(
        steps in vec(step(), 1..120),
        policy in prop_oneof![Just(SessionLossPolicy::Resend), Just(SessionLossPolicy::Fail), Just(SessionLossPolicy::Ask)],
    ) {
        run(&steps, policy)?;
    }

    #[test]
    fn with_a_session_that_is_kept_everything_above_qos_0_is_delivered_or_parked(steps in vec(step(), 1..120)) {
        calm(&steps)?;
    }
}
