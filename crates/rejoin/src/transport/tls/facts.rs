//! What TLS agreed on, and until when the server's certificate is valid.

use std::time::{Duration, SystemTime};

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

use crate::stages::TlsFacts;

pub(super) fn of(connection: &ClientConnection, verified: bool) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let cipher = connection.negotiated_cipher_suite();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    TlsFacts {
        version,
        cipher: cipher.map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        verified,
        expires: certificate.and_then(|certificate| not_after(certificate)),
    }
}

/// The end of validity in a certificate that rustls has parsed and verified already [RFC 5280, 4.1].
fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xA0;
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (kind, text, _) = element(rest)?;
    (tag == SEQUENCE).then(|| time(kind, text)).flatten()
}

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// UTCTime has two digits of the year, GeneralizedTime four.
fn time(kind: u8, text: &[u8]) -> Option<SystemTime> {
    const UTC_TIME: u8 = 0x17;
    let text = std::str::from_utf8(text).ok()?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, rest) = if kind == UTC_TIME {
        let year = number(0, 2)?;
        (year + if year < 50 { 2000 } else { 1900 }, 2)
    } else {
        (number(0, 4)?, 4)
    };
    let two = |nth: usize| number(rest + 2 * nth, rest + 2 * nth + 2);
    let days = days_from_civil(year, two(0)?, two(1)?);
    let seconds = days * 86_400 + two(2)? * 3600 + two(3)? * 60 + two(4)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Days since 1970 of a date; the year is taken to begin in March, so that the leap day is its last.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A date as people write it.
pub(super) fn day(time: SystemTime) -> String {
    let days = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    let days = i64::try_from(days).unwrap_or(0);
    // A year is at most 366 days long, so the search is short.
    let mut year = 1970 + days / 366;
    while days_from_civil(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|&month| days_from_civil(year, month, 1) <= days).unwrap_or(1);
    format!("{year}-{month:02}-{:02}", days - days_from_civil(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |days: u64| day(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + 5));
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(11_016), "2000-02-29");
        assert_eq!(at(11_017), "2000-03-01");
        assert_eq!(at(20_783), "2026-11-26");
        let generalized = time(0x18, b"20261126101530Z").unwrap();
        assert_eq!(generalized, SystemTime::UNIX_EPOCH + Duration::from_secs(20_783 * 86_400 + 36_930));
        assert_eq!(time(0x17, b"261126101530Z"), Some(generalized));
        assert_eq!(time(0x17, b"nonsense"), None);
    }

    #[test]
    fn a_certificate_that_is_none_has_no_end() {
        for length in 0..32 {
            assert_eq!(not_after(&vec![0x30; length]), None);
            assert_eq!(not_after(&vec![0xFF; length]), None);
        }
    }
}
