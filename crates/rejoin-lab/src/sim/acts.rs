//! What applications do: hand over, take, ask, give up, end.

use std::time::Duration;

use fastrand::Rng;
use rejoin_core::{
    AuthData, Event, MessageId, PublishId, ReasonCode, SubscribeResult, SubscriptionId, Verdict,
};

use super::app::{self, Published};
use super::disk::Failed;
use super::faults::FaultKind;
use super::oracle::{Alarm, books};
use super::overrun;
use super::setting::SECOND;
use super::world::{Ruling, World};

/// The lane on which only the latest message counts, and the one the broker may cut the link over.
const LATEST: usize = 3;
const POISON: usize = 4;

impl World {
    /// The application hands over some messages at once.
    pub(super) fn application_publishes(&mut self, c: usize) -> Ruling {
        let burst = self.app_rng.u64(1..=self.setting.burst);
        self.clients[c].next_burst = self.at + self.app_rng.u64(1..self.setting.pause * 2);
        if self.clients[c].disk.failed() == Some(Failed::Refuses) {
            return Ok(());
        }
        let now = self.now(c);
        for _ in 0..burst {
            let (message, publication) = self.draw_message(c);
            let app = &mut self.clients[c].app;
            let id = PublishId(app.published.len() as u64 + 1);
            let qos0 = message.qos == 0;
            app.published.push(message);
            *(if qos0 { &mut app.open_qos0 } else { &mut app.open }) += 1;
            if self.clients[c].engine.publish(id, publication, now).is_err() {
                // It is closing; nothing was accepted.
                let app = &mut self.clients[c].app;
                app.published.pop();
                *(if qos0 { &mut app.open_qos0 } else { &mut app.open }) -= 1;
                break;
            }
            self.messages += 1;
        }
        self.drain(c)
    }

    fn draw_message(&mut self, c: usize) -> (Published, rejoin_core::Publication) {
        let rng = &mut self.app_rng;
        let lane = match rng.u8(..100) {
            0..=34 => 0,
            35..=69 => 1,
            70..=89 => 2,
            90..=94 => LATEST,
            95 if self.setting.poison => POISON,
            _ => 5,
        };
        let qos = [0, 1, 1, 2][rng.usize(..4)];
        let k = self.clients[c].app.published.len() as u64 + 1;
        let payload = app::payload(c, k, rng);
        let out_of_date = self.clients[c].is_out_of_date;
        let payload_len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let mut publication = self.clients[c].publication(lane, payload);
        publication.qos = app::qos_of(qos);
        publication.latest_only = lane == LATEST;
        publication.queue_qos0 = qos == 0 && rng.u8(..4) == 0;
        publication.retain = rng.u8(..64) == 0;
        publication.expires_after = (rng.u8(..8) == 0).then(|| Duration::from_millis(rng.u64(1..20_000)));
        let message = Published {
            qos,
            lane: lane as u8,
            topic: self.setting.topic(lane),
            latest_only: publication.latest_only,
            expires: publication.expires_after.is_some(),
            payload_len,
            retain: publication.retain,
            born: self.clients[c].app.lives,
            on_disk: publication.is_queued(),
            // The broker may take it for a copy of what the last process sent under its identifier.
            nobody_knows: qos == 2 && out_of_date,
            // It takes the place of an older one, or is in none that the next process knows of.
            out_of_order: publication.latest_only
                || self.clients[c].disk.failed().is_some()
                || qos == 2 && out_of_date,
            ..Published::default()
        };
        (message, publication)
    }

    /// The application takes, or refuses, the messages whose time has come.
    pub(super) fn application_takes(&mut self, c: usize) -> Ruling {
        let at = self.at;
        let now = self.now(c);
        while let Some((_, id)) = self.clients[c].app.to_take.first().copied().filter(|(due, _)| *due <= at) {
            self.clients[c].app.to_take.pop_first();
            if self.setting.leaves && self.publishing && self.leave_rng.u8(..4) == 0 {
                self.application_leaves(c, id);
                continue;
            }
            let client = &mut self.clients[c];
            let refuses = self.app_rng.u8(..100) < client.app.refuses_percent;
            let code = if refuses { ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR } else { ReasonCode::SUCCESS };
            let before = client.engine.stats().stale_acks;
            if let Some(number) = client.app.named.get(&id)
                && let Some(heard) = client.app.heard.get_mut(number)
            {
                heard.taken = true;
                if refuses {
                    // It may be offered again, and under another name.
                    heard.ids.clear();
                }
            }
            client.engine.ack(id, code, now);
            if client.engine.stats().stale_acks > before {
                self.marks.hit("late acknowledgement of the application");
            }
        }
        self.drain(c)
    }

    /// Nobody is there to take a message now: it is kept for later, or left to the broker.
    fn application_leaves(&mut self, c: usize, id: MessageId) {
        let now = self.now(c);
        let client = &mut self.clients[c];
        if client.engine.leave(id, self.leave_rng.bool(), now) {
            self.marks.hit("message left to the broker");
            client.app.never_came(id);
        } else {
            self.marks.hit("message left for later");
            client.app.to_take.insert((self.at + self.leave_rng.u64(1..20 * SECOND), id));
        }
    }

    pub(super) fn event(&mut self, c: usize, event: Event) -> Ruling {
        let at = self.at;
        let Self { clients, marks, trace, .. } = self;
        let client = &mut clients[c];
        client.watch.event(&event, &client.config.recovery, at, marks)?;
        trace.say(at, c, || format!("   {event:?}"));
        client.moved |= matches!(event, Event::Opened { .. }) && client.tap.is_elsewhere();
        client.tap.event(&event, marks)?;
        match event {
            Event::Message(message) => {
                if message.payload.starts_with(overrun::NAME) {
                    return Ok(());
                }
                let Some(number) = app::number(&message.payload) else {
                    client.app.probes += 1;
                    if let Some(id) = message.id {
                        client.app.to_take.insert((at, id));
                    }
                    return Ok(());
                };
                trace.fold(number);
                if let Some(id) = message.id {
                    let due = at + self.app_rng.u64(1..=self.setting.taking);
                    client.app.to_take.insert((due, id));
                }
                let (from, k) = app::whose(number);
                books::heard(&mut client.app, number, message.id, message.qos as u8, marks)?;
                let known = clients.get_mut(from).and_then(|of| of.app.message(k));
                if known.is_none_or(|m| !m.is_as_given(&message.topic, &message.payload)) {
                    let what =
                        format!("c{c} heard {number:#x} to {}, which nobody published so", message.topic);
                    return Err(Alarm::new("O2", what));
                }
            }
            Event::Finished { id, outcome } => {
                trace.fold(id.0 << 8);
                books::answered(&mut client.app, id, &outcome, &self.setting, marks)?;
            }
            Event::Stored { id } => {
                if let Some(message) = client.app.message(id.0) {
                    message.stored = true;
                }
            }
            Event::Undecided { id } => {
                marks.hit("undecided");
                client.to_decide.push(id);
                if let Some(message) = client.app.message(id.0) {
                    message.out_of_order = true;
                }
            }
            Event::Retrying { id, .. } => {
                if let Some(message) = client.app.message(id.0) {
                    message.out_of_order = true;
                }
            }
            Event::AuthChallenge { data: AuthData(data) } => self.is_challenged(c, data),
            Event::AuthProof { data: AuthData(data), again } => self.has_proof(c, data.as_ref(), again)?,
            other => {
                self.judge_proof(c, &other)?;
                self.event_of_link(c, &other);
            }
        }
        Ok(())
    }

    fn event_of_link(&mut self, c: usize, event: &Event) {
        let Self { clients, marks, .. } = self;
        let client = &mut clients[c];
        match event {
            Event::Subscribed { id, result } => {
                let refused = !matches!(result, SubscribeResult::Granted(_));
                if refused {
                    marks.hit("subscription refused");
                }
                if let Some(wish) = client.app.wishes.get_mut(&id.0) {
                    wish.refused = refused;
                }
            }
            Event::Unsubscribed { id, .. } => {
                client.app.leaving.remove(&id.0);
            }
            Event::FellBack { .. } => marks.hit("fell back to 3.1.1"),
            Event::Downgraded { .. } => marks.hit("QoS 2 taken as QoS 1"),
            Event::RenewalDue => {
                client.provider.answer_at = Some(self.at + self.app_rng.u64(1..3 * SECOND));
            }
            Event::AttemptFailed { .. } => {
                client.provider.link_down();
                client.prover.link_down();
            }
            Event::Opened { session, .. } => {
                client.names_session();
                client.session_opened(*session);
                if client.engine.held().waiting_packed > 0 {
                    marks.hit("packed messages unpacked");
                }
            }
            Event::Conflict { .. } => marks.hit("conflict named"),
            Event::Recovered { .. } => marks.hit("recovered"),
            Event::Closed { verdict, .. } => {
                client.provider.link_down();
                client.prover.link_down();
                if *verdict == Verdict::SlowLane {
                    marks.hit("slow lane after an open link");
                }
            }
            _ => {}
        }
    }

    pub(super) fn application_acts(&mut self, kind: FaultKind, c: usize, rng: &mut Rng) -> Ruling {
        if self.clients[c].reborn_at.is_some() {
            return Ok(());
        }
        let now = self.now(c);
        let until = self.at + rng.u64(..30) * SECOND;
        let client = &mut self.clients[c];
        match kind {
            FaultKind::Close => client.engine.close(Duration::from_millis(rng.u64(..5_000)), now),
            FaultKind::Cancel => {
                let last = client.app.published.len() as u64;
                for k in last.saturating_sub(rng.u64(1..400))..=last {
                    client.engine.cancel(PublishId(k), now);
                }
            }
            FaultKind::Evict => {
                for _ in 0..rng.u8(1..10) {
                    client.engine.evict_oldest(now);
                }
            }
            FaultKind::Subscribe => {
                let filter = format!("s/{}/#", client.app.last_wish);
                self.wish(c, &filter);
            }
            FaultKind::Unsubscribe => {
                self.unsubscribe(c, rng);
                if rng.u8(..4) == 0 {
                    // Asked for, and not answered on this link.
                    self.drain(c)?;
                    self.cut(c, true, rng);
                }
            }
            FaultKind::SlowReader => client.app.slow_until = until,
            FaultKind::AckErrors => client.app.refuses_percent = rng.u8(..50),
            FaultKind::RestartLink => client.engine.restart_link(now),
            FaultKind::Nudge => {
                client.watch.nudged();
                client.engine.nudge(now);
            }
            _ => {
                client.wall_jump_ms = rng.i64(-1_600_000_000_000..100_000_000_000);
            }
        }
        self.drain(c)
    }

    /// Ends a wish, but the first.
    fn unsubscribe(&mut self, c: usize, rng: &mut Rng) {
        let ids: Vec<u32> = self.clients[c].app.wishes.keys().copied().skip(1).collect();
        if let Some(id) = rng.choice(ids) {
            self.end_wish(c, id);
        }
    }

    pub(super) fn end_wish(&mut self, c: usize, id: u32) {
        let now = self.now(c);
        let client = &mut self.clients[c];
        client.app.wishes.remove(&id);
        client.app.leaving.insert(id);
        client.engine.unsubscribe(SubscriptionId(id), now);
    }

    /// The application decides on what it was asked about.
    pub(super) fn application_decides(&mut self, c: usize) -> Ruling {
        let now = self.now(c);
        for id in std::mem::take(&mut self.clients[c].to_decide) {
            let again = self.app_rng.bool();
            self.clients[c].engine.decide(id, again, now);
        }
        self.drain(c)
    }

    /// Asks anew for what was refused: no broker refuses it any more.
    pub(super) fn ask_again(&mut self, c: usize) -> Ruling {
        let refused: Vec<(u32, String)> = self.clients[c]
            .app
            .wishes
            .iter()
            .filter(|(_, wish)| wish.refused)
            .map(|(id, wish)| (*id, wish.filter.clone()))
            .collect();
        for (id, filter) in refused {
            self.end_wish(c, id);
            self.wish(c, &filter);
        }
        self.drain(c)
    }

    /// The topics on which each wish of a client must hear a probe.
    pub(super) fn probe_topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self
            .clients
            .iter()
            .flat_map(|client| client.app.wishes.values().map(|wish| wish.filter.replace('#', "probe")))
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}
