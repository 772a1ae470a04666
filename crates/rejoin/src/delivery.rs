//! The future of a message: it ends exactly once, with the truth.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rejoin_core::codec::packet::Qos;
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::{Outcome, PublishId};

use crate::command::{Command, Shared};
use crate::error::PublishError;
use crate::sync::lock;

/// How a message reached the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// QoS it was published with. At QoS 0 a receipt says only that the message was handed to the socket of an
    /// open link: nobody acknowledges it.
    pub qos: Qos,
    /// The code of PUBACK or PUBCOMP; success at QoS 0.
    pub reason: ReasonCode,
    /// How often the PUBLISH was written.
    pub attempts: u32,
    /// It may have arrived twice: sent again as new after a lost session, or under doubt.
    pub possible_duplicate: bool,
    /// How often the broker refused it with a passing reason before, and it was sent again out of order.
    pub refusals: u32,
    /// It was published at QoS 2, and the broker took it with a PUBACK, as RabbitMQ does, or was sent it at QoS 1
    /// ([`crate::Builder::lower_qos`]): it has the message, but may pass it on more than once. Told by [`crate::Event::Downgraded`], too, once a link.
    pub downgraded: bool,
    /// From acceptance until it was first written.
    pub queued_for: Duration,
    /// From acceptance until the answer.
    pub took: Duration,
}

impl Receipt {
    /// The broker has the message, but nobody was subscribed (reason code 0x10, which not every broker sends).
    pub fn no_subscribers(&self) -> bool {
        self.reason == ReasonCode::NO_MATCHING_SUBSCRIBERS
    }

    /// Whether the broker acknowledged it; false at QoS 0.
    pub fn is_acknowledged(&self) -> bool {
        self.qos != Qos::AtMostOnce
    }
}

/// Where an accepted message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// In the memory of this process: it is gone when the process ends before it was delivered.
    InMemory,
    /// On a store: it survives the process.
    OnDisk,
    /// The broker acknowledged it before the store had it: nothing is left to keep.
    Delivered,
}

/// The shared end of a delivery: the driver writes it once. One is kept for every message somebody waits for, so it is
/// small: seven words with the two counts of its [`Arc`].
#[derive(Default)]
pub(crate) struct Cell {
    state: Mutex<CellState>,
}

#[derive(Default)]
struct CellState {
    sent: bool,
    stored: Option<Stored>,
    /// Under which number [`End::Awaited`] waits.
    lone: u32,
    end: End,
}

/// Under which number a delivery waits that is a future itself.
const ITSELF: u32 = 0;

/// The answer, and until it is there who waits for it or for less.
#[derive(Default)]
enum End {
    #[default]
    Open,
    Awaited(Waker),
    /// By several, which is rare.
    #[expect(clippy::box_collection, reason = "three words of their own would make every cell larger")]
    AwaitedByAll(Box<Vec<(u32, Waker)>>),
    Delivered(Delivered),
    Failed(Box<PublishError>),
}

/// A [`Receipt`] in three words.
#[derive(Clone, Copy)]
struct Delivered {
    queued_micros: u64,
    took_micros: u64,
    /// Both counts stay at the highest number there is.
    attempts: u16,
    refusals: u16,
    reason: ReasonCode,
    qos: Qos,
    possible_duplicate: bool,
    downgraded: bool,
}

impl From<Receipt> for Delivered {
    fn from(receipt: Receipt) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let count = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        Self {
            queued_micros: micros(receipt.queued_for),
            took_micros: micros(receipt.took),
            attempts: count(receipt.attempts),
            refusals: count(receipt.refusals),
            reason: receipt.reason,
            qos: receipt.qos,
            possible_duplicate: receipt.possible_duplicate,
            downgraded: receipt.downgraded,
        }
    }
}

impl From<Delivered> for Receipt {
    fn from(delivered: Delivered) -> Self {
        Self {
            qos: delivered.qos,
            reason: delivered.reason,
            attempts: delivered.attempts.into(),
            possible_duplicate: delivered.possible_duplicate,
            refusals: delivered.refusals.into(),
            downgraded: delivered.downgraded,
            queued_for: Duration::from_micros(delivered.queued_micros),
            took: Duration::from_micros(delivered.took_micros),
        }
    }
}

impl End {
    fn answer(&self) -> Option<Result<Receipt, PublishError>> {
        match self {
            Self::Delivered(delivered) => Some(Ok((*delivered).into())),
            Self::Failed(error) => Some(Err((**error).clone())),
            Self::Open | Self::Awaited(_) | Self::AwaitedByAll(_) => None,
        }
    }
}

impl CellState {
    /// Who waits under this number, a new one if `None`, is to look again at the next news. Gives the number.
    fn wait(&mut self, number: Option<u32>, waker: &Waker) -> u32 {
        if let End::Awaited(known) = &self.end
            && number != Some(self.lone)
        {
            self.end = End::AwaitedByAll(Box::new(vec![(self.lone, known.clone())]));
        }
        match &mut self.end {
            End::Open => {
                self.lone = number.unwrap_or(ITSELF + 1);
                self.end = End::Awaited(waker.clone());
                self.lone
            }
            End::Awaited(known) => {
                known.clone_from(waker);
                self.lone
            }
            End::AwaitedByAll(all) => {
                if let Some((number, known)) = all.iter_mut().find(|(known, _)| Some(*known) == number) {
                    known.clone_from(waker);
                    return *number;
                }
                let highest = all.iter().map(|(number, _)| *number).max().unwrap_or(ITSELF);
                let number = number.unwrap_or_else(|| highest.saturating_add(1));
                all.push((number, waker.clone()));
                number
            }
            End::Delivered(_) | End::Failed(_) => number.unwrap_or(ITSELF),
        }
    }

    /// Nobody waits under this number any more. Gives the waker, to be dropped without the lock.
    fn forget(&mut self, number: u32) -> Option<Waker> {
        match &mut self.end {
            End::Awaited(_) if self.lone == number => match std::mem::take(&mut self.end) {
                End::Awaited(waker) => Some(waker),
                _ => None,
            },
            End::AwaitedByAll(all) => {
                let at = all.iter().position(|(known, _)| *known == number)?;
                Some(all.swap_remove(at).1)
            }
            _ => None,
        }
    }

    /// Who waits, to be woken once the lock is gone. They go on waiting.
    fn waiting(&self) -> End {
        match &self.end {
            End::Awaited(waker) => End::Awaited(waker.clone()),
            End::AwaitedByAll(all) => End::AwaitedByAll(all.clone()),
            _ => End::Open,
        }
    }
}

fn wake(waiting: End) {
    match waiting {
        End::Awaited(waker) => waker.wake(),
        End::AwaitedByAll(all) => all.into_iter().for_each(|(_, waker)| waker.wake()),
        End::Open | End::Delivered(_) | End::Failed(_) => {}
    }
}

/// Waits until `look` finds something in a cell. Dropped, it leaves nothing there.
struct Waiting<'a, L> {
    cell: &'a Cell,
    look: L,
    number: Option<u32>,
}

impl<T, L: Fn(&CellState) -> Option<T> + Unpin> Future for Waiting<'_, L> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let mut state = lock(&this.cell.state);
        match (this.look)(&state) {
            Some(found) => Poll::Ready(found),
            None => {
                this.number = Some(state.wait(this.number, cx.waker()));
                Poll::Pending
            }
        }
    }
}

impl<L> Drop for Waiting<'_, L> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.cell.forget(number);
        }
    }
}

impl Cell {
    /// For an accepted message, which a store will keep or not.
    pub(crate) fn accepted(kept: bool) -> Self {
        let stored = (!kept).then_some(Stored::InMemory);
        Self { state: Mutex::new(CellState { stored, ..CellState::default() }) }
    }

    /// Where the message is kept; the first word counts.
    pub(crate) fn stored(&self, stored: Stored) {
        let waiting = {
            let mut state = lock(&self.state);
            if state.stored.is_some() {
                return;
            }
            state.stored = Some(stored);
            state.waiting()
        };
        wake(waiting);
    }

    pub(crate) fn sent(&self) {
        let waiting = {
            let mut state = lock(&self.state);
            if std::mem::replace(&mut state.sent, true) {
                return;
            }
            state.waiting()
        };
        wake(waiting);
    }

    fn forget(&self, number: u32) {
        let waker = lock(&self.state).forget(number);
        drop(waker);
    }

    /// The one final answer; a second one is a defect and changes nothing.
    pub(crate) fn finish(&self, done: Result<Receipt, Box<PublishError>>) {
        let waiting = {
            let mut state = lock(&self.state);
            let is_first = !matches!(state.end, End::Delivered(_) | End::Failed(_));
            debug_assert!(is_first, "a delivery ends once");
            if !is_first {
                return;
            }
            let end = done.map_or_else(End::Failed, |receipt| End::Delivered(receipt.into()));
            std::mem::replace(&mut state.end, end)
        };
        wake(waiting);
    }
}

/// Names an accepted message and answers for it. Made by [`crate::PublishBuilder::enqueue`].
///
/// A lost link never ends it, in either direction. Dropping it does not withdraw the message; [`Delivery::cancel`]
/// does, if it was not sent yet. It is itself a future of the answer, and [`Delivery::acked`] is one that can be
/// used in `select!` or under a time-out without giving the handle away.
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// let delivery = client.publish("room/1/temp", "21.5").qos(rejoin::Qos::AtLeastOnce).enqueue()?;
/// let receipt = delivery.acked().await?;
/// println!("acknowledged with {} after {:?}", receipt.reason, receipt.took);
/// # Ok(()) }
/// ```
pub struct Delivery {
    cell: Arc<Cell>,
    shared: Arc<Shared>,
    id: PublishId,
    /// It was polled itself.
    waits: bool,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.cell.state);
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("sent", &state.sent)
            .field("done", &state.end.answer())
            .finish_non_exhaustive()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.waits {
            // Whoever gave up waiting is not kept until the message ends.
            self.cell.forget(ITSELF);
        }
        self.shared.note_forgotten();
    }
}

impl Delivery {
    pub(crate) const fn new(cell: Arc<Cell>, shared: Arc<Shared>, id: PublishId) -> Self {
        Self { cell, shared, id, waits: false }
    }

    /// Our own name of the message; events use it too.
    pub const fn id(&self) -> PublishId {
        self.id
    }

    /// The final answer: acknowledged (at QoS 0: handed to the socket of an open link), or why not.
    ///
    /// # Errors
    /// [`PublishError`]; it is final, nothing of the message follows.
    pub fn acked(&self) -> impl Future<Output = Result<Receipt, PublishError>> + Send + Sync + '_ {
        self.wait(|state| state.end.answer())
    }

    /// The final answer, if it is there already.
    pub fn outcome(&self) -> Option<Result<Receipt, PublishError>> {
        lock(&self.cell.state).end.answer()
    }

    /// Resolves when the message was handed to the socket at least once. Ends with the final error if it was never
    /// sent.
    ///
    /// # Errors
    /// [`PublishError`], if it ended without being sent.
    pub fn sent(&self) -> impl Future<Output = Result<(), PublishError>> + Send + Sync + '_ {
        self.wait(|state| match state.sent {
            true => Some(Ok(())),
            false => state.end.answer().map(|answer| answer.map(drop)),
        })
    }

    /// Resolves when the message is kept as safely as this client can. With a queue on disk that is
    /// [`Stored::OnDisk`]: from here on it survives the end of this process and a power cut. [`Stored::InMemory`] says
    /// that it does not survive: there is no store, the store failed, or it is QoS 0 that waits for nothing.
    ///
    /// # Errors
    /// [`PublishError`], if the message ended otherwise than delivered before it was stored.
    pub fn stored(&self) -> impl Future<Output = Result<Stored, PublishError>> + Send + Sync + '_ {
        self.wait(|state| match state.stored {
            Some(stored) => Some(Ok(stored)),
            None => state.end.answer().map(|answer| answer.map(|_| Stored::Delivered)),
        })
    }

    /// Withdraws the message if it was never sent. Then, and only then, it ends as [`PublishError::Cancelled`]:
    /// await [`Delivery::acked`] to learn which it was.
    pub fn cancel(&self) {
        let _ = self.shared.push(Command::Cancel(self.id));
    }

    /// Answers [`crate::Event::Undecided`]: sends the message again as new, or ends it as [`PublishError::Unknown`].
    /// [`crate::Client::decide`] does so by name.
    pub fn decide(&self, resend: bool) {
        let _ = self.shared.push(Command::Decide { id: self.id, resend });
    }

    fn wait<T, L: Fn(&CellState) -> Option<T> + Unpin>(&self, look: L) -> Waiting<'_, L> {
        Waiting { cell: &self.cell, look, number: None }
    }
}

impl Future for Delivery {
    type Output = Result<Receipt, PublishError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waits = true;
        let mut state = lock(&self.cell.state);
        if let Some(answer) = state.end.answer() {
            return Poll::Ready(answer);
        }
        state.wait(Some(ITSELF), cx.waker());
        Poll::Pending
    }
}

/// What the driver knows of a message beside its cell, needed for the receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) qos: Qos,
    pub(crate) attempts: u32,
    pub(crate) queued_for: Duration,
    pub(crate) took: Duration,
}

/// The core's answer in the words of this crate.
pub(crate) fn answer(outcome: Outcome, times: Times) -> Result<Receipt, Box<PublishError>> {
    let receipt = |reason, attempts, possible_duplicate, refusals| Receipt {
        qos: times.qos,
        reason,
        attempts,
        possible_duplicate,
        refusals,
        downgraded: false,
        queued_for: times.queued_for,
        took: times.took,
    };
    let error = match outcome {
        Outcome::Sent => return Ok(receipt(ReasonCode::SUCCESS, times.attempts.max(1), false, 0)),
        Outcome::Delivered(core) => {
            let receipt = receipt(core.reason, core.attempts, core.possible_duplicate, core.refusals);
            return Ok(Receipt { downgraded: core.downgraded, ..receipt });
        }
        Outcome::Refused { reason, text } => PublishError::Refused { reason, text },
        Outcome::Expired => PublishError::Expired,
        Outcome::Dropped => PublishError::Dropped,
        Outcome::TooLarge { size, limit } => PublishError::TooLarge { size, limit },
        Outcome::NotSupported(what) => PublishError::NotSupported(what),
        Outcome::NotSentAgain(why) => PublishError::NotSentAgain(why),
        Outcome::Unknown { released } => PublishError::Unknown { released },
        Outcome::Parked { cuts } => PublishError::Parked { cuts },
        Outcome::Cancelled => PublishError::Cancelled,
        Outcome::Superseded => PublishError::Superseded,
        Outcome::Evicted => PublishError::Evicted,
        Outcome::Unreadable => PublishError::Unreadable,
        Outcome::Stopped { maybe_delivered } => PublishError::Stopped { maybe_delivered },
        // A class a newer core added: nothing is known but that it is over.
        _ => PublishError::Unknown { released: false },
    };
    Err(Box::new(error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use rejoin_core::Rejected;

    use super::*;

    const TIMES: Times = Times {
        qos: Qos::AtLeastOnce,
        attempts: 1,
        queued_for: Duration::ZERO,
        took: Duration::from_millis(3),
    };

    #[test]
    fn a_cell_costs_seven_words() {
        // The two counts of an Arc stand before it.
        assert_eq!(2 * size_of::<usize>() + size_of::<Cell>(), 56);
    }

    #[test]
    fn a_receipt_comes_out_of_a_cell_as_it_went_in() {
        let receipt = Receipt {
            qos: Qos::ExactlyOnce,
            reason: ReasonCode::NO_MATCHING_SUBSCRIBERS,
            attempts: 65_535,
            possible_duplicate: true,
            refusals: 3,
            downgraded: true,
            queued_for: Duration::from_micros(1_000_001),
            took: Duration::from_secs(365 * 24 * 3600),
        };
        for (given, kept) in [(receipt, receipt), (Receipt { attempts: 65_536, ..receipt }, receipt)] {
            let cell = Cell::accepted(false);
            cell.finish(Ok(given));
            assert_eq!(lock(&cell.state).end.answer().map(Result::ok), Some(Some(kept)));
        }
    }

    #[test]
    fn everybody_who_waits_is_woken_once_by_each_news() {
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken: Vec<_> = (0..3).map(|_| Arc::new(Woken(AtomicUsize::new(0)))).collect();
        let cell = Cell::accepted(true);
        let mut numbers = [None; 3];
        let mut wait = |some: usize| {
            for _ in 0..2 {
                for (one, number) in woken.iter().zip(&mut numbers).take(some) {
                    *number = Some(lock(&cell.state).wait(*number, &Arc::clone(one).into()));
                }
            }
        };
        let times = || woken.iter().map(|one| one.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
        wait(1);
        cell.stored(Stored::OnDisk);
        assert_eq!(times(), [1, 0, 0]);
        wait(3);
        cell.sent();
        assert_eq!(times(), [2, 1, 1]);
        cell.forget(3);
        cell.finish(Err(Box::new(PublishError::Expired)));
        assert_eq!(times(), [3, 2, 1], "but for who waits no longer");
        wait(3);
        assert!(matches!(lock(&cell.state).end, End::Failed(_)), "who waits does not displace the answer");
    }

    #[test]
    fn only_what_the_broker_has_is_a_receipt() {
        assert!(answer(Outcome::Sent, TIMES).is_ok());
        let not_delivered = [
            Outcome::Refused { reason: ReasonCode::NOT_AUTHORIZED, text: None },
            Outcome::Expired,
            Outcome::Dropped,
            Outcome::TooLarge { size: 2, limit: 1 },
            Outcome::NotSupported("QoS 2"),
            Outcome::NotSentAgain(Rejected::NotAvailable("QoS 2")),
            Outcome::Unknown { released: true },
            Outcome::Parked { cuts: 2 },
            Outcome::Cancelled,
            Outcome::Superseded,
            Outcome::Evicted,
            Outcome::Unreadable,
            Outcome::Stopped { maybe_delivered: true },
        ];
        for outcome in not_delivered {
            assert!(!outcome.is_success());
            assert!(answer(outcome.clone(), TIMES).is_err(), "{outcome:?}");
        }
    }
}
