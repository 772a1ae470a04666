//! rumqttc 0.25: its default options as they come, and what somebody sets who has read its documentation.

use super::{Job, TOPIC};
use crate::meter::{Measured, Meter};
use crate::sink;
use std::time::Duration;

/// The channel that its own examples use.
const EXAMPLE_CHANNEL: usize = 10;

pub(super) fn run(job: &Job, tuned: bool) -> Result<Measured, String> {
    match job.version {
        5 => job.block_on(five::run(job, tuned))?,
        _ => job.block_on(four::run(job, tuned))?,
    }
}

// The crate has two copies of everything under the same names; so has this driver.
macro_rules! driver {
    ($name:ident, $options:ident, $from:ident $(:: $inner:ident)*, $packet:path, $qos:path) => {
        mod $name {
            use super::{EXAMPLE_CHANNEL, Job, Measured, Meter, TOPIC, sink};
            use bytes::Bytes;
            use $from$(::$inner)*::{AsyncClient, Event, EventLoop};
            use $packet as Packet;
            use $qos as QoS;

            pub(super) async fn run(job: &Job, tuned: bool) -> Result<Measured, String> {
                let channel = if tuned { job.channel } else { EXAMPLE_CHANNEL };
                let (client, mut events) = super::$options(job, tuned, channel);
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
                        client.publish_bytes(TOPIC, qos, false, payload.clone()).await.map_err(|e| e.to_string())?;
                    }
                    if qos == level(0) {
                        client.publish_bytes(sink::end_of(count), level(1), false, payload).await.map_err(|e| e.to_string())?;
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
                events.poll().await.map_err(|error| format!("rumqttc: {error}"))
            }

            fn level(qos: u8) -> QoS {
                match qos {
                    0 => QoS::AtMostOnce,
                    1 => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                }
            }
        }
    };
}

driver!(four, four_options, rumqttc, rumqttc::Packet, rumqttc::QoS);
driver!(five, five_options, rumqttc::v5, rumqttc::v5::mqttbytes::v5::Packet, rumqttc::v5::mqttbytes::QoS);

fn four_options(job: &Job, tuned: bool, channel: usize) -> (rumqttc::AsyncClient, rumqttc::EventLoop) {
    let mut options = rumqttc::MqttOptions::new("rumqttc", job.address.ip().to_string(), job.address.port());
    options.set_keep_alive(Duration::from_secs(60));
    if tuned {
        options.set_inflight(job.window);
    }
    let (client, mut events) = rumqttc::AsyncClient::new(options, channel);
    if tuned {
        let mut network = rumqttc::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
    }
    (client, events)
}

fn five_options(
    job: &Job,
    tuned: bool,
    channel: usize,
) -> (rumqttc::v5::AsyncClient, rumqttc::v5::EventLoop) {
    let mut options =
        rumqttc::v5::MqttOptions::new("rumqttc", job.address.ip().to_string(), job.address.port());
    options.set_keep_alive(Duration::from_secs(60));
    if tuned {
        options.set_outgoing_inflight_upper_limit(job.window);
        options.set_receive_maximum(Some(job.window));
        let mut network = rumqttc::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
    }
    rumqttc::v5::AsyncClient::new(options, channel)
}
