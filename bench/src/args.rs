//! `--name value` and `--name` words, and nothing more.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Flags without a value.
const SWITCHES: [&str; 4] = ["again", "plain", "quick", "tardy"];

pub(crate) struct Args(BTreeMap<String, String>);

impl Args {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut found = BTreeMap::new();
        let mut words = words;
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("`{word}` is not a flag"))?;
            let value = match SWITCHES.contains(&name) {
                true => String::new(),
                false => words.next().ok_or_else(|| format!("--{name} needs a value"))?,
            };
            found.insert(name.to_owned(), value);
        }
        Ok(Self(found))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str, otherwise: &str) -> String {
        self.0.get(name).map_or(otherwise, String::as_str).to_owned()
    }

    pub(crate) fn value<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, String> {
        match self.0.get(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| format!("--{name} {text}: not a value it can take")),
        }
    }
}
