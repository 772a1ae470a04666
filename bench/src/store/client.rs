//! The whole client: `Queue::in_dir` while no broker answers.

use super::contestant::{Messages, told};
use super::job::{Figures, Job, Run};
use super::process;
use ::rejoin::{Client, Delivery, Qos, Queue, Stored};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Deliveries awaited at a time while a queue is filled.
const AHEAD: usize = 1000;
/// Messages after which pages, buffers and windows have their size.
const WARM: u64 = 50_000;

/// An address at which nobody listens.
fn nobody() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(told)?;
    Ok(format!("mqtt://{}", listener.local_addr().map_err(told)?))
}

fn start(url: &str, queue: Queue) -> Result<Client, String> {
    let queue = queue.max_bytes(64 << 30);
    Client::builder(url).client_id("bench").queue(queue).start().map_err(told)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(told)
}

/// `batch` tasks that publish and wait until it is stored; with a broker's address and a pause until it is acknowledged as
/// well, and then for so long.
pub(super) fn accept(job: &Job, broker: Option<(&str, Duration)>) -> Result<Figures, String> {
    let local = tokio::task::LocalSet::new();
    let answered = broker.is_some();
    local.block_on(&runtime()?, async {
        let pause = broker.map_or(Duration::ZERO, |(_, pause)| pause);
        let url = broker.map_or_else(nobody, |(address, _)| Ok(format!("mqtt://{address}")))?;
        let client = start(&url, Queue::in_dir(&job.folder))?;
        let messages = Rc::new(Messages::new(job.size)?);
        publish(&client, &messages, 0, answered).await?;
        let counted = || client.store_stats().map(|stats| stats.written_bytes);
        let mut run = Run::begin(counted())?;
        let next = Rc::new(Cell::new(1));
        let until = Instant::now() + job.time;
        let mut tasks = Vec::new();
        for _ in 0..job.batch {
            let (client, messages, next) = (client.clone(), Rc::clone(&messages), Rc::clone(&next));
            tasks.push(tokio::task::spawn_local(async move {
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let id = next.replace(next.get() + 1);
                    let began = Instant::now();
                    publish(&client, &messages, id, answered).await?;
                    latencies.push(began.elapsed().as_secs_f64() * 1e3);
                    if !pause.is_zero() {
                        // waits: a program that has something to say only now and then
                        tokio::time::sleep(pause).await;
                    }
                }
                Ok::<_, String>(latencies)
            }));
        }
        for task in tasks {
            run.latencies.append(&mut task.await.map_err(told)??);
        }
        run.end(next.get() - 1, counted())
    })
}

async fn publish(client: &Client, messages: &Messages, id: u64, answered: bool) -> Result<(), String> {
    let topic = messages.topic();
    let delivery =
        client.publish(topic, messages.payload(id)).qos(Qos::AtLeastOnce).enqueue().map_err(told)?;
    if delivery.stored().await.map_err(told)? == Stored::InMemory {
        return Err("a message is in memory only".to_owned());
    }
    if answered {
        delivery.await.map_err(told)?;
    }
    Ok(())
}

/// `count` messages queued, each with memory of its own, deliveries dropped.
pub(super) fn memory(job: &Job, on_disk: bool) -> Result<Figures, String> {
    runtime()?.block_on(async {
        let client =
            start(&nobody()?, if on_disk { Queue::in_dir(&job.folder) } else { Queue::in_memory() })?;
        let messages = Messages::new(job.size)?;
        settle(&client).await;
        let (before, _) = process::resident()?;
        let warm = WARM.min(job.count / 2);
        let mut waiting = VecDeque::with_capacity(AHEAD + 1);
        fill(&client, &messages, 0..warm, &mut waiting).await?;
        let (at_warm, _) = process::resident()?;
        let began = Instant::now();
        fill(&client, &messages, warm..job.count, &mut waiting).await?;
        let took = began.elapsed().as_secs_f64();
        let (after, most) = process::resident()?;
        let mut figures = Figures::default();
        let own = (job.size + messages.topic().text().len()) as f64;
        let all = (after.saturating_sub(before)) as f64;
        figures.add("grown", all);
        figures.add("each", all / job.count as f64);
        figures.add("slope", (after as f64 - at_warm as f64) / (job.count - warm) as f64);
        figures.add("own", own);
        figures.add("most", most.saturating_sub(before) as f64);
        figures.add("rate", (job.count - warm) as f64 / took);
        Ok(figures)
    })
}

async fn fill(
    client: &Client,
    messages: &Messages,
    ids: std::ops::Range<u64>,
    waiting: &mut VecDeque<Delivery>,
) -> Result<(), String> {
    for id in ids {
        // Topic and payload have memory of their own, as with a program that formats both.
        let payload = Bytes::copy_from_slice(&messages.payload(id));
        let topic = messages.topic().text().to_string();
        waiting.push_back(client.publish(topic, payload).qos(Qos::AtLeastOnce).enqueue().map_err(told)?);
        while waiting.len() > AHEAD
            && let Some(first) = waiting.pop_front()
        {
            first.stored().await.map_err(told)?;
            if id % 256 == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    for rest in waiting.drain(..) {
        rest.stored().await.map_err(told)?;
    }
    settle(client).await;
    Ok(())
}

/// Everything handed over before was obeyed, and the store rests.
async fn settle(client: &Client) {
    // waits: the store tidies up when it had nothing to do for a second
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let _ = client.pending_count();
}
