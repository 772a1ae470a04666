//! The URL of a broker: `mqtt://[user[:password]@]host[:port][/path][?client_id=..&keep_alive=..]`.
//!
//! `mqtt` and `tcp` are plain TCP, `mqtts`, `ssl` and `tls` are TLS, `ws` and `wss` are WebSocket without and with TLS,
//! `unix` is a socket file.

use std::fmt;
use std::time::Duration;

use crate::secret::Secret;

/// How a server is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Plain TCP, port 1883.
    #[default]
    Tcp,
    /// TLS, port 8883. Needs the feature `tls`.
    Tls,
    /// WebSocket over TCP, port 80. Needs the feature `ws`.
    Ws,
    /// WebSocket over TLS, port 443. Needs the features `ws` and `tls`.
    Wss,
    /// A socket file of this machine; the host of the URL is its path.
    Unix,
}

impl Scheme {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    /// The port where a URL names none.
    pub const fn port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
            Self::Unix => 0,
        }
    }

    /// Whether TLS protects it.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether it is a WebSocket.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn parse(scheme: &str) -> Result<Self, String> {
        Ok(match scheme.to_ascii_lowercase().as_str() {
            "mqtt" | "tcp" => Self::Tcp,
            "mqtts" | "ssl" | "tls" => Self::Tls,
            "ws" => Self::Ws,
            "wss" => Self::Wss,
            "unix" => Self::Unix,
            _ => return Err(format!("unknown scheme `{}`; use mqtt://HOST", scheme.escape_debug())),
        })
    }

    /// The feature of this crate that is missing in this build.
    pub(crate) const fn missing_feature(self) -> Option<&'static str> {
        if self.is_secure() && cfg!(not(feature = "tls")) {
            Some("tls")
        } else if self.is_websocket() && cfg!(not(feature = "ws")) {
            Some("ws")
        } else {
            None
        }
    }
}

/// A parsed broker URL.
///
/// ```
/// use rejoin::{Client, Scheme, ServerUrl};
/// let parsed = ServerUrl::parse("mqtt://broker.example?client_id=gw-17")?;
/// assert_eq!((parsed.scheme, &*parsed.host, parsed.port), (Scheme::Tcp, "broker.example", 1883));
/// let spare = ServerUrl::tcp("10.0.0.7", 1884);
/// let builder = Client::builder_for([parsed, spare]);
/// # drop(builder);
/// # Ok::<(), rejoin::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerUrl {
    /// How it is reached.
    pub scheme: Scheme,
    /// Host name or address, without the brackets of an IPv6 literal. For [`Scheme::Unix`] the path of the socket.
    pub host: String,
    /// Port; that of the scheme where the URL names none.
    pub port: u16,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// What stands behind the host, without its leading slash; `None` where it is empty. For WebSocket it is the path
    /// asked for (default `mqtt`), still encoded. Elsewhere command-line tools read a topic from it, and
    /// [`crate::Builder::server`] refuses it.
    pub path: Option<String>,
    /// The query of a WebSocket, without the keys below; still encoded. It may hold a signature, and is never shown.
    pub query: Option<String>,
    /// Query key `client_id`. [`crate::Builder::client_id`] wins over it; of several servers the first that has one counts.
    pub client_id: Option<String>,
    /// Query key `keep_alive`, in seconds. [`crate::Builder::keep_alive`] wins over it; of several servers the first that has
    /// one counts.
    pub keep_alive: Option<Duration>,
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerUrl")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user.as_ref().map(|_| "***"))
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("path", &self.path)
            .field("query", &self.query.as_ref().map(|_| "***"))
            .field("client_id", &self.client_id)
            .field("keep_alive", &self.keep_alive)
            .finish()
    }
}

/// Why a URL was refused. The text names the part and what would be right; it never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broker URL{}: {what}", if url.is_empty() { String::new() } else { format!(" `{url}`") })]
pub struct UrlError {
    url: String,
    what: String,
}

impl UrlError {
    pub(crate) fn new(url: &str, what: impl Into<String>) -> Self {
        Self { url: without_secrets(url), what: what.into() }
    }
}

/// The URL as it may be shown: everything before the last `@` is left out, because a password may hold one.
fn without_secrets(url: &str) -> String {
    let shown: String = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if is_scheme(scheme) => format!("{scheme}://***@{rest}"),
        (Some(_), Some((_, rest))) => format!("***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
        (_, None) => url.to_owned(),
    };
    // So may a query, as that of a signed WebSocket.
    let shown = match shown.split_once('?') {
        Some((place, query)) if !query.is_empty() => format!("{place}?***"),
        _ => shown,
    };
    shown.chars().take(256).collect::<String>().escape_debug().to_string()
}

impl ServerUrl {
    /// Plain TCP to a host and port.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self {
            scheme: Scheme::Tcp,
            host: host.into(),
            port,
            user: None,
            password: None,
            path: None,
            query: None,
            client_id: None,
            keep_alive: None,
        }
    }

    /// Parses a URL.
    ///
    /// # Errors
    /// [`UrlError`] names the part that cannot be read and what would be right.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let fail = |what: String| UrlError::new(url, what);
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(fail("no scheme; write mqtt://HOST or mqtt://HOST:PORT".to_owned()));
        };
        if !is_scheme(scheme) {
            // Not shown: where `://` stands behind a login this would be the login.
            return Err(fail(
                "what stands before `://` is no scheme; write mqtt://HOST or mqtt://HOST:PORT".to_owned(),
            ));
        }
        let scheme = Scheme::parse(scheme).map_err(fail)?;
        if let Some(feature) = scheme.missing_feature() {
            let what = format!("`{}` needs the feature `{feature}` of the crate rejoin", scheme.name());
            return Err(fail(what));
        }
        if rest.contains('#') {
            return Err(fail("a fragment has no meaning here; write `#` in a topic as %23".to_owned()));
        }
        let fail = |what: String| fail(discreet(rest, what));
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (login, place) =
            authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let (host, port) = if scheme == Scheme::Unix {
            (socket_path(place, path).map_err(fail)?, 0)
        } else {
            host_and_port(place, scheme.port()).map_err(fail)?
        };
        let mut parsed = Self { scheme, ..Self::tcp(host, port) };
        if let Some(login) = login {
            let (user, password) = self::login(login).map_err(|part| fail(bad_percent(part)))?;
            (parsed.user, parsed.password) = (Some(user), password);
        }
        if !path.is_empty() && scheme != Scheme::Unix {
            let decoded = decode(path).ok_or_else(|| fail(bad_percent("path")))?;
            parsed.path = Some(if scheme.is_websocket() { path.to_owned() } else { decoded });
        }
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            parsed.take_query(pair).map_err(fail)?;
        }
        Ok(parsed)
    }

    fn take_query(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if self.scheme.is_websocket() && !matches!(key, "client_id" | "keep_alive") {
            let query = self.query.get_or_insert_default();
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(pair);
            return Ok(());
        }
        let value = decode(value).ok_or_else(|| bad_percent("query"))?;
        match key {
            "client_id" => self.client_id = Some(value),
            "keep_alive" => {
                let seconds: u16 = value.parse().map_err(|_| {
                    format!(
                        "keep_alive `{}` is not a number of seconds from 0 to 65535",
                        value.escape_debug()
                    )
                })?;
                self.keep_alive = Some(Duration::from_secs(seconds.into()));
            }
            other => {
                return Err(format!(
                    "unknown key `{}`; known are client_id and keep_alive",
                    other.escape_debug()
                ));
            }
        }
        Ok(())
    }

    /// The same way to another place, `host` or `host:port`.
    pub(crate) fn renamed(&self, place: &str) -> Self {
        let (host, port) = host_and_port(place, self.scheme.port())
            .unwrap_or_else(|_| (place.to_owned(), self.scheme.port()));
        Self { host, port, ..self.clone() }
    }

    /// `host:port`, as it is shown and dialled; an IPv6 literal in brackets. The path of a socket file.
    pub fn place(&self) -> String {
        if self.scheme == Scheme::Unix { self.host.clone() } else { place(&self.host, self.port) }
    }
}

/// `host:port`, an IPv6 literal in brackets.
pub(crate) fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn socket_path(place: &str, path: &str) -> Result<String, String> {
    if !place.is_empty() || path.is_empty() {
        return Err(
            "write the path of the socket behind three slashes, as unix:///run/broker.sock".to_owned()
        );
    }
    match decode(path) {
        Some(path) if !path.contains('\0') => Ok(format!("/{path}")),
        _ => Err(bad_percent("path")),
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;
    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

/// What to write in place of a character that ends a login.
pub(crate) const ESCAPES: &str = "write `/`, `?` and `#` in a user name or password as %2F, %3F and %23";

/// Whether a login that was not escaped may stand in what follows the scheme: something before the last `@` would end it.
pub(crate) fn may_hold_bare_login(rest: &str) -> bool {
    rest.rsplit_once('@').is_some_and(|(before, _)| before.contains(['/', '?', '#']))
}

/// `user[:password]`, decoded. The error names the part.
pub(crate) fn login(text: &str) -> Result<(String, Option<Secret>), &'static str> {
    let (user, password) =
        text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
    let user = decode(user).ok_or("user name")?;
    let password = password.map(|password| decode(password).ok_or("password")).transpose()?;
    Ok((user, password.map(Secret::from)))
}

/// No part is quoted that may be one of a login.
fn discreet(rest: &str, what: String) -> String {
    if !may_hold_bare_login(rest) {
        return what;
    }
    let parts: Vec<&str> = what.split('`').collect();
    match parts.as_slice() {
        [before, _, after] => format!("{before}`***`{after}; {ESCAPES}"),
        _ => format!("a part of it cannot be read; {ESCAPES}"),
    }
}

/// [RFC 3986, 3.1], but for its first letter.
fn is_scheme(scheme: &str) -> bool {
    scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// The parts of `host[:port]`.
pub(crate) fn host_and_port(place: &str, default: u16) -> Result<(String, u16), String> {
    let mut zone_of = None;
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("the bracket of the IPv6 address is not closed".to_owned());
        };
        // Its zone is written behind `%25` [RFC 6874], and by many behind a bare `%`.
        let (address, zone) = host.split_once('%').unwrap_or((host, ""));
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{}` is not an IPv6 address", host.escape_debug()));
        }
        zone_of =
            zone.strip_prefix("25").filter(|zone| !zone.is_empty()).map(|zone| format!("{address}%{zone}"));
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("after the IPv6 address only `:PORT` may follow".to_owned()),
        }
    } else {
        match place.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("write an IPv6 address in brackets, as mqtt://[::1]:1883".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    if host.is_empty() {
        return Err("no host; write mqtt://HOST".to_owned());
    }
    if let Some(bad) = host.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("the host holds {bad:?}"));
    }
    let port = match port {
        None => default,
        Some(given) => match given.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("port `{}` is not a number from 1 to 65535", given.escape_debug())),
        },
    };
    Ok((zone_of.unwrap_or_else(|| host.to_owned()), port))
}

pub(crate) fn bad_percent(part: &str) -> String {
    format!("the {part} holds a broken %-sequence; write `%` as %25")
}

/// Undoes percent-encoding; `None` for a broken sequence or bytes that are not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_part() {
        let url =
            ServerUrl::parse("mqtt://us%40er:p%3Aw@[::1]:1884/a/b?client_id=x%26y&keep_alive=7").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 1884));
        assert_eq!(url.user.as_deref(), Some("us@er"));
        assert_eq!(url.password, Some("p:w".into()));
        assert_eq!(url.path.as_deref(), Some("a/b"));
        assert_eq!(url.client_id.as_deref(), Some("x&y"));
        assert_eq!(url.keep_alive, Some(Duration::from_secs(7)));
        assert_eq!(url.place(), "[::1]:1884");
        let plain = ServerUrl::parse("mqtt://localhost").unwrap();
        assert_eq!((plain.place().as_str(), plain.user), ("localhost:1883", None));
    }

    #[test]
    fn the_zone_of_an_address_is_written_in_either_way() {
        for (url, host) in [
            ("mqtt://[fe80::1%25eth0]", "fe80::1%eth0"), // [RFC 6874]
            ("mqtt://[fe80::1%eth0]", "fe80::1%eth0"),
            ("mqtt://[fe80::1%251]", "fe80::1%1"),
            ("mqtt://[fe80::1%25]", "fe80::1%25"),
        ] {
            let parsed = ServerUrl::parse(url).unwrap();
            assert_eq!(parsed.host, host);
            assert_eq!(parsed.renamed(&parsed.place()).host, host, "as it is shown it means the same");
        }
    }

    #[test]
    fn names_what_is_wrong_and_the_remedy() {
        let cases = [
            ("localhost", "no scheme; write mqtt://HOST"),
            ("http://localhost", "unknown scheme `http`; use mqtt://HOST"),
            ("unix://run/x", "behind three slashes"),
            ("unix://", "behind three slashes"),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://h:0", "port `0` is not a number from 1 to 65535"),
            ("mqtt://h:99999", "port `99999`"),
            ("mqtt://h:x", "port `x`"),
            ("mqtt://::1", "in brackets"),
            ("mqtt://[::1", "not closed"),
            ("mqtt://[nonsense]", "is not an IPv6 address"),
            ("mqtt://[nonsense%eth0]", "is not an IPv6 address"),
            ("mqtt://h?keepalive=3", "unknown key `keepalive`; known are client_id and keep_alive"),
            ("mqtt://h?keep_alive=70000", "0 to 65535"),
            ("mqtt://h/%zz", "the path holds a broken %-sequence"),
            ("mqtt://h/a#b", "fragment"),
            ("mqtt://a b", "the host holds ' '"),
        ];
        for (url, expected) in cases {
            let error = ServerUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn a_socket_file_is_a_place() {
        let url = ServerUrl::parse("unix://us:er@/run/a%20b.sock?client_id=x").unwrap();
        assert_eq!(
            (url.scheme, url.place().as_str(), url.path.as_deref()),
            (Scheme::Unix, "/run/a b.sock", None)
        );
        assert_eq!((url.user.as_deref(), url.client_id.as_deref()), (Some("us"), Some("x")));
    }

    #[cfg(all(feature = "tls", feature = "ws"))]
    #[test]
    fn every_scheme_has_its_port_and_a_websocket_its_path_and_query() {
        let ports = [
            ("mqtt", 1883),
            ("tcp", 1883),
            ("mqtts", 8883),
            ("ssl", 8883),
            ("tls", 8883),
            ("ws", 80),
            ("WSS", 443),
        ];
        for (scheme, port) in ports {
            assert_eq!(ServerUrl::parse(&format!("{scheme}://h")).unwrap().port, port, "{scheme}");
        }
        let url = ServerUrl::parse("wss://h/a%2Fb?X-Sig=s%3D&client_id=me&y").unwrap();
        assert_eq!((url.path.as_deref(), url.query.as_deref()), (Some("a%2Fb"), Some("X-Sig=s%3D&y")));
        assert_eq!(url.client_id.as_deref(), Some("me"));
        assert!(!format!("{url:?}").contains("X-Sig"));
        let error = ServerUrl::parse("wss://h:x/?X-Sig=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_feature_that_is_missing_is_named() {
        let error = ServerUrl::parse("mqtts://h").unwrap_err().to_string();
        assert!(error.contains("needs the feature `tls`"), "{error}");
    }

    #[test]
    fn a_password_is_never_shown() {
        let error = ServerUrl::parse("mqtt://user:se%cret@h:x").unwrap_err().to_string();
        assert!(!error.contains("cret") && !error.contains("user"), "{error}");
        let error = ServerUrl::parse("user:se@cret@h").unwrap_err().to_string();
        assert!(!error.contains("cret"), "{error}");
        let url = ServerUrl::parse("mqtt://user:secret@h").unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }

    #[test]
    fn a_login_before_a_misplaced_scheme_is_not_shown() {
        for url in [
            "bob:secret77@host:1883://x",
            "bob:secret77@host://x@y",
            "mqtt://bob:secret77/more@host",
            "mqtt://bob:a?secret77=@host",
            "mqtt://bob:`secret77`/`@host",
        ] {
            let error = ServerUrl::parse(url).unwrap_err().to_string();
            assert!(!error.contains("secret77"), "{error}");
        }
    }
}
