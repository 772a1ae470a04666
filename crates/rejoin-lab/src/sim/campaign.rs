//! Many seeds: on all cores or one, for a number of seeds or of minutes, with everything added up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::marks::Marks;
use super::run::{Case, Report, run};

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub from: u64,
    /// At most so many seeds.
    pub seeds: u64,
    /// Start no seed after that.
    pub most: Duration,
    /// Threads.
    pub jobs: usize,
    /// One seed of so many is run a second time and must leave the same trace; 0: none.
    pub twice: u64,
    /// Stop at the first alarm.
    pub stops: bool,
    /// Durable clients have the queue that users have; seeds without one are passed over.
    pub real_queue: bool,
}

impl Plan {
    /// What it runs of a seed.
    pub fn case(&self, seed: u64) -> Case {
        Case { real_queue: self.real_queue, ..Case::of(seed) }
    }
}

/// What many seeds add up to.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Seeds run, and the first that was not run.
    pub seeds: u64,
    /// The first seed not run; all before it were.
    pub next: u64,
    /// Virtual time.
    pub simulated: Duration,
    /// The same, added up over the clients.
    pub client_time: Duration,
    /// Faults.
    pub faults: u64,
    /// Messages handed over.
    pub messages: u64,
    /// Good messages that were taken for poison.
    pub parked: u64,
    /// Seeds whose end could not be judged: see [`Report::unjudged`].
    pub unjudged: u64,
    /// Seeds run twice.
    pub twice: u64,
    /// Where they have been.
    pub marks: Marks,
    /// Seeds that failed, and why.
    pub failures: Vec<(u64, String)>,
    /// Real time.
    pub took: Duration,
    /// Processor time of the seeds; where the system does not tell, real time.
    pub busy: Duration,
}

impl Sum {
    fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        self.client_time += report.client_time;
        self.faults += report.faults;
        self.messages += report.messages;
        self.parked += report.parked;
        self.unjudged += u64::from(report.unjudged);
        self.marks.add(&report.marks);
        if let Some(alarm) = report.alarm {
            self.failures.push((seed, alarm.to_string()));
        }
    }

    /// Virtual hours for each second of one core.
    pub fn hours_a_second(&self) -> f64 {
        self.simulated.as_secs_f64() / 3600.0 / self.busy.as_secs_f64().max(1e-9)
    }

    /// The same with the time of each client counted.
    pub fn client_hours_a_second(&self) -> f64 {
        self.client_time.as_secs_f64() / 3600.0 / self.busy.as_secs_f64().max(1e-9)
    }

    /// Faults for each second of one core.
    pub fn faults_a_second(&self) -> f64 {
        self.faults as f64 / self.busy.as_secs_f64().max(1e-9)
    }
}

/// Processor time of this thread: other programs must not be counted.
fn cpu_time() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// Runs a plan. `each` is told of every seed that failed, and now and then of the sum so far.
pub fn go(plan: Plan, each: &(dyn Fn(&Sum) + Sync)) -> Sum {
    let begin = Instant::now();
    let next = AtomicU64::new(plan.from);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let end = plan.from.saturating_add(plan.seeds);
    let work = || {
        while !stop.load(Ordering::Relaxed) && begin.elapsed() < plan.most {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let began = cpu_time();
            let case = plan.case(seed);
            if plan.real_queue && !case.is_durable() {
                continue;
            }
            let mut report = run(&case);
            let busy = cpu_time().saturating_sub(began);
            let twice = plan.twice > 0 && seed.is_multiple_of(plan.twice);
            if twice && report.alarm.is_none() && run(&case).trace != report.trace {
                report.alarm = Some(super::Alarm::new("O24", "a second run left another trace"));
            }
            let failed = report.alarm.is_some();
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(seed, report);
            sum.twice += u64::from(twice);
            sum.busy += busy;
            sum.took = begin.elapsed();
            sum.next = next.load(Ordering::Relaxed).min(end);
            if failed || sum.seeds.is_multiple_of(100) {
                each(&sum);
            }
            if failed && plan.stops {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.took = begin.elapsed();
    sum.next = next.load(Ordering::Relaxed).min(end);
    sum
}
