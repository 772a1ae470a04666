//! What the tools write to stdout, and why they stop.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};

/// Why a tool stopped before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// Whoever read the output has enough.
    Reader,
    /// It failed.
    Failed(Failure),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Reader,
            _ => Self::Failed(Failure::local(format!("cannot write to stdout: {error}"))),
        }
    }
}

impl Halt {
    /// A reader that has enough is no failure.
    pub(super) fn verdict(result: Result<Exit, Self>) -> Result<Exit, Failure> {
        match result {
            Ok(exit) => Ok(exit),
            Err(Self::Reader) => Ok(Exit::Done),
            Err(Self::Failed(failure)) => Err(failure),
        }
    }
}

/// Stdout, written in large pieces.
pub(super) struct Page(BufWriter<StdoutLock<'static>>);

impl Page {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// One line for people.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Halt> {
        Ok(writeln!(self.0, "{text}")?)
    }

    /// One object on one line.
    pub(super) fn object(&mut self, object: Map<String, Value>) -> Result<(), Halt> {
        self.line(&Value::Object(object).to_string())
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Everything is out.
    pub(super) fn flush(&mut self) -> Result<(), Halt> {
        Ok(self.0.flush()?)
    }
}

/// Text that may come from anywhere, for a terminal: what would move the cursor, change colours or turn the direction
/// of writing is shown as an escape.
pub(super) fn clean(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_topic_reaches_the_terminal_as_a_command() {
        assert_eq!(clean("room/ä/1"), "room/ä/1");
        assert_eq!(clean("a\u{1b}[2Jb\n\u{9b}c"), "a\\u{1b}[2Jb\\n\\u{9b}c");
        assert_eq!(clean("\u{202E}abc"), "\\u{202e}abc");
    }
}
