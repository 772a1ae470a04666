//! A message to ourselves, through the broker and back: the one proof that it does what it is for.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rejoin_core::codec::packet::Qos;
use rejoin_core::{ConfigError, Publication, TopicFilter, TopicName};

use super::vitals::Loop;
use crate::client::Client;
use crate::command::{Command, Shared};
use crate::error::{BuildError, SubscribeError};
use crate::events::Event;
use crate::status::State;
use crate::subscription::Subscription;
use crate::translate;

/// Most bytes that may wait or be unanswered when a message to ourselves is sent: they cross a link of 64 kbit/s in two
/// seconds. Behind more of them it would measure the backlog.
const BEHIND_MAX: u64 = 16 * 1024;
/// How long it is at most until it is looked again whether one can be sent.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the time begins anew because other messages came in before it.
const BEHIND_OTHERS_MAX: u32 = 10;
/// Longest pause between two restarts of the link that do not help.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) topic: Option<TopicName>,
    pub(crate) every: Duration,
    pub(crate) within: Duration,
    pub(crate) restarts: bool,
}

/// The same, checked.
#[derive(Clone, Debug)]
pub(crate) struct Loopback {
    pub(crate) topic: TopicName,
    every: Duration,
    within: Duration,
    restarts: bool,
}

impl Asked {
    pub(crate) fn resolve(self, client_id: &str) -> Result<Loopback, ConfigError> {
        let wrong = |why: &str| ConfigError::new("health_watch", why);
        let Self { topic, every, within, restarts } = self;
        if every.is_zero() || within.is_zero() {
            return Err(wrong("the times of the loopback message must be longer than zero"));
        }
        let topic = topic.or_else(|| own_topic(client_id));
        let topic =
            topic.ok_or_else(|| wrong("the client id makes no topic; name one with loopback_topic()"))?;
        Ok(Loopback { topic, every, within, restarts })
    }
}

impl Loopback {
    /// What matches its topic and nothing else.
    pub(crate) fn filter(&self) -> Option<TopicFilter> {
        TopicFilter::try_from(self.topic.text().as_str()).ok()
    }
}

/// When a link may be restarted over messages that do not come back: at once, then after pauses that double.
#[derive(Debug, Default)]
struct Restarts {
    in_vain: u32,
    not_before: Option<Instant>,
}

impl Restarts {
    /// One did not come back. True if the link is to be restarted.
    fn missed(&mut self, turn: Duration, now: Instant) -> bool {
        if self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        let pause = turn.saturating_mul(2u32.saturating_pow(self.in_vain + 1)).min(PAUSE_MAX.max(turn));
        self.in_vain = (self.in_vain + 1).min(30);
        self.not_before = now.checked_add(pause);
        true
    }

    fn came_back(&mut self) {
        *self = Self::default();
    }
}

/// Sends a message each time and waits for it, for as long as the client lives. `inbox` is a stream of the topic.
async fn run(shared: Weak<Shared>, setting: Loopback, mut inbox: Subscription) {
    let mut restarts = Restarts::default();
    loop {
        let began = Instant::now();
        let pause = match turn(&shared, &setting, &mut inbox).await {
            Turn::Ended => return,
            Turn::Refused(why) => {
                // The wish goes with the stream, or the client would never be ready again.
                drop(inbox);
                tracing::warn!(target: "rejoin", %why, "no loopback message is sent any more");
                if let Some(shared) = shared.upgrade() {
                    shared.ward.note_loopback(Loop::Refused(why.to_string()));
                }
                return;
            }
            Turn::NotNow => setting.every.min(AGAIN),
            Turn::NoNews => setting.every.saturating_sub(began.elapsed()),
            Turn::Back(took) => {
                restarts.came_back();
                let Some(shared) = shared.upgrade() else { return };
                shared.ward.note_loopback(Loop::Back(took));
                setting.every.saturating_sub(began.elapsed())
            }
            Turn::Missed(waited) => {
                let restart = setting.restarts
                    && restarts.missed(setting.every.saturating_add(setting.within), Instant::now());
                let Some(shared) = shared.upgrade() else { return };
                shared.ward.note_loopback(Loop::Missed);
                missed(&shared, &setting, waited, restart);
                setting.every.saturating_sub(began.elapsed())
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What came of one turn.
enum Turn {
    Back(Duration),
    Missed(Duration),
    /// It was sent, and what became of it says nothing.
    NoNews,
    NotNow,
    Refused(SubscribeError),
    Ended,
}

async fn turn(shared: &Weak<Shared>, setting: &Loopback, inbox: &mut Subscription) -> Turn {
    // Only an open link on which our own subscription is granted can bring it back; the others are no concern of ours.
    let Some(waits) = shared.upgrade() else { return Turn::Ended };
    let state = waits.state.wait_for(|state| state.is_connection_open() || !state.is_connected()).await;
    if !state.is_connected() {
        return Turn::Ended;
    }
    drop(waits);
    match inbox.wait_granted(AGAIN).await {
        Ok(()) => {}
        Err(SubscribeError::Elapsed { .. }) => return Turn::NotNow,
        Err(SubscribeError::Stopped) => return Turn::Ended,
        Err(refused) => return Turn::Refused(refused),
    }
    let payload = format!("rejoin loopback {:016x}", fastrand::u64(..));
    let publication =
        Publication { qos: Qos::AtMostOnce, ..Publication::new(setting.topic.clone(), payload.clone()) };
    let (link, sent) = {
        let Some(shared) = shared.upgrade() else { return Turn::Ended };
        (shared.state.look(State::open_since), shared.enqueue_beside(publication, BEHIND_MAX))
    };
    match sent {
        Err(_) => return Turn::Ended,
        Ok(None) => return Turn::NotNow,
        // What stands in the queue is in the way of others, and measures the queue.
        Ok(Some(delivery)) => match tokio::time::timeout(setting.within, delivery.acked()).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Turn::NoNews,
            Err(_) => {
                delivery.cancel();
                return Turn::NoNews;
            }
        },
    }
    let left = Instant::now();
    for _ in 0..=BEHIND_OTHERS_MAX {
        let waits = Instant::now();
        match tokio::time::timeout(setting.within, comes_back(inbox, payload.as_bytes())).await {
            Ok(false) => return Turn::Ended,
            Ok(true) => return Turn::Back(left.elapsed()),
            Err(_) => {}
        }
        // A link that was lost meanwhile is no news about the broker, nor is one we do not read from.
        let Some(shared) = shared.upgrade() else { return Turn::Ended };
        if link.is_none() || shared.state.look(State::open_since) != link || shared.is_held_up() {
            return Turn::NoNews;
        }
        if shared.last_message().is_none_or(|at| at < waits) {
            break;
        }
    }
    Turn::Missed(left.elapsed())
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

fn missed(shared: &Arc<Shared>, setting: &Loopback, waited: Duration, restarts: bool) {
    let what = format!("the loopback message on `{}` did not come back", setting.topic.text());
    let event = Event::Silent { what, silent_for: waited, restarts };
    translate::log(&shared.client_id(), &event);
    shared.events.tell(&event);
    if restarts {
        shared.push_always(Command::Unwell(waited));
    }
}

/// Starts the task; it does not keep the client alive.
pub(crate) fn start(client: &Client, setting: Loopback) -> Result<(), BuildError> {
    let inbox =
        client.subscribe(setting.topic.text().as_str(), Qos::AtMostOnce).capacity(64).declare_unowned();
    let inbox = inbox.map_err(|error| ConfigError::new("health_watch", error.to_string()))?;
    let shared = client.shared();
    shared.runtime.spawn(run(Arc::downgrade(shared), setting, inbox));
    Ok(())
}

/// A topic of our own, unless one is given.
fn own_topic(client_id: &str) -> Option<TopicName> {
    let own: String = client_id.chars().map(|c| if matches!(c, '+' | '#' | '/') { '_' } else { c }).collect();
    TopicName::try_from(format!("rejoin/loopback/{own}").as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_that_do_not_help_become_seldom() {
        let start = Instant::now();
        let turn = Duration::from_secs(32);
        let mut restarts = Restarts::default();
        let mut at = Vec::new();
        for second in 0..(24 * 3600) {
            if restarts.missed(turn, start + Duration::from_secs(second)) {
                at.push(second);
            }
        }
        assert_eq!(at[..5], [0, 64, 192, 448, 960]);
        let pauses: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses.iter().max(), Some(&3600), "{pauses:?}");
        restarts.came_back();
        assert!(restarts.missed(turn, start), "news: at once again");
    }
}
