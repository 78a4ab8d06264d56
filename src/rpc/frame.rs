//! Cuts a byte stream into frames: `Content-Length: N\r\n\r\n` and N bytes of body.
//!
//! Strict where a lenient reader could be made to see other frames than the next reader does (RFC 9112,
//! section 6.3 has the same worry): exactly one Content-Length, digits only, lines that end in CRLF.
//! Never reserves memory on the word of a header; never holds more than its limits.

use bytes::{Bytes, BytesMut};

/// What a frame may weigh, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// The header block, with its closing empty line.
    pub header: usize,
    /// The body.
    pub body: usize,
}

/// How much of a body that is too large is shown, for its id to be found.
pub const OVERSIZE_HEAD: usize = 64 * 1024;

/// The body of one frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// It lay whole in the bytes just read.
    Borrowed(&'a [u8]),
    /// It was gathered from several reads.
    Owned(Bytes),
}

impl Body<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::Borrowed(bytes) => bytes,
            Body::Owned(bytes) => bytes,
        }
    }

    /// Keeps it: a copy where it was borrowed.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Body::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Body::Owned(bytes) => bytes.clone(),
        }
    }
}

/// What came next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame.
    Whole(Body<'a>),
    /// A frame over the limit: the first bytes of its body. The rest is discarded as it comes.
    TooLarge(Bytes),
}

/// The stream cannot be understood any more; nothing of it may be used from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The header block is longer than its limit.
    HeaderTooLong,
    /// No Content-Length, two of them, or one that is not plain digits.
    BadLength,
    /// A line that is no header, or does not end in CRLF.
    BadHeader,
}

impl FrameError {
    /// The word for metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            FrameError::HeaderTooLong => "header_too_long",
            FrameError::BadLength => "bad_length",
            FrameError::BadHeader => "bad_header",
        }
    }
}

enum State {
    /// Between frames, or in a header whose first bytes are kept.
    Header(BytesMut),
    /// In a body that is still short of `need` bytes.
    Body { need: usize, have: BytesMut },
    /// In a body over the limit: `head` is gathered first, then `left` bytes are thrown away.
    Oversize { head: Option<BytesMut>, left: usize },
}

/// The reader of one direction of one connection.
pub struct Decoder {
    limits: FrameLimits,
    state: State,
}

impl Decoder {
    /// Stands before the first frame.
    pub fn new(limits: FrameLimits) -> Self {
        Decoder { limits, state: State::Header(BytesMut::new()) }
    }

    /// From the next frame on, these hold.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// Whether the stream stands between two frames.
    pub fn at_boundary(&self) -> bool {
        matches!(&self.state, State::Header(part) if part.is_empty())
    }

    /// Whether it is throwing away what is left of a frame over the limit.
    pub fn discarding(&self) -> bool {
        matches!(self.state, State::Oversize { .. })
    }

    /// How many bytes it keeps for a frame that is not whole yet.
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Header(part) => part.len(),
            State::Body { have, .. } => have.len(),
            State::Oversize { head, .. } => head.as_ref().map_or(0, BytesMut::len),
        }
    }

    /// The next frame that ends in `input`, which moves forward; `None` when all of it is taken.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            match &mut self.state {
                State::Header(part) => {
                    let Some(need) = take_header(part, input, self.limits.header)? else {
                        return Ok(None);
                    };
                    if need > self.limits.body {
                        self.state = State::Oversize { head: Some(BytesMut::new()), left: need };
                    } else if let Some((body, rest)) = input.split_at_checked(need) {
                        *input = rest;
                        return Ok(Some(Frame::Whole(Body::Borrowed(body))));
                    } else {
                        self.state = State::Body { need, have: BytesMut::new() };
                    }
                }
                State::Body { need, have } => {
                    gather(have, input, *need);
                    if have.len() < *need {
                        return Ok(None);
                    }
                    let body = std::mem::take(have).freeze();
                    self.state = State::Header(BytesMut::new());
                    return Ok(Some(Frame::Whole(Body::Owned(body))));
                }
                State::Oversize { head: Some(head), left } => {
                    let before = head.len();
                    gather(head, input, OVERSIZE_HEAD.min(before + *left));
                    *left -= head.len() - before;
                    if head.len() < OVERSIZE_HEAD && *left > 0 {
                        return Ok(None);
                    }
                    let head = std::mem::take(head).freeze();
                    let left = *left;
                    self.state = State::Oversize { head: None, left };
                    return Ok(Some(Frame::TooLarge(head)));
                }
                State::Oversize { head: None, left } => {
                    let gone = input.len().min(*left);
                    *left -= gone;
                    *input = input.get(gone..).unwrap_or_default();
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header(BytesMut::new());
                }
            }
        }
    }
}

/// Moves bytes from `input` to `have` until it holds `want`. Room grows with what really came.
fn gather(have: &mut BytesMut, input: &mut &[u8], want: usize) {
    let missing = want.saturating_sub(have.len());
    let (now, later) = input.split_at(missing.min(input.len()));
    if have.capacity() < have.len() + now.len() {
        let room = have.len().max(now.len()).min(missing);
        have.reserve(room.max(now.len()));
    }
    have.extend_from_slice(now);
    *input = later;
}

/// The length that the header block announces, once it is whole. What came of it so far is kept in `part`.
fn take_header(
    part: &mut BytesMut,
    input: &mut &[u8],
    limit: usize,
) -> Result<Option<usize>, FrameError> {
    if part.is_empty() {
        if let Some((need, rest)) = plain_header(input) {
            *input = rest;
            return Ok(Some(need));
        }
        if input.is_empty() {
            return Ok(None);
        }
    }
    let known = part.len();
    let room = limit.saturating_sub(known);
    let seen = input.get(..room.min(input.len())).unwrap_or_default();
    part.extend_from_slice(seen);
    let from = known.saturating_sub(3);
    let end = memchr::memmem::find(part.get(from..).unwrap_or_default(), b"\r\n\r\n");
    let Some(end) = end.map(|at| from + at + 4) else {
        refuse_bare_line_feeds(part)?;
        *input = input.get(seen.len()..).unwrap_or_default();
        return if part.len() >= limit { Err(FrameError::HeaderTooLong) } else { Ok(None) };
    };
    *input = input.get(end - known..).unwrap_or_default();
    let need = parse_header(part.get(..end - 2).unwrap_or_default())?;
    *part = BytesMut::new();
    Ok(Some(need))
}

/// The usual case, whole and in the form that every SDK sends: `Content-Length: N\r\n\r\n`.
fn plain_header<'a>(input: &&'a [u8]) -> Option<(usize, &'a [u8])> {
    let rest = input.strip_prefix(b"Content-Length: ")?;
    let mut value = 0usize;
    for (at, &byte) in rest.iter().enumerate().take(10) {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            b'\r' if at > 0 => {
                return Some((value, rest.get(at..)?.strip_prefix(b"\r\n\r\n")?));
            }
            _ => return None,
        }
    }
    None
}

fn refuse_bare_line_feeds(part: &[u8]) -> Result<(), FrameError> {
    for at in memchr::memchr_iter(b'\n', part) {
        if at.checked_sub(1).and_then(|i| part.get(i)) != Some(&b'\r') {
            return Err(FrameError::BadHeader);
        }
    }
    Ok(())
}

/// `block` is every header line with its CRLF. Headers other than Content-Length are let be.
fn parse_header(block: &[u8]) -> Result<usize, FrameError> {
    let mut length = None;
    let mut rest = block;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let (line, tail) = rest.split_at(end);
        rest = tail.get(2..).unwrap_or_default();
        if memchr::memchr2(b'\r', b'\n', line).is_some() {
            return Err(FrameError::BadHeader);
        }
        let colon = memchr::memchr(b':', line).ok_or(FrameError::BadHeader)?;
        let (name, value) = line.split_at(colon);
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        if name.is_empty() || !name.iter().all(token) {
            return Err(FrameError::BadHeader);
        }
        if name.eq_ignore_ascii_case(b"Content-Length") {
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            if length.replace(parse_digits(digits)?).is_some() {
                return Err(FrameError::BadLength);
            }
        }
    }
    length.ok_or(FrameError::BadLength)
}

fn parse_digits(digits: &[u8]) -> Result<usize, FrameError> {
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FrameError::BadLength);
    }
    Ok(digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: FrameLimits = FrameLimits { header: 256, body: 100 };

    fn read_all(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut decoder = Decoder::new(LIMITS);
        let mut bodies = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(frame) = decoder.next(&mut input)? {
                bodies.push(match frame {
                    Frame::Whole(body) => body.bytes().to_vec(),
                    Frame::TooLarge(head) => [b"too large: ", &head[..]].concat(),
                });
            }
            assert!(input.is_empty());
        }
        Ok(bodies)
    }

    #[test]
    fn header_names_are_case_insensitive_and_others_are_let_be() {
        let stream = b"X-Foo: bar: baz\r\ncontent-length:5 \r\nContent-Type: a;b\r\n\r\nhello";
        assert_eq!(read_all(&[stream]).unwrap(), [b"hello"]);
    }

    #[test]
    fn an_ambiguous_length_ends_the_stream() {
        for header in [
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5, 6\r\n\r\n",
            "Content-Length: +5\r\n\r\n",
            "Content-Length: 0x5\r\n\r\n",
            "Content-Length: 5.0\r\n\r\n",
            "Content-Length: 5 5\r\n\r\n",
            "Content-Length: -5\r\n\r\n",
            "Content-Length: \r\n\r\n",
            "Content-Length: 9999999999999999\r\n\r\n",
            "X: y\r\n\r\n",
        ] {
            assert_eq!(read_all(&[header.as_bytes()]), Err(FrameError::BadLength), "{header:?}");
        }
    }

    #[test]
    fn a_line_that_is_no_header_ends_the_stream() {
        for header in [
            "Content-Length: 5\n\nhello",
            "Content-Length : 5\r\n\r\n",
            "Content-Length: 5\r\n 6\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "\r\nContent-Length: 5\r\n\r\n",
            "X: a\rb\r\nContent-Length: 5\r\n\r\n",
        ] {
            assert_eq!(read_all(&[header.as_bytes()]), Err(FrameError::BadHeader), "{header:?}");
        }
    }

    #[test]
    fn a_header_over_its_limit_ends_the_stream() {
        let header = format!("X: {}", "y".repeat(300));
        assert_eq!(read_all(&[header.as_bytes()]), Err(FrameError::HeaderTooLong));
    }

    #[test]
    fn a_frame_over_the_limit_shows_its_head_and_the_next_frame_is_read() {
        let big = "b".repeat(101);
        let stream = format!("Content-Length: 101\r\n\r\n{big}Content-Length: 2\r\n\r\nok");
        for cut in 0..stream.len() {
            let (a, b) = stream.as_bytes().split_at(cut);
            let bodies = read_all(&[a, b]).unwrap();
            assert_eq!(bodies, [format!("too large: {big}").into_bytes(), b"ok".to_vec()]);
        }
    }

    #[test]
    fn a_huge_announcement_reserves_nothing() {
        let limits = FrameLimits { header: 256, body: 1 << 40 };
        let mut decoder = Decoder::new(limits);
        let mut input: &[u8] = b"Content-Length: 999999999999\r\n\r\nabc";
        assert_eq!(decoder.next(&mut input), Ok(None));
        assert_eq!(decoder.buffered(), 3);
        let State::Body { have, .. } = &decoder.state else { panic!("in a body") };
        assert!(have.capacity() < 1024);
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_the_stream_is_split(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=100), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut stream = Vec::new();
            for (n, body) in bodies.iter().enumerate() {
                let header = if n % 2 == 0 { "Content-Length: " } else { "x: y\r\nCONTENT-LENGTH:" };
                stream.extend(format!("{header}{}\r\n\r\n", body.len()).bytes());
                stream.extend(body);
            }
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(stream.len())).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            prop_assert_eq!(read_all(&chunks).unwrap(), bodies);
        }

        #[test]
        fn any_bytes_are_read_the_same_whole_or_byte_by_byte(stream in prop::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b'1'), any::<u8>()], 0..120), prefix in any::<bool>()) {
            let mut bytes = if prefix { b"Content-Length: 3\r\n".to_vec() } else { Vec::new() };
            bytes.extend(stream);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            match (read_all(&[&bytes]), read_all(&single)) {
                (Ok(whole), Ok(bytewise)) => prop_assert_eq!(whole, bytewise),
                (Err(_), Err(_)) => {}
                (whole, bytewise) => prop_assert!(false, "{whole:?} but {bytewise:?}"),
            }
        }
    }
}
