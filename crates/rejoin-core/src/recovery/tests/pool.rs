//! Where: rounds over several servers.

use super::*;

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
    let context = LossContext { lasted: None, unacked: false, version: Version::V311, local_evidence: false };
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
    let config = RecoveryConfig { shuffle: true, ..RecoveryConfig::default() };
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
