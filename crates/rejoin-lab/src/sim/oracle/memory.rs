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

/// What the broker's own books say of a client.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Books {
    /// Messages it has not seen the end of; `None`: it does not speak with this client.
    pub(in crate::sim) owed: Option<usize>,
    /// Nothing happened that leaves inbound identifiers behind which nobody releases.
    pub(in crate::sim) certain: bool,
}

/// What a client holds while things go wrong.
pub(in crate::sim) fn bounded(c: usize, client: &Client, books: Books) -> Ruling {
    within(c, client, &client.engine.held(), books)
}

fn within(c: usize, client: &Client, held: &HeldCounts, books: Books) -> Ruling {
    let link = &client.config.link;
    let window = client.config.session.in_flight_max.map_or(WINDOW, usize::from);
    let receives = usize::from(link.receive_maximum);
    // PUBCOMP waits for a disk, a server may have any number of releases from earlier links, and 3.1.1 knows no limit; the
    // broker keeps what it has no answer to. An overrun is not in its books.
    let strict = client.tap.version() == Version::V5 && !client.config.session.durable;
    // By the letter of [MQTT-4.9.0-1] a PUBCOMP for a PUBREL of an earlier link gives the server a place, too.
    let places = 3 * receives + 2;
    let answers = match (strict, books.owed) {
        (_, Some(owed)) => places.max(owed + receives + 1),
        (true, None) => places,
        (false, None) => usize::MAX,
    };
    // Behind PUBLISH there may be an answer for each message under way, and a packet for each wish.
    let wishes = client.app.wishes.len() + client.app.leaving.len();
    let small =
        answers.max(4 * receives).saturating_add(window).saturating_mul(8).saturating_add(64 * wishes);
    // What came and was not released, refused or used otherwise, and not an identifier more than the broker will release.
    let ids = books.owed.filter(|_| books.certain).unwrap_or(usize::MAX).min(client.tap.may_hold());
    let near = client.app.open_qos0 + 4 * window + 64 + near_most(client);
    let bounds = [
        (
            "bytes not taken by the transport",
            held.unwritten_bytes as usize,
            (link.write_buffer + 2 * LARGEST).saturating_add(small),
        ),
        ("places of exchanges", held.in_flight_places, 2 * held.in_flight + SPARE_PLACES),
        ("answers owed", held.answers_owed, answers),
        ("inbound identifiers", held.ids_held, ids),
        ("messages the application has not taken", held.untaken, client.app.to_take.len()),
        ("messages put off", held.put_off, client.app.open),
        ("messages of QoS 0 on their way", held.unsent, client.app.open_qos0),
        ("bodies in memory though a store has them", held.waiting_near, near),
        ("messages on their way to the store", held.storing, client.disk.storing()),
        (
            "topic aliases",
            held.aliases,
            usize::from(link.topic_alias_maximum) + usize::from(link.topic_aliases_used),
        ),
        ("bytes of incomplete packets", held.unread_bytes, link.maximum_packet_size as usize + 64 * 1024),
        ("latest messages", held.waiting_latest, waiting(held)),
        ("outputs nobody fetched", held.outputs, 0),
    ];
    for (what, is, most) in bounds {
        if is > most {
            return Err(Alarm::new("O19", format!("c{c}: {is} {what}, at most {most} are right: {held:?}")));
        }
    }
    ids_are_accounted_for(c, held)
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

/// Everything is answered for: nothing is left of it.
pub(in crate::sim) fn empty(c: usize, client: &Client, books: Books) -> Ruling {
    bounded(c, client, books)?;
    let held = client.engine.held();
    // A retained message may have come on the last link, and the application has not taken it yet.
    let inbound = if client.app.to_take.is_empty() { held.untaken + held.answers_owed } else { 0 };
    let left = waiting(&held) + held.put_off + held.storing + held.unsent + inbound;
    if left > 0
        || held.subscriptions != client.app.wishes.len()
        || books.certain && client.app.to_take.is_empty() && held.ids_held > 0
    {
        return Err(Alarm::new("O19", format!("c{c} is done and holds {held:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::setting::Setting;
    use crate::sim::trace::Trace;
    use crate::sim::world::World;

    #[test]
    fn each_structure_has_its_bound_while_things_go_wrong() {
        let mut setting = Setting::draw(1);
        setting.config.session.durable = true;
        let world = World::new(1, setting, Trace::new(false, false), None);
        let books = Books { owed: Some(0), certain: true };
        let judge = |held: &HeldCounts| within(0, &world.clients[0], held, books);
        let set: [fn(&mut HeldCounts) -> &mut usize; 5] = [
            |held| &mut held.answers_owed,
            |held| &mut held.ids_held,
            |held| &mut held.untaken,
            |held| &mut held.put_off,
            |held| &mut held.unsent,
        ];
        assert_eq!(judge(&HeldCounts::default()), Ok(()));
        for (n, field) in set.iter().enumerate() {
            let mut held = HeldCounts::default();
            *field(&mut held) = 40;
            assert_eq!(judge(&held).map_err(|alarm| alarm.oracle), Err("O19"), "structure {n}");
        }
    }
}
