//! The files of the project, in a fixed order.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file: its path from the root with forward slashes, and what is in it.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Text {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// The root of the workspace, from where xtask was built.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Every text file that belongs to the project: no build output, no hidden folders but our own two, no lock files.
pub(crate) fn texts(root: &Path) -> Vec<Text> {
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort_by(|a: &Text, b| a.path.cmp(&b.path));
    found
}

/// The packages of the workspace by folder: `(name, folder)`.
pub(crate) fn packages(root: &Path) -> Vec<(String, PathBuf)> {
    let mut packages: Vec<(String, PathBuf)> = fs::read_dir(root.join("crates"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(_, folder)| folder.join("Cargo.toml").is_file())
        .collect();
    packages.push(("xtask".to_owned(), root.join("xtask")));
    packages.sort();
    packages
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Text>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".cargo";
            // The inputs of the fuzzer are bytes, whatever they look like.
            let generated = name == "target"
                || path.strip_prefix(root).is_ok_and(|inside| {
                    inside.starts_with("fuzz/corpus") || inside.starts_with("fuzz/found")
                });
            if !hidden && !generated {
                walk(root, &path, found);
            }
        } else if kind.is_file() && name != ".git" && !name.ends_with(".lock") && !name.ends_with(".log") {
            // What is not UTF-8 is no text, and no rule here is about it.
            if let (Ok(body), Ok(inside)) = (fs::read_to_string(&path), path.strip_prefix(root)) {
                found.push(Text { path: inside.to_string_lossy().replace('\\', "/"), body });
            }
        }
    }
}
