//! rumqttc 0.25: its default options as they come, and what somebody sets who has read its documentation.

use super::Job;
use std::time::Duration;

/// The channel that its own examples use.
const EXAMPLE_CHANNEL: usize = 10;

// The crate has two copies of everything under the same names; so has this driver.
macro_rules! driver {
    ($name:ident, $options:ident, $from:ident $(:: $inner:ident)*, $packet:path, $qos:path) => {
        pub(super) mod $name {
            use super::super::Job;
            use super::super::subject::{Ear, Subject};
            use bytes::Bytes;
            use std::sync::Arc;
            use $from$(::$inner)*::{AsyncClient, Event, EventLoop};
            use $packet as Packet;
            use $qos as QoS;

            pub(crate) struct Rumqttc(AsyncClient);

            impl Subject for Rumqttc {
                async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
                    let (client, events) = super::$options(job, id, super::channel(job))?;
                    tokio::spawn(poll(events, Arc::clone(ear), job.again.then_some(job.pause)));
                    Ok(Self(client))
                }

                async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
                    let sending = self.0.publish_bytes(topic, level(qos), false, payload.clone());
                    sending.await.map_err(|error| error.to_string())
                }

                async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
                    self.0.subscribe(filter, level(qos)).await.map_err(|error| error.to_string())
                }
            }

            async fn poll(mut events: EventLoop, ear: Arc<Ear>, pause: Option<std::time::Duration>) {
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
        }
    };
}

driver!(four, four_options, rumqttc, rumqttc::Packet, rumqttc::QoS);
driver!(five, five_options, rumqttc::v5, rumqttc::v5::mqttbytes::v5::Packet, rumqttc::v5::mqttbytes::QoS);

fn channel(job: &Job) -> usize {
    if job.plain { EXAMPLE_CHANNEL } else { job.channel }
}

fn network() -> rumqttc::NetworkOptions {
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}

#[cfg(feature = "tls")]
fn transport(job: &Job) -> Result<Option<rumqttc::Transport>, String> {
    let trusting = |file| super::tls::trusting(file).map(rumqttc::TlsConfiguration::Rustls);
    let tls = job.tls.as_deref().map(trusting).transpose()?;
    Ok(tls.map(rumqttc::Transport::tls_with_config))
}

#[cfg(not(feature = "tls"))]
fn transport(_: &Job) -> Result<Option<rumqttc::Transport>, String> {
    Ok(None)
}

fn four_options(
    job: &Job,
    id: &str,
    channel: usize,
) -> Result<(rumqttc::AsyncClient, rumqttc::EventLoop), String> {
    let mut options = rumqttc::MqttOptions::new(id, job.host(), job.address.port());
    options.set_keep_alive(job.keep_alive);
    if job.keeps_session() {
        options.set_clean_session(false);
    }
    if let Some(transport) = transport(job)? {
        options.set_transport(transport);
    }
    if !job.plain {
        options.set_inflight(job.window);
    }
    let (client, mut events) = rumqttc::AsyncClient::new(options, channel);
    if !job.plain {
        events.set_network_options(network());
    }
    Ok((client, events))
}

fn five_options(
    job: &Job,
    id: &str,
    channel: usize,
) -> Result<(rumqttc::v5::AsyncClient, rumqttc::v5::EventLoop), String> {
    let mut options = rumqttc::v5::MqttOptions::new(id, job.host(), job.address.port());
    // The smallest that this crate takes.
    options.set_keep_alive(job.keep_alive.max(Duration::from_secs(5)));
    if job.keeps_session() {
        options.set_clean_start(false).set_session_expiry_interval(Some(3600));
    }
    if let Some(transport) = transport(job)? {
        options.set_transport(transport);
    }
    if !job.plain {
        options.set_outgoing_inflight_upper_limit(job.window);
        options.set_receive_maximum(Some(job.window));
        options.set_network_options(network());
    }
    Ok(rumqttc::v5::AsyncClient::new(options, channel))
}
