//! The fault lab of rejoin: what its tests and its demo are made of, and a test kit for other MQTT clients.
//!
//! | part | what it is |
//! |---|---|
//! | [`around`] | [`Around`]: what a scripted broker speaks through, TLS for example |
//! | [`broker`] | [`Broker`]: a strict MQTT 3.1.1 and 5.0 broker as a pure model that judges every packet; [`Manners`]: how it misbehaves on purpose |
//! | [`server`] | [`BrokerServer`]: the model behind a TCP port, that can be killed, restarted and paused |
//! | [`proxy`] | [`Proxy`]: freezes, resets, black holes, cuts at byte n and more, in front of any address |
//! | [`auditor`] | [`Auditor`]: the ledger from the broker's side, and the [`Verdict`] |
//! | [`flight`] | flights of users, replayed and judged |
//! | [`gauntlet`] | scripts in which clients lose messages, for any program that speaks a line protocol |
//! | [`herd`] | many clients and one broker that comes back, in virtual time |
//! | [`scripted`] | [`ScriptedBroker`]: does just what a test writes down, packet by packet |
//! | [`sim`] | whole clients in a seeded world of faults, in virtual time; what they must always do |
//! | [`store`] | the contract of durable queues, and a disk whose power can be cut |
//!
//! It is a lab: the broker keeps everything in memory and is meant for tests alone.
//!
//! ```
//! use rejoin_lab::{Auditor, BrokerServer, Direction, Ending, Manners, PacketKind, Proxy, Times};
//! # async fn example() -> std::io::Result<()> {
//! let server = BrokerServer::start(Manners::default()).await?;
//! let proxy = Proxy::in_front_of(server.addr()).await?;
//! let auditor = Auditor::new("run1");
//! server.with(|broker| broker.add_ledger(auditor.ledger()));
//!
//! // Connect a client to `proxy.addr()`, and publish `auditor.payload(1)`, `auditor.payload(2)` and so on.
//! auditor.published(1);
//!
//! proxy.freeze(); // the link holds everything,
//! proxy.heal(); // and lets it go on
//! proxy.cut_after(100, Direction::Up, Ending::Rst); // a connection dies in the middle of a packet
//! server.with(|broker| broker.manners_mut().lose(PacketKind::PubAck, Times::Count(3)));
//! server.kill(Ending::Rst).await; // kill -9,
//! server.start_again(false).await?; // and back without its sessions
//!
//! let verdict = server.with(|broker| auditor.verdict().with_violations(broker));
//! println!("{verdict}"); // PASS  published 1, delivered 1, lost 0, duplicated 0
//! # Ok(()) }
//! ```

pub mod around;
pub mod auditor;
pub mod broker;
pub mod flight;
pub mod gauntlet;
pub mod herd;
mod port;
pub mod proxy;
pub mod scripted;
pub mod server;
pub mod sim;
pub mod store;
pub mod wire;

pub use around::Around;
pub use auditor::{Auditor, Verdict};
pub use broker::{
    Address, Answer, Backwards, Broker, ConnectionId, Counters, Forward, Ledger, LedgerEntry, Manners,
    Refusal, Violation,
};
pub use proxy::{Fault, Proxy};
pub use scripted::{Peer, ScriptError, ScriptResult, ScriptedBroker, Serving};
pub use server::{BrokerServer, ServerOptions};
pub use wire::{Direction, Ending, PacketKind, Times};
