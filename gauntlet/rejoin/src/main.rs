//! rejoin with its defaults; `fast` lifts the budget and shortens the retry pause, as the row says.
//!
//! It keeps no handle of a message: what became of each comes with the events, under the name the library gave it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::{Command, Connect, Message};
use rejoin::{Client, Event, Events, PublishId, Qos, Session, Tls, VersionPolicy};
use tokio::sync::mpsc::unbounded_channel;

/// Messages handed over before the runtime has its turn.
const TURN: u64 = 64;

/// Which number has which name. Both ascend, so only where one leaps is written down.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Numbers {
    /// Nobody asks for a number before it has its name.
    fn name<T>(&self, number: u64, accept: impl FnOnce() -> Result<PublishId, T>) -> Result<(), T> {
        let mut leaps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = accept()?.0;
        if leaps.range(..id).next_back().is_none_or(|(from, first)| first + (id - from) != number) {
            leaps.insert(id, number);
        }
        Ok(())
    }

    fn of(&self, id: PublishId) -> u64 {
        let leaps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaps.range(..=id.0).next_back().map_or(u64::MAX, |(from, first)| first + (id.0 - from))
    }
}

#[tokio::main]
async fn main() {
    let (into, mut commands) = unbounded_channel();
    let lines = protocol::commands();
    std::thread::spawn(move || lines.into_iter().try_for_each(|command| into.send(command)));
    let blocked = Arc::new(AtomicBool::new(false));
    let numbers = Numbers::default();
    let mut client = None;
    while let Some(command) = commands.recv().await {
        match (command, &client) {
            (Command::Connect(to), _) => client = Some(start(&to, &numbers)),
            (Command::Publish(message), Some(client)) => publish(client, message, true, &numbers),
            (Command::Burst { from, count, qos, size, rate }, Some(client)) => {
                let (client, numbers) = (Client::clone(client), numbers.clone());
                tokio::spawn(async move {
                    let begin = Instant::now();
                    for (due, message) in protocol::burst(from, count, qos, size, rate) {
                        if let Some(due) = due {
                            tokio::time::sleep_until(due.into()).await;
                        }
                        publish(&client, message, false, &numbers);
                        if message.number % TURN == 0 {
                            tokio::task::yield_now().await;
                        }
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

fn start(to: &Connect, numbers: &Numbers) -> Client {
    let version = if to.version == 5 { VersionPolicy::Only5 } else { VersionPolicy::Only311 };
    let session = if to.clean { Session::fresh() } else { Session::kept_for(Duration::from_secs(3600)) };
    let scheme = if to.ca_file.is_some() { "mqtts" } else { "mqtt" };
    let mut builder = Client::builder(&format!("{scheme}://127.0.0.1:{}", to.port))
        .client_id(to.id.clone())
        .version(version)
        .keep_alive(to.keep_alive)
        .session(session);
    if let Some(file) = &to.ca_file {
        builder = builder.tls(Tls::new().ca_file(file));
    }
    if to.fast {
        builder = builder
            .lift_connect_budget()
            .backoff(Duration::from_millis(100), Duration::from_millis(100))
            .overload_backoff(Duration::from_millis(100), Duration::from_millis(100))
            .stable_after(Duration::from_secs(1));
    }
    let prepared = builder.prepare().expect("these settings are possible");
    tokio::spawn(tell(prepared.client().events().with_deliveries(), numbers.clone()));
    prepared.start()
}

fn publish(client: &Client, message: Message, told: bool, numbers: &Numbers) {
    let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(message.qos)];
    let sent = client.publish(Message::TOPIC, message.payload()).qos(qos);
    match numbers.name(message.number, || sent.enqueue().map(|delivery| delivery.id())) {
        Ok(()) if told => protocol::taken(message.number),
        Ok(()) => {}
        Err(error) => protocol::refused(message.number, &error),
    }
}

async fn tell(mut events: Events, numbers: Numbers) {
    while let Some(event) = events.next().await {
        match event {
            Event::Opened { .. } => protocol::up(),
            Event::Closed { cause, .. } => protocol::down(&cause),
            Event::Delivered { id, .. } => protocol::acked(numbers.of(id)),
            Event::Failed { id, why } => protocol::failed(numbers.of(id), &why),
            Event::Lagged(lost) => protocol::say(&format!("lagged {lost}")),
            _ => {}
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
