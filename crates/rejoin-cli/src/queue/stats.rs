//! `rejoin queue stats`.

use rejoin::store::tools::{Answer, QueueStats, Request};
use serde_json::{Map, Value, json};

use super::args::FolderArgs;
use super::page::{Halt, Page, clean};
use super::{ask, entry};
use crate::exit::Exit;
use crate::quantity::{count, short, size};

/// Tells how much there is.
pub(super) fn run(args: &FolderArgs) -> Result<Exit, Halt> {
    let told = ask::ask(&args.folder, &Request::Stats)?;
    let Answer::Stats(stats) = told.answer else { return Err(ask::other_answer().into()) };
    let mut page = Page::new();
    if args.json {
        page.object(object(&stats, told.owner.as_deref()))?;
    } else {
        for (name, value) in lines(&stats, told.owner.as_deref()) {
            page.line(&format!("{name:<12}{}", clean(&value)))?;
        }
    }
    page.flush()?;
    Ok(Exit::Done)
}

fn lines(stats: &QueueStats, owner: Option<&str>) -> Vec<(&'static str, String)> {
    let nobody = || "none yet".to_owned();
    let now = entry::now_ms();
    let in_use = owner.map_or_else(|| "no: at rest".to_owned(), |owner| format!("by {owner}"));
    let servers = if stats.servers.is_empty() { nobody() } else { stats.servers.join(", ") };
    let session = match &stats.session_server {
        Some(server) => format!("on {server}, number {}", stats.epoch),
        None => nobody(),
    };
    let messages = format!(
        "{} waiting, {} sent and not acknowledged ({} released), {} undecided, {} set aside, {} inbound",
        count(stats.waiting),
        count(stats.sent),
        count(stats.released),
        count(stats.undecided),
        count(stats.parked),
        count(stats.inbound)
    );
    let oldest = stats.oldest_accepted_wall_ms.map(|at| format!("{} old", entry::since(at, now)));
    let mut lines = vec![
        ("in use", in_use),
        ("client id", stats.client_id.clone().unwrap_or_else(nobody)),
        ("servers", servers),
        ("session", session),
        ("messages", messages),
        ("oldest", oldest.unwrap_or_else(|| "-".to_owned())),
        ("size", format!("{} of rows in a file of {}", size(stats.live_bytes), size(stats.store.file_bytes))),
        ("format", format!("{}, begun {} ago", stats.format, entry::since(stats.created_wall_ms, now))),
    ];
    if owner.is_some() {
        let store = stats.store;
        let work = format!(
            "{} commits of {} records, {} written, {} syncs, slowest commit {}",
            count(store.commits),
            count(store.records),
            size(store.written_bytes),
            count(store.syncs),
            short(store.slowest_commit)
        );
        lines.push(("since open", work));
    }
    lines
}

fn object(stats: &QueueStats, owner: Option<&str>) -> Map<String, Value> {
    let store = stats.store;
    let object = json!({
        "in_use": owner.is_some(),
        "in_use_by": owner,
        "client_id": stats.client_id,
        "servers": stats.servers,
        "session_server": stats.session_server,
        "session_number": stats.epoch,
        "waiting": stats.waiting,
        "sent": stats.sent,
        "released": stats.released,
        "undecided": stats.undecided,
        "parked": stats.parked,
        "inbound": stats.inbound,
        "oldest_accepted_unix_ms": stats.oldest_accepted_wall_ms,
        "live_bytes": stats.live_bytes,
        "file_bytes": store.file_bytes,
        "format": stats.format,
        "created_unix_ms": stats.created_wall_ms,
        "commits": store.commits,
        "records": store.records,
        "record_bytes": store.record_bytes,
        "written_bytes": store.written_bytes,
        "syncs": store.syncs,
        "slowest_commit_ms": store.slowest_commit.as_millis() as u64,
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
