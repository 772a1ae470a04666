//! The queue on disk, from the command line: `pub --queue` fills it, `rejoin queue` looks into it.

pub(crate) mod args;
mod ask;
pub(crate) mod drain;
mod entry;
pub(crate) mod flags;
mod list;
mod page;
mod progress;
mod purge;
mod show;
mod stats;
pub(crate) mod stored;
mod verify;

use args::LookVerb;
use page::Halt;

use crate::exit::{Exit, Failure};

/// Everything but [`drain`], which connects.
pub(crate) fn look(verb: &LookVerb) -> Result<Exit, Failure> {
    Halt::verdict(match verb {
        LookVerb::Ls(args) => list::ls(&args.args),
        LookVerb::Show(args) => show::run(&args.args),
        LookVerb::Stats(args) => stats::run(&args.args),
        LookVerb::Verify(args) => verify::verify(&args.args),
        LookVerb::Export(args) => list::export(&args.args),
        LookVerb::Purge(args) => purge::run(&args.args),
        LookVerb::Compact(args) => verify::compact(&args.args),
    })
}
