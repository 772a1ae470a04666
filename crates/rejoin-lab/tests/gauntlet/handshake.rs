//! Brokers that do not let the client in, or not for long: rows 1, 7, 8 and 13.

use std::time::{Duration, Instant};

use rejoin::{
    Budget, Event, Link, LossCause, Outlook, PublishError, Qos, ReasonCode, Session, Stage, Version, Window,
};
use rejoin_lab::{Proxy, ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_01_without_a_connack_the_attempt_ends_at_its_limit_and_the_next_is_more_patient: no_connack;
    row_07_a_broker_that_accepts_and_closes_is_asked_ever_more_rarely: closes_after_connack;
    row_07_no_backoff_gets_around_the_budget_of_attempts: budget_holds;
    row_08_a_broker_that_closes_before_connack_is_asked_ever_more_rarely_but_for_ever: closes_before_connack;
    row_13_what_was_published_before_the_first_connection_is_delivered_or_answered_for: before_the_first_link;
}

async fn no_connack(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let mut held = Vec::new();
    for attempt in 1..=2u32 {
        let limit = CONNECT_TIMEOUT * attempt;
        let (mut peer, _) = broker.accept_connect().await?;
        let begin = Instant::now();
        let waiting = state(&client, "the state names the stage", |state| {
            matches!(state.link, Link::Connecting { stage: Stage::Connack, .. })
        });
        let waiting = waiting.await;
        assert!(waiting.is_connected() && !waiting.is_connection_open() && !waiting.ready());
        assert!(matches!(waiting.outlook(), Outlook::Later { .. }));
        peer.expect_end().await?;
        let took = begin.elapsed();
        assert!(took + EARLY > limit && took < limit + SLACK, "attempt {attempt}: {took:?} for {limit:?}");
        let failed = told.wait("failed", |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, attempt: number, next_in, .. } = failed else { unreachable!() };
        assert_eq!((number, &cause), (attempt, &LossCause::ConnackTimeout(limit)));
        assert!(next_in.is_some_and(|wait| wait > Duration::ZERO), "{next_in:?}");
        held.push(peer);
    }
    let (peer, _) = broker.accept_connect().await?;
    let begin = Instant::now();
    let report = limited("shutdown", client.shutdown().within(LIMIT).into_future()).await;
    assert!(begin.elapsed() < SLACK, "with nothing to wait for a shutdown took {:?}", begin.elapsed());
    assert_eq!((report.lost, report.delivered), (0, 0));
    assert!(!client.is_connected());
    assert_eq!(told.count(|event| matches!(event, Event::Opened { .. })), 0);
    drop(peer);
    broker.expect_no_connection(Duration::from_millis(100)).await
}

/// The wait after each failure in a row, and the window it must come from.
pub(crate) fn assert_windows_grow(waits: &[Duration], window: Window) {
    let mut widest = window.first;
    let mut shares = Vec::new();
    for wait in waits {
        assert!(*wait >= widest / 2 && *wait <= widest, "{wait:?} is not of {widest:?}: {waits:?}");
        shares.push(wait.as_secs_f64() / widest.as_secs_f64());
        widest = (widest * window.growth_percent / 100).min(window.cap);
    }
    assert!(shares.iter().any(|share| (share - shares[0]).abs() > 0.001), "no jitter: {waits:?}");
}

const OVERLOADED: Window =
    Window { first: Duration::from_millis(80), growth_percent: 150, cap: Duration::from_millis(400) };

async fn closes_after_connack(version: Version) -> ScriptResult {
    print(&format!("row 7: overloaded {:?} to {:?}", OVERLOADED.first, OVERLOADED.cap));
    let broker = ScriptedBroker::start().await.unwrap();
    let serving = broker.serve(|_, mut peer| async move {
        let connect = peer.expect_connect().await?;
        peer.connack(!connect.clean_start).await?;
        peer.close().await;
        Ok(())
    });
    let builder = client(serving.addr(), version).session(Session::fresh());
    let (client, mut told) = start(builder.config(|config| config.recovery.overload = OVERLOADED));
    let mut waits = Vec::new();
    while waits.len() < 8 {
        let Event::Closed { lasted, next_in, .. } = told.closed().await else { unreachable!() };
        assert!(lasted < STABLE_AFTER, "the row needs short lives, this one was {lasted:?}");
        waits.push(next_in.expect("it never gives up"));
        assert!(client.is_connected());
    }
    assert_windows_grow(&waits, OVERLOADED);
    assert_eq!(serving.accepts().len(), 8, "{:?}", serving.errors());
    Ok(())
}

async fn budget_holds(version: Version) -> ScriptResult {
    const BUDGET: Budget =
        Budget { spacing: Duration::from_millis(30), per_period: 12, period: Duration::from_millis(1500) };
    print(&format!("row 7: {BUDGET:?}, back-off 1 ms, so that only the budget holds"));
    let broker = ScriptedBroker::start().await.unwrap();
    let serving = broker.serve(|number, mut peer| async move {
        let connect = peer.expect_connect().await?;
        if number % 2 == 0 {
            peer.connack(!connect.clean_start).await?;
        }
        peer.close().await;
        Ok(())
    });
    let quick =
        Window { first: Duration::from_millis(1), growth_percent: 100, cap: Duration::from_millis(1) };
    let (client, mut told) =
        start(client(serving.addr(), version).session(Session::fresh()).config(move |config| {
            config.recovery.overload = quick;
            config.recovery.budget = Some(BUDGET);
        }));
    let held = state(&client, "held by the budget for long", |state| {
        matches!(state.link, Link::Waiting { held_by_budget: true, until, .. }
            if until > Instant::now() + BUDGET.spacing * 2)
    })
    .await;
    let Link::Waiting { until, .. } = held.link else { unreachable!() };
    let nudged = limited("nudge", client.nudge()).await.expect("a nudge is told that it is held");
    assert!(nudged + Duration::from_millis(5) > until, "a nudge gets around the budget");
    while serving.accepts().len() < 2 * BUDGET.per_period as usize + 2 {
        told.wait("another attempt", |event| matches!(event, Event::Attempt { .. })).await;
    }
    let accepts = serving.accepts();
    for pair in accepts.windows(BUDGET.per_period as usize + 1) {
        let took = *pair.last().unwrap() - pair[0];
        assert!(took + EARLY * 2 > BUDGET.period, "{} connections in {took:?}", pair.len());
    }
    assert!(told.count(|event| matches!(event, Event::Closed { held_by_budget: true, .. })) > 0);
    assert!(told.count(|event| matches!(event, Event::AttemptFailed { held_by_budget: true, .. })) > 0);
    Ok(())
}

async fn closes_before_connack(version: Version) -> ScriptResult {
    print(&format!("row 8: overloaded {:?} to {:?}", OVERLOADED.first, OVERLOADED.cap));
    let mut broker = ScriptedBroker::start().await.unwrap();
    let builder = client(broker.addr(), version).session(Session::fresh());
    let (client, mut told) = start(builder.config(|config| config.recovery.overload = OVERLOADED));
    let mut outcomes = Outcomes::default();
    outcomes.publish(&client, 0..3, Qos::AtLeastOnce);
    let mut waits = Vec::new();
    while waits.len() < 9 {
        let (peer, _) = broker.accept_connect().await?;
        peer.close().await;
        let failed = told.wait("failed", |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, next_in, .. } = failed else { unreachable!() };
        assert_eq!(cause, LossCause::ClosedBeforeConnack);
        waits.push(next_in.expect("it never gives up"));
        assert!(client.is_connected() && !client.is_connection_open());
    }
    assert_windows_grow(&waits, OVERLOADED);
    assert_eq!(outcomes.answered(), 0);
    let (mut peer, _) = broker.accept_session(false).await?;
    let seen: Vec<usize> = take_all(&mut peer, 3).await?.iter().map(number).collect();
    assert_eq!(seen, [0, 1, 2]);
    outcomes.receipts(&mut told).await;
    Ok(())
}

async fn before_the_first_link(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    proxy.refuse().await;
    let (client, mut told) = start(client(proxy.addr(), version).session(Session::fresh()));
    let plain = client.publish("gauntlet/t", "plain").enqueue().unwrap();
    let mut outcomes = Outcomes::default();
    outcomes.add(client.publish("gauntlet/t", "0").queue_qos0());
    outcomes.publish(&client, 1..4, Qos::AtLeastOnce);
    let answer = limited("QoS 0 is answered for without a link", plain.acked()).await;
    assert!(matches!(answer, Err(PublishError::Dropped)), "{answer:?}");
    for _ in 0..2 {
        let refused = |event: &Event| matches!(event, Event::AttemptFailed { cause, .. } if cause.name() == "connection-refused");
        told.wait("refused by the system", refused).await;
        assert!(client.is_connected() && !client.is_connection_open());
        assert!(matches!(client.outlook(), Outlook::Later { ahead: 4, .. }), "{:?}", client.outlook());
    }
    proxy.heal();
    let (mut peer, _) = broker.accept_connect().await?;
    peer.refuse(ReasonCode::SERVER_UNAVAILABLE).await?;
    peer.close().await;
    let refused = told.wait("refused by the broker", |event| {
        matches!(event, Event::AttemptFailed { cause: LossCause::Refused { .. }, .. })
    });
    let Event::AttemptFailed { cause, .. } = refused.await else { unreachable!() };
    assert_eq!(cause.reason_code(), Some(ReasonCode::SERVER_UNAVAILABLE));
    assert_eq!(outcomes.answered(), 0);
    let (mut peer, _) = broker.accept_session(false).await?;
    let queued = peer.expect_publish().await?;
    assert_eq!((queued.qos, number(&queued)), (Qos::AtMostOnce, 0));
    let taken = take_all(&mut peer, 3).await?;
    assert!(taken.iter().all(|publish| !publish.dup));
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [1, 2, 3]);
    let receipts = outcomes.receipts(&mut told).await;
    assert_eq!(
        receipts.iter().map(|receipt| receipt.is_acknowledged()).collect::<Vec<_>>(),
        [false, true, true, true]
    );
    peer.expect_nothing(Duration::from_millis(100)).await
}
