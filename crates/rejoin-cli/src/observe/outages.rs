//! Outages with their bills: what the events say while one lasts, what the client's own bill says when it is over.

use std::time::Duration;

use rejoin::{LossCause, OutageBill};

use super::document::{Figure, Outage};
use super::lanes::Changed;

/// Outages held at most; the oldest go first.
pub(crate) const OUTAGES_MAX: usize = 1_000;

/// Writes the list of outages of one run.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) list: Vec<Outage>,
    pub(crate) changed: Changed,
    /// How many there were, forgotten or not.
    count: u64,
    lasting: Option<Lasting>,
    renewal: Option<Renewal>,
}

/// A link that made way for one with new credentials: no outage, unless that one does not come about at once.
#[derive(Debug)]
struct Renewal {
    closed_ms: u64,
    lived: Duration,
    cause: LossCause,
    attempt_ms: Option<u64>,
}

/// The last of the list is not over.
#[derive(Clone, Copy, Debug)]
struct Lasting {
    lost_ms: u64,
    /// Start of the pause or attempt under way.
    mark_ms: u64,
    up_ms: Option<u64>,
    resubscribed_ms: Option<u64>,
}

/// What came before a loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silence {
    /// Since when nothing was heard on the link.
    pub(crate) since_ms: u64,
    /// The fault behind it.
    pub(crate) injected: Option<String>,
}

impl Silence {
    /// Since then, and nobody injected anything.
    #[cfg(test)]
    const fn since(since_ms: u64) -> Self {
        Self { since_ms, injected: None }
    }
}

impl Accounts {
    /// A link was lost that had lived for `lived`.
    pub(crate) fn lost(&mut self, at_ms: u64, lived: Duration, cause: &LossCause, silence: Silence) {
        let Silence { since_ms: silent_ms, injected } = silence;
        // The drain of the one before did not end: it goes on in this one.
        self.end(at_ms);
        let start_ms = silent_ms.min(at_ms);
        self.count += 1;
        self.list.push(Outage {
            number: self.count,
            code: cause.reason_code().map(|code| code.0),
            lived_ms: Some(Figure::ms(lived)),
            start_ms,
            cause: cause.name().to_owned(),
            words: cause.to_string(),
            detect_ms: Some(Figure::between(start_ms, at_ms)),
            injected,
            ..Outage::default()
        });
        if self.list.len() > OUTAGES_MAX {
            self.list.drain(..OUTAGES_MAX / 4);
            self.changed.at(0);
        }
        self.lasting = Some(Lasting { lost_ms: at_ms, mark_ms: at_ms, up_ms: None, resubscribed_ms: None });
        self.changed.at(self.list.len() - 1);
    }

    /// A link of ours makes way for the next one.
    pub(crate) fn renewed(&mut self, at_ms: u64, lived: Duration, cause: &LossCause) {
        self.end(at_ms);
        self.renewal = Some(Renewal { closed_ms: at_ms, lived, cause: cause.clone(), attempt_ms: None });
    }

    /// An attempt begins.
    pub(crate) fn attempt(&mut self, at_ms: u64) {
        if let Some(renewal) = &mut self.renewal {
            renewal.attempt_ms = Some(at_ms);
        }
        if let Some((outage, lasting)) = self.open() {
            outage.attempts += 1;
            add(&mut outage.waited_ms, lasting.mark_ms, at_ms);
            lasting.mark_ms = at_ms;
        }
    }

    /// It failed.
    pub(crate) fn failed(&mut self, at_ms: u64) {
        if let Some(Renewal { closed_ms, lived, cause, attempt_ms }) = self.renewal.take() {
            self.lost(closed_ms, lived, &cause, Silence { since_ms: closed_ms, injected: None });
            self.attempt(attempt_ms.unwrap_or(at_ms));
        }
        if let Some((outage, lasting)) = self.open() {
            add(&mut outage.refused_ms, lasting.mark_ms, at_ms);
            lasting.mark_ms = at_ms;
        }
    }

    /// The link is open.
    pub(crate) fn opened(&mut self, at_ms: u64, session: &str) {
        self.renewal = None;
        if let Some((outage, lasting)) = self.open() {
            add(&mut outage.connect_ms, lasting.mark_ms, at_ms);
            outage.session = Some(session.to_owned());
            lasting.up_ms = Some(at_ms);
        }
    }

    /// Every subscription was answered.
    pub(crate) fn resubscribed(&mut self, at_ms: u64) {
        if let Some((outage, lasting)) = self.open()
            && let (Some(up_ms), None) = (lasting.up_ms, lasting.resubscribed_ms)
        {
            lasting.resubscribed_ms = Some(at_ms);
            outage.resubscribe_ms = Some(Figure::between(up_ms, at_ms));
        }
    }

    /// Everything is back; the client's own bill is more exact than the moments at which its events were read.
    pub(crate) fn recovered(&mut self, at_ms: u64, bill: &OutageBill, drained: usize) {
        let Some((outage, lasting)) = self.open() else { return };
        outage.detect_ms = Some(Figure::ms(bill.detect));
        outage.refused_ms = Some(Figure::ms(bill.refused));
        outage.waited_ms = Some(Figure::ms(bill.waited));
        outage.connect_ms = Some(Figure::ms(bill.connect));
        outage.resubscribe_ms = Some(Figure::ms(bill.resubscribe));
        // The bill counts both from CONNACK on; side by side the parts add up.
        outage.drain_ms = Some(Figure::ms(bill.drain.saturating_sub(bill.resubscribe)));
        outage.start_ms =
            lasting.lost_ms.saturating_sub(u64::try_from(bill.detect.as_millis()).unwrap_or(u64::MAX));
        outage.total_ms = Some(sum(outage));
        outage.drained = Some(drained as u64);
        outage.end_ms = Some(at_ms);
        self.lasting = None;
    }

    /// The last one ends as it is, if it is not over.
    fn end(&mut self, at_ms: u64) {
        if let Some((outage, lasting)) = self.open() {
            let from_ms = lasting.resubscribed_ms.or(lasting.up_ms);
            if let Some(from_ms) = from_ms {
                add(&mut outage.drain_ms, from_ms, at_ms);
            }
            outage.total_ms = Some(sum(outage));
            outage.end_ms = Some(at_ms);
            self.lasting = None;
        }
    }

    fn open(&mut self) -> Option<(&mut Outage, &mut Lasting)> {
        let lasting = self.lasting.as_mut()?;
        let index = self.list.len().checked_sub(1)?;
        self.changed.at(index);
        Some((&mut self.list[index], lasting))
    }
}

fn add(part: &mut Option<Figure>, from_ms: u64, to_ms: u64) {
    let so_far = part.map_or(0.0, |figure| figure.0);
    *part = Some(Figure::new(so_far + Figure::between(from_ms, to_ms).0));
}

fn sum(outage: &Outage) -> Figure {
    let parts = [
        outage.detect_ms,
        outage.refused_ms,
        outage.waited_ms,
        outage.connect_ms,
        outage.resubscribe_ms,
        outage.drain_ms,
    ];
    Figure::new(parts.into_iter().flatten().map(|figure| figure.0).sum())
}

#[cfg(test)]
mod tests {
    use rejoin_core::error::LocalCause;

    use super::*;

    const LIVED: Duration = Duration::from_secs(20);

    #[test]
    fn the_parts_of_an_outage_add_up_to_its_length() {
        let mut accounts = Accounts::default();
        let cause = LossCause::PingTimeout(Duration::from_secs(5));
        accounts.lost(
            10_000,
            LIVED,
            &cause,
            Silence { since_ms: 3_000, injected: Some("freeze".to_owned()) },
        );
        let lasting = &accounts.list[0];
        assert_eq!(
            (lasting.start_ms, lasting.detect_ms, lasting.end_ms),
            (3_000, Some(Figure(7_000.0)), None)
        );
        accounts.attempt(10_100);
        accounts.failed(10_200);
        accounts.attempt(10_500);
        accounts.opened(10_550, "kept");
        accounts.resubscribed(10_560);
        assert_eq!(accounts.list[0].waited_ms, Some(Figure(400.0)), "known while it lasts");
        let ms = Duration::from_millis;
        let bill = OutageBill {
            detect: ms(7_010),
            refused: ms(100),
            waited: ms(400),
            connect: ms(50),
            resubscribe: ms(10),
            drain: ms(30),
            total: ms(580),
        };
        accounts.recovered(10_581, &bill, 118);
        let outage = &accounts.list[0];
        assert_eq!(outage.total_ms, Some(Figure(7_590.0)));
        assert_eq!(outage.total_ms, Some(Figure::ms(bill.detect + bill.total)));
        assert_eq!((outage.start_ms, outage.end_ms, outage.attempts), (2_990, Some(10_581), 2));
        assert_eq!((outage.drain_ms, outage.drained), (Some(Figure(20.0)), Some(118)));
    }

    #[test]
    fn a_change_over_to_new_credentials_is_an_outage_only_if_it_fails() {
        let mut accounts = Accounts::default();
        let renewal = LossCause::Local(LocalCause::Renewal);
        accounts.renewed(1_000, LIVED, &renewal);
        accounts.attempt(1_001);
        accounts.opened(1_010, "kept");
        accounts.recovered(1_020, &OutageBill::default(), 0);
        assert_eq!(accounts.list, []);
        let mut later = Accounts::default();
        later.renewed(1_000, LIVED, &renewal);
        later.opened(1_010, "kept");
        later.lost(1_500, LIVED, &LossCause::PeerClosed, Silence::since(1_500));
        later.failed(1_600);
        assert_eq!(later.list.len(), 1, "what came through is over: {:?}", later.list);
        accounts.renewed(2_000, LIVED, &renewal);
        accounts.attempt(2_001);
        accounts.failed(2_010);
        accounts.attempt(2_100);
        accounts.opened(2_110, "kept");
        let [outage] = &accounts.list[..] else { panic!("{:?}", accounts.list) };
        assert_eq!((outage.start_ms, outage.attempts, outage.cause.as_str()), (2_000, 2, "renewal"));
        assert_eq!((outage.refused_ms, outage.waited_ms), (Some(Figure(9.0)), Some(Figure(91.0))));
    }

    #[test]
    fn a_link_lost_while_the_backlog_drains_ends_one_outage_and_begins_the_next() {
        let mut accounts = Accounts::default();
        accounts.lost(1_000, LIVED, &LossCause::PeerClosed, Silence::since(1_000));
        accounts.attempt(1_000);
        accounts.opened(1_010, "lost");
        accounts.lost(1_500, LIVED, &LossCause::PeerClosed, Silence::since(1_500));
        assert_eq!((accounts.list[0].end_ms, accounts.list[0].total_ms), (Some(1_500), Some(Figure(500.0))));
        assert_eq!(accounts.list[1].end_ms, None);
        for n in 0..OUTAGES_MAX as u64 * 2 {
            accounts.lost(2_000 + n, LIVED, &LossCause::PeerClosed, Silence::since(2_000 + n));
        }
        assert!(accounts.list.len() <= OUTAGES_MAX);
        let numbers: Vec<u64> = accounts.list.iter().map(|outage| outage.number).collect();
        assert_eq!(numbers.last(), Some(&(OUTAGES_MAX as u64 * 2 + 2)), "what is forgotten counts");
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "each keeps its number");
    }
}
