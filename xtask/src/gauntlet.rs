//! The gauntlet for any client: builds the adapters, runs every row, keeps the table.

use crate::{run, say};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Columns by the package of their adapter; a name that says 3.1.1 is run at it, one that says TLS over it.
const CLIENTS: [(&str, &str); 9] = [
    ("rejoin", "gauntlet-rejoin"),
    ("rejoin 3.1.1", "gauntlet-rejoin"),
    ("rejoin, TLS", "gauntlet-rejoin"),
    ("rumqttc 0.25.1, 3.1.1", "gauntlet-rumqttc"),
    ("rumqttc-next 0.34", "gauntlet-rumqttc-next"),
    ("mqtt5 0.49", "gauntlet-mqtt5"),
    ("paho-mqtt 0.14", "gauntlet-paho-mqtt"),
    ("flowsdk 0.7", "gauntlet-flowsdk"),
    (PAHO_GO, "gauntlet-paho-go"),
];
/// How the names of our own columns begin.
const OURS: &str = "rejoin";
const PAHO_GO: &str = "paho.mqtt.golang 1.1.1, 3.1.1";
const BUILD: [&str; 5] = ["build", "--release", "--quiet", "--manifest-path", "gauntlet/Cargo.toml"];
/// Where Debian puts Go packages.
const DEBIAN_GOPATH: &str = "/usr/share/gocode";
const GO_SOURCE: &str = "/usr/share/gocode/src/github.com/eclipse/paho.mqtt.golang";
/// The peers' trees are large.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// Minutes for each client, and for rejoin some more.
const RUN_LIMIT: Duration = Duration::from_secs(3 * 3600);

/// How often rejoin has to pass each row of the table that is kept.
const TIMES_OURS: &str = "10";

struct Wish<'a> {
    clients: Vec<&'a str>,
    keep: bool,
    handed_on: Vec<&'a str>,
}

/// `--client NAME` for the columns whose name begins so, `--times N` to repeat, `--rows 1,2` for some rows; nothing is
/// kept then, unless `--keep` puts what was found into the table. Without flags every column, rejoin's ten times, and the
/// table is written anew.
pub(crate) fn run(root: &Path, flags: &[&str]) -> bool {
    let Some(wish) = read(flags) else {
        say::line("xtask gauntlet: the flags are --client NAME, --times N, --rows 1,2 and --keep");
        return false;
    };
    let wanted =
        |name: &str| wish.clients.is_empty() || wish.clients.iter().any(|part| name.starts_with(part));
    let clients: Vec<_> = CLIENTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let columns = match columns(root, &clients) {
        Ok(columns) => columns,
        Err(error) => {
            say::line(&format!("xtask gauntlet: {error}"));
            return false;
        }
    };
    let example = ["run", "--release", "--quiet", "--package", "rejoin-lab", "--example", "gauntlet", "--"];
    let mut command = run::cargo(root, &example);
    command.args(&wish.handed_on);
    if flags.is_empty() {
        command.args(["--times-ours", TIMES_OURS]);
    }
    if flags.is_empty() || wish.keep {
        command.arg("--page").arg(root.join("docs/gauntlet.md"));
    }
    if wish.keep {
        command.arg("--amend");
    }
    match run::within(command.args(&columns), RUN_LIMIT) {
        Ok(()) => true,
        Err(error) => {
            say::line(&format!("xtask gauntlet: {error}"));
            false
        }
    }
}

/// Builds the adapters. A peer that cannot be had here is left out aloud; without rejoin the table would say nothing.
fn columns(root: &Path, clients: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let together = build_together(root, clients);
    let mut columns = Vec::new();
    for (name, package) in clients {
        match build(root, name, package, together) {
            Ok(program) => columns.push(format!("{name}={}", program.display())),
            Err(why) if name.starts_with(OURS) => return Err(format!("{name} cannot be built: {why}")),
            Err(why) => say::line(&format!("xtask gauntlet: {name} is left out: {why}")),
        }
    }
    Ok(columns)
}

fn read<'a>(flags: &[&'a str]) -> Option<Wish<'a>> {
    let mut wish = Wish { clients: Vec::new(), keep: flags.contains(&"--keep"), handed_on: Vec::new() };
    let pairs: Vec<&str> = flags.iter().copied().filter(|flag| *flag != "--keep").collect();
    for pair in pairs.chunks(2) {
        match *pair {
            ["--client", name] => wish.clients.push(name),
            [flag @ ("--times" | "--rows"), value] => wish.handed_on.extend([flag, value]),
            _ => return None,
        }
    }
    Some(wish)
}

/// What the adapters share is built once for all this way. False: which of them cannot be built has to be found out.
fn build_together(root: &Path, clients: &[(&str, &str)]) -> bool {
    let packages: Vec<&str> = clients
        .iter()
        .filter(|(name, _)| *name != PAHO_GO)
        .flat_map(|(_, package)| ["--package", package])
        .collect();
    packages.is_empty() || run::within(run::cargo(root, &BUILD).args(packages), BUILD_LIMIT).is_ok()
}

fn build(root: &Path, name: &str, package: &str, built: bool) -> Result<PathBuf, String> {
    if name == PAHO_GO {
        return build_go(root, package);
    }
    if !built {
        run::within(run::cargo(root, &BUILD).args(["--package", package]), BUILD_LIMIT)?;
    }
    Ok(root.join("gauntlet/target/release").join(package))
}

fn build_go(root: &Path, package: &str) -> Result<PathBuf, String> {
    if run::find("go").is_none() || !Path::new(GO_SOURCE).is_dir() {
        return Err("apt-get install golang-go golang-github-eclipse-paho.mqtt.golang-dev".to_owned());
    }
    let program = root.join("gauntlet/target").join(package);
    let mut go = run::command("go", &["build", "-o"]);
    go.arg(&program).arg(".").current_dir(root.join("gauntlet/paho-go"));
    // Debian's packages are found by path, not by module.
    go.env("GOPATH", DEBIAN_GOPATH).env("GO111MODULE", "off");
    run::within(&mut go, BUILD_LIMIT)?;
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_rejoin_is_no_table() {
        let nowhere = std::env::temp_dir();
        let told = columns(&nowhere, &[("rejoin 3.1.1", "gauntlet-rejoin")]).unwrap_err();
        assert!(told.contains("rejoin 3.1.1 cannot be built"), "{told}");
        assert_eq!(columns(&nowhere, &[("mqtt5 0.49", "gauntlet-mqtt5")]), Ok(Vec::new()));
        assert!(CLIENTS.iter().any(|(name, _)| name.starts_with(OURS)));
    }

    #[test]
    fn flags_come_in_pairs_and_unknown_ones_are_refused() {
        let wish = read(&["--client", "rejoin", "--times", "10"]).expect("these are flags");
        assert_eq!((wish.clients, wish.handed_on), (vec!["rejoin"], vec!["--times", "10"]));
        assert!(!wish.keep && read(&["--keep", "--rows", "1"]).is_some_and(|wish| wish.keep));
        assert!(read(&["--client"]).is_none() && read(&["--fast", "1"]).is_none());
    }
}
