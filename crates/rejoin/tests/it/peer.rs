//! A broker as a script: the test reads what the client sent and writes what it likes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use rejoin::{Builder, Client, Qos, ReasonCode, Version};
use rejoin_core::codec::packet::{
    Ack, ConnAck, ConnAckProperties, Packet, PacketId, Publish, PublishProperties, SubAck,
};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No wait of a test is longer than this; none is expected to come near it.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Listener {
    listener: TcpListener,
    version: Version,
    pub(crate) url: String,
}

impl Listener {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        Self { listener, version: Version::V5, url }
    }

    pub(crate) async fn bind_311() -> Self {
        Self { version: Version::V311, ..Self::bind().await }
    }

    /// A client with the waits of recovery scaled down to a fiftieth, and no budget.
    pub(crate) fn client(&self) -> Builder {
        Client::builder(&self.url)
            .lift_connect_budget()
            .config(|config| config.recovery = config.recovery.clone().divided_by(50))
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = limited(self.listener.accept()).await.unwrap();
        // An answer that waits for an acknowledgement of TCP costs 40 ms.
        stream.set_nodelay(true).unwrap();
        self.peer(stream, Limits::default().max_packet_size)
    }

    fn peer(&self, stream: TcpStream, max_packet_size: u32) -> Peer {
        let limits = Limits { max_packet_size, ..Limits::default() };
        let decoder = Decoder::new(self.version, Sender::Client, limits);
        Peer { stream: Stream::Tcp(stream), version: self.version, decoder, read: VecDeque::new() }
    }

    /// Accepts, reads CONNECT and answers with success.
    pub(crate) async fn open(&self, session_present: bool) -> Peer {
        self.greet(self.accept().await, session_present).await
    }

    /// The same, for packets of any size.
    pub(crate) async fn open_wide(&self, session_present: bool) -> Peer {
        let (stream, _) = limited(self.listener.accept()).await.unwrap();
        self.greet(self.peer(stream, u32::MAX), session_present).await
    }

    async fn greet(&self, mut peer: Peer, session_present: bool) -> Peer {
        assert!(matches!(peer.next().await, Packet::Connect(_)));
        peer.send(connack(session_present, ReasonCode::SUCCESS)).await;
        peer
    }
}

pub(crate) async fn limited<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("the step took too long")
}

/// Any stream of bytes.
pub(crate) trait Bytewise: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytewise for T {}

enum Stream {
    Tcp(TcpStream),
    Other(Box<dyn Bytewise>),
}

pub(crate) struct Peer {
    stream: Stream,
    version: Version,
    decoder: Decoder,
    read: VecDeque<Packet>,
}

impl Peer {
    /// The same over any stream, at 5.0.
    pub(crate) fn over(stream: impl Bytewise + 'static) -> Self {
        let decoder = Decoder::new(Version::V5, Sender::Client, Limits::default());
        Self { stream: Stream::Other(Box::new(stream)), version: Version::V5, decoder, read: VecDeque::new() }
    }

    /// Reads CONNECT and answers with success.
    pub(crate) async fn greet(&mut self) {
        assert!(matches!(self.next().await, Packet::Connect(_)));
        self.send(connack(false, ReasonCode::SUCCESS)).await;
    }

    /// The next packet; panics at the end of the stream.
    pub(crate) async fn next(&mut self) -> Packet {
        limited(self.read_packet()).await.expect("the client closed")
    }

    /// The next packet that is not a PINGREQ, which is answered; `None` at the end of the stream.
    pub(crate) async fn next_or_end(&mut self) -> Option<Packet> {
        loop {
            match limited(self.read_packet()).await {
                Some(Packet::PingReq) => self.send(Packet::PingResp).await,
                other => return other,
            }
        }
    }

    async fn read_packet(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.read.pop_front() {
                return Some(packet);
            }
            while let Some(decoded) = self.decoder.next().expect("the client keeps to the standard") {
                let Decoded::Packet(packet) = decoded else { panic!("{decoded:?}") };
                self.read.push_back(packet);
            }
            if self.read.is_empty() {
                let mut buffer = BytesMut::with_capacity(64 * 1024);
                let read = match &mut self.stream {
                    Stream::Tcp(stream) => stream.read_buf(&mut buffer).await,
                    Stream::Other(stream) => stream.read_buf(&mut buffer).await,
                };
                if read.unwrap_or(0) == 0 {
                    return None;
                }
                self.decoder.push(buffer.freeze());
            }
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        self.send_together(&[packet]).await;
    }

    /// In one write.
    pub(crate) async fn send_together(&mut self, packets: &[Packet]) {
        let mut out = BytesMut::new();
        for packet in packets {
            encode(packet, self.version, &mut out).unwrap();
        }
        match &mut self.stream {
            Stream::Tcp(stream) => limited(stream.write_all(&out)).await.unwrap(),
            Stream::Other(stream) => {
                limited(stream.write_all(&out)).await.unwrap();
                limited(stream.flush()).await.unwrap();
            }
        }
    }

    /// The next packet must be this PUBLISH.
    pub(crate) async fn publish(&mut self) -> Publish {
        match self.next_or_end().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }

    pub(crate) async fn puback(&mut self) -> Ack {
        match self.next_or_end().await {
            Some(Packet::PubAck(ack)) => ack,
            other => panic!("not a PUBACK: {other:?}"),
        }
    }

    /// The same; an UNSUBSCRIBE may come before it.
    pub(crate) async fn puback_beside_unsubscribe(&mut self) -> Ack {
        loop {
            match self.next_or_end().await {
                Some(Packet::PubAck(ack)) => return ack,
                Some(Packet::Unsubscribe(_)) => {}
                other => panic!("neither PUBACK nor UNSUBSCRIBE: {other:?}"),
            }
        }
    }

    /// Reads SUBSCRIBE and grants every filter. Gives the filters and the subscription identifier.
    pub(crate) async fn grant(&mut self) -> (Vec<String>, Option<u32>) {
        match self.next_or_end().await {
            Some(Packet::Subscribe(subscribe)) => {
                let reasons = subscribe.filters.iter().map(|(_, o)| ReasonCode(o.qos as u8)).collect();
                self.send(Packet::SubAck(SubAck {
                    packet_id: subscribe.packet_id,
                    properties: None,
                    reasons,
                }))
                .await;
                let filters = subscribe.filters.iter().map(|(f, _)| f.to_string()).collect();
                (filters, subscribe.subscription_id)
            }
            other => panic!("not a SUBSCRIBE: {other:?}"),
        }
    }

    pub(crate) async fn ack(&mut self, publish: &Publish) {
        self.send(Packet::PubAck(Ack::new(publish.packet_id.unwrap(), ReasonCode::SUCCESS))).await;
    }

    /// Nothing but pings may come within `time`.
    pub(crate) async fn nothing_for(&mut self, time: Duration) {
        if let Ok(packet) = tokio::time::timeout(time, self.next_or_end()).await {
            panic!("unexpected: {packet:?}");
        }
    }

    /// Drops the connection with a reset.
    pub(crate) fn reset(self) {
        if let Stream::Tcp(stream) = self.stream {
            stream.set_zero_linger().unwrap();
        }
    }
}

pub(crate) fn connack(session_present: bool, reason: ReasonCode) -> Packet {
    let properties = ConnAckProperties::default();
    Packet::ConnAck(Box::new(ConnAck { session_present, reason, v311_form: false, properties }))
}

pub(crate) fn message(topic: &'static str, payload: &'static str, qos: Qos, packet_id: u16) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: rejoin_core::PublishTopic::from_static(topic),
        packet_id: PacketId::new(packet_id),
        properties: None,
        payload: payload.into(),
    }
}

pub(crate) fn for_subscription(mut publish: Publish, id: u32) -> Packet {
    publish.properties =
        Some(Box::new(PublishProperties { subscription_ids: vec![id], ..PublishProperties::default() }));
    Packet::Publish(publish)
}
