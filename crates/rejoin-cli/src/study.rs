//! What a run says about its link: how much of the time it was open, why it was lost and how regularly, what is likely
//! behind it and what to try.

use crate::facts::{Alert, Facts, Outage, Span};

/// So many losses make a pattern.
const PATTERN: usize = 3;

/// Distances between losses are regular when none is further from their median than this share of it.
const REGULAR: f64 = 0.2;

/// A link that lives shorter than this, again and again, flaps.
const SHORT_LIFE_MS: f64 = 60_000.0;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Study {
    /// The share of the time in which the link was open, from 0 to 1. `None` before anything was watched.
    pub(crate) open: Option<f64>,
    /// How long was watched, in milliseconds.
    pub(crate) watched_ms: f64,
    /// Why links were lost, the most frequent first.
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
        let watched: f64 = facts.client.iter().map(|span| span.to - span.from).sum();
        let attempts = facts.total("attempts");
        let links = facts.total("links");
        Self {
            open: (watched > 0.0).then(|| facts.time_in("open") / watched),
            watched_ms: facts.now_ms,
            causes: causes(&facts.outages),
            guess: guess(facts),
            round_trip: round_trip(facts.samples.column("ping_ms")),
            attempts,
            refused: (attempts - links - f64::from(u8::from(facts.link == "connecting"))).max(0.0),
            links,
        }
    }

    /// How many links were lost.
    pub(crate) fn losses(&self) -> usize {
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

fn is_taken_over(outage: &Outage) -> bool {
    let words = outage.words.to_lowercase();
    ["taken over", "takeover", "0x8e"].iter().any(|sign| words.contains(sign))
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

/// When the client gave the link up: the document counts an outage from the last byte heard.
fn lost_at(outage: &Outage) -> f64 {
    outage.start + outage.phases[0].unwrap_or(0.0)
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

/// How long each lost link had been open.
fn lives(facts: &Facts, wanted: impl Fn(&Outage) -> bool) -> Vec<f64> {
    let mut links: Vec<(f64, f64)> = Vec::new();
    let alive = |span: &&Span| matches!(span.what.as_str(), "open" | "suspect");
    for span in facts.client.iter().filter(alive) {
        match links.last_mut() {
            Some((_, to)) if span.from - *to < 1.0 => *to = span.to,
            _ => links.push((span.from, span.to)),
        }
    }
    let life = |outage: &Outage| {
        let lost = lost_at(outage);
        let nearest = links.iter().min_by(|a, b| (a.1 - lost).abs().total_cmp(&(b.1 - lost).abs()))?;
        Some(nearest.1 - nearest.0)
    };
    facts.outages.iter().filter(|outage| wanted(outage)).filter_map(life).collect()
}

fn guess(facts: &Facts) -> Option<Guess> {
    // The library's own finding has seen every link; what is found here is from what the document holds.
    told(facts, |alert| alert.evidence.contains("another client"))
        .or_else(|| contest(facts))
        .or_else(|| told(facts, |_| true))
        .or_else(|| flapping(facts))
        .or_else(|| never(facts))
}

/// Two clients with one id throw each other out.
fn contest(facts: &Facts) -> Option<Guess> {
    let taken = facts.outages.iter().filter(|outage| is_taken_over(outage)).count();
    let all = facts.outages.len();
    let suspected =
        facts.events.iter().rev().find(|event| matches!(event.word.as_str(), "conflict" | "taken-over"));
    if taken == 0 {
        let event = suspected?;
        return Some(Guess {
            says: format!("another client uses id \"{}\": {}", facts.client_id, event.text),
            attempt: other_id(facts),
        });
    }
    let lives = lives(facts, is_taken_over);
    let says = format!(
        "another client uses id \"{}\": {taken} of {all} closes were session taken over (0x8E){}",
        facts.client_id,
        after(&lives)
    );
    Some(Guess { says, attempt: other_id(facts) })
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
fn flapping(facts: &Facts) -> Option<Guess> {
    let causes = causes(&facts.outages);
    let worst = causes.first().filter(|cause| cause.times >= PATTERN)?;
    let mut lives = lives(facts, |_| true);
    lives.sort_by(f64::total_cmp);
    let middle = *lives.get(lives.len() / 2)?;
    if let Some((life, _)) = regular(lives) {
        let life = crate::report::length(life);
        return Some(Guess {
            says: format!(
                "something on the way ends each link after {life}: {} of {} losses are {}, always at that age",
                worst.times,
                facts.outages.len(),
                worst.words
            ),
            attempt: format!(
                "a limit of {life} in the broker, a proxy, a load balancer or a NAT; a shorter --ping-after helps if \
                 it counts idleness"
            ),
        });
    }
    (middle < SHORT_LIFE_MS).then(|| Guess {
        says: format!(
            "the link flaps: {} losses, half of the links live less than {}, most are {}",
            facts.outages.len(),
            crate::report::length(middle),
            worst.words
        ),
        attempt: "the way there (radio, NAT, load balancer) and the broker's log at these times; --report shows them"
            .to_owned(),
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

fn round_trip(column: &[Option<f64>]) -> Option<RoundTrip> {
    let mut values: Vec<f64> = column.iter().flatten().copied().collect();
    values.sort_by(f64::total_cmp);
    let of = |share: f64| values[((values.len() as f64 * share).ceil() as usize).clamp(1, values.len()) - 1];
    values.last().map(|max| RoundTrip { p50: of(0.5), p99: of(0.99), max: *max })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::facts::SCHEMA;

    /// A link that opens at `start` of each, and is lost after its `life`, for `cause`.
    fn run(links: &[(u64, u64, &str, &str)]) -> Facts {
        let mut client = Vec::new();
        let mut outages = Vec::new();
        for (start, life, cause, words) in links {
            let lost = start + life;
            client.push(json!({"from_ms": start, "to_ms": lost, "state": "open"}));
            client.push(json!({"from_ms": lost, "to_ms": lost + 1_000, "state": "waiting"}));
            outages.push(json!({"start_ms": lost, "end_ms": lost + 1_000, "cause": cause, "words": words}));
        }
        let end = links.last().map_or(1_000, |(start, life, ..)| start + life + 1_000);
        let document: Value = json!({
            "schema": SCHEMA, "clock": {"now_ms": end}, "client": {"id": "gw-17"},
            "lanes": {"client": client}, "outages": outages,
            "totals": {"attempts": links.len() + 3, "links": links.len()},
            "samples": {"t_ms": [0, 250, 500], "ping_ms": [12, 2_100, 12]},
        });
        Facts::of(&document).unwrap()
    }

    #[test]
    fn two_clients_with_one_id_are_recognised_and_said_in_words() {
        let taken = ("server-disconnect", "the server closed the link: session taken over (0x8E)");
        let mut links: Vec<_> =
            (0..6).map(|n| (n * 31_000, 30_000 + n % 2 * 400, taken.0, taken.1)).collect();
        links.push((200_000, 50_000, "ping-timeout", "no PINGRESP within 5.0 s"));
        let study = Study::of(&run(&links));
        assert_eq!(study.losses(), 7);
        assert_eq!((study.causes[0].words.as_str(), study.causes[0].times), ("session taken over", 6));
        let (every, spread) = study.causes[0].every.unwrap();
        assert!((every - 31_000.0).abs() < 500.0 && spread < 1_000.0, "{every} {spread}");
        assert_eq!((study.causes[1].words.as_str(), study.causes[1].every), ("ping timeout", None));
        let guess = study.guess.unwrap();
        assert!(guess.says.contains("another client uses id \"gw-17\": 6 of 7"), "{}", guess.says);
        assert!(guess.attempt.contains("-I probe-"), "{}", guess.attempt);
        let trip = study.round_trip.unwrap();
        assert_eq!((trip.p50, trip.p99, trip.max), (12.0, 2_100.0, 2_100.0));
        assert_eq!((study.attempts, study.refused), (10.0, 3.0));
    }

    #[test]
    fn a_limit_on_the_way_differs_from_a_link_that_flaps() {
        let links: Vec<_> = (0..5).map(|n| (n * 62_000, 60_000, "reset", "reset by peer")).collect();
        let guess = Study::of(&run(&links)).guess.unwrap();
        assert!(guess.says.contains("ends each link after 1 min"), "{}", guess.says);
        let lives = [3_000, 20_000, 7_000, 41_000, 9_000];
        let links: Vec<_> =
            lives.iter().enumerate().map(|(n, life)| (n as u64 * 60_000, *life, "reset", "reset")).collect();
        let study = Study::of(&run(&links));
        assert!(study.guess.as_ref().unwrap().says.contains("the link flaps: 5 losses"), "{study:?}");
        assert!(study.open.unwrap() > 0.5 && study.open.unwrap() < 1.0);
    }

    #[test]
    fn what_the_library_found_goes_before_what_is_found_here() {
        let links: Vec<_> = (0..5).map(|n| (n * 62_000, 60_000, "reset", "reset by peer")).collect();
        let mut facts = run(&links);
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
        assert_eq!(Study::of(&run(&[(0, 600_000, "reset", "reset")])).guess, None);
        let nothing = Study::of(&Facts::default());
        assert_eq!((nothing.open, nothing.guess, nothing.round_trip), (None, None, None));
    }
}
