//! **The table**: why a link or an attempt ended, and what that means for the next one.
//!
//! Read it like this: each row names what to do ([`Verdict`]); `.or(..)` what to do instead where the first is not
//! possible (no other server, no fresh credentials, no other version); `.from(n, ..)` what to do from the n-th
//! time in a row; `.with(..)` what changes on the next link. Four rules stand above all rows, in [`judge`]: a link
//! that did not live counts as *overloaded*, one that lived to the known end of its credentials does not, the slow lane
//! waits until a suspect message was set aside, and of several servers one that cuts a link and turns us away at once is
//! passed over.
//!
//! How long each verdict waits is in `mod.rs`; nothing else in rejoin decides about trying again.

use std::fmt;

use crate::codec::packet::{Qos, Version};
use crate::codec::reason::ReasonCode as R;
use crate::error::{LocalCause, LossCause, TransportError, TransportErrorKind as T};

use Verdict::{
    Absent, Administrative, Banned, Credentials, NextServer, Now, Overloaded, Quarantine, Redirected,
    SlowLane, Spread, Stop, Takeover, Unauthorized, Untrusted,
};

/// What the end of a link or an attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// One try at once.
    Now,
    /// One try within a short random time: everybody was cut together.
    Spread,
    /// The broker is not there, and asking costs it nothing.
    Absent,
    /// The broker has too much to do, or does not hold its links; asking costs it something.
    Overloaded,
    /// Another server, without a window.
    NextServer,
    /// The server that the broker named, at once.
    Redirected,
    /// One try at once, with credentials fetched anew.
    Credentials,
    /// One try at once, with something changed.
    Adapt(Adapt),
    /// Try again and set the suspect message or subscription aside.
    Quarantine,
    /// Another client took over the session.
    Takeover,
    /// The server banned this client; coming back too early renews the ban.
    Banned,
    /// An operator closed the link.
    Administrative,
    /// The rights are missing; they may be granted later.
    Unauthorized,
    /// The server could not prove who it is. It is asked again after a minute or more, never unverified.
    Untrusted,
    /// Trying again is not expected to help by itself: minutes to an hour between attempts.
    SlowLane,
    /// No more attempts.
    Stop,
}

impl Verdict {
    /// A short stable name, for scripts, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Now => "now",
            Spread => "spread",
            Absent => "absent",
            Overloaded => "overloaded",
            NextServer => "next-server",
            Redirected => "redirected",
            Credentials => "credentials",
            Self::Adapt(_) => "adapt",
            Quarantine => "quarantine",
            Takeover => "takeover",
            Banned => "banned",
            Administrative => "administrative",
            Unauthorized => "unauthorized",
            Untrusted => "untrusted",
            SlowLane => "slow-lane",
            Stop => "stop",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Now => "tries again at once",
            Spread => "tries again shortly, spread at random because all clients were cut together",
            Absent => "waits because the broker is not there",
            Overloaded => "waits because the broker is overloaded or does not hold the link",
            NextServer => "tries another server",
            Redirected => "follows to the server it was named",
            Credentials => "tries again with fresh credentials",
            Self::Adapt(adapt) => return write!(f, "tries again {adapt}"),
            Quarantine => "tries again with the suspect message set aside",
            Takeover => "waits because another client took over the session",
            Banned => "waits because the broker banned this client",
            Administrative => "waits because an operator closed the link",
            Unauthorized => "waits for rights to be granted",
            Untrusted => "waits because the server could not prove who it is",
            SlowLane => "tries rarely because trying again is not expected to help by itself",
            Stop => "stops",
        })
    }
}

/// What is done differently on the next link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Adapt {
    /// Speak MQTT 3.1.1 with this server.
    SpeakV311,
    /// Lower the will to this QoS: the server offers no more.
    WillQos(Qos),
    /// Send the will without retain: the server cannot keep it.
    WillRetainOff,
    /// Use no topic aliases towards this server.
    AliasesOff,
    /// Halve the number of messages in flight.
    HalveWindow,
    /// Ping after a quarter less of idleness.
    PingMoreOften,
}

impl fmt::Display for Adapt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpeakV311 => f.write_str("speaking MQTT 3.1.1"),
            Self::WillQos(qos) => write!(f, "with the will at QoS {}", *qos as u8),
            Self::WillRetainOff => f.write_str("with a will that is not retained"),
            Self::AliasesOff => f.write_str("without topic aliases"),
            Self::HalveWindow => f.write_str("with half as many messages in flight"),
            Self::PingMoreOften => f.write_str("with more frequent pings"),
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    first: Verdict,
    or: Verdict,
    later: [(u32, Verdict); 2],
    adapt: Option<Adapt>,
    /// The reason, for people.
    why: &'static str,
}

const NO_STEP: (u32, Verdict) = (u32::MAX, Stop);

const fn row(first: Verdict, why: &'static str) -> Row {
    Row { first, or: Overloaded, later: [NO_STEP; 2], adapt: None, why }
}

impl Row {
    const fn or(mut self, or: Verdict) -> Self {
        self.or = or;
        self
    }

    const fn from(mut self, nth: u32, verdict: Verdict) -> Self {
        let slot = if self.later[0].0 == u32::MAX { 0 } else { 1 };
        self.later[slot] = (nth, verdict);
        self
    }

    const fn with(mut self, adapt: Adapt) -> Self {
        self.adapt = Some(adapt);
        self
    }

    fn nth(&self, nth: u32) -> Verdict {
        self.later.iter().rev().find(|(from, _)| nth >= *from).map_or(self.first, |(_, verdict)| *verdict)
    }
}

const SPEAK_V311: Verdict = Verdict::Adapt(Adapt::SpeakV311);
/// The QoS is the one this CONNACK names.
const LOWER_WILL_QOS: Verdict = Verdict::Adapt(Adapt::WillQos(Qos::AtMostOnce));
const WILL_NOT_RETAINED: Verdict = Verdict::Adapt(Adapt::WillRetainOff);

/// Below MQTT, and what we decided ourselves.
#[rustfmt::skip]
const fn without_code(cause: &LossCause) -> Row {
    match cause {
        LossCause::Open { error, .. } => match error.kind {
            T::NameNotFound      => row(NextServer, "the name may be entered or corrected later").or(Absent),
            T::ResolverFailed    => row(NextServer, "no resolver, no broker: costs the broker nothing").or(Absent),
            T::Refused           => row(NextServer, "nobody listens: costs the broker nothing").or(Absent),
            T::Unreachable       => row(NextServer, "no route: costs the broker nothing").or(Absent),
            T::TimedOut          => row(Overloaded, "a full accept queue looks just like this"),
            T::Reset | T::Closed => row(Overloaded, "somebody was there and turned us away"),
            T::Resources         => row(Absent, "our own machine is short; another server does not help"),
            T::Certificate       => row(NextServer, "never unverified; it may be renewed, or our clock be set")
                                        .or(Untrusted),
            T::CertificateRefused => row(Credentials, "ours may be renewed").or(Unauthorized),
            T::Handshake         => row(Overloaded, "throttled; or another port is meant").from(3, SlowLane),
            T::Unauthorized      => row(Credentials, "tokens expire").or(Unauthorized),
            T::Proxy             => row(NextServer, "the proxy cannot reach it: costs the broker nothing").or(Absent),
            T::Credentials       => row(Absent, "the broker has nothing to do with it; a window of its own"),
            T::Other             => row(NextServer, "unknown, but the broker did not see it").or(Absent),
        },
        LossCause::ConnectTimeout(_)   => row(Overloaded, "a full accept queue looks just like this"),
        LossCause::ConnackTimeout(_)   => row(Overloaded, "we stood in the queue and it did not get to us"),
        // [MQTT311-3.2.2-6]
        LossCause::ClosedBeforeConnack => row(Overloaded, "throttled; or 5.0 is not spoken, if it never worked")
                                            .from(2, SPEAK_V311).or(Overloaded),
        LossCause::PeerClosed          => row(Now, "a restart, here or on the way; the first to ask is served"),
        LossCause::Transport(_)        => row(Now, "the link broke, which says nothing about the broker"),
        LossCause::PingTimeout(_)      => row(Now, "the path died, the broker may be fine"),
        LossCause::WriteStall(_)       => row(Now, "the path died, the broker may be fine"),
        LossCause::AckTimeout(_)       => row(Now, "the link forgot our messages; a new one asks again"),
        LossCause::HealthWatch(_)      => row(Now, "asked for by the settings"),
        LossCause::Protocol(_)         => row(Now, "corruption on the way is the common case, and passes"),
        LossCause::Local(LocalCause::Shutdown)       => row(Stop, "asked for"),
        LossCause::Local(LocalCause::Restart)        => row(Now, "asked for"),
        LossCause::Local(LocalCause::Renewal)        => row(Now, "on our own terms, with new credentials at hand"),
        LossCause::Local(LocalCause::ForeignSession) => row(Now, "the second half of opening the link")
                                            .from(FOREIGN_AGAIN, Overloaded),
        LossCause::Refused { .. } | LossCause::ServerDisconnect { .. } => row(Overloaded, "judged by its code"),
    }
}

/// The peer broke the protocol before CONNACK: an HTTP server on the port, a proxy, a portal.
#[rustfmt::skip]
const NOT_A_BROKER: Row = row(Overloaded, "whatever answers is not a broker, or not now").from(3, SlowLane);

/// The link broke between CONNECT and CONNACK, other than by its peer's end.
#[rustfmt::skip]
const fn before_connack(error: &TransportError) -> Row {
    match error.kind {
        T::Unreachable => row(NextServer, "the route went away: costs the broker nothing").or(Absent),
        T::Resources   => row(Absent, "our own machine is short; another server does not help"),
        _              => row(Overloaded, "it took the connection and did not answer, which may repeat"),
    }
}

/// CONNACK; the return codes of 3.1.1 arrive as 0x84, 0x85, 0x88, 0x86 and 0x87.
#[rustfmt::skip]
const fn connack(code: R) -> Row {
    match code {
        R::MALFORMED_PACKET             => row(Now, "corruption once, our own bug if repeated").from(2, SlowLane),
        R::PROTOCOL_ERROR               => row(Now, "corruption once, our own bug if repeated").from(2, SlowLane),
        R::IMPLEMENTATION_SPECIFIC_ERROR => row(NextServer, "valid, but not wanted here")
                                            .or(Overloaded).from(4, SlowLane),
        // [MQTT-3.1.2-2]
        R::UNSUPPORTED_PROTOCOL_VERSION => row(SPEAK_V311, "will not change by itself").or(SlowLane),
        // [MQTT-3.1.3-8] [MQTT-3.1.3-5]
        R::CLIENT_IDENTIFIER_NOT_VALID  => row(SlowLane, "configuration"),
        R::BAD_USER_NAME_OR_PASSWORD    => row(Credentials, "tokens expire; a fixed one does not heal").or(SlowLane),
        // [MQTT-3.1.4-2] [MQTT-4.12.0-1]
        R::NOT_AUTHORIZED               => row(Credentials, "rights may be granted later")
                                            .or(Unauthorized).from(2, Unauthorized),
        R::SERVER_UNAVAILABLE           => row(NextServer, "what is behind the listener is down").or(Overloaded),
        R::SERVER_BUSY                  => row(Overloaded, "it says so"),
        R::BANNED                       => row(Banned, "a quick retry renews the ban"),
        R::BAD_AUTHENTICATION_METHOD    => row(SlowLane, "configuration"),
        R::TOPIC_NAME_INVALID           => row(SlowLane, "the will's topic: configuration"),
        R::PACKET_TOO_LARGE             => row(SlowLane, "CONNECT or will too large: configuration"),
        R::QUOTA_EXCEEDED               => row(Overloaded, "often a quota per minute"),
        R::PAYLOAD_FORMAT_INVALID       => row(SlowLane, "the will's payload: configuration"),
        // [MQTT-3.2.2-13]
        R::RETAIN_NOT_SUPPORTED         => row(WILL_NOT_RETAINED, "the will's; the server cannot").from(2, SlowLane),
        // [MQTT-3.2.2-12]
        R::QOS_NOT_SUPPORTED            => row(LOWER_WILL_QOS, "the will's; the server cannot")
                                            .or(SlowLane).from(2, SlowLane),
        R::USE_ANOTHER_SERVER           => row(Redirected, "for a while, if the one it names may be followed")
                                            .or(Overloaded),
        R::SERVER_MOVED                 => row(Redirected, "for good; else a person must follow it").or(SlowLane),
        R::CONNECTION_RATE_EXCEEDED     => row(Overloaded, "it says so"),
        // 0x80 itself, and whatever a broker newer than us may say.
        _                               => row(Overloaded, "unknown, so with care").from(3, NextServer).or(Overloaded),
    }
}

/// DISCONNECT from the server (5.0).
#[rustfmt::skip]
const fn disconnect(code: R) -> Row {
    match code {
        R::SUCCESS                      => row(Spread, "maintenance: everybody was told together"),
        R::MALFORMED_PACKET             => row(Now, "corruption once").from(2, Quarantine).from(3, SlowLane),
        R::PROTOCOL_ERROR               => row(Now, "corruption once").from(2, Quarantine).from(3, SlowLane),
        R::IMPLEMENTATION_SPECIFIC_ERROR => row(Absent, "not our doing the first time").from(2, Quarantine),
        R::BAD_USER_NAME_OR_PASSWORD    => row(Credentials, "the token expired").or(SlowLane),
        R::NOT_AUTHORIZED               => row(Credentials, "the token expired, or a topic is forbidden")
                                            .or(Quarantine).from(2, Quarantine).from(3, Unauthorized),
        R::SERVER_UNAVAILABLE           => row(NextServer, "what is behind the listener is down").or(Overloaded),
        R::SERVER_BUSY                  => row(Overloaded, "it says so"),
        R::BANNED                       => row(Banned, "a quick retry renews the ban"),
        R::SERVER_SHUTTING_DOWN         => row(NextServer, "a planned restart, all are told together").or(Spread),
        R::BAD_AUTHENTICATION_METHOD    => row(SlowLane, "configuration"),
        R::KEEP_ALIVE_TIMEOUT           => row(Now, "our pings were late, it is fine").with(Adapt::PingMoreOften),
        // [MQTT-3.1.4-3]
        R::SESSION_TAKEN_OVER           => row(Takeover, "both sides live: retrying is the storm").from(3, SlowLane),
        R::TOPIC_FILTER_INVALID         => row(Quarantine, "the subscription; it would repeat"),
        R::TOPIC_NAME_INVALID           => row(Quarantine, "the message; it would repeat"),
        R::RECEIVE_MAXIMUM_EXCEEDED     => row(Now, "we counted differently").with(Adapt::HalveWindow),
        R::TOPIC_ALIAS_INVALID          => row(Now, "we counted differently").with(Adapt::AliasesOff),
        R::PACKET_TOO_LARGE             => row(Quarantine, "the message; it would repeat"),
        R::MESSAGE_RATE_TOO_HIGH        => row(Overloaded, "it says so"),
        R::QUOTA_EXCEEDED               => row(Overloaded, "often a quota per minute"),
        R::ADMINISTRATIVE_ACTION        => row(Administrative, "an operator wanted us away").from(2, Overloaded),
        R::PAYLOAD_FORMAT_INVALID       => row(Quarantine, "the message; it would repeat"),
        R::RETAIN_NOT_SUPPORTED         => row(Now, "CONNACK says it; the message fails here").from(2, Quarantine),
        R::QOS_NOT_SUPPORTED            => row(Now, "CONNACK says it; the message fails here").from(2, Quarantine),
        R::USE_ANOTHER_SERVER           => row(Redirected, "for a while, if the one it names may be followed")
                                            .or(Overloaded),
        R::SERVER_MOVED                 => row(Redirected, "for good; else a person must follow it").or(SlowLane),
        R::CONNECTION_RATE_EXCEEDED     => row(Overloaded, "it says so"),
        R::MAXIMUM_CONNECT_TIME         => row(Now, "expected rotation"),
        R::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        | R::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
        | R::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => row(Quarantine, "the subscription; it would repeat"),
        // 0x80 itself, and whatever a broker newer than us may say.
        _                               => row(Absent, "unknown; a server that says goodbye is likely to go away"),
    }
}

/// How long the link lived that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It never opened: an attempt failed.
    Never,
    /// It opened and did not live. Counts as a failure.
    Short,
    /// It was stable.
    Stable,
}

/// What else the table looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// How long the link lived.
    pub(super) life: Life,
    /// How often in a row it ended like this, this time included.
    pub(super) nth: u32,
    /// Messages or wishes were sent and not answered.
    pub(super) unacked: bool,
    /// The credentials had just ended, and a broker that sees that may end a link like this.
    pub(super) credentials_ended: bool,
    /// Fresh credentials can still be had.
    pub(super) fresh_credentials: bool,
    /// 5.0 was spoken and 3.1.1 may be.
    pub(super) may_speak_v311: bool,
    /// Another server was not tried yet in this round.
    pub(super) another_server: bool,
    /// This server has just ended a link that held, and this is the first attempt since.
    pub(super) just_cut: bool,
    /// The broker named a server that may be followed.
    pub(super) named_server: bool,
    /// One of many clients, cut by something that cut all of them.
    pub(super) herd: bool,
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) adapt: Option<Adapt>,
    /// Only the short life speaks against this server, and our session lives there.
    pub(super) stay: bool,
}

/// Why the table says what it says about a cause: half a sentence for people. `opened`: the link had been open.
pub const fn why(cause: &LossCause, opened: bool) -> &'static str {
    row_of(cause, opened).why
}

const fn row_of(cause: &LossCause, opened: bool) -> Row {
    match cause {
        LossCause::Refused { reason, .. } => connack(*reason),
        LossCause::ServerDisconnect { reason, .. } => disconnect(*reason),
        LossCause::Protocol(_) if !opened => NOT_A_BROKER,
        LossCause::Transport(error) if !opened => before_connack(error),
        other => without_code(other),
    }
}

/// Two cuts with nothing else in flight are asked for before a message is set aside, after the cut that made it
/// suspect, and a link without it has to live in between: so many cuts go before the slow lane.
const CUTS_TO_FIND_A_SUSPECT: u32 = 6;

/// A foreign session is found once and ended once. Found again after that, somebody made it anew meanwhile.
pub(super) const FOREIGN_AGAIN: u32 = 3;

/// Looks the cause up.
pub(super) fn judge(cause: &LossCause, facts: &Facts) -> Judgement {
    let row = row_of(cause, facts.life != Life::Never);
    if facts.credentials_ended && facts.life != Life::Never {
        // Whatever it said: they were good until then, so this was no failure, however short the link.
        return Judgement { verdict: Credentials, adapt: None, stay: true };
    }
    if facts.just_cut && facts.another_server && closed_in_opening(cause) {
        // A process that ends still takes connections for a moment; by the row it would be waited for like a busy one.
        return Judgement { verdict: NextServer, adapt: None, stay: false };
    }
    let mut verdict = possible(row.nth(facts.nth), &row, cause, facts);
    let cut = matches!(cause, LossCause::ServerDisconnect { .. }) && facts.unacked;
    let isolates = row.later[0].1 == Quarantine && matches!(verdict, SlowLane | Unauthorized);
    if cut && isolates && facts.nth < CUTS_TO_FIND_A_SUSPECT {
        verdict = Quarantine;
    }
    let stay = facts.life == Life::Short && matches!(verdict, Now | Spread | Absent);
    if facts.life == Life::Short && !matches!(cause, LossCause::Local(_)) {
        verdict = after_a_short_life(verdict);
    }
    if facts.herd && verdict == Now && facts.life == Life::Stable && !defect!(FleetTogether) {
        verdict = Spread;
    }
    let adapt = match verdict {
        Verdict::Adapt(adapt) => Some(adapt),
        _ => row.adapt,
    };
    Judgement { verdict, adapt, stay }
}

/// The verdict, or what to do instead where it is not possible.
fn possible(verdict: Verdict, row: &Row, cause: &LossCause, facts: &Facts) -> Verdict {
    match verdict {
        NextServer if !facts.another_server => row.or,
        Redirected if !facts.named_server => row.or,
        Credentials if !facts.fresh_credentials => row.or,
        Verdict::Adapt(Adapt::SpeakV311) if !facts.may_speak_v311 => row.or,
        Verdict::Adapt(Adapt::WillQos(_)) => match cause {
            LossCause::Refused { maximum_qos: Some(qos), .. } => Verdict::Adapt(Adapt::WillQos(*qos)),
            _ => row.or,
        },
        other => other,
    }
}

/// Whether this may be how a broker ends a link whose credentials have ended.
pub(super) const fn may_end_credentials(cause: &LossCause) -> bool {
    match cause {
        LossCause::ServerDisconnect { reason, .. } => matches!(
            *reason,
            R::SUCCESS
                | R::UNSPECIFIED_ERROR
                | R::IMPLEMENTATION_SPECIFIC_ERROR
                | R::BAD_USER_NAME_OR_PASSWORD
                | R::NOT_AUTHORIZED
                | R::ADMINISTRATIVE_ACTION
                | R::MAXIMUM_CONNECT_TIME
        ),
        _ => is_closed(cause),
    }
}

/// The other side ended an open link without a word.
pub(super) const fn is_closed(cause: &LossCause) -> bool {
    match cause {
        LossCause::PeerClosed => true,
        LossCause::Transport(error) => matches!(error.kind, T::Reset | T::Closed),
        _ => false,
    }
}

/// The other side ended an open link. A transport that broke in another way speaks of the path or of this machine.
pub(crate) const fn is_by_peer(cause: &LossCause) -> bool {
    is_closed(cause) || matches!(cause, LossCause::ServerDisconnect { .. })
}

/// Somebody took the connection and dropped it without a word.
fn closed_in_opening(cause: &LossCause) -> bool {
    matches!(cause, LossCause::ClosedBeforeConnack)
        || matches!(cause, LossCause::Open { error, .. } if matches!(error.kind, T::Reset | T::Closed))
}

/// A link that opened and did not live is a failure of the broker, whatever was said at its end: without this, a
/// broker that accepts and closes is asked again for ever, as fast as it can close.
const fn after_a_short_life(verdict: Verdict) -> Verdict {
    match verdict {
        Now | Spread | Absent | NextServer => Overloaded,
        other => other,
    }
}

/// 3.1.1 may be tried after this failure, as far as the version spoken is concerned.
pub(super) const fn asks_about_the_version(cause: &LossCause, spoken: Version) -> bool {
    matches!(spoken, Version::V5)
        && matches!(cause, LossCause::Refused { .. } | LossCause::ClosedBeforeConnack)
}
