//! Opening, storming and ending: rows 1, 7, 8, 16, 17, 19 and 25.

use std::time::Duration;

use rejoin_core::codec::packet::{Disconnect, Packet};
use rejoin_core::{ReasonCode, Version};
use tokio::time::Instant;

use super::{CLEAN, Finding, KEPT, PATIENCE, RowResult, Stage, seconds};
use crate::ScriptResult;

/// Within this time a client is asked how it is.
const MOMENT: Duration = Duration::from_secs(2);
/// Watched for so long, a client may connect this often, the first time included.
const WATCHED: Duration = Duration::from_secs(60);
const CONNECTIONS_MAX: usize = 12;

pub(super) async fn no_connack(stage: &mut Stage) -> RowResult {
    stage.connect(CLEAN);
    let mut peer = stage.accept(PATIENCE).await?;
    let begin = Instant::now();
    let state = stage.subject.connected().await;
    let ended = peer.expect_end().await;
    let took = begin.elapsed();
    let again = stage.accept(PATIENCE).await;
    let closed = stage.subject.close(500).await;
    let passed = state == Some(false)
        && ended.is_ok()
        && again.is_ok()
        && closed.is_some_and(|took| took < MOMENT + Duration::from_secs(1));
    let figure = match (state, &ended, closed) {
        (None, ..) => "no answer to `state`".to_owned(),
        (Some(true), ..) => "says connected".to_owned(),
        (_, Err(_), _) => "waits for ever".to_owned(),
        (_, _, None) => "close does not return".to_owned(),
        _ => seconds(took),
    };
    Ok(Finding::new(passed, figure))
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
    let passed = (1..=CONNECTIONS_MAX).contains(&connections);
    Finding::new(passed, format!("{connections} in {}", seconds(WATCHED)))
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
    Ok(Finding::new((2..=8).contains(&connections), format!("{connections} in {}", seconds(WATCHED))))
}

pub(super) async fn duel(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let time = Duration::from_secs(60);
    let connections = count(stage, time, async |mut peer| {
        let _ = peer.connack(false).await;
        let _ = peer.expect_nothing(Duration::from_millis(200)).await;
        let taken = Disconnect::new(ReasonCode::SESSION_TAKEN_OVER);
        let _ = peer.send(&Packet::Disconnect(taken)).await;
        peer.close().await;
    })
    .await?;
    Ok(Finding::new((1..=5).contains(&connections), format!("{connections} in {}", seconds(time))))
}

pub(super) async fn closes_while_waiting(stage: &mut Stage) -> RowResult {
    let port = super::closed_port()?;
    stage.connect_to(port.addr().port(), CLEAN);
    stage.publish(0..3, 1);
    // The pause of the client grows meanwhile.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let state = stage.subject.connected().await;
    let closed = stage.subject.close(500).await;
    let passed = state == Some(false) && closed.is_some_and(|took| took < MOMENT);
    let figure = match (state, closed) {
        (Some(true), _) => "says connected".to_owned(),
        (None, _) => "no answer to `state`".to_owned(),
        (_, None) => "close does not return".to_owned(),
        (_, Some(took)) => seconds(took),
    };
    Ok(Finding::new(passed, figure))
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
        assert_eq!(storm_of(stage(None).await).await, Finding::new(false, "24 in 60.0 s"));
    }

    #[tokio::test]
    async fn connections_that_end_in_the_handshake_are_a_storm_too() {
        let around = Around::new(|stream: TcpStream| async move {
            let _: u8 = tokio::io::AsyncReadExt::read_u8(&mut { stream }).await?;
            Err::<TcpStream, _>(std::io::Error::other("never"))
        });
        let secured = Secured { around, ca_file: "none.pem".into() };
        assert_eq!(storm_of(stage(Some(secured)).await).await, Finding::new(false, "24 in 60.0 s"));
    }
}
