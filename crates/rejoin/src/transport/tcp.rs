//! TCP: name look-up, connect, and the socket options that decide how soon a dead peer is noticed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rejoin_core::{Stage, TransportError, TransportErrorKind};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::{OpenError, Target, transport_error};

/// The kernel probes an idle peer after this long; our own ping normally comes first.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Probes without an answer until the kernel gives the peer up.
const KEEPALIVE_RETRIES: u32 = 3;
/// Unsent bytes the kernel takes: a ping cannot overtake what the kernel holds.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 * 1024;

/// Resolves and connects within the limit, trying each address for its share of what is left.
pub(super) async fn open(
    target: &Target,
    user_timeout: Duration,
    limit: Duration,
) -> Result<TcpStream, OpenError> {
    let until = Instant::now() + limit;
    let addresses = resolve(target, until).await?;
    match connect_any(&addresses, until).await {
        Ok(stream) => {
            prepare(&stream, user_timeout);
            Ok(stream)
        }
        Err(error) => Err(OpenError { stage: Stage::Tcp, error }),
    }
}

async fn connect_any(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, TransportError> {
    let mut telling: Option<TransportError> = None;
    for (tried, address) in addresses.iter().enumerate() {
        // One dead address must not eat the limit of those behind it.
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match connect(*address, Instant::now() + share).await {
            Ok(stream) => return Ok(stream),
            // "Nobody listens" tells more than "no answer" of another address.
            Err(error) => {
                let keep = telling.as_ref().is_some_and(|known| known.kind == TransportErrorKind::Refused);
                if !keep {
                    telling = Some(error);
                }
            }
        }
    }
    Err(telling.unwrap_or_else(|| TransportError::new(TransportErrorKind::NameNotFound, "no address")))
}

async fn resolve(target: &Target, until: Instant) -> Result<Vec<SocketAddr>, OpenError> {
    let found = timeout_at(until, lookup_host((target.host.as_str(), target.port))).await;
    let error = match found {
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            TransportError::new(TransportErrorKind::NameNotFound, format!("{}: no address", target.host))
        }
        Ok(Err(error)) => look_up_error(&target.host, &error),
        Err(_) => TransportError::new(
            TransportErrorKind::ResolverFailed,
            format!("{}: the name service did not answer", target.host),
        ),
    };
    Err(OpenError { stage: Stage::Dns, error })
}

/// The resolver's errors carry words and no number; only some say that asking again is of no use.
fn look_up_error(host: &str, error: &io::Error) -> TransportError {
    let words = error.to_string();
    let absent = ["not known", "No address", "nodename", "No such host", "not found"];
    let kind = if absent.iter().any(|part| words.contains(part)) {
        TransportErrorKind::NameNotFound
    } else {
        TransportErrorKind::ResolverFailed
    };
    TransportError::new(kind, format!("{host}: {words}"))
}

async fn connect(address: SocketAddr, until: Instant) -> Result<TcpStream, TransportError> {
    match timeout_at(until, TcpStream::connect(address)).await {
        Ok(Ok(stream)) if is_self(&stream) => Err(TransportError::new(
            TransportErrorKind::Refused,
            format!("{address}: the socket met itself, nobody listens"),
        )),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(transport_error(&address.to_string(), &error)),
        Err(_) => Err(TransportError::new(TransportErrorKind::TimedOut, format!("{address}: no answer"))),
    }
}

/// Dialling a free port of this very machine again and again ends, by chance, in a connection of a socket with
/// itself [RFC 9293, 3.5]; it would take every byte we send for an answer.
fn is_self(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Sets what the system offers. Each is a help, none is a condition: our own timers stand behind them.
fn prepare(stream: &TcpStream, user_timeout: Duration) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows))]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES);
    note("TCP_NODELAY", socket.set_tcp_nodelay(true));
    // One sees only idle links, the other only busy ones.
    note("TCP_KEEPALIVE", socket.set_tcp_keepalive(&keepalive));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        note("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(user_timeout)));
        note("TCP_NOTSENT_LOWAT", socket.set_tcp_notsent_lowat(UNSENT_BYTES));
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = user_timeout;
}

fn note(option: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(target: "rejoin", option, %error, "the system refused a socket option");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_one_behind_it() {
        let living = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (live, refusing) = (living.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        let until = Instant::now() + Duration::from_secs(5);
        let stream = connect_any(&[refusing, live], until).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        let error = connect_any(&[refusing], until).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Refused, "{error}");
    }

    #[test]
    fn only_a_clear_word_of_the_resolver_says_that_a_name_does_not_exist() {
        let cases = [
            ("Name or service not known", TransportErrorKind::NameNotFound),
            ("No address associated with hostname", TransportErrorKind::NameNotFound),
            ("Temporary failure in name resolution", TransportErrorKind::ResolverFailed),
            ("System error", TransportErrorKind::ResolverFailed),
        ];
        for (words, expected) in cases {
            let words = format!("failed to lookup address information: {words}");
            let error = look_up_error("broker.example", &io::Error::other(words));
            assert_eq!(error.kind, expected, "{error}");
            assert!(error.detail.starts_with("broker.example: "));
        }
    }
}
