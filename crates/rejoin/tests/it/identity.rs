//! Who we are: credentials that are asked for, and enhanced authentication.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rejoin::{AuthStep, Authentication, Client, Credentials, Event, ReasonCode, Secret, Text, Verdict};
use rejoin_core::codec::packet::{Auth, ConnAck, ConnAckProperties, Connect, Packet};
use tokio::sync::Notify;

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
async fn what_is_good_for_longer_than_any_clock_runs_has_no_end() {
    let listener = Listener::bind().await;
    let authentication = counting().good_for(Duration::MAX);
    let client = listener.client().authentication(authentication).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    connect(&mut peer).await;
    peer.send(welcome(b"yes")).await;
    event(&mut events, "authenticated").await;
    client.reauthenticate();
    assert_eq!(answer(&mut peer).await, (ReasonCode::REAUTHENTICATE, "again".into()));
    peer.send(auth(ReasonCode::SUCCESS, b"yes")).await;
    event(&mut events, "authenticated").await;
    assert!(client.is_connection_open());
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
async fn a_provider_slower_than_the_network_may_be_costs_nothing_of_the_time_to_connect() {
    let listener = Listener::bind().await;
    let client = listener
        .client()
        .connect_timeout(Duration::from_millis(100))
        .login_with(|| async {
            // waits: a provider is somewhere in the network, and takes longer than a connection may
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(Credentials::new("me", "secret"))
        })
        .start()
        .unwrap();
    let mut peer = listener.accept().await;
    assert_eq!(connect(&mut peer).await.user_name.as_deref(), Some("me"));
    peer.send(connack(false, ReasonCode::SUCCESS)).await;
    limited(client.wait_open(crate::peer::LIMIT)).await.unwrap();
    assert_eq!(client.stats().engine.attempts, 1);
}

#[tokio::test]
async fn a_password_that_mqtt_cannot_carry_is_told_before_anything_is_sent() {
    let long = "x".repeat(65_536);
    let error =
        Client::builder("mqtt://localhost").login("me", long.clone()).start().unwrap_err().to_string();
    assert!(error.contains("password") && error.contains("65,535"), "{error}");
    let listener = Listener::bind().await;
    for by_method in [false, true] {
        let long = long.clone();
        let builder = listener.client();
        let builder = if by_method {
            builder.authentication(Authentication::new("M", move |_| {
                let data = Secret::from(long.clone());
                async { Ok(Some(data)) }
            }))
        } else {
            builder.login_with(move || {
                let credentials = Credentials::token(long.clone());
                async { Ok(credentials) }
            })
        };
        let client = builder.start().unwrap();
        let Event::AttemptFailed { cause, .. } = event(&mut client.events(), "attempt-failed").await else {
            unreachable!()
        };
        assert_eq!(cause.name(), "no-credentials", "{cause}");
        let whose = if by_method { "enhanced authentication gave" } else { "the provider gave" };
        assert!(cause.to_string().contains("65,535 bytes") && cause.to_string().contains(whose), "{cause}");
        assert!(!cause.to_string().contains("xxx"), "{cause}");
    }
}

/// Answers at once, but for the step that is waited for.
fn waiting_for(wanted: fn(&AuthStep) -> bool) -> (Authentication, Arc<Notify>, Arc<AtomicUsize>) {
    let (go_on, begun) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (Arc::clone(&go_on), Arc::clone(&begun));
    let authentication = Authentication::new("COUNT", move |step| {
        let wait = wanted(&step).then(|| Arc::clone(&wait));
        let again = matches!(step, AuthStep::Begin { again: true });
        count.fetch_add(usize::from(again || wait.is_some()), Ordering::Relaxed);
        async move {
            if let Some(wait) = wait {
                wait.notified().await;
            }
            match step {
                AuthStep::Challenge(_) => Ok(Some(Secret::from("answer"))),
                AuthStep::Proof { .. } => Err("not believed".into()),
                AuthStep::Begin { .. } => Ok(None),
                _ => Err("unknown".into()),
            }
        }
    });
    (authentication, go_on, begun)
}

/// Waits until the function was asked so often for what it waits for.
async fn asked(begun: &AtomicUsize, times: usize) {
    while begun.load(Ordering::Relaxed) < times {
        limited(tokio::task::yield_now()).await;
    }
}

#[tokio::test]
async fn a_call_to_authenticate_anew_takes_no_answer_from_an_exchange_under_way() {
    let listener = Listener::bind().await;
    let (authentication, go_on, begun) = waiting_for(|step| matches!(step, AuthStep::Challenge(_)));
    let client = listener.client().authentication(authentication).start().unwrap();
    let mut peer = listener.accept().await;
    connect(&mut peer).await;
    peer.send(auth(ReasonCode::CONTINUE_AUTHENTICATION, b"one")).await;
    asked(&begun, 1).await;
    client.reauthenticate();
    // Obeyed, or not, by the time this is answered.
    limited(client.nudge()).await;
    go_on.notify_one();
    assert_eq!(answer(&mut peer).await, (ReasonCode::CONTINUE_AUTHENTICATION, "answer".into()));
    assert_eq!(begun.load(Ordering::Relaxed), 1, "and nobody was asked to begin again");
}

#[tokio::test]
async fn a_call_to_authenticate_anew_saves_no_broker_from_the_judgement_of_its_proof() {
    let listener = Listener::bind().await;
    let (authentication, go_on, begun) = waiting_for(|step| matches!(step, AuthStep::Proof { .. }));
    let client = listener.client().authentication(authentication).start().unwrap();
    let mut events = client.events();
    let mut peer = listener.accept().await;
    connect(&mut peer).await;
    peer.send(welcome(b"forged")).await;
    asked(&begun, 1).await;
    client.reauthenticate();
    limited(client.nudge()).await;
    go_on.notify_one();
    let Event::Closed { cause, .. } = event(&mut events, "closed").await else { unreachable!() };
    assert!(cause.to_string().contains("not believed"), "{cause}");
    let end = limited(peer.next_or_end()).await;
    assert!(matches!(end, Some(Packet::Disconnect(_))), "no AUTH in between: {end:?}");
    assert!(limited(peer.next_or_end()).await.is_none());
}

#[tokio::test]
async fn without_an_open_link_nobody_is_asked_to_authenticate_anew() {
    let listener = Listener::bind().await;
    let (authentication, _go_on, begun) = waiting_for(|_| false);
    let client = listener.client().authentication(authentication).start().unwrap();
    let mut peer = listener.accept().await;
    connect(&mut peer).await;
    client.reauthenticate();
    limited(client.nudge()).await;
    peer.send(connack(false, ReasonCode::SERVER_BUSY)).await;
    event(&mut client.events(), "attempt-failed").await;
    assert_eq!(begun.load(Ordering::Relaxed), 0);
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
    assert!(matches!(limited(peer.next_or_end()).await, Some(Packet::Disconnect(_))), "it is told");
    assert!(limited(peer.next_or_end()).await.is_none());
}
