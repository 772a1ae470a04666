//! What was typed, checked and made into what the library wants. Nothing is connected here.

use std::time::Duration;

use bytes::Bytes;
use rejoin::{
    Builder, Client, FlightRecorder, Scheme, Secret, ServerUrl, TopicFilter, TopicName, VersionPolicy, Window,
};
use rejoin_core::codec::packet::{PublishProperties, Qos};
use rejoin_core::text::Text;
use rejoin_core::{SessionMode, Will};

use crate::args::{ConnectArgs, MqttVersion, PubArgs, SubArgs};
use crate::exit::Failure;
use crate::format::Format;
use crate::narrator::Role;
use crate::observe::flags::ServeArgs;
use crate::properties::Properties;
use crate::quantity::Limit;
use crate::queue::flags::QueueArgs;
use crate::source::Source;

/// How long the broker keeps the session of a client with a name.
const KEPT: Duration = Duration::from_secs(3600);

/// How long it keeps that of one without.
const LINGER: Duration = Duration::from_secs(300);

/// How long it keeps that of a client whose queue is on disk.
const QUEUED: Duration = Duration::from_secs(24 * 3600);

/// Room for one message given with -m, -f or -s: as large as MQTT can carry.
const ROOM_FOR_ONE: usize = 300 << 20;

/// What is beside the flags of clap: which of them were typed, and the words of `-D`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    /// `-h` or `-p` stands on the command line.
    pub(crate) host: bool,
    /// `-L` stands on the command line.
    pub(crate) url: bool,
    /// A server was named at all, on the command line or in the environment.
    pub(crate) server: bool,
    /// The words after each `-D`.
    pub(crate) properties: Vec<Vec<String>>,
}

/// What `pub` and `sub` share, checked.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Servers in the order of preference; at least one.
    pub(crate) servers: Vec<ServerUrl>,
    /// The path of the URLs.
    pub(crate) path: Option<String>,
    /// Client id, where one was given.
    pub(crate) id: Option<String>,
    /// `-c` was given.
    pub(crate) keep: bool,
    session: SessionMode,
    /// It is meant to outlive this process.
    pub(crate) kept: bool,
    will: Option<Will>,
    /// Words of `-D`.
    pub(crate) properties: Properties,
    args: ConnectArgs,
}

/// `rejoin pub`, checked.
#[derive(Debug)]
pub(crate) struct Publish {
    /// The connection.
    pub(crate) connection: Connection,
    /// Where to.
    pub(crate) topic: TopicName,
    /// QoS.
    pub(crate) qos: Qos,
    /// Retain.
    pub(crate) retain: bool,
    /// Where the messages come from.
    pub(crate) source: Source,
    /// Where they wait.
    pub(crate) queue: QueueArgs,
    /// Where to be seen.
    pub(crate) serve: ServeArgs,
}

/// `rejoin sub`, checked.
#[derive(Debug)]
pub(crate) struct Subscribe {
    /// The connection.
    pub(crate) connection: Connection,
    /// What to.
    pub(crate) filters: Vec<TopicFilter>,
    /// QoS.
    pub(crate) qos: Qos,
    /// How messages are printed; `None` prints the payload.
    pub(crate) format: Option<Format>,
    /// Print the topic first.
    pub(crate) topic_first: bool,
    /// A line end after each message.
    pub(crate) line_end: bool,
    /// Leave out retained messages.
    pub(crate) no_retained: bool,
    /// End after this many.
    pub(crate) count: Option<u64>,
    /// End after this long.
    pub(crate) wait: Option<Duration>,
    /// Where to be seen.
    pub(crate) serve: ServeArgs,
}

impl Publish {
    /// Checks everything that was typed.
    pub(crate) fn new(args: PubArgs, typed: &Typed) -> Result<Self, Failure> {
        let PubArgs {
            topic,
            message,
            stdin_line,
            file,
            stdin_file,
            null,
            qos,
            retain,
            queue,
            serve,
            connect,
        } = args;
        let mut connection = Connection::new(connect, typed, false)?;
        if queue.queue.is_some() {
            connection.outlive()?;
        }
        let topic = match (topic, &connection.path) {
            (Some(topic), None) => topic,
            (None, Some(path)) => path.clone(),
            (Some(_), Some(_)) => {
                return Err(Failure::usage("a topic in -L and one in -t; leave one of them out"));
            }
            (None, None) => {
                return Err(Failure::usage("no topic; give one with -t, or in -L mqtt://HOST/TOPIC"));
            }
        };
        let topic = TopicName::try_from(topic).map_err(|e| Failure::usage(format!("-t: {e}")))?;
        let source = match (message, file) {
            (Some(message), _) => Source::message(message),
            (None, Some(path)) => Source::File(path),
            (None, None) if stdin_line => Source::Lines,
            (None, None) if stdin_file => Source::Stdin,
            (None, None) if null => Source::Given(Bytes::new()),
            (None, None) => {
                return Err(Failure::usage(
                    "no message; give one with -m, -f, -s or -n, or stream lines with -l",
                ));
            }
        };
        Ok(Self { connection, topic, qos: quality(qos), retain, source, queue, serve })
    }

    /// The client's settings.
    pub(crate) fn builder(&self) -> Builder {
        let room = match self.source {
            Source::Lines => None,
            _ => Some(ROOM_FOR_ONE),
        };
        let room = self.connection.room().or(room);
        // Session and queue may be those of an application: what comes in is for that one, and not ours to answer for.
        self.connection.builder().unrouted_after(Duration::MAX).queue(self.queue.queue(room))
    }

    /// Messages are taken, and are safe, without a connection.
    pub(crate) fn is_durable(&self) -> bool {
        self.queue.queue.is_some()
    }

    /// What the story is about.
    pub(crate) fn role(&self) -> Role {
        Role { publishes: true, kept: self.connection.kept, durable: self.is_durable(), ..Role::default() }
    }
}

impl Subscribe {
    /// Checks everything that was typed.
    pub(crate) fn new(args: SubArgs, typed: &Typed, json: bool) -> Result<Self, Failure> {
        let connection = Connection::new(args.connect, typed, true)?;
        let mut topics = args.topic;
        topics.extend(connection.path.clone());
        if topics.is_empty() {
            return Err(Failure::usage("no topic filter; give one with -t, or in -L mqtt://HOST/FILTER"));
        }
        let filters = topics
            .into_iter()
            .map(TopicFilter::try_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| Failure::usage(format!("-t: {e}")))?;
        let format = match args.format {
            Some(format) => Some(Format::parse(&format).map_err(|e| Failure::usage(format!("-F: {e}")))?),
            None => json.then(Format::json),
        };
        Ok(Self {
            connection,
            filters,
            qos: quality(args.qos),
            format,
            topic_first: args.verbose,
            line_end: !args.no_newline,
            no_retained: args.no_retained,
            count: args.count,
            wait: args.wait,
            serve: args.serve,
        })
    }

    /// The client's settings.
    pub(crate) fn builder(&self) -> Builder {
        let mut builder = self.connection.builder();
        if let Some(room) = self.connection.room() {
            builder = builder.queue(rejoin::Queue::in_memory().max_bytes(room as u64));
        }
        // The former process with this id left messages on the broker: they are what -c is for.
        if self.connection.keep { builder.adopt_session() } else { builder }
    }

    /// What the story is about.
    pub(crate) fn role(&self) -> Role {
        Role { subscribes: true, publishes: false, kept: self.connection.kept, durable: false }
    }
}

impl Connection {
    pub(crate) fn new(args: ConnectArgs, typed: &Typed, subscribes: bool) -> Result<Self, Failure> {
        let usage = |message: String| Failure::usage(message);
        if typed.url && typed.host {
            return Err(Failure::usage("-L names the server already; leave out -h and -p"));
        }
        let (servers, path) = servers(&args, typed).map_err(usage)?;
        args.ways.check(&servers).map_err(usage)?;
        let id = client_id(&args, &servers).map_err(usage)?;
        if args.disable_clean_session && id.is_none() {
            return Err(Failure::usage("-c keeps the session of a client id; give one with -i"));
        }
        if args.disable_clean_session && args.id_prefix.is_some() && subscribes {
            return Err(Failure::usage(
                "-c comes back to a session by its client id, and -I makes a new one; use -i",
            ));
        }
        let only_311 = args.mqtt_version == Some(MqttVersion::V311);
        let kept = args.disable_clean_session || (id.is_some() && !only_311);
        let session = match (kept, args.session_expiry_interval) {
            (_, Some(Limit::After(Duration::ZERO))) if args.disable_clean_session => {
                return Err(Failure::usage("-c keeps the session and -x 0 does not; leave one of them out"));
            }
            (true, None) => SessionMode::Kept(KEPT),
            (true, Some(Limit::Never)) => SessionMode::Kept(Duration::MAX),
            (true, Some(Limit::After(time))) if !time.is_zero() => SessionMode::Kept(time),
            (_, Some(limit)) => SessionMode::Fresh { linger: limit.duration().unwrap_or(Duration::MAX) },
            (false, None) => SessionMode::Fresh { linger: LINGER },
        };
        let properties = Properties::parse(&typed.properties).map_err(usage)?;
        if let Some(user) = &args.username {
            Text::try_from(user.as_str()).map_err(|e| usage(format!("-u: {e}")))?;
        }
        let will = will(&args, &properties).map_err(usage)?;
        if only_311 && !typed.properties.is_empty() {
            return Err(Failure::usage("-D: MQTT 3.1.1 has no properties; leave out -V 311 or -D"));
        }
        let password = args.password.is_some() || args.ways.asks_for_password();
        if args.password.is_some() && args.ways.asks_for_password() {
            return Err(Failure::usage(
                "-P gives a password already; leave out --password-file and --password-command",
            ));
        }
        if password && args.username.is_none() && only_311 {
            return Err(Failure::usage("-P without -u: MQTT 3.1.1 has no password without a user name"));
        }
        Ok(Self {
            servers,
            path,
            id,
            keep: args.disable_clean_session,
            session,
            kept,
            will,
            properties,
            args,
        })
    }

    /// The servers as people see them.
    pub(crate) fn places(&self) -> Vec<String> {
        self.servers.iter().map(ServerUrl::place).collect()
    }

    /// Whether a proxy may stand in front of one of the servers.
    pub(crate) fn may_be_proxied(&self) -> bool {
        self.servers.iter().any(|server| self.args.ways.may_use_proxy(server))
    }

    /// Limit for the first connection, and for the drain.
    pub(crate) const fn deadline(&self) -> Limit {
        self.args.deadline
    }

    /// Room for messages that was asked for, in bytes.
    pub(crate) const fn room(&self) -> Option<usize> {
        self.args.recovery.queue_max
    }

    /// The queue outlives this process, so the session is to do the same. The queue remembers the client id.
    pub(crate) fn outlive(&mut self) -> Result<(), Failure> {
        if self.args.id_prefix.is_some() {
            return Err(Failure::usage(
                "--queue comes back to a session by its client id, and -I makes a new one; use -i, or leave it out",
            ));
        }
        if self.args.session_expiry_interval.is_none() {
            self.session = SessionMode::Kept(QUEUED);
            self.kept = true;
        }
        Ok(())
    }

    pub(crate) fn builder(&self) -> Builder {
        let mut builder = Client::builder_for(self.servers.iter().cloned());
        if let Some(time) = self.servers.iter().find_map(|server| server.keep_alive) {
            builder = builder.keep_alive(time);
        }
        if let Some(id) = &self.id {
            builder = builder.client_id(id);
        }
        builder = builder.version(match self.args.mqtt_version {
            None => VersionPolicy::Prefer5,
            Some(MqttVersion::V5) => VersionPolicy::Only5,
            Some(MqttVersion::V311) => VersionPolicy::Only311,
        });
        let (args, will) = (self.args.clone(), self.will.clone());
        let user_properties = self.properties.connect.clone();
        let (user, password) = login(&self.args, &self.servers);
        // What stands in the URLs alone is looked at by the builder, which knows of all of them.
        let typed = self.args.username.is_some() || self.args.password.is_some();
        builder = match (user.clone().filter(|_| typed), password.filter(|_| typed)) {
            (Some(user), Some(password)) => builder.login(user, password),
            (Some(user), None) => builder.user_name(user),
            (None, Some(password)) => builder.token(password),
            (None, None) => builder,
        };
        builder = self.args.ways.apply(builder, user);
        if let Some(file) = &self.args.output.flight {
            builder = builder.flight_recorder(FlightRecorder::to(file));
        }
        let session = self.session;
        builder.config(move |config| {
            config.session.mode = session;
            config.will = will.map(Box::new);
            config.user_properties = user_properties;
            apply(&args, config);
        })
    }
}

/// The flags that set one field each.
fn apply(args: &ConnectArgs, config: &mut rejoin::Config) {
    let (recovery, link) = (&args.recovery, &mut *config.link);
    if let Some(time) = args.keep_alive {
        link.keep_alive = time;
    }
    for (field, given) in [
        (&mut link.connect_timeout, args.connect_timeout),
        (&mut link.ping_after, recovery.ping_after),
        (&mut link.ping_timeout, recovery.ping_timeout),
        (&mut link.ack_timeout, recovery.ack_timeout),
        (&mut link.write_timeout, recovery.write_timeout),
        (&mut config.recovery.stable_after, recovery.stable_after),
    ] {
        if let Some(given) = given {
            *field = given;
        }
    }
    link.health_watch = recovery.health_watch;
    if let Some(messages) = recovery.receive_maximum {
        link.receive_maximum = messages;
    }
    if let Some(bytes) = recovery.maximum_packet_size {
        link.maximum_packet_size = bytes;
    }
    config.session.in_flight_max = recovery.in_flight;
    if let Some(range) = recovery.backoff {
        let window = Window { first: range.from, cap: range.to, ..config.recovery.absent };
        config.recovery.absent = window;
        // Who names the widest window means it in a long outage too.
        config.recovery.absent_cap_long = range.to;
    }
    if let Some(range) = recovery.overload_backoff {
        config.recovery.overload = Window { first: range.from, cap: range.to, ..config.recovery.overload };
    }
    config.recovery.reconnect = !recovery.no_reconnect;
    config.recovery.give_up = recovery.give_up;
    if recovery.lift_connect_budget {
        config.recovery.budget = None;
    }
}

/// What was typed wins over what a URL says.
fn login(args: &ConnectArgs, servers: &[ServerUrl]) -> (Option<String>, Option<Secret>) {
    let in_url = servers.iter().find(|server| server.user.is_some() || server.password.is_some());
    let user = args.username.clone().or_else(|| in_url.and_then(|url| url.user.clone()));
    let typed = args.password.clone().map(Secret::from);
    (user, typed.or_else(|| in_url.and_then(|url| url.password.clone())))
}

fn servers(args: &ConnectArgs, typed: &Typed) -> Result<(Vec<ServerUrl>, Option<String>), String> {
    if let Some(path) = &args.ways.unix {
        let path = path.to_str().ok_or("--unix: the path is not text")?;
        let mut server = ServerUrl::tcp(path, 0);
        server.scheme = Scheme::Unix;
        return Ok((vec![server], None));
    }
    // A host on the command line wins over a URL in the environment.
    if args.url.is_empty() || typed.host {
        return Ok((vec![host(args)?], None));
    }
    let mut servers = Vec::new();
    let mut path: Option<String> = None;
    for url in &args.url {
        // A filter may end in `#`, which a URL proper would take for a fragment.
        let mut server = ServerUrl::parse(&url.replace('#', "%23")).map_err(|e| format!("-L: {e}"))?;
        let topic = if server.scheme.is_websocket() { None } else { server.path.take() };
        match (topic, &path) {
            (Some(new), Some(old)) if new != *old => {
                return Err(format!("-L: the URLs name two topics, `{old}` and `{new}`"));
            }
            (Some(new), _) => path = Some(new),
            (None, _) => {}
        }
        servers.push(server);
    }
    Ok((servers, path))
}

/// The server of `-h` and `-p`.
fn host(args: &ConnectArgs) -> Result<ServerUrl, String> {
    if args.host.contains('@') {
        // Not shown: before it there may be a password.
        return Err("-h: no host has an `@`; a login goes to -u and $REJOIN_PASSWORD, a URL to -L".to_owned());
    }
    let shown = args.host.escape_debug();
    let scheme = args.ways.scheme(args.port);
    let port = args.port.unwrap_or_else(|| scheme.port());
    let url = ServerUrl::parse(&format!("mqtt://{}:{port}", bracketed(&args.host)));
    let mut server = url.map_err(|_| format!("-h: `{shown}` is no host name or address"))?;
    if server.path.is_some() || server.user.is_some() || server.client_id.is_some() {
        return Err(format!("-h: `{shown}` is no host name or address; a URL goes to -L"));
    }
    server.scheme = scheme;
    server.path = args.ways.ws_path.clone().filter(|_| scheme.is_websocket());
    Ok(server)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn client_id(args: &ConnectArgs, servers: &[ServerUrl]) -> Result<Option<String>, String> {
    let given = match (&args.id, &args.id_prefix) {
        (Some(id), _) => Some(id.clone()),
        (None, Some(prefix)) => {
            let random: String = (0..12).map(|_| fastrand::alphanumeric()).collect();
            Some(format!("{prefix}{random}"))
        }
        (None, None) => servers.iter().find_map(|server| server.client_id.clone()),
    };
    match given {
        Some(id) if id.is_empty() => {
            Err("-i: empty; give a name, or leave it out for a random one".to_owned())
        }
        Some(id) => {
            Text::try_from(id.as_str()).map_err(|e| format!("-i: {e}"))?;
            Ok(Some(id))
        }
        None => Ok(None),
    }
}

fn will(args: &ConnectArgs, properties: &Properties) -> Result<Option<Will>, String> {
    let Some(topic) = &args.will.will_topic else {
        let asked = properties.will != PublishProperties::default() || properties.will_delay.is_some();
        return if asked { Err("-D will: there is no will; give --will-topic".to_owned()) } else { Ok(None) };
    };
    let topic = TopicName::try_from(topic).map_err(|e| format!("--will-topic: {e}"))?;
    let payload = args.will.will_payload.clone().unwrap_or_default().into_encoded_bytes();
    if payload.len() > Text::MAX_BYTES {
        return Err(format!("--will-payload: {} bytes, the limit is {}", payload.len(), Text::MAX_BYTES));
    }
    Ok(Some(Will {
        topic: topic.text().clone(),
        payload: Bytes::from(payload),
        qos: quality(args.will.will_qos.unwrap_or(0)),
        retain: args.will.will_retain,
        delay: properties.will_delay,
        properties: properties.will.clone(),
    }))
}

fn quality(number: u8) -> Qos {
    // The flag takes 0 to 2.
    Qos::from_u8(number).unwrap_or_default()
}
