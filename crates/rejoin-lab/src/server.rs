//! The strict broker behind a TCP port.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rejoin_core::time::Timestamp;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::broker::{Broker, ConnectionId, Manners, Output};
use crate::port::{Port, reset_on_drop};
use crate::wire::Ending;

/// Bytes read at a time.
const READ_SIZE: usize = 64 * 1024;
/// How long an orderly close waits for the client's end of the stream, in place of a reset.
const LINGER: Duration = Duration::from_millis(500);
/// How long what was written before an orderly end may take to be taken. A peer that does not read ends it by a reset.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// How long [`BrokerServer::kill`] waits for its connections to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// The timer looks at least this often.
const TICK: Duration = Duration::from_secs(1);

/// How to start a [`BrokerServer`].
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Where to listen; `None` is a port of 127.0.0.1 that the system chooses.
    pub addr: Option<SocketAddr>,
    /// How the broker behaves.
    pub manners: Manners,
}

impl From<Manners> for ServerOptions {
    fn from(manners: Manners) -> Self {
        Self { addr: None, manners }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Going,
    /// As SIGSTOP leaves it: the kernel accepts and acknowledges, nobody reads.
    Paused,
    Over,
}

struct Model {
    broker: Broker,
    wakers: BTreeMap<ConnectionId, Arc<Notify>>,
    accepts: Vec<Instant>,
}

struct Shared {
    model: Mutex<Model>,
    origin: Instant,
    timer: Notify,
    run: watch::Sender<Run>,
    live: watch::Sender<usize>,
    up: watch::Sender<bool>,
}

/// A [`Broker`] served over TCP. It needs a tokio runtime with IO and time. Dropping it ends it.
pub struct BrokerServer {
    shared: Arc<Shared>,
    port: tokio::sync::Mutex<Port>,
    addr: SocketAddr,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for BrokerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerServer")
            .field("addr", &self.addr)
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl BrokerServer {
    /// Starts a broker. `BrokerServer::start(Manners::default())` suits most tests.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn start(options: impl Into<ServerOptions>) -> io::Result<Self> {
        let options = options.into();
        let mut port = Port::take(options.addr.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into()))?;
        let listener = port.listen()?;
        let broker = Broker::new(options.manners);
        let shared = Arc::new(Shared {
            model: Mutex::new(Model { broker, wakers: BTreeMap::new(), accepts: Vec::new() }),
            origin: Instant::now(),
            timer: Notify::new(),
            run: watch::Sender::new(Run::Going),
            live: watch::Sender::new(0),
            up: watch::Sender::new(true),
        });
        tokio::spawn(keep_time(Arc::clone(&shared)));
        let acceptor = tokio::spawn(accept(Arc::clone(&shared), listener));
        let addr = port.addr();
        let (port, acceptor) = (tokio::sync::Mutex::new(port), Mutex::new(Some(acceptor)));
        Ok(Self { shared, port, addr, acceptor })
    }

    /// Where it listens; the same after a restart.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether it listens.
    pub fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Follows [`Self::is_up`].
    pub fn watch_up(&self) -> watch::Receiver<bool> {
        self.shared.up.subscribe()
    }

    /// Looks at the broker or changes it, under its lock; what it then wants to send is sent. Do not call it from
    /// within itself.
    pub fn with<T>(&self, look: impl FnOnce(&mut Broker) -> T) -> T {
        self.shared.with(look)
    }

    /// TCP connections at this moment, those without CONNECT included.
    pub fn connections(&self) -> usize {
        *self.shared.live.borrow()
    }

    /// When TCP connections were accepted, in order.
    pub fn accepts(&self) -> Vec<Instant> {
        self.shared.lock().accepts.clone()
    }

    /// The process dies, paused or not: nobody listens any more, and every connection ends, with a reset (kill -9 with
    /// data under way) or FIN. Wills are not sent. Returns when the port refuses and the connections are gone; those whose
    /// peer does not read end by a reset, after a second where FIN was asked for.
    pub async fn kill(&self, ending: Ending) {
        let mut port = self.port.lock().await;
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(acceptor) = acceptor {
            acceptor.abort();
            let _ = acceptor.await;
        }
        if let Err(error) = port.hold() {
            tracing::warn!(target: "rejoin_lab", "port {} cannot be held: {error}", self.addr);
        }
        self.shared.up.send_replace(false);
        self.with(|broker| broker.stop(ending));
        // What is stopped dies as well.
        self.shared.run.send_if_modified(|run| std::mem::replace(run, Run::Going) == Run::Paused);
        let mut live = self.shared.live.subscribe();
        let _ = tokio::time::timeout(KILL_LIMIT, live.wait_for(|n| *n == 0)).await;
    }

    /// Starts again on the same port after [`Self::kill`], with the sessions and retained messages or without.
    ///
    /// # Errors
    /// When the port cannot be had back.
    pub async fn start_again(&self, keep_sessions: bool) -> io::Result<()> {
        let mut port = self.port.lock().await;
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        if acceptor.is_some() {
            return Ok(());
        }
        self.with(|broker| broker.restart(keep_sessions));
        let listener = port.listen()?;
        *acceptor = Some(tokio::spawn(accept(Arc::clone(&self.shared), listener)));
        self.shared.up.send_replace(true);
        Ok(())
    }

    /// Stops reading, writing and keeping time, as SIGSTOP does: the kernel still accepts connections and bytes.
    pub fn pause(&self) {
        self.shared.run.send_replace(Run::Paused);
    }

    /// Goes on after [`Self::pause`].
    pub fn resume(&self) {
        let now = self.shared.now();
        self.shared.lock().broker.excuse_silence(now);
        self.shared.run.send_replace(Run::Going);
    }
}

impl Drop for BrokerServer {
    fn drop(&mut self) {
        self.shared.run.send_replace(Run::Over);
        if let Some(acceptor) = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).take() {
            acceptor.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Model> {
        // A panic in a test's closure must not hide behind a second one here.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn with<T>(&self, look: impl FnOnce(&mut Broker) -> T) -> T {
        let mut model = self.lock();
        if *self.run.borrow() != Run::Paused {
            model.broker.tick(self.now());
        }
        let result = look(&mut model.broker);
        self.wake(&mut model);
        result
    }

    fn wake(&self, model: &mut Model) {
        for id in model.broker.take_dirty() {
            if let Some(waker) = model.wakers.get(&id) {
                waker.notify_one();
            }
        }
        if model.broker.take_deadline_moved() {
            self.timer.notify_one();
        }
    }

    fn register(&self) -> (ConnectionId, Arc<Notify>) {
        let waker = Arc::new(Notify::new());
        let mut model = self.lock();
        let id = model.broker.opened(self.now());
        model.wakers.insert(id, Arc::clone(&waker));
        self.live.send_modify(|n| *n += 1);
        (id, waker)
    }

    fn unregister(&self, id: ConnectionId) {
        let mut model = self.lock();
        model.broker.closed(id, self.now());
        model.wakers.remove(&id);
        self.wake(&mut model);
        self.live.send_modify(|n| *n -= 1);
    }

    fn receive(&self, id: ConnectionId, bytes: Bytes) {
        let mut model = self.lock();
        model.broker.received(id, bytes, self.now());
        self.wake(&mut model);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut run = shared.run.subscribe();
    loop {
        // While paused the kernel alone accepts.
        if run.wait_for(|run| *run != Run::Paused).await.is_err() {
            return;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.lock().accepts.push(Instant::now());
                tokio::spawn(serve(Arc::clone(&shared), stream));
            }
            Err(error) => {
                tracing::warn!(target: "rejoin_lab", "accept failed: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn keep_time(shared: Arc<Shared>) {
    let mut run = shared.run.subscribe();
    loop {
        match run.wait_for(|run| *run != Run::Paused).await.map(|run| *run) {
            Ok(Run::Going | Run::Paused) => {}
            Ok(Run::Over) | Err(_) => return,
        }
        let next = shared.with(|broker| broker.next_deadline());
        let wait = next.map_or(TICK, |at| at.since(shared.now()).min(TICK));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.timer.notified() => {}
            _ = run.changed() => {}
        }
    }
}

/// Serves one connection from its start to its end.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (id, waker) = shared.register();
    let ending = converse(&shared, &stream, id, &waker).await;
    // The client is told first, so that whoever waits for the end of the connection sees it ended.
    match ending {
        Some(Ending::Fin) => say_goodbye(&shared, &stream, id).await,
        Some(Ending::Rst) => reset_on_drop(&stream),
        None => {}
    }
    drop(stream);
    shared.unregister(id);
}

/// Reads and writes until the broker closes (`Some`) or the client is gone (`None`).
async fn converse(shared: &Shared, stream: &TcpStream, id: ConnectionId, waker: &Notify) -> Option<Ending> {
    let mut run = shared.run.subscribe();
    let mut incoming = BytesMut::new();
    let mut outgoing = Bytes::new();
    let mut flushed_by = None;
    loop {
        match run.wait_for(|run| *run != Run::Paused).await.map(|run| *run) {
            Ok(Run::Going | Run::Paused) => {}
            Ok(Run::Over) | Err(_) => return Some(Ending::Rst),
        }
        loop {
            if outgoing.is_empty() {
                match shared.lock().broker.take_output(id) {
                    Some(Output::Send(bytes)) => outgoing = bytes,
                    Some(Output::Close(ending)) => return Some(ending),
                    None => break,
                }
            }
            match stream.try_write(&outgoing) {
                Ok(n) => outgoing.advance(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        // What is not taken does not put off the end.
        match shared.lock().broker.ending_of(id) {
            Some(Ending::Rst) => return Some(Ending::Rst),
            Some(Ending::Fin) => {
                let until = *flushed_by.get_or_insert_with(|| Instant::now() + FLUSH_LIMIT);
                if Instant::now() >= until {
                    return Some(Ending::Rst);
                }
            }
            None => {}
        }
        let late = async {
            match flushed_by {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let interest =
            if outgoing.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let readable = tokio::select! {
            ready = stream.ready(interest) => ready.ok()?.is_readable(),
            () = waker.notified() => false,
            () = late => false,
            _ = run.changed() => false,
        };
        if !readable {
            continue;
        }
        incoming.reserve(READ_SIZE);
        match stream.try_read_buf(&mut incoming) {
            Ok(0) => return None,
            Ok(_) => shared.receive(id, incoming.split().freeze()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// An orderly close: half-close, then read to the end, because closing with unread bytes would be a reset.
async fn say_goodbye(shared: &Shared, stream: &TcpStream, id: ConnectionId) {
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let drain = async {
        let mut incoming = BytesMut::new();
        loop {
            incoming.reserve(READ_SIZE);
            match stream.try_read_buf(&mut incoming) {
                Ok(0) => return,
                Ok(_) => shared.receive(id, incoming.split().freeze()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if stream.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
