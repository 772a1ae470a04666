//! The line protocol of the gauntlet, from the side of the client under test. `docs/gauntlet.md` describes it.

use std::future::{Future, poll_fn};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc::Receiver;
use std::task::Poll;
use std::time::{Duration, Instant};

/// What the gauntlet asks for, one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `connect PORT VERSION ID KEEPALIVE CLEAN FAST [CA]`: connect to 127.0.0.1 and stay connected.
    Connect(Connect),
    /// `publish N QOS SIZE`: hand over one message.
    Publish(Message),
    /// `burst FROM COUNT QOS SIZE RATE`: hand over many; a rate of 0 is as fast as it goes.
    Burst { from: u64, count: u64, qos: u8, size: usize, rate: u64 },
    /// `subscribe QOS FILTER`
    Subscribe { qos: u8, filter: String },
    /// `block`: the handler of messages never returns from now on.
    Block,
    /// `state`: answer `state connected` or `state disconnected`.
    State,
    /// `close MS`: end within this time, then answer `closed`.
    Close(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub port: u16,
    /// 4 is 3.1.1, 5 is 5.0.
    pub version: u8,
    pub id: String,
    pub keep_alive: Duration,
    pub clean: bool,
    /// Retry after 100 ms without a limit of attempts; a link is stable after a second.
    pub fast: bool,
    /// Over TLS, trusting the certificate in this PEM file. Only asked of a client with a column for it.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub number: u64,
    pub qos: u8,
    pub size: usize,
}

impl Message {
    pub const TOPIC: &str = "gauntlet/t";

    /// The number, and filling up to the size.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = format!("{} ", self.number).into_bytes();
        payload.resize(payload.len().max(self.size), b'x');
        payload
    }
}

/// The commands as they come; ends the process when the gauntlet closes its end.
pub fn commands() -> Receiver<Command> {
    let (into, commands) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Some(command) = parse(&line) else {
                eprintln!("not understood: {line}");
                std::process::exit(2);
            };
            if into.send(command).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    commands
}

fn parse(line: &str) -> Option<Command> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(match *words.first()? {
        "connect" => Command::Connect(Connect {
            port: number(1)? as u16,
            version: number(2)? as u8,
            id: (*words.get(3)?).to_owned(),
            keep_alive: Duration::from_secs(number(4)?),
            clean: number(5)? == 1,
            fast: number(6)? == 1,
            ca_file: words.get(7).map(|_| PathBuf::from(words[7..].join(" "))),
        }),
        "publish" => {
            Command::Publish(Message { number: number(1)?, qos: number(2)? as u8, size: number(3)? as usize })
        }
        "burst" => Command::Burst {
            from: number(1)?,
            count: number(2)?,
            qos: number(3)? as u8,
            size: number(4)? as usize,
            rate: number(5)?,
        },
        "subscribe" => Command::Subscribe { qos: number(1)? as u8, filter: (*words.get(2)?).to_owned() },
        "block" => Command::Block,
        "state" => Command::State,
        "close" => Command::Close(Duration::from_millis(number(1)?)),
        _ => return None,
    })
}

/// What a client tells, one line each.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

pub fn up() {
    say("up");
}

pub fn down(why: &dyn std::fmt::Display) {
    say(&format!("down {}", flat(why)));
}

/// The client has the message.
pub fn taken(number: u64) {
    say(&format!("taken {number}"));
}

/// The client does not take it.
pub fn refused(number: u64, why: &dyn std::fmt::Display) {
    say(&format!("refused {number} {}", flat(why)));
}

/// The broker has it, says the client.
pub fn acked(number: u64) {
    say(&format!("acked {number}"));
}

/// It was given up, says the client.
pub fn failed(number: u64, why: &dyn std::fmt::Display) {
    say(&format!("failed {number} {}", flat(why)));
}

pub fn message(payload: &[u8]) {
    let number = payload.split(|byte| *byte == b' ').next().unwrap_or_default();
    say(&format!("message {}", String::from_utf8_lossy(number)));
}

pub fn state(connected: bool) {
    say(if connected { "state connected" } else { "state disconnected" });
}

fn flat(why: &dyn std::fmt::Display) -> String {
    why.to_string().replace('\n', " ")
}

/// The messages of a burst with the moment each is due.
pub fn burst(
    from: u64,
    count: u64,
    qos: u8,
    size: usize,
    rate: u64,
) -> impl Iterator<Item = (Option<Instant>, Message)> {
    let begin = Instant::now();
    (0..count).map(move |nth| {
        let due = (rate > 0).then(|| begin + Duration::from_secs_f64(nth as f64 / rate as f64));
        (due, Message { number: from + nth, qos, size })
    })
}

/// Begins something now, so that what an application asks for one after the other begins in this order, however long
/// each takes; its end, if it is there at once.
pub async fn begin<F: Future + Unpin>(something: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *something).poll(cx) {
        Poll::Ready(end) => Poll::Ready(Some(end)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Everything of a burst was taken, in this time.
pub fn burst_taken(count: u64, begin: Instant) {
    say(&format!("burst-taken {count} {}", begin.elapsed().as_millis()));
}
