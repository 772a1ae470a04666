//! The words of a flight: fields as `name=value`, bytes as hex in which runs of blanked bytes are counted.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::blank::BLANK;

/// A line that is being written.
#[derive(Debug)]
pub(super) struct Line(String);

impl Line {
    pub(super) fn new(word: &str) -> Self {
        Self(word.to_owned())
    }

    pub(super) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        // Writing to a `String` cannot fail.
        let _ = write!(self.0, " {name}={value}");
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A field that is there or not.
    pub(super) fn flag(self, name: &str, set: bool) -> Self {
        if set { self.with(name, "yes") } else { self }
    }

    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.with(name, Escaped(text))
    }

    pub(super) fn hex(self, name: &str, bytes: &[u8]) -> Self {
        self.with(name, Hex(bytes))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A text without blanks and line ends.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("\\e");
        }
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                ' ' => f.write_str("\\s")?,
                c if c.is_control() || c.is_whitespace() => write!(f, "\\u{:x};", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

pub(super) fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next()? {
            'e' => {}
            's' => out.push(' '),
            '\\' => out.push('\\'),
            'u' => {
                let code: String = rest.by_ref().take_while(|c| *c != ';').collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
            }
            _ => return None,
        }
    }
    Some(out)
}

/// Bytes as hex; eight blanks or more in a row are written as `xN;`.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

const RUN: usize = 8;

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        let mut rest = self.0;
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|byte| **byte == BLANK).count();
            if run >= RUN {
                write!(f, "x{run};")?;
                rest = &rest[run..];
            } else {
                write!(f, "{first:02x}")?;
                rest = &rest[1..];
            }
        }
        Ok(())
    }
}

/// At most so many bytes come out of one field: a file that asks for more is not one of ours.
const MOST: usize = 512 * 1024 * 1024;

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(run) = rest.strip_prefix('x') {
            let (count, after) = run.split_once(';')?;
            let count: usize = count.parse().ok()?;
            if out.len().checked_add(count)? > MOST {
                return None;
            }
            out.resize(out.len() + count, BLANK);
            rest = after;
        } else {
            out.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
            rest = &rest[2..];
        }
    }
    Some(out)
}

/// A duration to the nanosecond.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.')?;
    let nanos = part.parse::<u32>().ok().filter(|nanos| part.len() == 9 && *nanos < 1_000_000_000)?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

/// The fields of a line that is read.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    pub(super) word: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let mut parts = line.split(' ').filter(|part| !part.is_empty());
        let word = parts.next()?;
        let fields = parts.map(|part| part.split_once('=')).collect::<Option<_>>()?;
        Some(Self { word, fields })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// `Some(None)` where it is absent, `None` where it cannot be read.
    pub(super) fn maybe<T: std::str::FromStr>(&self, name: &str) -> Option<Option<T>> {
        match self.get(name) {
            None => Some(None),
            Some(value) => value.parse().ok().map(Some),
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("yes")
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        unescape(self.get(name)?)
    }

    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        unhex(self.get(name)?)
    }

    pub(super) fn seconds(&self, name: &str) -> Option<Duration> {
        seconds(self.get(name)?)
    }

    pub(super) fn all(&self) -> &[(&'a str, &'a str)] {
        &self.fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["", "a b", "a\\b", "line\nend\ttab", "ä=\u{a0}€", "\\s"] {
            let line = Line::new("word").text("t", text).finish();
            assert_eq!(Fields::of(&line).unwrap().text("t").unwrap(), text, "{line}");
        }
        for bytes in [&b""[..], b"x", b"xxxxxxxxxxxx", b"\x00xxxxxxxxx\xffx", b"axxxxxxx"] {
            let line = Line::new("word").hex("b", bytes).finish();
            assert_eq!(Fields::of(&line).unwrap().bytes("b").unwrap(), bytes, "{line}");
        }
        for time in [Duration::ZERO, Duration::MAX, Duration::from_nanos(1), Duration::from_millis(1500)] {
            assert_eq!(seconds(&Seconds(time).to_string()), Some(time));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in ["0", "zz", "x5", "x99999999999999999999;", "x999999999999;", "é"] {
            assert_eq!(unhex(text), None, "{text}");
        }
        for text in ["\\", "\\q", "\\uZ;", "\\u110000;"] {
            assert_eq!(unescape(text), None, "{text}");
        }
        for text in ["1", "1.5", "1.9999999999", "a.000000000", "-1.000000000"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert!(Fields::of("word field").is_none() && Fields::of("").is_none());
    }
}
