//! A message the broker cuts the link over: row 23.

use std::collections::BTreeSet;
use std::time::Duration;

use rejoin_core::codec::packet::Packet;
use tokio::time::Instant;

use super::{FAST, Finding, RowResult, Stage, answer, number, seconds};

const MESSAGES: u64 = 20;
const POISON: u64 = 3;
/// With pauses of 100 ms a client that finds out needs a few seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked what the client said meanwhile.
const GLANCE: Duration = Duration::from_millis(100);

pub(super) async fn one_of_twenty(stage: &mut Stage) -> RowResult {
    stage.connect(FAST);
    let (begin, mut links) = (Instant::now(), 0);
    let mut arrived = BTreeSet::new();
    while begin.elapsed() < LIMIT && !over(stage, &arrived) {
        let left = LIMIT.saturating_sub(begin.elapsed());
        let Ok(mut peer) = stage.accept_session(links > 0, left).await else { break };
        links += 1;
        if links == 1 {
            stage.publish(0..MESSAGES, 1);
        }
        while begin.elapsed() < LIMIT && !over(stage, &arrived) {
            let Ok(came) = tokio::time::timeout(GLANCE, peer.recv()).await else { continue };
            let Ok(packet) = came else { break };
            if let Packet::Publish(publish) = &packet {
                if number(publish) == POISON {
                    peer.reset();
                    break;
                }
                arrived.insert(number(publish));
            }
            if answer(&mut peer, &packet).await.is_err() {
                break;
            }
        }
    }
    let said = stage.subject.said();
    let told = said.answers.get(&POISON).is_some_and(|answer| answer == "failed");
    let wronged = said.failed() - usize::from(told);
    let others = MESSAGES - 1;
    let all = arrived.len() as u64 == others;
    let fate = if told { "told" } else { "not told" };
    let mut figure = format!("{} of {others} others, its failure {fate}", arrived.len());
    if wronged > 0 {
        figure += &format!(", {wronged} others given up");
    }
    figure += &format!(", {links} links, {}", seconds(begin.elapsed()));
    Ok(Finding::new(all && told && wronged == 0, figure))
}

/// The others are there, and the one has its answer.
fn over(stage: &mut Stage, arrived: &BTreeSet<u64>) -> bool {
    arrived.len() as u64 == MESSAGES - 1 && stage.subject.said().answers.contains_key(&POISON)
}
