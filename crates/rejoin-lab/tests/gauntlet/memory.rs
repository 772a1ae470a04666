//! Brokers whose memory differs from ours though they say otherwise: rows 22, 30 and 31.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin::{Client, Event, Qos, SessionState, Subscription, Version};
use rejoin_core::codec::packet::PacketId;
use rejoin_lab::{BrokerServer, Ending, LedgerEntry, Manners, PacketKind, ScriptResult, Times};

use crate::kit::*;

both_versions! {
    row_22_a_lost_session_is_told_and_its_subscriptions_are_made_again: loses_the_session;
    row_30_session_present_for_an_empty_session_leaves_nobody_deaf: present_but_empty;
    row_31_an_older_session_that_came_back_leaves_nobody_deaf: present_but_older;
}

/// The identifiers under which messages were sent to the client, by payload; the last one where there were more.
type Ids = Arc<Mutex<BTreeMap<String, PacketId>>>;

async fn server() -> (BrokerServer, Ids) {
    let server = BrokerServer::start(Manners::default()).await.unwrap();
    let ids = Ids::default();
    let book = Arc::clone(&ids);
    server.with(|broker| {
        broker.add_ledger(Box::new(move |entry| {
            if let LedgerEntry::Sent(sent) = entry
                && let Some(id) = sent.packet_id
            {
                book.lock().unwrap().insert(String::from_utf8(sent.payload.to_vec()).unwrap(), id);
            }
        }));
    });
    (server, ids)
}

fn has_filter(server: &BrokerServer, filter: &str) -> bool {
    server.with(|broker| broker.subscriptions("gauntlet").iter().any(|(known, _)| known == filter))
}

async fn expect(stream: &mut Subscription, payload: &str) {
    let message = limited(payload, stream.next()).await.unwrap();
    assert_eq!(message.text().unwrap(), payload);
}

fn send(server: &BrokerServer, payload: &str) {
    server.with(|broker| {
        assert!(broker.publish("gauntlet/in", payload.to_owned(), Qos::ExactlyOnce, false), "{payload}");
    });
}

async fn ready_again(client: &Client, told: &mut Told) -> SessionState {
    let Event::Opened { session, .. } = told.opened().await else { unreachable!() };
    limited("ready", client.wait_ready(LIMIT)).await.unwrap();
    session
}

fn no_violations(server: &BrokerServer) {
    server.with(|broker| {
        let found: Vec<String> = broker.violations().map(|violation| format!("{violation:?}")).collect();
        assert!(found.is_empty(), "{found:?}");
    });
}

async fn loses_the_session(version: Version) -> ScriptResult {
    let (server, _) = server().await;
    let (client, mut told) = start(client(server.addr(), version).session(kept()));
    let mut stream = client.subscribe("gauntlet/#", Qos::ExactlyOnce).declare().unwrap();
    assert_eq!(ready_again(&client, &mut told).await, SessionState::New);
    send(&server, "1");
    expect(&mut stream, "1").await;

    // While SUBACKs are lost the link is open, and that is all that may be said.
    server.kill(Ending::Fin).await;
    server.with(|broker| broker.manners_mut().lose(PacketKind::SubAck, Times::ONCE));
    server.start_again(false).await.unwrap();
    let Event::Opened { session, .. } = told.opened().await else { unreachable!() };
    assert!(matches!(session, SessionState::Lost(_)), "{session:?}");
    limited("SUBSCRIBE", async {
        while !has_filter(&server, "gauntlet/#") {
            // waits: polls what only the broker can tell, or lets the script take its time
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(client.is_connection_open() && !client.ready(), "{:?}", client.state());
    server.with(|broker| broker.cut_all(Ending::Rst));
    ready_again(&client, &mut told).await;
    let tally = |event: &Event| matches!(event, Event::Resubscribed { granted: 1, refused: 0 });
    assert!(told.count(tally) >= 2, "{told:?}");
    send(&server, "2");
    expect(&mut stream, "2").await;
    assert_eq!(client.stats().engine.sessions_lost, 1);
    no_violations(&server);
    Ok(())
}

/// The broker loses its sessions, and the CONNACK that would say so is lost, too.
async fn present_but_empty(version: Version) -> ScriptResult {
    let (server, ids) = server().await;
    let (client, mut told) = start(client(server.addr(), version).session(kept()));
    let mut stream = client.subscribe("gauntlet/#", Qos::ExactlyOnce).declare().unwrap();
    ready_again(&client, &mut told).await;
    // Its PUBREL never comes, so the client goes on holding the identifier.
    server.with(|broker| broker.manners_mut().lose(PacketKind::PubRel, Times::ONCE));
    send(&server, "old");
    expect(&mut stream, "old").await;
    // Asking for the next one says that this one was taken, and PUBREC leaves.
    limited("PUBREC", async {
        tokio::select! {
            _ = stream.next() => panic!("nothing was sent"),
            () = until_received(&server, PacketKind::PubRec, 1) => {}
        }
    })
    .await;

    server.with(|broker| {
        broker.manners_mut().lose(PacketKind::ConnAck, Times::ONCE);
        broker.forget_sessions();
    });
    let failed = told.wait("CONNACK is lost", |event| matches!(event, Event::AttemptFailed { .. })).await;
    assert!(
        matches!(&failed, Event::AttemptFailed { cause, .. } if cause.name() == "connack-timeout"),
        "{failed:?}"
    );
    let session = ready_again(&client, &mut told).await;
    assert_eq!(session, SessionState::Kept, "the row needs a broker that says Session Present");
    assert!(has_filter(&server, "gauntlet/#"));
    send(&server, "new");
    expect(&mut stream, "new").await;
    let ids = ids.lock().unwrap().clone();
    assert_eq!(ids["old"], ids["new"], "the row needs the same identifier twice");
    send(&server, "newer");
    expect(&mut stream, "newer").await;
    no_violations(&server);
    Ok(())
}

async fn until_received(server: &BrokerServer, kind: PacketKind, times: u64) {
    while server.with(|broker| broker.counters().received(kind)) < times {
        // waits: polls what only the broker can tell, or lets the script take its time
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The broker is killed between saves and comes back with the session as it was before the newest SUBSCRIBE.
async fn present_but_older(version: Version) -> ScriptResult {
    let (server, _) = server().await;
    let (client, mut told) = start(client(server.addr(), version).session(kept()));
    let mut first = client.subscribe("gauntlet/first", Qos::ExactlyOnce).declare().unwrap();
    ready_again(&client, &mut told).await;
    let saved = server.with(|broker| broker.snapshot());
    let mut newest =
        limited("granted", client.subscribe("gauntlet/in", Qos::ExactlyOnce).into_future()).await.unwrap();
    for payload in ["1", "2"] {
        send(&server, payload);
        expect(&mut newest, payload).await;
    }

    server.kill(Ending::Rst).await;
    server.with(|broker| broker.restore(saved));
    assert!(has_filter(&server, "gauntlet/first") && !has_filter(&server, "gauntlet/in"));
    server.start_again(true).await.unwrap();
    let session = ready_again(&client, &mut told).await;
    assert_eq!(session, SessionState::Kept, "the row needs a broker that says Session Present");
    assert!(has_filter(&server, "gauntlet/first") && has_filter(&server, "gauntlet/in"));
    for payload in ["3", "4"] {
        send(&server, payload);
        expect(&mut newest, payload).await;
    }
    server.with(|broker| broker.publish("gauntlet/first", "5", Qos::ExactlyOnce, false));
    expect(&mut first, "5").await;
    no_violations(&server);
    Ok(())
}
