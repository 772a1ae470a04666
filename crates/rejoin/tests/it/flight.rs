//! The flight recorder of a client at work: the file replays to the byte, and nothing secret is in it.

use rejoin::{FlightRecorder, Qos, Will};
use rejoin_core::codec::packet::Packet;
use rejoin_core::flight::replay;

use crate::peer::{LIMIT, Listener, for_subscription, limited, message};

const PLANTED: &str = "hunter2";

#[tokio::test]
async fn a_recorded_client_can_be_replayed_and_shows_no_secret() {
    let file = std::env::temp_dir().join(format!("rejoin-it-{}.flight", std::process::id()));
    // Left by an earlier process of the same number.
    let _ = std::fs::remove_file(&file);
    let listener = Listener::bind().await;
    let builder = listener.client().login(PLANTED, PLANTED).will(Will::new("gone", PLANTED));
    let prepared = builder.flight_recorder(FlightRecorder::to(&file)).prepare().unwrap();
    let subscribing = prepared.client().subscribe("rooms/#", Qos::AtLeastOnce).declare().unwrap();
    let client = prepared.start();
    let mut stream = subscribing;

    let mut peer = listener.open(false).await;
    let (_, id) = peer.grant().await;
    peer.send(for_subscription(message("rooms/1", PLANTED, Qos::AtLeastOnce, 7), id.unwrap())).await;
    assert_eq!(&limited(stream.next()).await.unwrap().payload[..], PLANTED.as_bytes());
    let delivery = client.publish("rooms/2", PLANTED).qos(Qos::AtLeastOnce).enqueue().unwrap();
    while !matches!(peer.next().await, Packet::Publish(_)) {}
    drop(peer);

    let mut peer = listener.open(true).await;
    let end = tokio::spawn(async move {
        limited(delivery.acked()).await.unwrap();
        client.shutdown().within(LIMIT).await
    });
    while let Some(packet) = peer.next_or_end().await {
        match packet {
            Packet::Publish(publish) => peer.ack(&publish).await,
            Packet::Disconnect(_) => break,
            _ => {}
        }
    }
    drop(peer);
    limited(end).await.unwrap();

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let found = replay(&text, |_, _, _, _| {}).unwrap();
    assert_eq!(found.difference, None);
    assert_eq!(found.cut, None);
    assert!(found.inputs > 10 && text.contains("event Stopped"), "{text}");
    let hex: String = PLANTED.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!text.contains(PLANTED) && !text.contains(&hex), "{text}");
}
