//! `rejoin demo`: the recovery story in thirty seconds, without a broker of one's own.

use clap::Args as ClapArgs;

use crate::exit::Exit;

/// What `rejoin demo` can be asked for.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// The whole story in 6 s, with smaller times
    #[arg(long)]
    pub(crate) fast: bool,
    /// Repeat a run: the seed of every random choice
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Quality of service of the workload
    #[arg(long, value_name = "0|1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Leave out the lane without recovery
    #[arg(long)]
    pub(crate) no_plain: bool,
    /// Events and the verdict as JSON lines on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Lines instead of the live picture
    #[arg(long)]
    pub(crate) no_tui: bool,
}

/// Runs the demo; the exit is the auditor's verdict.
pub(crate) async fn run(args: Args) -> Exit {
    let _ = args;
    Exit::VerdictFailed
}
