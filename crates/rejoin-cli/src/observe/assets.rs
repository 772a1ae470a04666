//! The files of the page as they are asked for, with marks that change when a file does.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::page::{FILES, PageFile};

/// What `/` answers with.
pub(crate) const PAGE: &str = "index.html";

/// The file of this name.
pub(crate) fn find(name: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == name)
}

/// Changes when the file does, so that a browser loads it anew after an update of the program.
pub(crate) fn tag(file: &PageFile) -> String {
    let mut hasher = DefaultHasher::new();
    file.body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
