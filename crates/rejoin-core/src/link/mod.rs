//! One network connection, from opening to loss. Nothing in here survives it: what a link learned dies with it.
//!
//! ```text
//!   Opening ── transport open ──► Handshake ── CONNACK ──► Up ── DISCONNECT sent ──► (dropped)
//! ```
//! The link does not know the session. It gives packets up and takes packets down.

mod agreement;
mod alias;
mod liveness;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub(crate) use agreement::Agreement;
pub(crate) use liveness::{Alarm, Liveness};

use crate::attempt::Attempt;
use crate::codec::packet::{Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Packet, Publish, Qos, Version};
use crate::codec::reason::ReasonCode;
use crate::codec::{self, DecodeError, Decoded, Decoder, EncodeError, Limits, Sender};
use crate::common::Common;
use crate::config::LinkConfig;
use crate::error::{LossCause, ProtocolError, Stage, TransportError, TransportErrorKind};
use crate::event::PublishId;
use crate::held::HeldCounts;
use crate::text::Text;
use crate::time::{TimerKind, Timestamp};

/// A payload of at least this many bytes is handed over as it is instead of being copied.
const PAYLOAD_NOT_COPIED: usize = 8 * 1024;

/// However often a server says that our pings came late, they do not come faster than this because of it.
const PING_AFTER_LEAST: Duration = Duration::from_secs(1);

/// What a topic alias adds to a packet at most, in bytes: the property, and lengths that need one byte more.
const ALIAS_SIZE_MOST: usize = 5;

/// How far the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Handshake,
    Up,
}

/// One network connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) phase: Phase,
    pub(crate) attempt: Attempt,
    pub(crate) started: Timestamp,
    pub(crate) up_since: Option<Timestamp>,
    /// A CONNACK was missed before its CONNECT: the session the server has may be another life of ours.
    pub(crate) doubted: bool,
    pub(crate) clean_start: bool,
    /// The transport is open; CONNECT may still have to wait for the store.
    pub(crate) transport_open: bool,
    /// The method of enhanced authentication that CONNECT named.
    pub(crate) auth_method: Option<Text>,
    /// A challenge waits for its answer.
    pub(crate) challenged: bool,
    /// AUTH 0x19 was sent and not answered for yet.
    pub(crate) reauthenticating: bool,
    /// What this broker makes of QoS 2, as far as it has shown it on this link.
    pub(crate) qos2: Qos2,
    /// How far opening the transport is.
    pub(crate) stage: Stage,
    /// When the first handshake began: the clock of all of them, up to CONNACK.
    pub(crate) reached: Option<Timestamp>,
    phase_since: Timestamp,
    pub(crate) liveness: Liveness,
    pub(crate) agreement: Agreement,
    decoder: Decoder,
    aliases_in: alias::Incoming,
    aliases_out: alias::Outgoing,
    /// PUBLISH packets above QoS 0 that may still be sent on this connection [MQTT-4.9.0-2].
    quota: u16,
    quota_initial: u16,
    /// QoS 1 and 2 messages the server sent, less those we answered. Answers to a resumed PUBREL count too: the
    /// server may give itself one back for them [MQTT-4.9.0-1].
    inbound: i64,
    receive_maximum: u16,
    receive_overrun: u32,
    /// Messages beyond our Receive Maximum that were not booked yet.
    pub(crate) overruns: u64,
    /// QoS 0 messages handed over, with the byte after their end; they are sent once the transport took it.
    unsent: VecDeque<(u64, PublishId, bool)>,
}

/// What a broker makes of QoS 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Qos2 {
    #[default]
    Unknown,
    /// It said PUBREC: a PUBACK for a QoS 2 message is a stray from then on.
    Spoken,
    /// It said PUBACK.
    Downgraded,
}

impl Link {
    pub(crate) fn new(
        config: &Common<LinkConfig>,
        attempt: Attempt,
        ack_timeout: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            phase: Phase::Opening,
            started: now,
            up_since: None,
            doubted: false,
            clean_start: true,
            transport_open: false,
            auth_method: None,
            challenged: false,
            reauthenticating: false,
            qos2: Qos2::default(),
            stage: Stage::Tcp,
            reached: None,
            phase_since: now,
            liveness: Liveness::new(config, Duration::MAX, ack_timeout, now),
            agreement: Agreement::none(attempt.version),
            decoder: Decoder::new(attempt.version, Sender::Server, limits(config)),
            aliases_in: alias::Incoming::new(config.topic_alias_maximum),
            aliases_out: alias::Outgoing::default(),
            quota: 0,
            quota_initial: 0,
            inbound: 0,
            receive_maximum: config.receive_maximum,
            receive_overrun: config.receive_overrun,
            overruns: 0,
            unsent: VecDeque::new(),
            attempt,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// See [`crate::Engine::rest`].
    pub(crate) fn rest(&mut self) {
        if self.unsent.is_empty() {
            self.unsent.shrink_to_fit();
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.attempt.version
    }

    /// CONNECT will be of another version than the attempt was begun with.
    pub(crate) fn speak(&mut self, version: Version, config: &LinkConfig) {
        self.attempt.version = version;
        self.agreement = Agreement::none(version);
        self.decoder = Decoder::new(version, Sender::Server, limits(config));
    }

    /// Opening came to this stage. True when the broker's side is reached by it for the first time.
    pub(crate) fn reached(&mut self, stage: Stage, now: Timestamp) -> bool {
        if self.stage == Stage::Credentials && stage != Stage::Credentials {
            // Up to here the application was waited for, and no server.
            self.phase_since = now;
        }
        self.stage = stage;
        let first = stage.is_handshake() && self.reached.is_none();
        if first {
            self.reached = Some(now);
        }
        first
    }

    /// The transport is open: CONNECT is the first packet [MQTT-3.1.0-1], and never comes again [MQTT-3.1.0-2].
    ///
    /// # Errors
    /// What CONNECT says cannot be written; nothing was.
    pub(crate) fn opened(
        &mut self,
        connect: Connect,
        out: &mut WriteBuffer,
        now: Timestamp,
    ) -> Result<(), EncodeError> {
        self.phase = Phase::Handshake;
        self.phase_since = now;
        self.clean_start = connect.clean_start;
        self.auth_method.clone_from(&connect.properties.authentication_method);
        self.liveness.received(now);
        self.try_send(&Packet::Connect(Box::new(connect)), out, now)
    }

    /// CONNACK came: the limits are known.
    pub(crate) fn agree(&mut self, agreement: Agreement, config: &LinkConfig, window: u16, now: Timestamp) {
        self.phase = Phase::Up;
        self.up_since = Some(now);
        // [MQTT-4.9.0-1]; CONNACK has no zero, and neither have the settings.
        self.quota_initial = (agreement.receive_maximum.min(window) >> self.attempt.window_halvings).max(1);
        self.quota = self.quota_initial;
        let aliases = agreement.topic_alias_maximum.min(config.topic_aliases_used);
        let aliases = if self.attempt.clean_of_aliases { 0 } else { aliases };
        self.aliases_out = alias::Outgoing::new(aliases);
        self.agreement = agreement;
        self.liveness.agree(self.ping_after(config.ping_after), now);
    }

    /// After how much silence a ping is due where the setting is this.
    fn ping_after(&self, setting: Duration) -> Duration {
        let keep_alive = self.agreement.keep_alive;
        // The server waits for one and a half times the keep-alive [MQTT-3.1.2-22].
        let after = if keep_alive.is_zero() { setting } else { setting.min(keep_alive * 3 / 4) };
        if after == Duration::MAX {
            return after;
        }
        // What is shorter than the least by itself stays as it is.
        let least = PING_AFTER_LEAST.min(after);
        (0..self.attempt.ping_quarters).fold(after, |after, _| after - after / 4).max(least)
    }

    /// See [`HeldCounts`].
    pub(crate) fn count(&self, held: &mut HeldCounts) {
        held.unwritten_bytes = self.liveness.unwritten();
        held.unread_bytes = self.decoder.buffered();
        held.aliases = self.aliases_in.len() + self.aliases_out.len();
        held.unsent = self.unsent.len();
    }

    /// Takes bytes in.
    pub(crate) fn received(&mut self, bytes: Bytes, now: Timestamp) -> bool {
        self.decoder.push(bytes);
        self.liveness.received(now)
    }

    /// What came next. Nothing follows from it before [`Link::admit`] has looked at it.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Decoded>, DecodeError> {
        self.decoder.next()
    }

    /// Checks what came against what a server may send in this phase, and gives a PUBLISH the topic its alias stands for.
    /// `is_copy`: of a message that came on this link and is under way, so that it counts already.
    pub(crate) fn admit(
        &mut self,
        came: &mut Decoded,
        is_copy: bool,
        now: Timestamp,
    ) -> Result<(), LossCause> {
        if self.phase == Phase::Opening {
            // Only a client may begin [MQTT-3.1.0-1]; a CONNACK to no CONNECT of ours answers somebody else's.
            return Err(unexpected("a packet", "before CONNECT was sent"));
        }
        let packet = match came {
            Decoded::Packet(packet) => packet,
            Decoded::Oversized { qos, .. } if self.is_up() => return self.count_inbound(*qos),
            Decoded::Oversized { .. } => return Err(unexpected("PUBLISH", "before CONNACK")),
        };
        if self.phase != Phase::Up {
            // Before CONNACK nothing else may come [MQTT-3.2.0-1] [MQTT-3.14.0-1].
            return match packet {
                Packet::ConnAck(connack) => self.connack(connack),
                Packet::Auth(auth) => self.auth(auth),
                other => Err(unexpected(other.name(), "before CONNACK")),
            };
        }
        match packet {
            Packet::Publish(publish) => {
                self.aliases_in.resolve(publish).map_err(LossCause::Protocol)?;
                if !is_copy {
                    self.count_inbound(publish.qos)?;
                }
                self.liveness.publish_received(&publish.topic, now);
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(server_disconnect(disconnect)),
            // [MQTT-3.2.0-2]
            Packet::ConnAck(_) => Err(unexpected("CONNACK", "a second time")),
            Packet::Auth(auth) => self.auth(auth),
            // The decoder lets nothing through that only a client sends.
            _ => Ok(()),
        }
    }

    fn connack(&self, connack: &ConnAck) -> Result<(), LossCause> {
        // Ends the link, whether or not the server closes it [MQTT-3.2.2-7] [MQTT-4.12.0-4] [MQTT-4.13.2-1].
        if connack.reason != ReasonCode::SUCCESS {
            let p = &connack.properties;
            return Err(LossCause::Refused {
                reason: connack.reason,
                text: p.reason_string.as_ref().map(|t| t.as_str().to_owned()),
                server_reference: p.server_reference.as_ref().map(|t| t.as_str().to_owned()),
                v311_form: connack.v311_form,
                maximum_qos: p.maximum_qos,
            });
        }
        if connack.session_present && self.clean_start {
            // [MQTT-3.2.2-2]
            return Err(unexpected("CONNACK", "with Session Present though a clean start was asked for"));
        }
        if self.version() == Version::V5 && connack.properties.authentication_method != self.auth_method {
            // [MQTT-4.12.0-5] [MQTT-4.12.0-6] [u5-4.12]
            return Err(unexpected("CONNACK", "with another authentication method than CONNECT"));
        }
        Ok(())
    }

    /// AUTH is answered in turns: a challenge only where an exchange is under way.
    fn auth(&self, auth: &Auth) -> Result<(), LossCause> {
        let Some(method) = &self.auth_method else {
            // [MQTT-4.12.0-6]
            return Err(unexpected("AUTH", "though no authentication method was named"));
        };
        let under_way = !self.is_up() || self.reauthenticating;
        let challenge = auth.reason == ReasonCode::CONTINUE_AUTHENTICATION && !self.challenged;
        let done = auth.reason == ReasonCode::SUCCESS && self.is_up();
        if !under_way || !(challenge || done) {
            return Err(unexpected("AUTH", "out of turn"));
        }
        if auth.method.as_ref().is_some_and(|named| named != method) {
            // [MQTT-4.12.0-5]
            return Err(unexpected("AUTH", "with another authentication method than CONNECT"));
        }
        Ok(())
    }

    fn count_inbound(&mut self, qos: Qos) -> Result<(), LossCause> {
        if qos == Qos::AtMostOnce {
            return Ok(());
        }
        self.inbound += 1;
        // 3.1.1 has no receive maximum; reading pauses there instead.
        if self.version() == Version::V311 || self.inbound <= i64::from(self.receive_maximum) {
            return Ok(());
        }
        self.overruns += 1;
        let most = i64::from(self.receive_maximum) + i64::from(self.receive_overrun);
        if self.inbound > most && !defect!(ReceiveOverrunTaken) {
            // [MQTT-3.3.4-9] [u5-3.3.4]
            return Err(LossCause::Protocol(ProtocolError::new(
                ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
                format!("more than {} messages unacknowledged towards us", self.receive_maximum),
            )));
        }
        Ok(())
    }

    /// We answered a message of the server for good.
    pub(crate) fn inbound_answered(&mut self) {
        self.inbound -= 1;
    }

    /// Whether a PUBLISH above QoS 0 may be sent [MQTT-3.3.4-7].
    pub(crate) fn has_quota(&self) -> bool {
        self.quota > 0 || defect!(WindowIgnored)
    }

    /// The server answered a PUBLISH for good; never above the initial value [MQTT-4.9.0-1].
    pub(crate) fn quota_back(&mut self) {
        self.quota = (self.quota + 1).min(self.quota_initial);
    }

    /// Encodes a packet other than PUBLISH that was built from checked parts.
    pub(crate) fn send(&mut self, packet: &Packet, out: &mut WriteBuffer, now: Timestamp) {
        // What cannot be encoded for all that is not sent.
        let _ = self.try_send(packet, out, now);
    }

    /// Encodes an acknowledgement that the engine made.
    #[inline]
    pub(crate) fn send_ack(&mut self, kind: AckKind, ack: &Ack, out: &mut WriteBuffer, now: Timestamp) {
        let before = out.buffer.len();
        // As with other packets, what cannot be encoded for all that is not sent.
        if codec::encode_ack(kind, ack, self.version(), &mut out.buffer).is_ok() {
            self.liveness.handed_over(out.buffer.len() - before, now);
        }
    }

    /// Encodes a packet with parts that the application gave while the client runs.
    ///
    /// # Errors
    /// They cannot be written; nothing was.
    pub(crate) fn try_send(
        &mut self,
        packet: &Packet,
        out: &mut WriteBuffer,
        now: Timestamp,
    ) -> Result<(), EncodeError> {
        let before = out.buffer.len();
        codec::encode(packet, self.version(), &mut out.buffer)?;
        self.liveness.handed_over(out.buffer.len() - before, now);
        Ok(())
    }

    /// Encodes a PUBLISH.
    pub(crate) fn send_publish(&mut self, mut publish: Publish, out: &mut WriteBuffer, now: Timestamp) {
        if publish.qos != Qos::AtMostOnce {
            self.quota = self.quota.saturating_sub(1);
        }
        if self.has_room_for_alias(&publish) {
            self.aliases_out.apply(&mut publish);
        }
        let before = out.buffer.len();
        if codec::encode_publish_head(&publish, self.version(), &mut out.buffer).is_err() {
            // The engine has looked before: what cannot be encoded for all that is not sent.
            out.buffer.truncate(before);
            return;
        }
        let head = out.buffer.len() - before;
        self.liveness.handed_over(head + publish.payload.len(), now);
        if publish.payload.len() < PAYLOAD_NOT_COPIED {
            out.buffer.extend_from_slice(&publish.payload);
        } else {
            out.cut();
            out.ready.push_back(publish.payload);
        }
    }

    /// Whether the server takes a packet of this size [MQTT-3.2.2-15].
    pub(crate) fn has_room_for(&self, packet: &Packet) -> bool {
        let size = codec::encoded_len(packet, self.version());
        self.agreement.maximum_packet_size.is_none_or(|max| size as u64 <= u64::from(max))
    }

    /// Whether an alias on top of the topic keeps the packet within the server's limit [MQTT-3.2.2-15].
    fn has_room_for_alias(&self, publish: &Publish) -> bool {
        let Some(limit) = self.agreement.maximum_packet_size else { return true };
        let size = codec::publish_len(publish, self.version());
        size + ALIAS_SIZE_MOST <= usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// A QoS 0 message was handed over just now. `queued`: it would have waited for a link.
    pub(crate) fn note_unsent(&mut self, id: PublishId, queued: bool) {
        self.unsent.push_back((self.liveness.handed(), id, queued));
    }

    /// The next QoS 0 message the transport has taken, and whether it would have waited.
    pub(crate) fn next_sent(&mut self) -> Option<(PublishId, bool)> {
        let (end, id, queued) = *self.unsent.front()?;
        if end > self.liveness.taken() {
            return None;
        }
        self.unsent.pop_front();
        Some((id, queued))
    }

    /// QoS 0 messages the transport never took whole, and whether each would have waited.
    pub(crate) fn never_sent(&mut self) -> impl Iterator<Item = (PublishId, bool)> + '_ {
        self.unsent.drain(..).map(|(_, id, queued)| (id, queued))
    }

    /// The deadline of opening, or of the liveness clocks.
    pub(crate) fn deadline(&self) -> Option<(Timestamp, TimerKind)> {
        match self.phase {
            // Whoever asks for credentials limits that: no clock of a server runs.
            Phase::Opening if self.stage == Stage::Credentials => None,
            Phase::Opening if self.reached.is_none() => {
                Some((self.phase_since + self.attempt.connect_limit, TimerKind::Connect))
            }
            // One clock for all handshakes: leaving the broker's queue between two of them would waste the slot.
            Phase::Handshake if defect!(NoConnackTimeout) => None,
            // [u5-3.2]
            Phase::Opening | Phase::Handshake => {
                let since = self.reached.unwrap_or(self.phase_since);
                Some((since + self.attempt.connack_limit, TimerKind::Connack))
            }
            Phase::Up => self.liveness.deadline(),
        }
    }

    /// What is due now.
    pub(crate) fn check(&mut self, now: Timestamp) -> Option<Alarm> {
        match self.deadline()? {
            (at, _) if at > now => None,
            // Nobody but the store can still hold CONNECT back, and no server is to blame.
            _ if self.phase == Phase::Opening && self.transport_open => {
                let what = "the queue on disk took no record that a CONNECT leaves";
                let error = TransportError::new(TransportErrorKind::Resources, what);
                Some(Alarm::Dead(LossCause::Open { stage: self.stage, error }))
            }
            (_, TimerKind::Connect) => {
                Some(Alarm::Dead(LossCause::ConnectTimeout(self.attempt.connect_limit)))
            }
            (_, TimerKind::Connack) if self.phase == Phase::Opening => {
                let detail = format!("no end of the handshake within {:?}", self.attempt.connack_limit);
                let error = TransportError::new(TransportErrorKind::TimedOut, detail);
                Some(Alarm::Dead(LossCause::Open { stage: self.stage, error }))
            }
            (_, TimerKind::Connack) => {
                Some(Alarm::Dead(LossCause::ConnackTimeout(self.attempt.connack_limit)))
            }
            _ => self.liveness.check(now),
        }
    }
}

/// Encoded bytes on their way to the transport: small packets share a buffer, large payloads go as they are.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    buffer: BytesMut,
    ready: VecDeque<Bytes>,
}

impl WriteBuffer {
    fn cut(&mut self) {
        if !self.buffer.is_empty() {
            self.ready.push_back(self.buffer.split().freeze());
        }
    }

    /// Everything encoded so far, in order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        self.cut();
        self.ready.drain(..)
    }

    /// See [`crate::Engine::rest`].
    pub(crate) fn rest(&mut self) {
        if self.buffer.is_empty() && self.ready.is_empty() {
            *self = Self::default();
        }
    }

    /// Forgets what was encoded for a transport that is gone.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.ready.clear();
    }
}

fn limits(config: &LinkConfig) -> Limits {
    Limits {
        max_packet_size: if defect!(OversizedTaken) { u32::MAX } else { config.maximum_packet_size },
        max_user_properties: config.max_user_properties,
    }
}

pub(crate) fn malformed(error: DecodeError) -> LossCause {
    LossCause::Protocol(ProtocolError::new(error.reason(), error.to_string()))
}

fn unexpected(packet: &str, when: &str) -> LossCause {
    LossCause::Protocol(ProtocolError::new(ReasonCode::PROTOCOL_ERROR, format!("{packet} {when}")))
}

/// [MQTT-4.13.2-1]
fn server_disconnect(disconnect: &Disconnect) -> LossCause {
    let text = disconnect.properties.as_ref().and_then(|p| p.reason_string.as_ref());
    LossCause::ServerDisconnect {
        reason: disconnect.reason,
        text: text.map(|t| t.as_str().to_owned()),
        server_reference: disconnect.server_reference.as_ref().map(|t| t.as_str().to_owned()),
    }
}
