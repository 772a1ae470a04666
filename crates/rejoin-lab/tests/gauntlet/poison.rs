//! A message over which the broker closes: row 23.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rejoin::{Client, Event, LossCause, PublishError, Qos, ReasonCode, Version, Window};
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

/// The first links are cut whether something was sent or not. Then two live on alone for a while and are cut with one
/// message on them, but long after it: nothing speaks against the message.
const LIVES: [u64; 7] = [60, 60, 60, 60, 60, 300, 1000];

async fn cuts_anyway(version: Version) -> ScriptResult {
    let broker = ScriptedBroker::start().await.unwrap();
    let sole_cuts = Arc::new(Mutex::new(0));
    let count = Arc::clone(&sole_cuts);
    let serving = broker.serve(move |link, mut peer| {
        let count = Arc::clone(&count);
        async move {
            peer.expect_connect().await?;
            peer.connack(link > 1).await?;
            let Some(life) = LIVES.get(link - 1) else {
                take_all(&mut peer, 3).await?;
                return peer.expect_end().await.map(drop);
            };
            // What comes is read and not answered, pings excepted.
            let mut publishes = 0;
            let reading = async {
                while let Ok(packet) = peer.recv().await {
                    publishes += usize::from(matches!(packet, Packet::Publish(_)));
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(*life), reading).await;
            *count.lock().unwrap() += usize::from(publishes == 1);
            peer.reset();
            Ok(())
        }
    });
    let builder = quick(client(serving.addr(), version).session(kept()).ack_timeout(LIMIT));
    let (client, mut told) = start(builder);
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..3, Qos::AtLeastOnce);
    outcomes.receipts(&mut told).await;
    assert!(serving.accepts().len() > LIVES.len());
    assert!(*sole_cuts.lock().unwrap() >= 2, "the row needs two cuts with one message on the link: {told:?}");
    Ok(())
}

/// The broker answers pings until it gets the message, and nothing from soon after it: time-outs blame nobody.
async fn stands_still(version: Version) -> ScriptResult {
    print("row 23, time-outs: ping time-out 100 ms, ping after 50 ms");
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = quick(client(broker.addr(), version).session(kept()).ack_timeout(LIMIT));
    let pings = builder.ping_after(Duration::from_millis(50)).ping_timeout(Duration::from_millis(100));
    let (client, mut told) = start(pings);
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::AtLeastOnce);
    let mut held = Vec::new();
    for link in 0..6 {
        let (mut peer, _) = broker.accept_session(link > 0).await?;
        assert_eq!(number(&peer.expect_publish().await?), 0, "nothing keeps it from being sent again");
        // The first two die later than the others, so that these look as if the message killed them.
        if link < 2 {
            peer.expect_nothing(Duration::from_millis(200)).await?;
        }
        peer.set_answers_pings(false);
        while let Ok(packet) = peer.recv().await {
            assert_eq!(packet, Packet::PingReq);
        }
        let Event::Closed { cause, .. } = told.closed().await else { unreachable!() };
        assert!(matches!(cause, LossCause::PingTimeout(_)), "{cause:?}");
        held.push(peer);
    }
    assert_eq!(outcomes.answered(), 0);
    let (mut peer, _) = broker.accept_session(true).await?;
    let publish = peer.expect_publish().await?;
    peer.puback(publish.packet_id.unwrap(), ReasonCode::SUCCESS).await?;
    let receipts = outcomes.receipts(&mut told).await;
    assert_eq!(receipts[0].attempts, 7);
    Ok(())
}
