//! Settings of a client, and its start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rejoin_core::flight::Flight;
use rejoin_core::text::Text;
use rejoin_core::{
    Config, ConfigError, Engine, Follow, ServerPolicy, SessionLossPolicy, SessionMode, VersionPolicy, Window,
};

use crate::alerts::Alerts;
use crate::authentication::Authentication;
use crate::away::{Session, Will};
use crate::callbacks::{self, Callback};
use crate::client::Client;
use crate::command::{Clock, Shared};
use crate::credentials::{CredentialSource, Credentials};
use crate::driver::Driver;
use crate::error::{BuildError, ConnectError};
use crate::events::Event;
use crate::health::loopback::{self, Loopback};
use crate::health::{HealthRules, HealthWatch, Ward, observer};
use crate::queue::{Place, Queue};
use crate::recorder::FlightRecorder;
use crate::secret::Secret;
use crate::servers;
use crate::status::State;
use crate::storage;
use crate::store::Store;
use crate::url::{ServerUrl, UrlError};
use crate::ways::Ways;

/// How long a message that nobody wants is held for somebody who may come.
const UNROUTED_AFTER: Duration = Duration::from_secs(10);

/// How long the broker keeps the session of a client that has a name.
const NAMED_SESSION: Duration = Duration::from_secs(3600);
/// How long it keeps that of a client whose queue outlives the process.
const QUEUED_SESSION: Duration = Duration::from_secs(24 * 3600);

/// What [`Builder::config`] does to the settings.
type Change = Box<dyn FnOnce(&mut Config) + Send>;

/// Settings of a client. Every constant has its default in [`rejoin_core::Config`]; the words here are those most
/// programs need, and [`Builder::config`] reaches the rest.
///
/// ```no_run
/// # async fn example() -> rejoin::Result<()> {
/// use std::time::Duration;
/// let client = rejoin::Client::builder("mqtt://broker.example")
///     .client_id("gw-17")
///     .session(rejoin::Session::kept_for(Duration::from_secs(3600)))
///     .queue(rejoin::Queue::in_memory().max_bytes(16 * 1024 * 1024))
///     .on_close(|event| eprintln!("{event:?}"))
///     .start()?; // returns at once; never needs the network
/// client.publish("gw-17/hello", "up").qos(rejoin::Qos::AtLeastOnce).enqueue()?;
/// # Ok(()) }
/// ```
#[must_use = "a client exists once it is started"]
pub struct Builder {
    servers: Vec<Result<ServerUrl, UrlError>>,
    config: Config,
    client_id: Option<String>,
    keep_alive: Option<Duration>,
    session: Option<SessionMode>,
    login: Option<servers::Given>,
    pub(crate) ways: Ways,
    will: Option<Will>,
    queue: Queue,
    unrouted_after: Duration,
    own_thread: bool,
    callbacks: Vec<Callback>,
    changes: Vec<Change>,
    recorder: Option<FlightRecorder>,
    watched: Watched,
}

/// What is watched, if anything is.
#[derive(Default)]
struct Watched {
    health: Option<HealthRules>,
    alerts: Option<Alerts>,
    loopback: Option<loopback::Asked>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("servers", &self.servers)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        Self::empty().server(url)
    }

    pub(crate) fn empty() -> Self {
        let mut config = Config::new(Text::default(), Text::default());
        config.servers.clear();
        Self {
            servers: Vec::new(),
            config,
            client_id: None,
            keep_alive: None,
            session: None,
            login: None,
            ways: Ways::default(),
            will: None,
            queue: Queue::in_memory(),
            unrouted_after: UNROUTED_AFTER,
            own_thread: false,
            callbacks: Vec::new(),
            changes: Vec::new(),
            recorder: None,
            watched: Watched::default(),
        }
    }

    /// One more server, in the order of preference.
    pub fn server(mut self, url: &str) -> Self {
        let parsed = ServerUrl::parse(url).and_then(|parsed| match &parsed.path {
            Some(_) if !parsed.scheme.is_websocket() => {
                Err(UrlError::new(url, "a path has no meaning at a broker; leave it out"))
            }
            _ => Ok(parsed),
        });
        self.servers.push(parsed);
        self
    }

    /// One more server, by its parts.
    pub fn server_url(mut self, url: ServerUrl) -> Self {
        self.servers.push(Ok(url));
        self
    }

    /// Which of several servers is tried first. Default: the one that worked last, because the session is there.
    pub fn server_policy(self, policy: ServerPolicy) -> Self {
        self.set(|config| config.recovery.servers = policy)
    }

    /// Follows a broker that names another server (5.0) to these hosts; a leading dot means all names below it. The
    /// login goes with us. Default: only servers of the list are followed to.
    pub fn follow_to<T: AsRef<str>>(self, hosts: impl IntoIterator<Item = T>) -> Self {
        let hosts = hosts.into_iter().filter_map(|host| Text::try_from(host.as_ref()).ok()).collect();
        self.set(|config| config.recovery.follow = Follow::Listed(hosts))
    }

    /// Shuffles the servers once, so that a fleet is spread over them.
    pub fn shuffle(self) -> Self {
        self.set(|config| config.recovery.servers = ServerPolicy::Shuffled)
    }

    /// Client identifier. It wins over one in a URL. Default: the first that a URL names, or `rejoin-` and 16 random
    /// characters. With one, the session is kept for an hour
    /// unless [`Builder::session`] says otherwise (at 3.1.1 alone it stays fresh).
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// User name and password, for all servers. They win over those in a URL. Default: the one login that URLs hold, which
    /// goes to all servers, too; different ones are refused, and so is one in a URL of TLS beside a server without it.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.login = Some((Some(user.into()), Some(password.into())));
        self
    }

    /// A token without a user name. There is no fall-back to 3.1.1 then, which cannot send it: a broker that knows only
    /// that refuses it and is asked rarely, or closes without a word and is waited for like an overloaded one. With
    /// [`Builder::login`] 3.1.1 can send it, beside a user name.
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.login = Some((None, Some(token.into())));
        self
    }

    /// Asks for credentials before each attempt, see [`CredentialSource`]. They win over all others.
    pub fn login_from(mut self, source: CredentialSource) -> Self {
        self.ways.login = Some(source);
        self.set(|config| config.recovery.fresh_credentials = true)
    }

    /// Enhanced authentication (5.0), see [`Authentication`]. 3.1.1 is not spoken then.
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.ways.authentication = Some(authentication);
        self
    }

    /// The same with a function.
    pub fn login_with<F, Fut>(self, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials, Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        self.login_from(CredentialSource::new(ask))
    }

    /// A user name without a password.
    pub fn user_name(mut self, user: impl Into<String>) -> Self {
        self.login = Some((Some(user.into()), None));
        self
    }

    /// Whether the broker keeps the session. Default: for an hour with a client id, fresh without one.
    pub fn session(mut self, session: Session) -> Self {
        self.session = Some(session.0);
        self
    }

    /// Takes up a session the broker has though this process knows nothing of it, see
    /// [`rejoin_core::SessionConfig::adopt`]. Default: a new session begins.
    pub fn adopt_session(self) -> Self {
        self.set(|config| config.session.adopt = true)
    }

    /// The servers share their sessions. Default: a session belongs to one server.
    pub fn clustered(self) -> Self {
        self.set(|config| config.session.clustered = true)
    }

    /// A message of QoS 2 is sent as one of QoS 1 where the broker offers no more, and its receipt says so, see
    /// [`rejoin_core::SessionConfig::lower_qos`]. Default: it ends as [`crate::PublishError::NotSupported`].
    pub fn lower_qos(self) -> Self {
        self.set(|config| config.session.lower_qos = true)
    }

    /// What happens to messages sent and not acknowledged when the server lost the session. Default: send again. With
    /// [`SessionLossPolicy::Ask`] each waits for [`Client::decide`], an awaited publish and [`Client::flush`] with it.
    pub fn on_session_loss(self, policy: SessionLossPolicy) -> Self {
        self.set(move |config| config.session.on_loss = policy)
    }

    /// Protocol versions. Default: 5.0, and 3.1.1 where the server cannot.
    pub fn version(self, policy: VersionPolicy) -> Self {
        self.set(move |config| config.version = policy)
    }

    /// The will.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Keep Alive on the wire, in whole seconds from 1 to 65,535, for all servers; zero turns the protocol's own off. It wins
    /// over those in a URL. Default: the first that a URL names, or 60 s.
    pub const fn keep_alive(mut self, time: Duration) -> Self {
        self.keep_alive = Some(time);
        self
    }

    /// A ping goes out when either direction was idle this long. Default 15 s.
    pub fn ping_after(self, time: Duration) -> Self {
        self.set(move |config| config.link.ping_after = time)
    }

    /// No byte for this long after a ping means a dead link. Default 5 s, a floor: a slow link gets more.
    pub fn ping_timeout(self, time: Duration) -> Self {
        self.set(move |config| config.link.ping_timeout = time)
    }

    /// Limit of one round of name look-up and TCP connect, once credentials are at hand. Default 10 s.
    pub fn connect_timeout(self, time: Duration) -> Self {
        self.set(move |config| config.link.connect_timeout = time)
    }

    /// Limit from the open connection to CONNACK. Default 30 s.
    pub fn connack_timeout(self, time: Duration) -> Self {
        self.set(move |config| config.link.connack_timeout = time)
    }

    /// The socket takes no byte for this long. Default 5 s; also TCP_USER_TIMEOUT.
    pub fn write_timeout(self, time: Duration) -> Self {
        self.set(move |config| config.link.write_timeout = time)
    }

    /// No acknowledgement of any kind for this long though some are due. Default 20 s.
    pub fn ack_timeout(self, time: Duration) -> Self {
        self.set(move |config| config.link.ack_timeout = time)
    }

    /// A link on which no message came for this long is restarted, at most once per that time; more in [`HealthWatch`].
    /// Default off.
    pub fn health_watch(mut self, watch: impl Into<HealthWatch>) -> Self {
        let HealthWatch { silence, filters, restarts, loopback, topic } = watch.into();
        self.watched.loopback =
            loopback.map(|(every, within)| loopback::Asked { topic, every, within, restarts });
        self.set(move |config| {
            config.link.health_watch = silence;
            config.link.health_watch_filters = filters;
            config.link.health_watch_only_tells = !restarts;
        })
    }

    /// When the client is not healthy, and starts the task that tells of it by [`Event::Health`]. Default:
    /// [`HealthRules::default`], and nobody looks unless asked.
    pub fn health(mut self, rules: HealthRules) -> Self {
        self.watched.health = Some(rules);
        self
    }

    /// Watches these rules and tells of them by [`Event::Alert`], see [`crate::alerts`]. Default off.
    pub fn alerts(mut self, alerts: Alerts) -> Self {
        self.watched.alerts = Some(alerts);
        self
    }

    /// How many QoS 1 and 2 messages the broker may have unacknowledged towards us (5.0), at least 1. Default 64.
    pub fn receive_maximum(self, messages: u16) -> Self {
        self.set(move |config| config.link.receive_maximum = messages)
    }

    /// How many QoS 1 and 2 messages of ours may be unacknowledged. Default 1,000 (100 at 3.1.1), or what the
    /// server allows if that is less.
    pub fn max_in_flight(self, messages: u16) -> Self {
        self.set(move |config| config.session.in_flight_max = Some(messages))
    }

    /// Largest packet accepted, in bytes; announced at 5.0. Default 1 MiB.
    pub fn maximum_packet_size(self, bytes: u32) -> Self {
        self.set(move |config| config.link.maximum_packet_size = bytes)
    }

    /// Back-off while the broker is absent: the first window and the widest. Default 2 s to 15 s, full jitter.
    pub fn backoff(self, first: Duration, cap: Duration) -> Self {
        self.set(move |config| {
            let recovery = &mut config.recovery;
            recovery.absent = Window { first, cap, ..recovery.absent };
            recovery.absent_cap_long = recovery.absent_cap_long.max(cap);
        })
    }

    /// Back-off while the broker is overloaded: the first window and the widest. Default 10 s to 60 s, upper half.
    pub fn overload_backoff(self, first: Duration, cap: Duration) -> Self {
        self.set(move |config| {
            config.recovery.overload = Window { first, cap, ..config.recovery.overload };
        })
    }

    /// A link that lived shorter counts as a failure. Default 30 s, and never less than twice the last window.
    pub fn stable_after(self, time: Duration) -> Self {
        self.set(move |config| config.recovery.stable_after = time)
    }

    /// This client is one of many: spread the first try after any loss. Default off.
    pub fn fleet(self) -> Self {
        self.set(|config| config.recovery.fleet = true)
    }

    /// Lifts the budget of one attempt per second and 12 per minute. Brokers ban clients for less.
    pub fn lift_connect_budget(self) -> Self {
        self.set(|config| config.recovery.budget = None)
    }

    /// Back-off where retrying cannot help by itself (a refused login, for example): the first window and the
    /// widest. Default 5 min to 1 h.
    pub fn slow_lane(self, first: Duration, cap: Duration) -> Self {
        self.set(move |config| {
            config.recovery.slow_lane = Window { first, cap, ..config.recovery.slow_lane };
        })
    }

    /// What would go to the slow lane stops for good instead. Default off: nobody visits a device.
    pub fn give_up(self) -> Self {
        self.set(|config| config.recovery.give_up = true)
    }

    /// A lost link is not opened again. Default: it is.
    pub fn never_reconnect(self) -> Self {
        self.set(|config| config.recovery.reconnect = false)
    }

    /// Where accepted messages are kept, how many, and what happens when there is no room. Default: in memory, 64 MiB,
    /// given back when full.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// How long a message that no subscription wants is held for one that may come, counted from the start of the
    /// client, or from when its stream was dropped. Then it is acknowledged and counted. Default 10 s.
    ///
    /// With `Duration::MAX` it is never acknowledged, for a process that shares the session of another: nothing waits for
    /// it, 64 such messages are kept for a subscription that may come, and of more the broker sends another copy on the next
    /// link. At 5.0 they fill its window all the same: it sends no others above QoS 0 on that link once it has no room left.
    pub const fn unrouted_after(mut self, time: Duration) -> Self {
        self.unrouted_after = time;
        self
    }

    /// Runs the driver on a thread of its own instead of a task of this runtime: for programs on a
    /// current-thread runtime whose tasks block now and then. Handlers, credential providers and the function of enhanced
    /// authentication go on running on this runtime: one that blocks holds up no ping.
    pub const fn own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }

    /// Calls `f` for every event. Callbacks run on one thread of their own, in order, and may block; a panic is
    /// caught and counted. One that falls more than [`crate::EVENT_CAPACITY`] events behind gets
    /// [`Event::Lagged`].
    pub fn on_event(mut self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.callbacks.push(Box::new(f));
        self
    }

    /// Calls `f` for each [`Event::Opened`].
    pub fn on_open(self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.on(f, |event| matches!(event, Event::Opened { .. }))
    }

    /// Calls `f` for each [`Event::Closed`].
    pub fn on_close(self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.on(f, |event| matches!(event, Event::Closed { .. }))
    }

    /// Calls `f` for each [`Event::Attempt`].
    pub fn on_attempt(self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.on(f, |event| matches!(event, Event::Attempt { .. }))
    }

    /// Calls `f` whenever the next attempt is decided: for [`Event::Closed`] and [`Event::AttemptFailed`] that name
    /// one.
    pub fn on_reconnecting(self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.on(f, |event| {
            matches!(
                event,
                Event::Closed { next_in: Some(_), .. } | Event::AttemptFailed { next_in: Some(_), .. }
            )
        })
    }

    /// Calls `f` for each [`Event::Recovered`].
    pub fn on_recovered(self, f: impl FnMut(&Event) + Send + 'static) -> Self {
        self.on(f, |event| matches!(event, Event::Recovered { .. }))
    }

    fn on(self, mut f: impl FnMut(&Event) + Send + 'static, wanted: fn(&Event) -> bool) -> Self {
        self.on_event(move |event| {
            if wanted(event) {
                f(event);
            }
        })
    }

    /// Writes down what the client is told and does, for [`rejoin replay`](FlightRecorder). Default: nothing is.
    pub fn flight_recorder(mut self, recorder: FlightRecorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Any other setting. Applied after all others, in the order of the calls.
    pub fn config(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts the client and returns at once; the network may be away.
    ///
    /// # Errors
    /// A URL that does not parse, settings that cannot work together, or no tokio runtime.
    pub fn start(self) -> Result<Client, BuildError> {
        Ok(self.prepare()?.start())
    }

    /// Starts the client and waits for its first CONNACK, at most 30 s. A refusal that trying again does not help
    /// ends the wait at once.
    ///
    /// # Errors
    /// As [`Builder::start`]; and no connection in time. The client is then gone, and its queue folder free: the same may
    /// be tried again at once.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        self.start()?.first_link().await
    }

    /// Everything but the start, so that subscriptions and handlers can be declared before the first attempt: a
    /// kept session delivers as soon as the link is open.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn prepare(self) -> Result<Prepared, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let (own_thread, unrouted_after) = (self.own_thread, self.unrouted_after);
        let recorder = self.recorder.clone();
        let Resolved { config, targets, callbacks, ways, queue, store, watched, loopback } =
            self.resolve()?;
        let servers = config.servers.clone();
        let unverified = ways.is_unverified();
        let secure = targets.iter().any(|target| target.scheme.is_secure());
        let dial = ways.dial(&config, secure, runtime.clone())?;
        let session_kept = config.session.mode.is_kept();
        let clock = Clock::start();
        let mut opened = storage::open(store, &queue, clock.now().mono)?;
        let watches = watched.health.is_some();
        let rules = HealthRules::in_force(watched.health, watched.alerts.as_ref());
        opened.accounts.0.high_from(rules.queue_high_percent);
        let own_topic = loopback.as_ref().map(|loopback| loopback.topic.text().clone());
        let ward = (Ward::new(rules, own_topic), config.link.receive_maximum);
        let (kept, seed, now) = (opened.recovered, fastrand::u64(..), clock.now());
        let engine = match recorder {
            None => Flight::new(Engine::new(config, kept, seed, now)?),
            Some(recorder) => Flight::recorded(config, kept, seed, now, recorder.begin()?)?,
        };
        let state = State {
            unverified,
            ..State::from_status(engine.status(), &clock, |n| servers.get(n).cloned().unwrap_or_default())
        };
        let shared = Arc::new(Shared::new(state, clock, session_kept, opened.accounts, ward, runtime));
        callbacks::start(&shared, shared.events.subscribe(), callbacks)?;
        let driver = Driver::new(engine, Arc::clone(&shared), (dial, targets), unrouted_after, opened.stock);
        if watches || watched.alerts.is_some() {
            observer::start(&shared, watched.alerts);
        }
        let client = Client::new(shared);
        if let Some(setting) = loopback {
            loopback::start(&client, setting)?;
        }
        Ok(Prepared { client, driver, own_thread })
    }

    fn resolve(self) -> Result<Resolved, BuildError> {
        let mut queue = self.queue;
        let mut watched = self.watched;
        if let Some(alerts) = &mut watched.alerts {
            alerts.keep_in = alerts.keep_in.take().or_else(|| queue.folder());
        }
        let mut config = self.config;
        let servers: Vec<ServerUrl> = self.servers.into_iter().collect::<Result<_, _>>()?;
        servers::check_features(&servers)?;
        let login = match self.login {
            // Those that are asked for win over all others.
            None if self.ways.login.is_none() => servers::login(&servers)?,
            given => given,
        };
        let mut targets = Vec::with_capacity(servers.len());
        config.servers.reserve_exact(servers.len());
        let (mut client_id, mut keep_alive) = (self.client_id, self.keep_alive);
        for server in servers {
            config.servers.push(text("server", &server.place())?);
            client_id = client_id.or_else(|| server.client_id.clone());
            keep_alive = keep_alive.or(server.keep_alive);
            // What is dialled needs no password, and what holds none cannot show any.
            targets.push(ServerUrl { user: None, password: None, ..server });
        }
        if let Some(keep_alive) = keep_alive {
            config.link.keep_alive = keep_alive;
        }
        if let Some((user, password)) = login {
            config.login.user_name = user.map(|user| text("login", &user)).transpose()?;
            config.login.password = password.map(Secret::into_bytes);
        }
        if let Some(authentication) = &self.ways.authentication {
            let method = authentication.config().map_err(|what| ConfigError::new("authentication", what))?;
            config.authentication = Some(Box::new(method));
        }
        let named = client_id.as_ref().is_some_and(|id| !id.is_empty());
        let place = std::mem::replace(&mut queue.place, Place::Memory);
        let store = storage::place(place, (&mut client_id, random_client_id, &config.servers))?;
        let made = client_id.is_none().then(random_client_id);
        config.client_id = text("client_id", client_id.as_ref().or(made.as_ref()).map_or("", |id| id))?;
        keep(&mut config, store.is_some(), self.session, named);
        if let Some(bytes) = queue.memory_window_bytes {
            config.session.memory_window_bytes = bytes;
        }
        if let Some(will) = self.will {
            config.will = Some(Box::new(will.into_core()?));
        }
        for change in self.changes {
            change(&mut config);
        }
        if self.session.is_some_and(SessionMode::is_kept) {
            can_be_found(&config, made.as_deref())?;
        }
        if config.servers.len() != targets.len() {
            return Err(ConfigError::new("servers", "add servers with server(), not with config()").into());
        }
        if config.session.durable != store.is_some() {
            return Err(
                ConfigError::new("session.durable", "give a store with queue(), not with config()").into()
            );
        }
        let loopback =
            watched.loopback.take().map(|asked| asked.resolve(config.client_id.as_str())).transpose()?;
        if let Some(filter) = loopback.as_ref().and_then(Loopback::filter) {
            config.link.health_watch_ignored.push(filter);
        }
        config.check()?;
        let (callbacks, ways) = (self.callbacks, self.ways);
        Ok(Resolved { config, targets, callbacks, ways, queue, store, watched, loopback })
    }
}

/// What outlives a link, and the process. What is as it was is not written: settings that nobody changes are shared by all
/// clients.
fn keep(config: &mut Config, stored: bool, asked: Option<SessionMode>, named: bool) {
    if config.session.durable != stored {
        config.session.durable = stored;
    }
    let mode = match asked {
        Some(mode) => mode,
        // What is kept for the next process is of use only if the broker keeps its half.
        None if stored => SessionMode::Kept(QUEUED_SESSION),
        None if named && config.version != VersionPolicy::Only311 => SessionMode::Kept(NAMED_SESSION),
        None => return,
    };
    if config.session.mode != mode {
        config.session.mode = mode;
    }
}

/// The session that is to be kept belongs to a client id which the next process has, too, and not to the one made here.
fn can_be_found(config: &Config, made: Option<&str>) -> Result<(), ConfigError> {
    if made.is_some_and(|id| id == config.client_id.as_str()) {
        let what = "a session that is kept needs one, or the next process cannot find it; give client_id()";
        return Err(ConfigError::new("client_id", what));
    }
    Ok(())
}

/// Everything a client is made of, checked.
struct Resolved {
    config: Config,
    targets: Vec<ServerUrl>,
    callbacks: Vec<Callback>,
    ways: Ways,
    queue: Queue,
    store: Option<Box<dyn Store>>,
    watched: Watched,
    loopback: Option<Loopback>,
}

fn text(field: &'static str, given: &str) -> Result<Text, ConfigError> {
    Text::try_from(given).map_err(|error| ConfigError::new(field, error.to_string()))
}

/// 23 characters: what every 3.1.1 server must take [MQTT-3.1.3-5].
fn random_client_id() -> String {
    let mut id = String::from("rejoin-");
    id.extend((0..16).map(|_| fastrand::alphanumeric()));
    id
}

/// A client that is not started. Dropping it ends everything declared on it.
///
/// ```no_run
/// # fn example() -> rejoin::Result<()> {
/// use rejoin::{Client, Qos::AtLeastOnce};
/// let prepared = Client::builder("mqtt://localhost").client_id("gw-17").prepare()?;
/// // Here before the first attempt, so nothing that the broker kept for us comes to nobody.
/// let commands = prepared.client().subscribe("gw-17/do", AtLeastOnce).declare()?;
/// let events = prepared.client().events();
/// let client = prepared.start();
/// # drop((commands, events, client));
/// # Ok(()) }
/// ```
#[must_use = "nothing happens until this is started"]
#[derive(Debug)]
pub struct Prepared {
    client: Client,
    driver: Driver,
    own_thread: bool,
}

impl Prepared {
    /// The handle, to declare subscriptions and handlers and to read events from the first one on.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Starts the client and returns at once.
    pub fn start(self) -> Client {
        let Self { client, driver, own_thread } = self;
        if own_thread {
            let named = std::thread::Builder::new().name("rejoin-driver".to_owned());
            // Should the system give no thread, the driver is dropped and every handle ends as stopped.
            if let Err(error) = named.spawn(move || run(driver)) {
                tracing::error!(target: "rejoin", %error, "no thread for the driver");
            }
        } else {
            let runtime = driver.runtime().clone();
            runtime.spawn(driver);
        }
        client
    }
}

fn run(driver: Driver) {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(own) => own.block_on(driver),
        Err(error) => tracing::error!(target: "rejoin", %error, "no runtime for the driver"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_builder_says_wins_over_urls_and_of_those_the_first_counts() {
        let resolved = |builder: Builder| {
            let config = builder.resolve().unwrap().config;
            (config.client_id.as_str().to_owned(), config.link.keep_alive.as_secs())
        };
        let urls = || {
            let plain = Builder::new("mqtt://a").server("mqtt://b?client_id=b&keep_alive=7");
            plain.server("mqtt://c?client_id=c&keep_alive=8")
        };
        assert_eq!(resolved(urls()), ("b".to_owned(), 7));
        let given = urls().client_id("mine").keep_alive(Duration::from_secs(20));
        assert_eq!(resolved(given), ("mine".to_owned(), 20));
    }

    #[test]
    fn settings_that_nobody_changes_are_in_memory_once_for_all_clients() {
        let config = Builder::new("mqtt://localhost").resolve().unwrap().config;
        let shared = Config::new(Text::default(), Text::default());
        assert!(std::ptr::eq(&*config.link, &*shared.link), "link");
        assert!(std::ptr::eq(&*config.session, &*shared.session), "session");
        assert!(std::ptr::eq(&*config.recovery, &*shared.recovery), "recovery");
    }
}
