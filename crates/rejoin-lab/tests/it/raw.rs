//! A client over a real socket that does only what it is told.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::codec::packet::{Connect, Packet, Version};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::peer::{bytes_of, connect};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    decoder: Decoder,
    version: Version,
}

impl Raw {
    pub(crate) async fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let decoder = Decoder::new(Version::V5, Sender::Server, Limits::default());
        Ok(Self { stream, decoder, version: Version::V5 })
    }

    /// A kept 5.0 session.
    pub(crate) async fn session(addr: SocketAddr, client: &str, clean_start: bool) -> (Self, bool) {
        Self::with(addr, connect(client, Version::V5, clean_start, 3600)).await
    }

    pub(crate) async fn with(addr: SocketAddr, connect: Connect) -> (Self, bool) {
        let mut raw = Self::open(addr).await.unwrap();
        raw.send(&Packet::Connect(Box::new(connect))).await.unwrap();
        match raw.recv().await.unwrap() {
            Packet::ConnAck(connack) => (raw, connack.session_present),
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, packet: &Packet) -> io::Result<()> {
        self.stream.write_all(&bytes_of(packet, self.version)).await
    }

    /// The next packet; an error when the connection ended, a panic when nothing comes at all.
    pub(crate) async fn recv(&mut self) -> io::Result<Packet> {
        tokio::time::timeout(LIMIT, self.next()).await.expect("nothing came within the limit")
    }

    /// Whether nothing comes for a time.
    pub(crate) async fn is_silent(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.next()).await.is_err()
    }

    async fn next(&mut self) -> io::Result<Packet> {
        loop {
            if let Some(Decoded::Packet(packet)) = self.decoder.next().unwrap() {
                return Ok(packet);
            }
            let mut bytes = BytesMut::with_capacity(4096);
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.decoder.push(bytes.freeze());
        }
    }
}
