//! The thread that serves a store: while one commit runs, what comes meanwhile gathers, and the next takes all of it.
//! No timer adds delay, and under load groups widen by themselves. Only that a message is done may wait a moment for
//! company: nobody waits for it, and a commit of its own would write as much as the acceptance did.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rejoin_core::{Publication, PublishId, Record, Ticket};

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
        Self::start_lagging(store, LAG)
    }

    fn start_lagging(mut store: Box<dyn Store>, lag: Duration) -> std::io::Result<Self> {
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
                store,
                group: Vec::new(),
                ticket: None,
                lag,
                lags_until: None,
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

    /// No more jobs come: what waits is committed, then the store is closed.
    pub(crate) fn close(&self) {
        lock(&self.desk.state).closing = true;
        self.desk.bell.notify_one();
    }

    /// Whether the store is closed.
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
    store: Box<dyn Store>,
    /// Records taken and not yet committed.
    group: Vec<Record>,
    /// The ticket of the last of them.
    ticket: Option<Ticket>,
    lag: Duration,
    /// Until then the group may wait: there is nothing in it but ends of messages.
    lags_until: Option<Instant>,
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
        let mut retry_at = None::<Instant>;
        loop {
            match self.wait(rested, retry_at) {
                Next::Work { jobs, rung } => {
                    rested = false;
                    if rung {
                        // Who looks is to see what is so.
                        if self.lags_until.is_some() {
                            self.commit(&mut retry_at);
                        }
                        self.serve();
                    }
                    self.work(jobs, &mut retry_at);
                }
                Next::Idle => {
                    rested = true;
                    if !self.failed
                        && let Err(error) = self.store.maintain()
                    {
                        self.trouble(error);
                    }
                }
                Next::End => break,
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
    fn wait(&self, rested: bool, retry_at: Option<Instant>) -> Next {
        let mut state = lock(&self.desk.state);
        loop {
            let wake_at = retry_at.or(self.lags_until);
            // What lags is written before the end.
            let due = wake_at.is_some_and(|at| at <= Instant::now())
                || (state.closing && self.lags_until.is_some());
            if !state.jobs.is_empty() || due || state.rung {
                return Next::Work {
                    jobs: std::mem::take(&mut state.jobs),
                    rung: std::mem::take(&mut state.rung),
                };
            }
            // Without space there is nothing more to wait for: what is not stored was never called stored.
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

    fn work(&mut self, jobs: VecDeque<Job>, retry_at: &mut Option<Instant>) {
        for job in jobs {
            match job {
                // On its way when the store failed.
                Job::Persist(_, records) if self.failed => self.report(vec![Report::Lost(bodies(records))]),
                Job::Persist(ticket, mut records) => {
                    self.add(ticket, &mut records);
                    // Without space the group grows instead; the queue's bound is the bound.
                    if self.group.len() >= GROUP_RECORDS && retry_at.is_none() {
                        self.commit(retry_at);
                    }
                }
                Job::Load(ids) => {
                    if retry_at.is_none() {
                        self.commit(retry_at);
                    }
                    self.load(&ids);
                }
            }
        }
        let due = retry_at.is_none_or(|at| at <= Instant::now());
        if due && !(retry_at.is_none() && self.may_lag()) {
            self.commit(retry_at);
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

    fn commit(&mut self, retry_at: &mut Option<Instant>) {
        self.lags_until = None;
        let Some(ticket) = self.ticket.filter(|_| !self.failed) else { return };
        let began = Instant::now();
        match self.store.commit(&self.group) {
            Ok(()) => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.desk.syncs.record(took, 1);
                self.group.clear();
                self.ticket = None;
                let mut reports = Vec::from([Report::Persisted(ticket)]);
                if retry_at.take().is_some() {
                    reports.insert(0, Report::Well);
                }
                self.report(reports);
            }
            Err(error) if !error.is_fatal() => {
                let again = retry_at.replace(Instant::now() + SPACE_PAUSE).is_some();
                if !again {
                    self.report(vec![Report::Trouble(error)]);
                }
            }
            Err(error) => {
                *retry_at = None;
                self.trouble(error);
            }
        }
    }

    fn trouble(&mut self, error: StoreError) {
        if !error.is_fatal() {
            return self.report(vec![Report::Trouble(error)]);
        }
        self.failed = true;
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
    fn load(&mut self, ids: &[PublishId]) {
        let bodies = match self.store.load(ids) {
            Ok(bodies) => bodies,
            // Not answered: the messages stay on the store for the next start.
            Err(error) => return self.trouble(error),
        };
        let loaded =
            ids.iter().zip(bodies).map(|(id, body)| (*id, body.or_else(|| self.in_group(*id)))).collect();
        self.report(vec![Report::Loaded(loaded)]);
    }

    fn in_group(&self, wanted: PublishId) -> Option<Publication> {
        self.group.iter().rev().find_map(|record| match record {
            Record::Enqueued { id, publication, .. } if *id == wanted => Some(publication.clone()),
            _ => None,
        })
    }

    fn report(&self, reports: Vec<Report>) {
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
        (Keeper::start_lagging(Box::new(Told(MemoryStore::default(), tell)), lag).unwrap(), told)
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
}
