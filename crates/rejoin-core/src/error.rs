//! What can go wrong, named by who is to blame.

use std::fmt;
use std::time::Duration;

use crate::codec::packet::Version;
use crate::codec::reason::ReasonCode;

/// A stage of opening a connection. Every stage has a limit and a place in error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Credentials asked for from the application.
    Credentials,
    /// Name look-up.
    Dns,
    /// TCP handshake, or whatever else brings the first byte stream.
    Tcp,
    /// The tunnel through a proxy.
    Proxy,
    /// TLS handshake.
    Tls,
    /// WebSocket handshake.
    WebSocket,
    /// CONNECT sent, CONNACK awaited.
    Connack,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 7] =
        [Self::Credentials, Self::Dns, Self::Tcp, Self::Proxy, Self::Tls, Self::WebSocket, Self::Connack];

    /// A short stable name, for scripts, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Connack => "connack",
        }
    }

    /// Whether a broker, or what stands in front of it, has accepted the connection by then: from here on the
    /// attempt costs it something.
    pub const fn is_handshake(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocket | Self::Connack)
    }
}

/// What the transport reported, reduced to what recovery decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The name does not exist.
    NameNotFound,
    /// The resolver failed or did not answer.
    ResolverFailed,
    /// Nobody listens on the port.
    Refused,
    /// No route, network or host unreachable.
    Unreachable,
    /// The peer does not answer; a full accept queue looks the same.
    TimedOut,
    /// The peer reset the connection.
    Reset,
    /// The peer closed the connection.
    Closed,
    /// Out of file descriptors, ports or memory: our own machine.
    Resources,
    /// The server's certificate is not accepted: expired, another name, an authority nobody here trusts.
    Certificate,
    /// The server did not accept our certificate, or wants one.
    CertificateRefused,
    /// It answered, but not in the protocol expected there: no TLS, no WebSocket, no proxy.
    Handshake,
    /// The proxy, or the WebSocket server, wants other credentials.
    Unauthorized,
    /// The proxy works and cannot reach the server.
    Proxy,
    /// The application could not get credentials.
    Credentials,
    /// Anything else.
    Other,
}

/// An error of the transport: its kind for decisions, its words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What recovery decides on.
    pub kind: TransportErrorKind,
    /// The system's words, with the address where one is known.
    pub detail: String,
}

impl TransportError {
    /// An error with the system's words.
    pub fn new(kind: TransportErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for TransportError {}

/// The peer broke the protocol. Becomes a [`LossCause`]; the code is sent in DISCONNECT at 5.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// The code that names the fault.
    pub reason: ReasonCode,
    /// What was wrong, for people.
    pub detail: String,
}

impl ProtocolError {
    /// A fault with its code.
    pub fn new(reason: ReasonCode, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ProtocolError {}

/// Why we ended a link ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LocalCause {
    /// The application shut the client down.
    Shutdown,
    /// A new link was asked for: by the application (`restart_link`), or because the store takes nothing more and messages
    /// that wait for it filled the window of the present one.
    Restart,
    /// A session that is not ours to go on with was found and had to be ended first (3.1.1, rule of [MQTT-3.2.2-4]).
    ForeignSession,
    /// The credentials were about to end: the next link opens with new ones.
    Renewal,
}

/// Why a link, or an attempt to open one, ended. The key of the recovery table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossCause {
    /// The transport could not be opened.
    Open {
        /// How far it came.
        stage: Stage,
        /// What the transport said.
        error: TransportError,
    },
    /// The transport did not open within its limit.
    ConnectTimeout(Duration),
    /// The transport opened, but no CONNACK came within its limit.
    ConnackTimeout(Duration),
    /// The peer closed after CONNECT without an answer.
    ClosedBeforeConnack,
    /// CONNACK refused the connection.
    Refused {
        /// The code of CONNACK.
        reason: ReasonCode,
        /// The broker's own words.
        text: Option<String>,
        /// Server Reference, where another server is named.
        server_reference: Option<String>,
        /// The broker answered in the form of 3.1.1 though 5.0 was spoken.
        v311_form: bool,
        /// Maximum QoS of this CONNACK, for a will that was refused for its QoS.
        maximum_qos: Option<crate::codec::packet::Qos>,
    },
    /// The peer closed an established link without DISCONNECT.
    PeerClosed,
    /// The established link was reset or failed in the transport.
    Transport(TransportError),
    /// The server sent DISCONNECT.
    ServerDisconnect {
        /// The code.
        reason: ReasonCode,
        /// The broker's own words.
        text: Option<String>,
        /// Server Reference, where another server is named.
        server_reference: Option<String>,
    },
    /// No PINGRESP within the limit, and no other byte either.
    PingTimeout(Duration),
    /// The socket took no bytes for the limit.
    WriteStall(Duration),
    /// No acknowledgement of any kind for the limit though some were due.
    AckTimeout(Duration),
    /// No message for the time of the health watch.
    HealthWatch(Duration),
    /// The server broke the protocol.
    Protocol(ProtocolError),
    /// We ended it.
    Local(LocalCause),
}

impl LossCause {
    /// The names of all that can end a link that was open, for whoever counts them. [`LossCause::name`] has more: those
    /// of attempts that failed.
    pub const ENDS_OF_LINKS: [&'static str; 13] = [
        "peer-closed",
        "reset",
        "transport-timeout",
        "transport-error",
        "server-disconnect",
        "ping-timeout",
        "write-stall",
        "ack-timeout",
        "health-watch",
        "protocol-error",
        "shutdown",
        "restart",
        "renewal",
    ];

    /// A short stable name of the class, for scripts, logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { error, .. } => match error.kind {
                TransportErrorKind::NameNotFound => "name-not-found",
                TransportErrorKind::ResolverFailed => "resolver-failed",
                TransportErrorKind::Refused => "connection-refused",
                TransportErrorKind::Unreachable => "unreachable",
                TransportErrorKind::TimedOut => "connect-timeout",
                TransportErrorKind::Resources => "out-of-resources",
                TransportErrorKind::Certificate => "certificate-not-accepted",
                TransportErrorKind::CertificateRefused => "client-certificate-refused",
                TransportErrorKind::Handshake => "handshake-failed",
                TransportErrorKind::Unauthorized => "unauthorized",
                TransportErrorKind::Proxy => "proxy-failed",
                TransportErrorKind::Credentials => "no-credentials",
                TransportErrorKind::Reset | TransportErrorKind::Closed | TransportErrorKind::Other => {
                    "connect-failed"
                }
            },
            Self::ConnectTimeout(_) => "connect-timeout",
            Self::ConnackTimeout(_) => "connack-timeout",
            Self::ClosedBeforeConnack => "closed-before-connack",
            Self::Refused { .. } => "refused",
            Self::PeerClosed => "peer-closed",
            Self::Transport(error) => match error.kind {
                TransportErrorKind::Reset => "reset",
                TransportErrorKind::TimedOut => "transport-timeout",
                _ => "transport-error",
            },
            Self::ServerDisconnect { .. } => "server-disconnect",
            Self::PingTimeout(_) => "ping-timeout",
            Self::WriteStall(_) => "write-stall",
            Self::AckTimeout(_) => "ack-timeout",
            Self::HealthWatch(_) => "health-watch",
            Self::Protocol(_) => "protocol-error",
            Self::Local(LocalCause::Shutdown) => "shutdown",
            Self::Local(LocalCause::Restart) => "restart",
            Self::Local(LocalCause::ForeignSession) => "foreign-session",
            Self::Local(LocalCause::Renewal) => "renewal",
        }
    }

    /// The reason code the broker gave, where it gave one.
    pub const fn reason_code(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused { reason, .. } | Self::ServerDisconnect { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &Option<String>| {
            text.as_ref().map(|t| format!(": \"{}\"", t.escape_debug())).unwrap_or_default()
        };
        match self {
            Self::Open { stage, error } => write!(f, "{stage}: {error}"),
            Self::ConnectTimeout(d) => write!(f, "no connection within {d:?}"),
            Self::ConnackTimeout(d) => write!(f, "connected, but no CONNACK within {d:?}"),
            Self::ClosedBeforeConnack => f.write_str("the peer closed the connection without a CONNACK"),
            Self::Refused { reason, text, server_reference, .. } => {
                write!(f, "the broker refused the connection: {reason}{}", quoted(text))?;
                named(f, server_reference)
            }
            Self::PeerClosed => f.write_str("the peer closed the connection"),
            Self::Transport(error) => write!(f, "{error}"),
            Self::ServerDisconnect { reason, text, server_reference } => {
                write!(f, "the broker disconnected: {reason}{}", quoted(text))?;
                named(f, server_reference)
            }
            Self::PingTimeout(d) => write!(f, "no answer to a ping within {d:?}"),
            Self::WriteStall(d) => write!(f, "the socket took no bytes for {d:?}"),
            Self::AckTimeout(d) => write!(f, "no acknowledgement for {d:?}"),
            Self::HealthWatch(d) => write!(f, "no message for {d:?}"),
            Self::Protocol(error) => write!(f, "the broker broke the protocol: {error}"),
            Self::Local(LocalCause::Shutdown) => f.write_str("shut down"),
            Self::Local(LocalCause::Restart) => f.write_str("a new link was asked for"),
            Self::Local(LocalCause::Renewal) => f.write_str("the credentials were about to end"),
            Self::Local(LocalCause::ForeignSession) => {
                f.write_str("the broker kept a session that is not ours to go on with; it is ended first")
            }
        }
    }
}

impl std::error::Error for LossCause {}

/// The server the broker names instead; a person must follow it.
fn named(f: &mut fmt::Formatter<'_>, server: &Option<String>) -> fmt::Result {
    match server {
        Some(server) => write!(f, "; it names the server `{}`", server.escape_debug()),
        None => Ok(()),
    }
}

/// A configuration that cannot work. Fix the program or the flag it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    /// An error about one field.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Why the engine did not accept a request. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The client was shut down or stopped for good.
    Stopped,
    /// The packet would be larger than MQTT can carry or than the server accepts, in bytes.
    TooLarge {
        /// Size of the packet in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The agreement with the server forbids it (shared or wildcard subscriptions, for example).
    NotAvailable(&'static str),
    /// A combination the standard forbids.
    Invalid(&'static str),
    /// 3.1.1 cannot express it.
    NotInVersion {
        /// What was asked for.
        what: &'static str,
        /// The version spoken.
        version: Version,
    },
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the client is stopped; make a new one"),
            Self::TooLarge { size, limit } => {
                write!(f, "the packet has {size} bytes, the limit is {limit}; make it smaller")
            }
            Self::NotAvailable(what) => write!(f, "the server does not offer {what}"),
            Self::Invalid(what) => f.write_str(what),
            Self::NotInVersion { what, version } => write!(f, "{version} has no {what}"),
        }
    }
}

impl std::error::Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_ends_a_link_has_its_name_in_the_list() {
        let transport = |kind| LossCause::Transport(TransportError::new(kind, ""));
        let limit = Duration::ZERO;
        let ends = [
            LossCause::PeerClosed,
            transport(TransportErrorKind::Reset),
            transport(TransportErrorKind::TimedOut),
            transport(TransportErrorKind::Other),
            LossCause::ServerDisconnect { reason: ReasonCode::SUCCESS, text: None, server_reference: None },
            LossCause::PingTimeout(limit),
            LossCause::WriteStall(limit),
            LossCause::AckTimeout(limit),
            LossCause::HealthWatch(limit),
            LossCause::Protocol(ProtocolError::new(ReasonCode::PROTOCOL_ERROR, "")),
            LossCause::Local(LocalCause::Shutdown),
            LossCause::Local(LocalCause::Restart),
            LossCause::Local(LocalCause::Renewal),
        ];
        assert_eq!(ends.map(|cause| cause.name()), LossCause::ENDS_OF_LINKS);
    }
}
