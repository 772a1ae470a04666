//! What a run document says (`rejoin-run/1`), read so that nothing missing, odd or hostile in it stops the reader: the
//! document may come from a file, from another version or from a text editor.

use serde_json::Value;

/// The name of the form that is read here.
pub(crate) const SCHEMA: &str = "rejoin-run/1";

/// No time in a document is later than this, in milliseconds: three thousand years of a run.
const LATEST_MS: f64 = 1e14;

/// Rows no farther apart than this, in distances of samples, and so many of them one after another, were not merged.
const FINE: f64 = 1.5;
const EVEN_ROWS: usize = 4;

/// Everything a reader wants to know of a run. Times are milliseconds since its start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Which program, how it was called, where.
    pub(crate) program: Program,
    /// When it began, in milliseconds since the Unix epoch.
    pub(crate) started_unix_ms: f64,
    /// Where the clock on the wall moved since then: when, and how far it is from then on from where it would be.
    pub(crate) steps: Vec<(f64, f64)>,
    /// How long it has lasted.
    pub(crate) now_ms: f64,
    /// The client id.
    pub(crate) client_id: String,
    /// The servers.
    pub(crate) servers: Vec<String>,
    /// The link: `open`, `suspect`, `connecting`, `waiting`, `stopped`.
    pub(crate) link: String,
    /// Will it be delivered?
    pub(crate) deliver: Answer,
    /// Is the link open?
    pub(crate) open: Answer,
    /// What was injected; empty without a proxy.
    pub(crate) injected: Vec<Span>,
    /// What was true; empty without a proxy.
    pub(crate) truth: Vec<Span>,
    /// What the client said.
    pub(crate) client: Vec<Span>,
    /// How long open was claimed while closed: in all, and at most in one piece.
    pub(crate) honesty: Option<(f64, f64)>,
    /// Measured at fixed distances.
    pub(crate) samples: Samples,
    /// Links that were lost.
    pub(crate) outages: Vec<Outage>,
    /// What happened.
    pub(crate) events: Vec<Event>,
    /// `healthy`, `degraded`, `unhealthy`, or nothing.
    pub(crate) health: String,
    /// The checks behind it.
    pub(crate) checks: Vec<Check>,
    /// What is normal, by signal.
    pub(crate) baselines: Vec<Baseline>,
    /// The rules.
    pub(crate) alerts: Vec<Alert>,
    /// Counts of the whole run, by name.
    pub(crate) totals: Vec<(String, f64)>,
    /// Ping round trips of the whole run, in milliseconds: the median, what one in a hundred exceeds, the longest.
    pub(crate) round_trips: Option<[f64; 3]>,
    /// The verdict of a run that has one.
    pub(crate) verdict: Option<Verdict>,
}

/// Which program, how it was called, where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// Its version.
    pub(crate) version: String,
    /// Its verb.
    pub(crate) verb: String,
    /// The command that repeats the run.
    pub(crate) command: String,
    /// The seed, where there is one.
    pub(crate) seed: Option<String>,
    /// The machine.
    pub(crate) machine: String,
}

/// One of the two answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// `YES, now`.
    pub(crate) word: String,
    /// Why.
    pub(crate) detail: String,
    /// `good`, `wait` or `bad`.
    pub(crate) tone: Tone,
}

/// Whether something is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing to say.
    #[default]
    Plain,
    /// Well.
    Good,
    /// Not yet.
    Wait,
    /// Not.
    Bad,
}

/// Something that lasted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Span {
    /// From when.
    pub(crate) from: f64,
    /// Until when; the end of the run for what still lasts.
    pub(crate) to: f64,
    /// Which state, or which fault.
    pub(crate) what: String,
    /// In words.
    pub(crate) label: String,
}

/// Columns of equal length, a hole where nothing was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// The distance between two rows.
    pub(crate) every_ms: f64,
    /// The time of each row.
    pub(crate) t_ms: Vec<f64>,
    /// The most the queue holds, in messages.
    pub(crate) queue_limit: Option<f64>,
    columns: Vec<(String, Vec<Option<f64>>)>,
}

/// A link that was lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outage {
    /// Its number, which it keeps when older ones are forgotten.
    pub(crate) number: f64,
    /// When it was lost.
    pub(crate) start: f64,
    /// When all was back; the end of the run if it was not.
    pub(crate) end: f64,
    /// It still lasted at the end.
    pub(crate) lasts: bool,
    /// The stable name of the cause.
    pub(crate) cause: String,
    /// The cause in words.
    pub(crate) words: String,
    /// The reason code of the broker's DISCONNECT.
    pub(crate) code: Option<u8>,
    /// How long the link had been open.
    pub(crate) lived: Option<f64>,
    /// Where the time went: one length for each of [`PHASES`].
    pub(crate) phases: [Option<f64>; PHASES.len()],
    /// All of it.
    pub(crate) total: Option<f64>,
    /// Attempts.
    pub(crate) attempts: Option<f64>,
    /// Messages of the backlog.
    pub(crate) drained: Option<f64>,
    /// What became of the session.
    pub(crate) session: String,
    /// The fault behind it.
    pub(crate) injected: String,
}

/// The parts of an outage in their order: the name, and the field of the document.
pub(crate) const PHASES: [(&str, &str); 6] = [
    ("detect", "detect_ms"),
    ("refused", "refused_ms"),
    ("waited", "waited_ms"),
    ("connect", "connect_ms"),
    ("resubscribe", "resubscribe_ms"),
    ("drain", "drain_ms"),
];

/// Something that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    /// When.
    pub(crate) at: f64,
    /// Whether it is good.
    pub(crate) tone: Tone,
    /// One word.
    pub(crate) word: String,
    /// The rest.
    pub(crate) text: String,
}

/// A check of health.
#[derive(Clone, Debug, Default)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) name: String,
    /// `healthy`, `degraded`, `unhealthy`.
    pub(crate) status: String,
    /// Why.
    pub(crate) detail: String,
    /// Since when.
    pub(crate) since: Option<f64>,
}

/// What is normal for a signal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baseline {
    /// Which.
    pub(crate) signal: String,
    /// `learning`, `ready`, `frozen`.
    pub(crate) state: String,
    /// The middle.
    pub(crate) median: Option<f64>,
    /// The spread around it.
    pub(crate) spread: Option<f64>,
    /// What is measured now.
    pub(crate) now: Option<f64>,
    /// Now through the middle.
    pub(crate) ratio: Option<f64>,
    /// The unit of these.
    pub(crate) unit: String,
}

/// A rule and what became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alert {
    /// The rule in words.
    pub(crate) rule: String,
    /// `ok`, `pending`, `firing`, `resolved`.
    pub(crate) state: String,
    /// Since when.
    pub(crate) since: Option<f64>,
    /// What was measured.
    pub(crate) value: Option<f64>,
    /// Where it fires.
    pub(crate) limit: Option<f64>,
    /// What speaks for it.
    pub(crate) evidence: String,
    /// What to try.
    pub(crate) hint: String,
}

/// The verdict of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// It passed.
    pub(crate) pass: bool,
    /// `PASS`.
    pub(crate) title: String,
    /// What counts.
    pub(crate) lines: Vec<String>,
    /// Name, limit, value, whether it holds.
    pub(crate) expectations: Vec<(String, String, String, bool)>,
    /// What was odd, in words.
    pub(crate) anomalies: Vec<String>,
}

impl Facts {
    /// Reads a document. An error when it is none of this form.
    pub(crate) fn of(document: &Value) -> Result<Self, String> {
        match document["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(other) => {
                return Err(format!(
                    "a document of the form `{}`; this program reads `{SCHEMA}`",
                    shown(other)
                ));
            }
            None => return Err(format!("no run document: `schema` is missing and should be `{SCHEMA}`")),
        }
        let now = document["clock"]["now_ms"].as_f64().map_or(0.0, sane);
        let lanes = &document["lanes"];
        let honesty = &document["honesty"];
        let health = &document["health"];
        let program = &document["program"];
        let totals = document["totals"].as_object().into_iter().flatten();
        Ok(Self {
            program: Program {
                version: text(&program["version"]),
                verb: text(&program["verb"]),
                command: text(&program["command"]),
                seed: Some(text(&program["seed"])).filter(|seed| !seed.is_empty()),
                machine: text(&program["machine"]),
            },
            started_unix_ms: document["clock"]["started_unix_ms"].as_f64().map_or(0.0, sane),
            steps: steps(&document["clock"]["steps"]),
            now_ms: now,
            client_id: text(&document["client"]["id"]),
            servers: list(&document["client"]["servers"]).iter().map(text).collect(),
            link: text(&document["state"]["link"]),
            deliver: answer(&document["answers"]["deliver"]),
            open: answer(&document["answers"]["link"]),
            injected: spans(&lanes["injected"], "what", now),
            truth: spans(&lanes["truth"], "state", now),
            client: spans(&lanes["client"], "state", now),
            honesty: number(&honesty["claimed_open_while_closed_ms"])
                .map(|all| (all, number(&honesty["longest_ms"]).unwrap_or(all))),
            samples: Samples::of(&document["samples"]),
            outages: (1_u32..)
                .zip(list(&document["outages"]))
                .map(|(place, outage)| Outage::of(outage, place, now))
                .collect(),
            events: list(&document["events"]).iter().map(event).collect(),
            health: text(&health["status"]),
            checks: list(&health["checks"]).iter().map(check).collect(),
            baselines: list(&document["baselines"]).iter().map(baseline).collect(),
            alerts: list(&document["alerts"]).iter().map(alert).collect(),
            totals: totals.filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect(),
            round_trips: round_trips(&document["round_trips"]),
            verdict: verdict(&document["verdict"]),
        })
    }

    /// A count of the whole run.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.totals.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
    }

    /// How long the link was open and how long that was watched. The run's own sums, because the lanes forget; where there
    /// are none, what the lanes hold.
    pub(crate) fn time_open(&self) -> (f64, f64) {
        let watched = self.total("watched_ms");
        if watched > 0.0 {
            return (self.total("open_ms").min(watched), watched);
        }
        let sum = |spans: &mut dyn Iterator<Item = &Span>| spans.map(|span| span.to - span.from).sum();
        (sum(&mut self.client.iter().filter(|span| span.what == "open")), sum(&mut self.client.iter()))
    }

    /// How many links were lost, those included that the list of outages forgot.
    pub(crate) fn losses(&self) -> f64 {
        self.outages.last().map_or(0.0, |outage| outage.number.max(self.outages.len() as f64))
    }

    /// Where the client said open and the proxy knew better.
    pub(crate) fn lies(&self) -> Vec<(f64, f64)> {
        let mut lies = Vec::new();
        for closed in self.truth.iter().filter(|span| span.what != "open") {
            for open in self.client.iter().filter(|span| span.what == "open") {
                let (from, to) = (closed.from.max(open.from), closed.to.min(open.to));
                if to > from {
                    lies.push((from, to));
                }
            }
        }
        lies
    }
}

impl Samples {
    fn of(value: &Value) -> Self {
        let t_ms: Vec<f64> = list(&value["t_ms"]).iter().map(|t| t.as_f64().map_or(0.0, sane)).collect();
        let columns = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "t_ms");
        let columns = columns.filter_map(|(name, column)| {
            let mut column: Vec<_> = column.as_array()?.iter().map(number).collect();
            column.resize(t_ms.len(), None);
            Some((name.clone(), column))
        });
        Self {
            every_ms: number(&value["every_ms"]).filter(|every| *every > 0.0).unwrap_or(1_000.0),
            queue_limit: number(&value["queue_limit"]),
            columns: columns.collect(),
            t_ms,
        }
    }

    /// From which row on each is a measurement. Of those before, several became one with the worst of them; a few that are
    /// late because the program had to wait are none of these.
    pub(crate) fn finely_from(&self) -> usize {
        let mut even = 0;
        for (row, pair) in self.t_ms.windows(2).enumerate() {
            even = if pair[1] - pair[0] <= FINE * self.every_ms { even + 1 } else { 0 };
            if even == EVEN_ROWS {
                return row + 1 - EVEN_ROWS;
            }
        }
        if self.t_ms.len() > EVEN_ROWS { self.t_ms.len() } else { 0 }
    }

    /// A column by its name; empty where there is none.
    pub(crate) fn column(&self, name: &str) -> &[Option<f64>] {
        self.columns.iter().find(|(known, _)| known == name).map_or(&[], |(_, column)| column)
    }

    /// Whether anything but nothing was measured.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.column(name).iter().any(Option::is_some)
    }
}

impl Outage {
    fn of(value: &Value, place: u32, now: f64) -> Self {
        let start = value["start_ms"].as_f64().map_or(0.0, sane);
        let end = number(&value["end_ms"]);
        Self {
            number: number(&value["number"]).unwrap_or_else(|| f64::from(place)),
            start,
            end: end.unwrap_or(now).max(start),
            lasts: end.is_none(),
            cause: text(&value["cause"]),
            words: text(&value["words"]),
            code: value["code"].as_u64().and_then(|code| u8::try_from(code).ok()),
            lived: number(&value["lived_ms"]),
            phases: PHASES.map(|(_, field)| number(&value[field])),
            total: number(&value["total_ms"]),
            attempts: number(&value["attempts"]),
            drained: number(&value["drained"]),
            session: text(&value["session"]),
            injected: text(&value["injected"]),
        }
    }

    /// The cause as people say it.
    pub(crate) fn why(&self) -> &str {
        if self.words.is_empty() { &self.cause } else { &self.words }
    }
}

/// A number that can be drawn: finite, not below zero.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite()).map(|number| number.max(0.0))
}

fn sane(time: f64) -> f64 {
    if time.is_finite() { time.clamp(0.0, LATEST_MS) } else { 0.0 }
}

/// A text, or a number as one.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

fn spans(value: &Value, what: &str, now: f64) -> Vec<Span> {
    let span = |value: &Value| {
        let from = value["from_ms"].as_f64().map_or(0.0, sane).min(now);
        let to = number(&value["to_ms"]).unwrap_or(now).clamp(from, now.max(from));
        let label = [&value["label"], &value["reason"]].into_iter().map(text).find(|label| !label.is_empty());
        Span { from, to, what: text(&value[what]), label: label.unwrap_or_default() }
    };
    list(value).iter().map(span).collect()
}

/// Where the clock on the wall moved: from when on, and how far it is then from where the start would have it.
fn steps(value: &Value) -> Vec<(f64, f64)> {
    let step = |value: &Value| {
        let offset = value["offset_ms"].as_f64().filter(|offset| offset.is_finite())?;
        Some((value["at_ms"].as_f64().map_or(0.0, sane), offset.clamp(-LATEST_MS, LATEST_MS)))
    };
    list(value).iter().filter_map(step).collect()
}

fn tone(word: &str) -> Tone {
    match word {
        "good" => Tone::Good,
        "wait" | "warn" => Tone::Wait,
        "bad" => Tone::Bad,
        _ => Tone::Plain,
    }
}

fn answer(value: &Value) -> Answer {
    Answer { word: text(&value["word"]), detail: text(&value["detail"]), tone: tone(&text(&value["tone"])) }
}

fn event(value: &Value) -> Event {
    Event {
        at: value["at_ms"].as_f64().map_or(0.0, sane),
        tone: tone(&text(&value["level"])),
        word: text(&value["word"]),
        text: text(&value["text"]),
    }
}

fn check(value: &Value) -> Check {
    Check {
        name: text(&value["name"]),
        status: text(&value["status"]),
        detail: text(&value["detail"]),
        since: number(&value["since_ms"]),
    }
}

fn baseline(value: &Value) -> Baseline {
    Baseline {
        signal: text(&value["signal"]),
        state: text(&value["state"]),
        median: number(&value["median"]),
        spread: number(&value["spread"]),
        now: number(&value["now"]),
        ratio: number(&value["ratio"]),
        unit: text(&value["unit"]),
    }
}

fn alert(value: &Value) -> Alert {
    Alert {
        rule: text(&value["rule"]),
        state: text(&value["state"]),
        since: number(&value["since_ms"]),
        value: number(&value["value"]),
        limit: number(&value["limit"]),
        evidence: text(&value["evidence"]),
        hint: text(&value["hint"]),
    }
}

fn round_trips(value: &Value) -> Option<[f64; 3]> {
    let of = |name: &str| number(&value[name]);
    Some([of("p50_ms")?, of("p99_ms")?, of("max_ms")?])
}

fn verdict(value: &Value) -> Option<Verdict> {
    value.as_object()?;
    let expectation = |value: &Value| {
        let pass = value["pass"].as_bool().unwrap_or(false);
        (text(&value["name"]), text(&value["limit"]), text(&value["value"]), pass)
    };
    Some(Verdict {
        pass: value["pass"].as_bool().unwrap_or(false),
        title: text(&value["title"]),
        lines: list(&value["lines"]).iter().map(text).collect(),
        expectations: list(&value["expectations"]).iter().map(expectation).collect(),
        anomalies: list(&value["anomalies"]).iter().map(|anomaly| text(&anomaly["what"])).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_of_another_form_is_named_and_refused() {
        let error = Facts::of(&json!({"schema": "other/7"})).unwrap_err();
        assert!(error.contains("other/7") && error.contains(SCHEMA), "{error}");
        assert!(Facts::of(&json!([])).unwrap_err().contains("schema"));
    }

    #[test]
    fn what_is_missing_or_odd_is_read_as_nothing() {
        let facts = Facts::of(&json!({
            "schema": SCHEMA,
            "clock": {"now_ms": 1_000, "started_unix_ms": "yesterday", "steps": [{"at_ms": -1, "offset_ms": -5}, 7]},
            "lanes": {"client": [{"from_ms": 900, "to_ms": 100, "state": 7}, "x"], "truth": 3},
            "samples": {"t_ms": [0, 250], "queue": [1], "every_ms": -1},
            "outages": [{"start_ms": 5_000}],
            "totals": {"acked": 4, "odd": "x"},
        }))
        .unwrap();
        assert_eq!((facts.client[0].from, facts.client[0].to), (900.0, 900.0));
        assert_eq!(facts.samples.column("queue"), [Some(1.0), None]);
        assert!(facts.samples.column("none").is_empty() && facts.samples.every_ms > 0.0);
        assert!(facts.outages[0].lasts && facts.outages[0].end >= facts.outages[0].start);
        assert_eq!((facts.total("acked"), facts.total("odd")), (4.0, 0.0));
        assert_eq!(facts.steps, [(0.0, -5.0)]);
        assert!(facts.verdict.is_none());
    }
}
