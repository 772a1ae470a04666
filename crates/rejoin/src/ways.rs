//! The ways to a server that a builder was told: proxy, TLS, WebSocket, a connector, limits, credentials.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;

use rejoin_core::Config;
#[cfg(any(feature = "tls", feature = "ws"))]
use rejoin_core::ConfigError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::authentication::Authentication;
use crate::builder::Builder;
use crate::credentials::CredentialSource;
use crate::error::BuildError;
#[cfg(feature = "ws")]
use crate::secret::Secret;
use crate::transport::limits::StageLimits;
#[cfg(feature = "tls")]
use crate::transport::tls::{Shop, Tls};
#[cfg(feature = "ws")]
use crate::transport::ws::WebSocket;
use crate::transport::{Connector, Dial, Proxies, Proxy, Resolver};
use crate::url::ServerUrl;

/// How servers are reached.
#[derive(Default)]
pub(crate) struct Ways {
    pub(crate) login: Option<CredentialSource>,
    pub(crate) authentication: Option<Authentication>,
    limits: StageLimits,
    /// `None`: the environment decides. `Some(None)`: none at all.
    proxy: Option<Option<Proxy>>,
    connector: Option<Connector>,
    bind: Option<IpAddr>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "ws")]
    headers: Vec<(String, Secret)>,
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ways")
            .field("limits", &self.limits)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

impl Ways {
    /// Whether servers are taken for the right ones whatever they show.
    #[cfg(feature = "tls")]
    pub(crate) fn is_unverified(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_unverified)
    }

    /// Whether servers are taken for the right ones whatever they show.
    #[cfg(not(feature = "tls"))]
    pub(crate) const fn is_unverified(&self) -> bool {
        false
    }

    /// What the transport needs. Reads certificates once, so that a wrong file is told before the start; `secure` says
    /// whether any server needs them.
    pub(crate) fn dial(self, config: &Config, secure: bool, runtime: Handle) -> Result<Dial, BuildError> {
        let proxies = match self.proxy {
            None => Proxies::from_environment(|name| std::env::var(name).ok()),
            Some(None) => Proxies::default(),
            Some(Some(proxy)) => Proxies::of(proxy),
        };
        #[cfg(feature = "tls")]
        if self.tls.is_some() && !secure {
            let what = "no server is spoken to over TLS; write mqtts:// or wss:// in its URL";
            return Err(ConfigError::new("tls", what).into());
        }
        #[cfg(feature = "tls")]
        let tls = secure.then(|| Box::new(Shop::new(self.tls.unwrap_or_default())));
        #[cfg(feature = "tls")]
        if let Some(tls) = &tls {
            tls.check().map_err(|error| ConfigError::new("tls", error.detail))?;
        }
        #[cfg(not(feature = "tls"))]
        let _ = secure;
        #[cfg(feature = "ws")]
        let websocket = {
            let mut websocket = WebSocket::default();
            for (name, value) in self.headers {
                websocket.add(&name, value).map_err(|what| ConfigError::new("websocket_header", what))?;
            }
            websocket
        };
        Ok(Dial {
            user_timeout: config.link.write_timeout,
            limits: self.limits.shared(),
            resolver: Resolver::default(),
            proxies,
            runtime,
            connector: self.connector,
            bind: self.bind,
            login: self.login,
            authentication: self.authentication.map(Box::new),
            #[cfg(feature = "tls")]
            tls,
            #[cfg(feature = "ws")]
            websocket,
        })
    }
}

impl Builder {
    /// Limits of the stages of opening a link: name look-up, TCP, proxy, TLS, WebSocket, credentials. Each has its
    /// default in [`StageLimits`].
    pub fn stage_limits(mut self, change: impl FnOnce(&mut StageLimits)) -> Self {
        change(&mut self.ways.limits);
        self
    }

    /// The proxy to all servers, loopback included. Default: what the environment says in `HTTPS_PROXY` (for TLS),
    /// `ALL_PROXY` and `NO_PROXY`, and none to loopback.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.ways.proxy = Some(Some(proxy));
        self
    }

    /// No proxy, whatever the environment says.
    pub fn no_proxy(mut self) -> Self {
        self.ways.proxy = Some(None);
        self
    }

    /// The address of this machine that TCP connects from, to servers and to a proxy; only addresses of its family are
    /// tried. Default: the system chooses by its routes. Where it is not ours, attempts fail with an error that names it
    /// and are repeated like those to an absent broker: its network may come up.
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.ways.bind = Some(address);
        self
    }

    /// Opens byte streams by a function of the application instead of DNS, TCP and proxy: a serial line, a tunnel, a
    /// pipe of a test. TLS and WebSocket come on top where the URL says so. Asked for every attempt, within
    /// [`Builder::connect_timeout`]. With [`Builder::own_thread`] it is called on that thread, which serves what it opens:
    /// it must not block.
    ///
    /// ```
    /// # fn example() {
    /// let builder = rejoin::Client::builder("mqtt://in-process").connector(|_server| async {
    ///     let (near, _far) = tokio::io::duplex(64 * 1024); // give `_far` to the broker
    ///     Ok(near)
    /// });
    /// # }
    /// ```
    pub fn connector<F, Fut, S>(mut self, open: F) -> Self
    where
        F: Fn(ServerUrl) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.ways.connector = Some(Connector::new(open));
        self
    }

    /// Whom to trust and who we are, for servers spoken to over TLS; at least one must be. Default: [`Tls::new`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.ways.tls = Some(tls);
        self
    }

    /// A header of the WebSocket handshake. Its value is taken for a secret.
    #[cfg(feature = "ws")]
    pub fn websocket_header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.ways.headers.push((name.into(), value.into()));
        self
    }
}
