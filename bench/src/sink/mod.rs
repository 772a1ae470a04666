//! Three brokers that are never the limit: `rates` answers and sends as fast as it goes, `crowd` holds thousands of idle
//! connections, `broker` keeps one session and goes away when it is told to.

mod broker;
mod crowd;
mod eager;
mod serve;
#[cfg(feature = "tls")]
mod tls;

use crate::args::Args;
use crate::meter;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// How long a connection may be silent before its thread sleeps, in milliseconds.
const PATIENCE: u64 = 2;
/// What comes to this topic is sent back, once it was subscribed to.
pub(crate) const ECHO: &str = "echo/one/two/three";

/// What a receive driver subscribes to, and the topic of every message it then gets.
pub(crate) fn order(qos: u8, count: u64, size: usize, window: u16) -> String {
    format!("b/{qos}/{count}/{size}/{window}")
}

/// The topic of the QoS 1 message behind `count` messages at QoS 0. Its acknowledgement says that all of them came.
pub(crate) fn end_of(count: u64) -> String {
    format!("e/{count}")
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    meter::stay_on(args)?;
    match args.text("kind", "rates").as_str() {
        "rates" => rates(args),
        "crowd" => crowd::run(listen()?),
        "broker" => broker::run(args, listen()?),
        other => Err(format!("--kind {other}: rates, crowd or broker")),
    }
}

/// Standard output tells the runner the address first, then what happens.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn listen() -> Result<TcpListener, String> {
    TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no port to listen on: {error}"))
}

fn tell_address(listener: &TcpListener) -> Result<(), String> {
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    say(&address.to_string());
    Ok(())
}

fn rates(args: &Args) -> Result<(), String> {
    let patience = Duration::from_millis(args.value("patience", PATIENCE)?);
    let window: u16 = args.value("window", u16::MAX)?;
    // As ordinary brokers are: what Nagle's algorithm costs a client is to be seen.
    let prompt = !args.has("tardy");
    let listener = listen()?;
    #[cfg(feature = "tls")]
    let tls = match args.text("tls", "").as_str() {
        "" => None,
        file => Some(tls::server(file)?),
    };
    tell_address(&listener)?;
    for socket in listener.incoming().flatten() {
        #[cfg(feature = "tls")]
        if let Some(config) = &tls {
            let config = std::sync::Arc::clone(config);
            thread::spawn(move || ended(serve_tls(socket, (patience, prompt), window, config)));
            continue;
        }
        thread::spawn(move || ended(serve_tcp(socket, (patience, prompt), window)));
    }
    Ok(())
}

fn serve_tcp(socket: TcpStream, (patience, prompt): (Duration, bool), window: u16) -> io::Result<()> {
    serve::serve(eager::Eager::new(socket, patience, prompt)?, window)
}

#[cfg(feature = "tls")]
fn serve_tls(
    socket: TcpStream,
    (patience, prompt): (Duration, bool),
    window: u16,
    config: std::sync::Arc<rustls::ServerConfig>,
) -> io::Result<()> {
    let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    serve::serve(rustls::StreamOwned::new(connection, eager::Eager::new(socket, patience, prompt)?), window)
}

/// A driver that is done just goes.
fn ended(result: io::Result<()>) {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match result {
        Err(error) if !matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof) => {
            eprintln!("sink: {error}");
            say(&format!("refused {error}"));
        }
        _ => {}
    }
}
