//! What the tests need from the system: a real broker, two proxies, the judge of Prometheus rules, the tool that makes
//! network namespaces, and a browser with what drives it.

use crate::{run, say};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The program a test looks for, and the Debian package that brings it.
const NEEDED: [(&str, &str); 8] = [
    ("mosquitto", "mosquitto"),
    ("ip", "iproute2"),
    ("microsocks", "microsocks"),
    ("tinyproxy", "tinyproxy"),
    ("chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
    // 19 MB to fetch and 96 MB on disk, for the judge of our rules; its server never starts.
    ("promtool", "prometheus"),
];
/// Asked by maintainer scripts before they start a daemon; 101 means "no".
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBIDDEN: i32 = 101;
/// Stands in the policy that we write, so that one left behind by an interrupted run is known as ours.
const MARK: &str =
    "# Written by rejoin's `cargo xtask test` for the time of an installation. Safe to remove.";
/// Says that this machine's packages are none of our business.
const SWITCH: &str = "REJOIN_TEST_INSTALL";
const LIMIT: Duration = Duration::from_secs(300);

/// How the step ended when nothing went wrong.
pub(crate) enum Installed {
    /// Everything is there; the text says since when.
    Ready(String),
    /// Something is missing and we may not bring it; the text says why and what to do.
    Without(String),
}

/// Installs what is missing when we are root on a Debian system, and never lets a package start its daemon.
pub(crate) fn what_tests_need() -> Result<Installed, String> {
    let missing = missing();
    if missing.is_empty() {
        let all: Vec<&str> = NEEDED.iter().map(|(program, _)| *program).collect();
        return Ok(Installed::Ready(format!("{} are there", all.join(", "))));
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let remedy = format!("run as root: apt-get install --no-install-recommends {}", packages.join(" "));
    if let Some(reason) = may_not() {
        return Ok(Installed::Without(format!("{} missing: {reason}; {remedy}", packages.join(" and "))));
    }
    let _silence = match Silence::begin() {
        Ok(silence) => silence,
        Err(reason) => return Ok(Installed::Without(format!("{reason}; {remedy}"))),
    };
    say::line(&format!("installing {} (daemons stay off; {SWITCH}=no forbids this)", packages.join(" ")));
    // The lists of a fresh image are empty and those of an old one stale: refresh them only when needed.
    if apt_install(&packages).is_err() {
        run::within(&mut run::command("apt-get", &["update", "-qq"]), LIMIT)?;
        apt_install(&packages)?;
    }
    match self::missing().as_slice() {
        [] => Ok(Installed::Ready(format!("installed {}", packages.join(" and ")))),
        [(program, package), ..] => Err(format!("package {package} is installed but brought no `{program}`")),
    }
}

fn missing() -> Vec<(&'static str, &'static str)> {
    NEEDED.into_iter().filter(|(program, _)| run::find(program).is_none()).collect()
}

fn may_not() -> Option<&'static str> {
    if std::env::var(SWITCH).is_ok_and(|answer| answer == "no") {
        return Some("REJOIN_TEST_INSTALL=no is set");
    }
    if run::find("apt-get").is_none() {
        return Some("this system has no apt-get");
    }
    let user = run::answer(&mut run::command("id", &["-u"]));
    (user.as_deref().map(str::trim) != Some("0")).then_some("not root")
}

fn apt_install(packages: &[&str]) -> Result<(), String> {
    // The lock: a fresh machine often runs its own updates in the background.
    let mut arguments =
        vec!["install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=60"];
    arguments.extend(packages);
    run::within(run::command("apt-get", &arguments).env("DEBIAN_FRONTEND", "noninteractive"), LIMIT)
}

/// While it lives, maintainer scripts are told not to start anything: the tests run their own brokers on their own
/// ports, and nobody who runs a test suite asked for a broker on 1883.
struct Silence {
    ours: bool,
}

impl Silence {
    fn begin() -> Result<Self, String> {
        let found = fs::read_to_string(POLICY).unwrap_or_default();
        if Path::new(POLICY).exists() && !found.contains(MARK) {
            let answer = run::command(POLICY, &["mosquitto", "start"]).status().ok().and_then(|s| s.code());
            return match answer {
                Some(FORBIDDEN) => Ok(Self { ours: false }),
                _ => Err(format!("{POLICY} would let the package start a broker on port 1883")),
            };
        }
        let script = format!("#!/bin/sh\n{MARK}\nexit {FORBIDDEN}\n");
        fs::write(POLICY, script).map_err(|error| format!("{POLICY} cannot be written: {error}"))?;
        let silence = Self { ours: true };
        run::within(&mut run::command("chmod", &["755", POLICY]), LIMIT)?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
