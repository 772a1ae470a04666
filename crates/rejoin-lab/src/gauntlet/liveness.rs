//! Peers that are there and do nothing, and handlers that do: rows 4, 5, 12, 21 and 29.

use std::time::Duration;

use rejoin_core::Qos;
use tokio::time::Instant;

use super::{
    CLEAN, CLOSE_WITHIN, FAST, Finding, KEEP_ALIVE_S, KEPT, PATIENCE, RowResult, Stage, closed_in_time,
    gather, seconds, serve, strain,
};

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
    Ok(Finding::new(ended.is_ok() && took < NOTICED_WITHIN, figure).strained(strain(took, NOTICED_WITHIN)))
}

/// 48 MB are more than any socket buffers, and each message fits the packet limits clients have by default.
const STALLED: u64 = 6000;
const STALLED_SIZE: usize = 8000;
/// A write that makes no progress for 5 s is noticed then; the rest is for buffers to fill and for a busy machine.
const STALL_NOTICED_WITHIN: Duration = Duration::from_secs(8);
/// From the first message to the next link, a pause of the client's included.
const BACK_WITHIN: Duration = Duration::from_secs(20);
/// What a client that does not come back is given, and then one to deliver the 48 MB.
const STALL_LIMIT: Duration = Duration::from_secs(40);
/// By then the buffers are full once more.
const FULL_AFTER: Duration = Duration::from_secs(1);

pub(super) async fn stops_reading(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let peer = stage.accept_session(false, PATIENCE).await?;
    let silent = peer.stop_reading();
    let begin = Instant::now();
    stage.subject.tell(&format!("burst 0 {STALLED} 1 {STALLED_SIZE} 0"));
    let Ok(peer) = stage.accept_session(true, STALL_LIMIT).await else {
        return Ok(Finding::new(false, format!("not reconnected after {}", seconds(STALL_LIMIT))));
    };
    let back = begin.elapsed();
    drop(silent);
    let said = stage.subject.said();
    // A client that does not say when it lost a link had by the time of the next one.
    let noticed = said.downs.iter().find(|at| **at >= begin).map_or(back, |at| (*at - begin).min(back));
    let due = STALLED as usize - said.refused().count();
    let (came, peer) = gather(stage, peer, due, STALL_LIMIT).await;
    let refused = stage.subject.said().refused().filter(|number| !came.contains(number)).count();
    let lost = STALLED as usize - came.len() - refused;
    let silent = peer.stop_reading();
    stage.subject.tell(&format!("burst {STALLED} {STALLED} 1 {STALLED_SIZE} 0"));
    tokio::time::sleep(FULL_AFTER).await;
    let closed = stage.subject.close(CLOSE_WITHIN).await;
    drop(silent);
    Ok(stalled(noticed, back, lost, closed))
}

/// A client whose peer stopped to read: when it noticed, when it was back, what never came, and how long its end took
/// while it was stuck once more.
fn stalled(noticed: Duration, back: Duration, lost: usize, closed: Option<Duration>) -> Finding {
    let in_time = noticed <= STALL_NOTICED_WITHIN && back < BACK_WITHIN;
    let mut figure = format!("noticed after {}, back after {}, {lost} lost", seconds(noticed), seconds(back));
    let closed = closed_in_time(closed);
    if let Err(why) = &closed {
        figure += &format!(", {why}");
    }
    let used = strain(noticed, STALL_NOTICED_WITHIN).max(strain(back, BACK_WITHIN));
    Finding::new(in_time && lost == 0 && closed.is_ok(), figure).strained(used)
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
/// What a program may take to say that it is up.
const UP_WITHIN: Duration = Duration::from_secs(2);
/// From the drop until CONNACK is written.
const AT_ONCE: Duration = Duration::from_millis(2);

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
    let up = stage.subject.until(UP_WITHIN, |said| said.ups > FINS).await;
    Ok(at_once(times, up))
}

/// The median of these times, for a client that says it was up after each.
fn at_once(mut times: Vec<Duration>, up: bool) -> Finding {
    times.sort_unstable();
    let median = times[times.len() / 2];
    let milliseconds = median.as_secs_f64() * 1000.0;
    let doubt = if up { "" } else { ", and does not say that it is up" };
    Finding::new(up && median <= AT_ONCE, format!("{milliseconds:.1} ms{doubt}"))
        .strained(strain(median, AT_ONCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stall_is_noticed_in_time_and_loses_nothing() {
        let half = Some(SECOND / 2);
        let judged = |noticed, back, lost, closed| {
            let found = stalled(noticed, back, lost, closed);
            (found.passed, found.figure)
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(
            judged(6 * SECOND, 13 * SECOND, 0, half),
            (true, text("noticed after 6.0 s, back after 13.0 s, 0 lost"))
        );
        assert_eq!(
            judged(6 * SECOND, 13 * SECOND, 2, half),
            (false, text("noticed after 6.0 s, back after 13.0 s, 2 lost"))
        );
        assert!(!judged(10 * SECOND, 10 * SECOND, 0, half).0, "noticed by its ping alone");
        assert!(!judged(6 * SECOND, 20 * SECOND, 0, half).0);
        assert_eq!(
            judged(6 * SECOND, 13 * SECOND, 0, Some(5 * SECOND)),
            (false, text("noticed after 6.0 s, back after 13.0 s, 0 lost, close returns after 5.0 s"))
        );
        assert!(!judged(6 * SECOND, 13 * SECOND, 0, None).0);
    }

    #[test]
    fn the_median_of_five_has_to_be_within_two_milliseconds() {
        let judged = |micros: [u64; 5], up| {
            let found = at_once(micros.map(Duration::from_micros).to_vec(), up);
            (found.passed, found.figure)
        };
        assert_eq!(judged([90_000, 500, 2_000, 2_000, 700], true), (true, "2.0 ms".to_owned()));
        assert_eq!(judged([600, 500, 2_100, 2_100, 2_100], true), (false, "2.1 ms".to_owned()));
        let silent = judged([500; 5], false);
        assert_eq!(silent, (false, "0.5 ms, and does not say that it is up".to_owned()));
    }
}
