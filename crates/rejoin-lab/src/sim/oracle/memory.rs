//! What a client holds is bounded by its settings and by what it was given (O19).

use rejoin_core::{HeldCounts, Version};

use super::Alarm;
use crate::sim::client::Client;
use crate::sim::world::Ruling;

/// The largest packet of the simulation's applications, in bytes, properties included.
const LARGEST: usize = 300;
/// The smallest waiting message: topic and name.
const SMALLEST: u64 = 11;
/// Places of exchanges that are over, beside as many as there are exchanges.
const SPARE_PLACES: usize = 66;
/// In flight at most, where the settings name no number.
const WINDOW: usize = 1000;

/// What a client holds while things go wrong.
pub(in crate::sim) fn bounded(c: usize, client: &Client) -> Ruling {
    let held = client.engine.held();
    let link = &client.config.link;
    let window = client.config.session.in_flight_max.map_or(WINDOW, usize::from);
    let receives = usize::from(link.receive_maximum);
    // Behind PUBLISH there may be an answer for each message under way, and a packet for each wish.
    let small = 8 * (window + 4 * receives) + 64 * (client.app.wishes.len() + client.app.leaving.len());
    // PUBCOMP waits for a disk, and a server may have any number of releases from earlier links.
    let strict = client.tap.version() == Version::V5 && !client.config.session.durable;
    let near = client.app.open_qos0 + 4 * window + 64 + near_most(client);
    let bounds = [
        (
            "bytes not taken by the transport",
            held.unwritten_bytes as usize,
            link.write_buffer + 2 * LARGEST + small,
        ),
        ("places of exchanges", held.in_flight_places, 2 * held.in_flight + SPARE_PLACES),
        ("answers owed", held.answers_owed, if strict { 3 * receives + 2 } else { usize::MAX }),
        ("bodies in memory though a store has them", held.waiting_near, near),
        ("messages on their way to the store", held.storing, client.disk.storing()),
        (
            "topic aliases",
            held.aliases,
            usize::from(link.topic_alias_maximum) + usize::from(link.topic_aliases_used),
        ),
        ("bytes of incomplete packets", held.unread_bytes, link.maximum_packet_size as usize + 64 * 1024),
        ("latest messages", held.waiting_latest, waiting(&held)),
        ("outputs nobody fetched", held.outputs, 0),
    ];
    for (what, is, most) in bounds {
        if is > most {
            return Err(Alarm::new("O19", format!("c{c}: {is} {what}, at most {most} are right: {held:?}")));
        }
    }
    ids_are_accounted_for(c, &held)
}

/// Bodies that the memory window lets in.
fn near_most(client: &Client) -> usize {
    let session = &client.config.session;
    match session.durable && client.disk.failed().is_none() {
        true => usize::try_from(session.memory_window_bytes / SMALLEST).unwrap_or(usize::MAX / 2) + 1,
        false => usize::MAX / 2,
    }
}

const fn waiting(held: &HeldCounts) -> usize {
    held.waiting_near + held.waiting_packed + held.waiting_far
}

/// Each identifier in use has an exchange or a request that will give it back (O8).
fn ids_are_accounted_for(c: usize, held: &HeldCounts) -> Ruling {
    if held.packet_ids == held.in_flight + held.subscriptions_asked {
        return Ok(());
    }
    Err(Alarm::new("O19", format!("c{c}: identifiers without an exchange, or the other way round: {held:?}")))
}

/// Everything is answered for: nothing is left of it. `certain`: nothing happened that leaves inbound identifiers behind.
pub(in crate::sim) fn empty(c: usize, client: &Client, certain: bool) -> Ruling {
    bounded(c, client)?;
    let held = client.engine.held();
    // A retained message may have come on the last link, and the application has not taken it yet.
    let inbound = if client.app.to_take.is_empty() { held.untaken + held.answers_owed } else { 0 };
    let left = waiting(&held) + held.put_off + held.storing + held.unsent + inbound;
    if left > 0
        || held.subscriptions != client.app.wishes.len()
        || certain && client.app.to_take.is_empty() && held.ids_held > 0
    {
        return Err(Alarm::new("O19", format!("c{c} is done and holds {held:?}")));
    }
    Ok(())
}
