//! What the system says about this process.

use std::fs;

/// Bytes written since the process began.
#[derive(Clone, Copy)]
pub(super) struct Written {
    /// Handed to calls that write.
    pub(super) handed: u64,
    /// Pages that had to go to the device; what was thrown away before that does not count.
    pub(super) device: u64,
}

pub(super) fn written() -> Result<Written, String> {
    let text = fs::read_to_string("/proc/self/io").map_err(|error| format!("/proc/self/io: {error}"))?;
    let field = |name| number(&text, name);
    Ok(Written {
        handed: field("wchar:")?,
        device: field("write_bytes:")?.saturating_sub(field("cancelled_write_bytes:")?),
    })
}

/// Resident memory in bytes: now, and the most it ever was.
pub(super) fn resident() -> Result<(u64, u64), String> {
    let text =
        fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    Ok((number(&text, "VmRSS:")? * 1024, number(&text, "VmHWM:")? * 1024))
}

fn number(text: &str, name: &str) -> Result<u64, String> {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse().ok());
    value.ok_or_else(|| format!("the system does not say `{name}`"))
}
