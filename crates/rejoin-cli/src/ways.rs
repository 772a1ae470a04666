//! The flags for the way to a broker: TLS, WebSocket, proxy, socket file, and where the password comes from.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use rejoin::{Builder, CredentialSource, Credentials, Proxy, Scheme, Secret, ServerUrl, Tls, TlsVersion};
use rejoin_core::ServerPolicy;
use tokio::process::Command;

use crate::token;

/// Longest password that a command or a file may give, in bytes: what MQTT can carry.
const PASSWORD_MAX: usize = 65_535;
/// The port on which everybody expects TLS.
const TLS_PORT: u16 = 8883;

/// TLS, WebSocket, proxy and socket file.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaysArgs {
    /// Socket file of a broker on this machine
    #[arg(long, value_name = "PATH", conflicts_with = "url", help_heading = "Connection")]
    pub(crate) unix: Option<PathBuf>,
    /// Proxy, as http://USER:PW@HOST:PORT, socks5:// or socks5h:// [default: $HTTPS_PROXY with TLS, $ALL_PROXY; not for $NO_PROXY]
    #[arg(
        long,
        value_name = "URL",
        env = "REJOIN_PROXY",
        hide_env_values = true,
        conflicts_with = "no_proxy",
        help_heading = "Connection"
    )]
    pub(crate) proxy: Option<String>,
    /// No proxy, whatever the environment says
    #[arg(long, help_heading = "Connection")]
    pub(crate) no_proxy: bool,
    /// Connect from this address of this machine, IPv4 or IPv6 [default: the system chooses]
    #[arg(short = 'A', long, value_name = "ADDR", conflicts_with = "unix", help_heading = "Connection")]
    pub(crate) bind: Option<IpAddr>,
    /// WebSocket to -h and -p (as -L ws://..., or wss://... with the flags of TLS)
    #[arg(long, conflicts_with_all = ["url", "unix"], help_heading = "Connection")]
    pub(crate) ws: bool,
    /// Path of the WebSocket with --ws [default: mqtt]
    #[arg(long, value_name = "PATH", requires = "ws", help_heading = "Connection")]
    pub(crate) ws_path: Option<String>,
    /// A header of the WebSocket handshake, as "NAME: VALUE"; repeat for more
    #[arg(long, value_name = "HEADER", help_heading = "Connection")]
    pub(crate) ws_header: Vec<String>,

    /// Which of several servers is tried first: the one that worked last, the first of -L, or one drawn once [default: sticky]
    #[arg(
        long,
        value_name = "sticky|ordered|shuffled",
        value_enum,
        env = "REJOIN_SERVERS",
        help_heading = "Connection"
    )]
    pub(crate) servers: Option<Choice>,
    /// The servers of -L share their sessions, as the nodes of a cluster do
    #[arg(long, help_heading = "Connection")]
    pub(crate) clustered: bool,
    /// Send a message of QoS 2 as one of QoS 1 where the broker offers no more: it may arrive twice, which is told once [default: such a message fails]
    #[arg(long, help_heading = "Connection")]
    pub(crate) lower_qos: bool,
    /// Follow a broker that names another server to this host, or with a leading dot to all names below it; repeat for more. The login goes with us
    #[arg(long, value_name = "HOST", help_heading = "Connection")]
    pub(crate) follow: Vec<String>,

    /// Trust the authorities in this PEM file [default: those of the system]
    #[arg(long, value_name = "FILE", env = "REJOIN_CAFILE", help_heading = "TLS")]
    pub(crate) cafile: Option<PathBuf>,
    /// Trust the authorities in the PEM files of this folder
    #[arg(long, value_name = "DIR", env = "REJOIN_CAPATH", help_heading = "TLS")]
    pub(crate) capath: Option<PathBuf>,
    /// TLS with the authorities of the system, beside those of --cafile
    #[arg(long, help_heading = "TLS")]
    pub(crate) tls_use_os_certs: bool,
    /// Our certificate, in PEM; read again when it changes
    #[arg(long, value_name = "FILE", env = "REJOIN_CERT", requires = "key", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key, in PEM without a passphrase
    #[arg(long, value_name = "FILE", env = "REJOIN_KEY", requires = "cert", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
    /// Offer this protocol by ALPN, as `mqtt` or `x-amzn-mqtt-ca`
    #[arg(long, value_name = "NAME", help_heading = "TLS")]
    pub(crate) tls_alpn: Vec<String>,
    /// Lowest version of TLS [default: 1.2]
    #[arg(long, value_name = "1.2|1.3", help_heading = "TLS")]
    pub(crate) tls_version: Option<LowestTls>,
    /// The name the broker's certificate must have [default: the host]
    #[arg(long, value_name = "NAME", help_heading = "TLS")]
    pub(crate) tls_server_name: Option<String>,
    /// Write the secrets of TLS to this file, for Wireshark: who has it can read everything
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_keylog: Option<PathBuf>,
    /// No TLS, not even on port 8883
    #[arg(long, conflicts_with_all = ["cafile", "capath", "cert", "tls_use_os_certs"], help_heading = "TLS")]
    pub(crate) no_tls: bool,
    /// Take any server for the right one: whoever is on the way can read and change everything
    #[arg(long, help_heading = "TLS")]
    pub(crate) dangerously_trust_any_server: bool,
    /// mosquitto's word for it.
    #[arg(long, hide = true)]
    insecure: bool,

    /// File with the password; read before each attempt, and for renewal before a JSON Web Token in it ends
    #[arg(
        long,
        value_name = "FILE",
        env = "REJOIN_PASSWORD_FILE",
        conflicts_with = "password_command",
        help_heading = "Login"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// Shell command that prints the password and reads no stdin; run before each attempt, and for renewal before a JSON Web Token it printed ends
    #[arg(long, value_name = "CMD", env = "REJOIN_PASSWORD_COMMAND", help_heading = "Login")]
    pub(crate) password_command: Option<String>,
}

/// `--servers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// The one that worked last.
    Sticky,
    /// In the order of -L.
    Ordered,
    /// In an order drawn once.
    Shuffled,
}

/// `--tls-version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LowestTls {
    /// TLS 1.2.
    #[value(name = "1.2", alias = "tlsv1.2")]
    V12,
    /// TLS 1.3.
    #[value(name = "1.3", alias = "tlsv1.3")]
    V13,
}

impl WaysArgs {
    /// What the definition of the flags cannot check.
    pub(crate) fn check(&self, servers: &[ServerUrl]) -> Result<(), String> {
        if self.insecure {
            return Err(
                "--insecure does not say what it does; write --dangerously-trust-any-server, or name the \
                        authority with --cafile"
                    .to_owned(),
            );
        }
        if self.asks_for_tls() && !servers.iter().any(|server| server.scheme.is_secure()) {
            return Err(
                "the flags of TLS are of no use without TLS; write mqtts:// or wss:// in -L".to_owned()
            );
        }
        if !self.ws_header.is_empty() && !servers.iter().any(|server| server.scheme.is_websocket()) {
            return Err(
                "--ws-header: no WebSocket is asked for; write ws:// or wss:// in -L, or --ws".to_owned()
            );
        }
        for header in &self.ws_header {
            self::header(header)?;
        }
        self.parsed_proxy().map(drop)
    }

    fn asks_for_tls(&self) -> bool {
        let some = self.cafile.is_some()
            || self.capath.is_some()
            || self.cert.is_some()
            || self.tls_version.is_some()
            || self.tls_keylog.is_some()
            || self.tls_server_name.is_some();
        some || self.tls_use_os_certs || self.dangerously_trust_any_server || !self.tls_alpn.is_empty()
    }

    /// How `-h` and `-p` are meant.
    pub(crate) fn scheme(&self, port: Option<u16>) -> Scheme {
        let secure = !self.no_tls && (self.asks_for_tls() || port == Some(TLS_PORT));
        match (self.ws, secure) {
            (false, false) => Scheme::Tcp,
            (false, true) => Scheme::Tls,
            (true, false) => Scheme::Ws,
            (true, true) => Scheme::Wss,
        }
    }

    fn parsed_proxy(&self) -> Result<Option<Proxy>, String> {
        self.proxy.as_deref().map(Proxy::parse).transpose().map_err(|error| format!("--proxy: {error}"))
    }

    /// Whether a proxy may stand in front of this server. Which one it is the library says when an attempt ends.
    pub(crate) fn may_use_proxy(&self, server: &ServerUrl) -> bool {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let either = |name: &str| is_set(name) || is_set(&name.to_ascii_lowercase());
        let address = server.host.parse::<IpAddr>();
        let near = server.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback());
        let from_environment =
            || !near && (either("ALL_PROXY") || server.scheme.is_secure() && either("HTTPS_PROXY"));
        server.scheme != Scheme::Unix && !self.no_proxy && (self.proxy.is_some() || from_environment())
    }

    /// Whether the password is asked for before each attempt.
    pub(crate) const fn asks_for_password(&self) -> bool {
        self.password_file.is_some() || self.password_command.is_some()
    }

    /// Tells the builder. Everything was checked.
    pub(crate) fn apply(&self, mut builder: Builder, user: Option<String>) -> Builder {
        if self.no_proxy {
            builder = builder.no_proxy();
        } else if let Ok(Some(proxy)) = self.parsed_proxy() {
            builder = builder.proxy(proxy);
        }
        if let Some(address) = self.bind {
            builder = builder.bind(address);
        }
        if let Some(choice) = self.servers {
            builder = builder.server_policy(match choice {
                Choice::Sticky => ServerPolicy::Sticky,
                Choice::Ordered => ServerPolicy::Ordered,
                Choice::Shuffled => ServerPolicy::Shuffled,
            });
        }
        if self.clustered {
            builder = builder.clustered();
        }
        if self.lower_qos {
            builder = builder.lower_qos();
        }
        if !self.follow.is_empty() {
            builder = builder.follow_to(&self.follow);
        }
        for (name, value) in self.ws_header.iter().filter_map(|header| self::header(header).ok()) {
            builder = builder.websocket_header(name, value);
        }
        if let Some(file) = self.password_file.clone() {
            builder = builder.login_from(from_file(file, user).asked_each_time());
        } else if let Some(command) = self.password_command.clone() {
            builder = builder.login_from(from_command(command, user).asked_each_time());
        }
        if self.asks_for_tls() { builder.tls(self.tls()) } else { builder }
    }

    fn tls(&self) -> Tls {
        let mut tls = Tls::new();
        if let Some(file) = &self.cafile {
            tls = tls.ca_file(file);
        }
        if let Some(folder) = &self.capath {
            tls = tls.ca_folder(folder);
        }
        if self.tls_use_os_certs {
            tls = tls.and_system_roots();
        }
        if let (Some(certificate), Some(key)) = (&self.cert, &self.key) {
            tls = tls.identity_files(certificate, key);
        }
        for name in &self.tls_alpn {
            tls = tls.alpn(name.as_str());
        }
        if self.tls_version == Some(LowestTls::V13) {
            tls = tls.lowest(TlsVersion::From13);
        }
        if let Some(name) = &self.tls_server_name {
            tls = tls.server_name(name);
        }
        if let Some(file) = &self.tls_keylog {
            tls = tls.key_log_file(file);
        }
        if self.dangerously_trust_any_server { tls.dangerously_trust_any_server() } else { tls }
    }
}

fn header(given: &str) -> Result<(&str, &str), String> {
    // A value may be a secret: it is not repeated.
    let (name, value) = given.split_once(':').ok_or("--ws-header: write it as \"NAME: VALUE\"")?;
    Ok((name.trim(), value.trim()))
}

fn from_file(file: PathBuf, user: Option<String>) -> CredentialSource {
    CredentialSource::new(move || {
        let (file, user) = (file.clone(), user.clone());
        async move {
            let read = tokio::task::spawn_blocking(move || (std::fs::read(&file), file));
            let (content, file) = read.await?;
            let content = content.map_err(|error| format!("{}: {error}", file.display()))?;
            credentials(user, content)
        }
    })
}

fn from_command(command: String, user: Option<String>) -> CredentialSource {
    CredentialSource::new(move || {
        let (command, user) = (command.clone(), user.clone());
        async move { credentials(user, printed(&command).await?) }
    })
}

/// What a command prints. It ends with the attempt that asked for it, and reads nothing: our stdin may be messages.
async fn printed(command: &str) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut asked = Command::new(shell);
    asked.args([flag, command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    asked.kill_on_drop(true);
    #[cfg(unix)]
    asked.process_group(0);
    let child = asked.spawn()?;
    #[cfg(unix)]
    let mut group = Group::led_by(&child);
    let output = child.wait_with_output().await?;
    #[cfg(unix)]
    group.let_go();
    if !output.status.success() {
        return Err(format!("--password-command ended with {}", output.status).into());
    }
    Ok(output.stdout)
}

/// A shell and all it started: killed together, unless it was let go.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn led_by(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw))
    }

    fn let_go(&mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // One that is gone needs no end.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// The line end that editors and `echo` leave behind is no part of a password.
fn credentials(
    user: Option<String>,
    mut content: Vec<u8>,
) -> Result<Credentials, Box<dyn std::error::Error + Send + Sync>> {
    if content.last() == Some(&b'\n') {
        content.pop();
    }
    if content.last() == Some(&b'\r') {
        content.pop();
    }
    let password = Secret::from(content);
    if password.expose().len() > PASSWORD_MAX {
        return Err("the password is longer than MQTT can carry".into());
    }
    let ends = token::ends(password.expose(), SystemTime::now());
    let credentials = match user {
        Some(user) => Credentials::new(user, password),
        None => Credentials::token(password),
    };
    Ok(match ends {
        Some(time) => credentials.expires_at(time),
        None => credentials,
    })
}
