//! WebSocket on the wire of a scripted broker: the sub-protocol, frames of any cut, and frames that are no MQTT.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use rejoin::{Builder, Client, Event, LossCause, Qos, Stage, TransportErrorKind, Verdict, VersionPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::links::event;
use crate::peer::limited;

const OFFER: &str = "Sec-WebSocket-Protocol";

struct Door {
    listener: TcpListener,
}

impl Door {
    async fn open() -> (Self, Client) {
        Self::open_to(|builder| builder).await
    }

    async fn open_to(change: impl FnOnce(Builder) -> Builder) -> (Self, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/mqtt", listener.local_addr().unwrap());
        let builder = Client::builder(&url)
            .lift_connect_budget()
            .config(|config| config.recovery = config.recovery.clone().divided_by(50));
        (Self { listener }, change(builder).start().unwrap())
    }

    /// Takes the next client in, under this sub-protocol. `None`: it went away. Gives what it had offered, too.
    #[allow(clippy::result_large_err, reason = "the library asks for this type")]
    async fn accept(
        &self,
        chosen: Option<&'static str>,
    ) -> (Option<WebSocketStream<TcpStream>>, Option<HeaderValue>) {
        let (stream, _) = limited(self.listener.accept()).await.unwrap();
        let mut offered = None;
        let choose = |request: &Request, mut response: Response| {
            offered = request.headers().get(OFFER).cloned();
            if let Some(chosen) = chosen {
                response.headers_mut().insert(OFFER, HeaderValue::from_static(chosen));
            }
            Ok(response)
        };
        let socket = limited(tokio_tungstenite::accept_hdr_async(stream, choose)).await.ok();
        (socket, offered)
    }

    /// Closes on the next client when it has asked, as a load balancer does while its server starts.
    async fn turn_away(&self) {
        self.answer(b"").await;
    }

    /// Answers the next client with this, when it has asked, and closes.
    async fn answer(&self, bytes: &[u8]) {
        let (mut stream, _) = limited(self.listener.accept()).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(limited(stream.read_buf(&mut request)).await.unwrap() > 0);
        }
        limited(stream.write_all(bytes)).await.unwrap();
    }

    /// Takes the next client in and reads its CONNECT.
    async fn greeted(&self) -> WebSocketStream<TcpStream> {
        let mut socket = self.accept(Some("mqtt")).await.0.expect("a WebSocket");
        let Some(Message::Binary(connect)) = read(&mut socket).await else { panic!("no binary frame") };
        assert_eq!(connect[0], 0x10);
        socket
    }
}

async fn read(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    limited(std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx))).await.and_then(Result::ok)
}

async fn write(socket: &mut WebSocketStream<TcpStream>, message: Message) {
    let mut message = Some(message);
    let sent = std::future::poll_fn(|cx| {
        if message.is_some() {
            std::task::ready!(Pin::new(&mut *socket).poll_ready(cx))?;
            Pin::new(&mut *socket).start_send(message.take().expect("asked just now"))?;
        }
        let flushed = Pin::new(&mut *socket).poll_flush(cx);
        Poll::Ready(std::task::ready!(flushed))
    });
    limited(sent).await.unwrap();
}

fn binary(bytes: &'static [u8]) -> Message {
    Message::Binary(bytes::Bytes::from_static(bytes))
}

#[tokio::test]
async fn mqtt_is_offered_and_nothing_else_may_be_chosen() {
    for chosen in [None, Some("chat")] {
        let (door, client) = Door::open().await;
        let mut events = client.events();
        let (_socket, offered) = door.accept(chosen).await;
        assert_eq!(offered.unwrap(), "mqtt"); // [MQTT-6.0.0-3]
        let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
            unreachable!()
        };
        // [MQTT-6.0.0-4]
        let LossCause::Open { stage: Stage::WebSocket, error } = cause else { panic!("{cause:?}") };
        assert_eq!(error.kind, TransportErrorKind::Handshake, "{chosen:?}: {error}");
    }
}

#[tokio::test]
async fn packets_straddle_frames_and_share_them() {
    let (door, client) = Door::open().await;
    let mut stream = client.subscribe("t", Qos::AtMostOnce).declare().unwrap();
    let mut socket = door.greeted().await;
    // [MQTT-6.0.0-2]: CONNACK in two frames, the second with half a PUBLISH, the third with the rest and one more.
    for frame in [&b"\x20\x03\x00"[..], b"\x00\x00\x30\x06\x00", b"\x01t\x00ab\x30\x05\x00\x01t\x00c"] {
        write(&mut socket, binary(frame)).await;
    }
    for text in ["ab", "c"] {
        assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), text);
    }
}

#[tokio::test]
async fn a_text_frame_ends_the_link() {
    let (door, client) = Door::open().await;
    let mut events = client.events();
    let mut socket = door.greeted().await;
    write(&mut socket, binary(b"\x20\x03\x00\x00\x00")).await;
    event(&mut events, "opened").await;
    write(&mut socket, Message::Text("\u{30}\u{4}".into())).await;
    let Event::Closed { cause, .. } = event(&mut events, "closed").await else { unreachable!() };
    assert!(cause.to_string().contains("text frame"), "{cause}"); // [MQTT-6.0.0-1]
    door.greeted().await;
}

#[tokio::test]
async fn a_close_during_the_upgrade_is_waited_for_like_an_overloaded_broker() {
    let (door, client) = Door::open().await;
    let mut events = client.events();
    for attempt in 1..=4 {
        door.turn_away().await;
        let failed = event(&mut events, "attempt-failed").await;
        let Event::AttemptFailed { cause, verdict, .. } = failed else { unreachable!() };
        assert_eq!(verdict, Verdict::Overloaded, "attempt {attempt}: {cause}");
        let LossCause::Open { stage: Stage::WebSocket, error } = cause else { panic!("{cause:?}") };
        assert_eq!(error.kind, TransportErrorKind::Closed, "{error}");
    }
}

#[tokio::test]
async fn a_refusal_is_understood_whatever_page_comes_with_it() {
    let page = "<html><body>a 1 in a line of its own: <b>access denied</b></body></html>\r\n".repeat(30);
    for (status, kind, expected) in [
        ("401 Unauthorized", TransportErrorKind::Unauthorized, Verdict::Unauthorized),
        ("403 Forbidden", TransportErrorKind::Unauthorized, Verdict::Unauthorized),
        ("429 Too Many Requests", TransportErrorKind::Closed, Verdict::Overloaded),
        ("503 Service Unavailable", TransportErrorKind::Closed, Verdict::Overloaded),
        ("404 Not Found", TransportErrorKind::Handshake, Verdict::Overloaded),
    ] {
        let (door, client) = Door::open().await;
        let mut events = client.events();
        // In one write, and so in one read of the client's.
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        door.answer(answer.as_bytes()).await;
        let failed = event(&mut events, "attempt-failed").await;
        let Event::AttemptFailed { cause, verdict, .. } = failed else { unreachable!() };
        let LossCause::Open { stage: Stage::WebSocket, error } = cause else { panic!("{cause:?}") };
        assert_eq!((error.kind, verdict), (kind, expected), "{error}");
        assert!(error.to_string().contains(&status[..3]), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_connack_was_closed_whether_or_not_a_close_frame_came() {
    let (door, client) = Door::open().await;
    let mut events = client.events();
    drop(door.greeted().await);
    let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert!(matches!(cause, LossCause::ClosedBeforeConnack), "{cause:?}");
}

#[tokio::test]
async fn a_stream_that_ends_on_an_open_link_was_closed_whether_or_not_a_close_frame_came() {
    let (door, client) = Door::open().await;
    let mut events = client.events();
    let mut socket = door.greeted().await;
    write(&mut socket, binary(b"\x20\x03\x00\x00\x00")).await;
    event(&mut events, "opened").await;
    drop(socket);
    let Event::Closed { cause, .. } = event(&mut events, "closed").await else { unreachable!() };
    assert!(matches!(cause, LossCause::PeerClosed), "{cause:?}");
}

/// A PUBLISH to `t` at QoS 1 with a payload of so many bytes.
fn publish(id: u16, properties: &[u8], size: usize) -> Vec<u8> {
    let mut body = vec![0, 1, b't'];
    body.extend(id.to_be_bytes());
    body.extend_from_slice(properties);
    body.resize(body.len() + size, b'x');
    let mut packet = vec![0x32];
    let mut left = body.len();
    while left > 127 {
        packet.push((left % 128) as u8 | 0x80);
        left /= 128;
    }
    packet.push(left as u8);
    packet.append(&mut body);
    packet
}

/// At 3.1.1 a broker cannot be told what is too much. Core passes such a message over and acknowledges it; closing would
/// bring it back for ever.
#[tokio::test]
async fn a_message_above_the_packet_limit_costs_no_link_at_3_1_1() {
    let (door, client) = Door::open_to(|builder| builder.version(VersionPolicy::Only311)).await;
    let mut stream = client.subscribe("t", Qos::AtLeastOnce).declare().unwrap();
    let mut socket = door.greeted().await;
    write(&mut socket, binary(b"\x20\x02\x00\x00")).await;
    for (id, size) in [(1, 3 << 19), (2, 1)] {
        write(&mut socket, Message::Binary(publish(id, &[], size).into())).await;
    }
    assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), "x");
    let mut read_so_far = Vec::new();
    while !read_so_far.windows(4).any(|bytes| bytes == b"\x40\x02\x00\x01") {
        let Some(Message::Binary(bytes)) = read(&mut socket).await else { panic!("the link ended") };
        read_so_far.extend_from_slice(&bytes);
    }
}

#[tokio::test]
async fn many_packets_share_one_frame_though_together_they_are_above_the_packet_limit() {
    let (door, client) = Door::open().await;
    let mut stream = client.subscribe("t", Qos::AtLeastOnce).declare().unwrap();
    let mut socket = door.greeted().await;
    write(&mut socket, binary(b"\x20\x03\x00\x00\x00")).await;
    // [MQTT-6.0.0-2]: a backlog in one frame, as a broker that gathers its writes sends it.
    let backlog: Vec<u8> = (1..=12).flat_map(|id| publish(id, &[0], 100 << 10)).collect();
    write(&mut socket, Message::Binary(backlog.into())).await;
    for _ in 1..=12 {
        assert_eq!(limited(stream.next()).await.unwrap().payload.len(), 100 << 10);
    }
}

/// The header of a binary frame of this length.
fn header(length: u64) -> Vec<u8> {
    [&[0x82, 127][..], &length.to_be_bytes()].concat()
}

#[tokio::test]
async fn the_length_a_frame_announces_is_no_reason_to_end_the_link() {
    let (door, client) = Door::open().await;
    let mut stream = client.subscribe("t", Qos::AtMostOnce).declare().unwrap();
    let mut socket = door.greeted().await;
    write(&mut socket, binary(b"\x20\x03\x00\x00\x00")).await;
    // A tebibyte, of which the first packets arrive.
    limited(socket.get_mut().write_all(&header(1 << 40))).await.unwrap();
    limited(socket.get_mut().write_all(b"\x30\x05\x00\x01t\x00a\x30\x05\x00\x01t\x00b")).await.unwrap();
    for text in ["a", "b"] {
        assert_eq!(limited(stream.next()).await.unwrap().text().unwrap(), text);
    }
}

#[tokio::test]
async fn a_frame_that_takes_longer_than_a_ping_is_no_silence() {
    let (ping_after, ping_timeout) = (Duration::from_millis(200), Duration::from_millis(500));
    eprintln!("scaled down: ping_after to {ping_after:?}, ping_timeout to {ping_timeout:?}");
    let (door, client) =
        Door::open_to(|builder| builder.ping_after(ping_after).ping_timeout(ping_timeout)).await;
    let mut stream = client.subscribe("t", Qos::AtLeastOnce).declare().unwrap();
    let mut socket = door.greeted().await;
    write(&mut socket, binary(b"\x20\x03\x00\x00\x00")).await;
    let packet = publish(1, &[0], 100_000);
    let frame = [header(packet.len() as u64), packet].concat();
    for piece in frame.chunks(frame.len() / 20) {
        limited(socket.get_mut().write_all(piece)).await.unwrap();
        // waits: a slow link, on which this frame takes four times as long as a ping may
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(limited(stream.next()).await.unwrap().payload.len(), 100_000);
    assert_eq!(client.stats().engine.losses, 0);
}

/// In virtual time: the limits are the true ones.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_took_too_long_gets_more_time_the_next_time() {
    let (ends, mut far) = tokio::sync::mpsc::unbounded_channel();
    let builder = Client::builder("ws://in-process").connector(move |_| {
        let (near, far) = tokio::io::duplex(4096);
        let _ = ends.send(far);
        async move { Ok(near) }
    });
    let client = builder.start().unwrap();
    let mut events = client.events();
    // Held open; the answer never comes within the first limit.
    let _silent = far.recv().await.unwrap();
    let failed = events.next().await;
    assert_eq!(failed.map(|event| event.name()), Some("attempt"));
    let Some(Event::AttemptFailed { cause, .. }) = events.next().await else { panic!("no failure is told") };
    assert_eq!(cause.name(), "connect-timeout", "{cause}");
    let second = far.recv().await.unwrap();
    // waits: in virtual time, longer than the first limit of 30 s
    tokio::time::sleep(Duration::from_secs(45)).await;
    #[allow(clippy::result_large_err, reason = "the library asks for this type")]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert(OFFER, HeaderValue::from_static("mqtt"));
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(second, choose).await.expect("it still waits");
    let frame = std::future::poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await;
    let Some(Ok(Message::Binary(connect))) = frame else { panic!("no CONNECT: {frame:?}") };
    assert_eq!(connect[0], 0x10);
}
