//! State lines: what happens to the connection, on stderr and in the journal. Payload never passes here.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::apart::Lines;
use crate::args::{OutputArgs, OutputKind};
use crate::exit::Failure;
use crate::journal::{self, Aside, Fields, Journal};

/// One line to tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// The word after the time, such as `lost`.
    pub(crate) word: &'static str,
    /// What follows, for people.
    pub(crate) text: String,
    /// The event's name in JSON.
    pub(crate) event: &'static str,
    /// What follows, for programs.
    pub(crate) fields: Fields,
    /// Who wants to know.
    pub(crate) weight: Weight,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Only with `-d`; the journal has it anyway.
    Debug,
    /// A change: everybody who did not say `--quiet`.
    State,
    /// Told whatever was asked for: what went wrong, and what nobody finds out otherwise.
    Error,
    /// Only for people: the journal has the fact already.
    Echo,
}

impl Line {
    /// A change of state without fields yet.
    pub(crate) fn state(word: &'static str, event: &'static str, text: impl Into<String>) -> Self {
        Self { word, text: text.into(), event, fields: Fields::new(), weight: Weight::State }
    }

    /// The same line with another weight.
    pub(crate) fn weighing(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// Adds a field for programs.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }
}

/// Writes lines. Clones write to the same places, one whole line at a time. Nobody waits for an stderr that is not read.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    zone: TimeZone,
    quiet: bool,
    debug: bool,
    json: bool,
    journal: Mutex<Option<Aside>>,
    stderr: Lines,
}

impl Teller {
    /// Opens what was asked for.
    pub(crate) fn new(args: &OutputArgs) -> Result<Self, String> {
        let journal =
            args.events.as_deref().map(|path| Journal::open(path, "events")?.aside()).transpose()?;
        let json = args.output == OutputKind::Json;
        let zone = if args.utc { TimeZone::UTC } else { TimeZone::system() };
        let missing = {
            let zone = zone.clone();
            move |count| {
                let text = format!("{count} lines, because stderr was not read");
                let line = Line::state("missing", "missing", text).with("lines", count);
                written(&line.with("why", "stderr was not read"), Timestamp::now(), &zone, json)
            }
        };
        let stderr = Lines::start(io::stderr(), missing)
            .map_err(|error| format!("no thread to write to stderr: {error}"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                zone,
                quiet: args.quiet,
                debug: args.debug,
                json,
                journal: Mutex::new(journal),
                stderr,
            }),
        })
    }

    /// The time, in the zone of the lines.
    pub(crate) fn now(&self) -> Zoned {
        Timestamp::now().to_zoned(self.inner.zone.clone())
    }

    /// Whether documents and lines are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.inner.json
    }

    fn journal(&self) -> MutexGuard<'_, Option<Aside>> {
        self.inner.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells one line now.
    pub(crate) fn tell(&self, line: &Line) {
        let inner = &self.inner;
        // Held to the end: the lines of both places are in the same order.
        let journal = self.journal();
        let now = Timestamp::now();
        if let Some(journal) = journal.as_ref() {
            if line.weight != Weight::Echo {
                journal.push(&journal::line(now, line.event, &line.fields));
            }
            self.tell_trouble(journal);
        }
        let shown = match line.weight {
            Weight::Debug => inner.debug,
            // For programs it is no fact.
            Weight::Echo => !inner.quiet && !inner.json,
            Weight::State => !inner.quiet,
            Weight::Error => true,
        };
        if shown {
            inner.stderr.push(&written(line, now, &inner.zone, inner.json));
        }
    }

    /// What kept the journal from being written, once.
    fn tell_trouble(&self, journal: &Aside) {
        if let Some(trouble) = journal.trouble() {
            let line = Line::state("events", "events-failed", trouble.clone()).with("detail", trouble);
            self.inner.stderr.push(&written(&line, Timestamp::now(), &self.inner.zone, self.inner.json));
        }
    }

    /// Tells why a verb could not do what was asked.
    pub(crate) fn error(&self, failure: &Failure) {
        let line = Line::state("error", "error", failure.message.clone()).weighing(Weight::Error);
        self.tell(
            &line
                .with("message", failure.message.as_str())
                .with("exit", failure.exit.name())
                .with("exit_code", failure.exit.code()),
        );
    }

    /// Waits until what was told is on stderr, but not for one that nobody reads.
    pub(crate) fn settle(&self) {
        self.inner.stderr.finish();
    }

    /// Hands the journal to the disk, and waits for the last line.
    pub(crate) fn finish(&self) {
        if let Some(journal) = self.journal().as_ref() {
            journal.finish();
            self.tell_trouble(journal);
        }
        self.settle();
    }
}

/// A line for stderr, its end included.
fn written(line: &Line, now: Timestamp, zone: &TimeZone, json: bool) -> String {
    match json {
        true => journal::line(now, line.event, &line.fields),
        false => in_words(&now.to_zoned(zone.clone()), line.word, &line.text),
    }
}

fn in_words(time: &Zoned, word: &str, text: &str) -> String {
    // One line is one line, whatever a broker writes into its reason string.
    let text = text.replace(|c: char| c.is_control(), " ");
    format!("{:.3} {word:<11} {text}\n", time.time())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_line_has_time_word_and_reason_in_columns() {
        let time = date(2026, 11, 24).at(9, 15, 34, 876_400_000).to_zoned(TimeZone::UTC).unwrap();
        assert_eq!(
            in_words(&time, "lost", "ping-timeout after 1m32s"),
            "09:15:34.876 lost        ping-timeout after 1m32s\n"
        );
        assert_eq!(in_words(&time, "recovered", "a\nb"), "09:15:34.876 recovered   a b\n");
        let even = date(2026, 11, 24).at(9, 15, 34, 0).to_zoned(TimeZone::UTC).unwrap();
        assert_eq!(in_words(&even, "open", "x"), "09:15:34.000 open        x\n");
        let line = Line::state("missing", "missing", "5 lines").with("lines", 5);
        let written = |json| written(&line, even.timestamp(), &TimeZone::UTC, json);
        assert_eq!(written(false), "09:15:34.000 missing     5 lines\n");
        assert_eq!(
            written(true),
            "{\"time\":\"2026-11-24T09:15:34.000Z\",\"event\":\"missing\",\"lines\":5}\n"
        );
    }
}
