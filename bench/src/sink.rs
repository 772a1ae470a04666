//! The broker that is never the limit: no sessions, no routing, one thread for a connection, one read buffer, all
//! answers to one read in one write.
//!
//! A subscription to `b/QOS/COUNT/SIZE/WINDOW` is the order to send just that.

use crate::args::Args;
use crate::flow::{self, Outgoing};
use crate::meter;
use crate::wire::{self, Frame, Reader};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::hint;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::TcpStreamExt;
use std::thread;
use std::time::{Duration, Instant};

/// How long a connection may be silent before its thread sleeps, in milliseconds.
const PATIENCE: u64 = 2;
/// A pause that a busy client does not make.
const SILENCE: Duration = Duration::from_micros(200);
/// How long a read sleeps at most.
const NAP: Duration = Duration::from_millis(1);

/// What a receive driver subscribes to, and the topic of every message it then gets.
pub(crate) fn order(qos: u8, count: u64, size: usize, window: u16) -> String {
    format!("b/{qos}/{count}/{size}/{window}")
}

/// The topic of the QoS 1 message behind `count` messages at QoS 0. Its acknowledgement says that all of them came.
pub(crate) fn end_of(count: u64) -> String {
    format!("e/{count}")
}

/// Nobody acknowledges QoS 0, so a client that drops messages would only look fast: the sink counts.
fn check_end(frame: &Frame<'_>, published: u64) -> io::Result<()> {
    if frame.qos() != 1 || !frame.body.get(2..).is_some_and(|topic| topic.starts_with(b"e/")) {
        return Ok(());
    }
    let length = usize::from(frame.topic_length());
    let said =
        frame.body.get(4..2 + length).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match said == Some(published) {
        true => Ok(()),
        false => {
            Err(io::Error::other(format!("{published} messages at QoS 0 came, {said:?} were published")))
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    meter::stay_on(args)?;
    let patience = Duration::from_millis(args.value("patience", PATIENCE)?);
    let listener =
        TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no port to listen on: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("{address}");
    io::stdout().flush().map_err(|error| error.to_string())?;
    for socket in listener.incoming().flatten() {
        thread::spawn(move || {
            if let Err(error) = serve(socket, patience) {
                // A driver that is done just goes.
                if !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
                    eprintln!("sink: {error}");
                }
            }
        });
    }
    Ok(())
}

/// Reads without going to sleep: being woken takes longer than answering a hundred messages, and the time would be
/// booked on the client.
struct Eager<'a>(&'a TcpStream, Duration);

impl Read for Eager<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        while begun.elapsed() < self.1.min(SILENCE) {
            match recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => hint::spin_loop(),
                done => return done.map_err(io::Error::from),
            }
        }
        loop {
            let flags = if begun.elapsed() < self.1 { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
            match recv(self.0.as_raw_fd(), buffer, flags) {
                // A client with Nagle's algorithm may hold its last bytes until ours are acknowledged, which takes
                // the kernel 40 ms: once in a run, but a tenth of a short one.
                Err(Errno::EAGAIN) => self.0.set_quickack(true)?,
                done => return done.map_err(io::Error::from),
            }
        }
    }
}

fn serve(mut socket: TcpStream, patience: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(NAP))?;
    let mut reader = Reader::new();
    let mut out = Vec::with_capacity(1 << 20);
    let mut version = 4;
    let mut receive_maximum = u16::MAX;
    let mut feed: Option<Outgoing> = None;
    let mut published = 0;
    while reader.fill(&mut Eager(&socket, patience))? {
        while let Some(frame) = reader.next() {
            match frame.kind() {
                wire::PUBLISH => {
                    check_end(&frame, published)?;
                    published += 1;
                    flow::answer(&frame, &mut out);
                }
                wire::PUBREL => flow::answer(&frame, &mut out),
                wire::PUBACK | wire::PUBREC | wire::PUBCOMP => {
                    let feed =
                        feed.as_mut().ok_or_else(|| io::Error::other("acknowledged what was not sent"))?;
                    feed.take(&frame, &mut out)?;
                }
                wire::CONNECT => {
                    (version, receive_maximum) = greeted(frame.body);
                    let body: &[u8] = if version == 5 { &[0, 0, 0] } else { &[0, 0] };
                    wire::packet(&mut out, wire::CONNACK, body);
                }
                wire::SUBSCRIBE => feed = subscribed(&frame, version, receive_maximum, &mut out),
                wire::UNSUBSCRIBE => {
                    let [high, low] = frame.id().to_be_bytes();
                    let body: &[u8] = if version == 5 { &[high, low, 0, 0] } else { &[high, low] };
                    wire::packet(&mut out, wire::UNSUBACK, body);
                }
                wire::PINGREQ => wire::packet(&mut out, wire::PINGRESP, &[]),
                wire::DISCONNECT => return Ok(()),
                kind => return Err(io::Error::other(format!("packet {kind:#x} is none a client sends"))),
            }
        }
        let pours = feed.as_ref().is_some_and(Outgoing::pours);
        if let Some(feed) = feed.as_mut().filter(|_| !pours) {
            feed.fill(&mut out);
        }
        socket.write_all(&out)?;
        out.clear();
        if let Some(feed) = feed.as_mut().filter(|_| pours) {
            feed.pour(&mut socket)?;
        }
    }
    Ok(())
}

/// Protocol version and receive maximum of a CONNECT.
fn greeted(body: &[u8]) -> (u8, u16) {
    let version = body.get(6).copied().unwrap_or(4);
    let mut maximum = u16::MAX;
    if version == 5 {
        // Drivers send few properties: one length byte, and receive maximum (0x21) is looked for by walking those
        // of known width.
        let length = usize::from(body.get(10).copied().unwrap_or(0));
        let mut left = body.get(11..11 + length).unwrap_or_default();
        while let Some((&id, rest)) = left.split_first() {
            let width = match id {
                0x11 | 0x27 => 4,
                0x21 | 0x22 => 2,
                0x17 | 0x19 => 1,
                _ => break,
            };
            if let (0x21, [high, low, ..]) = (id, rest) {
                maximum = u16::from_be_bytes([*high, *low]);
            }
            left = rest.get(width..).unwrap_or_default();
        }
    }
    (version, maximum)
}

/// Answers SUBSCRIBE, and reads the order in its first filter.
fn subscribed(frame: &Frame<'_>, version: u8, maximum: u16, out: &mut Vec<u8>) -> Option<Outgoing> {
    let [high, low] = frame.id().to_be_bytes();
    let properties = if version == 5 { 1 + usize::from(*frame.body.get(2)?) } else { 0 };
    let rest = frame.body.get(2 + properties..)?;
    let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    let filter = std::str::from_utf8(rest.get(2..2 + length)?).ok()?;
    let qos = rest.get(2 + length)? & 3;
    let body: &[u8] = if version == 5 { &[high, low, 0, qos] } else { &[high, low, qos] };
    wire::packet(out, wire::SUBACK, body);
    let mut words = filter.strip_prefix("b/")?.split('/');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (qos, count, size, window) = (number()?, number()?, number()?, number()?);
    let window = maximum.min(window as u16);
    Some(Outgoing::new(version, filter, qos as u8, size as usize, window, count))
}
