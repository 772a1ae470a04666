//! Settings of an engine: plain values, each with its unit, its default and why.
//!
//! [`Config::check`] looks at what depends on several fields; [`crate::Engine::new`] calls it.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::packet::{Connect, ConnectProperties, Packet, UserProperties, Version, Will};
use crate::codec::{self, EncodeError};
use crate::common::Common;
use crate::error::ConfigError;
use crate::text::Text;
use crate::topic::TopicFilter;

/// All settings of one client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Client identifier. Empty asks the server for one, which is kept (5.0).
    pub client_id: Text,
    /// One name per server, as shown to people and as the key of its session; at least one.
    pub servers: Vec<Text>,
    /// Which protocol versions may be spoken. Default: 5.0, and 3.1.1 where the server cannot.
    pub version: VersionPolicy,
    /// User name and password. With a password alone 3.1.1, which cannot send it, is not spoken.
    pub login: Login,
    /// Enhanced authentication (5.0). Default: none.
    pub authentication: Option<Box<Authentication>>,
    /// The will message. Default: none.
    pub will: Option<Box<Will>>,
    /// User properties of CONNECT (5.0).
    pub user_properties: UserProperties,
    /// Settings of each link.
    pub link: Common<LinkConfig>,
    /// Settings of the session.
    pub session: Common<SessionConfig>,
    /// Settings of recovery.
    pub recovery: Common<RecoveryConfig>,
}

/// Why a login cannot be sent at 3.1.1, and what would do.
pub(crate) const NAMELESS_AT_V311: &str =
    "MQTT 3.1.1 has no password without a user name; give a user name or speak MQTT 5.0";

impl Config {
    /// The defaults, for one client id and one server.
    pub fn new(client_id: Text, server: Text) -> Self {
        Self {
            client_id,
            servers: vec![server],
            version: VersionPolicy::default(),
            login: Login::default(),
            authentication: None,
            will: None,
            user_properties: Vec::new(),
            link: Common::default(),
            session: Common::default(),
            recovery: Common::default(),
        }
    }

    /// The versions that may be spoken: 3.1.1 has no enhanced authentication, and going without is no fall-back.
    pub(crate) const fn spoken(&self) -> VersionPolicy {
        if self.authentication.is_some() { VersionPolicy::Only5 } else { self.version }
    }

    /// Checks what depends on several fields.
    ///
    /// # Errors
    /// Names the first field that cannot work and what would.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.servers.is_empty() {
            return Err(ConfigError::new("servers", "name at least one server"));
        }
        let only_311 = self.version == VersionPolicy::Only311;
        if self.client_id.is_empty() && only_311 && self.session.mode.is_kept() {
            return Err(ConfigError::new(
                "client_id",
                "a kept session at MQTT 3.1.1 needs a client id; give one or ask for a fresh session",
            ));
        }
        if self.authentication.is_some() && only_311 {
            return Err(ConfigError::new(
                "authentication",
                "MQTT 3.1.1 has none; use a user name and password",
            ));
        }
        if self.login.needs_v5() && only_311 {
            return Err(ConfigError::new("login", NAMELESS_AT_V311));
        }
        self.check_connect()?;
        let positive = [
            ("link.ping_after", self.link.ping_after),
            ("link.ping_timeout", self.link.ping_timeout),
            ("link.write_timeout", self.link.write_timeout),
            ("link.ack_timeout", self.link.ack_timeout),
            ("link.connect_timeout", self.link.connect_timeout),
            ("link.connack_timeout", self.link.connack_timeout),
            ("recovery.absent.first", self.recovery.absent.first),
            ("recovery.overload.first", self.recovery.overload.first),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, d)| d.is_zero()) {
            return Err(ConfigError::new(field, "must be longer than zero"));
        }
        for (field, window) in
            [("recovery.absent", self.recovery.absent), ("recovery.overload", self.recovery.overload)]
        {
            if window.cap < window.first {
                return Err(ConfigError::new(field, "the cap must not be below the first window"));
            }
        }
        if self.link.health_watch.is_some_and(|d| d.is_zero()) {
            return Err(ConfigError::new("link.health_watch", "must be longer than zero"));
        }
        if self.link.maximum_packet_size < 64 {
            return Err(ConfigError::new("link.maximum_packet_size", "must be at least 64 bytes"));
        }
        if self.link.receive_maximum == 0 {
            return Err(ConfigError::new(
                "link.receive_maximum",
                "must be at least 1: else nothing is received",
            ));
        }
        if self.session.packet_id_max == 0 || self.session.in_flight_max == Some(0) {
            return Err(ConfigError::new("session", "the id space and the in-flight cap must not be zero"));
        }
        Ok(())
    }

    /// What CONNECT says must be something that can be written, and mean what was asked for.
    fn check_connect(&self) -> Result<(), ConfigError> {
        let seconds = self.link.keep_alive.as_secs();
        if (seconds == 0 && !self.link.keep_alive.is_zero()) || seconds > u64::from(u16::MAX) {
            return Err(ConfigError::new("link.keep_alive", "must be 1 to 65,535 s, or zero to turn it off"));
        }
        let authentication = self.authentication.as_deref();
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive: 0,
            client_id: self.client_id.clone(),
            will: self.will.as_deref().cloned(),
            user_name: self.login.user_name.clone(),
            password: self.login.password.clone(),
            properties: ConnectProperties {
                user_properties: self.user_properties.clone(),
                authentication_method: authentication.map(|auth| auth.method.clone()),
                authentication_data: authentication.and_then(|auth| auth.data.clone()),
                ..ConnectProperties::default()
            },
        };
        codec::check(&Packet::Connect(Box::new(connect)), Version::V5).map_err(|error| match error {
            EncodeError::Invalid { field, problem, .. } => ConfigError::new(field, problem),
            error @ EncodeError::TooLarge { .. } => ConfigError::new("user_properties", error.to_string()),
        })
    }
}

/// Which protocol versions may be spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionPolicy {
    /// 5.0; 3.1.1 after an explicit refusal of 5.0, or after two attempts on a server where 5.0 never worked
    /// were closed straight after CONNECT. Remembered per server, told once.
    #[default]
    Prefer5,
    /// 5.0 and nothing else.
    Only5,
    /// 3.1.1 and nothing else.
    Only311,
}

/// User name and password. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user_name: Option<Text>,
    /// Password.
    pub password: Option<Bytes>,
}

impl Login {
    /// Whether only 5.0 can carry it: 3.1.1 has no password without a user name.
    pub(crate) const fn needs_v5(&self) -> bool {
        self.password.is_some() && self.user_name.is_none()
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user_name", &self.user_name.as_ref().map(|_| "***"))
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish()
    }
}

/// Enhanced authentication (5.0). Its data is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Authentication Method.
    pub method: Text,
    /// Authentication Data of CONNECT.
    pub data: Option<Bytes>,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication")
            .field("method", &self.method)
            .field("data", &self.data.as_ref().map(|_| "***"))
            .finish()
    }
}

/// Settings of each link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// Keep Alive on the wire, in whole seconds. Default 60 s: detection does not need a short one, and a stall
    /// of a few seconds must not fire the will. Zero turns the protocol's own off;
    /// else it is 1 to 65,535 s.
    pub keep_alive: Duration,
    /// A PINGREQ goes out when either direction was idle this long. Default 15 s, and never more than three
    /// quarters of the effective keep-alive.
    pub ping_after: Duration,
    /// No byte for this long after a PINGREQ means a dead link. Default 5 s, a floor: a slow link gets more,
    /// scaled by its round trip.
    pub ping_timeout: Duration,
    /// The socket takes no byte for this long though some wait. Default 5 s.
    pub write_timeout: Duration,
    /// No acknowledgement of any kind for this long though some are due. Default 20 s; doubles on repeat up to
    /// ten minutes. What answers a message resets it, and what answers a subscription where no message waits.
    pub ack_timeout: Duration,
    /// Limit of one round of opening the transport, name look-up included. Default 10 s. A shorter one doubles on
    /// each expiry, up to 10 s and tenfold, and halves after success.
    pub connect_timeout: Duration,
    /// Limit from the open transport to CONNACK. Default 30 s: from there the client is in the broker's queue
    /// and leaving wastes a slot. Doubles on expiry like `connect_timeout`, up to 60 s and tenfold; and up to 30 s when
    /// that expires, because an unanswered SYN says that the queue is full.
    pub connack_timeout: Duration,
    /// A link on which no PUBLISH came for this long is restarted, at most once per that time. Default off. Not while
    /// the application has `receive_maximum` messages above QoS 0 that it has not taken, or [`LinkConfig::SMALL_WINDOW`]:
    /// the server may not be allowed to send more.
    pub health_watch: Option<Duration>,
    /// Only PUBLISH packets that match one of these are news to the health watch. Default empty: all are.
    pub health_watch_filters: Vec<TopicFilter>,
    /// What the health watch finds is only told, by [`crate::Event::Silent`]; the link stays. Default off.
    pub health_watch_only_tells: bool,
    /// PUBLISH packets that match one of these are never news to the health watch: what we sent ourselves, for example.
    /// Default empty.
    pub health_watch_ignored: Vec<TopicFilter>,
    /// Largest packet accepted from the server, in bytes. Default 1 MiB; announced at 5.0.
    pub maximum_packet_size: u32,
    /// How many QoS 1 and 2 messages the server may have unacknowledged towards us, at least 1. Default 64; announced
    /// at 5.0, and the bound of memory for a slow application.
    pub receive_maximum: u16,
    /// How many messages beyond `receive_maximum` are put up with before the link is ended with 0x93. Default
    /// 65,535: mosquitto 2.0.11 sends a whole window more for every acknowledgement, and everything again on
    /// resume; ending the link over that would bring it back for ever. 0 is the letter of [MQTT-3.3.4-9]. What
    /// came beyond is counted in [`crate::Stats::receive_overruns`].
    pub receive_overrun: u32,
    /// Topic aliases the server may use towards us. Default 0: none.
    pub topic_alias_maximum: u16,
    /// Topic aliases used towards the server, up to what it allows. Default 16.
    pub topic_aliases_used: u16,
    /// Largest number of user properties in one packet. Default 256.
    pub max_user_properties: usize,
    /// Bytes handed to the transport and not yet taken by it, above which no further PUBLISH is encoded.
    /// Default 256 KiB: keeps pings and acknowledgements from standing behind a backlog.
    pub write_buffer: usize,
}

impl LinkConfig {
    /// The smallest window towards a client that brokers are set up with, in messages: with so many unacknowledged a broker
    /// may wait for us, whatever `receive_maximum` allows it. 10; mosquitto's is 20.
    pub const SMALL_WINDOW: u16 = 10;
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            keep_alive: Duration::from_secs(60),
            ping_after: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
            ack_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            connack_timeout: Duration::from_secs(30),
            health_watch: None,
            health_watch_filters: Vec::new(),
            health_watch_only_tells: false,
            health_watch_ignored: Vec::new(),
            maximum_packet_size: 1024 * 1024,
            receive_maximum: 64,
            receive_overrun: 65_535,
            topic_alias_maximum: 0,
            topic_aliases_used: 16,
            max_user_properties: 256,
            write_buffer: 256 * 1024,
        }
    }
}

/// How long the server keeps the session while the client is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// A new session for this process. At 5.0 only the first CONNECT of the process asks for a clean start;
    /// later ones come back to the same session, which the server keeps for `linger`, else each cut would be a
    /// session loss. At 3.1.1 each connection is a session of its own.
    Fresh {
        /// Session Expiry Interval at 5.0. Default 5 min: longer than the longest back-off.
        linger: Duration,
    },
    /// The server keeps the session for this long; `Duration::MAX` never expires. At 3.1.1 the server decides.
    Kept(Duration),
}

impl SessionMode {
    /// Whether the session is meant to outlive this process.
    pub const fn is_kept(self) -> bool {
        matches!(self, Self::Kept(_))
    }

    /// Session Expiry Interval in seconds, as it is written in CONNECT.
    pub fn expiry_seconds(self) -> u32 {
        let (Self::Fresh { linger: d } | Self::Kept(d)) = self;
        u32::try_from(d.as_secs()).unwrap_or(u32::MAX)
    }
}

/// What happens to a message that was sent but not acknowledged when the server lost the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionLossPolicy {
    /// It is sent again as new; the receipt says `possible_duplicate`.
    #[default]
    Resend,
    /// It ends as [`crate::Outcome::Unknown`].
    Fail,
    /// It waits until the application decides with [`crate::Engine::decide`] (`Client::decide` of `rejoin`).
    Ask,
}

/// When subscriptions are sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resubscribe {
    /// After every reconnect: Session Present does not prove that the server still has them.
    #[default]
    Always,
    /// Only when the server says that it has no session.
    WhenAbsent,
}

/// Settings of the session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionConfig {
    /// Kept or fresh. Default: fresh, 5 min.
    pub mode: SessionMode,
    /// Take up a session the server has though this process knows nothing of it. Default off: a process without
    /// stored session state begins anew, at 5.0 with a clean start, at 3.1.1 by ending what is there. With it on,
    /// messages the server kept arrive, but a QoS 2 message sent under an id the former process left open may be taken
    /// for its copy and lost.
    pub adopt: bool,
    /// Several addresses share their sessions. Default off: a session belongs to one server, and on another
    /// one the client begins anew: at 5.0 with a clean start, at 3.1.1 by ending what is there.
    pub clustered: bool,
    /// A message of QoS 2 is sent as one of QoS 1 where the server offers no more (Maximum QoS 1): it may arrive twice,
    /// and its receipt says `downgraded`, or after a restart of a process with a store perhaps only `possible_duplicate`. Default
    /// off: such a message ends as [`crate::Outcome::NotSupported`], because
    /// only the application can say whether twice is better than never.
    pub lower_qos: bool,
    /// QoS 1 and 2 messages unacknowledged at a time. Default: 1,000 at 5.0 (or the server's Receive Maximum if
    /// lower), 100 at 3.1.1.
    pub in_flight_max: Option<u16>,
    /// What happens to unacknowledged messages when the session is lost.
    pub on_loss: SessionLossPolicy,
    /// When subscriptions are sent again.
    pub resubscribe: Resubscribe,
    /// Facts are handed to a store, and what must not be forgotten waits until they are on it. Default off.
    pub durable: bool,
    /// Bytes of topics and payloads of waiting messages kept in memory though a store has them. Default 4 MiB: enough
    /// to keep a fast link busy while the next bodies are read. Means nothing without a store.
    pub memory_window_bytes: u64,
    /// Highest packet identifier used. Default 65,535; tests make it tiny.
    pub packet_id_max: u16,
    /// How often a QoS 1 message that was refused with "quota exceeded" is sent again. Default 8; 0 tells the
    /// caller at once.
    pub quota_retries: u32,
    /// First pause before such a message is sent again; doubles up to 30 times this. Default 1 s.
    pub quota_pause: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            mode: SessionMode::Fresh { linger: Duration::from_secs(300) },
            adopt: false,
            clustered: false,
            lower_qos: false,
            in_flight_max: None,
            on_loss: SessionLossPolicy::default(),
            resubscribe: Resubscribe::default(),
            durable: false,
            memory_window_bytes: 4 * 1024 * 1024,
            packet_id_max: u16::MAX,
            quota_retries: 8,
            quota_pause: Duration::from_secs(1),
        }
    }
}

/// A growing back-off window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// The first window.
    pub first: Duration,
    /// What it is multiplied by after each failure, in percent (200 doubles).
    pub growth_percent: u32,
    /// The widest window.
    pub cap: Duration,
}

/// How many attempts may reach a broker, per client. EMQX bans a client id after 15 connects in a minute, AWS
/// IoT refuses more than one a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Shortest time between two attempts that reach a broker. Default 1 s.
    pub spacing: Duration,
    /// Most attempts within `period`. Default 12.
    pub per_period: u32,
    /// The period. Default 60 s.
    pub period: Duration,
}

/// Which of several servers is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerPolicy {
    /// The one that worked last, because the session is there; until one did, in the order given.
    #[default]
    Sticky,
    /// The order given is the order of preference: each round begins with the first.
    Ordered,
    /// As sticky, in an order drawn once per client: a fleet is spread over its servers.
    Shuffled,
}

/// Which servers named by a broker are followed (5.0: codes 0x9C and 0x9D with a Server Reference).
///
/// The login goes to the server that is followed, and it is spoken to as the one that named it, never less secure. At
/// most [`Follow::REDIRECTS`] are followed in a row, and [`Follow::SERVERS`] servers remembered. A server that is in the
/// list anyway is always followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Follow {
    /// None. The reference is shown, and a person may follow it.
    #[default]
    Never,
    /// Those whose host is listed, or is below a name listed with a leading dot, as `.example.com`.
    Listed(Vec<Text>),
}

impl Follow {
    /// Redirects followed in a row without a stable link in between: beyond it they are a loop.
    pub const REDIRECTS: u32 = 5;
    /// Servers that are remembered because a broker named them.
    pub const SERVERS: usize = 16;

    /// Whether this host may be followed to.
    pub fn trusts(&self, host: &str) -> bool {
        let Self::Listed(hosts) = self else { return false };
        let host = host.to_ascii_lowercase();
        hosts.iter().any(|listed| {
            let listed = listed.as_str().to_ascii_lowercase();
            host == listed || (listed.starts_with('.') && host.ends_with(&listed))
        })
    }
}

/// Settings of recovery. Every constant of the policy is here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecoveryConfig {
    /// Whether a lost link is opened again. Default true.
    pub reconnect: bool,
    /// Back-off while the broker is *absent* (refused, unreachable): costs it nothing. Full jitter over 2, 4, 8,
    /// then 15 s, never wider than the outage so far (but at least the first window).
    pub absent: Window,
    /// The absent cap once the outage is older than `long_outage`. Default 30 s.
    pub absent_cap_long: Duration,
    /// See `absent_cap_long`. Default 10 min.
    pub long_outage: Duration,
    /// Back-off while the broker is *overloaded* (no CONNACK, closed before it, busy): upper half of 10 s
    /// growing by half up to 60 s.
    pub overload: Window,
    /// A link is stable after max(this, twice the last window). Default 30 s. A shorter life counts as a failure.
    pub stable_after: Duration,
    /// Spread of the first try after an announced shutdown and, with `fleet`, after any loss others share. Default
    /// 2 s.
    pub spread: Duration,
    /// This client is one of many: spread the first try after any loss but one that only we saw, such as a ping
    /// time-out. Default off.
    pub fleet: bool,
    /// The budget; `None` lifts it, which may get the client banned. Default 1/s and 12/min.
    pub budget: Option<Budget>,
    /// The slow lane: where retrying cannot help by itself. Default 5 min doubling to 1 h, upper half jitter.
    pub slow_lane: Window,
    /// What would go to the slow lane stops for good instead. Default off: nobody visits a device.
    pub give_up: bool,
    /// First wait after a takeover by another client with our id, drawn from `[this, 3 x this]`. Default 5 s.
    pub takeover_wait: Duration,
    /// Takeovers within this time belong to one duel. Default 5 min.
    pub takeover_memory: Duration,
    /// First wait after a ban; doubles to 12 times this. Default 5 min.
    pub banned_wait: Duration,
    /// Wait after an administrative disconnect, drawn from `[this, 2 x this]`. Default 30 s.
    pub administrative_wait: Duration,
    /// Which server is tried first. Default: the one that worked last.
    pub servers: ServerPolicy,
    /// Whether a server that the broker names is followed. Default: never; the list of servers is the user's.
    pub follow: Follow,
    /// The user name and password can be fetched anew by the driver. Default off; then a refused login goes to
    /// the slow lane at once.
    pub fresh_credentials: bool,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            reconnect: true,
            absent: Window { first: secs(2), growth_percent: 200, cap: secs(15) },
            absent_cap_long: secs(30),
            long_outage: secs(600),
            overload: Window { first: secs(10), growth_percent: 150, cap: secs(60) },
            stable_after: secs(30),
            spread: secs(2),
            fleet: false,
            budget: Some(Budget { spacing: secs(1), per_period: 12, period: secs(60) }),
            slow_lane: Window { first: secs(300), growth_percent: 200, cap: secs(3600) },
            give_up: false,
            takeover_wait: secs(5),
            takeover_memory: secs(300),
            banned_wait: secs(300),
            administrative_wait: secs(30),
            servers: ServerPolicy::default(),
            follow: Follow::default(),
            fresh_credentials: false,
        }
    }
}

impl RecoveryConfig {
    /// All times divided by `n`, for demonstrations and tests, which must say so.
    #[must_use]
    pub fn divided_by(mut self, n: u32) -> Self {
        let n = n.max(1);
        for window in [&mut self.absent, &mut self.overload, &mut self.slow_lane] {
            window.first /= n;
            window.cap /= n;
        }
        for time in [
            &mut self.absent_cap_long,
            &mut self.long_outage,
            &mut self.stable_after,
            &mut self.spread,
            &mut self.takeover_wait,
            &mut self.takeover_memory,
            &mut self.banned_wait,
            &mut self.administrative_wait,
        ] {
            *time /= n;
        }
        if let Some(budget) = &mut self.budget {
            budget.spacing /= n;
            budget.period /= n;
        }
        self
    }
}
