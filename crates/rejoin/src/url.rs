//! The URL of a broker: `mqtt://[user[:password]@]host[:port][/path][?client_id=..&keep_alive=..]`.

use std::fmt;
use std::time::Duration;

/// The port of MQTT over plain TCP.
const MQTT_PORT: u16 = 1883;

/// A parsed broker URL.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerUrl {
    /// Host name or address, without the brackets of an IPv6 literal.
    pub host: String,
    /// Port; 1883 where the URL names none.
    pub port: u16,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// What stands behind the host, without its leading slash; `None` where it is empty. Command-line tools read
    /// a topic from it; [`crate::Builder::server`] refuses it.
    pub path: Option<String>,
    /// Query key `client_id`.
    pub client_id: Option<String>,
    /// Query key `keep_alive`, in seconds.
    pub keep_alive: Option<Duration>,
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerUrl")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user.as_ref().map(|_| "***"))
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("path", &self.path)
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
    shown.chars().take(256).collect::<String>().escape_debug().to_string()
}

impl ServerUrl {
    /// Plain TCP to a host and port.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            user: None,
            password: None,
            path: None,
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
        check_scheme(scheme).map_err(fail)?;
        if rest.contains('#') {
            return Err(fail("a fragment has no meaning here; write `#` in a topic as %23".to_owned()));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let (login, place) =
            authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let (host, port) = host_and_port(place).map_err(fail)?;
        let mut parsed = Self::tcp(host, port);
        if let Some(login) = login {
            let (user, password) =
                login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
            parsed.user = Some(decode(user).ok_or_else(|| fail(bad_percent("user name")))?);
            parsed.password = match password {
                None => None,
                Some(password) => Some(decode(password).ok_or_else(|| fail(bad_percent("password")))?),
            };
        }
        if !path.is_empty() {
            parsed.path = Some(decode(path).ok_or_else(|| fail(bad_percent("path")))?);
        }
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            parsed.take_query(pair).map_err(fail)?;
        }
        Ok(parsed)
    }

    fn take_query(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
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

    /// `host:port`, as it is shown and dialled; an IPv6 literal in brackets.
    pub fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;
    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

/// [RFC 3986, 3.1], but for its first letter.
fn is_scheme(scheme: &str) -> bool {
    scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

fn check_scheme(scheme: &str) -> Result<(), String> {
    match scheme.to_ascii_lowercase().as_str() {
        "mqtt" | "tcp" => Ok(()),
        "mqtts" | "ssl" | "tls" => {
            Err(format!("`{scheme}` needs TLS, which is not built yet; use mqtt:// or a local TLS tunnel"))
        }
        "ws" | "wss" => Err(format!(
            "`{scheme}` needs WebSocket, which is not built yet; use mqtt:// on the broker's TCP port"
        )),
        _ => Err(format!("unknown scheme `{}`; use mqtt://HOST", scheme.escape_debug())),
    }
}

fn host_and_port(place: &str) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("the bracket of the IPv6 address is not closed".to_owned());
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() && !host.contains('%') {
            return Err(format!("`{}` is not an IPv6 address", host.escape_debug()));
        }
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
        None => MQTT_PORT,
        Some(given) => match given.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("port `{}` is not a number from 1 to 65535", given.escape_debug())),
        },
    };
    Ok((host.to_owned(), port))
}

fn bad_percent(part: &str) -> String {
    format!("the {part} holds a broken %-sequence; write `%` as %25")
}

/// Undoes percent-encoding; `None` for a broken sequence or bytes that are not UTF-8.
fn decode(text: &str) -> Option<String> {
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
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("us@er"), Some("p:w")));
        assert_eq!(url.path.as_deref(), Some("a/b"));
        assert_eq!(url.client_id.as_deref(), Some("x&y"));
        assert_eq!(url.keep_alive, Some(Duration::from_secs(7)));
        assert_eq!(url.place(), "[::1]:1884");
        let plain = ServerUrl::parse("mqtt://localhost").unwrap();
        assert_eq!((plain.place().as_str(), plain.user), ("localhost:1883", None));
    }

    #[test]
    fn names_what_is_wrong_and_the_remedy() {
        let cases = [
            ("localhost", "no scheme; write mqtt://HOST"),
            ("http://localhost", "unknown scheme `http`; use mqtt://HOST"),
            ("mqtts://localhost", "needs TLS, which is not built yet"),
            ("ws://localhost", "needs WebSocket, which is not built yet"),
            ("mqtt://", "no host"),
            ("mqtt://:1883", "no host"),
            ("mqtt://h:0", "port `0` is not a number from 1 to 65535"),
            ("mqtt://h:99999", "port `99999`"),
            ("mqtt://h:x", "port `x`"),
            ("mqtt://::1", "in brackets"),
            ("mqtt://[::1", "not closed"),
            ("mqtt://[nonsense]", "is not an IPv6 address"),
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
        for url in ["bob:secret77@host:1883://x", "bob:secret77@host://x@y"] {
            let error = ServerUrl::parse(url).unwrap_err().to_string();
            assert!(!error.contains("secret77"), "{error}");
        }
    }
}
