//! Names, kinds, units and labels of all metrics, written down: whoever changes one changes people's dashboards.

use super::descriptions;

const FROZEN: &str = include_str!("frozen.txt");

fn lines() -> Vec<String> {
    let line = |description: &rejoin::metrics::Description| {
        let labels: Vec<String> = description
            .labels
            .iter()
            .map(|label| format!(" {}={}", label.name, label.values.join("|")))
            .collect();
        let unit = description.unit.unwrap_or("-");
        format!("{} {} {unit}{}", description.name, description.kind.name(), labels.concat())
    };
    descriptions().iter().map(line).collect()
}

#[test]
fn a_name_that_people_rely_on_stays_what_it_is() {
    let lines = lines();
    let frozen: Vec<&str> = FROZEN.lines().collect();
    assert_eq!(lines, frozen, "if this is meant to be, frozen.txt is now:\n{}\n", lines.join("\n"));
}
