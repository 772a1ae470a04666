//! What happens when, and how far the client's times are scaled down for it.

use std::fmt;
use std::time::Duration;

use rejoin::{Budget, Builder, Window};

/// Messages of a run on each lane: 28 s at 50 a second.
pub(crate) const MESSAGES: u64 = 1_400;

/// How fast the story is told. Everything in it shrinks by the same factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    divisor: u32,
}

impl Pace {
    /// 30 s.
    pub(crate) const SHOW: Self = Self { divisor: 1 };
    /// 6 s.
    pub(crate) const FAST: Self = Self { divisor: 5 };

    /// A time of the 30 s story at this pace.
    pub(crate) fn of(self, milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds) / self.divisor
    }

    /// The whole story.
    pub(crate) fn total(self) -> Duration {
        self.of(30_000)
    }

    /// Between two messages of a lane.
    pub(crate) fn interval(self) -> Duration {
        self.of(20)
    }

    /// Between two samples of the picture.
    pub(crate) fn sampling(self) -> Duration {
        self.of(50)
    }

    /// Messages due at a moment of the story, at most [`MESSAGES`].
    pub(crate) fn due(self, at: Duration) -> u64 {
        let n = at.as_nanos() / self.interval().as_nanos().max(1) + 1;
        u64::try_from(n).unwrap_or(u64::MAX).min(MESSAGES)
    }
}

/// A fault that is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The broker is killed; its sessions survive.
    Restart,
    /// The link holds every byte, without FIN or RST.
    Freeze,
    /// The broker's acknowledgements are lost.
    LostAcks,
    /// The broker is killed and comes back without its sessions.
    Amnesia,
    /// A process of our own is killed with what it could not deliver, and started again.
    Kill,
    /// The link is cut with RST by a key.
    Cut,
    /// The link is frozen by a key.
    HeldByKey,
}

impl Fault {
    /// What the picture calls it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Restart => "broker restarts",
            Self::Freeze | Self::HeldByKey => "link frozen",
            Self::LostAcks => "acks lost",
            Self::Amnesia => "broker forgets",
            Self::Kill => "process killed",
            Self::Cut => "link cut",
        }
    }

    /// A stable name for programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart-sessions-kept",
            Self::Freeze => "freeze",
            Self::LostAcks => "lose-acknowledgements",
            Self::Amnesia => "restart-sessions-lost",
            Self::Kill => "kill-process",
            Self::Cut => "cut-by-key",
            Self::HeldByKey => "freeze-by-key",
        }
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A fault begins.
    Begin(Fault),
    /// It is over.
    End(Fault),
    /// No more messages; faults that somebody held by key are healed.
    StopPublishing,
}

/// The story: what is done at which moment, in order.
pub(crate) fn story(pace: Pace) -> Vec<(Duration, Act)> {
    [
        (4_000, Act::Begin(Fault::Restart)),
        (8_000, Act::End(Fault::Restart)),
        (11_000, Act::Begin(Fault::Freeze)),
        (15_000, Act::End(Fault::Freeze)),
        (18_000, Act::Begin(Fault::LostAcks)),
        // Ends earlier, with the connection whose acknowledgements are lost.
        (21_000, Act::End(Fault::LostAcks)),
        (22_000, Act::Begin(Fault::Amnesia)),
        (24_000, Act::End(Fault::Amnesia)),
        (25_500, Act::Begin(Fault::Kill)),
        (26_500, Act::End(Fault::Kill)),
        (28_000, Act::StopPublishing),
    ]
    .map(|(at, act)| (pace.of(at), act))
    .into()
}

/// The client's times in the demo. The true defaults are longer: nobody sits through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Idle time before a ping.
    pub(crate) ping_after: Duration,
    /// Patience with a ping.
    pub(crate) ping_timeout: Duration,
    /// Patience with acknowledgements.
    pub(crate) ack_timeout: Duration,
    /// Patience with CONNACK.
    pub(crate) connack_timeout: Duration,
    /// First and widest window of the back-off.
    pub(crate) backoff: (Duration, Duration),
    /// A link this old was stable.
    pub(crate) stable_after: Duration,
    /// How much smaller than the defaults everything else of recovery is.
    divisor: u32,
    connect_budget: Budget,
}

impl Times {
    /// The times at a pace.
    pub(crate) fn at(pace: Pace) -> Self {
        Self {
            ping_after: pace.of(800),
            ping_timeout: pace.of(1_200),
            // Longer than the detection of silence, so that a frozen link is first seen as what it is.
            ack_timeout: pace.of(2_200),
            connack_timeout: pace.of(3_000),
            backoff: (pace.of(200), pace.of(400)),
            stable_after: pace.of(1_000),
            divisor: 10 * pace.divisor,
            connect_budget: Budget { spacing: pace.of(50), per_period: 12, period: pace.of(3_000) },
        }
    }

    /// From the last byte heard until the client gives a silent link up, at most.
    pub(crate) fn detection(self) -> Duration {
        self.ping_after + self.ping_timeout
    }

    /// The scaling in few words, with the defaults in parentheses.
    pub(crate) fn brief(&self) -> String {
        format!(
            "times scaled down (default): ping {:?}+{:?} (15s+5s) · acks {:?} (20s) · back-off {:?}..{:?} (2s..15s)",
            self.ping_after, self.ping_timeout, self.ack_timeout, self.backoff.0, self.backoff.1
        )
    }

    /// Gives a client these times.
    pub(crate) fn apply(self, builder: Builder) -> Builder {
        builder
            .ping_after(self.ping_after)
            .ping_timeout(self.ping_timeout)
            .write_timeout(self.ping_timeout)
            .ack_timeout(self.ack_timeout)
            .connect_timeout(self.connack_timeout)
            .connack_timeout(self.connack_timeout)
            .config(move |config| {
                let recovery = std::mem::take(&mut config.recovery).divided_by(self.divisor);
                config.recovery = recovery;
                let (first, cap) = self.backoff;
                config.recovery.absent = Window { first, cap, ..config.recovery.absent };
                config.recovery.absent_cap_long = cap;
                config.recovery.stable_after = self.stable_after;
                config.recovery.budget = Some(self.connect_budget);
            })
    }
}

/// The scaling in words, with the defaults in parentheses.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "times scaled down for the show (default): ping after {:?} (15s), ping time-out {:?} (5s), \
             ack time-out {:?} (20s), back-off {:?}..{:?} (2s..15s), stable after {:?} (30s)",
            self.ping_after,
            self.ping_timeout,
            self.ack_timeout,
            self.backoff.0,
            self.backoff.1,
            self.stable_after
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_is_the_same_story_in_a_fifth_of_the_time() {
        let (show, fast) = (story(Pace::SHOW), story(Pace::FAST));
        assert_eq!(Pace::SHOW.total(), Duration::from_secs(30));
        assert_eq!(Pace::FAST.total(), Duration::from_secs(6));
        for ((at, act), (fast_at, fast_act)) in show.iter().zip(&fast) {
            assert_eq!((*at, *act), (*fast_at * 5, *fast_act));
        }
    }

    #[test]
    fn every_message_is_due_when_publishing_stops_and_none_before_its_time() {
        for pace in [Pace::SHOW, Pace::FAST] {
            let stop = story(pace).last().unwrap().0;
            assert_eq!(pace.due(Duration::ZERO), 1);
            assert_eq!(pace.due(pace.interval()), 2);
            assert_eq!(pace.due(stop - pace.interval()), MESSAGES);
            assert_eq!(pace.due(stop - pace.interval() * 2), MESSAGES - 1);
            assert_eq!(pace.due(pace.total()), MESSAGES);
        }
    }

    #[test]
    fn a_silent_link_is_given_up_while_it_is_frozen() {
        for pace in [Pace::SHOW, Pace::FAST] {
            let at = |wanted| story(pace).into_iter().find(|(_, act)| *act == wanted).unwrap().0;
            let frozen = at(Act::End(Fault::Freeze)) - at(Act::Begin(Fault::Freeze));
            let times = Times::at(pace);
            assert!(times.detection() < frozen);
            let lost = at(Act::End(Fault::LostAcks)) - at(Act::Begin(Fault::LostAcks));
            assert!(times.detection() < times.ack_timeout && times.ack_timeout < lost);
        }
    }

    #[test]
    fn the_scaling_names_each_default_from_the_core() {
        let words = Times::at(Pace::SHOW).to_string();
        let link = rejoin_core::LinkConfig::default();
        let recovery = rejoin_core::RecoveryConfig::default();
        for part in [
            format!("ping after 800ms ({:?})", link.ping_after),
            format!("ping time-out 1.2s ({:?})", link.ping_timeout),
            format!("ack time-out 2.2s ({:?})", link.ack_timeout),
            format!("back-off 200ms..400ms ({:?}..{:?})", recovery.absent.first, recovery.absent.cap),
            format!("stable after 1s ({:?})", recovery.stable_after),
        ] {
            assert!(words.contains(&part), "{part} is not in: {words}");
        }
    }
}
