//! Reads without going to sleep: being woken takes longer than answering a hundred messages, and the time would be
//! booked on the client.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::hint;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::linux::net::TcpStreamExt;
use std::time::{Duration, Instant};

/// A pause that a busy client does not make.
const SILENCE: Duration = Duration::from_micros(200);
/// How long a read sleeps at most.
const NAP: Duration = Duration::from_millis(1);

pub(super) struct Eager {
    socket: TcpStream,
    patience: Duration,
    /// Tells the kernel to acknowledge at once what came.
    prompt: bool,
}

impl Eager {
    pub(super) fn new(socket: TcpStream, patience: Duration, prompt: bool) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(NAP))?;
        Ok(Self { socket, patience, prompt })
    }
}

impl Read for Eager {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        while begun.elapsed() < self.patience.min(SILENCE) {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => hint::spin_loop(),
                done => return done.map_err(io::Error::from),
            }
        }
        loop {
            let looks = begun.elapsed() < self.patience;
            let flags = if looks { MsgFlags::MSG_DONTWAIT } else { MsgFlags::empty() };
            match recv(self.socket.as_raw_fd(), buffer, flags) {
                // A client with Nagle's algorithm may hold its last bytes until ours are acknowledged, which takes
                // the kernel 40 ms: once in a run, but a tenth of a short one.
                Err(Errno::EAGAIN) if self.prompt => self.socket.set_quickack(true)?,
                Err(Errno::EAGAIN) => {}
                done => return done.map_err(io::Error::from),
            }
        }
    }
}

impl Write for Eager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
