//! The facts a store keeps, so that a restart of the process is one more reconnect.

use crate::codec::packet::PacketId;
use crate::event::{Message, MessageId, Publication, PublishId};
use crate::session::Digest;
use crate::text::Text;

/// A fact to keep. Stores write them in order; what they add up to is [`crate::Recovered`].
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
    /// It got a packet identifier in the present session. The same again: it was lowered, and now leaves at QoS 2 after all.
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
    /// The session it was sent in is lost, and the application was asked what to do with it.
    Asked {
        /// Its name.
        id: PublishId,
    },
    /// It goes as QoS 1 though it was accepted at QoS 2, so it may arrive twice, whatever QoS it is sent with later. After
    /// [`Record::Assigned`], and where that identifier is not one of [`Record::Leased`]: it leaves under it as QoS 1
    /// alone, until it is assigned again.
    Lowered {
        /// Its name.
        id: PublishId,
    },
    /// It may arrive twice, whatever becomes of it: a session that nobody can vouch for lay between two sendings.
    MayRepeat {
        /// Its name.
        id: PublishId,
    },
    /// The message under this identifier is over or goes on under another, and the server may still hold the exchange:
    /// the identifier stays taken until the server ends it, or the session ends [MQTT-2.2.1-3].
    Leased {
        /// The identifier.
        packet_id: PacketId,
    },
    /// The server ended the exchange that nobody waited for.
    LeaseEnded {
        /// The identifier, which is free.
        packet_id: PacketId,
    },
    /// It is sent again, as new: the application decided so, or the broker refused it for now. Its identifier is free.
    Requeued {
        /// Its name.
        id: PublishId,
    },
    /// It was answered for.
    Done {
        /// Its name.
        id: PublishId,
    },
    /// It was answered for and is kept for a person to look at.
    Parked {
        /// Its name.
        id: PublishId,
        /// Why.
        why: Parking,
    },
    /// An inbound QoS 2 message is owned; PUBREC may leave.
    Held {
        /// Our name of it, the same after a restart.
        id: MessageId,
        /// The server's identifier.
        packet_id: PacketId,
        /// The message itself: after PUBREC the server may forget it.
        message: Message,
    },
    /// The application took it.
    Taken {
        /// Our name of it.
        id: MessageId,
        /// What it was, as its identifier is still held: the message itself need not be kept any longer. `None`: it is
        /// not held.
        digest: Option<Digest>,
    },
    /// PUBREL came, or the identifier was used for another message: it is free, PUBCOMP may leave.
    Freed {
        /// Our name of the message.
        id: MessageId,
    },
    /// A CONNECT is about to leave. Until its CONNACK is seen the broker may have begun another session.
    ConnectSent,
    /// An attempt reached a broker: the budget of attempts outlives the process.
    Reached {
        /// When, in milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// The CONNACK was seen: what Session Present said is true of the session kept here.
    ConnackSeen,
    /// The server chose our client id [MQTT-3.1.3-7].
    ClientId {
        /// The id.
        id: Text,
    },
    /// A session began on this server: identifiers of an older one mean nothing any more.
    SessionStarted {
        /// Counts the sessions of this client.
        epoch: u64,
        /// The server's name.
        server: String,
    },
}

/// Why a message is kept though it was answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parking {
    /// The broker cut the link each time it was the only unacknowledged message.
    Cut {
        /// On how many links.
        cuts: u32,
    },
    /// The store could not give its body back, or gave one that MQTT cannot carry.
    Unreadable,
}
