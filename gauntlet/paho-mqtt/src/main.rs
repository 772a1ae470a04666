//! paho-mqtt 0.14 (Paho C underneath) with automatic reconnection of 1 to 60 s, its default, and buffering offline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use paho_mqtt as mqtt;
use protocol::{Command, Connect, Message};

#[tokio::main]
async fn main() {
    let (into, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let lines = protocol::commands();
    std::thread::spawn(move || lines.into_iter().try_for_each(|command| into.send(command)));
    let blocked = Arc::new(AtomicBool::new(false));
    let mut client: Option<mqtt::AsyncClient> = None;
    while let Some(command) = commands.recv().await {
        match (command, client.clone()) {
            (Command::Connect(to), _) => client = Some(start(&to, Arc::clone(&blocked))),
            (Command::Publish(message), Some(client)) => publish(&client, message, true),
            (Command::Burst { from, count, qos, size, rate }, Some(client)) => {
                tokio::spawn(async move {
                    let begin = Instant::now();
                    for (due, message) in protocol::burst(from, count, qos, size, rate) {
                        if let Some(due) = due {
                            tokio::time::sleep_until(due.into()).await;
                        }
                        publish(&client, message, false);
                    }
                    protocol::burst_taken(count, begin);
                });
            }
            (Command::Subscribe { qos, filter }, Some(client)) => {
                tokio::spawn(async move {
                    match client.subscribe(filter.clone(), i32::from(qos)).await {
                        Ok(_) => protocol::say(&format!("subscribed {filter}")),
                        Err(error) => protocol::say(&format!("denied {filter} {error}")),
                    }
                });
            }
            (Command::Block, _) => blocked.store(true, Ordering::Relaxed),
            (Command::State, Some(client)) => protocol::state(client.is_connected()),
            (Command::Close(within), Some(client)) => {
                tokio::spawn(async move {
                    let options = mqtt::DisconnectOptionsBuilder::new().timeout(within).finalize();
                    let _ = client.disconnect(options).await;
                    protocol::say("closed");
                });
            }
            _ => protocol::state(false),
        }
    }
}

fn start(to: &Connect, blocked: Arc<AtomicBool>) -> mqtt::AsyncClient {
    let version = if to.version == 5 { mqtt::MQTT_VERSION_5 } else { mqtt::MQTT_VERSION_3_1_1 };
    let create = mqtt::CreateOptionsBuilder::new()
        .server_uri(format!("tcp://127.0.0.1:{}", to.port))
        .client_id(to.id.clone())
        .persistence(None)
        .mqtt_version(version)
        .send_while_disconnected(true)
        .allow_disconnected_send_at_anytime(true)
        .max_buffered_messages(200_000)
        .finalize();
    let client = mqtt::AsyncClient::new(create).expect("a client");
    client.set_connected_callback(|_| protocol::up());
    client.set_connection_lost_callback(|_| protocol::down(&"lost"));
    client.set_message_callback(move |_, message| {
        if let Some(message) = message {
            protocol::message(message.payload());
            while blocked.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    });
    let mut options = if to.version == 5 {
        mqtt::ConnectOptionsBuilder::new_v5()
    } else {
        mqtt::ConnectOptionsBuilder::new_v3()
    };
    options.keep_alive_interval(to.keep_alive);
    // Seconds are its unit.
    options.automatic_reconnect(Duration::from_secs(1), Duration::from_secs(if to.fast { 1 } else { 60 }));
    if to.version == 5 {
        options.clean_start(to.clean);
        if !to.clean {
            options.properties(mqtt::properties![mqtt::PropertyCode::SessionExpiryInterval => 3600]);
        }
    } else {
        options.clean_session(to.clean);
    }
    let (connecting, options) = (client.clone(), options.finalize());
    tokio::spawn(async move {
        // Only a link that was there once is opened again by itself; the first is the application's to repeat.
        while let Err(error) = connecting.connect(options.clone()).await {
            protocol::down(&error);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    client
}

fn publish(client: &mqtt::AsyncClient, message: Message, told: bool) {
    let sent = mqtt::Message::new(Message::TOPIC, message.payload(), i32::from(message.qos));
    match client.try_publish(sent) {
        Ok(token) => {
            if told {
                protocol::taken(message.number);
            }
            tokio::spawn(async move {
                match token.await {
                    Ok(()) => protocol::acked(message.number),
                    Err(error) => protocol::failed(message.number, &error),
                }
            });
        }
        Err(error) => protocol::refused(message.number, &error),
    }
}
