//! From a message to the sessions that want it.

use std::collections::BTreeMap;

use rejoin_core::codec::packet::Qos;
use rejoin_core::text::Text;

use super::Broker;
use super::session::{Message, Outgoing, Subscription};

impl Broker {
    /// Passes a message on to every session that wants it. `false` when there is none.
    pub(super) fn route(&mut self, message: Message) -> bool {
        if message.retain && self.manners.retain_available {
            self.retain(&message);
        }
        let mut chosen: Vec<(Text, Outgoing)> = Vec::new();
        let mut groups: BTreeMap<Text, Vec<(Text, Subscription)>> = BTreeMap::new();
        let topic = message.topic.as_str();
        for (client, session) in &self.sessions {
            if session.subscriptions.is_empty() {
                continue;
            }
            if let Some((qos, as_published, ids)) = session.wants(topic, message.from == *client) {
                let retain = message.retain && as_published;
                let qos = qos.min(message.qos);
                chosen.push((client.clone(), Outgoing { message: message.clone(), qos, retain, ids }));
            }
            for (name, subscription) in &session.subscriptions {
                if subscription.filter.is_shared() && subscription.filter.matches(topic) {
                    let member = (client.clone(), subscription.clone());
                    groups.entry(name.clone()).or_default().push(member);
                }
            }
        }
        for (name, members) in groups {
            chosen.extend(self.pick_member(name, &members, &message));
        }
        let matched = !chosen.is_empty();
        for (client, outgoing) in chosen {
            self.enqueue(&client, outgoing);
        }
        matched
    }

    /// A message with RETAIN replaces what its topic holds; an empty one clears it [MQTT-3.3.1-6].
    fn retain(&mut self, message: &Message) {
        if message.payload.is_empty() {
            self.retained.remove(message.topic.text());
        } else {
            self.retained.insert(message.topic.text().clone(), message.clone());
        }
    }

    /// The next member of a shared subscription; one that is connected is preferred.
    fn pick_member(
        &mut self,
        name: Text,
        members: &[(Text, Subscription)],
        message: &Message,
    ) -> Option<(Text, Outgoing)> {
        let connected: Vec<&(Text, Subscription)> = members
            .iter()
            .filter(|(client, _)| self.sessions.get(client).is_some_and(|s| s.connection.is_some()))
            .collect();
        let turn = self.turns.entry(name).or_insert(0);
        *turn = turn.wrapping_add(1);
        let (client, subscription) = if connected.is_empty() {
            members.get(*turn % members.len().max(1))?
        } else {
            connected[*turn % connected.len()]
        };
        let outgoing = Outgoing {
            qos: subscription.options.qos.min(message.qos),
            retain: message.retain && subscription.options.retain_as_published,
            ids: subscription.id.into_iter().collect(),
            message: message.clone(),
        };
        Some((client.clone(), outgoing))
    }

    /// Gives a message to a session: QoS 0 goes out at once or is dropped, the rest waits for its turn.
    pub(super) fn enqueue(&mut self, client: &Text, outgoing: Outgoing) {
        if outgoing.qos == Qos::AtMostOnce {
            return self.send_qos0(client, &outgoing);
        }
        let most = self.manners.queue_maximum;
        let Some(session) = self.sessions.get_mut(client) else { return };
        if session.queue.len() >= most {
            self.counters.dropped_queue_full += 1;
            return;
        }
        session.queue.push_back(outgoing);
        self.pump(client);
    }
}
