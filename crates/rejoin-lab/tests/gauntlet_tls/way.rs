//! The way to the broker of a row: TLS by the client, taken off on the other end of a pipe, then plain TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;

use rejoin::{Builder, Client, Tls};
use tokio::io::{DuplexStream, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::self_signed;

/// The name in the certificate.
const NAME: &str = "gauntlet.test";
/// Bytes the pipe takes before writing waits: little, so that a row about a full socket is about that.
const PIPE: usize = 16 * 1024;

/// The other end of TLS, and the certificate to trust.
static SERVER: LazyLock<(TlsAcceptor, String)> = LazyLock::new(|| self_signed::server(NAME).unwrap());

/// A client of the broker at this address.
pub(crate) fn to(addr: SocketAddr) -> Builder {
    Client::builder(&format!("mqtts://{NAME}"))
        .tls(Tls::new().ca_pem(SERVER.1.as_bytes()))
        .connector(move |_| pipe(addr))
}

/// Connected first, so that a broker that is not there is not there.
async fn pipe(addr: SocketAddr) -> io::Result<DuplexStream> {
    let mut plain = TcpStream::connect(addr).await?;
    plain.set_nodelay(true)?;
    // What the system takes here the client believes to be on its way.
    socket2::SockRef::from(&plain).set_send_buffer_size(PIPE)?;
    let (near, far) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let Ok(mut secured) = SERVER.0.accept(far).await else { return };
        // However one side ends, the pipe ends with it.
        let _ = copy_bidirectional(&mut secured, &mut plain).await;
    });
    Ok(near)
}
