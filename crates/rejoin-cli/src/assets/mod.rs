//! `rejoin assets`: files for other programs, made for the names of our metrics.

mod dashboard;

use std::io::Write;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};

/// `rejoin assets`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AssetsArgs {
    #[command(subcommand)]
    what: Asset,
}

/// What can be printed.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Asset {
    /// Recording and alerting rules for Prometheus
    #[command(disable_help_flag = true)]
    Prometheus,
    /// A dashboard for Grafana, to be imported
    #[command(disable_help_flag = true)]
    Grafana,
}

const RULES: &str = include_str!("rules.yml");

/// Prints it to stdout.
pub(crate) fn run(args: &AssetsArgs) -> Result<Exit, Failure> {
    let text = match args.what {
        Asset::Prometheus => RULES.to_owned(),
        Asset::Grafana => format!("{:#}\n", dashboard::dashboard()),
    };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // A reader that has seen enough, as `head`, is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::local(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(Exit::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rejoin::metrics::descriptions;

    /// Every name of ours in a text, without the endings that Prometheus adds to histograms.
    pub(super) fn names(text: &str) -> Vec<&str> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("mqtt_client_"));
        let words = words.map(|word| word.trim_end_matches(':'));
        words.map(|word| known(word).unwrap_or(word)).collect()
    }

    fn known(word: &str) -> Option<&'static str> {
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|ending| word.strip_suffix(ending));
        let all = descriptions().iter().map(|description| description.name);
        all.into_iter().find(|name| *name == word || Some(*name) == bare)
    }

    pub(super) fn unknown(text: &str) -> Vec<&str> {
        names(text).into_iter().filter(|word| known(word).is_none()).collect()
    }

    #[test]
    fn rules_name_only_metrics_that_exist() {
        assert_eq!(unknown(RULES), [""; 0]);
        assert_eq!(unknown("rate(mqtt_client_made_up_total[1m])"), ["mqtt_client_made_up_total"]);
        assert!(names(RULES).len() > 20);
    }

    #[test]
    fn recorded_series_are_used_under_the_name_they_are_recorded_as() {
        let recorded: Vec<&str> =
            RULES.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
        let used = |text: &'static str| {
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
            words.filter(|word| word.starts_with("client:")).collect::<Vec<_>>()
        };
        assert!(recorded.len() > 5);
        for name in used(RULES) {
            assert!(recorded.contains(&name), "{name} is not recorded");
        }
    }

    #[test]
    fn each_alert_says_what_it_means_and_what_to_do() {
        let alerts: Vec<&str> = RULES.split("- alert: ").skip(1).collect();
        assert!(alerts.len() >= 15);
        for alert in alerts {
            let name = alert.lines().next().unwrap();
            for part in ["expr: ", "labels: {severity: ", "summary: ", "description: "] {
                assert!(alert.contains(part), "{name} has no {part}");
            }
        }
    }

    #[test]
    fn labels_in_rules_have_values_that_exist() {
        for (label, value) in
            [("state", "stopped"), ("outcome", "failed"), ("result", "lost"), ("reason", "superseded")]
        {
            assert!(RULES.contains(value), "{value}");
            let mut labels = descriptions().iter().flat_map(|description| description.labels);
            assert!(
                labels.any(|known| known.name == label && known.values.contains(&value)),
                "{label}={value}"
            );
        }
    }
}
