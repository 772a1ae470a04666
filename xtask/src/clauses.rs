//! The clauses of the MQTT standards that the code cites.

use crate::{say, tree};
use std::collections::BTreeMap;
use std::path::Path;

/// Prints each clause with its count and the first place that cites it.
pub(crate) fn list(root: &Path) -> bool {
    let mut cited: BTreeMap<Vec<u32>, (String, usize, String)> = BTreeMap::new();
    for text in tree::texts(root).iter().filter(|text| text.is_rust() && text.path.starts_with("crates/")) {
        for (at, line) in text.body.lines().enumerate() {
            for clause in in_line(line) {
                let place = format!("{}:{}", text.path, at + 1);
                cited.entry(order(clause)).or_insert_with(|| (clause.to_owned(), 0, place)).1 += 1;
            }
        }
    }
    for (clause, count, place) in cited.values() {
        say::line(&format!("{clause:<20} {count:>4}  {place}"));
    }
    let total: usize = cited.values().map(|(_, count, _)| count).sum();
    say::line(&format!("{} clauses cited {total} times", cited.len()));
    true
}

fn in_line(line: &str) -> Vec<&str> {
    line.split("[MQTT-").skip(1).filter_map(|rest| rest.split_once(']')).map(|(clause, _)| clause).collect()
}

/// Sorts 4.10.0-1 after 4.9.0-1.
fn order(clause: &str) -> Vec<u32> {
    clause.split(['.', '-']).map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_from_comments_and_sorted_by_number() {
        assert_eq!(in_line("// [MQTT-4.4.0-1] and [MQTT-2.2.1-3]: why"), ["4.4.0-1", "2.2.1-3"]);
        assert!(in_line("// [MQTT-4.4").is_empty());
        assert!(order("4.9.0-1") < order("4.10.0-1"));
    }
}
