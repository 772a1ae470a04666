//! One client: a process that may die, a disk that outlives it, a wire, an application.

use rejoin_core::flight::Flight;
use rejoin_core::{Config, Publication, PublishId, TopicName};

use super::app::App;
use super::disk::Disk;
use super::oracle::tap::Tap;
use super::oracle::watch::Watch;
use super::process::Process;
use super::renewal::Provider;
use super::setting::Setting;
use super::wire::Wire;

/// Topics are few, so that order can be judged on them.
pub(super) const LANES: [&str; 6] = ["a/0", "a/1", "e/0", "a/latest", "x/poison", "a/2"];

/// How an attempt to open a transport ends, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) at: u64,
    pub(super) ok: bool,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) config: Config,
    pub(super) engine: Process,
    pub(super) disk: Disk,
    pub(super) wire: Option<Wire>,
    pub(super) opening: Option<Opening>,
    pub(super) app: App,
    pub(super) tap: Tap,
    pub(super) watch: Watch,
    pub(super) topics: Vec<TopicName>,
    pub(super) next_burst: u64,
    /// A new process starts then.
    pub(super) reborn_at: Option<u64>,
    pub(super) refused_until: u64,
    pub(super) refuse_percent: u8,
    pub(super) dials_that_hang: u8,
    pub(super) wall_jump_ms: i64,
    /// The status was compared with the events at this revision.
    pub(super) seen_revision: u64,
    pub(super) to_decide: Vec<PublishId>,
    pub(super) provider: Provider,
    /// Somebody ends a process then that lost its store.
    pub(super) operator_at: Option<u64>,
    /// That is decided.
    pub(super) closing: bool,
    /// A process lost its store: the next one knows the order of what had to be sent again only from before.
    pub(super) store_had_failed: bool,
    /// A process went on without its store, so that the next one began with a session that had moved on.
    pub(super) was_out_of_date: bool,
}

impl Client {
    pub(super) fn new(config: Config, engine: Flight, setting: &Setting, seed: u64) -> Self {
        Self {
            engine: Process::new(engine),
            disk: if setting.real_queue { Disk::with_queue(seed) } else { Disk::default() },
            wire: None,
            opening: None,
            app: App::default(),
            tap: Tap::new(&config),
            watch: Watch::default(),
            topics: LANES.iter().filter_map(|lane| TopicName::try_from(*lane).ok()).collect(),
            next_burst: 0,
            reborn_at: None,
            refused_until: 0,
            refuse_percent: setting.refuse_percent,
            dials_that_hang: 0,
            wall_jump_ms: 0,
            seen_revision: 0,
            to_decide: Vec::new(),
            provider: Provider::default(),
            operator_at: None,
            closing: false,
            store_had_failed: false,
            was_out_of_date: false,
            config,
        }
    }

    /// When something happens to it next.
    pub(super) fn next_due(&self, publishing: bool) -> u64 {
        if let Some(at) = self.reborn_at {
            return at;
        }
        let plans = self.engine.plans();
        let wire = self.wire.as_ref();
        let mut due = if publishing { plans.due.min(self.next_burst) } else { plans.due };
        let others = [
            wire.and_then(Wire::next_up),
            wire.filter(|_| plans.reads).and_then(Wire::next_down),
            self.disk.next_sync(),
            self.disk.next_load(),
            self.app.next_taking(),
            self.opening.map(|opening| opening.at),
            self.provider.answer_at,
            self.operator_at,
        ];
        for at in others.into_iter().flatten() {
            due = due.min(at);
        }
        due
    }

    /// The process died: what is not on the disk is gone. `mixed_up`: the broker lost or swapped sessions, which a disk that
    /// had failed does not know.
    pub(super) fn forget_what_was_not_stored(&mut self, mixed_up: bool) -> Result<(), String> {
        let durable = self.config.session.durable;
        let out_of_date =
            self.disk.failed().is_some_and(|how| how == super::disk::Failed::GoesOn || mixed_up);
        self.was_out_of_date |= out_of_date;
        self.store_had_failed |= self.disk.failed().is_some();
        for (at, message) in self.app.published.iter_mut().enumerate() {
            let id = PublishId(at as u64 + 1);
            let kept = durable && self.disk.has(id);
            if kept && out_of_date && (message.transmitted > 0 || message.qos == 2) {
                // The next process goes on where the disk stands, and cannot know what happened since; the broker may take
                // what it sends for a copy of something else.
                message.excused = true;
                message.nobody_knows = true;
                message.out_of_order = true;
            }
            if message.answers > 0 {
                // Its answer may not have reached the disk: it is given once more.
                if kept && !message.may_repeat {
                    message.may_repeat = true;
                    message.never_sent = false;
                    *(if message.qos == 0 { &mut self.app.open_qos0 } else { &mut self.app.open }) += 1;
                }
                continue;
            }
            if message.forgotten || kept {
                continue;
            }
            if message.stored {
                return Err(format!("{} was called stored, and the disk does not have it", id.0));
            }
            message.forgotten = true;
            if message.qos == 0 {
                self.app.open_qos0 -= 1;
            } else {
                self.app.open -= 1;
            }
        }
        Ok(())
    }

    pub(super) fn publication(&self, lane: usize, payload: bytes::Bytes) -> Publication {
        Publication::new(self.topics[lane].clone(), payload)
    }
}
