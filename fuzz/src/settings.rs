//! Any settings: refused in words, or an engine that tries, waits and does not spin.

use std::time::Duration;

use rejoin_core::{
    Config, Engine, Input, Now, Output, ServerPolicy, SessionMode, Stage, Text, Timestamp, TransportError,
    TransportErrorKind, VersionPolicy,
};

use super::input::Choices;

/// Attempts that are made to fail, one after another.
const ATTEMPTS: usize = 40;

/// Settings from bytes, and forty failures.
pub fn settings(data: &[u8]) {
    let mut choices = Choices::new(data);
    let config = config(&mut choices);
    let start = Now::new(Timestamp::from_micros(0), 1);
    let Ok(mut engine) =
        Engine::new(config.clone(), rejoin_core::Recovered::default(), u64::from(choices.number()), start)
    else {
        let error = config.check().expect_err("the engine refuses what the check refuses");
        assert!(!error.to_string().is_empty());
        return;
    };
    assert!(config.check().is_ok());
    let mut now = start;
    for _ in 0..ATTEMPTS {
        let mut opening = attempt(&mut engine, now);
        let Some((due, _)) = engine.deadline().filter(|_| !opening) else {
            if !opening {
                return;
            }
            let kind =
                [TransportErrorKind::Refused, TransportErrorKind::TimedOut, TransportErrorKind::Resources]
                    [usize::from(choices.byte() % 3)];
            let error = TransportError::new(kind, "no");
            engine.handle(Input::OpenFailed { stage: Stage::Tcp, error }, now);
            while let Some(output) = engine.poll() {
                opening |= matches!(output, Output::Open { .. });
            }
            continue;
        };
        if due == Timestamp::NEVER {
            return;
        }
        now = Now::new(due.max(now.mono), now.wall_ms + 1);
    }
}

fn attempt(engine: &mut Engine, now: Now) -> bool {
    engine.handle(Input::Tick, now);
    let mut opening = false;
    while let Some(output) = engine.poll() {
        opening |= matches!(output, Output::Open { .. });
    }
    opening
}

/// Times from zero to years, numbers from zero to the largest.
pub(crate) fn config(choices: &mut Choices<'_>) -> Config {
    let server = Text::from_static("broker:1883");
    let id = ["", "c", "a longer name"][usize::from(choices.byte() % 3)];
    let mut config = Config::new(Text::from_static(id), server.clone());
    config.servers = vec![server; usize::from(choices.byte() % 4)];
    config.version = [VersionPolicy::Prefer5, VersionPolicy::Only5, VersionPolicy::Only311]
        [usize::from(choices.byte() % 3)];
    config.session.mode = match choices.flag() {
        true => SessionMode::Kept(time(choices)),
        false => SessionMode::Fresh { linger: time(choices) },
    };
    config.session.packet_id_max = choices.word();
    config.session.in_flight_max = choices.flag().then(|| choices.word());
    let link = &mut *config.link;
    link.keep_alive = time(choices);
    for limit in [
        &mut link.ping_after,
        &mut link.ping_timeout,
        &mut link.write_timeout,
        &mut link.ack_timeout,
        &mut link.connect_timeout,
        &mut link.connack_timeout,
    ] {
        *limit = time(choices);
    }
    link.health_watch = choices.flag().then(|| time(choices));
    link.maximum_packet_size = choices.number();
    link.receive_maximum = choices.word();
    let recovery = &mut *config.recovery;
    for window in [&mut recovery.absent, &mut recovery.overload, &mut recovery.slow_lane] {
        window.first = time(choices);
        window.cap = time(choices);
        window.growth_percent = choices.number();
    }
    recovery.absent_cap_long = time(choices);
    recovery.spread = time(choices);
    recovery.fleet = choices.flag();
    recovery.servers = if choices.flag() { ServerPolicy::Shuffled } else { ServerPolicy::Ordered };
    recovery.reconnect = !choices.flag();
    if let Some(budget) = &mut recovery.budget {
        budget.spacing = time(choices);
        budget.period = time(choices);
        budget.per_period = choices.number();
    }
    config
}

fn time(choices: &mut Choices<'_>) -> Duration {
    match choices.byte() {
        0xFF => Duration::MAX,
        0xFE => Duration::from_secs(u64::from(choices.number())),
        small => Duration::from_millis(u64::from(small) * 37),
    }
}
