//! flowsdk 0.7 at 5.0: its tokio client with automatic reconnection and its defaults, buffering offline among them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use flowsdk::mqtt_client::{
    ConnectionResult, MqttClientError, MqttClientOptions, MqttMessage, PublishResult, TokioAsyncClientConfig,
    TokioAsyncMqttClient, TokioMqttEventHandler,
};
use protocol::{Command, Connect, Message};

type Answer = Pin<Box<dyn Future<Output = Result<PublishResult, MqttClientError>> + Send>>;

#[derive(Clone, Default)]
struct Handler {
    blocked: Arc<AtomicBool>,
    connected: Arc<AtomicBool>,
}

impl Handler {
    fn lost(&self, why: &str) {
        if self.connected.swap(false, Ordering::Relaxed) {
            protocol::down(&why);
        }
    }
}

#[async_trait::async_trait]
impl TokioMqttEventHandler for Handler {
    async fn on_connected(&mut self, result: &ConnectionResult) {
        if result.is_success() {
            self.connected.store(true, Ordering::Relaxed);
            protocol::up();
        }
    }

    async fn on_disconnected(&mut self, _: Option<u8>) {
        self.lost("disconnected");
    }

    async fn on_connection_lost(&mut self) {
        self.lost("lost");
    }

    async fn on_message_received(&mut self, message: &MqttMessage) {
        protocol::message(&message.payload);
        if self.blocked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::main]
async fn main() {
    let (into, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let lines = protocol::commands();
    std::thread::spawn(move || lines.into_iter().try_for_each(|command| into.send(command)));
    let handler = Handler::default();
    let mut client: Option<Arc<TokioAsyncMqttClient>> = None;
    while let Some(command) = commands.recv().await {
        match (command, client.clone()) {
            (Command::Connect(to), _) => client = Some(start(&to, &handler).await),
            (Command::Publish(message), Some(client)) => {
                protocol::taken(message.number);
                publish(&client, message).await;
            }
            (Command::Burst { from, count, qos, size, rate }, Some(client)) => {
                tokio::spawn(async move {
                    let begin = Instant::now();
                    for (due, message) in protocol::burst(from, count, qos, size, rate) {
                        if let Some(due) = due {
                            tokio::time::sleep_until(due.into()).await;
                        }
                        publish(&client, message).await;
                    }
                    protocol::burst_taken(count, begin);
                });
            }
            (Command::Subscribe { qos, filter }, Some(client)) => {
                tokio::spawn(async move {
                    match client.subscribe_sync(&filter, qos).await {
                        Ok(answer) if answer.is_success() => protocol::say(&format!("subscribed {filter}")),
                        Ok(answer) => protocol::say(&format!("denied {filter} {:?}", answer.reason_codes)),
                        Err(error) => protocol::say(&format!("denied {filter} {error}")),
                    }
                });
            }
            (Command::Block, _) => handler.blocked.store(true, Ordering::Relaxed),
            // It has no such question; what its events say is answered.
            (Command::State, _) => protocol::state(handler.connected.load(Ordering::Relaxed)),
            (Command::Close(_), Some(client)) => {
                tokio::spawn(async move {
                    let _ = client.disconnect_sync().await;
                    protocol::say("closed");
                });
            }
            _ => protocol::state(false),
        }
    }
}

async fn start(to: &Connect, handler: &Handler) -> Arc<TokioAsyncMqttClient> {
    let mut options = MqttClientOptions::builder()
        .peer(format!("127.0.0.1:{}", to.port))
        .client_id(to.id.clone())
        .mqtt_version(to.version)
        .keep_alive(to.keep_alive.as_secs() as u16)
        .clean_start(to.clean);
    if !to.clean && to.version == 5 {
        options = options.session_expiry_interval(3600);
    }
    let mut config = TokioAsyncClientConfig::builder();
    if to.fast {
        options = options.reconnect_base_delay_ms(100);
        config = config.max_reconnect_delay_ms(100);
    }
    let made = TokioAsyncMqttClient::new(options.build(), Box::new(handler.clone()), config.build()).await;
    let client = Arc::new(made.expect("these settings are possible"));
    let _ = client.connect().await;
    client
}

/// Its publish waits for the broker's answer, so each runs by itself once it was begun in its turn.
async fn publish(client: &Arc<TokioAsyncMqttClient>, message: Message) {
    let client = Arc::clone(client);
    let mut answer: Answer =
        Box::pin(
            async move { client.publish_sync(Message::TOPIC, &message.payload(), message.qos, false).await },
        );
    match protocol::begin(&mut answer).await {
        Some(answer) => told(message.number, answer),
        None => {
            tokio::spawn(async move { told(message.number, answer.await) });
        }
    }
}

fn told(number: u64, answer: Result<PublishResult, MqttClientError>) {
    match answer {
        Ok(result) if result.is_success() => protocol::acked(number),
        Ok(result) => protocol::failed(number, &result.reason_description()),
        Err(error) => protocol::failed(number, &error),
    }
}
