//! Everything that can be printed is printed, and none of it holds what was planted.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin::{
    AuthStep, Authentication, Client, Credentials, Event, Proxy, PublishError, Secret, ServerUrl, Will,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use crate::links::event;
use crate::peer::Listener;

/// What is planted wherever a secret may be given.
const PLANTED: &str = "hunter2";

/// Takes every log line of every level.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0.lock().unwrap(), " {field}={value:?}");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let _ = write!(self.0.lock().unwrap(), "\n{}", event.metadata().level());
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Runs a client through a link, a refusal and an end, and gives everything that can be printed.
async fn everything(builder: rejoin::Builder, listener: &Listener) -> String {
    let mut seen = format!("{builder:?}\n{builder:#?}\n");
    let prepared = builder.prepare().unwrap();
    seen.push_str(&format!("{prepared:?}\n{prepared:#?}\n"));
    let client = prepared.start();
    let mut events = client.events().with_deliveries();
    let mut peer = listener.accept().await;
    let rejoin_core::codec::packet::Packet::Connect(connect) = peer.next().await else {
        panic!("not CONNECT")
    };
    // It was sent, so the test is about something.
    assert!(format!("{:?}", connect.password.as_ref().map(|p| p.to_vec())).contains("104, 117, 110"));
    seen.push_str(&format!("{connect:?}\n"));
    peer.send(crate::peer::connack(false, rejoin::ReasonCode::NOT_AUTHORIZED)).await;
    let told = event(&mut events, "attempt-failed").await;
    seen.push_str(&format!("{told:?}\n{:?}\n{:?}\n{client:?}\n", client.state(), client.stats()));
    let report = client.shutdown().within(Duration::from_secs(1)).await;
    seen.push_str(&format!("{report:?}\n"));
    while let Some(told) = events.try_next() {
        seen.push_str(&format!("{told:?}\n"));
    }
    seen
}

#[tokio::test]
async fn no_secret_is_ever_printed() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let mut seen = String::new();

    let listener = Listener::bind().await;
    let builder = listener.client().login("user", PLANTED);
    #[cfg(feature = "ws")]
    let builder = builder.websocket_header("Authorization", PLANTED);
    #[cfg(feature = "tls")]
    {
        let secure = Client::builder("mqtts://localhost").tls(rejoin::Tls::new().identity_pem("x", PLANTED));
        seen.push_str(&format!("{secure:?}\n"));
        seen.push_str(&secure.start().unwrap_err().to_string());
    }
    let builder = builder.will(Will::new("a", PLANTED));
    seen.push_str(&everything(builder, &listener).await);

    let listener = Listener::bind().await;
    let url = listener.url.replace("mqtt://", &format!("mqtt://user:{PLANTED}@"));
    let parsed = ServerUrl::parse(&url).unwrap();
    seen.push_str(&format!("{parsed:?}\n{parsed:#?}\n{}\n", parsed.place()));
    seen.push_str(&everything(Client::builder(&url), &listener).await);

    let listener = Listener::bind().await;
    let provider = || async { Ok(Credentials::new("user", PLANTED)) };
    seen.push_str(&format!("{:?}\n", Credentials::token(PLANTED)));
    seen.push_str(&everything(listener.client().login_with(provider), &listener).await);

    for wrong in ["mqtt://u:hunter2@h:x", "u:hunter2@h", "ws://h:x?sig=hunter2", "nonsense://u:hunter2@h"] {
        seen.push_str(&ServerUrl::parse(wrong).unwrap_err().to_string());
    }
    let proxy = Proxy::parse(&format!("http://user:{PLANTED}@127.0.0.1:1")).unwrap();
    seen.push_str(&format!("{proxy:?} {proxy}\n{:?}\n", Secret::from(PLANTED)));
    let step = AuthStep::Challenge(Some(Secret::from(PLANTED)));
    let authentication = Authentication::new("M", |_| async { Ok(Some(Secret::from(PLANTED))) });
    seen.push_str(&format!("{step:?} {authentication:?}\n"));
    let client = Client::builder("mqtt://broker.example").proxy(proxy).authentication(authentication);
    let client = client.start().unwrap();
    let Event::AttemptFailed { cause, .. } = event(&mut client.events(), "attempt-failed").await else {
        unreachable!()
    };
    seen.push_str(&format!("{cause:?} {cause}\n"));

    // What was refused has the message inside.
    let invalid = client.publish("a/+", PLANTED).enqueue().unwrap_err();
    client.shutdown().within(Duration::ZERO).await;
    let refused = client.publish("a", PLANTED).correlation_data(PLANTED).user_property("token", PLANTED);
    let refused = refused.enqueue().unwrap_err();
    for error in [invalid, refused] {
        seen.push_str(&format!("{error:?} {error:#?} {error}\n{:?}\n", error.clone().into_publication()));
        let error = PublishError::from(error);
        seen.push_str(&format!("{error:?} {error}\n{:?}\n", rejoin::Error::from(error.clone())));
    }

    // A task that panics while it holds them says no more than its own words.
    let secret = Secret::from(PLANTED);
    let panicked = tokio::spawn(async move {
        let held = secret;
        assert!(held.expose().is_empty(), "held: {held:?}");
    });
    seen.push_str(&panicked.await.unwrap_err().to_string());

    let log = log.0.lock().unwrap().clone();
    assert!(log.contains("attempt"), "the log was taken: {log}");
    for (number, line) in seen.lines().chain(log.lines()).enumerate() {
        assert!(!line.contains(PLANTED), "line {number}: {line}");
    }
}
