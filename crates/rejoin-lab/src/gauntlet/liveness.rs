//! Peers that are there and do nothing, and handlers that do: rows 4, 5, 12, 21 and 29.

use std::time::Duration;

use rejoin_core::Qos;
use tokio::time::Instant;

use super::{CLEAN, FAST, Finding, KEEP_ALIVE_S, KEPT, PATIENCE, RowResult, Stage, seconds, serve};

/// Half as much again as the keep-alive, and a ping time-out.
const NOTICED_WITHIN: Duration = Duration::from_millis(KEEP_ALIVE_S * 1500 + 5000);

pub(super) async fn unanswered_ping(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let mut peer = stage.accept(PATIENCE).await?;
    peer.set_answers_pings(false);
    peer.connack(false).await?;
    let begin = Instant::now();
    let ended = peer.expect_end().await;
    let took = begin.elapsed();
    let figure = if ended.is_ok() { seconds(took) } else { "never noticed".to_owned() };
    Ok(Finding::new(ended.is_ok() && took < NOTICED_WITHIN, figure))
}

pub(super) async fn stops_reading(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let peer = stage.accept_session(false, PATIENCE).await?;
    let silent = peer.stop_reading();
    let begin = Instant::now();
    // 48 MB are more than any socket buffers, and each fits the packet limits clients have by default.
    stage.subject.tell("burst 0 6000 1 8000 0");
    let limit = Duration::from_secs(40);
    let again = stage.accept_session(true, limit).await;
    let took = begin.elapsed();
    drop(silent);
    match again {
        Ok(_) => Ok(Finding::new(took < Duration::from_secs(20), seconds(took))),
        Err(_) => Ok(Finding::new(false, format!("not reconnected after {}", seconds(limit)))),
    }
}

pub(super) async fn no_puback(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.publish(0..1, 1);
    peer.expect_publish().await?;
    let begin = Instant::now();
    let limit = Duration::from_secs(60);
    let waiting = async {
        // Pings are answered while this waits.
        let _ = peer.expect_nothing(limit).await;
    };
    let again = tokio::join!(waiting, async {
        let mut peer = stage.accept_session(true, limit).await?;
        peer.expect_publish().await
    })
    .1;
    let took = begin.elapsed();
    match again {
        Ok(publish) if publish.dup => Ok(Finding::new(true, seconds(took))),
        Ok(_) => Ok(Finding::new(false, "sent again without DUP")),
        Err(_) => Ok(Finding::new(false, format!("still waits after {}", seconds(limit)))),
    }
}

pub(super) async fn blocked_handler(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.tell("subscribe 0 a/#");
    let subscribe = peer.expect_subscribe().await?;
    peer.grant(&subscribe).await?;
    stage.subject.tell("block");
    tokio::time::sleep(Duration::from_millis(200)).await;
    peer.publish("a/b", "1 ", Qos::AtMostOnce, None).await?;
    let received = stage.subject.hear("message", Duration::from_secs(5)).await;
    if received.is_none() {
        return Ok(Finding::new(false, "the message was not received"));
    }
    let begin = Instant::now();
    peer.reset();
    let limit = Duration::from_secs(40);
    let again = stage.accept_session(false, limit).await;
    let figure = if again.is_ok() { seconds(begin.elapsed()) } else { "does not reconnect".to_owned() };
    Ok(Finding::new(again.is_ok(), figure))
}

/// Several times, because a pause is there each time and the noise of a machine is not.
const FINS: usize = 5;
/// A millisecond or two on an idle machine; a pause of the client's own is 100 ms or more.
const AT_ONCE: Duration = Duration::from_millis(50);

pub(super) async fn fin(stage: &mut Stage) -> RowResult {
    stage.connect(FAST);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    let mut times = Vec::new();
    for _ in 0..FINS {
        serve(&mut peer, Duration::from_secs(2), |_| false).await;
        let begin = Instant::now();
        // Dropped without unread bytes: a FIN.
        drop(peer);
        peer = stage.accept_session(true, PATIENCE).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let median = times[FINS / 2];
    Ok(Finding::new(median < AT_ONCE, format!("{:.1} ms", median.as_secs_f64() * 1000.0)))
}
