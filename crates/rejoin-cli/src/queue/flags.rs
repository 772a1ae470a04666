//! The flags of `pub` that say where messages wait, and what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rejoin::{Queue, WhenFull, WhenStoreFails};

use crate::quantity;

/// Where messages wait, and what happens when there is no room.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct QueueArgs {
    /// Keep messages in this folder until they are acknowledged: they survive this process and a power cut; what does not
    /// go out in time is exit 5, and goes out with the next run. Messages are taken without waiting for the broker
    #[arg(long, value_name = "DIR", env = "REJOIN_QUEUE")]
    pub(crate) queue: Option<PathBuf>,
    /// When the queue has no room: pause reading, give up the oldest or the newest message, or refuse it
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Full::Block, env = "REJOIN_WHEN_FULL")]
    when_full: Full,
    /// Give a message up when it was not sent within this time [default: never]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_EXPIRE")]
    expire: Option<Duration>,
    /// Of each topic only the latest message counts: it takes the place of an older one that waits
    #[arg(long)]
    latest_only: bool,
    /// When the disk fails for good: take nothing more, or go on in memory and say so
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Fails::Refuse, requires = "queue")]
    when_disk_fails: Fails,
    /// Write the number of each line of stdin, counted from 1, on a line of its own into a file (or `fd:N`) once its message
    /// is on the disk or with the broker: what is reported need not be fed again after a crash
    #[arg(long, value_name = "FILE|fd:N", requires_all = ["queue", "stdin_line"])]
    pub(crate) report_stored: Option<PathBuf>,
}

/// `--when-full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Full {
    /// Wait.
    Block,
    /// The message is an error of its own.
    Reject,
    /// The oldest makes room.
    DropOldest,
    /// The newest is given up.
    DropNewest,
}

/// `--when-disk-fails`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fails {
    /// Take nothing more.
    Refuse,
    /// Go on in memory.
    GoOn,
}

impl QueueArgs {
    /// Whether a message that finds no room waits for some, as it does unless told otherwise.
    pub(crate) fn waits(&self) -> bool {
        self.when_full == Full::Block
    }

    /// The queue asked for, with `room` in bytes.
    pub(crate) fn queue(&self, room: Option<usize>) -> Queue {
        let mut queue = match &self.queue {
            Some(folder) => Queue::in_dir(folder),
            None => Queue::in_memory(),
        };
        if let Some(room) = room {
            queue = queue.max_bytes(room as u64);
        }
        if let Some(time) = self.expire {
            queue = queue.expires_after(time);
        }
        if self.latest_only {
            queue = queue.latest_only();
        }
        let fails = match self.when_disk_fails {
            Fails::Refuse => WhenStoreFails::Refuse,
            Fails::GoOn => WhenStoreFails::GoOnInMemory,
        };
        let full = match self.when_full {
            Full::Block => WhenFull::Block,
            Full::Reject => WhenFull::Reject,
            Full::DropOldest => WhenFull::DropOldest,
            Full::DropNewest => WhenFull::DropNewest,
        };
        queue.when_store_fails(fails).when_full(full)
    }
}
