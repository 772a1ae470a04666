//! Where: rounds over several servers.

use super::super::Adapt;
use super::*;
use crate::config::ServerPolicy;
use crate::error::LocalCause;

fn pool(servers: usize, seed: u64) -> World {
    World::with(&RecoveryConfig::default(), VersionPolicy::Prefer5, servers, seed)
}

#[test]
fn a_round_passes_over_each_absent_server_once_and_then_waits() {
    let mut world = pool(3, 1);
    for window in [2, 4, 8, 15] {
        world.pass(secs(20)); // wider than any window, so that the windows show
        for (here, next) in [(0, 1), (1, 2)] {
            assert_eq!(world.recovery.server(), here);
            let plan = world.attempt(&nobody_listens());
            assert_eq!((plan.verdict, plan.server), (Verdict::NextServer, next));
            assert_eq!(world.wait(&plan), Duration::ZERO);
        }
        let plan = world.attempt(&nobody_listens());
        assert_eq!((plan.verdict, plan.server, plan.window), (Verdict::Absent, 0, secs(window)));
    }
}

#[test]
fn a_server_that_is_down_behind_its_listener_is_passed_over_too() {
    let mut world = pool(2, 1);
    let plan = world.turned_down(&refused(ReasonCode::SERVER_UNAVAILABLE));
    assert_eq!((plan.verdict, plan.server), (Verdict::NextServer, 1));
    let plan = world.turned_down(&refused(ReasonCode::SERVER_UNAVAILABLE));
    assert_eq!((plan.verdict, plan.window), (Verdict::Overloaded, secs(10)));
}

#[test]
fn a_try_at_once_at_the_same_server_begins_no_new_round() {
    for (code, verdict) in [
        (ReasonCode::MALFORMED_PACKET, Verdict::Now),
        (ReasonCode::BAD_USER_NAME_OR_PASSWORD, Verdict::Credentials),
        (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, Verdict::Adapt(Adapt::SpeakV311)),
    ] {
        let config = RecoveryConfig { fresh_credentials: true, ..RecoveryConfig::default() };
        let mut world = World::with(&config, VersionPolicy::Prefer5, 2, 1);
        world.attempt(&nobody_listens());
        let plan = world.turned_down(&refused(code));
        assert_eq!((plan.verdict, plan.server), (verdict, 1));
        let plan = world.attempt(&nobody_listens());
        assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 0), "{code}: both were asked, so it waits");
    }
}

#[test]
fn missing_credentials_leave_the_round_where_it_is() {
    let mut world = pool(2, 1);
    world.attempt(&nobody_listens());
    let plan = world.attempt(&open_failed(TransportErrorKind::Credentials));
    assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 1), "it was not asked yet");
    let plan = world.attempt(&nobody_listens());
    assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 0), "now both were");
}

#[test]
fn overload_keeps_its_window_and_prefers_another_server() {
    let mut world = pool(3, 1);
    let mut seen = Vec::new();
    for window in [10_000, 15_000, 22_500] {
        let plan = world.turned_down(&LossCause::ConnackTimeout(secs(30)));
        assert_eq!((plan.verdict, plan.window), (Verdict::Overloaded, millis(window)));
        seen.push(plan.server);
    }
    assert_eq!(seen, [1, 2, 0]);
}

#[test]
fn a_link_that_breaks_before_connack_is_waited_for_and_another_server_asked() {
    use TransportErrorKind as T;
    for (kind, verdict) in [
        (T::TimedOut, Verdict::Overloaded),
        (T::Other, Verdict::Overloaded),
        (T::Handshake, Verdict::Overloaded),
        (T::Unreachable, Verdict::NextServer),
    ] {
        let mut world = pool(2, 1);
        let plan = world.turned_down(&broke(kind));
        assert_eq!((plan.verdict, plan.server), (verdict, 1), "{kind:?}");
        let mut alone = pool(1, 1);
        let plan = alone.turned_down(&broke(kind));
        assert!(plan.window >= secs(2), "{kind:?} is not asked again as fast as it breaks: {plan:?}");
    }
    // Once it was open it says nothing about the broker.
    let mut world = pool(2, 1);
    let plan = world.link(secs(100), &broke(T::TimedOut));
    assert_eq!((plan.verdict, plan.server), (Verdict::Now, 0));
}

#[test]
fn after_a_stable_link_the_first_try_goes_back_to_the_session() {
    let mut world = pool(3, 1);
    world.attempt(&nobody_listens());
    world.attempt(&nobody_listens());
    let plan = world.link(secs(100), &LossCause::PeerClosed);
    assert_eq!((plan.verdict, plan.server), (Verdict::Now, 2));
    assert_eq!(world.attempt(&nobody_listens()).server, 0);
    assert_eq!(world.attempt(&nobody_listens()).server, 1);
    let plan = world.attempt(&nobody_listens());
    assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 2), "the next round begins at home");
}

#[test]
fn a_server_that_closes_on_its_way_out_is_passed_over() {
    let closed = [
        LossCause::ClosedBeforeConnack,
        open_failed(TransportErrorKind::Reset),
        open_failed(TransportErrorKind::Closed),
    ];
    for closed in closed {
        let mut world = pool(3, 1);
        world.link(secs(100), &LossCause::PeerClosed);
        let plan = world.turned_down(&closed);
        assert_eq!((plan.verdict, plan.server), (Verdict::NextServer, 1));
        assert!(world.wait(&plan) <= secs(1), "only the budget may hold it");
        let plan = world.turned_down(&closed);
        assert_eq!((plan.verdict, plan.window), (Verdict::Overloaded, secs(10)), "this one had not cut us");
        let mut late = pool(3, 1);
        late.link(secs(100), &LossCause::PeerClosed);
        late.pass(millis(1_001));
        assert_eq!(late.turned_down(&closed).verdict, Verdict::Overloaded, "it is back, and busy");
        let mut new = pool(3, 1);
        assert_eq!(new.turned_down(&closed).verdict, Verdict::Overloaded, "no link was there before");
        let mut alone = pool(1, 1);
        alone.link(secs(100), &LossCause::PeerClosed);
        assert_eq!(alone.turned_down(&closed).verdict, Verdict::Overloaded);
    }
}

#[test]
fn only_a_stable_link_that_the_peer_ended_speaks_for_a_server_on_its_way_out() {
    let after = |life, end: &LossCause| {
        let mut world = pool(3, 1);
        let plan = world.link(life, end);
        let is_soon = plan.server == 0 && world.wait(&plan) <= secs(1);
        (is_soon, world.turned_down(&LossCause::ClosedBeforeConnack).verdict)
    };
    for end in [LossCause::PeerClosed, reset(), disconnected(ReasonCode::MAXIMUM_CONNECT_TIME)] {
        assert_eq!(after(secs(100), &end), (true, Verdict::NextServer), "{end:?}");
        assert_eq!(after(secs(1), &end).1, Verdict::Overloaded, "{end:?}: it did not hold");
    }
    let by_us = [
        LossCause::Local(LocalCause::Renewal),
        LossCause::Local(LocalCause::Restart),
        LossCause::PingTimeout(secs(10)),
        LossCause::WriteStall(secs(10)),
        LossCause::AckTimeout(secs(10)),
        LossCause::HealthWatch(secs(10)),
    ];
    for end in by_us {
        assert_eq!(after(secs(100), &end), (true, Verdict::Overloaded), "{end:?}: the server ended nothing");
    }
    // Asked for by us, so no failure of a link that was short.
    assert_eq!(after(secs(1), &LossCause::Local(LocalCause::Renewal)), (true, Verdict::Overloaded));
    // The wait behind a short link, made short.
    let mut world = pool(3, 1);
    world.link(millis(300), &LossCause::PeerClosed);
    let due = world.recovery.nudge(world.now);
    assert_eq!(due.map(|due| due.since(world.now)), Some(millis(700)));
    assert_eq!(world.turned_down(&LossCause::ClosedBeforeConnack).verdict, Verdict::Overloaded);
}

#[test]
fn a_machine_that_begins_anew_was_cut_by_nobody() {
    let mut world = pool(3, 1);
    world.link(secs(100), &LossCause::PeerClosed);
    world.recovery.start(world.now);
    assert_eq!(world.turned_down(&LossCause::ClosedBeforeConnack).verdict, Verdict::Overloaded);
}

#[test]
fn an_announced_shutdown_moves_on_spread_like_everybody_else() {
    let wait = waits(2_000, |seed| {
        let mut world = pool(2, seed);
        let plan = world.link(secs(100), &disconnected(ReasonCode::SERVER_SHUTTING_DOWN));
        assert_eq!((plan.verdict, plan.server), (Verdict::NextServer, 1));
        world.wait(&plan)
    });
    assert_uniform(&wait, Duration::ZERO, secs(2));
}

#[test]
fn a_short_life_does_not_leave_the_session_behind_until_it_repeats() {
    let mut world = pool(2, 1);
    let servers: Vec<_> = (0..4).map(|_| world.link(secs(1), &LossCause::PeerClosed).server).collect();
    assert_eq!(servers, [0, 0, 1, 1]);
    let mut world = pool(2, 1);
    assert_eq!(world.link(secs(1), &disconnected(ReasonCode::SERVER_BUSY)).server, 1, "it said so itself");
}

#[test]
fn a_duel_is_fought_where_the_session_is() {
    let mut world = pool(2, 1);
    for _ in 0..5 {
        assert_eq!(world.link(secs(1), &disconnected(ReasonCode::SESSION_TAKEN_OVER)).server, 0);
    }
}

#[test]
fn the_slow_lane_visits_every_server() {
    let mut world = pool(3, 1);
    let servers: Vec<_> =
        (0..4).map(|_| world.turned_down(&refused(ReasonCode::SERVER_MOVED)).server).collect();
    assert_eq!(servers, [1, 2, 0, 1]);
}

#[test]
fn what_is_learnt_of_one_server_is_not_believed_of_another() {
    let mut world = pool(2, 1);
    world.turned_down(&refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    assert_eq!((world.recovery.version_for(0), world.recovery.version_for(1)), (Version::V311, Version::V5));
    let attempt = world.begin();
    assert_eq!(attempt.connect_limit, secs(10));
    let context = LossContext { version: Version::V311, ..NEVER_OPEN };
    world.recovery.lost(&LossCause::ConnectTimeout(secs(10)), context, world.now);
    let other = world.begin();
    assert_eq!((other.server, other.connect_limit), (1, secs(10)));
}

#[test]
fn a_pool_that_refuses_and_closes_in_turn_stays_within_the_budget() {
    for seed in 0..20 {
        let mut world = pool(2, seed);
        let end = world.now + secs(3_600);
        while world.now < end {
            if world.recovery.server() == 0 {
                world.link(millis(5), &LossCause::PeerClosed);
            } else {
                world.attempt(&nobody_listens());
            }
        }
        world.assert_within_budget();
        assert!(world.reached.len() < 150, "{} links in an hour", world.reached.len());
    }
}

#[test]
fn a_shuffled_pool_is_shuffled_once_per_client() {
    let config = RecoveryConfig { servers: ServerPolicy::Shuffled, ..RecoveryConfig::default() };
    let order = |seed| {
        let mut world = World::with(&config, VersionPolicy::Prefer5, 4, seed);
        let round = |world: &mut World| -> Vec<usize> {
            (0..4)
                .map(|_| {
                    let server = world.recovery.server();
                    world.attempt(&nobody_listens());
                    server
                })
                .collect()
        };
        let first = round(&mut world);
        assert_eq!(round(&mut world), first);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3]);
        first
    };
    let mut firsts = [0_u32; 4];
    for seed in 0..400 {
        assert_eq!(order(seed), order(seed));
        firsts[order(seed)[0]] += 1;
    }
    assert!(firsts.iter().all(|&n| n > 70 && n < 130), "each is first about as often: {firsts:?}");
}

#[test]
fn an_ordered_pool_begins_each_round_with_the_first_choice() {
    for (policy, expected) in [(ServerPolicy::Ordered, 0), (ServerPolicy::Sticky, 1)] {
        let config = RecoveryConfig { servers: policy, ..RecoveryConfig::default() };
        let mut world = World::with(&config, VersionPolicy::Prefer5, 2, 1);
        world.attempt(&nobody_listens());
        let plan = world.link(secs(100), &LossCause::PeerClosed);
        assert_eq!(plan.server, 1, "the session is there: asked first, once");
        world.attempt(&nobody_listens());
        let plan = world.attempt(&nobody_listens());
        assert_eq!((plan.verdict, plan.server), (Verdict::Absent, expected), "{policy:?}");
    }
}

#[test]
fn an_ordered_pool_goes_back_to_the_session_after_a_goodbye_it_does_not_understand() {
    let config = RecoveryConfig { servers: ServerPolicy::Ordered, ..RecoveryConfig::default() };
    let mut world = World::with(&config, VersionPolicy::Prefer5, 2, 1);
    world.attempt(&nobody_listens());
    let plan = world.link(secs(100), &disconnected(ReasonCode::UNSPECIFIED_ERROR));
    assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 1), "the session is there");
}

#[test]
fn a_server_that_failed_is_asked_after_one_whose_link_held() {
    let mut world = pool(3, 1);
    let busy = LossCause::ConnackTimeout(secs(30));
    assert_eq!(world.turned_down(&busy).server, 1);
    assert_eq!(world.link(secs(30), &disconnected(ReasonCode::SERVER_BUSY)).server, 2);
    assert_eq!(world.turned_down(&busy).server, 1, "the first one failed less than a minute ago");
}

#[test]
fn what_we_did_ourselves_speaks_against_no_server() {
    let restart = |world: &mut World| world.link(secs(1), &LossCause::Local(LocalCause::Restart));
    let no_login = |world: &mut World| world.attempt(&open_failed(TransportErrorKind::Credentials));
    let ours: [&dyn Fn(&mut World) -> Plan; 2] = [&restart, &no_login];
    for (n, ours) in ours.iter().enumerate() {
        let mut world = pool(3, 1);
        assert_eq!(ours(&mut world).server, 0);
        for next in [1, 2, 0] {
            world.recovery.nudge(world.now); // soon enough for all that is held against them to count in full
            let plan = world.turned_down(&LossCause::ConnackTimeout(secs(30)));
            assert_eq!(plan.server, next, "case {n}: each failed once");
        }
    }
}

#[test]
fn a_named_server_is_followed_five_times_in_a_row_and_no_more() {
    let mut world = pool(2, 1);
    for turn in 0..5 {
        let to = (turn + 1) % 2;
        world.recovery.name_server(to);
        let plan = world.turned_down(&refused(ReasonCode::USE_ANOTHER_SERVER));
        assert_eq!((plan.verdict, plan.server), (Verdict::Redirected, to));
    }
    world.recovery.name_server(0);
    let plan = world.turned_down(&refused(ReasonCode::USE_ANOTHER_SERVER));
    assert_eq!(plan.verdict, Verdict::Overloaded, "a loop");
    // A stable link ends the row.
    world.link(secs(100), &LossCause::PeerClosed);
    world.recovery.name_server(1);
    assert_eq!(world.turned_down(&refused(ReasonCode::USE_ANOTHER_SERVER)).verdict, Verdict::Redirected);
}

#[test]
fn a_server_that_moved_for_good_becomes_the_first_choice() {
    let mut world = pool(1, 1);
    let added = world.recovery.add_server(&LinkConfig::default());
    assert_eq!(added, 1);
    world.recovery.name_server(added);
    let plan = world.turned_down(&refused(ReasonCode::SERVER_MOVED));
    assert_eq!((plan.verdict, plan.server), (Verdict::Redirected, 1));
    assert_eq!(world.attempt(&nobody_listens()).server, 0, "the old one is still asked");
    let plan = world.attempt(&nobody_listens());
    assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 1), "the next round begins with the new one");
}

#[test]
fn a_server_named_for_a_while_does_not_become_the_first_choice() {
    let mut world = pool(2, 1);
    world.recovery.name_server(1);
    let plan = world.turned_down(&refused(ReasonCode::USE_ANOTHER_SERVER));
    assert_eq!((plan.verdict, plan.server), (Verdict::Redirected, 1));
    assert_eq!(world.attempt(&nobody_listens()).server, 0);
    let plan = world.attempt(&nobody_listens());
    assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 0), "the next round begins as ever");
}
