//! No client at all: pre-encoded packets, blocking calls, one thread. What the machine can do.

use super::{Job, TOPIC};
use crate::flow::{self, Outgoing};
use crate::meter::{Measured, Meter};
use crate::sink;
use crate::wire::{self, Reader};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Round trips that do not count.
const WARM_UP: u64 = 200;
const PACE: Duration = Duration::from_millis(1);

pub(super) fn run(job: &Job) -> Result<String, String> {
    let told = |error: io::Error| format!("raw: {error}");
    let socket = TcpStream::connect(job.address).map_err(told)?;
    socket.set_nodelay(true).map_err(told)?;
    #[cfg(feature = "tls")]
    if let Some(file) = &job.tls {
        return work(job, super::tls::stream(socket, file)?).map_err(told);
    }
    work(job, socket).map_err(told)
}

fn work<S: Read + Write>(job: &Job, mut socket: S) -> io::Result<String> {
    let mut reader = Reader::new();
    socket.write_all(&wire::connect(job.version, "raw"))?;
    expect(&mut socket, &mut reader, wire::CONNACK)?;
    match (job.mode.as_str(), job.qos) {
        ("receive", _) => receive(job, socket, reader).map(Measured::line),
        ("publish", 0) => pour(job, socket, reader).map(Measured::line),
        ("publish", _) => publish(job, socket, reader).map(Measured::line),
        ("echo", _) => echo(job, socket, reader),
        (other, _) => Err(io::Error::other(format!("--mode {other} needs a client"))),
    }
}

fn pour<S: Read + Write>(job: &Job, mut socket: S, mut reader: Reader) -> io::Result<Measured> {
    let mut flow = Outgoing::new(job.version, TOPIC, 0, job.size, job.window, job.count);
    let mut last = Vec::new();
    wire::publish(&mut last, job.version, &sink::end_of(job.count), 1, 1, job.size);
    let meter = Meter::start();
    flow.pour(&mut socket)?;
    socket.write_all(&last)?;
    expect(&mut socket, &mut reader, wire::PUBACK)?;
    Ok(meter.stop(job.count))
}

fn publish<S: Read + Write>(job: &Job, mut socket: S, mut reader: Reader) -> io::Result<Measured> {
    let mut flow = Outgoing::new(job.version, TOPIC, job.qos, job.size, job.window, job.count);
    let mut out = Vec::with_capacity(1 << 20);
    let meter = Meter::start();
    while !flow.is_done() {
        flow.fill(&mut out);
        socket.write_all(&out)?;
        out.clear();
        if !reader.fill(&mut socket)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(frame) = reader.next() {
            flow.take(&frame, &mut out)?;
        }
    }
    Ok(meter.stop(job.count))
}

fn receive<S: Read + Write>(job: &Job, mut socket: S, mut reader: Reader) -> io::Result<Measured> {
    let order = sink::order(job.qos, job.count, job.size, job.window);
    let mut out = Vec::with_capacity(1 << 20);
    let mut got = 0;
    let meter = Meter::start();
    socket.write_all(&wire::subscribe(job.version, &order, job.qos))?;
    while got < job.count {
        if !reader.fill(&mut socket)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some(frame) = reader.next() {
            got += u64::from(frame.kind() == wire::PUBLISH);
            flow::answer(&frame, &mut out);
        }
        socket.write_all(&out)?;
        out.clear();
    }
    Ok(meter.stop(job.count))
}

/// One message a millisecond, and it comes back.
fn echo<S: Read + Write>(job: &Job, mut socket: S, mut reader: Reader) -> io::Result<String> {
    let origin = Instant::now();
    socket.write_all(&wire::subscribe(job.version, sink::ECHO, job.qos))?;
    let mut trips = Vec::new();
    let mut due = origin;
    let mut out = Vec::new();
    for number in 0..job.count + WARM_UP {
        due += PACE;
        // waits: until the next one is due.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        out.clear();
        let id = (number % 60_000) as u16 + 1;
        wire::publish(&mut out, job.version, sink::ECHO, job.qos, id, job.size);
        let sent = Instant::now();
        socket.write_all(&out)?;
        expect(&mut socket, &mut reader, wire::PUBLISH)?;
        trips.push(sent.elapsed().as_nanos() as u64);
        out.clear();
        if job.qos == 1 {
            wire::ack(&mut out, wire::PUBACK, id);
            socket.write_all(&out)?;
        }
    }
    Ok(super::trips(trips, WARM_UP as usize))
}

/// Waits for a packet of this kind; what else comes is let pass.
fn expect<S: Read>(socket: &mut S, reader: &mut Reader, kind: u8) -> io::Result<()> {
    loop {
        while let Some(frame) = reader.next() {
            if frame.kind() == kind {
                return Ok(());
            }
        }
        if !reader.fill(socket)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
