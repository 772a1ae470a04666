//! Proxies: which one is used for a server, and the tunnel through it.

mod environment;
mod http;
mod socks;

use std::fmt;
use std::net::IpAddr;

use rejoin_core::{Stage, TransportError};
use tokio::time::Instant;

use super::{BoxStream, Dial, OpenError, Resolver, Trip};
use crate::command::from_now;
use crate::secret::Secret;
use crate::url::ServerUrl;
use environment::Exceptions;

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// HTTP CONNECT.
    Http,
    /// SOCKS 5; names are looked up here.
    Socks5,
    /// SOCKS 5; names are looked up by the proxy.
    Socks5Names,
}

/// A proxy in front of the servers.
///
/// `http://[user:password@]host[:port]` (HTTP CONNECT), `socks5://...` (names are looked up here) or `socks5h://...`
/// (names are looked up by the proxy). The default ports are 80 and 1080.
///
/// ```
/// use rejoin::{Client, Proxy};
/// let proxy = Proxy::parse("socks5h://user:secret@proxy.example")?;
/// assert_eq!(proxy.to_string(), "socks5h://proxy.example:1080");
/// let builder = Client::builder("mqtt://broker.example").proxy(proxy);
/// # drop(builder);
/// # Ok::<(), rejoin::ProxyError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<Secret>,
}

/// Why the URL of a proxy was refused. Never holds its password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("proxy URL: {0}")]
pub struct ProxyError(String);

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Socks5 => "socks5",
            Kind::Socks5Names => "socks5h",
        };
        write!(f, "{scheme}://{}", crate::url::place(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// Reads the URL of a proxy.
    ///
    /// # Errors
    /// [`ProxyError`] names the part that cannot be read and what would be right.
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let fail = |what: &str| ProxyError(what.to_owned());
        // `host:port` alone is what many set in their environment.
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, 80),
            "socks5" | "socks" => (Kind::Socks5, 1080),
            "socks5h" => (Kind::Socks5Names, 1080),
            "https" => {
                return Err(fail(
                    "a proxy spoken to over TLS is not supported; use its http:// or socks5h://",
                ));
            }
            "socks4" | "socks4a" => {
                return Err(fail("SOCKS 4 is not supported; use socks5:// or socks5h://"));
            }
            _ => return Err(fail("unknown scheme; use http://, socks5:// or socks5h://")),
        };
        // In a login that was not escaped; cut there, a part of a password would be taken for a host or a port.
        if crate::url::may_hold_bare_login(rest) {
            return Err(fail(crate::url::ESCAPES));
        }
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, place) =
            rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (host, port) = crate::url::host_and_port(place, port).map_err(ProxyError)?;
        let mut proxy = Self { kind, host, port, user: None, password: None };
        if let Some(login) = login {
            let (user, password) =
                crate::url::login(login).map_err(|part| ProxyError(crate::url::bad_percent(part)))?;
            (proxy.user, proxy.password) = (Some(user), password);
        }
        Ok(proxy)
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

impl std::str::FromStr for Proxy {
    type Err = ProxyError;
    fn from_str(url: &str) -> Result<Self, ProxyError> {
        Self::parse(url)
    }
}

/// Which proxy is used for which server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// For servers that are spoken to over TLS.
    secure: Option<Box<Proxy>>,
    /// For all others.
    plain: Option<Box<Proxy>>,
    except: Exceptions,
    /// Named by the application, which then means loopback, too.
    named: bool,
}

impl Proxies {
    /// This one, for every server.
    pub(crate) fn of(proxy: Proxy) -> Self {
        let proxy = Box::new(proxy);
        Self { secure: Some(proxy.clone()), plain: Some(proxy), except: Exceptions::default(), named: true }
    }

    /// What the environment says: `HTTPS_PROXY` for servers spoken to over TLS, `ALL_PROXY` for the rest, `NO_PROXY`
    /// for the exceptions; in small letters, too.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        environment::read(variable)
    }

    /// The proxy for a server. Loopback needs none unless the application named one.
    pub(super) fn choose(&self, target: &ServerUrl) -> Option<&Proxy> {
        let proxy = if target.scheme.is_secure() { &self.secure } else { &self.plain };
        let near = !self.named && is_loopback(&target.host);
        proxy.as_deref().filter(|_| !near && !self.except.hold(&target.host, target.port))
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Opens a tunnel to the server through a connected proxy.
pub(super) async fn tunnel(
    dial: &Dial,
    proxy: &Proxy,
    mut stream: BoxStream,
    target: &ServerUrl,
    until: Instant,
    trip: &mut Trip,
) -> Result<BoxStream, OpenError> {
    let (host, port) = (target.host.as_str(), target.port);
    let work = async {
        match proxy.kind {
            Kind::Http => http::connect(proxy, &mut stream, host, port).await.map(|()| false),
            Kind::Socks5Names => {
                let name = socks::Where::Name(host, port);
                socks::connect(proxy, &mut stream, &name).await.map(|()| false)
            }
            Kind::Socks5 => {
                // What the name service leaves of the stage must be enough for an address that worked before.
                let names_until = until.min(from_now(dial.limits.dns));
                by_address(&dial.resolver, proxy, &mut stream, (host, port), names_until).await
            }
        }
        .map_err(|error| TransportError { detail: format!("{proxy}: {}", error.detail), ..error })
    };
    let addresses_are_old = trip.within(Stage::Proxy, until, work).await?;
    trip.stages.addresses_are_old |= addresses_are_old;
    Ok(stream)
}

/// To the first of the server's addresses: new ones by `names_until`, or those that worked before; true if it was one of
/// these. A proxy that refuses ends the stream: the others are for the next attempts.
async fn by_address(
    resolver: &Resolver,
    proxy: &Proxy,
    stream: &mut BoxStream,
    (host, port): (&str, u16),
    names_until: Instant,
) -> Result<bool, TransportError> {
    let found = resolver.look_up(host, port, names_until).await?;
    let address = found.addresses[0];
    // Noted before it is tried: a proxy that never answers is left at its limit, and this with it.
    resolver.failed(address);
    socks::connect(proxy, stream, &socks::Where::Address(address)).await?;
    resolver.worked(host, port, address, &found.addresses);
    Ok(found.instead_of.is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rejoin_core::{Config, Text};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// One attempt through a proxy that answers like this, and the type of the address it was asked for.
    async fn asked_for(resolver: &Resolver, answer: &[u8]) -> (bool, u8) {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(&[&[5, 0][..], answer].concat()).await.unwrap();
        let mut stream: BoxStream = Box::new(near);
        let proxy = Proxy::parse("socks5://p").unwrap();
        let until = Instant::now() + Duration::from_millis(50);
        let attempt = by_address(resolver, &proxy, &mut stream, ("broker.example", 1883), until);
        let done = tokio::time::timeout(Duration::from_millis(200), attempt).await;
        drop(stream);
        let mut asked = Vec::new();
        far.read_to_end(&mut asked).await.unwrap();
        (matches!(done, Ok(Ok(_))), asked[6])
    }

    #[tokio::test]
    async fn an_address_that_the_proxy_does_not_reach_is_not_that_of_the_next_attempt() {
        const V4: u8 = 1;
        const V6: u8 = 4;
        let unreachable = [5, 4, 0, 1];
        let granted = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for fault in [&unreachable[..], &[]] {
            let resolver = Resolver::default();
            let addresses = ["[2001:db8::1]:1883", "192.0.2.1:1883"].map(|text| text.parse().unwrap());
            let _asked = resolver.hangs("broker.example", 1883, &addresses);
            assert_eq!(asked_for(&resolver, fault).await, (false, V6), "{fault:?}");
            assert_eq!(asked_for(&resolver, &granted).await, (true, V4), "{fault:?}");
            assert_eq!(asked_for(&resolver, &granted).await, (true, V4), "the one that worked stays");
            assert_eq!(asked_for(&resolver, fault).await, (false, V4));
        }
    }

    /// With the true limits, in virtual time.
    #[tokio::test(start_paused = true)]
    async fn a_name_service_that_hangs_leaves_the_proxy_time_for_the_address_that_worked_before() {
        let config = Config::new(Text::default(), Text::default());
        let dial =
            crate::ways::Ways::default().dial(&config, false, tokio::runtime::Handle::current()).unwrap();
        let good = ["192.0.2.1:1883".parse().unwrap()];
        let _asked = dial.resolver.hangs("broker.example", 1883, &good);
        let (near, mut far) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            let mut asked = vec![0; 3];
            far.read_exact(&mut asked).await.unwrap();
            far.write_all(&[5, 0]).await.unwrap();
            asked.resize(10, 0);
            far.read_exact(&mut asked).await.unwrap();
            // waits: a proxy takes a moment to connect
            tokio::time::sleep(Duration::from_secs(1)).await;
            far.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
            asked
        });
        let proxy = Proxy::parse("socks5://p").unwrap();
        let target = ServerUrl::parse("mqtt://broker.example").unwrap();
        let mut trip = Trip::new(tokio::sync::mpsc::unbounded_channel().0);
        let until = Instant::now() + dial.limits.proxy;
        let opened = tunnel(&dial, &proxy, Box::new(near), &target, until, &mut trip).await;
        assert!(opened.is_ok(), "{:?}", opened.err());
        assert!(trip.stages.addresses_are_old);
        assert_eq!(server.await.unwrap()[4..8], [192, 0, 2, 1]);
    }

    #[test]
    fn reads_every_kind() {
        let proxy = Proxy::parse("socks5h://us%40er:p%3Aw@[::1]:1081").unwrap();
        assert_eq!((proxy.kind, proxy.host(), proxy.port()), (Kind::Socks5Names, "::1", 1081));
        assert_eq!(proxy.user.as_deref(), Some("us@er"));
        assert_eq!(proxy.password.as_ref().map(Secret::expose), Some(&b"p:w"[..]));
        assert_eq!(proxy.to_string(), "socks5h://[::1]:1081");
        assert_eq!(Proxy::parse("proxy.example:3128").unwrap().to_string(), "http://proxy.example:3128");
        assert_eq!(Proxy::parse("socks5://p").unwrap().to_string(), "socks5://p:1080");
        assert_eq!(Proxy::parse("http://p/").unwrap().to_string(), "http://p:80");
    }

    #[test]
    fn names_what_is_wrong_and_no_secret() {
        let cases = [
            ("https://user:hunter2@p", "over TLS is not supported"),
            ("socks4://user:hunter2@p", "SOCKS 4"),
            ("ftp://user:hunter2@p", "unknown scheme"),
            ("http://user:hunter2@", "no host"),
            ("http://user:hunter2%z@p", "broken %-sequence"),
            ("http://user:hunter2/ss@p", "as %2F"),
            ("http://user:12/hunter2@p", "as %2F"),
            ("socks5://user:hunter2?@p", "as %2F"),
            ("user:12#hunter2@p", "as %2F"),
        ];
        for (url, expected) in cases {
            let error = Proxy::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{url}: {error}");
        }
        let proxy = Proxy::parse("http://user:hunter2@p").unwrap();
        assert!(!format!("{proxy:?} {proxy}").contains("hunter2"));
    }
}
