//! One measurement in a process of its own: what it prints is one line of figures.

use super::contestant::{self, Contestant, told};
use super::{client, far, process};
use crate::args::Args;
use crate::meter::Meter;
use std::collections::VecDeque;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Messages in one commit when a queue is only to be filled.
const FILL_BATCH: u64 = 1000;
/// Acknowledgements come out of order within so many messages, as with a window of that size.
const NEAR_HEAD: usize = 64;

/// What a job found out: names and numbers.
#[derive(Default)]
pub(super) struct Figures(String);

impl Figures {
    pub(super) fn add(&mut self, name: &str, value: f64) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}\"{name}\":{value:.4}");
    }

    fn print(&self) {
        println!("{{{}}}", self.0);
    }
}

pub(super) struct Job {
    name: String,
    pub(super) folder: PathBuf,
    pub(super) size: usize,
    pub(super) batch: u64,
    pub(super) depth: u64,
    pub(super) count: u64,
    pub(super) time: Duration,
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let job = Job {
        name: args.text("store", contestant::OURS),
        folder: PathBuf::from(args.text("folder", "")),
        size: args.value("size", 256)?,
        batch: args.value("batch", 100)?,
        depth: args.value("depth", 1000)?,
        count: args.value("count", 100_000)?,
        time: Duration::from_secs_f64(args.value("seconds", 1.0)?),
    };
    let what = args.text("job", "accept");
    let figures = match what.as_str() {
        "accept" => job.accept()?,
        "fifo" => job.fifo()?,
        "through" => job.through()?,
        "fill" => job.fill()?,
        "touch" => job.touch()?,
        "reopen" => job.reopen()?,
        "client" => client::accept(&job, None)?,
        "online" => {
            let delay = Duration::from_millis(args.value("delay", 0)?);
            let relay = far::relay(&args.text("addr", "127.0.0.1:1883"), delay)?;
            let pause = Duration::from_millis(args.value("pause", 0)?);
            client::accept(&job, Some((&relay.to_string(), pause)))?
        }
        "memory" => client::memory(&job, args.text("place", "disk") == "disk")?,
        other => return Err(format!("--job {other}: there is none of that name")),
    };
    figures.print();
    Ok(())
}

/// Time, latency and bytes of a run of commits.
pub(super) struct Run {
    meter: Meter,
    written: process::Written,
    counted: u64,
    began: Instant,
    pub(super) latencies: Vec<f64>,
}

impl Run {
    pub(super) fn begin(counted: Option<u64>) -> Result<Self, String> {
        Ok(Self {
            written: process::written()?,
            counted: counted.unwrap_or_default(),
            meter: Meter::start(),
            began: Instant::now(),
            latencies: Vec::new(),
        })
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn end(mut self, messages: u64, counted: Option<u64>) -> Result<Figures, String> {
        let measured = self.meter.stop(messages);
        let written = process::written()?;
        self.latencies.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = self.latencies.len().saturating_sub(1) as f64;
            self.latencies.get((last * share) as usize).copied().unwrap_or_default()
        };
        let each = |bytes: u64| bytes as f64 / messages as f64;
        let mut figures = Figures::default();
        figures.add("rate", measured.rate);
        figures.add("cpu_us", measured.cpu);
        figures.add("elapsed_s", measured.elapsed);
        figures.add("p50_ms", at(0.5));
        figures.add("p99_ms", at(0.99));
        figures.add("device", each(written.device.saturating_sub(self.written.device)));
        figures.add("handed", each(written.handed.saturating_sub(self.written.handed)));
        if let Some(counted) = counted {
            figures.add("counted", each(counted - self.counted));
        }
        Ok(figures)
    }
}

/// A queue with its head, from which acknowledgements are drawn.
struct Flow {
    store: Box<dyn Contestant>,
    next: u64,
    head: VecDeque<u64>,
    seed: u64,
    new: Vec<u64>,
    gone: Vec<u64>,
}

impl Flow {
    fn new(store: Box<dyn Contestant>) -> Self {
        Self {
            store,
            next: 0,
            head: VecDeque::new(),
            seed: 0x2545_F491_4F6C_DD1D,
            new: Vec::new(),
            gone: Vec::new(),
        }
    }

    fn fill(&mut self, depth: u64) -> Result<(), String> {
        while self.next < depth {
            let some = FILL_BATCH.min(depth - self.next);
            self.push(some);
            self.commit()?;
        }
        Ok(())
    }

    fn push(&mut self, some: u64) {
        self.new.extend(self.next..self.next + some);
        self.head.extend(self.next..self.next + some);
        self.next += some;
    }

    fn acknowledge(&mut self, some: u64) {
        for _ in 0..some {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            let at = (self.seed % NEAR_HEAD.min(self.head.len()) as u64) as usize;
            self.gone.extend(self.head.remove(at));
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        self.store.commit(&self.new, &self.gone)?;
        self.new.clear();
        self.gone.clear();
        Ok(())
    }
}

impl Job {
    fn open(&self) -> Result<Box<dyn Contestant>, String> {
        contestant::open(&self.name, &self.folder, self.size)
    }

    /// Messages only come.
    fn accept(&self) -> Result<Figures, String> {
        let mut flow = Flow::new(self.open()?);
        // The first commit makes tables and files.
        flow.fill(1)?;
        let mut run = Run::begin(flow.store.counted())?;
        while run.elapsed() < self.time {
            flow.push(self.batch);
            let began = Instant::now();
            flow.commit()?;
            run.latencies.push(began.elapsed().as_secs_f64() * 1e3);
        }
        run.end(flow.next - 1, flow.store.counted())
    }

    /// The queue keeps its depth: so many come as go.
    fn fifo(&self) -> Result<Figures, String> {
        let mut flow = Flow::new(self.open()?);
        flow.fill(self.depth)?;
        let mut run = Run::begin(flow.store.counted())?;
        while run.elapsed() < self.time {
            flow.push(self.batch);
            flow.acknowledge(self.batch);
            let began = Instant::now();
            flow.commit()?;
            run.latencies.push(began.elapsed().as_secs_f64() * 1e3);
        }
        run.end(flow.next - self.depth, flow.store.counted())
    }

    /// Many messages through a small backlog; the size of what is left.
    fn through(&self) -> Result<Figures, String> {
        let mut flow = Flow::new(self.open()?);
        flow.fill(self.depth)?;
        let run = Run::begin(flow.store.counted())?;
        let mut most = 0;
        while flow.next < self.count + self.depth {
            flow.push(self.batch);
            flow.acknowledge(self.batch);
            flow.commit()?;
            if flow.next % (self.count / 20) < self.batch {
                most = most.max(size_of(&self.folder)?);
            }
        }
        let mut figures = run.end(self.count, flow.store.counted())?;
        let now = size_of(&self.folder)?;
        drop(flow);
        figures.add("most_bytes", most.max(now) as f64);
        figures.add("file_bytes", size_of(&self.folder)? as f64);
        Ok(figures)
    }

    /// Fills a queue and waits to be killed.
    fn fill(&self) -> Result<Figures, String> {
        let mut flow = Flow::new(self.open()?);
        flow.fill(self.count)?;
        self.wait_for_the_end()
    }

    /// Opens a queue, writes to it and waits to be killed.
    fn touch(&self) -> Result<Figures, String> {
        let mut store = self.open()?;
        let found = store.pending()?;
        store.commit(&[found + 1_000_000], &[])?;
        store.commit(&[], &[found + 1_000_000])?;
        self.wait_for_the_end()
    }

    fn wait_for_the_end(&self) -> Result<Figures, String> {
        println!("ready");
        let mut nothing = Vec::new();
        std::io::stdin().read_to_end(&mut nothing).map_err(told)?;
        Err("it was to be killed".to_owned())
    }

    /// How long until it is known what is pending.
    fn reopen(&self) -> Result<Figures, String> {
        let began = Instant::now();
        let mut store = self.open()?;
        let found = store.pending()?;
        let took = began.elapsed();
        let mut figures = Figures::default();
        figures.add("seconds", took.as_secs_f64());
        figures.add("found", found as f64);
        figures.add("file_bytes", size_of(&self.folder)? as f64);
        Ok(figures)
    }
}

/// Bytes that the files of a folder take on the disk.
fn size_of(folder: &Path) -> Result<u64, String> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(told)? {
        let entry = entry.map_err(told)?;
        // A store may remove a file meanwhile.
        let Ok(found) = entry.metadata() else { continue };
        bytes += if found.is_dir() { size_of(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(bytes)
}
