//! `rejoin queue ls` and `rejoin queue export`.

use std::io::Write;

use rejoin::store::tools::{Entry, EntryState};

use super::args::{ExportArgs, LsArgs};
use super::page::{Halt, Page};
use super::progress::Progress;
use super::{ask, entry};
use crate::exit::{Exit, Failure};
use crate::quantity::count;

/// Lists what is in the queue.
pub(super) fn ls(args: &LsArgs) -> Result<Exit, Halt> {
    let now = entry::now_ms();
    let mut page = Page::new();
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut shown = 0_u64;
    let is_meant = |found: &Entry| args.topic.as_ref().is_none_or(|filter| filter.matches(&found.topic));
    ask::entries(&args.at.folder, |entries| {
        for found in entries.iter().filter(|found| is_meant(found)) {
            if left == 0 {
                return Ok(false);
            }
            if args.at.json {
                page.object(entry::object(found))?;
            } else {
                if shown == 0 {
                    page.line(entry::HEAD)?;
                }
                page.line(&entry::row(found, now))?;
            }
            (left, shown) = (left - 1, shown + 1);
        }
        page.flush()?;
        Ok(left > 0)
    })?;
    if shown == 0 && !args.at.json {
        let what = if args.topic.is_some() { "no message matches" } else { "the queue is empty" };
        let _ = writeln!(std::io::stderr().lock(), "{what}");
    }
    Ok(Exit::Done)
}

/// Saves what can be read.
pub(super) fn export(args: &ExportArgs) -> Result<Exit, Halt> {
    let mut page = Page::new();
    let progress = Progress::of("exporting messages");
    let (mut written, mut damaged) = (0_u64, 0_u64);
    let result = ask::bodies(&args.folder, |bodies| {
        for (found, body) in &bodies {
            damaged += u64::from(matches!(found.state, EntryState::Damaged { .. }));
            page.object(entry::whole(found, body.as_ref()))?;
            written += 1;
        }
        page.flush()?;
        progress.at(written, 0);
        Ok(())
    });
    drop(progress);
    match result {
        Err(Halt::Failed(failure)) => {
            let after = count(written);
            Err(Failure::new(failure.exit, format!("{}; {after} messages were written before", failure.message))
                .into())
        }
        Err(reader) => Err(reader),
        Ok(()) if damaged > 0 => Err(Failure::local(format!(
            "{} of {} messages cannot be read and have no payload; `rejoin queue purge DIR --damaged` takes them out",
            count(damaged),
            count(written)
        ))
        .into()),
        Ok(()) => Ok(Exit::Done),
    }
}
