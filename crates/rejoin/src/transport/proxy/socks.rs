//! SOCKS 5 [RFC 1928], with user name and password [RFC 1929].

use std::net::{IpAddr, SocketAddr};

use rejoin_core::{TransportError, TransportErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::super::{BoxStream, transport_error};
use super::Proxy;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;

/// Where the tunnel leads.
pub(super) enum Where<'a> {
    /// Looked up by the proxy.
    Name(&'a str, u16),
    /// Looked up here.
    Address(SocketAddr),
}

pub(super) async fn connect(
    proxy: &Proxy,
    stream: &mut BoxStream,
    target: &Where<'_>,
) -> Result<(), TransportError> {
    let methods: &[u8] = if proxy.user.is_some() {
        &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD]
    } else {
        &[VERSION, 1, NO_LOGIN]
    };
    send(stream, methods).await?;
    let [version, method] = read(stream).await?;
    if version != VERSION {
        return Err(TransportError::new(TransportErrorKind::Handshake, "this is no SOCKS 5 proxy"));
    }
    match (method, &proxy.user) {
        (NO_LOGIN, _) => {}
        (USER_AND_PASSWORD, Some(user)) => log_in(proxy, user, stream).await?,
        _ => {
            let what = "the proxy wants a user name and password";
            return Err(TransportError::new(TransportErrorKind::Unauthorized, what));
        }
    }
    send(stream, &request(target)?).await?;
    let [_, reply, _, kind] = read(stream).await?;
    if let Some(error) = refusal(reply) {
        return Err(error);
    }
    // The address it is bound to at the other side tells us nothing.
    let length = match kind {
        1 => 4,
        4 => 16,
        _ => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await.map_err(closed)?;
    Ok(())
}

async fn log_in(proxy: &Proxy, user: &str, stream: &mut BoxStream) -> Result<(), TransportError> {
    let password = proxy.password.as_ref().map_or(&[][..], |password| password.expose());
    let mut login = Zeroizing::new(vec![1]);
    for part in [user.as_bytes(), password] {
        let length = u8::try_from(part.len()).map_err(|_| {
            TransportError::new(
                TransportErrorKind::Unauthorized,
                "its user name or password is longer than 255 bytes",
            )
        })?;
        login.push(length);
        login.extend_from_slice(part);
    }
    send(stream, &login).await?;
    let [_, status] = read(stream).await?;
    if status == 0 {
        return Ok(());
    }
    Err(TransportError::new(
        TransportErrorKind::Unauthorized,
        "the proxy refused the user name or the password",
    ))
}

fn request(target: &Where<'_>) -> Result<Vec<u8>, TransportError> {
    let mut request = vec![VERSION, 1, 0];
    let (address, port) = match target {
        Where::Address(address) => (Some(address.ip()), address.port()),
        Where::Name(name, port) => (name.parse().ok(), *port),
    };
    match (address, target) {
        (Some(IpAddr::V4(v4)), _) => {
            request.push(1);
            request.extend_from_slice(&v4.octets());
        }
        (Some(IpAddr::V6(v6)), _) => {
            request.push(4);
            request.extend_from_slice(&v6.octets());
        }
        (None, Where::Name(name, _)) => {
            let length = u8::try_from(name.len()).map_err(|_| {
                TransportError::new(
                    TransportErrorKind::NameNotFound,
                    "the host name is longer than 255 bytes",
                )
            })?;
            request.extend([3, length]);
            request.extend_from_slice(name.as_bytes());
        }
        (None, Where::Address(_)) => {}
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

fn refusal(reply: u8) -> Option<TransportError> {
    let (kind, what) = match reply {
        0 => return None,
        2 => (TransportErrorKind::Unauthorized, "the proxy does not allow this server or port"),
        3 => (TransportErrorKind::Proxy, "the proxy finds the network unreachable"),
        4 => (TransportErrorKind::Proxy, "the proxy finds the server unreachable"),
        5 => (TransportErrorKind::Proxy, "the server refused the proxy's connection"),
        6 => (TransportErrorKind::Proxy, "the server does not answer the proxy"),
        _ => (TransportErrorKind::Proxy, "the proxy failed to connect"),
    };
    Some(TransportError::new(kind, what))
}

async fn send(stream: &mut BoxStream, bytes: &[u8]) -> Result<(), TransportError> {
    stream.write_all(bytes).await.map_err(|error| transport_error("writing", &error))?;
    stream.flush().await.map_err(|error| transport_error("writing", &error))
}

async fn read<const N: usize>(stream: &mut BoxStream) -> Result<[u8; N], TransportError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(closed)?;
    Ok(bytes)
}

fn closed(error: std::io::Error) -> TransportError {
    transport_error("the proxy closed the connection", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(url: &str, target: Where<'_>, answer: &[u8]) -> (Result<(), TransportError>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(1024);
        far.write_all(answer).await.unwrap();
        let mut stream: BoxStream = Box::new(near);
        let done = connect(&Proxy::parse(url).unwrap(), &mut stream, &target).await;
        drop(stream);
        let mut asked = Vec::new();
        far.read_to_end(&mut asked).await.unwrap();
        (done, asked)
    }

    #[tokio::test]
    async fn a_name_travels_to_the_proxy_and_an_address_as_such() {
        let granted = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (done, asked) = exchange("socks5h://p", Where::Name("b.example", 1883), &granted).await;
        done.unwrap();
        assert_eq!(asked, b"\x05\x01\x00\x05\x01\x00\x03\x09b.example\x07\x5b");
        let address = Where::Address("192.0.2.7:1883".parse().unwrap());
        let (done, asked) = exchange("socks5://p", address, &[5, 0, 5, 0, 0, 3, 2, b'o', b'k', 0, 0]).await;
        done.unwrap();
        assert_eq!(asked[3..], [5, 1, 0, 1, 192, 0, 2, 7, 7, 0x5b]);
    }

    #[tokio::test]
    async fn the_login_is_given_when_it_is_asked_for() {
        let answers = [5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (done, asked) = exchange("socks5h://me:pw@p", Where::Name("192.0.2.7", 1), &answers).await;
        done.unwrap();
        assert_eq!(asked, b"\x05\x02\x00\x02\x01\x02me\x02pw\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x01");
        let (done, _) = exchange("socks5h://me:pw@p", Where::Name("b", 1), &[5, 2, 1, 1]).await;
        assert_eq!(done.unwrap_err().kind, TransportErrorKind::Unauthorized);
    }

    #[tokio::test]
    async fn every_refusal_has_its_meaning() {
        use TransportErrorKind as T;
        let cases: [(&[u8], T); 6] = [
            (&[5, 0xFF], T::Unauthorized),
            (b"HTTP", T::Handshake),
            (&[5, 0, 5, 2, 0, 1], T::Unauthorized),
            (&[5, 0, 5, 5, 0, 1], T::Proxy),
            (&[5, 0, 5, 1, 0, 1], T::Proxy),
            (&[5], T::Closed),
        ];
        for (answer, kind) in cases {
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            let mut stream: BoxStream = Box::new(near);
            let proxy = Proxy::parse("socks5h://p").unwrap();
            let error = connect(&proxy, &mut stream, &Where::Name("b", 1)).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
        }
    }
}
