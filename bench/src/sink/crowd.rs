//! Thousands of connections on one thread: CONNECT and PINGREQ are answered, nothing else happens.

use super::tell_address;
use crate::wire;
use std::net::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) fn run(listener: TcpListener) -> Result<(), String> {
    crate::meter::many_files()?;
    let told = |error: std::io::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(told)?;
    runtime.block_on(async {
        listener.set_nonblocking(true).map_err(told)?;
        let async_listener = tokio::net::TcpListener::from_std(listener.try_clone().map_err(told)?);
        tell_address(&listener)?;
        let listener = async_listener.map_err(told)?;
        loop {
            if let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket));
            }
        }
    })
}

/// Packets are small and come alone here.
async fn serve(mut socket: TcpStream) {
    let mut buffer = [0; 256];
    while let Ok(count) = socket.read(&mut buffer).await {
        let mut out = Vec::new();
        match buffer.first().map(|first| first & 0xF0) {
            Some(_) if count == 0 => return,
            Some(wire::CONNECT) => {
                let five = buffer.get(8) == Some(&5);
                wire::packet(&mut out, wire::CONNACK, if five { &[0, 0, 0] } else { &[0, 0] });
            }
            Some(wire::PINGREQ) => wire::packet(&mut out, wire::PINGRESP, &[]),
            _ => {}
        }
        if socket.write_all(&out).await.is_err() {
            return;
        }
    }
}
