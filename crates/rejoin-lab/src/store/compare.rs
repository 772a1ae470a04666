//! Whether what a store gives back is what its records add up to.

use rejoin_core::{Recovered, Waits};

/// Attempts a store must remember.
const REACHED_LEAST: usize = 12;

/// The first difference between what was found and what [`Recovered::replay`] says; `None`: there is none that counts.
///
/// Bodies may stay on the store, names may be reserved ahead, older attempts may be forgotten, and times of expiry may
/// differ by `slack_ms`, because a store counts them by a clock of its own.
pub fn difference(found: &Recovered, expected: &Recovered, slack_ms: u64) -> Option<String> {
    if found.waiting.len() != expected.waiting.len() {
        let ids = |waiting: &[Waits]| waiting.iter().map(|waits| waits.id.0).collect::<Vec<_>>();
        return Some(format!("waiting: {:?}, not {:?}", ids(&found.waiting), ids(&expected.waiting)));
    }
    for (one, other) in found.waiting.iter().zip(&expected.waiting) {
        let body = one.body.is_none() || one.body == other.body;
        let mut same = one.clone();
        same.body.clone_from(&other.body);
        same.expires_wall_ms = nearly(one.expires_wall_ms, other.expires_wall_ms, slack_ms);
        if !body || same != *other {
            return Some(format!("waiting: {one:?}, not {other:?}"));
        }
    }
    let mut sent = found.sent.clone();
    for (one, other) in sent.iter_mut().zip(&expected.sent) {
        one.expires_wall_ms = nearly(one.expires_wall_ms, other.expires_wall_ms, slack_ms);
    }
    if sent != expected.sent {
        return Some(format!("sent: {sent:?}, not {:?}", expected.sent));
    }
    if found.leased != expected.leased {
        return Some(format!("leased: {:?}, not {:?}", found.leased, expected.leased));
    }
    if found.undecided != expected.undecided {
        return Some(format!("undecided: {:?}, not {:?}", found.undecided, expected.undecided));
    }
    if found.held != expected.held {
        return Some(format!("held: {:?}, not {:?}", found.held, expected.held));
    }
    let session = |r: &Recovered| (r.epoch, r.server.clone(), r.connack_unseen, r.client_id.clone());
    if session(found) != session(expected) {
        return Some(format!("session: {:?}, not {:?}", session(found), session(expected)));
    }
    let (found_at, expected_at) = (&found.reached_wall_ms, &expected.reached_wall_ms);
    if !expected_at.ends_with(found_at) || found_at.len() < expected_at.len().min(REACHED_LEAST) {
        return Some(format!("attempts: {found_at:?}, not the last of {expected_at:?}"));
    }
    if found.last_publish < expected.last_publish || found.last_message < expected.last_message {
        let names = |r: &Recovered| (r.last_publish, r.last_message);
        return Some(format!("names would be used again: {:?} below {:?}", names(found), names(expected)));
    }
    None
}

/// The second time, if the first is close to it.
fn nearly(one: Option<u64>, other: Option<u64>, slack_ms: u64) -> Option<u64> {
    match (one, other) {
        (Some(a), Some(b)) if a.abs_diff(b) <= slack_ms => Some(b),
        _ => one,
    }
}
