//! The driver's side of a store: what was handed to it, how it stands, and what it still owes when the client ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

#[cfg(feature = "store-redb")]
use rejoin_core::ConfigError;
use rejoin_core::codec::packet::Qos;
use rejoin_core::text::Text;
use rejoin_core::{Input, Publication, PublishId, Record, Recovered, Ticket, Timestamp};

use crate::command::{Standing, Terms};
use crate::driver::Driver;
use crate::error::{BuildError, PublishError};
use crate::events::Event;
use crate::metrics::Cells;
use crate::pending::{Entry, Kept, Pending};
use crate::queue::{Place, Queue, WhenStoreFails};
use crate::reservation::{OVERHEAD, Reservation, cost};
use crate::store::keeper::{Keeper, Report};
#[cfg(feature = "store-redb")]
use crate::store::{Folder, FolderOptions, Identity, SystemClock};
use crate::store::{Store, StoreError};

/// How long the end of a client waits for a store that does not answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// What may wait to be written although its messages are answered for, in bytes: twice the bound of the queue, and never
/// less than this, which a disk that syncs in moments does not let gather.
const BEHIND_LEAST: u64 = 16 << 20;

/// The store of one client, as its driver sees it.
pub(crate) struct Storage {
    keeper: Keeper,
    when_fails: WhenStoreFails,
    /// The last ticket handed over, and the last that came back.
    issued: Ticket,
    persisted: Ticket,
    /// Bytes of messages on their way to the disk, by ticket and in all.
    handed: VecDeque<(Ticket, u64)>,
    handed_bytes: u64,
    /// With more than this nothing is accepted until half of it is written.
    behind_above: u64,
    behind: bool,
    /// Its own trouble, which it takes back.
    troubled: bool,
    /// It takes nothing more.
    lost: bool,
    changes: u64,
    /// Messages of an earlier process, until that was told.
    found: u64,
    /// Messages that the engine left to the store when it stopped, and whether the broker may have them.
    parting: Vec<(PublishId, bool)>,
    /// When waiting for it to close is over.
    close_by: Option<Timestamp>,
}

impl Storage {
    pub(crate) fn new(keeper: Keeper, queue: &Queue, found: u64) -> Self {
        Self {
            keeper,
            when_fails: queue.when_store_fails,
            issued: Ticket(0),
            persisted: Ticket(0),
            handed: VecDeque::new(),
            handed_bytes: 0,
            behind_above: queue.max_bytes.saturating_mul(2).max(BEHIND_LEAST),
            behind: false,
            troubled: false,
            lost: false,
            changes: 0,
            found,
            parting: Vec::new(),
            close_by: None,
        }
    }

    /// Hands records over. `false`: nobody keeps them any more, and nobody is to wait for it.
    pub(crate) fn persist(&mut self, ticket: Ticket, records: Vec<Record>) -> bool {
        self.issued = ticket;
        if self.lost {
            return self.when_fails == WhenStoreFails::Refuse;
        }
        let bytes = records.iter().map(body_bytes).sum();
        if bytes > 0 {
            self.handed.push_back((ticket, bytes));
            self.handed_bytes += bytes;
        }
        self.keeper.persist(ticket, records);
        true
    }

    /// Whether it takes what is accepted from now on.
    pub(crate) const fn is_keeping(&self) -> bool {
        !self.lost
    }

    /// Everything up to this ticket is on the disk.
    fn persisted(&mut self, ticket: Ticket) {
        self.persisted = ticket;
        while let Some((_, bytes)) = self.handed.pop_front_if(|(handed, _)| *handed <= ticket) {
            self.handed_bytes -= bytes;
        }
    }

    pub(crate) fn load(&self, ids: Vec<PublishId>) {
        self.keeper.load(ids);
    }

    /// How long its commits take.
    pub(crate) fn syncs(&self) -> Arc<Cells> {
        self.keeper.syncs()
    }

    /// How often it changed how it stands.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The engine stopped and leaves this message to the store.
    pub(crate) fn part(&mut self, id: PublishId, maybe_delivered: bool) {
        self.parting.push((id, maybe_delivered));
    }
}

fn body_bytes(record: &Record) -> u64 {
    match record {
        Record::Enqueued { publication, .. } => cost(publication),
        _ => 0,
    }
}

/// The store at the place the settings name, and the client id it remembers where none was given.
pub(crate) fn place(
    place: Place,
    #[cfg_attr(not(feature = "store-redb"), expect(unused_variables, reason = "only a folder remembers"))]
    about: (&mut Option<String>, fn() -> String, &[Text]),
) -> Result<Option<Box<dyn Store>>, BuildError> {
    match place {
        Place::Memory => Ok(None),
        Place::Store(store) => Ok(Some(store)),
        #[cfg(feature = "store-redb")]
        Place::Folder { path, quick_repair } => {
            let (client_id, make_id, servers) = about;
            let given = client_id.as_deref().filter(|id| !id.is_empty()).map(Text::try_from).transpose();
            let identity = Identity {
                client_id: given.map_err(|error| ConfigError::new("client_id", error.to_string()))?,
                servers: servers.iter().map(|server| server.as_str().to_owned()).collect(),
            };
            let options = FolderOptions { quick_repair, ..FolderOptions::default() };
            let mut folder = Folder::open_with(&path, &identity, options, SystemClock)?;
            if client_id.is_none() {
                let id = match folder.client_id() {
                    Some(remembered) => remembered.as_str().to_owned(),
                    None => {
                        let id = make_id();
                        let text = Text::try_from(id.as_str());
                        let text = text.map_err(|error| ConfigError::new("client_id", error.to_string()))?;
                        folder.set_client_id(&text)?;
                        id
                    }
                };
                *client_id = Some(id);
            }
            Ok(Some(Box::new(folder)))
        }
    }
}

/// A client's account of what it has accepted, as an earlier process left it.
pub(crate) struct Opened {
    pub(crate) recovered: Recovered,
    pub(crate) accounts: (Reservation, Standing, Terms, PublishId),
    pub(crate) stock: Stock,
}

/// What a driver begins with.
#[derive(Default)]
pub(crate) struct Stock {
    pub(crate) pending: Pending,
    pub(crate) storage: Option<Box<Storage>>,
}

/// Reads the store and starts its thread.
pub(crate) fn open(
    store: Option<Box<dyn Store>>,
    queue: &Queue,
    now: Timestamp,
) -> Result<Opened, BuildError> {
    let terms = Terms {
        when_full: queue.when_full,
        expires_after: queue.expires_after,
        latest_only: queue.latest_only,
    };
    let mut room = Reservation::new(queue.max_bytes, queue.max_messages);
    let mut pending = Pending::default();
    let Some(mut store) = store else {
        let accounts = (room, Standing::default(), terms, PublishId(0));
        return Ok(Opened { recovered: Recovered::default(), accounts, stock: Stock::default() });
    };
    let recovered = store.recover()?;
    let all = accepted(&recovered);
    let count = all.len() as u64;
    for (id, qos, size_bytes) in all {
        let bytes = OVERHEAD + size_bytes;
        room.occupy(bytes, 1);
        pending.insert(id, found_entry(qos, bytes, now));
    }
    // Who lists what is pending may ask before the engine tells.
    recovered.undecided.iter().for_each(|(id, _)| pending.ask(*id));
    let keeper = Keeper::start(store).map_err(|error| BuildError::NoThread(error.to_string()))?;
    let standing = Standing { durable: true, ..Standing::default() };
    let accounts = (room, standing, terms, recovered.last_publish);
    let storage = Some(Box::new(Storage::new(keeper, queue, count)));
    Ok(Opened { recovered, accounts, stock: Stock { pending, storage } })
}

/// Every message not answered for, by ascending name.
fn accepted(recovered: &Recovered) -> Vec<(PublishId, Qos, u64)> {
    let of = |id: PublishId, publication: &Publication| (id, publication.qos, publication.size_bytes());
    let waiting = recovered.waiting.iter().map(|waits| (waits.id, waits.qos, waits.size_bytes));
    let sent = recovered.sent.iter().map(|was| of(was.id, &was.publication));
    let undecided = recovered.undecided.iter().map(|(id, publication)| of(*id, publication));
    let mut all: Vec<_> = waiting.chain(sent).chain(undecided).collect();
    all.sort_unstable_by_key(|(id, ..)| *id);
    all
}

fn found_entry(qos: Qos, bytes: u64, now: Timestamp) -> Entry {
    Entry {
        cell: None,
        accepted: now,
        first_sent: Timestamp::NEVER,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        attempts: 0,
        qos,
        kept: Kept::Found,
    }
}

impl Driver {
    /// Takes what the store reports. True if there was anything.
    pub(crate) fn poll_storage(&mut self, cx: &Context<'_>) -> bool {
        let mut busy = false;
        let found = self.storage.as_mut().map_or(0, |storage| std::mem::take(&mut storage.found));
        if found > 0 {
            self.publish_event(&Event::Found { messages: found });
        }
        while let Some(report) = self.storage.as_ref().and_then(|storage| storage.keeper.poll(cx.waker())) {
            busy = true;
            self.storage_reports(report);
        }
        self.weigh_storage();
        busy
    }

    /// While the disk stands still, messages of QoS 1 come and go and make room for others, but what is to be written of
    /// them stays.
    fn weigh_storage(&mut self) {
        let Some(storage) = &mut self.storage else { return };
        let bytes = storage.handed_bytes;
        if storage.lost || storage.troubled {
            return;
        }
        if !storage.behind && bytes > storage.behind_above {
            storage.behind = true;
            self.storage_trouble(StoreError::Behind { bytes });
        } else if storage.behind && bytes <= storage.behind_above / 2 {
            storage.behind = false;
            self.storage_well();
        }
    }

    fn storage_well(&mut self) {
        self.storage_stands(Standing { durable: true, error: None, refusing: false });
        self.publish_event(&Event::StoreWell);
    }

    fn storage_reports(&mut self, report: Report) {
        let Some(storage) = &mut self.storage else { return };
        let stats = storage.keeper.stats();
        match report {
            Report::Persisted(ticket) => {
                storage.persisted(ticket);
                **crate::sync::lock(&self.shared.store_stats).get_or_insert_default() = stats;
                self.tell(Input::Persisted(ticket));
            }
            Report::SessionPersisted(ticket) => self.tell(Input::SessionPersisted(ticket)),
            Report::Loaded(bodies) => self.tell(Input::Loaded(bodies)),
            Report::Withdraw(ids) => self.withdraw(&ids),
            Report::Failed(error, bodies) => {
                storage.lost = true;
                self.storage_lost(bodies);
                self.storage_trouble(error);
            }
            Report::Lost(bodies) => self.storage_lost(bodies),
            Report::Trouble(error) => {
                storage.troubled = true;
                self.storage_trouble(error);
            }
            Report::Well => {
                // What is behind is weighed anew.
                (storage.troubled, storage.behind) = (false, false);
                self.storage_well();
            }
        }
    }

    /// What the store never wrote is in memory only from here on.
    fn storage_lost(&mut self, bodies: Vec<(PublishId, Publication)>) {
        let Some(storage) = &self.storage else { return };
        let goes_on = storage.when_fails == WhenStoreFails::GoOnInMemory;
        let persisted = goes_on.then_some(Input::Persisted(storage.issued));
        self.tell_at_once([Input::StoreLost(bodies)].into_iter().chain(persisted));
        self.pending.kept_in_memory();
    }

    fn storage_trouble(&mut self, error: StoreError) {
        let Some(storage) = &mut self.storage else { return };
        let refusing = !storage.lost || storage.when_fails == WhenStoreFails::Refuse;
        let durable = !storage.lost;
        self.storage_stands(Standing { durable, error: Some(Box::new(error.clone())), refusing });
        self.publish_event(&Event::StoreTrouble { error, refusing });
    }

    fn storage_stands(&mut self, standing: Standing) {
        if let Some(storage) = &mut self.storage {
            storage.changes += 1;
        }
        self.shared.set_store(standing);
        self.state_changed();
    }

    /// After the engine stopped: waits until the store has written what it was given. True when it is time to go.
    pub(crate) fn poll_closing_storage(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.shared.clock.now().mono;
        let Some(storage) = &mut self.storage else { return true };
        let by = *storage.close_by.get_or_insert_with(|| {
            storage.keeper.close();
            now + CLOSE_LIMIT
        });
        let is_closed = storage.keeper.is_closed();
        if !is_closed && now < by {
            let at = self.shared.clock.timer(by);
            return self.poll_timer_at(at, cx).is_ready();
        }
        // What it reported last may have come since the last look.
        self.poll_storage(cx);
        self.part_with_storage(is_closed);
        true
    }

    /// Answers for what the engine left to the store.
    fn part_with_storage(&mut self, is_closed: bool) {
        let Some(storage) = &mut self.storage else { return };
        let all = is_closed && storage.persisted == storage.issued;
        let may_come = !is_closed && storage.is_keeping();
        for (id, maybe_delivered) in std::mem::take(&mut storage.parting) {
            let entry = self.pending.get_mut(id);
            let (stored, recorded) = entry.map_or((false, false), |e| (e.is_stored(), e.is_recorded()));
            // What nobody waits for any more may still be written: then the next start sends it.
            let maybe_delivered = maybe_delivered || (recorded && may_come);
            if stored || (recorded && all) {
                self.count_still_queued();
                self.finished(id, |_| Err(Box::new(PublishError::StillQueued { maybe_delivered })));
            } else {
                self.count_lost(maybe_delivered);
                self.finished(id, |_| Err(Box::new(PublishError::Stopped { maybe_delivered })));
            }
        }
        self.settle();
    }
}
