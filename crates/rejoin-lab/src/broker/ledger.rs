//! The broker's own account of messages: what it took, what it passed on, what was confirmed.

use bytes::Bytes;
use rejoin_core::codec::packet::{PacketId, Qos};
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;

use super::ConnectionId;

/// Something that reads the broker's account as it is written. Called under the broker's lock: keep it short.
pub type Ledger = Box<dyn FnMut(&LedgerEntry) + Send>;

/// One line of the broker's account.
#[derive(Clone, Debug)]
pub enum LedgerEntry {
    /// A message became the broker's own and went on to subscribers: QoS 0 and 1 at PUBLISH, QoS 2 at the point
    /// [`Forward`](super::Forward) names. A resend at QoS 1 is accepted once more, as the standard has it.
    Accepted(Accepted),
    /// The last acknowledgement of an accepted message was sent. Not written while
    /// [`Manners::path_loses_packets`](super::Manners::path_loses_packets): then sent is not received.
    Settled {
        /// [`Accepted::arrival`] of the message.
        arrival: u64,
    },
    /// A message was sent to a subscriber.
    Sent(Delivery),
    /// A subscriber confirmed a message: PUBACK, or PUBREC below 0x80.
    Confirmed(Delivery),
    /// A session began.
    SessionStarted {
        /// Client id.
        client: Text,
        /// Number of the session; never used twice.
        session: u64,
    },
    /// A session was lost, ended or rolled back; what its client had under way may come again as new.
    SessionEnded {
        /// Client id.
        client: Text,
        /// Number of the session.
        session: u64,
    },
}

/// A message taken over from a publisher.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// Position among all messages by the arrival of their first PUBLISH. A QoS 2 message is accepted later than
    /// it arrives, and much later when the broker's own answers were lost.
    pub arrival: u64,
    /// The connection it came on.
    pub connection: ConnectionId,
    /// The publisher's client id.
    pub client: Text,
    /// The number of the publisher's session.
    pub session: u64,
    /// The Receive Maximum in force on the connection: how many can have been under way at once.
    pub window: u16,
    /// Topic, with the alias resolved.
    pub topic: Text,
    /// Payload.
    pub payload: Bytes,
    /// QoS.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// Whether this copy came with DUP.
    pub dup: bool,
    /// Packet identifier; `None` at QoS 0.
    pub packet_id: Option<PacketId>,
}

/// A message on its way to a subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When.
    pub at: Timestamp,
    /// The connection.
    pub connection: ConnectionId,
    /// The subscriber's client id.
    pub client: Text,
    /// Topic.
    pub topic: Text,
    /// Payload.
    pub payload: Bytes,
    /// QoS of the delivery.
    pub qos: Qos,
    /// Whether it is a resend.
    pub dup: bool,
    /// Packet identifier; `None` at QoS 0.
    pub packet_id: Option<PacketId>,
}
