//! A broker that is not next door: what passes takes its time, each way.

use super::contestant::told;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Gives the address of a relay to `broker` for one connection.
pub(super) fn relay(broker: &str, delay: Duration) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(told)?;
    let (address, broker) = (listener.local_addr().map_err(told)?, broker.to_owned());
    thread::spawn(move || {
        let Ok((near, _)) = listener.accept() else { return };
        let Ok(far) = TcpStream::connect(broker) else { return };
        let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
        let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { return };
        carry(near, far, delay);
        carry(far_too, near_too, delay);
    });
    Ok(address)
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(some @ 1..) = from.read(&mut buffer) {
            let _ = send.send((Instant::now() + delay, buffer[..some].to_vec()));
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receive {
            // waits: the way to a broker takes time
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
    });
}
