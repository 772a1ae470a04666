//! What an application was told of its messages, and whether it adds up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rejoin::{Delivery, Event, Events, PublishError, PublishId, Receipt};
use rejoin_lab::Auditor;

/// The account of one client, from the application's side.
#[derive(Clone)]
pub(crate) struct Book {
    auditor: Auditor,
    pages: Rc<RefCell<Pages>>,
}

#[derive(Default)]
struct Pages {
    /// Every accepted message: its number for the auditor, none at QoS 0, which nobody promises to deliver.
    accepted: BTreeMap<PublishId, Option<u64>>,
    /// What the event said.
    told: BTreeMap<PublishId, Answer>,
    /// What the handle said.
    answered: BTreeMap<PublishId, Answer>,
    complaints: Vec<String>,
    /// Messages that ended because the client stopped.
    stopped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Delivered,
    /// Ended otherwise, and the broker may have it.
    Unknown,
    /// Ended otherwise, and the broker has it not.
    Failed,
}

impl Answer {
    fn of(result: &Result<Receipt, PublishError>) -> Self {
        match result {
            Ok(_) => Self::Delivered,
            Err(error) => Self::of_error(error),
        }
    }

    const fn of_error(error: &PublishError) -> Self {
        if error.maybe_delivered() { Self::Unknown } else { Self::Failed }
    }
}

impl Book {
    pub(crate) fn new(auditor: Auditor) -> Self {
        Self { auditor, pages: Rc::default() }
    }

    /// The client took a message.
    pub(crate) fn accepted(&self, delivery: &Delivery, number: Option<u64>) {
        if let Some(number) = number {
            self.auditor.published(number);
        }
        if self.pages.borrow_mut().accepted.insert(delivery.id(), number).is_some() {
            self.complain(format!("{:?} names two messages", delivery.id()));
        }
    }

    /// The handle of a message gave its answer.
    pub(crate) fn answered(&self, id: PublishId, result: &Result<Receipt, PublishError>) {
        self.pages.borrow_mut().answered.insert(id, Answer::of(result));
    }

    /// Reads the events of a client to the end of it.
    pub(crate) async fn read(self, mut events: Events) {
        let shown = std::env::var_os("REJOIN_TURMOIL_SHOW").is_some();
        while let Some(event) = events.next().await {
            if shown {
                eprintln!("{:?} {event:?}", turmoil::elapsed());
            }
            match event {
                Event::Delivered { id, .. } => self.told(id, Answer::Delivered),
                Event::Failed { id, why } => {
                    let stopped = matches!(*why, PublishError::Stopped { .. });
                    self.pages.borrow_mut().stopped += u64::from(stopped);
                    self.told(id, Answer::of_error(&why));
                }
                Event::Lagged(count) => self.complain(format!("{count} events were not read")),
                _ => {}
            }
        }
    }

    fn told(&self, id: PublishId, answer: Answer) {
        let mut pages = self.pages.borrow_mut();
        if pages.told.insert(id, answer).is_some() {
            pages.complaints.push(format!("{id:?} has two outcomes"));
        }
        match (pages.accepted.get(&id).copied(), answer) {
            (None, _) => pages.complaints.push(format!("{id:?} has an outcome and was never accepted")),
            (Some(None), _) => {}
            (Some(Some(number)), Answer::Delivered) => self.auditor.acknowledged(number),
            (Some(Some(number)), Answer::Unknown) => self.auditor.told_unknown(number),
            (Some(Some(number)), Answer::Failed) => self.auditor.told_failed(number),
        }
    }

    pub(crate) fn complain(&self, what: String) {
        self.pages.borrow_mut().complaints.push(what);
    }

    /// Messages of which it was said that the broker has them not.
    fn failed(&self) -> Vec<u64> {
        let pages = self.pages.borrow();
        let numbers = pages.told.iter().filter(|(_, answer)| **answer == Answer::Failed);
        numbers.filter_map(|(id, _)| pages.accepted.get(id).copied().flatten()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.borrow().accepted.len()
    }

    /// Accepted messages that have no outcome.
    pub(crate) fn unanswered(&self) -> usize {
        let pages = self.pages.borrow();
        pages.accepted.keys().filter(|id| !pages.told.contains_key(id)).count()
    }

    /// How many messages ended because the client stopped.
    pub(crate) fn stopped(&self) -> u64 {
        self.pages.borrow().stopped
    }

    /// What does not add up, once the client is over. `arrived` says whether the broker has a message.
    pub(crate) fn close(self, arrived: impl Fn(u64) -> bool) -> Vec<String> {
        for number in self.failed() {
            if arrived(number) {
                self.complain(format!("{number} was said to have failed, and the broker has it"));
            }
        }
        let unanswered = self.unanswered();
        let mut pages = self.pages.borrow_mut();
        if unanswered > 0 {
            pages.complaints.push(format!("{unanswered} accepted messages have no outcome"));
        }
        let differ: Vec<String> = pages
            .answered
            .iter()
            .filter(|(id, answer)| pages.told.get(id) != Some(answer))
            .map(|(id, answer)| {
                format!("{id:?}: the handle said {answer:?}, the event {:?}", pages.told.get(id))
            })
            .collect();
        pages.complaints.extend(differ);
        std::mem::take(&mut pages.complaints)
    }
}
