//! `-D COMMAND NAME VALUE`: properties of MQTT 5, in mosquitto's words.

use bytes::Bytes;
use rejoin_core::codec::packet::{PublishProperties, UserProperties};
use rejoin_core::text::Text;
use rejoin_core::topic::TopicName;

/// Everything `-D` asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    /// Of each PUBLISH.
    pub(crate) publish: PublishProperties,
    /// Of the will.
    pub(crate) will: PublishProperties,
    /// Will Delay Interval in seconds.
    pub(crate) will_delay: Option<u32>,
    /// User properties of CONNECT.
    pub(crate) connect: UserProperties,
    /// User properties of SUBSCRIBE.
    pub(crate) subscribe: UserProperties,
}

impl Properties {
    /// Reads every occurrence of the flag: three or four words each.
    pub(crate) fn parse(occurrences: &[Vec<String>]) -> Result<Self, String> {
        let mut all = Self::default();
        for words in occurrences {
            all.take(words).map_err(|what| format!("-D {}: {what}", words.join(" ")))?;
        }
        Ok(all)
    }

    fn take(&mut self, words: &[String]) -> Result<(), String> {
        let [command, name, values @ ..] = words else {
            return Err("write COMMAND NAME VALUE".to_owned());
        };
        let (command, name) = (command.to_ascii_lowercase(), name.to_ascii_lowercase());
        if name == "user-property" {
            let [key, value] = values else {
                return Err("user-property takes a key and a value".to_owned());
            };
            let pair = (text(key)?, text(value)?);
            match command.as_str() {
                "publish" => self.publish.user_properties.push(pair),
                "will" => self.will.user_properties.push(pair),
                "connect" => self.connect.push(pair),
                "subscribe" => self.subscribe.push(pair),
                _ => return Err(unknown_command(&command)),
            }
            return Ok(());
        }
        let [value] = values else {
            return Err(format!("{name} takes one value"));
        };
        match (command.as_str(), name.as_str()) {
            ("publish", _) => publish_property(&mut self.publish, &name, value),
            ("will", "will-delay-interval") => {
                self.will_delay = Some(number(value)?);
                Ok(())
            }
            ("will", _) => publish_property(&mut self.will, &name, value),
            ("connect", "session-expiry-interval") => Err("use -x".to_owned()),
            ("connect", "receive-maximum") => Err("use --receive-maximum".to_owned()),
            ("connect" | "subscribe", _) => Err(format!("{command} takes only user-property here")),
            _ => Err(unknown_command(&command)),
        }
    }
}

fn unknown_command(command: &str) -> String {
    format!("`{command}` is none of connect, publish, subscribe and will")
}

fn publish_property(properties: &mut PublishProperties, name: &str, value: &str) -> Result<(), String> {
    match name {
        "payload-format-indicator" => match value {
            "0" => properties.payload_is_utf8 = Some(false),
            "1" => properties.payload_is_utf8 = Some(true),
            _ => return Err("write 0 or 1".to_owned()),
        },
        "message-expiry-interval" => properties.message_expiry = Some(number(value)?),
        "content-type" => properties.content_type = Some(text(value)?),
        "response-topic" => {
            let topic = TopicName::try_from(value).map_err(|e| e.to_string())?;
            properties.response_topic = Some(topic.text().clone());
        }
        "correlation-data" => {
            if value.len() > Text::MAX_BYTES {
                return Err(format!("{} bytes long, the limit is {}", value.len(), Text::MAX_BYTES));
            }
            properties.correlation_data = Some(Bytes::copy_from_slice(value.as_bytes()));
        }
        "topic-alias" => return Err("topic aliases are chosen by the client itself".to_owned()),
        _ => {
            return Err(format!(
                "`{name}` is none of payload-format-indicator, message-expiry-interval, content-type, \
                 response-topic, correlation-data and user-property"
            ));
        }
    }
    Ok(())
}

fn text(value: &str) -> Result<Text, String> {
    Text::try_from(value).map_err(|e| e.to_string())
}

fn number(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("`{value}` is no number of seconds from 0 to 4294967295"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Result<Properties, String> {
        let words: Vec<Vec<String>> =
            lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
        Properties::parse(&words)
    }

    #[test]
    fn reads_mosquittos_words() {
        let all = parse(&[
            "publish content-type text/plain",
            "PUBLISH user-property k v",
            "publish user-property k w",
            "publish message-expiry-interval 100",
            "publish payload-format-indicator 1",
            "publish correlation-data abc",
            "publish response-topic r/t",
            "will will-delay-interval 5",
            "connect user-property a b",
        ])
        .unwrap();
        assert_eq!(all.publish.content_type.as_deref(), Some("text/plain"));
        assert_eq!(all.publish.user_properties.len(), 2);
        assert_eq!(all.publish.message_expiry, Some(100));
        assert_eq!(all.publish.payload_is_utf8, Some(true));
        assert_eq!(all.publish.response_topic.as_deref(), Some("r/t"));
        assert_eq!((all.will_delay, all.connect.len()), (Some(5), 1));
    }

    #[test]
    fn names_what_is_wrong() {
        for (line, part) in [
            ("publish user-property k", "a key and a value"),
            ("publish content-type a b", "takes one value"),
            ("publish message-expiry-interval x", "no number"),
            ("publish response-topic a/#", "wildcard"),
            ("publish topic-alias 1", "by the client itself"),
            ("publish frob 1", "`frob` is none of"),
            ("frob x 1", "`frob` is none of"),
            ("connect session-expiry-interval 1", "use -x"),
            ("publish payload-format-indicator 2", "0 or 1"),
        ] {
            let error = parse(&[line]).unwrap_err();
            assert!(error.contains(part) && error.starts_with("-D "), "{line}: {error}");
        }
    }
}
