//! The driver: the same flags for every client, one line of JSON as the answer.

mod core;
mod raw;
mod rejoin;
mod rumqttc;
mod rumqttc_next;

use crate::args::Args;
use crate::meter::{self, Measured};
use std::future::Future;
use std::net::SocketAddr;

/// What the messages of a publish run go to: as long as the topics of receive runs.
pub(crate) const TOPIC: &str = "bench/one/two/three";

/// One run, as the flags say it.
pub(crate) struct Job {
    pub(crate) address: SocketAddr,
    pub(crate) version: u8,
    pub(crate) qos: u8,
    pub(crate) count: u64,
    pub(crate) size: usize,
    /// Unacknowledged messages at most, both ways.
    pub(crate) window: u16,
    /// Messages that wait between the application and the client, where the client has such a channel.
    pub(crate) channel: usize,
    pub(crate) multi: bool,
    receive: bool,
}

pub(crate) fn drive(args: &Args) -> Result<(), String> {
    meter::stay_on(args)?;
    let job = Job {
        address: args
            .text("addr", "127.0.0.1:1883")
            .parse()
            .map_err(|_| "--addr: not an address".to_owned())?,
        version: args.value("version", 5)?,
        qos: args.value("qos", 0)?,
        count: args.value("count", 100_000)?,
        size: args.value("size", 256)?,
        window: args.value("window", 100)?,
        channel: args.value("channel", 1000)?,
        multi: args.text("runtime", "current") == "multi",
        receive: args.text("mode", "publish") == "receive",
    };
    let measured = match args.text("client", "raw").as_str() {
        "raw" => raw::run(&job),
        "rejoin" => rejoin::run(&job, true),
        "rejoin-default" => rejoin::run(&job, false),
        "rejoin-core" => core::run(&job),
        "rumqttc" => rumqttc::run(&job, true),
        "rumqttc-default" => rumqttc::run(&job, false),
        "rumqttc-next" => rumqttc_next::run(&job),
        other => Err(format!("--client {other}: there is none of that name")),
    }?;
    let Measured { rate, cpu, elapsed } = measured;
    println!("{{\"rate\":{rate:.0},\"cpu_us\":{cpu:.4},\"elapsed_s\":{elapsed:.4}}}");
    Ok(())
}

impl Job {
    pub(crate) fn receives(&self) -> bool {
        self.receive
    }

    fn block_on<F: Future>(&self, future: F) -> Result<F::Output, String> {
        let mut builder = match self.multi {
            true => tokio::runtime::Builder::new_multi_thread(),
            false => tokio::runtime::Builder::new_current_thread(),
        };
        let runtime = builder.enable_all().build().map_err(|error| format!("no runtime: {error}"))?;
        Ok(runtime.block_on(future))
    }
}
