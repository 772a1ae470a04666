//! rumqttc 0.25.1 at 3.1.1, polled in a loop as its examples do. It does not tell which message was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::{Command, Connect, Message};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

#[tokio::main]
async fn main() {
    let (into, mut commands) = tokio::sync::mpsc::unbounded_channel();
    let lines = protocol::commands();
    std::thread::spawn(move || lines.into_iter().try_for_each(|command| into.send(command)));
    let (blocked, connected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut client = None;
    while let Some(command) = commands.recv().await {
        match (command, &client) {
            (Command::Connect(to), _) => {
                let (made, events) = AsyncClient::new(options(&to), 100);
                tokio::spawn(poll(events, to.fast, Arc::clone(&blocked), Arc::clone(&connected)));
                client = Some(made);
            }
            (Command::Publish(message), Some(client)) => {
                tokio::spawn(publish(AsyncClient::clone(client), message, true));
            }
            (Command::Burst { from, count, qos, size, rate }, Some(client)) => {
                let client = AsyncClient::clone(client);
                tokio::spawn(async move {
                    let begin = std::time::Instant::now();
                    for (due, message) in protocol::burst(from, count, qos, size, rate) {
                        if let Some(due) = due {
                            tokio::time::sleep_until(due.into()).await;
                        }
                        publish(AsyncClient::clone(&client), message, false).await;
                    }
                    protocol::burst_taken(count, begin);
                });
            }
            (Command::Subscribe { qos, filter }, Some(client)) => {
                let client = AsyncClient::clone(client);
                tokio::spawn(async move {
                    match client.subscribe(filter.clone(), level(qos)).await {
                        Ok(()) => protocol::say(&format!("subscribed {filter}")),
                        Err(error) => protocol::say(&format!("denied {filter} {error}")),
                    }
                });
            }
            (Command::Block, _) => blocked.store(true, Ordering::Relaxed),
            // It has no such question; what its events say is answered.
            (Command::State, _) => protocol::state(connected.load(Ordering::Relaxed)),
            (Command::Close(within), Some(client)) => {
                let _ =
                    tokio::time::timeout(within.max(Duration::from_millis(100)), client.disconnect()).await;
                protocol::say("closed");
            }
            _ => protocol::state(false),
        }
    }
}

fn options(to: &Connect) -> MqttOptions {
    let mut options = MqttOptions::new(to.id.clone(), "127.0.0.1", to.port);
    options.set_keep_alive(to.keep_alive);
    options.set_clean_session(to.clean);
    options
}

fn level(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}

async fn publish(client: AsyncClient, message: Message, told: bool) {
    match client.publish(Message::TOPIC, level(message.qos), false, message.payload()).await {
        Ok(()) if told => protocol::taken(message.number),
        Ok(()) => {}
        Err(error) => protocol::refused(message.number, &error),
    }
}

async fn poll(mut events: EventLoop, fast: bool, blocked: Arc<AtomicBool>, connected: Arc<AtomicBool>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                connected.store(true, Ordering::Relaxed);
                protocol::up();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                protocol::message(&publish.payload);
                if blocked.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            }
            Ok(_) => {}
            Err(error) => {
                if connected.swap(false, Ordering::Relaxed) {
                    protocol::down(&error);
                }
                if fast {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}
