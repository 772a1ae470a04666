//! The one place where xtask writes to standard output.

use std::io::Write;

/// Writes one line. A reader that went away (`| head`) is no reason to stop the checks.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Announces a step, set apart from the output of the step before.
pub(crate) fn headline(text: &str) {
    line(&format!("\n==> {text}"));
}
