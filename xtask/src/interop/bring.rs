//! Packages of a newer Debian, unpacked into a folder: nothing is installed, and the system's own lists stay as they are.

use crate::run;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where Debian has what we want.
pub(super) const SUITE: &str = "trixie";
/// The package lists that a Debian system reads, as it is installed today and as it was before; the mirror comes from
/// there.
const SOURCES: &str = "/etc/apt/sources.list.d/debian.sources";
const LIST: &str = "/etc/apt/sources.list";
const LIMIT: Duration = Duration::from_secs(600);

/// Whether packages can be brought here at all.
pub(super) fn possible() -> bool {
    run::find("apt-get").is_some() && run::find("dpkg-deb").is_some() && ours().is_some()
}

/// What to read instead of the system's lists, under a name that says how it is written.
fn ours() -> Option<(&'static str, String)> {
    let sources = fs::read_to_string(SOURCES).ok().map(|text| ("d.sources", of_suite(&text)));
    sources.or_else(|| Some(("d.list", of_list(&fs::read_to_string(LIST).ok()?)?)))
}

/// Downloads these packages of the suite and unpacks them into `place`, on top of each other.
pub(super) fn unpack(folder: &Path, packages: &[&str], place: &Path) -> Result<(), String> {
    let apt = folder.join("apt");
    let archives = folder.join("archives");
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    for part in [apt.join("lists/partial"), apt.join("cache/archives/partial"), place.to_owned()] {
        fs::create_dir_all(part).map_err(told)?;
    }
    let _ = fs::remove_dir_all(&archives);
    fs::create_dir_all(&archives).map_err(told)?;
    fs::write(apt.join("status"), "").map_err(told)?;
    let (name, sources) = ours().ok_or_else(|| format!("neither {SOURCES} nor {LIST} names a mirror"))?;
    fs::write(apt.join(name), sources).map_err(told)?;
    let options = [
        format!("Dir::State::lists={}", apt.join("lists").display()),
        format!("Dir::Etc::sourcelist={}", apt.join(name).display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::Cache={}", apt.join("cache").display()),
        format!("Dir::State::status={}", apt.join("status").display()),
        // Its own user cannot write into our folder, and says so once a package.
        "APT::Sandbox::User=root".to_owned(),
    ];
    let flags: Vec<&str> = options.iter().flat_map(|option| ["-o", option.as_str()]).collect();
    run::within(run::command("apt-get", &flags).args(["-qq", "update"]), LIMIT)?;
    run::within(
        run::command("apt-get", &flags).args(["-qq", "download"]).args(packages).current_dir(&archives),
        LIMIT,
    )?;
    for entry in fs::read_dir(&archives).map_err(told)?.flatten() {
        run::within(Command::new("dpkg-deb").arg("-x").arg(entry.path()).arg(place), LIMIT)?;
    }
    fs::remove_dir_all(&archives).map_err(told)
}

/// The first entry of the sources, for our suite.
fn of_suite(sources: &str) -> String {
    let first = sources.split("\n\n").next().unwrap_or_default();
    let lines = first
        .lines()
        .map(|line| if line.starts_with("Suites:") { format!("Suites: {SUITE}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// The same of a list with one line for each entry: `deb [options] mirror suite components`.
fn of_list(list: &str) -> Option<String> {
    let first = list.lines().find_map(|line| line.trim().strip_prefix("deb "))?.trim_start();
    let options = if first.starts_with('[') { first.find(']')? + 1 } else { 0 };
    let (options, rest) = first.split_at(options);
    let mut words = rest.split_whitespace();
    let (mirror, _suite) = (words.next()?, words.next()?);
    let parts: Vec<&str> = words.collect();
    Some(format!("deb {options} {mirror} {SUITE} {}\n", parts.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_list_names_the_mirror_as_well() {
        let list =
            "# deb cdrom:[x]/ y main\ndeb-src http://x y main\ndeb [trusted=no a=b] http://x y main extra\n";
        assert_eq!(of_list(list), Some(format!("deb [trusted=no a=b] http://x {SUITE} main extra\n")));
        assert_eq!(of_list("deb http://x y main"), Some(format!("deb  http://x {SUITE} main\n")));
        assert!(of_list("").is_none() && of_list("deb http://x").is_none());
    }

    #[test]
    fn only_the_suite_of_the_first_entry_is_changed() {
        let sources =
            "Types: deb\nURIs: http://x\nSuites: bookworm bookworm-updates\n\nTypes: deb\nSuites: y\n";
        assert_eq!(of_suite(sources), format!("Types: deb\nURIs: http://x\nSuites: {SUITE}\n"));
    }
}
