//! What has arrived of a WebSocket frame is a frame: each long or slow one is cut into those that are there already.
//!
//! MQTT does not care where frames end [MQTT-6.0.0-2], and what reads them waits for the whole of each, in memory it
//! takes on the word of its header. So a frame that takes minutes to come would look like silence, and ten bytes could
//! ask for a quarter of a gigabyte. Below that reader, each piece of a binary or text frame becomes a whole message of
//! its own; whatever else a server sends passes as it is, for the reader to judge. So does all of an answer that refuses
//! the upgrade: behind it comes a page and no frame.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::BoxStream;

/// Bytes read at once, and so the largest frame that comes out of here.
pub(super) const PIECE: usize = 16 * 1024;
/// Bytes that cutting may add to what was read: a header of its own for the first piece, and one that was held back.
const ADDED: usize = 32;

/// What stands before the status in the first line of an answer.
const BEFORE_STATUS: usize = b"HTTP/1.1 ".len();
/// The status of the answer behind which frames come [RFC 6455, 4.1].
const SWITCHING: &[u8; 3] = b"101";

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const FIRST_CONTROL: u8 = 0x8;
const MASKED: u8 = 0x80;

/// Where in what the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the answer to the upgrade, which ends with an empty line. Of its first line so many bytes have passed; `empty`:
    /// nothing stands in the present line so far.
    Answer { passed: usize, empty: bool },
    /// In the header of a frame, of which so many bytes are held.
    Header { held: usize },
    /// In a frame of data, with the first byte of each piece.
    Data { first: u8, left: u64 },
    /// In a frame that passes as it is.
    Other { left: u64 },
}

/// Cuts what a server sends, from its answer to the upgrade on.
#[derive(Debug)]
struct Cutter {
    at: At,
    /// The status of the answer.
    status: [u8; SWITCHING.len()],
    header: [u8; 10],
    /// The opcode of the message under way, while its last frame has not come.
    message: Option<u8>,
}

impl Cutter {
    const fn new() -> Self {
        let at = At::Answer { passed: 0, empty: false };
        Self { at, status: [0; SWITCHING.len()], header: [0; 10], message: None }
    }

    /// Cuts the next bytes, handing on what they make.
    fn cut(&mut self, mut bytes: &[u8], mut on: impl FnMut(&[u8])) -> io::Result<()> {
        while let Some(&byte) = bytes.first() {
            let taken = match self.at {
                At::Answer { passed, empty } => {
                    self.answer(byte, passed, empty);
                    on(&[byte]);
                    1
                }
                At::Header { held } => {
                    self.header[held] = byte;
                    self.at = At::Header { held: held + 1 };
                    self.begin(held + 1, &mut on)?;
                    1
                }
                At::Data { first, left } => {
                    let piece = &bytes[..shorter(left, bytes.len())];
                    put_header(first, piece.len(), &mut on);
                    on(piece);
                    self.at = after(left, piece.len(), |left| At::Data { first, left });
                    piece.len()
                }
                At::Other { left } => {
                    let piece = &bytes[..shorter(left, bytes.len())];
                    on(piece);
                    self.at = after(left, piece.len(), |left| At::Other { left });
                    piece.len()
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Takes one byte of the answer to the upgrade.
    fn answer(&mut self, byte: u8, passed: usize, empty: bool) {
        self.at = match byte {
            b'\n' if empty && self.status == *SWITCHING => At::Header { held: 0 },
            b'\n' if empty => At::Other { left: u64::MAX },
            b'\n' => At::Answer { passed, empty: true },
            b'\r' => At::Answer { passed, empty },
            _ => {
                if let Some(digit) = passed.checked_sub(BEFORE_STATUS).and_then(|at| self.status.get_mut(at))
                {
                    *digit = byte;
                }
                At::Answer { passed: passed.saturating_add(1), empty: false }
            }
        };
    }

    /// Begins the frame once its header is whole.
    fn begin(&mut self, held: usize, on: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let [first, second, ref long @ ..] = self.header;
        let needs = 2 + match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if held < needs {
            return Ok(());
        }
        let left = match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            127 => u64::from_be_bytes(*long),
            short => u64::from(short),
        };
        if second & MASKED != 0 {
            return Err(invalid("the server masked a WebSocket frame, which only a client does"));
        }
        if left >> 63 != 0 {
            return Err(invalid("a WebSocket frame longer than any can be"));
        }
        let opcode = first & 0x0F;
        let of = match (opcode, self.message) {
            (TEXT | BINARY, None) => opcode,
            (CONTINUATION, Some(of)) => of,
            (TEXT | BINARY, Some(_)) => {
                return Err(invalid("a WebSocket message that begins within another"));
            }
            _ => {
                // Control frames come between those of a message; the rest is for the reader to object to.
                on(&self.header[..needs]);
                self.at = after(left, 0, |left| At::Other { left });
                return if opcode >= FIRST_CONTROL || left <= PIECE as u64 {
                    Ok(())
                } else {
                    Err(invalid("a WebSocket frame of no known kind"))
                };
            }
        };
        self.message = (first & FINAL == 0).then_some(of);
        self.at = after(left, 0, |left| At::Data { first: FINAL | first & RESERVED | of, left });
        Ok(())
    }
}

/// Where to go on when so much of what is left was taken.
fn after(left: u64, taken: usize, with: impl FnOnce(u64) -> At) -> At {
    match left - taken as u64 {
        0 => At::Header { held: 0 },
        left => with(left),
    }
}

fn shorter(left: u64, there: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(there)
}

/// The header of a piece, in its shortest form [RFC 6455, 5.2].
fn put_header(first: u8, length: usize, on: &mut impl FnMut(&[u8])) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => on(&[first, short]),
        (_, Ok(long)) => {
            let [high, low] = long.to_be_bytes();
            on(&[first, 126, high, low]);
        }
        _ => {
            on(&[first, 127]);
            on(&(length as u64).to_be_bytes());
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A stream whose inbound WebSocket frames are cut.
pub(super) struct Arriving {
    stream: BoxStream,
    cutter: Cutter,
    /// What found no room in the last read.
    over: Vec<u8>,
}

impl Arriving {
    pub(super) fn new(stream: BoxStream) -> Self {
        Self { stream, cutter: Cutter::new(), over: Vec::new() }
    }
}

impl AsyncRead for Arriving {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.over.is_empty() {
            let length = this.over.len().min(buffer.remaining());
            buffer.put_slice(&this.over[..length]);
            this.over.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        // A header that is not whole yet makes nothing, and nothing would be the end.
        while buffer.filled().len() == before {
            let mut room = [const { MaybeUninit::uninit() }; PIECE];
            let most = buffer.remaining().saturating_sub(ADDED).clamp(1, PIECE);
            let mut read = ReadBuf::uninit(&mut room[..most]);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let over = &mut this.over;
            this.cutter.cut(read.filled(), |bytes| {
                let fits = if over.is_empty() { bytes.len().min(buffer.remaining()) } else { 0 };
                buffer.put_slice(&bytes[..fits]);
                over.extend_from_slice(&bytes[fits..]);
            })?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Arriving {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(first, payload.len(), &mut |bytes| out.extend_from_slice(bytes));
        out.extend_from_slice(payload);
        out
    }

    /// What comes out when the bytes come in chunks of this size.
    fn cut(bytes: &[u8], chunk: usize) -> io::Result<Vec<u8>> {
        let mut cutter = Cutter::new();
        let mut out = Vec::new();
        for chunk in ANSWER.chunks(chunk).chain(bytes.chunks(chunk)) {
            cutter.cut(chunk, |bytes| out.extend_from_slice(bytes))?;
        }
        assert_eq!(out[..ANSWER.len()], *ANSWER, "the answer to the upgrade passes as it is");
        Ok(out.split_off(ANSWER.len()))
    }

    /// The frames of some bytes: the first byte and the payload of each.
    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let [first, short, rest @ ..] = bytes {
            let (length, rest) = match short {
                126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
                127 => panic!("no piece is so long"),
                short => (usize::from(*short), rest),
            };
            all.push((*first, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        all
    }

    #[test]
    fn every_cut_gives_the_same_data_in_whole_messages_and_leaves_the_rest_alone() {
        let payloads: Vec<Vec<u8>> = [0, 1, 125, 126, 3_000, 70_000].map(|n| vec![n as u8; n]).into();
        let ping = frame(0x89, b"ping");
        let mut sent = Vec::new();
        for payload in &payloads {
            sent.extend(frame(0x82, payload));
            // A message in three frames, with a ping between them.
            sent.extend(frame(0x02, payload));
            sent.extend(&ping);
            sent.extend(frame(0x00, b"middle"));
            sent.extend(frame(0x80, payload));
        }
        sent.extend(frame(0x88, &[0x03, 0xE8]));
        let expected: Vec<u8> = payloads.iter().flat_map(|p| [&p[..], p, b"middle", p].concat()).collect();
        for chunk in [1, 2, 3, 7, 100, 4_000, 16_000] {
            let out = frames(&cut(&sent, chunk).unwrap());
            let data: Vec<u8> =
                out.iter().filter(|(first, _)| *first == 0x82).flat_map(|(_, data)| data.clone()).collect();
            assert!(data == expected, "chunks of {chunk}");
            let others: Vec<_> = out.iter().filter(|(first, _)| *first != 0x82).collect();
            assert_eq!(others.iter().filter(|(first, data)| *first == 0x89 && data == b"ping").count(), 6);
            assert_eq!(others.last().unwrap().0, 0x88);
            assert_eq!(others.len(), 7, "each binary piece is a message of its own");
        }
    }

    #[test]
    fn an_answer_that_refuses_passes_with_all_that_follows_it() {
        // Read as frames, this text would break off at once: it begins one message within another.
        let page = b"a\x01xa\x01x and the rest of a page".repeat(100);
        for line in ["HTTP/1.1 401 Unauthorized", "HTTP/1.1 503 101", "HTTP/1.1 10", "101 101", "101"] {
            let answer = [line.as_bytes(), b"\r\nServer: 101\r\nHTTP/1.1 101\r\n\r\n", &page].concat();
            for chunk in [1, 7, 4_096] {
                let (mut cutter, mut out) = (Cutter::new(), Vec::new());
                for chunk in answer.chunks(chunk) {
                    cutter.cut(chunk, |bytes| out.extend_from_slice(bytes)).unwrap();
                }
                assert!(out == answer, "{line} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused_or_left_to_the_reader() {
        for (bytes, expected) in [
            (&[0x82, 0x81, 0, 0, 0, 0, 0][..], "masked"),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], "longer than any"),
            (&[0x02, 1, 0, 0x82, 1, 0], "within another"),
            (&[0x83, 127, 0, 0, 0, 0, 0, 1, 0, 0], "no known kind"),
        ] {
            let error = cut(bytes, 3).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        // A continuation of nothing, a kind that is reserved, reserved bits.
        for bytes in [&[0x80, 1, 0][..], &[0x83, 1, 0], &[0xC2, 1, 0]] {
            assert_eq!(cut(bytes, 1).unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn a_frame_of_any_length_costs_what_has_arrived_of_it() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut stream = Arriving::new(Box::new(near));
        far.write_all(ANSWER).await.unwrap();
        // A tebibyte is announced.
        far.write_all(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]).await.unwrap();
        far.write_all(b"abc").await.unwrap();
        let mut out = Vec::with_capacity(1024);
        while out.len() < ANSWER.len() + 5 {
            stream.read_buf(&mut out).await.unwrap();
        }
        assert_eq!(out[ANSWER.len()..], *b"\x82\x03abc");
        // Whoever reads with little room gets the same.
        far.write_all(&[b'x'; 300]).await.unwrap();
        let mut some = Vec::new();
        while some.len() < 300 {
            let mut little = [0; 7];
            let length = stream.read(&mut little).await.unwrap();
            some.extend(frames_of(&little[..length]));
        }
        drop(far);
        assert_eq!(stream.read(&mut [0; 7]).await.unwrap(), 0, "the end is the end");
    }

    /// The letters among these bytes.
    fn frames_of(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
        bytes.iter().copied().filter(|byte| *byte == b'x')
    }
}
