//! A disk that fails for good, and what follows: the client goes on without, or accepts nothing more, as its settings say,
//! until somebody starts it again on a disk that is well.

use std::time::Duration;

use fastrand::Rng;
use rejoin_core::Input;

use super::disk::Failed;
use super::oracle::Alarm;
use super::setting::SECOND;
use super::world::{Ruling, World};

impl World {
    pub(super) fn fail_store(&mut self, c: usize, rng: &mut Rng) -> Ruling {
        if self.clients[c].reborn_at.is_some() || self.clients[c].disk.failed().is_some() {
            return Ok(());
        }
        let how = if rng.bool() { Failed::GoesOn } else { Failed::Refuses };
        let client = &mut self.clients[c];
        let lost = client.disk.fail(how, rng);
        client.disk.is_sound(c)?;
        client.operator_at = Some(self.at + rng.u64(1..120) * SECOND);
        client.tap.store_failed(how == Failed::GoesOn);
        let held = client.disk.recover().held;
        client.app.store_failed(held.into_iter().map(|held| held.id).collect());
        self.marks.hit(match how {
            Failed::GoesOn => "store lost, going on in memory",
            Failed::Refuses => "store lost, refusing",
        });
        let issued = client.disk.issued();
        let now = self.now(c);
        self.clients[c].engine.handle(Input::StoreLost(lost), now);
        if how == Failed::GoesOn {
            self.clients[c].engine.handle(Input::Persisted(issued), now);
        }
        self.drain(c)?;
        if rng.u8(..4) == 0 {
            // What was on its way to the disk was so on another link.
            self.cut(c, true, rng);
        }
        Ok(())
    }

    /// Somebody looked at the disk and starts the client again.
    pub(super) fn operator_acts(&mut self, c: usize) -> Ruling {
        let now = self.now(c);
        let client = &mut self.clients[c];
        client.operator_at = None;
        if client.disk.failed().is_none() {
            return Ok(());
        }
        client.engine.close(Duration::from_secs(5), now);
        self.drain(c)
    }

    /// Faults are over and the disk of this client is not: what is in memory alone must be answered for, then it is started
    /// again. `true`: it has to be waited for.
    pub(super) fn waits_for_operator(&mut self, c: usize, bound: u64) -> Result<bool, Alarm> {
        let client = &self.clients[c];
        let Some(how) = client.disk.failed() else { return Ok(false) };
        let only_here = |(at, m): (usize, &super::app::Published)| {
            let id = rejoin_core::PublishId(at as u64 + 1);
            m.answers == 0 && !m.forgotten && !client.disk.has(id)
        };
        let left = client.app.published.iter().enumerate().filter(|one| only_here(*one)).count();
        if how == Failed::Refuses || left == 0 {
            if client.operator_at.is_none() && !client.closing {
                self.clients[c].closing = true;
                self.clients[c].operator_at = Some(self.at + 1);
            }
        } else if self.at > bound {
            let what =
                format!("c{c} lost its store and has not answered for {left}: {}", self.engine_says(c));
            return Err(Alarm::new("O18", what));
        }
        Ok(true)
    }
}
