//! When a JSON Web Token ends, as it says itself. It is only read: whether it is good is the broker's business.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// The `exp` of a token; nothing for a password that is no such token, or one that does not say.
pub(crate) fn ends(password: &[u8]) -> Option<SystemTime> {
    let mut parts = password.split(|byte| *byte == b'.');
    let (head, body, _proof, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    // A password with two dots in it is still one.
    object(head)?.get("alg")?.as_str()?;
    let seconds = object(body)?.get("exp")?.as_f64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

fn object(part: &[u8]) -> Option<Value> {
    serde_json::from_slice::<Value>(&decoded(part)?).ok().filter(Value::is_object)
}

/// Base64 for URLs, without padding.
fn decoded(part: &[u8]) -> Option<Vec<u8>> {
    if part.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(part.len() / 4 * 3 + 2);
    for four in part.chunks(4) {
        let mut bits = 0_u32;
        for byte in four {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        let [_, high, middle, low] = (bits << (6 * (4 - four.len()))).to_be_bytes();
        bytes.extend(&[high, middle, low][..four.len() * 3 / 4]);
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7519, section 3.1, which ends at 1300819380.
    const EXAMPLE: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn a_token_says_when_it_ends() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_380);
        assert_eq!(ends(EXAMPLE.as_bytes()), Some(end));
    }

    #[test]
    fn a_password_is_no_token_and_no_panic() {
        let cut = &EXAMPLE[..EXAMPLE.len() - 60];
        // {"alg":"HS256"} with {"exp":-1}, {"exp":1e300}, {"exp":"soon"}, {} and [].
        let odd = ["eyJleHAiOi0xfQ", "eyJleHAiOjFlMzAwfQ", "eyJleHAiOiJzb29uIn0", "e30", "W10"]
            .map(|body| format!("eyJhbGciOiJIUzI1NiJ9.{body}.x"));
        for password in ["", "secret", "a.b.c", "..", "a.b.c.d", "é.é.é", cut] {
            assert_eq!(ends(password.as_bytes()), None, "{password}");
        }
        for password in odd {
            assert_eq!(ends(password.as_bytes()), None, "{password}");
        }
    }

    #[test]
    fn every_length_is_decoded() {
        for (part, bytes) in [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob")] {
            assert_eq!(decoded(part.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decoded(b"Zm9vY"), None);
    }
}
