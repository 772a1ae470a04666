//! Byte streams to a broker: how one is opened, and how it is ended in order.

mod tcp;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{Stage, TransportError, TransportErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A connected byte stream.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where the servers are and how they are dialled.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) targets: Vec<Target>,
    /// TCP_USER_TIMEOUT: how long written bytes may stay unacknowledged.
    pub(crate) user_timeout: Duration,
}

/// Why a stream could not be opened, and how far it came.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) stage: Stage,
    pub(crate) error: TransportError,
}

/// Opens a stream to one server within the limit.
pub(crate) async fn open(
    target: Target,
    user_timeout: Duration,
    limit: Duration,
) -> Result<Box<dyn ByteStream>, OpenError> {
    let stream = tcp::open(&target, user_timeout, limit).await?;
    Ok(Box::new(stream))
}

/// Writes what is left, closes our half and reads to the end, so that no reset of ours can eat what was written
/// last. True if the peer ended it in order within the limit.
pub(crate) async fn finish(mut stream: Box<dyn ByteStream>, out: VecDeque<Bytes>, limit: Duration) -> bool {
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

/// An error of the system, reduced to what recovery decides on. By kind first: the same fault has another number on
/// another system, and one number has several faces.
pub(crate) fn classify(error: &io::Error) -> TransportErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::ConnectionRefused => TransportErrorKind::Refused,
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => TransportErrorKind::Reset,
        Io::UnexpectedEof | Io::NotConnected => TransportErrorKind::Closed,
        Io::TimedOut => TransportErrorKind::TimedOut,
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => TransportErrorKind::Unreachable,
        Io::AddrNotAvailable | Io::AddrInUse | Io::OutOfMemory => TransportErrorKind::Resources,
        _ => match error.raw_os_error() {
            // ENFILE and EMFILE, the same numbers on every Unix; the standard library has no kind for them.
            Some(23 | 24) if cfg!(unix) => TransportErrorKind::Resources,
            _ => TransportErrorKind::Other,
        },
    }
}

/// The same, with words.
pub(crate) fn transport_error(context: &str, error: &io::Error) -> TransportError {
    TransportError::new(classify(error), format!("{context}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_losing_a_peer_is_recognised() {
        use io::ErrorKind as Io;
        let cases = [
            (Io::ConnectionRefused, TransportErrorKind::Refused),
            (Io::ConnectionReset, TransportErrorKind::Reset),
            (Io::ConnectionAborted, TransportErrorKind::Reset),
            (Io::BrokenPipe, TransportErrorKind::Reset),
            (Io::TimedOut, TransportErrorKind::TimedOut),
            (Io::NetworkUnreachable, TransportErrorKind::Unreachable),
            (Io::HostUnreachable, TransportErrorKind::Unreachable),
            (Io::UnexpectedEof, TransportErrorKind::Closed),
            (Io::AddrNotAvailable, TransportErrorKind::Resources),
            (Io::PermissionDenied, TransportErrorKind::Other),
        ];
        for (kind, expected) in cases {
            assert_eq!(classify(&io::Error::from(kind)), expected, "{kind:?}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn running_out_of_descriptors_is_our_own_fault() {
        assert_eq!(classify(&io::Error::from_raw_os_error(24)), TransportErrorKind::Resources);
    }
}
