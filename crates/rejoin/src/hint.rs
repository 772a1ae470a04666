//! What a person can do about a cause.

use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::{LossCause, TransportErrorKind};

/// What to do about a cause, where there is something to do; `None` where waiting is all.
pub fn hint(cause: &LossCause) -> Option<&'static str> {
    match cause {
        LossCause::Open { error, .. } => transport(error.kind),
        LossCause::ConnectTimeout(_) => Some("check the address and that no firewall drops the packets"),
        LossCause::ConnackTimeout(_) => {
            Some("something listens there but does not speak MQTT, or it is overloaded; check the port")
        }
        LossCause::ClosedBeforeConnack => {
            Some("check the port (TLS ports close plain connections) and the broker's log")
        }
        LossCause::Refused { reason, .. } | LossCause::ServerDisconnect { reason, .. } => code(*reason),
        LossCause::Protocol(_) => Some("check that an MQTT broker listens on this port"),
        LossCause::PingTimeout(_) | LossCause::WriteStall(_) => {
            Some("the network or the broker stands still; nothing accepted is lost")
        }
        LossCause::AckTimeout(_) => Some("the broker answers pings but no publishes; see its log"),
        _ => None,
    }
}

const fn transport(kind: TransportErrorKind) -> Option<&'static str> {
    match kind {
        TransportErrorKind::NameNotFound => Some("check the host name"),
        TransportErrorKind::ResolverFailed => Some("check the name service of this machine"),
        TransportErrorKind::Refused => Some("is a broker listening on this port?"),
        TransportErrorKind::Unreachable => Some("check the network and its routes"),
        TransportErrorKind::TimedOut => Some("check the address and that no firewall drops the packets"),
        TransportErrorKind::Resources => Some("this machine is out of ports, file descriptors or memory"),
        _ => None,
    }
}

const fn code(reason: ReasonCode) -> Option<&'static str> {
    match reason {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => Some("check the user name and the password"),
        ReasonCode::NOT_AUTHORIZED => Some("check the user name and the broker's access rules"),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => Some("choose another client id"),
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => {
            Some("choose the other protocol version; 3.1.1 wants a user name beside a password or token")
        }
        ReasonCode::BANNED => Some("the broker banned this client; ask its operator"),
        ReasonCode::SESSION_TAKEN_OVER => Some("another client uses the same client id; give each its own"),
        ReasonCode::SERVER_BUSY | ReasonCode::CONNECTION_RATE_EXCEEDED | ReasonCode::QUOTA_EXCEEDED => {
            Some("the broker is at its limit; the client slows down by itself")
        }
        ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED => Some("use the server it names"),
        ReasonCode::PACKET_TOO_LARGE => Some("send smaller messages"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_choose_3_1_1_hears_what_it_wants_beside_a_token() {
        let reason = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
        let told = code(reason).unwrap();
        assert!(told.contains("other protocol version") && told.contains("user name"), "{told}");
    }
}
