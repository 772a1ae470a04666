//! Who may know whom, read from the sources.

use super::{Finding, scan};
use crate::tree::Text;

const CORE: &str = "crates/rejoin-core/src/";

/// Inside core: the first word is a module, the rest are modules it must not name. The three machines meet in `engine`
/// only, and what describes bytes and topics knows nobody above it.
const CORE_WALLS: [(&str, &[&str]); 8] = [
    ("session", &["link", "recovery", "engine"]),
    ("link", &["session", "recovery", "engine"]),
    ("recovery", &["session", "link", "engine"]),
    ("codec", ABOVE),
    ("plain", ABOVE),
    ("text", ABOVE),
    ("topic", ABOVE),
    ("time", ABOVE),
];
const ABOVE: &[&str] =
    &["session", "link", "recovery", "engine", "interface", "event", "config", "stats", "trace"];

/// What a pure function of its inputs has no use for.
const IMPURE: [&str; 14] = [
    "tokio",
    "std::net",
    "std::fs",
    "std::io",
    "std::thread",
    "std::env",
    "std::process",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "rand",
    "fastrand",
    "tracing",
];

/// Between crates: a folder, and the crate names its sources must not contain.
const CRATE_WALLS: [(&str, &[&str]); 3] = [
    ("crates/rejoin-core/", &["rejoin", "rejoin_lab", "rejoin_cli"]),
    ("crates/rejoin/", &["rejoin_lab", "rejoin_cli"]),
    ("crates/rejoin-lab/", &["rejoin_cli"]),
];

pub(super) fn check(text: &Text, code: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (folder, banned) in CRATE_WALLS.into_iter().filter(|(folder, _)| text.path.starts_with(folder)) {
        for name in banned {
            for number in scan::lines_with(code, &format!("{name}::")) {
                found.push(Finding::new("imports", text, number, format!("{folder} must not know `{name}`")));
            }
        }
    }
    let Some(inside) = text.path.strip_prefix(CORE) else { return found };
    for word in IMPURE {
        for number in scan::lines_with(code, word) {
            let what = format!("`{word}` in core, which is a pure function of its inputs");
            found.push(Finding::new("pure-core", text, number, what));
        }
    }
    let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    for (_, banned) in CORE_WALLS.into_iter().filter(|(name, _)| *name == module) {
        for (number, name) in
            modules_named(code).into_iter().filter(|(_, name)| banned.contains(&name.as_str()))
        {
            let what = format!("`{module}` must not know `{name}`: pass what it needs as an argument");
            found.push(Finding::new("imports", text, number, what));
        }
    }
    found
}

/// Every module of the crate's root that the code names: after `crate::` or `super::`, alone or in a `{ list }`.
fn modules_named(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let line = code[..at].matches('\n').count();
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                None => found.push((line, first_name(rest))),
                Some(_) => {
                    let list = scan::to_closing_brace(rest).map_or(rest, |end| &rest[1..end - 1]);
                    found.extend(
                        top_level_parts(list).into_iter().map(|part| (line, first_name(part.trim()))),
                    );
                }
            }
        }
    }
    found
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|&character| scan::is_name(character)).collect()
}

fn top_level_parts(list: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    list.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, body: &str) -> Vec<String> {
        let text = Text { path: path.to_owned(), body: body.to_owned() };
        check(&text, &scan::code_only(body)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn machines_do_not_know_each_other() {
        for (module, other) in [("session", "link"), ("link", "recovery"), ("recovery", "session")] {
            let path = format!("{CORE}{module}/mod.rs");
            assert_eq!(findings(&path, &format!("use crate::{other}::A;")).len(), 1);
            assert_eq!(findings(&path, &format!("use crate::{{codec::{{B, C}}, {other}::A}};")).len(), 1);
            assert_eq!(findings(&path, &format!("fn a() {{ super::{other}::b() }}")).len(), 1);
            assert!(findings(&path, &format!("// crate::{other}\nuse crate::codec::{{B, C}};")).is_empty());
        }
        assert!(
            findings(&format!("{CORE}engine.rs"), "use crate::{link::Link, session::Session};").is_empty()
        );
    }

    #[test]
    fn the_codec_knows_nobody_above() {
        assert_eq!(findings(&format!("{CORE}codec/decode.rs"), "use crate::session::A;").len(), 1);
        assert_eq!(findings(&format!("{CORE}topic.rs"), "use crate::engine::A;").len(), 1);
        assert!(findings(&format!("{CORE}codec/decode.rs"), "use crate::text::Text;").is_empty());
    }

    #[test]
    fn core_has_no_clock_no_socket_and_no_unordered_walk() {
        for word in IMPURE {
            assert_eq!(
                findings(&format!("{CORE}session/mod.rs"), &format!("use {word};")).len(),
                1,
                "{word}"
            );
        }
        assert!(findings("crates/rejoin/src/driver.rs", "use tokio::time::Instant;").is_empty());
    }

    #[test]
    fn crates_look_down_only() {
        assert_eq!(findings("crates/rejoin-core/tests/it/main.rs", "use rejoin::Client;").len(), 1);
        assert!(findings("crates/rejoin-core/tests/it/main.rs", "use rejoin_core::Engine;").is_empty());
        assert_eq!(findings("crates/rejoin/src/client.rs", "use rejoin_lab::Broker;").len(), 1);
        assert_eq!(findings("crates/rejoin-lab/src/lib.rs", "use rejoin_cli::Exit;").len(), 1);
        assert!(findings("crates/rejoin-cli/src/demo.rs", "use rejoin_lab::Broker;").is_empty());
    }
}
