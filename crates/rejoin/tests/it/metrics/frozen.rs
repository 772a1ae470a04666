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

const PAGE: &str = include_str!("../../../../../docs/metrics.md");
const BEGIN: &str = "<!-- The table is written by a test: crates/rejoin/tests/it/metrics/frozen.rs. -->\n";
const END: &str = "<!-- End of the table. -->";

/// The part of docs/metrics.md that lists everything.
fn table() -> String {
    let mut table = "\n| Metric | Kind | Unit | Labels | What it says | What it answers |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    let mut values = Vec::new();
    for description in descriptions() {
        let name = description.name.strip_prefix("mqtt_client_").unwrap();
        let labels: Vec<String> =
            description.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let (kind, unit) = (description.kind.name(), description.unit.unwrap_or_default());
        let (labels, help, answers) = (labels.join(", "), description.help, description.answers);
        table += &format!("| `{name}` | {kind} | {unit} | {labels} | {help} | {answers} |\n");
        for label in description.labels.iter().filter(|label| !label.values.is_empty()) {
            let line = format!("- `{name}`, `{}`: {}\n", label.name, label.values.join(", "));
            values.push(line);
        }
    }
    table + "\nThe values that labels can have:\n\n" + &values.concat() + "\n"
}

#[test]
fn the_page_about_metrics_lists_what_there_is() {
    let (_, rest) = PAGE.split_once(BEGIN).expect("the mark before the table");
    let (written, _) = rest.split_once(END).expect("the mark after the table");
    assert_eq!(written, table(), "docs/metrics.md, between the marks, is to be:\n{}", table());
}

/// What the page promises to explain, it explains.
#[test]
fn the_page_explains_every_reason_for_which_a_message_fails() {
    let failed = descriptions().iter().find(|d| d.name == "mqtt_client_publish_failed_total").unwrap();
    for reason in failed.labels[0].values {
        assert!(PAGE.contains(&format!("| `{reason}` |")), "{reason}");
    }
}
