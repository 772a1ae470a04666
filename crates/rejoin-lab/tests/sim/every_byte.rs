//! The sharpest cut there is: one exchange, cut after every one of its bytes, in each direction.

use rejoin_core::VersionPolicy;
use rejoin_lab::{Direction, Forward, PacketKind};

use crate::exchange::{Case, Cut, Exchange, Left};

/// Everything that is said, in every way to say it.
fn cases(fate: Case) -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [VersionPolicy::Only311, VersionPolicy::Only5] {
        for at_once in [false, true] {
            for (forwards_qos2, is_slow) in [(Forward::AtPubrel, true), (Forward::AtPublish, false)] {
                cases.push(Case { version, at_once, forwards_qos2, is_slow, ..fate });
            }
        }
    }
    cases
}

/// Nothing befalls anybody but the cut.
const UNHARMED: Case = Case {
    version: VersionPolicy::Only5,
    at_once: false,
    forwards_qos2: Forward::AtPubrel,
    is_slow: false,
    durable: false,
    session_lost: false,
    killed: None,
};

/// Runs it once without a cut and then once for each of the bytes that passed.
fn sweep(fate: Case) {
    let (mut runs, mut failures) = (0, Vec::new());
    for case in cases(fate) {
        let whole =
            Exchange::run(case, None).unwrap_or_else(|why| panic!("{case:?} without a cut:\n    {why}"));
        let [up, down] = whole.passed;
        for (direction, bytes, is_heard_out) in
            [(Direction::Up, up, false), (Direction::Up, up, true), (Direction::Down, down, false)]
        {
            for after in 0..bytes {
                let cut = Cut { direction, after, is_heard_out };
                runs += 1;
                if let Err(why) = Exchange::run(case, Some(cut)) {
                    failures.push(format!("{case:?} {cut:?}:\n    {why}"));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {runs} runs:\n{}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
    eprintln!("{runs} cuts: {fate:?}");
}

#[test]
fn the_exchange_has_every_packet_in_it() {
    for case in cases(UNHARMED).into_iter().chain(cases(Case { durable: true, ..UNHARMED })) {
        let whole = Exchange::run(case, None).unwrap_or_else(|why| panic!("{case:?}:\n    {why}"));
        for (kind, least) in [
            (PacketKind::Connect, 1),
            (PacketKind::Publish, 8),
            (PacketKind::PubAck, 3),
            (PacketKind::PubRec, 3),
            (PacketKind::PubRel, 3),
            (PacketKind::PubComp, 3),
            (PacketKind::Subscribe, 1),
            (PacketKind::Unsubscribe, 1),
            (PacketKind::Disconnect, 1),
        ] {
            let came = whole.broker.counters().received(kind);
            assert!(came >= least, "{case:?}: {came} of {kind}");
        }
        assert_eq!(whole.links(), 1);
        assert!(whole.passed.iter().all(|bytes| *bytes > 100), "{:?}", whole.passed);
    }
}

#[test]
fn a_link_cut_at_any_byte_loses_nothing_and_repeats_nothing() {
    for durable in [false, true] {
        sweep(Case { durable, ..UNHARMED });
    }
}

#[test]
fn a_session_lost_at_any_byte_is_made_good_or_owned_up_to() {
    for durable in [false, true] {
        sweep(Case { durable, session_lost: true, ..UNHARMED });
    }
}

#[test]
fn a_process_killed_at_any_byte_goes_on_from_its_store() {
    for session_lost in [false, true] {
        for left in [Left::Everything, Left::Reported] {
            sweep(Case { durable: true, session_lost, killed: Some(left), ..UNHARMED });
        }
    }
}

#[test]
fn a_process_without_a_store_that_is_killed_has_confirmed_nothing_that_nobody_took() {
    // The next one begins with a clean session, so that the old one ends with the process.
    sweep(Case { session_lost: true, killed: Some(Left::Reported), ..UNHARMED });
}
