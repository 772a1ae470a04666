//! HTTP CONNECT [RFC 9110, 9.3.6].

use rejoin_core::{TransportError, TransportErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::super::{BoxStream, transport_error};
use super::Proxy;

/// A proxy whose answer is longer than this many bytes is none.
const LONGEST: usize = 8 * 1024;

pub(super) async fn connect(
    proxy: &Proxy,
    stream: &mut BoxStream,
    host: &str,
    port: u16,
) -> Result<(), TransportError> {
    let place = crate::url::place(host, port);
    let mut request = Zeroizing::new(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes());
    if let Some(user) = &proxy.user {
        let mut login = Zeroizing::new(format!("{user}:").into_bytes());
        login.extend_from_slice(proxy.password.as_ref().map_or(&[][..], |password| password.expose()));
        request.extend_from_slice(b"Proxy-Authorization: Basic ");
        base64(&login, &mut request);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(|error| transport_error("writing", &error))?;
    stream.flush().await.map_err(|error| transport_error("writing", &error))?;
    let head = head(stream).await?;
    let line = head.lines().next().unwrap_or_default().trim_end();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1))
        .and_then(|code| code.parse::<u16>().ok());
    let shown: String = line.chars().take(80).collect::<String>().escape_debug().to_string();
    let (kind, what) = match status {
        Some(200..=299) => return Ok(()),
        // 401 is what tinyproxy says to a wrong password.
        Some(401 | 407) => (TransportErrorKind::Unauthorized, "the proxy wants a user name and password"),
        Some(403) => (TransportErrorKind::Unauthorized, "the proxy does not allow this server or port"),
        Some(500..=599) => (TransportErrorKind::Proxy, "the proxy cannot reach the server"),
        Some(_) => (TransportErrorKind::Handshake, "the proxy does not tunnel"),
        None => (TransportErrorKind::Handshake, "this is no HTTP proxy"),
    };
    Err(TransportError::new(kind, format!("{what}: \"{shown}\"")))
}

/// Reads up to the empty line and not a byte further: what follows belongs to the server.
async fn head(stream: &mut BoxStream) -> Result<String, TransportError> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() >= LONGEST {
            return Err(TransportError::new(TransportErrorKind::Handshake, "an answer without an end"));
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => return Err(transport_error("the proxy closed the connection", &error)),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= chunk.len() { letter } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (text, expected) in cases {
            let mut out = Vec::new();
            base64(text.as_bytes(), &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }

    async fn answered(answer: &[u8]) -> Result<(), TransportError> {
        let (near, mut far) = tokio::io::duplex(16 * 1024);
        far.write_all(answer).await.unwrap();
        let mut stream: BoxStream = Box::new(near);
        let proxy = Proxy::parse("http://us:er@p").unwrap();
        let done = connect(&proxy, &mut stream, "broker.example", 8883).await;
        let mut asked = vec![0; 512];
        let length = far.read(&mut asked).await.unwrap();
        let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
        assert!(
            asked.starts_with("CONNECT broker.example:8883 HTTP/1.1\r\nHost: broker.example:8883\r\n"),
            "{asked}"
        );
        assert!(asked.ends_with("Proxy-Authorization: Basic dXM6ZXI=\r\n\r\n"), "{asked}");
        if done.is_ok() {
            far.write_all(b"x").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x', "not a byte of the server was eaten");
        }
        done
    }

    #[tokio::test]
    async fn every_answer_has_its_meaning() {
        use TransportErrorKind as T;
        answered(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").await.unwrap();
        let cases: [(&[u8], T); 7] = [
            (b"HTTP/1.0 401 Unauthorized\r\n\r\n", T::Unauthorized),
            (b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n", T::Unauthorized),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", T::Unauthorized),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", T::Proxy),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", T::Handshake),
            (b"SSH-2.0-OpenSSH\r\n\r\n", T::Handshake),
            (&[b'x'; 9000], T::Handshake),
        ];
        for (answer, kind) in cases {
            let error = answered(answer).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
        }
    }
}
