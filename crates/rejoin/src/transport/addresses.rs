//! What is known of the addresses of a name: which failed lately, and in which order they are tried.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// A failure counts half after this time, a quarter after twice, and is forgotten when less than a half is left.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Failures beyond this many add nothing.
const MOST: u32 = 8;
/// Addresses remembered; beyond it the oldest failure is forgotten.
const ROOM: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Trouble {
    failures: u32,
    last: Instant,
}

impl Trouble {
    /// Whole failures left after the decay.
    fn left(self, now: Instant) -> u32 {
        let halves = now.saturating_duration_since(self.last).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let left = f64::from(self.failures) * 0.5_f64.powf(halves);
        // Between 0 and MOST.
        (left + 0.5) as u32
    }
}

/// The health of addresses, with decay.
#[derive(Debug, Default)]
pub(super) struct Health {
    trouble: HashMap<SocketAddr, Trouble>,
}

impl Health {
    pub(super) fn failed(&mut self, address: SocketAddr, now: Instant) {
        if self.trouble.len() >= ROOM && !self.trouble.contains_key(&address) {
            let oldest =
                self.trouble.iter().min_by_key(|(_, trouble)| trouble.last).map(|(address, _)| *address);
            oldest.map(|oldest| self.trouble.remove(&oldest));
        }
        let before = self.trouble.get(&address).map_or(0, |trouble| trouble.left(now));
        self.trouble.insert(address, Trouble { failures: (before + 1).min(MOST), last: now });
    }

    pub(super) fn worked(&mut self, address: SocketAddr) {
        self.trouble.remove(&address);
    }

    /// The addresses in the order they are tried: the healthy before the others, and within that as the system
    /// sorted them, the families taking turns [RFC 8305, 4].
    pub(super) fn sort(&self, found: &[SocketAddr], now: Instant) -> Vec<SocketAddr> {
        let mut sorted = take_turns(found);
        sorted.sort_by_key(|address| self.trouble.get(address).map_or(0, |trouble| trouble.left(now)));
        sorted
    }
}

/// The first family is that of the first address; copies are left out.
fn take_turns(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(found.len());
    for address in found {
        if !unique.contains(address) {
            unique.push(*address);
        }
    }
    let first_is_v6 = unique.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        unique.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns() {
        let found = addresses(&[
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "[2001:db8::1]:1",
            "192.0.2.1:1",
            "192.0.2.2:1",
        ]);
        let sorted = Health::default().sort(&found, Instant::now());
        let expected = addresses(&["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"]);
        assert_eq!(sorted, expected);
    }

    #[test]
    fn an_address_that_failed_is_tried_last_until_that_is_forgotten() {
        let found = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        let mut health = Health::default();
        let now = Instant::now();
        health.failed(found[0], now);
        health.failed(found[0], now);
        assert_eq!(health.sort(&found, now)[0], found[1]);
        assert_eq!(health.sort(&found, now + HALF_LIFE)[0], found[1]);
        assert_eq!(health.sort(&found, now + HALF_LIFE * 3)[0], found[0]);
        health.worked(found[0]);
        assert_eq!(health.sort(&found, now)[0], found[0]);
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let mut health = Health::default();
        let now = Instant::now();
        for port in 1..=1000 {
            health.failed(SocketAddr::from(([192, 0, 2, 1], port)), now);
        }
        assert_eq!(health.trouble.len(), ROOM);
    }
}
