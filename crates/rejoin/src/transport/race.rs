//! Several addresses of one server: each gets a head start, then the next is tried beside it, and the first that
//! answers is taken [RFC 8305].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rejoin_core::{TransportError, TransportErrorKind};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::transport_error;
use crate::command::from_now;

/// The limits of a race.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How long one address is alone on the way before the next starts; a failure ends it early.
    pub(super) head_start: Duration,
    /// Limit of one address.
    pub(super) each: Duration,
    /// The end of the race.
    pub(super) until: Instant,
    /// The address of ours to connect from.
    pub(super) from: Option<IpAddr>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<(TcpStream, SocketAddr), TransportError>,
    /// Addresses that did not work, and those a later one overtook by its whole head start.
    pub(super) failed: Vec<SocketAddr>,
}

/// Connects to the first of the addresses that answers.
pub(super) async fn run(addresses: &[SocketAddr], rules: Rules) -> Outcome {
    let mut race = JoinSet::new();
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<SocketAddr> = Vec::new();
    let mut failed = Vec::new();
    let mut telling: Option<TransportError> = None;
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            running.push(address);
            let end = rules.until.min(from_now(rules.each));
            let from = rules.from;
            race.spawn(async move { (address, connect(address, from, end).await) });
        }
        // With nobody left to start, only the results are waited for; each ends at its limit.
        let patience = if waiting.len() > 0 { rules.head_start } else { Duration::from_secs(24 * 3600) };
        let result = match timeout(patience, race.join_next()).await {
            Err(_) => continue,
            Ok(Some(Ok(result))) => result,
            Ok(Some(Err(_))) => continue,
            Ok(None) if waiting.len() > 0 => continue,
            Ok(None) => break,
        };
        match result {
            (address, Ok(stream)) => {
                // Who started a whole head start earlier and is not there is not there.
                failed.extend(running.iter().take_while(|other| **other != address));
                failed.dedup();
                return Outcome { result: Ok((stream, address)), failed };
            }
            (address, Err(error)) => {
                running.retain(|other| *other != address);
                failed.push(address);
                // "Nobody listens" tells more than "no answer" of another address.
                let keep = telling.as_ref().is_some_and(|known| known.kind == TransportErrorKind::Refused);
                if !keep {
                    telling = Some(error);
                }
            }
        }
    }
    let none = || TransportError::new(TransportErrorKind::NameNotFound, "no address");
    Outcome { result: Err(telling.unwrap_or_else(none)), failed }
}

async fn connect(
    address: SocketAddr,
    from: Option<IpAddr>,
    until: Instant,
) -> Result<TcpStream, TransportError> {
    let connecting = async {
        match from {
            None => TcpStream::connect(address).await,
            Some(from) => bound(from)?.connect(address).await,
        }
    };
    match timeout_at(until, connecting).await {
        Ok(Ok(stream)) if is_self(&stream) => Err(TransportError::new(
            TransportErrorKind::Refused,
            format!("{address}: the socket met itself, nobody listens"),
        )),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(transport_error(&address.to_string(), &error)),
        Err(_) => Err(TransportError::new(TransportErrorKind::TimedOut, format!("{address}: no answer"))),
    }
}

/// A socket that connects from this address, whatever the port.
fn bound(from: IpAddr) -> io::Result<TcpSocket> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from, 0)).map_err(|error| {
        let kind = match error.kind() {
            // It may be ours again when its network is up.
            io::ErrorKind::AddrNotAvailable => TransportErrorKind::Resources,
            _ => TransportErrorKind::Other,
        };
        let what = format!("cannot bind to {from}: {error}; give an address of this machine");
        io::Error::other(TransportError::new(kind, what))
    })?;
    Ok(socket)
}

/// Dialling a free port of this very machine again and again ends, by chance, in a connection of a socket with
/// itself [RFC 9293, 3.5]; it would take every byte we send for an answer.
fn is_self(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;

    use super::*;

    fn rules() -> Rules {
        Rules {
            head_start: Duration::from_millis(250),
            each: Duration::from_secs(5),
            until: Instant::now() + Duration::from_secs(5),
            from: None,
        }
    }

    /// A port whose accept queue is full: a SYN to it is dropped, as by a firewall that says nothing.
    async fn black_hole() -> (Socket, Vec<TcpStream>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut fill = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            fill.push(stream);
        }
        (socket, fill, address)
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hide_the_one_behind_it() {
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (live, refusing) = (living.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        let begin = Instant::now();
        let outcome = run(&[refusing, live], rules()).await;
        assert_eq!(outcome.result.unwrap().1, live);
        assert_eq!(outcome.failed, [refusing]);
        assert!(begin.elapsed() < Duration::from_millis(200), "a refusal ends the head start");
        let error = run(&[refusing], rules()).await.result.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Refused, "{error}");
    }

    #[tokio::test]
    async fn a_black_hole_costs_one_head_start() {
        let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = living.local_addr().unwrap();
        let (_socket, _fill, hole) = black_hole().await;
        let begin = Instant::now();
        let outcome = run(&[hole, live], rules()).await;
        let took = begin.elapsed();
        assert_eq!(outcome.result.unwrap().1, live);
        assert_eq!(outcome.failed, [hole], "tried last from now on");
        assert!(took >= Duration::from_millis(250) && took < Duration::from_millis(300), "{took:?}");
    }

    #[tokio::test]
    async fn a_race_nobody_wins_ends_at_its_limit() {
        let (_socket, _fill, hole) = black_hole().await;
        let rules = Rules { each: Duration::from_millis(300), ..rules() };
        let error = run(&[hole], rules).await.result.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::TimedOut, "{error}");
    }

    #[tokio::test]
    async fn no_address_is_an_answer() {
        let outcome = run(&[], rules()).await;
        assert_eq!(outcome.result.unwrap_err().kind, TransportErrorKind::NameNotFound);
    }
}
