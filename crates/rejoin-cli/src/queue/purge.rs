//! `rejoin queue purge`: nothing is taken out without a yes.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use rejoin::PublishId;
use rejoin::store::tools::{Answer, Entry, EntryName, EntryState, Request, Selection};
use serde_json::Map;

use super::args::PurgeArgs;
use super::ask;
use super::page::{Halt, Page};
use crate::exit::{Exit, Failure};
use crate::quantity::{count, size};

/// A queue in use withdraws so many at one request.
const AT_ONCE: u64 = 65_536;

/// Takes messages out.
pub(super) fn run(args: &PurgeArgs) -> Result<Exit, Halt> {
    let selection = selection(args);
    if !args.yes {
        agreed(&args.at.folder, &selection)?;
    }
    let (mut messages, mut bytes) = (0, 0);
    let owner = loop {
        let told = ask::ask(&args.at.folder, &Request::Purge(selection.clone()))?;
        let Answer::Purged { messages: more, bytes: more_bytes } = told.answer else {
            return Err(ask::other_answer().into());
        };
        messages += more;
        bytes += more_bytes;
        if more < AT_ONCE || told.owner.is_none() {
            break told.owner;
        }
    };
    let mut page = Page::new();
    if args.at.json {
        let mut object = Map::new();
        object.insert("messages".to_owned(), messages.into());
        object.insert("row_bytes".to_owned(), bytes.into());
        object.insert("in_use".to_owned(), owner.is_some().into());
        page.object(object)?;
    } else if let Some(owner) = owner {
        page.line(&format!(
            "{} messages: withdrawn by the client that has the queue ({owner}), but for those under way",
            count(messages)
        ))?;
    } else {
        page.line(&format!("{} messages taken out, {}", count(messages), size(bytes)))?;
    }
    page.flush()?;
    Ok(Exit::Done)
}

fn selection(args: &PurgeArgs) -> Selection {
    match (&args.topic, args.id) {
        (Some(filter), _) => Selection::Topic(filter.clone()),
        (None, Some(id)) => Selection::Publish(PublishId(id)),
        (None, None) if args.parked => Selection::Parked,
        (None, None) if args.damaged => Selection::Damaged,
        (None, None) => Selection::All,
    }
}

/// Asks at a terminal; elsewhere `--yes` must be said. The queue is free meanwhile.
fn agreed(folder: &Path, selection: &Selection) -> Result<(), Halt> {
    let mut found = 0_u64;
    ask::entries(folder, |entries| {
        found += entries.iter().filter(|entry| is_meant(entry, selection)).count() as u64;
        Ok(true)
    })?;
    let found = count(found);
    if !std::io::stdin().is_terminal() {
        let what = format!("{found} messages would be taken out for good; say --yes to do it");
        return Err(Failure::usage(what).into());
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "take {found} messages out for good? [y/N] ").and_then(|()| stderr.flush());
    drop(stderr);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::usage("nothing was taken out").into())
    }
}

fn is_meant(entry: &Entry, selection: &Selection) -> bool {
    let damaged = matches!(entry.state, EntryState::Damaged { .. });
    let EntryName::Publish(id) = entry.name else { return damaged && *selection == Selection::Damaged };
    match selection {
        Selection::All => true,
        Selection::Topic(filter) => !damaged && filter.matches(&entry.topic),
        Selection::Publish(wanted) => id == *wanted,
        Selection::Parked => matches!(entry.state, EntryState::Parked { .. }),
        Selection::Damaged => damaged,
        _ => false,
    }
}
