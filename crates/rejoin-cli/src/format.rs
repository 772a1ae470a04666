//! `-F`: how a message is printed. The sequences are those of mosquitto_sub.

use std::fmt::Write as _;

use jiff::Zoned;
use rejoin_core::codec::packet::PublishProperties;

/// What a format can show of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// Topic name.
    pub(crate) topic: &'a str,
    /// Payload.
    pub(crate) payload: &'a [u8],
    /// QoS it was delivered with.
    pub(crate) qos: u8,
    /// Retain flag.
    pub(crate) retain: bool,
    /// Duplicate flag.
    pub(crate) dup: bool,
    /// Number of the message, 0 at QoS 0.
    pub(crate) id: u64,
    /// Properties of MQTT 5.
    pub(crate) properties: Option<&'a PublishProperties>,
}

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Field {
        letter: char,
        pad: Pad,
    },
    /// One character for `strftime`.
    Time(char),
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pad {
    zero: bool,
    left: bool,
    width: usize,
    most: Option<usize>,
}

/// Wider fields than this are a typing error, not a wish.
const WIDEST: usize = 10_000;

const FIELDS: &str = "tpxXlqrmdIUjJACDEFPRS";

impl Format {
    /// Reads a format. The error names the sequence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let piece = match c {
                '%' => percent(&mut chars)?,
                '@' => match chars.next() {
                    Some('@') => Piece::Bytes(b"@".to_vec()),
                    Some('N') => Piece::Nanoseconds,
                    Some(letter) => time_letter(letter)?,
                    None => return Err("`@` at the end; write @@ for the character itself".to_owned()),
                },
                '\\' => Piece::Bytes(vec![escape(chars.next())?]),
                other => Piece::Bytes(other.to_string().into_bytes()),
            };
            match piece {
                Piece::Bytes(bytes) => plain.extend_from_slice(&bytes),
                other => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Bytes(std::mem::take(&mut plain)));
                    }
                    pieces.push(other);
                }
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Bytes(plain));
        }
        Ok(Self(pieces))
    }

    /// One message per line, as JSON with the payload as a string.
    pub(crate) fn json() -> Self {
        Self(vec![Piece::Field { letter: 'j', pad: Pad::default() }])
    }

    /// Writes one message. The error says why it cannot be shown this way; then nothing was written.
    pub(crate) fn write(&self, out: &mut Vec<u8>, message: &View<'_>, time: &Zoned) -> Result<(), String> {
        let start = out.len();
        for piece in &self.0 {
            let done = match piece {
                Piece::Bytes(bytes) => {
                    out.extend_from_slice(bytes);
                    Ok(())
                }
                Piece::Time(letter) => {
                    out.extend_from_slice(time.strftime(&format!("%{letter}")).to_string().as_bytes());
                    Ok(())
                }
                Piece::Nanoseconds => {
                    out.extend_from_slice(format!("{:09}", time.subsec_nanosecond()).as_bytes());
                    Ok(())
                }
                Piece::Field { letter, pad } => field(out, *letter, *pad, message, time),
            };
            if let Err(error) = done {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }
}

fn percent(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Piece, String> {
    let mut pad = Pad::default();
    while let Some(flag @ ('0' | '-')) = chars.peek().copied() {
        chars.next();
        match flag {
            '0' => pad.zero = true,
            _ => pad.left = true,
        }
    }
    pad.width = number(chars)?.unwrap_or(0);
    if chars.next_if_eq(&'.').is_some() {
        pad.most = Some(number(chars)?.ok_or("`%.` needs a number")?);
    }
    match chars.next() {
        Some('%') => Ok(Piece::Bytes(b"%".to_vec())),
        Some(letter) if FIELDS.contains(letter) => Ok(Piece::Field { letter, pad }),
        Some(letter) => Err(format!("unknown sequence `%{}`", letter.escape_debug())),
        None => Err("`%` at the end; write %% for the character itself".to_owned()),
    }
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, String> {
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let so_far: usize = value.unwrap_or(0);
        let next = so_far * 10 + digit as usize;
        if next > WIDEST {
            return Err(format!("a field width above {WIDEST}"));
        }
        value = Some(next);
    }
    Ok(value)
}

/// Only letters the formatter knows, so that printing cannot fail later.
fn time_letter(letter: char) -> Result<Piece, String> {
    if "aAbBcCdDeFgGhHIjklmMnpPrRsSTtuUVwWxXyYzZ".contains(letter) {
        Ok(Piece::Time(letter))
    } else {
        Err(format!("unknown time sequence `@{}`", letter.escape_debug()))
    }
}

fn escape(c: Option<char>) -> Result<u8, String> {
    Ok(match c {
        Some('\\') => b'\\',
        Some('0') => 0,
        Some('a') => 0x07,
        Some('e') => 0x1B,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0B,
        Some(other) => return Err(format!("unknown sequence `\\{}`", other.escape_debug())),
        None => return Err("`\\` at the end; write \\\\ for the character itself".to_owned()),
    })
}

fn field(out: &mut Vec<u8>, letter: char, pad: Pad, message: &View<'_>, time: &Zoned) -> Result<(), String> {
    let properties = message.properties;
    let text = match letter {
        'p' => {
            padded(out, message.payload, Pad { zero: false, ..pad });
            return Ok(());
        }
        'D' => {
            let data = properties.and_then(|p| p.correlation_data.as_deref()).unwrap_or_default();
            padded(out, data, Pad { zero: false, ..pad });
            return Ok(());
        }
        'x' | 'X' => hex(message.payload, letter == 'X'),
        'l' => message.payload.len().to_string(),
        'm' => message.id.to_string(),
        'E' => number_of(properties.and_then(|p| p.message_expiry)),
        'F' => number_of(properties.and_then(|p| p.payload_is_utf8).map(u8::from)),
        'A' => number_of(properties.and_then(|p| p.topic_alias)),
        'S' => properties
            .map(|p| p.subscription_ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))
            .unwrap_or_default(),
        'j' => json(message, time, None),
        'J' => {
            let value = std::str::from_utf8(message.payload)
                .ok()
                .filter(|text| serde_json::from_str::<serde_json::Value>(text).is_ok())
                .ok_or_else(|| format!("the payload on topic {} is not valid JSON", message.topic))?;
            // Between the parts of JSON a line may end; what is printed here is one line, whatever was sent.
            json(message, time, Some(&value.replace(['\n', '\r'], " ")))
        }
        _ => return unpadded_number(out, letter, pad, message, time),
    };
    padded(out, text.as_bytes(), Pad { most: None, ..pad });
    Ok(())
}

/// Fields for which the `0` flag has no meaning.
fn unpadded_number(
    out: &mut Vec<u8>,
    letter: char,
    pad: Pad,
    message: &View<'_>,
    time: &Zoned,
) -> Result<(), String> {
    let properties = message.properties;
    let text = match letter {
        't' => message.topic.to_owned(),
        'q' => message.qos.to_string(),
        'r' => u8::from(message.retain).to_string(),
        'd' => u8::from(message.dup).to_string(),
        'I' => time.strftime("%Y-%m-%dT%H:%M:%S%z").to_string(),
        'U' => format!("{}.{:09}", time.timestamp().as_second(), time.subsec_nanosecond()),
        'C' => properties.and_then(|p| p.content_type.as_deref()).unwrap_or_default().to_owned(),
        'R' => properties.and_then(|p| p.response_topic.as_deref()).unwrap_or_default().to_owned(),
        'P' => properties
            .map(|p| p.user_properties.iter().map(|(k, v)| format!("{k}:{v}")).collect::<Vec<_>>().join(" "))
            .unwrap_or_default(),
        other => return Err(format!("unknown sequence `%{other}`")),
    };
    padded(out, text.as_bytes(), Pad { zero: false, ..pad });
    Ok(())
}

fn number_of(value: Option<impl ToString>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

fn padded(out: &mut Vec<u8>, bytes: &[u8], pad: Pad) {
    let bytes = match pad.most {
        // A cut inside a character of UTF-8 would print garbage; bytes that are not text are cut as they are.
        Some(most) if most < bytes.len() => match std::str::from_utf8(bytes) {
            Ok(text) => &text.as_bytes()[..text.floor_char_boundary(most)],
            Err(_) => &bytes[..most],
        },
        _ => bytes,
    };
    let fill = pad.width.saturating_sub(bytes.len());
    let filler = if pad.zero && !pad.left { b'0' } else { b' ' };
    if !pad.left {
        out.resize(out.len() + fill, filler);
    }
    out.extend_from_slice(bytes);
    if pad.left {
        out.resize(out.len() + fill, filler);
    }
}

fn hex(bytes: &[u8], upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = if upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The object of `%j` (payload as a string) and `%J` (payload as it is). User properties may repeat their names,
/// so this is written by hand: a map would lose some.
fn json(message: &View<'_>, time: &Zoned, payload: Option<&str>) -> String {
    let mut text = format!(
        "{{\"tst\":\"{}\",\"topic\":{},\"qos\":{},\"retain\":{},\"payloadlen\":{}",
        time.strftime("%Y-%m-%dT%H:%M:%S.%6f%z"),
        quoted(message.topic),
        message.qos,
        u8::from(message.retain),
        message.payload.len(),
    );
    if message.qos > 0 {
        let _ = write!(text, ",\"mid\":{}", message.id);
    }
    if message.dup {
        text.push_str(",\"dup\":1");
    }
    if let Some(properties) = message.properties {
        let shown = json_properties(properties);
        if !shown.is_empty() {
            let _ = write!(text, ",\"properties\":{{{}}}", shown.join(","));
        }
    }
    match payload {
        Some(value) => {
            let _ = write!(text, ",\"payload\":{value}}}");
        }
        None => match std::str::from_utf8(message.payload) {
            Ok(payload) => {
                let _ = write!(text, ",\"payload\":{}}}", quoted(payload));
            }
            Err(_) => {
                let lossy = String::from_utf8_lossy(message.payload);
                let _ = write!(
                    text,
                    ",\"payload\":{},\"payload_hex\":\"{}\"}}",
                    quoted(&lossy),
                    hex(message.payload, false)
                );
            }
        },
    }
    text
}

fn json_properties(p: &PublishProperties) -> Vec<String> {
    let mut shown = Vec::new();
    if let Some(content_type) = &p.content_type {
        shown.push(format!("\"content-type\":{}", quoted(content_type)));
    }
    if !p.user_properties.is_empty() {
        let pairs: Vec<_> =
            p.user_properties.iter().map(|(k, v)| format!("{}:{}", quoted(k), quoted(v))).collect();
        shown.push(format!("\"user-properties\":{{{}}}", pairs.join(",")));
    }
    if let Some(data) = &p.correlation_data {
        shown.push(format!("\"correlation-data\":{}", quoted(&String::from_utf8_lossy(data))));
    }
    if let Some(utf8) = p.payload_is_utf8 {
        shown.push(format!("\"payload-format-indicator\":{}", u8::from(utf8)));
    }
    if let Some(topic) = &p.response_topic {
        shown.push(format!("\"response-topic\":{}", quoted(topic)));
    }
    if let Some(seconds) = p.message_expiry {
        shown.push(format!("\"message-expiry-interval\":{seconds}"));
    }
    if !p.subscription_ids.is_empty() {
        let ids: Vec<_> = p.subscription_ids.iter().map(u32::to_string).collect();
        shown.push(format!("\"subscription-identifiers\":[{}]", ids.join(",")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    use rejoin_core::text::Text;

    use super::*;

    fn shown(format: &str, message: &View<'_>) -> String {
        let time = date(2026, 11, 24).at(15, 10, 20, 569_253_736).to_zoned(TimeZone::UTC).unwrap();
        let mut out = Vec::new();
        match Format::parse(format).unwrap().write(&mut out, message, &time) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => format!("ERROR {error}"),
        }
    }

    fn hello(properties: Option<&PublishProperties>) -> View<'_> {
        View { topic: "t/a", payload: b"hello", qos: 1, retain: true, dup: false, id: 1, properties }
    }

    /// Expected texts were printed by Debian's mosquitto_sub 2.0.11.
    #[test]
    fn prints_as_mosquitto_sub_does() {
        let plain = hello(None);
        for (format, expected) in [
            ("[%10t][%-10t][%.2t][%5.2t]", "[       t/a][t/a       ][t/][   t/]"),
            ("[%p][%10p][%-10p]", "[hello][     hello][hello     ]"),
            ("[%x][%X]", "[68656c6c6f][68656C6C6F]"),
            ("[%l][%05l][%5l][%-5l][%-05l]", "[5][00005][    5][5    ][5    ]"),
            ("[%m][%q][%r]", "[1][1][1]"),
            ("[%I][%U]", "[2026-11-24T15:10:20+0000][1795533020.569253736]"),
            ("[%A][%C][%D][%E][%F][%P][%R][%S][%%]", "[][][][][][][][][%]"),
            ("[%05E][%5F][%5C]", "[00000][     ][     ]"),
            ("\\t\\0\\a\\e\\r\\v@@ @Y-@m @N", "\t\0\u{7}\u{1b}\r\u{b}@ 2026-11 569253736"),
        ] {
            assert_eq!(shown(format, &plain), expected, "{format}");
        }
        let properties = PublishProperties {
            content_type: Some(Text::from_static("text/plain")),
            user_properties: vec![
                (Text::from_static("k"), Text::from_static("v")),
                (Text::from_static("k"), Text::from_static("w")),
            ],
            correlation_data: Some(Bytes::from_static(b"abc")),
            message_expiry: Some(100),
            payload_is_utf8: Some(true),
            response_topic: Some(Text::from_static("r/t")),
            ..PublishProperties::default()
        };
        let full = hello(Some(&properties));
        assert_eq!(
            shown("[%P][%12C][%-12C][%.2C][%05F][%5E][%-5E][%S][%F][%.4I][%.5R]", &full),
            "[k:v k:w][  text/plain][text/plain  ][te][00001][  100][100  ][][1][2026][r/t]"
        );
        assert_eq!(
            shown("%j", &full),
            "{\"tst\":\"2026-11-24T15:10:20.569253+0000\",\"topic\":\"t/a\",\"qos\":1,\"retain\":1,\"payloadlen\":5,\"mid\":1,\
             \"properties\":{\"content-type\":\"text/plain\",\"user-properties\":{\"k\":\"v\",\"k\":\"w\"},\"correlation-data\":\"abc\",\
             \"payload-format-indicator\":1,\"response-topic\":\"r/t\",\"message-expiry-interval\":100},\"payload\":\"hello\"}"
        );
    }

    #[test]
    fn json_is_valid_whatever_the_payload() {
        for payload in [&b""[..], b"h\xC3\xA9\"l\no", b"\xFF\xFE\0b", b"\x01\x02"] {
            let view = View { payload, ..hello(None) };
            let text = shown("%j", &view);
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        }
        assert!(shown("%J", &hello(None)).starts_with("ERROR the payload on topic t/a is not valid JSON"));
        let number = View { payload: b"{\"a\": 1.50}", ..hello(None) };
        assert!(shown("%J", &number).ends_with(",\"payload\":{\"a\": 1.50}}"));
        let forged = View { payload: b"[1,\r\n{\"topic\":\"alarm\"}\n]", ..hello(None) };
        assert!(
            shown("%J", &forged).ends_with(",\"payload\":[1,  {\"topic\":\"alarm\"} ]}"),
            "one message, one line"
        );
    }

    #[test]
    fn a_wrong_format_is_refused_before_anything_is_connected() {
        for (format, part) in [
            ("%z", "`%z`"),
            ("abc%", "`%` at the end"),
            ("%.t", "needs a number"),
            ("%99999999999999999999t", "width"),
            ("\\q", "`\\q`"),
            ("abc\\", "at the end"),
            ("@", "`@` at the end"),
            ("@!", "`@!`"),
        ] {
            let error = Format::parse(format).unwrap_err();
            assert!(error.contains(part), "{format}: {error}");
        }
    }

    #[test]
    fn a_cut_does_not_split_a_character() {
        let view = View { topic: "é/ü", ..hello(None) };
        assert_eq!(shown("%.1t|%.2t", &view), "|é");
    }

    #[test]
    fn every_time_letter_prints() {
        for letter in "aAbBcCdDeFgGhHIjklmMnpPrRsSTtuUVwWxXyYzZ".chars() {
            let text = shown(&format!("@{letter}"), &hello(None));
            assert!(!text.starts_with("ERROR") && !text.is_empty(), "@{letter}");
        }
    }
}
