//! Questions and answers as bytes: between two programs of one version on one machine, so there is no more to it than
//! numbers and strings in order.

use std::time::Duration;

use rejoin_core::{MessageId, Parking, PublishId, Qos, TopicFilter};

use crate::store::StoreStats;
use crate::store::folder::{get_body, put_body};
use crate::store::tools::{Answer, Cursor, Entry, EntryName, EntryState, QueueStats, Request, Selection};
use crate::store::wire::{Flaw, Put, Reader};

/// Changes with every change below.
const VERSION: u8 = 1;
const NOT_KNOWN: Flaw = "a word is not known";

fn begin() -> Vec<u8> {
    vec![VERSION]
}

fn opened(bytes: &[u8]) -> Result<Reader<'_>, Flaw> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? == VERSION { Ok(reader) } else { Err("it is of another version") }
}

fn put_cursor(out: &mut Vec<u8>, cursor: Option<Cursor>) {
    put_option(out, cursor.map(|Cursor(key)| key));
}

fn cursor(from: &mut Reader<'_>) -> Result<Option<Cursor>, Flaw> {
    Ok(option(from)?.map(Cursor))
}

fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    out.put_u8(u8::from(value.is_some()));
    out.put_u64(value.unwrap_or_default());
}

fn option(from: &mut Reader<'_>) -> Result<Option<u64>, Flaw> {
    let is_some = from.flag()?;
    let value = from.u64()?;
    Ok(is_some.then_some(value))
}

fn put_option_text(out: &mut Vec<u8>, value: Option<&str>) {
    out.put_u8(u8::from(value.is_some()));
    out.put_short(value.unwrap_or_default());
}

fn option_text(from: &mut Reader<'_>) -> Result<Option<String>, Flaw> {
    let is_some = from.flag()?;
    let value = from.string()?;
    Ok(is_some.then_some(value))
}

pub(super) fn put_request(request: &Request) -> Vec<u8> {
    let mut out = begin();
    let mut paged = |word: u8, after: Option<Cursor>, most: u32| {
        out.put_u8(word);
        put_cursor(&mut out, after);
        out.put_u32(most);
    };
    match request {
        Request::Stats => out.put_u8(1),
        Request::List { after, most } => paged(2, *after, *most),
        Request::Export { after, most } => paged(3, *after, *most),
        Request::Show(id) => {
            out.put_u8(4);
            out.put_u64(id.0);
        }
        Request::Verify { after, most } => paged(5, *after, *most),
        Request::Compact => out.put_u8(7),
        Request::Purge(selection) => {
            out.put_u8(6);
            match selection {
                Selection::All => out.put_u8(1),
                Selection::Topic(filter) => {
                    out.put_u8(2);
                    out.put_short(filter.as_str());
                }
                Selection::Publish(id) => {
                    out.put_u8(3);
                    out.put_u64(id.0);
                }
                Selection::Parked => out.put_u8(4),
                Selection::Damaged => out.put_u8(5),
            }
        }
    }
    out
}

pub(super) fn request(bytes: &[u8]) -> Result<Request, Flaw> {
    let mut from = opened(bytes)?;
    Ok(match from.u8()? {
        1 => Request::Stats,
        2 => Request::List { after: cursor(&mut from)?, most: from.u32()? },
        3 => Request::Export { after: cursor(&mut from)?, most: from.u32()? },
        4 => Request::Show(PublishId(from.u64()?)),
        5 => Request::Verify { after: cursor(&mut from)?, most: from.u32()? },
        6 => Request::Purge(match from.u8()? {
            1 => Selection::All,
            2 => {
                let filter = TopicFilter::new(from.string()?);
                Selection::Topic(filter.map_err(|_| "the topic filter is none")?)
            }
            3 => Selection::Publish(PublishId(from.u64()?)),
            4 => Selection::Parked,
            5 => Selection::Damaged,
            _ => return Err(NOT_KNOWN),
        }),
        7 => Request::Compact,
        _ => return Err(NOT_KNOWN),
    })
}

pub(super) fn put_answer(answer: &Answer) -> Vec<u8> {
    let mut out = begin();
    match answer {
        Answer::Stats(stats) => {
            out.put_u8(1);
            put_stats(&mut out, stats);
        }
        Answer::Entries { entries, next } => {
            out.put_u8(2);
            put_cursor(&mut out, *next);
            out.put_u32(count(entries.len()));
            for entry in entries {
                put_entry(&mut out, entry);
            }
        }
        Answer::Bodies { bodies, next } => {
            out.put_u8(3);
            put_cursor(&mut out, *next);
            out.put_u32(count(bodies.len()));
            for (entry, body) in bodies {
                put_entry(&mut out, entry);
                put_body(&mut out, body.as_ref());
            }
        }
        Answer::Verified { rows, of, damaged, next } => {
            out.put_u8(4);
            put_cursor(&mut out, *next);
            out.put_u64(*rows);
            out.put_u64(*of);
            out.put_u32(count(damaged.len()));
            damaged.iter().for_each(|what| out.put_short(what));
        }
        Answer::Purged { messages, bytes } => {
            out.put_u8(5);
            out.put_u64(*messages);
            out.put_u64(*bytes);
        }
        Answer::Withdraw { .. } => {
            out.put_u8(7);
            out.put_short("the client that has the queue does not withdraw messages for tools");
        }
        Answer::Compacted { before_bytes, after_bytes } => {
            out.put_u8(6);
            out.put_u64(*before_bytes);
            out.put_u64(*after_bytes);
        }
        Answer::Refused(why) => {
            out.put_u8(7);
            out.put_short(why);
        }
    }
    out
}

pub(super) fn answer(bytes: &[u8]) -> Result<Answer, Flaw> {
    let mut from = opened(bytes)?;
    let from = &mut from;
    Ok(match from.u8()? {
        1 => Answer::Stats(stats(from)?),
        2 => {
            let next = cursor(from)?;
            Answer::Entries { entries: list(from, entry)?, next }
        }
        3 => {
            let next = cursor(from)?;
            Answer::Bodies { bodies: list(from, |from| Ok((entry(from)?, get_body(from)?)))?, next }
        }
        4 => {
            let (next, rows, of) = (cursor(from)?, from.u64()?, from.u64()?);
            Answer::Verified { rows, of, damaged: list(from, Reader::string)?, next }
        }
        5 => Answer::Purged { messages: from.u64()?, bytes: from.u64()? },
        6 => Answer::Compacted { before_bytes: from.u64()?, after_bytes: from.u64()? },
        7 => Answer::Refused(from.string()?),
        _ => return Err(NOT_KNOWN),
    })
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The announced length reserves nothing.
fn list<'a, T>(
    from: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Flaw>,
) -> Result<Vec<T>, Flaw> {
    let count = from.u32()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(from)?);
    }
    Ok(items)
}

fn put_stats(out: &mut Vec<u8>, stats: &QueueStats) {
    out.put_u32(stats.format);
    out.put_u64(stats.created_wall_ms);
    put_option_text(out, stats.client_id.as_deref());
    out.put_u32(count(stats.servers.len()));
    stats.servers.iter().for_each(|server| out.put_short(server));
    put_option_text(out, stats.session_server.as_deref());
    let numbers = [stats.epoch, stats.waiting, stats.sent, stats.released, stats.undecided, stats.parked];
    numbers.iter().for_each(|number| out.put_u64(*number));
    out.put_u64(stats.inbound);
    put_option(out, stats.oldest_accepted_wall_ms);
    out.put_u64(stats.live_bytes);
    let store = &stats.store;
    let slowest = u64::try_from(store.slowest_commit.as_nanos()).unwrap_or(u64::MAX);
    let numbers = [
        store.commits,
        store.records,
        store.record_bytes,
        store.file_bytes,
        store.written_bytes,
        store.syncs,
        slowest,
    ];
    numbers.iter().for_each(|number| out.put_u64(*number));
}

fn stats(from: &mut Reader<'_>) -> Result<QueueStats, Flaw> {
    Ok(QueueStats {
        format: from.u32()?,
        created_wall_ms: from.u64()?,
        client_id: option_text(from)?,
        servers: list(from, Reader::string)?,
        session_server: option_text(from)?,
        epoch: from.u64()?,
        waiting: from.u64()?,
        sent: from.u64()?,
        released: from.u64()?,
        undecided: from.u64()?,
        parked: from.u64()?,
        inbound: from.u64()?,
        oldest_accepted_wall_ms: option(from)?,
        live_bytes: from.u64()?,
        store: StoreStats {
            commits: from.u64()?,
            records: from.u64()?,
            record_bytes: from.u64()?,
            file_bytes: from.u64()?,
            written_bytes: from.u64()?,
            syncs: from.u64()?,
            slowest_commit: Duration::from_nanos(from.u64()?),
        },
    })
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let (kind, name) = match entry.name {
        EntryName::Publish(id) => (1, id.0),
        EntryName::Message(id) => (2, id.0),
    };
    out.put_u8(kind);
    out.put_u64(name);
    put_state(out, &entry.state);
    out.put_short(&entry.topic);
    out.put_u8(entry.qos as u8);
    out.put_u8(u8::from(entry.retain));
    out.put_u64(entry.payload_bytes);
    put_option(out, entry.accepted_wall_ms);
    put_option(out, entry.expires_wall_ms);
}

fn entry(from: &mut Reader<'_>) -> Result<Entry, Flaw> {
    let (kind, name) = (from.u8()?, from.u64()?);
    Ok(Entry {
        name: match kind {
            1 => EntryName::Publish(PublishId(name)),
            2 => EntryName::Message(MessageId(name)),
            _ => return Err(NOT_KNOWN),
        },
        state: state(from)?,
        topic: from.string()?,
        qos: Qos::from_u8(from.u8()?).ok_or(NOT_KNOWN)?,
        retain: from.flag()?,
        payload_bytes: from.u64()?,
        accepted_wall_ms: option(from)?,
        expires_wall_ms: option(from)?,
    })
}

fn put_state(out: &mut Vec<u8>, state: &EntryState) {
    match state {
        EntryState::Waiting { possible_duplicate } => out.put(&[1, u8::from(*possible_duplicate)]),
        EntryState::Sent { packet_id } => {
            out.put_u8(2);
            out.put_u16(*packet_id);
        }
        EntryState::Released { packet_id } => {
            out.put_u8(3);
            out.put_u16(*packet_id);
        }
        EntryState::Undecided => out.put_u8(4),
        EntryState::Parked { why, at_wall_ms } => {
            out.put_u8(5);
            put_option(out, if let Parking::Cut { cuts } = why { Some(u64::from(*cuts)) } else { None });
            out.put_u64(*at_wall_ms);
        }
        EntryState::Inbound { packet_id } => {
            out.put_u8(6);
            out.put_u16(packet_id.unwrap_or_default());
        }
        EntryState::Damaged { what } => {
            out.put_u8(7);
            out.put_short(what);
        }
    }
}

fn state(from: &mut Reader<'_>) -> Result<EntryState, Flaw> {
    Ok(match from.u8()? {
        1 => EntryState::Waiting { possible_duplicate: from.flag()? },
        2 => EntryState::Sent { packet_id: from.u16()? },
        3 => EntryState::Released { packet_id: from.u16()? },
        4 => EntryState::Undecided,
        5 => {
            let cuts = option(from)?.map(|cuts| u32::try_from(cuts).unwrap_or(u32::MAX));
            let why = cuts.map_or(Parking::Unreadable, |cuts| Parking::Cut { cuts });
            EntryState::Parked { why, at_wall_ms: from.u64()? }
        }
        6 => EntryState::Inbound { packet_id: Some(from.u16()?).filter(|id| *id != 0) },
        7 => EntryState::Damaged { what: from.string()? },
        _ => return Err(NOT_KNOWN),
    })
}
