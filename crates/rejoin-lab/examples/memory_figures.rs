//! Resident memory of a message that waits in memory while no broker answers, and how long taking it takes.
//!
//! `cargo run --release -p rejoin-lab --example memory_figures [-- COUNT]`
//!
//! Every case has a process of its own, because what one leaves behind would flatter the next.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::error::Error;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rejoin::{Client, Qos, Queue};

const PAYLOAD: usize = 256;
const COUNT: usize = 100_000;
/// Messages handed over before the driver has its turn, in the cases where it keeps up.
const TURN: usize = 64;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let mut args = std::env::args().skip(1);
    let count = args.next().map_or(Ok(COUNT), |count| count.parse())?;
    if let (Some(deliveries), Some(handing)) = (args.next(), args.next()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(case(count, deliveries == "kept", handing == "at once"));
    }
    println!("{count} messages, {PAYLOAD} B payload, 12 B topic, QoS 1, nobody answers\n");
    println!("| deliveries | handed over | B each | B above topic and payload | taken in |");
    println!("|---|---|---:|---:|---:|");
    for deliveries in ["dropped", "kept"] {
        for handing in ["in turns", "at once"] {
            let count = count.to_string();
            let child =
                Command::new(std::env::current_exe()?).args([&count, deliveries, handing]).output()?;
            println!("| {deliveries} | {handing} | {} |", String::from_utf8(child.stdout)?.trim());
        }
    }
    Ok(())
}

async fn case(count: usize, kept: bool, at_once: bool) -> Outcome {
    let nobody = format!("mqtt://{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let client = Client::builder(&nobody).queue(Queue::in_memory().max_bytes(64 << 30)).start()?;
    settle().await;
    let mut held = Vec::new();
    let before = resident()?;
    let (mut took, mut own) = (Duration::ZERO, 0);
    for n in 0..count {
        let (topic, payload) = (format!("room/{n:07}"), vec![0x55; PAYLOAD]);
        own += topic.len() + payload.len();
        let began = Instant::now();
        let delivery = client.publish(topic, payload).qos(Qos::AtLeastOnce).enqueue()?;
        took += began.elapsed();
        if kept {
            held.push(delivery);
        }
        if !at_once && n % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    settle().await;
    let each = resident()?.saturating_sub(before) / count;
    println!("{each} | {} | {took:.0?}", each.saturating_sub(own / count));
    drop(held);
    Ok(())
}

/// Everything handed over is with the driver.
async fn settle() {
    // waits: nothing tells that the driver sleeps
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// In bytes.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse::<usize>()? * 1024)
}
