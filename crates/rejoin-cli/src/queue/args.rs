//! What can be typed after `rejoin queue`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use rejoin::TopicFilter;

use crate::args::{ConnectArgs, WithHelp};
use crate::exit;

/// `rejoin queue`.
#[derive(Clone, Debug, Args)]
pub(crate) struct QueueVerbArgs {
    /// What to do with it
    #[command(subcommand)]
    pub(crate) verb: QueueVerb,
}

/// The verbs of a queue.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// Those that connect to nothing.
    #[command(flatten)]
    Look(LookVerb),
    /// Deliver what is in it, without messages of our own: exit 0 empty, 5 something is left and safe, 3 no connection
    #[command(disable_help_flag = true, after_help = exit::TABLE)]
    Drain(Box<DrainArgs>),
}

/// The verbs that look into a queue, or change it where it lies.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LookVerb {
    /// What is in it: what waits and what was sent, then what was set aside, then what was received
    #[command(disable_help_flag = true)]
    Ls(WithHelp<LsArgs>),
    /// One message whole
    #[command(disable_help_flag = true)]
    Show(WithHelp<ShowArgs>),
    /// How much there is, and whose it is
    #[command(disable_help_flag = true)]
    Stats(WithHelp<FolderArgs>),
    /// Read and check every row: exit 0 sound, 1 damaged, with the positions
    #[command(disable_help_flag = true)]
    Verify(WithHelp<FolderArgs>),
    /// Everything with payloads as JSON lines, as far as a damaged file can be read (then exit 1)
    #[command(disable_help_flag = true, after_help = EXPORT)]
    Export(WithHelp<ExportArgs>),
    /// Take messages out for good
    #[command(disable_help_flag = true, after_help = PURGE)]
    Purge(WithHelp<PurgeArgs>),
    /// Make the file as small as it can be
    #[command(disable_help_flag = true)]
    Compact(WithHelp<FolderArgs>),
}

const EXPORT: &str = "\
Each line is one message. `payload` holds it as text where it is UTF-8 (`payload_encoding` says \"utf8\") and in Base64
where it is not (\"base64\"). What cannot be read has `state` \"damaged\", `detail` with the position, and no payload.";

const PURGE: &str = "\
Nothing is taken out without a yes: at a terminal you are asked, a script says --yes. Without it, and without a
terminal, the number of messages is told, nothing changes, and the exit is 2. From a queue in use the client withdraws
what was never sent; what is under way stays. Messages received and not taken by their application stay always.";

/// Where the queue is.
#[derive(Clone, Debug, Args)]
pub(crate) struct FolderArgs {
    /// The folder, as given to `pub --queue`
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// JSON instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

/// `rejoin queue ls`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LsArgs {
    /// Where
    #[command(flatten)]
    pub(crate) at: FolderArgs,
    /// Only messages to topics that match
    #[arg(short, long, value_name = "FILTER", value_parser = filter)]
    pub(crate) topic: Option<TopicFilter>,
    /// Only the first so many
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// `rejoin queue show`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// Where
    #[command(flatten)]
    pub(crate) at: FolderArgs,
    /// The number `ls` shows
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
    /// The payload as it is, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) payload: bool,
}

/// `rejoin queue export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// The folder, as given to `pub --queue`
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// As it is anyway
    #[arg(long)]
    json: bool,
}

/// `rejoin queue purge`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("selection").args(["all", "topic", "id", "parked", "damaged"]).required(true))]
pub(crate) struct PurgeArgs {
    /// Where
    #[command(flatten)]
    pub(crate) at: FolderArgs,
    /// Everything that is or was to be sent, what was set aside included
    #[arg(long)]
    pub(crate) all: bool,
    /// Messages to topics that match
    #[arg(short, long, value_name = "FILTER", value_parser = filter)]
    pub(crate) topic: Option<TopicFilter>,
    /// This one, by the number `ls` shows
    #[arg(long, value_name = "N")]
    pub(crate) id: Option<u64>,
    /// What was set aside
    #[arg(long)]
    pub(crate) parked: bool,
    /// Rows that cannot be read, so that the rest can be used again; only of a queue at rest
    #[arg(long)]
    pub(crate) damaged: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `rejoin queue drain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DrainArgs {
    /// The folder, as given to `pub --queue`
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The server of the queue moved: -L or -h says where to. A new session begins there; what was sent and not
    /// acknowledged is treated as after a lost session
    #[arg(long, help_heading = "Queue")]
    pub(crate) moved: bool,
    /// The result as one JSON object (as --output json)
    #[arg(long, help_heading = "Queue")]
    pub(crate) json: bool,
    /// Everything about the connection; without a server the last one of the queue is used, by host and port, and
    /// without -i its client id
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

fn filter(text: &str) -> Result<TopicFilter, String> {
    TopicFilter::try_from(text).map_err(|error| error.to_string())
}
