//! The wire at the client's end: nothing leaves that the disk does not know, no window is overrun, no PUBLISH follows
//! its PUBREL, no silence is longer than the keep-alive (O9, O11, O13, O14, O16).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::codec::packet::{ConnAck, Connect, Packet, PacketId, Publish, Qos};
use rejoin_core::codec::{Decoded, Decoder, Limits, Sender, encoded_len};
use rejoin_core::{
    Config, Event, LossCause, MessageId, PublishId, ReasonCode, Record, SessionState, Text, Ticket, Verdict,
    Version,
};

use super::Alarm;
use super::inbound::Inbound;
use super::overruns::Overruns;
use crate::Address;
use crate::sim::app::{App, Published, number, whose};
use crate::sim::marks::Marks;
use crate::sim::world::Ruling;

/// The tap judges sizes itself.
const ANY_SIZE: Limits = Limits { max_packet_size: u32::MAX, max_user_properties: 256 };

/// What a process that died now would remember, as far as the wire depends on it.
#[derive(Debug, Default)]
struct Known {
    assigned: BTreeMap<PacketId, PublishId>,
    received: BTreeSet<PublishId>,
    held: BTreeMap<PacketId, MessageId>,
    connect_sent: bool,
}

impl Known {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Assigned { id, packet_id } => {
                self.assigned.insert(*packet_id, *id);
            }
            Record::Received { id } => {
                self.received.insert(*id);
            }
            Record::Done { id } | Record::Parked { id, .. } => {
                self.received.remove(id);
            }
            Record::Held { id, packet_id, .. } => {
                self.held.insert(*packet_id, *id);
            }
            Record::Freed { id } => self.held.retain(|_, held| held != id),
            Record::SessionStarted { .. } => {
                self.assigned.clear();
                self.received.clear();
                self.held.clear();
            }
            Record::ConnectSent => self.connect_sent = true,
            Record::ConnackSeen => self.connect_sent = false,
            _ => {}
        }
    }
}

/// What is known of one link.
#[derive(Debug)]
struct OnLink {
    up: Decoder,
    down: Decoder,
    version: Version,
    window: usize,
    unanswered: BTreeSet<PacketId>,
    /// How many PUBACK the client owes under each.
    pubacks: BTreeMap<PacketId, u32>,
    /// Of PUBLISH or PUBREL sent under these no answer came.
    awaited: BTreeSet<PacketId>,
    /// Since when there are some and no answer came, whoever it was for.
    waits_since: Option<u64>,
    keep_alive: u64,
    last_sent: u64,
    is_up: bool,
    maximum_qos: Qos,
    address: Address,
    /// It is there to end a session that is not the client's own, which goes on.
    ends_another: bool,
    /// The client id that CONNACK names.
    chosen_id: Option<Text>,
}

/// Whose wire it is.
#[derive(Debug)]
pub(in crate::sim) struct Listener<'a> {
    pub(in crate::sim) now: u64,
    pub(in crate::sim) client: usize,
    /// Bytes handed over before that the system has not taken.
    pub(in crate::sim) waiting: usize,
    pub(in crate::sim) app: &'a mut App,
    pub(in crate::sim) marks: &'a mut Marks,
}

/// Listens at the client's end of its wire. Outlives the process.
#[derive(Debug)]
pub(in crate::sim) struct Tap {
    /// What leaves must be on the disk.
    durable: bool,
    has_store: bool,
    write_buffer: usize,
    /// The disk takes nothing more: links go on without their records.
    store_failed: bool,
    limits: Overruns,
    /// The inbound QoS 2 identifiers that may be held.
    inbound: Inbound,
    /// What CONNECT has to carry.
    password: Option<Bytes>,
    own_window: Option<u16>,
    /// QoS 2 may leave as QoS 1.
    lowers: bool,
    known: Known,
    /// A new session began and the disk does not know it yet.
    session_unsafe: Option<Ticket>,
    link: OnLink,
    /// The message each identifier was last sent for.
    sent: BTreeMap<PacketId, u64>,
    /// Of those, the ones whose PUBREL was sent.
    released: BTreeSet<u64>,
    crashed: bool,
    /// Where this process has a session, or the state of one.
    session_at: Option<Address>,
    /// The server it was sent to, where the next attempt has to go.
    sent_to: Option<usize>,
    /// The servers of its list, and where each keeps its sessions.
    servers: Vec<(Text, Address)>,
    /// Its sessions outlive their links, at 3.1.1 too.
    is_kept: bool,
    /// A process that has the state of a session goes where it is first, unless the list says otherwise.
    goes_home: bool,
    /// The client id: the one of the settings, or the one the server chose.
    client_id: Text,
    given_id: Text,
    ack_timeout: Duration,
    /// The same as far as it has grown.
    ack_patience: Duration,
}

impl Tap {
    pub(in crate::sim) fn new(config: &Config) -> Self {
        let durable = config.session.durable;
        Self {
            durable,
            has_store: durable,
            write_buffer: config.link.write_buffer,
            store_failed: false,
            own_window: config.session.in_flight_max,
            lowers: config.session.lower_qos,
            limits: Overruns::new(&config.link),
            inbound: Inbound::default(),
            password: None,
            known: Known::default(),
            session_unsafe: None,
            link: OnLink::new(Address::default(), 0),
            sent: BTreeMap::new(),
            released: BTreeSet::new(),
            crashed: false,
            session_at: None,
            sent_to: None,
            servers: servers(config),
            is_kept: config.session.mode.is_kept(),
            goes_home: false,
            client_id: config.client_id.clone(),
            given_id: config.client_id.clone(),
            ack_timeout: config.link.ack_timeout,
            ack_patience: config.link.ack_timeout,
        }
    }

    /// Records were handed to the disk.
    pub(in crate::sim) fn persists(&mut self, ticket: Ticket, records: &[Record]) {
        if records.iter().any(|r| matches!(r, Record::SessionStarted { .. })) {
            self.session_unsafe = Some(ticket);
        }
    }

    /// Records are safe.
    pub(in crate::sim) fn persisted(&mut self, ticket: Ticket, records: &[Record]) {
        for record in records {
            self.known.apply(record);
        }
        if self.session_unsafe.is_some_and(|unsafe_until| unsafe_until <= ticket) {
            self.session_unsafe = None;
        }
    }

    /// The process died; this is what the disk has.
    pub(in crate::sim) fn crashed(&mut self, records: &[Record]) {
        self.known = Known::default();
        self.sent_to = None;
        for record in records {
            self.known.apply(record);
        }
        self.session_unsafe = None;
        if self.store_failed && !self.durable {
            // The disk knows nothing of what was released since.
            self.released.clear();
        }
        (self.durable, self.store_failed) = (self.has_store, false);
        self.limits.new_process();
        self.ack_patience = self.ack_timeout;
        self.inbound.crashed(self.known.held.keys().copied());
        self.crashed = true;
        self.session_at = records.iter().rev().find_map(|record| match record {
            Record::SessionStarted { server, .. } => self.address_of(server),
            _ => None,
        });
        self.goes_home = true;
        if self.session_at.is_none() {
            // Without the session there is nothing that its name would be good for.
            self.client_id = self.given_id.clone();
        }
        if !self.durable {
            self.sent.clear();
        }
    }

    /// The disk takes nothing more.
    pub(in crate::sim) fn store_failed(&mut self, goes_on: bool) {
        self.store_failed = true;
        self.durable &= !goes_on;
        self.session_unsafe = None;
    }

    /// CONNECT has to carry this from now on.
    pub(in crate::sim) fn expects_password(&mut self, password: Bytes) {
        self.password = Some(password);
    }

    /// The broker sent too large a packet.
    pub(in crate::sim) const fn sent_large(&mut self) {
        self.limits.sent_large();
    }

    /// How many inbound QoS 2 identifiers may be held, by what went over the wire.
    pub(in crate::sim) fn may_hold(&self) -> usize {
        self.inbound.len()
    }

    /// The version of the present link, or of the last.
    pub(in crate::sim) const fn version(&self) -> Version {
        self.link.version
    }

    /// The client says that a link opened, or why one ended.
    pub(in crate::sim) fn event(&mut self, event: &Event, marks: &mut Marks) -> Ruling {
        // One it found and had to end first is none of its own.
        if let Event::Attempt { server, .. } = event
            && std::mem::take(&mut self.goes_home)
            && self.session_at.is_some_and(|at| at != self.servers[*server].1)
        {
            let what = format!(
                "a new process goes to server {server} first, and its session is at {:?}",
                self.session_at
            );
            return Err(Alarm::new("O3", what));
        }
        if let Event::Opened { session, .. } = event {
            if self.is_elsewhere() && *session == SessionState::Kept {
                return Err(Alarm::new("O3", "a session is gone on with at a server that does not have it"));
            }
            if self.link.ends_another {
                return Err(Alarm::new("O3", "a session that is to be kept begins clean at 3.1.1"));
            }
            if self.is_elsewhere() {
                marks.hit("session begun at another server");
            }
            self.session_at = Some(self.link.address);
            if let Some(id) = self.link.chosen_id.take() {
                marks.hit("client id chosen by the server");
                self.client_id = id;
            }
        }
        if let Event::Closed { cause: LossCause::AckTimeout(after), .. } = event {
            // It doubles until an answer comes.
            self.ack_patience = after.saturating_mul(2).max(self.ack_patience);
        }
        self.follows(event)?;
        self.limits.event(event, self.link.version, marks)
    }

    /// Who is sent to another server of its list goes there, and nobody goes where nothing was named (O17).
    fn follows(&mut self, event: &Event) -> Ruling {
        match event {
            Event::Closed { cause, verdict: Verdict::Redirected, .. }
            | Event::AttemptFailed { cause, verdict: Verdict::Redirected, .. } => {
                self.sent_to = self.named_by(cause);
                match self.sent_to {
                    Some(_) => Ok(()),
                    None => Err(Alarm::new("O17", format!("sent to another server by {cause}"))),
                }
            }
            Event::Attempt { server, .. } => match self.sent_to.take() {
                Some(to) if to != *server => {
                    Err(Alarm::new("O17", format!("sent to server {to}, it goes to server {server}")))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The first server of the list that the broker named, with one of the two codes that are for it.
    fn named_by(&self, cause: &LossCause) -> Option<usize> {
        let (LossCause::Refused { reason, server_reference, .. }
        | LossCause::ServerDisconnect { reason, server_reference, .. }) = cause
        else {
            return None;
        };
        let is_for_it = matches!(*reason, ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED);
        let mut named = server_reference.as_deref().filter(|_| is_for_it)?.split(' ');
        named.find_map(|name| self.servers.iter().position(|(server, _)| server == name))
    }

    /// After bytes were taken: a server that overran a limit is noticed at once (O10).
    pub(in crate::sim) fn is_noticed(&self, is_up: bool, oversized: u64) -> Ruling {
        self.limits.is_noticed(is_up, oversized)
    }

    /// A transport to this server opened.
    pub(in crate::sim) fn opened(&mut self, server: usize, now: u64) {
        self.limits.opened();
        self.inbound.opened();
        self.link = OnLink::new(self.servers[server].1, now);
    }

    /// Where the present link leads, or the last.
    pub(in crate::sim) const fn address(&self) -> Address {
        self.link.address
    }

    /// The client id as it must be; empty while no server has chosen one.
    pub(in crate::sim) const fn client_id(&self) -> &Text {
        &self.client_id
    }

    /// The name its session has at the broker, where it has one.
    pub(in crate::sim) fn session_name(&self) -> Option<Text> {
        self.session_at.map(|at| at.session_name(&self.client_id))
    }

    /// Whether the client has its session elsewhere than where the present link leads.
    pub(in crate::sim) fn is_elsewhere(&self) -> bool {
        self.session_at.is_some_and(|at| at != self.link.address)
    }

    fn address_of(&self, server: &str) -> Option<Address> {
        self.servers.iter().find(|(name, _)| name == server).map(|(_, address)| *address)
    }

    /// The client handed bytes to its transport. Gives whether CONNECT is among them.
    pub(in crate::sim) fn transmits(
        &mut self,
        bytes: &Bytes,
        hurt: bool,
        of: &mut Listener<'_>,
        mut say: impl FnMut(&Packet),
    ) -> Result<bool, Alarm> {
        let silent = of.now - self.link.last_sent;
        if self.link.is_up && self.link.keep_alive > 0 && silent > self.link.keep_alive && !hurt {
            let what = format!("nothing sent for {silent} us, keep-alive is {} us", self.link.keep_alive);
            return Err(Alarm::new("O16", what));
        }
        self.link.last_sent = of.now;
        self.link.up.push(bytes.clone());
        let mut connects = false;
        let full = of.waiting + bytes.len() > self.write_buffer;
        loop {
            let packet = match self.link.up.next() {
                Ok(Some(Decoded::Packet(packet))) => packet,
                Ok(None) => return Ok(connects),
                other => return Err(Alarm::new("O8", format!("the client wrote {other:?}"))),
            };
            say(&packet);
            connects |= matches!(packet, Packet::Connect(_));
            if full {
                let is_message = matches!(packet, Packet::Publish(_));
                if is_message && of.waiting >= self.write_buffer {
                    let what = format!("a message is encoded behind {} bytes that wait", of.waiting);
                    return Err(Alarm::new("O19", what));
                }
                of.waiting += encoded_len(&packet, self.link.version);
            }
            self.packet(&packet, of)?;
        }
    }

    fn packet(&mut self, packet: &Packet, of: &mut Listener<'_>) -> Ruling {
        self.limits.answers(packet);
        self.inbound.answers(packet);
        let held = |id: &PacketId| self.known.held.contains_key(id);
        match packet {
            Packet::Connect(connect) => {
                self.link.version = connect.version;
                self.link.keep_alive = u64::from(connect.keep_alive) * 1_000_000;
                self.link.down = Decoder::new(connect.version, Sender::Server, ANY_SIZE);
                self.is_of_its_session(connect)?;
                if self.password.as_ref().is_some_and(|newest| connect.password.as_ref() != Some(newest)) {
                    return Err(Alarm::new("O26", "CONNECT does not carry the newest credentials"));
                }
                if self.durable && !self.known.connect_sent && !self.store_failed {
                    return Err(Alarm::new("O14", "CONNECT leaves before the disk knows"));
                }
                return Ok(());
            }
            Packet::PubRec(ack) if self.durable && !ack.reason.is_error() && !held(&ack.packet_id) => {
                let what = format!("PUBREC {} leaves before the disk has the message", ack.packet_id);
                return Err(Alarm::new("O14", what));
            }
            Packet::PubComp(ack)
                if self.durable
                    && !ack.reason.is_error()
                    && held(&ack.packet_id)
                    && self.inbound.was_recorded(ack.packet_id) =>
            {
                let what = format!("PUBCOMP {} leaves before the disk knows", ack.packet_id);
                return Err(Alarm::new("O14", what));
            }
            Packet::Publish(publish) => self.publish(publish, of)?,
            Packet::PubAck(ack) if !self.link.owes(ack.packet_id) => {
                let what =
                    format!("PUBACK {} for nothing that came: it may confirm another message", ack.packet_id);
                return Err(Alarm::new("O1", what));
            }
            Packet::PubRel(ack) => {
                self.link.awaits(ack.packet_id, of.now);
                self.pubrel(ack.packet_id, of.marks)?;
            }
            _ => {}
        }
        let is_about_the_link = matches!(packet, Packet::Disconnect(_) | Packet::PingReq | Packet::Auth(_));
        if self.session_unsafe.is_some() && !is_about_the_link {
            let what = format!("{} leaves before the disk knows of its session", packet.name());
            return Err(Alarm::new("O14", what));
        }
        Ok(())
    }

    /// A session begins once for a process, and one without state begins none of another's [rules 4 and 5]; it belongs to the
    /// server it began at [rule 6] and to the client id it was given [rule 8].
    fn is_of_its_session(&mut self, connect: &Connect) -> Ruling {
        self.link.ends_another = connect.version == Version::V311 && connect.clean_start && self.is_kept;
        let here = self.session_at == Some(self.link.address);
        let is_right = match connect.version {
            Version::V5 => connect.clean_start != here,
            // A clean session ends with its link: one that is kept is begun clean only to end what is there.
            Version::V311 => !connect.clean_start || !self.is_kept || !here,
        };
        if !is_right {
            let what = format!("CONNECT with Clean Start {}: has a session here {here}", connect.clean_start);
            return Err(Alarm::new("O3", what));
        }
        if connect.client_id != self.client_id {
            let what =
                format!("CONNECT names `{}`; the session is of `{}`", connect.client_id, self.client_id);
            return Err(Alarm::new("O3", what));
        }
        Ok(())
    }

    fn publish(&mut self, publish: &Publish, of: &mut Listener<'_>) -> Ruling {
        let Listener { now, client, app, marks, .. } = of;
        let life = app.lives + 1;
        let Some(n) = number(&publish.payload) else {
            return Err(Alarm::new("O2", "the client published what nobody gave it"));
        };
        let (from, k) = whose(n);
        let message = app.message(k).filter(|_| from == *client);
        let Some(message) = message else {
            return Err(Alarm::new("O2", format!("{n:#x} was published and never handed over")));
        };
        message.transmitted = message.transmitted.saturating_add(1);
        message.sent_by = life;
        let (born, by_alias) = (message.born, publish.topic.is_empty());
        let under = publish.packet_id.map_or(0, PacketId::get);
        // What was lowered once goes at QoS 1 ever after, as far as its process lives.
        let lowered = self.lowers && message.qos == 2 && publish.qos == Qos::AtLeastOnce;
        if lowered && message.lowered_by != life {
            self.is_lowered_well(publish, k, message, marks)?;
            message.lowered_by = life;
        }
        if by_alias {
            marks.hit("topic alias in place of a topic, to the broker");
        }
        match publish.qos {
            Qos::ExactlyOnce => message.qos2_under = under,
            _ if !publish.dup && message.qos2_under == under => message.qos2_under = 0,
            _ => {}
        }
        if publish.qos as u8 != message.qos && !lowered
            || publish.payload.len() != usize::from(message.payload_len)
        {
            return Err(Alarm::new("O2", format!("{k} leaves changed")));
        }
        if message.never_sent || message.answers > 0 && !message.may_repeat {
            return Err(Alarm::new("O6", format!("{k} is sent though it was answered for: {message:?}")));
        }
        let Some(id) = publish.packet_id else { return Ok(()) };
        if self.released.contains(&k) && !app_forgot(app, k) {
            return Err(Alarm::new("O13", format!("PUBLISH {k} leaves again after its PUBREL")));
        }
        let before = self.sent.insert(id, k);
        // What an earlier process was given it may have sent.
        let may_have_left = self.crashed && born < app.lives;
        if publish.dup && before != Some(k) && !may_have_left {
            return Err(Alarm::new(
                "O11",
                format!("PUBLISH {k} has DUP under {id} and is sent for the first time"),
            ));
        }
        if publish.dup {
            marks.hit(if self.crashed { "PUBLISH resent after a crash" } else { "PUBLISH resent with DUP" });
        }
        if self.durable
            && publish.qos == Qos::ExactlyOnce
            && self.known.assigned.get(&id) != Some(&PublishId(k))
        {
            return Err(Alarm::new("O14", format!("PUBLISH {k} leaves under {id} before the disk knows")));
        }
        self.link.unanswered.insert(id);
        self.link.awaits(id, *now);
        let own = self.own_window.unwrap_or(if self.link.version == Version::V5 { 1000 } else { 100 });
        let window = self.link.window.min(usize::from(own));
        if self.link.unanswered.len() > window {
            let what = format!("{} messages in flight, {window} are allowed", self.link.unanswered.len());
            return Err(Alarm::new("O9", what));
        }
        Ok(())
    }

    /// A message of QoS 2 leaves as one of QoS 1, for the first time in this process.
    fn is_lowered_well(&self, publish: &Publish, k: u64, message: &Published, marks: &mut Marks) -> Ruling {
        if self.link.maximum_qos != Qos::AtLeastOnce {
            return Err(Alarm::new("O2", format!("{k} is lowered though the broker offers QoS 2")));
        }
        // Of what a process did without its store the next one knows nothing.
        let known = !message.nobody_knows;
        if known && publish.dup && message.qos2_under == publish.packet_id.map_or(0, PacketId::get) {
            let what = format!("{k} is lowered under the identifier it had at QoS 2");
            return Err(Alarm::new("O11", what));
        }
        marks.hit(match (publish.dup, message.transmitted) {
            (true, _) => "QoS 2 sent again as QoS 1",
            (false, 2..) => "QoS 2 begun anew as QoS 1",
            (false, _) => "QoS 2 sent as QoS 1",
        });
        Ok(())
    }

    fn pubrel(&mut self, id: PacketId, marks: &mut Marks) -> Ruling {
        // After a crash an identifier may have been used for a QoS 1 message that the disk knows nothing of.
        let of = match (self.durable, self.has_store) {
            (true, _) => self.known.assigned.get(&id).map(|k| k.0),
            (false, false) => self.sent.get(&id).copied(),
            // Going on without the store: neither tells.
            (false, true) => None,
        };
        if of.is_some_and(|k| !self.released.insert(k)) {
            marks.hit(if self.crashed { "PUBREL resent after a crash" } else { "PUBREL resent" });
        }
        if !self.durable {
            return Ok(());
        }
        let safe = self.known.assigned.get(&id).is_some_and(|k| self.known.received.contains(k));
        if !safe {
            return Err(Alarm::new("O14", format!("PUBREL {id} leaves before the disk knows of its PUBREC")));
        }
        Ok(())
    }

    fn answered(&mut self, now: u64) {
        self.link.waits_since = (!self.link.awaited.is_empty()).then_some(now);
        self.ack_patience = self.ack_timeout;
    }

    /// Since when a message waits for an answer, and how long that may last until the link is called dead: twice the time-out
    /// in force, as an answer may stand behind what was not read.
    pub(in crate::sim) fn waits(&self) -> Option<(u64, Duration)> {
        Some((self.link.waits_since?, self.ack_patience * 2))
    }

    /// The client does not read for now, so that an answer may be there; or one came that is of no message.
    pub(in crate::sim) fn pauses(&mut self, now: u64) {
        self.link.waits_since = self.link.waits_since.map(|_| now);
    }

    /// Bytes reach the client.
    pub(in crate::sim) fn receives(
        &mut self,
        bytes: &Bytes,
        now: u64,
        marks: &mut Marks,
        mut say: impl FnMut(&Packet),
    ) {
        self.link.down.push(bytes.clone());
        while let Ok(Some(Decoded::Packet(packet))) = self.link.down.next() {
            say(&packet);
            if !(self.link.ends_another && matches!(packet, Packet::ConnAck(_))) {
                self.inbound.receives(&packet);
            }
            if self.link.is_up {
                self.limits.receives(&packet, self.link.version);
            }
            match &packet {
                Packet::ConnAck(connack) => self.link.connack(connack),
                Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                    if !matches!(packet, Packet::PubRec(_)) || ack.reason.is_error() {
                        self.link.unanswered.remove(&ack.packet_id);
                    }
                    self.link.awaited.remove(&ack.packet_id);
                    self.answered(now);
                }
                Packet::SubAck(_) | Packet::UnsubAck(_) => self.pauses(now),
                Packet::Publish(publish) => {
                    let skipped = self.limits.skips(&packet, self.link.version);
                    self.link.owe(publish, skipped, marks);
                }
                _ => {}
            }
        }
    }
}

impl OnLink {
    /// A PUBLISH of QoS 1 came. A copy is owed no answer of its own while the first has none; what is skipped unseen is not
    /// told from one.
    fn owe(&mut self, publish: &Publish, skipped: bool, marks: &mut Marks) {
        let (Some(id), Qos::AtLeastOnce) = (publish.packet_id, publish.qos) else { return };
        let owed = self.pubacks.entry(id).or_default();
        if publish.dup && !skipped && *owed > 0 {
            marks.hit("PUBLISH comes again on its link");
            return;
        }
        *owed += 1;
    }

    /// Whether a PUBACK is owed, which leaves now.
    fn owes(&mut self, id: PacketId) -> bool {
        let Some(owed) = self.pubacks.get_mut(&id).filter(|owed| **owed > 0) else { return false };
        *owed -= 1;
        true
    }

    fn new(address: Address, now: u64) -> Self {
        Self {
            address,
            ends_another: false,
            chosen_id: None,
            up: Decoder::new(Version::V5, Sender::Client, Limits::default()),
            down: Decoder::new(Version::V5, Sender::Server, ANY_SIZE),
            version: Version::V5,
            window: usize::from(u16::MAX),
            unanswered: BTreeSet::new(),
            pubacks: BTreeMap::new(),
            awaited: BTreeSet::new(),
            waits_since: None,
            keep_alive: 0,
            last_sent: now,
            is_up: false,
            maximum_qos: Qos::ExactlyOnce,
        }
    }

    fn awaits(&mut self, id: PacketId, now: u64) {
        self.awaited.insert(id);
        self.waits_since.get_or_insert(now);
    }

    fn connack(&mut self, connack: &ConnAck) {
        self.is_up = !connack.reason.is_error();
        self.chosen_id.clone_from(&connack.properties.assigned_client_id);
        self.maximum_qos = connack.properties.maximum_qos.unwrap_or(Qos::ExactlyOnce);
        if let Some(most) = connack.properties.receive_maximum {
            self.window = usize::from(most.get());
        }
        if let Some(seconds) = connack.properties.server_keep_alive {
            self.keep_alive = u64::from(seconds) * 1_000_000;
        }
    }
}

/// The servers of a list, and where each keeps its sessions.
fn servers(config: &Config) -> Vec<(Text, Address)> {
    let address = |n: usize| if config.session.clustered { Address(0) } else { Address(n as u8) };
    config.servers.iter().enumerate().map(|(n, name)| (name.clone(), address(n))).collect()
}

fn app_forgot(app: &mut App, k: u64) -> bool {
    app.message(k).is_none_or(|message| message.forgotten)
}
