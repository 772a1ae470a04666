//! Is the peer alive? Five clocks, each blind where another sees.
//!
//! | clock | sees | does not see |
//! |---|---|---|
//! | ping | silence on an idle link | a link whose buffers are full: a ping cannot overtake bytes |
//! | write stall | a peer that takes no bytes | an idle link |
//! | acknowledgement progress | a broker that answers pings and nothing else | an idle link |
//! | answer to AUTH | a broker that leaves an exchange on an open link where it is | anything else |
//! | health watch | a link on which nothing useful arrives | anything when it is off, or while the application has so many messages it has not taken that the broker may have to wait |

use std::time::Duration;

use crate::common::Common;
use crate::config::LinkConfig;
use crate::error::{LossCause, Stage, TransportError, TransportErrorKind};
use crate::text::Text;
use crate::time::{TimerKind, Timestamp};
use crate::topic::TopicFilter;

/// More bytes than a system holds back for one connection: when it took so many behind a ping, the ping is on its way, even
/// if a proxy takes bytes for ever that nobody answers.
const KERNEL_MOST: u64 = 16 * 1024 * 1024;

/// The clocks of one link. Any inbound byte is life.
#[derive(Debug)]
pub(crate) struct Liveness {
    config: Common<LinkConfig>,
    ping_after: Duration,
    ack_timeout: Duration,
    last_in: Timestamp,
    last_out: Timestamp,
    /// When the oldest ping left that no answer came for.
    ping_sent: Option<Timestamp>,
    /// Pings without an answer.
    owed: u32,
    /// We did not read for a while since that ping left: when its answer is read says nothing about the path.
    read_late: bool,
    /// When the last bytes left that a late answer can be blamed on: the ping itself, or what a full transport had
    /// refused before. What an idle transport takes says nothing: the kernel of a frozen link takes it, too.
    ping_left: Timestamp,
    /// Where the ping ends, while it has not left; and where the last one ended.
    ping_mark: Option<u64>,
    ping_end: u64,
    /// The transport refused bytes: what it takes next, the peer has made room for.
    backed_up: bool,
    suspect: bool,
    round_trip: RoundTrip,
    /// Bytes handed to the transport and bytes it took, since the link opened.
    handed: u64,
    taken: u64,
    last_taken: Timestamp,
    /// Where the first packet that waits for an acknowledgement ends, while it has not left.
    ack_mark: Option<u64>,
    /// Since when an acknowledgement is waited for. Moved on by the time in which we did not read.
    ack_since: Option<Timestamp>,
    /// We did not read for a while since then: it may stand behind what came in the meantime.
    ack_read_late: bool,
    /// Where the last AUTH on the open link ends, while it has not left; and since when its answer is waited for.
    auth_mark: Option<u64>,
    auth_since: Option<Timestamp>,
    last_publish: Timestamp,
    /// Since when reading is paused by us: bytes we do not read are no silence of the peer.
    paused: Option<Timestamp>,
    /// The application has many messages that it has not taken: the server may not be allowed to send more.
    withheld: bool,
}

/// What a clock says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Send PINGREQ.
    Ping,
    /// The answer to a ping is late.
    Suspect,
    /// No message for the time of the health watch, which only tells.
    Silent(Duration),
    /// The link is dead.
    Dead(LossCause),
}

impl Liveness {
    /// Clocks of a link that opened now. `ping_after` is already within three quarters of the keep-alive.
    pub(crate) fn new(
        config: &Common<LinkConfig>,
        ping_after: Duration,
        ack_timeout: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            ping_after,
            config: config.clone(),
            ack_timeout,
            last_in: now,
            last_out: now,
            ping_sent: None,
            owed: 0,
            read_late: false,
            ping_left: now,
            ping_mark: None,
            ping_end: 0,
            backed_up: false,
            suspect: false,
            round_trip: RoundTrip::default(),
            handed: 0,
            taken: 0,
            last_taken: now,
            ack_mark: None,
            ack_since: None,
            ack_read_late: false,
            auth_mark: None,
            auth_since: None,
            last_publish: now,
            paused: None,
            withheld: false,
        }
    }

    /// The keep-alive the server asked for is known.
    pub(crate) fn agree(&mut self, ping_after: Duration, now: Timestamp) {
        self.ping_after = ping_after;
        self.last_publish = now;
    }

    pub(crate) fn heard(&self) -> Timestamp {
        self.last_in
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Bytes handed over and not yet taken.
    pub(crate) fn unwritten(&self) -> u64 {
        self.handed - self.taken
    }

    /// Bytes handed over since the link opened.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }

    /// Bytes taken since the link opened.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes came. `true`: the link was suspect and is trusted again.
    pub(crate) fn received(&mut self, now: Timestamp) -> bool {
        self.last_in = now;
        std::mem::take(&mut self.suspect)
    }

    pub(crate) fn publish_received(&mut self, topic: &Text, now: Timestamp) {
        let is_of = |filters: &[TopicFilter]| filters.iter().any(|filter| filter.matches_text(topic));
        if (self.config.health_watch_filters.is_empty() || is_of(&self.config.health_watch_filters))
            && !is_of(&self.config.health_watch_ignored)
        {
            self.last_publish = now;
        }
    }

    pub(crate) fn handed_over(&mut self, bytes: usize, now: Timestamp) {
        if self.unwritten() == 0 {
            self.last_taken = now;
        }
        self.handed += bytes as u64;
        self.last_out = now;
    }

    /// A packet that waits for an acknowledgement was handed over.
    pub(crate) fn expects_ack(&mut self) {
        if self.ack_since.is_none() {
            self.ack_mark.get_or_insert(self.handed);
        }
    }

    pub(crate) fn written(&mut self, bytes: usize, now: Timestamp) {
        self.taken = (self.taken + bytes as u64).min(self.handed);
        self.last_taken = now;
        let ping_leaves = self.ping_mark.take_if(|mark| *mark <= self.taken).is_some();
        let may_hold_it = self.taken - self.ping_end.min(self.taken) <= KERNEL_MOST;
        if ping_leaves || self.backed_up && may_hold_it {
            self.ping_left = now;
        }
        self.backed_up = self.unwritten() > 0;
        // Only once the bytes left the socket can an acknowledgement be late.
        if self.ack_mark.is_some_and(|mark| mark <= self.taken) {
            self.ack_mark = None;
            self.wait_for_ack(true, now);
        }
        if self.auth_mark.take_if(|mark| *mark <= self.taken).is_some() {
            self.auth_since = Some(now);
        }
    }

    fn wait_for_ack(&mut self, wait: bool, now: Timestamp) {
        self.ack_since = wait.then_some(now);
        self.ack_read_late = false;
    }

    /// An acknowledgement came; `more` are still waited for, with fresh patience.
    pub(crate) fn acknowledged(&mut self, more: bool, ack_timeout: Duration, now: Timestamp) {
        self.ack_timeout = ack_timeout;
        let leaving = more && self.unwritten() > 0;
        // While bytes have not left, what is waited for may be among them: its time begins when they have.
        self.ack_mark = leaving.then_some(self.handed);
        self.wait_for_ack(more && !leaving, now);
    }

    /// AUTH was handed over, and the server has the next word.
    pub(crate) fn expects_auth(&mut self) {
        self.auth_mark = Some(self.handed);
    }

    /// It said it.
    pub(crate) fn auth_arrived(&mut self) {
        (self.auth_mark, self.auth_since) = (None, None);
    }

    pub(crate) fn ping_sent(&mut self, now: Timestamp) {
        self.owed += 1;
        // Repeated, it is still the first that is late.
        if self.ping_sent.is_none() {
            self.read_late = self.paused.is_some();
            self.ping_sent = Some(now);
            self.ping_mark = Some(self.handed);
            self.ping_end = self.handed;
        }
    }

    /// Gives the round trip, if there was a ping to answer and no doubt which.
    pub(crate) fn pingresp(&mut self, now: Timestamp) -> Option<Duration> {
        self.owed = self.owed.saturating_sub(1);
        // While others are owed it is not known which of them this one answers.
        let took = now.since(self.ping_sent.take().filter(|_| self.owed == 0 && !self.read_late)?);
        self.round_trip.sample(took);
        Some(took)
    }

    pub(crate) fn pause(&mut self, paused: bool, now: Timestamp) {
        self.read_late |= paused;
        if paused {
            self.paused.get_or_insert(now);
            return;
        }
        let Some(since) = self.paused.take() else { return };
        // What came in the meantime is read from now on: nothing of it was late.
        self.last_in = now;
        self.last_publish = now;
        // Not anew from here: a server that never acknowledges may send bursts that we take one by one.
        self.ack_since = self.ack_since.map(|from| from + now.since(since.max(from)));
        self.ack_read_late = true;
    }

    /// Whether the application withholds answers: then no message is no silence of the server.
    pub(crate) fn withhold(&mut self, withheld: bool, now: Timestamp) {
        if self.withheld && !withheld {
            self.last_publish = now;
        }
        self.withheld = withheld;
    }

    /// The ping time-out in force: a floor, and more on a slow link.
    pub(crate) fn patience(&self) -> Duration {
        self.config.ping_timeout.max(self.round_trip.patience())
    }

    fn write_patience(&self) -> Duration {
        self.config.write_timeout.max(self.round_trip.patience())
    }

    /// Every deadline with its reason.
    fn deadlines(&self) -> [Option<(Timestamp, TimerKind)>; 5] {
        let stalled = self.unwritten() > 0;
        let ping = match self.ping_sent {
            // A ping cannot overtake bytes the transport has not taken; the write stall rules then.
            _ if stalled || defect!(NoPings) => None,
            _ if self.ping_after == Duration::MAX => None,
            // What we do not read is no silence of the peer, but the peer must go on hearing from us.
            _ if self.paused.is_some() => Some((self.last_out + self.ping_after, TimerKind::Ping)),
            // [MQTT-3.1.2-20]
            None => Some((self.last_in.min(self.last_out) + self.ping_after, TimerKind::Ping)),
            Some(_) if defect!(PingrespIgnored) => None,
            Some(sent) => {
                let from = sent.max(self.last_in).max(self.ping_left);
                let late = if self.suspect {
                    (from + self.patience(), TimerKind::PingTimeout)
                } else {
                    (from + self.patience().saturating_mul(2) / 5, TimerKind::Suspect)
                };
                // Its answer may stand behind a long backlog: that must not silence us [MQTT-3.1.2-20].
                let again = self.last_out.max(self.last_taken) + self.ping_after;
                Some(if again < late.0 { (again, TimerKind::Ping) } else { late })
            }
        };
        let write = (stalled && !defect!(WriteStallIgnored))
            .then(|| (self.last_taken + self.write_patience(), TimerKind::WriteStall));
        let reads = self.paused.is_none();
        let ack_patience = self.ack_timeout.saturating_mul(1 + u32::from(self.ack_read_late));
        let ack = self.ack_since.filter(|_| !stalled && reads && !defect!(AckTimeoutIgnored));
        let ack = ack.map(|since| (since + ack_patience, TimerKind::AckProgress));
        let auth = self.auth_since.filter(|_| !defect!(AuthTimeoutIgnored));
        let auth = auth.map(|since| (since + self.config.connack_timeout, TimerKind::Auth));
        let health = self
            .config
            .health_watch
            .filter(|_| reads && !self.withheld)
            .map(|d| (self.last_publish + d, TimerKind::HealthWatch));
        [ping, write, ack, auth, health]
    }

    /// The next deadline and why.
    pub(crate) fn deadline(&self) -> Option<(Timestamp, TimerKind)> {
        self.deadlines().into_iter().flatten().min()
    }

    /// What is due now, the gravest first.
    pub(crate) fn check(&mut self, now: Timestamp) -> Option<Alarm> {
        let mut due = self.deadlines().into_iter().flatten().filter(|(at, _)| *at <= now).map(|(_, k)| k);
        let first = due.next()?;
        let grave = [first].into_iter().chain(due).find(|k| match k {
            TimerKind::Ping | TimerKind::Suspect => false,
            TimerKind::HealthWatch => !self.config.health_watch_only_tells,
            _ => true,
        });
        Some(match grave.unwrap_or(first) {
            // [MQTT-3.12.4-1] [u5-3.1.2.10]
            TimerKind::PingTimeout => Alarm::Dead(LossCause::PingTimeout(self.patience())),
            TimerKind::WriteStall => Alarm::Dead(LossCause::WriteStall(self.write_patience())),
            TimerKind::AckProgress => Alarm::Dead(LossCause::AckTimeout(self.ack_timeout)),
            TimerKind::Auth => {
                let detail = format!("no answer to AUTH within {:?}", self.config.connack_timeout);
                let error = TransportError::new(TransportErrorKind::TimedOut, detail);
                Alarm::Dead(LossCause::Open { stage: Stage::Credentials, error })
            }
            TimerKind::HealthWatch if self.config.health_watch_only_tells => {
                self.last_publish = now;
                Alarm::Silent(self.config.health_watch.unwrap_or_default())
            }
            TimerKind::HealthWatch => {
                Alarm::Dead(LossCause::HealthWatch(self.config.health_watch.unwrap_or_default()))
            }
            TimerKind::Suspect => {
                self.suspect = true;
                Alarm::Suspect
            }
            _ => Alarm::Ping,
        })
    }
}

/// Smoothed round trip, as TCP keeps it (RFC 6298), from pings.
#[derive(Debug, Default)]
struct RoundTrip {
    smoothed: Option<Duration>,
    variance: Duration,
}

impl RoundTrip {
    fn sample(&mut self, sample: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variance = sample / 2;
            }
            Some(smoothed) => {
                self.variance = (self.variance * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
    }

    /// Time for an answer with two retransmissions on the way: 1 + 2 + 4 time-outs of TCP.
    fn patience(&self) -> Duration {
        self.smoothed.map_or(Duration::ZERO, |smoothed| (smoothed + self.variance * 4) * 7)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_we_read_late_ourselves_makes_the_path_no_slower() {
        let at = |seconds| Timestamp::ZERO + Duration::from_secs(seconds);
        let config = Common::<LinkConfig>::default();
        let mut liveness = Liveness::new(&config, config.ping_after, config.ack_timeout, at(0));
        for paused_at in [1, 11] {
            // Before the ping leaves, and after it.
            if paused_at > 10 {
                liveness.ping_sent(at(10));
            }
            liveness.pause(true, at(paused_at));
            if paused_at < 10 {
                liveness.ping_sent(at(2));
            }
            liveness.pause(false, at(paused_at + 5));
            assert_eq!(liveness.pingresp(at(paused_at + 5)), None);
            assert_eq!(liveness.patience(), config.ping_timeout);
        }
        liveness.ping_sent(at(20));
        assert_eq!(liveness.pingresp(at(23)), Some(Duration::from_secs(3)));
        assert!(liveness.patience() > config.ping_timeout, "a slow path is a slow path");
    }

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn liveness(change: impl FnOnce(&mut LinkConfig)) -> Liveness {
        let mut config = Common::default();
        change(&mut config);
        let mut liveness = Liveness::new(&config, Duration::MAX, config.ack_timeout, at(0));
        assert_eq!(
            liveness.deadline().filter(|(_, kind)| *kind == TimerKind::Ping),
            None,
            "not before CONNACK"
        );
        liveness.agree(config.ping_after, at(0));
        liveness
    }

    /// A ping that the transport takes at once.
    fn ping(liveness: &mut Liveness, now: Timestamp) {
        liveness.handed_over(2, now);
        liveness.ping_sent(now);
        liveness.written(2, now);
    }

    /// The next alarm comes then and not a moment before.
    fn rings(liveness: &mut Liveness, when: Timestamp, kind: TimerKind) -> Alarm {
        assert_eq!(liveness.deadline(), Some((when, kind)));
        assert_eq!(liveness.check(Timestamp::from_micros(when.as_micros() - 1)), None);
        liveness.check(when).expect("it is due")
    }

    #[test]
    fn a_ping_is_due_when_either_direction_was_idle_for_long_enough() {
        let mut liveness = liveness(|_| {});
        liveness.received(at(7000));
        liveness.handed_over(10, at(3000));
        liveness.written(10, at(3000));
        assert_eq!(rings(&mut liveness, at(18_000), TimerKind::Ping), Alarm::Ping);
        liveness.handed_over(10, at(9000));
        liveness.written(10, at(9000));
        assert_eq!(rings(&mut liveness, at(22_000), TimerKind::Ping), Alarm::Ping);
        assert_eq!(liveness.heard(), at(7000));
        // Paused by us, only what we say counts.
        liveness.pause(true, at(9000));
        assert_eq!(rings(&mut liveness, at(24_000), TimerKind::Ping), Alarm::Ping);
    }

    #[test]
    fn an_acknowledgement_of_what_is_still_leaving_is_late_from_when_it_left() {
        let mut liveness = liveness(|config| config.ack_timeout = millis(20_000));
        for bytes in [10, 250_000] {
            liveness.handed_over(bytes, at(0));
            liveness.expects_ack();
        }
        liveness.written(10, at(0));
        // The first is answered while the second takes 25 s to leave.
        liveness.acknowledged(true, millis(20_000), at(100));
        for second in 1..=25 {
            liveness.written(10_000, at(second * 1000));
            liveness.received(at(second * 1000));
        }
        assert_eq!(liveness.unwritten(), 0);
        let due =
            liveness.deadlines().into_iter().flatten().find(|(_, kind)| *kind == TimerKind::AckProgress);
        assert_eq!(due, Some((at(45_000), TimerKind::AckProgress)));
        liveness.acknowledged(false, millis(20_000), at(26_000));
        assert_eq!(liveness.deadlines()[2], None);
    }

    #[test]
    fn a_late_answer_is_suspected_after_two_fifths_and_fatal_after_the_whole() {
        let mut liveness = liveness(|_| {});
        ping(&mut liveness, at(18_000));
        assert!(!liveness.is_suspect());
        assert_eq!(rings(&mut liveness, at(20_000), TimerKind::Suspect), Alarm::Suspect);
        assert!(liveness.is_suspect());
        let late = Alarm::Dead(LossCause::PingTimeout(millis(5000)));
        assert_eq!(rings(&mut liveness, at(23_000), TimerKind::PingTimeout), late);
        // Any byte is life, and the clock of the answer starts anew.
        assert!(liveness.received(at(22_000)));
        assert!(!liveness.is_suspect() && !liveness.received(at(22_000)));
        assert_eq!(rings(&mut liveness, at(24_000), TimerKind::Suspect), Alarm::Suspect);
    }

    #[test]
    fn an_answer_is_late_from_when_its_ping_left() {
        let mut liveness = liveness(|_| {});
        liveness.handed_over(100, at(17_000));
        liveness.handed_over(2, at(18_000));
        liveness.ping_sent(at(18_000));
        assert_eq!(liveness.unwritten(), 102);
        let stalled = Alarm::Dead(LossCause::WriteStall(millis(5000)));
        assert_eq!(rings(&mut liveness, at(22_000), TimerKind::WriteStall), stalled);
        liveness.written(101, at(21_000));
        assert_eq!(
            rings(&mut liveness, at(26_000), TimerKind::WriteStall),
            stalled,
            "progress, but not the end"
        );
        liveness.written(1, at(23_000));
        assert_eq!((liveness.unwritten(), liveness.handed(), liveness.taken()), (0, 102, 102));
        assert_eq!(rings(&mut liveness, at(25_000), TimerKind::Suspect), Alarm::Suspect);
        // What an idle transport takes afterwards is no sign of life, what a full one takes is.
        liveness.handed_over(10, at(25_500));
        liveness.written(10, at(25_600));
        assert_eq!(liveness.deadline(), Some((at(28_000), TimerKind::PingTimeout)));
        liveness.handed_over(10, at(26_000));
        liveness.written(4, at(26_100));
        liveness.written(6, at(26_500));
        assert_eq!(liveness.deadline(), Some((at(31_500), TimerKind::PingTimeout)));
        // More than there was is not taken.
        liveness.written(99, at(26_600));
        assert_eq!(liveness.unwritten(), 0);
    }

    #[test]
    fn the_peer_hears_from_us_while_an_answer_takes_long() {
        // The next ping is due before the answer is late.
        let mut liveness = liveness(|config| config.ping_timeout = millis(40_000));
        ping(&mut liveness, at(15_000));
        assert_eq!(rings(&mut liveness, at(30_000), TimerKind::Ping), Alarm::Ping);
        liveness.handed_over(1, at(16_000));
        liveness.written(1, at(17_000));
        assert_eq!(
            rings(&mut liveness, at(31_000), TimerKind::Suspect),
            Alarm::Suspect,
            "counted from the last byte"
        );
        // At the same moment the suspicion goes first.
        let mut liveness = self::liveness(|config| config.ping_timeout = millis(37_500));
        ping(&mut liveness, at(15_000));
        assert_eq!(rings(&mut liveness, at(30_000), TimerKind::Suspect), Alarm::Suspect);
    }

    #[test]
    fn patience_grows_with_the_round_trip_as_that_of_tcp_does() {
        let mut liveness = liveness(|_| {});
        for (sent, took, patience) in [(1000, 800, 21 * 800), (5000, 1600, 20_300), (9000, 900, 16_800)] {
            ping(&mut liveness, at(sent));
            assert_eq!(liveness.pingresp(at(sent + took)), Some(millis(took)));
            assert_eq!(liveness.patience(), millis(patience), "after {took} ms");
        }
        // A transport that takes nothing gets it, too.
        liveness.handed_over(1, at(20_000));
        assert_eq!(liveness.deadline(), Some((at(36_800), TimerKind::WriteStall)));
    }

    #[test]
    fn which_of_two_pings_was_answered_is_not_guessed() {
        let mut liveness = liveness(|_| {});
        ping(&mut liveness, at(1000));
        ping(&mut liveness, at(3000));
        assert_eq!(liveness.deadline(), Some((at(3000), TimerKind::Suspect)), "the first is late");
        assert_eq!(liveness.pingresp(at(4000)), None);
        assert_eq!(liveness.pingresp(at(4500)), None);
        assert_eq!(liveness.pingresp(at(4600)), None, "one that nobody asked for");
        ping(&mut liveness, at(6000));
        assert_eq!(liveness.pingresp(at(6100)), Some(millis(100)));
    }

    #[test]
    fn an_acknowledgement_is_late_from_when_the_last_byte_of_its_packet_left() {
        let mut liveness = liveness(|config| config.ping_after = Duration::MAX);
        liveness.handed_over(10, at(1000));
        liveness.expects_ack();
        liveness.handed_over(10, at(1000));
        liveness.expects_ack();
        liveness.written(9, at(2000));
        assert_eq!(liveness.deadline(), Some((at(7000), TimerKind::WriteStall)));
        liveness.written(1, at(3000));
        liveness.written(10, at(4000));
        let late = Alarm::Dead(LossCause::AckTimeout(millis(20_000)));
        assert_eq!(rings(&mut liveness, at(23_000), TimerKind::AckProgress), late);
        // A later packet does not push it out, an acknowledgement does.
        liveness.handed_over(10, at(5000));
        liveness.expects_ack();
        liveness.written(10, at(5000));
        assert_eq!(liveness.deadline(), Some((at(23_000), TimerKind::AckProgress)));
        liveness.acknowledged(true, millis(30_000), at(10_000));
        let late = Alarm::Dead(LossCause::AckTimeout(millis(30_000)));
        assert_eq!(rings(&mut liveness, at(40_000), TimerKind::AckProgress), late);
        // What we do not read is not late.
        liveness.pause(true, at(12_000));
        assert_eq!(liveness.deadline(), None);
        liveness.pause(false, at(50_000));
        // Two of its seconds were over; what is read late has twice as long.
        assert_eq!(liveness.deadline(), Some((at(108_000), TimerKind::AckProgress)));
        liveness.pause(false, at(60_000));
        assert_eq!(liveness.deadline(), Some((at(108_000), TimerKind::AckProgress)), "it was not paused");
        liveness.acknowledged(true, millis(30_000), at(61_000));
        assert_eq!(
            liveness.deadline(),
            Some((at(91_000), TimerKind::AckProgress)),
            "nothing of this one was late"
        );
        liveness.acknowledged(false, millis(30_000), at(62_000));
        assert_eq!(liveness.deadline(), None);
    }

    #[test]
    fn of_several_alarms_the_gravest_is_told() {
        let watched = |tells| {
            liveness(|config| {
                config.health_watch = Some(millis(15_000));
                config.health_watch_only_tells = tells;
            })
        };
        // A ping is due as well.
        assert_eq!(watched(true).check(at(15_000)), Some(Alarm::Ping));
        let unwell = Alarm::Dead(LossCause::HealthWatch(millis(15_000)));
        assert_eq!(watched(false).check(at(15_000)), Some(unwell));
        // With the ping answered the watch speaks, once for each time.
        let mut liveness = watched(true);
        ping(&mut liveness, at(14_000));
        liveness.pingresp(at(14_000));
        liveness.received(at(14_000));
        assert_eq!(rings(&mut liveness, at(15_000), TimerKind::HealthWatch), Alarm::Silent(millis(15_000)));
        assert_eq!(liveness.check(at(15_000)), None);
        // A suspicion and a late acknowledgement.
        let mut liveness = self::liveness(|_| {});
        liveness.handed_over(10, at(1000));
        liveness.expects_ack();
        liveness.written(10, at(1000));
        ping(&mut liveness, at(19_000));
        let late = Alarm::Dead(LossCause::AckTimeout(millis(20_000)));
        assert_eq!(liveness.check(at(21_000)), Some(late));
    }

    #[test]
    fn the_health_watch_starts_anew_when_reading_goes_on() {
        let mut liveness = liveness(|config| {
            config.ping_after = Duration::MAX;
            config.health_watch = Some(millis(15_000));
        });
        liveness.pause(true, at(1000));
        assert_eq!(liveness.deadline(), None);
        liveness.pause(false, at(2000));
        assert_eq!(liveness.deadline(), Some((at(17_000), TimerKind::HealthWatch)));
        liveness.publish_received(&"t".try_into().unwrap(), at(3000));
        assert_eq!(liveness.deadline(), Some((at(18_000), TimerKind::HealthWatch)));
    }

    #[test]
    fn a_ping_that_waits_in_a_transport_that_is_not_full_leaves_with_its_bytes() {
        let mut liveness = liveness(|_| {});
        liveness.handed_over(2, at(18_000));
        liveness.ping_sent(at(18_000));
        liveness.written(2, at(19_000));
        assert_eq!(rings(&mut liveness, at(21_000), TimerKind::Suspect), Alarm::Suspect);
    }

    #[test]
    fn a_transport_that_takes_bytes_for_ever_holds_no_ping_for_ever() {
        let mut liveness = liveness(|config| config.write_timeout = Duration::from_secs(3600));
        liveness.handed_over(2, at(18_000));
        liveness.ping_sent(at(18_000));
        liveness.written(2, at(18_000));
        let half = 8 << 20;
        for (taken_at, due) in [(19_000, 24_000), (20_000, 25_000), (21_000, 25_000)] {
            liveness.handed_over(half, at(taken_at));
            liveness.written(1, at(taken_at));
            liveness.written(half - 1, at(taken_at));
            let late = liveness.ping_left + liveness.patience();
            assert_eq!(late, at(due), "what was taken behind it at {taken_at} ms");
        }
    }

    #[test]
    fn an_answer_to_auth_is_late_from_when_it_left() {
        let mut liveness = liveness(|config| {
            config.ping_after = Duration::MAX;
            config.connack_timeout = millis(4000);
        });
        liveness.handed_over(10, at(1000));
        liveness.expects_auth();
        liveness.written(9, at(2000));
        assert_eq!(liveness.deadline(), Some((at(7000), TimerKind::WriteStall)));
        liveness.written(1, at(3000));
        assert_eq!(liveness.deadline(), Some((at(7000), TimerKind::Auth)));
        // What leaves behind it begins nothing anew.
        liveness.handed_over(5, at(4000));
        liveness.written(5, at(4000));
        let Some(Alarm::Dead(cause)) = liveness.check(at(7000)) else { panic!("nothing is due") };
        assert!(cause.to_string().contains("no answer to AUTH within 4s"), "{cause}");
        liveness.auth_arrived();
        assert_eq!((liveness.deadline(), liveness.check(at(9000))), (None, None));
    }

    #[test]
    fn the_health_watch_counts_from_when_the_application_went_on() {
        let mut liveness = liveness(|config| {
            config.ping_after = Duration::MAX;
            config.health_watch = Some(millis(15_000));
        });
        liveness.withhold(false, at(1000));
        assert_eq!(liveness.deadline(), Some((at(15_000), TimerKind::HealthWatch)), "nothing was withheld");
        liveness.withhold(true, at(2000));
        assert_eq!(liveness.deadline(), None);
        liveness.withhold(true, at(3000));
        liveness.withhold(false, at(20_000));
        assert_eq!(liveness.deadline(), Some((at(35_000), TimerKind::HealthWatch)));
    }
}
