//! Topic aliases. Both tables die with the link [MQTT-3.3.2-7].

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use crate::codec::packet::Publish;
use crate::codec::reason::ReasonCode;
use crate::error::ProtocolError;
use crate::topic::PublishTopic;

/// Aliases we use towards the server: the first topics get one, and keep it.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    maximum: u16,
    table: BTreeMap<PublishTopic, NonZeroU16>,
}

impl Outgoing {
    /// `maximum` is the lower of what the server allows [MQTT-3.2.2-17] [MQTT-3.3.2-9] and what we want.
    pub(crate) fn new(maximum: u16) -> Self {
        Self { maximum, table: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Puts an alias on the packet, and takes the topic off where the server knows it.
    pub(crate) fn apply(&mut self, publish: &mut Publish) {
        if self.maximum == 0 {
            return;
        }
        if let Some(mut alias) = self.table.get(&publish.topic).copied() {
            if defect!(AliasOfAnotherTopic) {
                alias = NonZeroU16::MIN;
            }
            publish.properties.get_or_insert_default().topic_alias = Some(alias);
            publish.topic = PublishTopic::default();
            return;
        }
        // [MQTT-3.2.2-18]
        let next = u16::try_from(self.table.len() + 1).ok().filter(|n| *n <= self.maximum);
        if let Some(alias) = next.and_then(NonZeroU16::new) {
            self.table.insert(publish.topic.clone(), alias);
            publish.properties.get_or_insert_default().topic_alias = Some(alias);
        }
    }
}

/// Aliases the server uses towards us, within the maximum we announced.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    maximum: u16,
    table: BTreeMap<NonZeroU16, PublishTopic>,
}

impl Incoming {
    pub(crate) fn new(maximum: u16) -> Self {
        Self { maximum, table: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Gives the packet its topic back.
    pub(crate) fn resolve(&mut self, publish: &mut Publish) -> Result<(), ProtocolError> {
        let Some(properties) = publish.properties.as_mut() else { return Ok(()) };
        let Some(alias) = properties.topic_alias.take() else { return Ok(()) };
        if alias.get() > self.maximum && !defect!(AliasOverrunTaken) {
            // [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]
            let detail =
                format!("PUBLISH with topic alias {alias}, but we allowed aliases up to {}", self.maximum);
            return Err(ProtocolError::new(ReasonCode::TOPIC_ALIAS_INVALID, detail));
        }
        // [MQTT-3.3.2-10]
        if !publish.topic.is_empty() {
            self.table.insert(alias, publish.topic.clone());
            return Ok(());
        }
        // [u5-3.3.2.3.4-a]
        let alias = if defect!(AliasTakenForAnother) { NonZeroU16::MIN } else { alias };
        let Some(topic) = self.table.get(&alias) else {
            let detail = format!("PUBLISH with topic alias {alias}, which was never set on this link");
            return Err(ProtocolError::new(ReasonCode::PROTOCOL_ERROR, detail));
        };
        publish.topic = topic.clone();
        Ok(())
    }
}
