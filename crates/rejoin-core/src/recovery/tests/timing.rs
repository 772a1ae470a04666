//! When: the two back-offs, the stable rule, the budget, the slow lane, the limits of the stages.

use super::*;
use crate::config::Budget;
use crate::error::LocalCause;

fn defaults() -> RecoveryConfig {
    RecoveryConfig::default()
}

#[test]
fn a_stable_link_is_asked_for_again_at_once_whatever_ended_it() {
    let causes = [
        LossCause::PeerClosed,
        reset(),
        LossCause::PingTimeout(secs(5)),
        LossCause::WriteStall(secs(5)),
        LossCause::AckTimeout(secs(20)),
        LossCause::HealthWatch(secs(60)),
    ];
    for cause in causes {
        let mut world = World::new(&defaults(), 1);
        let plan = world.link(secs(30), &cause);
        assert_eq!((plan.verdict, world.wait(&plan)), (Verdict::Now, Duration::ZERO), "{cause}");
    }
}

#[test]
fn a_link_is_stable_after_thirty_seconds_and_not_before() {
    let mut world = World::new(&defaults(), 1);
    let plan = world.link(millis(29_999), &LossCause::PeerClosed);
    assert_eq!((plan.verdict, plan.window), (Verdict::Overloaded, secs(10)));
    assert!(world.wait(&plan) >= secs(5));
    let plan = world.link(secs(30), &LossCause::PeerClosed);
    assert_eq!(plan.verdict, Verdict::Now);
}

#[test]
fn a_link_must_live_twice_the_last_window() {
    let mut world = World::new(&defaults(), 1);
    for window in [millis(10_000), millis(15_000), millis(22_500)] {
        assert_eq!(world.link(secs(1), &reset()).window, window);
    }
    let plan = world.link(millis(44_999), &reset());
    assert_eq!((plan.verdict, plan.window), (Verdict::Overloaded, millis(33_750)));
    let plan = world.link(millis(67_500), &reset());
    assert_eq!(plan.verdict, Verdict::Now);
    assert_eq!(world.link(secs(1), &reset()).window, secs(10), "a stable link starts the windows afresh");
}

#[test]
fn absent_windows_are_2_4_8_15_and_30_after_ten_minutes() {
    let mut world = World::new(&defaults(), 3);
    world.link(secs(100), &LossCause::PeerClosed);
    let lost_at = world.now;
    let mut windows = Vec::new();
    while world.now.since(lost_at) < secs(700) {
        world.pass(secs(20)); // an attempt that takes long keeps the outage wider than any window
        let plan = world.attempt(&nobody_listens());
        assert_eq!(plan.verdict, Verdict::Absent);
        assert!(world.wait(&plan) <= plan.window);
        let long = world.now.since(lost_at) >= secs(600);
        if windows.len() < 4 {
            windows.push(plan.window);
        } else {
            assert_eq!(plan.window, secs(if long { 30 } else { 15 }));
        }
    }
    assert_eq!(windows, [secs(2), secs(4), secs(8), secs(15)]);
}

#[test]
fn no_absent_window_is_wider_than_the_outage_so_far() {
    for seed in 0..200 {
        let mut world = World::new(&defaults(), seed);
        world.link(secs(100), &LossCause::PeerClosed);
        let lost_at = world.now;
        for most in [2, 4, 8, 15, 15, 15] {
            let plan = world.attempt(&nobody_listens());
            let outage = world.now.since(lost_at);
            assert_eq!(plan.window, secs(most).min(outage.max(secs(2))), "outage {outage:?}");
        }
    }
}

#[test]
fn the_outage_is_counted_from_the_last_stable_link() {
    let mut world = World::new(&defaults(), 5);
    world.link(secs(100), &reset());
    for _ in 0..30 {
        world.link(secs(3), &reset());
    }
    world.pass(secs(600));
    for _ in 0..5 {
        world.attempt(&nobody_listens());
    }
    assert_eq!(world.attempt(&nobody_listens()).window, secs(30), "the short links did not end the outage");
}

#[test]
fn absent_is_full_jitter_and_overloaded_the_upper_half() {
    let absent = waits(2_000, |seed| {
        let mut world = World::new(&defaults(), seed);
        let plan = world.attempt(&nobody_listens());
        world.wait(&plan)
    });
    assert_uniform(&absent, Duration::ZERO, secs(2));
    let overloaded = waits(2_000, |seed| {
        let mut world = World::new(&defaults(), seed);
        let plan = world.turned_down(&LossCause::ConnackTimeout(secs(30)));
        world.wait(&plan)
    });
    assert_uniform(&overloaded, secs(5), secs(10));
}

#[test]
fn overload_windows_grow_by_half_to_a_minute() {
    let mut world = World::new(&defaults(), 1);
    let mut windows = Vec::new();
    for _ in 0..8 {
        let plan = world.turned_down(&LossCause::ConnackTimeout(secs(30)));
        assert_eq!(plan.verdict, Verdict::Overloaded);
        let wait = world.wait(&plan);
        assert!(wait >= plan.window / 2 && wait <= plan.window, "{wait:?} of {:?}", plan.window);
        windows.push(plan.window.as_millis());
    }
    assert_eq!(windows, [10_000, 15_000, 22_500, 33_750, 50_625, 60_000, 60_000, 60_000]);
}

#[test]
fn a_broker_back_after_a_minute_is_found_as_fast_as_simulated() {
    let mut tries = 0;
    let found = waits(4_000, |seed| {
        let mut world = World::new(&RecoveryConfig { fleet: true, ..defaults() }, seed);
        world.link(secs(100), &LossCause::PeerClosed);
        let back = world.now + secs(60);
        while world.recovery.due().expect("an attempt is planned") < back {
            world.attempt(&nobody_listens());
            tries += 1;
        }
        tries += 1;
        world.begin();
        world.now.since(back)
    });
    let (half, most, last) = (found[2_000], found[3_960], found[3_999]);
    assert!(
        half <= millis(4_700) && most <= millis(13_900) && last <= secs(15),
        "{half:?} {most:?} {last:?}"
    );
    assert!(tries / 4_000 <= 14, "{} tries a client", tries / 4_000);
}

#[test]
fn a_broker_that_accepts_and_closes_never_sees_more_than_the_budget() {
    for life in [millis(0), millis(200), secs(2), secs(7)] {
        for cause in [LossCause::PeerClosed, reset(), disconnected(ReasonCode::KEEP_ALIVE_TIMEOUT)] {
            let mut world = World::new(&defaults(), 9);
            let end = world.now + secs(3_600);
            while world.now < end {
                world.link(life, &cause);
            }
            world.assert_within_budget();
            assert!(world.reached.len() < 130, "{} links of {life:?} in an hour", world.reached.len());
        }
    }
}

/// Windows so small that only the budget stands between the client and a ban.
fn reckless() -> RecoveryConfig {
    let mut config = defaults();
    for window in [&mut config.absent, &mut config.overload] {
        (window.first, window.cap) = (millis(1), millis(1));
    }
    config.stable_after = Duration::ZERO;
    config
}

#[test]
fn the_budget_holds_whatever_the_windows_say() {
    let mut world = World::new(&reckless(), 9);
    let end = world.now + secs(3_600);
    let mut held = 0_u32;
    while world.now < end {
        let plan = world.link(millis(1), &LossCause::PeerClosed);
        assert_eq!(plan.held_by_budget, world.recovery.held_by_budget());
        held += u32::from(plan.held_by_budget);
    }
    world.assert_within_budget();
    assert_eq!(world.reached.len(), 12 * 60 + 1, "the last one comes as the hour ends");
    assert!(held >= 12 * 60 - 1, "it was the budget that held, {held} times");
}

#[test]
fn lifting_the_budget_takes_its_own_word() {
    let mut world = World::new(&RecoveryConfig { budget: None, ..reckless() }, 9);
    for _ in 0..100 {
        assert!(!world.link(millis(1), &LossCause::PeerClosed).held_by_budget);
    }
    assert!(world.reached[99].since(world.reached[0]) < secs(1));
}

#[test]
fn only_attempts_that_reach_a_broker_are_charged() {
    let mut world = World::new(&reckless(), 2);
    for _ in 0..50 {
        assert!(!world.attempt(&nobody_listens()).held_by_budget);
    }
}

#[test]
fn the_budget_of_another_kind_is_kept_as_well() {
    let budget = Budget { spacing: millis(100), per_period: 3, period: secs(2) };
    let mut world = World::new(&RecoveryConfig { budget: Some(budget), ..reckless() }, 2);
    for _ in 0..100 {
        world.link(Duration::ZERO, &LossCause::PeerClosed);
    }
    assert!(world.reached.windows(2).all(|w| w[1].since(w[0]) >= millis(100)));
    assert!(world.reached.windows(4).all(|w| w[3].since(w[0]) >= secs(2)));
}

#[test]
fn a_program_restarted_in_a_loop_keeps_the_budget_too() {
    let now = Timestamp::from_micros(77_000_000);
    for (tries, wait) in [(0, 0), (1, 700), (11, 700), (12, 48_700)] {
        let mut recovery =
            Recovery::new(&defaults().into(), &LinkConfig::default(), VersionPolicy::Prefer5, 1, 1);
        for n in (0..tries).rev() {
            recovery.recall_attempt(millis(300 + 1_000 * n), now);
        }
        let plan = recovery.start(now);
        assert_eq!(plan.retry_at, Some(now + millis(wait)), "{tries} tries of earlier processes");
        assert_eq!(plan.held_by_budget, wait > 0);
    }
}

#[test]
fn the_budget_is_not_blamed_for_an_attempt_it_does_not_delay() {
    for (life, held) in [(millis(999), true), (secs(1), false)] {
        let mut world = World::new(&defaults(), 1);
        let plan = world.link(life, &LossCause::Local(LocalCause::Restart));
        assert_eq!((plan.held_by_budget, world.wait(&plan).is_zero()), (held, !held), "{life:?}");
    }
}

#[test]
fn a_nudge_comes_at_once_or_says_when_the_budget_lets_it() {
    let mut world = World::new(&defaults(), 4);
    assert_eq!(world.recovery.nudge(world.now), Some(world.now));
    for _ in 0..12 {
        world.turned_down(&refused(ReasonCode::SERVER_BUSY));
        let until = world.recovery.nudge(world.now).expect("it was waiting");
        assert_eq!(world.recovery.due(), Some(until));
        assert_eq!(world.recovery.held_by_budget(), until > world.now);
    }
    world.assert_within_budget();
    let until = world.recovery.due().expect("it is waiting");
    assert_eq!(until.since(world.reached[0]), secs(60), "the thirteenth waits for the minute to pass");
    world.begin();
    assert_eq!(world.recovery.nudge(world.now), None, "an attempt is under way");
}

#[test]
fn the_slow_lane_grows_from_five_minutes_to_an_hour_and_never_ends() {
    let mut world = World::new(&defaults(), 4);
    let mut windows = Vec::new();
    for _ in 0..6 {
        let plan = world.turned_down(&refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID));
        assert_eq!((plan.verdict, plan.slow_lane), (Verdict::SlowLane, true));
        assert!(world.recovery.in_slow_lane());
        let wait = world.wait(&plan);
        assert!(wait >= plan.window / 2 && wait <= plan.window);
        windows.push(plan.window.as_secs() / 60);
    }
    assert_eq!(windows, [5, 10, 20, 40, 60, 60]);
    world.recovery.nudge(world.now + secs(2)).expect("it was waiting");
    assert!(!world.recovery.in_slow_lane());
    let plan = world.turned_down(&refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID));
    assert_eq!(plan.window, secs(300), "a person stepped in: the lane begins anew");
}

#[test]
fn the_slow_lane_begins_anew_after_a_stable_link() {
    let mut world = World::new(&defaults(), 4);
    for _ in 0..4 {
        world.turned_down(&refused(ReasonCode::BAD_AUTHENTICATION_METHOD));
    }
    world.link(secs(3_600), &LossCause::PeerClosed);
    assert_eq!(world.turned_down(&refused(ReasonCode::BAD_AUTHENTICATION_METHOD)).window, secs(300));
}

#[test]
fn giving_up_and_not_reconnecting_are_for_good() {
    let mut world = World::new(&RecoveryConfig { give_up: true, ..defaults() }, 4);
    let plan = world.turned_down(&refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID));
    assert_eq!((plan.verdict, plan.retry_at, plan.slow_lane), (Verdict::Stop, None, false));
    assert!(world.recovery.is_stopped());
    assert_eq!((world.recovery.due(), world.recovery.nudge(world.now)), (None, None));

    let once = RecoveryConfig { reconnect: false, ..defaults() };
    for cause in [LossCause::PeerClosed, LossCause::PingTimeout(secs(5))] {
        let mut world = World::new(&once, 4);
        assert_eq!(world.link(secs(100), &cause).verdict, Verdict::Stop);
    }
    assert_eq!(World::new(&once, 4).attempt(&nobody_listens()).verdict, Verdict::Stop);
    let asked_for = World::new(&once, 4).link(secs(1), &LossCause::Local(LocalCause::Restart));
    assert_eq!(asked_for.verdict, Verdict::Now);
}

#[test]
fn stopping_ends_every_wait() {
    let mut world = World::new(&defaults(), 4);
    world.attempt(&nobody_listens());
    world.recovery.stop();
    assert_eq!((world.recovery.due(), world.recovery.nudge(world.now)), (None, None));
    let mut world = World::new(&defaults(), 4);
    let plan = world.link(secs(1), &LossCause::Local(LocalCause::Shutdown));
    assert!(plan.retry_at.is_none() && world.recovery.is_stopped());
}

#[test]
fn what_was_asked_for_comes_at_once_even_after_a_short_life() {
    for cause in [LocalCause::Restart, LocalCause::ForeignSession] {
        let mut world = World::new(&defaults(), 4);
        let plan = world.link(secs(2), &LossCause::Local(cause));
        assert_eq!((plan.verdict, world.wait(&plan)), (Verdict::Now, Duration::ZERO));
        let plan = world.link(Duration::ZERO, &LossCause::Local(cause));
        assert!(plan.held_by_budget, "but never above the budget");
    }
}

#[test]
fn a_foreign_session_that_comes_back_each_time_is_a_duel_and_slows_down() {
    let mut world = World::new(&RecoveryConfig { budget: None, ..defaults() }, 4);
    let foreign = LossCause::Local(LocalCause::ForeignSession);
    for _ in 0..2 {
        let plan = world.turned_down(&foreign);
        assert_eq!((plan.verdict, world.wait(&plan), plan.conflict), (Verdict::Now, Duration::ZERO, None));
    }
    for window in [10, 15, 22] {
        let plan = world.turned_down(&foreign);
        assert_eq!((plan.verdict, plan.window.as_secs()), (Verdict::Overloaded, window));
        let words = plan.conflict.clone().expect("the suspicion is named");
        assert!(words.contains("may be another client with the same id"), "{words}");
        world.wait(&plan);
    }
}

#[test]
fn who_asked_for_no_reconnect_ends_a_foreign_session_once() {
    let config = RecoveryConfig { budget: None, reconnect: false, ..defaults() };
    let mut world = World::new(&config, 4);
    let foreign = LossCause::Local(LocalCause::ForeignSession);
    for _ in 0..2 {
        let plan = world.turned_down(&foreign);
        assert_eq!((plan.verdict, world.wait(&plan)), (Verdict::Now, Duration::ZERO));
    }
    assert_eq!(world.turned_down(&foreign).retry_at, None);
}

#[test]
fn an_announced_shutdown_and_a_fleet_are_spread_over_two_seconds() {
    let announced = |seed| {
        let mut world = World::new(&defaults(), seed);
        let plan = world.link(secs(60), &disconnected(ReasonCode::SERVER_SHUTTING_DOWN));
        assert_eq!(plan.verdict, Verdict::Spread);
        world.wait(&plan)
    };
    assert_uniform(&waits(2_000, announced), Duration::ZERO, secs(2));
    let fleet = |seed| {
        let mut world = World::new(&RecoveryConfig { fleet: true, ..defaults() }, seed);
        let plan = world.link(secs(60), &LossCause::PeerClosed);
        world.wait(&plan)
    };
    assert_uniform(&waits(2_000, fleet), Duration::ZERO, secs(2));
}

#[test]
fn our_own_evidence_is_never_spread() {
    let mut world = World::new(&RecoveryConfig { fleet: true, ..defaults() }, 8);
    let context = LossContext { local_evidence: true, ..NEVER_OPEN };
    let plan = world.link_ending(secs(60), &LossCause::PingTimeout(secs(5)), context);
    assert_eq!((plan.verdict, world.wait(&plan)), (Verdict::Now, Duration::ZERO));
}

#[test]
fn the_limits_double_on_expiry_and_halve_on_success() {
    let mut world = World::new(&defaults(), 1);
    // Opening has its whole 10 s from the start: who waits for a SYN to be answered is in no queue.
    let mut limits = Vec::new();
    for _ in 0..4 {
        let attempt = world.begin();
        limits.push((attempt.connect_limit.as_secs(), attempt.connack_limit.as_secs()));
        let context = NEVER_OPEN;
        world.recovery.lost(&LossCause::ConnectTimeout(attempt.connect_limit), context, world.now);
    }
    assert_eq!(limits, [(10, 30); 4]);
    for _ in 0..2 {
        world.begin();
        world.reach();
        let context = NEVER_OPEN;
        world.recovery.lost(&LossCause::ConnackTimeout(secs(30)), context, world.now);
    }
    let mut limits = Vec::new();
    for _ in 0..3 {
        let attempt = world.begin();
        limits.push((attempt.connect_limit.as_secs(), attempt.connack_limit.as_secs()));
        world.reach();
        world.recovery.link_up(world.now);
        world.pass(secs(300));
        let context = LossContext { lasted: Some(secs(300)), ..NEVER_OPEN };
        world.recovery.lost(&LossCause::PeerClosed, context, world.now);
    }
    assert_eq!(limits, [(10, 60), (10, 30), (10, 30)]);
}

#[test]
fn a_short_limit_of_opening_grows_to_ten_seconds_and_no_further() {
    for (set, most) in [(secs(2), secs(10)), (secs(12), secs(12)), (millis(100), secs(1))] {
        let link = LinkConfig { connect_timeout: set, ..LinkConfig::default() };
        let mut recovery = Recovery::new(&defaults().into(), &link, VersionPolicy::Prefer5, 1, 1);
        let mut now = Timestamp::ZERO;
        recovery.start(now);
        for _ in 0..9 {
            now = recovery.due().expect("an attempt is planned");
            recovery.begin_attempt(now);
            let context = NEVER_OPEN;
            recovery.lost(&LossCause::ConnectTimeout(set), context, now);
        }
        assert_eq!(recovery.begin_attempt(now).connect_limit, most);
    }
}

#[test]
fn a_limit_of_opening_that_grew_comes_down_as_brokers_are_reached() {
    let link = LinkConfig { connect_timeout: secs(2), ..LinkConfig::default() };
    let mut recovery = Recovery::new(&defaults().into(), &link, VersionPolicy::Prefer5, 1, 1);
    recovery.start(Timestamp::ZERO);
    let mut limits = Vec::new();
    for reached in [false, false, false, true, true, true, true] {
        let now = recovery.due().expect("an attempt is planned");
        limits.push(recovery.begin_attempt(now).connect_limit);
        if reached {
            recovery.reached_broker(now);
            recovery.lost(&refused(ReasonCode::SERVER_BUSY), NEVER_OPEN, now);
        } else {
            recovery.lost(&LossCause::ConnectTimeout(secs(2)), NEVER_OPEN, now);
        }
    }
    assert_eq!(limits, [2_000, 4_000, 8_000, 10_000, 5_000, 2_500, 2_000].map(millis));
}

#[test]
fn who_was_not_let_into_the_queue_stays_longer_in_it_next_time() {
    // The rest of the limit's way is for those who stood in the queue and saw for themselves.
    let kernel = open_failed(TransportErrorKind::TimedOut);
    for cause in [LossCause::ConnectTimeout(secs(1)), kernel] {
        for (set, limits) in [(1, [2, 4, 8, 10]), (8, [16, 30, 30, 30]), (30, [30; 4]), (45, [45; 4])] {
            let link =
                LinkConfig { connect_timeout: secs(1), connack_timeout: secs(set), ..LinkConfig::default() };
            let mut recovery = Recovery::new(&defaults().into(), &link, VersionPolicy::Prefer5, 1, 1);
            recovery.start(Timestamp::ZERO);
            for limit in limits {
                let now = recovery.due().expect("an attempt is planned");
                recovery.begin_attempt(now);
                recovery.lost(&cause, NEVER_OPEN, now);
                assert_eq!(recovery.begin_attempt(now).connack_limit, secs(limit), "{cause}, {set} s");
                recovery.lost(&nobody_listens(), NEVER_OPEN, now);
            }
        }
    }
}

#[test]
fn scaled_down_limits_stay_scaled_down_and_longer_ones_stay_long() {
    for (set, most) in [(millis(200), secs(2)), (secs(90), secs(90))] {
        let link = LinkConfig { connack_timeout: set, ..LinkConfig::default() };
        let mut recovery = Recovery::new(&defaults().into(), &link, VersionPolicy::Prefer5, 1, 1);
        let mut now = Timestamp::ZERO;
        recovery.start(now);
        for _ in 0..9 {
            now = recovery.due().expect("an attempt is planned");
            recovery.begin_attempt(now);
            let context = NEVER_OPEN;
            recovery.lost(&LossCause::ConnackTimeout(set), context, now);
        }
        assert_eq!(recovery.begin_attempt(now).connack_limit, most);
    }
}

#[test]
fn attempts_are_numbered_from_the_last_link() {
    let mut world = World::new(&defaults(), 1);
    for number in 1..=3 {
        assert_eq!(world.begin().number, number);
        assert_eq!(world.recovery.attempts(), number);
        let context = NEVER_OPEN;
        world.recovery.lost(&nobody_listens(), context, world.now);
    }
    world.link(secs(1), &LossCause::PeerClosed);
    assert_eq!(world.begin().number, 1);
}

#[test]
fn out_of_descriptors_waits_one_to_two_seconds() {
    for seed in 0..200 {
        let mut world = World::new(&defaults(), seed);
        let plan = world.attempt(&open_failed(TransportErrorKind::Resources));
        assert_eq!(plan.verdict, Verdict::Absent);
        assert!(world.wait(&plan) >= secs(1) && world.wait(&plan) <= secs(2), "{plan:?}");
    }
}

#[test]
fn an_untrusted_server_is_asked_again_after_a_minute_or_more() {
    for seed in 0..200 {
        let mut world = World::new(&defaults(), seed);
        let plan = world.attempt(&open_failed(TransportErrorKind::Certificate));
        assert_eq!((plan.verdict, plan.slow_lane), (Verdict::Untrusted, false));
        let wait = world.wait(&plan);
        assert!(wait >= secs(60) && wait <= secs(90), "{wait:?}");
    }
}

#[test]
fn missing_credentials_widen_no_window_of_the_broker() {
    let mut world = World::with(&defaults(), VersionPolicy::Prefer5, 2, 7);
    let mut last = Duration::ZERO;
    for _ in 0..6 {
        let plan = world.attempt(&open_failed(TransportErrorKind::Credentials));
        assert_eq!((plan.verdict, plan.server), (Verdict::Absent, 0), "no server is to blame");
        assert!(plan.window >= last, "its own window widens");
        last = plan.window;
    }
    assert!(last > secs(2), "{last:?}");
    let plan = world.attempt(&nobody_listens());
    assert_eq!(plan.verdict, Verdict::NextServer);
    let plan = world.attempt(&nobody_listens());
    assert_eq!(plan.window, secs(2), "the first window of brokers that are absent");
}

#[test]
fn a_handshake_that_runs_out_gets_a_longer_limit() {
    let mut world = World::new(&defaults(), 3);
    let timed_out = |stage| {
        let error = TransportError::new(TransportErrorKind::TimedOut, "scripted");
        LossCause::Open { stage, error }
    };
    world.attempt(&timed_out(Stage::Tls));
    let attempt = world.begin();
    let limits = (attempt.connect_limit, attempt.connack_limit);
    assert_eq!(limits, (secs(10), secs(60)), "an unanswered SYN holds no place in the broker");
}

#[test]
fn a_limit_that_did_not_run_out_stays_as_it_is() {
    use TransportErrorKind as T;
    for (stage, kind) in [
        (Stage::Tcp, T::Refused),
        (Stage::Tcp, T::Reset),
        (Stage::Tls, T::Handshake),
        (Stage::Tls, T::Certificate),
        (Stage::WebSocket, T::Closed),
    ] {
        let link = LinkConfig { connect_timeout: secs(2), ..LinkConfig::default() };
        let mut recovery = Recovery::new(&defaults().into(), &link, VersionPolicy::Prefer5, 1, 1);
        let now = Timestamp::ZERO;
        recovery.start(now);
        recovery.begin_attempt(now);
        let error = TransportError::new(kind, "scripted");
        recovery.lost(&LossCause::Open { stage, error }, NEVER_OPEN, now);
        let next = recovery.begin_attempt(now);
        assert_eq!((next.connect_limit, next.connack_limit), (secs(2), secs(30)), "{kind:?}");
    }
}

#[test]
fn all_times_scale_together() {
    let config = defaults().divided_by(10);
    let mut world = World::new(&config, 6);
    assert_eq!(world.link(millis(2_999), &reset()).window, secs(1));
    assert_eq!(world.link(secs(3), &reset()).verdict, Verdict::Now);
    assert_eq!(world.attempt(&nobody_listens()).window, millis(200));
    let plan = world.turned_down(&refused(ReasonCode::BANNED));
    assert!(world.wait(&plan) >= secs(30) && world.wait(&plan) <= millis(37_500));
}

/// An hour of everything that can happen, in an order the seed decides.
fn an_hour_of_anything(seed: u64) -> (World, Vec<Plan>) {
    let mut dice = super::super::chance::Chance::new(seed ^ 0xD1CE);
    let mut world = World::with(&defaults(), VersionPolicy::Prefer5, 1 + (seed as usize % 3), seed);
    let end = world.now + secs(3_600);
    let mut plans = Vec::new();
    while world.now < end {
        let code = ReasonCode::ALL[dice.below(ReasonCode::ALL.len() as u64) as usize];
        let life = dice.between(Duration::ZERO, secs(90));
        let plan = match dice.below(8) {
            0 => world.attempt(&nobody_listens()),
            1 => world.attempt(&LossCause::ConnectTimeout(secs(10))),
            2 => world.turned_down(&LossCause::ClosedBeforeConnack),
            3 => world.turned_down(&refused(code)),
            4 => world.link(life, &disconnected(code)),
            5 => world.link(life, &reset()),
            6 => world.link(Duration::ZERO, &LossCause::PeerClosed),
            _ => world.link(life, &LossCause::Local(LocalCause::Restart)),
        };
        if dice.below(3) == 0 {
            world.recovery.nudge(world.now);
        }
        plans.push(plan);
    }
    (world, plans)
}

#[test]
fn whatever_happens_the_budget_holds_and_nothing_stops_for_good() {
    for seed in 0..300 {
        let (world, plans) = an_hour_of_anything(seed);
        world.assert_within_budget();
        assert!(plans.iter().all(|plan| plan.retry_at.is_some()));
    }
}

#[test]
fn the_same_seed_gives_the_same_hour() {
    for seed in 0..20 {
        assert_eq!(an_hour_of_anything(seed).1, an_hour_of_anything(seed).1);
    }
    assert_ne!(an_hour_of_anything(1).1, an_hour_of_anything(4).1);
}

#[test]
fn a_stable_link_forgets_all_that_went_wrong_before() {
    let mut world = World::new(&defaults(), 1);
    for _ in 0..4 {
        world.attempt(&nobody_listens());
        world.turned_down(&refused(ReasonCode::BANNED));
    }
    for _ in 0..3 {
        let plan = world.link(secs(3_600), &disconnected(ReasonCode::PROTOCOL_ERROR));
        assert_eq!(plan.verdict, Verdict::Now, "once an hour is never the second time");
    }
    world.pass(secs(60));
    assert_eq!(world.attempt(&nobody_listens()).window, secs(2));
    assert_eq!(world.turned_down(&refused(ReasonCode::BANNED)).window, secs(300));
}

#[test]
fn an_open_link_ends_a_run_of_refusals() {
    let mut world = World::new(&defaults(), 1);
    for _ in 0..3 {
        let plan = world.turned_down(&refused(ReasonCode::MALFORMED_PACKET));
        assert_eq!(plan.verdict, Verdict::Now);
        world.link(secs(1), &LossCause::PeerClosed);
    }
}
