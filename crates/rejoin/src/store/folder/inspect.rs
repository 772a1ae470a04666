//! Looking into a queue, damaged or not: lists, bodies, checks, figures.

use redb::ReadableTable;
use rejoin_core::{MessageId, PublishId, Qos};

use super::body::{self, MessageRow};
use super::clock::Present;
use super::row::{
    self, Exchange, FORMAT, Holding, IDENTITY, Identity, Kind, NAMES, Names, ParkedHead, SESSION, SessionRow,
};
use super::trouble::{Trouble, position};
use crate::store::StoreStats;
use crate::store::tools::{
    Answer, Body, Cursor, Entry, EntryName, EntryState, PAGE_BYTES_MOST, PAGE_MOST, QueueStats,
};
use crate::store::wire::{Flaw, Reader};

type Page<'a> = redb::Range<'a, u64, &'static [u8]>;

/// Lists go through these, in this order.
const SECTIONS: [Kind; 3] = [Kind::Message, Kind::Parked, Kind::Inbox];
/// Rows that are checked at once, for each entry that would be listed.
const VERIFY_FACTOR: u32 = 16;

/// Looks into the rows of one moment.
pub(super) struct Inspection<'a, T> {
    pub(super) rows: &'a T,
    pub(super) present: Present,
}

impl<T: ReadableTable<u64, &'static [u8]>> Inspection<'_, T> {
    /// A page of entries.
    pub(super) fn list(&self, after: Option<Cursor>, most: u32) -> Result<Answer, Trouble> {
        let mut entries = Vec::new();
        let next = self.walk(after, most, |_, entry, _| {
            entries.push(entry);
            0
        })?;
        Ok(Answer::Entries { entries, next })
    }

    /// A page of entries with bodies.
    pub(super) fn export(&self, after: Option<Cursor>, most: u32) -> Result<Answer, Trouble> {
        let mut bodies = Vec::new();
        let next = self.walk(after, most, |kind, mut entry, content| {
            let body = match content.map(|content| body_of(kind, content)) {
                None => None,
                Some(Ok(body)) => body,
                Some(Err(flaw)) => {
                    entry.state = EntryState::Damaged { what: flaw.to_owned() };
                    None
                }
            };
            let size = entry.payload_bytes;
            bodies.push((entry, body));
            size
        })?;
        Ok(Answer::Bodies { bodies, next })
    }

    /// One message, waiting or parked.
    pub(super) fn show(&self, id: PublishId) -> Result<Answer, Trouble> {
        let mut bodies = Vec::new();
        for kind in [Kind::Message, Kind::Parked] {
            let key = kind.key(id.0);
            if let Some(found) = self.rows.get(key)? {
                let (entry, content) = self.entry(key, found.value())?;
                bodies.push((entry, content.and_then(|content| body_of(kind, content).ok().flatten())));
            }
        }
        Ok(Answer::Bodies { bodies, next: None })
    }

    /// A page of rows, each checked.
    pub(super) fn verify(&self, after: Option<Cursor>, most: u32) -> Result<Answer, Trouble> {
        let from = after.map_or(0, |Cursor(key)| key.saturating_add(1));
        let of = self.rows.len()?;
        let (mut rows, mut damaged, mut last) = (0, Vec::new(), None);
        let limit = u64::from(most.clamp(1, PAGE_MOST * VERIFY_FACTOR));
        for entry in self.rows.range(from..)? {
            let (key, value) = entry?;
            rows += 1;
            if let Err(flaw) = check(key.value(), value.value()) {
                damaged.push(position(key.value(), flaw));
            }
            if rows == limit {
                last = Some(Cursor(key.value()));
                break;
            }
        }
        Ok(Answer::Verified { rows, of, damaged, next: last })
    }

    /// Calls for each entry of a page; the answer is its size in bytes. Gives where the next page begins.
    fn walk(
        &self,
        after: Option<Cursor>,
        most: u32,
        mut on_entry: impl FnMut(Kind, Entry, Option<Reader<'_>>) -> u64,
    ) -> Result<Option<Cursor>, Trouble> {
        let begin = after.and_then(|Cursor(key)| Kind::of(key));
        let mut is_before = begin.is_some();
        let (mut count, mut bytes) = (0, 0);
        for section in SECTIONS {
            if is_before && begin.is_none_or(|(kind, _)| kind != section) {
                continue;
            }
            let page = match (is_before, after) {
                (true, Some(Cursor(key))) => self.section(section, key.saturating_add(1))?,
                _ => self.section(section, section.key(0))?,
            };
            is_before = false;
            for found in page {
                let (key, value) = found?;
                let (entry, content) = self.entry(key.value(), value.value())?;
                bytes += on_entry(section, entry, content);
                count += 1;
                if count >= most.clamp(1, PAGE_MOST) || bytes >= PAGE_BYTES_MOST {
                    return Ok(Some(Cursor(key.value())));
                }
            }
        }
        Ok(None)
    }

    fn section(&self, kind: Kind, from: u64) -> Result<Page<'_>, Trouble> {
        Ok(self.rows.range(from..=kind.key(row::LAST_NAME))?)
    }

    /// What a row says, and its content where it can be read.
    fn entry<'r>(&self, key: u64, value: &'r [u8]) -> Result<(Entry, Option<Reader<'r>>), Trouble> {
        let (kind, name) = Kind::of(key).unwrap_or((Kind::Message, key));
        let name = match kind {
            Kind::Inbox | Kind::InboxState => EntryName::Message(MessageId(name)),
            _ => EntryName::Publish(PublishId(name)),
        };
        let told = match row::unseal(key, value) {
            Ok(content) => self.readable(key, kind, name, content).map(|entry| (entry, Some(content))),
            Err(flaw) => Err(Trouble::row(key, flaw)),
        };
        match told {
            Err(Trouble::Row { key, flaw }) => {
                Ok((blank(name, EntryState::Damaged { what: position(key, flaw) }), None))
            }
            other => other,
        }
    }

    fn readable(&self, key: u64, kind: Kind, name: EntryName, content: Reader<'_>) -> Result<Entry, Trouble> {
        let at = |flaw| Trouble::row(key, flaw);
        match (kind, name) {
            (Kind::Inbox, EntryName::Message(id)) => {
                let (packet_id, message) = body::inbox_message(content).map_err(at)?;
                let packet_id = self.holding(id)?.map_or(Some(packet_id), |holding| holding.packet_id);
                Ok(Entry {
                    topic: message.topic.to_string(),
                    qos: message.qos,
                    retain: message.retain,
                    payload_bytes: message.payload.len() as u64,
                    ..blank(name, EntryState::Inbound { packet_id: packet_id.map(Into::into) })
                })
            }
            (Kind::Parked, _) => {
                let (head, content) = ParkedHead::decode(content).map_err(at)?;
                let state = EntryState::Parked { why: head.why, at_wall_ms: head.at_wall_ms };
                // It may have been parked because it could not be read.
                let row =
                    MessageRow::decode(content).and_then(|row| self.outbound(name, state.clone(), &row));
                Ok(row.unwrap_or_else(|_| blank(name, state)))
            }
            (_, EntryName::Publish(id)) => {
                let row = MessageRow::decode(content).map_err(at)?;
                self.outbound(name, self.state(id, &row)?, &row).map_err(at)
            }
            _ => Err(at("its kind is not known")),
        }
    }

    fn outbound(&self, name: EntryName, state: EntryState, row: &MessageRow<'_>) -> Result<Entry, Flaw> {
        let expires_wall_ms = self.present.expires_wall_ms(row.accepted, row.expires_after);
        Ok(Entry {
            topic: String::from_utf8_lossy(row.topic).into_owned(),
            qos: row.qos()?,
            retain: row.retain(),
            payload_bytes: row.payload.len() as u64,
            accepted_wall_ms: Some(row.accepted.wall_ms),
            expires_wall_ms,
            ..blank(name, state)
        })
    }

    fn state(&self, id: PublishId, row: &MessageRow<'_>) -> Result<EntryState, Trouble> {
        let key = row::exchange_key(id);
        let exchange = match self.rows.get(key)? {
            Some(found) => row::unseal(key, found.value())
                .and_then(Exchange::decode)
                .map_err(|flaw| Trouble::row(key, flaw))?,
            None => {
                Exchange { packet_id: row.assigned.map(|(packet_id, _)| packet_id), ..Exchange::default() }
            }
        };
        Ok(match exchange.packet_id.map(u16::from) {
            Some(packet_id) if exchange.released => EntryState::Released { packet_id },
            Some(packet_id) => EntryState::Sent { packet_id },
            None if exchange.asked => EntryState::Undecided,
            None => EntryState::Waiting { possible_duplicate: exchange.again },
        })
    }

    fn holding(&self, id: MessageId) -> Result<Option<Holding>, Trouble> {
        let key = row::inbox_state_key(id);
        let Some(found) = self.rows.get(key)? else { return Ok(None) };
        let holding = row::unseal(key, found.value()).and_then(Holding::decode);
        Ok(Some(holding.map_err(|flaw| Trouble::row(key, flaw))?))
    }

    /// How much there is; reads every row.
    pub(super) fn stats(&self, store: StoreStats) -> Result<QueueStats, Trouble> {
        let mut stats = QueueStats { format: FORMAT, store, ..QueueStats::default() };
        for found in self.rows.iter()? {
            let (key, value) = found?;
            let (key, value) = (key.value(), value.value());
            stats.live_bytes += value.len() as u64;
            match Kind::of(key) {
                Some((Kind::Meta, _)) => note_meta(&mut stats, key, value),
                Some((Kind::Parked, _)) => stats.parked += 1,
                Some((Kind::Inbox, _)) => stats.inbound += 1,
                Some((Kind::InboxState, _)) => {
                    let holding = row::unseal(key, value).and_then(Holding::decode);
                    stats.inbound += u64::from(holding.is_ok_and(|holding| holding.taken));
                }
                Some((Kind::Message, name)) => self.count(&mut stats, PublishId(name), key, value),
                Some((Kind::Exchange, _)) | None => {}
            }
        }
        Ok(stats)
    }

    fn count(&self, stats: &mut QueueStats, id: PublishId, key: u64, value: &[u8]) {
        let row = row::unseal(key, value).and_then(MessageRow::decode);
        let Ok(row) = row else { return };
        stats.oldest_accepted_wall_ms.get_or_insert(row.accepted.wall_ms);
        match self.state(id, &row) {
            Ok(EntryState::Sent { .. }) => stats.sent += 1,
            Ok(EntryState::Released { .. }) => {
                stats.sent += 1;
                stats.released += 1;
            }
            Ok(EntryState::Undecided) => stats.undecided += 1,
            _ => stats.waiting += 1,
        }
    }
}

fn note_meta(stats: &mut QueueStats, key: u64, value: &[u8]) {
    if key == IDENTITY
        && let Ok(identity) = Identity::decode(value)
    {
        stats.created_wall_ms = identity.created_wall_ms;
        stats.client_id = identity.client_id.map(|id| id.to_string()).or_else(|| stats.client_id.take());
        stats.servers = identity.servers;
    }
    if key == SESSION
        && let Ok(session) = SessionRow::decode(value)
    {
        stats.epoch = session.epoch;
        stats.session_server = session.server;
        let assigned = session.assigned_client_id.map(|id| id.to_string());
        stats.client_id = stats.client_id.take().or(assigned);
    }
}

fn blank(name: EntryName, state: EntryState) -> Entry {
    Entry {
        name,
        state,
        topic: String::new(),
        qos: Qos::AtMostOnce,
        retain: false,
        payload_bytes: 0,
        accepted_wall_ms: None,
        expires_wall_ms: None,
    }
}

fn body_of(kind: Kind, content: Reader<'_>) -> Result<Option<Body>, Flaw> {
    let content = match kind {
        Kind::Inbox => {
            let (_, message) = body::inbox_message(content)?;
            return Ok(Some(Body::Message(Box::new(message))));
        }
        Kind::Parked => ParkedHead::decode(content)?.1,
        _ => content,
    };
    if content.rest().is_empty() {
        return Ok(None);
    }
    Ok(Some(Body::Publication(Box::new(MessageRow::decode(content)?.publication()?))))
}

/// Reads a row as a start would.
pub(super) fn check(key: u64, value: &[u8]) -> Result<(), Flaw> {
    match key {
        IDENTITY => return Identity::decode(value).map(drop),
        SESSION => return SessionRow::decode(value).map(drop),
        NAMES => return Names::decode(value).map(drop),
        _ => {}
    }
    let content = row::unseal(key, value)?;
    match Kind::of(key).ok_or("its kind is not known")?.0 {
        Kind::Meta => Err("its name is not known"),
        Kind::InboxState => Holding::decode(content).map(drop),
        Kind::Inbox => body::inbox_message(content).map(drop),
        Kind::Parked => ParkedHead::decode(content).map(drop),
        Kind::Exchange => Exchange::decode(content).map(drop),
        Kind::Message => MessageRow::decode(content)?.publication().map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checksum keeps out chance, not a person: what fits one may still hold anything.
    #[test]
    fn no_row_whatever_it_holds_makes_a_reader_panic() {
        let mut chance = fastrand::Rng::with_seed(5);
        let mut readable = 0;
        for round in 0..200_000 {
            let kind =
                [Kind::Meta, Kind::InboxState, Kind::Inbox, Kind::Parked, Kind::Exchange, Kind::Message]
                    [chance.usize(0..6)];
            let key = kind.key(chance.u64(0..4));
            let mut row = row::open();
            let len = chance.usize(0..if round % 10 == 0 { 400 } else { 60 });
            // Small numbers reach further into a row than large ones.
            row.extend((0..len).map(|_| if chance.bool() { chance.u8(0..4) } else { chance.u8(..) }));
            let row = row::seal(key, row);
            readable += u32::from(check(key, &row).is_ok());
            let cut = chance.usize(0..=row.len());
            let _ = check(key, &row[..cut]);
            if let Ok(content) = row::unseal(key, &row) {
                let _ = body_of(kind, content);
            }
        }
        assert!(readable > 10_000, "only {readable} of the rows could be read");
    }
}
