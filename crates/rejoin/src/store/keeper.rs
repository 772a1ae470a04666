//! The thread that serves a store: while one commit runs, what comes meanwhile gathers, and the next takes all of it.
//! No timer adds delay, and under load groups widen by themselves. Only that a message is done may wait a moment for
//! company: nobody waits for it, and a commit of its own would write as much as the acceptance did.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rejoin_core::{Publication, PublishId, Record, Ticket};

use super::guarded::Guarded;
use super::{Store, StoreError, StoreStats};
use crate::metrics::Cells;
use crate::sync::lock;

/// Records in one commit.
const GROUP_RECORDS: usize = 16_384;
/// Pause before a commit that found no space is tried again.
const SPACE_PAUSE: Duration = Duration::from_secs(1);
/// How long the end of messages may wait for something else to be committed with. A kill within it has them sent again,
/// which QoS 1 allows and which the broker of a QoS 2 message answers from what it remembers.
const LAG: Duration = Duration::from_millis(100);
/// With nothing to do for this long the store may tidy up.
const IDLE: Duration = Duration::from_secs(1);

/// What the driver is told, in order.
#[derive(Debug)]
pub(crate) enum Report {
    /// Everything up to this ticket survives a power cut.
    Persisted(Ticket),
    /// Of everything up to this ticket, what goes ahead of messages that do not fit.
    SessionPersisted(Ticket),
    /// Bodies that were asked for.
    Loaded(Vec<(PublishId, Option<Publication>)>),
    /// Messages that a person looking into the queue wants gone.
    Withdraw(Vec<PublishId>),
    /// The store cannot take records now; they are tried again.
    Trouble(StoreError),
    /// The store takes nothing more. With it come the bodies it was given and never wrote: one report, so that nothing
    /// is accepted between the two.
    Failed(StoreError, Vec<(PublishId, Publication)>),
    /// More of them, which were on their way.
    Lost(Vec<(PublishId, Publication)>),
    /// It can again.
    Well,
}

#[derive(Debug)]
enum Job {
    Persist(Ticket, Vec<Record>),
    Load(Vec<PublishId>),
}

/// The driver's end of the store.
pub(crate) struct Keeper {
    desk: Arc<Desk>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// Where driver and thread meet.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    bell: Condvar,
    /// How long commits take; the thread writes it.
    syncs: Arc<Cells>,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    reports: VecDeque<Report>,
    driver: Option<Waker>,
    stats: StoreStats,
    /// Somebody outside wants the store's attention.
    rung: bool,
    closing: bool,
    closed: bool,
}

impl Keeper {
    /// Starts the thread. The store was opened and read by the caller.
    ///
    /// # Errors
    /// The system gave no thread.
    pub(crate) fn start(store: Box<dyn Store>) -> std::io::Result<Self> {
        Self::start_with(store, LAG, SPACE_PAUSE)
    }

    fn start_with(mut store: Box<dyn Store>, lag: Duration, space_pause: Duration) -> std::io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let ours = Arc::clone(&desk);
        let bell = Arc::downgrade(&desk);
        store.attend(Box::new(move || {
            if let Some(desk) = bell.upgrade() {
                lock(&desk.state).rung = true;
                desk.bell.notify_one();
            }
        }));
        std::thread::Builder::new().name("rejoin-store".to_owned()).spawn(move || {
            Thread {
                desk: ours,
                store: Guarded::new(store),
                group: Vec::new(),
                ticket: None,
                ahead: 0,
                unread: Vec::new(),
                lag,
                lags_until: None,
                space_pause,
                retry_at: None,
                troubled: false,
                failed: false,
            }
            .run()
        })?;
        Ok(Self { desk })
    }

    pub(crate) fn persist(&self, ticket: Ticket, records: Vec<Record>) {
        self.push(Job::Persist(ticket, records));
    }

    pub(crate) fn load(&self, ids: Vec<PublishId>) {
        self.push(Job::Load(ids));
    }

    fn push(&self, job: Job) {
        let first = {
            let mut state = lock(&self.desk.state);
            state.jobs.push_back(job);
            state.jobs.len() == 1
        };
        // With jobs waiting already the thread is awake or about to look.
        if first {
            self.desk.bell.notify_one();
        }
    }

    /// The next report; without one `waker` is woken when there is.
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Report> {
        let mut state = lock(&self.desk.state);
        let report = state.reports.pop_front();
        if report.is_none() {
            match &mut state.driver {
                Some(known) => known.clone_from(waker),
                slot => *slot = Some(waker.clone()),
            }
        }
        report
    }

    pub(crate) fn stats(&self) -> StoreStats {
        lock(&self.desk.state).stats
    }

    pub(crate) fn syncs(&self) -> Arc<Cells> {
        Arc::clone(&self.desk.syncs)
    }

    /// No more jobs come: what waits is committed, then the store is closed. Who waits no longer for that ends nothing: the
    /// ends of messages are among it, and what was delivered or cancelled is not to be sent by the next start.
    pub(crate) fn close(&self) {
        lock(&self.desk.state).closing = true;
        self.desk.bell.notify_one();
    }

    /// Whether the store is closed: all its reports are there, and no more come.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.desk.state).closed
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
    }
}

struct Thread {
    desk: Arc<Desk>,
    store: Guarded,
    /// Records taken and not yet committed.
    group: Vec<Record>,
    /// The ticket of the last of them.
    ticket: Option<Ticket>,
    /// Of so many of them, what goes ahead is on the store.
    ahead: usize,
    /// Bodies that were asked for and that a full disk keeps from being read.
    unread: Vec<PublishId>,
    lag: Duration,
    /// Until then the group may wait: there is nothing in it but ends of messages.
    lags_until: Option<Instant>,
    space_pause: Duration,
    /// When what found no space is tried again.
    retry_at: Option<Instant>,
    /// The driver was told so, and not yet that it is over.
    troubled: bool,
    /// The store takes nothing more.
    failed: bool,
}

/// What the thread does next.
enum Next {
    Work { jobs: VecDeque<Job>, rung: bool },
    Idle,
    End,
}

impl Thread {
    fn run(mut self) {
        let mut rested = false;
        loop {
            match self.wait(rested) {
                Next::Work { jobs, rung } => {
                    rested = false;
                    if rung {
                        // Who looks is to see what is so.
                        if self.lags_until.is_some() {
                            self.commit();
                        }
                        self.serve();
                    }
                    self.work(jobs);
                }
                Next::Idle => {
                    rested = true;
                    self.maintain();
                }
                Next::End => {
                    // There may be space again, and the end of a message that is not stored sends it once more.
                    self.commit();
                    break;
                }
            }
        }
        let Self { desk, store, .. } = self;
        // The file is closed before anybody hears of it: who waits may open it next.
        drop(store);
        let driver = {
            let mut state = lock(&desk.state);
            state.closed = true;
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Waits for jobs, for the time to try again, or for the end.
    fn wait(&self, rested: bool) -> Next {
        let mut state = lock(&self.desk.state);
        loop {
            let wake_at = self.retry_at.or(self.lags_until);
            // What lags is written before the end.
            let due = wake_at.is_some_and(|at| at <= Instant::now())
                || (state.closing && self.lags_until.is_some());
            if !state.jobs.is_empty() || due || state.rung {
                return Next::Work {
                    jobs: std::mem::take(&mut state.jobs),
                    rung: std::mem::take(&mut state.rung),
                };
            }
            // Without space there is nothing more to wait for, and one try is left.
            if state.closing {
                return Next::End;
            }
            let limit = match wake_at {
                Some(at) => Some(at.saturating_duration_since(Instant::now())),
                None => (!rested).then_some(IDLE),
            };
            state = match limit {
                None => self.desk.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let waited = self.desk.bell.wait_timeout(state, limit);
                    let (state, over) = waited.unwrap_or_else(PoisonError::into_inner);
                    if over.timed_out() && wake_at.is_none() && state.jobs.is_empty() && !state.closing {
                        return Next::Idle;
                    }
                    state
                }
            };
        }
    }

    fn work(&mut self, jobs: VecDeque<Job>) {
        for job in jobs {
            match job {
                // On its way when the store failed.
                Job::Persist(_, records) if self.failed => self.report(vec![Report::Lost(bodies(records))]),
                Job::Persist(ticket, mut records) => {
                    self.add(ticket, &mut records);
                    // Without space the group grows instead; the queue's bound is the bound.
                    if self.group.len() >= GROUP_RECORDS && self.retry_at.is_none() {
                        self.commit();
                    }
                }
                Job::Load(ids) => {
                    if self.retry_at.is_none() {
                        self.commit();
                    }
                    self.load(ids);
                }
            }
        }
        let (closing, now) = (lock(&self.desk.state).closing, Instant::now());
        let again = self.retry_at.take_if(|at| *at <= now || closing).is_some();
        if self.retry_at.is_none() && (again || !self.may_lag()) {
            self.commit();
        }
        let unread = if again { std::mem::take(&mut self.unread) } else { Vec::new() };
        if !unread.is_empty() {
            self.load(unread);
        }
    }

    fn add(&mut self, ticket: Ticket, records: &mut Vec<Record>) {
        let only_ends = records.iter().all(|record| matches!(record, Record::Done { .. }));
        self.lags_until = match (only_ends, self.group.is_empty(), self.lags_until) {
            (true, true, _) => Some(Instant::now() + self.lag),
            (true, false, since) => since,
            (false, ..) => None,
        };
        self.group.append(records);
        self.ticket = Some(ticket);
    }

    fn may_lag(&self) -> bool {
        let closing = || lock(&self.desk.state).closing;
        self.lags_until.is_some_and(|until| Instant::now() < until) && !closing()
    }

    fn commit(&mut self) {
        self.lags_until = None;
        let Some(ticket) = self.ticket.filter(|_| !self.failed) else { return };
        let began = Instant::now();
        match self.store.commit(&self.group) {
            Ok(()) => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.desk.syncs.record(took, 1);
                self.group.clear();
                (self.ticket, self.ahead) = (None, 0);
                let mut reports = self.well();
                reports.push(Report::Persisted(ticket));
                self.report(reports);
            }
            Err(error) => {
                self.trouble(error);
                self.commit_ahead(ticket);
            }
        }
    }

    /// A message that does not fit must not hold back what lets others leave, and what makes room by its end. Written again
    /// with the rest, what went ahead says the same.
    fn commit_ahead(&mut self, ticket: Ticket) {
        let new = self.group.get(self.ahead..).unwrap_or_default();
        let ahead: Vec<_> = new.iter().filter(|record| goes_ahead(record)).cloned().collect();
        if ahead.is_empty() {
            return;
        }
        match self.store.commit(&ahead) {
            Ok(()) => {
                self.ahead = self.group.len();
                self.report(vec![Report::SessionPersisted(ticket)]);
            }
            Err(error) => self.trouble(error),
        }
    }

    fn maintain(&mut self) {
        if self.failed {
            return;
        }
        match self.store.maintain() {
            Ok(()) => {
                let well = self.well();
                if !well.is_empty() {
                    self.report(well);
                }
            }
            Err(error) => self.trouble(error),
        }
    }

    /// Something was done: tells that trouble is over, unless records or bodies still wait for space.
    fn well(&mut self) -> Vec<Report> {
        let is_over = self.ticket.is_none() && self.unread.is_empty() && !self.failed;
        if is_over && std::mem::take(&mut self.troubled) { vec![Report::Well] } else { Vec::new() }
    }

    fn trouble(&mut self, error: StoreError) {
        if !error.is_fatal() {
            self.retry_at = Some(Instant::now() + self.space_pause);
            if !std::mem::replace(&mut self.troubled, true) {
                self.report(vec![Report::Trouble(error)]);
            }
            return;
        }
        self.retry_at = None;
        // What was troubled is over in another way: there is nothing to take back.
        (self.failed, self.troubled) = (true, false);
        let records = std::mem::take(&mut self.group);
        self.report(vec![Report::Failed(error, bodies(records))]);
    }

    fn serve(&mut self) {
        let withdrawn = self.store.serve();
        if !withdrawn.is_empty() {
            self.report(vec![Report::Withdraw(withdrawn)]);
        }
    }

    /// Bodies from the store, or from the records on their way to it.
    fn load(&mut self, ids: Vec<PublishId>) {
        let bodies = match self.store.load(&ids) {
            Ok(bodies) => bodies,
            Err(error) => {
                // Without space they are read later. Else not answered: they stay on the store for the next start.
                if !error.is_fatal() {
                    self.unread.extend(ids);
                }
                return self.trouble(error);
            }
        };
        let loaded =
            ids.iter().zip(bodies).map(|(id, body)| (*id, body.or_else(|| self.in_group(*id)))).collect();
        let mut reports = self.well();
        reports.push(Report::Loaded(loaded));
        self.report(reports);
    }

    fn in_group(&self, wanted: PublishId) -> Option<Publication> {
        self.group.iter().rev().find_map(|record| match record {
            Record::Enqueued { id, publication, .. } if *id == wanted => Some(publication.clone()),
            _ => None,
        })
    }

    fn report(&mut self, reports: Vec<Report>) {
        let stats = self.store.stats();
        let driver = {
            let mut state = lock(&self.desk.state);
            state.stats = stats;
            state.reports.extend(reports);
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Whether a record may be on the store before others that were noted before it. None of these takes room for a message, or
/// says that something is certain or free that was not: what a message leaves behind when it ends is among them.
const fn goes_ahead(record: &Record) -> bool {
    matches!(
        record,
        Record::ConnectSent
            | Record::SessionStarted { .. }
            | Record::ClientId { .. }
            | Record::Leased { .. }
            | Record::Done { .. }
    )
}

fn bodies(records: Vec<Record>) -> Vec<(PublishId, Publication)> {
    let body = |record| match record {
        Record::Enqueued { id, publication, .. } => Some((id, publication)),
        _ => None,
    };
    records.into_iter().filter_map(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Recovered};
    use rejoin_core::TopicName;
    use rejoin_core::codec::packet::Qos;

    /// Tells the size of each commit.
    #[derive(Debug)]
    struct Told(MemoryStore, std::sync::mpsc::Sender<usize>);

    impl Store for Told {
        fn recover(&mut self) -> Result<Recovered, StoreError> {
            self.0.recover()
        }

        fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
            let _ = self.1.send(records.len());
            self.0.commit(records)
        }

        fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
            self.0.load(ids)
        }

        fn maintain(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn stats(&self) -> StoreStats {
            self.0.stats()
        }
    }

    fn keeper(lag: Duration) -> (Keeper, std::sync::mpsc::Receiver<usize>) {
        let (tell, told) = std::sync::mpsc::channel();
        let store = Told(MemoryStore::default(), tell);
        (Keeper::start_with(Box::new(store), lag, SPACE_PAUSE).unwrap(), told)
    }

    fn done(n: u64) -> Vec<Record> {
        vec![Record::Done { id: PublishId(n) }]
    }

    fn enqueued(n: u64) -> Vec<Record> {
        let mut publication = Publication::new(TopicName::try_from("a").unwrap(), "1");
        publication.qos = Qos::AtLeastOnce;
        vec![Record::Enqueued { id: PublishId(n), publication, accepted_wall_ms: 0 }]
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_end_of_a_message_waits_for_company() {
        let (keeper, told) = keeper(HOUR);
        for n in 1..10 {
            keeper.persist(Ticket(n), done(n));
        }
        keeper.persist(Ticket(10), enqueued(10));
        assert_eq!(told.recv(), Ok(10), "one commit for all, at once");
        keeper.persist(Ticket(11), done(10));
        drop(keeper);
        assert_eq!(told.recv(), Ok(1), "and what still waits is written before the end");
    }

    #[test]
    fn the_end_of_a_message_does_not_wait_for_company_for_ever() {
        let lag = Duration::from_millis(20);
        let (keeper, told) = keeper(lag);
        let began = Instant::now();
        keeper.persist(Ticket(1), done(1));
        assert_eq!(told.recv(), Ok(1));
        assert!(began.elapsed() >= lag, "it had a moment");
    }

    /// Its disk is full for as many more calls of each kind.
    #[derive(Debug, Default)]
    struct Full {
        commits: u32,
        loads: u32,
        maintains: u32,
    }

    fn no_space(left: &mut u32) -> Result<(), StoreError> {
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(StoreError::NoSpace { place: "here".to_owned() })
    }

    impl Store for Full {
        fn recover(&mut self) -> Result<Recovered, StoreError> {
            Ok(Recovered::default())
        }

        fn commit(&mut self, _: &[Record]) -> Result<(), StoreError> {
            no_space(&mut self.commits)
        }

        fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
            no_space(&mut self.loads).map(|()| vec![None; ids.len()])
        }

        fn maintain(&mut self) -> Result<(), StoreError> {
            no_space(&mut self.maintains)
        }

        fn stats(&self) -> StoreStats {
            StoreStats::default()
        }
    }

    /// The first reports of a client over such a disk.
    fn reports(store: Full, most: usize, begin: impl FnOnce(&Keeper)) -> Vec<String> {
        let keeper = Keeper::start_with(Box::new(store), HOUR, Duration::from_millis(5)).unwrap();
        begin(&keeper);
        let end = Instant::now() + Duration::from_secs(10);
        let mut reports = Vec::new();
        while reports.len() < most && Instant::now() < end {
            match keeper.poll(Waker::noop()) {
                Some(report) => reports.push(format!("{report:?}")),
                // waits: for a thread that wakes a driver, and there is none here
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        reports.iter().map(|report| report.split(['(', ' ']).next().unwrap().to_owned()).collect()
    }

    #[test]
    fn bodies_that_a_full_disk_kept_back_come_when_there_is_room() {
        let full = || Full { loads: 3, ..Full::default() };
        let load = |keeper: &Keeper| keeper.load(vec![PublishId(1)]);
        assert_eq!(reports(full(), 3, load), ["Trouble", "Well", "Loaded"]);
        let both = |keeper: &Keeper| {
            // One look at the desk finds both.
            let jobs = [Job::Persist(Ticket(1), enqueued(2)), Job::Load(vec![PublishId(1)])];
            lock(&keeper.desk.state).jobs.extend(jobs);
            keeper.desk.bell.notify_one();
        };
        let told = reports(Full { commits: 1, ..full() }, 4, both);
        assert_eq!(told, ["Trouble", "Persisted", "Well", "Loaded"], "well when nothing waits any more");
    }

    #[test]
    fn a_store_that_takes_nothing_more_is_never_called_well() {
        let (told, mut thread) = thread();
        thread.trouble(StoreError::NoSpace { place: "here".into() });
        thread.trouble(StoreError::Io { place: "here".into(), what: "fdatasync".into() });
        assert!(thread.well().is_empty());
        thread.load(Vec::new());
        let names: Vec<_> = lock(&told.state).reports.iter().map(|report| format!("{report:?}")).collect();
        assert!(names.len() == 3 && !names.iter().any(|name| name.starts_with("Well")), "{names:?}");
    }

    fn thread() -> (Arc<Desk>, Thread) {
        let desk = Arc::new(Desk::default());
        let thread = Thread {
            desk: Arc::clone(&desk),
            store: Guarded::new(Box::new(MemoryStore::default())),
            group: Vec::new(),
            ticket: None,
            ahead: 0,
            unread: Vec::new(),
            lag: LAG,
            lags_until: None,
            space_pause: SPACE_PAUSE,
            retry_at: None,
            troubled: false,
            failed: false,
        };
        (desk, thread)
    }

    #[test]
    fn the_end_of_a_message_that_met_a_full_disk_is_tried_once_more_before_the_store_is_closed() {
        let (told, mut thread) = thread();
        let full = Full { commits: 1, ..Full::default() };
        (thread.store, thread.space_pause) = (Guarded::new(Box::new(full)), HOUR);
        thread.add(Ticket(1), &mut done(1));
        thread.commit();
        lock(&told.state).closing = true;
        thread.run();
        let last = lock(&told.state).reports.pop_back();
        assert!(matches!(last, Some(Report::Persisted(Ticket(1)))), "{last:?}");
    }

    /// Has no room for messages.
    #[derive(Debug)]
    struct Narrow(std::sync::mpsc::Sender<Vec<Record>>);

    impl Store for Narrow {
        fn recover(&mut self) -> Result<Recovered, StoreError> {
            Ok(Recovered::default())
        }

        fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
            let is_large = records.iter().any(|record| matches!(record, Record::Enqueued { .. }));
            no_space(&mut u32::from(is_large))?;
            let _ = self.0.send(records.to_vec());
            Ok(())
        }

        fn load(&mut self, ids: &[PublishId]) -> Result<Vec<Option<Publication>>, StoreError> {
            Ok(vec![None; ids.len()])
        }

        fn maintain(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn stats(&self) -> StoreStats {
            StoreStats::default()
        }
    }

    #[test]
    fn what_lets_links_open_and_makes_room_does_not_wait_for_messages_that_do_not_fit() {
        let (told, mut thread) = thread();
        let (tell, written) = std::sync::mpsc::channel();
        thread.store = Guarded::new(Box::new(Narrow(tell)));
        let seen = || {
            let reports = std::mem::take(&mut lock(&told.state).reports);
            let names = reports.iter().map(|report| format!("{report:?}"));
            names.map(|name| name.split(" {").next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        thread.add(Ticket(1), &mut enqueued(7));
        thread.commit();
        assert_eq!(seen(), ["Trouble(NoSpace"]);
        let began = Record::SessionStarted { epoch: 2, server: "s".to_owned() };
        thread.add(Ticket(2), &mut vec![Record::ConnectSent, Record::ConnackSeen]);
        thread.add(Ticket(3), &mut [vec![began.clone()], done(1)].concat());
        thread.commit();
        assert_eq!(seen(), ["SessionPersisted(Ticket(3))"]);
        // That a CONNACK was seen makes certain what came before it, and that is not there.
        assert_eq!(written.try_recv(), Ok([vec![Record::ConnectSent, began], done(1)].concat()));
        thread.commit();
        thread.add(Ticket(4), &mut vec![Record::ConnackSeen]);
        thread.commit();
        assert!(seen().is_empty() && written.try_recv().is_err(), "it is there");
        thread.add(Ticket(5), &mut vec![Record::ConnectSent]);
        thread.commit();
        assert_eq!(seen(), ["SessionPersisted(Ticket(5))"]);
        thread.store = Guarded::new(Box::new(MemoryStore::default()));
        thread.commit();
        assert_eq!(seen(), ["Well", "Persisted(Ticket(5))"]);
        assert_eq!(thread.ahead, 0);
    }

    #[test]
    fn whatever_met_a_full_disk_is_taken_back_when_there_is_room() {
        assert_eq!(reports(Full { maintains: 2, ..Full::default() }, 2, |_| {}), ["Trouble", "Well"]);
        let persist = |keeper: &Keeper| keeper.persist(Ticket(1), enqueued(1));
        let told = reports(Full { commits: 2, ..Full::default() }, 3, persist);
        assert_eq!(told, ["Trouble", "Well", "Persisted"]);
    }
}
