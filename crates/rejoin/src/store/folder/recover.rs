//! Reads a queue back: one pass, each row checked, no payload of a waiting message copied.

use std::collections::BTreeMap;

use redb::ReadableTable;
use rejoin_core::codec::packet::PacketId;
use rejoin_core::{Message, MessageId, PublishId, Recovered, Waits, WasHeld, WasSent};

use super::body::{self, MessageRow};
use super::clock::{Moment, Present};
use super::plan::Index;
use super::row::{
    self, Exchange, Holding, IDENTITY, Identity, Kind, NAMES, Names, ParkedHead, SESSION, SessionRow,
};
use super::trouble::{Trouble, position};
use crate::store::wire::Flaw;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) recovered: Recovered,
}

/// Reads everything.
pub(super) fn read(rows: &impl ReadableTable<u64, &'static [u8]>, now: Moment) -> Result<Found, Trouble> {
    let mut reading = Reading::new(now);
    let (mut whole, mut seen) = (0u64, 0u64);
    let (mut damaged, mut first) = (0u64, None);
    for entry in rows.iter()? {
        let (key, value) = entry?;
        seen += 1;
        match reading.row(key.value(), value.value()) {
            Ok(()) => whole += 1,
            Err(flaw) => {
                damaged += 1;
                first.get_or_insert_with(|| position(key.value(), flaw));
            }
        }
    }
    if let Some(first) = first {
        let what = format!("{first}; {damaged} rows are damaged, {whole} are whole");
        return Err(damaged_store(what));
    }
    let expected = rows.len()?;
    if seen != expected {
        return Err(damaged_store(format!("{seen} rows were found where {expected} should be")));
    }
    Ok(reading.finish())
}

/// The place is filled in by the one who knows it.
fn damaged_store(what: String) -> Trouble {
    Trouble::Redb(redb::Error::Corrupted(what))
}

struct Reading {
    found: Found,
    /// Known once the row of names was read, which comes before all messages.
    present: Present,
    inbox: BTreeMap<MessageId, (PacketId, Message)>,
    sent: Vec<(u64, WasSent)>,
}

impl Reading {
    fn new(now: Moment) -> Self {
        let present = Present::of(now, &Names::default());
        Self { found: Found::default(), present, inbox: BTreeMap::new(), sent: Vec::new() }
    }

    fn row(&mut self, key: u64, value: &[u8]) -> Result<(), Flaw> {
        let index = &mut self.found.index;
        index.live_bytes += value.len() as u64;
        match key {
            IDENTITY => {
                index.identity = Identity::decode(value)?;
                return Ok(());
            }
            SESSION => {
                index.session = SessionRow::decode(value)?;
                return Ok(());
            }
            NAMES => {
                index.names = Names::decode(value)?;
                self.present = Present::of(self.present.now, &index.names);
                return Ok(());
            }
            _ => {}
        }
        let reader = row::unseal(key, value)?;
        let (kind, name) = Kind::of(key).ok_or("its kind is not known")?;
        match kind {
            Kind::Meta => Err("its name is not known"),
            Kind::InboxState => {
                index.holdings.insert(MessageId(name), Holding::decode(reader)?);
                Ok(())
            }
            Kind::Inbox => {
                self.inbox.insert(MessageId(name), body::inbox_message(reader)?);
                Ok(())
            }
            Kind::Parked => {
                ParkedHead::decode(reader)?;
                index.parked.insert(PublishId(name));
                Ok(())
            }
            Kind::Exchange => {
                let exchange = Exchange::decode(reader)?;
                index.next_order = index.next_order.max(exchange.order + 1);
                index.exchanges.insert(PublishId(name), exchange);
                Ok(())
            }
            Kind::Message => self.message(PublishId(name), &MessageRow::decode(reader)?),
        }
    }

    fn message(&mut self, id: PublishId, row: &MessageRow<'_>) -> Result<(), Flaw> {
        let Found { index, recovered } = &mut self.found;
        let exchange = match (index.exchanges.get(&id), row.assigned) {
            (Some(exchange), _) => *exchange,
            (None, Some((packet_id, order))) => {
                let exchange = Exchange { order, packet_id: Some(packet_id), ..Exchange::default() };
                index.next_order = index.next_order.max(order + 1);
                index.exchanges.insert(id, exchange);
                exchange
            }
            (None, None) => Exchange::default(),
        };
        let expires_wall_ms = self.present.expires_wall_ms(row.accepted, row.expires_after);
        if let Some(packet_id) = exchange.packet_id {
            let was_sent = WasSent {
                id,
                packet_id,
                released: exchange.released,
                possible_duplicate: exchange.again,
                lowered: exchange.lowered,
                expires_wall_ms,
                publication: row.publication()?,
            };
            self.sent.push((exchange.order, was_sent));
        } else if exchange.asked {
            recovered.undecided.push((id, row.publication()?));
        } else {
            recovered.waiting.push(Waits {
                id,
                qos: row.qos()?,
                size_bytes: row.size_bytes(),
                expires_wall_ms,
                possible_duplicate: exchange.again,
                latest_of: row.latest_of()?,
                body: None,
            });
        }
        Ok(())
    }

    fn finish(mut self) -> Found {
        let Found { index, recovered } = &mut self.found;
        self.sent.sort_unstable_by_key(|(order, _)| *order);
        recovered.sent = self.sent.into_iter().map(|(_, was_sent)| was_sent).collect();
        for (id, (packet_id, message)) in self.inbox {
            let plain = Holding { packet_id: Some(packet_id), taken: false, digest: None };
            let holding = *index.holdings.entry(id).or_insert(plain);
            let held = WasHeld { id, packet_id: holding.packet_id, message: Some(message), digest: None };
            recovered.held.push(held);
        }
        let taken = index.holdings.iter().filter(|(_, holding)| holding.taken);
        for (id, holding) in taken {
            let Holding { packet_id, digest, .. } = *holding;
            recovered.held.push(WasHeld { id: *id, packet_id, message: None, digest });
        }
        recovered.held.sort_unstable_by_key(|held| held.id);
        recovered.epoch = index.session.epoch;
        recovered.server = index.session.server.clone();
        recovered.connack_unseen = index.session.connack_unseen;
        recovered.client_id = index.session.assigned_client_id.clone();
        recovered.leased = index.session.leased.clone();
        recovered.reached_wall_ms = index.session.reached_wall_ms.clone();
        recovered.last_publish = PublishId(index.names.publish_most);
        recovered.last_message = MessageId(index.names.message_most);
        self.found
    }
}
