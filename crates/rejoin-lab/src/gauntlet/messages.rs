//! Messages that are refused, early, late or never answered: rows 6, 10, 13, 14, 15 and 24.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::{ConnAckProperties, Packet};
use tokio::time::Instant;

use super::{Finding, KEPT, PATIENCE, RowResult, Said, Stage, number, serve};
use crate::Peer;

const QUIET: Duration = Duration::from_secs(3);

pub(super) async fn refused_by_pubrec(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept(PATIENCE).await?;
    let window = ConnAckProperties { receive_maximum: NonZeroU16::new(5), ..ConnAckProperties::default() };
    peer.connack_with(false, window).await?;
    stage.publish(0..12, 2);
    peer.set_limit(QUIET);
    let mut sent = 0;
    while let Ok(packet) = peer.recv().await {
        match packet {
            Packet::Publish(publish) => {
                sent += 1;
                let Some(id) = publish.packet_id else { continue };
                peer.pubrec(id, ReasonCode::NOT_AUTHORIZED).await?;
            }
            Packet::PubRel(ack) => peer.pubcomp(ack.packet_id, ReasonCode::SUCCESS).await?,
            _ => {}
        }
    }
    stage.subject.until(QUIET, |said| said.failed() >= 12).await;
    let failed = stage.subject.said().failed();
    Ok(Finding::new(sent == 12 && failed == 12, format!("{sent} sent, {failed} failures told")))
}

pub(super) async fn too_large(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept(PATIENCE).await?;
    let small = ConnAckProperties { maximum_packet_size: Some(100), ..ConnAckProperties::default() };
    peer.connack_with(false, small).await?;
    stage.subject.hear("up", QUIET).await;
    stage.subject.tell("publish 0 1 1000");
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.publish(1..2, 1);
    let came = serve(&mut peer, QUIET, |came| !came.is_empty()).await;
    let told = stage.subject.until(QUIET, |said| said.failed() == 1).await;
    let numbers: Vec<u64> = came.iter().map(number).collect();
    let figure = match (numbers.as_slice(), told) {
        ([1], true) => "refused",
        ([0, ..], _) => "sent all the same",
        ([1], false) => "dropped, and nothing told",
        _ => "the next message does not come",
    };
    Ok(Finding::new(numbers == [1] && told, figure))
}

pub(super) async fn before_the_first_link(stage: &mut Stage) -> RowResult {
    let mut port = super::closed_port()?;
    stage.connect_to(port.addr().port(), KEPT);
    stage.publish(0..3, 1);
    stage.publish(3..6, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.listen(&mut port)?;
    let peer = stage.accept_session(false, PATIENCE).await?;
    answered_for(stage, peer).await
}

pub(super) async fn while_reconnecting(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", QUIET).await;
    peer.reset();
    stage.subject.hear("down", QUIET).await;
    stage.publish(0..3, 1);
    stage.publish(3..6, 0);
    let peer = stage.accept_session(true, PATIENCE).await?;
    answered_for(stage, peer).await
}

/// Three at QoS 1 have to come. Each of three at QoS 0 comes too, or is told to have failed.
async fn answered_for(stage: &mut Stage, mut peer: Peer) -> RowResult {
    let came = serve(&mut peer, QUIET, |came| came.len() == 6).await;
    let came: BTreeSet<u64> = came.iter().map(number).collect();
    let silent = |said: &Said| {
        let told = |number: &u64| said.answers.get(number).is_some_and(|answer| answer != "acked");
        (3..6).filter(|number| !came.contains(number) && !told(number)).count()
    };
    stage.subject.until(QUIET, |said| silent(said) == 0).await;
    let (delivered, silent) = (came.range(..3).count(), silent(stage.subject.said()));
    let figure = match silent {
        0 => format!("{delivered} of 3"),
        _ => format!("{delivered} of 3, {silent} of 3 at QoS 0 lost silently"),
    };
    Ok(Finding::new(delivered == 3 && silent == 0, figure))
}

pub(super) async fn never_acknowledged(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.publish(0..1, 1);
    peer.expect_publish().await?;
    peer.reset();
    let mut peer = stage.accept_session(true, PATIENCE).await?;
    let again = peer.expect_publish().await;
    let _ = peer.expect_nothing(QUIET).await;
    let acked = stage.subject.said().acked();
    let figure = match (&again, acked) {
        (_, 1..) => "says acknowledged",
        (Err(_), _) => "not sent again",
        (Ok(_), 0) => "waits",
    };
    Ok(Finding::new(again.is_ok() && acked == 0, figure))
}

pub(super) async fn says_goodbye(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", QUIET).await;
    stage.publish(0..1, 1);
    stage.subject.tell("close 0");
    let begin = Instant::now();
    peer.set_limit(QUIET);
    let mut goodbye = false;
    while let Ok(packet) = peer.recv().await {
        goodbye |= matches!(packet, Packet::Disconnect(_));
    }
    let closed = stage.subject.hear("closed", Duration::from_secs(10)).await.is_some();
    let took = begin.elapsed().as_millis();
    let figure = match (goodbye, closed) {
        (true, true) => format!("DISCONNECT, {took} ms"),
        (false, _) => "no DISCONNECT".to_owned(),
        (true, false) => "close does not return".to_owned(),
    };
    Ok(Finding::new(goodbye && closed, figure))
}
