//! Byte streams to a broker: how one is opened, stage by stage, and how it is ended in order.
//!
//! ```text
//!   connector of the application ─┐
//!   unix socket ──────────────────┼──► TLS? ──► WebSocket? ──► MQTT
//!   DNS ─► TCP ─► proxy? ─────────┘
//! ```

mod addresses;
mod classify;
mod connector;
mod dns;
#[cfg(feature = "ws")]
mod frames;
pub(crate) mod limits;
mod meter;
mod proxy;
mod race;
mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod trip;
#[cfg(unix)]
mod unix;
#[cfg(feature = "ws")]
pub(crate) mod ws;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rejoin_core::{Stage, TransportError, TransportErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::Instant;

pub(crate) use classify::transport_error;
pub(crate) use connector::Connector;
pub(crate) use dns::Resolver;
pub(crate) use meter::Meter;
pub(crate) use proxy::Proxies;
pub use proxy::{Proxy, ProxyError};
pub(crate) use trip::Trip;

use crate::authentication::{AuthStep, Authentication};
use crate::command::from_now;
use crate::credentials::{CredentialSource, no_credentials};
use crate::renewal::{Identity, PROVIDER, ask};
use crate::url::{Scheme, ServerUrl};
use limits::StageLimits;

/// A connected byte stream.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A byte stream whatever it is.
pub(crate) type BoxStream = Box<dyn ByteStream>;

/// How servers are dialled. One for all of them: what was learnt about names and certificates is shared.
pub(crate) struct Dial {
    /// TCP_USER_TIMEOUT: how long written bytes may stay unacknowledged.
    pub(crate) user_timeout: Duration,
    pub(crate) limits: Arc<StageLimits>,
    pub(crate) resolver: Resolver,
    pub(crate) proxies: Proxies,
    pub(crate) login: Option<CredentialSource>,
    pub(crate) authentication: Option<Box<Authentication>>,
    /// Where the application's code runs.
    pub(crate) runtime: Handle,
    pub(crate) connector: Option<Connector>,
    /// The address of ours to connect from.
    pub(crate) bind: Option<IpAddr>,
    #[cfg(feature = "tls")]
    /// Where a server is spoken to over TLS.
    pub(crate) tls: Option<Box<tls::Shop>>,
    #[cfg(feature = "ws")]
    pub(crate) websocket: ws::WebSocket,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("limits", &self.limits)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// The two clocks of the engine for one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// Up to the first handshake.
    pub(crate) connect: Duration,
    /// From there to CONNACK.
    pub(crate) handshake: Duration,
}

impl Clocks {
    /// The engine keeps both times, too, and is the last resort: what the transport finds out in time has a better
    /// name.
    pub(crate) fn within(connect: Duration, handshake: Duration) -> Self {
        let less = |limit: Duration| limit - (limit / 16).min(Duration::from_millis(100));
        Self { connect: less(connect), handshake: less(handshake) }
    }
}

impl Dial {
    /// The broker did not like the credentials.
    pub(crate) fn login_refused(&self) {
        if let Some(source) = &self.login {
            source.refused();
        }
    }
}

/// Why a stream could not be opened, and how far it came.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) stage: Stage,
    pub(crate) error: TransportError,
}

impl OpenError {
    pub(crate) fn new(stage: Stage, kind: TransportErrorKind, detail: impl Into<String>) -> Self {
        Self { stage, error: TransportError::new(kind, detail) }
    }
}

/// Asks for credentials, where somebody is there to ask. Whatever goes wrong, no broker is to blame, and no clock of one
/// runs yet.
pub(crate) async fn credentials(dial: &Dial, trip: &mut Trip) -> Result<Identity, OpenError> {
    if dial.login.is_none() && dial.authentication.is_none() {
        return Ok(Identity::default());
    }
    let until = from_now(dial.limits.credentials);
    let (login, authentication) = (dial.login.clone(), dial.authentication.clone());
    let question = async move {
        let mut identity = match login {
            Some(source) => source.login().await?,
            None => Identity::default(),
        };
        if let Some(authentication) = authentication {
            identity.data = authentication.step(AuthStep::Begin { again: false }).await?;
            // An end beyond all clocks is none.
            let ends = authentication.good_for.and_then(|life| SystemTime::now().checked_add(life));
            identity.ends = identity.ends.into_iter().chain(ends).min();
        }
        Ok(identity)
    };
    let asked = ask(dial, PROVIDER, question);
    trip.within(Stage::Credentials, until, asked).await.map_err(|failed| OpenError {
        error: no_credentials(match failed.error.kind {
            TransportErrorKind::TimedOut => format!("{PROVIDER} gave {}", failed.error.detail),
            _ => failed.error.detail,
        }),
        ..failed
    })
}

/// A stream, and what leaves below it where something is layered above TCP.
pub(crate) type Way = (BoxStream, Option<Meter>);

/// Opens a stream to one server, each stage within its limit.
pub(crate) async fn open(
    dial: &Dial,
    target: &ServerUrl,
    clocks: Clocks,
    trip: &mut Trip,
) -> Result<Way, OpenError> {
    let until = from_now(clocks.connect);
    let stream = bytes_to(dial, target, until, trip).await?;
    if !target.scheme.is_secure() && !target.scheme.is_websocket() {
        return Ok((stream, None));
    }
    let meter = Meter::default();
    let until = from_now(clocks.handshake);
    let stream = secured(dial, target, meter.over(stream), until, trip).await?;
    Ok((framed(dial, target, stream, until, trip).await?, Some(meter)))
}

/// The first byte stream: what the application brings, a socket file, or TCP, through a proxy where one is set.
async fn bytes_to(
    dial: &Dial,
    target: &ServerUrl,
    until: Instant,
    trip: &mut Trip,
) -> Result<BoxStream, OpenError> {
    if let Some(connector) = &dial.connector {
        return trip.within(Stage::Tcp, until, connector.connect(target.clone())).await;
    }
    if target.scheme == Scheme::Unix {
        #[cfg(unix)]
        return trip.within(Stage::Tcp, until, unix::open(&target.host)).await;
        #[cfg(not(unix))]
        return Err(OpenError::new(Stage::Tcp, TransportErrorKind::Other, "this system has no unix sockets"));
    }
    let Some(proxy) = dial.proxies.choose(target) else {
        return Ok(Box::new(tcp::open(dial, &target.host, target.port, until, trip).await?));
    };
    trip.stages.proxy = Some(proxy.to_string());
    let stream = tcp::open(dial, proxy.host(), proxy.port(), until, trip).await?;
    let until = until.min(from_now(dial.limits.proxy));
    proxy::tunnel(dial, proxy, Box::new(stream), target, until, trip).await
}

#[cfg(feature = "tls")]
async fn secured(
    dial: &Dial,
    target: &ServerUrl,
    stream: BoxStream,
    until: Instant,
    trip: &mut Trip,
) -> Result<BoxStream, OpenError> {
    if !target.scheme.is_secure() {
        return Ok(stream);
    }
    let Some(shop) = &dial.tls else {
        let what = "no server of this client was to be spoken to over TLS; this is a mistake in rejoin";
        return Err(OpenError::new(Stage::Tls, TransportErrorKind::Other, what));
    };
    let until = until.min(from_now(dial.limits.tls));
    tls::secure(shop, target, stream, until, trip).await
}

#[cfg(not(feature = "tls"))]
async fn secured(
    _: &Dial,
    _: &ServerUrl,
    stream: BoxStream,
    _: Instant,
    _: &mut Trip,
) -> Result<BoxStream, OpenError> {
    Ok(stream)
}

#[cfg(feature = "ws")]
async fn framed(
    dial: &Dial,
    target: &ServerUrl,
    stream: BoxStream,
    until: Instant,
    trip: &mut Trip,
) -> Result<BoxStream, OpenError> {
    if !target.scheme.is_websocket() {
        return Ok(stream);
    }
    let until = until.min(from_now(dial.limits.websocket));
    let opening = ws::open(&dial.websocket, target, stream);
    trip.within(Stage::WebSocket, until, opening).await
}

#[cfg(not(feature = "ws"))]
async fn framed(
    _: &Dial,
    _: &ServerUrl,
    stream: BoxStream,
    _: Instant,
    _: &mut Trip,
) -> Result<BoxStream, OpenError> {
    Ok(stream)
}

/// Writes what is left, closes our half and reads to the end, so that no reset of ours can eat what was written
/// last. True if the peer ended it in order within the limit.
pub(crate) async fn finish(mut stream: BoxStream, out: VecDeque<Bytes>, limit: Duration) -> bool {
    let orderly = async move {
        for bytes in out {
            stream.write_all(&bytes).await?;
        }
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    matches!(tokio::time::timeout(limit, orderly).await, Ok(Ok(())))
}
