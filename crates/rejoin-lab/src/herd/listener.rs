//! The herd's broker over real sockets: it finishes so many handshakes a second and no more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::Version;
use rejoin_core::codec::packet::Packet;
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::port::{Port, reset_on_drop};

/// How much of a delay of our own is made up for.
const CATCH_UP: Duration = Duration::from_millis(50);

/// A broker with a door that lets a fixed number through in a second. What it does beyond CONNACK is to answer pings.
#[derive(Debug)]
pub struct SlowDoor {
    port: Port,
    running: Option<JoinSet<()>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Sockets taken from the accept queue.
    accepted: AtomicUsize,
    /// Links that are open now.
    open: AtomicUsize,
}

impl SlowDoor {
    /// Takes a port on loopback; nobody listens yet.
    ///
    /// # Errors
    /// When the system has no port.
    pub fn take() -> io::Result<Self> {
        let port = Port::take(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { port, running: None, counts: Arc::default() })
    }

    /// Where it is.
    pub const fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Links open now.
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// Sockets accepted since the port was taken.
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Opens: from now on one connection is taken every `1/rate` seconds.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub fn open_door(&mut self, rate: u32) -> io::Result<()> {
        let listener = self.port.listen()?;
        let counts = Arc::clone(&self.counts);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, rate, counts));
        self.running = Some(tasks);
        Ok(())
    }

    /// Ends every link by a reset and refuses everybody from now on.
    ///
    /// # Errors
    /// When the port cannot be taken back.
    pub async fn slam(&mut self) -> io::Result<()> {
        if let Some(mut tasks) = self.running.take() {
            tasks.shutdown().await;
        }
        self.port.hold()
    }
}

async fn accept(listener: TcpListener, rate: u32, counts: Arc<Counts>) {
    let step = Duration::from_secs(1) / rate.max(1);
    let mut slot = Instant::now();
    let mut links = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        // A late timer is made up for; a door that was idle saves nothing up.
        let now = Instant::now();
        slot = slot.max(now.checked_sub(CATCH_UP).unwrap_or(now)) + step;
        tokio::time::sleep_until(slot).await;
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        reset_on_drop(&stream);
        links.spawn(serve(stream, Arc::clone(&counts)));
        while links.try_join_next().is_some() {}
    }
}

/// One more link that is open, as long as this value lives.
struct Opened(Arc<Counts>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Until the client goes, or breaks the protocol: nobody here would answer differently then.
async fn serve(mut stream: TcpStream, counts: Arc<Counts>) {
    let mut decoder = Decoder::new(Version::V5, Sender::Client, Limits::default());
    let mut opened = None;
    loop {
        let mut chunk = BytesMut::with_capacity(512);
        match stream.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(_) => decoder.push(chunk.freeze()),
        }
        while let Ok(Some(Decoded::Packet(packet))) = decoder.next() {
            let answer: &[u8] = match packet {
                Packet::Connect(connect) if connect.clean_start => &[0x20, 3, 0, 0, 0],
                Packet::Connect(_) => &[0x20, 3, 1, 0, 0],
                Packet::PingReq => &[0xD0, 0],
                _ => return,
            };
            if stream.write_all(answer).await.is_err() {
                return;
            }
            if opened.is_none() {
                counts.open.fetch_add(1, Ordering::Relaxed);
                opened = Some(Opened(Arc::clone(&counts)));
            }
        }
    }
}
