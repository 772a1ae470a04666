//! Questions to a queue, at rest or in use. Nothing of it is held between two of them, so that a slow reader of our
//! output keeps no client out.

use std::path::Path;
use std::time::{Duration, Instant};

use rejoin::store::StoreError;
#[cfg(unix)]
use rejoin::store::Visitor;
use rejoin::store::tools::{Answer, Body, Cursor, Entry, Request};

use super::page::Halt;
use crate::exit::Failure;

/// A client that begins has the folder before it answers, and one that ends stops answering before it gives the folder
/// back: so long it is waited for.
const CHANGING_HANDS: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Entries or rows in one answer: few enough that a client in use is never held up for long.
const PAGE: u32 = 1024;

/// An answer, and who has the queue; `None`: nobody.
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) owner: Option<String>,
}

/// Asks once.
pub(super) fn ask(folder: &Path, request: &Request) -> Result<Told, Failure> {
    let end = Instant::now() + CHANGING_HANDS;
    loop {
        match enter_and_ask(folder, request) {
            Ok(Told { answer: Answer::Refused(why), .. }) => return Err(Failure::local(why)),
            Ok(told) => return Ok(told),
            Err(StoreError::InUse { .. } | StoreError::Io { .. }) if Instant::now() < end => {
                std::thread::sleep(LOOK_EVERY);
            }
            Err(error) => return Err(Failure::local(error.to_string())),
        }
    }
}

#[cfg(unix)]
fn enter_and_ask(folder: &Path, request: &Request) -> Result<Told, StoreError> {
    let mut queue = Visitor::enter(folder)?;
    let owner = queue.owner().map(str::to_owned);
    Ok(Told { answer: queue.ask(request)?, owner })
}

/// Where there is no door a queue in use cannot be asked.
#[cfg(not(unix))]
fn enter_and_ask(folder: &Path, request: &Request) -> Result<Told, StoreError> {
    use rejoin::store::{Folder, Store};

    Ok(Told { answer: Folder::visit(folder)?.answer(request)?, owner: None })
}

/// Page after page of entries, until `on_page` says that it is enough.
pub(super) fn entries(
    folder: &Path,
    mut on_page: impl FnMut(Vec<Entry>) -> Result<bool, Halt>,
) -> Result<(), Halt> {
    let mut after = None;
    loop {
        match ask(folder, &Request::List { after, most: PAGE })?.answer {
            Answer::Entries { entries, next } => {
                if !on_page(entries)? || next.is_none() {
                    return Ok(());
                }
                after = next;
            }
            _ => return Err(other_answer().into()),
        }
    }
}

/// Page after page of entries with bodies.
pub(super) fn bodies(
    folder: &Path,
    mut on_page: impl FnMut(Vec<(Entry, Option<Body>)>) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let mut after = None;
    loop {
        match ask(folder, &Request::Export { after, most: PAGE })?.answer {
            Answer::Bodies { bodies, next } => {
                on_page(bodies)?;
                if next.is_none() {
                    return Ok(());
                }
                after = next;
            }
            _ => return Err(other_answer().into()),
        }
    }
}

/// Rows looked at, rows there are, what is damaged.
pub(super) struct Verified {
    pub(super) rows: u64,
    pub(super) of: u64,
    pub(super) damaged: Vec<String>,
}

/// Page after page of rows that were checked.
pub(super) fn verified(
    folder: &Path,
    mut on_page: impl FnMut(Verified) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let mut after: Option<Cursor> = None;
    loop {
        match ask(folder, &Request::Verify { after, most: PAGE * 8 })?.answer {
            Answer::Verified { rows, of, damaged, next } => {
                on_page(Verified { rows, of, damaged })?;
                if next.is_none() {
                    return Ok(());
                }
                after = next;
            }
            _ => return Err(other_answer().into()),
        }
    }
}

/// A queue that answers another question than was asked.
pub(super) fn other_answer() -> Failure {
    Failure::local("the client that has the queue gave another answer; use the same rejoin")
}
