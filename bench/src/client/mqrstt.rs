//! mqrstt 0.4.2, MQTT 5, over a buffered stream as in its example. It opens no link again: the application does.

use super::Job;
use super::subject::{Ear, Subject};
use ::mqrstt::packets::{Packet, QoS};
use ::mqrstt::{AsyncEventHandler, ConnectOptions, MqttClient, NetworkBuilder};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::BufStream;
use tokio::net::TcpStream;

pub(super) struct Mqrstt(MqttClient);

struct Hear(Arc<Ear>);

impl AsyncEventHandler for Hear {
    async fn handle(&mut self, packet: Packet) {
        match packet {
            Packet::PubAck(_) | Packet::PubComp(_) => self.0.acknowledged(),
            Packet::Publish(message) => self.0.message(&message.payload),
            Packet::ConnAck(_) => self.0.opened(),
            _ => {}
        }
    }
}

impl Subject for Mqrstt {
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
        if job.version != 5 {
            return Err("mqrstt has MQTT 5 only".to_owned());
        }
        let mut options = ConnectOptions::new(id);
        options.set_keep_alive_interval(job.keep_alive);
        if job.keeps_session() {
            options.set_clean_start(false).set_session_expiry_interval(3600);
        }
        if !job.plain {
            options.set_receive_maximum(job.window).set_send_maximum(job.window);
        }
        let mut hear = Hear(Arc::clone(ear));
        let (mut network, client) = NetworkBuilder::new_from_options(options).tokio_network();
        let (address, again, pause) = (job.address, job.again, job.pause);
        let first = stream(address).await?;
        network.connect(first, &mut hear).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            loop {
                let ended = network.run(&mut hear).await;
                if !again {
                    return hear.0.fail(format!("{ended:?}"));
                }
                loop {
                    tokio::time::sleep(pause).await;
                    let Ok(next) = stream(address).await else { continue };
                    if network.connect(next, &mut hear).await.is_ok() {
                        break;
                    }
                }
            }
        });
        Ok(Self(client))
    }

    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
        let sending = self.0.publish(topic, level(qos), false, payload.to_vec());
        sending.await.map_err(|error| error.to_string())
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
        self.0.subscribe((filter, level(qos))).await.map_err(|error| error.to_string())
    }
}

async fn stream(address: SocketAddr) -> Result<BufStream<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(BufStream::new(stream))
}

fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
