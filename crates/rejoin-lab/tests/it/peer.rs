//! A hand-driven client of the broker model.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rejoin_core::codec::packet::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, Publish, Qos, Subscribe, SubscriptionOptions,
    Version,
};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encode};
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;
use rejoin_lab::broker::{Broker, ConnectionId, Manners, Output};
use rejoin_lab::wire::Ending;

pub(crate) fn id(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

pub(crate) fn text(s: &str) -> Text {
    Text::try_from(s).unwrap()
}

pub(crate) fn connect(client: &str, version: Version, clean_start: bool, expiry: u32) -> Connect {
    Connect {
        version,
        clean_start,
        keep_alive: 0,
        client_id: text(client),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties {
            session_expiry: (version == Version::V5 && expiry > 0).then_some(expiry),
            ..ConnectProperties::default()
        },
    }
}

pub(crate) fn publish(qos: Qos, n: u16, dup: bool, payload: &str) -> Packet {
    publish_to("t", qos, n, dup, payload)
}

pub(crate) fn publish_to(topic: &str, qos: Qos, n: u16, dup: bool, payload: &str) -> Packet {
    Packet::Publish(Publish {
        dup,
        qos,
        retain: false,
        topic: text(topic).try_into().unwrap(),
        packet_id: NonZeroU16::new(n),
        properties: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    })
}

pub(crate) fn ack(n: u16) -> Ack {
    Ack::new(id(n), ReasonCode::SUCCESS)
}

pub(crate) fn subscribe(n: u16, filter: &str, qos: Qos) -> Packet {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Packet::Subscribe(Subscribe {
        packet_id: id(n),
        subscription_id: None,
        user_properties: Vec::new(),
        filters: vec![(text(filter), options)],
    })
}

pub(crate) fn bytes_of(packet: &Packet, version: Version) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes.freeze()
}

/// The broker with a clock that the test moves.
pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) now: Timestamp,
}

/// A connection and what was read on it.
pub(crate) struct Peer {
    pub(crate) id: ConnectionId,
    pub(crate) version: Version,
    decoder: Decoder,
    pub(crate) ending: Option<Ending>,
}

impl World {
    pub(crate) fn new(manners: Manners) -> Self {
        Self { broker: Broker::new(manners), now: Timestamp::from_micros(1) }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.broker.tick(self.now);
    }

    pub(crate) fn open(&mut self, version: Version) -> Peer {
        let id = self.broker.opened(self.now);
        let limits = Limits { max_packet_size: u32::MAX, ..Limits::default() };
        Peer { id, version, decoder: Decoder::new(version, Sender::Server, limits), ending: None }
    }

    /// Opens, sends CONNECT and gives the CONNACK's Session Present back.
    pub(crate) fn connect(&mut self, connect: Connect) -> (Peer, bool) {
        let mut peer = self.open(connect.version);
        self.send(&peer, &Packet::Connect(Box::new(connect)));
        match &self.read(&mut peer)[..] {
            [Packet::ConnAck(connack), ..] if connack.reason == ReasonCode::SUCCESS => {
                (peer, connack.session_present)
            }
            other => panic!("no good CONNACK but {other:?}"),
        }
    }

    /// A kept 5.0 session of the client `c`.
    pub(crate) fn kept(&mut self, clean_start: bool) -> Peer {
        self.connect(connect("c", Version::V5, clean_start, 3600)).0
    }

    pub(crate) fn send(&mut self, peer: &Peer, packet: &Packet) {
        self.broker.received(peer.id, bytes_of(packet, peer.version), self.now);
    }

    pub(crate) fn read(&mut self, peer: &mut Peer) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(output) = self.broker.take_output(peer.id) {
            match output {
                Output::Send(bytes) => peer.decoder.push(bytes),
                Output::Close(ending) => peer.ending = Some(ending),
            }
        }
        while let Some(Decoded::Packet(packet)) = peer.decoder.next().unwrap() {
            packets.push(packet);
        }
        packets
    }

    /// Sends, then reads what came.
    pub(crate) fn ask(&mut self, peer: &mut Peer, packet: &Packet) -> Vec<Packet> {
        self.send(peer, packet);
        self.read(peer)
    }

    pub(crate) fn drop_connection(&mut self, peer: Peer) {
        self.broker.closed(peer.id, self.now);
    }

    pub(crate) fn clauses(&self) -> Vec<&'static str> {
        self.broker.violations().map(|violation| violation.clause).collect()
    }

    pub(crate) fn assert_clean(&self) {
        let found: Vec<String> = self.broker.violations().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

pub(crate) fn goodbye() -> Packet {
    Packet::Disconnect(Disconnect::new(ReasonCode::SUCCESS))
}
