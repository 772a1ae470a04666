//! The pieces of inputs and commands, from choices.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::ReasonProperties;
use rejoin_core::{
    Login, Publication, PublishProperties, Qos, ReasonCode, SessionLossPolicy, Stage, Text, TopicName,
    TransportError, TransportErrorKind,
};

use super::Choices;

const TOPICS: [&str; 4] = ["a", "a/b", "c", "$x/y"];
const CODES: [u8; 12] = [0x00, 0x10, 0x80, 0x81, 0x87, 0x89, 0x8B, 0x8E, 0x91, 0x92, 0x97, 0x98];
/// More than any field of two bytes can say.
const TOO_LONG: usize = 70_000;

pub(super) fn kind(choices: &mut Choices<'_>) -> TransportErrorKind {
    use TransportErrorKind as T;
    let choice = usize::from(choices.byte());
    if choice < 200 {
        return [T::Refused, T::TimedOut, T::Reset, T::Closed][choice % 4];
    }
    [
        T::NameNotFound,
        T::ResolverFailed,
        T::Unreachable,
        T::Resources,
        T::Certificate,
        T::CertificateRefused,
        T::Handshake,
        T::Unauthorized,
        T::Proxy,
        T::Credentials,
        T::Other,
    ][choice % 11]
}

pub(super) fn error(choices: &mut Choices<'_>, detail: &str) -> TransportError {
    TransportError::new(kind(choices), detail)
}

pub(super) fn stage(choices: &mut Choices<'_>) -> Stage {
    Stage::ALL[usize::from(choices.byte()) % Stage::ALL.len()]
}

pub(super) fn code(choices: &mut Choices<'_>) -> ReasonCode {
    match usize::from(choices.byte()) {
        0..128 => ReasonCode::SUCCESS,
        choice @ 128..200 => ReasonCode(CODES[choice % CODES.len()]),
        choice => any_code(choice),
    }
}

/// One of all that either side may say.
pub(super) fn any_code(choice: usize) -> ReasonCode {
    ReasonCode::ALL[choice % ReasonCode::ALL.len()]
}

pub(super) const fn qos(choice: u8) -> Qos {
    match choice % 3 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

pub(super) fn topic(choices: &mut Choices<'_>) -> TopicName {
    TopicName::try_from(TOPICS[usize::from(choices.byte() % 4)]).expect("these are topics")
}

pub(super) fn text(choices: &mut Choices<'_>) -> Text {
    Text::from_static(["", "t", "a/+", "b", "d:1883", "[::1]:1 e", "f d"][usize::from(choices.byte() % 7)])
}

pub(super) fn data(choices: &mut Choices<'_>) -> Option<Bytes> {
    match choices.byte() {
        0..64 => None,
        255 => Some(Bytes::from(vec![0; TOO_LONG])),
        _ => Some(choices.bytes(20)),
    }
}

pub(super) fn login(choices: &mut Choices<'_>) -> Login {
    let user_name = choices.flag().then(|| text(choices));
    Login { user_name, password: data(choices) }
}

/// How long something lasts; zero and for ever among them.
pub(super) fn time(choices: &mut Choices<'_>) -> Duration {
    match choices.byte() {
        255 => Duration::MAX,
        254 => Duration::from_secs(u64::from(choices.number())),
        small => Duration::from_millis(u64::from(small) * 37),
    }
}

pub(super) fn reason(choices: &mut Choices<'_>) -> Option<Box<ReasonProperties>> {
    let has = choices.byte();
    let reason_string = (has & 1 == 1).then(|| text(choices));
    let user_properties = if has & 2 == 2 { vec![(text(choices), text(choices))] } else { Vec::new() };
    (has & 4 == 4).then(|| Box::new(ReasonProperties { reason_string, user_properties }))
}

/// Some of them may be in no packet, or in none of a client.
pub(super) fn properties(choices: &mut Choices<'_>) -> PublishProperties {
    let has = choices.byte();
    let is = |bit: u8| has & bit == bit;
    PublishProperties {
        payload_is_utf8: is(1).then(|| choices.flag()),
        message_expiry: is(2).then(|| choices.number()),
        topic_alias: if is(4) { NonZeroU16::new(u16::from(choices.byte() % 4)) } else { None },
        response_topic: is(8).then(|| text(choices)),
        correlation_data: if is(16) { data(choices) } else { None },
        user_properties: if is(32) { vec![(text(choices), text(choices))] } else { Vec::new() },
        subscription_ids: if is(64) { vec![choices.number()] } else { Vec::new() },
        content_type: is(128).then(|| text(choices)),
    }
}

pub(super) fn publication(choices: &mut Choices<'_>) -> Publication {
    let mut message = Publication::new(topic(choices), choices.bytes(40));
    message.qos = qos(choices.byte());
    let how = choices.byte();
    message.queue_qos0 = how & 1 == 1;
    message.expires_after = choices.flag().then(|| Duration::from_millis(u64::from(choices.number())));
    if how >= 0xC0 {
        message.retain = how & 2 == 2;
        message.latest_only = how & 4 == 4;
        message.properties = (how & 8 == 8).then(|| Box::new(properties(choices)));
        message.on_loss = [
            None,
            Some(SessionLossPolicy::Resend),
            Some(SessionLossPolicy::Fail),
            Some(SessionLossPolicy::Ask),
        ][usize::from(how >> 4 & 3)];
    }
    message
}
