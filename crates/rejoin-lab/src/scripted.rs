//! A broker that does just what a test writes down, packet by packet, over a real socket.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{
    Ack, ConnAck, ConnAckProperties, Connect, Disconnect, Packet, PacketId, Publish, Qos, SubAck, Subscribe,
    Unsubscribe, Version,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode};
use rejoin_core::topic::TopicName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::around::{Around, Way};
use crate::wire::{Ending, PacketKind};

/// How long each wait may last, unless told otherwise.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a handshake around a connection may last: on loopback it takes milliseconds, on a busy machine some tens.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// What a script waited for in vain, with the connection it was on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError(String);

impl ScriptError {
    pub(crate) const fn new(what: String) -> Self {
        Self(what)
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScriptError {}

/// What scripts return.
pub type ScriptResult<T = ()> = Result<T, ScriptError>;

/// Listens on a port of 127.0.0.1 that the system chooses, and hands out connections one by one.
#[derive(Debug)]
pub struct ScriptedBroker {
    listener: TcpListener,
    addr: SocketAddr,
    limit: Duration,
    handshake_limit: Duration,
    accepted: usize,
    around: Option<Around>,
}

impl ScriptedBroker {
    /// Starts to listen.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::listen(None)
    }

    /// Starts to listen with receive buffers this small, in bytes, so that a peer that does not read is felt soon.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start_with_buffers(bytes: u32) -> io::Result<Self> {
        Self::listen(Some(bytes))
    }

    /// Takes over a listener, for a script that decides itself when the port opens.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn listening(listener: TcpListener) -> io::Result<Self> {
        let (addr, limit, handshake_limit) = (listener.local_addr()?, LIMIT, HANDSHAKE_LIMIT);
        Ok(Self { listener, addr, limit, handshake_limit, accepted: 0, around: None })
    }

    fn listen(buffers: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = buffers {
            // Accepted connections inherit it.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Self::listening(socket.listen(1024)?)
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets how long each wait may last, here and on connections accepted later. Default 10 s.
    pub const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Puts something around each connection accepted from now on. Default: nothing, MQTT over TCP.
    pub fn set_around(&mut self, around: Option<Around>) {
        self.around = around;
    }

    /// Sets how long what is around a connection may take to be there: a client that says nothing is passed over then,
    /// so that the next one has its turn. Default 5 s.
    pub const fn set_handshake_limit(&mut self, limit: Duration) {
        self.handshake_limit = limit;
    }

    /// How many connections came so far, those included that did not get through the handshake.
    pub const fn accepted(&self) -> usize {
        self.accepted
    }

    /// The next connection; where something is around it, the next one that comes so far.
    ///
    /// # Errors
    /// When none comes within the limit.
    pub async fn accept(&mut self) -> ScriptResult<Peer> {
        match tokio::time::timeout(self.limit, self.next_way()).await {
            Ok(Ok(way)) => Ok(Peer::new(way, self.accepted, self.limit)),
            Ok(Err(error)) => {
                Err(ScriptError(format!("connection {} could not be accepted: {error}", self.accepted + 1)))
            }
            Err(_) => Err(ScriptError(format!(
                "connection {} did not come within {:?}",
                self.accepted + 1,
                self.limit
            ))),
        }
    }

    async fn next_way(&mut self) -> io::Result<Way> {
        loop {
            let stream = self.next_stream().await?;
            match through(stream, self.around.as_ref(), self.handshake_limit).await {
                // A client may give a handshake up, as it may a connection nobody has accepted yet.
                Err(_) if self.around.is_some() => {}
                way => return way,
            }
        }
    }

    async fn next_stream(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        self.accepted += 1;
        Ok(stream)
    }

    /// The next connection with its CONNECT read.
    ///
    /// # Errors
    /// When they do not come within the limit.
    pub async fn accept_connect(&mut self) -> ScriptResult<(Peer, Connect)> {
        let mut peer = self.accept().await?;
        let connect = peer.expect_connect().await?;
        Ok((peer, connect))
    }

    /// The next connection with its CONNECT answered by success and this Session Present.
    ///
    /// # Errors
    /// When they do not come within the limit.
    pub async fn accept_session(&mut self, session_present: bool) -> ScriptResult<(Peer, Connect)> {
        let (mut peer, connect) = self.accept_connect().await?;
        peer.connack(session_present).await?;
        Ok((peer, connect))
    }

    /// Makes sure that no connection comes for a time.
    ///
    /// # Errors
    /// When one comes.
    pub async fn expect_no_connection(&mut self, time: Duration) -> ScriptResult {
        let begin = Instant::now();
        match tokio::time::timeout(time, self.listener.accept()).await {
            Ok(_) => Err(ScriptError(format!("a connection came after {:?}, too early", begin.elapsed()))),
            Err(_) => Ok(()),
        }
    }

    /// Runs a script for each connection, several at a time, until the result is dropped. The number counts from 1.
    pub fn serve<F, R>(self, script: F) -> Serving
    where
        F: Fn(usize, Peer) -> R + Send + Sync + 'static,
        R: Future<Output = ScriptResult> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let addr = self.addr;
        let task = tokio::spawn(run(self, script, Arc::clone(&seen)));
        Serving { addr, seen, task }
    }
}

/// The connection of a socket, when all that is around it is there.
async fn through(stream: TcpStream, around: Option<&Around>, limit: Duration) -> io::Result<Way> {
    match tokio::time::timeout(limit, Way::through(stream, around)).await {
        Ok(way) => way,
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no handshake was done within {limit:?}")))
        }
    }
}

async fn run<F, R>(broker: ScriptedBroker, script: F, seen: Arc<Mutex<Seen>>)
where
    F: Fn(usize, Peer) -> R + Send + Sync + 'static,
    R: Future<Output = ScriptResult> + Send + 'static,
{
    let (mut scripts, mut broker, script) = (tokio::task::JoinSet::new(), broker, Arc::new(script));
    while let Ok(stream) = broker.next_stream().await {
        seen.lock().unwrap_or_else(PoisonError::into_inner).accepts.push(Instant::now());
        let (number, limit, handshake_limit) = (broker.accepted, broker.limit, broker.handshake_limit);
        let (script, around, seen) = (Arc::clone(&script), broker.around.clone(), Arc::clone(&seen));
        // A client that says nothing must not keep the others waiting.
        scripts.spawn(async move {
            let played = match through(stream, around.as_ref(), handshake_limit).await {
                Ok(way) => script(number, Peer::new(way, number, limit)).await,
                Err(error) => Err(ScriptError(format!("connection {number}: {error}"))),
            };
            if let Err(error) = played {
                seen.lock().unwrap_or_else(PoisonError::into_inner).errors.push(error);
            }
        });
    }
}

#[derive(Debug, Default)]
struct Seen {
    accepts: Vec<Instant>,
    errors: Vec<ScriptError>,
}

/// A [`ScriptedBroker`] that serves in the background. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Serving {
    addr: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// When connections came, in order.
    pub fn accepts(&self) -> Vec<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).accepts.clone()
    }

    /// What scripts waited for in vain so far. A client that goes away early counts, too.
    pub fn errors(&self) -> Vec<ScriptError> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).errors.clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection of a client. Dropping it closes it; [`Peer::close`] and [`Peer::reset`] say how.
#[derive(Debug)]
pub struct Peer {
    way: Way,
    decoder: Decoder,
    version: Version,
    number: usize,
    limit: Duration,
    answers_pings: bool,
    buffer: BytesMut,
}

macro_rules! expectations {
    ($($(#[$doc:meta])* $name:ident: $variant:ident => $type:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When another packet comes, or none within the limit.
        pub async fn $name(&mut self) -> ScriptResult<$type> {
            match self.recv_for(PacketKind::$variant.name()).await? {
                Packet::$variant(packet) => Ok(packet),
                other => Err(self.unexpected(PacketKind::$variant.name(), &other)),
            }
        }
    )*};
}

impl Peer {
    fn new(way: Way, number: usize, limit: Duration) -> Self {
        let limits = Limits { max_packet_size: u32::MAX, ..Limits::default() };
        Self {
            way,
            decoder: Decoder::new(Version::V5, Sender::Client, limits),
            version: Version::V5,
            number,
            limit,
            answers_pings: true,
            buffer: BytesMut::new(),
        }
    }

    /// The number of the connection, from 1.
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The version of the CONNECT that was read; 5.0 before that.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Sets how long each wait on this connection may last.
    pub const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Whether PINGREQs are answered and kept from the script while it waits for something else. Default true.
    pub const fn set_answers_pings(&mut self, answers: bool) {
        self.answers_pings = answers;
    }

    /// The next packet.
    ///
    /// # Errors
    /// When none comes within the limit, the connection ends, or the bytes are no packet.
    pub async fn recv(&mut self) -> ScriptResult<Packet> {
        self.recv_for("a packet").await
    }

    /// CONNECT.
    ///
    /// # Errors
    /// When another packet comes, or none within the limit.
    pub async fn expect_connect(&mut self) -> ScriptResult<Connect> {
        match self.recv_for("CONNECT").await? {
            Packet::Connect(connect) => {
                self.version = connect.version;
                Ok(*connect)
            }
            other => Err(self.unexpected("CONNECT", &other)),
        }
    }

    expectations! {
        /// PUBLISH.
        expect_publish: Publish => Publish;
        /// PUBACK.
        expect_puback: PubAck => Ack;
        /// PUBREC.
        expect_pubrec: PubRec => Ack;
        /// PUBREL.
        expect_pubrel: PubRel => Ack;
        /// PUBCOMP.
        expect_pubcomp: PubComp => Ack;
        /// SUBSCRIBE.
        expect_subscribe: Subscribe => Subscribe;
        /// UNSUBSCRIBE.
        expect_unsubscribe: Unsubscribe => Unsubscribe;
        /// DISCONNECT.
        expect_disconnect: Disconnect => Disconnect;
    }

    /// Waits for the client to end the connection. Packets before that are read and thrown away.
    ///
    /// # Errors
    /// When it is still there at the limit.
    pub async fn expect_end(&mut self) -> ScriptResult<Ending> {
        let end = async {
            loop {
                self.buffer.clear();
                self.buffer.reserve(64 * 1024);
                match self.way.stream.read_buf(&mut self.buffer).await {
                    Ok(0) => return Ending::Fin,
                    Ok(_) => {}
                    // TLS that ends without a word.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ending::Fin,
                    Err(_) => return Ending::Rst,
                }
            }
        };
        let ended = tokio::time::timeout(self.limit, end).await;
        ended.map_err(|_| self.error(format!("the client did not end it within {:?}", self.limit)))
    }

    /// Makes sure that no packet comes for a time; pings do not count while they are answered.
    ///
    /// # Errors
    /// When one comes, or the connection ends.
    pub async fn expect_nothing(&mut self, time: Duration) -> ScriptResult {
        match tokio::time::timeout(time, self.next("nothing")).await {
            Err(_) => Ok(()),
            Ok(Ok(packet)) => Err(self.unexpected("nothing", &packet)),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Sends CONNACK with success and nothing announced.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn connack(&mut self, session_present: bool) -> ScriptResult {
        self.connack_with(session_present, ConnAckProperties::default()).await
    }

    /// Sends CONNACK with success and these properties.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn connack_with(
        &mut self,
        session_present: bool,
        properties: ConnAckProperties,
    ) -> ScriptResult {
        let reason = ReasonCode::SUCCESS;
        let connack = ConnAck { session_present, reason, v311_form: false, properties };
        self.send(&Packet::ConnAck(Box::new(connack))).await
    }

    /// Sends CONNACK with a refusal. Close afterwards.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn refuse(&mut self, reason: ReasonCode) -> ScriptResult {
        let properties = ConnAckProperties::default();
        let connack = ConnAck { session_present: false, reason, v311_form: false, properties };
        self.send(&Packet::ConnAck(Box::new(connack))).await
    }

    /// Sends PUBACK.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn puback(&mut self, packet_id: PacketId, reason: ReasonCode) -> ScriptResult {
        self.send(&Packet::PubAck(Ack::new(packet_id, reason))).await
    }

    /// Sends PUBREC.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pubrec(&mut self, packet_id: PacketId, reason: ReasonCode) -> ScriptResult {
        self.send(&Packet::PubRec(Ack::new(packet_id, reason))).await
    }

    /// Sends PUBCOMP.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pubcomp(&mut self, packet_id: PacketId, reason: ReasonCode) -> ScriptResult {
        self.send(&Packet::PubComp(Ack::new(packet_id, reason))).await
    }

    /// Sends the SUBACK that grants all a SUBSCRIBE asked for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn grant(&mut self, subscribe: &Subscribe) -> ScriptResult {
        let reasons = subscribe.filters.iter().map(|(_, options)| ReasonCode(options.qos as u8)).collect();
        let suback = SubAck { packet_id: subscribe.packet_id, properties: None, reasons };
        self.send(&Packet::SubAck(suback)).await
    }

    /// Sends a plain PUBLISH; `packet_id` as the QoS wants it.
    ///
    /// # Errors
    /// When it cannot be written, or topic, QoS and id do not go together.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: Qos,
        packet_id: Option<PacketId>,
    ) -> ScriptResult {
        let topic = TopicName::try_from(topic).map_err(|error| self.error(error.to_string()))?.into();
        let (payload, properties) = (payload.into(), None);
        let publish = Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload };
        self.send(&Packet::Publish(publish)).await
    }

    /// Sends any packet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn send(&mut self, packet: &Packet) -> ScriptResult {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes)
            .map_err(|error| self.error(format!("{} is not valid: {error}", packet.name())))?;
        self.send_raw(&bytes).await
    }

    /// Sends bytes that need not be MQTT.
    ///
    /// # Errors
    /// When they cannot be written within the limit.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> ScriptResult {
        let writing = async {
            self.way.stream.write_all(bytes).await?;
            self.way.stream.flush().await
        };
        match tokio::time::timeout(self.limit, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(format!("{} bytes could not be written: {error}", bytes.len()))),
            Err(_) => {
                Err(self.error(format!("{} bytes were not taken within {:?}", bytes.len(), self.limit)))
            }
        }
    }

    /// Ends the connection in order: FIN, then what the client still sends is read for a moment, because closing
    /// with unread bytes would be a reset.
    pub async fn close(mut self) {
        let _ = self.way.stream.shutdown().await;
        self.limit = self.limit.min(Duration::from_millis(500));
        let _ = self.expect_end().await;
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        self.way.reset();
    }

    /// Leaves the connection open, unread and unanswered, until the result is dropped: a half-open peer.
    pub fn stop_reading(self) -> Silent {
        Silent(self.way)
    }

    async fn recv_for(&mut self, what: &str) -> ScriptResult<Packet> {
        let limit = self.limit;
        match tokio::time::timeout(limit, self.next(what)).await {
            Ok(result) => result,
            Err(_) => Err(self.error(format!("{what} did not come within {limit:?}"))),
        }
    }

    async fn next(&mut self, what: &str) -> ScriptResult<Packet> {
        loop {
            match self.decoder.next() {
                Ok(Some(Decoded::Packet(Packet::PingReq))) if self.answers_pings => {
                    self.send(&Packet::PingResp).await?;
                    continue;
                }
                Ok(Some(Decoded::Packet(packet))) => return Ok(packet),
                Ok(Some(other)) => return Err(self.error(format!("{what} was awaited, {other:?} came"))),
                Ok(None) => {}
                Err(error) => return Err(self.error(format!("{what} was awaited: {error}"))),
            }
            self.buffer.reserve(64 * 1024);
            match self.way.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(self.error(format!("{what} was awaited, the client closed"))),
                Ok(_) => self.decoder.push(self.buffer.split().freeze()),
                Err(error) => return Err(self.error(format!("{what} was awaited: {error}"))),
            }
        }
    }

    fn unexpected(&self, what: &str, came: &Packet) -> ScriptError {
        self.error(format!("{what} was awaited, this came: {came:?}"))
    }

    fn error(&self, message: String) -> ScriptError {
        ScriptError(format!("connection {}: {message}", self.number))
    }
}

/// A connection that nobody reads any more. Dropping it closes it.
#[derive(Debug)]
pub struct Silent(Way);

impl Silent {
    /// Ends the connection with RST.
    pub fn reset(self) {
        self.0.reset();
    }
}
