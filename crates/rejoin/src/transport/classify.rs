//! An error of the system, reduced to what recovery decides on.

use std::io;

use rejoin_core::{TransportError, TransportErrorKind};

/// By kind first: the same fault has another number on another system, and one number has several faces.
fn classify(error: &io::Error) -> TransportErrorKind {
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

/// An error of the system with its kind and its words. One that already says what it is stays as it is.
pub(crate) fn transport_error(context: &str, error: &io::Error) -> TransportError {
    if let Some(known) = error.get_ref().and_then(|inner| inner.downcast_ref::<TransportError>()) {
        return known.clone();
    }
    #[cfg(feature = "tls")]
    if let Some(known) = super::tls::explain(error, context) {
        return known;
    }
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
