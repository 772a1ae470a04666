//! The sharpest cut there is: one exchange, cut after every one of its bytes, in each direction.

use rejoin_core::VersionPolicy;
use rejoin_lab::{Direction, Forward, PacketKind};

use crate::exchange::{Case, Cut, Exchange, Fate, Left};

const UNHARMED: Fate = Fate { shut_down: false, session_lost: false, killed: None };
const SESSION_LOST: Fate = Fate { session_lost: true, ..UNHARMED };
const SHUT_DOWN: Fate = Fate { shut_down: true, ..UNHARMED };

/// Everything that is said, in every way to say it.
fn cases(durable: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [VersionPolicy::Only311, VersionPolicy::Only5] {
        for at_once in [false, true] {
            for (forwards_qos2, is_slow) in [(Forward::AtPubrel, true), (Forward::AtPublish, false)] {
                cases.push(Case { version, at_once, forwards_qos2, is_slow, durable });
            }
        }
    }
    cases
}

/// Runs that ended otherwise than they should.
#[derive(Default)]
struct Sweep {
    runs: usize,
    failures: Vec<String>,
}

impl Sweep {
    /// Runs a case with these cuts alone, and then with the next link cut after each of the bytes that passed on it.
    fn over(&mut self, case: Case, before: &[Cut], fate: Fate) {
        self.runs += 1;
        let whole = match Exchange::run(case, before) {
            Ok(whole) => whole,
            Err(why) => return self.failures.push(format!("{case:?} {before:?}:\n    {why}")),
        };
        let [up, down] = whole.links()[before.len()];
        for (direction, bytes, is_heard_out) in
            [(Direction::Up, up, false), (Direction::Up, up, true), (Direction::Down, down, false)]
        {
            for after in 0..bytes {
                let mut cuts = before.to_vec();
                cuts.push(Cut { fate, direction, after, is_heard_out });
                self.runs += 1;
                if let Err(why) = Exchange::run(case, &cuts) {
                    self.failures.push(format!("{case:?} {cuts:?}:\n    {why}"));
                }
            }
        }
    }
}

/// Sweeps over some cases; every run has to end as it should.
fn sweep(over: impl FnOnce(&mut Sweep)) {
    let mut sweep = Sweep::default();
    over(&mut sweep);
    let Sweep { runs, failures } = sweep;
    let first = failures[..failures.len().min(5)].join("\n");
    assert!(failures.is_empty(), "{} of {runs} runs:\n{first}", failures.len());
    eprintln!("{runs} runs");
}

#[test]
fn the_exchange_has_every_packet_in_it() {
    for case in cases(false).into_iter().chain(cases(true)) {
        let whole = Exchange::run(case, &[]).unwrap_or_else(|why| panic!("{case:?}:\n    {why}"));
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
        let [[up, down]] = whole.links() else { panic!("{case:?}: {:?}", whole.links()) };
        assert!(*up > 200 && *down > 100, "{case:?}: {up} and {down} bytes");
    }
}

#[test]
fn a_link_cut_at_any_byte_loses_nothing_and_repeats_nothing() {
    sweep(|sweep| {
        for case in cases(false).into_iter().chain(cases(true)) {
            sweep.over(case, &[], UNHARMED);
        }
    });
}

#[test]
fn a_session_lost_at_any_byte_is_made_good_or_owned_up_to() {
    sweep(|sweep| {
        for case in cases(false).into_iter().chain(cases(true)) {
            sweep.over(case, &[], SESSION_LOST);
        }
    });
}

#[test]
fn a_client_shut_down_at_any_byte_says_what_became_of_each_message() {
    sweep(|sweep| {
        for case in cases(false).into_iter().chain(cases(true)) {
            sweep.over(case, &[], SHUT_DOWN);
        }
    });
}

#[test]
fn a_process_killed_at_any_byte_goes_on_from_its_store() {
    sweep(|sweep| {
        for case in cases(true) {
            for session_lost in [false, true] {
                for left in [Left::Everything, Left::Reported] {
                    sweep.over(case, &[], Fate { session_lost, killed: Some(left), ..UNHARMED });
                }
            }
        }
    });
}

#[test]
fn a_process_without_a_store_that_is_killed_has_confirmed_nothing_that_nobody_took() {
    sweep(|sweep| {
        for case in cases(false) {
            // The next one begins with a clean session, so that the old one ends with the process.
            sweep.over(case, &[], Fate { session_lost: true, killed: Some(Left::Reported), ..UNHARMED });
        }
    });
}

/// Half-way through the first link: messages are in every state.
fn half_way(case: Case, fate: Fate) -> Cut {
    let whole = Exchange::run(case, &[]).unwrap_or_else(|why| panic!("{case:?}:\n    {why}"));
    Cut { fate, direction: Direction::Up, after: whole.links()[0][0] / 2, is_heard_out: false }
}

#[test]
fn the_link_that_comes_back_can_be_cut_at_any_byte_as_well() {
    sweep(|sweep| {
        for case in cases(false).into_iter().chain(cases(true)) {
            for first in [UNHARMED, SESSION_LOST] {
                sweep.over(case, &[half_way(case, first)], UNHARMED);
            }
        }
    });
}

#[test]
fn a_process_killed_on_the_link_that_comes_back_goes_on_from_its_store() {
    sweep(|sweep| {
        for case in cases(true) {
            for first in [UNHARMED, SESSION_LOST] {
                for left in [Left::Everything, Left::Reported] {
                    sweep.over(case, &[half_way(case, first)], Fate { killed: Some(left), ..UNHARMED });
                }
            }
        }
    });
}
