//! Messages: each answered for once and truthfully, none lost, none twice without a word, in order (O1 to O7, O22, O25).

use rejoin_core::{MessageId, Outcome as Answer, PublishId, Stats};

use super::Alarm;
use super::account::Entry;
use crate::sim::app::{App, Published, says_never_sent, whose};
use crate::sim::client::Client;
use crate::sim::disk::Failed;
use crate::sim::marks::Marks;
use crate::sim::setting::Setting;
use crate::sim::world::Ruling;

/// Books a line of the broker's account.
///
/// `mixed_up`: the broker lost or swapped sessions, so that an identifier may mean a message here that it does not mean
/// there; what a new process holds without its content it cannot tell from that.
pub(in crate::sim) fn book(line: Entry, clients: &mut [Client], setting: &Setting, mixed_up: bool) -> Ruling {
    match line {
        Entry::Accepted { number, arrival, qos, retain, topic, payload } => {
            let (client, k) = whose(number);
            let nobody = || Alarm::new("O2", format!("the broker took {number:#x}, which nobody published"));
            let of = clients.get_mut(client).ok_or_else(nobody)?;
            let (out_of_date, newest) = (of.is_out_of_date, of.app.last_arrival);
            of.app.last_arrival = newest.max(arrival);
            let message = of.app.message(k).ok_or_else(nobody)?;
            if !message.is_as_given(&topic, &payload) || message.retain != retain {
                let what =
                    format!("the broker took {number:#x} to {topic}, RETAIN {retain}: not as it was given");
                return Err(Alarm::new("O2", what));
            }
            if message.copies == 0 {
                (message.arrival, message.arrived_qos) = (arrival, qos);
                // Under an identifier whose exchange a process without its store left open, it has the place of that one, or
                // was refused [MQTT-2.2.1-3], which the client may not have heard of, and has the place of its resend.
                let again = message.transmitted > 1;
                message.out_of_order |= message.qos == 1 && out_of_date && (arrival < newest || again);
            }
            message.copies += 1;
        }
        Entry::HandedOver { session, number } => {
            if let Some(client) = clients.iter_mut().find(|client| client.had_session(&session)) {
                let heard = client.app.heard.entry(number).or_default();
                heard.handed_over += 1;
            }
        }
        Entry::SessionEnded { session } => {
            // One that was left behind, at another server or by a process that knew no name, is nobody's any more.
            if let Some(of) =
                clients.iter_mut().find(|client| client.tap.session_name().as_ref() == Some(&session))
            {
                of.session_ended = true;
            }
        }
        Entry::Confirmed { session, number, qos } => {
            let Some(client) = clients.iter().position(|client| client.had_session(&session)) else {
                return Ok(());
            };
            let of = &mut clients[client];
            let heard = of.app.heard.entry(number).or_default();
            heard.confirmed = true;
            let in_memory = of.disk.failed() == Some(Failed::GoesOn) && !heard.on_disk;
            let durable = setting.config.session.durable && qos == 2 && !in_memory;
            let doubt = of.app.lives > 0 && (mixed_up || of.moved);
            if !heard.ever {
                let what = format!("c{client} confirmed {number:#x}, which its application never heard");
                return Err(Alarm::new("O1", what));
            }
            if !heard.taken && !durable && !doubt {
                let what = format!("c{client} confirmed {number:#x} before its application took it");
                return Err(Alarm::new("O14", what));
            }
        }
    }
    Ok(())
}

/// The client gave a final answer.
pub(in crate::sim) fn answered(
    app: &mut App,
    id: PublishId,
    answer: &Answer,
    setting: &Setting,
    marks: &mut Marks,
) -> Ruling {
    marks.hit(name(answer));
    let durable = setting.config.session.durable;
    if let (Answer::Stopped { maybe_delivered }, true, Some(message)) = (answer, durable, app.message(id.0))
        && message.on_disk
    {
        // At QoS 0 the orderly close may still write it; it stays on the store all the same.
        message.excused |= *maybe_delivered && message.qos == 0;
        // The next process answers for it.
        return Ok(());
    }
    let lives = app.lives;
    let Some(message) = app.message(id.0) else {
        return Err(Alarm::new("O2", format!("{} was answered and never published", id.0)));
    };
    if message.answers > 0 && !message.may_repeat {
        return Err(Alarm::new("O6", format!("{} is answered a second time: {answer:?}", id.0)));
    }
    let first = message.answers == 0 || message.may_repeat;
    message.answers += 1;
    message.may_repeat = false;
    judge_answer(id, message, answer, lives)?;
    if let Answer::Delivered(receipt) = answer {
        judge_lowered(id, message, receipt.downgraded, setting)?;
    }
    let (qos0, parked) = (app.published[index(id)].qos == 0, matches!(answer, Answer::Parked { .. }));
    app.parked += u32::from(parked);
    if first {
        if qos0 {
            app.open_qos0 -= 1;
        } else {
            app.open -= 1;
        }
    }
    Ok(())
}

/// Whether this answer can be the true one for this message.
fn judge_answer(id: PublishId, message: &mut Published, answer: &Answer, lives: u32) -> Ruling {
    match answer {
        Answer::Delivered(receipt) => {
            message.delivered = true;
            message.excused |= receipt.possible_duplicate || receipt.downgraded;
            message.out_of_order |= receipt.refusals > 0;
            if message.copies == 0 && !message.nobody_knows {
                return Err(Alarm::new(
                    "O5",
                    format!("{} is called delivered; the broker never had it", id.0),
                ));
            }
            if message.qos == 0 {
                return Err(Alarm::new("O6", format!("{} is delivered, but at QoS 0 nobody says so", id.0)));
            }
        }
        Answer::Sent if message.qos != 0 => {
            return Err(Alarm::new("O6", format!("{} is only called sent, at QoS {}", id.0, message.qos)));
        }
        // One that is still on its way to the server that was left arrives when it likes.
        Answer::Unknown { .. } | Answer::Stopped { maybe_delivered: true } => {
            (message.excused, message.out_of_order) = (true, true);
        }
        Answer::Refused { .. } | Answer::TooLarge { .. } | Answer::NotSupported(_) => message.excused = true,
        Answer::NotSentAgain(_) => message.excused = true,
        Answer::Parked { .. } => message.excused = true,
        Answer::Unreadable => {
            return Err(Alarm::new("O14", format!("{} is called unreadable; the disk has it", id.0)));
        }
        Answer::Expired if !message.expires => {
            return Err(Alarm::new("O6", format!("{} expired and has no expiry", id.0)));
        }
        Answer::Superseded if !message.latest_only => {
            return Err(Alarm::new(
                "O6",
                format!("{} was superseded and is no such message: {message:?}", id.0),
            ));
        }
        other if says_never_sent(other) => {
            // A process that died may have sent it without a trace [reliability.md 2.5, QoS 1].
            // What the transport took in part may go out when it closes in order.
            let in_part = matches!(answer, Answer::Dropped) && message.transmitted > 0;
            if !in_part && message.sent_by == lives + 1 {
                let what = format!("{} is called never sent, and this process sent it: {answer:?}", id.0);
                return Err(Alarm::new("O5", what));
            }
            message.never_sent = lives == 0 && !in_part;
        }
        _ => {}
    }
    Ok(())
}

/// A receipt says that the message arrived at a lower QoS where it did, and nowhere else: it excuses a second copy.
fn judge_lowered(id: PublishId, message: &Published, says_so: bool, setting: &Setting) -> Ruling {
    let may_be = message.qos == 2 && (setting.downgrades || setting.config.session.lower_qos);
    if says_so && !may_be {
        return Err(Alarm::new("O5", format!("{} is called downgraded; the broker does not do that", id.0)));
    }
    Ok(())
}

fn index(id: PublishId) -> usize {
    usize::try_from(id.0 - 1).unwrap_or(usize::MAX)
}

/// The application heard a message.
pub(in crate::sim) fn heard(
    app: &mut App,
    number: u64,
    id: Option<MessageId>,
    qos: u8,
    marks: &mut Marks,
) -> Ruling {
    let entry = app.heard.entry(number).or_default();
    entry.ever = true;
    let Some(id) = id else { return Ok(()) };
    if !entry.ids.contains(&id) {
        // At QoS 1 each copy has a name of its own.
        if qos == 2 {
            entry.ids.push(id);
        }
    } else if app.lives > 0 && !entry.taken {
        marks.hit("message told again after a crash");
    }
    app.named.insert(id, number);
    if qos == 2 && entry.ids.len() > usize::from(entry.handed_over.max(1)) {
        let what = format!(
            "{number:#x} at QoS 2 was heard under {} names, sent {} times",
            entry.ids.len(),
            entry.handed_over
        );
        return Err(Alarm::new("O22", what));
    }
    Ok(())
}

/// The books balance at every moment (O25). QoS 0 that is on its way out is in neither.
pub(in crate::sim) fn balance(app: &App, stats: &Stats, queued: usize, in_flight: usize) -> Ruling {
    let open = app.open + app.open_qos0;
    let listed = queued + in_flight;
    if listed > open || listed < app.open {
        let what = format!(
            "{} open, {} of QoS 0; the client lists {queued} and {in_flight}",
            app.open, app.open_qos0
        );
        return Err(Alarm::new("O25", what));
    }
    let ended = stats.delivered + stats.failed;
    if app.lives == 0 && stats.accepted != ended + open as u64 {
        let what = format!("accepted {}, ended {ended}, open {open}", stats.accepted);
        return Err(Alarm::new("O25", what));
    }
    Ok(())
}

/// Judges a run that has drained.
pub(in crate::sim) fn judge(client: usize, of: &Client, at_pubrel: bool, refuses: bool) -> Ruling {
    let app = &of.app;
    for (at, message) in app.published.iter().enumerate() {
        judge_one(message).map_err(|alarm| {
            Alarm::new(alarm.oracle, format!("c{client} {}: {}: {message:?}", at + 1, alarm.what))
        })?;
    }
    judge_order(client, app, at_pubrel, refuses)?;
    for (number, heard) in &app.heard {
        // A message taken for a copy of another one, by whatever its process held, was lost.
        if heard.confirmed && heard.ever && !heard.taken {
            let what = format!("c{client} confirmed {number:#x}, and its application never took it");
            return Err(Alarm::new("O1", what));
        }
    }
    if let Some(id) = app.leaving.first() {
        return Err(Alarm::new("O6", format!("c{client}: unsubscribe {id} was never answered")));
    }
    Ok(())
}

fn judge_one(m: &Published) -> Ruling {
    if (m.answers == 0 && !m.forgotten) || m.may_repeat {
        return Err(Alarm::new("O6", "never answered"));
    }
    if m.delivered && m.copies == 0 && !m.nobody_knows {
        return Err(Alarm::new("O1", "delivered, and the broker never had it"));
    }
    if m.never_sent && m.copies > 0 {
        return Err(Alarm::new("O5", "never sent by the answer, and the broker has it"));
    }
    let silent = !m.excused && !m.nobody_knows && !m.forgotten;
    if m.qos == 2 && m.copies > 1 && silent {
        return Err(Alarm::new("O3", "more than once at QoS 2, without a word"));
    }
    // What waits on a store at QoS 0 may be sent once more after a crash.
    if m.qos == 0 && m.copies > 1 && m.answers < 2 && !m.excused {
        return Err(Alarm::new("O3", "more than once at QoS 0"));
    }
    if m.qos > 0 && m.copies > m.transmitted {
        return Err(Alarm::new("O4", "more copies than were sent"));
    }
    Ok(())
}

/// First arrivals keep the order of publishing, per topic and QoS (O7) [MQTT-4.6.0-6].
///
/// A message that arrived at a lower QoS than it was published with is in order with those like it: begun anew it is a
/// later PUBLISH than those before it, which are sent again first [MQTT-4.6.0-1], and may be of messages published later.
fn judge_order(client: usize, app: &App, at_pubrel: bool, refuses: bool) -> Ruling {
    // A lost session takes the place along of what was recorded and not released, or refused and never heard of; after
    // a crash a QoS 1 identifier may be used again, which is refused. One that a process died with says nothing of either.
    let crashed = app.lives > 0;
    let lost_its_place = |m: &Published| {
        m.out_of_order || (m.excused || m.forgotten) && (refuses || crashed || at_pubrel && m.qos == 2)
    };
    let mut arrived: Vec<(u64, usize)> = app
        .published
        .iter()
        .enumerate()
        .filter(|(_, m)| m.copies > 0 && !lost_its_place(m) && m.qos > 0)
        .map(|(at, m)| (m.arrival, at))
        .collect();
    arrived.sort_unstable();
    let mut last = [[[0; 3]; 3]; 8];
    for (_, at) in arrived {
        let m = &app.published[at];
        let before = &mut last[usize::from(m.lane % 8)][usize::from(m.qos)][usize::from(m.arrived_qos)];
        if *before > at {
            let (one, other, qos) = (at + 1, *before + 1, m.arrived_qos);
            let what = format!("c{client}: {one} arrived behind {other} on one topic at QoS {qos}");
            return Err(Alarm::new("O7", what));
        }
        *before = at;
    }
    Ok(())
}

const fn name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Sent => "answer: sent",
        Answer::Delivered(r) if r.possible_duplicate => "answer: delivered, perhaps twice",
        Answer::Delivered(r) if r.refusals > 0 => "answer: delivered after a refusal",
        Answer::Delivered(_) => "answer: delivered",
        Answer::Refused { .. } => "answer: refused",
        Answer::Expired => "answer: expired",
        Answer::Dropped => "answer: dropped",
        Answer::TooLarge { .. } => "answer: too large",
        Answer::NotSupported(_) => "answer: not supported",
        Answer::NotSentAgain(_) => "answer: not sent again",
        Answer::Unknown { released: true } => "answer: unknown, released",
        Answer::Unknown { .. } => "answer: unknown",
        Answer::Parked { .. } => "answer: parked",
        Answer::Cancelled => "answer: cancelled",
        Answer::Superseded => "answer: superseded",
        Answer::Evicted => "answer: evicted",
        Answer::Unreadable => "answer: unreadable",
        Answer::Stopped { .. } => "answer: stopped",
        _ => "answer: other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::trace::Trace;
    use crate::sim::world::World;

    /// A world whose client handed over two messages, the second of which arrived first.
    fn swapped(mark: impl Fn(&mut Published)) -> Ruling {
        let mut world = World::new(1, Setting::draw(1), Trace::new(false, false), None);
        let client = &mut world.clients[0];
        for arrival in [2, 1] {
            let mut message =
                Published { qos: 1, copies: 1, transmitted: 1, answers: 1, ..Published::default() };
            (message.arrival, message.arrived_qos, message.delivered) = (arrival, 1, true);
            mark(&mut message);
            client.app.published.push(message);
        }
        judge(0, client, false, false)
    }

    #[test]
    fn only_messages_that_were_under_way_when_a_store_failed_may_swap_places() {
        assert_eq!(swapped(|_| {}).map_err(|alarm| alarm.oracle), Err("O7"));
        assert_eq!(swapped(|message| message.out_of_order = message.arrival == 2), Ok(()));
    }

    /// The first began anew as QoS 1; the second, whose PUBLISH is the older one, was sent again at QoS 2.
    #[test]
    fn messages_that_arrive_at_different_qos_have_no_order() {
        let lowered = |message: &mut Published| (message.qos, message.arrived_qos) = (2, 1);
        assert_eq!(swapped(lowered).map_err(|alarm| alarm.oracle), Err("O7"));
        let first_only = |message: &mut Published| {
            (message.qos, message.arrived_qos) = (2, 2 - u8::from(message.arrival == 2));
        };
        assert_eq!(swapped(first_only), Ok(()));
    }

    #[test]
    fn names_at_qos_1_are_not_held_against_the_one_at_qos_2() {
        let mut app = App::default();
        app.heard.entry(47).or_default().handed_over = 1;
        let mut hears = |name, qos| {
            heard(&mut app, 47, Some(MessageId(name)), qos, &mut Marks::default())
                .map_err(|alarm| alarm.oracle)
        };
        for name in 1..=10 {
            assert_eq!(hears(name, 1), Ok(()));
        }
        assert_eq!(hears(11, 2), Ok(()));
        assert_eq!(hears(11, 2), Ok(()), "told again after a crash");
        assert_eq!(hears(12, 2), Err("O22"));
    }

    #[test]
    fn a_message_taken_for_a_copy_is_lost_though_the_disk_of_its_process_was_out_of_date() {
        let mut world = World::new(1, Setting::draw(1), Trace::new(false, false), None);
        let client = &mut world.clients[0];
        let heard = crate::sim::app::Heard { ever: true, confirmed: true, ..Default::default() };
        client.app.heard.insert(7, heard);
        client.is_out_of_date = true;
        assert_eq!(judge(0, client, false, false).map_err(|alarm| alarm.oracle), Err("O1"));
    }

    #[test]
    fn a_receipt_that_speaks_of_a_lower_qos_is_believed_of_a_broker_that_lowers_it() {
        let mut setting = Setting::draw(1);
        setting.config.session.lower_qos = false;
        let judge = |qos, setting: &Setting| {
            let message = Published { qos, ..Published::default() };
            judge_lowered(PublishId(1), &message, true, setting).map_err(|alarm| alarm.oracle)
        };
        setting.downgrades = false;
        assert_eq!(judge(2, &setting), Err("O5"));
        setting.downgrades = true;
        assert_eq!(judge(2, &setting), Ok(()));
        assert_eq!(judge(1, &setting), Err("O5"));
        (setting.downgrades, setting.config.session.lower_qos) = (false, true);
        assert_eq!(judge(2, &setting), Ok(()));
    }
}
