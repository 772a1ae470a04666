//! A port where nobody listens for a while: row 20.

use std::time::Duration;

use tokio::time::Instant;

use super::{Finding, KEPT, PATIENCE, RowResult, Stage, closed_port, seconds};

/// Long enough for pauses that grow to be at their widest, where that is 15 s; for minutes it would be the same.
const REFUSED: Duration = Duration::from_secs(60);
/// An attempt at a port of this machine costs some hundred microseconds: a client that pauses makes a few dozen, and
/// this is thousands.
const SPINS_FROM: Duration = Duration::from_secs(1);

/// A refused attempt leaves no trace that can be counted without rights, so what is judged is the processor time it took
/// to make them, and when the client is back. A pause longer than the outage was is one nobody waits for.
pub(super) async fn for_a_minute(stage: &mut Stage) -> RowResult {
    let mut port = closed_port()?;
    stage.listen(&mut port)?;
    stage.connect_to(port.addr().port(), KEPT);
    let peer = stage.accept_session(false, PATIENCE).await?;
    stage.subject.hear("up", PATIENCE).await;
    stage.refuse(&mut port).await?;
    peer.reset();
    let before = stage.subject.processor_time();
    tokio::time::sleep(REFUSED).await;
    let after = stage.subject.processor_time();
    let begin = Instant::now();
    stage.listen(&mut port)?;
    let again = stage.accept_session(true, REFUSED).await;
    let spent = after.zip(before).map_or(Duration::ZERO, |(after, before)| after.saturating_sub(before));
    let took = seconds(begin.elapsed());
    let back = if again.is_ok() { format!("back after {took}") } else { "does not come back".to_owned() };
    let figure = format!("{back}, {:.2} s of processor", spent.as_secs_f64());
    Ok(Finding::new(again.is_ok() && spent < SPINS_FROM, figure))
}
