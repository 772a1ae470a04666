//! Why an attempt failed, in words: who is to blame, and what to do. Where a proxy was dialled it is not the broker.

use rejoin::{LossCause, Stage, Stages, TransportErrorKind};

/// What to do about a proxy that cannot be reached.
const PROXY: &str = "check --proxy, HTTPS_PROXY and ALL_PROXY; --no-proxy goes without";

/// What to do where nothing comes through one. It answers only when it reached the server, so it may be either.
const THROUGH: &str =
    "check --proxy, HTTPS_PROXY and ALL_PROXY, and that the broker runs; --no-proxy goes without";

/// Why an attempt failed, with the place in it, and what to do.
pub(crate) fn told(cause: &LossCause, place: &str, stages: &Stages) -> String {
    let hint = hint(cause, stages).map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{}{hint}", brief(cause, place, stages))
}

/// Why an attempt failed, with the place in it.
pub(crate) fn brief(cause: &LossCause, place: &str, stages: &Stages) -> String {
    if let Some(proxy) = silent_proxy(cause, stages) {
        return format!("no way through the proxy {proxy} to {place}: one of the two does not answer");
    }
    if let LossCause::Open { stage, error } = cause {
        let proxied = dialled_proxy(cause, stages).map(|proxy| format!("the proxy {proxy}"));
        let place = proxied.as_deref().unwrap_or(place);
        return match error.kind {
            TransportErrorKind::Refused => format!("connection refused by {place} (nobody listens there)"),
            TransportErrorKind::NameNotFound => format!("no such host: {place}"),
            TransportErrorKind::ResolverFailed => {
                format!("{place}: the name service failed: {}", error.detail)
            }
            TransportErrorKind::TimedOut if *stage == Stage::Tcp => format!("{place} does not answer"),
            TransportErrorKind::TimedOut => format!("{place}: {stage}: {}", error.detail),
            TransportErrorKind::Unreachable => format!("{place} cannot be reached: {}", error.detail),
            _ => format!("{place}: {}", error.detail),
        };
    }
    if let LossCause::Protocol(error) = cause {
        return format!("{place}: {error}");
    }
    let text = cause.to_string();
    if place.is_empty() || text.contains(place) { text } else { format!("{place}: {text}") }
}

/// What to do about a failed attempt, where there is something to do.
pub(crate) fn hint(cause: &LossCause, stages: &Stages) -> Option<&'static str> {
    if dialled_proxy(cause, stages).is_some() {
        return Some(PROXY);
    }
    if silent_proxy(cause, stages).is_some() {
        return Some(THROUGH);
    }
    match cause {
        LossCause::Open { stage: Stage::Tls, error } if error.kind == TransportErrorKind::TimedOut => {
            Some("something listens there but does not answer in TLS, or it is overloaded; check the port")
        }
        LossCause::Open { stage: Stage::WebSocket, error } if error.kind == TransportErrorKind::TimedOut => {
            Some(
                "something listens there but opens no WebSocket, or it is overloaded; check the port and the path",
            )
        }
        _ => rejoin::hint(cause),
    }
}

/// Why there is no link while the first attempt is still under way, at this stage, and what to do. `proxied`: a proxy may
/// be on the way.
pub(crate) fn no_answer(stage: Stage, place: &str, proxied: bool) -> String {
    match stage {
        Stage::Credentials => {
            "the password was not there in time, so nothing was dialled; check --password-command, or \
                               raise --deadline"
                .to_owned()
        }
        Stage::Proxy => format!(
            "no way through the proxy to {place}: one of the two did not answer; check --proxy and --host, or raise \
             --deadline"
        ),
        Stage::Tls | Stage::WebSocket => format!(
            "{place} took the connection, but {stage} did not come about; check --port, or raise --deadline"
        ),
        Stage::Connack => format!(
            "{place} took the connection but did not answer CONNECT; either it is no MQTT broker (check --port) or it \
             is overloaded (raise --deadline)"
        ),
        // Which of them was dialled is told when the attempt ends.
        _ if proxied => format!(
            "nothing on the way to {place} answered; check --proxy, HTTPS_PROXY, ALL_PROXY and --host, or raise \
             --deadline"
        ),
        _ => format!("{place} did not answer; check --host, or raise --deadline"),
    }
}

/// The proxy, where the attempt did not come to it.
fn dialled_proxy<'a>(cause: &LossCause, stages: &'a Stages) -> Option<&'a str> {
    let dialled = matches!(cause, LossCause::Open { stage: Stage::Dns | Stage::Tcp, .. });
    stages.proxy.as_deref().filter(|_| dialled)
}

/// The proxy, where it took the connection and kept silent. What it says of the server behind it is about that.
fn silent_proxy<'a>(cause: &LossCause, stages: &'a Stages) -> Option<&'a str> {
    let LossCause::Open { stage: Stage::Proxy, error } = cause else { return None };
    stages.proxy.as_deref().filter(|_| error.kind == TransportErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use rejoin_core::TransportError;

    use super::*;

    fn failed(stage: Stage, kind: TransportErrorKind, proxy: Option<&str>) -> String {
        let mut stages = Stages::default();
        stages.proxy = proxy.map(str::to_owned);
        told(
            &LossCause::Open { stage, error: TransportError::new(kind, "no answer within 5s") },
            "broker:1",
            &stages,
        )
    }

    #[test]
    fn who_is_to_blame_is_who_was_dialled() {
        use TransportErrorKind as T;
        let proxy = Some("http://proxy:3128");
        for (stage, kind, said) in [
            (Stage::Tcp, T::Refused, "connection refused by the proxy http://proxy:3128"),
            (Stage::Dns, T::NameNotFound, "no such host: the proxy http://proxy:3128"),
            (Stage::Tcp, T::TimedOut, "the proxy http://proxy:3128 does not answer"),
        ] {
            let text = failed(stage, kind, proxy);
            assert!(text.starts_with(said) && text.ends_with(PROXY) && !text.contains("broker"), "{text}");
            assert!(!failed(stage, kind, None).contains("proxy"), "without one: {kind:?}");
        }
        let silent = failed(Stage::Proxy, T::TimedOut, proxy);
        let said = "no way through the proxy http://proxy:3128 to broker:1: one of the two does not answer; ";
        assert_eq!(silent, format!("{said}{THROUGH}"), "it answers when it reached the broker");
        let behind = failed(Stage::Proxy, T::NameNotFound, proxy);
        assert_eq!(behind, "no such host: broker:1; check the host name", "looked up for the proxy");
    }

    #[test]
    fn while_nobody_can_tell_whom_a_silence_is_laid_to_nobody() {
        for (stage, proxied, said) in [
            (Stage::Credentials, false, "the password was not there in time, so nothing was dialled"),
            (Stage::Credentials, true, "the password was not there in time, so nothing was dialled"),
            (Stage::Dns, false, "broker:1 did not answer"),
            (Stage::Tcp, false, "broker:1 did not answer"),
            (Stage::Dns, true, "nothing on the way to broker:1 answered"),
            (Stage::Tcp, true, "nothing on the way to broker:1 answered"),
            (Stage::Proxy, true, "no way through the proxy to broker:1: one of the two did not answer"),
            (Stage::Tls, true, "broker:1 took the connection, but tls"),
            (Stage::Connack, true, "broker:1 took the connection but did not answer CONNECT"),
        ] {
            let text = no_answer(stage, "broker:1", proxied);
            assert!(text.starts_with(said) && text.contains("--deadline"), "{stage} {proxied}: {text}");
        }
    }

    #[test]
    fn a_firewall_is_suspected_before_tcp_only() {
        let text = |stage| failed(stage, TransportErrorKind::TimedOut, None);
        assert!(text(Stage::Tcp).contains("firewall"), "{}", text(Stage::Tcp));
        for (stage, said) in
            [(Stage::Tls, "broker:1: tls: no answer"), (Stage::WebSocket, "broker:1: websocket: no answer")]
        {
            assert!(text(stage).starts_with(said) && !text(stage).contains("firewall"), "{}", text(stage));
        }
        let through = failed(Stage::Tls, TransportErrorKind::TimedOut, Some("http://proxy:3128"));
        assert!(!through.contains("proxy"), "what is behind it did not answer: {through}");
    }
}
