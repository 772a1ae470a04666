//! The settings of a client, and what belongs to them.

use std::time::Duration;

use rejoin_core::{
    Authentication, Config, Follow, PublishProperties, Resubscribe, ServerPolicy, SessionLossPolicy,
    SessionMode, Text, VersionPolicy, Will,
};

use super::{Choices, drawn};

/// Settings, and how many records the store has already.
pub(super) fn config(choices: &mut Choices<'_>) -> (Config, usize) {
    let mut config = Config::new(Text::from_static("c"), Text::from_static("b"));
    let flags = choices.byte();
    config.version = if flags & 1 == 1 { VersionPolicy::Only311 } else { VersionPolicy::Prefer5 };
    if flags & 2 == 2 {
        config.session.mode = SessionMode::Kept(Duration::from_secs(3600));
    }
    config.session.durable = flags & 4 == 4;
    config.session.adopt = flags & 8 == 8;
    config.session.packet_id_max = if flags & 16 == 16 { 5 } else { u16::MAX };
    config.session.in_flight_max = (flags & 32 == 32).then_some(3);
    config.session.on_loss = [
        SessionLossPolicy::Resend,
        SessionLossPolicy::Fail,
        SessionLossPolicy::Ask,
        SessionLossPolicy::Resend,
    ][usize::from(flags >> 6)];
    let second = choices.byte();
    config.link.topic_alias_maximum = u16::from(second & 3);
    config.link.receive_maximum = u16::from((second >> 2) & 3) + 1;
    config.link.receive_overrun = u32::from((second >> 4) & 3);
    config.recovery.budget = None;
    if second >> 6 < 3 {
        return (config, 0);
    }
    servers(&mut config, choices);
    session(&mut config, choices);
    connect(&mut config, choices);
    let records = usize::from(choices.byte() % 32);
    (config, records)
}

fn servers(config: &mut Config, choices: &mut Choices<'_>) {
    let how = choices.byte();
    for (name, bit) in [("d:1883", 1), ("[::1]:1", 2)] {
        if how & bit == bit {
            config.servers.push(Text::from_static(name));
        }
    }
    if how & 4 == 4 {
        config.recovery.follow = Follow::Listed(vec![Text::from_static("e"), Text::from_static("f")]);
    }
    config.recovery.servers = [ServerPolicy::Sticky, ServerPolicy::Ordered, ServerPolicy::Shuffled]
        [usize::from((how >> 3 & 3) % 3)];
    config.recovery.reconnect = how & 0xE0 != 0xE0;
    if how & 0xE0 == 0xC0 {
        config.recovery = config.recovery.clone().divided_by(1000);
    }
    let rest = choices.byte();
    config.recovery.give_up = rest & 1 == 1;
    config.recovery.fleet = rest & 2 == 2;
    config.recovery.fresh_credentials = rest & 4 == 4;
    if rest & 8 == 8 {
        config.recovery.budget = rejoin_core::RecoveryConfig::default().budget;
    }
    if rest & 16 == 16 {
        config.version = VersionPolicy::Only5;
    }
}

fn session(config: &mut Config, choices: &mut Choices<'_>) {
    let how = choices.byte();
    config.session.lower_qos = how & 1 == 1;
    config.session.clustered = how & 2 == 2;
    if how & 4 == 4 {
        config.session.resubscribe = Resubscribe::WhenAbsent;
    }
    if how & 8 == 8 {
        config.session.memory_window_bytes = u64::from(choices.byte());
    }
    if how & 16 == 16 {
        config.session.quota_retries = u32::from(choices.byte() % 3);
        config.session.quota_pause = drawn::time(choices);
    }
    if how & 32 == 32 {
        config.session.packet_id_max = u16::from(choices.byte() % 4) + 1;
    }
    if how & 64 == 64 {
        config.link.write_buffer = usize::from(choices.byte());
        config.link.maximum_packet_size = 64;
        config.link.max_user_properties = 0;
    }
    if how & 128 == 128 {
        config.link.health_watch = Some(Duration::from_secs(1).saturating_add(drawn::time(choices)));
        config.link.topic_aliases_used = 1;
        config.link.keep_alive = Duration::from_secs(u64::from(choices.byte()));
        config.link.ping_after = Duration::from_millis(1).saturating_add(drawn::time(choices));
    }
}

fn connect(config: &mut Config, choices: &mut Choices<'_>) {
    let how = choices.byte();
    if how & 1 == 1 {
        let (method, data) = (Text::from_static("m"), drawn::data(choices));
        config.authentication = Some(Box::new(Authentication { method, data }));
    }
    if how & 2 == 2 {
        config.login = drawn::login(choices);
    }
    if how & 4 == 4 {
        config.client_id = Text::default();
    }
    if how & 8 == 8 {
        config.will = Some(Box::new(Will {
            topic: Text::from_static("w"),
            payload: choices.bytes(10),
            qos: drawn::qos(choices.byte()),
            retain: how & 128 == 128,
            delay: choices.flag().then_some(1),
            properties: PublishProperties::default(),
        }));
    }
    if how & 16 == 16 {
        config.user_properties.push((drawn::text(choices), drawn::text(choices)));
    }
}
