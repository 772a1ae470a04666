//! What tests and the demo do to the broker, and what they can see of it.

use bytes::Bytes;
use rejoin_core::codec::packet::{Disconnect, Packet, Qos, SubscriptionOptions, Version};
use rejoin_core::codec::reason::ReasonCode;
use rejoin_core::text::Text;
use rejoin_core::time::Timestamp;
use rejoin_core::topic::TopicName;

use super::connection::Phase;
use super::session::{Memory, Message, Session};
use super::{
    Broker, ConnectionId, Counters, Ledger, LedgerEntry, Manners, Snapshot, Violation, expiry_moment,
};
use crate::wire::Ending;

impl Broker {
    /// How it behaves.
    pub const fn manners(&self) -> &Manners {
        &self.manners
    }

    /// Changes how it behaves, from the next packet on.
    pub const fn manners_mut(&mut self) -> &mut Manners {
        &mut self.manners
    }

    /// Lets somebody read the account as it is written. Several may.
    pub fn add_ledger(&mut self, ledger: Ledger) {
        self.ledgers.push(ledger);
    }

    /// Publishes a message as the broker itself. `false` when nobody subscribes to the topic.
    pub fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, qos: Qos, retain: bool) -> bool {
        let Ok(topic) = TopicName::try_from(topic) else { return false };
        let (topic, payload) = (topic.into(), payload.into());
        let from = Text::default();
        self.route(Message { topic, payload, qos, retain, properties: None, expires_at: None, from })
    }

    /// Sends DISCONNECT with a code (5.0) and closes; at 3.1.1 it only closes.
    pub fn disconnect(&mut self, id: ConnectionId, reason: ReasonCode) {
        self.disconnect_packet(id, Disconnect::new(reason));
    }

    /// Sends this DISCONNECT (5.0) and closes; at 3.1.1 it only closes.
    pub fn disconnect_packet(&mut self, id: ConnectionId, packet: Disconnect) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase == Phase::Over {
            return;
        }
        // [MQTT-3.14.0-1]
        if connection.acknowledged && connection.is_v5() {
            self.send(id, &Packet::Disconnect(packet));
        }
        self.cut(id, Ending::Fin);
    }

    /// Ends a connection without a word.
    pub fn cut(&mut self, id: ConnectionId, ending: Ending) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.ending.is_none() {
            connection.ending = Some(ending);
        }
        if ending == Ending::Rst {
            connection.output.clear();
            self.lose_answers(id);
        }
        self.mark_dirty(id);
        self.end(id, true);
    }

    /// Ends every connection without a word.
    pub fn cut_all(&mut self, ending: Ending) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.cut(id, ending);
        }
    }

    /// Takes back what [`Manners::close_after_connack`] has planned for connections that are up.
    pub fn call_off_closes(&mut self) {
        for connection in self.connections.values_mut() {
            connection.close_at = None;
        }
    }

    /// Counts all clients as heard from just now: the broker itself was not able to listen.
    pub fn excuse_silence(&mut self, now: Timestamp) {
        for connection in self.connections.values_mut() {
            connection.last_heard = connection.last_heard.max(now);
        }
    }

    /// Writes bytes that need not be MQTT.
    pub fn send_raw(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.output.extend_from_slice(bytes);
            self.mark_dirty(id);
        }
    }

    /// The process ends: every connection is cut, and wills are not sent, since nobody is left to send them.
    pub fn stop(&mut self, ending: Ending) {
        for connection in self.connections.values_mut() {
            connection.will = None;
        }
        // One that waits for its delay has nobody left to wait for it either.
        for session in self.sessions.values_mut() {
            session.will = None;
        }
        self.cut_all(ending);
    }

    /// The process died, if it had not before, and was started again: connections are reset, wills are not sent,
    /// and sessions and retained messages are kept or not.
    pub fn restart(&mut self, keep_sessions: bool) {
        self.stop(Ending::Rst);
        if !keep_sessions {
            self.forget_sessions();
            self.retained.clear();
        }
    }

    /// Loses every session. Live connections are cut, since a session outlives none of them [MQTT-4.1.0-1].
    pub fn forget_sessions(&mut self) {
        self.cut_all(Ending::Rst);
        for (client, session) in std::mem::take(&mut self.sessions) {
            self.write_ledger(|| LedgerEntry::SessionEnded { client, session: session.number });
        }
    }

    /// What a store on disk would hold now.
    pub fn snapshot(&self) -> Snapshot {
        let mut sessions = self.sessions.clone();
        for session in sessions.values_mut() {
            session.connection = None;
            session.will = None;
        }
        Snapshot { sessions, retained: self.retained.clone() }
    }

    /// The process died and came back with an older store: connections are cut, and sessions are what they were.
    /// From then on the judge believes the client where the two memories differ.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.stop(Ending::Rst);
        for (client, session) in std::mem::take(&mut self.sessions) {
            self.write_ledger(|| LedgerEntry::SessionEnded { client, session: session.number });
        }
        self.sessions = snapshot.sessions;
        self.retained = snapshot.retained;
        let now = self.now;
        let clients: Vec<Text> = self.sessions.keys().cloned().collect();
        for client in clients {
            self.last_session += 1;
            let number = self.last_session;
            if let Some(session) = self.sessions.get_mut(&client) {
                session.number = number;
                session.memory = Memory::Doubtful;
                session.inbound.clear();
                session.expires_at = expiry_moment(session.expiry, now);
            }
            self.write_ledger(|| LedgerEntry::SessionStarted { client, session: number });
        }
    }

    /// Rules that were certainly broken.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(|violation| !violation.suspicion)
    }

    /// What looks like a broken rule, but may be the doing of the network.
    pub fn suspicions(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(|violation| violation.suspicion)
    }

    /// Forgets violations and suspicions.
    pub fn forgive(&mut self) {
        self.violations.clear();
    }

    /// What was counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The connections whose CONNECT was taken.
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.connections.values().filter(|c| c.phase == Phase::Up).map(|c| c.id).collect()
    }

    /// The live connection of a client.
    pub fn connection_of(&self, client: &str) -> Option<ConnectionId> {
        self.session(client)?.connection
    }

    /// The version a live connection speaks.
    pub fn version_of(&self, id: ConnectionId) -> Option<Version> {
        self.connections.get(&id).filter(|c| c.phase == Phase::Up).map(|c| c.version)
    }

    /// The client ids that have a session.
    pub fn clients(&self) -> Vec<String> {
        self.sessions.keys().map(ToString::to_string).collect()
    }

    /// The filters a client's session is subscribed to.
    pub fn subscriptions(&self, client: &str) -> Vec<(String, SubscriptionOptions)> {
        let subscriptions = self.session(client).map(|session| &session.subscriptions);
        subscriptions.into_iter().flatten().map(|(filter, s)| (filter.to_string(), s.options)).collect()
    }

    /// Messages a client's session still has to get: waiting, and sent without being settled.
    pub fn owed_to(&self, client: &str) -> usize {
        self.session(client).map_or(0, |session| session.queue.len() + session.inflight.len())
    }

    /// Answers a client may give beyond one for each message, because [`Manners::sends_again_after`](super::Manners) had some
    /// sent more than once on its connection.
    pub fn answers_to_copies(&self, client: &str) -> usize {
        let connection = self.session(client).and_then(|session| self.connections.get(&session.connection?));
        connection
            .filter(|c| !c.sent_again.is_empty())
            .map_or(0, |c| c.pubacks_owed.len() + c.pubrecs_owed.len())
    }

    /// The payload retained for a topic.
    pub fn retained(&self, topic: &str) -> Option<Bytes> {
        self.retained.iter().find(|(name, _)| name.as_str() == topic).map(|(_, m)| m.payload.clone())
    }

    fn session(&self, client: &str) -> Option<&Session> {
        self.sessions.iter().find(|(name, _)| name.as_str() == client).map(|(_, session)| session)
    }
}
