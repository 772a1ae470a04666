//! The same workload without recovery, to show the difference: QoS 0, no queue, one try per second, subscribe once.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::codec::packet::{
    Connect, ConnectProperties, Packet, Publish, Qos, Subscribe, SubscriptionOptions, Version,
};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode};
use rejoin_core::text::Text;
use rejoin_core::topic::PublishTopic;
use rejoin_lab::Auditor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

const TOPIC: &str = "demo/plain";

/// A client as one writes it in an afternoon.
pub(crate) struct Plain {
    auditor: Auditor,
    /// Present while the socket looks open.
    writer: Arc<Mutex<Option<OwnedWriteHalf>>>,
    heard: Arc<Heard>,
    connection: JoinHandle<()>,
}

/// What came back to its subscription.
#[derive(Debug, Default)]
struct Heard {
    messages: AtomicU64,
    subscribed: AtomicBool,
}

impl Plain {
    /// Starts it; `retry` lies between two attempts.
    pub(crate) fn start(addr: SocketAddr, auditor: Auditor, retry: Duration) -> Self {
        let writer = Arc::new(Mutex::new(None));
        let heard = Arc::new(Heard::default());
        let connection = tokio::spawn(stay_connected(addr, retry, Arc::clone(&writer), Arc::clone(&heard)));
        Self { auditor, writer, heard, connection }
    }

    /// Publishes one message: into the socket, or nowhere.
    pub(crate) async fn publish(&self, number: u64) {
        self.auditor.published(number);
        let mut writer = self.writer.lock().await;
        let Some(socket) = writer.as_mut() else { return };
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: PublishTopic::from_static(TOPIC),
            packet_id: None,
            properties: None,
            payload: self.auditor.payload(number),
        });
        if write(socket, &packet).await.is_err() {
            *writer = None;
        }
    }

    /// Messages it handed to its publish call.
    pub(crate) fn published(&self) -> u64 {
        self.auditor.published_count()
    }

    /// Messages the broker has of it.
    pub(crate) fn delivered(&self) -> u64 {
        self.auditor.delivered()
    }

    /// Messages that came back to its subscription.
    pub(crate) fn received(&self) -> u64 {
        self.heard.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn stay_connected(
    addr: SocketAddr,
    retry: Duration,
    writer: Arc<Mutex<Option<OwnedWriteHalf>>>,
    heard: Arc<Heard>,
) {
    loop {
        // A careless client waits for its CONNACK as long as it takes.
        if let Ok((reader, decoder, socket)) = connect(addr, &heard).await {
            *writer.lock().await = Some(socket);
            read(reader, decoder, &heard).await;
            *writer.lock().await = None;
        }
        tokio::time::sleep(retry).await;
    }
}

async fn connect(addr: SocketAddr, heard: &Heard) -> io::Result<(OwnedReadHalf, Decoder, OwnedWriteHalf)> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 0,
        client_id: Text::from_static("plain"),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    write(&mut writer, &Packet::Connect(Box::new(connect))).await?;
    let mut decoder = Decoder::new(Version::V5, Sender::Server, Limits::default());
    match next(&mut reader, &mut decoder).await? {
        Packet::ConnAck(answer) if !answer.reason.is_error() => {}
        _ => return Err(io::ErrorKind::ConnectionRefused.into()),
    }
    if !heard.subscribed.swap(true, Ordering::Relaxed) {
        let subscribe = Subscribe {
            packet_id: NonZeroU16::MIN,
            subscription_id: None,
            user_properties: Vec::new(),
            filters: vec![(Text::from_static(TOPIC), SubscriptionOptions::default())],
        };
        write(&mut writer, &Packet::Subscribe(subscribe)).await?;
    }
    Ok((reader, decoder, writer))
}

/// Reads until the connection ends.
async fn read(mut reader: OwnedReadHalf, mut decoder: Decoder, heard: &Heard) {
    while let Ok(packet) = next(&mut reader, &mut decoder).await {
        match packet {
            Packet::Publish(_) => {
                heard.messages.fetch_add(1, Ordering::Relaxed);
            }
            Packet::Disconnect(_) => return,
            _ => {}
        }
    }
}

async fn next(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> io::Result<Packet> {
    loop {
        match decoder.next().map_err(io::Error::other)? {
            Some(Decoded::Packet(packet)) => return Ok(packet),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => {}
        }
        let mut bytes = BytesMut::with_capacity(4096);
        if reader.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.push(bytes.freeze());
    }
}

async fn write(writer: &mut OwnedWriteHalf, packet: &Packet) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    encode(packet, Version::V5, &mut bytes).map_err(io::Error::other)?;
    writer.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use rejoin_lab::{BrokerServer, Ending, Manners};

    use super::*;

    async fn until(what: &str, mut done: impl FnMut() -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while !done() {
                // waits: for a state that tells nobody when it changes, looked at again and again
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what} did not come"));
    }

    #[tokio::test]
    async fn it_loses_what_is_published_while_it_is_away_and_is_deaf_afterwards() {
        let server = BrokerServer::start(Manners::default()).await.unwrap();
        let auditor = Auditor::new("plain");
        server.with(|broker| broker.add_ledger(auditor.ledger()));
        let retry = Duration::from_millis(20);
        let plain = Plain::start(server.addr(), auditor.clone(), retry);
        until("the link", || server.connections() == 1).await;
        while plain.writer.lock().await.is_none() {
            // waits: for a state that tells nobody when it changes, looked at again and again
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        plain.publish(1).await;
        until("its own message", || plain.received() == 1).await;
        server.kill(Ending::Rst).await;
        while plain.writer.lock().await.is_some() {
            // waits: for a state that tells nobody when it changes, looked at again and again
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        plain.publish(2).await;
        server.start_again(true).await.unwrap();
        while plain.writer.lock().await.is_none() {
            // waits: for a state that tells nobody when it changes, looked at again and again
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        plain.publish(3).await;
        until("the third message", || plain.delivered() == 2).await;
        assert_eq!(auditor.missing(), [2]);
        assert_eq!(plain.received(), 1, "it subscribed once");
        assert_eq!(server.with(|broker| broker.violations().count()), 0);
    }
}
