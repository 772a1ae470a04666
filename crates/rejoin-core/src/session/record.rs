//! The facts a store keeps, so that a restart of the process is one more reconnect.

use crate::codec::packet::PacketId;
use crate::event::{Message, Publication, PublishId};

/// A fact to keep. Stores write them in order; the engine takes them up in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A publish was accepted.
    Enqueued {
        /// Its name.
        id: PublishId,
        /// What was handed over.
        publication: Publication,
        /// When, in milliseconds since the Unix epoch, so that expiry survives a restart.
        accepted_wall_ms: u64,
    },
    /// It got a packet identifier in the present session.
    Assigned {
        /// Its name.
        id: PublishId,
        /// The identifier.
        packet_id: PacketId,
    },
    /// PUBREC came: from here on only PUBREL may be sent [MQTT-4.3.3-6].
    Received {
        /// Its name.
        id: PublishId,
    },
    /// It was answered for.
    Done {
        /// Its name.
        id: PublishId,
    },
    /// An inbound QoS 2 message is owned; PUBREC may leave.
    Held {
        /// The server's identifier.
        packet_id: PacketId,
        /// The message itself: after PUBREC the server may forget it.
        message: Message,
    },
    /// The application took it.
    Taken {
        /// The server's identifier.
        packet_id: PacketId,
    },
    /// PUBREL came: the identifier is free, PUBCOMP may leave.
    Freed {
        /// The server's identifier.
        packet_id: PacketId,
    },
    /// A CONNECT is about to leave. Until its CONNACK is seen the broker may have begun another session.
    ConnectSent,
    /// The CONNACK was seen: what Session Present said is true of the session kept here.
    ConnackSeen,
    /// A session began on this server: identifiers of an older one mean nothing any more.
    SessionStarted {
        /// Counts the sessions of this client.
        epoch: u64,
        /// The server's name.
        server: String,
    },
}
