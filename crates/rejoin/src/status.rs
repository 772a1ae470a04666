//! What is so now: one snapshot from which every question about the link is answered.

use std::time::{Duration, Instant};

use rejoin_core::codec::packet::Version;
use rejoin_core::text::Text;
use rejoin_core::{LinkState, LossCause, SessionState, Stage, Status, StopReason};

use crate::command::Clock;
use crate::store::StoreError;

/// Is the link open now?
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Link {
    /// Open, and nothing speaks against it.
    Open {
        /// Since when.
        since: Instant,
        /// When the last byte came from the broker, so that a caller can apply a stricter rule than ours.
        heard: Option<Instant>,
    },
    /// A ping is overdue: open by the book, unproven.
    Suspect {
        /// Since when.
        since: Instant,
        /// When the last byte came from the broker.
        heard: Option<Instant>,
    },
    /// An attempt is under way.
    Connecting {
        /// Consecutive attempts since the last link, from 1.
        attempt: u32,
        /// How far it is.
        stage: Stage,
        /// Since when.
        since: Instant,
    },
    /// Between attempts.
    Waiting {
        /// The attempt that comes next, from 1.
        attempt: u32,
        /// When it is due.
        until: Instant,
        /// Why the last link or attempt ended.
        last_error: Option<LossCause>,
        /// The budget of attempts, not the back-off, decides when.
        held_by_budget: bool,
        /// Retrying is not expected to help by itself: minutes to an hour between attempts.
        slow_lane: bool,
    },
    /// Stopped for good.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}

impl Link {
    /// A short stable name, for scripts and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Suspect { .. } => "suspect",
            Self::Connecting { .. } => "connecting",
            Self::Waiting { .. } => "waiting",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// Will what I hand over be delivered in the end?
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outlook {
    /// The link is open: it goes out behind what is already accepted.
    Now {
        /// Messages accepted before it and not answered for.
        ahead: u64,
    },
    /// It waits for the link.
    Later {
        /// It survives the end of this process once it is stored. Always false with the memory queue.
        durable: bool,
        /// Messages accepted before it and not answered for.
        ahead: u64,
    },
    /// Not as things are; somebody has to do something, or the queue has to drain.
    Blocked {
        /// What stands in the way.
        why: Obstacle,
    },
    /// The client stopped for good, or is shutting down: what is handed over is given back.
    Never {
        /// Why.
        why: StopReason,
    },
}

impl Outlook {
    /// Whether a message handed over now is accepted and on its way to the broker, now or later.
    pub const fn will_deliver(&self) -> bool {
        matches!(self, Self::Now { .. } | Self::Later { .. })
    }
}

/// What keeps messages from being accepted or delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The queue is full; what is handed over is given back.
    QueueFull,
    /// The store cannot take messages; what is handed over is given back.
    Store(StoreError),
    /// The broker refuses this client, and trying again does not help by itself. What is accepted is kept.
    Refused(Option<LossCause>),
}

/// One snapshot of everything that can be asked about the link. All answers come from it, so they never contradict
/// one another.
///
/// | [`State::link`] | [`is_connected`](State::is_connected) | [`is_connection_open`](State::is_connection_open) | [`outlook`](State::outlook) | [`ready`](State::ready) |
/// |---|---|---|---|---|
/// | `Open` | true | true | `Now` | once every subscription is granted |
/// | `Suspect` | true | false | `Later` | false |
/// | `Connecting` | true | false | `Later` | false |
/// | `Waiting` | true | false | `Later` | false |
/// | `Waiting` in the slow lane | true | false | `Blocked` | false |
/// | any of these, while it shuts down | true | as above | `Never` | as above |
/// | any of these, queue full or its disk in trouble | true | as above | `Blocked` | as above |
/// | `Stopped` | false | false | `Never` | false |
///
/// ```no_run
/// # async fn example(client: rejoin::Client) {
/// use rejoin::{Link, Outlook};
/// let state = client.state();
/// if let Link::Waiting { until, last_error, .. } = &state.link {
///     println!("no link until {until:?}: {last_error:?}");
/// }
/// match state.outlook() {
///     Outlook::Now { ahead } | Outlook::Later { ahead, .. } => println!("it will go out behind {ahead} others"),
///     Outlook::Blocked { why } => println!("not as things are: {why:?}"),
///     _ => println!("never"),
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct State {
    /// The link.
    pub link: Link,
    /// The link is open and every subscription is granted on it.
    pub ready: bool,
    /// Messages accepted and not answered for.
    pub ahead: u64,
    /// Bytes they take in the queue.
    pub queue_bytes: u64,
    /// The queue has no room for another message.
    pub queue_full: bool,
    /// What is accepted is kept on a store and survives this process.
    pub durable: bool,
    /// What is wrong with the store, if something is.
    pub store_error: Option<Box<StoreError>>,
    /// Nothing is accepted because of it.
    pub refusing: bool,
    /// Nothing more is accepted: the client is shutting down, and only sends what it has, or it has stopped.
    pub closing: bool,
    /// Why the last link or attempt ended.
    pub last_loss: Option<LossCause>,
    /// Index of the server in use or last tried.
    pub server: usize,
    /// Its name, `host:port`.
    pub server_name: Text,
    /// Version spoken, once a link was open.
    pub version: Option<Version>,
    /// The session on the present or last link.
    pub session: Option<SessionState>,
    /// The client id in use; the assigned one, where the server assigned it.
    pub client_id: Text,
    /// The server's Maximum Packet Size in bytes, on the present or last link.
    pub maximum_packet_size: Option<u32>,
    /// Servers do not have to prove who they are: TLS verification was switched off.
    pub unverified: bool,
    /// Grows with every change but those of `heard` and of how full the queue is: `ahead`, `queue_bytes`, `queue_full`, and
    /// with these [`State::outlook`].
    pub revision: u64,
}

impl State {
    /// Paho's `IsConnected`: up now, or will be again by itself. False only when stopped for good. What people
    /// mean when they guard a publish with it is [`Outlook::will_deliver`].
    pub const fn is_connected(&self) -> bool {
        !matches!(self.link, Link::Stopped { .. })
    }

    /// Paho's `IsConnectionOpen`: exactly [`Link::Open`].
    pub const fn is_connection_open(&self) -> bool {
        matches!(self.link, Link::Open { .. })
    }

    /// Since when the link is open, if it is: another one has another moment.
    pub(crate) const fn open_since(&self) -> Option<Instant> {
        match self.link {
            Link::Open { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Open, and every subscription granted on this link.
    pub const fn ready(&self) -> bool {
        self.ready && self.is_connection_open()
    }

    /// Whether what is handed over now will be delivered in the end.
    pub fn outlook(&self) -> Outlook {
        match &self.link {
            Link::Stopped { reason } => Outlook::Never { why: reason.clone() },
            _ if self.closing => Outlook::Never { why: StopReason::Shutdown },
            _ if self.refusing => match &self.store_error {
                Some(error) => Outlook::Blocked { why: Obstacle::Store(StoreError::clone(error)) },
                None => Outlook::Blocked { why: Obstacle::QueueFull },
            },
            _ if self.queue_full => Outlook::Blocked { why: Obstacle::QueueFull },
            Link::Open { .. } => Outlook::Now { ahead: self.ahead },
            Link::Waiting { slow_lane: true, last_error, .. } => {
                Outlook::Blocked { why: Obstacle::Refused(last_error.clone()) }
            }
            _ => Outlook::Later { durable: self.durable, ahead: self.ahead },
        }
    }

    /// When the last byte came from the broker on this link.
    pub const fn heard(&self) -> Option<Instant> {
        match self.link {
            Link::Open { heard, .. } | Link::Suspect { heard, .. } => heard,
            _ => None,
        }
    }

    pub(crate) fn from_status(status: Status, clock: &Clock, name: impl FnOnce(usize) -> Text) -> Self {
        let since = clock.instant(status.since);
        let heard = status.heard.map(|at| clock.instant(at));
        let link = match status.link {
            LinkState::Open => Link::Open { since, heard },
            LinkState::Suspect => Link::Suspect { since, heard },
            LinkState::Connecting { attempt, stage } => Link::Connecting { attempt, stage, since },
            LinkState::Waiting { attempt, until, held_by_budget, slow_lane } => Link::Waiting {
                attempt,
                until: clock.instant(until),
                last_error: status.last_loss.clone(),
                held_by_budget,
                slow_lane,
            },
            LinkState::Stopped(reason) => Link::Stopped { reason },
        };
        Self {
            link,
            ready: status.ready,
            ahead: 0,
            queue_bytes: 0,
            queue_full: false,
            durable: false,
            store_error: None,
            refusing: false,
            closing: false,
            last_loss: status.last_loss,
            server: status.server,
            server_name: name(status.server),
            version: status.version,
            session: status.session,
            client_id: status.client_id,
            maximum_packet_size: status.maximum_packet_size,
            unverified: false,
            revision: status.revision,
        }
    }

    /// The same, with the newest byte heard.
    pub(crate) fn heard_at(mut self, newest: Option<Instant>) -> Self {
        if let Link::Open { heard, .. } | Link::Suspect { heard, .. } = &mut self.link {
            *heard = (*heard).max(newest);
        }
        self
    }
}

/// How long [`crate::Client::connect`] waits for the first CONNACK.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    impl State {
        /// Nothing is known of it.
        pub(crate) fn for_tests() -> Self {
            Self {
                link: Link::Stopped { reason: StopReason::Shutdown },
                ready: false,
                ahead: 0,
                queue_bytes: 0,
                queue_full: false,
                durable: false,
                store_error: None,
                refusing: false,
                closing: false,
                last_loss: None,
                server: 0,
                server_name: Text::default(),
                version: None,
                session: None,
                client_id: Text::default(),
                maximum_packet_size: None,
                unverified: false,
                revision: 0,
            }
        }
    }

    fn state(link: Link, ready: bool, queue_full: bool) -> State {
        State { link, ready, queue_full, ahead: 7, ..State::for_tests() }
    }

    /// The table in the documentation of [`State`], row by row.
    #[test]
    fn the_truth_table_holds() {
        let now = Instant::now();
        let waiting = |slow_lane| Link::Waiting {
            attempt: 2,
            until: now,
            last_error: None,
            held_by_budget: false,
            slow_lane,
        };
        let connecting = Link::Connecting { attempt: 1, stage: Stage::Tcp, since: now };
        let open = Link::Open { since: now, heard: Some(now) };
        let suspect = Link::Suspect { since: now, heard: None };
        let stopped = Link::Stopped { reason: StopReason::Shutdown };
        let now_7 = Outlook::Now { ahead: 7 };
        let later = Outlook::Later { durable: false, ahead: 7 };
        let refused = Outlook::Blocked { why: Obstacle::Refused(None) };
        let full = Outlook::Blocked { why: Obstacle::QueueFull };
        let never = Outlook::Never { why: StopReason::Shutdown };
        let rows = [
            (open.clone(), false, true, true, now_7),
            (suspect.clone(), false, true, false, later.clone()),
            (connecting.clone(), false, true, false, later.clone()),
            (waiting(false), false, true, false, later),
            (waiting(true), false, true, false, refused),
            (open, true, true, true, full.clone()),
            (suspect, true, true, false, full.clone()),
            (connecting, true, true, false, full.clone()),
            (waiting(true), true, true, false, full),
            (stopped, true, false, false, never.clone()),
        ];
        for (link, queue_full, connected, is_open, outlook) in rows {
            for granted in [false, true] {
                let mut state = state(link.clone(), granted, queue_full);
                assert_eq!(state.is_connected(), connected, "{link:?}");
                assert_eq!(state.is_connection_open(), is_open, "{link:?}");
                assert_eq!(state.outlook(), outlook, "{link:?} full={queue_full}");
                assert_eq!(state.ready(), granted && is_open, "{link:?}");
                state.closing = true;
                assert_eq!(state.outlook(), never, "{link:?}");
                assert_eq!((state.is_connected(), state.is_connection_open()), (connected, is_open));
                assert_eq!(state.ready(), granted && is_open, "{link:?}");
            }
        }
    }
}
