//! Every way into the queue and out of it, near, packed and far.

use super::*;

#[test]
fn a_message_on_the_store_costs_three_words() {
    assert_eq!(size_of::<Far>(), 24);
}

#[test]
fn the_room_of_a_burst_is_given_back() {
    let burst = 10 * KEEP_ROOM as u64;
    for (window_bytes, may_go) in [(None, true), (None, false), (Some(1), true)] {
        let mut waiting = Waiting::new(window_bytes);
        for n in 1..=burst {
            let mut publication = Publication::new("a".try_into().unwrap(), "1");
            publication.qos = crate::Qos::AtLeastOnce;
            waiting.accept(Entry::new(PublishId(n), publication, None), may_go);
        }
        let mut out = 0;
        while out < burst {
            let publication = Publication::new("a".try_into().unwrap(), "1");
            let ids = waiting.fetch();
            waiting.fetched(ids.into_iter().map(|id| (id, Some(publication.clone()))).collect());
            out += numbers(&mut waiting).len() as u64;
        }
        let kept = [waiting.near.capacity(), waiting.packed.capacity(), waiting.far.capacity()];
        assert!(kept.iter().all(|kept| *kept <= 2 * KEEP_ROOM), "{kept:?}");
    }
}

#[test]
fn what_is_packed_comes_out_again() {
    let last_place = !(STRIDE - 1);
    for size in [0, 1, 275, 1023, 1024, 65_535, 268_435_460, u64::from(u32::MAX)] {
        let mut far = Far::new(PublishId(7), None, size);
        for (place, dup, replaceable) in
            [(FIRST_PLACE, true, false), (FIRST_PLACE + 5 * STRIDE, false, true), (last_place, true, true)]
        {
            far.set_place(place);
            far.set_possible_duplicate(dup);
            far.set_replaceable(replaceable);
            far.set_sent(!dup);
            assert_eq!((far.place(), far.possible_duplicate(), far.was_sent()), (place, dup, !dup));
            assert_eq!(far.is_replaceable(), replaceable);
            assert!(far.size_bytes() <= size && size - far.size_bytes() <= size / 512, "{size}");
        }
    }
}

fn message(n: u64) -> Entry {
    let mut publication = Publication::new(format!("t/{}", n % 3).try_into().unwrap(), "1");
    publication.qos = crate::Qos::AtLeastOnce;
    Entry::new(PublishId(n), publication, None)
}

fn numbers(waiting: &mut Waiting) -> Vec<u64> {
    let next = || waiting.front().is_some().then(|| waiting.pop_front()).flatten();
    std::iter::from_fn(next).map(|entry| entry.id.0).collect()
}

#[test]
fn what_is_packed_keeps_its_order() {
    let mut waiting = Waiting::new(None);
    for n in 1..=2 * UNPACK_MOST as u64 {
        waiting.accept(message(n), n == 1);
    }
    assert_eq!((waiting.near.len(), waiting.packed.len()), (1, 2 * UNPACK_MOST - 1));
    // A link is there again: what is accepted now goes behind what waits, what went before goes in front.
    waiting.accept(message(200), true);
    waiting.push_front(Entry { attempts: 1, ..message(0) });
    assert_eq!(waiting.len(), 2 * UNPACK_MOST + 2);
    let sent: Vec<u64> = (0..2).filter_map(|_| waiting.pop_front()).map(|entry| entry.id.0).collect();
    assert_eq!(sent, [0, 1]);
    // Refused for now: behind those at hand.
    assert_eq!(waiting.front().map(|entry| entry.id.0), Some(2));
    waiting.push_again(Entry { attempts: 1, ..message(1) });
    assert!(waiting.near.iter().is_sorted_by_key(|entry| entry.place));
    let last = UNPACK_MOST as u64 + 1;
    let rest = (2..=last).chain([1]).chain(last + 1..=2 * UNPACK_MOST as u64).chain([200]);
    assert_eq!(numbers(&mut waiting), rest.collect::<Vec<_>>());
    assert!(waiting.is_empty() && waiting.near_bytes == 0);
    waiting.accept(message(201), true);
    assert_eq!((waiting.near.len(), waiting.packed.len()), (1, 0), "packed only behind what is");
}

#[test]
fn what_is_packed_can_be_taken_out_in_every_way() {
    let mut waiting = Waiting::new(None);
    let at = Timestamp::from_micros;
    for n in 1..=9 {
        let mut entry = message(n);
        entry.expires = (n == 4).then(|| at(10));
        if n == 6 {
            entry.publication.qos = crate::Qos::AtMostOnce;
        }
        entry.publication.latest_only = n > 6;
        waiting.accept(entry, false);
    }
    assert_eq!(waiting.evict_oldest(), Some(PublishId(1)));
    assert!(waiting.cancel(PublishId(3)) && !waiting.cancel(PublishId(3)));
    assert_eq!(waiting.next_expiry(), Some(at(10)));
    assert_eq!(waiting.expire(at(10)), [PublishId(4)]);
    assert_eq!(waiting.next_expiry(), None);
    assert_eq!(waiting.drop_unqueued(), [PublishId(6)]);
    // 10 is to the topic of 7, in whose place it goes; 8 is withdrawn, so 11 goes last.
    let latest = |n| {
        let mut entry = message(n);
        entry.publication.latest_only = true;
        entry
    };
    assert_eq!(waiting.accept(latest(10), false), Some(PublishId(7)));
    assert!(waiting.cancel(PublishId(8)));
    assert_eq!(waiting.accept(latest(11), false), None);
    assert_eq!(numbers(&mut waiting), [2, 5, 10, 9, 11]);
    assert!(waiting.latest.places.is_empty() && waiting.latest.topics.is_empty());
    waiting.accept(message(12), false);
    assert_eq!(waiting.drain(), [(PublishId(12), false)]);
    assert!(waiting.is_empty());
}

/// Four bytes of topic and payload, to a topic of its own, on the store.
fn stored(n: u64) -> Entry {
    let mut publication = Publication::new(format!("t{n:02}").try_into().unwrap(), "1");
    publication.qos = crate::Qos::AtLeastOnce;
    Entry::new(PublishId(n), publication, None)
}

fn latest(n: u64, topic: &str, payload: &'static str) -> Entry {
    let mut publication = Publication::new(topic.try_into().unwrap(), payload);
    publication.qos = crate::Qos::AtLeastOnce;
    publication.latest_only = true;
    Entry::new(PublishId(n), publication, None)
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<PublishId> {
    numbers.into_iter().map(PublishId).collect()
}

/// The bodies the store gives back.
fn bodies(asked: Vec<PublishId>) -> Vec<(PublishId, Option<Publication>)> {
    asked.into_iter().map(|id| (id, Some(stored(id.0).publication))).collect()
}

#[test]
fn bodies_stay_near_up_to_the_window_and_none_passes_one_that_is_far() {
    let mut waiting = Waiting::new(Some(8));
    for n in 1..=3 {
        waiting.accept(stored(n), true);
    }
    assert_eq!((waiting.near.len(), waiting.far.len(), waiting.near_bytes), (2, 1, 8));
    assert_eq!((waiting.len(), waiting.is_empty()), (3, false));
    waiting.pop_front();
    waiting.accept(stored(4), true);
    assert_eq!((waiting.near.len(), waiting.far.len()), (1, 2), "there is room, but not before the third");
    // One that no store has cannot wait among those: it goes behind what is near.
    let mut passing = stored(5);
    passing.publication.qos = crate::Qos::AtMostOnce;
    waiting.accept(passing, true);
    assert_eq!((waiting.near.len(), waiting.far.len()), (2, 2));
    assert!(waiting.near.iter().is_sorted_by_key(|entry| entry.place));
    assert!(waiting.near[1].place < waiting.far[0].place());
    // A body larger than the window is near when it is the only one.
    let mut waiting = Waiting::new(Some(1));
    waiting.accept(stored(1), true);
    assert_eq!((waiting.near.len(), waiting.far.len()), (1, 0));
    waiting.drain();
    assert!(waiting.is_empty());
    assert_eq!(waiting.near_bytes, 0);
}

#[test]
fn half_a_window_of_bodies_is_asked_for_when_half_of_it_is_free() {
    let mut waiting = Waiting::new(Some(16));
    for n in 1..=10 {
        waiting.accept(stored(n), true);
    }
    assert_eq!((waiting.near.len(), waiting.far.len()), (4, 6));
    assert_eq!(waiting.fetch(), []);
    waiting.pop_front();
    assert_eq!(waiting.fetch(), [], "12 of 16 bytes are near");
    waiting.pop_front();
    assert_eq!(waiting.fetch(), ids([5, 6]));
    assert_eq!(waiting.fetch(), [], "they are on their way");
    assert_eq!(waiting.fetched(bodies(ids([5, 6]))), []);
    assert_eq!((waiting.near.len(), waiting.near_bytes), (4, 16));
    for _ in 0..4 {
        waiting.pop_front();
    }
    // What cannot be read is given back, what was withdrawn meanwhile is passed over.
    assert_eq!(waiting.fetch(), ids([7, 8]));
    assert!(waiting.cancel(PublishId(7)));
    assert_eq!(waiting.fetched(vec![(PublishId(7), None), (PublishId(8), None)]), ids([8]));
    assert_eq!(waiting.fetch(), ids([9, 10]));
    waiting.fetched(bodies(ids([9, 10])));
    assert_eq!(numbers(&mut waiting), [9, 10]);
    assert!(waiting.is_empty() && waiting.near_bytes == 0);
    // One that is larger than half of the window comes alone.
    let mut waiting = Waiting::new(Some(4));
    for n in 1..=3 {
        waiting.accept(stored(n), true);
    }
    waiting.pop_front();
    assert_eq!(waiting.fetch(), ids([2]));
}

#[test]
fn the_latest_takes_the_place_of_the_one_before_wherever_that_waits() {
    let mut waiting = Waiting::new(Some(9));
    waiting.accept(latest(1, "a", "1"), true);
    waiting.accept(stored(2), true);
    // Near: in its place, and the window counts the new body.
    assert_eq!(waiting.accept(latest(3, "a", "12345"), true), Some(PublishId(1)));
    assert_eq!(waiting.near_bytes, 6 + 4);
    // Far: in its place, too.
    waiting.accept(latest(4, "b", "1"), true);
    waiting.accept(stored(5), true);
    assert_eq!(waiting.accept(latest(6, "b", "123"), true), Some(PublishId(4)));
    assert_eq!(waiting.far.iter().map(|far| far.id).collect::<Vec<_>>(), ids([6, 5]));
    assert_eq!(waiting.far[0].size_bytes(), 4);
    // One that no store has cannot take that place: it goes where such messages go, and is the latest from then on.
    let mut passing = latest(7, "b", "1");
    passing.publication.qos = crate::Qos::AtMostOnce;
    assert_eq!(waiting.accept(passing, true), Some(PublishId(6)));
    assert_eq!(waiting.accept(latest(8, "b", "1"), true), Some(PublishId(7)));
    assert_eq!(numbers(&mut waiting), [3, 2, 8]);
    waiting.fetch();
    waiting.fetched(bodies(ids([5])));
    assert_eq!(numbers(&mut waiting), [5]);
    assert!(waiting.latest.places.is_empty() && waiting.latest.topics.is_empty());
    assert_eq!(waiting.accept(latest(9, "a", "1"), true), None, "nothing waits there any more");
}

#[test]
fn a_topic_that_changes_faster_than_the_store_reads_holds_up_nobody() {
    let mut waiting = Waiting::new(Some(16));
    waiting.accept(stored(1), true);
    for n in 2..=4 {
        waiting.accept(stored(n), true);
    }
    waiting.accept(latest(5, "s", "1"), true);
    waiting.accept(stored(6), true);
    assert_eq!(numbers(&mut waiting), [1, 2, 3, 4]);
    // Whatever is asked for, a newer one comes before the body does.
    let mut sent = Vec::new();
    for n in 7..=12 {
        let asked = waiting.fetch();
        waiting.accept(latest(n, "s", "1"), true);
        waiting.fetched(bodies(asked));
        sent.extend(numbers(&mut waiting));
    }
    assert_eq!(sent[..2], [7, 6], "in its place, and what is behind it follows");
    assert_eq!(waiting.near_bytes, 0);
}

#[test]
fn what_goes_out_again_keeps_the_row_of_places() {
    let mut waiting = Waiting::new(Some(4));
    for n in 1..=3 {
        waiting.accept(stored(n), true);
    }
    waiting.pop_front();
    // Nothing near: right before what is far. Then behind those at hand.
    let first = waiting.push_again(Entry { attempts: 1, ..stored(11) });
    let second = waiting.push_again(Entry { attempts: 1, ..stored(12) });
    assert_eq!(waiting.near_bytes, 8);
    assert!(first < second && second < waiting.far[0].place());
    waiting.push_front(Entry { attempts: 1, ..stored(10) });
    assert!(waiting.near[0].place < first);
    assert_eq!(waiting.near_bytes, 12);
    assert_eq!(numbers(&mut waiting), [10, 11, 12]);
    // Before what is far there is room for one of a lost session as well.
    waiting.push_front(Entry { attempts: 1, ..stored(13) });
    assert!(waiting.near[0].place < waiting.far[0].place());
    // An empty queue: behind all that was.
    let mut waiting = Waiting::new(None);
    waiting.accept(stored(1), true);
    let before = waiting.near[0].place;
    waiting.pop_front();
    assert!(waiting.push_again(stored(2)) > before);
}

#[test]
fn what_was_sent_can_neither_be_withdrawn_nor_make_room() {
    let mut waiting = Waiting::new(Some(4));
    waiting.push_front(Entry { attempts: 1, ..stored(1) });
    let mut far = Far::new(PublishId(2), None, 4);
    far.set_sent(true);
    waiting.restore_far(far, None);
    waiting.restore_far(Far::new(PublishId(3), None, 4), Some("a".try_into().unwrap()));
    assert!(!waiting.cancel(PublishId(1)) && !waiting.cancel(PublishId(2)) && !waiting.cancel(PublishId(99)));
    // A newer message to the topic of a restored one takes its place, as long as it waits.
    assert_eq!(waiting.accept(latest(4, "a", "1"), true), Some(PublishId(3)));
    assert_eq!(waiting.evict_oldest(), None, "room is made for the newest");
    waiting.accept(stored(5), true);
    assert_eq!(waiting.evict_oldest(), Some(PublishId(4)), "the one that waits longest");
    assert_eq!(waiting.evict_oldest(), None);
    assert_eq!(waiting.accept(latest(6, "a", "1"), true), None);
    assert_eq!(waiting.evict_oldest(), Some(PublishId(5)));
    let mut waiting = Waiting::new(None);
    waiting.push_front(Entry { attempts: 1, ..stored(1) });
    waiting.push_again(stored(2));
    assert_eq!(waiting.evict_oldest(), None);
    waiting.push_again(stored(3));
    assert_eq!(waiting.evict_oldest(), Some(PublishId(2)));
    assert_eq!((waiting.len(), waiting.near_bytes), (2, 8));
}

#[test]
fn without_a_link_what_does_not_wait_for_one_is_taken_out_and_the_rest_stays() {
    let mut waiting = Waiting::new(None);
    for n in 1..=4 {
        let mut entry = latest(n, &format!("a{n}"), "1");
        entry.publication.qos = crate::Qos::AtMostOnce;
        entry.publication.queue_qos0 = n == 2;
        waiting.accept(entry, n < 4);
    }
    assert_eq!((waiting.near.len(), waiting.packed.len()), (3, 1));
    assert_eq!(waiting.drop_unqueued(), ids([1, 3, 4]));
    assert_eq!((waiting.len(), waiting.near_bytes), (1, 3));
    assert_eq!((waiting.latest.places.len(), waiting.latest.topics.len()), (1, 1));
}

#[test]
fn each_message_expires_when_it_is_due_wherever_it_waits() {
    let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
    let expiring = |n: u64, expires: u64| Entry { expires: Some(at(expires)), ..stored(n) };
    let mut waiting = Waiting::new(Some(12));
    waiting.accept(expiring(1, 30), true);
    waiting.accept(expiring(2, 10), true);
    waiting.accept(stored(3), true);
    waiting.accept(expiring(4, 20), true);
    let mut sent = Far::new(PublishId(5), Some(at(10)), 4);
    sent.set_sent(true);
    waiting.restore_far(sent, None);
    waiting.restore_far(Far::new(PublishId(6), Some(at(5)), 4), Some("t".try_into().unwrap()));
    waiting.push_front(Entry { attempts: 1, ..expiring(7, 1) });
    assert_eq!(waiting.next_expiry(), Some(at(5)));
    assert_eq!(waiting.expire(at(4)), []);
    assert_eq!(waiting.expire(at(5)), ids([6]));
    assert!(waiting.latest.places.is_empty());
    assert_eq!(waiting.next_expiry(), Some(at(10)));
    assert_eq!(waiting.expire(at(10)), ids([2]));
    assert_eq!(waiting.next_expiry(), Some(at(20)));
    assert_eq!(waiting.expire(at(20)), ids([4]));
    assert_eq!(waiting.next_expiry(), Some(at(30)));
    assert_eq!(waiting.expire(at(31)), ids([1]));
    assert_eq!(waiting.next_expiry(), None, "what was sent does not expire");
    assert_eq!((waiting.len(), waiting.near_bytes), (3, 8));
    // The whole queue is looked through at most every 50 ms.
    waiting.accept(expiring(8, 40), true);
    waiting.accept(Entry { expires: Some(at(40) + Duration::from_millis(1)), ..stored(9) }, true);
    assert_eq!(waiting.expire(at(40)), ids([8]));
    assert_eq!(waiting.next_expiry(), Some(at(40) + Duration::from_millis(50)));
}

#[test]
fn a_restored_message_expires_and_is_told_apart_when_all_ends() {
    let mut waiting = Waiting::new(Some(4));
    let mut repeated = Far::new(PublishId(1), None, 4);
    repeated.set_possible_duplicate(true);
    waiting.restore_far(repeated, None);
    waiting.restore_far(Far::new(PublishId(2), Some(Timestamp::from_micros(9)), 4), None);
    assert_eq!(waiting.next_expiry(), Some(Timestamp::from_micros(9)));
    waiting.push_front(Entry { attempts: 1, ..stored(3) });
    waiting.push_again(stored(4));
    let all = [(3, true), (4, false), (1, true), (2, false)];
    assert_eq!(waiting.drain(), all.map(|(n, sent)| (PublishId(n), sent)));
}

#[test]
fn a_body_that_comes_from_the_store_is_the_message_it_was() {
    let mut waiting = Waiting::new(Some(4));
    let mut repeated = Far::new(PublishId(1), Some(Timestamp::from_micros(9)), 4);
    repeated.set_possible_duplicate(true);
    repeated.set_sent(true);
    waiting.restore_far(repeated, None);
    waiting.restore_far(Far::new(PublishId(2), None, 4), None);
    let asked = waiting.fetch();
    waiting.fetched(bodies(asked));
    let first = waiting.pop_front().unwrap();
    assert_eq!((first.expires, first.possible_duplicate), (Some(Timestamp::from_micros(9)), true));
    assert_eq!(first.attempts, 1);
    let asked = waiting.fetch();
    waiting.fetched(bodies(asked));
    let second = waiting.pop_front().unwrap();
    assert_eq!((second.expires, second.possible_duplicate, second.attempts), (None, false, 0));
    assert!(first.place < second.place);
}

#[test]
fn what_a_lost_store_gives_back_goes_before_what_was_accepted_later() {
    let mut waiting = Waiting::new(Some(4));
    for n in 1..=3 {
        waiting.accept(stored(n), true);
    }
    waiting.take_back(vec![(PublishId(2), stored(2).publication)]);
    assert_eq!((waiting.near.len(), waiting.far.len(), waiting.near_bytes), (2, 1, 8));
    waiting.accept(stored(4), true);
    waiting.take_back(vec![(PublishId(3), stored(3).publication)]);
    assert_eq!(waiting.near_bytes, 16);
    assert_eq!(numbers(&mut waiting), [1, 2, 3, 4]);
}

#[test]
fn no_message_disappears_when_the_store_dies_while_a_body_is_read() {
    let mut waiting = Waiting::new(Some(8));
    for n in 1..=2 {
        waiting.accept(stored(n), true);
    }
    waiting.accept(latest(3, "s", "1"), true);
    waiting.accept(stored(4), true);
    assert_eq!(numbers(&mut waiting), [1, 2]);
    assert_eq!(waiting.fetch(), ids([3]));
    waiting.take_back(Vec::new());
    for n in 5..=6 {
        waiting.accept(stored(n), true);
    }
    // It is the latest of a message that this process has no body of, and waits behind those that it has.
    assert_eq!(waiting.accept(latest(7, "s", "1"), true), Some(PublishId(3)));
    assert!(waiting.near.iter().is_sorted_by(|a, b| a.place < b.place));
    assert_eq!(waiting.accept(latest(8, "s", "1"), true), Some(PublishId(7)));
    // A body that was read before the store died, and comes behind its end, has its place before them.
    assert_eq!(waiting.fetched(bodies(ids([4]))), []);
    assert_eq!(numbers(&mut waiting), [4, 5, 6, 8]);
    assert_eq!((waiting.near_bytes, waiting.is_empty()), (0, true));
}

#[test]
fn what_goes_out_again_when_the_store_is_lost_takes_the_place_of_none_that_stays_there() {
    for may_go in [true, false] {
        let mut waiting = Waiting::new(Some(8));
        for n in 1..=2 {
            waiting.accept(stored(n), true);
        }
        waiting.accept(latest(3, "s", "1"), true);
        assert_eq!(numbers(&mut waiting), [1, 2]);
        waiting.take_back(Vec::new());
        waiting.accept(stored(4), may_go);
        assert_eq!((waiting.near.len(), waiting.packed.len()), if may_go { (1, 0) } else { (0, 1) });
        // A message of a lost session, before that one and before those whose bodies cannot be read any more.
        waiting.push_front(Entry { attempts: 1, ..stored(5) });
        assert_eq!(
            waiting.accept(latest(6, "s", "1"), true),
            Some(PublishId(3)),
            "only that is of its topic"
        );
        assert_eq!(numbers(&mut waiting), [5, 4, 6]);
    }
}

#[test]
fn the_latest_waits_even_if_nobody_knows_where_the_one_before_is() {
    let mut waiting = Waiting::new(Some(8));
    waiting.latest.note("s".try_into().unwrap(), 7);
    assert_eq!(waiting.accept(latest(1, "s", "1"), true), None);
    assert_eq!(waiting.accept(latest(2, "s", "1"), true), Some(PublishId(1)));
    assert_eq!(numbers(&mut waiting), [2]);
}

#[test]
fn a_long_backlog_grows_by_an_eighth_and_a_short_one_as_ever() {
    for (messages, most) in
        [(SPARING_FROM * 10, SPARING_FROM * 10 * 9 / 8 + 1), (SPARING_FROM / 2 + 1, SPARING_FROM)]
    {
        let mut queue = VecDeque::new();
        let mut growths = 0;
        for n in 0..messages {
            let before = queue.capacity();
            push_sparingly(&mut queue, n);
            growths += usize::from(queue.capacity() != before);
        }
        assert!(queue.capacity() <= most, "{} for {messages}", queue.capacity());
        assert!(growths <= 40, "{growths}: each growth moves all");
    }
}

#[test]
fn there_is_always_a_place_in_front() {
    let mut waiting = Waiting::new(None);
    waiting.accept(stored(9), true);
    for n in (1..9).rev() {
        waiting.push_front(Entry { attempts: 1, ..stored(n) });
    }
    assert!(waiting.near.iter().is_sorted_by(|a, b| a.place < b.place));
    assert_eq!(numbers(&mut waiting), (1..=9).collect::<Vec<_>>());
}

#[test]
fn nothing_waits_only_when_nothing_waits_anywhere() {
    let mut near = Waiting::new(None);
    near.accept(stored(1), true);
    let mut packed = Waiting::new(None);
    packed.accept(stored(1), false);
    let mut far = Waiting::new(Some(1));
    far.restore_far(Far::new(PublishId(1), None, 4), None);
    for waiting in [&near, &packed, &far] {
        assert_eq!((waiting.len(), waiting.is_empty()), (1, false));
    }
}

#[test]
fn what_is_packed_stays_packed_until_its_turn_comes() {
    let mut waiting = Waiting::new(None);
    for n in 1..=3 * UNPACK_MOST as u64 {
        waiting.accept(stored(n), false);
    }
    for _ in 0..3 {
        waiting.front();
        assert_eq!((waiting.near.len(), waiting.packed.len()), (UNPACK_MOST, 2 * UNPACK_MOST));
    }
}

#[test]
fn only_the_message_that_was_named_is_withdrawn() {
    let mut waiting = Waiting::new(None);
    for n in 1..=3 {
        waiting.accept(stored(n), true);
    }
    assert!(!waiting.cancel(PublishId(9)));
    assert!(waiting.cancel(PublishId(2)));
    assert_eq!(numbers(&mut waiting), [1, 3]);
}

#[test]
fn of_a_topic_whose_latest_message_was_withdrawn_on_the_store_nothing_is_kept() {
    let mut waiting = Waiting::new(Some(1));
    waiting.accept(stored(1), true);
    waiting.accept(latest(2, "a", "1"), true);
    assert_eq!((waiting.far.len(), waiting.latest.places.len()), (1, 1));
    assert!(waiting.cancel(PublishId(2)));
    assert!(waiting.latest.places.is_empty() && waiting.latest.topics.is_empty());
}
