//! The contract of [`Store`], tried on any store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rejoin::store::{Record, Store, StoreError};
use rejoin_core::codec::packet::PacketId;
use rejoin_core::{Parking, Publication, PublishId, Qos, Recovered, TopicName};

use super::compare::difference;
use super::workload::Workload;

/// Times of expiry may differ by this much, because the store has a clock of its own.
const SLACK_MS: u64 = 5_000;
/// Seeds and groups of the comparison with the reference.
const SEEDS: u64 = 12;
const GROUPS: usize = 60;

/// Opens place number n: the same number is the same place again, once the store opened before was dropped.
pub type Opener<'a> = dyn FnMut(u64) -> Result<Box<dyn Store>, StoreError> + 'a;

/// Tries every clause a program can try without cutting power; [`super::life`] does that.
///
/// # Errors
/// The first clause that does not hold, in words.
///
/// ```
/// use rejoin::store::{MemoryStore, Store};
/// use std::collections::BTreeMap;
///
/// let mut places: BTreeMap<u64, MemoryStore> = BTreeMap::new();
/// rejoin_lab::store::contract(&mut |n| {
///     let store: Box<dyn Store> = Box::new(places.entry(n).or_default().clone());
///     Ok(store)
/// })?;
/// # Ok::<(), String>(())
/// ```
pub fn contract(open: &mut Opener<'_>) -> Result<(), String> {
    empty(open, 1_000_000)?;
    come_and_gone(open, 1_000_001)?;
    idempotent(open, 1_000_002)?;
    bodies(open, 1_000_003)?;
    names(open, 1_000_004)?;
    steady(open, 1_000_005)?;
    lowered(open, 1_000_006)?;
    for seed in 0..SEEDS {
        agrees(open, seed).map_err(|what| format!("seed {seed}: {what}"))?;
    }
    Ok(())
}

fn told(error: &StoreError) -> String {
    format!("the store fails: {error}")
}

fn opened(open: &mut Opener<'_>, place: u64) -> Result<Box<dyn Store>, String> {
    open(place).map_err(|error| told(&error))
}

fn commit(store: &mut dyn Store, records: &[Record]) -> Result<(), String> {
    store.commit(records).map_err(|error| told(&error))
}

fn recover(store: &mut dyn Store) -> Result<Recovered, String> {
    store.recover().map_err(|error| told(&error))
}

fn holds(what: &str, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn enqueued(id: u64, payload: &'static str) -> Record {
    let topic = TopicName::new("contract/topic").expect("no wildcard in it");
    let mut publication = Publication::new(topic, payload);
    publication.qos = Qos::AtLeastOnce;
    Record::Enqueued { id: PublishId(id), publication, accepted_wall_ms: now_ms() }
}

fn empty(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let mut store = opened(open, place)?;
    let found = recover(&mut *store)?;
    holds("a new store must be empty", difference(&found, &Recovered::default(), 0).is_none())?;
    commit(&mut *store, &[])?;
    store.maintain().map_err(|error| told(&error))
}

fn come_and_gone(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let mut store = opened(open, place)?;
    recover(&mut *store)?;
    commit(&mut *store, &[enqueued(1, "a"), Record::Done { id: PublishId(1) }])?;
    commit(&mut *store, &[enqueued(2, "b")])?;
    commit(&mut *store, &[Record::Done { id: PublishId(2) }, Record::Done { id: PublishId(77) }])?;
    commit(&mut *store, &[enqueued(3, "c")])?;
    commit(&mut *store, &[Record::Parked { id: PublishId(3), why: Parking::Unreadable }])?;
    drop(store);
    let found = recover(&mut *opened(open, place)?)?;
    holds("what was answered for must not come back", found.waiting.is_empty() && found.sent.is_empty())?;
    holds("names must not be used again", found.last_publish >= PublishId(3))
}

fn idempotent(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let mut store = opened(open, place)?;
    recover(&mut *store)?;
    let mut workload = Workload::new(99, now_ms(), 50).complete();
    for _ in 0..20 {
        commit(&mut *store, &workload.group(20))?;
    }
    let first = recover(&mut *store)?;
    let second = recover(&mut *store)?;
    if let Some(what) = difference(&second, &first, SLACK_MS) {
        return Err(format!("asked a second time, the store gives another answer: {what}"));
    }
    drop(store);
    for _ in 0..2 {
        let third = recover(&mut *opened(open, place)?)?;
        if let Some(what) = difference(&third, &first, SLACK_MS) {
            return Err(format!("opened again, the store gives another answer: {what}"));
        }
    }
    Ok(())
}

fn bodies(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let mut store = opened(open, place)?;
    recover(&mut *store)?;
    commit(&mut *store, &[enqueued(1, "one"), enqueued(2, "two"), enqueued(3, "three")])?;
    commit(&mut *store, &[Record::Done { id: PublishId(2) }])?;
    let ids = [3, 2, 1, 9].map(PublishId);
    for _ in 0..2 {
        let found = store.load(&ids).map_err(|error| told(&error))?;
        let payloads: Vec<_> =
            found.iter().map(|body| body.as_ref().map(|body| body.payload.as_ref())).collect();
        let expected: [Option<&[u8]>; 4] = [Some(b"three"), None, Some(b"one"), None];
        holds("bodies must come in the order asked, and only those that are there", payloads == expected)?;
        drop(store);
        store = opened(open, place)?;
        recover(&mut *store)?;
    }
    Ok(())
}

fn names(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let mut used = 0;
    for _ in 0..3 {
        let mut store = opened(open, place)?;
        let found = recover(&mut *store)?;
        holds("a name used before must not be free", found.last_publish.0 >= used)?;
        used = found.last_publish.0 + 1;
        commit(&mut *store, &[enqueued(used, "x"), Record::Done { id: PublishId(used) }])?;
    }
    Ok(())
}

/// A store that serves for years keeps what is open and no more.
fn steady(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let mut store = opened(open, place)?;
    recover(&mut *store)?;
    let mut id = 0;
    let mut sizes = Vec::new();
    for _ in 0..4 {
        for _ in 0..40 {
            let group: Vec<_> = (1..=50).map(|n| enqueued(id + n, "0123456789abcdef")).collect();
            commit(&mut *store, &group)?;
            commit(
                &mut *store,
                &(1..=50).map(|n| Record::Done { id: PublishId(id + n) }).collect::<Vec<_>>(),
            )?;
            id += 50;
        }
        sizes.push(store.stats().file_bytes);
    }
    let (first, last) = (sizes[0], sizes[3]);
    holds(&format!("the file grows though nothing waits: {sizes:?} bytes"), last <= first.max(1 << 20) * 2)
}

/// Whether a message goes on at QoS 1 under its own identifier depends on what was taken when it was lowered; and what was
/// so once stays so. Each is rare in drawn groups, and told wrongly a message is taken for a copy of another, and lost.
fn lowered(open: &mut Opener<'_>, place: u64) -> Result<(), String> {
    let [mine, another, moved] = [1, 2, 3].map(PublishId);
    let (packet_id, other) = (PacketId::MIN, PacketId::new(2).expect("not zero"));
    let mut records = vec![
        enqueued(1, "a"),
        enqueued(2, "b"),
        enqueued(3, "c"),
        Record::Assigned { id: mine, packet_id },
        Record::Lowered { id: mine },
        Record::Assigned { id: another, packet_id },
        Record::Leased { packet_id },
        Record::Done { id: another },
        Record::Lowered { id: mine },
        Record::Assigned { id: moved, packet_id: other },
        Record::Leased { packet_id: other },
        Record::Lowered { id: moved },
        Record::LeaseEnded { packet_id: other },
    ];
    // A store may forget what does not count any more, now and then.
    records.extend((10..2_000).flat_map(|n| [enqueued(n, "x"), Record::Done { id: PublishId(n) }]));
    let mut store = opened(open, place)?;
    recover(&mut *store)?;
    for group in records.chunks(500) {
        commit(&mut *store, group)?;
    }
    drop(store);
    let found = recover(&mut *opened(open, place)?)?;
    difference(&found, &Recovered::replay(records), SLACK_MS)
        .map_or(Ok(()), |what| Err(format!("what was lowered: {what}")))
}

/// Seeded groups against [`Recovered::replay`], with opening again as one of the operations.
fn agrees(open: &mut Opener<'_>, seed: u64) -> Result<(), String> {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x5EED);
    let mut workload = Workload::new(seed, now_ms(), 40).complete();
    let mut records: Vec<Record> = Vec::new();
    let mut store = opened(open, seed)?;
    recover(&mut *store)?;
    for group in 0..GROUPS {
        let new = workload.group(*chance.choice(&[1, 3, 30]).unwrap_or(&1));
        commit(&mut *store, &new)?;
        records.extend(new);
        if chance.u8(..) < 40 {
            drop(store);
            store = opened(open, seed)?;
            let expected = Recovered::replay(records.iter().cloned());
            let found = recover(&mut *store)?;
            if let Some(what) = difference(&found, &expected, SLACK_MS) {
                return Err(format!("after group {group}: {what}"));
            }
            let waiting: Vec<_> = expected.waiting.iter().map(|waits| waits.id).collect();
            let bodies = store.load(&waiting).map_err(|error| told(&error))?;
            let same = bodies.iter().zip(&expected.waiting).all(|(body, waits)| *body == waits.body);
            holds("a body that was loaded is not the one handed over", same)?;
        }
        if chance.u8(..) < 20 {
            store.maintain().map_err(|error| told(&error))?;
        }
    }
    Ok(())
}

/// How long the clauses may take on a slow disk; for tests that want a limit.
pub const CONTRACT_LIMIT: Duration = Duration::from_secs(60);
