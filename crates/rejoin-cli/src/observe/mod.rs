//! What is seen of a client while it runs: the model of a run, and whoever shows it to browsers and probes.
//!
//! ```text
//!   client ──events───┐                      ┌─► stream (server-sent events)
//!   state ──4 a second┼─► Run ──► Update ────┼─► recording (--record)
//!   proxy ──truth─────┘    └──► Document     └─► page, report, watch
//! ```
//!
//! The model ([`run`]) knows neither clock nor socket; [`observer`] feeds it from a thread of its own and serves it.

mod answers;
mod assets;
mod command;
pub(crate) mod document;
mod door;
pub(crate) mod flags;
mod guard;
mod lanes;
mod limits;
pub(crate) mod live;
mod measure;
pub(crate) mod observer;
mod open_time;
mod outages;
mod page;
mod probes;
pub(crate) mod recording;
pub(crate) mod routes;
pub(crate) mod run;
pub(crate) mod samples;
mod scribe;
mod stream;
pub(crate) mod update;

#[cfg(test)]
mod serving;
#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use self::document::{Program, Subject};
use self::flags::Places;
use self::run::Head;
use crate::narrator::Role;
use crate::output::{Line, Teller, Weight};

/// What the document of this process begins with.
pub(crate) fn head(verb: &str, servers: Vec<String>, role: Role) -> Head {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Head {
        program: Program {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verb: verb.to_owned(),
            command: command::own(),
            seed: None,
            machine: format!("{} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH),
        },
        started_unix_ms: 0,
        subject: Subject { servers, ..Subject::default() },
        role,
        controls: vec![routes::Action::Nudge.name().to_owned()],
        proxied: false,
        zone: TimeZone::system(),
    }
}

/// Tells where to look, once: the line for people holds the token, the fields for programs do not. `--quiet` does not
/// keep it back: the port may be a free one and the token a new one, and nobody finds them out otherwise.
pub(crate) fn announce(places: &Places, teller: &Teller) {
    for place in &places.places {
        let (url, plain) = place.told();
        let line = Line::state("serving", "serving", url);
        let line = line.with("url", plain).with("address", place.addr.to_string());
        teller.tell(&line.weighing(Weight::Error));
    }
    if !places.places.is_empty() {
        // What comes next may be a picture all over the terminal.
        teller.settle();
    }
}
