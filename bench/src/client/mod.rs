//! The driver: the same flags for every client, one line of JSON as the answer.

mod core;
#[cfg(feature = "peers")]
mod flowsdk;
mod modes;
#[cfg(feature = "peers")]
mod mqrstt;
#[cfg(feature = "peers")]
mod mqtt5;
mod observe;
#[cfg(feature = "paho")]
mod paho;
mod raw;
mod rejoin;
#[cfg(feature = "peers")]
mod rumqttc;
#[cfg(feature = "peers")]
mod rumqttc_next;
mod subject;
#[cfg(feature = "tls")]
mod tls;

use crate::args::Args;
use crate::meter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use subject::{Ear, Subject};

/// What the messages of a publish run go to: as long as the topics of receive runs.
pub(crate) const TOPIC: &str = "bench/one/two/three";

/// One run, as the flags say it.
pub(crate) struct Job {
    pub(crate) address: SocketAddr,
    pub(crate) mode: String,
    pub(crate) version: u8,
    pub(crate) qos: u8,
    pub(crate) count: u64,
    pub(crate) size: usize,
    /// Unacknowledged messages at most, both ways.
    pub(crate) window: u16,
    /// Messages that wait between the application and the client, where the client has such a channel.
    pub(crate) channel: usize,
    pub(crate) multi: bool,
    /// Default options: neither window nor channel nor TCP_NODELAY are set.
    pub(crate) plain: bool,
    /// How long a link lasts is none of our business: open it again.
    pub(crate) again: bool,
    /// Between a loss and the next attempt, where the application or its options say so.
    pub(crate) pause: Duration,
    /// Seconds after which a run that does not end says how far it came.
    pub(crate) limit: f64,
    /// How long something is watched.
    pub(crate) seconds: f64,
    pub(crate) keep_alive: Duration,
    /// The certificate to trust; a link over TLS then.
    pub(crate) tls: Option<PathBuf>,
    /// What looks on: `none`, `metrics`, `info`, `trace`.
    pub(crate) observe: String,
}

impl Job {
    fn of(args: &Args) -> Result<Self, String> {
        let address = args.text("addr", "127.0.0.1:1883");
        let tls = args.text("tls", "");
        Ok(Self {
            address: address.parse().map_err(|_| "--addr: not an address".to_owned())?,
            mode: args.text("mode", "publish"),
            version: args.value("version", 5)?,
            qos: args.value("qos", 0)?,
            count: args.value("count", 100_000)?,
            size: args.value("size", 256)?,
            window: args.value("window", 100)?,
            channel: args.value("channel", 1000)?,
            multi: args.text("runtime", "current") == "multi",
            plain: args.has("plain"),
            again: args.has("again"),
            pause: Duration::from_millis(args.value("pause", 0)?),
            limit: args.value("limit", 10.0)?,
            seconds: args.value("seconds", 10.0)?,
            keep_alive: Duration::from_secs(args.value("keep-alive", 60)?),
            tls: (!tls.is_empty()).then(|| PathBuf::from(tls)),
            observe: args.text("observe", "none"),
        })
    }

    pub(crate) fn receives(&self) -> bool {
        self.mode == "receive"
    }

    #[cfg(feature = "peers")]
    fn host(&self) -> String {
        if self.tls.is_some() { "localhost".to_owned() } else { self.address.ip().to_string() }
    }

    /// The session outlives a link where the run is about what is lost with one.
    fn keeps_session(&self) -> bool {
        self.mode == "kill"
    }
}

pub(crate) fn drive(args: &Args) -> Result<(), String> {
    meter::stay_on(args)?;
    let job = Job::of(args)?;
    let line = match args.text("client", "raw").as_str() {
        "raw" => raw::run(&job),
        "rejoin-core" => core::run(&job).map(meter::Measured::line),
        "rejoin" => on_tokio::<rejoin::Rejoin>(&job),
        #[cfg(feature = "peers")]
        "rumqttc" if job.version == 5 => on_tokio::<rumqttc::five::Rumqttc>(&job),
        #[cfg(feature = "peers")]
        "rumqttc" => on_tokio::<rumqttc::four::Rumqttc>(&job),
        #[cfg(feature = "peers")]
        "rumqttc-next" => on_tokio::<rumqttc_next::Next>(&job),
        #[cfg(feature = "peers")]
        "mqrstt" => on_tokio::<mqrstt::Mqrstt>(&job),
        #[cfg(feature = "peers")]
        "mqtt5" => on_tokio::<mqtt5::Mqtt5>(&job),
        #[cfg(feature = "peers")]
        "flowsdk" => on_tokio::<flowsdk::Flow>(&job),
        #[cfg(feature = "paho")]
        "paho-mqtt" => on_tokio::<paho::Paho>(&job),
        other => Err(format!("--client {other}: this build has none of that name")),
    }?;
    modes::say(&line);
    Ok(())
}

fn on_tokio<S: Subject>(job: &Job) -> Result<String, String> {
    let mut builder = match job.multi {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
    let done = runtime.block_on(modes::run::<S>(job));
    // What a peer still does in the background must not hold up the next run.
    runtime.shutdown_background();
    done
}

/// A run that does not end within its limit says how far it came, and ends.
fn watch(job: &Job, ear: &Arc<Ear>, wanted: u64) {
    let (ear, limit) = (Arc::clone(ear), Duration::from_secs_f64(job.limit));
    thread::spawn(move || {
        thread::sleep(limit);
        let (acks, messages) = ear.so_far();
        modes::say(&format!("{{\"stalled\":{},\"wanted\":{wanted}}}", acks.max(messages)));
        std::process::exit(0);
    });
}

/// Percentiles of round trips, in milliseconds.
fn trips(mut nanos: Vec<u64>, warm_up: usize) -> String {
    let mut nanos = nanos.split_off(warm_up.min(nanos.len()));
    nanos.sort_unstable();
    let at = |share: f64| {
        let index = (nanos.len() as f64 * share) as usize;
        nanos.get(index.min(nanos.len().saturating_sub(1))).copied().unwrap_or_default() as f64 / 1e6
    };
    format!("{{\"p50_ms\":{:.4},\"p99_ms\":{:.4},\"p999_ms\":{:.4}}}", at(0.5), at(0.99), at(0.999))
}
