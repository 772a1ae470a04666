//! How a client ends: rows 16 and 24.

use std::time::Duration;

use rejoin::{Event, Link, LossCause, NotAccepted, Outlook, PublishError, Qos, StopReason, Version, Window};
use rejoin_core::codec::packet::Packet;
use rejoin_lab::{Peer, Proxy, ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_16_a_close_during_a_long_wait_returns_in_time_and_ends_every_handle: closes_while_waiting;
    row_24_a_disconnect_is_written_though_the_deadline_is_zero: says_goodbye;
}

const HOURS: Window =
    Window { first: Duration::from_secs(7200), growth_percent: 100, cap: Duration::from_secs(7200) };

async fn closes_while_waiting(version: Version) -> ScriptResult {
    print(&format!("row 16: overloaded {:?}, so that only the close ends the wait", HOURS.first));
    let mut broker = ScriptedBroker::start().await.unwrap();
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    let builder = client(proxy.addr(), version).session(kept());
    let (client, mut told) = start(builder.config(|config| config.recovery.overload = HOURS));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..1, Qos::AtLeastOnce);
    let (mut peer, _) = broker.accept_session(false).await?;
    peer.expect_publish().await?;
    // Soon after CONNACK, so it counts as a failure and is not followed by an attempt at once.
    peer.reset();
    let Event::Closed { lasted, next_in: Some(wait), .. } = told.closed().await else { unreachable!() };
    assert!(lasted < STABLE_AFTER && wait > LIMIT, "the row needs a long wait: {wait:?} after {lasted:?}");
    outcomes.publish(&client, 1..2, Qos::AtLeastOnce);
    outcomes.publish(&client, 2..3, Qos::ExactlyOnce);
    outcomes.add(client.publish("gauntlet/t", "3").queue_qos0());
    assert_eq!(outcomes.answered(), 0);

    let report = close_within(&client, Duration::from_millis(300)).await;
    assert_eq!((report.lost, report.maybe_delivered, report.delivered, report.clean), (4, 1, 0, false));
    assert!(matches!(client.link(), Link::Stopped { reason: StopReason::Shutdown }));
    assert!(matches!(client.outlook(), Outlook::Never { .. }));
    let answers = outcomes.all(&mut told).await;
    let maybe: Vec<bool> = answers
        .iter()
        .map(|answer| match answer {
            Err(PublishError::Stopped { maybe_delivered }) => *maybe_delivered,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(maybe, [true, false, false, false]);
    let refused = client.publish("gauntlet/t", "late").qos(Qos::AtLeastOnce).enqueue().unwrap_err();
    assert_eq!(refused.reason(), &NotAccepted::Stopped);
    assert_eq!(told.count(|event| matches!(event, Event::Stopped { reason: StopReason::Shutdown })), 1);
    assert!(matches!(told.all().last(), Some(Event::Stopped { .. })), "{told:?}");
    broker.expect_no_connection(Duration::from_millis(200)).await
}

const RUNS: usize = 200;

/// Everything the client sent, to the end of the stream.
async fn read_to_the_end(mut peer: Peer) -> Vec<Packet> {
    let mut seen = Vec::new();
    while let Ok(packet) = peer.recv().await {
        seen.push(packet);
    }
    seen
}

async fn says_goodbye(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let mut goodbyes = 0;
    for run in 0..RUNS {
        let (client, mut told) = start(client(broker.addr(), version).session(kept()));
        let (peer, _) = broker.accept_session(false).await?;
        told.opened().await;
        let reading = tokio::spawn(read_to_the_end(peer));
        let mut outcomes = Outcomes::default();
        outcomes.publish(&client, 0..1, Qos::AtLeastOnce);
        let report = close_within(&client, Duration::ZERO).await;
        let seen = limited("the end", reading).await.unwrap();
        goodbyes += usize::from(matches!(seen.last(), Some(Packet::Disconnect(_))));
        let arrived = seen.iter().any(|packet| matches!(packet, Packet::Publish(_)));
        let answers = outcomes.all(&mut told).await;
        let Err(PublishError::Stopped { maybe_delivered }) = answers[0] else { panic!("{answers:?}") };
        assert!(maybe_delivered || !arrived, "run {run}: it arrived, and its answer denies that: {seen:?}");
        assert_eq!((report.lost, report.delivered), (1, 0), "run {run}: the report says what stayed");
        assert_eq!(report.maybe_delivered, u64::from(maybe_delivered), "run {run}");
        assert_eq!(
            told.count(|event| matches!(event, Event::Closed { cause: LossCause::Transport(_), .. })),
            0
        );
    }
    assert_eq!(goodbyes, RUNS, "DISCONNECT was the last packet in {goodbyes} of {RUNS} runs");
    Ok(())
}
