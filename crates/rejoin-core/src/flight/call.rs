//! What goes into an engine, as a line and back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::blank::BLANK;
use super::line::{Fields, Hex, Line, Seconds, unhex};
use super::settings::blanks;
use super::taken::UNTOLD;
use crate::codec::encode;
use crate::codec::packet::{Packet, PacketId, Publish, Qos, Subscribe, Version, Will};
use crate::codec::reason::ReasonCode;
use crate::codec::{Decoded, Decoder, Limits, Sender};
use crate::config::{Login, SessionLossPolicy};
use crate::engine::Engine;
use crate::error::{Stage, TransportError, TransportErrorKind};
use crate::event::{Message, MessageId, Publication, PublishId, SubscribeRequest, SubscriptionId};
use crate::interface::{Input, Ticket};
use crate::session::{Recovered, Waits, WasHeld, WasSent};
use crate::text::Text;
use crate::time::Now;
use crate::topic::{TopicFilter, TopicName};

/// Every way into an engine that changes it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is named after the function of `Engine` it stands for")]
#[non_exhaustive]
pub enum Call {
    Handle(Input),
    Publish { id: PublishId, publication: Publication },
    Subscribe(SubscribeRequest),
    Unsubscribe(SubscriptionId),
    Detach(SubscriptionId),
    Ack { id: MessageId, reason: ReasonCode },
    Leave { id: MessageId, forget: bool },
    Cancel(PublishId),
    EvictOldest,
    Decide { id: PublishId, resend: bool },
    SetLogin(Login),
    SetAuthData(Option<Bytes>),
    Authenticate(Option<Bytes>),
    Reauthenticate(Option<Bytes>),
    AuthFailed(TransportError),
    CredentialsEnd(Option<Duration>),
    Renewed { login: Option<Login>, good_for: Option<Duration> },
    RenewalFailed,
    Nudge,
    RestartLink,
    Unwell(Duration),
    Close { within: Duration },
}

impl Call {
    /// Calls the engine.
    pub(super) fn apply(self, engine: &mut Engine, now: Now) {
        match self {
            Self::Handle(input) => engine.handle(input, now),
            Self::Publish { id, publication } => {
                // A refusal is the caller's affair.
                let _ = engine.publish(id, publication, now);
            }
            Self::Subscribe(request) => {
                let _ = engine.subscribe(request, now);
            }
            Self::Unsubscribe(id) => engine.unsubscribe(id, now),
            Self::Detach(id) => engine.detach(id),
            Self::Ack { id, reason } => engine.ack(id, reason, now),
            Self::Leave { id, forget } => {
                let _ = engine.leave(id, forget, now);
            }
            Self::Cancel(id) => {
                let _ = engine.cancel(id, now);
            }
            Self::EvictOldest => {
                let _ = engine.evict_oldest(now);
            }
            Self::Decide { id, resend } => engine.decide(id, resend, now),
            Self::SetLogin(login) => engine.set_login(login),
            Self::SetAuthData(data) => engine.set_auth_data(data),
            Self::Authenticate(data) => engine.authenticate(data, now),
            Self::Reauthenticate(data) => {
                let _ = engine.reauthenticate(data, now);
            }
            Self::AuthFailed(error) => engine.auth_failed(error, now),
            Self::CredentialsEnd(good_for) => engine.credentials_end(good_for, now),
            Self::Renewed { login, good_for } => engine.renewed(login, good_for, now),
            Self::RenewalFailed => {
                let _ = engine.renewal_failed(now);
            }
            Self::Nudge => {
                let _ = engine.nudge(now);
            }
            Self::RestartLink => engine.restart_link(now),
            Self::Unwell(waited) => engine.unwell(waited, now),
            Self::Close { within } => engine.close(within, now),
        }
    }

    /// Reads a line written below.
    pub(super) fn read(fields: &Fields<'_>) -> Option<Self> {
        let publish_id = || fields.number("id").map(PublishId);
        let subscription_id = || fields.number("id").map(SubscriptionId);
        let data = || match fields.maybe("data")? {
            None => Some(None),
            Some(length) => blanks(length).map(Some),
        };
        Some(match fields.word {
            "tick" => Self::Handle(Input::Tick),
            "opened" => Self::Handle(Input::Opened),
            "reached" => Self::Handle(Input::Reached(stage(fields)?)),
            "open-failed" => Self::Handle(Input::OpenFailed { stage: stage(fields)?, error: error(fields)? }),
            "received" => Self::Handle(Input::Received(fields.bytes("bytes")?.into())),
            "written" => Self::Handle(Input::Written(fields.number("bytes")?)),
            "lost" => Self::Handle(Input::Lost(error(fields)?)),
            "persisted" => Self::Handle(Input::Persisted(Ticket(fields.number("ticket")?))),
            "session-persisted" => Self::Handle(Input::SessionPersisted(Ticket(fields.number("ticket")?))),
            "loaded" => Self::Handle(Input::Loaded(bodies(fields)?)),
            "store-lost" => {
                let bodies = bodies(fields)?.into_iter().map(|(id, body)| Some((id, body?)));
                Self::Handle(Input::StoreLost(bodies.collect::<Option<_>>()?))
            }
            "publish" => {
                Self::Publish { id: publish_id()?, publication: read_publication(fields.get("packet")?)? }
            }
            "subscribe" => Self::Subscribe(read_subscribe(fields)?),
            "unsubscribe" => Self::Unsubscribe(subscription_id()?),
            "detach" => Self::Detach(subscription_id()?),
            "ack" => Self::Ack {
                id: MessageId(fields.number("id")?),
                reason: ReasonCode(fields.number("reason")?),
            },
            "leave" => Self::Leave { id: MessageId(fields.number("id")?), forget: fields.flag("forget") },
            "cancel" => Self::Cancel(publish_id()?),
            "evict-oldest" => Self::EvictOldest,
            "decide" => Self::Decide { id: publish_id()?, resend: fields.flag("resend") },
            "login" => Self::SetLogin(read_login(fields)?),
            "credentials-end" => Self::CredentialsEnd(good_for(fields)?),
            "renewed" => Self::Renewed {
                login: if fields.flag("login") { Some(read_login(fields)?) } else { None },
                good_for: good_for(fields)?,
            },
            "renewal-failed" => Self::RenewalFailed,
            "auth-data" => Self::SetAuthData(data()?),
            "authenticate" => Self::Authenticate(data()?),
            "reauthenticate" => Self::Reauthenticate(data()?),
            "auth-failed" => Self::AuthFailed(error(fields)?),
            "nudge" => Self::Nudge,
            "restart-link" => Self::RestartLink,
            "unwell" => Self::Unwell(fields.seconds("waited")?),
            "close" => Self::Close { within: fields.seconds("within")? },
            _ => return None,
        })
    }
}

/// An input, without the bytes of [`Input::Received`], which are blanked first.
pub(super) fn input(input: &Input, received: &[u8]) -> Option<String> {
    Some(match input {
        Input::Tick => "tick".to_owned(),
        Input::Opened => "opened".to_owned(),
        Input::Reached(stage) => Line::new("reached").with("stage", stage).finish(),
        Input::OpenFailed { stage, error } => {
            failed(Line::new("open-failed").with("stage", stage), error).finish()
        }
        Input::Received(_) => Line::new("received").hex("bytes", received).finish(),
        Input::Written(bytes) => Line::new("written").with("bytes", bytes).finish(),
        Input::Lost(error) => failed(Line::new("lost"), error).finish(),
        Input::Persisted(ticket) => Line::new("persisted").with("ticket", ticket.0).finish(),
        Input::SessionPersisted(ticket) => Line::new("session-persisted").with("ticket", ticket.0).finish(),
        Input::Loaded(bodies) => {
            let mut line = Line::new("loaded");
            for (id, body) in bodies {
                let body = match body {
                    Some(body) => publication(body)?,
                    None => "none".to_owned(),
                };
                line = line.with(&id.0.to_string(), body);
            }
            line.finish()
        }
        Input::StoreLost(bodies) => {
            let mut line = Line::new("store-lost");
            for (id, body) in bodies {
                line = line.with(&id.0.to_string(), publication(body)?);
            }
            line.finish()
        }
    })
}

fn bodies(fields: &Fields<'_>) -> Option<Vec<(PublishId, Option<Publication>)>> {
    let body = |word: &str| if word == "none" { Some(None) } else { read_publication(word).map(Some) };
    fields.all().iter().map(|(id, word)| Some((PublishId(id.parse().ok()?), body(word)?))).collect()
}

pub(super) fn publish(id: PublishId, body: &Publication) -> Option<String> {
    Some(Line::new("publish").with("id", id.0).with("packet", publication(body)?).finish())
}

pub(super) fn subscribe(request: &SubscribeRequest) -> Option<String> {
    let packet = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user_properties: request.user_properties.clone(),
        filters: vec![(request.filter.text().clone(), request.options)],
    });
    let bytes = encoded(&packet)?;
    Some(Line::new("subscribe").with("id", request.id.0).hex("packet", &bytes).finish())
}

fn read_subscribe(fields: &Fields<'_>) -> Option<SubscribeRequest> {
    let Packet::Subscribe(packet) = decoded(fields.bytes("packet")?, Sender::Client)? else { return None };
    let (filter, options) = packet.filters.into_iter().next()?;
    Some(SubscribeRequest {
        id: SubscriptionId(fields.number("id")?),
        filter: TopicFilter::new(filter.as_bytes().clone()).ok()?,
        options,
        user_properties: packet.user_properties,
    })
}

pub(super) fn login(login: &Login) -> String {
    lengths(Line::new("login"), login).finish()
}

fn lengths(line: Line, login: &Login) -> Line {
    line.maybe("user", login.user_name.as_ref().map(Text::len))
        .maybe("password", login.password.as_ref().map(Bytes::len))
}

fn read_login(fields: &Fields<'_>) -> Option<Login> {
    let blank = |name| match fields.maybe(name)? {
        None => Some(None),
        Some(length) => blanks(length).map(Some),
    };
    let user_name = match blank("user")? {
        None => None,
        Some(bytes) => Some(Text::new(bytes).ok()?),
    };
    Some(Login { user_name, password: blank("password")? })
}

/// How long credentials are good for, as a line.
pub(super) fn credentials_end(good_for: Option<Duration>) -> String {
    Line::new("credentials-end").maybe("good-for", good_for.map(Seconds)).finish()
}

/// New credentials: their lengths, and how long they are good for.
pub(super) fn renewed(login: Option<&Login>, good_for: Option<Duration>) -> String {
    let line = Line::new("renewed").maybe("good-for", good_for.map(Seconds)).flag("login", login.is_some());
    match login {
        Some(login) => lengths(line, login).finish(),
        None => line.finish(),
    }
}

fn good_for(fields: &Fields<'_>) -> Option<Option<Duration>> {
    match fields.get("good-for") {
        None | Some("-") => Some(None),
        Some(_) => fields.seconds("good-for").map(Some),
    }
}

/// Authentication data: its length.
pub(super) fn data(word: &str, data: Option<&Bytes>) -> String {
    Line::new(word).maybe("data", data.map(Bytes::len)).finish()
}

pub(super) fn failed(line: Line, error: &TransportError) -> Line {
    line.with("kind", kind_name(error.kind)).text("detail", &error.detail)
}

fn error(fields: &Fields<'_>) -> Option<TransportError> {
    let kind = fields.get("kind")?;
    let kind = KINDS.iter().find(|(_, name)| *name == kind)?.0;
    Some(TransportError::new(kind, fields.text("detail")?))
}

fn stage(fields: &Fields<'_>) -> Option<Stage> {
    let name = fields.get("stage")?;
    Stage::ALL.into_iter().find(|stage| stage.name() == name)
}

const KINDS: [(TransportErrorKind, &str); 15] = [
    (TransportErrorKind::NameNotFound, "name-not-found"),
    (TransportErrorKind::ResolverFailed, "resolver-failed"),
    (TransportErrorKind::Refused, "refused"),
    (TransportErrorKind::Unreachable, "unreachable"),
    (TransportErrorKind::TimedOut, "timed-out"),
    (TransportErrorKind::Reset, "reset"),
    (TransportErrorKind::Closed, "closed"),
    (TransportErrorKind::Resources, "resources"),
    (TransportErrorKind::Certificate, "certificate"),
    (TransportErrorKind::CertificateRefused, "certificate-refused"),
    (TransportErrorKind::Handshake, "handshake"),
    (TransportErrorKind::Unauthorized, "unauthorized"),
    (TransportErrorKind::Proxy, "proxy"),
    (TransportErrorKind::Credentials, "credentials"),
    (TransportErrorKind::Other, "other"),
];

fn kind_name(kind: TransportErrorKind) -> &'static str {
    KINDS.iter().find(|(other, _)| *other == kind).map_or("other", |(_, name)| name)
}

fn encoded(packet: &Packet) -> Option<BytesMut> {
    let mut bytes = BytesMut::new();
    encode(packet, Version::V5, &mut bytes).ok()?;
    Some(bytes)
}

fn decoded(bytes: Vec<u8>, sender: Sender) -> Option<Packet> {
    let limits = Limits { max_packet_size: u32::MAX, max_user_properties: usize::MAX };
    let mut decoder = Decoder::new(Version::V5, sender, limits);
    decoder.push(bytes.into());
    match decoder.next() {
        Ok(Some(Decoded::Packet(packet))) => Some(packet),
        _ => None,
    }
}

fn blanked(payload: &Bytes) -> Bytes {
    Bytes::from(vec![BLANK; payload.len()])
}

/// A message of the application in one word: the packet it would be, and the settings no packet has. `None` for one that
/// cannot be a packet, which no engine accepts.
fn publication(body: &Publication) -> Option<String> {
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: body.qos,
        retain: body.retain,
        topic: body.topic.clone().into(),
        packet_id: (body.qos != Qos::AtMostOnce).then_some(PacketId::MIN),
        properties: body.properties.clone(),
        payload: blanked(&body.payload),
    });
    let bytes = encoded(&packet)?;
    let expires = body.expires_after.map_or_else(|| "-".to_owned(), |after| Seconds(after).to_string());
    let on_loss = match body.on_loss {
        None => "-",
        Some(SessionLossPolicy::Resend) => "resend",
        Some(SessionLossPolicy::Fail) => "fail",
        Some(SessionLossPolicy::Ask) => "ask",
    };
    let (queue, latest) = (u8::from(body.queue_qos0), u8::from(body.latest_only));
    Some(format!("{},{expires},{queue},{on_loss},{latest}", Hex(&bytes)))
}

fn read_publication(word: &str) -> Option<Publication> {
    let parts: Vec<&str> = word.split(',').collect();
    let [packet, expires, queue, on_loss, latest] = parts.try_into().ok()?;
    let Packet::Publish(publish) = decoded(unhex(packet)?, Sender::Client)? else { return None };
    Some(Publication {
        topic: TopicName::new(publish.topic.as_bytes().clone()).ok()?,
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        properties: publish.properties,
        expires_after: if expires == "-" { None } else { Some(super::line::seconds(expires)?) },
        queue_qos0: queue == "1",
        on_loss: match on_loss {
            "-" => None,
            "resend" => Some(SessionLossPolicy::Resend),
            "fail" => Some(SessionLossPolicy::Fail),
            "ask" => Some(SessionLossPolicy::Ask),
            _ => return None,
        },
        latest_only: latest == "1",
    })
}

/// A will: the packet its message would be, and its delay.
pub(super) fn will(will: &Will) -> String {
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: will.qos,
        retain: will.retain,
        topic: will.topic.clone().try_into().unwrap_or_default(),
        packet_id: (will.qos != Qos::AtMostOnce).then_some(PacketId::MIN),
        properties: (!will.properties.is_empty()).then(|| Box::new(will.properties.clone())),
        payload: blanked(&will.payload),
    });
    let bytes = encoded(&packet).unwrap_or_default();
    format!("{},{}", will.delay.map_or_else(|| "-".to_owned(), |delay| delay.to_string()), Hex(&bytes))
}

pub(super) fn read_will(word: &str) -> Option<Will> {
    let (delay, packet) = word.split_once(',')?;
    let Packet::Publish(publish) = decoded(unhex(packet)?, Sender::Client)? else { return None };
    Some(Will {
        topic: publish.topic.into(),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        delay: if delay == "-" { None } else { Some(delay.parse().ok()?) },
        properties: publish.properties.map(|properties| *properties).unwrap_or_default(),
    })
}

/// A message that was received: the packet it came in, and the subscriptions it came for.
fn message(message: &Message) -> Option<String> {
    let mut properties = message.properties.clone();
    let subscriptions =
        properties.as_mut().map(|p| std::mem::take(&mut p.subscription_ids)).unwrap_or_default();
    let packet = Packet::Publish(Publish {
        dup: message.dup,
        qos: message.qos,
        retain: message.retain,
        topic: message.topic.clone().try_into().ok()?,
        packet_id: (message.qos != Qos::AtMostOnce).then_some(PacketId::MIN),
        properties,
        payload: blanked(&message.payload),
    });
    let bytes = encoded(&packet)?;
    let ids: Vec<_> = subscriptions.iter().map(u32::to_string).collect();
    Some(format!("{},{}", Hex(&bytes), if ids.is_empty() { "-".to_owned() } else { ids.join("+") }))
}

fn read_message(id: MessageId, word: &str) -> Option<Message> {
    let (packet, ids) = word.split_once(',')?;
    let Packet::Publish(mut publish) = decoded(unhex(packet)?, Sender::Client)? else { return None };
    if ids != "-" {
        let ids = ids.split('+').map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()?;
        publish.properties.get_or_insert_default().subscription_ids = ids;
    }
    Some(Message {
        id: Some(id),
        topic: publish.topic.into(),
        payload: publish.payload,
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        properties: publish.properties,
    })
}

/// What a store had, a line for each thing.
pub(super) fn kept(kept: &Recovered) -> Option<Vec<String>> {
    // What is new does not compile here until it is written as well.
    let Recovered {
        waiting,
        sent,
        leased,
        undecided,
        held,
        epoch,
        server,
        connack_unseen,
        client_id,
        reached_wall_ms,
        last_publish,
        last_message,
    } = kept;
    let mut lines = Vec::new();
    for w in waiting {
        let line = Line::new("kept-waiting")
            .with("id", w.id.0)
            .with("qos", w.qos as u8)
            .with("size", w.size_bytes)
            .maybe("expires", w.expires_wall_ms)
            .flag("again", w.possible_duplicate);
        let line = match &w.latest_of {
            Some(topic) => line.text("latest", topic),
            None => line,
        };
        lines.push(match &w.body {
            Some(body) => line.with("packet", publication(body)?).finish(),
            None => line.finish(),
        });
    }
    for s in sent {
        let line = Line::new("kept-sent").with("id", s.id.0).with("packet_id", s.packet_id);
        let line = line.flag("released", s.released).flag("again", s.possible_duplicate);
        let line = line.flag("lowered", s.lowered);
        let line = line.maybe("expires", s.expires_wall_ms).with("packet", publication(&s.publication)?);
        lines.push(line.finish());
    }
    for packet_id in leased {
        lines.push(Line::new("kept-leased").with("packet_id", packet_id).finish());
    }
    for (id, body) in undecided {
        let line = Line::new("kept-undecided").with("id", id.0).with("packet", publication(body)?);
        lines.push(line.finish());
    }
    for held in held {
        let line = Line::new("kept-held").with("id", held.id.0).maybe("packet_id", held.packet_id);
        let line = line.flag("digest", held.digest.is_some());
        lines.push(match &held.message {
            Some(m) => line.with("packet", message(m)?).finish(),
            None => line.finish(),
        });
    }
    for wall_ms in reached_wall_ms {
        lines.push(Line::new("kept-reached").with("wall_ms", wall_ms).finish());
    }
    let line = Line::new("kept").with("epoch", epoch).flag("connack_unseen", *connack_unseen);
    let line = line.with("publish", last_publish.0).with("message", last_message.0);
    let line = match server {
        Some(server) => line.text("server", server),
        None => line,
    };
    lines.push(match client_id {
        Some(id) => line.text("client_id", id).finish(),
        None => line.finish(),
    });
    Some(lines)
}

/// Adds a line of [`kept`].
pub(super) fn read_kept(kept: &mut Recovered, fields: &Fields<'_>) -> Option<()> {
    let body = || read_publication(fields.get("packet")?);
    let optional = |name| match fields.get(name) {
        None => Some(None),
        Some(_) => fields.text(name).map(Some),
    };
    match fields.word {
        "kept-waiting" => kept.waiting.push(Waits {
            id: PublishId(fields.number("id")?),
            qos: Qos::from_u8(fields.number("qos")?)?,
            size_bytes: fields.number("size")?,
            expires_wall_ms: fields.maybe("expires")?,
            possible_duplicate: fields.flag("again"),
            latest_of: match optional("latest")? {
                None => None,
                Some(topic) => Some(Text::new(topic).ok()?),
            },
            body: if fields.get("packet").is_some() { Some(body()?) } else { None },
        }),
        "kept-sent" => kept.sent.push(WasSent {
            id: PublishId(fields.number("id")?),
            packet_id: fields.number("packet_id")?,
            released: fields.flag("released"),
            possible_duplicate: fields.flag("again"),
            lowered: fields.flag("lowered"),
            expires_wall_ms: fields.maybe("expires")?,
            publication: body()?,
        }),
        "kept-leased" => kept.leased.push(fields.number("packet_id")?),
        "kept-undecided" => kept.undecided.push((PublishId(fields.number("id")?), body()?)),
        "kept-held" => {
            let id = MessageId(fields.number("id")?);
            let message = match fields.get("packet") {
                None => None,
                Some(word) => Some(read_message(id, word)?),
            };
            let digest = fields.flag("digest").then_some(UNTOLD);
            kept.held.push(WasHeld { id, packet_id: fields.maybe("packet_id")?, message, digest });
        }
        "kept-reached" => kept.reached_wall_ms.push(fields.number("wall_ms")?),
        "kept" => {
            kept.epoch = fields.number("epoch")?;
            kept.connack_unseen = fields.flag("connack_unseen");
            kept.last_publish = PublishId(fields.number("publish")?);
            kept.last_message = MessageId(fields.number("message")?);
            kept.server = optional("server")?;
            kept.client_id = match optional("client_id")? {
                None => None,
                Some(id) => Some(Text::new(id).ok()?),
            };
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests;
