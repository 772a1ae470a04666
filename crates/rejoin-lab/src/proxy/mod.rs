//! A TCP proxy in this process that does to a connection what networks do.

mod fault;
mod frames;
mod pipe;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::port::{Port, reset_on_drop};
use crate::wire::{Direction, Ending, PacketKind, Times};
use fault::Conditions;
use pipe::Pipe;

pub use fault::Fault;

/// How long the way to the broker may take to open.
const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// How long an orderly close waits for both ends, in place of a reset.
const LINGER: Duration = Duration::from_millis(500);

/// What all connections are told: a number that grows with each order, and the order.
type Order = (u64, Ending);

struct Shared {
    upstream: SocketAddr,
    conditions: watch::Sender<Conditions>,
    order: watch::Sender<Order>,
    live: watch::Sender<usize>,
    passing: watch::Sender<bool>,
    history: Mutex<Vec<(Instant, bool)>>,
    door: Mutex<Door>,
}

/// The port and who accepts on it.
struct Door {
    port: Port,
    acceptor: Option<JoinHandle<()>>,
    /// Somebody waits for the acceptor's end; until then the port cannot be listened on again.
    closing: bool,
}

/// A proxy in front of one address. It needs a tokio runtime with IO and time. Dropping it resets everything.
///
/// A fault stays until it is healed ([`Proxy::heal`], [`Proxy::heal_one`], or the guard of [`Proxy::hold`]).
pub struct Proxy {
    shared: Arc<Shared>,
    addr: SocketAddr,
    follower: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("addr", &self.addr)
            .field("upstream", &self.shared.upstream)
            .field("conditions", &*self.shared.conditions.borrow())
            .finish_non_exhaustive()
    }
}

/// Heals a fault when it is dropped.
#[derive(Debug)]
#[must_use = "the fault is healed when this is dropped"]
pub struct FaultGuard<'a> {
    proxy: &'a Proxy,
    fault: Fault,
    direction: Direction,
}

impl Drop for FaultGuard<'_> {
    fn drop(&mut self) {
        self.proxy.heal_one(self.fault, self.direction);
    }
}

impl Proxy {
    /// Starts a proxy on a port of 127.0.0.1 that the system chooses. The address behind it need not be up.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn in_front_of(upstream: SocketAddr) -> io::Result<Self> {
        let port = Port::take((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = port.addr();
        let shared = Arc::new(Shared {
            upstream,
            conditions: watch::Sender::new(Conditions::default()),
            order: watch::Sender::new((0, Ending::Fin)),
            live: watch::Sender::new(0),
            passing: watch::Sender::new(true),
            history: Mutex::new(vec![(Instant::now(), true)]),
            door: Mutex::new(Door { port, acceptor: None, closing: false }),
        });
        shared.open()?;
        Ok(Self { shared, addr, follower: Mutex::new(None) })
    }

    /// Where clients connect to; it never changes.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections that pass through at this moment, dead ones included.
    pub fn connections(&self) -> usize {
        *self.shared.live.borrow()
    }

    /// Whether connections are taken and bytes get through both ways: what a client should believe. Slowness and
    /// lost packets count as passing; whether the broker itself is up is known only with [`Proxy::follow`].
    pub fn is_passing(&self) -> bool {
        *self.shared.passing.borrow()
    }

    /// Follows [`Self::is_passing`].
    pub fn watch_passing(&self) -> watch::Receiver<bool> {
        self.shared.passing.subscribe()
    }

    /// Each change of [`Self::is_passing`], from the start on.
    pub fn history(&self) -> Vec<(Instant, bool)> {
        locked(&self.shared.history).clone()
    }

    /// From now on the port refuses while the broker is down, as it would without a proxy; give it
    /// [`BrokerServer::watch_up`](crate::BrokerServer::watch_up). Without this a connection is taken, then reset.
    pub fn follow(&self, mut up: watch::Receiver<bool>) {
        let shared = Arc::clone(&self.shared);
        let follower = tokio::spawn(async move {
            loop {
                let down = !*up.borrow_and_update();
                shared.change(|conditions| conditions.broker_down = down);
                shared.match_door().await;
                if up.changed().await.is_err() {
                    return;
                }
            }
        });
        if let Some(before) = locked(&self.follower).replace(follower) {
            before.abort();
        }
    }

    /// Injects a fault until it is healed. Waits only for [`Fault::Refuse`], until the port really refuses.
    pub async fn inject(&self, fault: Fault, direction: Direction) {
        if fault == Fault::Refuse {
            self.refuse().await;
        } else {
            self.set(fault, direction, true);
        }
    }

    /// Injects a fault for as long as the guard lives.
    pub async fn hold(&self, fault: Fault, direction: Direction) -> FaultGuard<'_> {
        self.inject(fault, direction).await;
        FaultGuard { proxy: self, fault, direction }
    }

    /// Heals everything. Dead connections stay dead; held bytes go on.
    pub fn heal(&self) {
        self.shared.change(|conditions| {
            *conditions = Conditions { broker_down: conditions.broker_down, ..Conditions::default() };
        });
        self.shared.open_if_due();
    }

    /// Heals one fault; the amounts in it do not matter.
    pub fn heal_one(&self, fault: Fault, direction: Direction) {
        self.set(fault, direction, false);
        self.shared.open_if_due();
    }

    /// New connections are refused. Returns when they are.
    pub async fn refuse(&self) {
        self.set(Fault::Refuse, Direction::Both, true);
        self.shared.match_door().await;
    }

    /// Holds all bytes until [`Self::heal`].
    pub fn freeze(&self) {
        self.set(Fault::Freeze, Direction::Both, true);
    }

    /// Drops all bytes of live and new connections, without a word to anybody.
    pub fn black_hole(&self, direction: Direction) {
        self.set(Fault::BlackHole, direction, true);
    }

    /// Stops reading from one side.
    pub fn stall(&self, direction: Direction) {
        self.set(Fault::Stall, direction, true);
    }

    /// Delays all bytes both ways.
    pub fn latency(&self, delay: Duration, jitter: Duration) {
        self.set(Fault::Latency { delay, jitter }, Direction::Both, true);
    }

    /// Limits each connection to so many bytes per second.
    pub fn bandwidth(&self, bytes_per_second: u64, direction: Direction) {
        self.set(Fault::Bandwidth(bytes_per_second), direction, true);
    }

    /// Swallows packets of a kind.
    pub fn lose(&self, kind: PacketKind, times: Times, direction: Direction) {
        self.set(Fault::Lose(kind, times), direction, true);
    }

    /// Ends the first connection that has passed so many bytes, right there.
    pub fn cut_after(&self, bytes: u64, direction: Direction, ending: Ending) {
        self.set(Fault::CutAfter { bytes, ending }, direction, true);
    }

    /// Ends every live connection on both sides with FIN. New ones are taken.
    pub fn close(&self) {
        self.shared.order.send_modify(|order| *order = (order.0 + 1, Ending::Fin));
    }

    /// Ends every live connection on both sides with RST. New ones are taken.
    pub fn reset(&self) {
        self.shared.order.send_modify(|order| *order = (order.0 + 1, Ending::Rst));
    }

    /// Waits until no connection is left, for at most `limit`; `false` when some are.
    pub async fn wait_empty(&self, limit: Duration) -> bool {
        let mut live = self.shared.live.subscribe();
        tokio::time::timeout(limit, live.wait_for(|n| *n == 0)).await.is_ok()
    }

    fn set(&self, fault: Fault, direction: Direction, on: bool) {
        self.shared.change(|conditions| conditions.set(fault, direction, on));
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.conditions.send_modify(change);
        let passing = self.conditions.borrow().is_passing();
        let changed = self.passing.send_if_modified(|before| std::mem::replace(before, passing) != passing);
        if changed {
            locked(&self.history).push((Instant::now(), passing));
        }
    }

    /// Listens, or stops listening and waits until the port refuses, as the conditions say.
    async fn match_door(self: &Arc<Self>) {
        if self.conditions.borrow().is_open() {
            return self.open_if_due();
        }
        let acceptor = {
            let mut door = locked(&self.door);
            let acceptor = door.acceptor.take();
            door.closing |= acceptor.is_some();
            acceptor
        };
        let Some(acceptor) = acceptor else { return };
        acceptor.abort();
        let _ = acceptor.await;
        {
            let mut door = locked(&self.door);
            door.closing = false;
            if let Err(error) = door.port.hold() {
                tracing::warn!(target: "rejoin_lab", "port {} cannot be held: {error}", door.port.addr());
            }
        }
        // It may have been healed meanwhile.
        self.open_if_due();
    }

    fn open_if_due(self: &Arc<Self>) {
        if self.conditions.borrow().is_open()
            && let Err(error) = self.open()
        {
            tracing::error!(target: "rejoin_lab", "the port of the proxy is lost: {error}");
        }
    }

    fn open(self: &Arc<Self>) -> io::Result<()> {
        let mut door = locked(&self.door);
        if door.acceptor.is_none() && !door.closing {
            let listener = door.port.listen()?;
            door.acceptor = Some(tokio::spawn(accept(Arc::clone(self), listener)));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let follower = locked(&self.follower).take();
        let acceptor = locked(&self.shared.door).acceptor.take();
        for task in [follower, acceptor].into_iter().flatten() {
            task.abort();
        }
        self.reset();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                shared.live.send_modify(|n| *n += 1);
                // Subscribed here, so that no order given from now on is missed.
                let order = shared.order.subscribe();
                tokio::spawn(pass(Arc::clone(&shared), client, order));
            }
            Err(error) => {
                tracing::warn!(target: "rejoin_lab", "accept failed: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Passes one connection from its start to its end.
async fn pass(shared: Arc<Shared>, client: TcpStream, mut order: watch::Receiver<Order>) {
    let _ = client.set_nodelay(true);
    let server = tokio::select! {
        server = dial(&shared) => server,
        _ = ordered(&mut order) => None,
    };
    if let Some(server) = server {
        let ending = tokio::select! {
            ending = join(&shared, &client, &server) => ending,
            ending = ordered(&mut order) => Err(ending),
        };
        if ending == Err(Ending::Rst) {
            reset_on_drop(&client);
            reset_on_drop(&server);
        } else {
            tokio::join!(finish(&client), finish(&server));
        }
    } else {
        // The client's connection stands already, so refusing it is not possible any more.
        reset_on_drop(&client);
    }
    drop(client);
    shared.live.send_modify(|n| *n -= 1);
}

/// Waits for an order to end.
async fn ordered(order: &mut watch::Receiver<Order>) -> Ending {
    match order.changed().await {
        Ok(()) => order.borrow_and_update().1,
        Err(_) => Ending::Rst,
    }
}

async fn dial(shared: &Shared) -> Option<TcpStream> {
    // A path that holds everything holds the handshake, too.
    let mut conditions = shared.conditions.subscribe();
    let _ = conditions.wait_for(|c| !c.up.frozen && !c.down.frozen).await;
    let server = tokio::time::timeout(DIAL_LIMIT, TcpStream::connect(shared.upstream)).await.ok()?.ok()?;
    let _ = server.set_nodelay(true);
    Some(server)
}

async fn join(shared: &Shared, client: &TcpStream, server: &TcpStream) -> Result<(), Ending> {
    let conditions = &shared.conditions;
    let up = Pipe { direction: Direction::Up, from: client, to: server, conditions };
    let down = Pipe { direction: Direction::Down, from: server, to: client, conditions };
    tokio::try_join!(up.run(), down.run()).map(|_| ())
}

/// An orderly close: half-close, then read to the end, because closing with unread bytes would be a reset.
async fn finish(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let drain = async {
        let mut ignored = [0; 4096];
        loop {
            match stream.try_read(&mut ignored) {
                Ok(0) => return,
                Ok(_) => {}
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
