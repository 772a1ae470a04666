//! Somebody looks on: figures are read while messages pass, or each event of the log is put into words.

use super::Job;
use ::rejoin::Client;
use std::fmt::{Debug, Write};
use std::sync::Mutex;
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A hundred times as often as a scrape every ten seconds.
const SCRAPE: Duration = Duration::from_millis(100);

pub(super) fn look_on(job: &Job, client: &Client) -> Result<(), String> {
    let level = match job.observe.as_str() {
        "none" => return Ok(()),
        "metrics" => {
            let reader = client.metrics_reader();
            tokio::spawn(async move {
                let mut pace = tokio::time::interval(SCRAPE);
                loop {
                    pace.tick().await;
                    std::hint::black_box(reader.snapshot());
                }
            });
            return Ok(());
        }
        "info" => Level::INFO,
        "debug" => Level::DEBUG,
        "trace" => Level::TRACE,
        other => return Err(format!("--observe {other}: none, metrics, info, debug or trace")),
    };
    let scribe = Scribe { level, line: Mutex::new(Line(String::new())) };
    tracing::subscriber::set_global_default(scribe).map_err(|error| error.to_string())
}

/// Puts events into words as a program's log does, and writes them nowhere.
struct Scribe {
    level: Level,
    line: Mutex<Line>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if let Ok(mut line) = self.line.lock() {
            line.0.clear();
            event.record(&mut *line);
            std::hint::black_box(line.0.len());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
