//! What the broker's own log (`log_type all`) says of every number. The log names no payload, but its size: a number's
//! payload has a size that tells it apart from its neighbours.

use std::collections::BTreeMap;

use crate::broker::KILLED;

/// Sizes repeat after so many numbers. More than are under way at any time.
const SIZES: u64 = 1024;
/// The shortest payload: the digits.
const SHORTEST: u64 = 5;
/// The next number the broker sees is at most so far above the highest so far.
const AHEAD: u64 = 110;

/// The line published for a number.
pub(crate) fn payload(number: u64) -> String {
    let size = (SHORTEST + number % SIZES) as usize;
    format!("{number:05}{:.<1$}", "", size - SHORTEST as usize)
}

/// The number of a line received.
pub(crate) fn number(line: &str) -> Option<u64> {
    let number = line.get(..SHORTEST as usize)?.parse().ok()?;
    (payload(number) == line).then_some(number)
}

/// One line of the log that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// PUBLISH came from the publisher.
    FromPublisher { number: u64, id: u16 },
    /// PUBACK or PUBREC went to the publisher.
    AnswerToPublisher { id: u16 },
    /// PUBREL came from the publisher.
    ReleaseFromPublisher { id: u16 },
    /// PUBLISH went to the subscriber.
    ToSubscriber { number: u64, id: u16 },
    /// PUBACK or PUBREC came from the subscriber.
    AnswerFromSubscriber { id: u16 },
    /// PUBREL went to the subscriber.
    ReleaseToSubscriber { id: u16 },
    /// PUBCOMP came from the subscriber.
    CompleteFromSubscriber { id: u16 },
    /// CONNACK said that the publisher's session is not there.
    PublisherForgotten,
    /// CONNACK said that the subscriber's session is not there.
    SubscriberForgotten,
}

/// A fact with its line in the log and the run of the broker it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) run: usize,
    pub(crate) fact: Fact,
}

/// The log of all runs of one broker.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) entries: Vec<Entry>,
    /// Where each run ended by -9; a run that was not killed is not in here.
    pub(crate) killed: BTreeMap<usize, usize>,
    /// Lines of saves that were finished: the broker, which has one thread, did something after them.
    saves: Vec<usize>,
}

impl Evidence {
    /// Reads a log. The publisher is called `P`, the subscriber `S`.
    pub(crate) fn read(log: &str) -> Self {
        let mut evidence = Self::default();
        let (mut run, mut saving, mut names) = (0, None, Names::default());
        for (index, text) in log.lines().enumerate() {
            let line = index + 1;
            if text == KILLED {
                evidence.killed.insert(run, line);
                (run, saving) = (run + 1, None);
                continue;
            }
            let Some((_, text)) = text.split_once(": ") else { continue };
            evidence.saves.extend(saving.take());
            if text.starts_with("Saving in-memory database") {
                saving = Some(line);
            }
            if let Some(fact) = names.fact(text) {
                evidence.entries.push(Entry { line, run, fact });
            }
        }
        evidence
    }

    /// Whether what happened here was still unsaved when the run was killed.
    pub(crate) fn is_unsaved(&self, entry: &Entry) -> bool {
        let Some(killed) = self.killed.get(&entry.run) else { return false };
        !self.saves.iter().any(|save| (entry.line..*killed).contains(save))
    }

    /// The first finished save after this line.
    pub(crate) fn saved(&self, line: usize) -> Option<usize> {
        self.saves.iter().copied().find(|save| *save > line)
    }

    /// The last save that was finished before this line.
    pub(crate) fn last_save(&self, line: usize) -> Option<usize> {
        self.saves.iter().copied().rfind(|save| *save < line)
    }

    /// All entries that match.
    pub(crate) fn all(&self, matches: impl Fn(&Fact) -> bool) -> Vec<Entry> {
        self.entries.iter().filter(|entry| matches(&entry.fact)).copied().collect()
    }
}

/// Gives the numbers back to the sizes.
#[derive(Default)]
struct Names {
    /// The highest number the broker has seen.
    top: u64,
    /// What went to the subscriber last under a packet id.
    sent: BTreeMap<u16, u64>,
}

impl Names {
    fn fact(&mut self, text: &str) -> Option<Fact> {
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        let &[verb, packet, _, who, ref rest @ ..] = words.as_slice() else { return None };
        let rest = rest.first().copied().unwrap_or_default();
        Some(match (verb, packet, who) {
            ("Received", "PUBLISH", "P") => {
                let number = number_of(rest, self.top)?;
                self.top = number.max(self.top);
                Fact::FromPublisher { number, id: id(rest)? }
            }
            ("Sending", "PUBLISH", "S") => {
                let id = id(rest)?;
                let number = self.again(rest, id).or_else(|| number_of(rest, self.top))?;
                self.sent.insert(id, number);
                Fact::ToSubscriber { number, id }
            }
            ("Sending", "PUBACK" | "PUBREC", "P") => Fact::AnswerToPublisher { id: id(rest)? },
            ("Received", "PUBREL", "P") => Fact::ReleaseFromPublisher { id: id(rest)? },
            ("Received", "PUBACK" | "PUBREC", "S") => Fact::AnswerFromSubscriber { id: id(rest)? },
            ("Sending", "PUBREL", "S") => Fact::ReleaseToSubscriber { id: id(rest)? },
            ("Received", "PUBCOMP", "S") => Fact::CompleteFromSubscriber { id: id(rest)? },
            ("Sending", "CONNACK", "P") if rest.starts_with("(0,") => Fact::PublisherForgotten,
            ("Sending", "CONNACK", "S") if rest.starts_with("(0,") => Fact::SubscriberForgotten,
            _ => return None,
        })
    }

    /// A repeat of what this packet id stood for, however long ago.
    fn again(&self, text: &str, id: u16) -> Option<u64> {
        let residue = residue(text)?;
        self.sent.get(&id).copied().filter(|number| text.starts_with("(d1") && number % SIZES == residue)
    }
}

/// The packet id: `(Mid: 7, RC:0)`, `(m7, rc0)`, or `(d0, q2, r0, m7, 'topic', ...`.
fn id(text: &str) -> Option<u16> {
    let digits = match text.split_once("Mid: ") {
        Some((_, digits)) => digits,
        None => text.split([' ', '(']).find_map(|word| {
            word.strip_prefix('m').filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
        })?,
    };
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn residue(text: &str) -> Option<u64> {
    let (_, size) = text.rsplit_once('(')?;
    size.strip_suffix(" bytes))")?.parse::<u64>().ok()?.checked_sub(SHORTEST)
}

/// The one number of this size near the highest the broker has seen.
fn number_of(text: &str, top: u64) -> Option<u64> {
    let residue = residue(text)?;
    let limit = top + AHEAD;
    let below = (limit + SIZES - residue) % SIZES;
    limit.checked_sub(below).filter(|number| *number > 0)
}

#[test]
fn numbers_are_found_again_by_their_size() {
    for number in [1, 1023, 1024, 1025, 19_999] {
        assert_eq!(super::evidence::number(&payload(number)), Some(number));
        for top in [number.saturating_sub(100), number, number + 900] {
            let line = format!("(d0, q2, r0, m7, 'numbers', ... ({} bytes))", payload(number).len());
            assert_eq!(number_of(&line, top), Some(number), "top {top}");
            assert_eq!(id(&line), Some(7));
        }
    }
    assert_eq!((id("(Mid: 12, RC:0)"), id("(m9, rc0)")), (Some(12), Some(9)));
}

#[test]
fn only_what_came_after_the_last_finished_save_counts_as_unsaved() {
    let publish = |n: u64| {
        format!("1: Received PUBLISH from P (d0, q1, r0, m{n}, 'x', ... ({} bytes))\n", payload(n).len())
    };
    let save = "1: Saving in-memory database to /x.\n";
    let log = [&publish(1), save, &publish(2), save, &format!("\n{KILLED}\n"), &publish(3)].concat();
    let evidence = Evidence::read(&log);
    let unsaved: Vec<bool> = evidence.entries.iter().map(|entry| evidence.is_unsaved(entry)).collect();
    assert_eq!(unsaved, [false, true, false], "saved; killed while saving; never killed");
}
