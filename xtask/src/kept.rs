//! Files that tell of a run when it is over: never of the run before it, and never half of one.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Takes away what an earlier run left, so that what is there afterwards is of this one.
pub(crate) fn forget(file: &Path) -> Result<(), String> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(told(file, &error)),
        _ => Ok(()),
    }
}

/// Writes beside the file and renames: whoever is stopped meanwhile leaves the one before it.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), String> {
    let beside = file.with_extension("new");
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, file)).map_err(|error| told(file, &error))
}

/// What is in a file; nothing where there is none yet. An empty one was cut short, and is not the same.
pub(crate) fn read(file: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => {
            Err(format!("{}: it is empty; git has what was in it", file.display()))
        }
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(told(file, &error)),
    }
}

fn told(file: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_empty_is_not_one_that_is_not_there() {
        let folder = std::env::temp_dir().join(format!("xtask-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("state");
        assert_eq!(read(&file), Ok(None));
        fs::write(&file, "\n").unwrap();
        assert!(read(&file).unwrap_err().contains("it is empty"));
        assert_eq!(write(&file, "text"), Ok(()));
        assert_eq!(read(&file), Ok(Some("text".to_owned())));
        assert_eq!((forget(&file), forget(&file)), (Ok(()), Ok(())));
        assert!(
            forget(&folder).is_err() && read(&folder).is_err() && write(&folder.join("x/y"), "").is_err()
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left beside it");
        fs::remove_dir_all(&folder).unwrap();
    }
}
