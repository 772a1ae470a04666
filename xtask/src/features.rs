//! The features of the library that the suite builds, lints, documents and tests, together.

/// All at once: a feature adds an item and changes nothing else, so they go together. What hides in one of them only
/// when another is absent is found by the steps that build the library as programs do, with none and with some.
pub(crate) const LIBRARY: [&str; 7] = ["axum", "metrics", "otel", "prometheus", "store-redb", "tls", "ws"];

/// For a command about the library alone.
pub(crate) fn of_library() -> String {
    LIBRARY.join(",")
}

/// For a command about the whole workspace.
pub(crate) fn of_workspace() -> String {
    LIBRARY.map(|feature| format!("rejoin/{feature}")).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    /// Its code is `tls`'s and has a step of its own; a C compiler is not everybody's.
    const APART: &str = "aws-lc";

    #[test]
    fn every_feature_of_the_library_is_built_linted_and_tested() {
        let manifest = std::fs::read_to_string(tree::root().join("crates/rejoin/Cargo.toml")).unwrap();
        let (_, section) = manifest.split_once("[features]\n").unwrap();
        let names = section.lines().take_while(|line| !line.starts_with('['));
        let names = names.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
        let mut names: Vec<_> =
            names.map(|(name, _)| name).filter(|name| ![APART, "default"].contains(name)).collect();
        names.sort_unstable();
        assert_eq!(names, LIBRARY, "a feature that no step switches on is not even compiled");
        let suite = std::fs::read_to_string(tree::root().join("xtask/src/suite.rs")).unwrap();
        assert!(suite.contains(&format!("\"--features\", \"{APART}\"")), "its own step");
    }
}
