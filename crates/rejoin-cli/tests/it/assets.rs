//! What `rejoin assets` prints, judged by the program it is for: `promtool`, of Debian's package `prometheus`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::run;
use crate::skipped::skipped;

/// Each rule before series that must fire it and series that must not.
const RULES_TEST: &str = include_str!("assets/rules.test.yml");

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rejoin-assets-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file of the test");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What it says, and whether it is content; `None` when it is not installed.
fn promtool(folder: &Path, words: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("promtool").current_dir(folder).args(words).output() else {
        skipped("the judge of the rules", "promtool is missing; apt-get install prometheus");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said.into_owned()))
}

fn rules() -> String {
    let ended = run(&["assets", "prometheus"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    ended.stdout
}

#[test]
fn prometheus_takes_the_rules() {
    let folder = Folder::new("check");
    folder.write("rules.yml", &rules());
    let Some((content, said)) = promtool(&folder.0, &["check", "rules", "rules.yml"]) else { return };
    assert!(content && said.contains("SUCCESS"), "{said}");
}

#[test]
fn rules_fire_when_they_should_and_only_then() {
    let folder = Folder::new("test");
    let rules = rules();
    folder.write("rules.yml", &rules);
    folder.write("rules.test.yml", RULES_TEST);
    let Some((content, said)) = promtool(&folder.0, &["test", "rules", "rules.test.yml"]) else { return };
    assert!(content, "{said}");
    // The test sees a rule that has gone wrong.
    let wrong = rules.replace("increase10m > 5", "increase10m > 500");
    assert_ne!(wrong, rules);
    folder.write("rules.yml", &wrong);
    assert!(promtool(&folder.0, &["test", "rules", "rules.test.yml"]).is_some_and(|(content, _)| !content));
}

#[test]
fn the_dashboard_is_json_that_can_be_imported() {
    let ended = run(&["assets", "grafana"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let dashboard: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(dashboard["uid"], "rejoin-clients");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 20));
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let ended = run(&["assets", "nagios"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("nagios"), "{}", ended.stderr);
}
