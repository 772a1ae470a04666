//! The end of a run: the auditor's verdict, in words and as one document.

use std::time::Duration;

use rejoin::Qos;
use rejoin_lab::Verdict;
use serde_json::{Value, json};

use super::chronicle::{Chronicle, Outage, short};
use super::killed::Survivors;
use super::script::{Pace, Times};
use super::world::{Lane, Settings, World};
use crate::observe::document::{Anomaly, Expectation, VerdictView};

/// Everything known at the end of a run.
#[derive(Debug)]
pub(crate) struct Judgement {
    settings: Settings,
    /// Where the story was; not at its end if somebody quit.
    ended_at: Duration,
    ours: Verdict,
    /// Our lane's counts, for what only the subscriber knows.
    lane: Lane,
    plain: Option<Lane>,
    outages: Vec<Outage>,
    /// The link was lost and did not come all back.
    still_out: bool,
    gaps: u32,
    /// Claimed open while dead: in all, and at most in one piece.
    claimed: (Duration, Duration),
    suspicions: Vec<String>,
    /// What became of the messages of the process that was killed.
    survivors: Option<Survivors>,
}

impl Judgement {
    /// Judges a run that is over.
    pub(crate) fn of(settings: &Settings, world: &World, chronicle: &Chronicle) -> Self {
        let (ours, suspicions) = world.verdict();
        Self {
            settings: *settings,
            ended_at: world.clock.now(),
            ours,
            lane: world.ours(),
            plain: world.plain(),
            outages: chronicle.outages().to_vec(),
            still_out: chronicle.is_recovering(),
            gaps: chronicle.gaps(),
            claimed: world.claimed_open_while_dead(),
            suspicions,
            survivors: world.survivors(),
        }
    }

    /// The verdict. What is allowed depends on what the QoS promises: QoS 0 may be lost with its link, and at
    /// QoS 2 a session lost between PUBREC and PUBCOMP leaves a message of which nobody can know.
    pub(crate) fn passes(&self) -> bool {
        let mut ours = self.ours.clone();
        let unknown_allowed = self.settings.qos == Qos::ExactlyOnce || ours.told_unknown == 0;
        if self.settings.qos == Qos::AtMostOnce {
            ours.lost.clear();
        }
        let quit = self.ended_at < self.settings.pace.total();
        let survived = self.survivors.map_or(quit, |survivors| survivors.all_there(self.settings.qos));
        survived && ours.passes() && unknown_allowed && ours.told_failed == 0 && (!self.still_out || quit)
    }

    /// The last lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let word = if self.passes() { "PASS" } else { "FAIL" };
        let counts = self.ours.to_string();
        let counts = counts.trim_start_matches("PASS").trim_start_matches("FAIL").trim_start();
        let mut lines = vec![format!("{word}  {counts}{}", self.recovery())];
        let mut more = |text: String| lines.push(format!("      {text}"));
        if self.settings.qos == Qos::AtMostOnce && !self.ours.lost.is_empty() {
            more("QoS 0 is never acknowledged: what was on its way when the link died is lost".to_owned());
        }
        if self.still_out {
            more("the link was lost and did not come all back before the end".to_owned());
        }
        if let Some(plain) = &self.plain {
            let lost = plain.published - plain.delivered.min(plain.published);
            more(format!("the same faults without recovery: delivered {}, lost {lost}", plain.delivered));
            more(format!(
                "subscribers: ours got {} of {} ({}), the one without recovery {} of {}",
                self.lane.received,
                self.ours.delivered,
                match self.gaps {
                    0 => "no gap".to_owned(),
                    1 => "told of 1 gap".to_owned(),
                    n => format!("told of {n} gaps"),
                },
                plain.received,
                plain.delivered,
            ));
        }
        if let Some(Survivors { stored, delivered, copies }) = self.survivors {
            let twice = if copies > 0 { format!(", {copies} of them twice") } else { String::new() };
            more(format!(
                "a process of ours was killed with {stored} messages on disk: its successor delivered {delivered}{twice}"
            ));
        }
        let times = Times::at(self.settings.pace);
        more(format!(
            "claimed open while dead: {} in all, at most {} in a row (a silent link is given up within {})",
            short(self.claimed.0),
            short(self.claimed.1),
            short(times.detection())
        ));
        for reason in self.ours.reasons.iter().chain(&self.suspicions) {
            more(reason.clone());
        }
        if self.ended_at < self.settings.pace.total() {
            more(format!("ended early, at {}", short(self.ended_at)));
        }
        more(format!("next: rejoin pub --help · rejoin sub --help · {}", self.again()));
        lines
    }

    /// The verdict as the page and the report show it.
    pub(crate) fn view(&self) -> VerdictView {
        let qos0 = self.settings.qos == Qos::AtMostOnce;
        let none = |name: &str, value: u64, free: bool| Expectation {
            name: name.to_owned(),
            limit: if free { "any" } else { "0" }.to_owned(),
            value: value.to_string(),
            pass: free || value == 0,
        };
        let unknown_allowed = self.settings.qos == Qos::ExactlyOnce;
        VerdictView {
            pass: self.passes(),
            title: if self.passes() { "PASS" } else { "FAIL" }.to_owned(),
            lines: self.lines(),
            expectations: vec![
                none("lost", self.ours.lost.len() as u64, qos0),
                none("duplicates without a reason", self.ours.duplicates_unexplained, false),
                none("out of order", self.ours.out_of_order, false),
                none("acknowledged and not there", self.ours.false_acknowledgements, false),
                none("told failed", self.ours.told_failed, false),
                none("told unknown", self.ours.told_unknown, unknown_allowed),
                none("protocol violations", self.ours.violations, false),
            ],
            anomalies: self
                .ours
                .reasons
                .iter()
                .chain(&self.suspicions)
                .map(|what| Anomaly { what: what.clone() })
                .collect(),
        }
    }

    fn recovery(&self) -> String {
        let Some((median, longest)) = self.median_and_longest() else { return String::new() };
        let outages = match self.outages.len() {
            1 => "1 outage".to_owned(),
            n => format!("{n} outages"),
        };
        format!(
            ", recovered in {} ms (median of {outages}, max {} ms)",
            median.as_millis(),
            longest.as_millis()
        )
    }

    fn median_and_longest(&self) -> Option<(Duration, Duration)> {
        let mut times: Vec<Duration> = self.outages.iter().map(|outage| outage.recovered_in).collect();
        times.sort_unstable();
        let middle = times.len() / 2;
        let upper = *times.get(middle)?;
        let median = if times.len().is_multiple_of(2) { (times[middle - 1] + upper) / 2 } else { upper };
        Some((median, *times.last()?))
    }

    /// The command that repeats this run.
    fn again(&self) -> String {
        let mut again = "rejoin demo".to_owned();
        if self.settings.pace == Pace::FAST {
            again.push_str(" --fast");
        }
        if self.settings.qos != Qos::AtLeastOnce {
            again.push_str(&format!(" --qos {}", self.settings.qos as u8));
        }
        format!("{again} --seed {}", self.settings.seed)
    }

    /// Every number, units in the names.
    pub(crate) fn json(&self, chronicle: &Chronicle) -> Value {
        let times = Times::at(self.settings.pace);
        let recovery = self.median_and_longest();
        json!({
            "verdict": if self.passes() { "pass" } else { "fail" },
            "fast": self.settings.pace == Pace::FAST,
            "seed": self.settings.seed,
            "qos": self.settings.qos as u8,
            "duration_s": self.ended_at.as_secs_f64(),
            "ended_early": self.ended_at < self.settings.pace.total(),
            "published": self.ours.published,
            "delivered": self.ours.delivered,
            "lost": self.ours.lost.len(),
            "duplicates_explained": self.ours.duplicates_explained,
            "duplicates_unexplained": self.ours.duplicates_unexplained,
            "out_of_order": self.ours.out_of_order,
            "invented": self.ours.invented,
            "told_failed": self.ours.told_failed,
            "told_unknown": self.ours.told_unknown,
            "falsely_acknowledged": self.ours.false_acknowledgements,
            "protocol_violations": self.ours.violations,
            "reasons": self.ours.reasons,
            "suspicions": self.suspicions,
            "subscriber": {
                "received": self.lane.received,
                "copies": self.lane.copies,
                "gaps_told": self.gaps,
            },
            "recovery": {
                "outages": self.outages.iter().map(outage_json).collect::<Vec<_>>(),
                "median_ms": recovery.map(|(median, _)| ms(median)),
                "max_ms": recovery.map(|(_, longest)| ms(longest)),
            },
            "killed_process": self.survivors.map(|survivors| json!({
                "stored": survivors.stored,
                "delivered": survivors.delivered,
                "copies": survivors.copies,
            })),
            "claimed_open_while_dead_ms": ms(self.claimed.0),
            "claimed_open_while_dead_longest_ms": ms(self.claimed.1),
            "without_recovery": self.plain.map(|plain| json!({
                "published": plain.published,
                "delivered": plain.delivered,
                "lost": plain.published - plain.delivered.min(plain.published),
                "received": plain.received,
            })),
            "times_scaled_down": {
                "ping_after_ms": ms(times.ping_after),
                "ping_timeout_ms": ms(times.ping_timeout),
                "ack_timeout_ms": ms(times.ack_timeout),
                "connack_timeout_ms": ms(times.connack_timeout),
                "backoff_first_ms": ms(times.backoff.0),
                "backoff_cap_ms": ms(times.backoff.1),
                "stable_after_ms": ms(times.stable_after),
            },
            "events": chronicle.lines().iter().map(|line| json!({
                "at_s": (line.at.as_secs_f64() * 1e3).round() / 1e3,
                "event": line.word,
                "text": line.text,
            })).collect::<Vec<_>>(),
        })
    }
}

fn outage_json(outage: &Outage) -> Value {
    json!({
        "cause": outage.cause,
        "fault": outage.fault.map(|fault| fault.name()),
        "lost_at_ms": ms(outage.lost_at),
        "recovered_at_ms": ms(outage.recovered_at),
        "recovered_in_ms": ms(outage.recovered_in),
        "drained": outage.drained,
    })
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(qos: Qos, ours: Verdict) -> Judgement {
        let outage = |ms| Outage {
            cause: "reset",
            fault: None,
            lost_at: Duration::ZERO,
            recovered_at: Duration::ZERO,
            recovered_in: Duration::from_millis(ms),
            drained: 1,
        };
        Judgement {
            settings: Settings { pace: Pace::SHOW, seed: 42, qos, plain: true },
            ended_at: Duration::from_secs(30),
            ours,
            lane: Lane { received: 1_390, ..Lane::default() },
            plain: Some(Lane { published: 1_400, delivered: 988, ..Lane::default() }),
            outages: vec![outage(940), outage(300), outage(324)],
            still_out: false,
            gaps: 1,
            claimed: (Duration::from_millis(1_700), Duration::from_millis(1_600)),
            suspicions: Vec::new(),
            survivors: Some(Survivors { stored: 31, delivered: 31, copies: 0 }),
        }
    }

    fn good() -> Verdict {
        Verdict { published: 1_400, delivered: 1_400, duplicates_explained: 44, ..Verdict::default() }
    }

    #[test]
    fn the_last_lines_say_what_counts() {
        let lines = judgement(Qos::AtLeastOnce, good()).lines();
        assert_eq!(
            lines[0],
            "PASS  published 1400, delivered 1400, lost 0, duplicated 44 (all explained), \
             recovered in 324 ms (median of 3 outages, max 940 ms)"
        );
        assert_eq!(lines[1].trim(), "the same faults without recovery: delivered 988, lost 412");
        let next = lines.last().unwrap();
        assert!(next.contains("rejoin pub --help") && next.contains("rejoin demo --seed 42"), "{next}");
    }

    #[test]
    fn the_verdict_is_no_better_than_the_auditors() {
        for bad in [
            Verdict { lost: vec![7], ..good() },
            Verdict { duplicates_unexplained: 1, ..good() },
            Verdict { violations: 1, ..good() },
            Verdict { out_of_order: 1, ..good() },
            Verdict { false_acknowledgements: 1, ..good() },
            Verdict { told_failed: 1, ..good() },
            Verdict { told_unknown: 1, ..good() },
        ] {
            let judged = judgement(Qos::AtLeastOnce, bad);
            assert!(!judged.passes(), "{judged:?}");
            assert!(judged.lines()[0].starts_with("FAIL  published"), "{:?}", judged.lines());
        }
        let mut killed = judgement(Qos::AtLeastOnce, good());
        killed.survivors = Some(Survivors { stored: 31, delivered: 30, copies: 0 });
        assert!(!killed.passes(), "what was on disk must arrive");
        killed.survivors = None;
        assert!(!killed.passes(), "the scene was not played");
        let mut twice = judgement(Qos::ExactlyOnce, good());
        twice.survivors = Some(Survivors { stored: 31, delivered: 31, copies: 1 });
        assert!(!twice.passes());
        let mut out = judgement(Qos::AtLeastOnce, good());
        out.still_out = true;
        assert!(!out.passes());
    }

    #[test]
    fn each_qos_is_held_to_what_it_promises() {
        let lossy = Verdict { lost: vec![7, 8], ..good() };
        assert!(judgement(Qos::AtMostOnce, lossy.clone()).passes());
        assert!(!judgement(Qos::ExactlyOnce, lossy).passes());
        let unknown = Verdict { told_unknown: 1, ..good() };
        assert!(judgement(Qos::ExactlyOnce, unknown).passes());
    }

    #[test]
    fn the_document_has_every_number_with_its_unit() {
        let json = judgement(Qos::AtLeastOnce, good()).json(&Chronicle::default());
        assert_eq!(json["verdict"], "pass");
        assert_eq!(json["recovery"]["median_ms"], 324.0);
        assert_eq!(json["recovery"]["max_ms"], 940.0);
        assert_eq!(json["without_recovery"]["lost"], 412);
        assert_eq!(json["claimed_open_while_dead_ms"], 1_700.0);
        assert_eq!(json["times_scaled_down"]["backoff_cap_ms"], 400.0);
    }
}
