//! TLS through proxies from Debian: SOCKS 5 by microsocks, HTTP CONNECT by tinyproxy.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::{Folder, Mosquitto, free_port};
use crate::certificates::Authority;
use crate::program::check;
use crate::skipped::skipped;

/// A proxy that runs. Dropping it kills the process.
struct Proxy(Child);

impl Proxy {
    /// Starts it and waits until it listens.
    fn start(mut command: Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let proxy = Self(child.expect("it was there a moment ago"));
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the proxy did not start within 10 s");
            // waits: for another process, which tells nobody when it listens
            std::thread::sleep(Duration::from_millis(5));
        }
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn find(test: &str, program: &str) -> Option<String> {
    let path = format!("/usr/bin/{program}");
    let here = Path::new(&path).exists();
    if !here {
        skipped(test, &format!("{path} is missing; apt-get install {program}"));
    }
    here.then_some(path)
}

struct Secured {
    folder: Folder,
    _broker: Mosquitto,
    ca: String,
    url: String,
}

/// A broker behind TLS.
fn secured(name: &str) -> Secured {
    let folder = Folder::new(name);
    let authority = Authority::new("ours");
    let ca = authority.file(&folder, "ca.pem");
    let server = authority.sign(&folder, "server", &["localhost", "127.0.0.1"]);
    let port = free_port();
    let listener = format!(
        "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\nallow_anonymous true\n",
        server.certificate, server.key
    );
    let broker = Mosquitto::start_with(&folder, "", &listener);
    Secured { folder, _broker: broker, ca, url: format!("mqtts://localhost:{port}") }
}

fn proxied(found: &serde_json::Value) -> bool {
    let stages = found["stages"].as_array().expect("stages");
    stages.iter().any(|stage| stage["stage"] == "proxy" && stage["result"] == "ok")
}

#[test]
fn tls_through_a_socks_5_proxy() {
    if !Mosquitto::is_here("SOCKS 5") {
        return;
    }
    let Some(program) = find("SOCKS 5", "microsocks") else { return };
    let Secured { folder, _broker, ca, url } = secured("socks");
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-u", "me", "-P", "hunter2"]);
    let _proxy = Proxy::start(command, port);
    for scheme in ["socks5", "socks5h"] {
        let proxy = format!("{scheme}://me:hunter2@127.0.0.1:{port}");
        let (code, found) =
            check(&folder, &[&url, "--cafile", &ca, "--proxy", &proxy, "--loopback", "check"]);
        assert_eq!(code, Some(0), "{found}");
        assert!(proxied(&found), "{found}");
        assert!(!found.to_string().contains("hunter2"), "{found}");
        let proxy = format!("{scheme}://me:wrong@127.0.0.1:{port}");
        let (code, found) = check(&folder, &[&url, "--cafile", &ca, "--proxy", &proxy]);
        assert_eq!((code, found["cause"].as_str()), (Some(9), Some("unauthorized")), "{found}");
        let proxy = format!("{scheme}://me:hunter2@127.0.0.1:{port}");
        let (code, found) = check(&folder, &["mqtt://127.0.0.1:1", "--proxy", &proxy]);
        assert_eq!((code, found["cause"].as_str()), (Some(9), Some("proxy-failed")), "{found}");
    }
}

#[test]
fn tls_through_an_http_proxy() {
    if !Mosquitto::is_here("HTTP CONNECT") {
        return;
    }
    let Some(program) = find("HTTP CONNECT", "tinyproxy") else { return };
    let Secured { folder, _broker, ca, url } = secured("connect");
    let port = free_port();
    let configuration = folder.write(
        "tinyproxy.conf",
        &format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth me hunter2\nLogLevel Error\n"),
    );
    let mut command = Command::new(program);
    command.args(["-d", "-c", &configuration]);
    let _proxy = Proxy::start(command, port);
    let proxy = format!("http://me:hunter2@127.0.0.1:{port}");
    let (code, found) = check(&folder, &[&url, "--cafile", &ca, "--proxy", &proxy, "--loopback", "check"]);
    assert_eq!(code, Some(0), "{found}");
    assert!(proxied(&found), "{found}");
    assert!(!found.to_string().contains("hunter2"), "{found}");
    let wrong = format!("http://me:wrong@127.0.0.1:{port}");
    let cases: [(&[&str], &str); 2] = [
        (&[&url, "--cafile", &ca, "--proxy", &wrong], "unauthorized"),
        (&["mqtt://127.0.0.1:1", "--proxy", &proxy], "proxy-failed"),
    ];
    for (words, cause) in cases {
        let (code, found) = check(&folder, words);
        assert_eq!((code, found["cause"].as_str()), (Some(9), Some(cause)), "{found}");
    }
}
