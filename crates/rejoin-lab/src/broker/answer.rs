//! Acknowledgements of what a client publishes: sent, delayed, swapped or lost.

use rejoin_core::codec::packet::{Ack, Packet};

use super::connection::{Connection, Held, Phase};
use super::session::Stage;
use super::{Broker, ConnectionId, LedgerEntry};
use crate::wire::PacketKind;
use std::time::Duration;

/// How long the first of a pair to be swapped waits for the second.
const SWAP_WAIT: Duration = Duration::from_millis(20);

impl Broker {
    /// Sends PUBACK, PUBREC or PUBCOMP as the manners have it.
    pub(super) fn answer(&mut self, id: ConnectionId, packet: Packet) {
        if self.manners.loses(PacketKind::of(&packet)) {
            return;
        }
        let now = self.now;
        let (delay, swaps) = (self.manners.ack_delay, self.manners.swap_acks);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if swaps {
            if let Some(first) = connection.held.pop_front() {
                self.send_answer(id, &packet);
                self.send_answer(id, &first.packet);
            } else {
                connection.held.push_back(Held { due: now + SWAP_WAIT, packet });
                self.deadline_moved = true;
            }
        } else if !delay.is_zero() || !connection.held.is_empty() {
            let due = (now + delay).max(connection.held.back().map_or(now, |held| held.due));
            connection.held.push_back(Held { due, packet });
            self.deadline_moved = true;
        } else {
            self.send_answer(id, &packet);
        }
    }

    /// Sends the acknowledgements whose time has come.
    pub(super) fn release_held(&mut self, id: ConnectionId) {
        let now = self.now;
        while let Some(connection) = self.connections.get_mut(&id) {
            match connection.held.pop_front_if(|held| held.due <= now) {
                Some(held) => self.send_answer(id, &held.packet),
                None => return,
            }
        }
    }

    /// Writes an acknowledgement; only now the exchange has moved, for the judge too.
    fn send_answer(&mut self, id: ConnectionId, packet: &Packet) {
        let Some(connection) = self.connections.get_mut(&id).filter(|c| c.phase == Phase::Up) else { return };
        let mut settled = None;
        if let Some(session) = self.sessions.get_mut(&connection.client)
            && let Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) = packet
            && let Some(exchange) = session.inbound.get_mut(&ack.packet_id)
        {
            exchange.unheard = false;
            connection.answers.push(ack.packet_id);
            exchange.stage = match packet {
                Packet::PubRec(Ack { reason, .. }) if !reason.is_error() => {
                    connection.pubrels_owed.push_back(ack.packet_id);
                    if exchange.stage == Stage::Open { Stage::Recorded } else { exchange.stage }
                }
                _ => {
                    settled = Some(exchange.order);
                    Stage::Finished
                }
            };
        }
        if let Some(packet_id) = Connection::gives_back(packet) {
            connection.unfinished.remove(&packet_id);
        }
        if connection.write(packet) {
            self.mark_dirty(id);
        }
        if let Some(arrival) = settled
            && !self.manners.path_loses_packets
        {
            self.write_ledger(|| LedgerEntry::Settled { arrival });
        }
    }

    /// The acknowledgements that were made and never left the broker: the client cannot have seen them.
    pub(super) fn lose_answers(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let answers = std::mem::take(&mut connection.answers);
        let Some(session) = self.sessions.get_mut(&connection.client) else { return };
        for packet_id in answers {
            if let Some(exchange) = session.inbound.get_mut(&packet_id) {
                exchange.unheard = true;
            }
        }
    }
}
