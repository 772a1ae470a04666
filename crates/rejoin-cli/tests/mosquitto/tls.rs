//! TLS, mutual TLS and WebSocket against mosquitto: what is right opens, what is wrong has its own words, and a
//! certificate may change under a running client.

use std::time::Duration;

use serde_json::Value;

use crate::broker::{Folder, Mosquitto, free_port};
use crate::certificates::{Authority, Identity};
use crate::program::{Program, check};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// The true defaults would wait seconds for a broker that is started again.
const SCALED: [&str; 4] =
    ["--backoff=20ms..100ms", "--overload-backoff=20ms..100ms", "--lift-connect-budget", "--stable-after=0s"];

/// A listener with a certificate; `ca` is whose client certificates it wants.
fn listener(port: u16, server: &Identity, ca: Option<&str>) -> String {
    let wants = ca.map(|ca| format!("cafile {ca}\nrequire_certificate true\n")).unwrap_or_default();
    format!(
        "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n{wants}allow_anonymous true\n",
        server.certificate, server.key
    )
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://localhost:{port}")
}

fn stage<'a>(found: &'a Value, name: &str) -> &'a Value {
    let stages = found["stages"].as_array().expect("stages");
    stages.iter().find(|stage| stage["stage"] == name).unwrap_or_else(|| panic!("no {name}: {found}"))
}

#[test]
fn every_wrong_certificate_has_its_own_words_and_the_right_one_opens() {
    if !Mosquitto::is_here("TLS") {
        return;
    }
    let folder = Folder::new("tls");
    let (ours, strange) = (Authority::new("ours"), Authority::new("strange"));
    let ca = ours.file(&folder, "ca.pem");
    let good = ours.sign(&folder, "good", &["localhost", "127.0.0.1"]);
    let expired = ours.sign_expired(&folder, "expired", &["localhost"]);
    let misnamed = ours.sign(&folder, "misnamed", &["broker.example"]);
    let foreign = strange.sign(&folder, "foreign", &["localhost"]);
    let client = ours.sign(&folder, "client", &["gw-17"]);
    let stranger = strange.sign(&folder, "stranger", &["gw-17"]);
    let late = ours.sign_expired(&folder, "late", &["gw-17"]);
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let listeners = [
        listener(ports[0], &good, None),
        listener(ports[1], &expired, None),
        listener(ports[2], &misnamed, None),
        listener(ports[3], &foreign, None),
        listener(ports[4], &good, Some(&ca)),
    ]
    .concat();
    let _broker = Mosquitto::start_with(&folder, "", &listeners);

    let urls: Vec<String> = ports.iter().map(|port| url("mqtts", *port)).collect();
    let (code, found) = check(&folder, &[&urls[0], "--cafile", &ca, "--loopback", "check"]);
    assert_eq!(code, Some(0), "{found}");
    let note = stage(&found, "tls")["note"].as_str().expect("a note");
    assert!(note.starts_with("TLS 1.3") && note.contains("certificate valid"), "{note}");

    let (certificate, key) = (client.certificate.as_str(), client.key.as_str());
    let (code, found) = check(&folder, &[&urls[4], "--cafile", &ca, "--cert", certificate, "--key", key]);
    assert_eq!(code, Some(0), "{found}");

    let none: &[&str] = &[];
    let stranger = ["--cert", &stranger.certificate, "--key", &stranger.key];
    let late = ["--cert", &late.certificate, "--key", &late.key];
    let name = ["--tls-server-name", "other.example"];
    for (number, more, cause, part) in [
        (1, none, "certificate-not-accepted", "expired on 2021-03-04"),
        (2, none, "certificate-not-accepted", "not for `localhost` but for"),
        (3, none, "certificate-not-accepted", "authority that is not trusted here"),
        (0, &name[..], "certificate-not-accepted", "not for `other.example`"),
        (4, none, "client-certificate-refused", "wants a client certificate"),
        (4, &stranger[..], "client-certificate-refused", "does not trust the authority"),
        (4, &late[..], "client-certificate-refused", "expired"),
    ] {
        let words = [&[urls[number].as_str(), "--cafile", &ca][..], more].concat();
        let (code, found) = check(&folder, &words);
        assert_eq!((code, found["cause"].as_str()), (Some(9), Some(cause)), "{part}: {found}");
        let why = found["why"][0].as_str().expect("a reason");
        assert!(why.starts_with("tls: ") && why.contains(part), "{part}: {why}");
        assert_eq!(stage(&found, "tls")["result"], "failed", "{found}");
    }

    // Nobody takes a server unverified but by the word for it, and then it is told.
    let (code, found) = check(&folder, &[&urls[3], "--dangerously-trust-any-server"]);
    assert_eq!(code, Some(8), "{found}");
    assert!(found["why"][0].as_str().is_some_and(|why| why.contains("nobody looked")), "{found}");
}

#[test]
fn a_websocket_carries_messages_with_and_without_tls() {
    if !Mosquitto::is_here("WebSocket") {
        return;
    }
    let folder = Folder::new("websocket");
    let authority = Authority::new("ours");
    let ca = authority.file(&folder, "ca.pem");
    let server = authority.sign(&folder, "server", &["localhost"]);
    let (plain, secure) = (free_port(), free_port());
    let listeners = format!(
        "listener {plain} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n{}protocol websockets\n",
        listener(secure, &server, None)
    );
    let broker = Mosquitto::start_with(&folder, "", &listeners);
    for version in ["5", "311"] {
        let port = plain.to_string();
        let words = [
            "-h",
            "localhost",
            "-p",
            &port,
            "--ws",
            "-V",
            version,
            "--loopback",
            "check",
            "--ws-header",
            "X-Y: z",
        ];
        let (code, found) = check(&folder, &words);
        assert_eq!(code, Some(0), "{found}");
        let secure = url("wss", secure);
        let (code, found) = check(&folder, &[&secure, "--cafile", &ca, "-V", version, "--loopback", "check"]);
        assert_eq!(code, Some(0), "{found}");
        assert!(stage(&found, "websocket")["took_ms"].is_number(), "{found}");
    }
    // A large message crosses in many frames.
    let large = "x".repeat(300_000);
    let place = url("ws", plain);
    let mut subscriber =
        Program::start_anywhere(&folder, None, "sub", &["sub", "-L", &place, "-t", "large", "-C", "1"]);
    subscriber.wait_for("resubscribed", 0, LIMIT);
    let mut publisher =
        Program::start_anywhere(&folder, None, "pub", &["pub", "-L", &place, "-t", "large", "-s"]);
    publisher.write(large.as_bytes());
    assert_eq!(publisher.end(LIMIT), Some(0), "{}", publisher.told());
    assert_eq!(subscriber.end(LIMIT), Some(0), "{}", subscriber.told());
    assert_eq!(subscriber.printed().trim_end(), large);
    // The plain port is no WebSocket.
    let wrong = url("ws", broker.port);
    let (code, found) = check(&folder, &[&wrong]);
    assert_eq!(code, Some(9), "{found}");
    assert_eq!(stage(&found, "websocket")["result"], "failed", "{found}");
}

#[test]
fn certificates_are_rotated_under_a_running_client() {
    if !Mosquitto::is_here("rotation") {
        return;
    }
    eprintln!("rotation: {}", SCALED.join(" "));
    let folder = Folder::new("rotation");
    let port = free_port();
    let old = Authority::new("old");
    let ca = old.file(&folder, "ca.pem");
    let server = old.sign(&folder, "server", &["localhost"]);
    let client = old.sign(&folder, "client", &["gw-17"]);
    let mut broker = Mosquitto::start_with(&folder, "", &listener(port, &server, Some(&ca)));
    let place = url("mqtts", port);
    let words = ["-L", &place, "--cafile", &ca, "--cert", &client.certificate, "--key", &client.key];
    let subscriber = ["sub", "-t", "rotated", "-i", "S", "-c", "-v"];
    let mut subscriber =
        Program::start_anywhere(&folder, None, "sub", &[&subscriber[..], &words, &SCALED].concat());
    subscriber.wait_for("resubscribed", 0, LIMIT);

    // The same authority first: the ticket of the link before saves the certificates.
    broker.kill();
    broker.run();
    subscriber.wait_for("opened", 1, LIMIT);

    // Then another one, for both sides, in the same files.
    broker.kill();
    let new = Authority::new("new");
    new.file(&folder, "ca.pem");
    new.sign(&folder, "server", &["localhost"]);
    new.sign(&folder, "client", &["gw-17"]);
    broker.run();
    subscriber.wait_for("opened", 2, LIMIT);
    let publisher = ["pub", "-t", "rotated", "-m", "seen"];
    let mut publisher = Program::start_anywhere(&folder, None, "pub", &[&publisher[..], &words].concat());
    assert_eq!(publisher.end(LIMIT), Some(0), "{}", publisher.told());
    subscriber.wait_for_output("rotated seen", LIMIT);
    assert_eq!(subscriber.interrupt(LIMIT), Some(130), "{}", subscriber.told());
}
