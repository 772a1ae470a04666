//! Opening, storming and ending: rows 1, 7, 8, 16, 17, 19 and 25.

use std::time::Duration;

use rejoin_core::codec::packet::{Disconnect, Packet};
use rejoin_core::{ReasonCode, Version};
use tokio::time::Instant;

use super::{
    CLEAN, CLOSE_WITHIN, CLOSED_BY, Finding, KEPT, PATIENCE, RowResult, Said, Stage, closed_in_time, seconds,
    strain,
};
use crate::ScriptResult;

/// Within this time a client is asked how it is.
const MOMENT: Duration = Duration::from_secs(2);
/// Watched for so long, a client may connect this often, the first time included.
const WATCHED: Duration = Duration::from_secs(60);
const CONNECTIONS_MAX: usize = 12;
/// Fought over, it may connect this often.
const DUELS_MAX: usize = 5;
/// An attempt that lasts longer has no limit anybody would wait for.
const ATTEMPT_MAX: Duration = Duration::from_secs(100);
/// How often a client is asked for its state.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// What makes the next attempt a longer one; less is the noise of a machine.
const LONGER_BY: Duration = Duration::from_secs(1);

pub(super) async fn no_connack(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let mut attempts = Vec::new();
    for _ in 0..2 {
        match unanswered(stage).await? {
            Ok(took) => attempts.push(took),
            Err(figure) => return Ok(Finding::new(false, figure)),
        }
    }
    // And in the middle of a third.
    let _peer = stage.accept(PATIENCE).await?;
    let state = stage.subject.connected().await;
    let closed = stage.subject.close(CLOSE_WITHIN).await;
    Ok(attempted(attempts[0], attempts[1], state, closed))
}

/// One attempt that hears nothing: how long it lasted, or what is wrong with it. The client is asked all the time.
async fn unanswered(stage: &mut Stage) -> ScriptResult<Result<Duration, String>> {
    let mut peer = stage.accept(PATIENCE).await?;
    peer.set_limit(ATTEMPT_MAX);
    let begin = Instant::now();
    let mut ending = std::pin::pin!(peer.expect_end());
    loop {
        let ended = tokio::select! {
            ended = &mut ending => ended,
            state = stage.subject.connected() => match untrue(state) {
                Some(figure) => return Ok(Err(figure)),
                None => match tokio::time::timeout(ASKED_EVERY, &mut ending).await {
                    Ok(ended) => ended,
                    Err(_) => continue,
                },
            },
        };
        return Ok(ended.map(|_| begin.elapsed()).map_err(|_| "waits for ever".to_owned()));
    }
}

/// What to say of the state of a client that is not connected, unless it says so.
fn untrue(state: Option<bool>) -> Option<String> {
    match state {
        None => Some("no answer to `state`".to_owned()),
        Some(true) => Some("says connected".to_owned()),
        Some(false) => None,
    }
}

fn attempted(first: Duration, second: Duration, state: Option<bool>, closed: Option<Duration>) -> Finding {
    if let Some(figure) = untrue(state).or_else(|| closed_in_time(closed).err()) {
        return Finding::new(false, figure);
    }
    let longer = second >= first + LONGER_BY;
    Finding::new(longer, format!("{}, then {}", seconds(first), seconds(second)))
}

/// Takes connections for a time, each ended as the script says. All that came are counted, those the client ended before
/// its CONNECT, or within the handshake of TLS, as well: a storm of them is one.
async fn count<F>(stage: &mut Stage, time: Duration, mut script: F) -> ScriptResult<usize>
where
    F: AsyncFnMut(crate::Peer),
{
    let end = Instant::now() + time;
    let before = stage.broker.accepted();
    loop {
        let known = stage.broker.accepted();
        match tokio::time::timeout_at(end, stage.accept(time + Duration::from_secs(60))).await {
            Err(_) => return Ok(stage.broker.accepted() - before),
            Ok(Ok(peer)) => script(peer).await,
            // None came, though there is time: the listener failed.
            Ok(Err(error)) if stage.broker.accepted() == known => return Err(error),
            Ok(Err(_)) => {}
        }
    }
}

fn storm(connections: usize) -> Finding {
    connected(connections, 1..=CONNECTIONS_MAX)
}

fn connected(connections: usize, allowed: std::ops::RangeInclusive<usize>) -> Finding {
    let strain = connections * 1000 / allowed.end();
    Finding::new(allowed.contains(&connections), format!("{connections} in {}", seconds(WATCHED)))
        .strained(strain as u64)
}

pub(super) async fn closed_after_connack(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let connections = count(stage, WATCHED, async |mut peer| {
        let _ = peer.connack(false).await;
        peer.close().await;
    })
    .await?;
    Ok(storm(connections))
}

pub(super) async fn closed_before_connack(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let connections = count(stage, WATCHED, async |peer| drop(peer)).await?;
    let mut finding = storm(connections);
    let known = stage.broker.accepted();
    if finding.passed && stage.accept(PATIENCE).await.is_err() && stage.broker.accepted() == known {
        finding = Finding::new(false, "gave up");
    }
    Ok(finding)
}

pub(super) async fn short_lives(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let mut lives = [0, 2, 7].map(Duration::from_secs).into_iter().cycle();
    let connections = count(stage, WATCHED, async |mut peer| {
        let _ = peer.connack(false).await;
        let _ = peer.expect_nothing(lives.next().unwrap_or_default()).await;
    })
    .await?;
    // 3 s of life on average: without a pause there would be 20, with one of a second 15.
    Ok(connected(connections, 2..=8))
}

pub(super) async fn duel(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let connections = count(stage, WATCHED, async |mut peer| {
        let _ = peer.connack(false).await;
        let _ = peer.expect_nothing(Duration::from_millis(200)).await;
        // At 3.1.1 a broker has no word for it, and closes.
        if peer.version() == Version::V5 {
            let taken = Disconnect::new(ReasonCode::SESSION_TAKEN_OVER);
            let _ = peer.send(&Packet::Disconnect(taken)).await;
        }
        peer.close().await;
    })
    .await?;
    Ok(connected(connections, 1..=DUELS_MAX))
}

pub(super) async fn closes_while_waiting(stage: &mut Stage) -> RowResult {
    let port = super::closed_port()?;
    stage.connect_to(port.addr().port(), CLEAN);
    stage.publish(0..3, 1);
    // The pause of the client grows meanwhile.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let state = stage.subject.connected().await;
    let closed = stage.subject.close(CLOSE_WITHIN).await;
    if closed.is_some() {
        stage.subject.until(MOMENT, |said| said.answers.len() >= 3).await;
    }
    // Its symptom is a client that says connected, and takes one more, seconds after its end.
    let later = stage.subject.connected().await;
    stage.publish(3..4, 1);
    stage.subject.until(MOMENT, |said| said.answers.contains_key(&3)).await;
    Ok(stopped(state, closed, later, stage.subject.said()))
}

/// A client that was closed, with three messages no broker was there for, and asked to take a fourth.
fn stopped(before: Option<bool>, closed: Option<Duration>, after: Option<bool>, said: &Said) -> Finding {
    let wrong = untrue(before).or_else(|| closed_in_time(closed).err());
    if let Some(figure) = wrong.or_else(|| untrue(after).map(|figure| format!("closed, {figure}"))) {
        return Finding::new(false, figure);
    }
    let (told, acked) = ((0..3).filter(|number| said.gave_up(*number)).count(), said.acked());
    let took = closed.unwrap_or_default();
    let mut figure = format!("{}, the end of {told} of 3 told", seconds(took));
    if acked > 0 {
        figure += &format!(", {acked} falsely acknowledged");
    }
    if !said.gave_up(3) {
        figure += ", a fourth is taken after it";
    }
    Finding::new(told == 3 && acked == 0 && said.gave_up(3), figure).strained(strain(took, CLOSED_BY))
}

pub(super) async fn unknown_code(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let mut peer = stage.accept(PATIENCE).await?;
    let connack: &[u8] =
        if stage.terms.version == Version::V5 { &[0x20, 3, 0, 0x55, 0] } else { &[0x20, 2, 0, 0x55] };
    peer.send_raw(connack).await?;
    let up = stage.subject.hear("up", MOMENT).await.is_some();
    let state = stage.subject.connected().await;
    let figure = match state {
        None => "no answer to `state`",
        _ if up || state == Some(true) => "says connected",
        _ => "refused",
    };
    Ok(Finding::new(!up && state == Some(false), figure))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
mod tests {
    use std::path::Path;

    use tokio::net::TcpStream;

    use super::*;
    use crate::gauntlet::{Secured, Subject, Terms};
    use crate::{Around, ScriptedBroker};

    /// The client is this test; the program only has to be one.
    async fn stage(tls: Option<Secured>) -> Stage {
        let broker = ScriptedBroker::start().await.unwrap();
        let subject = Subject::start(Path::new("/bin/cat")).unwrap();
        let mut stage = Stage { broker, subject, terms: Terms { version: Version::V5, tls } };
        stage.secure();
        stage
    }

    async fn storm_of(mut stage: Stage) -> Finding {
        for _ in 0..2 * CONNECTIONS_MAX {
            drop(TcpStream::connect(stage.broker.addr()).await.unwrap());
        }
        storm(count(&mut stage, Duration::from_secs(2), async |peer| drop(peer)).await.unwrap())
    }

    #[tokio::test]
    async fn connections_that_end_before_connect_are_a_storm_too() {
        assert_eq!(storm_of(stage(None).await).await, Finding::new(false, "24 in 60.0 s").strained(2000));
    }

    #[tokio::test]
    async fn connections_that_end_in_the_handshake_are_a_storm_too() {
        let around = Around::new(|stream: TcpStream| async move {
            let _: u8 = tokio::io::AsyncReadExt::read_u8(&mut { stream }).await?;
            Err::<TcpStream, _>(std::io::Error::other("never"))
        });
        let secured = Secured { around, ca_file: "none.pem".into() };
        let stormed = Finding::new(false, "24 in 60.0 s").strained(2000);
        assert_eq!(storm_of(stage(Some(secured)).await).await, stormed);
    }

    #[test]
    fn a_sixth_duel_in_a_minute_is_one_too_many() {
        assert!(connected(5, 1..=DUELS_MAX).passed && !connected(6, 1..=DUELS_MAX).passed);
        assert!(!connected(0, 1..=DUELS_MAX).passed);
    }

    #[test]
    fn the_second_attempt_has_to_be_longer() {
        let (second, half) = (Duration::from_secs(1), Some(Duration::from_millis(500)));
        let judged = |next| attempted(30 * second, next, Some(false), half);
        assert_eq!(judged(60 * second), Finding::new(true, "30.0 s, then 60.0 s"));
        assert_eq!(judged(30 * second), Finding::new(false, "30.0 s, then 30.0 s"));
        assert_eq!(judged(5 * second), Finding::new(false, "30.0 s, then 5.0 s"));
        assert_eq!(attempted(second, 2 * second, Some(true), half), Finding::new(false, "says connected"));
        assert_eq!(attempted(second, 2 * second, None, half), Finding::new(false, "no answer to `state`"));
        let late = attempted(second, 2 * second, Some(false), Some(2 * second));
        assert_eq!(late, Finding::new(false, "close returns after 2.0 s"));
    }

    #[test]
    fn a_closed_client_answers_for_all_and_takes_no_more() {
        let half = Some(Duration::from_millis(500));
        let judged = |after, lines: &[&str]| {
            let mut said = Said::default();
            lines.iter().for_each(|line| said.note(Instant::now(), line));
            let found = stopped(Some(false), half, after, &said);
            (found.passed, found.figure)
        };
        let told = ["failed 0 x", "failed 1 x", "refused 2 x", "refused 3 x"];
        assert_eq!(judged(Some(false), &told), (true, "0.5 s, the end of 3 of 3 told".to_owned()));
        assert_eq!(judged(Some(true), &told), (false, "closed, says connected".to_owned()));
        let silent = judged(Some(false), &["failed 0 x", "refused 3 x"]);
        assert_eq!(silent, (false, "0.5 s, the end of 1 of 3 told".to_owned()));
        let lied = judged(Some(false), &["failed 0 x", "failed 1 x", "acked 2", "refused 3 x"]);
        assert_eq!(lied, (false, "0.5 s, the end of 2 of 3 told, 1 falsely acknowledged".to_owned()));
        let taken = judged(Some(false), &["failed 0 x", "failed 1 x", "failed 2 x", "taken 3"]);
        assert_eq!(taken, (false, "0.5 s, the end of 3 of 3 told, a fourth is taken after it".to_owned()));
    }
}
