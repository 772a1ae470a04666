//! rumqttc-next 0.34, MQTT 5: request and read batches as wide as it adapts them, TCP_NODELAY, the window both ways.

use super::{Job, TOPIC};
use crate::meter::{Measured, Meter};
use crate::sink;
use bytes::Bytes;
use rumqttc_next::mqttbytes::QoS;
use rumqttc_next::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, PublishOptions};

/// Requests that one turn of its event loop may take; its default of one is far slower.
const BATCH: usize = 64;

pub(super) fn run(job: &Job) -> Result<Measured, String> {
    match job.version {
        5 => job.block_on(start(job))?,
        _ => Err("rumqttc-next: this driver has MQTT 5 only".to_owned()),
    }
}

async fn start(job: &Job) -> Result<Measured, String> {
    let mut options = MqttOptions::new("next", (job.address.ip().to_string(), job.address.port()));
    options.set_keep_alive(60).set_max_request_batch(BATCH);
    options.set_outgoing_inflight_upper_limit(job.window);
    options.set_receive_maximum(Some(job.window));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::builder(options).capacity(job.channel).build();
    while !matches!(next(&mut events).await?, Event::Incoming(Packet::ConnAck(_))) {}
    match job.receives() {
        true => receive(job, client, events).await,
        false => publish(job, client, events).await,
    }
}

async fn publish(job: &Job, client: AsyncClient, mut events: EventLoop) -> Result<Measured, String> {
    let (qos, count) = (level(job.qos), job.count);
    let payload = Bytes::from(vec![b'x'; job.size]);
    let meter = Meter::start();
    let sender = tokio::spawn(async move {
        for _ in 0..count {
            client
                .publish(TOPIC, payload.clone(), PublishOptions::new(qos))
                .await
                .map_err(|e| e.to_string())?;
        }
        if qos == level(0) {
            client
                .publish(sink::end_of(count), payload, PublishOptions::new(level(1)))
                .await
                .map_err(|e| e.to_string())?;
        }
        Ok::<_, String>(client)
    });
    let mut missing = if job.qos == 0 { 1 } else { count };
    while missing > 0 {
        if let Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) = next(&mut events).await? {
            missing -= 1;
        }
    }
    let measured = meter.stop(count);
    sender.await.map_err(|e| e.to_string())??;
    Ok(measured)
}

async fn receive(job: &Job, client: AsyncClient, mut events: EventLoop) -> Result<Measured, String> {
    let order = sink::order(job.qos, job.count, job.size, job.window);
    let meter = Meter::start();
    client.subscribe(order, level(job.qos)).await.map_err(|e| e.to_string())?;
    let mut missing = job.count;
    while missing > 0 {
        if let Event::Incoming(Packet::Publish(message)) = next(&mut events).await? {
            missing -= u64::from(message.payload.len() == job.size);
        }
    }
    Ok(meter.stop(job.count))
}

async fn next(events: &mut EventLoop) -> Result<Event, String> {
    events.poll().await.map_err(|error| format!("rumqttc-next: {error}"))
}

fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
