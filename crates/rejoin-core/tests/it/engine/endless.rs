//! Settings that mean "never" are times like any other: what doubles them stays there.

use std::time::Duration;

use rejoin_core::*;

use super::bench::{Bench, kept};

#[test]
fn a_pause_without_end_is_no_longer_after_the_second_refusal() {
    let mut config = kept();
    // A filter is asked for again in the rhythm of an overloaded broker.
    (config.recovery.overload.first, config.recovery.overload.cap) = (Duration::MAX, Duration::MAX);
    let mut b = Bench::new(config);
    b.subscribe(1, "a");
    for (session_present, packet_id) in [(false, 1), (true, 2)] {
        b.connect(session_present);
        assert_eq!(b.words(), [format!("SUBSCRIBE {packet_id} a")]);
        b.suback(packet_id, ReasonCode::QUOTA_EXCEEDED);
        b.live(60);
        assert!(b.words().is_empty(), "it is not asked for again on this link");
        b.lose();
    }
}

#[test]
fn a_time_out_without_end_does_not_grow() {
    let mut config = kept();
    config.link.ack_timeout = Duration::MAX;
    config.link.ping_after = Duration::MAX;
    let mut b = Bench::new(config);
    b.connect(false);
    b.publish(Qos::AtLeastOnce);
    b.at = u64::MAX;
    b.input(Input::Tick);
    assert_eq!(*b.last_closed(), LossCause::AckTimeout(Duration::MAX));
}
