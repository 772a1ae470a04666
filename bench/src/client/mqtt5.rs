//! mqtt5 0.49. Its publish waits for the acknowledgement, so as many run at once as the window lets through.

use super::Job;
use super::subject::{Ear, Subject};
use ::mqtt5::{ConnectOptions, ConnectionEvent, MqttClient, ProtocolVersion, QoS, SubscribeOptions};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

pub(super) struct Mqtt5 {
    client: Arc<MqttClient>,
    ear: Arc<Ear>,
    room: Arc<Semaphore>,
}

impl Subject for Mqtt5 {
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
        let version = if job.version == 5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        let mut options = ConnectOptions::new(id)
            .with_protocol_version(version)
            .with_keep_alive(job.keep_alive)
            .with_automatic_reconnect(job.again);
        if job.version == 5 && !job.plain {
            options = options.with_receive_maximum(job.window);
        }
        if job.keeps_session() {
            options = options.with_clean_start(false).with_session_expiry_interval(3600);
        }
        if job.again {
            let pause = job.pause.max(Duration::from_millis(1));
            options = options.with_reconnect_delay(pause, pause);
        }
        let client = Arc::new(MqttClient::with_options(options));
        let told = Arc::clone(ear);
        let again = job.again;
        let watched = client
            .on_connection_event(move |event| match event {
                ConnectionEvent::Connected { .. } => told.opened(),
                ConnectionEvent::Disconnected { reason } if !again => told.fail(format!("{reason:?}")),
                _ => {}
            })
            .await;
        watched.map_err(|error| error.to_string())?;
        let (address, opening, told) =
            (format!("mqtt://{}", job.address), Arc::clone(&client), Arc::clone(ear));
        tokio::spawn(async move {
            if let Err(error) = opening.connect(&address).await {
                told.fail(error);
            }
        });
        // Where the broker is away they wait inside the client, so there the window is no bound.
        let room = match job.mode.as_str() {
            "offline" => Semaphore::MAX_PERMITS,
            _ if job.plain => usize::from(u16::MAX),
            _ => job.window.into(),
        };
        Ok(Self { client, ear: Arc::clone(ear), room: Arc::new(Semaphore::new(room)) })
    }

    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
        if qos == 0 {
            let sent = self.client.publish_qos0(topic, payload.to_vec()).await;
            return sent.map(drop).map_err(|error| error.to_string());
        }
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|error| error.to_string())?;
        let (client, ear, topic, payload) =
            (Arc::clone(&self.client), Arc::clone(&self.ear), topic.to_owned(), payload.to_vec());
        tokio::spawn(async move {
            match client.publish_qos(topic, payload, level(qos)).await {
                Ok(_) => ear.acknowledged(),
                Err(error) => ear.fail(error),
            }
            drop(permit);
        });
        Ok(())
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
        let ear = Arc::clone(&self.ear);
        let options = SubscribeOptions { qos: level(qos), ..SubscribeOptions::default() };
        let heard = move |message: ::mqtt5::types::Message| ear.message(&message.payload);
        let asked = self.client.subscribe_with_options(filter, options, heard).await;
        asked.map(drop).map_err(|error| error.to_string())
    }
}

fn level(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}
