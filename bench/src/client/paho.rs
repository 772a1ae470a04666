//! paho-mqtt 0.14 over the Paho C that it brings: one task awaits its tokens in order, callbacks tell messages.

use super::Job;
use super::subject::{Ear, Subject};
use bytes::Bytes;
use paho_mqtt as mqtt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};

pub(super) struct Paho {
    client: mqtt::AsyncClient,
    /// Each with whether somebody counts it.
    tokens: Sender<(mqtt::DeliveryToken, bool)>,
}

impl Subject for Paho {
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
        let version = if job.version == 5 { mqtt::MQTT_VERSION_5 } else { mqtt::MQTT_VERSION_3_1_1 };
        // More in its queue than in its window make Paho C sleep up to a second.
        let most = match job.mode.as_str() {
            "offline" => job.count as usize,
            _ => usize::from(job.window).saturating_sub(1).max(1),
        };
        let create = mqtt::CreateOptionsBuilder::new()
            .server_uri(format!("tcp://{}", job.address))
            .client_id(id)
            .persistence(None)
            .mqtt_version(version)
            .send_while_disconnected(job.again)
            .max_buffered_messages(1_000_000)
            .finalize();
        let client = mqtt::AsyncClient::new(create).map_err(|error| error.to_string())?;
        let told = Arc::clone(ear);
        client.set_message_callback(move |_, message| {
            if let Some(message) = message {
                told.message(message.payload());
            }
        });
        let mut options = match job.version {
            5 => mqtt::ConnectOptionsBuilder::new_v5(),
            _ => mqtt::ConnectOptionsBuilder::new_v3(),
        };
        options.keep_alive_interval(job.keep_alive);
        if !job.plain {
            options.max_inflight(job.window.into());
        }
        match (job.version, job.keeps_session()) {
            (5, true) => {
                options.clean_start(false);
                options.properties(mqtt::properties![
                    mqtt::PropertyCode::SessionExpiryInterval => 3600,
                    mqtt::PropertyCode::ReceiveMaximum => job.window
                ]);
            }
            (5, false) => {
                options.clean_start(true);
                if !job.plain {
                    options.properties(mqtt::properties![mqtt::PropertyCode::ReceiveMaximum => job.window]);
                }
            }
            (_, kept) => {
                options.clean_session(!kept);
            }
        }
        if job.again {
            // Whole seconds are its unit.
            options.automatic_reconnect(Duration::from_secs(1), Duration::from_secs(1));
        }
        client.connect(options.finalize()).await.map_err(|error| error.to_string())?;
        ear.opened();
        let (tokens, mut waiting) = channel::<(mqtt::DeliveryToken, bool)>(most);
        let told = Arc::clone(ear);
        tokio::spawn(async move {
            while let Some((token, counts)) = waiting.recv().await {
                match token.await {
                    Ok(()) if counts => told.acknowledged(),
                    Ok(()) => {}
                    Err(error) => told.fail(error),
                }
            }
        });
        Ok(Self { client, tokens })
    }

    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
        // Room first: what Paho has no room for it refuses.
        let room = self.tokens.reserve().await.map_err(|error| error.to_string())?;
        let message = mqtt::Message::new(topic, payload.to_vec(), i32::from(qos));
        let token = self.client.try_publish(message).map_err(|error| error.to_string())?;
        room.send((token, qos > 0));
        Ok(())
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
        self.client.subscribe(filter, i32::from(qos)).await.map(drop).map_err(|error| error.to_string())
    }
}
