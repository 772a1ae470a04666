//! TCP, the stream that every server has [MQTT-4.2-1]: from a name to a connected socket, and the socket options that
//! decide how soon a dead peer is noticed.

use std::io;
use std::time::Duration;

use rejoin_core::{Stage, TransportErrorKind};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::dns::Found;
use super::race::{self, Rules};
use super::{Dial, OpenError, Trip};
use crate::command::from_now;

/// The race keeps its limits itself; this is for the case that it does not.
const LATE: Duration = Duration::from_millis(100);

/// The kernel probes an idle peer after this long; our own ping normally comes first.
const KEEPALIVE_TIME: Duration = Duration::from_secs(15);
/// Between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Probes without an answer until the kernel gives the peer up.
const KEEPALIVE_RETRIES: u32 = 3;
/// Unsent bytes the kernel takes: a ping cannot overtake what the kernel holds.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 128 * 1024;

/// Looks the name up and connects to the first of its addresses that answers.
pub(super) async fn open(
    dial: &Dial,
    host: &str,
    port: u16,
    until: Instant,
    trip: &mut Trip,
) -> Result<TcpStream, OpenError> {
    let mut found = match host.parse() {
        Ok(address) => Found::one(address, port),
        Err(_) => {
            let names_until = until.min(from_now(dial.limits.dns));
            // The look-up ends by itself at its limit, because it may still have old addresses to give.
            trip.within(Stage::Dns, until + LATE, dial.resolver.look_up(host, port, names_until)).await?
        }
    };
    trip.stages.addresses_are_old |= found.instead_of.is_some();
    if trip.stages.get(Stage::Dns).is_some() {
        trip.stages.addresses = found.addresses.len();
    }
    if let Some(from) = dial.bind {
        found.addresses.retain(|address| address.is_ipv4() == from.is_ipv4());
        if found.addresses.is_empty() {
            let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
            let what =
                format!("{host} has no {family} address to reach from {from}, which is to be bound to");
            return Err(OpenError::new(Stage::Tcp, TransportErrorKind::Unreachable, what));
        }
    }
    let rules = Rules { head_start: dial.limits.head_start, each: dial.limits.tcp, until, from: dial.bind };
    // The race, too, ends by itself, so that it can tell which addresses failed.
    let race = async { Ok(race::run(&found.addresses, rules).await) };
    let outcome = trip.within(Stage::Tcp, until + LATE, race).await?;
    for address in outcome.failed {
        dial.resolver.failed(address);
    }
    match outcome.result {
        Ok((stream, address)) => {
            dial.resolver.worked(host, port, address, &found.addresses);
            trip.stages.peer = Some(address);
            prepare(&stream, dial.user_timeout);
            Ok(stream)
        }
        Err(error) => Err(OpenError { stage: Stage::Tcp, error }),
    }
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
