//! State lines: what happens to the connection, on stderr and in the journal. Payload never passes here.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

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

/// Writes lines. Clones write to the same places, one whole line at a time.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    zone: TimeZone,
    quiet: bool,
    debug: bool,
    json: bool,
    journal: Option<Journal>,
}

impl Teller {
    /// Opens what was asked for.
    pub(crate) fn new(args: &OutputArgs) -> Result<Self, String> {
        let journal = args.events.as_deref().map(|path| Journal::open(path, "events")).transpose()?;
        Ok(Self {
            inner: Arc::new(Mutex::new(Inner {
                zone: if args.utc { TimeZone::UTC } else { TimeZone::system() },
                quiet: args.quiet,
                debug: args.debug,
                json: args.output == OutputKind::Json,
                journal,
            })),
        })
    }

    /// The time, in the zone of the lines.
    pub(crate) fn now(&self) -> Zoned {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::now().to_zoned(inner.zone.clone())
    }

    /// Whether documents and lines are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).json
    }

    /// Tells one line now.
    pub(crate) fn tell(&self, line: &Line) {
        let now = Timestamp::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let json = (line.weight != Weight::Echo).then(|| journal::line(now, line.event, &line.fields));
        let trouble = match (&json, &mut inner.journal) {
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
            // Nobody reads stderr: there is nobody to tell.
            let _: io::Result<()> = io::stderr().lock().write_all(text.as_bytes());
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

    /// Hands the journal to the disk.
    pub(crate) fn finish(&self) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = &inner.journal {
            journal.sync();
        }
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
