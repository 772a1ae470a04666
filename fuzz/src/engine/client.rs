//! What the application asks for.

use std::time::Duration;

use rejoin_core::{
    MessageId, PublishId, RetainHandling, SubscribeRequest, SubscriptionId, SubscriptionOptions, TopicFilter,
};

use super::{Choices, World, drawn};

impl World {
    pub(super) fn command(&mut self, choices: &mut Choices<'_>) {
        let (now, name) = (self.now(), u64::from(choices.byte()));
        match choices.byte() % 10 {
            0 | 1 => self.subscribe(choices),
            2 => self.engine.unsubscribe(SubscriptionId(name as u32 % 8), now),
            3 => self.engine.detach(SubscriptionId(name as u32 % 8)),
            4 | 5 => {
                let id = self.messages.pop().unwrap_or(MessageId(name));
                self.engine.ack(id, drawn::code(choices), now);
            }
            6 => {
                let cancelled = self.engine.cancel(PublishId(name), now);
                self.drain();
                assert!(!cancelled || self.ended.get(&name) == Some(&1), "{name} is withdrawn and goes on");
            }
            7 => self.engine.decide(PublishId(name), choices.flag(), now),
            8 => {
                let _ = self.engine.nudge(now);
                if choices.flag() {
                    self.engine.restart_link(now);
                }
            }
            _ if name == 0 => self.engine.close(Duration::from_secs(u64::from(choices.byte())), now),
            _ => {
                let id = self.messages.pop().unwrap_or(MessageId(name));
                let _ = self.engine.leave(id, name % 2 == 0, now);
            }
        }
        self.drain();
    }

    /// What is asked for now and then, as by a queue that is full, and by whoever knows who we are.
    pub(super) fn rare_command(&mut self, choices: &mut Choices<'_>) {
        let now = self.now();
        let good_for = |choices: &mut Choices<'_>| choices.flag().then(|| drawn::time(choices));
        match choices.byte() % 16 {
            0 | 1 => {
                let evicted = self.engine.evict_oldest(now);
                self.drain();
                if let Some(id) = evicted {
                    assert_eq!(self.ended.get(&id.0), Some(&1), "{} makes room and goes on", id.0);
                }
            }
            2 => self.engine.set_login(drawn::login(choices)),
            3 => self.engine.credentials_end(good_for(choices), now),
            4 | 5 => {
                let login = choices.flag().then(|| drawn::login(choices));
                self.engine.renewed(login, good_for(choices), now);
            }
            6 => {
                let _ = self.engine.renewal_failed(now);
            }
            7 => self.engine.set_auth_data(drawn::data(choices)),
            8 | 9 => self.engine.authenticate(drawn::data(choices), now),
            10 | 11 => {
                let may = self.engine.may_reauthenticate();
                let did = self.engine.reauthenticate(drawn::data(choices), now);
                assert_eq!(may, did, "whether it authenticates anew is known before");
            }
            12 => self.engine.auth_failed(drawn::error(choices, "no proof"), now),
            13 => self.engine.unwell(drawn::time(choices), now),
            14 => self.engine.rest(),
            _ => self.look(),
        }
        self.drain();
    }

    /// Looking changes nothing, and the answers agree.
    fn look(&self) {
        let (status, held, stats) = (self.engine.status(), self.engine.held(), self.engine.stats());
        assert_eq!(status.in_flight, self.engine.in_flight());
        assert_eq!(status.revision, self.engine.status_revision());
        assert!(held.in_flight >= status.in_flight, "{held:?} {status:?}");
        assert!(stats.losses <= stats.links && stats.links <= stats.attempts, "{stats:?}");
        let _ = (self.engine.wants_read(), self.engine.now(), self.engine.deadline());
    }

    pub(super) fn publish(&mut self, choices: &mut Choices<'_>) {
        let message = drawn::publication(choices);
        let id = PublishId(self.next);
        if self.engine.publish(id, message, self.now()).is_ok() {
            self.next += 1;
            self.ended.insert(id.0, 0);
        }
        self.drain();
    }

    fn subscribe(&mut self, choices: &mut Choices<'_>) {
        let filter = ["a", "#", "+/b", "$share/g/c"][usize::from(choices.byte() % 4)];
        let id = SubscriptionId(u32::from(choices.byte() % 8));
        let how = choices.byte();
        let mut options = SubscriptionOptions { qos: drawn::qos(how), ..SubscriptionOptions::default() };
        let mut user_properties = Vec::new();
        if how >= 0xC0 {
            options.no_local = how & 1 == 1;
            options.retain_as_published = how & 2 == 2;
            options.retain_handling =
                [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::Never]
                    [usize::from((how >> 2 & 3) % 3)];
            if how & 16 == 16 {
                user_properties.push((drawn::text(choices), drawn::text(choices)));
            }
        }
        let filter = TopicFilter::try_from(filter).expect("these are filters");
        let request = SubscribeRequest { id, filter, options, user_properties };
        let _ = self.engine.subscribe(request, self.now());
    }
}
