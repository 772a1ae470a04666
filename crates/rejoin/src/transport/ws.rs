//! MQTT over WebSocket: binary frames of any cut, as one stream of bytes [MQTT-6.0.0-1] [MQTT-6.0.0-2].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use futures_sink::Sink;
use rejoin_core::{TransportError, TransportErrorKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use super::BoxStream;
use super::frames::{Arriving, PIECE};
use crate::secret::Secret;
use crate::url::ServerUrl;

/// The sub-protocol of MQTT [MQTT-6.0.0-3].
const PROTOCOL: &str = "mqtt";
/// The path where none is named; what nearly all brokers listen on.
const PATH: &str = "mqtt";
/// Largest message and frame that is read, in bytes. What a server sends may be of any length, because it is cut before:
/// our limit for packets is no measure for frames. Many packets may share one, and at 3.1.1 a broker cannot be told the
/// limit, so that core passes over what is larger; here it would end the link, and come again on each next one.
const LARGEST: usize = 2 * PIECE;
/// Bytes that wait in the frame buffer before writing pauses.
const WRITE_BUFFER: usize = 64 * 1024;

/// Settings of WebSocket.
#[derive(Clone, Default)]
pub(crate) struct WebSocket {
    headers: Vec<(HeaderName, Secret)>,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.headers.iter().map(|(name, _)| name)).finish()
    }
}

impl WebSocket {
    /// Adds a header. The error says which is wrong; values may be secrets and are not shown.
    pub(crate) fn add(&mut self, name: &str, value: Secret) -> Result<(), String> {
        let shown = name.escape_debug();
        let name = HeaderName::try_from(name).map_err(|_| format!("`{shown}` is no name of a header"))?;
        HeaderValue::from_bytes(value.expose())
            .map_err(|_| format!("the value of `{name}` holds a character that no header may have"))?;
        self.headers.push((name, value));
        Ok(())
    }
}

/// Asks for a WebSocket on an open stream.
pub(super) async fn open(
    settings: &WebSocket,
    target: &ServerUrl,
    stream: BoxStream,
) -> Result<BoxStream, TransportError> {
    let scheme = if target.scheme.is_secure() { "wss" } else { "ws" };
    let path = target.path.as_deref().unwrap_or(PATH);
    let query = target.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{scheme}://{}/{}{query}", target.place(), path.trim_start_matches('/'));
    let mut request = url.into_client_request().map_err(|error| {
        TransportError::new(TransportErrorKind::Handshake, format!("the path cannot be asked for: {error}"))
    })?;
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
    for (name, value) in &settings.headers {
        // Checked when it was added.
        if let Ok(mut value) = HeaderValue::from_bytes(value.expose()) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST))
        .write_buffer_size(0)
        .max_write_buffer_size(2 * WRITE_BUFFER);
    match tokio_tungstenite::client_async_with_config(request, Arriving::new(stream), Some(config)).await {
        Ok((socket, _)) => Ok(Box::new(Framed { socket, read: Bytes::new() })),
        Err(error) => Err(refused(&error)),
    }
}

/// What the answer to the upgrade means.
fn refused(error: &Error) -> TransportError {
    let (kind, what) = match error {
        Error::Http(answer) => {
            let status = answer.status();
            let kind = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TransportErrorKind::Unauthorized,
                StatusCode::TOO_MANY_REQUESTS => TransportErrorKind::Closed,
                status if status.is_server_error() => TransportErrorKind::Closed,
                _ => TransportErrorKind::Handshake,
            };
            (
                kind,
                format!(
                    "the server answered HTTP {status} instead of a WebSocket; check the path of the URL"
                ),
            )
        }
        Error::Io(error) => return super::transport_error("WebSocket handshake", error),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => (
            TransportErrorKind::Closed,
            "the server closed the connection during the WebSocket handshake".to_owned(),
        ),
        // [MQTT-6.0.0-4]
        Error::Protocol(error) => (
            TransportErrorKind::Handshake,
            format!("the server does not speak WebSocket with the sub-protocol mqtt: {error}"),
        ),
        other => (TransportErrorKind::Handshake, other.to_string()),
    };
    TransportError::new(kind, what)
}

/// A WebSocket as a stream of bytes.
struct Framed {
    socket: WebSocketStream<Arriving>,
    read: Bytes,
}

/// The stream ended. Many a broker, and all that die, send no Close frame before it.
const fn is_end(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    )
}

fn failed(error: Error) -> io::Error {
    let told = |kind, what: String| io::Error::other(TransportError::new(kind, what));
    match error {
        Error::Io(error) => error,
        error if is_end(&error) => told(TransportErrorKind::Closed, "the WebSocket is closed".to_owned()),
        other => told(TransportErrorKind::Other, format!("WebSocket: {other}")),
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.read.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.read = bytes,
                Some(Ok(Message::Text(_))) => {
                    // [MQTT-6.0.0-1]
                    let error = TransportError::new(
                        TransportErrorKind::Other,
                        "a text frame: MQTT travels in binary frames",
                    );
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                // Pings are answered below this.
                Some(Ok(_)) => {}
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) if is_end(&error) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
            }
        }
        let length = this.read.len().min(buffer.remaining());
        buffer.put_slice(&this.read[..length]);
        this.read.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(failed)?;
        let length = bytes.len().min(WRITE_BUFFER);
        let frame = Message::Binary(Bytes::copy_from_slice(&bytes[..length]));
        Pin::new(&mut self.socket).start_send(frame).map_err(failed)?;
        Poll::Ready(Ok(length))
    }

    /// Several packets share a frame: each frame costs a header and a masking of its own.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(failed)?;
        let mut frame = Vec::with_capacity(slices.iter().map(|s| s.len()).sum::<usize>().min(WRITE_BUFFER));
        for slice in slices {
            let room = WRITE_BUFFER - frame.len();
            frame.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        let length = frame.len();
        Pin::new(&mut self.socket).start_send(Message::Binary(frame.into())).map_err(failed)?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(failed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failed)
    }
}
