//! The first program of the README: connect, subscribe, publish, receive, and leave with a report.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use rejoin::{Client, Qos::AtLeastOnce};

#[tokio::main]
async fn main() -> rejoin::Result<()> {
    let client = Client::connect("mqtt://localhost").await?; // waits for the first CONNACK, at most 30 s
    let mut rooms = client.subscribe("room/+/temp", AtLeastOnce).await?;
    client.publish("room/1/temp", "21.5").qos(AtLeastOnce).await?; // done = the broker has it
    let msg = rooms.next().await.expect("the client runs");
    println!("{} = {}", msg.topic, msg.text()?);
    client.shutdown().within_secs(5).await.into_result()
}
