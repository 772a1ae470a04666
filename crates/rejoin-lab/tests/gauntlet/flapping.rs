//! Refusals nobody knows, links that do not last, and ports where nobody listens: rows 17, 19 and 20.

use std::time::{Duration, Instant};

use rejoin::{Event, Link, LossCause, Outlook, ReasonCode, Version, Window};
use rejoin_lab::{Proxy, ScriptResult, ScriptedBroker};

use crate::handshake::assert_windows_grow;
use crate::kit::*;

both_versions! {
    row_17_a_connack_with_an_unknown_code_is_a_typed_refusal: unknown_code;
    row_19_backoff_is_kept_until_a_link_has_lived_long_enough: short_lives;
    row_20_a_refusing_port_is_asked_in_growing_windows: refused_for_long;
    row_20_a_nudge_and_a_close_end_the_wait: nudged;
}

/// CONNACK with a code of no version. At 5.0 below 0x80 it is no refusal either, but a breach of the protocol.
fn odd_connacks(version: Version) -> Vec<(u8, Vec<u8>)> {
    let codes: &[u8] = if version == V5 { &[0x01, 0x7F, 0xA5, 0xFF] } else { &[6, 0x42, 0xFF] };
    let packet = |code| if version == V5 { vec![0x20, 3, 0, code, 0] } else { vec![0x20, 2, 0, code] };
    codes.iter().map(|code| (*code, packet(*code))).collect()
}

async fn unknown_code(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    for (code, connack) in odd_connacks(version) {
        let (mut peer, _) = broker.accept_connect().await?;
        peer.send_raw(&connack).await?;
        // The client is the one that ends it: nothing good can come on such a connection.
        peer.expect_end().await?;
        let failed = told.wait("failed", |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, next_in, .. } = failed else { unreachable!() };
        if version == V5 && code < 0x80 {
            assert!(matches!(cause, LossCause::Protocol(_)), "{code:#04x}: {cause:?}");
        } else {
            assert!(matches!(cause, LossCause::Refused { .. }), "{code:#04x}: {cause:?}");
            assert_eq!(cause.reason_code(), Some(ReasonCode(code)));
        }
        assert!(next_in.is_some(), "it goes on: {cause:?}");
        assert!(client.is_connected() && !client.is_connection_open() && !client.ready());
        limited("nudge", client.nudge()).await;
    }
    assert_eq!(told.count(|event| matches!(event, Event::Opened { .. })), 0, "{told:?}");
    broker.accept_session(false).await?;
    told.opened().await;
    Ok(())
}

const OVERLOADED: Window =
    Window { first: Duration::from_millis(60), growth_percent: 150, cap: Duration::from_millis(250) };
const STABLE: Duration = Duration::from_millis(300);

async fn short_lives(version: Version) -> ScriptResult {
    print(&format!(
        "row 19: overloaded {:?} to {:?}, stable after {STABLE:?}",
        OVERLOADED.first, OVERLOADED.cap
    ));
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (_client, mut told) = start(client(broker.addr(), version).session(kept()).config(|config| {
        config.recovery.overload = OVERLOADED;
        config.recovery.stable_after = STABLE;
    }));
    let mut waits = Vec::new();
    // The last one outlives `stable_after`, but not twice the window that came before it.
    let lives = [0, 20, 70, 0, 20, 70, 340].map(Duration::from_millis);
    for (n, life) in lives.into_iter().enumerate() {
        let (peer, _) = broker.accept_session(n > 0).await?;
        told.opened().await;
        // waits: polls what only the broker can tell, or lets the script take its time
        tokio::time::sleep(life).await;
        peer.close().await;
        let Event::Closed { lasted, next_in, .. } = told.closed().await else { unreachable!() };
        assert!(lasted < OVERLOADED.cap * 2, "the row needs shorter lives, this one was {lasted:?}");
        waits.push(next_in.expect("it never gives up"));
    }
    assert_windows_grow(&waits, OVERLOADED);
    // One that lives long enough starts anew: an attempt at once, and the first window after the next failure.
    let (mut peer, _) = broker.accept_session(true).await?;
    told.opened().await;
    peer.expect_nothing(OVERLOADED.cap * 2 + SLACK / 4).await?;
    peer.close().await;
    let Event::Closed { next_in, .. } = told.closed().await else { unreachable!() };
    assert_eq!(next_in, Some(Duration::ZERO), "a link that had been stable is opened again at once");
    let (peer, _) = broker.accept_session(true).await?;
    told.opened().await;
    peer.close().await;
    let Event::Closed { next_in: Some(wait), .. } = told.closed().await else { unreachable!() };
    assert!(wait <= OVERLOADED.first, "{wait:?} is not of the first window");
    Ok(())
}

async fn refused_for_long(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    proxy.refuse().await;
    let (client, mut told) = start(client(proxy.addr(), version).session(kept()));
    let window = rejoin_core::RecoveryConfig::default().divided_by(RECOVERY_DIVIDED_BY).absent;
    let begin = Instant::now();
    let mut widest = window.first;
    let mut waits = Vec::new();
    let mut shares = Vec::new();
    while waits.len() < 16 {
        let failed = told.wait("refused", |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, next_in: Some(wait), .. } = failed else { panic!("{failed:?}") };
        assert_eq!(cause.name(), "connection-refused");
        // Full jitter, and never wider than the outage so far.
        assert!(
            wait <= widest.min(begin.elapsed().max(window.first)),
            "{wait:?} is not of {widest:?}: {waits:?}"
        );
        shares.push(wait.as_secs_f64() / widest.as_secs_f64());
        waits.push(wait);
        widest = (widest * window.growth_percent / 100).min(window.cap);
        assert!(client.is_connected() && !client.is_connection_open());
        assert!(matches!(client.outlook(), Outlook::Later { .. }));
    }
    let late = &waits[6..];
    assert!(late.iter().any(|wait| *wait > window.first * 2), "the windows do not grow: {waits:?}");
    assert!(shares.iter().any(|share| (share - shares[0]).abs() > 0.05), "no jitter: {waits:?}");
    proxy.heal();
    broker.accept_session(false).await?;
    told.opened().await;
    Ok(())
}

const HOURS: Window =
    Window { first: Duration::from_secs(36_000), growth_percent: 100, cap: Duration::from_secs(36_000) };

async fn nudged(version: Version) -> ScriptResult {
    print(&format!("row 20, nudge: absent {:?}, so that only the nudge ends the wait", HOURS.first));
    let mut broker = ScriptedBroker::start().await.unwrap();
    let proxy = Proxy::in_front_of(broker.addr()).await.unwrap();
    proxy.refuse().await;
    let builder = client(proxy.addr(), version).session(kept());
    let (client, mut told) = start(builder.config(|config| {
        config.recovery.absent = HOURS;
        config.recovery.absent_cap_long = HOURS.cap;
    }));
    for _ in 0..3 {
        let failed = told.wait("refused", |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { next_in: Some(wait), .. } = failed else { panic!("{failed:?}") };
        // The chance of one that is shorter is one in thousands.
        assert!(wait > LIMIT, "the row needs a long wait, this one is {wait:?}");
        state(&client, "waiting", |state| matches!(state.link, Link::Waiting { .. })).await;
        let begin = Instant::now();
        assert!(limited("nudge", client.nudge()).await.is_none(), "no budget holds it");
        told.wait("an attempt", |event| matches!(event, Event::Attempt { .. })).await;
        assert!(begin.elapsed() < SLACK, "after a nudge it took {:?}", begin.elapsed());
    }
    told.wait("refused", |event| matches!(event, Event::AttemptFailed { .. })).await;
    proxy.heal();
    let begin = Instant::now();
    limited("nudge", client.nudge()).await;
    broker.accept_session(false).await?;
    told.opened().await;
    assert!(begin.elapsed() < SLACK, "after a nudge it took {:?}", begin.elapsed());
    proxy.refuse().await;
    proxy.reset();
    told.wait("refused", |event| matches!(event, Event::AttemptFailed { .. } | Event::Closed { .. })).await;
    close_within(&client, Duration::from_millis(300)).await;
    Ok(())
}
