//! The settings of an engine, one `set NAME VALUE` line each.

use std::time::Duration;

use bytes::Bytes;

use super::blank::BLANK;
use super::call;
use super::line::{Escaped, Seconds, seconds, unescape};
use crate::config::{
    Authentication, Budget, Config, Follow, LinkConfig, Login, RecoveryConfig, Resubscribe, ServerPolicy,
    SessionConfig, SessionLossPolicy, SessionMode, VersionPolicy, Window,
};
use crate::text::Text;
use crate::topic::TopicFilter;

/// A value as one word.
trait Value: Sized {
    fn write(&self) -> String;
    fn read(word: &str) -> Option<Self>;
}

macro_rules! plain {
    ($($kind:ty),*) => { $(
        impl Value for $kind {
            fn write(&self) -> String { self.to_string() }
            fn read(word: &str) -> Option<Self> { word.parse().ok() }
        }
    )* };
}
plain!(bool, u16, u32, u64, usize);

/// Enums without fields, under their own names.
macro_rules! named {
    ($($kind:ident { $($variant:ident),* })*) => { $(
        impl Value for $kind {
            fn write(&self) -> String {
                match self { $(Self::$variant => stringify!($variant).to_owned()),* }
            }
            fn read(word: &str) -> Option<Self> {
                match word { $(stringify!($variant) => Some(Self::$variant),)* _ => None }
            }
        }
    )* };
}
named! {
    VersionPolicy { Prefer5, Only5, Only311 }
    SessionLossPolicy { Resend, Fail, Ask }
    Resubscribe { Always, WhenAbsent }
    ServerPolicy { Sticky, Ordered, Shuffled }
}

impl<T: Value> Value for Option<T> {
    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), T::write)
    }
    fn read(word: &str) -> Option<Self> {
        if word == "none" { Some(None) } else { T::read(word).map(Some) }
    }
}

impl<T: Value> Value for Box<T> {
    fn write(&self) -> String {
        T::write(self)
    }
    fn read(word: &str) -> Option<Self> {
        T::read(word).map(Self::new)
    }
}

impl Value for Duration {
    fn write(&self) -> String {
        Seconds(*self).to_string()
    }
    fn read(word: &str) -> Option<Self> {
        seconds(word)
    }
}

impl Value for Text {
    fn write(&self) -> String {
        Escaped(self.as_str()).to_string()
    }
    fn read(word: &str) -> Option<Self> {
        Self::new(unescape(word)?).ok()
    }
}

fn parts<const N: usize>(word: &str) -> Option<[&str; N]> {
    word.split(',').collect::<Vec<_>>().try_into().ok()
}

impl Value for Window {
    fn write(&self) -> String {
        format!("{},{},{}", self.first.write(), self.growth_percent, self.cap.write())
    }
    fn read(word: &str) -> Option<Self> {
        let [first, growth, cap] = parts(word)?;
        Some(Self { first: seconds(first)?, growth_percent: growth.parse().ok()?, cap: seconds(cap)? })
    }
}

impl Value for Budget {
    fn write(&self) -> String {
        format!("{},{},{}", self.spacing.write(), self.per_period, self.period.write())
    }
    fn read(word: &str) -> Option<Self> {
        let [spacing, most, period] = parts(word)?;
        Some(Self { spacing: seconds(spacing)?, per_period: most.parse().ok()?, period: seconds(period)? })
    }
}

impl Value for SessionMode {
    fn write(&self) -> String {
        match self {
            Self::Fresh { linger } => format!("fresh,{}", linger.write()),
            Self::Kept(time) => format!("kept,{}", time.write()),
        }
    }
    fn read(word: &str) -> Option<Self> {
        match parts(word)? {
            ["fresh", linger] => Some(Self::Fresh { linger: seconds(linger)? }),
            ["kept", time] => Some(Self::Kept(seconds(time)?)),
            _ => None,
        }
    }
}

/// A list of texts; a comma in one is written as any other character that would be in the way.
impl Value for Vec<Text> {
    fn write(&self) -> String {
        let words: Vec<_> = self.iter().map(|text| text.write().replace(',', "\\u2c;")).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(",") }
    }
    fn read(word: &str) -> Option<Self> {
        if word == "none" {
            return Some(Self::new());
        }
        word.split(',').map(Text::read).collect()
    }
}

impl Value for Vec<TopicFilter> {
    fn write(&self) -> String {
        self.iter().map(|filter| filter.text().clone()).collect::<Vec<_>>().write()
    }
    fn read(word: &str) -> Option<Self> {
        let filter = |text: Text| TopicFilter::new(text.as_bytes().clone()).ok();
        Vec::<Text>::read(word)?.into_iter().map(filter).collect()
    }
}

impl Value for Vec<(Text, Text)> {
    fn write(&self) -> String {
        self.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect::<Vec<_>>().write()
    }
    fn read(word: &str) -> Option<Self> {
        let flat = Vec::<Text>::read(word)?;
        let pairs = flat.chunks(2).map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())));
        pairs.collect()
    }
}

impl Value for Follow {
    fn write(&self) -> String {
        match self {
            Self::Never => "never".to_owned(),
            Self::Listed(hosts) => format!("listed,{}", hosts.write()),
        }
    }
    fn read(word: &str) -> Option<Self> {
        match word.strip_prefix("listed,") {
            Some(hosts) => Vec::read(hosts).map(Self::Listed),
            None => (word == "never").then_some(Self::Never),
        }
    }
}

/// Lengths only.
impl Value for Login {
    fn write(&self) -> String {
        let length = |length: Option<usize>| length.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let password = self.password.as_ref().map(Bytes::len);
        format!("{},{}", length(self.user_name.as_ref().map(Text::len)), length(password))
    }
    fn read(word: &str) -> Option<Self> {
        let [user_name, password] = parts(word)?;
        Some(Self {
            user_name: Option::<usize>::read(user_name)?
                .map(|length| Text::new(blanks(length)?).ok())
                .map_or(Some(None), |text| text.map(Some))?,
            password: match Option::<usize>::read(password)? {
                None => None,
                Some(length) => Some(blanks(length)?),
            },
        })
    }
}

impl Value for Authentication {
    fn write(&self) -> String {
        let data = self.data.as_ref().map(Bytes::len);
        format!("{},{}", data.write(), self.method.write().replace(',', "\\u2c;"))
    }
    fn read(word: &str) -> Option<Self> {
        let [data, method] = parts(word)?;
        let data = match Option::<usize>::read(data)? {
            None => None,
            Some(length) => Some(blanks(length)?),
        };
        Some(Self { method: Text::read(method)?, data })
    }
}

impl Value for crate::codec::packet::Will {
    fn write(&self) -> String {
        call::will(self)
    }
    fn read(word: &str) -> Option<Self> {
        call::read_will(word)
    }
}

/// So many blanked bytes, within what a field of MQTT can hold.
pub(super) fn blanks(length: usize) -> Option<Bytes> {
    (length <= Text::MAX_BYTES).then(|| Bytes::from(vec![BLANK; length]))
}

macro_rules! settings {
    ($($name:literal => $($path:ident).+;)*) => {
        /// Every setting as a line.
        pub(super) fn write(config: &Config) -> Vec<String> {
            is_complete(config);
            vec![$(format!(concat!("set ", $name, " {}"), config.$($path).+.write())),*]
        }

        /// Changes one setting; `None` when there is no such setting or value.
        pub(super) fn set(config: &mut Config, name: &str, value: &str) -> Option<()> {
            match name {
                $($name => config.$($path).+ = Value::read(value)?,)*
                _ => return None,
            }
            Some(())
        }
    };
}

settings! {
    "client_id" => client_id;
    "servers" => servers;
    "version" => version;
    "login" => login;
    "authentication" => authentication;
    "will" => will;
    "user_properties" => user_properties;
    "link.keep_alive" => link.keep_alive;
    "link.ping_after" => link.ping_after;
    "link.ping_timeout" => link.ping_timeout;
    "link.write_timeout" => link.write_timeout;
    "link.ack_timeout" => link.ack_timeout;
    "link.connect_timeout" => link.connect_timeout;
    "link.connack_timeout" => link.connack_timeout;
    "link.health_watch" => link.health_watch;
    "link.health_watch_filters" => link.health_watch_filters;
    "link.health_watch_only_tells" => link.health_watch_only_tells;
    "link.health_watch_ignored" => link.health_watch_ignored;
    "link.maximum_packet_size" => link.maximum_packet_size;
    "link.receive_maximum" => link.receive_maximum;
    "link.receive_overrun" => link.receive_overrun;
    "link.topic_alias_maximum" => link.topic_alias_maximum;
    "link.topic_aliases_used" => link.topic_aliases_used;
    "link.max_user_properties" => link.max_user_properties;
    "link.write_buffer" => link.write_buffer;
    "session.mode" => session.mode;
    "session.adopt" => session.adopt;
    "session.clustered" => session.clustered;
    "session.lower_qos" => session.lower_qos;
    "session.in_flight_max" => session.in_flight_max;
    "session.on_loss" => session.on_loss;
    "session.resubscribe" => session.resubscribe;
    "session.durable" => session.durable;
    "session.memory_window_bytes" => session.memory_window_bytes;
    "session.packet_id_max" => session.packet_id_max;
    "session.quota_retries" => session.quota_retries;
    "session.quota_pause" => session.quota_pause;
    "recovery.reconnect" => recovery.reconnect;
    "recovery.absent" => recovery.absent;
    "recovery.absent_cap_long" => recovery.absent_cap_long;
    "recovery.long_outage" => recovery.long_outage;
    "recovery.overload" => recovery.overload;
    "recovery.stable_after" => recovery.stable_after;
    "recovery.spread" => recovery.spread;
    "recovery.fleet" => recovery.fleet;
    "recovery.budget" => recovery.budget;
    "recovery.slow_lane" => recovery.slow_lane;
    "recovery.give_up" => recovery.give_up;
    "recovery.takeover_wait" => recovery.takeover_wait;
    "recovery.takeover_memory" => recovery.takeover_memory;
    "recovery.banned_wait" => recovery.banned_wait;
    "recovery.administrative_wait" => recovery.administrative_wait;
    "recovery.servers" => recovery.servers;
    "recovery.follow" => recovery.follow;
    "recovery.fresh_credentials" => recovery.fresh_credentials;
}

/// Does nothing; a setting that is new does not compile here until it is in the list above as well.
#[rustfmt::skip]
fn is_complete(config: &Config) {
    let Config { client_id: _, servers: _, version: _, login: _, authentication: _, will: _, user_properties: _,
        link, session, recovery } = config;
    let LinkConfig { keep_alive: _, ping_after: _, ping_timeout: _, write_timeout: _, ack_timeout: _,
        connect_timeout: _, connack_timeout: _, health_watch: _, health_watch_filters: _,
        health_watch_only_tells: _, health_watch_ignored: _, maximum_packet_size: _, receive_maximum: _,
        receive_overrun: _, topic_alias_maximum: _, topic_aliases_used: _, max_user_properties: _,
        write_buffer: _ } = &**link;
    let SessionConfig { mode: _, adopt: _, clustered: _, lower_qos: _, in_flight_max: _, on_loss: _, resubscribe: _,
        durable: _, memory_window_bytes: _, packet_id_max: _, quota_retries: _, quota_pause: _ } = &**session;
    let RecoveryConfig { reconnect: _, absent: _, absent_cap_long: _, long_outage: _, overload: _,
        stable_after: _, spread: _, fleet: _, budget: _, slow_lane: _, give_up: _, takeover_wait: _,
        takeover_memory: _, banned_wait: _, administrative_wait: _, servers: _, follow: _,
        fresh_credentials: _ } = &**recovery;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::{PublishProperties, Qos, Will};

    fn unusual() -> Config {
        let mut config = Config::new(Text::from_static("an id, with a comma"), Text::from_static("a:1"));
        config.servers.push(Text::from_static("b b:2"));
        config.version = VersionPolicy::Only5;
        config.authentication = Some(Box::new(Authentication {
            method: Text::from_static("SCRAM, of a kind"),
            data: Some(Bytes::from_static(b"xxx")),
        }));
        config.will = Some(Box::new(Will {
            topic: Text::from_static("gone/id"),
            payload: Bytes::from_static(b"xxxx"),
            qos: Qos::ExactlyOnce,
            retain: true,
            delay: Some(7),
            properties: PublishProperties {
                content_type: Some(Text::from_static("text")),
                ..PublishProperties::default()
            },
        }));
        config.login = Login {
            user_name: Some(Text::from_static("xxxx")),
            password: Some(Bytes::from_static(b"xxxxxx")),
        };
        config.user_properties = vec![(Text::from_static("a"), Text::from_static(""))];
        config.link.health_watch = Some(Duration::from_millis(1));
        config.link.health_watch_filters = vec![TopicFilter::try_from("a/+/b, c").unwrap()];
        config.session.mode = SessionMode::Kept(Duration::MAX);
        config.session.in_flight_max = Some(3);
        config.recovery.budget = None;
        config.recovery.follow = Follow::Listed(vec![Text::from_static(".example.com")]);
        config
    }

    #[test]
    fn settings_come_back_as_they_were() {
        for config in [Config::new(Text::default(), Text::from_static("s")), unusual()] {
            let mut back = Config::new(Text::default(), Text::default());
            for line in write(&config) {
                let mut words = line.split(' ');
                assert_eq!(words.next(), Some("set"));
                let (name, value) = (words.next().unwrap(), words.next().unwrap());
                assert!(words.next().is_none() && set(&mut back, name, value).is_some(), "{line}");
            }
            assert_eq!(format!("{back:#?}"), format!("{config:#?}"));
            assert!(back.login == config.login && back.authentication == config.authentication);
        }
    }

    #[test]
    fn no_secret_is_written() {
        let mut config = unusual();
        config.login.user_name = Some(Text::from_static("s3cret"));
        config.login.password = Some(Bytes::from_static(b"s3cret"));
        if let Some(authentication) = &mut config.authentication {
            authentication.data = Some(Bytes::from_static(b"s3cret"));
        }
        if let Some(will) = &mut config.will {
            will.payload = Bytes::from_static(b"s3cret");
        }
        let all = write(&config).join("\n");
        assert!(!all.contains("s3cret") && !all.contains("733363726574"), "{all}");
    }
}
