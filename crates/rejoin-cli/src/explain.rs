//! `rejoin explain`: what a number or a word in the output means.

use rejoin_core::recovery::why;
use rejoin_core::{LossCause, ReasonCode};

use crate::exit::{self, Failure};

/// The names of causes in state lines and journals, and what each means.
const CAUSES: &[(&str, &str)] = &[
    ("name-not-found", "the host name does not exist; check it"),
    ("resolver-failed", "the name service did not answer; check this machine's resolver"),
    ("connection-refused", "nobody listens on the port; is the broker running?"),
    ("unreachable", "no route to the host; check network and routes"),
    (
        "connect-timeout",
        "TCP, the proxy, TLS or the WebSocket did not come about in time; at tcp a firewall may drop the packets, at the \
         others what listens there does not answer",
    ),
    ("connect-failed", "the connection could not be opened"),
    (
        "certificate-not-accepted",
        "the server could not prove who it is: expired, another name, or not signed by a trusted authority",
    ),
    (
        "client-certificate-refused",
        "the server does not accept our certificate, or wants one (--cert, --key)",
    ),
    (
        "handshake-failed",
        "what answered does not speak TLS, WebSocket or the proxy's protocol there; check port and path",
    ),
    ("unauthorized", "the proxy or the WebSocket server wants other credentials"),
    ("proxy-failed", "the proxy works and cannot reach the broker"),
    ("no-credentials", "--password-command or --password-file gave no password"),
    ("out-of-resources", "this machine is out of ports, file descriptors or memory"),
    (
        "connack-timeout",
        "connected, but the broker did not answer CONNECT; it is overloaded or no MQTT broker",
    ),
    (
        "closed-before-connack",
        "the peer closed after CONNECT; a TLS port or a broker that refuses without a word",
    ),
    ("refused", "the broker refused CONNECT, with a reason code"),
    ("peer-closed", "the broker closed the connection without DISCONNECT, as it does when it is stopped"),
    ("reset", "the connection was reset: the broker died or something between cut it"),
    ("transport-timeout", "written bytes were not acknowledged by the network in time"),
    ("transport-error", "the connection failed"),
    ("server-disconnect", "the broker said goodbye, with a reason code"),
    ("ping-timeout", "no byte came after a ping: the link or the broker is dead or frozen (--ping-timeout)"),
    ("write-stall", "the socket took no bytes: the link or the broker stands still (--write-timeout)"),
    ("ack-timeout", "the broker answers pings but acknowledges nothing (--ack-timeout)"),
    ("health-watch", "no message came for the time of --health-watch"),
    ("protocol-error", "what came was no valid MQTT; check that an MQTT broker listens on this port"),
    ("shutdown", "we ended the link ourselves"),
    ("restart", "we restarted the link ourselves"),
    ("foreign-session", "the broker kept a session that is not ours to go on with; it is ended first"),
    ("renewal", "the credentials were about to end; the next link opens with new ones"),
];

/// The text for what was asked; everything, if nothing was.
pub(crate) fn text(what: &[String]) -> Result<String, Failure> {
    let asked = what.join(" ").to_ascii_lowercase();
    if asked.is_empty() {
        let codes = ReasonCode::ALL.iter().map(|code| reason(*code)).collect::<Vec<_>>().join("\n  ");
        let causes: Vec<_> = CAUSES.iter().map(|(name, text)| format!("{name:<22} {text}")).collect();
        return Ok(format!(
            "{}\n\nReason codes:\n  {codes}\n\nCauses:\n  {}",
            exit::TABLE,
            causes.join("\n  ")
        ));
    }
    if let Some((name, text)) = CAUSES.iter().find(|(name, _)| *name == asked) {
        return Ok(format!("{name}: {text}"));
    }
    if let Some(number) = asked.strip_prefix("exit") {
        return match number.trim() {
            "" => Ok(exit::TABLE.to_owned()),
            number => number.parse().ok().and_then(exit_code).ok_or_else(|| unknown(&asked)),
        };
    }
    let hex = asked.strip_prefix("0x").and_then(|digits| u8::from_str_radix(digits, 16).ok());
    if let Some(code) = hex.map(ReasonCode).filter(|code| code.text().is_some()) {
        return Ok(explained(code));
    }
    if let Some(number) = asked.parse::<u8>().ok().filter(|_| hex.is_none()) {
        return exit_code(number).ok_or_else(|| unknown(&asked));
    }
    let named =
        ReasonCode::ALL.iter().find(|code| code.text().is_some_and(|text| text.eq_ignore_ascii_case(&asked)));
    named.map(|code| explained(*code)).ok_or_else(|| unknown(&asked))
}

fn unknown(asked: &str) -> Failure {
    Failure::usage(format!(
        "`{}` is no exit code, reason code or cause; `rejoin explain` alone lists all",
        asked.escape_debug()
    ))
}

fn reason(code: ReasonCode) -> String {
    format!("0x{:02X} {:>3}  {}", code.0, code.0, code.text().unwrap_or("not named by the standard"))
}

/// A code, and why the table of recovery says what it says about it.
fn explained(code: ReasonCode) -> String {
    if !code.is_error() {
        return reason(code);
    }
    let refused = LossCause::Refused {
        reason: code,
        text: None,
        server_reference: None,
        v311_form: false,
        maximum_qos: None,
    };
    let ended = LossCause::ServerDisconnect { reason: code, text: None, server_reference: None };
    format!(
        "{}\n  in CONNACK: {}\n  in DISCONNECT: {}",
        reason(code),
        why(&refused, false),
        why(&ended, true)
    )
}

/// The paragraph of the table that begins with this number.
fn exit_code(number: u8) -> Option<String> {
    if number >= 128 {
        let code = ReasonCode(number);
        let refused = code.text().map(|_| format!("exit {number}: the broker refused: {}", reason(code)));
        return match number {
            130 => Some(format!("exit 130: ended by Ctrl-C, or {}", reason(code))),
            143 => Some(format!("exit 143: ended by SIGTERM, or {}", reason(code))),
            _ => refused,
        };
    }
    let start = format!("  {number} ");
    let mut lines = exit::TABLE.lines().skip_while(|line| !line.starts_with(&start));
    let first = lines.next()?.trim_start().split_once(' ')?.1.trim_start();
    let rest = lines.take_while(|line| line.starts_with(FURTHER_LINES)).map(str::trim);
    Some(format!("exit {number}: {}", std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ")))
}

/// How a line of the table begins that goes on with the one before.
const FURTHER_LINES: &str = "           ";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(what: &str) -> String {
        let words: Vec<String> = what.split(' ').map(str::to_owned).collect();
        text(&words).unwrap_or_else(|failure| format!("ERROR {}", failure.message))
    }

    #[test]
    fn explains_what_stands_in_the_output() {
        assert!(asked("0x87").contains("not authorized"));
        assert!(asked("135").contains("not authorized"));
        assert!(asked("exit 4").contains("not acknowledged"), "{}", asked("exit 4"));
        assert_eq!(
            asked("exit 5"),
            "exit 5: some messages were not acknowledged before the deadline and are safe in the queue folder: run again, \
             or rejoin queue drain"
        );
        assert!(asked("exit 27").contains("time-out"));
        assert!(asked("130").contains("Ctrl-C"));
        assert!(asked("ping-timeout").contains("no byte came"));
        assert!(asked("not authorized").contains("0x87"));
        assert!(asked("0x8E").contains("in DISCONNECT: both sides live"), "{}", asked("0x8E"));
        assert!(asked("connect-timeout").contains("TLS"));
        assert!(asked("frobnicate").starts_with("ERROR `frobnicate` is no"));
        assert!(asked("7").starts_with("ERROR"));
        assert!(text(&[]).is_ok_and(|all| all.contains("0xA2") && all.contains("ping-timeout")));
    }
}
