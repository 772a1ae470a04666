//! `rejoin queue verify` and `rejoin queue compact`: work that reads or writes the whole file.

use rejoin::store::tools::{Answer, Request};
use serde_json::{Map, Value};

use super::args::FolderArgs;
use super::ask;
use super::page::{Halt, Page, clean};
use super::progress::Progress;
use crate::exit::{Exit, Failure};
use crate::quantity::{count, size};

/// Reads and checks every row.
pub(super) fn verify(args: &FolderArgs) -> Result<Exit, Halt> {
    let progress = Progress::of("checking rows");
    let mut damaged = Vec::new();
    let mut rows = 0;
    ask::verified(&args.folder, |page| {
        rows += page.rows;
        damaged.extend(page.damaged);
        progress.at(rows, page.of.max(rows));
        Ok(())
    })?;
    drop(progress);
    let mut page = Page::new();
    let bad = damaged.len() as u64;
    if args.json {
        let mut object = Map::new();
        object.insert("sound".to_owned(), (bad == 0).into());
        object.insert("rows".to_owned(), rows.into());
        object.insert("damaged".to_owned(), damaged.into_iter().map(Value::from).collect());
        page.object(object)?;
    } else {
        damaged.iter().try_for_each(|place| page.line(&clean(place)))?;
        if bad == 0 {
            page.line(&format!("sound: {} rows", count(rows)))?;
        }
    }
    page.flush()?;
    if bad == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::local(format!(
        "damaged: {} of {} rows; save the rest with `rejoin queue export DIR`, then `rejoin queue purge DIR --damaged`, or \
         put a copy back",
        count(bad),
        count(rows)
    ))
    .into())
}

/// Makes the file small.
pub(super) fn compact(args: &FolderArgs) -> Result<Exit, Halt> {
    let progress = Progress::of("compacting");
    let answer = ask::ask(&args.folder, &Request::Compact)?.answer;
    drop(progress);
    let Answer::Compacted { before_bytes, after_bytes } = answer else {
        return Err(ask::other_answer().into());
    };
    let mut page = Page::new();
    if args.json {
        let mut object = Map::new();
        object.insert("before_bytes".to_owned(), before_bytes.into());
        object.insert("after_bytes".to_owned(), after_bytes.into());
        page.object(object)?;
    } else {
        page.line(&format!("from {} to {}", size(before_bytes), size(after_bytes)))?;
    }
    page.flush()?;
    Ok(Exit::Done)
}
