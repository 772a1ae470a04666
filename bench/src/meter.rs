//! Time and processor time of one run, and the core it stays on.

use crate::args::Args;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use std::time::Instant;

pub(crate) struct Meter {
    started: Instant,
    cpu: i64,
}

/// What one run of one client came to.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) rate: f64,
    /// Microseconds of processor time of the whole client process, for one message.
    pub(crate) cpu: f64,
    pub(crate) elapsed: f64,
}

impl Measured {
    /// As the driver says it.
    pub(crate) fn line(self) -> String {
        let Self { rate, cpu, elapsed } = self;
        format!("{{\"rate\":{rate:.0},\"cpu_us\":{cpu:.4},\"elapsed_s\":{elapsed:.4}}}")
    }
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { cpu: cpu_micros(), started: Instant::now() }
    }

    pub(crate) fn stop(self, count: u64) -> Measured {
        let elapsed = self.started.elapsed().as_secs_f64();
        let cpu = (cpu_micros() - self.cpu) as f64 / count as f64;
        Measured { rate: count as f64 / elapsed, cpu, elapsed }
    }
}

fn cpu_micros() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
}

/// Bytes of this process that are in memory.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default()
        * 1024
}

/// As many open files as the system allows this process: thousands of connections need them.
pub(crate) fn many_files() -> Result<(), String> {
    let told = |error: nix::Error| format!("the limit of open files: {error}");
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(told)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(told)
}

/// `--core N` keeps the process and every thread it will start on one core.
pub(crate) fn stay_on(args: &Args) -> Result<(), String> {
    if !args.has("core") {
        return Ok(());
    }
    let core: usize = args.value("core", 0)?;
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| format!("--core {core}: {error}"))
}
