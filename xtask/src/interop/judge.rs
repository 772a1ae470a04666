//! What a run of `rejoin` tells by its `--events` file and its output, and whether that is as promised.

use super::check::{Act, Step};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// Attempts that reach a broker, which a client may make in a minute, whatever its settings are.
const BUDGET: usize = 12;
/// Where nobody listens nobody is burdened, so this is no part of the budget.
const FREE: &str = "connection-refused";

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
    pub(super) fn losses(&self) -> Vec<&str> {
        self.all("closed", "cause").into_iter().filter(|cause| *cause != "shutdown").collect()
    }

    /// Attempts that count in the budget.
    fn attempts(&self) -> usize {
        let free = self.all("attempt-failed", "cause").into_iter().filter(|cause| *cause == FREE).count();
        self.count("attempt").saturating_sub(free)
    }

    /// Whether the last link was to another server than the first.
    fn moved(&self) -> bool {
        let servers = self.all("opened", "server");
        servers.first() != servers.last()
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

/// The lines that arrived. They were sent as numbers from 1 on.
#[derive(Default)]
pub(super) struct Arrivals {
    times: BTreeMap<usize, usize>,
    /// Each once, in the order in which they came first.
    first: Vec<usize>,
}

impl Arrivals {
    pub(super) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        Self::of(text.lines().filter_map(|line| line.parse().ok()))
    }

    fn of(numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut arrivals = Self::default();
        for number in numbers {
            let times = arrivals.times.entry(number).or_default();
            if *times == 0 {
                arrivals.first.push(number);
            }
            *times += 1;
        }
        arrivals
    }

    pub(super) fn distinct(&self) -> usize {
        self.first.len()
    }

    fn twice(&self) -> usize {
        self.times.values().filter(|times| **times > 1).count()
    }

    /// A number that came first after a higher one had come, and the one just before it.
    fn late(&self) -> Option<(usize, usize)> {
        self.first.windows(2).find(|two| two[1] < two[0]).map(|two| (two[1], two[0]))
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
        let told = if step.lowered { "no broker's lower QoS is told" } else { "a lower QoS is told" };
        must((downgraded > 0) == step.lowered, told.to_owned());
        let exactly_once = step.qos == "2" && !step.lowered;
        must(
            !exactly_once || self.arrivals.twice() == 0,
            format!("{} twice at QoS 2", self.arrivals.twice()),
        );
        let links = self.publisher.count("opened");
        must(downgraded <= links, format!("downgraded told {downgraded} times on {links} links"));
        let late = self.arrivals.late();
        must(
            late.is_none(),
            late.map_or(String::new(), |(n, before)| format!("{n} came first after {before}")),
        );
        let sessions = self.subscriber.all("opened", "session");
        must(
            sessions.iter().skip(1).all(|session| *session == "kept"),
            format!("sessions of the subscriber: {}", sessions.join(", ")),
        );
        for (who, story) in [("pub", &self.publisher), ("sub", &self.subscriber)] {
            must(!story.losses().is_empty(), format!("{who} lost no link"));
            // Two nodes of three that come back may have it again.
            let must_move = matches!(step.act, Act::Kill | Act::Drain);
            must(!must_move || story.moved(), format!("{who} did not move to another node"));
            let cut: Vec<&str> = story.losses().into_iter().filter(|cause| *cause != "renewal").collect();
            must(
                step.act != Act::Tokens || cut.is_empty(),
                format!("{who} did not change over in time: {}", cut.join(", ")),
            );
            let attempts = story.attempts();
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
            let attempts = story.attempts();
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

    /// Both clients saw the same.
    fn evidence(sent: usize, arrived: &[usize], story: &str) -> Evidence {
        Evidence {
            sent,
            arrivals: Arrivals::of(arrived.iter().copied()),
            publisher: Story(story.to_owned()),
            subscriber: Story(story.to_owned()),
            exit_code: Some(0),
            minutes: 1,
        }
    }

    const MOVED: &str = "{\"event\":\"opened\",\"server\":\"a:1\",\"session\":\"new\"}\n\
                         {\"event\":\"closed\",\"cause\":\"peer-closed\"}\n\
                         {\"event\":\"opened\",\"server\":\"b:1\",\"session\":\"kept\"}\n";

    #[test]
    fn a_loss_a_copy_and_a_session_that_stayed_behind_are_faults() {
        let (once, twice) = (Step::new("5", "1", Act::Kill), Step::new("5", "2", Act::Kill));
        assert_eq!(evidence(2, &[1, 2, 2], MOVED).faults(&once), Vec::<String>::new());
        assert_eq!(evidence(2, &[1, 2, 2], MOVED).faults(&twice), ["1 twice at QoS 2"]);
        assert_eq!(evidence(3, &[1, 2], MOVED).faults(&once), ["1 of 3 lost"]);
        let behind = MOVED.replace("kept", "new").replace("b:1", "a:1");
        let faults = evidence(1, &[1], &behind).faults(&once);
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn a_publisher_that_nothing_happened_to_is_a_fault() {
        let mut evidence = evidence(1, &[1], MOVED);
        evidence.publisher = Story(MOVED.lines().take(1).collect());
        let drained = Step::new("5", "1", Act::Drain);
        assert_eq!(evidence.faults(&drained), ["pub lost no link", "pub did not move to another node"]);
        let alone = Step::new("5", "1", Act::OneOfThree);
        assert_eq!(evidence.faults(&alone), ["pub lost no link"]);
        let back = MOVED.replace("b:1", "a:1");
        (evidence.publisher, evidence.subscriber) = (Story(back.clone()), Story(back));
        assert_eq!(evidence.faults(&alone), Vec::<String>::new(), "the first node is there again at the end");
    }

    #[test]
    fn a_lower_qos_is_told_where_the_broker_has_no_more_and_only_there() {
        let step = Step::new("5", "2", Act::Kill);
        let mut evidence = evidence(2, &[1, 2, 2], MOVED);
        assert_eq!(evidence.faults(&step.lowered()), ["no broker's lower QoS is told"]);
        evidence.publisher.0.push_str("{\"event\":\"downgraded\"}\n");
        assert_eq!(evidence.faults(&step.lowered()), Vec::<String>::new());
        assert_eq!(evidence.faults(&step), ["a lower QoS is told", "1 twice at QoS 2"]);
    }

    #[test]
    fn the_order_of_first_arrivals_is_that_of_sending() {
        let step = Step::new("5", "1", Act::Kill);
        assert_eq!(evidence(3, &[1, 2, 1, 2, 3], MOVED).faults(&step), Vec::<String>::new());
        assert_eq!(evidence(3, &[1, 3, 2], MOVED).faults(&step), ["2 came first after 3"]);
    }

    #[test]
    fn attempts_where_nobody_listens_are_not_counted() {
        let step = Step::new("5", "1", Act::Kill);
        let attempt = "{\"event\":\"attempt\"}\n";
        let refused = format!("{attempt}{{\"event\":\"attempt-failed\",\"cause\":\"connection-refused\"}}\n");
        let closed = refused.replace("connection-refused", "peer-closed");
        let mut evidence = evidence(1, &[1], MOVED);
        evidence.subscriber.0.push_str(&refused.repeat(50));
        evidence.subscriber.0.push_str(&closed.repeat(BUDGET));
        assert_eq!(evidence.faults(&step), Vec::<String>::new());
        evidence.subscriber.0.push_str(attempt);
        assert_eq!(evidence.faults(&step), ["sub made 13 attempts; 12 are allowed"]);
    }
}
