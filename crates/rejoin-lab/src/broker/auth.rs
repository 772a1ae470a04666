//! Enhanced authentication (5.0): what a client has to prove before CONNACK, and anew on an open connection.

use bytes::Bytes;
use rejoin_core::codec::packet::{Auth, Connect, Packet};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;

use super::connection::{Connection, Phase};
use super::violation::Fault;
use super::{Broker, ConnectionId};
use crate::wire::PacketKind;

/// A method of enhanced authentication in which the broker says something and wants to hear it backwards.
///
/// ```
/// use rejoin_lab::{Backwards, Manners};
///
/// let method = Backwards { name: "BACKWARDS".to_owned(), rounds: 2 };
/// assert_eq!(Backwards::answer(b"abc"), "cba");
/// let manners = Manners { authentication: Some(method), ..Manners::default() };
/// # assert!(manners.authentication.is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backwards {
    /// The Authentication Method that CONNECT must name.
    pub name: String,
    /// How many challenges there are in each exchange. With none CONNACK comes at once.
    pub rounds: u8,
}

impl Backwards {
    /// The answer to a challenge, which is also the proof of the broker behind the last one.
    pub fn answer(challenge: &[u8]) -> Bytes {
        challenge.iter().rev().copied().collect()
    }
}

/// Where one connection stands.
#[derive(Debug)]
pub(super) struct Proving {
    method: Text,
    rounds_left: u8,
    /// What was said and has no answer.
    challenge: Option<Bytes>,
    /// The challenge that we did not wait for, whose answer may still come.
    overtaken: Option<Bytes>,
    /// Who answered the last one hears its challenge backwards too.
    proof: Option<Bytes>,
    /// What is done when all is proved, unless that was done before.
    connect: Option<Box<Connect>>,
}

impl Broker {
    /// Whether a CONNECT names a method that is not ours.
    pub(super) fn has_no_method_for(&self, connect: &Connect) -> bool {
        let asked = connect.properties.authentication_method.as_ref();
        let known = self.manners.authentication.as_ref().map(|method| method.name.as_str());
        asked.is_some_and(|asked| known != Some(asked.as_str()))
    }

    /// Begins an exchange where CONNECT asks for one; gives CONNECT back where it does not.
    pub(super) fn challenge(&mut self, id: ConnectionId, connect: Box<Connect>) -> Option<Box<Connect>> {
        let Some(method) = connect.properties.authentication_method.clone() else { return Some(connect) };
        let rounds_left = self.manners.authentication.as_ref().map_or(0, |method| method.rounds);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.phase = Phase::Proving;
            let connect = Some(connect);
            connection.proving =
                Some(Proving { method, rounds_left, challenge: None, overtaken: None, proof: None, connect });
        }
        self.next_round(id);
        None
    }

    pub(super) fn on_auth(&mut self, id: ConnectionId, auth: &Auth) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let wrong =
            |clause, detail: &str| Err(Fault::fatal(clause, ReasonCode::PROTOCOL_ERROR, detail.into()));
        let may_begin = connection.acknowledged;
        let Some(proving) = &mut connection.proving else {
            return wrong("MQTT-4.12.0-7", "AUTH without an authentication method in CONNECT");
        };
        if auth.method.as_ref() != Some(&proving.method) {
            return wrong("MQTT-4.12.0-5", "AUTH with another method than CONNECT");
        }
        let challenge = proving.challenge.take();
        // It crossed what we said instead of waiting for it.
        let is_overtaken = proving.overtaken.take().is_some();
        match (auth.reason == ReasonCode::REAUTHENTICATE, challenge) {
            (true, Some(_)) => {
                return wrong("MQTT-4.12.0-3", "AUTH begins anew where an answer was asked for");
            }
            (true, None) if may_begin => {
                proving.rounds_left = self.manners.authentication.as_ref().map_or(0, |method| method.rounds);
                proving.proof = None;
            }
            (true, None) => return wrong("MQTT-3.1.2-30", "AUTH begins anew before CONNACK"),
            (false, Some(challenge)) => {
                let right = Backwards::answer(&challenge);
                if auth.data.as_ref() != Some(&right) {
                    self.refuse_proof(id);
                    return Ok(());
                }
                proving.proof = Some(right);
            }
            (false, None) if is_overtaken => return Ok(()),
            (false, None) => return wrong("MQTT-4.13.1-1", "AUTH that answers no challenge"),
        }
        self.next_round(id);
        Ok(())
    }

    /// The next challenge, or the end.
    fn next_round(&mut self, id: ConnectionId) {
        self.last_challenge += 1;
        let number = self.last_challenge;
        let Some(proving) = self.proving(id) else { return };
        if let Some(left) = proving.rounds_left.checked_sub(1) {
            proving.rounds_left = left;
            let challenge = Bytes::from(format!("challenge {number}"));
            proving.challenge = Some(challenge.clone());
            let (reason, method) = (ReasonCode::CONTINUE_AUTHENTICATION, Some(proving.method.clone()));
            self.send(id, &Packet::Auth(Auth { reason, method, data: Some(challenge), properties: None }));
            if !self.manners.content_early.take() {
                return;
            }
        }
        if self.manners.refuse_proof.take() {
            return self.refuse_proof(id);
        }
        let Some(proving) = self.proving(id) else { return };
        proving.rounds_left = 0;
        proving.overtaken = proving.challenge.take();
        let (method, data) = (Some(proving.method.clone()), proving.proof.take());
        match proving.connect.take() {
            Some(connect) => self.admit(id, &connect, data),
            None => {
                let reason = ReasonCode::SUCCESS;
                self.send(id, &Packet::Auth(Auth { reason, method, data, properties: None }));
            }
        }
    }

    fn proving(&mut self, id: ConnectionId) -> Option<&mut Proving> {
        self.connections.get_mut(&id)?.proving.as_mut()
    }

    fn refuse_proof(&mut self, id: ConnectionId) {
        let is_up = self.connections.get(&id).is_some_and(|connection| connection.phase == Phase::Up);
        if is_up {
            self.disconnect(id, ReasonCode::NOT_AUTHORIZED);
        } else {
            self.refuse(id, ReasonCode::NOT_AUTHORIZED, None, None);
        }
    }

    /// What must not come before CONNACK.
    pub(super) fn comes_too_early(&self, id: ConnectionId, kind: PacketKind) -> bool {
        let waits = |connection: &Connection| connection.proving.is_some() && !connection.acknowledged;
        self.connections.get(&id).is_some_and(waits)
            && !matches!(kind, PacketKind::Auth | PacketKind::Disconnect)
    }
}
