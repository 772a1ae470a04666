//! No client at all: pre-encoded packets, blocking calls, one thread. What the machine can do.

use super::{Job, TOPIC};
use crate::flow::{self, Outgoing};
use crate::meter::{Measured, Meter};
use crate::sink;
use crate::wire::{self, Reader};
use std::io::{self, Write};
use std::net::TcpStream;

pub(super) fn run(job: &Job) -> Result<Measured, String> {
    let work = || {
        let mut socket = TcpStream::connect(job.address)?;
        socket.set_nodelay(true)?;
        let mut reader = Reader::new();
        socket.write_all(&wire::connect(job.version, "raw"))?;
        expect(&mut socket, &mut reader, wire::CONNACK)?;
        match (job.receives(), job.qos) {
            (true, _) => receive(job, socket, reader),
            (false, 0) => pour(job, socket, reader),
            (false, _) => publish(job, socket, reader),
        }
    };
    work().map_err(|error: io::Error| format!("raw: {error}"))
}

fn pour(job: &Job, mut socket: TcpStream, mut reader: Reader) -> io::Result<Measured> {
    let mut flow = Outgoing::new(job.version, TOPIC, 0, job.size, job.window, job.count);
    let mut last = Vec::new();
    wire::publish(&mut last, job.version, &sink::end_of(job.count), 1, 1, job.size);
    let meter = Meter::start();
    flow.pour(&mut socket)?;
    socket.write_all(&last)?;
    expect(&mut socket, &mut reader, wire::PUBACK)?;
    Ok(meter.stop(job.count))
}

fn publish(job: &Job, mut socket: TcpStream, mut reader: Reader) -> io::Result<Measured> {
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

fn receive(job: &Job, mut socket: TcpStream, mut reader: Reader) -> io::Result<Measured> {
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

fn expect(socket: &mut TcpStream, reader: &mut Reader, kind: u8) -> io::Result<()> {
    loop {
        if let Some(frame) = reader.next() {
            return match frame.kind() == kind {
                true => Ok(()),
                false => Err(io::Error::other(format!("packet {:#x} came, not {kind:#x}", frame.first))),
            };
        }
        if !reader.fill(socket)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
