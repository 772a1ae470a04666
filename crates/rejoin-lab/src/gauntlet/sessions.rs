//! Sessions that are lost, resumed, or not what they seem: rows 2, 3, 9, 11, 18, 22, 30 and 31.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

use rejoin_core::ReasonCode;
use rejoin_core::codec::packet::{ConnAckProperties, Packet};
use tokio::time::Instant;

use super::{CLEAN, Finding, How, KEPT, PATIENCE, RowResult, Said, Stage, number, serve};
use crate::{Peer, ScriptResult};

const QUIET: Duration = Duration::from_secs(3);
/// What a client sends again after a cut it sends at once, and behind its PUBREL it would be seen by then.
const WATCHED: Duration = Duration::from_secs(2);
/// What a client still has to say by then it would have said.
const SETTLED: Duration = Duration::from_millis(500);
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
    let mut early = 0;
    for link in 0..2 {
        let Ok(mut peer) = stage.accept_session(false, PATIENCE).await else { break };
        if link == 0 {
            // Nothing was acknowledged since.
            early = stage.subject.said().acked_numbers().filter(|number| !reached.contains(number)).count();
        }
        let limit = Duration::from_secs(8);
        serve(&mut peer, limit, |came| {
            reached.extend(came.iter().map(number));
            reached.len() >= 40
        })
        .await;
        if reached.len() >= 40 {
            stage.subject.until(QUIET, |said| said.answers.len() >= 40).await;
            // A second answer would come as soon as the first.
            serve(&mut peer, SETTLED, |_| false).await;
            break;
        }
    }
    Ok(forty_answered(&reached, early, stage.subject.said()))
}

/// Each of the 40 has to reach the broker, and to be said to have: once, and not before it did. `early` were said to have
/// while the broker had acknowledged nothing of the kind.
fn forty_answered(reached: &BTreeSet<u64>, early: usize, said: &Said) -> Finding {
    let (lost, failed, acked) = (40 - reached.len(), said.failed(), said.acked());
    if lost > 0 {
        let silent = lost.saturating_sub(failed);
        return Finding::new(false, format!("{lost} lost, {silent} silently"));
    }
    let mut figure = format!("40 of 40, {acked} acknowledged");
    if early > 0 {
        figure += &format!(", {early} of them falsely");
    }
    if failed > 0 {
        figure += &format!(", {failed} said to have failed");
    }
    Finding::new(acked == 40 && early == 0, figure)
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
    let mut released = None;
    loop {
        let end = released.map_or_else(|| Instant::now() + PATIENCE, |at| at + WATCHED);
        let came = tokio::time::timeout_at(end, peer.recv()).await;
        let figure = match came {
            Err(_) if released.is_some() => return Ok(Finding::new(true, "PUBREL")),
            Ok(Ok(Packet::PubRel(ack))) if ack.packet_id == id => {
                peer.pubcomp(id, ReasonCode::SUCCESS).await?;
                released.get_or_insert_with(Instant::now);
                continue;
            }
            Ok(Ok(Packet::Publish(_))) if released.is_some() => "PUBREL, then the PUBLISH again",
            Ok(Ok(Packet::Publish(_))) => "the PUBLISH again",
            Ok(Ok(Packet::Subscribe(_) | Packet::PingReq)) => continue,
            Ok(Ok(_)) => "something else",
            Ok(Err(_)) if released.is_some() => "PUBREL, then it ends the link",
            Ok(Err(_)) | Err(_) => "nothing",
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use rejoin_core::Version;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::ScriptedBroker;
    use crate::gauntlet::{Subject, Terms};

    const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, b'c'];
    const CONNACK: usize = 4;
    const PUBLISH: [u8; 10] = [0x34, 8, 0, 1, b't', 0, 1, b'0', b' ', b'x'];
    const PUBLISH_AGAIN: [u8; 10] = [0x3C, 8, 0, 1, b't', 0, 1, b'0', b' ', b'x'];
    const PUBREL: [u8; 4] = [0x62, 2, 0, 1];

    /// Connects, writes what it says, and reads so many bytes after each.
    async fn link(addr: SocketAddr, says: &[(&[u8], usize)]) -> TcpStream {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(&CONNECT).await.unwrap();
        stream.read_exact(&mut [0; CONNACK]).await.unwrap();
        for (bytes, answer) in says {
            stream.write_all(bytes).await.unwrap();
            stream.read_exact(&mut vec![0; *answer]).await.unwrap();
        }
        stream
    }

    /// The client is this test; the program only has to be one.
    async fn row_18(after_the_cut: &'static [(&'static [u8], usize)]) -> Finding {
        let broker = ScriptedBroker::start().await.unwrap();
        let addr = broker.addr();
        let subject = Subject::start(Path::new("/bin/cat")).unwrap();
        let mut stage = Stage { broker, subject, terms: Terms { version: Version::V311, tls: None } };
        let client = async {
            let mut first = link(addr, &[(&PUBLISH, 4), (&PUBREL, 0)]).await;
            let _ = first.read_u8().await;
            link(addr, after_the_cut).await
        };
        let (finding, client) = tokio::join!(cut_after_pubrel(&mut stage), client);
        drop(client);
        finding.unwrap()
    }

    #[test]
    fn each_of_forty_has_to_be_answered_for_with_the_truth() {
        let judged = |messages: u64, early, word: &dyn Fn(u64) -> Option<&'static str>| {
            let mut said = Said::default();
            for number in 0..40 {
                if let Some(word) = word(number) {
                    said.note(Instant::now(), &format!("{word} {number}"));
                }
            }
            let found = forty_answered(&(0..messages).collect(), early, &said);
            (found.passed, found.figure)
        };
        let acked = |_| Some("acked");
        assert_eq!(judged(40, 0, &acked), (true, "40 of 40, 40 acknowledged".to_owned()));
        let falsely = "40 of 40, 40 acknowledged, 3 of them falsely".to_owned();
        assert_eq!(judged(40, 3, &acked), (false, falsely));
        let silent = judged(40, 0, &|number| (number < 30).then_some("acked"));
        assert_eq!(silent, (false, "40 of 40, 30 acknowledged".to_owned()));
        let untrue = judged(40, 0, &|number| Some(if number < 30 { "acked" } else { "failed" }));
        assert_eq!(untrue, (false, "40 of 40, 30 acknowledged, 10 said to have failed".to_owned()));
        assert_eq!(judged(25, 0, &|_| None), (false, "15 lost, 15 silently".to_owned()));
    }

    #[tokio::test]
    async fn a_publish_behind_the_pubrel_is_seen() {
        let finding = row_18(&[(&PUBREL, 0), (&PUBLISH_AGAIN, 0)]).await;
        assert_eq!(finding, Finding::new(false, "PUBREL, then the PUBLISH again"));
        let finding = row_18(&[(&PUBREL, 4), (&PUBLISH_AGAIN, 0)]).await;
        assert_eq!(finding, Finding::new(false, "PUBREL, then the PUBLISH again"));
        assert_eq!(row_18(&[(&PUBREL, 4)]).await, Finding::new(true, "PUBREL"));
    }
}
