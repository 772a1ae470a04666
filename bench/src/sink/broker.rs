//! One client's broker with a session that outlives its links. It cuts them, goes away and comes back as standard input
//! says, and tells when the first acknowledgement after that went out. It judges what came: how much, in which order.

use super::{say, tell_address};
use crate::args::Args;
use crate::wire::{self, Frame, Reader};
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, Write};
use std::net::{self, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a read sleeps at most: what is held back is due meanwhile.
const NAP: Duration = Duration::from_millis(1);

/// How it behaves.
#[derive(Clone, Copy)]
struct Manners {
    /// Acknowledgements leave so much later.
    hold: Duration,
    /// A link lives so long; zero for as long as it likes.
    life: Duration,
}

/// What outlives a link.
#[derive(Default)]
struct Session {
    known: bool,
    links: Vec<TcpStream>,
    listener: Option<TcpListener>,
    /// When something happened to the links, until the first acknowledgement on a newer one, and how many there were.
    since: Option<(Instant, u64)>,
    opened: u64,
    ledger: Ledger,
}

/// What came, from the broker's side.
#[derive(Default)]
struct Ledger {
    /// Identifiers at QoS 2 whose PUBREL is still to come.
    unreleased: BTreeSet<u16>,
    seen: BTreeSet<u64>,
    highest: Option<u64>,
    came: u64,
    again: u64,
    disordered: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

type Shared = Arc<Mutex<Session>>;

pub(super) fn run(args: &Args, listener: TcpListener) -> Result<(), String> {
    let manners = Manners {
        hold: Duration::from_millis(args.value("hold", 0)?),
        life: Duration::from_millis(args.value("life", 0)?),
    };
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tell_address(&listener)?;
    let shared = Shared::default();
    open(&shared, listener, manners)?;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        obey(&shared, address, manners, line.trim())?;
    }
    Ok(())
}

fn lock(shared: &Shared) -> MutexGuard<'_, Session> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn obey(shared: &Shared, address: SocketAddr, manners: Manners, word: &str) -> Result<(), String> {
    match word {
        "fin" => {
            let mut session = lock(shared);
            for link in session.links.drain(..) {
                let _ = link.shutdown(net::Shutdown::Write);
            }
            session.since = Some((Instant::now(), session.opened));
        }
        "away" => {
            let mut session = lock(shared);
            if let Some(listener) = session.listener.take() {
                let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
            }
            for link in session.links.drain(..) {
                let _ = link.shutdown(net::Shutdown::Both);
            }
            session.ledger = Ledger::default();
            drop(session);
            say("gone");
        }
        "back" => {
            let listener = again(address)?;
            let opened = lock(shared).opened;
            lock(shared).since = Some((Instant::now(), opened));
            open(shared, listener, manners)?;
        }
        "judge" => say(&lock(shared).ledger.verdict()),
        other => return Err(format!("`{other}`: fin, away, back or judge")),
    }
    Ok(())
}

/// The port was ours a moment ago; the kernel may need one more.
fn again(address: SocketAddr) -> Result<TcpListener, String> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if Instant::now() > end => return Err(format!("{address}: {error}")),
            // waits: for the kernel, which has no event for it.
            Err(_) => thread::sleep(NAP),
        }
    }
}

fn open(shared: &Shared, listener: TcpListener, manners: Manners) -> Result<(), String> {
    let ours = listener.try_clone().map_err(|error| error.to_string())?;
    lock(shared).listener = Some(ours);
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                // A link that ends is what this is about.
                let _ = serve(&shared, socket, manners);
            });
        }
    });
    Ok(())
}

fn serve(shared: &Shared, mut socket: TcpStream, manners: Manners) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(NAP))?;
    let begun = Instant::now();
    let number = {
        let mut session = lock(shared);
        session.links.push(socket.try_clone()?);
        session.opened += 1;
        session.opened
    };
    let mut reader = Reader::new();
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    loop {
        match reader.fill(&mut socket) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        if !manners.life.is_zero() && now - begun > manners.life {
            return socket.shutdown(net::Shutdown::Both);
        }
        let mut later = Vec::new();
        let mut at_once = Vec::new();
        while let Some(frame) = reader.next() {
            if frame.kind() == wire::DISCONNECT {
                return Ok(());
            }
            answer(&mut lock(shared), &frame, now, &mut at_once, &mut later);
        }
        socket.write_all(&at_once)?;
        if !later.is_empty() {
            held.push_back((now + manners.hold, later));
        }
        while held.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, bytes)) = held.pop_front() else { break };
            socket.write_all(&bytes)?;
            told_first(&mut lock(shared), number);
        }
    }
}

/// The first acknowledgement on a link that was opened after something happened.
fn told_first(session: &mut Session, number: u64) {
    session.ledger.last = Some(Instant::now());
    if let Some((since, _)) = session.since.filter(|(_, opened)| number > *opened) {
        say(&format!("first {:.4}", since.elapsed().as_secs_f64() * 1e3));
        session.since = None;
    }
}

fn answer(
    session: &mut Session,
    frame: &Frame<'_>,
    now: Instant,
    at_once: &mut Vec<u8>,
    later: &mut Vec<u8>,
) {
    match frame.kind() {
        wire::CONNECT => {
            let five = frame.body.get(6) == Some(&5);
            let clean = frame.body.get(7).is_some_and(|flags| flags & 2 != 0);
            if clean {
                session.ledger.unreleased.clear();
            }
            let present = u8::from(session.known && !clean);
            session.known = true;
            let body: &[u8] = if five { &[present, 0, 0] } else { &[present, 0] };
            wire::packet(at_once, wire::CONNACK, body);
        }
        wire::PUBLISH => {
            let id = frame.publish_id();
            let fresh = frame.qos() != 2 || session.ledger.unreleased.insert(id);
            if fresh {
                session.ledger.note(frame, now);
            }
            let kind = if frame.qos() == 2 { wire::PUBREC } else { wire::PUBACK };
            if frame.qos() > 0 {
                wire::ack(later, kind, id);
            }
        }
        wire::PUBREL => {
            session.ledger.unreleased.remove(&frame.id());
            wire::ack(later, wire::PUBCOMP, frame.id());
        }
        wire::SUBSCRIBE => {
            let [high, low] = frame.id().to_be_bytes();
            wire::packet(at_once, wire::SUBACK, &[high, low, 0, 1]);
        }
        wire::PINGREQ => wire::packet(at_once, wire::PINGRESP, &[]),
        _ => {}
    }
}

impl Ledger {
    fn note(&mut self, frame: &Frame<'_>, now: Instant) {
        self.first.get_or_insert(now);
        self.came += 1;
        let Some(number) = number_in(frame.body) else { return };
        if !self.seen.insert(number) {
            self.again += 1;
            return;
        }
        // A number that comes for the first time after a higher one was overtaken.
        self.disordered += u64::from(self.highest.is_some_and(|highest| number < highest));
        self.highest = self.highest.max(Some(number));
    }

    fn verdict(&self) -> String {
        let took = match (self.first, self.last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first).as_secs_f64(),
            _ => 0.0,
        };
        format!(
            "{{\"came\":{},\"different\":{},\"again\":{},\"disordered\":{},\"open\":{},\"seconds\":{took:.4}}}",
            self.came,
            self.seen.len(),
            self.again,
            self.disordered,
            self.unreleased.len()
        )
    }
}

/// The digits that the payload begins with: behind the topic, the identifier and perhaps an empty property list, and
/// in front of a space.
fn number_in(body: &[u8]) -> Option<u64> {
    let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let rest = body.get(2 + length..)?;
    // Fillings are `x`, so the first space ends the number; what is before its digits is no digit in packets of ours
    // but the identifier, two bytes that are skipped.
    let payload = rest.get(2..)?;
    let payload = payload.strip_prefix(&[0]).unwrap_or(payload);
    let end = payload.iter().position(|byte| *byte == b' ')?;
    std::str::from_utf8(payload.get(..end)?).ok()?.parse().ok()
}
