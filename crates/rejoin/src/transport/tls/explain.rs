//! What went wrong with TLS, in words that name the remedy, and what it means for the next attempt.

use std::io;
use std::time::{Duration, SystemTime};

use rejoin_core::{TransportError, TransportErrorKind};
use rustls::{AlertDescription as Alert, CertificateError, Error};

use super::facts::day;

/// An error of a handshake with a server of this name.
pub(super) fn handshake(error: &io::Error, name: &str) -> TransportError {
    if let Some(inner) = rustls_error(error) {
        return told(inner, name);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            let what = "the server closed the connection during the TLS handshake; is this its TLS port?";
            TransportError::new(TransportErrorKind::Closed, what)
        }
        _ => super::super::transport_error("TLS handshake", error),
    }
}

/// An error of an open stream, if TLS has to do with it.
pub(in super::super) fn explain(error: &io::Error, context: &str) -> Option<TransportError> {
    let inner = rustls_error(error)?;
    let TransportError { kind, detail } = told(inner, "the server");
    // On an open link the bytes were in order once: what is not now was broken on the way.
    let kind = if kind == TransportErrorKind::Handshake { TransportErrorKind::Other } else { kind };
    Some(TransportError { kind, detail: format!("{context}: {detail}") })
}

pub(super) fn bad_name(name: &str) -> TransportError {
    let what = format!(
        "`{}` is no name a certificate could have; use a host name or an address",
        name.escape_debug()
    );
    TransportError::new(TransportErrorKind::Certificate, what)
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn told(error: &Error, name: &str) -> TransportError {
    let (kind, what) = match error {
        Error::InvalidCertificate(reason) => (TransportErrorKind::Certificate, certificate(reason, name)),
        Error::NoCertificatesPresented => {
            (TransportErrorKind::Certificate, "the server showed no certificate".to_owned())
        }
        Error::AlertReceived(alert) => return refused(*alert),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => (
            TransportErrorKind::Handshake,
            format!(
                "the server does not speak TLS on this port ({error}); use its TLS port, or mqtt:// without TLS"
            ),
        ),
        other => (TransportErrorKind::Handshake, other.to_string()),
    };
    TransportError::new(kind, what)
}

fn certificate(reason: &CertificateError, name: &str) -> String {
    let at = |time: &rustls::pki_types::UnixTime| {
        day(SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs()))
    };
    let clock = "unless the clock of this machine is wrong";
    match reason {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired on {} (today is {}), {clock}; it must be renewed",
            at(not_after),
            at(time)
        ),
        CertificateError::Expired => format!("the server's certificate expired, {clock}; it must be renewed"),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!(
                "the server's certificate is valid only from {} (today is {}), {clock}",
                at(not_before),
                at(time)
            )
        }
        CertificateError::NotValidYet => format!("the server's certificate is not valid yet, {clock}"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().map(|name| name.escape_debug().to_string()).collect::<Vec<_>>();
            format!(
                "the server's certificate is not for `{name}` but for {}; use a name it has",
                if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") }
            )
        }
        CertificateError::NotValidForName => {
            format!("the server's certificate is not for `{name}`; use a name it has")
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate is signed by an authority that is not trusted \
                                            here; name its CA file"
                .to_owned()
        }
        CertificateError::Revoked => "the server's certificate was revoked".to_owned(),
        other => format!("the server's certificate is not valid: {other:?}"),
    }
}

/// The server ended it with an alert. Those about certificates are about ours.
fn refused(alert: Alert) -> TransportError {
    let ours = match alert {
        Alert::CertificateRequired => Some("the server wants a client certificate; give one, with its key"),
        Alert::CertificateExpired => Some("the server finds our certificate expired; renew it"),
        Alert::CertificateRevoked => Some("the server finds our certificate revoked"),
        Alert::UnknownCA => Some("the server does not trust the authority that signed our certificate"),
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => {
            Some("the server does not accept our certificate")
        }
        Alert::AccessDenied => Some("the server does not let the owner of our certificate in"),
        _ => None,
    };
    match ours {
        Some(what) => {
            TransportError::new(TransportErrorKind::CertificateRefused, format!("{what} ({alert:?})"))
        }
        None if alert == Alert::HandshakeFailure => TransportError::new(
            TransportErrorKind::CertificateRefused,
            "the server refused the handshake: no common cipher, or it wants a client certificate (HandshakeFailure)",
        ),
        None => TransportError::new(
            TransportErrorKind::Handshake,
            format!("the server ended TLS with the alert {alert:?}"),
        ),
    }
}
