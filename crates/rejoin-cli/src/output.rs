//! State lines: what happens to the connection, on stderr and in the journal. Payload never passes here.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::apart::Lines;
use crate::args::{OutputArgs, OutputKind};
use crate::exit::Failure;
use crate::journal::{self, Fields, Journal};

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
    journal: Mutex<Option<Journal>>,
    stderr: Lines,
}

impl Teller {
    /// Opens what was asked for.
    pub(crate) fn new(args: &OutputArgs) -> Result<Self, String> {
        let journal = args.events.as_deref().map(|path| Journal::open(path, "events")).transpose()?;
        let zone = if args.utc { TimeZone::UTC } else { TimeZone::system() };
        let missing = {
            let zone = zone.clone();
            move |count| {
                let text = format!("{count} lines, because stderr was not read");
                in_words(&Timestamp::now().to_zoned(zone.clone()), "missing", &text)
            }
        };
        let stderr = Lines::start(io::stderr(), missing)
            .map_err(|error| format!("no thread to write to stderr: {error}"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                zone,
                quiet: args.quiet,
                debug: args.debug,
                json: args.output == OutputKind::Json,
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

    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.inner.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells one line now.
    pub(crate) fn tell(&self, line: &Line) {
        let inner = &self.inner;
        // Held to the end: the lines of both places are in the same order.
        let mut journal = self.journal();
        let now = Timestamp::now();
        let json = (line.weight != Weight::Echo).then(|| journal::line(now, line.event, &line.fields));
        let trouble = match (&json, journal.as_mut()) {
            (Some(json), Some(journal)) => journal.write(json),
            _ => None,
        };
        let shown = match line.weight {
            Weight::Debug => inner.debug,
            Weight::State | Weight::Echo => !inner.quiet,
            Weight::Error => true,
        };
        let mut text = String::new();
        let time = now.to_zoned(inner.zone.clone());
        match (shown, inner.json) {
            (true, false) => text.push_str(&in_words(&time, line.word, &line.text)),
            (true, true) => text.push_str(json.as_deref().unwrap_or_default()),
            (false, _) => {}
        }
        if let Some(trouble) = trouble {
            text.push_str(&in_words(&time, "events", &trouble));
        }
        if !text.is_empty() {
            inner.stderr.push(&text);
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
            journal.sync();
        }
        self.settle();
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
    }
}
