//! What each crate may depend on, read from the manifests: adding a name here is a decision, with its reason.

use super::Finding;
use crate::tree::Text;
use crate::{run, say};
use std::collections::BTreeSet;
use std::path::Path;

/// How many packages the library needs with these features, itself included: who does not ask for one pays nothing
/// for it.
const PACKAGES: [(&str, usize); 7] = [
    ("", 20),
    ("tls", 36),
    ("aws-lc", 43),
    ("tls,ws", 60),
    ("metrics", 23),
    ("otel", 21),
    ("prometheus", 30),
];

struct Allowed {
    package: &'static str,
    /// What users get.
    normal: &'static [&'static str],
    /// What its own tests may use on top.
    tests: &'static [&'static str],
}

/// Core: bytes, so that anybody can take it anywhere. The client: a runtime, its sockets, its logs. The lab and the
/// program: what stands below them.
const ALLOWED: [Allowed; 5] = [
    Allowed { package: "rejoin-core", normal: &["bytes"], tests: &["proptest", "insta"] },
    Allowed {
        package: "rejoin",
        normal: &[
            "axum",
            "bytes",
            "rejoin-core",
            "tokio",
            "socket2",
            "tracing",
            "thiserror",
            "fastrand",
            "futures-core",
            "redb",
            "crc32fast",
            "futures-sink",
            "metrics",
            "opentelemetry",
            "prometheus-client",
            "rustls",
            "rustls-native-certs",
            "tokio-rustls",
            "tokio-tungstenite",
            "zeroize",
        ],
        tests: &[
            "proptest",
            "insta",
            "cap",
            "tempfile",
            "tracing-subscriber",
            "futures-util",
            "rcgen",
            "tower-service",
        ],
    },
    Allowed {
        package: "rejoin-lab",
        normal: &["bytes", "rejoin-core", "rejoin", "tokio", "socket2", "fastrand", "tracing"],
        tests: &[
            "proptest",
            "insta",
            "tempfile",
            "tracing-subscriber",
            "rcgen",
            "tokio-rustls",
            "turmoil",
            "cap",
        ],
    },
    Allowed {
        package: "rejoin-cli",
        normal: &[
            "axum",
            "bytes",
            "rejoin-core",
            "rejoin",
            "rejoin-lab",
            "tokio",
            "clap",
            "prometheus-client",
            "ratatui",
            "crossterm",
            "tracing",
            "tracing-subscriber",
            "fastrand",
            "futures-core",
            "jiff",
            "humantime",
            "tempfile",
            "serde",
            "serde_json",
            "libc",
            "rustix",
        ],
        tests: &["insta", "proptest", "rcgen"],
    },
    Allowed { package: "xtask", normal: &[], tests: &[] },
];

/// Every manifest against its list.
pub(super) fn check(text: &Text) -> Vec<Finding> {
    let Some(package) = package_name(&text.body) else { return Vec::new() };
    let Some(allowed) = ALLOWED.iter().find(|allowed| allowed.package == package) else { return Vec::new() };
    let mut found = Vec::new();
    for (number, section, name) in dependencies(&text.body) {
        let tests_only = section.starts_with("dev-");
        let fits = allowed.normal.contains(&name) || (tests_only && allowed.tests.contains(&name));
        if !fits {
            let what = format!(
                "{package} must not depend on `{name}` ([{section}]): the list is in tidy/manifest.rs"
            );
            found.push(Finding::new("dependencies", text, number, what));
        }
    }
    found
}

/// How many packages a user of the library builds, with each set of features that has a bound.
pub(super) fn count(root: &Path) -> Vec<Finding> {
    PACKAGES.iter().filter_map(|(features, most)| count_with(root, features, *most)).collect()
}

/// What cargo cannot count is a finding: a bound that nobody holds is none.
fn count_with(root: &Path, features: &str, most: usize) -> Option<Finding> {
    let mut arguments = vec!["tree", "--package", "rejoin", "--edges", "normal,build", "--prefix", "none"];
    arguments.extend(["--features", features]);
    let finding =
        |what| Finding { rule: "packages", path: "crates/rejoin/Cargo.toml".to_owned(), line: 1, what };
    let Some(tree) = run::answer(&mut run::cargo(root, &arguments)) else {
        let what = format!("they cannot be counted: `cargo tree -p rejoin --features \"{features}\"` fails");
        return Some(finding(what));
    };
    let count = distinct(&tree);
    let with = if features.is_empty() { "TCP" } else { features };
    say::line(&format!("packages in the library with {with}: {count} (at most {most})"));
    (count > most).then(|| {
        finding(format!(
            "the library with {with} needs {count} packages, at most {most}: see `cargo tree -p rejoin --features \
             \"{features}\"`"
        ))
    })
}

/// Cargo repeats a package it has shown already, marked with a star.
fn distinct(tree: &str) -> usize {
    tree.lines()
        .map(|line| line.trim().trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>())
        .collect::<BTreeSet<_>>()
        .len()
}

fn package_name(manifest: &str) -> Option<&str> {
    let (_, package) = manifest.split_once("[package]")?;
    let line = package.lines().find(|line| line.trim_start().starts_with("name"))?;
    line.split('"').nth(1)
}

/// Line, section and name of each dependency.
fn dependencies(manifest: &str) -> Vec<(usize, &str, &str)> {
    let mut found = Vec::new();
    let mut section = "";
    for (number, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = header
                .rsplit_once('.')
                .filter(|(target, _)| target.starts_with("target."))
                .map_or(header, |x| x.1);
            // `[dependencies.tokio]` is a table of its own for one name.
            if let Some((kind, name)) = section.split_once("dependencies.") {
                found.push((number, &section[..kind.len() + "dependencies".len()], name));
                section = "";
            }
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['=', '.', ' ']).unwrap_or(line.len());
            found.push((number, section, line[..end].trim_matches('"')));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: &str, rest: &str) -> Vec<String> {
        let body = format!("[package]\nname = \"{package}\"\n{rest}");
        check(&Text { path: "Cargo.toml".to_owned(), body }).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn core_may_use_bytes_and_nothing_else() {
        assert!(findings("rejoin-core", "[dependencies]\nbytes.workspace = true\n").is_empty());
        for forbidden in ["tokio = \"1\"", "rejoin.workspace = true", "\"rand\" = { version = \"1\" }"] {
            assert_eq!(
                findings("rejoin-core", &format!("[dependencies]\n{forbidden}\n")).len(),
                1,
                "{forbidden}"
            );
        }
        assert_eq!(findings("rejoin-core", "[dev-dependencies]\nrejoin-lab.workspace = true\n").len(), 1);
    }

    #[test]
    fn every_kind_of_section_is_read() {
        assert_eq!(findings("rejoin", "[dependencies.rejoin-lab]\npath = \"../rejoin-lab\"\n").len(), 1);
        assert_eq!(findings("rejoin", "[target.'cfg(unix)'.dependencies]\nrejoin-cli = \"1\"\n").len(), 1);
        assert_eq!(findings("rejoin", "[build-dependencies]\ncc = \"1\"\n").len(), 1);
        assert_eq!(findings("rejoin", "[dependencies]\ntempfile = \"3\"\n").len(), 1);
        assert!(
            findings("rejoin", "[dev-dependencies]\ntempfile = \"3\"\n[lints]\nworkspace = true\n")
                .is_empty()
        );
    }

    #[test]
    fn the_lab_does_not_know_the_program_and_xtask_knows_nobody() {
        assert_eq!(findings("rejoin-lab", "[dependencies]\nrejoin-cli.workspace = true\n").len(), 1);
        assert_eq!(findings("xtask", "[dependencies]\nanyhow = \"1\"\n").len(), 1);
        assert!(findings("rejoin-cli", "[dependencies]\nrejoin-lab.workspace = true\n").is_empty());
    }

    #[test]
    fn what_cannot_be_counted_is_a_finding() {
        let found = count_with(&std::env::temp_dir(), "", 20).expect("there is no library");
        assert!(found.what.contains("cannot be counted"), "{}", found.what);
    }

    #[test]
    fn a_package_is_counted_once() {
        let tree = "rejoin v0.1.0 (here)\nbytes v1.10.0\nrejoin-core v0.1.0 (there)\nbytes v1.10.0 (*)\n\n";
        assert_eq!(distinct(tree), 3);
    }
}
