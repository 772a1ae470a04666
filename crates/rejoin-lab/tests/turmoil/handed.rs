//! Messages that a client has when its end comes, what is said of them, and what the broker saw of that end.

use std::time::Duration;

use rejoin::{Client, Delivery, Event, Events, PublishError, Qos, ShutdownReport, StopReason};
use rejoin_lab::wire::PacketKind;
use tokio::time::{Instant, sleep, timeout};

use crate::broker::Server;
use crate::ending::{ENDING, WITHIN, shut_down};

/// How long a client drains whose last handle was dropped.
pub(crate) const DROPPED: Duration = Duration::from_secs(2);

/// Messages that were handed over, and all that is said of them.
pub(crate) struct Handed {
    deliveries: Vec<Delivery>,
    events: Events,
}

impl Handed {
    pub(crate) fn over(client: &Client, messages: u64) -> turmoil::Result<Self> {
        let mut handed = Self { deliveries: Vec::new(), events: client.events().with_deliveries() };
        handed.more(client, messages)?;
        Ok(handed)
    }

    pub(crate) fn more(&mut self, client: &Client, messages: u64) -> turmoil::Result {
        for _ in 0..messages {
            let text = format!("message {}", self.deliveries.len());
            self.deliveries.push(client.publish("out", text).qos(Qos::AtLeastOnce).enqueue()?);
        }
        Ok(())
    }

    /// What became of them: each has one answer, in its delivery and as an event, and the client stopped after the last.
    pub(crate) async fn answers(mut self) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        for delivery in &self.deliveries {
            // Nobody waits any more: what has no answer by now gets none.
            match delivery.outcome().expect("a message has no answer") {
                Ok(_) => report.delivered += 1,
                Err(PublishError::Stopped { maybe_delivered }) => {
                    report.lost += 1;
                    report.maybe_delivered += u64::from(maybe_delivered);
                }
                Err(other) => panic!("{:?}: {other:?}", delivery.id()),
            }
        }
        let (mut told, mut last) = (Vec::new(), None);
        while let Some(event) = self.events.next().await {
            if let Event::Delivered { id, .. } | Event::Failed { id, .. } = &event {
                told.push(*id);
            }
            last = Some(event);
        }
        told.sort_unstable();
        assert_eq!(told, self.deliveries.iter().map(Delivery::id).collect::<Vec<_>>());
        assert!(matches!(last, Some(Event::Stopped { reason: StopReason::Shutdown })), "{last:?}");
        report
    }

    /// The report says the same.
    pub(crate) async fn agree_with(self, report: ShutdownReport) {
        let mut told = self.answers().await;
        told.clean = report.clean;
        assert_eq!(told, report);
    }
}

/// Shuts down a client that cannot deliver: that takes all the time it was given and no more, and nothing was sent.
pub(crate) async fn shut_down_in_vain(client: &Client, handed: Handed) {
    let (begun, messages) = (Instant::now(), handed.deliveries.len() as u64);
    let report = shut_down(client).await;
    let took = begun.elapsed();
    assert!(WITHIN <= took && took < WITHIN + Duration::from_millis(100), "took {took:?}");
    assert_eq!((report.lost, report.maybe_delivered, report.clean), (messages, 0, false), "{report:?}");
    handed.agree_with(report).await;
}

/// Drops the last handle and waits for the answer to each message, which comes in time.
pub(crate) async fn drop_handle(client: Client, handed: Handed) -> ShutdownReport {
    drop(client);
    let ended = async {
        for delivery in &handed.deliveries {
            let _ = delivery.acked().await;
        }
    };
    timeout(DROPPED + ENDING, ended).await.expect("no end after the last handle");
    timeout(ENDING, handed.answers()).await.expect("no last event")
}

/// The end of a client that cannot deliver, by a shutdown or by the drop of its last handle: nothing was sent.
pub(crate) async fn end_in_vain(client: Client, dropped: bool) -> turmoil::Result {
    let handed = Handed::over(&client, 2)?;
    if dropped {
        let told = drop_handle(client, handed).await;
        assert_eq!((told.lost, told.maybe_delivered), (2, 0), "{told:?}");
    } else {
        shut_down_in_vain(&client, handed).await;
    }
    Ok(())
}

/// What the broker saw: connections, and DISCONNECT.
pub(crate) fn seen(server: &Server) -> (u64, u64) {
    server.with(|broker| (broker.counters().opened, broker.counters().received(PacketKind::Disconnect)))
}

/// That many connections and DISCONNECT came, and no more.
pub(crate) async fn has_seen(server: &Server, wanted: (u64, u64)) {
    // waits: what the client wrote at its end is on its way.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seen(server), wanted, "connections, DISCONNECT");
}
