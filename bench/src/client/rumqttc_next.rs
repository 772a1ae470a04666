//! rumqttc-next 0.34, MQTT 5: request batches as its documentation has them for throughput, TCP_NODELAY, the window both
//! ways.

use super::Job;
use super::subject::{Ear, Subject};
use bytes::Bytes;
use rumqttc_next::mqttbytes::QoS;
use rumqttc_next::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, PublishOptions};
use std::sync::Arc;
use std::time::Duration;

/// Requests that one turn of its event loop may take; its default of one is far slower.
const BATCH: usize = 64;
/// The channel that its own examples use.
const EXAMPLE_CHANNEL: usize = 10;

pub(super) struct Next(AsyncClient);

impl Subject for Next {
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
        if job.version != 5 {
            return Err("rumqttc-next: this driver has MQTT 5 only".to_owned());
        }
        let mut options = MqttOptions::new(id, (job.host(), job.address.port()));
        options.set_keep_alive(job.keep_alive.as_secs() as u16);
        if job.keeps_session() {
            options.set_clean_start(false).set_session_expiry_interval(Some(3600));
        }
        #[cfg(feature = "tls")]
        if let Some(file) = &job.tls {
            let trusting = super::tls::trusting(file)?;
            options.set_transport(rumqttc_next::Transport::tls_with_config(
                rumqttc_next::TlsConfiguration::Rustls(trusting),
            ));
        }
        if !job.plain {
            options.set_max_request_batch(BATCH);
            options.set_outgoing_inflight_upper_limit(job.window);
            options.set_receive_maximum(Some(job.window));
            let mut network = NetworkOptions::new();
            network.set_tcp_nodelay(true);
            options.set_network_options(network);
        }
        let channel = if job.plain { EXAMPLE_CHANNEL } else { job.channel };
        let (client, events) = AsyncClient::builder(options).capacity(channel).build();
        tokio::spawn(poll(events, Arc::clone(ear), job.again.then_some(job.pause)));
        Ok(Self(client))
    }

    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
        let sending = self.0.publish(topic, payload.clone(), PublishOptions::new(level(qos)));
        sending.await.map(drop).map_err(|error| error.to_string())
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
        self.0.subscribe(filter, level(qos)).await.map(drop).map_err(|error| error.to_string())
    }
}

async fn poll(mut events: EventLoop, ear: Arc<Ear>, pause: Option<Duration>) {
    loop {
        match (events.poll().await, pause) {
            (Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))), _) => ear.acknowledged(),
            (Ok(Event::Incoming(Packet::Publish(message))), _) => ear.message(&message.payload),
            (Ok(Event::Incoming(Packet::ConnAck(_))), _) => ear.opened(),
            (Ok(_), _) => {}
            (Err(_), Some(pause)) if pause.is_zero() => tokio::task::yield_now().await,
            (Err(_), Some(pause)) => tokio::time::sleep(pause).await,
            (Err(error), None) => return ear.fail(error),
        }
    }
}

fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
