//! mqtt5 0.49 with automatic reconnection and its defaults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mqtt5::{ConnectOptions, ConnectionEvent, MqttClient, QoS};
use protocol::{Command, Connect, Message};

#[tokio::main]
async fn main() {
    let (into, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let lines = protocol::commands();
    std::thread::spawn(move || lines.into_iter().try_for_each(|command| into.send(command)));
    let blocked = Arc::new(AtomicBool::new(false));
    let mut client: Option<Arc<MqttClient>> = None;
    while let Some(command) = commands.recv().await {
        match (command, client.clone()) {
            (Command::Connect(to), _) => client = Some(start(to).await),
            (Command::Publish(message), Some(client)) => {
                protocol::taken(message.number);
                publish(client, message).await;
            }
            (Command::Burst { from, count, qos, size, rate }, Some(client)) => {
                tokio::spawn(async move {
                    let begin = Instant::now();
                    for (due, message) in protocol::burst(from, count, qos, size, rate) {
                        if let Some(due) = due {
                            tokio::time::sleep_until(due.into()).await;
                        }
                        publish(Arc::clone(&client), message).await;
                    }
                    protocol::burst_taken(count, begin);
                });
            }
            (Command::Subscribe { qos, filter }, Some(client)) => {
                let blocked = Arc::clone(&blocked);
                tokio::spawn(async move {
                    let handler = move |message: mqtt5::types::Message| {
                        protocol::message(&message.payload);
                        while blocked.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_secs(1));
                        }
                    };
                    let options =
                        mqtt5::SubscribeOptions { qos: level(qos), ..mqtt5::SubscribeOptions::default() };
                    match client.subscribe_with_options(filter.clone(), options, handler).await {
                        Ok(_) => protocol::say(&format!("subscribed {filter}")),
                        Err(error) => protocol::say(&format!("denied {filter} {error}")),
                    }
                });
            }
            (Command::Block, _) => blocked.store(true, Ordering::Relaxed),
            (Command::State, Some(client)) => {
                tokio::spawn(async move { protocol::state(client.is_connected().await) });
            }
            (Command::Close(_), Some(client)) => {
                tokio::spawn(async move {
                    let _ = client.disconnect().await;
                    protocol::say("closed");
                });
            }
            _ => protocol::state(false),
        }
    }
}

async fn start(to: Connect) -> Arc<MqttClient> {
    let mut options = ConnectOptions::new(to.id.clone())
        .with_keep_alive(to.keep_alive)
        .with_clean_start(to.clean)
        .with_automatic_reconnect(true);
    if !to.clean {
        options = options.with_session_expiry_interval(3600);
    }
    if to.fast {
        options = options.with_reconnect_delay(Duration::from_millis(100), Duration::from_millis(100));
    }
    let client = Arc::new(MqttClient::with_options(options));
    let _ = client
        .on_connection_event(|event| match event {
            ConnectionEvent::Connected { .. } => protocol::up(),
            ConnectionEvent::Disconnected { reason } => protocol::down(&format!("{reason:?}")),
            _ => {}
        })
        .await;
    let connecting = Arc::clone(&client);
    tokio::spawn(async move {
        let address = format!("mqtt://127.0.0.1:{}", to.port);
        // Only a link that was there once is opened again by itself; the first is the application's to repeat.
        while let Err(error) = connecting.connect(&address).await {
            protocol::down(&error);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    client
}

fn level(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}

/// Its publish waits for the broker's answer, so each runs by itself once it was begun in its turn.
async fn publish(client: Arc<MqttClient>, message: Message) {
    let mut answer = Box::pin(async move {
        match client.publish_qos(Message::TOPIC, message.payload(), level(message.qos)).await {
            Ok(_) => protocol::acked(message.number),
            Err(error) => protocol::failed(message.number, &error),
        }
    });
    if protocol::begin(&mut answer).await.is_none() {
        tokio::spawn(answer);
    }
}
