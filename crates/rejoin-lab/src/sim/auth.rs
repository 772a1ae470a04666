//! Enhanced authentication: a broker that challenges, and applications that answer late, wrongly now and then, or not at
//! all.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use rejoin_core::{Authentication, Event, LossCause, Text, TransportError, TransportErrorKind};

use super::oracle::Alarm;
use super::setting::SECOND;
use super::world::{Ruling, World};
use crate::{Backwards, PacketKind, Times};

const METHOD: &str = "BACKWARDS";

/// What clients say in CONNECT.
pub(super) fn method() -> Box<Authentication> {
    Box::new(Authentication { method: Text::from_static(METHOD), data: None })
}

/// What the broker asks.
pub(super) fn asked(rounds: u8) -> Backwards {
    Backwards { name: METHOD.to_owned(), rounds }
}

/// Who answers challenges for one client.
#[derive(Debug, Default)]
pub(super) struct Prover {
    /// The open challenge, and when it is answered.
    open: Option<(u64, Bytes)>,
    /// What was answered in this exchange.
    answered: Vec<Bytes>,
    /// An exchange on this open link was begun by the application, and has not ended.
    proving: bool,
    /// Since when the broker has the next word in it.
    waits_since: Option<u64>,
    /// CONNACK of this link brought a proof.
    knows_broker: bool,
    /// Exchanges on open links that ended.
    proved: u32,
}

impl Prover {
    pub(super) fn answer_at(&self) -> Option<u64> {
        self.open.as_ref().map(|(at, _)| *at)
    }

    /// The link is gone, and with it the question.
    pub(super) fn link_down(&mut self) {
        *self = Self { proved: self.proved, ..Self::default() };
    }
}

impl World {
    pub(super) fn is_challenged(&mut self, c: usize, data: Option<Bytes>) {
        let due = self.at + self.auth_rng.u64(1..=self.setting.taking);
        let prover = &mut self.clients[c].prover;
        prover.open = Some((due, data.unwrap_or_default()));
        prover.waits_since = None;
        self.marks.hit("challenged");
    }

    pub(super) fn prover_answers(&mut self, c: usize) -> Ruling {
        let (at, now) = (self.at, self.now(c));
        let client = &mut self.clients[c];
        let Some((_, challenge)) = client.prover.open.take() else { return Ok(()) };
        let bad = if self.publishing { self.auth_rng.u8(..100) } else { u8::MAX };
        if bad == 0 {
            self.marks.hit("challenge not answered");
            let error = TransportError::new(TransportErrorKind::Credentials, "no answer");
            client.engine.auth_failed(error, now);
            return self.drain(c);
        }
        let answer = if bad == 1 { challenge } else { Backwards::answer(&challenge) };
        if bad == 1 {
            self.marks.hit("challenge answered wrongly");
        }
        client.prover.answered.push(answer.clone());
        client.prover.waits_since = client.prover.proving.then_some(at);
        client.engine.authenticate(Some(answer), now);
        self.drain(c)
    }

    /// An exchange is over: the broker has heard the last answer of this link, unless it was content before, and the client
    /// is told so.
    pub(super) fn has_proof(&mut self, c: usize, data: Option<&Bytes>, again: bool) -> Ruling {
        let may_be_early = self.publishing;
        let prover = &mut self.clients[c].prover;
        let is_last = data == prover.answered.last() && prover.open.is_none();
        let is_early = data.is_none_or(|data| prover.answered.contains(data));
        if again != prover.proving || !(is_last || may_be_early && is_early) {
            let what = format!("c{c} has the proof {data:?}, again {again}: {prover:?}");
            return Err(Alarm::new("O27", what));
        }
        if prover.open.take().is_some() {
            self.marks.hit("content before the answer");
        }
        (prover.proving, prover.waits_since) = (false, None);
        prover.answered.clear();
        if again {
            prover.proved += 1;
            self.marks.hit("proved on an open link");
        } else {
            prover.knows_broker = true;
        }
        Ok(())
    }

    /// No link opens to a broker that proved nothing, and none ends because the broker said AUTH out of turn: it does not.
    pub(super) fn judge_proof(&self, c: usize, event: &Event) -> Ruling {
        if self.setting.proves.is_none() {
            return Ok(());
        }
        match event {
            Event::Opened { .. } if !self.clients[c].prover.knows_broker => {
                Err(Alarm::new("O27", format!("c{c} is not told of the proof in CONNACK")))
            }
            Event::Closed { cause: LossCause::Protocol(error), .. }
            | Event::AttemptFailed { cause: LossCause::Protocol(error), .. }
                if error.to_string().contains("AUTH out of turn") =>
            {
                Err(Alarm::new("O27", format!("c{c} accuses the broker: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// While faults come: the application proves anew now and then, and the broker is not always content.
    pub(super) fn proves_anew(&mut self, c: usize) -> Ruling {
        if self.setting.proves.is_none() {
            return Ok(());
        }
        self.exchange_goes_on(c)?;
        match self.auth_rng.u8(..40) {
            0 => {
                self.marks.hit("right answer refused");
                self.broker.manners_mut().refuse_proof = Times::ONCE;
            }
            1 => {
                self.marks.hit("AUTH withheld");
                self.broker.manners_mut().lose(PacketKind::Auth, Times::ONCE);
            }
            2..7 => self.broker.manners_mut().content_early = Times::ONCE,
            7..15 => self.begins_to_prove(c)?,
            _ => {}
        }
        Ok(())
    }

    /// A broker that says nothing more in an exchange on an open link is left.
    fn exchange_goes_on(&self, c: usize) -> Ruling {
        let link = &self.clients[c].config.link;
        let bound = link.connack_timeout + link.write_timeout + Duration::from_secs(20);
        let waiting = self.clients[c].prover.waits_since.map(|since| Duration::from_micros(self.at - since));
        match waiting.filter(|waiting| *waiting > bound) {
            None => Ok(()),
            Some(waiting) => Err(Alarm::new("O27", format!("c{c} waits {waiting:?} for the answer to AUTH"))),
        }
    }

    fn begins_to_prove(&mut self, c: usize) -> Ruling {
        let (at, now) = (self.at, self.now(c));
        let client = &mut self.clients[c];
        let may = client.engine.may_reauthenticate();
        let begins = client.engine.reauthenticate(None, now);
        if begins != may || may && client.prover.proving {
            return Err(Alarm::new("O27", format!("c{c} may prove anew: {may}, and begins: {begins}")));
        }
        if begins {
            (client.prover.proving, client.prover.waits_since) = (true, Some(at));
        }
        self.drain(c)
    }
}

/// So long an exchange may take when nothing is wrong: longer than one whose AUTH was withheld before.
const PROOF: u64 = 60 * SECOND;
/// So often in a row on one link.
const PROOFS: u32 = 2;

/// Nothing is wrong any more: each client may prove anew, has its proof, and may again (O27).
pub(super) fn proves_in_the_end(world: &mut World) -> Ruling {
    if world.setting.proves.is_none() {
        return Ok(());
    }
    // An AUTH that was withheld costs its link.
    world.run_until(world.at + PROOF)?;
    for _ in 0..PROOFS {
        // The budget may hold the next one.
        let most = world.at + 3600 * SECOND;
        while world.at < most && world.clients.iter().any(|client| !client.watch.is_up()) {
            world.run_until(world.at + SECOND)?;
        }
        let before: Vec<_> = world.clients.iter().map(|client| client.prover.proved).collect();
        for c in 0..world.clients.len() {
            if !world.clients[c].engine.may_reauthenticate() {
                return Err(Alarm::new("O27", format!("c{c} may not prove anew: {}", world.engine_says(c))));
            }
            world.begins_to_prove(c)?;
        }
        world.run_until(world.at + PROOF)?;
        for (c, before) in before.into_iter().enumerate() {
            let prover = &world.clients[c].prover;
            if prover.proved == before {
                return Err(Alarm::new("O27", format!("c{c} proves in vain: {prover:?}")));
            }
        }
    }
    Ok(())
}

/// Chance of its own.
pub(super) fn chance(seed: u64) -> Rng {
    Rng::with_seed(seed ^ 0xa074_0000)
}
