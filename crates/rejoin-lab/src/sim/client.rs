//! One client: a process that may die, a disk that outlives it, a wire, an application.

use rejoin_core::flight::Flight;
use rejoin_core::{Config, Publication, PublishId, SessionState, Text, TopicName};

use super::app::App;
use super::auth::Prover;
use super::disk::Disk;
use super::opening::Opening;
use super::oracle::tap::Tap;
use super::oracle::watch::Watch;
use super::process::Process;
use super::renewal::Provider;
use super::setting::Setting;
use super::wire::Wire;
use crate::broker::Violation;

/// Topics are few, so that order can be judged on them.
pub(super) const LANES: [&str; 6] = ["a/0", "a/1", "e/0", "a/latest", "x/poison", "a/2"];
/// The lane that is heard as well where topic aliases are in use: of one topic alone an alias cannot be mistaken.
pub(super) const HEARD_TOO: usize = 5;

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) config: Config,
    pub(super) engine: Process,
    pub(super) disk: Disk,
    pub(super) wire: Option<Wire>,
    pub(super) opening: Option<Opening>,
    /// Which server the present attempt or link is to.
    pub(super) server: usize,
    /// The names its sessions have had at the broker, the present one last.
    sessions: Vec<Text>,
    /// The attempt under way has come to a broker.
    pub(super) counted: bool,
    pub(super) app: App,
    pub(super) tap: Tap,
    pub(super) watch: Watch,
    pub(super) topics: Vec<TopicName>,
    pub(super) next_burst: u64,
    /// A new process starts then.
    pub(super) reborn_at: Option<u64>,
    /// A server whose port is closed, and until when.
    refused: (usize, u64),
    pub(super) refuse_percent: u8,
    pub(super) dials_that_hang: u8,
    pub(super) wall_jump_ms: i64,
    /// The status was compared with the events at this revision.
    pub(super) seen_revision: u64,
    pub(super) to_decide: Vec<PublishId>,
    pub(super) provider: Provider,
    pub(super) prover: Prover,
    /// Somebody ends a process then that lost its store.
    pub(super) operator_at: Option<u64>,
    /// That is decided.
    pub(super) closing: bool,
    /// A process went on without its store, so that the next one began with a session that had moved on; until a session
    /// begins anew.
    pub(super) is_out_of_date: bool,
    /// Its session goes on from an earlier process; until one begins anew.
    inherits: bool,
    /// It left a session behind at another server, for good: what was under way there is under way here again.
    pub(super) moved: bool,
    /// The broker's session ended, by its time perhaps, and no link of this client has begun another one that it knows of:
    /// the CONNACK that would have said so may be lost.
    pub(super) session_ended: bool,
}

impl Client {
    pub(super) fn new(config: Config, engine: Flight, setting: &Setting, seed: u64) -> Self {
        Self {
            engine: Process::new(engine),
            disk: if setting.real_queue { Disk::with_queue(seed) } else { Disk::default() },
            wire: None,
            opening: None,
            server: 0,
            sessions: Vec::new(),
            counted: false,
            app: App::default(),
            tap: Tap::new(&config),
            watch: Watch::default(),
            topics: (0..LANES.len())
                .filter_map(|lane| TopicName::try_from(setting.topic(lane)).ok())
                .collect(),
            next_burst: 0,
            reborn_at: None,
            refused: (0, 0),
            refuse_percent: setting.refuse_percent,
            dials_that_hang: 0,
            wall_jump_ms: 0,
            seen_revision: 0,
            to_decide: Vec::new(),
            provider: Provider::default(),
            prover: Prover::default(),
            operator_at: None,
            closing: false,
            is_out_of_date: false,
            inherits: false,
            moved: false,
            session_ended: false,
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
            self.prover.answer_at(),
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
        self.is_out_of_date |= out_of_date;
        let failed = self.disk.failed().is_some();
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
            // The next process knows the order of what has to be sent again only from before.
            message.out_of_order |= failed && kept;
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

    /// The port of the server it speaks with is closed until then.
    pub(super) const fn refuse_until(&mut self, until: u64) {
        self.refused = (self.server, until);
    }

    pub(super) const fn refuses(&self, server: usize, now: u64) -> bool {
        self.refused.0 == server && now < self.refused.1
    }

    /// The name of its present session at the broker; empty before there is one.
    pub(super) fn session_name(&self) -> &str {
        self.sessions.last().map_or("", Text::as_str)
    }

    /// Whether a session is or was its own.
    pub(super) fn had_session(&self, name: &str) -> bool {
        self.sessions.iter().any(|known| known == name)
    }

    /// It asked for a session, or knows by now what it is called.
    pub(super) fn names_session(&mut self) {
        let name = self.tap.address().session_name(self.tap.client_id());
        if !name.is_empty() && name != self.session_name() {
            self.sessions.retain(|known| *known != name);
            self.sessions.push(name);
        }
    }

    /// A link opened. Where its session begins anew nothing is left of what an earlier process did without its disk.
    pub(super) fn session_opened(&mut self, session: SessionState) {
        self.is_out_of_date &= session == SessionState::Kept || self.disk.failed().is_some();
        self.session_ended &= session == SessionState::Kept;
        self.inherits &= session == SessionState::Kept;
    }

    /// Another process begins.
    pub(super) const fn begins_again(&mut self) {
        self.app.lives += 1;
        self.inherits = true;
    }

    /// Whether a broken rule that the broker names may be owed to what a crash took along, as long as the session goes on
    /// that the earlier process had. An identifier of a QoS 1 message need not be on the disk, so a new process may use one
    /// again, even for the same; and one that went on without its store leaves exchanges the next one knows otherwise, or
    /// not at all.
    fn may_break(&self, clause: &str) -> bool {
        match clause {
            "MQTT-2.2.1-3" | "MQTT-3.3.1-1" | "MQTT-4.3.3-4" | "MQTT-4.6.0-1" => self.inherits,
            "MQTT-4.3.3-6" => self.is_out_of_date,
            _ => false,
        }
    }

    pub(super) fn publication(&self, lane: usize, payload: bytes::Bytes) -> Publication {
        Publication::new(self.topics[lane].clone(), payload)
    }
}

/// Whether what the broker objects to is excused, by what happened to the client that did it.
pub(super) fn is_excused(violation: &Violation, clients: &[Client]) -> bool {
    let of = clients.iter().find(|client| client.had_session(&violation.client));
    of.is_some_and(|client| client.may_break(violation.clause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::disk::Failed;
    use crate::sim::trace::Trace;
    use crate::sim::world::World;
    use rejoin_core::{Record, Timestamp};

    fn world_of_two() -> World {
        let setting = Setting { clients: 2, unnamed: false, ..Setting::draw(1) };
        let mut world = World::new(1, setting, Trace::new(false, false), None);
        world.clients.iter_mut().for_each(Client::names_session);
        world
    }

    #[test]
    fn what_befell_one_client_excuses_no_other() {
        let mut world = world_of_two();
        let connection = world.broker.opened(Timestamp::ZERO);
        let by = |client: &str, clause| Violation {
            connection,
            client: client.to_owned(),
            clause,
            detail: String::new(),
            suspicion: false,
        };
        world.clients[1].begins_again();
        world.clients[1].is_out_of_date = true;
        for clause in ["MQTT-2.2.1-3", "MQTT-3.3.1-1", "MQTT-4.3.3-4", "MQTT-4.6.0-1", "MQTT-4.3.3-6"] {
            assert!(is_excused(&by("c1", clause), &world.clients), "{clause}");
            assert!(!is_excused(&by("c0", clause), &world.clients), "{clause}");
            assert!(!is_excused(&by("", clause), &world.clients), "{clause}");
        }
        assert!(!is_excused(&by("c1", "MQTT-3.1.0-2"), &world.clients));
        world.clients[1].session_opened(SessionState::Kept);
        assert!(is_excused(&by("c1", "MQTT-2.2.1-3"), &world.clients));
        world.clients[1].session_opened(SessionState::New);
        assert!(
            !is_excused(&by("c1", "MQTT-2.2.1-3"), &world.clients),
            "the broker has forgotten that process"
        );
    }

    #[test]
    fn a_session_that_ended_unseen_is_excused_until_the_client_begins_another() {
        let mut world = world_of_two();
        let setting = world.setting.clone();
        for client in &mut world.clients {
            client.tap.crashed(&[Record::SessionStarted { epoch: 1, server: "a".to_owned() }]);
        }
        let ended = crate::sim::oracle::account::Entry::SessionEnded { session: Text::from_static("c1") };
        crate::sim::oracle::books::book(ended, &mut world.clients, &setting, false).unwrap();
        assert!(!world.clients[0].session_ended && world.clients[1].session_ended);
        world.clients[1].session_opened(SessionState::Kept);
        assert!(world.clients[1].session_ended, "this CONNACK did not say so");
        world.clients[1].session_opened(SessionState::New);
        assert!(!world.clients[1].session_ended);
    }

    #[test]
    fn a_session_that_begins_anew_on_a_healthy_disk_ends_the_excuse() {
        let mut world = world_of_two();
        let client = &mut world.clients[0];
        client.is_out_of_date = true;
        client.session_opened(SessionState::Kept);
        assert!(client.is_out_of_date, "the server goes on with what the process without its disk did");
        client.disk.fail(Failed::GoesOn, &mut fastrand::Rng::with_seed(1));
        client.session_opened(SessionState::New);
        assert!(client.is_out_of_date, "this disk is not the one that is asked next time");
        client.disk.reopen();
        client.session_opened(SessionState::New);
        assert!(!client.is_out_of_date);
    }
}
