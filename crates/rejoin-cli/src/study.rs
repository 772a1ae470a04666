//! What a run says about its link: how much of the time it was open, why it was lost and how regularly, what is likely
//! behind it and what to try.

use crate::facts::{Alert, Facts, Outage};
use crate::patterns::{Patterns, fell_silent, is_ours, is_taken_over, lost_at};

/// So many losses make a pattern.
const PATTERN: usize = 3;

/// Distances between losses are regular when none is further from their median than this share of it.
const REGULAR: f64 = 0.2;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Study {
    /// The share of the time in which the link was open, from 0 to 1. `None` before anything was watched.
    pub(crate) open: Option<f64>,
    /// How long was watched, in milliseconds.
    pub(crate) watched_ms: f64,
    /// How many links were lost.
    pub(crate) losses: f64,
    /// Why, of those the run still holds one by one, the most frequent first.
    pub(crate) causes: Vec<Cause>,
    /// What is likely behind it.
    pub(crate) guess: Option<Guess>,
    /// Ping round trips, in milliseconds.
    pub(crate) round_trip: Option<RoundTrip>,
    /// Attempts to connect.
    pub(crate) attempts: f64,
    /// Those that failed.
    pub(crate) refused: f64,
    /// Links that were opened.
    pub(crate) links: f64,
}

/// A cause and how often it was one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    /// In words.
    pub(crate) words: String,
    /// How often.
    pub(crate) times: usize,
    /// The median distance and how far the others are from it at most, in milliseconds, where that is regular.
    pub(crate) every: Option<(f64, f64)>,
}

/// What is likely, and what to try.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guess {
    /// What is likely behind it, with what speaks for it.
    pub(crate) says: String,
    /// What to try.
    pub(crate) attempt: String,
}

/// Ping round trips, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RoundTrip {
    /// The middle.
    pub(crate) p50: f64,
    /// All but one of a hundred are shorter.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Study {
    /// Studies a run.
    pub(crate) fn of(facts: &Facts) -> Self {
        let (open, watched) = facts.time_open();
        let attempts = facts.total("attempts");
        let links = facts.total("links");
        Self {
            open: (watched > 0.0).then(|| open / watched),
            watched_ms: facts.now_ms,
            losses: facts.losses(),
            causes: causes(&facts.outages),
            guess: guess(facts),
            round_trip: facts.round_trips.map(|[p50, p99, max]| RoundTrip { p50, p99, max }),
            attempts,
            refused: (attempts - links - f64::from(u8::from(facts.link == "connecting"))).max(0.0),
            links,
        }
    }

    /// Of how many of them the causes are known.
    pub(crate) fn told_apart(&self) -> usize {
        self.causes.iter().map(|cause| cause.times).sum()
    }
}

/// The class of a cause, so that `no PINGRESP within 5.0 s` and `within 5.1 s` are one.
pub(crate) fn class(outage: &Outage) -> String {
    if is_taken_over(outage) {
        return "session taken over".to_owned();
    }
    match (outage.cause.as_str(), outage.words.as_str()) {
        // What the broker said is what differs; what we say is the same but for a number.
        ("server-disconnect" | "refused" | "", words) if !words.is_empty() => {
            words.strip_prefix("the broker disconnected: ").unwrap_or(words).to_owned()
        }
        (cause, _) => cause.replace('-', " "),
    }
}

fn causes(outages: &[Outage]) -> Vec<Cause> {
    let mut found: Vec<(String, Vec<f64>)> = Vec::new();
    for outage in outages {
        let class = class(outage);
        match found.iter_mut().find(|(known, _)| *known == class) {
            Some((_, starts)) => starts.push(lost_at(outage)),
            None => found.push((class, vec![lost_at(outage)])),
        }
    }
    let cause = |(words, starts): (String, Vec<f64>)| {
        let distances: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Cause { words, times: starts.len(), every: regular(distances) }
    };
    let mut causes: Vec<Cause> = found.into_iter().map(cause).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.times));
    causes
}

fn regular(mut values: Vec<f64>) -> Option<(f64, f64)> {
    if values.len() + 1 < PATTERN {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    let furthest = values.iter().map(|value| (value - middle).abs()).fold(0.0, f64::max);
    (middle > 0.0 && furthest <= middle * REGULAR).then_some((middle, furthest))
}

fn guess(facts: &Facts) -> Option<Guess> {
    let patterns = Patterns::of(facts);
    // The library's own finding has seen every link; what is found here is from what the document holds.
    told(facts, |alert| alert.evidence.contains("another client"))
        .or_else(|| contest(facts, &patterns))
        .or_else(|| told(facts, |_| true))
        .or_else(|| suspicion(facts))
        .or_else(|| flapping(&patterns))
        .or_else(|| limit(facts, &patterns))
        .or_else(|| never(facts))
}

/// Two clients with one id throw each other out.
fn contest(facts: &Facts, patterns: &Patterns) -> Option<Guess> {
    let found = patterns.contest(&facts.client_id)?;
    let attempt = if facts.outages.iter().any(is_taken_over) { other_id(facts) } else { found.hint };
    Some(Guess { says: found.evidence, attempt })
}

/// Too little for a contest: a takeover may be a restart of ourselves.
fn suspicion(facts: &Facts) -> Option<Guess> {
    let says = |what: &str| format!("another client may use id \"{}\": {what}", facts.client_id);
    let taken = facts.outages.iter().filter(|outage| is_taken_over(outage));
    let lives: Vec<f64> = taken.clone().filter_map(|outage| outage.lived).collect();
    let what = match taken.count() {
        0 => facts.events.iter().rev().find(|event| event.word == "conflict")?.text.clone(),
        count => {
            let were = if count == 1 { "was" } else { "were" };
            let all = facts.losses();
            format!("{count} of {all:.0} closes {were} session taken over (0x8E){}", after(&lives))
        }
    };
    Some(Guess { says: says(&what), attempt: other_id(facts) })
}

fn other_id(facts: &Facts) -> String {
    format!(
        "rejoin watch -I probe- …      or look for a second {} connected from another address",
        facts.client_id
    )
}

fn after(lives: &[f64]) -> String {
    let low = lives.iter().copied().reduce(f64::min);
    let high = lives.iter().copied().reduce(f64::max);
    match (low, high) {
        (Some(low), Some(high))
            if (low / 1e3).round() >= 1.0 && (low / 1e3).round() < (high / 1e3).round() =>
        {
            format!(", {:.0}–{:.0} s after our CONNACK", low / 1e3, high / 1e3)
        }
        (Some(_), Some(high)) => format!(", {} after our CONNACK", crate::report::length(high)),
        _ => String::new(),
    }
}

/// What the alerts of the library say.
fn told(facts: &Facts, wanted: impl Fn(&Alert) -> bool) -> Option<Guess> {
    let fires = |alert: &&Alert| alert.state == "firing" && !alert.evidence.is_empty() && wanted(alert);
    let alert = facts.alerts.iter().find(fires)?;
    Some(Guess { says: alert.evidence.clone(), attempt: alert.hint.clone() })
}

/// Links that do not live long.
fn flapping(patterns: &Patterns) -> Option<Guess> {
    let found = patterns.flapping()?;
    Some(Guess { says: format!("the link flaps: {}", found.evidence), attempt: found.hint })
}

/// Links that fall silent at the same age: something on the way forgets them. Where somebody closes them, he knows why.
fn limit(facts: &Facts, patterns: &Patterns) -> Option<Guess> {
    let lost = || facts.outages.iter().filter(|outage| !is_ours(outage));
    let lives: Vec<f64> =
        lost().filter(|outage| fell_silent(outage)).filter_map(|outage| outage.lived).collect();
    let (count, all) = (lives.len(), lost().count());
    if count < patterns.alike() || count * 2 <= all {
        return None;
    }
    let (life, _) = regular(lives)?;
    let life = crate::report::length(life);
    Some(Guess {
        says: format!(
            "something on the way may forget each link: {count} of {all} fell silent {life} after our CONNACK"
        ),
        attempt: format!(
            "a limit below {life} in a NAT, a firewall or a proxy; a shorter --ping-after helps if it counts idleness"
        ),
    })
}

/// No attempt came through.
fn never(facts: &Facts) -> Option<Guess> {
    if facts.total("links") > 0.0 || facts.total("attempts") < 1.0 {
        return None;
    }
    let last =
        facts.events.iter().rev().find(|event| matches!(event.word.as_str(), "retry" | "attempt-failed"))?;
    Some(Guess {
        says: format!("no attempt came through: {}", last.text),
        attempt: "rejoin check, which shows every stage with its time".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::facts::SCHEMA;

    /// What ends a link: the cause, the words, the reason code.
    type Ends = (&'static str, &'static str, Option<u8>);

    const TAKEN: Ends =
        ("server-disconnect", "the broker disconnected: session taken over (0x8E)", Some(0x8E));
    const RESET: Ends = ("reset", "reset by peer", None);
    const SILENT: Ends = ("ping-timeout", "no PINGRESP within 5.0 s", None);
    const WATCHED: Ends = ("health-watch", "no message for 1 min", None);

    /// A link that opens at `start` of each, and is lost after its `life`.
    fn run(links: &[(u64, u64, Ends)]) -> Facts {
        let mut client = Vec::new();
        let mut outages = Vec::new();
        for (start, life, (cause, words, code)) in links {
            let lost = start + life;
            client.push(json!({"from_ms": start, "to_ms": lost, "state": "open"}));
            client.push(json!({"from_ms": lost, "to_ms": lost + 1_000, "state": "waiting"}));
            outages.push(json!({"number": outages.len() + 1, "start_ms": lost, "end_ms": lost + 1_000,
                "cause": cause, "words": words, "code": code, "lived_ms": life}));
        }
        let end = links.last().map_or(1_000, |(start, life, ..)| start + life + 1_000);
        let document: Value = json!({
            "schema": SCHEMA, "clock": {"now_ms": end}, "client": {"id": "gw-17"},
            "lanes": {"client": client}, "outages": outages,
            "totals": {"attempts": links.len() + 3, "links": links.len()},
            "samples": {"t_ms": [0, 250, 500], "ping_ms": [12, 2_100, 12]},
            "round_trips": {"count": 1_000, "p50_ms": 12, "p99_ms": 31, "max_ms": 2_100},
        });
        Facts::of(&document).unwrap()
    }

    fn many(count: u64, every: u64, life: u64, ends: Ends) -> Vec<(u64, u64, Ends)> {
        (0..count).map(|n| (n * every, life, ends)).collect()
    }

    #[test]
    fn two_clients_with_one_id_are_recognised_and_said_in_words() {
        let mut links: Vec<_> = (0..6).map(|n| (n * 31_000, 30_000 + n % 2 * 1_400, TAKEN)).collect();
        links.push((200_000, 50_000, SILENT));
        let study = Study::of(&run(&links));
        assert_eq!((study.losses, study.told_apart()), (7.0, 7));
        assert_eq!((study.causes[0].words.as_str(), study.causes[0].times), ("session taken over", 6));
        let (every, spread) = study.causes[0].every.unwrap();
        assert!((every - 31_000.0).abs() <= 1_400.0 && spread < 3_000.0, "{every} {spread}");
        assert_eq!((study.causes[1].words.as_str(), study.causes[1].every), ("ping timeout", None));
        let guess = study.guess.unwrap();
        let expected =
            "another client uses id \"gw-17\": 6 of 7 closes came 30-31 s after our CONNACK with reason 0x8E";
        assert_eq!(guess.says, expected);
        assert!(guess.attempt.contains("-I probe-"), "{}", guess.attempt);
        assert_eq!((study.attempts, study.refused), (10.0, 3.0));
    }

    #[test]
    fn one_takeover_may_be_a_restart_and_words_of_a_broker_are_no_reason_code() {
        let says = |links: &[(u64, u64, Ends)]| Study::of(&run(links)).guess.map(|guess| guess.says);
        let one = says(&[(0, 21_000, TAKEN)]).unwrap();
        let expected = "another client may use id \"gw-17\": 1 of 1 closes was session taken over (0x8E), 21 s after our CONNACK";
        assert_eq!(one, expected);
        assert!(says(&many(2, 31_000, 30_000, TAKEN)).unwrap().contains("may use id"));
        assert!(says(&many(3, 31_000, 30_000, TAKEN)).unwrap().contains("another client uses id"));
        let talks = ("server-disconnect", "the broker disconnected: not taken over, busy", Some(0x89));
        assert_eq!(says(&[(0, 21_000, talks)]), None);
    }

    #[test]
    fn what_we_end_ourselves_accuses_nobody() {
        for ours in
            [WATCHED, ("restart", "restarted", None), ("renewal", "the credentials were about to end", None)]
        {
            assert_eq!(Study::of(&run(&many(6, 61_000, 60_000, ours))).guess, None, "{ours:?}");
            assert_eq!(Study::of(&run(&many(6, 11_000, 10_000, ours))).guess, None, "{ours:?}");
        }
        assert_eq!(Study::of(&run(&many(6, 61_000, 60_000, WATCHED))).losses, 6.0, "they are losses");
    }

    #[test]
    fn a_limit_on_the_way_differs_from_a_link_that_flaps() {
        let guess = |links: &[(u64, u64, Ends)]| Study::of(&run(links)).guess.map(|guess| guess.says);
        let silent = guess(&many(5, 302_000, 300_000, SILENT)).unwrap();
        assert!(silent.contains("5 of 5 fell silent 5 min after our CONNACK"), "{silent}");
        assert_eq!(guess(&many(4, 302_000, 300_000, SILENT)), None, "four may be chance");
        let lives = [3_000, 20_000, 7_000, 41_000, 9_000];
        let times = |every: u64| -> Vec<_> {
            lives.iter().zip(0..).map(|(life, n)| (n * every, *life, RESET)).collect()
        };
        let study = Study::of(&run(&times(60_000)));
        let says = &study.guess.as_ref().unwrap().says;
        assert!(says.starts_with("the link flaps: 5 links within 10 min lived 3"), "{says}");
        assert!(!says.contains("losses"), "they are told beside it: {says}");
        assert!(study.open.unwrap() > 0.2 && study.open.unwrap() < 1.0);
        assert_eq!(guess(&times(3_600_000)), None, "short links, but hours apart");
    }

    #[test]
    fn what_the_lists_forgot_counts() {
        let mut facts = run(&many(5, 3_602_000, 3_600_000, RESET));
        for outage in &mut facts.outages {
            outage.number += 1_000.0;
        }
        facts.totals.extend([("watched_ms".to_owned(), 1e6), ("open_ms".to_owned(), 2.5e5)]);
        let study = Study::of(&facts);
        assert_eq!((study.losses, study.told_apart(), study.open), (1_005.0, 5, Some(0.25)));
    }

    #[test]
    fn round_trips_are_those_of_all_pings() {
        let trip = Study::of(&run(&many(1, 1_000, 500, RESET))).round_trip.unwrap();
        assert_eq!(
            (trip.p50, trip.p99, trip.max),
            (12.0, 31.0, 2_100.0),
            "and not of the longest of each row"
        );
    }

    #[test]
    fn what_the_library_found_goes_before_what_is_found_here() {
        let mut facts = run(&many(5, 31_000, 30_000, TAKEN));
        facts.alerts.push(Alert {
            rule: "client id contest".to_owned(),
            state: "firing".to_owned(),
            evidence: "another client may use id \"gw-17\"".to_owned(),
            hint: "look for it".to_owned(),
            ..Alert::default()
        });
        let guess = Study::of(&facts).guess.unwrap();
        assert_eq!(
            (guess.says.as_str(), guess.attempt.as_str()),
            ("another client may use id \"gw-17\"", "look for it")
        );
    }

    #[test]
    fn a_good_link_and_an_empty_run_make_no_guess() {
        assert_eq!(Study::of(&run(&[(0, 600_000, RESET)])).guess, None);
        let nothing = Study::of(&Facts::default());
        assert_eq!((nothing.open, nothing.guess, nothing.round_trip), (None, None, None));
    }
}
