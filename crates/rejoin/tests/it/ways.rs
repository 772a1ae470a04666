//! The ways to a broker that are not TCP to the one address of the one server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin::{Client, Event, LossCause, Proxy, Qos, ReasonCode, Stage, Text, Verdict};
use rejoin_core::codec::packet::{ConnAck, ConnAckProperties, Packet};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::TcpListener;

use crate::links::event;
use crate::peer::{Listener, Peer, limited};
use crate::skipped::skipped;

/// A client whose connector hands the other end of each pipe to the test.
fn piped() -> (rejoin::Builder, tokio::sync::mpsc::UnboundedReceiver<DuplexStream>) {
    let (ends, far) = tokio::sync::mpsc::unbounded_channel();
    let builder = Client::builder("mqtt://in-process").lift_connect_budget().connector(move |server| {
        assert_eq!((server.host.as_str(), server.port), ("in-process", 1883));
        let (near, far) = tokio::io::duplex(4096);
        let _ = ends.send(far);
        async move { Ok(near) }
    });
    (builder.config(|config| config.recovery = config.recovery.clone().divided_by(50)), far)
}

#[tokio::test]
async fn an_application_may_bring_its_own_stream() {
    let (builder, mut far) = piped();
    let client = builder.start().unwrap();
    let mut events = client.events();
    let mut peer = Peer::over(far.recv().await.unwrap());
    peer.greet().await;
    let Event::Opened { stages, .. } = event(&mut events, "opened").await else { unreachable!() };
    let names: Vec<_> = stages.iter().map(|(stage, _)| stage).collect();
    assert_eq!(names, [Stage::Tcp, Stage::Connack]);
    let delivery = client.publish("a", "x").qos(Qos::AtLeastOnce).enqueue().unwrap();
    let publish = peer.publish().await;
    peer.ack(&publish).await;
    limited(delivery).await.unwrap();
    // A cut is recovered from like any other.
    drop(peer);
    let mut peer = Peer::over(far.recv().await.unwrap());
    peer.greet().await;
    event(&mut events, "opened").await;
}

#[tokio::test]
async fn a_connector_that_fails_or_hangs_is_a_failed_attempt() {
    for hangs in [false, true] {
        let builder = Client::builder("mqtt://nowhere").connector(move |_| async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Err::<DuplexStream, _>(std::io::Error::other("the line is cut"))
        });
        let client = builder.connect_timeout(Duration::from_millis(100)).start().unwrap();
        let mut events = client.events();
        let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
            unreachable!()
        };
        let LossCause::Open { stage, .. } = &cause else { panic!("{cause}") };
        assert_eq!(*stage, Stage::Tcp);
        let expected = if hangs { "no answer within" } else { "the line is cut" };
        assert!(cause.to_string().contains(expected), "{cause}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_file_is_a_way_to_a_broker() {
    let name = format!("rejoin-ways-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let url = format!("unix://{}", path.display());
    let client = Client::builder(&url)
        .config(|config| config.recovery = config.recovery.clone().divided_by(50))
        .start()
        .unwrap();
    let mut events = client.events();
    let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert_eq!(cause.name(), "connection-refused", "no file is no broker: {cause}");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (stream, _) = limited(listener.accept()).await.unwrap();
    let mut peer = Peer::over(stream);
    peer.greet().await;
    event(&mut events, "opened").await;
    assert_eq!(client.state().server_name.as_str(), path.display().to_string());
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_left_at_its_limit_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let client = Client::builder("mqtt://broker.example")
        .proxy(Proxy::parse(&format!("socks5h://{place}")).unwrap())
        .stage_limits(|limits| limits.proxy = Duration::from_millis(100))
        .start()
        .unwrap();
    let mut events = client.events();
    let (mut silent, _) = limited(listener.accept()).await.unwrap();
    let Event::AttemptFailed { cause, stages, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert!(matches!(cause, LossCause::Open { stage: Stage::Proxy, .. }), "{cause}");
    assert_eq!(stages.proxy.as_deref(), Some(format!("socks5h://{place}").as_str()));
    assert!(stages.get(Stage::Tcp).is_some() && stages.get(Stage::Connack).is_none(), "{stages}");
    let mut asked = [0; 3];
    limited(silent.read_exact(&mut asked)).await.unwrap();
    assert_eq!(asked, [5, 1, 0]);
}

fn elsewhere(reference: &str) -> Packet {
    let properties = ConnAckProperties {
        server_reference: Some(Text::try_from(reference).unwrap()),
        ..ConnAckProperties::default()
    };
    let reason = ReasonCode::USE_ANOTHER_SERVER;
    Packet::ConnAck(Box::new(ConnAck { session_present: false, reason, v311_form: false, properties }))
}

#[tokio::test]
async fn a_broker_that_names_another_server_is_followed_only_where_that_was_allowed() {
    for allowed in [false, true] {
        let (here, there) = (Listener::bind().await, Listener::bind().await);
        let mut builder = here.client().login("me", "hunter2");
        if allowed {
            builder = builder.follow_to(["127.0.0.1"]);
        }
        let client = builder.start().unwrap();
        let mut events = client.events();
        let mut peer = here.accept().await;
        assert!(matches!(peer.next().await, Packet::Connect(_)));
        let place = there.url.trim_start_matches("mqtt://").to_owned();
        peer.send(elsewhere(&place)).await;
        let Event::AttemptFailed { verdict, cause, .. } = event(&mut events, "attempt-failed").await else {
            unreachable!()
        };
        assert!(cause.to_string().contains(&place), "the reference is shown: {cause}");
        if allowed {
            assert_eq!(verdict, Verdict::Redirected);
            let _peer = there.open(false).await;
            event(&mut events, "opened").await;
            assert_eq!(client.state().server_name.as_str(), place);
        } else {
            assert_eq!(verdict, Verdict::Overloaded);
            let _peer = here.open(false).await;
            event(&mut events, "opened").await;
        }
    }
}

#[tokio::test]
async fn where_an_attempt_is_can_be_seen_while_it_lasts() {
    let gate = Arc::new(Mutex::new(None));
    let (open, wait) = tokio::sync::oneshot::channel::<()>();
    *gate.lock().unwrap() = Some(wait);
    let client = Client::builder("mqtt://nowhere")
        .login_with(move || {
            let wait = gate.lock().unwrap().take();
            async move {
                if let Some(wait) = wait {
                    let _ = wait.await;
                }
                Err("not today".into())
            }
        })
        .start()
        .unwrap();
    let mut states = client.state_watch();
    let is_asking = |state: &rejoin::State| {
        matches!(state.link, rejoin::Link::Connecting { stage: Stage::Credentials, .. })
    };
    limited(states.wait_for(is_asking)).await.unwrap();
    let mut events = client.events();
    open.send(()).unwrap();
    let Event::AttemptFailed { cause, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert_eq!(cause.name(), "no-credentials");
    assert!(cause.to_string().contains("not today"), "{cause}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_connects_from_the_address_it_was_bound_to() {
    // On Linux all of 127.0.0.0/8 is ours.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Both families: the other one is not tried.
    let url = format!("mqtt://localhost:{}", listener.local_addr().unwrap().port());
    let client = Client::builder(&url).bind("127.0.0.2".parse().unwrap()).start().unwrap();
    let (stream, from) = limited(listener.accept()).await.unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.2");
    drop((stream, client));
}

#[tokio::test]
async fn an_address_of_ipv6_is_bound_to_as_well() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        skipped("IPv6", "this machine has no ::1; `sysctl net.ipv6.conf.lo.disable_ipv6=0` brings it");
        return;
    };
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let client = Client::builder(&url).bind("::1".parse().unwrap()).start().unwrap();
    let (stream, from) = limited(listener.accept()).await.unwrap();
    assert_eq!(from.ip().to_string(), "::1");
    drop((stream, client));
    // A broker of the other family is not tried from there.
    let client = Client::builder(&url).bind("127.0.0.1".parse().unwrap()).start().unwrap();
    let Event::AttemptFailed { cause, .. } = event(&mut client.events(), "attempt-failed").await else {
        unreachable!()
    };
    assert!(cause.to_string().contains("no IPv4 address"), "{cause}");
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    // One of the addresses kept for documentation [RFC 5737], and one of the wrong family.
    for (address, expected) in [("192.0.2.1", "cannot bind to 192.0.2.1"), ("::1", "no IPv6 address")] {
        let client = Client::builder(&url).bind(address.parse().unwrap()).start().unwrap();
        let mut events = client.events();
        let failed = event(&mut events, "attempt-failed").await;
        let Event::AttemptFailed { cause, verdict, .. } = failed else { unreachable!() };
        assert!(cause.to_string().contains(expected), "{cause}");
        assert_eq!(verdict, Verdict::Absent, "no broker is to blame");
    }
}
