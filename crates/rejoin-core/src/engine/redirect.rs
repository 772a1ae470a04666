//! Other servers: one that the broker names, and the session that stays behind when we go to another.

use super::Engine;
use crate::codec::reason::ReasonCode;
use crate::config::Follow;
use crate::error::LossCause;
use crate::event::Event;
use crate::text::Text;

impl Engine {
    /// Looks at the server a broker names with its last word. Tells recovery if it may be followed.
    pub(super) fn note_reference(&mut self, cause: &LossCause) {
        let Some(reference) = reference(cause) else { return };
        // Several may be named, the best first [u5-4.11] [u5-3.2.2.2].
        for named in reference.split_ascii_whitespace() {
            if let Some(server) = self.known_server(named).or_else(|| self.new_server(named)) {
                self.recovery.name_server(server);
                return;
            }
        }
    }

    /// One that is in the list anyway, whatever the policy.
    fn known_server(&self, named: &str) -> Option<usize> {
        let here = self.present.server;
        let is = |server: &&Text| server.as_str().eq_ignore_ascii_case(named);
        let by_place = self.config.servers.iter().position(|server| is(&server));
        let by_host = || {
            self.config.servers.iter().position(|server| host(server.as_str()).eq_ignore_ascii_case(named))
        };
        by_place.or_else(by_host).filter(|server| *server != here)
    }

    fn new_server(&mut self, named: &str) -> Option<usize> {
        if !self.config.recovery.follow.trusts(host(named)) || self.added_servers >= Follow::SERVERS {
            return None;
        }
        let name = Text::try_from(named).ok()?;
        let server = self.recovery.add_server(&self.config.link);
        self.config.servers.push(name.clone());
        self.added_servers += 1;
        let by = self.present.server;
        self.tell(Event::ServerAdded { server, name, by });
        Some(server)
    }

    /// Tells when the session stays behind on a server that does not share it with this one.
    pub(super) fn warn_of_session(&mut self, server: usize) {
        let Some(has) = self.session.server.clone().filter(|_| self.session.exists()) else { return };
        if self.config.session.clustered || has == self.config.servers[server].as_str() {
            return;
        }
        self.tell(Event::SessionLeftBehind { server, at: has });
    }
}

/// The reference that the two codes for it come with.
fn reference(cause: &LossCause) -> Option<&str> {
    let (LossCause::Refused { reason, server_reference, .. }
    | LossCause::ServerDisconnect { reason, server_reference, .. }) = cause
    else {
        return None;
    };
    matches!(*reason, ReasonCode::USE_ANOTHER_SERVER | ReasonCode::SERVER_MOVED)
        .then_some(server_reference.as_deref())
        .flatten()
}

/// The host of `host[:port]`, an IPv6 address without its brackets.
fn host(place: &str) -> &str {
    match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => match place.rsplit_once(':') {
            Some((host, _)) if !host.contains(':') => host,
            _ => place,
        },
    }
}
