//! The end of a client that opens a connection, where what is on the way to the broker takes it and never answers.
//!
//! A name that nobody answers for has no scene here: while the system looks a name up, virtual time stands still. It is in
//! the tests of the client itself, over real time.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};

use rejoin::{Client, Proxy, Stage};

use crate::ending::{Scene, play_before, play_ends, reach, stage};
use crate::handed::{end_in_vain, has_seen};
use crate::way;

/// A client that asks for a WebSocket and is not answered.
async fn asks_for_a_websocket() -> turmoil::Result<Client> {
    let client = way::over_websocket().client_id("client").start()?;
    reach(&client, "WebSocket", |state| stage(state) == Some(Stage::WebSocket)).await;
    Ok(client)
}

#[test]
fn while_a_websocket_is_asked_for_that_nobody_grants() {
    play_ends(Scene::mute, asks_for_a_websocket, (1, 0));
}

/// A client that asks a proxy for the way and is not answered.
async fn asks_a_proxy(url: String) -> turmoil::Result<Client> {
    let client = Client::builder("mqtt://broker").proxy(Proxy::parse(&url)?).start()?;
    reach(&client, "the proxy", |state| stage(state) == Some(Stage::Proxy)).await;
    Ok(client)
}

/// The client dials a proxy itself, so these are on the loopback of the machine.
#[test]
fn while_a_proxy_does_not_answer() {
    for (scheme, dropped) in [("http", false), ("http", true), ("socks5h", false), ("socks5h", true)] {
        let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("{scheme}://{}", proxy.local_addr().unwrap());
        play_before(Scene::with_real_sockets(), |server| async move {
            end_in_vain(asks_a_proxy(url).await?, dropped).await?;
            has_seen(&server, (0, 0)).await;
            // Before this world ends, and all sockets with it.
            let (mut stream, _) = proxy.accept()?;
            stream.set_nonblocking(true)?;
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).expect("the connection to the proxy has ended");
            assert!(!asked.is_empty(), "it is asked for the way");
            proxy.set_nonblocking(true)?;
            assert!(proxy.accept().is_err(), "one attempt, and no other after the end");
            Ok(())
        });
    }
}
