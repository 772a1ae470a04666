//! Sessions that are lost, resumed, or not what they seem: rows 2, 3, 9, 11, 18, 22, 30 and 31.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::{ConnAckProperties, Packet};

use super::{CLEAN, Finding, How, KEPT, PATIENCE, RowResult, Stage, number, serve};
use crate::{Peer, ScriptResult};

const QUIET: Duration = Duration::from_secs(3);
const FILTERS: [&str; 3] = ["a/#", "b/+", "c"];

pub(super) async fn lost_session(stage: &mut Stage) -> RowResult {
    forty(stage, KEPT).await
}

pub(super) async fn clean_start(stage: &mut Stage) -> RowResult {
    forty(stage, CLEAN).await
}

/// 20 are acknowledged, at least 10 more were sent, then the link is reset and the broker has forgotten everything.
async fn forty(stage: &mut Stage, how: How) -> RowResult {
    stage.connect(how);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", QUIET).await;
    stage.publish(0..40, 1);
    let first = serve(&mut peer, QUIET, |came| came.len() == 20).await;
    // The broker has these only if they come again: no acknowledgement was given for them.
    for _ in 20..30 {
        peer.expect_publish().await?;
    }
    let mut reached: BTreeSet<u64> = first.iter().map(number).collect();
    peer.reset();
    for _ in 0..2 {
        let Ok(mut peer) = stage.accept_session(false, PATIENCE).await else { break };
        let limit = Duration::from_secs(8);
        let came = serve(&mut peer, limit, |came| reached.len() + came.len() >= 40).await;
        reached.extend(came.iter().map(number));
        if reached.len() >= 40 {
            break;
        }
    }
    let failed = stage.subject.said().failed();
    let lost = 40 - reached.len();
    let silent = lost.saturating_sub(failed);
    let figure = if lost == 0 { "40 of 40".to_owned() } else { format!("{lost} lost, {silent} silently") };
    Ok(Finding::new(lost == 0, figure))
}

pub(super) async fn smaller_window(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", QUIET).await;
    stage.publish(0..10, 1);
    for _ in 0..10 {
        peer.expect_publish().await?;
    }
    peer.reset();
    let mut peer = stage.accept(PATIENCE).await?;
    let window = ConnAckProperties { receive_maximum: NonZeroU16::new(2), ..ConnAckProperties::default() };
    peer.connack_with(true, window).await?;
    let (mut at_once, mut dups) = (0, 0);
    while let Ok(Ok(packet)) = tokio::time::timeout(Duration::from_secs(2), peer.recv()).await {
        if let Packet::Publish(publish) = packet {
            at_once += 1;
            dups += usize::from(publish.dup);
        }
    }
    let figure = format!("{at_once} at once, {dups} with DUP");
    Ok(Finding::new((1..=2).contains(&at_once) && dups == at_once, figure))
}

pub(super) async fn cut_after_pubrel(stage: &mut Stage) -> RowResult {
    stage.connect(KEPT);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.publish(0..1, 2);
    let publish = peer.expect_publish().await?;
    let Some(id) = publish.packet_id else { return Ok(Finding::new(false, "QoS 2 without an id")) };
    peer.pubrec(id, ReasonCode::SUCCESS).await?;
    peer.expect_pubrel().await?;
    peer.reset();
    let mut peer = stage.accept_session(true, PATIENCE).await?;
    loop {
        let figure = match peer.recv().await {
            Ok(Packet::PubRel(ack)) if ack.packet_id == id => return Ok(Finding::new(true, "PUBREL")),
            Ok(Packet::Publish(_)) => "the PUBLISH again",
            Ok(Packet::Subscribe(_) | Packet::PingReq) => continue,
            Ok(_) => "something else",
            Err(_) => "nothing",
        };
        return Ok(Finding::new(false, figure));
    }
}

pub(super) async fn subscribes_again_clean(stage: &mut Stage) -> RowResult {
    let peer = subscribed(stage, CLEAN).await?;
    peer.reset();
    let peer = stage.accept_session(false, PATIENCE).await?;
    asked_again(peer).await
}

pub(super) async fn subscribes_again_kept(stage: &mut Stage) -> RowResult {
    let peer = subscribed(stage, KEPT).await?;
    peer.reset();
    let peer = stage.accept_session(false, PATIENCE).await?;
    asked_again(peer).await
}

pub(super) async fn connack_lost(stage: &mut Stage) -> RowResult {
    let peer = subscribed(stage, KEPT).await?;
    peer.reset();
    // The broker has lost everything and says so, but nobody hears it.
    let peer = stage.accept(PATIENCE).await?;
    peer.reset();
    let peer = stage.accept_session(true, PATIENCE).await?;
    asked_again(peer).await
}

pub(super) async fn older_session(stage: &mut Stage) -> RowResult {
    let peer = subscribed(stage, KEPT).await?;
    peer.reset();
    let peer = stage.accept_session(true, PATIENCE).await?;
    asked_again(peer).await
}

async fn subscribed(stage: &mut Stage, how: How) -> ScriptResult<Peer> {
    stage.connect(how);
    let mut peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", QUIET).await;
    for filter in FILTERS {
        stage.subject.tell(&format!("subscribe 1 {filter}"));
    }
    let mut granted = 0;
    while granted < FILTERS.len() {
        let subscribe = peer.expect_subscribe().await?;
        granted += subscribe.filters.len();
        peer.grant(&subscribe).await?;
    }
    for _ in FILTERS {
        stage.subject.hear("subscribed", QUIET).await;
    }
    Ok(peer)
}

async fn asked_again(mut peer: Peer) -> RowResult {
    let mut filters = BTreeSet::new();
    peer.set_limit(Duration::from_secs(5));
    while let Ok(packet) = peer.recv().await {
        if let Packet::Subscribe(subscribe) = packet {
            filters.extend(subscribe.filters.iter().map(|(filter, _)| filter.as_str().to_owned()));
            peer.grant(&subscribe).await?;
            if filters.len() == FILTERS.len() {
                break;
            }
        }
    }
    let all = filters.len() == FILTERS.len();
    Ok(Finding::new(all, format!("{} of {} filters", filters.len(), FILTERS.len())))
}
