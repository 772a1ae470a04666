//! What can be typed. Nothing here decides anything: what it means is in `settings`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::assets::AssetsArgs;
use crate::observe::flags::ServeArgs;
use crate::quantity::{self, Limit, Range};
use crate::queue::args::QueueVerbArgs;
use crate::queue::flags::QueueArgs;
use crate::watch::WatchArgs;
use crate::ways::WaysArgs;
use crate::{demo, exit, replay, report};

/// MQTT from the command line, with a client that recovers its connection and tells the truth about it.
#[derive(Debug, Parser)]
#[command(
    name = "rejoin",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = exit::TABLE,
    after_long_help = exit::TABLE
)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Print help
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
    /// Print version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The recovery story in 30 seconds: needs no broker, no root, no argument
    #[command(disable_help_flag = true)]
    Demo(WithHelp<demo::Args>),
    /// Publish; `-l` streams stdin line by line
    #[command(disable_help_flag = true, visible_aliases = ["publish", "p"], after_help = exit::TABLE)]
    Pub(Box<PubArgs>),
    /// Print messages, and tell about gaps
    #[command(disable_help_flag = true, visible_aliases = ["subscribe", "s"], after_help = exit::TABLE)]
    Sub(Box<SubArgs>),
    /// Look whether a broker can be used: every stage with its time; exit 0, 8 (degraded) or 9
    #[command(disable_help_flag = true, after_help = exit::TABLE)]
    Check(Box<CheckArgs>),
    /// Look into a queue folder of `pub --queue`, at rest or in use, or deliver what is in it
    #[command(disable_help_flag = true, arg_required_else_help = true)]
    Queue(WithHelp<QueueVerbArgs>),
    /// Hold a connection and study it: open share, losses and their pattern, round trips; picture, lines or JSON
    #[command(disable_help_flag = true, after_help = exit::TABLE)]
    Watch(Box<WatchArgs>),
    /// Render a recorded run: one HTML file with drawings and the data in it
    #[command(disable_help_flag = true, arg_required_else_help = true)]
    Report(WithHelp<report::Args>),
    /// Play a recording of `--flight FILE` again, and judge it: exit 6 where a rule is broken
    #[command(disable_help_flag = true)]
    Replay(WithHelp<replay::Args>),
    /// Print files for other programs: rules for Prometheus, a dashboard for Grafana
    #[command(disable_help_flag = true, arg_required_else_help = true)]
    Assets(WithHelp<AssetsArgs>),
    /// Explain an exit code, a reason code or the name of a cause
    #[command(disable_help_flag = true)]
    Explain(WithHelp<ExplainArgs>),
}

/// Adds `--help` without `-h`, which is the host everywhere.
#[derive(Clone, Debug, Args)]
pub(crate) struct WithHelp<A: Args> {
    /// The verb's own arguments.
    #[command(flatten)]
    pub(crate) args: A,
    /// Print help
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
}

/// `rejoin explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// `exit 4`, `135`, `0x87`, `ping-timeout`; nothing lists everything
    #[arg(value_name = "WHAT")]
    pub(crate) what: Vec<String>,
}

/// `rejoin pub`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").args(["message", "null", "file", "stdin_file", "stdin_line"]))]
pub(crate) struct PubArgs {
    /// Topic to publish to (or the path of -L)
    #[arg(short, long, value_name = "TOPIC", help_heading = "Message")]
    pub(crate) topic: Option<String>,
    /// The message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "Message")]
    pub(crate) message: Option<OsString>,
    /// One message per line of stdin, until it ends; reading pauses while the queue is full
    #[arg(short = 'l', long, help_heading = "Message")]
    pub(crate) stdin_line: bool,
    /// The content of a file as one message
    #[arg(short, long, value_name = "FILE", help_heading = "Message")]
    pub(crate) file: Option<PathBuf>,
    /// All of stdin as one message
    #[arg(short, long, help_heading = "Message")]
    pub(crate) stdin_file: bool,
    /// An empty message (with -r: deletes the retained one)
    #[arg(short, long = "null-message", help_heading = "Message")]
    pub(crate) null: bool,
    /// Quality of service
    #[arg(short, long, value_name = "0|1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2), env = "REJOIN_QOS", help_heading = "Message")]
    pub(crate) qos: u8,
    /// Retain the message on the broker
    #[arg(short, long, help_heading = "Message")]
    pub(crate) retain: bool,
    /// Where messages wait
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    /// Where to be seen
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Everything about the connection
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `rejoin sub`.
#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    /// Topic filter to subscribe to; repeat for more (or the path of -L)
    #[arg(short, long, value_name = "FILTER", help_heading = "Messages")]
    pub(crate) topic: Vec<String>,
    /// Highest quality of service
    #[arg(short, long, value_name = "0|1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2), env = "REJOIN_QOS", help_heading = "Messages")]
    pub(crate) qos: u8,
    /// Print the topic before each message
    #[arg(short, long, help_heading = "Messages")]
    pub(crate) verbose: bool,
    /// Exit after this many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Messages")]
    pub(crate) count: Option<u64>,
    /// Exit with code 27 after this long
    #[arg(short = 'W', long, value_name = "SECS", value_parser = quantity::positive, help_heading = "Messages")]
    pub(crate) wait: Option<Duration>,
    /// Print messages in this format, as mosquitto_sub's -F: %t topic, %p payload, %q QoS, %r retain, %l length, %m message id, %x %X hex, %I time, %j %J JSON, %% and \n \t ...
    #[arg(short = 'F', long, value_name = "FORMAT", conflicts_with = "verbose", help_heading = "Messages")]
    pub(crate) format: Option<String>,
    /// No line end after each message
    #[arg(short = 'N', long = "no-newline", help_heading = "Messages")]
    pub(crate) no_newline: bool,
    /// Leave out retained messages that were there before
    #[arg(short = 'R', long, help_heading = "Messages")]
    pub(crate) no_retained: bool,
    /// Where to be seen
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Everything about the connection
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `rejoin check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The broker, as -L
    #[arg(value_name = "URL", conflicts_with_all = ["url", "unix"])]
    pub(crate) broker: Option<String>,
    /// Also send a message to ourselves on this topic, with random characters below it
    #[arg(long, value_name = "TOPIC", help_heading = "Check")]
    pub(crate) loopback: Option<String>,
    /// A stage that takes longer makes the broker degraded
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = quantity::positive, help_heading = "Check")]
    pub(crate) slow: Duration,
    /// A certificate that is valid for fewer days makes the broker degraded
    #[arg(long, value_name = "DAYS", default_value_t = 14, help_heading = "Check")]
    pub(crate) certificate_days: u64,
    /// The result as one JSON object (as --output json)
    #[arg(long, help_heading = "Check")]
    pub(crate) json: bool,
    /// Everything about the connection
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// What the verbs that connect share.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Broker's host name or address
    #[arg(
        short = 'h',
        long,
        value_name = "HOST",
        default_value = "localhost",
        env = "REJOIN_HOST",
        help_heading = "Connection"
    )]
    pub(crate) host: String,
    /// Broker's port [default: 1883, with TLS 8883, with --ws 80 or 443]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), env = "REJOIN_PORT", help_heading = "Connection")]
    pub(crate) port: Option<u16>,
    /// `mqtt://[user[:password]@]host[:port][/topic]`, or mqtts, ws, wss, unix; repeat it for fail-over, in order of preference
    #[arg(
        short = 'L',
        long,
        value_name = "URL",
        env = "REJOIN_URL",
        hide_env_values = true,
        value_delimiter = ' ',
        help_heading = "Connection"
    )]
    pub(crate) url: Vec<String>,
    /// MQTT version [default: 5, and 311 where the broker cannot]
    #[arg(short = 'V', long, value_name = "5|311", env = "REJOIN_MQTT_VERSION", value_parser = mqtt_version, help_heading = "Connection")]
    pub(crate) mqtt_version: Option<MqttVersion>,
    /// Client id; its session is kept for -x, 1 h by default (at 3.1.1 only with -c)
    #[arg(short, long, value_name = "ID", env = "REJOIN_ID", help_heading = "Connection")]
    pub(crate) id: Option<String>,
    /// Client id of this prefix and random characters
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id", help_heading = "Connection")]
    pub(crate) id_prefix: Option<String>,
    /// Keep Alive on the wire, whole seconds; 0 turns it off (our own pings go on) [default: 60]
    #[arg(short, long = "keepalive", value_name = "SECS", value_parser = quantity::keep_alive, env = "REJOIN_KEEPALIVE", help_heading = "Connection")]
    pub(crate) keep_alive: Option<Duration>,
    /// Keep the session on the broker, and come back to it: `sub` gets what came meanwhile. Needs -i
    #[arg(short = 'c', long, help_heading = "Connection")]
    pub(crate) disable_clean_session: bool,
    /// How long the broker keeps the session while we are away [default: 1h with -i or -c, else 5m]
    #[arg(short = 'x', long, value_name = "SECS|never", value_parser = quantity::expiry, env = "REJOIN_SESSION_EXPIRY", help_heading = "Connection")]
    pub(crate) session_expiry_interval: Option<Limit>,
    /// Limit of one round of opening the connection, name look-up included [default: 10s]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_CONNECT_TIMEOUT", help_heading = "Connection")]
    pub(crate) connect_timeout: Option<Duration>,
    /// Limit for the first connection, and for the drain after the end of input
    #[arg(long, value_name = "DUR|never", default_value = "30s", value_parser = quantity::limit, env = "REJOIN_DEADLINE", help_heading = "Connection")]
    pub(crate) deadline: Limit,

    /// User name
    #[arg(short, long, value_name = "NAME", env = "REJOIN_USERNAME", help_heading = "Login")]
    pub(crate) username: Option<String>,
    /// Password; better in $REJOIN_PASSWORD, where other users cannot see it
    #[arg(
        short = 'P',
        long = "pw",
        value_name = "PASSWORD",
        env = "REJOIN_PASSWORD",
        hide_env_values = true,
        help_heading = "Login"
    )]
    pub(crate) password: Option<String>,

    /// The way to the broker
    #[command(flatten)]
    pub(crate) ways: WaysArgs,
    /// How and when a lost connection comes back
    #[command(flatten)]
    pub(crate) recovery: RecoveryArgs,
    /// The will message
    #[command(flatten)]
    pub(crate) will: WillArgs,
    /// What is told where
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// MQTT 5 property: COMMAND is connect, publish, subscribe or will. As in `-D publish content-type text/plain`, `-D publish user-property KEY VALUE`
    #[arg(short = 'D', long, num_args = 3..=4, value_names = ["COMMAND", "NAME", "VALUE"], action = ArgAction::Append, help_heading = "Properties")]
    property: Vec<String>,
    /// Print help
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
}

/// Recovery, detection and bounds.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Recovery")]
pub(crate) struct RecoveryArgs {
    /// No byte for this long after a ping means a dead link [default: 5s, more on a slow link]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_PING_TIMEOUT")]
    pub(crate) ping_timeout: Option<Duration>,
    /// Ping when either direction was idle this long [default: 15s]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_PING_AFTER")]
    pub(crate) ping_after: Option<Duration>,
    /// No acknowledgement at all for this long, though some are due, restarts the link [default: 20s]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_ACK_TIMEOUT")]
    pub(crate) ack_timeout: Option<Duration>,
    /// The socket takes no byte for this long though some wait: restarts the link [default: 5s]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_WRITE_TIMEOUT")]
    pub(crate) write_timeout: Option<Duration>,
    /// Back-off while the broker is absent: first window and widest [default: 2s..15s]
    #[arg(long, value_name = "A..B", value_parser = quantity::range, env = "REJOIN_BACKOFF")]
    pub(crate) backoff: Option<Range>,
    /// Back-off while the broker is overloaded [default: 10s..60s]
    #[arg(long, value_name = "A..B", value_parser = quantity::range, env = "REJOIN_OVERLOAD_BACKOFF")]
    pub(crate) overload_backoff: Option<Range>,
    /// A link that lived this long was stable: the back-off starts anew [default: 30s]
    #[arg(long, value_name = "DUR", value_parser = quantity::duration, env = "REJOIN_STABLE_AFTER")]
    pub(crate) stable_after: Option<Duration>,
    /// End when the link is lost
    #[arg(long)]
    pub(crate) no_reconnect: bool,
    /// End where retrying cannot help by itself (refused login, banned), instead of trying every few minutes
    #[arg(long)]
    pub(crate) give_up: bool,
    /// Restart a link on which no message came for this long [default: off]
    #[arg(long, value_name = "DUR", value_parser = quantity::positive, env = "REJOIN_HEALTH_WATCH")]
    pub(crate) health_watch: Option<Duration>,
    /// QoS 1 and 2 messages unacknowledged at a time [default: 1000, at 3.1.1 100; never more than the broker allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), env = "REJOIN_IN_FLIGHT")]
    pub(crate) in_flight: Option<u16>,
    /// QoS 1 and 2 messages the broker may have unacknowledged towards us [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), env = "REJOIN_RECEIVE_MAXIMUM")]
    pub(crate) receive_maximum: Option<u16>,
    /// Largest packet taken from the broker; what is larger it does not send (at 3.1.1: is not printed) [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::packet_size, env = "REJOIN_MAXIMUM_PACKET_SIZE")]
    pub(crate) maximum_packet_size: Option<u32>,
    /// Bytes of messages waiting to be acknowledged, above which stdin is not read [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = quantity::bytes, env = "REJOIN_QUEUE_MAX")]
    pub(crate) queue_max: Option<usize>,
    /// Lift the limit of one connect a second and twelve a minute: brokers may ban the client
    #[arg(long)]
    pub(crate) lift_connect_budget: bool,
}

/// The will message.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Will")]
pub(crate) struct WillArgs {
    /// Topic of the will
    #[arg(long, value_name = "TOPIC")]
    pub(crate) will_topic: Option<String>,
    /// Payload of the will [default: empty]
    #[arg(long, value_name = "TEXT", requires = "will_topic", allow_hyphen_values = true)]
    pub(crate) will_payload: Option<OsString>,
    /// Quality of service of the will
    #[arg(long, value_name = "0|1|2", requires = "will_topic", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) will_qos: Option<u8>,
    /// Retain the will
    #[arg(long, requires = "will_topic")]
    pub(crate) will_retain: bool,
}

/// What is told where.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// State lines as JSON lines into a file (or `fd:N`), beside those on stderr
    #[arg(long, value_name = "FILE|fd:N", env = "REJOIN_EVENTS")]
    pub(crate) events: Option<PathBuf>,
    /// Write down all the client is told and does, payloads and secrets left out, for `rejoin replay`; the file must not exist
    #[arg(long, value_name = "FILE", env = "REJOIN_FLIGHT")]
    pub(crate) flight: Option<PathBuf>,
    /// No state lines on stderr; errors are still told
    #[arg(long, conflicts_with = "debug")]
    pub(crate) quiet: bool,
    /// Tell every attempt, subscription and retry
    #[arg(short, long)]
    pub(crate) debug: bool,
    /// json: state lines on stderr and messages or summary on stdout as JSON lines
    #[arg(long, value_name = "text|json", value_enum, default_value_t = OutputKind::Text, env = "REJOIN_OUTPUT")]
    pub(crate) output: OutputKind,
    /// Time stamps in UTC instead of local time
    #[arg(long)]
    pub(crate) utc: bool,
}

/// How state lines and documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputKind {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// `-V`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MqttVersion {
    /// MQTT 5.0 only.
    V5,
    /// MQTT 3.1.1 only.
    V311,
}

fn mqtt_version(text: &str) -> Result<MqttVersion, String> {
    match text {
        "5" | "5.0" | "mqttv5" => Ok(MqttVersion::V5),
        "311" | "3.1.1" | "mqttv311" => Ok(MqttVersion::V311),
        "31" | "3.1" | "mqttv31" => Err("MQTT 3.1 is not spoken here; write 5 or 311".to_owned()),
        _ => Err("write 5 or 311".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn h_is_the_host_as_in_mosquitto() {
        let cli = Cli::try_parse_from(["rejoin", "pub", "-h", "broker", "-t", "a", "-m", "-1"]).unwrap();
        let Verb::Pub(args) = cli.verb else { panic!("not pub") };
        assert_eq!((args.connect.host.as_str(), args.message), ("broker", Some("-1".into())));
    }

    #[test]
    fn a_message_has_one_source() {
        assert!(Cli::try_parse_from(["rejoin", "pub", "-t", "a", "-m", "x", "-n"]).is_err());
        let cli = Cli::try_parse_from(["rejoin", "pub", "-t", "a", "-m", ""]).unwrap();
        let Verb::Pub(args) = cli.verb else { panic!("not pub") };
        assert_eq!(args.message, Some("".into()));
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let cli = Cli::try_parse_from(["rejoin", "sub", "-t", "a"]).unwrap();
        let Verb::Sub(args) = cli.verb else { panic!("not sub") };
        assert_eq!(args.qos, 1);
        assert_eq!(args.connect.mqtt_version, None);
        assert_eq!(args.connect.keep_alive, None);
        assert_eq!(args.connect.deadline, Limit::After(Duration::from_secs(30)));
    }
}
