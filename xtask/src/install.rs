//! What the tests need from the system: a real broker, the tool that makes network namespaces; and, better than nothing,
//! two proxies, a browser with what drives it, the judge of Prometheus rules, a counter of instructions, the fuzzer.

use crate::{run, say, tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "../../crates/rejoin-cli/tests/browser/browsers.rs"]
mod browsers;

/// A program that tests look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    /// Its names; one of them is enough.
    programs: &'static [&'static str],
    /// The Debian package that brings it.
    package: &'static str,
    /// Without it the step fails; without the others some tests are skipped aloud.
    required: bool,
    /// The service the package switches on at the next boot, which nobody asked for.
    service: Option<&'static str>,
    /// For bringing it.
    limit: Duration,
}

const SMALL: Duration = Duration::from_secs(300);
/// For hundreds of megabytes over a slow line.
const BIG: Duration = Duration::from_secs(1_800);

const fn need(program: &'static [&'static str], package: &'static str) -> Need {
    Need { programs: program, package, required: false, service: None, limit: SMALL }
}

const NEEDED: [Need; 13] = [
    Need { required: true, service: Some("mosquitto"), ..need(&["mosquitto"], "mosquitto") },
    Need { required: true, ..need(&["mosquitto_sub"], "mosquitto-clients") },
    Need { required: true, ..need(&["ip"], "iproute2") },
    need(&["ps"], "procps"),
    need(&["script"], "bsdutils"),
    need(&["unshare"], "util-linux"),
    need(&["microsocks"], "microsocks"),
    need(&["valgrind"], "valgrind"),
    // libFuzzer is built from source.
    need(&["c++"], "g++"),
    Need { service: Some("tinyproxy"), ..need(&["tinyproxy"], "tinyproxy") },
    Need { limit: BIG, ..need(&browsers::BROWSERS, "chromium") },
    Need { limit: BIG, ..need(&["node"], "nodejs") },
    Need { limit: BIG, ..need(&["npm"], "npm") },
];
/// The judge of our rules is one program of a package that is a server besides: it is taken out and not installed. 19 MB
/// to fetch.
const JUDGE: (&str, &str) = ("promtool", "prometheus");
/// Runs the fuzz targets: a program of cargo's, and its version that was tried.
const FUZZER: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// Asked by maintainer scripts before they start a daemon; 101 means "no". It does not ask before one is switched on for
/// the next boot.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBIDDEN: i32 = 101;
/// Stands in the policy that we write, so that one left behind by an interrupted run is known as ours.
const MARK: &str =
    "# Written by rejoin's `cargo xtask test` for the time of an installation. Safe to remove.";
/// Says that this machine's packages are none of our business.
const SWITCH: &str = "REJOIN_TEST_INSTALL";

/// How the step ended when nothing went wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// Everything is there; the text says since when.
    Ready(String),
    /// Something is missing and we may not or could not bring it; the text says why and what to do.
    Without(String),
}

/// Runs a program of the system with these words within a limit.
type System<'a> = dyn FnMut(&str, &[&str], Duration) -> Result<(), String> + 'a;

/// Installs what is missing when we are root on a Debian system, and never lets a package start its daemon, neither now
/// nor at the next boot.
pub(crate) fn what_tests_need() -> Result<Installed, String> {
    let mut lists = Lists { fresh: false, ours: may_not().is_none() };
    let missing = missing(|program| run::find(program).is_some());
    let system = &mut |program: &str, words: &[&str], limit: Duration| {
        run::within(run::command(program, words).env("DEBIAN_FRONTEND", "noninteractive"), limit)
    };
    let end = if missing.is_empty() {
        Installed::Ready("all packages are there".to_owned())
    } else {
        let remedy = format!("run as root: apt-get install --no-install-recommends {}", names(&missing, " "));
        if let Some(reason) = may_not() {
            Installed::Without(format!("{} missing: {reason}; {remedy}", names(&missing, " and ")))
        } else {
            match Silence::begin() {
                Ok(_silence) => install(&missing, &mut lists, system)?,
                Err(reason) => Installed::Without(format!("{reason}; {remedy}")),
            }
        }
    };
    let end = with(end, JUDGE.0, bring_judge(&tools(), &mut lists, system));
    Ok(with(end, FUZZER.0, bring_fuzzer()))
}

fn with(end: Installed, program: &str, brought: Result<(), String>) -> Installed {
    match (end, brought) {
        (end, Ok(())) => end,
        (Installed::Ready(text) | Installed::Without(text), Err(why)) => {
            Installed::Without(format!("{text}; no {program}: {why}"))
        }
    }
}

/// The required ones must be there at its end; one of the others that cannot be brought keeps no other from coming.
fn install(missing: &[Need], lists: &mut Lists, system: &mut System<'_>) -> Result<Installed, String> {
    let switch = format!("daemons stay off; {SWITCH}=no forbids this");
    say::line(&format!("installing {} ({switch})", names(missing, " ")));
    let required: Vec<Need> = missing.iter().copied().filter(|need| need.required).collect();
    if !required.is_empty() {
        let brought = bring(&required, lists, system);
        switch_off(&required, brought.is_ok(), system);
        brought?;
    }
    let mut without = Vec::new();
    for need in missing.iter().filter(|need| !need.required) {
        let brought = bring(&[*need], lists, system);
        switch_off(&[*need], brought.is_ok(), system);
        if let Err(why) = brought {
            without.push(format!("no {}: {why}", need.package));
        }
    }
    Ok(if without.is_empty() {
        Installed::Ready(format!("installed {}", names(missing, " and ")))
    } else {
        Installed::Without(format!("{}; tests that need it are skipped", without.join("; ")))
    })
}

/// The package lists of this machine. Those of a fresh image are empty and those of an old one stale.
struct Lists {
    fresh: bool,
    /// Whether we may refresh them.
    ours: bool,
}

/// Asks apt-get for something, once more with fresh lists when it fails: they are refreshed once, and only when needed.
fn ask(
    lists: &mut Lists,
    system: &mut System<'_>,
    mut apt: impl FnMut(&mut System<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let brought = apt(system);
    if brought.is_ok() || lists.fresh || !lists.ours {
        return brought;
    }
    system("apt-get", &["update", "-qq"], SMALL)?;
    lists.fresh = true;
    apt(system)
}

fn bring(needs: &[Need], lists: &mut Lists, system: &mut System<'_>) -> Result<(), String> {
    let limit = needs.iter().map(|need| need.limit).max().unwrap_or(SMALL);
    // The lock: a fresh machine often runs its own updates in the background.
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=60"];
    words.extend(needs.iter().map(|need| need.package));
    ask(lists, system, |system| system("apt-get", &words, limit))
}

/// Where an installation switched a service on, it would start at the next boot. Both programs also work where no init
/// runs, as in an image that is booted later; where systemd is not there at all, the first fails.
fn switch_off(needs: &[Need], brought: bool, system: &mut System<'_>) {
    for service in needs.iter().filter_map(|need| need.service) {
        let unit = format!("{service}.service");
        let by_unit = system("systemctl", &["--quiet", "--root=/", "disable", &unit], SMALL);
        let by_script = system("update-rc.d", &[service, "disable"], SMALL);
        if let (Err(_), Err(why), true) = (by_unit, by_script, brought) {
            say::line(&format!("{service} may start at the next boot: {why}; systemctl disable {service}"));
        }
    }
}

fn missing(found: impl Fn(&str) -> bool) -> Vec<Need> {
    NEEDED.into_iter().filter(|need| !need.programs.iter().any(|program| found(program))).collect()
}

fn names(needs: &[Need], between: &str) -> String {
    needs.iter().map(|need| need.package).collect::<Vec<_>>().join(between)
}

/// Where programs lie that belong to no package of this machine; [`run`] looks there, too.
pub(crate) fn tools() -> PathBuf {
    tree::root().join("target/tools")
}

/// Takes the judge out of its package, without the server and as any user. After the packages: who may install has
/// refreshed the lists by then.
fn bring_judge(tools: &Path, lists: &mut Lists, system: &mut System<'_>) -> Result<(), String> {
    let (program, package) = JUDGE;
    if run::find(program).is_some() {
        return Ok(());
    }
    if std::env::var(SWITCH).is_ok_and(|answer| answer == "no") {
        return Err(format!("{SWITCH}=no is set"));
    }
    say::line(&format!("taking {program} out of Debian's package {package} ({SWITCH}=no forbids this)"));
    take_judge(tools, lists, system)
}

/// Half a minute of two cores. It goes where the judge lies, and nowhere else.
fn bring_fuzzer() -> Result<(), String> {
    let (program, version) = FUZZER;
    if run::find(program).is_some() {
        return Ok(());
    }
    if std::env::var(SWITCH).is_ok_and(|answer| answer == "no") {
        return Err(format!("{SWITCH}=no is set"));
    }
    say::line(&format!("building {program} {version} ({SWITCH}=no forbids this)"));
    let place = tools();
    let place = place.to_string_lossy();
    let install = ["install", "--quiet", "--locked", "--root", &place, program, "--version", version];
    run::within(&mut run::cargo(&tree::root(), &install), SMALL)
}

fn take_judge(tools: &Path, lists: &mut Lists, system: &mut System<'_>) -> Result<(), String> {
    let (program, package) = JUDGE;
    let folder = tools.join("unpacked");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let taken = take_out(&folder, package, lists, system)
        .and_then(|from| fs::rename(from, tools.join(program)).map_err(|error| error.to_string()));
    let _ = fs::remove_dir_all(&folder);
    taken
}

fn take_out(
    folder: &Path,
    package: &str,
    lists: &mut Lists,
    system: &mut System<'_>,
) -> Result<PathBuf, String> {
    let place = folder.to_string_lossy();
    // It downloads into the folder where it runs.
    let download = ["-C", &*place, "apt-get", "download", "-qq", package];
    ask(lists, system, |system| system("env", &download, BIG))?;
    let file = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let file = file
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .ok_or_else(|| format!("apt-get brought no package {package}"))?;
    system("dpkg-deb", &["-x", &file.to_string_lossy(), &place], SMALL)?;
    Ok(folder.join("usr/bin").join(JUDGE.0))
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
        run::within(&mut run::command("chmod", &["755", POLICY]), SMALL)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const ESSENTIAL: [&str; 3] = ["ps", "script", "unshare"];

    /// A machine that has these programs; some packages cannot be had, and the judge only with fresh lists.
    fn installed(have: &[&str], gone: &[&str]) -> (Result<Installed, String>, Vec<String>) {
        let (mut ran, mut fresh) = (Vec::new(), false);
        let system = &mut |program: &str, words: &[&str], limit: Duration| {
            ran.push(format!("{program} {} within {} s", words.join(" "), limit.as_secs()));
            fresh |= words[0] == "update";
            if let ["-C", place, "apt-get", "download", ..] = words {
                return match fresh {
                    true => fs::write(Path::new(place).join("judge.deb"), "").map_err(|e| e.to_string()),
                    false => Err("unable to locate package prometheus".to_owned()),
                };
            }
            if let ["-x", _, place] = words {
                let folder = Path::new(place).join("usr/bin");
                return fs::create_dir_all(&folder)
                    .and_then(|()| fs::write(folder.join(JUDGE.0), ""))
                    .map_err(|error| error.to_string());
            }
            match words.iter().find(|word| gone.contains(word)) {
                Some(package) => Err(format!("unable to locate package {package}")),
                None => Ok(()),
            }
        };
        let mut lists = Lists { fresh: false, ours: true };
        let missing = missing(|program| have.contains(&program) || ESSENTIAL.contains(&program));
        let end = install(&missing, &mut lists, system).map(|end| match have.contains(&JUDGE.0) {
            true => end,
            false => {
                let tools = scratch();
                let brought = take_judge(&tools, &mut lists, system);
                assert_eq!(brought.is_ok(), tools.join(JUDGE.0).exists());
                let _ = fs::remove_dir_all(&tools);
                with(end, JUDGE.0, brought)
            }
        });
        (end, ran)
    }

    fn scratch() -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("xtask-install-{}-{number}", std::process::id()))
    }

    #[test]
    fn one_package_that_cannot_be_had_keeps_no_other_away() {
        let have = ["ip", "mosquitto_sub", "tinyproxy", "node", "npm", "promtool"];
        let (end, ran) = installed(&have, &["microsocks"]);
        let Ok(Installed::Without(text)) = end else { panic!("{end:?}") };
        assert!(text.contains("no microsocks: unable to locate") && text.contains("skipped"), "{text}");
        assert!(ran.iter().any(|line| line.contains("apt-get install") && line.contains("mosquitto")));
        assert!(ran.iter().any(|line| line.contains("chromium within 1800 s")), "{ran:#?}");
        assert_eq!(ran.iter().filter(|line| line.contains("update -qq")).count(), 1, "{ran:#?}");
        let (end, _) = installed(&["ip", "mosquitto_sub"], &["mosquitto"]);
        assert!(end.unwrap_err().contains("mosquitto"), "without the broker the step fails");
    }

    #[test]
    fn no_service_is_left_on_for_the_next_boot() {
        let rest = ["ip", "mosquitto_sub", "microsocks", "valgrind", "c++", "node", "npm", "promtool"];
        let (end, ran) = installed(&[&rest[..], &["google-chrome"]].concat(), &[]);
        assert_eq!(end, Ok(Installed::Ready("installed mosquitto and tinyproxy".to_owned())));
        for service in ["mosquitto", "tinyproxy"] {
            let at = |part: &str| ran.iter().position(|line| line.contains(part)).expect(part);
            let installed = at(&format!("DPkg::Lock::Timeout=60 {service}"));
            assert!(at(&format!("disable {service}.service")) > installed, "{ran:#?}");
            assert!(at(&format!("update-rc.d {service} disable")) > installed, "{ran:#?}");
        }
        assert!(!ran.iter().any(|line| line.contains("prometheus") || line.contains("chromium")), "{ran:#?}");
        let (end, ran) = installed(&[&rest[..], &["chromium"]].concat(), &["tinyproxy"]);
        assert!(matches!(end, Ok(Installed::Without(_))));
        assert!(
            ran.iter().any(|line| line.contains("disable tinyproxy.service")),
            "half an installation, too"
        );
    }

    #[test]
    fn the_judge_comes_on_a_machine_whose_lists_are_empty() {
        let all = NEEDED.iter().flat_map(|need| need.programs).copied().collect::<Vec<_>>();
        for have in [&all[..], &["mosquitto_sub"]] {
            let (end, ran) = installed(have, &[]);
            assert!(matches!(end, Ok(Installed::Ready(_))), "{end:?}: {ran:#?}");
            assert_eq!(ran.iter().filter(|line| line.contains("update -qq")).count(), 1, "{ran:#?}");
        }
        let (end, _) = installed(&all, &["update"]);
        assert!(matches!(&end, Ok(Installed::Without(text)) if text.contains("no promtool")), "{end:?}");
    }

    #[test]
    fn what_tests_ask_for_is_brought() {
        let asks = "apt-get install ";
        let texts = tree::texts(&tree::root());
        let tests = texts.iter().filter(|text| text.path.contains("/tests/") && text.is_rust());
        let mut asked = 0;
        for text in tests {
            for (at, _) in text.body.match_indices(asks) {
                let rest = &text.body[at + asks.len()..];
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !" .+-".contains(c));
                for package in rest[..end.unwrap_or(rest.len())].split_whitespace() {
                    let known = package == JUDGE.1 || NEEDED.iter().any(|need| need.package == package);
                    assert!(known, "{}: nobody installs `{package}`", text.path);
                    asked += 1;
                }
            }
        }
        assert!(asked > 8, "the tests say otherwise what they need: {asked}");
    }
}
