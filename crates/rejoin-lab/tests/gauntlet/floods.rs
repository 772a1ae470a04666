//! Many messages over links that do not last, and while there is none: rows 26 to 29. Fewer than in the full gauntlet
//! (3,000 instead of 20,000, 20,000 instead of 100,000), so that they fit into every run.

use std::time::{Duration, Instant};

use rejoin::{Client, Qos, Version};
use rejoin_lab::gauntlet::{Books, one_link};
use rejoin_lab::{ScriptResult, ScriptedBroker};

use crate::kit::*;

both_versions! {
    row_26_links_of_100_ms_lose_nothing_at_qos_1: at_least_once;
    row_27_links_of_100_ms_repeat_nothing_at_qos_2: exactly_once;
    row_28_what_is_handed_over_offline_is_taken_at_once_and_delivered: offline;
    row_29_a_stable_link_that_ends_by_fin_is_back_at_once: fin;
}

const MESSAGES: u64 = 3_000;
const PER_MILLISECOND: u64 = 5;
const LIFE: Duration = Duration::from_millis(100);
const OFFLINE: usize = 20_000;

async fn at_least_once(version: Version) -> ScriptResult {
    flood(version, Qos::AtLeastOnce).await
}

async fn exactly_once(version: Version) -> ScriptResult {
    flood(version, Qos::ExactlyOnce).await
}

async fn flood(version: Version, qos: Qos) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, mut told) = start(client(broker.addr(), version).session(kept()));
    let publishing = tokio::spawn(publish_steadily(Client::clone(&client), qos));
    let mut books = Books::default();
    let mut present = false;
    let begin = Instant::now();
    let mut links = 0;
    while books.seen.len() as u64 != MESSAGES || !books.held.is_empty() {
        assert!(begin.elapsed() < LIMIT, "{} of {MESSAGES} came over {links} links", books.seen.len());
        let (mut peer, _) = broker.accept_session(present).await?;
        (present, links) = (true, links + 1);
        let _ = one_link(&mut peer, &mut books, LIFE).await;
        peer.reset();
    }
    // One link that lives brings the answers that were cut off.
    let outcomes = limited("all handed over", publishing).await.unwrap();
    let (mut peer, _) = broker.accept_session(true).await?;
    let (answers, _) = tokio::join!(outcomes.receipts(&mut told), one_link(&mut peer, &mut books, LIFE * 20));
    assert_eq!(answers.len() as u64, MESSAGES);
    assert!(links > 3, "the links were cut: {links}");
    assert_eq!(books.order, (0..MESSAGES).collect::<Vec<_>>(), "first deliveries in order, and none lost");
    assert_eq!(books.duplicates, 0);
    Ok(())
}

async fn publish_steadily(client: Client, qos: Qos) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    for number in (0..MESSAGES).step_by(usize::try_from(PER_MILLISECOND).unwrap()) {
        pace.tick().await;
        let range = usize::try_from(number).unwrap()..usize::try_from(number + PER_MILLISECOND).unwrap();
        outcomes.publish(&client, range, qos);
    }
    outcomes
}

async fn offline(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (client, _told) = start(client(broker.addr(), version).session(kept()));
    let mut outcomes = Outcomes::default();
    let begin = Instant::now();
    outcomes.publish(&client, 0..OFFLINE, Qos::AtLeastOnce);
    let took = begin.elapsed();
    assert!(took < SLACK, "{OFFLINE} were taken in {took:?}");
    assert_eq!(outcomes.answered(), 0);
    let (mut peer, _) = broker.accept_session(false).await?;
    let came: Vec<usize> = take_all(&mut peer, OFFLINE).await?.iter().map(number).collect();
    assert_eq!(came, (0..OFFLINE).collect::<Vec<_>>());
    Ok(())
}

async fn fin(version: Version) -> ScriptResult {
    let mut broker = ScriptedBroker::start().await.unwrap();
    let (_client, mut told) = start(client(broker.addr(), version).session(kept()));
    let (mut peer, _) = broker.accept_session(false).await?;
    told.opened().await;
    peer.expect_nothing(STABLE_AFTER * 2).await?;
    let begin = Instant::now();
    // Everything was read: dropping it is a FIN.
    drop(peer);
    broker.accept_session(true).await?;
    let took = begin.elapsed();
    assert!(took < EARLY, "the first try comes at once, not after a pause: {took:?}");
    Ok(())
}
