//! A message to ourselves, through the broker and back: the one proof that it does what it is for.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rejoin_core::codec::packet::Qos;
use rejoin_core::{ConfigError, Publication, TopicName};

use super::watch::Loopback;
use crate::client::Client;
use crate::command::{Command, Shared};
use crate::error::BuildError;
use crate::events::Event;
use crate::subscription::Subscription;
use crate::translate;

/// Sends a message each time and waits for it, for as long as the client lives. `inbox` is a stream of the topic.
async fn run(shared: Weak<Shared>, setting: Loopback, mut inbox: Subscription) {
    let mut states = match shared.upgrade() {
        Some(shared) => shared.state.subscribe(),
        None => return,
    };
    let mut number: u64 = fastrand::u64(..);
    loop {
        // Only an open link on which the subscription is granted can bring it back.
        match states.wait_for(|state| state.ready() || !state.is_connected()).await {
            Ok(state) if state.ready() => {}
            _ => return,
        }
        number = number.wrapping_add(1);
        let payload = format!("rejoin loopback {number:016x}");
        let began = Instant::now();
        {
            let Some(shared) = shared.upgrade() else { return };
            let publication = Publication {
                qos: Qos::AtMostOnce,
                ..Publication::new(setting.topic.clone(), payload.clone())
            };
            if shared.enqueue(publication).is_err() {
                return;
            }
        }
        let back = tokio::time::timeout(setting.within, comes_back(&mut inbox, payload.as_bytes())).await;
        match back {
            Ok(false) => return,
            Ok(true) => {
                let Some(shared) = shared.upgrade() else { return };
                shared.ward.note_loopback(Some(began.elapsed()));
            }
            // A link that was lost meanwhile is no news about the broker.
            Err(_) if states.borrow().is_connection_open() && !states.has_changed().unwrap_or(true) => {
                let Some(shared) = shared.upgrade() else { return };
                shared.ward.note_loopback(None);
                missed(&shared, &setting, began.elapsed());
            }
            Err(_) => {}
        }
        states.mark_unchanged();
        tokio::time::sleep(setting.every.saturating_sub(began.elapsed())).await;
    }
}

/// True when it came, false when the client ended.
async fn comes_back(inbox: &mut Subscription, payload: &[u8]) -> bool {
    loop {
        match inbox.next().await {
            Some(message) if message.payload == payload => return true,
            // One that was late, or of another client.
            Some(_) => {}
            None => return false,
        }
    }
}

fn missed(shared: &Arc<Shared>, setting: &Loopback, waited: Duration) {
    let what = format!("the loopback message on `{}` did not come back", setting.topic.text());
    let event = Event::Silent { what, silent_for: waited, restarts: setting.restarts };
    translate::log(&shared.client_id(), &event);
    shared.events.tell(&event);
    if setting.restarts {
        shared.push_always(Command::Unwell(waited));
    }
}

/// Starts the task; it does not keep the client alive.
pub(crate) fn start(
    client: &Client,
    topic: Option<TopicName>,
    every: Duration,
    within: Duration,
    restarts: bool,
) -> Result<(), BuildError> {
    let wrong = |why: &str| BuildError::from(ConfigError::new("health_watch", why));
    if every.is_zero() || within.is_zero() {
        return Err(wrong("the times of the loopback message must be longer than zero"));
    }
    let client_id = client.state().client_id;
    let topic = topic.or_else(|| own_topic(client_id.as_str()));
    let topic = topic.ok_or_else(|| wrong("the client id makes no topic; name one with loopback_topic()"))?;
    let inbox = client.subscribe(topic.text().as_str(), Qos::AtMostOnce).capacity(64).declare_unowned();
    let inbox = inbox.map_err(|error| wrong(&error.to_string()))?;
    let shared = client.shared();
    let setting = Loopback { topic, every, within, restarts };
    shared.runtime.spawn(run(Arc::downgrade(shared), setting, inbox));
    Ok(())
}

/// A topic of our own, unless one is given.
fn own_topic(client_id: &str) -> Option<TopicName> {
    let own: String = client_id.chars().map(|c| if matches!(c, '+' | '#' | '/') { '_' } else { c }).collect();
    TopicName::try_from(format!("rejoin/loopback/{own}").as_str()).ok()
}
