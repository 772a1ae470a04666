//! Speed of MQTT clients in one run: a sink that is never the limit, one driver with the same flags for every
//! client, and a runner that interleaves them and writes the page.

mod args;
mod cast;
mod client;
mod figures;
mod flow;
mod foreign;
mod machine;
mod meter;
mod page;
mod process;
mod rows;
mod sink;
#[cfg(feature = "stores")]
mod store;
mod wire;

use args::Args;
use std::process::ExitCode;

const HELP: &str = "\
bench [run] [--quick] [--only ROW,ROW] [--clients NAME,NAME] [--rounds N] [--seconds S]
      every row: rates against the sink, interleaved, round trips, idle connections, losses, codec, cost; keeps the
      figures in bench/figures and writes docs/performance.md, unless it is quick or about some clients alone
bench page
      writes docs/performance.md from the figures that are kept
bench hold
      instructions for one message, against those that are kept; fails when one is more than 5 % higher
bench drive --client NAME --mode publish|receive|echo|trickle|kill|offline|idle --qos Q --count N --size 256
      --window 100 --version 5 --addr A ...
      one run of one client; prints one line of JSON
bench sink [--kind rates|crowd|broker] [--core N] [--patience MS] [--window N] [--tls FILE]
      a sink alone, on a free port of loopback that it prints
bench stores [--quick] [--rows KEY,KEY] [--only NAME,NAME] [--rounds N] [--seconds S] [--folder DIR] [--out FILE]
      the durable queue beside other stores, interleaved; writes docs/performance-store.md unless it is quick or
      partial; rows: accept, fifo, through, reopen, memory; only with the feature `stores`
bench measure --job JOB --store NAME --folder DIR ...
      one run of one store; prints one line of JSON";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let verb = match words.peek() {
        Some(word) if !word.starts_with('-') => words.next().unwrap_or_default(),
        _ => "run".to_owned(),
    };
    let done = Args::parse(words).and_then(|args| match verb.as_str() {
        "run" => rows::run(&args),
        "page" => page::save(),
        "hold" => rows::instructions::hold(),
        "drive" => client::drive(&args),
        "sink" => sink::run(&args),
        #[cfg(feature = "stores")]
        "stores" => store::run(&args),
        #[cfg(feature = "stores")]
        "measure" => store::measure(&args),
        _ => Err(format!("`{verb}` is not a verb:\n{HELP}")),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bench: {reason}");
            ExitCode::FAILURE
        }
    }
}
