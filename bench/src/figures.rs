//! What was measured, by row: one file of lines each, which the page is written from. So one row can be measured again
//! without the others.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// All runs of one client in one case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) case: String,
    pub(crate) client: String,
    /// What was measured, with its unit last: `rate_s`, `cpu_us`.
    pub(crate) metric: String,
    pub(crate) values: Vec<f64>,
    /// Instead of figures: why there are none, or what is wrong with them.
    pub(crate) note: String,
}

/// One row of the benchmark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) key: String,
    /// When and on what: lines for the page.
    pub(crate) taken: String,
    pub(crate) all: Vec<Figure>,
}

/// Middle, smallest and largest of the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        Self { median: at(all.len() / 2), least: at(0), most: at(all.len().saturating_sub(1)) }
    }
}

/// Where they lie.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("figures")
}

impl Figures {
    pub(crate) fn new(key: &str) -> Self {
        let taken =
            format!("{}; load average {:.2} before it", crate::machine::today(), crate::machine::load());
        Self { key: key.to_owned(), taken, all: Vec::new() }
    }

    /// One run more.
    pub(crate) fn add(&mut self, case: &str, client: &str, metric: &str, value: f64) {
        self.place(case, client, metric).values.push(value);
    }

    /// Why a cell has no figure, or what its figure does not say.
    pub(crate) fn note(&mut self, case: &str, client: &str, metric: &str, note: &str) {
        self.place(case, client, metric).note = note.to_owned();
    }

    fn place(&mut self, case: &str, client: &str, metric: &str) -> &mut Figure {
        let same = |one: &Figure| one.case == case && one.client == client && one.metric == metric;
        let at = self.all.iter().position(same).unwrap_or_else(|| {
            self.all.push(Figure {
                case: case.to_owned(),
                client: client.to_owned(),
                metric: metric.to_owned(),
                values: Vec::new(),
                note: String::new(),
            });
            self.all.len() - 1
        });
        &mut self.all[at]
    }

    pub(crate) fn find(&self, case: &str, client: &str, metric: &str) -> Option<&Figure> {
        self.all.iter().find(|one| one.case == case && one.client == client && one.metric == metric)
    }

    /// The middle of the rounds, where there were any and nothing is wrong with them.
    pub(crate) fn median(&self, case: &str, client: &str, metric: &str) -> Option<f64> {
        let found = self.find(case, client, metric)?;
        (found.note.is_empty() && !found.values.is_empty()).then(|| found.spread().median)
    }

    /// Clients in the order in which they were measured.
    pub(crate) fn clients(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.all.iter().map(|one| one.client.as_str()).filter(|client| seen.insert(*client)).collect()
    }

    pub(crate) fn cases(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.all.iter().map(|one| one.case.as_str()).filter(|case| seen.insert(*case)).collect()
    }

    pub(crate) fn save(&self) -> Result<(), String> {
        let path = folder().join(format!("{}.tsv", self.key));
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(folder()).map_err(told)?;
        fs::write(&path, self.text()).map_err(told)
    }

    fn text(&self) -> String {
        let mut text = format!("# {}\n# case\tclient\tmetric\tvalues\tnote\n", self.taken);
        for one in &self.all {
            let values: Vec<String> = one.values.iter().map(|value| format!("{value:.4}")).collect();
            let _ = writeln!(
                text,
                "{}\t{}\t{}\t{}\t{}",
                one.case,
                one.client,
                one.metric,
                values.join(" "),
                if one.note.is_empty() { "-".to_owned() } else { one.note.replace(['\t', '\n'], " ") }
            );
        }
        text
    }

    /// A row that was never measured is empty.
    pub(crate) fn load(key: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{key}.tsv"))).unwrap_or_default();
        Self::read(key, &text)
    }

    fn read(key: &str, text: &str) -> Self {
        let mut lines = text.lines();
        let taken = lines.next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default().to_owned();
        let mut found = Self { key: key.to_owned(), taken, all: Vec::new() };
        for line in lines.filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split('\t').collect();
            if let [case, client, metric, values, note] = words.as_slice() {
                found.all.push(Figure {
                    case: (*case).to_owned(),
                    client: (*client).to_owned(),
                    metric: (*metric).to_owned(),
                    values: values.split_whitespace().filter_map(|value| value.parse().ok()).collect(),
                    note: note.strip_prefix('-').unwrap_or(note).to_owned(),
                });
            }
        }
        found
    }
}

impl Figure {
    pub(crate) fn spread(&self) -> Spread {
        Spread::of(self.values.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again() {
        let mut figures = Figures { key: "k".to_owned(), taken: "today".to_owned(), all: Vec::new() };
        figures.add("publish QoS 0", "rejoin", "rate_s", 3.5);
        figures.add("publish QoS 0", "rejoin", "rate_s", 1.5);
        figures.note("publish QoS 0", "slow", "rate_s", "stalls\tafter 3");
        let again = Figures::read("k", &figures.text());
        assert_eq!((again.taken.as_str(), again.all.len()), ("today", 2));
        assert_eq!(again.all[0], figures.all[0]);
        assert_eq!(again.all[1].note, "stalls after 3");
        assert_eq!(again.median("publish QoS 0", "slow", "rate_s"), None);
    }
}
