//! Who we are: credentials that are asked for, and enhanced authentication.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rejoin::{AuthStep, Authentication, Client, Credentials, Event, ReasonCode, Secret, Text, Verdict};
use rejoin_core::codec::packet::{Auth, ConnAck, ConnAckProperties, Connect, Packet};

use crate::links::event;
use crate::peer::{Listener, Peer, connack, limited};

async fn connect(peer: &mut Peer) -> Box<Connect> {
    match peer.next().await {
        Packet::Connect(connect) => connect,
        other => panic!("not CONNECT: {other:?}"),
    }
}

#[tokio::test]
async fn credentials_are_asked_for_before_each_attempt_and_after_a_refusal() {
    let listener = Listener::bind().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let client = listener
        .client()
        .login_with(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Credentials::new("me", format!("token {number}"))) }
        })
        .start()
        .unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    let first = connect(&mut peer).await;
    assert_eq!((first.user_name.as_deref(), first.password.as_deref()), (Some("me"), Some(&b"token 0"[..])));
    peer.send(connack(false, ReasonCode::BAD_USER_NAME_OR_PASSWORD)).await;
    let Event::AttemptFailed { verdict, .. } = event(&mut events, "attempt-failed").await else {
        unreachable!()
    };
    assert_eq!(verdict, Verdict::Credentials, "a fresh one is tried at once");
    let mut peer = listener.accept().await;
    assert_eq!(connect(&mut peer).await.password.as_deref(), Some(&b"token 1"[..]));
    peer.send(connack(false, ReasonCode::SUCCESS)).await;
    event(&mut events, "opened").await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_token_may_come_without_a_user_name() {
    let listener = Listener::bind().await;
    let _client = listener.client().token("the token").start().unwrap();
    let connect = connect(&mut listener.accept().await).await;
    assert_eq!((connect.user_name, connect.password.as_deref()), (None, Some(&b"the token"[..])));
}

#[tokio::test]
async fn a_provider_that_hangs_or_panics_costs_its_limit_and_no_broker() {
    for panics in [false, true] {
        let listener = Listener::bind().await;
        let client = listener
            .client()
            .stage_limits(|limits| limits.credentials = Duration::from_millis(50))
            .login_with(move || async move {
                assert!(!panics, "the provider is broken");
                std::future::pending().await
            })
            .start()
            .unwrap();
        let mut events = client.events();
        for _ in 0..3 {
            let failed = event(&mut events, "attempt-failed").await;
            let Event::AttemptFailed { cause, .. } = failed else { unreachable!() };
            let expected = if panics { "broke off" } else { "the credential provider gave no answer" };
            assert!(cause.to_string().contains(expected), "{cause}");
        }
        assert_eq!(client.stats().engine.links, 0);
    }
}

fn method() -> Option<Text> {
    Some(Text::from_static("COUNT"))
}

fn auth(reason: ReasonCode, data: &'static [u8]) -> Packet {
    let data = Some(Bytes::from_static(data));
    Packet::Auth(Auth { reason, method: method(), data, properties: None })
}

fn welcome(proof: &'static [u8]) -> Packet {
    let properties = ConnAckProperties {
        authentication_method: method(),
        authentication_data: Some(Bytes::from_static(proof)),
        ..ConnAckProperties::default()
    };
    let reason = ReasonCode::SUCCESS;
    Packet::ConnAck(Box::new(ConnAck { session_present: false, reason, v311_form: false, properties }))
}

/// Answers a challenge with one more of its bytes, and believes only the proof "yes".
fn counting() -> Authentication {
    Authentication::new("COUNT", |step| async move {
        match step {
            AuthStep::Begin { again: false } => Ok(Some(Secret::from("begin"))),
            AuthStep::Begin { again: true } => Ok(Some(Secret::from("again"))),
            AuthStep::Challenge(Some(data)) => Ok(Some(Secret::from([data.expose(), b"!"].concat()))),
            AuthStep::Proof { data: Some(data), .. } if data.expose() == b"yes" => Ok(None),
            _ => Err("not what was expected".into()),
        }
    })
}

async fn answer(peer: &mut Peer) -> (ReasonCode, Bytes) {
    match peer.next().await {
        Packet::Auth(auth) => (auth.reason, auth.data.unwrap_or_default()),
        other => panic!("not AUTH: {other:?}"),
    }
}

#[tokio::test]
async fn an_exchange_of_challenges_opens_the_link_and_may_be_repeated_on_it() {
    let listener = Listener::bind().await;
    let client: Client = listener.client().authentication(counting()).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    let connect = connect(&mut peer).await;
    assert_eq!(connect.properties.authentication_method, method());
    assert_eq!(connect.properties.authentication_data.as_deref(), Some(&b"begin"[..]));
    peer.send(auth(ReasonCode::CONTINUE_AUTHENTICATION, b"one")).await;
    assert_eq!(answer(&mut peer).await, (ReasonCode::CONTINUE_AUTHENTICATION, "one!".into()));
    peer.send(welcome(b"yes")).await;
    event(&mut events, "opened").await;
    let told = event(&mut events, "authenticated").await;
    assert!(matches!(told, Event::Authenticated { again: false }), "{told:?}");

    client.reauthenticate();
    assert_eq!(answer(&mut peer).await, (ReasonCode::REAUTHENTICATE, "again".into()));
    peer.send(auth(ReasonCode::CONTINUE_AUTHENTICATION, b"two")).await;
    assert_eq!(answer(&mut peer).await, (ReasonCode::CONTINUE_AUTHENTICATION, "two!".into()));
    peer.send(auth(ReasonCode::SUCCESS, b"yes")).await;
    let told = event(&mut events, "authenticated").await;
    assert!(matches!(told, Event::Authenticated { again: true }), "{told:?}");
    assert!(client.is_connection_open());
}

#[tokio::test]
async fn a_broker_whose_proof_is_not_believed_loses_its_link() {
    let listener = Listener::bind().await;
    let client = listener.client().authentication(counting()).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    connect(&mut peer).await;
    peer.send(welcome(b"no")).await;
    let Event::Closed { cause, .. } = event(&mut events, "closed").await else { unreachable!() };
    assert_eq!(cause.name(), "no-credentials");
    assert!(cause.to_string().contains("not what was expected"), "{cause}");
    assert!(limited(peer.next_or_end()).await.is_none());
}
