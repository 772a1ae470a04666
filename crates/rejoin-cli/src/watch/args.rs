//! What `rejoin watch` can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::args::ConnectArgs;
use crate::observe::flags::ServeArgs;
use crate::quantity;

/// `rejoin watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The broker, as -L
    #[arg(value_name = "URL", conflicts_with_all = ["url", "unix"])]
    pub(crate) broker: Option<String>,
    /// Also subscribe to this filter; repeat for more. Messages are counted, not printed
    #[arg(short, long, value_name = "FILTER", help_heading = "Watch")]
    pub(crate) topic: Vec<String>,
    /// Highest quality of service of the subscriptions
    #[arg(short, long, value_name = "0|1|2", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2), env = "REJOIN_QOS", help_heading = "Watch")]
    pub(crate) qos: u8,
    /// End after this long [default: until Ctrl-C or the key q]
    #[arg(long = "for", value_name = "DUR", value_parser = quantity::positive, help_heading = "Watch")]
    pub(crate) length: Option<Duration>,
    /// The run document on stdout at the end, instead of picture and summary (to follow it: --record, --output json)
    #[arg(long, help_heading = "Watch")]
    pub(crate) json: bool,
    /// State lines on stderr instead of the picture
    #[arg(long, help_heading = "Watch")]
    pub(crate) no_tui: bool,
    /// Record the run while it happens; `rejoin report FILE` renders it. A file that is there is replaced
    #[arg(long, value_name = "FILE.jsonl", help_heading = "Watch")]
    pub(crate) record: Option<PathBuf>,
    /// Write the report of the run at the end: one HTML file with everything in it
    #[arg(long, value_name = "FILE.html", help_heading = "Watch")]
    pub(crate) report: Option<PathBuf>,
    /// Where to be seen
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Everything about the connection
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
