//! The exchanges a client began, as its wire shows them. An acknowledgement ends what it ends for the client, too; where
//! that cannot be told from outside, both ways are allowed.
//!
//! ```text
//!   QoS 1   PUBLISH ──► Published ──PUBACK──► ended
//!   QoS 2   PUBLISH ──► Published ──PUBREC──► Received ──PUBREL──► Released ──PUBCOMP──► ended
//! ```

use std::collections::{BTreeMap, BTreeSet};

use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::{PacketId, Publish, Qos};

use super::Ruling;
use crate::sim::Alarm;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published,
    /// PUBREC came; PUBREL has not left.
    Received,
    /// PUBREL has left.
    Released,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    qos: Qos,
    stage: Stage,
    /// Its last packet left on the present link: only then an acknowledgement can be its own.
    on_wire: bool,
    /// It ended if the client did not wait for it any more, which the wire does not show.
    perhaps_over: bool,
}

/// The exchanges of one session.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    open: BTreeMap<PacketId, Exchange>,
    /// Those that came to their end.
    ended: BTreeSet<PacketId>,
    /// Those of them that ended since all was last at rest.
    just_ended: Vec<PacketId>,
    /// PUBREC came on the present link, so its server does not answer QoS 2 with PUBACK.
    speaks_qos2: bool,
}

impl Exchanges {
    /// A link begins, on which nothing was sent.
    pub(super) fn link_begins(&mut self) {
        self.speaks_qos2 = false;
        for exchange in self.open.values_mut() {
            exchange.on_wire = false;
        }
    }

    /// All that came was looked at, and no link ended over it.
    pub(super) fn at_rest(&mut self) {
        self.just_ended.clear();
    }

    /// The link ended. Where it did so over what just came, the acknowledgements behind the cause were not looked at.
    pub(super) fn link_ends(&mut self) {
        for id in self.just_ended.drain(..) {
            self.ended.remove(&id);
        }
    }

    /// A server without QoS 2 answers so, too. As a refusal of a QoS 2 message it means nothing, and ends nothing.
    pub(super) fn puback(&mut self, id: PacketId, reason: ReasonCode) {
        let speaks_qos2 = self.speaks_qos2;
        self.acknowledged(id, |exchange| {
            let lowered = !reason.is_error() && !speaks_qos2;
            exchange.stage == Stage::Published && (exchange.qos == Qos::AtLeastOnce || lowered)
        });
    }

    pub(super) fn pubrec(&mut self, id: PacketId, reason: ReasonCode) {
        self.speaks_qos2 = true;
        let waits = |exchange: &Exchange| {
            exchange.stage == Stage::Published && exchange.qos == Qos::ExactlyOnce && exchange.on_wire
        };
        if reason.is_error() {
            return self.acknowledged(id, waits);
        }
        if let Some(exchange) = self.open.get_mut(&id).filter(|exchange| waits(exchange)) {
            exchange.stage = Stage::Received;
            exchange.on_wire = false;
        }
    }

    pub(super) fn pubcomp(&mut self, id: PacketId) {
        self.acknowledged(id, |exchange| exchange.stage == Stage::Released);
    }

    /// Ends the exchange if the acknowledgement is its own.
    fn acknowledged(&mut self, id: PacketId, is_its_own: impl Fn(&Exchange) -> bool) {
        let Some(exchange) = self.open.get_mut(&id) else { return };
        if exchange.on_wire && is_its_own(exchange) {
            self.open.remove(&id);
            self.ended.insert(id);
            self.just_ended.push(id);
        } else {
            exchange.perhaps_over = true;
        }
    }

    pub(super) fn pubrel(&mut self, id: PacketId) {
        let stage = Stage::Released;
        self.open.insert(id, Exchange { qos: Qos::ExactlyOnce, stage, on_wire: true, perhaps_over: false });
        self.ended.remove(&id);
    }

    /// # Errors
    /// It may not leave like this.
    pub(super) fn publish(&mut self, publish: &Publish) -> Ruling {
        let Some(id) = publish.packet_id else { return Ok(()) };
        let exchange =
            Exchange { qos: publish.qos, stage: Stage::Published, on_wire: true, perhaps_over: false };
        let before = self.open.insert(id, exchange).filter(|before| publish.dup || !before.perhaps_over);
        let had_ended = self.ended.remove(&id);
        if publish.qos == Qos::ExactlyOnce && before.is_some_and(|before| before.stage == Stage::Released) {
            // [MQTT-4.3.3-6]
            return Err(Alarm::new("O13", format!("PUBLISH {id} leaves again after its PUBREL")));
        }
        if publish.dup && before.is_none() && had_ended {
            return Err(Alarm::new("O11", format!("PUBLISH {id} has DUP, and its exchange had ended")));
        }
        if !publish.dup && before.is_some() {
            // [MQTT-2.2.1-3]
            return Err(Alarm::new("O8", format!("PUBLISH {id} is new under an identifier in use")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rejoin_core::PublishTopic;

    use super::*;

    const Q1: Qos = Qos::AtLeastOnce;
    const Q2: Qos = Qos::ExactlyOnce;
    const OK: ReasonCode = ReasonCode::SUCCESS;
    const REFUSAL: ReasonCode = ReasonCode::TOPIC_NAME_INVALID;

    fn id(id: u16) -> PacketId {
        PacketId::new(id).expect("not zero")
    }

    impl Exchanges {
        fn sends(&mut self, n: u16, dup: bool, qos: Qos) -> Ruling {
            let packet_id = Some(id(n));
            let (topic, payload) = (PublishTopic::from_static("a"), bytes::Bytes::new());
            self.publish(&Publish { dup, qos, retain: false, topic, packet_id, properties: None, payload })
        }

        fn next_link(&mut self) {
            self.link_ends();
            self.link_begins();
        }
    }

    fn oracle(ruling: Ruling) -> &'static str {
        ruling.expect_err("a rule is broken").oracle
    }

    #[test]
    fn each_rule_of_the_wire_is_seen_broken() {
        let mut exchanges = Exchanges::default();
        exchanges.sends(1, false, Q1).expect("new");
        exchanges.sends(1, true, Q1).expect("again, as it must be");
        assert_eq!(oracle(exchanges.sends(1, false, Q1)), "O8");
        exchanges.puback(id(1), OK);
        assert_eq!(oracle(exchanges.sends(1, true, Q1)), "O11");
        exchanges.sends(2, false, Q2).expect("new");
        exchanges.pubrec(id(2), OK);
        exchanges.pubrel(id(2));
        assert_eq!(oracle(exchanges.sends(2, true, Q2)), "O13");
        exchanges.sends(3, false, Q2).expect("new");
        exchanges.pubrec(id(3), OK);
        exchanges.pubrel(id(3));
        exchanges.pubcomp(id(3));
        assert_eq!(oracle(exchanges.sends(3, true, Q2)), "O11");
        exchanges.sends(4, false, Q2).expect("new");
        exchanges.pubrec(id(4), REFUSAL);
        assert_eq!(oracle(exchanges.sends(4, true, Q2)), "O11");
    }

    #[test]
    fn a_puback_ends_a_qos_2_message_where_the_server_has_no_qos_2_and_a_refusal_never() {
        let mut exchanges = Exchanges::default();
        exchanges.sends(3, false, Q2).expect("new");
        exchanges.puback(id(3), REFUSAL);
        exchanges.sends(3, true, Q2).expect("it has no answer yet");
        exchanges.puback(id(3), OK);
        assert_eq!(oracle(exchanges.sends(3, true, Q2)), "O11");
        exchanges.sends(4, false, Q1).expect("new");
        exchanges.puback(id(4), REFUSAL);
        assert_eq!(oracle(exchanges.sends(4, true, Q1)), "O11");
    }

    /// What is sent, what comes that is no answer to it, at which QoS.
    type Stray = (&'static str, Qos, fn(&mut Exchanges));

    const STRAY: &[Stray] = &[
        ("PUBCOMP for a QoS 1 message", Q1, |exchanges| exchanges.pubcomp(id(1))),
        ("a refusal by PUBREC for a QoS 1 message", Q1, |exchanges| exchanges.pubrec(id(1), REFUSAL)),
        ("PUBCOMP for a PUBLISH that waits for PUBREC", Q2, |exchanges| exchanges.pubcomp(id(1))),
        ("PUBACK where the server has answered by PUBREC", Q2, |exchanges| {
            exchanges.pubrec(id(9), OK);
            exchanges.puback(id(1), OK);
        }),
        ("PUBACK on a link it was not sent on", Q1, |exchanges| {
            exchanges.next_link();
            exchanges.puback(id(1), OK);
        }),
        ("a refusal by PUBREC on a link it was not sent on", Q2, |exchanges| {
            exchanges.next_link();
            exchanges.pubrec(id(1), REFUSAL);
        }),
        ("PUBACK behind what the link ended over", Q1, |exchanges| {
            exchanges.at_rest();
            exchanges.puback(id(1), OK);
            exchanges.next_link();
        }),
    ];

    #[test]
    fn what_the_client_does_not_take_for_an_answer_is_none() {
        for (what, qos, comes) in STRAY {
            let mut exchanges = Exchanges::default();
            exchanges.sends(1, false, *qos).expect("new");
            comes(&mut exchanges);
            exchanges.next_link();
            assert!(exchanges.sends(1, true, *qos).is_ok(), "{what}: it is sent again, as it must be");
        }
    }

    #[test]
    fn an_acknowledgement_that_was_looked_at_holds_however_the_link_ends() {
        let mut exchanges = Exchanges::default();
        exchanges.sends(1, false, Q1).expect("new");
        exchanges.puback(id(1), OK);
        exchanges.at_rest();
        exchanges.next_link();
        assert_eq!(oracle(exchanges.sends(1, true, Q1)), "O11");
    }

    #[test]
    fn what_may_have_ended_unseen_may_give_its_identifier_to_another() {
        let mut exchanges = Exchanges::default();
        exchanges.sends(1, false, Q2).expect("new");
        exchanges.pubrec(id(1), OK);
        exchanges.pubrel(id(1));
        exchanges.next_link();
        exchanges.pubcomp(id(1));
        exchanges.sends(1, false, Q2).expect("the client waited for it no more, perhaps");
        exchanges.pubrec(id(1), OK);
        exchanges.pubrel(id(1));
        exchanges.next_link();
        exchanges.pubcomp(id(1));
        assert_eq!(oracle(exchanges.sends(1, true, Q2)), "O13", "it waited for it or it did not");
    }
}
