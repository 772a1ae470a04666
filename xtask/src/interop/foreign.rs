//! Programs of a newer Debian on this one: each runs with the loader and the libraries it came with, from the folder it
//! was unpacked into.
//!
//! A program asks for the system's loader by an absolute path, and finds a C library that is too old for it. So it gets a
//! new name, and under the old one stands a script that hands it to its own loader. Libraries that it opens later come
//! from the same folder; the system's own programs that it starts are not touched, as they would be by an environment
//! variable.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What the program itself is called behind its script.
const BEHIND: &str = "elf";

/// Makes every program below `folder` run with the libraries below `root`.
pub(super) fn adopt(root: &Path, folder: &Path) -> Result<(), String> {
    let libraries = libraries(root).ok_or_else(|| format!("no C library in {}", root.display()))?;
    let loader = loader(&libraries).ok_or_else(|| format!("no loader in {}", libraries.display()))?;
    for program in programs(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        hide(&program, &loader, &libraries).map_err(|error| format!("{}: {error}", program.display()))?;
    }
    Ok(())
}

/// A word of a shell script.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn libraries(root: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(root.join("usr").join("lib")).ok()?.flatten().map(|entry| entry.path());
    folders.into_iter().find(|folder| folder.join("libc.so.6").is_file())
}

fn loader(libraries: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(libraries).ok()?.flatten();
    files
        .into_iter()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("ld-linux"))
        .map(|entry| entry.path())
}

fn programs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_program(&entry.path())? {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn is_program(path: &Path) -> io::Result<bool> {
    let known = path.extension().is_some_and(|end| end == "so" || end == BEHIND);
    if known || fs::metadata(path)?.permissions().mode() & 0o100 == 0 {
        return Ok(false);
    }
    let mut start = [0; 4];
    let read = fs::File::open(path)?.read(&mut start)?;
    Ok(start[..read] == *b"\x7fELF")
}

fn hide(program: &Path, loader: &Path, libraries: &Path) -> io::Result<()> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let behind = program.with_file_name(format!("{name}.{BEHIND}"));
    fs::rename(program, &behind)?;
    let (loader, libraries, behind) = (quoted(loader), quoted(libraries), quoted(&behind));
    let mut script = fs::File::create(program)?;
    writeln!(script, "#!/bin/sh\nexec {loader} --library-path {libraries} --argv0 \"$0\" {behind} \"$@\"")?;
    script.set_permissions(fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_quote_in_its_name_stays_one_word() {
        assert_eq!(quoted(Path::new("/it's here/x")), r"'/it'\''s here/x'");
    }
}
