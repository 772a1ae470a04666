//! TLS on the wire of a scripted broker: tickets, silence, and a peer that stops reading.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rejoin::{Client, Event, LossCause, Qos, Stage, Tls, TransportErrorKind, Verdict};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::links::event;
use crate::peer::{Peer, limited};

/// A listener with a certificate for `localhost`, signed by itself.
struct Secured {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pem: String,
}

impl Secured {
    async fn bind() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: Arc::new(config).into(), pem: cert.pem() }
    }

    /// A client that trusts it, with the waits of recovery scaled down to a fiftieth, and no budget.
    fn client(&self) -> rejoin::Builder {
        let url = format!("mqtts://localhost:{}", self.listener.local_addr().unwrap().port());
        Client::builder(&url)
            .tls(Tls::new().ca_pem(self.pem.as_bytes()).alpn("mqtt"))
            .lift_connect_budget()
            .config(|config| config.recovery = config.recovery.clone().divided_by(50))
    }

    async fn raw(&self) -> TcpStream {
        // A name with two addresses may be raced: what is closed at once was the other one.
        limited(self.listener.accept()).await.unwrap().0
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        limited(self.acceptor.accept(self.raw().await)).await.unwrap()
    }
}

#[tokio::test]
async fn the_second_link_is_opened_with_a_ticket_of_the_first() {
    let secured = Secured::bind().await;
    let client = secured.client().start().unwrap();
    let mut events = client.events();
    for resumed in [false, true, true] {
        let mut peer = Peer::over(secured.accept().await);
        peer.greet().await;
        let Event::Opened { stages, .. } = event(&mut events, "opened").await else { unreachable!() };
        let tls = stages.tls.as_ref().unwrap();
        assert_eq!((tls.version, tls.alpn.as_deref(), tls.verified), ("TLS 1.3", Some("mqtt"), true));
        assert_eq!(tls.resumed, resumed);
        assert!(tls.expires.is_some());
        let names: Vec<_> = stages.iter().map(|(stage, _)| stage).collect();
        assert_eq!(names, [Stage::Dns, Stage::Tcp, Stage::Tls, Stage::Connack]);
        // Tickets come with the first bytes; a message that was answered for proves that they were read.
        let delivery = client.publish("a", "x").qos(Qos::AtLeastOnce).enqueue().unwrap();
        let publish = peer.publish().await;
        peer.ack(&publish).await;
        limited(delivery).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_to_a_handshake_is_left_at_its_limit() {
    let secured = Secured::bind().await;
    let client =
        secured.client().stage_limits(|limits| limits.tls = Duration::from_millis(100)).start().unwrap();
    let mut events = client.events();
    let _silent = secured.raw().await;
    let Event::AttemptFailed { cause, verdict, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    let LossCause::Open { stage: Stage::Tls, error } = &cause else { panic!("{cause}") };
    assert_eq!((error.kind, verdict), (TransportErrorKind::TimedOut, Verdict::Overloaded), "{cause}");
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_noticed_behind_tls_too() {
    let secured = Secured::bind().await;
    let client = secured.client().write_timeout(Duration::from_millis(300)).start().unwrap();
    let mut events = client.events();
    let mut stalled = Peer::over(secured.accept().await);
    stalled.greet().await;
    event(&mut events, "opened").await;
    let _delivery = client.publish("big", vec![0; 16 << 20]).qos(Qos::AtLeastOnce).enqueue().unwrap();
    let began = Instant::now();
    let closed = event(&mut events, "closed").await;
    assert!(matches!(&closed, Event::Closed { cause: LossCause::WriteStall(_), .. }), "{closed:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "noticed after {:?}", began.elapsed());
}

/// A network of 50 KiB a second towards the broker.
struct Slow {
    stream: DuplexStream,
    next: Pin<Box<Sleep>>,
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(self.next.as_mut().poll(cx));
        let mut few = [0; 1024];
        let mut few = ReadBuf::new(&mut few[..buffer.remaining().min(1024)]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut few))?;
        buffer.put_slice(few.filled());
        // waits: for a slow network is what the test is about
        let next = tokio::time::sleep(Duration::from_millis(20));
        self.next = Box::pin(next);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, b)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_slow_network_below_tls_is_no_dead_one() {
    let secured = Secured::bind().await;
    let (ends, mut far) = tokio::sync::mpsc::unbounded_channel();
    let client = secured
        .client()
        .write_timeout(Duration::from_millis(400))
        .ack_timeout(Duration::from_secs(30))
        .ping_timeout(Duration::from_secs(30))
        .connector(move |_| {
            let (near, far) = tokio::io::duplex(1024);
            let _ = ends.send(far);
            async move { Ok(near) }
        })
        .start()
        .unwrap();
    let mut events = client.events();
    // waits: not at all, it only has to be over
    let next = Box::pin(tokio::time::sleep(Duration::ZERO));
    let slow = Slow { stream: far.recv().await.unwrap(), next };
    let mut peer = Peer::over(limited(secured.acceptor.accept(slow)).await.unwrap());
    peer.greet().await;
    event(&mut events, "opened").await;
    let delivery = client.publish("big", vec![0; 100 << 10]).qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    assert_eq!(limited(delivery).await.unwrap().attempts, 1);
}

#[tokio::test]
async fn going_unverified_is_in_the_state_and_a_key_log_is_written_on_request() {
    let secured = Secured::bind().await;
    assert!(!secured.client().start().unwrap().state().unverified);
    let path = std::env::temp_dir().join(format!("rejoin-keys-{}", std::process::id()));
    let tls = Tls::new().dangerously_trust_any_server().key_log_file(&path);
    let client = secured.client().tls(tls).start().unwrap();
    assert!(client.state().unverified);
    let mut events = client.events();
    // The first client is gone; what it began is not answered.
    loop {
        let Ok(stream) = secured.acceptor.accept(secured.raw().await).await else { continue };
        Peer::over(stream).greet().await;
        break;
    }
    let Event::Opened { stages, .. } = event(&mut events, "opened").await else { unreachable!() };
    assert!(!stages.tls.as_ref().unwrap().verified);
    assert!(client.state().unverified);
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("CLIENT_TRAFFIC_SECRET_0 "), "{log}");
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn a_file_that_is_half_written_leaves_the_last_good_one_in_use() {
    let secured = Secured::bind().await;
    let path = std::env::temp_dir().join(format!("rejoin-half-{}", std::process::id()));
    std::fs::write(&path, &secured.pem).unwrap();
    let client = secured.client().tls(Tls::new().ca_file(&path).alpn("mqtt")).start().unwrap();
    let mut events = client.events();
    for (content, resumed) in
        [(secured.pem[..40].to_owned(), false), (secured.pem.replace('\n', "\r\n"), true)]
    {
        let mut peer = Peer::over(secured.accept().await);
        peer.greet().await;
        let Event::Opened { stages, .. } = event(&mut events, "opened").await else { unreachable!() };
        assert_eq!(stages.tls.as_ref().unwrap().resumed, resumed);
        let delivery = client.publish("a", "x").qos(Qos::AtLeastOnce).enqueue().unwrap();
        let publish = peer.publish().await;
        peer.ack(&publish).await;
        limited(delivery).await.unwrap();
        std::fs::write(&path, content).unwrap();
    }
    // A new file begins without the tickets of the old one.
    Peer::over(secured.accept().await).greet().await;
    let Event::Opened { stages, .. } = event(&mut events, "opened").await else { unreachable!() };
    assert!(!stages.tls.as_ref().unwrap().resumed);
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn a_wrong_file_is_told_before_the_start() {
    let path = std::env::temp_dir().join(format!("rejoin-no-pem-{}", std::process::id()));
    std::fs::File::create(&path).unwrap().write_all(b"no pem").unwrap();
    let missing = std::env::temp_dir().join("rejoin-missing.pem");
    for (tls, part) in [
        (Tls::new().ca_file(&path), "no certificate in it"),
        (Tls::new().ca_file(&missing), "No such file"),
        (Tls::new().identity_files(&path, &path), "no certificate in it"),
    ] {
        let error = Client::builder("mqtts://localhost").tls(tls).start().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let _ = std::fs::remove_file(&path);
}
