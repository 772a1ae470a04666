//! Enhanced authentication: the exchange before CONNACK, and the one on an open link (5.0).
//!
//! ```text
//!   CONNECT (method, data) ──► AUTH 0x18 ◄──► AUTH 0x18 ... ──► CONNACK (proof)
//!   open link:  AUTH 0x19 ───► AUTH 0x18 ◄──► AUTH 0x18 ... ──► AUTH 0x00 (proof)
//! ```
//! What the data means is the business of whoever answers; here it only keeps to the order.

use bytes::Bytes;

use super::Engine;
use super::open::unsendable;
use crate::codec::packet::{Auth, Packet};
use crate::codec::reason::ReasonCode;
use crate::error::{LossCause, Stage, TransportError};
use crate::event::{AuthData, Event};
use crate::link::Link;
use crate::text::Text;
use crate::time::Now;

impl Engine {
    /// The data of the next CONNECT, for the method of the settings.
    pub fn set_auth_data(&mut self, data: Option<Bytes>) {
        if let Some(auth) = &mut self.config.authentication {
            auth.data = data;
        }
    }

    /// Answers [`Event::AuthChallenge`]. Does nothing when no challenge is open.
    pub fn authenticate(&mut self, data: Option<Bytes>, now: Now) {
        self.advance(now);
        if self.link.as_mut().is_some_and(|link| std::mem::take(&mut link.challenged)) {
            self.send_auth(ReasonCode::CONTINUE_AUTHENTICATION, data); // [MQTT-4.12.0-3]
        }
    }

    /// Whether [`Engine::reauthenticate`] would begin an exchange: the link is open and has a method, and no exchange is
    /// under way on it.
    pub fn may_reauthenticate(&self) -> bool {
        let free = |link: &Link| {
            let under_way = link.reauthenticating && !defect!(ProofWithinProof);
            link.is_up() && link.auth_method.is_some() && !under_way
        };
        self.link.as_ref().is_some_and(free)
    }

    /// Begins to authenticate anew on an open link, as when a token is about to expire. False where that is not
    /// possible: no link, no method, MQTT 3.1.1, or an exchange is under way.
    pub fn reauthenticate(&mut self, data: Option<Bytes>, now: Now) -> bool {
        self.advance(now);
        if !self.may_reauthenticate() {
            return false;
        }
        let Some(link) = self.link.as_mut() else { return false };
        link.reauthenticating = true;
        self.reauthentication_begun();
        self.send_auth(ReasonCode::REAUTHENTICATE, data); // [MQTT-4.12.1-1]
        true
    }

    /// Whoever answers the challenges could not, or does not believe the proof: the link is of no use
    /// [MQTT-4.12.1-2].
    pub fn auth_failed(&mut self, error: TransportError, now: Now) {
        self.advance(now);
        self.lose(LossCause::Open { stage: Stage::Credentials, error });
    }

    pub(super) fn auth_arrived(&mut self, auth: Auth) {
        let Some(link) = self.link.as_mut() else { return };
        let data = AuthData(auth.data);
        link.liveness.auth_arrived();
        if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION {
            link.challenged = true;
            self.tell(Event::AuthChallenge { data });
        } else {
            link.reauthenticating = defect!(ProofNeverOver);
            // It was content before it had the answer.
            link.challenged = false;
            self.tell(Event::AuthProof { data, again: true });
        }
    }

    fn send_auth(&mut self, reason: ReasonCode, data: Option<Bytes>) {
        let now = self.now.mono;
        let Some(link) = self.link.as_mut() else { return };
        // [MQTT-4.12.0-7]
        let Some(method) = link.auth_method.clone() else { return };
        // [MQTT-4.12.0-5]; without text [MQTT-3.15.2-2] [MQTT-3.15.2-3].
        let method = if defect!(AuthByAnotherMethod) { Text::from_static("another") } else { method };
        let packet = Packet::Auth(Auth { reason, method: Some(method), data, properties: None });
        // [MQTT-3.2.2-15]
        if !link.has_room_for(&packet) {
            return self.lose(unsendable("AUTH is larger than the server takes"));
        }
        if let Err(error) = link.try_send(&packet, &mut self.wire, now) {
            return self.lose(unsendable(error.to_string()));
        }
        // Before CONNACK its limit covers all steps.
        if link.is_up() {
            link.liveness.expects_auth();
        }
    }
}
