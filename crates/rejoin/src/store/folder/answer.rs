//! What a queue answers to the tools of [`crate::store::tools`].

use std::collections::BTreeSet;

use redb::ReadableTable;
use rejoin_core::codec::packet::PacketId;
use rejoin_core::{PublishId, Qos, TopicFilter};

use super::body::MessageRow;
use super::book::{Book, Rows};
use super::clock::Present;
use super::inspect::{Inspection, check};
use super::row::{self, Exchange, IDENTITY, Identity, Kind, NAMES, Names, ParkedHead, SESSION, SessionRow};
use super::trouble::Trouble;
use crate::store::StoreError;
use crate::store::tools::{Answer, Request, Selection};

/// Most messages a queue in use withdraws at one request; asked again, it goes on.
const WITHDRAW_MOST: usize = 65_536;
/// Names above the last one seen that may have been used, where it is not known: messages come and go.
const MENDED_AHEAD: u64 = 1 << 32;

impl Book {
    /// Answers one request. `in_use`: a client knows what is in the queue.
    pub(super) fn answer(&mut self, request: &Request, in_use: bool) -> Result<Answer, StoreError> {
        let stats = self.stats();
        match request {
            Request::Stats => self.look(|look| look.stats(stats).map(Answer::Stats)),
            Request::List { after, most } => self.look(|look| look.list(*after, *most)),
            Request::Export { after, most } => self.look(|look| look.export(*after, *most)),
            Request::Show(id) => self.look(|look| look.show(*id)),
            Request::Verify { after, most } => self.look(|look| look.verify(*after, *most)),
            Request::Purge(Selection::Damaged) if in_use => Ok(Answer::Refused(
                "rows that cannot be read are taken out of a queue at rest; stop the client first".to_owned(),
            )),
            Request::Purge(selection) => self.purge(selection, in_use),
            Request::Compact => {
                let (before_bytes, after_bytes) = self.compact()?;
                Ok(Answer::Compacted { before_bytes, after_bytes })
            }
        }
    }

    fn look(
        &self,
        work: impl FnOnce(&Inspection<'_, redb::ReadOnlyTable<u64, &'static [u8]>>) -> Result<Answer, Trouble>,
    ) -> Result<Answer, StoreError> {
        let clock = self.now();
        self.read(|rows| {
            let names = rows.get(NAMES)?.and_then(|found| Names::decode(found.value()).ok());
            work(&Inspection { rows, present: Present::of(clock, &names.unwrap_or_default()) })
        })
    }

    fn purge(&mut self, selection: &Selection, in_use: bool) -> Result<Answer, StoreError> {
        let found = self.read(|rows| selected(rows, selection))?;
        let (withdraw, remove): (Vec<u64>, Vec<u64>) = found
            .into_iter()
            .partition(|key| in_use && Kind::of(*key).is_some_and(|(kind, _)| kind == Kind::Message));
        let mut bytes = 0;
        let removed = self.write(false, |rows| {
            let mut leased = BTreeSet::new();
            for key in &remove {
                let exchange = match Kind::of(*key) {
                    Some((Kind::Message, name)) => Some(row::exchange_key(PublishId(name))),
                    _ => None,
                };
                if let Some(exchange) = exchange {
                    leased.extend(begun(rows, *key, exchange)?);
                }
                if let Some(old) = rows.remove(*key)? {
                    bytes += old.value().len() as u64;
                }
                if let Some(exchange) = exchange {
                    rows.remove(exchange)?;
                }
            }
            mend_header(rows, &remove)?;
            lease(rows, leased)?;
            Ok((!remove.is_empty()).then_some(()))
        })?;
        if removed.is_some() {
            self.forget(&remove, bytes, in_use);
        }
        let messages = remove.len() as u64;
        if !in_use {
            return Ok(Answer::Purged { messages, bytes });
        }
        let ids = withdraw.into_iter().filter_map(Kind::of).map(|(_, name)| PublishId(name));
        Ok(Answer::Withdraw { ids: ids.take(WITHDRAW_MOST).collect(), messages, bytes })
    }

    /// What is kept in memory follows.
    fn forget(&mut self, keys: &[u64], bytes: u64, in_use: bool) {
        if !in_use {
            // Nobody goes on from here without reading it all again.
            self.index = None;
            return;
        }
        let Some(index) = &mut self.index else { return };
        index.live_bytes = index.live_bytes.saturating_sub(bytes);
        let gone: BTreeSet<PublishId> =
            keys.iter().filter_map(|key| Kind::of(*key)).map(|(_, name)| PublishId(name)).collect();
        index.parked.retain(|id| !gone.contains(id));
    }
}

/// The identifier of a message's exchange that the server may still have when the message is gone. At QoS 1 it has none.
fn begun(rows: &Rows<'_>, message: u64, exchange: u64) -> Result<Option<PacketId>, Trouble> {
    let found = rows.get(message)?;
    let row = found.as_ref().and_then(|row| MessageRow::decode(row::unseal(message, row.value()).ok()?).ok());
    if row.is_some_and(|row| row.qos().is_ok_and(|qos| qos != Qos::ExactlyOnce)) {
        return Ok(None);
    }
    let found = rows.get(exchange)?;
    let known = found.and_then(|row| Exchange::decode(row::unseal(exchange, row.value()).ok()?).ok());
    Ok(match known {
        Some(exchange) => exchange.packet_id,
        None => row.and_then(|row| row.assigned).map(|(packet_id, _)| packet_id),
    })
}

/// Another message under such an identifier would be taken for a copy [MQTT-4.3.3-10]: it rests until the session ends.
fn lease(rows: &mut Rows<'_>, identifiers: BTreeSet<PacketId>) -> Result<(), Trouble> {
    if identifiers.is_empty() {
        return Ok(());
    }
    let known = rows.get(SESSION)?.map(|row| SessionRow::decode(row.value()));
    // A row that cannot be read is left to whoever takes it out; without it no session goes on.
    let Ok(mut session) = known.unwrap_or_else(|| Ok(SessionRow::default())) else { return Ok(()) };
    let all: BTreeSet<_> = session.leased.iter().copied().chain(identifiers).collect();
    session.leased = all.into_iter().collect();
    rows.insert(SESSION, session.encode().as_slice())?;
    Ok(())
}

/// A header that could not be read is written anew, so that the rest can be used: the queue is nobody's then, and new
/// names begin far above all that is there.
fn mend_header(rows: &mut Rows<'_>, removed: &[u64]) -> Result<(), Trouble> {
    if removed.contains(&IDENTITY) {
        rows.insert(IDENTITY, Identity::default().encode().as_slice())?;
    }
    if removed.contains(&NAMES) {
        let mut names = Names::default();
        for found in rows.iter()? {
            let Some((kind, name)) = Kind::of(found?.0.value()) else { continue };
            let most = match kind {
                Kind::Inbox | Kind::InboxState => &mut names.message_most,
                _ => &mut names.publish_most,
            };
            *most = (*most).max(name.saturating_add(MENDED_AHEAD));
        }
        rows.insert(NAMES, names.encode().as_slice())?;
    }
    Ok(())
}

/// Keys of the rows that are meant.
fn selected(
    rows: &impl ReadableTable<u64, &'static [u8]>,
    selection: &Selection,
) -> Result<Vec<u64>, Trouble> {
    if let Selection::Publish(id) = selection {
        let keys = [row::message_key(*id), row::parked_key(*id)];
        let mut there = Vec::new();
        for key in keys {
            if rows.get(key)?.is_some() {
                there.push(key);
            }
        }
        return Ok(there);
    }
    let mut keys = Vec::new();
    for found in rows.iter()? {
        let (key, value) = found?;
        let (key, value) = (key.value(), value.value());
        let kind = Kind::of(key).map(|(kind, _)| kind);
        let is_meant = match selection {
            Selection::Damaged => check(key, value).is_err(),
            Selection::Parked => kind == Some(Kind::Parked),
            Selection::All => matches!(kind, Some(Kind::Parked | Kind::Message)),
            Selection::Topic(filter) => kind.is_some_and(|kind| is_to(filter, kind, key, value)),
            Selection::Publish(_) => false,
        };
        if is_meant {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn is_to(filter: &TopicFilter, kind: Kind, key: u64, value: &[u8]) -> bool {
    let content = match (kind, row::unseal(key, value)) {
        (Kind::Message, Ok(content)) => content,
        (Kind::Parked, Ok(content)) => match ParkedHead::decode(content) {
            Ok((_, content)) => content,
            Err(_) => return false,
        },
        _ => return false,
    };
    let row = MessageRow::decode(content);
    row.is_ok_and(|row| std::str::from_utf8(row.topic).is_ok_and(|topic| filter.matches(topic)))
}
