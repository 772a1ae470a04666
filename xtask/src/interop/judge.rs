//! What a run of `rejoin` tells by its `--events` file and its output, and whether that is as promised.

use super::check::{Act, Step};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// Attempts a client may make in a minute, whatever its settings are.
const BUDGET: usize = 12;

/// The events of one client, one JSON object a line.
pub(super) struct Story(String);

impl Story {
    /// As far as it is written.
    pub(super) fn read(file: &Path) -> Self {
        Self(fs::read_to_string(file).unwrap_or_default())
    }

    /// The lines of this event.
    pub(super) fn lines<'a>(&'a self, event: &str) -> impl Iterator<Item = &'a str> {
        let mark = format!("\"event\":\"{event}\"");
        self.0.lines().filter(move |line| line.contains(&mark))
    }

    pub(super) fn count(&self, event: &str) -> usize {
        self.lines(event).count()
    }

    fn all<'a>(&'a self, event: &str, key: &str) -> Vec<&'a str> {
        self.lines(event).filter_map(|line| field(line, key)).collect()
    }

    /// Links that ended, but for the end of the run.
    fn losses(&self) -> Vec<&str> {
        self.all("closed", "cause").into_iter().filter(|cause| *cause != "shutdown").collect()
    }

    /// The longest time without a link, in whole milliseconds.
    fn longest_outage(&self) -> u64 {
        let outages = self.all("opened", "outage_ms").into_iter();
        outages.filter_map(|ms| ms.split('.').next()?.parse().ok()).max().unwrap_or(0)
    }
}

/// The value of a key in a line of JSON without nesting below it.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}

/// How often each line arrived that was sent as a number from 1 on.
pub(super) struct Arrivals(BTreeMap<usize, usize>);

impl Arrivals {
    pub(super) fn read(file: &Path) -> Self {
        let mut seen = BTreeMap::new();
        for number in
            fs::read_to_string(file).unwrap_or_default().lines().filter_map(|line| line.parse().ok())
        {
            *seen.entry(number).or_default() += 1;
        }
        Self(seen)
    }

    pub(super) fn distinct(&self) -> usize {
        self.0.len()
    }

    fn twice(&self) -> usize {
        self.0.values().filter(|times| **times > 1).count()
    }
}

/// What happened in a step.
pub(super) struct Evidence {
    pub(super) sent: usize,
    pub(super) arrivals: Arrivals,
    pub(super) publisher: Story,
    pub(super) subscriber: Story,
    pub(super) exit_code: Option<i32>,
    /// From the first line on, in minutes begun.
    pub(super) minutes: usize,
}

impl Evidence {
    /// What is not as promised; nothing if all is.
    pub(super) fn faults(&self, step: &Step) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        let arrived = self.arrivals.distinct();
        must(arrived == self.sent, format!("{} of {} lost", self.sent - arrived.min(self.sent), self.sent));
        must(self.exit_code == Some(0), format!("rejoin pub ended with {:?}", self.exit_code));
        let downgraded = self.publisher.count("downgraded");
        let exactly_once = step.qos == "2" && downgraded == 0;
        must(
            !exactly_once || self.arrivals.twice() == 0,
            format!("{} twice at QoS 2", self.arrivals.twice()),
        );
        let links = self.publisher.count("opened");
        must(downgraded <= links, format!("downgraded told {downgraded} times on {links} links"));
        must(!self.subscriber.losses().is_empty(), "the subscriber lost no link".to_owned());
        let sessions = self.subscriber.all("opened", "session");
        must(
            sessions.iter().skip(1).all(|session| *session == "kept"),
            format!("sessions of the subscriber: {}", sessions.join(", ")),
        );
        let servers = self.subscriber.all("opened", "server");
        let moved = servers.first() != servers.last();
        must(moved || step.act == Act::Tokens, "the subscriber did not move to another node".to_owned());
        for (who, story) in [("pub", &self.publisher), ("sub", &self.subscriber)] {
            let cut: Vec<&str> = story.losses().into_iter().filter(|cause| *cause != "renewal").collect();
            must(
                step.act != Act::Tokens || cut.is_empty(),
                format!("{who} did not change over in time: {}", cut.join(", ")),
            );
            let attempts = story.count("attempt");
            let limit = BUDGET * self.minutes;
            must(attempts <= limit, format!("{who} made {attempts} attempts; {limit} are allowed"));
        }
        faults
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, {} twice", self.arrivals.distinct(), self.sent, self.arrivals.twice())?;
        if self.publisher.count("downgraded") > 0 {
            f.write_str(", downgraded")?;
        }
        for (who, story) in [("pub", &self.publisher), ("sub", &self.subscriber)] {
            let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
            for cause in story.losses() {
                *causes.entry(cause).or_default() += 1;
            }
            let causes: Vec<String> = causes.iter().map(|(cause, n)| format!("{n} × {cause}")).collect();
            let attempts = story.count("attempt");
            write!(
                f,
                "; {who}: {}, {attempts} attempts, longest outage {} ms",
                causes.join(", "),
                story.longest_outage()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: &str = r#"{"time":"T","event":"opened","server":"a:1","took_ms":0.5,"session":"kept","outage_ms":311.25,"resending":0}"#;

    #[test]
    fn fields_are_found_by_their_names() {
        assert_eq!(field(OPENED, "server"), Some("a:1"));
        assert_eq!(field(OPENED, "outage_ms"), Some("311.25"));
        assert_eq!(field(OPENED, "resending"), Some("0"));
        assert_eq!(field(OPENED, "absent"), None);
        assert_eq!(Story(OPENED.to_owned()).longest_outage(), 311);
    }

    fn evidence(sent: usize, arrived: &[usize], subscriber: &str) -> Evidence {
        let mut seen = BTreeMap::new();
        for n in arrived {
            *seen.entry(*n).or_default() += 1;
        }
        Evidence {
            sent,
            arrivals: Arrivals(seen),
            publisher: Story(String::new()),
            subscriber: Story(subscriber.to_owned()),
            exit_code: Some(0),
            minutes: 1,
        }
    }

    #[test]
    fn a_loss_a_copy_and_a_session_that_stayed_behind_are_faults() {
        let moved = "{\"event\":\"opened\",\"server\":\"a:1\",\"session\":\"new\"}\n\
                     {\"event\":\"closed\",\"cause\":\"peer-closed\"}\n\
                     {\"event\":\"opened\",\"server\":\"b:1\",\"session\":\"kept\"}\n";
        let (once, twice) = (Step::new("5", "1", Act::Kill), Step::new("5", "2", Act::Kill));
        assert_eq!(evidence(2, &[1, 2, 2], moved).faults(&once), Vec::<String>::new());
        assert_eq!(evidence(2, &[1, 2, 2], moved).faults(&twice), ["1 twice at QoS 2"]);
        assert_eq!(evidence(3, &[1, 2], moved).faults(&once), ["1 of 3 lost"]);
        let behind = moved.replace("kept", "new").replace("b:1", "a:1");
        let faults = evidence(1, &[1], &behind).faults(&once);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
