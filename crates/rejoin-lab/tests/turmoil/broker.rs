//! The strict broker as a host of the simulated network.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use rejoin_core::time::Timestamp;
use rejoin_lab::broker::Output;
use rejoin_lab::wire::Ending;
use rejoin_lab::{Broker, ConnectionId, Ledger, Manners};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use turmoil::net::TcpListener;

/// The name of the host.
pub(crate) const HOST: &str = "broker";
pub(crate) const PORT: u16 = 1883;
/// The timer looks at least this often.
const TICK: Duration = Duration::from_secs(1);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// How long an orderly close waits for the client's end of the stream.
const LINGER: Duration = Duration::from_secs(2);

/// What outlives the process of the broker, and the test's hand on it.
pub(crate) struct Server {
    broker: RefCell<Broker>,
    wakers: RefCell<BTreeMap<ConnectionId, Rc<Notify>>>,
    timer: Notify,
    clock: Cell<Timestamp>,
    /// TCP connections at this moment, those without CONNECT included.
    live: Cell<usize>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    pub(crate) fn new(manners: Manners, tls: Option<TlsAcceptor>, ledgers: Vec<Ledger>) -> Rc<Self> {
        let mut broker = Broker::new(manners);
        for ledger in ledgers {
            broker.add_ledger(ledger);
        }
        Rc::new(Self {
            broker: RefCell::new(broker),
            wakers: RefCell::default(),
            timer: Notify::new(),
            clock: Cell::new(Timestamp::ZERO),
            live: Cell::new(0),
            tls,
        })
    }

    /// Looks at the broker or changes it; what it then wants to send is sent.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Broker) -> T) -> T {
        let mut broker = self.broker.borrow_mut();
        let result = look(&mut broker);
        for id in broker.take_dirty() {
            if let Some(waker) = self.wakers.borrow().get(&id) {
                waker.notify_one();
            }
        }
        if broker.take_deadline_moved() {
            self.timer.notify_one();
        }
        result
    }

    /// TCP connections at this moment.
    pub(crate) fn connections(&self) -> usize {
        self.live.get()
    }

    fn now(&self) -> Timestamp {
        // When the world ends, hosts are dropped outside of it: then time stands still.
        if let Some(elapsed) = turmoil::sim_elapsed() {
            self.clock.set(self.clock.get().max(Timestamp::ZERO + elapsed));
        }
        self.clock.get()
    }
}

/// One life of the broker's process.
pub(crate) async fn serve(server: Rc<Server>) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    tokio::task::spawn_local(keep_time(Rc::clone(&server)));
    loop {
        let (stream, _) = listener.accept().await?;
        let server = Rc::clone(&server);
        tokio::task::spawn_local(async move {
            let guest = Guest::new(server);
            match guest.server.tls.clone() {
                None => guest.converse(stream).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        guest.converse(stream).await;
                    }
                }
            }
        });
    }
}

/// A host that takes connections, listens to them to their end and never says a word.
pub(crate) async fn mute(server: Rc<Server>) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let guest = Guest::new(Rc::clone(&server));
        tokio::task::spawn_local(async move {
            let mut heard = [0; 1024];
            while stream.read(&mut heard).await.is_ok_and(|bytes| bytes > 0) {}
            drop(guest);
        });
    }
}

async fn keep_time(server: Rc<Server>) {
    loop {
        let now = server.now();
        let next = server.with(|broker| {
            broker.tick(now);
            broker.next_deadline()
        });
        let wait = next.map_or(TICK, |at| at.since(now).clamp(Duration::from_millis(1), TICK));
        tokio::select! {
            // waits: the broker's own clock.
            () = tokio::time::sleep(wait) => {}
            () = server.timer.notified() => {}
        }
    }
}

/// A connection as the broker knows it; however its task ends, the broker hears of it.
struct Guest {
    server: Rc<Server>,
    id: ConnectionId,
    waker: Rc<Notify>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.server.wakers.borrow_mut().remove(&self.id);
        self.server.live.set(self.server.live.get() - 1);
        let now = self.server.now();
        self.server.with(|broker| broker.closed(self.id, now));
    }
}

impl Guest {
    fn new(server: Rc<Server>) -> Self {
        let now = server.now();
        let waker = Rc::new(Notify::new());
        let id = server.with(|broker| broker.opened(now));
        server.wakers.borrow_mut().insert(id, Rc::clone(&waker));
        server.live.set(server.live.get() + 1);
        Self { server, id, waker }
    }

    async fn converse(&self, stream: impl AsyncRead + AsyncWrite) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut incoming, mut outgoing) = (BytesMut::new(), BytesMut::new());
        let mut owed = false;
        loop {
            let ending = self.collect(&mut outgoing);
            owed |= !outgoing.is_empty();
            match ending {
                Some(Ending::Fin) => {
                    let goodbye = async {
                        send(&mut writer, &mut outgoing).await?;
                        writer.shutdown().await?;
                        // Closing with unread bytes would be a reset.
                        while reader.read_buf(&mut incoming).await? > 0 {}
                        // waits: TLS ends before TCP does, and this network resets what is let go in between, which
                        // no real one does.
                        std::future::pending::<io::Result<()>>().await
                    };
                    drop(tokio::time::timeout(LINGER, goodbye).await);
                    return;
                }
                Some(Ending::Rst) => return,
                None => {}
            }
            tokio::select! {
                read = reader.read_buf(&mut incoming) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {
                        let (now, bytes) = (self.server.now(), incoming.split().freeze());
                        self.server.with(|broker| broker.received(self.id, bytes, now));
                    }
                },
                sent = send(&mut writer, &mut outgoing), if owed => match sent {
                    Ok(()) => owed = false,
                    Err(_) => return,
                },
                () = self.waker.notified() => {}
            }
        }
    }

    /// Takes what the broker wants to send, and whether it wants to end.
    fn collect(&self, outgoing: &mut BytesMut) -> Option<Ending> {
        loop {
            match self.server.with(|broker| broker.take_output(self.id)) {
                Some(Output::Send(bytes)) => outgoing.extend_from_slice(&bytes),
                Some(Output::Close(ending)) => return Some(ending),
                None => return None,
            }
        }
    }
}

/// Writes all of it, through the layers above the socket too. Dropped halfway, it goes on where it was.
async fn send(writer: &mut (impl AsyncWrite + Unpin), outgoing: &mut BytesMut) -> io::Result<()> {
    writer.write_all_buf(outgoing).await?;
    writer.flush().await
}
