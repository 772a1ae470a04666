//! What it ran on, and when.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// How busy the machine was: other work makes the spread wide and all figures low.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

/// The same in words.
pub(crate) fn busy() -> String {
    match load() {
        load if load < 0.5 => format!("nothing to speak of (load average {load} before the run)"),
        load => format!("it was not idle (load average {load} before the run), so the spread is wide"),
    }
}

pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = field("model name").unwrap_or_else(|| "processor of unknown model".to_owned());
    let kind = if info.contains(" hypervisor ") { "virtual machine" } else { "machine" };
    format!("a {kind} with {cores} cores ({model}), {}", std::env::consts::OS)
}

/// The compiler of this build, as `rustc 1.95.0`: another one makes other instructions of the same source.
pub(crate) fn compiler() -> String {
    let told =
        Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&told).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The date by the civil calendar, from days since 1970.
pub(crate) fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    // Years that begin in March put the leap day last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}
