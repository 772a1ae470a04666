//! The folder of a queue: who may look into it, who has it, and what lies in it.
//!
//! Names in it are fixed: nothing that a server or a user chose ever becomes a path.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::row::FORMAT;
use crate::store::StoreError;

/// The database.
pub(super) const DATA: &str = "queue.redb";
/// The database before its first commit is on the disk.
const UNFINISHED: &str = "queue.redb.new";
/// Says that there is a database, and its format: without it an emptied folder would look like a new one.
const FORMAT_FILE: &str = "queue.format";
const FORMAT_UNFINISHED: &str = "queue.format.new";
/// Held by the process that has the queue.
const LOCK: &str = "queue.lock";
/// What the lock says of one who has the queue to look into it.
const LOOKING: &str = "tool";
/// So long a client waits for one who only looks.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// So long anybody waits: a program that starts another has all its locks twice until that one is under way.
const FORK_LIMIT: Duration = Duration::from_millis(250);
/// Most bytes of the small files that are read.
const SMALL_MOST: u64 = 4096;

/// A folder that this process has for itself.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// Held, not read: the lock ends with it.
    _lock: File,
}

impl Place {
    /// Makes the folder if it is not there (`create`), looks at its permissions, and takes it.
    pub(super) fn claim(folder: &Path, create: bool) -> Result<Self, StoreError> {
        let refuse = |what: &str| StoreError::Place { place: shown(folder), what: what.to_owned() };
        match fs::symlink_metadata(folder) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => make(folder)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refuse("there is no such folder; check the name"));
            }
            Err(error) => return Err(cannot(folder, &error)),
        }
        let found = fs::symlink_metadata(folder).map_err(|error| cannot(folder, &error))?;
        if found.file_type().is_symlink() {
            return Err(refuse("it is a symbolic link; name the folder it points to"));
        }
        if !found.is_dir() {
            return Err(refuse("it is no folder"));
        }
        if is_writable_by_others(&found) {
            return Err(refuse("others may write to it; `chmod go-w` it, or use a folder of your own"));
        }
        if !create && !folder.join(DATA).exists() && !folder.join(FORMAT_FILE).exists() {
            return Err(refuse(
                "there is no queue in it; check the name, or begin one with `rejoin pub --queue`",
            ));
        }
        let process = our_user(folder).map_err(|error| cannot(folder, &error))?;
        let ours = our_owner(&found, process, || owner_of_a_new_file(folder));
        let is_ours = belongs_to(&found, ours);
        let theirs = || refuse("it belongs to another user; run as that user, or use a folder of your own");
        if !is_ours && !folder.join(LOCK).exists() {
            return Err(theirs());
        }
        // Of one in use that is told first: its client answers at its door whoever may knock there.
        let mut lock = take_lock(folder, create)?;
        if !is_ours {
            return Err(theirs());
        }
        // From here on nobody else can put anything into it. What was there may be of somebody who could.
        for name in [LOCK, DATA, FORMAT_FILE] {
            let Ok(found) = fs::symlink_metadata(folder.join(name)) else { continue };
            if !belongs_to(&found, ours) {
                return Err(refuse(&format!(
                    "`{name}` in it belongs to another user, who can change it; `chown` it if it is to be yours"
                )));
            }
            if found.is_file() && is_writable_by_others(&found) {
                return Err(refuse(&format!("others may write to `{name}` in it; `chmod go-w` it")));
            }
        }
        sign(&mut lock, create);
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.folder)
    }

    /// Whether a queue is in the folder.
    pub(super) fn is_begun(&self) -> Result<bool, StoreError> {
        let refuse = |what: &str| StoreError::Place { place: self.shown(), what: what.to_owned() };
        let format = self.format()?;
        match fs::symlink_metadata(self.folder.join(DATA)) {
            Ok(data) if !data.is_file() => Err(refuse("`queue.redb` in it is no file")),
            Ok(data) if data.len() == 0 => Err(refuse(
                "`queue.redb` in it is empty though it was written; put it back from a copy, or remove the folder to begin anew",
            )),
            Ok(_) => Ok(true),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot(&self.folder, &error)),
            Err(_) if format.is_some() => Err(refuse(
                "`queue.redb` is missing though `queue.format` says that it was there; put it back, or remove `queue.format` to begin anew",
            )),
            Err(_) => Ok(false),
        }
    }

    /// The format the folder says it has; refused if it is not ours.
    fn format(&self) -> Result<Option<u32>, StoreError> {
        let path = self.folder.join(FORMAT_FILE);
        let Some(mut file) = open_plain(&path, false).map_err(|error| cannot(&self.folder, &error))? else {
            return Ok(None);
        };
        let line = read_small(&mut file).map_err(|error| cannot(&self.folder, &error))?;
        let number = line.trim().strip_prefix("rejoin queue format ").and_then(|n| n.parse().ok());
        match number {
            Some(FORMAT) => Ok(Some(FORMAT)),
            Some(found) => Err(other_format(&self.folder, found)),
            None => Err(StoreError::Place {
                place: self.shown(),
                what: "`queue.format` in it does not say a format; it is not of a queue, or damaged"
                    .to_owned(),
            }),
        }
    }

    /// Says that a queue is here.
    pub(super) fn note_format(&self) -> Result<(), StoreError> {
        if self.format()?.is_some() {
            return Ok(());
        }
        let attempt = || -> io::Result<()> {
            let new = self.folder.join(FORMAT_UNFINISHED);
            let mut file = fresh(&new)?;
            writeln!(file, "rejoin queue format {FORMAT}")?;
            file.sync_all()?;
            fs::rename(&new, self.folder.join(FORMAT_FILE))?;
            sync_folder(&self.folder)
        };
        attempt().map_err(|error| cannot(&self.folder, &error))
    }

    /// The database, which must be there.
    pub(super) fn open_data(&self) -> io::Result<File> {
        open_plain(&self.folder.join(DATA), true)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// A new file for a database; it counts from [`Place::finish_data`] on.
    pub(super) fn begin_data(&self) -> io::Result<File> {
        fresh(&self.folder.join(UNFINISHED))
    }

    /// The first commit is on the disk: gives the database its name.
    pub(super) fn finish_data(&self) -> io::Result<()> {
        fs::rename(self.folder.join(UNFINISHED), self.folder.join(DATA))?;
        sync_folder(&self.folder)
    }

    /// Whether the folder and the database are still those that were opened.
    pub(super) fn check(&self, data: &File) -> Result<(), StoreError> {
        let gone = |what: &str| StoreError::Place { place: self.shown(), what: what.to_owned() };
        let path = self.folder.join(DATA);
        let Ok(there) = fs::symlink_metadata(&path) else {
            return Err(gone(
                "`queue.redb` was removed while it was in use; what is stored from here on would be lost",
            ));
        };
        let ours = data.metadata().map_err(|error| cannot(&self.folder, &error))?;
        if is_same_file(&there, &ours) {
            Ok(())
        } else {
            Err(gone(
                "`queue.redb` was replaced while it was in use; end the client before a queue is put back",
            ))
        }
    }
}

/// The error for a format we do not read.
pub(super) fn other_format(folder: &Path, found: u32) -> StoreError {
    let remedy = if found > FORMAT {
        "use the newer rejoin that wrote it, or drain it there first"
    } else {
        "drain it with the rejoin that wrote it, then remove the folder"
    };
    StoreError::Format { place: shown(folder), found, reads: FORMAT, remedy }
}

pub(super) fn cannot(folder: &Path, error: &io::Error) -> StoreError {
    let place = shown(folder);
    match error.kind() {
        kind if is_full(kind) => StoreError::NoSpace { place },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::Place {
            place,
            what: format!("{error}; it must be writable by the user of the client"),
        },
        io::ErrorKind::NotFound => StoreError::Place { place, what: format!("{error}") },
        _ => StoreError::Io { place, what: error.to_string() },
    }
}

/// Whether making room would help.
pub(super) const fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn shown(folder: &Path) -> String {
    folder.display().to_string().escape_debug().to_string()
}

fn make(folder: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        builder.create(parent).map_err(|error| cannot(folder, &error))?;
    }
    builder.recursive(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(|error| cannot(folder, &error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // An odd umask must not take from the owner either.
        let ours = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder, ours).map_err(|error| cannot(folder, &error))?;
    }
    sync_folder(parent.unwrap_or_else(|| Path::new("."))).map_err(|error| cannot(folder, &error))
}

/// Takes the lock. One who only looks has it for moments, so a client waits for that one.
fn take_lock(folder: &Path, is_client: bool) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let open = || match open_plain(&path, true)? {
        Some(file) => Ok(file),
        None => match fresh_if_absent(&path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                open_plain(&path, true)?.ok_or(error)
            }
            other => other,
        },
    };
    let mut file = open().map_err(|error| cannot(folder, &error))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(cannot(folder, &error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let by = file.rewind().and_then(|()| read_small(&mut file)).unwrap_or_default();
        let by = by.lines().next().filter(|line| !line.is_empty()).unwrap_or("another process");
        let limit = if is_client && by.starts_with(LOOKING) { LOOK_LIMIT } else { FORK_LIMIT };
        if began.elapsed() > limit {
            return Err(StoreError::InUse { place: shown(folder), by: by.escape_debug().to_string() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(file)
}

/// Says who has it.
fn sign(lock: &mut File, is_client: bool) {
    let what = if is_client { "process" } else { LOOKING };
    let who = format!("{what} {}, since {}\n", std::process::id(), utc(SystemTime::now()));
    // For people only: a lock without a name still locks, and a full disk is no reason not to open.
    let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(who.as_bytes()));
}

/// Opens a file that is there and no symbolic link; `None` if it is not there.
fn open_plain(path: &Path, write: bool) -> io::Result<Option<File>> {
    let before = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = if before.is_file() {
        OpenOptions::new().read(true).write(write).open(path)?
    } else {
        return Err(not_plain(path));
    };
    // The path may have become another thing in between.
    if is_same_file(&before, &file.metadata()?) { Ok(Some(file)) } else { Err(not_plain(path)) }
}

fn not_plain(path: &Path) -> io::Error {
    let name = path.file_name().unwrap_or_default().display();
    io::Error::new(io::ErrorKind::PermissionDenied, format!("`{name}` is no plain file"))
}

/// A new file in place of what has this name.
fn fresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fresh_if_absent(path)
}

fn fresh_if_absent(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

fn read_small(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(SMALL_MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// So that a new name survives a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(unix)]
fn is_writable_by_others(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o022 != 0
}

/// The user this process makes files as. Nothing that is in the folder already can tell.
#[cfg(unix)]
fn our_user(folder: &Path) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt;

    if cfg!(any(target_os = "linux", target_os = "android"))
        && let Ok(process) = fs::metadata("/proc/self")
    {
        return Ok(process.uid());
    }
    owner_of_a_new_file(folder)
}

/// Who owns what this process makes in the folder.
#[cfg(unix)]
fn owner_of_a_new_file(folder: &Path) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let probe = folder.join(format!("queue.owner.{}.{number}", std::process::id()));
    let owner = fresh(&probe)?.metadata().map(|made| made.uid());
    fs::remove_file(&probe)?;
    owner
}

/// The owner of our files in a folder: the user of this process, unless the file system gives them another one. Of root an
/// NFS server that squashes it makes nobody, and a mount with `uid=` has one owner for all files.
fn our_owner(folder: &fs::Metadata, process: u32, of_a_new_file: impl FnOnce() -> io::Result<u32>) -> u32 {
    if belongs_to(folder, process) { process } else { of_a_new_file().unwrap_or(process) }
}

#[cfg(unix)]
fn belongs_to(found: &fs::Metadata, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.uid() == user
}

#[cfg(unix)]
fn is_same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_writable_by_others(_: &fs::Metadata) -> bool {
    false
}

#[cfg(not(unix))]
fn our_user(_: &Path) -> io::Result<u32> {
    Ok(0)
}

#[cfg(not(unix))]
fn owner_of_a_new_file(_: &Path) -> io::Result<u32> {
    Ok(0)
}

#[cfg(not(unix))]
fn belongs_to(_: &fs::Metadata, _: u32) -> bool {
    true
}

#[cfg(not(unix))]
fn is_same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    a.is_file() && b.is_file()
}

/// Date and time of day in UTC, to the second.
fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years: the year begins in March so that the leap day comes last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02} UTC", year + era * 400 + later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn where_files_get_another_owner_than_the_process_that_one_is_ours() {
        use std::os::unix::fs::MetadataExt;

        let folder = fs::metadata(std::env::temp_dir()).unwrap();
        let (owner, other) = (folder.uid(), folder.uid() + 1);
        let unasked = || -> io::Result<u32> { panic!("nothing is written where it is not needed") };
        assert_eq!(our_owner(&folder, owner, unasked), owner);
        assert_eq!(our_owner(&folder, other, || Ok(owner)), owner, "one owner for all files");
        assert_eq!(our_owner(&folder, other, || Ok(other)), other, "it belongs to somebody else");
        let no = || Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(our_owner(&folder, other, no), other, "we may not write there");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(951_868_799), "2000-02-29 23:59:59 UTC");
        assert_eq!(at(1_795_690_235), "2026-11-26 10:50:35 UTC");
    }
}
