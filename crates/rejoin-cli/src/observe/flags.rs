//! `--serve`, `--metrics`: where to, checked and taken before the client starts.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;

use super::door;
use super::guard::{Guard, TOKEN_VARIABLE, Token};
use super::limits::Limits;
use crate::exit::Failure;

/// Where to be seen.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Observation")]
pub(crate) struct ServeArgs {
    /// Serve the live page, its data, /metrics, /livez and /readyz: a port (on loopback) or HOST:PORT; 0 takes a free port. Away from loopback everything needs the token
    #[arg(long, value_name = "ADDR", env = "REJOIN_SERVE")]
    pub(crate) serve: Option<String>,
    /// Serve only /metrics, /livez and /readyz
    #[arg(long, value_name = "ADDR", env = "REJOIN_METRICS")]
    pub(crate) metrics: Option<String>,
    /// The token stands in this file [default: in $REJOIN_SERVE_TOKEN, else a new one for each run, told once on stderr]
    #[arg(long, value_name = "FILE", env = "REJOIN_SERVE_TOKEN_FILE")]
    pub(crate) serve_token_file: Option<PathBuf>,
}

/// What is to be seen at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Everything.
    All,
    /// Metrics and probes.
    Probes,
}

/// An address that is ours.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) listener: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) guard: Guard,
    pub(crate) shown: Shown,
    /// What people open. Holds the token.
    url: String,
    /// The same without it.
    plain_url: String,
}

/// All addresses of a run; none where nobody asked for any.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) places: Vec<Place>,
    pub(crate) limits: Limits,
}

impl ServeArgs {
    /// Takes the addresses.
    ///
    /// # Errors
    /// One that cannot be read, is in use or is not of this machine: exit 2, before anything starts.
    pub(crate) fn take(&self) -> Result<Places, Failure> {
        let limits = Limits::default();
        let mut places = Vec::new();
        let asked = [("--serve", &self.serve, Shown::All), ("--metrics", &self.metrics, Shown::Probes)];
        if asked.iter().all(|(_, text, _)| text.is_none()) {
            return Ok(Places::default());
        }
        let variable = std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.is_empty());
        let token = Token::find(self.serve_token_file.as_deref(), variable).map_err(Failure::usage)?;
        for (flag, text, shown) in asked {
            if let Some(text) = text {
                let told = |what: String| Failure::usage(format!("{flag} {text}: {what}"));
                places.push(place(text, shown, &token, &limits).map_err(told)?);
            }
        }
        Ok(Places { places, limits })
    }
}

impl Places {
    /// What people open, with the token.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.places.iter().map(|place| place.url.clone()).collect()
    }
}

impl Place {
    /// What to open, in words: with the token only for people.
    pub(crate) fn told(&self) -> (String, String) {
        (self.url.clone(), self.plain_url.clone())
    }
}

fn place(text: &str, shown: Shown, token: &Token, limits: &Limits) -> Result<Place, String> {
    let (host, port) = split(text)?;
    let found = (host.as_str(), port).to_socket_addrs();
    let addrs: Vec<SocketAddr> = found.map_err(|e| format!("no such host: {e}"))?.collect();
    let mut failed = None;
    for addr in addrs {
        match door::bind(addr, limits).and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((addr, listener)) => {
                let guard = Guard::new(addr, &host, token.clone());
                // A wildcard is no address to open; what stands there reaches this machine at least.
                let name = if addr.ip().is_unspecified() { "localhost".to_owned() } else { bracketed(&host) };
                let plain_url = format!("http://{name}:{}/", addr.port());
                let url = match (shown, guard.is_closed()) {
                    (Shown::All, false) => format!("{plain_url}#token={}", token.reveal()),
                    (Shown::All, true) => format!("{plain_url}?token={}", token.reveal()),
                    (Shown::Probes, false) => format!("{plain_url}metrics"),
                    (Shown::Probes, true) => format!("{plain_url}metrics?token={}", token.reveal()),
                };
                return Ok(Place { listener, addr, guard, shown, url, plain_url });
            }
            Err(error) => failed = Some(remedy(addr, &error)),
        }
    }
    Err(failed.unwrap_or_else(|| "the name has no address; write HOST:PORT".to_owned()))
}

fn remedy(addr: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "{addr} is in use by another program; choose another port, or 0 for a free one (ss -ltnp tells who has it)"
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            format!(
                "{addr} is no address of this machine; write a port alone for loopback, or 0.0.0.0:PORT for all"
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{addr} is not for this user; choose a port above 1023")
        }
        _ => format!("{addr}: {error}"),
    }
}

/// `9090`, `:9090`, `host:9090`, `[::1]:9090`.
fn split(text: &str) -> Result<(String, u16), String> {
    let wrong = || "write PORT, or HOST:PORT, as 9090, 127.0.0.1:9090 or [::1]:9090".to_owned();
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| wrong())?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None if host.is_empty() => "127.0.0.1",
        None => host,
    };
    if host.contains(|c: char| c == '/' || c.is_whitespace()) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        let all = |text| split(text).map_err(|_| ());
        assert_eq!(all("9090"), Ok(("127.0.0.1".to_owned(), 9090)));
        assert_eq!(all(":9090"), Ok(("127.0.0.1".to_owned(), 9090)));
        assert_eq!(all("0.0.0.0:1"), Ok(("0.0.0.0".to_owned(), 1)));
        assert_eq!(all("[::1]:9090"), Ok(("::1".to_owned(), 9090)));
        for wrong in ["", "x", "::1:9090", "http://localhost:1", "localhost", "[::1:80", "a:70000", "a b:1"] {
            assert!(all(wrong).is_err(), "{wrong}");
        }
    }
}
