//! Child processes: their PATH, their time limit, how they ended.

use crate::install;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where Debian keeps servers; not on the PATH of every user.
const SERVER_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A command whose PATH also has the folders where servers live.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", search_path()).stdin(Stdio::null());
    command
}

/// The same for the cargo that started us.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = command(&program, arguments);
    command.current_dir(root);
    // Set for us by `cargo run`; a child that saw them would believe it is being built as part of xtask.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Where a program is, looked up in the same PATH that children get.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Runs to the end or to the limit. The error is one line that names the command and what happened.
pub(crate) fn within(command: &mut Command, limit: Duration) -> Result<(), String> {
    let status = status(command, limit)?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

/// The same for a command whose exit code says more than yes or no.
pub(crate) fn status(command: &mut Command, limit: Duration) -> Result<ExitStatus, String> {
    let name = shown(command);
    let child = command.spawn().map_err(|error| format!("`{name}` did not start: {error}"))?;
    match wait(child, limit) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err(format!("`{name}` ran for more than {} s and was stopped", limit.as_secs())),
        Err(error) => Err(format!("`{name}` could not be waited for: {error}")),
    }
}

/// Standard output of a short command, or nothing when it fails.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn search_path() -> OsString {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let tools = [install::tools(), install::tools().join("bin")];
    for folder in SERVER_FOLDERS.map(PathBuf::from).into_iter().chain(tools) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    // A PATH that came from the system can be joined again; if not, it is better left as it is.
    std::env::join_paths(folders).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    format!("{program} {}", arguments.join(" ")).trim_end().to_owned()
}

fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            stop_with_children(&mut child);
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends a command and everything it started, by process id: a test binary outlives the cargo that started it.
fn stop_with_children(child: &mut Child) {
    let ids: Vec<String> = descendants(child.id()).iter().map(u32::to_string).collect();
    if !ids.is_empty() {
        let _ = Command::new("kill").arg("-KILL").args(&ids).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter_map(|id: u32| Some((id, parent(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?)))
        .collect();
    let mut family = vec![of];
    let mut next = 0;
    while let Some(&elder) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == elder).map(|(id, _)| *id));
        next += 1;
    }
    family.split_off(1)
}

/// The parent's id in a line of `/proc/N/stat`; the name before it is in brackets and may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_its_status() {
        let error = within(&mut command("false", &["--really"]), Duration::from_secs(10)).unwrap_err();
        assert!(error.contains("`false --really`") && error.contains("exit status: 1"), "{error}");
        assert!(within(&mut command("true", &[]), Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn a_program_that_is_not_there_is_an_answer_and_no_panic() {
        let error = within(&mut command("no-such-program-here", &[]), Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("did not start"), "{error}");
        assert!(find("no-such-program-here").is_none());
        assert!(find("sh").is_some());
    }

    #[test]
    fn the_limit_ends_grandchildren_too() {
        let begin = Instant::now();
        // The shell waits for its own child, which would hold the output open for a minute.
        let error = within(
            &mut command("sh", &["-c", "exec 2>/dev/null; sleep 60; true"]),
            Duration::from_millis(200),
        )
        .unwrap_err();
        assert!(error.contains("was stopped"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_family_of_a_process_is_found_through_proc() {
        let mut child = command("sh", &["-c", "exec 2>/dev/null; sleep 60; true"]).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while descendants(child.id()).is_empty() && Instant::now() < end {
            thread::yield_now();
        }
        let family = descendants(child.id());
        stop_with_children(&mut child);
        assert_eq!(family.len(), 1);
        // Gone, or a zombie that its new parent has not collected yet: either way it has no program any more.
        let exe = format!("/proc/{}/exe", family[0]);
        while Path::new(&exe).exists() && Instant::now() < end {
            thread::yield_now();
        }
        assert!(!Path::new(&exe).exists());
    }

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        assert_eq!(parent("12 (a ) b) S 7 12 12 0"), Some(7));
        assert_eq!(parent("nonsense"), None);
    }
}
