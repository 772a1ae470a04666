//! How an attempt to open a transport goes: refused as ever, or, in some seeds, in every other way that it can fail, with
//! handshakes that take their time.

use fastrand::Rng;
use rejoin_core::Input;
use rejoin_core::error::{Stage, TransportError, TransportErrorKind as Kind};

use super::client::Client;
use super::setting::{self, Setting};
use super::wire::Wire;
use super::world::{Ruling, World};

/// Where opening can fail, and of what.
const FAILURES: [(Stage, Kind); 13] = [
    (Stage::Dns, Kind::NameNotFound),
    (Stage::Dns, Kind::ResolverFailed),
    (Stage::Tcp, Kind::Refused),
    (Stage::Tcp, Kind::Unreachable),
    (Stage::Tcp, Kind::TimedOut),
    (Stage::Tcp, Kind::Reset),
    (Stage::Tcp, Kind::Resources),
    (Stage::Proxy, Kind::Proxy),
    (Stage::Proxy, Kind::Unauthorized),
    (Stage::Tls, Kind::Certificate),
    (Stage::Tls, Kind::CertificateRefused),
    (Stage::Tls, Kind::Handshake),
    (Stage::WebSocket, Kind::Closed),
];

/// What happens next to an attempt, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) at: u64,
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// The first handshake begins; it ends then, or never.
    Handshake(Option<u64>, Result<(), (Stage, Kind)>),
    Ends(Result<(), (Stage, Kind)>),
}

impl World {
    pub(super) fn dial(&mut self, c: usize, server: usize) {
        self.bring_credentials(c);
        let after = self.rng.u64(1..=self.setting.latency);
        let client = &mut self.clients[c];
        client.counted = false;
        client.server = server;
        if client.dials_that_hang > 0 {
            client.dials_that_hang -= 1;
            return;
        }
        let refused = client.refuses(server, self.at) || self.rng.u8(..100) < client.refuse_percent;
        let at = self.at + after;
        let next = match &mut self.openings {
            Some(rng) => drawn(rng, refused, at, self.setting.latency),
            None => Next::Ends(if refused { Err((Stage::Tcp, Kind::Refused)) } else { Ok(()) }),
        };
        client.opening = Some(Opening { at, next });
    }

    pub(super) fn dialled(&mut self, c: usize, opening: Opening) -> Ruling {
        match opening.next {
            Next::Handshake(ends, how) => {
                let client = &mut self.clients[c];
                client.opening = ends.map(|at| Opening { at, next: Next::Ends(how) });
                self.reaches(c)?;
                self.marks.hit("opening: handshakes");
                self.feed(c, Input::Reached(Stage::Tls))
            }
            Next::Ends(Err((stage, kind))) => {
                let error = TransportError::new(kind, format!("{kind:?}"));
                self.feed(c, Input::OpenFailed { stage, error })
            }
            Next::Ends(Ok(())) => {
                let now = self.mono();
                let Client { tap, server, .. } = &mut self.clients[c];
                tap.opened(*server, self.at);
                let id = self.broker.opened_at(tap.address(), now);
                let Setting { kernel, latency, slices, .. } = self.setting;
                let latency = self.rng.u64(latency / 4..=latency);
                self.clients[c].wire = Some(Wire::new(id, kernel, latency, slices));
                self.feed(c, Input::Opened)
            }
        }
    }

    /// An attempt comes to a broker, which its budget counts: at its first handshake, or else at CONNECT.
    pub(super) fn reaches(&mut self, c: usize) -> Ruling {
        let Client { counted, watch, config, .. } = &mut self.clients[c];
        if std::mem::replace(counted, true) {
            return Ok(());
        }
        watch.connects(&config.recovery, self.at)
    }
}

fn drawn(rng: &mut Rng, refused: bool, at: u64, latency: u64) -> Next {
    // One of 64 that fail does so by its time.
    let ends = (rng.u8(..64) > 0 || !refused).then(|| at + rng.u64(1..=latency * 4));
    if !refused {
        return Next::Handshake(ends, Ok(()));
    }
    let failure = FAILURES[rng.usize(..FAILURES.len())];
    if failure.0.is_handshake() { Next::Handshake(ends, Err(failure)) } else { Next::Ends(Err(failure)) }
}

/// The randomness of openings, where a seed has them in all their ways.
pub(super) fn stream(seed: u64) -> Option<Rng> {
    let mut rng = setting::stream(seed, setting::OPENS);
    (rng.u8(..8) == 0).then_some(rng)
}
