//! The demo without a terminal: the same events, one line each.

use std::io::{self, Write};

use super::chronicle::Line;

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// Standard output.
    Stdout,
    /// Standard error, because standard output holds a document.
    Stderr,
}

/// Writes each line once.
#[derive(Debug)]
pub(crate) struct Lines {
    to: To,
    written: usize,
}

impl Lines {
    /// Nothing written yet.
    pub(crate) const fn new(to: To) -> Self {
        Self { to, written: 0 }
    }

    /// Writes what came since the last call.
    pub(crate) fn catch_up(&mut self, lines: &[Line]) {
        for line in &lines[self.written.min(lines.len())..] {
            self.say(&in_words(line));
        }
        self.written = lines.len();
    }

    /// Writes one line as it is.
    pub(crate) fn say(&self, text: &str) {
        // Nobody reads: there is nobody to tell.
        let _ = match self.to {
            To::Stdout => writeln!(io::stdout().lock(), "{text}"),
            To::Stderr => writeln!(io::stderr().lock(), "{text}"),
        };
    }
}

/// One event as text.
pub(crate) fn in_words(line: &Line) -> String {
    format!("{:6.2} {:<12} {}", line.at.as_secs_f64(), line.word, line.text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_word_and_text_stand_in_columns() {
        let line = Line { at: Duration::from_millis(12_104), word: "suspect", text: "nothing heard".into() };
        assert_eq!(in_words(&line), " 12.10 suspect      nothing heard");
    }
}
