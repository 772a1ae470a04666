//! flowsdk 0.7 by its tokio client: publishing hands a command to its queue, its handler tells the acknowledgement.

use super::Job;
use super::subject::{Ear, Subject};
use ::flowsdk::mqtt_client::client::{ConnectionResult, PublishResult};
use ::flowsdk::mqtt_client::{
    MqttClientError, MqttClientOptions, MqttMessage, TokioAsyncClientConfig, TokioAsyncMqttClient,
    TokioMqttEventHandler,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

pub(super) struct Flow {
    client: TokioAsyncMqttClient,
    room: Arc<Semaphore>,
}

struct Hear {
    ear: Arc<Ear>,
    room: Arc<Semaphore>,
    again: bool,
}

#[async_trait::async_trait]
impl TokioMqttEventHandler for Hear {
    async fn on_connected(&mut self, _: &ConnectionResult) {
        self.ear.opened();
    }

    async fn on_published(&mut self, result: &PublishResult) {
        if result.qos > 0 {
            self.ear.acknowledged();
            self.room.add_permits(1);
        }
    }

    async fn on_message_received(&mut self, message: &MqttMessage) {
        self.ear.message(&message.payload);
    }

    async fn on_error(&mut self, error: &MqttClientError) {
        if !self.again {
            self.ear.fail(error.user_message());
        }
    }
}

impl Subject for Flow {
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
        let mut options = MqttClientOptions::builder()
            .peer(job.address.to_string())
            .client_id(id)
            .mqtt_version(if job.version == 5 { 5 } else { 4 })
            .keep_alive(job.keep_alive.as_secs() as u16)
            .auto_ack(true);
        if job.keeps_session() {
            options = options.clean_start(false).session_expiry_interval(3600);
        }
        let mut config = TokioAsyncClientConfig::builder().auto_reconnect(job.again).tcp_nodelay(true);
        if job.again {
            let pause = (job.pause.as_millis() as u64).max(1);
            options = options.reconnect_base_delay_ms(pause).reconnect_max_delay_ms(pause);
            config = config.max_reconnect_delay_ms(pause);
        }
        if !job.plain && job.version == 5 {
            config = config.receive_maximum(job.window);
        }
        let most = if job.mode == "offline" { job.count as usize } else { job.channel };
        config = config.command_queue_size(most).max_buffer_size(most).priority_queue_limit(most);
        // Its own window is as wide as the protocol allows; what it has no room for it refuses.
        let room = Arc::new(Semaphore::new(match job.mode.as_str() {
            "offline" => job.count as usize,
            _ => usize::from(job.window),
        }));
        let hear = Hear { ear: Arc::clone(ear), room: Arc::clone(&room), again: job.again };
        let client = TokioAsyncMqttClient::new(options.build(), Box::new(hear), config.build())
            .await
            .map_err(|error| error.to_string())?;
        client.connect().await.map_err(|error| error.to_string())?;
        Ok(Self { client, room })
    }

    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
        if qos == 0 {
            // The call that only queues is refused when the queue is full, so this one: it waits until it is queued.
            let sent = self.client.publish_sync(topic, payload, 0, false).await;
            return sent.map(drop).map_err(|error| error.user_message());
        }
        self.room.acquire().await.map_err(|error| error.to_string())?.forget();
        self.client.publish(topic, payload, qos, false).await.map_err(|error| error.to_string())
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
        self.client.subscribe(filter, qos).await.map_err(|error| error.to_string())
    }
}
