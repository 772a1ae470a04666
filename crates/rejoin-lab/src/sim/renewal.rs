//! Credentials that end, and an application that has new ones, late or not at once.

use std::time::Duration;

use bytes::Bytes;
use rejoin_core::{Login, Text};

use super::oracle::Alarm;
use super::setting::SECOND;
use super::world::{Ruling, World};

/// A provider fails at most so often in a row.
const FAILS_MOST: u8 = 2;
/// New credentials are in use so long after the old ones ended, with an answer every few seconds: pauses of the provider
/// and the turn in the budget.
const LATE_MOST: u64 = 120 * SECOND;

/// Where one client's credentials come from.
#[derive(Debug, Default)]
pub(super) struct Provider {
    /// Names the newest ones.
    version: u32,
    /// The newest ones end then.
    until: u64,
    /// They have not been used yet.
    unused: bool,
    /// Those of the present link end then.
    link_until: u64,
    /// The application was asked and answers then.
    pub(super) answer_at: Option<u64>,
    failed: u8,
}

impl Provider {
    fn renew(&mut self, until: u64) -> Login {
        self.version += 1;
        self.until = until;
        self.unused = true;
        Login { user_name: Some(Text::from_static("u")), password: Some(self.password()) }
    }

    /// What CONNECT must carry now.
    pub(super) fn password(&self) -> Bytes {
        self.version.to_string().into()
    }

    /// The process is another one and brings credentials of its own.
    pub(super) const fn new_process(&mut self) {
        self.unused = false;
        self.answer_at = None;
    }

    /// The link is gone, and with it the question.
    pub(super) const fn link_down(&mut self) {
        self.answer_at = None;
    }
}

impl World {
    /// An attempt begins: with the newest credentials, or with new ones if those were used before.
    pub(super) fn bring_credentials(&mut self, c: usize) {
        let Some(life) = self.setting.credential_life else { return };
        let now = self.now(c);
        let client = &mut self.clients[c];
        if !client.provider.unused {
            let login = client.provider.renew(self.at + life);
            client.engine.set_login(login);
        }
        client.provider.unused = false;
        client.provider.link_until = client.provider.until;
        client.tap.expects_password(client.provider.password());
        let left = Duration::from_micros(client.provider.until.saturating_sub(self.at));
        client.engine.credentials_end(Some(left), now);
    }

    pub(super) fn provider_answers(&mut self, c: usize) -> Ruling {
        let Some(life) = self.setting.credential_life else { return Ok(()) };
        let now = self.now(c);
        let client = &mut self.clients[c];
        client.provider.answer_at = None;
        if client.provider.failed < FAILS_MOST && self.app_rng.u8(..100) < self.setting.provider_fails {
            client.provider.failed += 1;
            self.marks.hit("no new credentials at first");
            client.engine.renewal_failed(now);
        } else {
            client.provider.failed = 0;
            let login = client.provider.renew(self.at + life);
            client.engine.renewed(Some(login), Some(Duration::from_micros(life)), now);
        }
        self.drain(c)
    }

    /// No link stays up on credentials that ended long ago (O26).
    pub(super) fn check_credentials(&self, c: usize) -> Ruling {
        let client = &self.clients[c];
        let period = client.config.recovery.budget.map_or(Duration::ZERO, |budget| budget.period);
        let most = LATE_MOST + u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let late = self.at.saturating_sub(client.provider.link_until);
        if self.setting.credential_life.is_none() || !client.watch.is_up() || late <= most {
            return Ok(());
        }
        let late = Duration::from_micros(late);
        Err(Alarm::new("O26", format!("c{c} is on a link whose credentials ended {late:?} ago")))
    }
}
