//! Codes with a course of their own: takeover, credentials, bans, versions, suspicion.

use super::super::Adapt;
use super::*;

fn defaults() -> RecoveryConfig {
    RecoveryConfig::default()
}

fn with_fresh_credentials() -> RecoveryConfig {
    RecoveryConfig { fresh_credentials: true, ..defaults() }
}

fn taken_over() -> LossCause {
    disconnected(ReasonCode::SESSION_TAKEN_OVER)
}

#[test]
fn a_takeover_duel_ends_in_the_slow_lane_with_the_conflict_named() {
    // [MQTT-3.1.4-3]
    for life in [millis(1), secs(10), secs(40), secs(299)] {
        let mut world = World::new(&defaults(), 11);
        let first = world.link(life, &taken_over());
        assert_eq!((first.verdict, first.conflict.clone()), (Verdict::Takeover, None));
        assert!(world.wait(&first) >= secs(5) && world.wait(&first) <= secs(15));
        let second = world.link(life, &taken_over());
        assert_eq!(second.verdict, Verdict::Takeover);
        assert!(world.wait(&second) >= secs(10) && world.wait(&second) <= secs(30));
        let mut windows = Vec::new();
        for n in 3..8 {
            let parked = world.link(life, &taken_over());
            assert_eq!((parked.verdict, parked.slow_lane), (Verdict::SlowLane, true));
            let words = parked.conflict.expect("the conflict is named");
            assert!(words.contains("same client id") && words.contains(&format!("{n} times")), "{words}");
            windows.push(parked.window.as_secs() / 60);
        }
        assert_eq!(windows, [5, 10, 20, 40, 60], "waiting in the slow lane does not end the duel");
    }
}

#[test]
fn the_waits_of_a_duel_are_uniform() {
    let first = waits(2_000, |seed| {
        let mut world = World::new(&defaults(), seed);
        let plan = world.link(secs(60), &taken_over());
        world.wait(&plan)
    });
    assert_uniform(&first, secs(5), secs(15));
}

#[test]
fn a_link_that_outlives_the_memory_ends_the_duel() {
    let mut world = World::new(&defaults(), 11);
    for _ in 0..5 {
        world.link(secs(1), &taken_over());
    }
    let plan = world.link(secs(300), &taken_over());
    assert_eq!((plan.verdict, plan.conflict), (Verdict::Takeover, None));
}

#[test]
fn it_does_so_whatever_ended_it() {
    for cause in [LossCause::PeerClosed, reset(), LossCause::PingTimeout(secs(5))] {
        let third_after = |life| {
            let mut world = World::new(&defaults(), 11);
            for _ in 0..2 {
                world.link(secs(1), &taken_over());
            }
            world.link(life, &cause);
            world.link(secs(1), &taken_over()).verdict
        };
        assert_eq!(third_after(secs(299)), Verdict::SlowLane, "{cause:?}");
        assert_eq!(third_after(secs(300)), Verdict::Takeover, "{cause:?}: hours later, it is another duel");
    }
}

#[test]
fn a_takeover_of_an_attempt_is_not_counted() {
    let mut world = World::new(&defaults(), 11);
    for _ in 0..4 {
        assert_ne!(world.turned_down(&taken_over()).verdict, Verdict::SlowLane, "as if it were the first");
        world.recovery.nudge(world.now);
    }
    assert_eq!(world.link(secs(60), &taken_over()).verdict, Verdict::Takeover);
}

#[test]
fn a_refused_login_that_cannot_change_goes_to_the_slow_lane() {
    let mut world = World::new(&defaults(), 1);
    let plan = world.turned_down(&refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    assert_eq!((plan.verdict, plan.window), (Verdict::SlowLane, secs(300)));
}

#[test]
fn fresh_credentials_get_three_refusals() {
    let mut world = World::new(&with_fresh_credentials(), 1);
    for _ in 0..3 {
        let plan = world.turned_down(&refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
        assert_eq!(plan.verdict, Verdict::Credentials);
        assert!(world.wait(&plan) <= secs(1), "at once, but for the budget");
    }
    let plan = world.turned_down(&refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    assert_eq!(plan.verdict, Verdict::SlowLane);
    world.link(secs(60), &LossCause::PeerClosed);
    let plan = world.turned_down(&refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    assert_eq!(plan.verdict, Verdict::Credentials, "credentials that worked once may have expired since");
}

#[test]
fn refusals_that_alternate_do_not_fetch_for_ever() {
    let mut world = World::new(&with_fresh_credentials(), 1);
    let mut fetched = 0;
    for n in 0..40 {
        let code = [ReasonCode::BAD_USER_NAME_OR_PASSWORD, ReasonCode::NOT_AUTHORIZED][n % 2];
        fetched += u32::from(world.turned_down(&refused(code)).verdict == Verdict::Credentials);
    }
    assert_eq!(fetched, 3);
}

#[test]
fn missing_rights_are_waited_for_a_minute_or_more() {
    // [MQTT-3.1.4-2] [MQTT-4.12.0-1]
    let mut world = World::new(&with_fresh_credentials(), 1);
    assert_eq!(world.turned_down(&refused(ReasonCode::NOT_AUTHORIZED)).verdict, Verdict::Credentials);
    assert_eq!(world.turned_down(&refused(ReasonCode::NOT_AUTHORIZED)).verdict, Verdict::Unauthorized);
    let wait = waits(2_000, |seed| {
        let mut world = World::new(&defaults(), seed);
        let plan = world.turned_down(&refused(ReasonCode::NOT_AUTHORIZED));
        assert_eq!(plan.verdict, Verdict::Unauthorized);
        world.wait(&plan)
    });
    assert_uniform(&wait, secs(60), secs(90));
}

#[test]
fn a_ban_is_never_shortened_by_jitter() {
    let mut world = World::new(&defaults(), 1);
    let mut minutes = Vec::new();
    for _ in 0..6 {
        let plan = world.turned_down(&refused(ReasonCode::BANNED));
        assert_eq!(plan.verdict, Verdict::Banned);
        assert!(world.wait(&plan) >= plan.window && world.wait(&plan) <= plan.window * 5 / 4);
        minutes.push(plan.window.as_secs() / 60);
    }
    assert_eq!(minutes, [5, 10, 20, 40, 60, 60]);
}

#[test]
fn an_administrative_close_waits_half_a_minute_to_a_minute_and_is_then_overload() {
    let first = waits(2_000, |seed| {
        let mut world = World::new(&defaults(), seed);
        let plan = world.link(secs(60), &disconnected(ReasonCode::ADMINISTRATIVE_ACTION));
        assert_eq!(plan.verdict, Verdict::Administrative);
        world.wait(&plan)
    });
    assert_uniform(&first, secs(30), secs(60));
    let mut world = World::new(&defaults(), 1);
    world.link(secs(1), &disconnected(ReasonCode::ADMINISTRATIVE_ACTION));
    let plan = world.link(secs(1), &disconnected(ReasonCode::ADMINISTRATIVE_ACTION));
    assert_eq!((plan.verdict, plan.window), (Verdict::Overloaded, secs(10)));
}

#[test]
fn an_explicit_refusal_of_5_0_is_answered_with_3_1_1_at_once_and_remembered() {
    let mut world = World::new(&defaults(), 1);
    let plan = world.turned_down(&refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    assert_eq!(plan.adapt, Some(Adapt::SpeakV311));
    assert_eq!((plan.verdict, plan.window), (Verdict::Adapt(Adapt::SpeakV311), Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(world.recovery.version_for(0), Version::V311);
        world.link(secs(100), &LossCause::PeerClosed);
    }
}

#[test]
fn a_server_that_refuses_both_versions_goes_to_the_slow_lane() {
    // [MQTT-3.1.2-2]
    let mut world = World::new(&defaults(), 1);
    world.turned_down(&refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    let plan = world.turned_down(&refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    assert_eq!(plan.verdict, Verdict::SlowLane);
    assert_eq!(world.recovery.version_for(0), Version::V5, "a new broker may stand there next time");
    for policy in [VersionPolicy::Only5, VersionPolicy::Only311] {
        let mut world = World::with(&defaults(), policy, 1, 1);
        let plan = world.turned_down(&refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
        assert_eq!(plan.verdict, Verdict::SlowLane);
    }
}

#[test]
fn the_version_is_changed_even_where_losses_are_final() {
    let mut world = World::new(&RecoveryConfig { reconnect: false, ..defaults() }, 1);
    let plan = world.turned_down(&refused(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    assert_eq!(plan.verdict, Verdict::Adapt(Adapt::SpeakV311));
}

#[test]
fn two_silent_closes_where_5_0_never_worked_try_3_1_1() {
    // [MQTT311-3.2.2-6]
    let mut world = World::new(&defaults(), 1);
    assert_eq!(world.turned_down(&LossCause::ClosedBeforeConnack).verdict, Verdict::Overloaded);
    let plan = world.turned_down(&LossCause::ClosedBeforeConnack);
    assert_eq!(plan.adapt, Some(Adapt::SpeakV311));
    assert!(world.wait(&plan) <= secs(1));
    world.link(secs(100), &LossCause::PeerClosed);
    for _ in 0..4 {
        world.turned_down(&LossCause::ClosedBeforeConnack);
        assert_eq!(world.recovery.version_for(0), Version::V311, "it worked once, so it is not the version");
    }
}

#[test]
fn missing_credentials_between_two_silent_closes_do_not_put_off_3_1_1() {
    let mut world = World::new(&defaults(), 1);
    world.turned_down(&LossCause::ClosedBeforeConnack);
    world.attempt(&open_failed(TransportErrorKind::Credentials));
    let plan = world.turned_down(&LossCause::ClosedBeforeConnack);
    assert_eq!(plan.adapt, Some(Adapt::SpeakV311), "no server was asked in between");
}

#[test]
fn where_3_1_1_is_closed_as_well_5_0_is_spoken_again() {
    let mut world = World::new(&defaults(), 1);
    let mut spoken = Vec::new();
    for _ in 0..16 {
        spoken.push(world.recovery.version_for(0));
        let plan = world.turned_down(&LossCause::ClosedBeforeConnack);
        if spoken.len() > 3 {
            assert!(world.wait(&plan) >= secs(5), "a second guess is in no hurry");
        }
    }
    let guesses: Vec<_> =
        spoken.iter().enumerate().filter(|(_, v)| **v == Version::V311).map(|(n, _)| n).collect();
    assert_eq!(guesses, [2, 7], "tried once, then after twice as many closes");
}

#[test]
fn two_closes_that_were_not_in_a_row_prove_nothing() {
    let mut world = World::new(&defaults(), 1);
    for _ in 0..5 {
        world.turned_down(&LossCause::ClosedBeforeConnack);
        world.turned_down(&LossCause::ConnackTimeout(secs(30)));
        assert_eq!(world.recovery.version_for(0), Version::V5);
    }
    let mut world = World::new(&defaults(), 1);
    for _ in 0..6 {
        world.turned_down(&LossCause::ClosedBeforeConnack); // two at 5.0, one at 3.1.1, three at 5.0
    }
    world.turned_down(&LossCause::ConnackTimeout(secs(30)));
    for _ in 0..3 {
        world.turned_down(&LossCause::ClosedBeforeConnack);
        assert_eq!(world.recovery.version_for(0), Version::V5, "the next guess takes four in a row");
    }
    world.turned_down(&LossCause::ClosedBeforeConnack);
    assert_eq!(world.recovery.version_for(0), Version::V311);
}

#[test]
fn where_5_0_worked_once_a_close_is_never_taken_for_the_version() {
    let mut world = World::new(&defaults(), 1);
    world.link(secs(1), &LossCause::PeerClosed);
    for _ in 0..6 {
        assert_eq!(world.turned_down(&LossCause::ClosedBeforeConnack).verdict, Verdict::Overloaded);
    }
}

#[test]
fn at_3_1_1_closes_soon_after_connack_name_a_suspicion_and_stop_nothing() {
    // [MQTT311-3.1.4-2]
    let mut world = World::with(&defaults(), VersionPolicy::Only311, 1, 1);
    let unacked = LossContext { unacked: true, version: Version::V311, ..NEVER_OPEN };
    for n in 1..30 {
        let plan = world.link_ending(secs(2), &LossCause::PeerClosed, unacked);
        assert_eq!(plan.verdict, Verdict::Overloaded);
        assert_eq!(plan.conflict.is_some(), n >= 3);
        if let Some(words) = plan.conflict {
            assert!(words.contains(
                "may be another client with the same id, or a message or subscription the broker refuses"
            ));
        }
    }
    assert_eq!(world.link(secs(6), &LossCause::PeerClosed).conflict, None);

    let mut world = World::new(&defaults(), 1);
    for _ in 0..5 {
        assert_eq!(
            world.link(secs(2), &LossCause::PeerClosed).conflict,
            None,
            "at 5.0 the broker would say so"
        );
    }
}

#[test]
fn at_3_1_1_only_links_of_less_than_five_seconds_name_a_suspicion() {
    for (life, suspicious) in [(millis(4_999), true), (secs(5), false)] {
        let mut world = World::with(&defaults(), VersionPolicy::Only311, 1, 1);
        for _ in 0..2 {
            world.link(life, &LossCause::PeerClosed);
        }
        let plan = world.link(life, &LossCause::PeerClosed);
        assert_eq!(plan.conflict.is_some(), suspicious, "{life:?}");
    }
}

#[test]
fn what_answers_like_no_broker_goes_to_the_slow_lane_after_three() {
    let cause = LossCause::Protocol(crate::error::ProtocolError::new(ReasonCode::MALFORMED_PACKET, "HTTP"));
    let mut world = World::new(&defaults(), 1);
    let verdicts: Vec<_> = (0..4).map(|_| world.turned_down(&cause).verdict).collect();
    assert_eq!(verdicts, [Verdict::Overloaded, Verdict::Overloaded, Verdict::SlowLane, Verdict::SlowLane]);
}

#[test]
fn what_was_counted_differently_is_changed_for_this_server() {
    let mut world = World::new(&defaults(), 1);
    let plan = world.link(secs(60), &disconnected(ReasonCode::TOPIC_ALIAS_INVALID));
    assert_eq!((plan.verdict, plan.adapt), (Verdict::Now, Some(Adapt::AliasesOff)));
    assert!(world.begin().clean_of_aliases);
    for (code, adapt) in [
        (ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, Adapt::HalveWindow),
        (ReasonCode::KEEP_ALIVE_TIMEOUT, Adapt::PingMoreOften),
    ] {
        let mut world = World::new(&defaults(), 1);
        let plan = world.link(secs(60), &disconnected(code));
        assert_eq!((plan.verdict, plan.adapt), (Verdict::Now, Some(adapt)));
        let plan = world.link(secs(1), &disconnected(code));
        assert_eq!((plan.verdict, plan.adapt), (Verdict::Overloaded, Some(adapt)));
    }
}

#[test]
fn what_slows_links_of_one_server_down_concerns_no_other_and_is_taken_back_by_those_that_hold() {
    for code in [ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, ReasonCode::KEEP_ALIVE_TIMEOUT] {
        let steps = |world: &mut World| {
            let server = world.recovery.servers.now();
            match code {
                ReasonCode::KEEP_ALIVE_TIMEOUT => (server.ping_quarters, server.window_halvings),
                _ => (server.window_halvings, server.ping_quarters),
            }
        };
        let mut world = World::with(&defaults(), VersionPolicy::Prefer5, 2, 1);
        world.link(secs(600), &disconnected(code));
        world.link(secs(1), &LossCause::PeerClosed);
        assert_eq!(steps(&mut world), (1, 0), "one that did not hold takes nothing back");
        (0..20).for_each(|_| drop(world.link(secs(600), &disconnected(code))));
        assert_eq!(steps(&mut world), (15, 0), "no further than anything is left");
        world.attempt(&nobody_listens());
        assert_eq!((world.recovery.server(), steps(&mut world)), (1, (0, 0)));
        world.attempt(&nobody_listens());
        let attempt = world.begin();
        assert_eq!((attempt.server, attempt.window_halvings + attempt.ping_quarters), (0, 15));
        world.recovery.lost(&nobody_listens(), NEVER_OPEN, world.now);
        assert_eq!((world.recovery.server(), steps(&mut world)), (1, (0, 0)));
        world.attempt(&nobody_listens());
        for left in (0..15).rev() {
            world.link(secs(600), &LossCause::PeerClosed);
            assert_eq!(steps(&mut world), (left, 0));
        }
        world.link(secs(600), &LossCause::PeerClosed);
        assert_eq!(steps(&mut world), (0, 0));
    }
}

#[test]
fn a_suspect_message_is_isolated_at_the_pace_of_the_link() {
    let mut world = World::new(&defaults(), 1);
    let plan = world.link(secs(60), &disconnected(ReasonCode::PACKET_TOO_LARGE));
    assert_eq!((plan.verdict, world.wait(&plan)), (Verdict::Quarantine, Duration::ZERO));
    let plan = world.link(secs(1), &disconnected(ReasonCode::PACKET_TOO_LARGE));
    assert_eq!((plan.verdict, plan.window), (Verdict::Quarantine, secs(10)));
}

#[test]
fn the_slow_lane_waits_until_a_suspect_was_found() {
    let unacked = LossContext { unacked: true, ..NEVER_OPEN };
    let mut world = World::new(&defaults(), 1);
    let mut verdicts = Vec::new();
    for _ in 0..6 {
        verdicts.push(world.link_ending(secs(1), &disconnected(ReasonCode::PROTOCOL_ERROR), unacked).verdict);
    }
    assert_eq!(verdicts[..2], [Verdict::Overloaded, Verdict::Quarantine]);
    assert_eq!(
        verdicts[2..],
        [Verdict::Quarantine, Verdict::Quarantine, Verdict::Quarantine, Verdict::SlowLane]
    );
}

#[test]
fn a_server_that_moved_is_named_to_the_person_who_can_follow() {
    let mut world = World::new(&defaults(), 1);
    let plan = world.turned_down(&LossCause::Refused {
        reason: ReasonCode::SERVER_MOVED,
        text: None,
        server_reference: Some("mq2.example:1883".into()),
        v311_form: false,
        maximum_qos: None,
    });
    assert_eq!(plan.verdict, Verdict::SlowLane);
    assert!(plan.note.expect("it is named").contains("mq2.example:1883"));
}

#[test]
fn every_verdict_has_words_and_a_name() {
    let all = [
        Verdict::Now,
        Verdict::Spread,
        Verdict::Absent,
        Verdict::Overloaded,
        Verdict::NextServer,
        Verdict::Credentials,
        Verdict::Adapt(Adapt::SpeakV311),
        Verdict::Quarantine,
        Verdict::Takeover,
        Verdict::Banned,
        Verdict::Administrative,
        Verdict::Unauthorized,
        Verdict::SlowLane,
        Verdict::Stop,
    ];
    let mut names: Vec<_> = all.iter().map(|v| v.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert_eq!(Verdict::Adapt(Adapt::SpeakV311).to_string(), "tries again speaking MQTT 3.1.1");
}
