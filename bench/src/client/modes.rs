//! What a driver can be asked to do, the same for every client.

use super::subject::{Ear, Subject, Wanted};
use super::{Job, TOPIC, watch};
use crate::meter::{self, Meter};
use crate::sink;
use bytes::Bytes;
use std::io::Write;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Round trips that do not count: the first ones load code and grow buffers.
const WARM_UP: u64 = 200;
/// Between two messages of a trickle and of the round trips: 1,000 a second.
const PACE: Duration = Duration::from_millis(1);
/// Connections that are opened before one looks whether they are there.
const TOGETHER: usize = 50;
/// How often the application lets others run while it hands over a burst.
const TURN: u64 = 64;

/// One line of figures.
pub(super) async fn run<S: Subject>(job: &Job) -> Result<String, String> {
    match job.mode.as_str() {
        "publish" => publish::<S>(job).await,
        "receive" => receive::<S>(job).await,
        "echo" => echo::<S>(job).await,
        "trickle" => trickle::<S>(job).await,
        "kill" => kill::<S>(job).await,
        "offline" => offline::<S>(job).await,
        "idle" => idle::<S>(job).await,
        other => Err(format!("--mode {other}: there is none of that name")),
    }
}

async fn publish<S: Subject>(job: &Job) -> Result<String, String> {
    let acks = if job.qos == 0 { 1 } else { job.count };
    let ear = Ear::new(job.size, Wanted { acks, messages: 0 }, false);
    watch(job, &ear, acks);
    let mut subject = S::open(job, "bench", &ear).await?;
    ear.has_opened().await?;
    let payload = Bytes::from(vec![b'x'; job.size]);
    let meter = Meter::start();
    for _ in 0..job.count {
        subject.publish(TOPIC, job.qos, &payload).await?;
    }
    if job.qos == 0 {
        subject.publish(&sink::end_of(job.count), 1, &payload).await?;
    }
    subject.settle(&ear).await?;
    Ok(meter.stop(job.count).line())
}

async fn receive<S: Subject>(job: &Job) -> Result<String, String> {
    let ear = Ear::new(job.size, Wanted { acks: 0, messages: job.count }, false);
    watch(job, &ear, job.count);
    let mut subject = S::open(job, "bench", &ear).await?;
    ear.has_opened().await?;
    let order = sink::order(job.qos, job.count, job.size, job.window);
    let meter = Meter::start();
    subject.subscribe(&order, job.qos).await?;
    ear.all_received().await?;
    Ok(meter.stop(job.count).line())
}

async fn echo<S: Subject>(job: &Job) -> Result<String, String> {
    let ear = Ear::new(job.size, Wanted { acks: 0, messages: job.count + WARM_UP }, true);
    watch(job, &ear, job.count + WARM_UP);
    let mut subject = S::open(job, "bench", &ear).await?;
    ear.has_opened().await?;
    subject.subscribe(sink::ECHO, job.qos).await?;
    let mut payload = vec![b'x'; job.size.max(8)];
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..job.count + WARM_UP {
        pace.tick().await;
        payload[..8].copy_from_slice(&ear.now());
        subject.publish(sink::ECHO, job.qos, &Bytes::copy_from_slice(&payload)).await?;
    }
    ear.all_received().await?;
    Ok(super::trips(ear.trips(), WARM_UP as usize))
}

/// One message after the other until the process is ended: the sink looks when they come.
async fn trickle<S: Subject>(job: &Job) -> Result<String, String> {
    let ear = Ear::new(job.size, Wanted::default(), false);
    let mut subject = S::open(job, "bench", &ear).await?;
    ear.has_opened().await?;
    say("ready");
    let payload = Bytes::from(vec![b'x'; job.size]);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        subject.publish(TOPIC, 1, &payload).await?;
    }
}

/// Numbered messages, as fast as they are taken; the sink cuts the link and judges.
async fn kill<S: Subject>(job: &Job) -> Result<String, String> {
    let ear = Ear::new(job.size, Wanted { acks: job.count, messages: 0 }, false);
    let mut subject = S::open(job, "bench", &ear).await?;
    ear.has_opened().await?;
    for number in 0..job.count {
        subject.publish(TOPIC, job.qos, &numbered(number, job.size)).await?;
    }
    std::future::pending().await
}

/// Messages are accepted while the broker is away; the sink measures how they drain.
async fn offline<S: Subject>(job: &Job) -> Result<String, String> {
    let ear = Ear::new(job.size, Wanted::default(), false);
    let mut subject = S::open(job, "bench", &ear).await?;
    ear.has_opened().await?;
    say("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let before = meter::resident();
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(job.limit);
    let mut accepted = 0;
    while accepted < job.count {
        // Each has memory of its own, as from an application that makes its messages.
        let payload = numbered(accepted, job.size);
        match tokio::time::timeout_at(end, subject.publish(TOPIC, 1, &payload)).await {
            Ok(done) => done?,
            Err(_) => break,
        }
        accepted += 1;
        if accepted % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let grown = meter::resident().saturating_sub(before) as f64 / accepted.max(1) as f64;
    say(&format!("{{\"accepted\":{accepted},\"seconds\":{took:.4},\"each\":{grown:.0}}}"));
    std::future::pending().await
}

/// Many connections on which nothing happens but their pings.
async fn idle<S: Subject>(job: &Job) -> Result<String, String> {
    meter::many_files()?;
    let mut held = Vec::new();
    let before = meter::resident();
    for first in (0..job.count as usize).step_by(TOGETHER) {
        let mut opening = Vec::new();
        for number in first..(first + TOGETHER).min(job.count as usize) {
            let ear = Ear::new(job.size, Wanted::default(), false);
            let subject = S::open(job, &format!("idle-{number}"), &ear).await?;
            opening.push((subject, ear));
        }
        for (_, ear) in &opening {
            ear.has_opened().await?;
        }
        held.append(&mut opening);
    }
    // waits: what was allocated for handshakes is given back, and the pings fall into their rhythm.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = meter::resident().saturating_sub(before) as f64 / job.count as f64;
    let meter = Meter::start();
    // waits: nothing happens, and that is what is measured.
    tokio::time::sleep(Duration::from_secs_f64(job.seconds)).await;
    let cpu = meter.stop(job.count).cpu / job.seconds;
    Ok(format!("{{\"bytes_each\":{each:.0},\"cpu_us_s\":{cpu:.4}}}"))
}

/// Its number, a space, and filling up to the size.
pub(super) fn numbered(number: u64, size: usize) -> Bytes {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(size.max(payload.len()), b'x');
    payload.into()
}

pub(super) fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}
