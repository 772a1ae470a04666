//! A message over which the broker closes: row 23.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin::{Client, Event, PublishError, Qos, ReasonCode, Version, Window};
use rejoin_core::codec::packet::Packet;
use rejoin_lab::{BrokerServer, Ending, LedgerEntry, Manners, ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_23_a_poison_message_is_set_aside_and_all_others_flow: poison;
    row_23_a_broker_that_cuts_whatever_is_sent_parks_nothing: cuts_anyway;
    row_23_a_network_that_cuts_now_and_then_parks_nothing: stands_still;
}

const SHORT: Window =
    Window { first: Duration::from_millis(20), growth_percent: 150, cap: Duration::from_millis(60) };

fn quick(builder: rejoin::Builder) -> rejoin::Builder {
    builder.config(|config| config.recovery.overload = SHORT)
}

fn publish(client: &Client, outcomes: &mut Outcomes, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let qos = if n % 3 == 0 { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        outcomes.add(client.publish("gauntlet/good", n.to_string()).qos(qos));
    }
}

async fn poison(version: Version) -> ScriptResult {
    print(&format!("row 23: overloaded {:?} to {:?}", SHORT.first, SHORT.cap));
    let manners = Manners {
        poison: Some("gauntlet/bad".try_into().unwrap()),
        ending: Ending::Rst,
        ..Manners::default()
    };
    let server = BrokerServer::start(manners).await.unwrap();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let book = Arc::clone(&accepted);
    server.with(|broker| {
        broker.add_ledger(Box::new(move |entry| {
            if let LedgerEntry::Accepted(message) = entry {
                book.lock().unwrap().push(std::str::from_utf8(&message.payload).unwrap().to_owned());
            }
        }));
    });
    let (client, mut told) = start(quick(client(server.addr(), version).session(kept())));
    let (mut before, mut behind) = (Outcomes::default(), Outcomes::default());
    publish(&client, &mut before, 0..10);
    let bad = client.publish("gauntlet/bad", "poison").qos(Qos::AtLeastOnce).enqueue().unwrap();
    publish(&client, &mut behind, 10..40);

    let answer = limited("the poison is answered for", bad.acked()).await;
    assert!(matches!(answer, Err(PublishError::Parked { cuts: 2 })), "{answer:?}");
    assert!(answer.unwrap_err().maybe_delivered());
    before.receipts(&mut told).await;
    behind.receipts(&mut told).await;
    assert_eq!(
        told.count(|event| matches!(event, Event::Failed { .. })),
        1,
        "good messages are never parked"
    );
    let cuts = told.count(|event| matches!(event, Event::Closed { .. }));
    assert!((3..=8).contains(&cuts), "{cuts} links were cut over it");
    let mut numbers: Vec<usize> =
        accepted.lock().unwrap().iter().map(|payload| payload.parse().expect("never the poison")).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());

    // And then it is over: what comes now flows on one link, around the identifier that stays taken.
    let links = server.accepts().len();
    let mut later = Outcomes::default();
    publish(&client, &mut later, 40..60);
    later.receipts(&mut told).await;
    assert_eq!(server.accepts().len(), links, "{told:?}");
    server.with(|broker| assert_eq!(broker.violations().collect::<Vec<_>>(), Vec::<&_>::new()));
    Ok(())
}

const LIFE: Duration = Duration::from_millis(60);
const CUTS: usize = 8;

/// Every link dies after the same time, with messages on it or without: no message is to blame.
async fn cuts_anyway(version: Version) -> ScriptResult {
    let broker = ScriptedBroker::start().await.unwrap();
    let serving = broker.serve(move |link, mut peer| async move {
        peer.expect_connect().await?;
        peer.connack(link > 1).await?;
        if link <= CUTS {
            // What comes is read and not answered, pings excepted.
            let _ = tokio::time::timeout(LIFE, async { while peer.recv().await.is_ok() {} }).await;
            peer.reset();
            return Ok(());
        }
        take_all(&mut peer, 3).await?;
        peer.expect_end().await.map(drop)
    });
    let (client, mut told) = start(quick(client(serving.addr(), version).session(kept())));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..3, Qos::AtLeastOnce);
    outcomes.receipts(&mut told).await;
    assert!(serving.accepts().len() > CUTS);
    Ok(())
}

/// The broker answers nothing on any link though it answers pings, then the path dies: time-outs blame nobody.
async fn stands_still(version: Version) -> ScriptResult {
    print("row 23, time-outs: ack progress 100 ms, ping time-out 100 ms, ping after 50 ms");
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = quick(client(broker.addr(), version).session(kept()));
    let (client, mut told) = start(
        builder
            .ack_timeout(Duration::from_millis(100))
            .ping_after(Duration::from_millis(50))
            .ping_timeout(Duration::from_millis(100)),
    );
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::AtLeastOnce);
    let mut held = Vec::new();
    for link in 0..5 {
        let (mut peer, _) = broker.accept_session(link > 0).await?;
        assert_eq!(number(&peer.expect_publish().await?), 0, "nothing keeps it from being sent again");
        // On every other link pings stay unanswered, too.
        peer.set_answers_pings(link % 2 == 0);
        while let Ok(packet) = peer.recv().await {
            assert_eq!(packet, Packet::PingReq);
        }
        held.push(peer);
    }
    assert_eq!(outcomes.answered(), 0);
    let (mut peer, _) = broker.accept_session(true).await?;
    let publish = peer.expect_publish().await?;
    peer.puback(publish.packet_id.unwrap(), ReasonCode::SUCCESS).await?;
    let receipts = outcomes.receipts(&mut told).await;
    assert_eq!(receipts[0].attempts, 6);
    Ok(())
}
