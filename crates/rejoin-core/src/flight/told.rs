//! What comes out of an engine, as a line to compare.

use std::fmt::Write as _;

use bytes::Bytes;

use super::alike::sum;
use super::blank::Blanker;
use super::line::{Line, Seconds};
use crate::codec::packet::{Packet, Version};
use crate::codec::{Decoded, Decoder, Limits, Sender};
use crate::event::Event;
use crate::interface::Output;
use crate::session::Record;

/// Turns outputs into lines. Knows the stream of the present link.
#[derive(Debug)]
pub(super) struct Teller {
    up: Blanker,
    packets: Decoder,
}

impl Teller {
    pub(super) fn new() -> Self {
        let limits = Limits { max_packet_size: u32::MAX, max_user_properties: usize::MAX };
        Self { up: Blanker::new(Version::V5), packets: Decoder::new(Version::V5, Sender::Client, limits) }
    }

    /// The version of the link, as its CONNECT named it.
    pub(super) const fn version(&self) -> Version {
        self.up.version()
    }

    pub(super) fn line(&mut self, output: &Output) -> String {
        match output {
            Output::Open { server, attempt, limit, handshake_limit } => {
                *self = Self::new();
                Line::new("open")
                    .with("server", server)
                    .with("attempt", attempt)
                    .with("limit", Seconds(*limit))
                    .with("handshake", Seconds(*handshake_limit))
                    .finish()
            }
            Output::Transmit(bytes) => self.transmit(bytes),
            Output::Close { graceful } => Line::new("close").with("graceful", graceful).finish(),
            Output::Persist { ticket, records } => {
                let names: Vec<String> = records.iter().map(record).collect();
                Line::new("persist").with("ticket", ticket.0).with("records", names.join(",")).finish()
            }
            Output::Load(ids) => {
                let ids: Vec<_> = ids.iter().map(|id| id.0.to_string()).collect();
                Line::new("load").with("ids", ids.join(",")).finish()
            }
            Output::Event(event) => format!("event {}", self::event(event)),
        }
    }

    fn transmit(&mut self, bytes: &Bytes) -> String {
        let blanked = self.up.blank(bytes);
        let line = Line::new("transmit").with("bytes", bytes.len());
        let mut line = line.with("sum", format_args!("{:016x}", sum(&blanked))).finish();
        self.packets.push(blanked.into());
        loop {
            match self.packets.next() {
                Ok(Some(Decoded::Packet(packet))) => line.push_str(&words(&packet)),
                Ok(Some(Decoded::Oversized { .. })) => line.push_str(" PUBLISH"),
                Ok(None) => return line,
                Err(error) => {
                    // Writing to a `String` cannot fail.
                    let _ = write!(line, " unreadable: {error}");
                    return line;
                }
            }
        }
    }
}

fn words(packet: &Packet) -> String {
    match packet {
        Packet::Publish(p) => {
            let id = p.packet_id.map_or_else(String::new, |id| format!("#{id}"));
            let dup = if p.dup { "+dup" } else { "" };
            format!(" PUBLISH{id}{dup}(q{},{})", p.qos as u8, p.payload.len())
        }
        Packet::PubAck(a) | Packet::PubRec(a) | Packet::PubRel(a) | Packet::PubComp(a) => {
            format!(" {}#{}({:#04x})", packet.name(), a.packet_id, a.reason.0)
        }
        Packet::Subscribe(s) => format!(" SUBSCRIBE#{}", s.packet_id),
        Packet::Unsubscribe(s) => format!(" UNSUBSCRIBE#{}", s.packet_id),
        Packet::Connect(c) => format!(" CONNECT(clean={})", c.clean_start),
        Packet::Disconnect(d) => format!(" DISCONNECT({:#04x})", d.reason.0),
        other => format!(" {}", other.name()),
    }
}

fn record(record: &Record) -> String {
    match record {
        Record::Enqueued { id, .. } => format!("enqueued:{}", id.0),
        Record::Assigned { id, packet_id } => format!("assigned:{}:{packet_id}", id.0),
        Record::Received { id } => format!("received:{}", id.0),
        Record::Lowered { id } => format!("lowered:{}", id.0),
        Record::MayRepeat { id } => format!("may-repeat:{}", id.0),
        Record::Leased { packet_id } => format!("leased:{packet_id}"),
        Record::LeaseEnded { packet_id } => format!("lease-ended:{packet_id}"),
        Record::Asked { id } => format!("asked:{}", id.0),
        Record::Requeued { id } => format!("requeued:{}", id.0),
        Record::Done { id } => format!("done:{}", id.0),
        Record::Parked { id, .. } => format!("parked:{}", id.0),
        Record::Held { id, packet_id, .. } => format!("held:{}:{packet_id}", id.0),
        Record::Taken { id, .. } => format!("taken:{}", id.0),
        Record::Freed { id } => format!("freed:{}", id.0),
        Record::ConnectSent => "connect-sent".to_owned(),
        Record::Reached { wall_ms } => format!("reached:{wall_ms}"),
        Record::ConnackSeen => "connack-seen".to_owned(),
        Record::ClientId { .. } => "client-id".to_owned(),
        Record::SessionStarted { epoch, .. } => format!("session:{epoch}"),
    }
}

/// Every event but messages prints nothing that is secret.
fn event(event: &Event) -> String {
    match event {
        Event::Message(m) => {
            let id = m.id.map_or_else(|| "-".to_owned(), |id| id.0.to_string());
            let (qos, bytes) = (m.qos as u8, m.payload.len());
            format!(
                "Message {{ id: {id}, topic: {:?}, qos: {qos}, bytes: {bytes}, dup: {} }}",
                m.topic, m.dup
            )
        }
        other => format!("{other:?}"),
    }
}
