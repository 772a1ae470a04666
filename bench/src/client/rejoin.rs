//! rejoin as a user writes it: `enqueue` with back-pressure and a final flush, a stream with `next`.

use super::{Job, TOPIC};
use crate::meter::{Measured, Meter};
use crate::sink;
use ::rejoin::{Client, Qos, VersionPolicy};
use bytes::Bytes;
use std::time::Duration;

/// For everything that has to end.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(job: &Job, tuned: bool) -> Result<Measured, String> {
    job.block_on(start(job, tuned))?
}

async fn start(job: &Job, tuned: bool) -> Result<Measured, String> {
    let version = if job.version == 5 { VersionPolicy::Only5 } else { VersionPolicy::Only311 };
    let mut builder =
        Client::builder(&format!("mqtt://{}", job.address)).client_id("rejoin").version(version);
    builder = builder.max_in_flight(job.window).receive_maximum(job.window);
    if tuned {
        builder = builder.queue(rejoin::Queue::in_memory().max_messages(job.channel as u64 + u64::from(job.window)));
    }
    let client = builder.connect().await.map_err(|error| error.to_string())?;
    match job.receives() {
        true => receive(job, client).await,
        false => publish(job, client).await,
    }
}

async fn publish(job: &Job, client: Client) -> Result<Measured, String> {
    let qos = level(job.qos);
    let payload = Bytes::from(vec![b'x'; job.size]);
    let meter = Meter::start();
    for _ in 0..job.count {
        client
            .publish(TOPIC, payload.clone())
            .qos(qos)
            .enqueue_when_room()
            .await
            .map_err(|e| e.to_string())?;
    }
    match qos {
        Qos::AtMostOnce => {
            let last = client.publish(sink::end_of(job.count), payload).qos(Qos::AtLeastOnce);
            let delivery = last.enqueue_when_room().await.map_err(|e| e.to_string())?;
            delivery.acked().await.map_err(|e| e.to_string())?;
        }
        _ => client.flush(LIMIT).await.map_err(|e| e.to_string())?,
    }
    Ok(meter.stop(job.count))
}

async fn receive(job: &Job, client: Client) -> Result<Measured, String> {
    let order = sink::order(job.qos, job.count, job.size, job.window);
    let meter = Meter::start();
    let mut messages = client.subscribe(order.as_str(), level(job.qos)).await.map_err(|e| e.to_string())?;
    let mut missing = job.count;
    while missing > 0 {
        let message = messages.next().await.ok_or("the stream ended")?;
        missing -= u64::from(message.payload.len() == job.size);
    }
    Ok(meter.stop(job.count))
}

const fn level(qos: u8) -> Qos {
    match qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}
