//! Durations, sizes and ranges as people type them.

use std::time::Duration;

/// Reads `250ms`, `10s`, `5m`, `1h30m`; a bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        return Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is too long"));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is no duration; write 250ms, 10s, 5m, or a number of seconds"))
}

/// A duration above zero.
pub(crate) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        d => Ok(d),
    }
}

/// A limit that `never` lifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// At most this long.
    After(Duration),
    /// Without a limit.
    Never,
}

impl Limit {
    /// The duration, or `None` for never.
    pub(crate) const fn duration(self) -> Option<Duration> {
        match self {
            Self::After(d) => Some(d),
            Self::Never => None,
        }
    }
}

/// Reads a duration or `never`.
pub(crate) fn limit(text: &str) -> Result<Limit, String> {
    if text.eq_ignore_ascii_case("never") {
        return Ok(Limit::Never);
    }
    duration(text).map(Limit::After).map_err(|e| format!("{e}, or `never`"))
}

/// Session Expiry Interval: whole seconds up to 4,294,967,294, or `never` (also mosquitto's spellings of it).
pub(crate) fn expiry(text: &str) -> Result<Limit, String> {
    if matches!(text, "never" | "∞" | "4294967295" | "-1") {
        return Ok(Limit::Never);
    }
    match duration(text)? {
        d if d.as_secs() >= u64::from(u32::MAX) => {
            Err(format!("`{text}` is longer than MQTT can say (4294967294 s); write `never`"))
        }
        d if d.subsec_nanos() > 0 => Err(format!("`{text}`: MQTT counts whole seconds here")),
        d => Ok(Limit::After(d)),
    }
}

/// Keep Alive: whole seconds, 0 to 65535.
pub(crate) fn keep_alive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        d if d.as_secs() > 65_535 => Err(format!("`{text}` is longer than MQTT can say (65535 s)")),
        d if d.subsec_nanos() > 0 => Err(format!("`{text}`: MQTT counts whole seconds here")),
        d => Ok(d),
    }
}

/// A back-off window: first and widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first window.
    pub(crate) from: Duration,
    /// The widest window.
    pub(crate) to: Duration,
}

/// Reads `250ms..60s`.
pub(crate) fn range(text: &str) -> Result<Range, String> {
    let (from, to) = text
        .split_once("..")
        .ok_or_else(|| format!("`{text}` is no range; write FIRST..WIDEST, as in 2s..15s"))?;
    let (from, to) = (positive(from)?, positive(to)?);
    if to < from {
        return Err(format!("`{text}`: the widest must not be below the first"));
    }
    Ok(Range { from, to })
}

/// Reads `64MiB`, `64M`, `512KiB`, `1000`: bytes, and units of 1024 unless they say `kB`, `MB` or `GB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is no size; write 64MiB, 512KiB, or a number of bytes");
    let number: usize = number.parse().map_err(|_| wrong())?;
    let factor: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(factor) {
        Some(0) => Err("must be more than zero bytes".to_owned()),
        Some(n) => Ok(n),
        None => Err(format!("`{text}` is more than this machine can count")),
    }
}

/// A packet size: up to what MQTT can carry.
pub(crate) fn packet_size(text: &str) -> Result<u32, String> {
    match u32::try_from(bytes(text)?) {
        Ok(n) if (64..=268_435_460).contains(&n) => Ok(n),
        _ => Err(format!("`{text}` is not between 64 bytes and 256MiB + 4 bytes")),
    }
}

/// A duration for people: `412ms`, `27.9s`, `1m32s`, `2h05m`.
pub(crate) fn short(d: Duration) -> String {
    let ms = d.as_millis();
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{:.1}s", d.as_secs_f64().min(59.9)),
        60_000..3_600_000 => format!("{}m{:02}s", d.as_secs() / 60, d.as_secs() % 60),
        _ => format!("{}h{:02}m", d.as_secs() / 3600, d.as_secs() / 60 % 60),
    }
}

/// The same for what may be days: `3d04h`.
pub(crate) fn span(d: Duration) -> String {
    match d.as_secs() / 3600 {
        hours @ 48.. => format!("{}d{:02}h", hours / 24, hours % 24),
        _ => short(d),
    }
}

/// A size for people: `312 B`, `45.0 KiB`, `64.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    // 1023.95 would be shown as 1024.0.
    while size >= 1023.95 {
        let Some(larger) = units.next() else { break };
        (size, unit) = (size / 1024.0, larger);
    }
    format!("{size:.1} {unit}")
}

/// A count with its thousands apart: `12,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_means_seconds() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "abc", "-3", "5 parsecs", "1e99", "..", "99999999999999999999999"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_name_the_first_and_the_widest() {
        let range_of = range("250ms..60").unwrap();
        assert_eq!((range_of.from, range_of.to), (Duration::from_millis(250), Duration::from_secs(60)));
        for wrong in ["5s", "5s..1s", "0..1s", "a..b", "1s.."] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("64M"), Ok(64 << 20));
        assert_eq!(bytes("1000"), Ok(1000));
        assert_eq!(bytes("2kB"), Ok(2000));
        for wrong in ["", "MiB", "0", "12 elephants", "-1", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_mqtt_counts_in_seconds_must_be_whole_and_fit() {
        assert_eq!(keep_alive("65535"), Ok(Duration::from_secs(65_535)));
        assert!(keep_alive("65536").is_err());
        assert!(keep_alive("500ms").is_err());
        assert_eq!(expiry("never"), Ok(Limit::Never));
        assert_eq!(expiry("1h"), Ok(Limit::After(Duration::from_secs(3600))));
        assert!(expiry("5000000000").is_err());
    }

    #[test]
    fn durations_read_like_a_clock() {
        let shown = |ms| short(Duration::from_millis(ms));
        assert_eq!(shown(142), "142ms");
        assert_eq!(shown(27_940), "27.9s");
        assert_eq!(shown(59_990), "59.9s");
        assert_eq!(shown(92_000), "1m32s");
        assert_eq!(shown(7_500_000), "2h05m");
        assert_eq!(span(Duration::from_secs(47 * 3600)), "47h00m");
        assert_eq!(span(Duration::from_secs(76 * 3600)), "3d04h");
    }

    #[test]
    fn sizes_and_counts_read_at_a_glance() {
        assert_eq!([0, 1023, 1024].map(size), ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!([(1 << 20) - 1, 64 << 20, u64::MAX].map(size), ["1.0 MiB", "64.0 MiB", "16777216.0 TiB"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
