//! rejoin with its defaults; `fast` lifts the budget and shortens the retry pause, as the row says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::{Command, Connect, Message};
use rejoin::{Client, Delivery, Event, Qos, Session, VersionPolicy};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Handles whose answer is awaited, in order: a task for each would weigh more than the messages.
type Handles = UnboundedSender<(u64, Delivery)>;

#[tokio::main]
async fn main() {
    let (into, mut commands) = unbounded_channel();
    let lines = protocol::commands();
    std::thread::spawn(move || lines.into_iter().try_for_each(|command| into.send(command)));
    let blocked = Arc::new(AtomicBool::new(false));
    let (handles, waiting) = unbounded_channel();
    tokio::spawn(answers(waiting));
    let mut client = None;
    while let Some(command) = commands.recv().await {
        match (command, &client) {
            (Command::Connect(to), _) => client = Some(start(&to)),
            (Command::Publish(message), Some(client)) => publish(client, message, true, &handles),
            (Command::Burst { from, count, qos, size, rate }, Some(client)) => {
                let (client, handles) = (Client::clone(client), handles.clone());
                tokio::spawn(async move {
                    let begin = Instant::now();
                    for (due, message) in protocol::burst(from, count, qos, size, rate) {
                        if let Some(due) = due {
                            tokio::time::sleep_until(due.into()).await;
                        }
                        publish(&client, message, false, &handles);
                    }
                    protocol::burst_taken(count, begin);
                });
            }
            (Command::Subscribe { qos, filter }, Some(client)) => {
                let (client, blocked) = (Client::clone(client), Arc::clone(&blocked));
                tokio::spawn(subscribe(client, qos, filter, blocked));
            }
            (Command::Block, _) => blocked.store(true, Ordering::Relaxed),
            (Command::State, Some(client)) => protocol::state(client.is_connection_open()),
            (Command::Close(within), Some(client)) => {
                client.shutdown().within(within).await;
                protocol::say("closed");
            }
            _ => protocol::state(false),
        }
    }
}

fn start(to: &Connect) -> Client {
    let version = if to.version == 5 { VersionPolicy::Only5 } else { VersionPolicy::Only311 };
    let session = if to.clean { Session::fresh() } else { Session::kept_for(Duration::from_secs(3600)) };
    let mut builder = Client::builder(&format!("mqtt://127.0.0.1:{}", to.port))
        .client_id(to.id.clone())
        .version(version)
        .keep_alive(to.keep_alive)
        .session(session)
        .on_event(|event| match event {
            Event::Opened { .. } => protocol::up(),
            Event::Closed { cause, .. } => protocol::down(&cause),
            _ => {}
        });
    if to.fast {
        builder = builder
            .lift_connect_budget()
            .backoff(Duration::from_millis(100), Duration::from_millis(100))
            .overload_backoff(Duration::from_millis(100), Duration::from_millis(100))
            .stable_after(Duration::from_secs(1));
    }
    builder.start().expect("these settings are possible")
}

fn publish(client: &Client, message: Message, told: bool, handles: &Handles) {
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(message.qos)];
    match client.publish(Message::TOPIC, message.payload()).qos(qos).enqueue() {
        Ok(delivery) => {
            if told {
                protocol::taken(message.number);
            }
            let _ = handles.send((message.number, delivery));
        }
        Err(error) => protocol::refused(message.number, &error),
    }
}

async fn answers(mut waiting: UnboundedReceiver<(u64, Delivery)>) {
    while let Some((number, delivery)) = waiting.recv().await {
        match delivery.acked().await {
            Ok(_) => protocol::acked(number),
            Err(error) => protocol::failed(number, &error),
        }
    }
}

async fn subscribe(client: Client, qos: u8, filter: String, blocked: Arc<AtomicBool>) {
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(qos)];
    match client.subscribe(filter.as_str(), qos).await {
        Ok(mut stream) => {
            protocol::say(&format!("subscribed {filter}"));
            while let Some(message) = stream.next().await {
                protocol::message(&message.payload);
                if blocked.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            }
        }
        Err(error) => protocol::say(&format!("denied {filter} {error}")),
    }
}
