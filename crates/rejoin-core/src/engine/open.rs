//! From the decision to try until CONNACK, and from the loss of a link to the next decision.

use std::time::Duration;

use super::Engine;
use crate::codec::packet::{ConnAck, Connect, ConnectProperties, Disconnect, Packet, Qos, Version};
use crate::codec::reason::ReasonCode;
use crate::config::{NAMELESS_AT_V311, Resubscribe, SessionMode, VersionPolicy};
use crate::error::{LocalCause, LossCause, Stage, TransportError, TransportErrorKind};
use crate::event::{AuthData, Event, Outcome, PublishId, SessionState, StopReason};
use crate::interface::Output;
use crate::link::{Agreement, Link, Phase};
use crate::recovery::{Adapt, LossContext, Plan, Verdict, is_by_peer};
use crate::session::{Aftermath, Culprit, Cut, Parking, Record};

/// In-flight cap of our own where the server sets none [decisions: 1,000 at 5.0, 100 at 3.1.1].
const WINDOW_V5: u16 = 1000;
const WINDOW_V311: u16 = 100;
/// The acknowledgement time-out doubles on repeat up to this many times its first value.
const ACK_TIMEOUT_GROWTH: u32 = 30;

impl Engine {
    pub(super) fn begin_attempt(&mut self) {
        let now = self.now.mono;
        let attempt = self.recovery.begin_attempt(now);
        self.outage.attempt(now);
        self.stats.attempts += 1;
        self.present.server = attempt.server;
        self.tell(Event::Attempt { attempt: attempt.number, server: attempt.server });
        let (server, number, limit) = (attempt.server, attempt.number, attempt.connect_limit);
        let handshake_limit = attempt.connack_limit;
        self.link = Some(Link::new(&self.config.link, attempt, self.ack_timeout, now));
        self.wire.clear();
        if !self.session.connack_unseen && !self.journal.connect_noted {
            // Dialling takes longer than the store: CONNECT rarely waits for this.
            self.connect_barrier = self.journal.note(|| Record::ConnectSent);
            self.journal.connect_noted = true;
        }
        self.outputs.push_back(Output::Open { server, attempt: number, limit, handshake_limit });
    }

    /// Sends CONNECT once the transport is open and the store knows that it leaves.
    pub(super) fn send_connect(&mut self) {
        let now = self.now.mono;
        let waits = self.link.as_ref().is_some_and(|l| l.phase == Phase::Opening && l.transport_open);
        if !waits || (!self.journal.knows_session(self.connect_barrier) && !defect!(ConnectBeforeDurable)) {
            return;
        }
        // Credentials that were asked for are known from here on [MQTT311-3.1.2-22].
        if self.config.login.needs_v5() && !self.speak_v5() {
            return self.lose(unsendable(NAMELESS_AT_V311));
        }
        let Some(mut link) = self.link.take() else { return };
        if link.reached.is_none() {
            self.charge_attempt();
        }
        let connect = self.connect_packet(&link);
        link.doubted = self.session.connack_unseen && !defect!(SessionPresentTrusted);
        let opened = link.opened(connect, &mut self.wire, now);
        self.link = Some(link);
        match opened {
            Ok(()) => self.session.connack_unseen = true,
            Err(error) => self.lose(unsendable(error.to_string())),
        }
    }

    /// The attempt under way speaks 5.0, also with a server known to speak 3.1.1. False where the settings forbid it.
    fn speak_v5(&mut self) -> bool {
        let Some(link) = self.link.as_mut().filter(|link| link.version() == Version::V311) else {
            return true;
        };
        if self.config.version == VersionPolicy::Only311 {
            return false;
        }
        link.speak(Version::V5, &self.config.link);
        self.recovery.must_speak_v5();
        true
    }

    /// The attempt reached a broker, which the budget counts, also across a restart of this process.
    pub(super) fn charge_attempt(&mut self) {
        self.recovery.reached_broker(self.now.mono);
        let wall_ms = self.now.wall_ms;
        self.journal.note(|| Record::Reached { wall_ms });
    }

    fn connect_packet(&self, link: &Link) -> Connect {
        let config = &self.config;
        let version = link.version();
        let keep_alive = u16::try_from(config.link.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let properties = match version {
            Version::V311 => ConnectProperties::default(),
            Version::V5 => ConnectProperties {
                session_expiry: Some(config.session.mode.expiry_seconds()).filter(|s| *s > 0),
                receive_maximum: std::num::NonZeroU16::new(config.link.receive_maximum),
                // What is larger is lost on the way, without a word [MQTT-3.1.2-25].
                maximum_packet_size: Some(config.link.maximum_packet_size),
                topic_alias_maximum: Some(config.link.topic_alias_maximum).filter(|n| *n > 0),
                user_properties: config.user_properties.clone(),
                authentication_method: config.authentication.as_ref().map(|auth| auth.method.clone()),
                authentication_data: config.authentication.as_ref().and_then(|auth| auth.data.clone()),
                // Response Information is not asked for [MQTT-3.1.2-28], and text of the server always welcome
                // [MQTT-3.1.2-29].
                ..ConnectProperties::default()
            },
        };
        Connect {
            version,
            clean_start: self.clean_start(link),
            keep_alive,
            // [MQTT-3.1.3-2]; empty, the server is to choose one [MQTT-3.1.3-6].
            client_id: match defect!(ChosenIdForgotten) {
                true => self.config.client_id.clone(),
                false => self.present.client_id.clone(),
            },
            will: config.will.as_deref().cloned(),
            user_name: config.login.user_name.clone(),
            password: config.login.password.clone(),
            properties,
        }
    }

    fn clean_start(&self, link: &Link) -> bool {
        let server = link.attempt.server;
        match link.version() {
            Version::V5 if defect!(CleanStartEachTime) => true,
            Version::V5 if defect!(StaleSessionKept) => false,
            Version::V5 => self.is_elsewhere(server) || !(self.begun || self.config.session.adopt),
            Version::V311 => {
                // A clean session ends with its link [MQTT311-3.1.2-6]: where one is to be kept it is asked for
                // [MQTT311-3.1.2-4], and what is there and not ours to go on with is ended first.
                let kept = self.config.session.mode.is_kept() || self.config.session.adopt;
                // An empty client id needs a clean session there [MQTT311-3.1.3-7].
                let begun_clean = defect!(BegunCleanElsewhere) && self.is_elsewhere(server);
                !kept || begun_clean || self.purging == Some(server) || self.present.client_id.is_empty()
            }
        }
    }

    /// A session belongs to the server that has it.
    fn is_elsewhere(&self, server: usize) -> bool {
        let here = self.config.servers[server].as_str();
        !self.config.session.clustered
            && !defect!(SessionTakenElsewhere)
            && self.session.server.as_deref().is_some_and(|has| has != here)
    }

    /// CONNACK with success came.
    pub(super) fn connected(&mut self, connack: &ConnAck) {
        let now = self.now.mono;
        let Some(mut link) = self.link.take() else { return };
        let server = link.attempt.server;
        let unknown = !self.session.exists() && !self.config.session.adopt;
        let foreign = connack.session_present && (unknown || self.is_elsewhere(server));
        // A session without our half of its state is ended by one clean connection [MQTT-3.2.2-4].
        let ended = self.purging.take() == Some(server) && link.version() == Version::V311;
        self.purging = foreign.then_some(server);
        if foreign || ended {
            self.doubt_as_before(link.doubted);
            self.link = Some(link);
            self.disconnect(Disconnect::new(ReasonCode::SUCCESS));
            self.lose(LossCause::Local(LocalCause::ForeignSession));
            return;
        }
        let keep_alive = u16::try_from(self.config.link.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let agreement = Agreement::new(link.version(), keep_alive, connack);
        if let Some(id) = &agreement.assigned_client_id {
            let id = id.clone();
            self.present.client_id = id.clone(); // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
            if !defect!(ChosenIdNotStored) {
                self.journal.note(|| Record::ClientId { id });
            }
        }
        self.present.version = Some(agreement.version);
        self.present.maximum_packet_size = agreement.maximum_packet_size;
        link.agree(agreement, &self.config.link, self.window_for(link.version()), now);
        // The server may have been content before it had the answer.
        link.challenged &= defect!(ChallengeOpenBehindConnack);
        if link.auth_method.is_some() && !defect!(ProofOfConnackNotTold) {
            let data = AuthData(connack.properties.authentication_data.clone());
            self.tell(Event::AuthProof { data, again: false });
        }
        let clean_start = link.clean_start;
        let unproven = link.doubted && !clean_start;
        let (server, version, attempt) = (link.attempt.server, link.version(), link.attempt.number);
        let took = now.since(link.started);
        self.link = Some(link);
        self.begun = true;
        self.recovery.link_up(now);
        self.plan_renewal();
        self.stats.links += 1;
        self.present.resubscribed = false;
        self.warn_of_session(server);
        let (session, resending) = if connack.session_present {
            self.go_on_with_session(unproven, server)
        } else {
            (self.begin_session(clean_start, server), 0)
        };
        self.note_connack();
        self.present.session = Some(session);
        let backlog = self.session.outbox.queued() + self.session.outbox.in_flight.len();
        let outage = self.outage.up(backlog, self.accepted, now);
        self.tell(Event::Opened { server, version, attempt, took, session, outage, resending });
        self.warn_of_qos2(version);
        if self.session.quarantine.wants_proof() {
            self.ping();
        }
        // Before anybody hears of it.
        self.refresh_status();
    }

    /// The broker answered this CONNECT. While an exchange is in doubt the store goes on doubting: a crash must not
    /// turn doubt into certainty.
    fn note_connack(&mut self) {
        self.session.connack_unseen = false;
        if !self.session.is_in_doubt() {
            self.journal.note(|| Record::ConnackSeen);
            self.journal.connect_noted = false;
        }
    }

    /// The broker answered a CONNECT that did not touch our session, clean or not: what was in doubt before it still is.
    fn doubt_as_before(&mut self, doubted: bool) {
        if doubted {
            self.session.connack_unseen = true;
        } else {
            self.note_connack();
        }
    }

    fn window_for(&self, version: Version) -> u16 {
        let default = if version == Version::V5 { WINDOW_V5 } else { WINDOW_V311 };
        self.config.session.in_flight_max.unwrap_or(default)
    }

    /// Session Present is 1 or 0 [MQTT-3.2.2-3]: both are believed, if for a good reason.
    fn go_on_with_session(&mut self, unproven: bool, server: usize) -> (SessionState, usize) {
        if !self.session.exists() {
            self.adopt_session(server);
        }
        let again = self.config.session.resubscribe == Resubscribe::Always || unproven;
        let resending = self.session.resume(unproven, again); // [MQTT-3.1.2-5]
        let offers_qos2 = |link: &Link| link.agreement.maximum_qos == Qos::ExactlyOnce;
        if self.link.as_ref().is_some_and(offers_qos2) {
            self.note_what_repeats();
        }
        (SessionState::Kept, resending)
    }

    /// The session is ours from here on, and the next process must know at which server.
    fn adopt_session(&mut self, server: usize) {
        let name = self.config.servers[server].as_str().to_owned();
        self.session.is_at(&name);
        self.note_session(name);
    }

    /// What an earlier session's identifiers meant must be forgotten for good before one is used again.
    fn note_session(&mut self, server: String) {
        let epoch = self.session.epoch;
        self.barrier = self.journal.note(|| Record::SessionStarted { epoch, server });
    }

    /// What goes out again at QoS 2 is on the store before, as it goes out now. A process that dies behind it would else
    /// leave nobody who knows under which identifier the server may hold an exchange, and that the message may arrive twice.
    fn note_what_repeats(&mut self) {
        for (id, exchange) in self.session.outbox.in_flight.unnoted() {
            let packet_id = exchange.packet_id;
            if exchange.lowered {
                self.journal.note(|| Record::Assigned { id, packet_id });
            }
            exchange.needs = self.journal.note(|| Record::MayRepeat { id });
            exchange.noted = true;
        }
    }

    /// `asked_for`: by a clean start.
    fn begin_session(&mut self, asked_for: bool, server: usize) -> SessionState {
        let name = self.config.servers[server].as_str().to_owned();
        let existed = self.session.exists();
        // What was left on another server was not given up.
        let given_up = asked_for && self.session.server.as_ref() == Some(&name);
        // [MQTT-3.1.2-4] [MQTT-3.1.2-6] [MQTT-3.2.2-5]
        let Aftermath { loss, ended, undecided, unsubscribed } =
            self.session.begin(&name, &self.config.session);
        for (id, outcome) in ended {
            self.finish(id, outcome);
        }
        for id in undecided {
            self.journal.note(|| Record::Asked { id });
            self.tell(Event::Undecided { id });
        }
        for id in unsubscribed {
            self.tell(Event::Unsubscribed { id, reason: ReasonCode::SUCCESS });
        }
        if defect!(SessionLossForgotten) && existed {
            return SessionState::Lost(loss);
        }
        self.note_session(name);
        if !existed || given_up {
            return SessionState::New;
        }
        self.stats.sessions_lost += 1;
        SessionState::Lost(loss)
    }

    fn warn_of_qos2(&mut self, version: Version) {
        let fresh = matches!(self.config.session.mode, SessionMode::Fresh { .. });
        if version == Version::V311 && fresh && !self.told_qos2 {
            self.told_qos2 = true;
            self.tell(Event::Qos2MayRepeat);
        }
    }

    /// The link, or the attempt, is over. The one place where that is decided upon.
    pub(super) fn lose(&mut self, cause: LossCause) {
        let now = self.now.mono;
        let Some(mut link) = self.link.take() else { return };
        let said_goodbye = self.say_why(&mut link, &cause);
        if !said_goodbye {
            self.wire.clear();
        }
        self.flush();
        // [MQTT-3.14.4-2] [MQTT-4.13.1-1] [MQTT311-4.8.0-1]
        self.outputs.push_back(Output::Close { graceful: said_goodbye });
        if matches!(cause, LossCause::Refused { .. }) {
            self.doubt_as_before(link.doubted);
        }
        let unacked = self.session.outbox.in_flight.awaiting();
        let context = LossContext {
            lasted: link.up_since.map(|since| now.since(since)),
            unacked: unacked + self.session.subscriptions.awaiting() > 0,
            version: link.version(),
            local_evidence: is_local_evidence(&cause),
            credentials_ended: self.renewal.has_ended(link.up_since, now),
            needs_v5: self.config.login.needs_v5(),
        };
        self.note_reference(&cause);
        let plan = self.recovery.lost(&cause, context, now);
        self.renewal.link_down();
        if link.is_up() {
            self.link_lost(&mut link, &cause, unacked, &plan);
        } else {
            self.attempt_failed(&link, &cause, &plan);
        }
        self.present.last_loss = Some(Box::new(cause.clone()));
        self.adapt(&plan, &link);
        if plan.retry_at.is_none() {
            self.stop(match plan.verdict {
                Verdict::Stop if !self.config.recovery.reconnect => StopReason::NoReconnect(cause),
                _ => StopReason::GaveUp(cause),
            });
        }
        self.refresh_status();
    }

    fn link_lost(&mut self, link: &mut Link, cause: &LossCause, unacked: usize, plan: &Plan) {
        let now = self.now.mono;
        self.stats.losses += 1;
        self.present.heard = Some(link.liveness.heard());
        self.outage.lost(link.liveness.heard(), now);
        if matches!(cause, LossCause::AckTimeout(_)) {
            let longest = self.config.link.ack_timeout.saturating_mul(ACK_TIMEOUT_GROWTH);
            self.ack_timeout = self.ack_timeout.saturating_mul(2).min(longest);
        }
        let parked = self.suspect(cause, unacked, plan);
        let lasted = link.up_since.map_or(Duration::ZERO, |since| now.since(since));
        let unsent: Vec<(PublishId, bool)> = link.never_sent().collect();
        for id in self.session.link_down() {
            self.tell(Event::Unsubscribed { id, reason: ReasonCode::SUCCESS });
        }
        for (id, queued) in unsent {
            self.qos0_over(id, queued, Outcome::Dropped);
        }
        for id in self.session.outbox.waiting.drop_unqueued() {
            self.end(id, Outcome::Dropped);
        }
        self.tell(Event::Closed {
            cause: cause.clone(),
            verdict: plan.verdict,
            lasted,
            in_flight: self.session.outbox.in_flight.len(),
            queued: self.session.outbox.queued(),
            retry_at: plan.retry_at,
            held_by_budget: plan.held_by_budget,
        });
        if let Some((id, cuts)) = parked {
            self.park(id, Outcome::Parked { cuts }, Parking::Cut { cuts });
        }
    }

    fn attempt_failed(&mut self, link: &Link, cause: &LossCause, plan: &Plan) {
        self.outage.failed(self.now.mono);
        self.tell(Event::AttemptFailed {
            attempt: link.attempt.number,
            server: link.attempt.server,
            cause: cause.clone(),
            verdict: plan.verdict,
            retry_at: plan.retry_at,
            held_by_budget: plan.held_by_budget,
        });
    }

    /// Feeds the quarantine. Gives the message to park, already set aside.
    fn suspect(&mut self, cause: &LossCause, unacked: usize, plan: &Plan) -> Option<(PublishId, u32)> {
        let code = match cause {
            LossCause::ServerDisconnect { reason, .. } => Some(*reason),
            _ => None,
        };
        let names_filter = code.is_some_and(|c| {
            matches!(
                c,
                ReasonCode::TOPIC_FILTER_INVALID
                    | ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
                    | ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
                    | ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
            )
        });
        if let Some(code) = code.filter(|_| names_filter) {
            self.bar(code);
        }
        let names_publish = code.is_some_and(|c| {
            matches!(
                c,
                ReasonCode::TOPIC_NAME_INVALID
                    | ReasonCode::PACKET_TOO_LARGE
                    | ReasonCode::PAYLOAD_FORMAT_INVALID
            )
        });
        let doubtful_code = code.is_none_or(|c| {
            names_publish
                || matches!(
                    c,
                    ReasonCode::MALFORMED_PACKET
                        | ReasonCode::PROTOCOL_ERROR
                        | ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR
                        | ReasonCode::UNSPECIFIED_ERROR
                        | ReasonCode::NOT_AUTHORIZED
                )
        });
        let message = self.session.outbox.in_flight.sole_on_wire().map(|(packet, e)| (packet, e.id));
        let wishes = self.session.subscriptions.awaiting();
        let cut = Cut {
            by_peer: is_by_peer(cause) && doubtful_code && plan.verdict != Verdict::Credentials,
            names_publish,
            unacknowledged: unacked + wishes,
            sole: match (unacked, wishes) {
                (0, _) => self.session.subscriptions.sole().map(Culprit::Wish),
                (_, 0) => message.map(|(_, id)| Culprit::Message(id)),
                _ => None,
            },
        };
        let (culprit, cuts) = self.session.quarantine.link_lost(cut, self.now.mono)?;
        let Culprit::Message(id) = culprit else {
            // A link that was closed without a word gets the code of a SUBACK that says no more than that.
            self.bar(code.unwrap_or(ReasonCode::UNSPECIFIED_ERROR));
            return None;
        };
        // Its identifier stays taken until the session ends [MQTT-4.4.0-1].
        if let Some((packet, _)) = message {
            self.session.outbox.in_flight.lease(packet);
            self.journal.note(|| Record::Leased { packet_id: packet });
        }
        Some((id, cuts))
    }

    /// The broker cut the link over a filter: the one that is to blame, if it is known, ends with this code.
    fn bar(&mut self, code: ReasonCode) {
        if let Some(answer) = self.session.subscriptions.suspect(code) {
            self.tell_answer(answer);
        }
    }

    /// Tells the broker why, where the standard asks for it [u5-4.13] [u5-3.1.2.11.4-b] [MQTT-4.12.1-2]. Gives whether
    /// DISCONNECT was written.
    fn say_why(&mut self, link: &mut Link, cause: &LossCause) -> bool {
        let reason = match cause {
            LossCause::Protocol(error) if link.is_up() && link.version() == Version::V5 => error.reason,
            // On an open link only an exchange of AUTH ends so.
            LossCause::Open { .. } if link.is_up() => ReasonCode::UNSPECIFIED_ERROR,
            LossCause::Local(LocalCause::ForeignSession | LocalCause::Renewal | LocalCause::Shutdown) => {
                return true;
            }
            _ => return false,
        };
        link.send(&Packet::Disconnect(Disconnect::new(reason)), &mut self.wire, self.now.mono);
        true
    }

    /// Writes DISCONNECT, without text [MQTT-3.14.2-3] [MQTT-3.14.2-4]; nothing may follow it [MQTT-3.14.4-1].
    pub(super) fn disconnect(&mut self, disconnect: Disconnect) {
        let now = self.now.mono;
        if let Some(link) = self.link.as_mut() {
            link.send(&Packet::Disconnect(disconnect), &mut self.wire, now);
        }
    }

    fn adapt(&mut self, plan: &Plan, lost: &Link) {
        if let Some(evidence) = &plan.conflict {
            self.tell(Event::Conflict { evidence: evidence.clone() });
        }
        let Some(adapt) = plan.adapt else { return };
        match adapt {
            Adapt::SpeakV311 => self.tell(Event::FellBack { server: lost.attempt.server }),
            Adapt::WillQos(qos) => {
                if let Some(will) = self.config.will.as_mut() {
                    will.qos = qos;
                }
            }
            Adapt::WillRetainOff => {
                if let Some(will) = self.config.will.as_mut() {
                    will.retain = false;
                }
            }
            // The link asks the attempt.
            Adapt::AliasesOff | Adapt::HalveWindow | Adapt::PingMoreOften => {}
        }
    }

    /// Whether packets of the session may leave: its beginning is on the store.
    pub(super) fn session_is_safe(&self) -> bool {
        self.journal.knows_session(self.barrier) || defect!(SessionBeforeDurable)
    }
}

/// What proves who we are cannot be written: no server is to blame, and none would hear the truth without it.
pub(super) fn unsendable(what: impl Into<String>) -> LossCause {
    let error = TransportError::new(TransportErrorKind::Credentials, what);
    LossCause::Open { stage: Stage::Credentials, error }
}

fn is_local_evidence(cause: &LossCause) -> bool {
    let timed_out = |e: &TransportError| e.kind == TransportErrorKind::TimedOut;
    matches!(cause, LossCause::Transport(error) if timed_out(error))
        || matches!(
            cause,
            LossCause::PingTimeout(_)
                | LossCause::WriteStall(_)
                | LossCause::AckTimeout(_)
                | LossCause::HealthWatch(_)
                | LossCause::Local(_)
        )
}
