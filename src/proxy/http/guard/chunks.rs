//! The framing of a chunked body (RFC 9112, 7.1), byte by byte as it passes. Holds no byte, and skips data in one step.

use super::{Flaw, is_field_value, names_field};

/// Bytes that all lines between data may have together: sizes, extensions and trailers are overhead of a stranger.
const MAX_EXTENSION: u32 = 256;
const MAX_TRAILERS: u32 = 8 * 1024;
/// The largest chunk, in hexadecimal digits.
const MAX_DIGITS: u8 = 15;

/// Fields that nobody may add after the fact (RFC 9110, 6.5.1).
const NO_TRAILER: [&[u8]; 8] = [
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"authorization",
    b"cookie",
    b"content-type",
    b"trailer",
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Size {
        value: u64,
        digits: u8,
    },
    /// In white space after a size, which an extension must follow.
    Blank {
        value: u64,
        seen: u32,
    },
    /// In an extension, of which so many bytes have passed.
    Extension {
        value: u64,
        seen: u32,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// In a trailer line.
    Trailer(Vec<u8>),
    TrailerLf(Vec<u8>),
    End,
}

/// A body in chunks, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    trailers: u32,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks { at: At::Size { value: 0, digits: 0 }, trailers: 0 }
    }
}

impl Chunks {
    /// Whether the body has ended.
    pub fn is_over(&self) -> bool {
        self.at == At::End
    }

    /// Takes what came, and says how much of it is of this body: all, unless it ended. Fails at the first byte that does
    /// not belong, with how many before it do.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, (usize, Flaw)> {
        let mut passed = 0;
        while !self.is_over() {
            let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) else { break };
            if let At::Data(left) = &mut self.at {
                let here = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                passed += here;
                *left -= here as u64;
                if *left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            let Some(byte) = rest.first() else { break };
            let at = std::mem::replace(&mut self.at, At::End);
            self.at = self.step(at, *byte).map_err(|flaw| (passed, flaw))?;
            passed += 1;
        }
        Ok(passed)
    }

    fn step(&mut self, at: At, byte: u8) -> Result<At, Flaw> {
        match (at, byte) {
            (At::Size { value, digits }, b'\r') if digits > 0 => Ok(At::SizeLf(value)),
            (At::Size { value, digits }, b';') if digits > 0 => {
                Ok(At::Extension { value, seen: 0 })
            }
            (At::Size { value, digits }, b' ' | b'\t') if digits > 0 => {
                Ok(At::Blank { value, seen: 1 })
            }
            (At::Size { value, digits }, _) => {
                let digit = char::from(byte).to_digit(16).filter(|_| digits < MAX_DIGITS);
                let digit = digit.ok_or(Flaw::ChunkSize)?;
                Ok(At::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
            }
            (At::Blank { value, seen }, b';') => Ok(At::Extension { value, seen }),
            (At::Blank { value, seen }, b' ' | b'\t') if seen < MAX_EXTENSION => {
                Ok(At::Blank { value, seen: seen + 1 })
            }
            (At::Extension { value, .. }, b'\r') => Ok(At::SizeLf(value)),
            (At::Extension { value, seen }, b'\t' | b' '..=b'~') if seen < MAX_EXTENSION => {
                Ok(At::Extension { value, seen: seen + 1 })
            }
            (At::Blank { .. } | At::Extension { .. }, _) => Err(Flaw::ChunkSize),
            (At::SizeLf(0), b'\n') => Ok(At::Trailer(Vec::new())),
            (At::SizeLf(value), b'\n') => Ok(At::Data(value)),
            (At::SizeLf(_), _) => Err(Flaw::ChunkSize),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(At::Size { value: 0, digits: 0 }),
            (At::DataCr | At::DataLf, _) => Err(Flaw::ChunkEnd),
            (At::Trailer(line), b'\r') => Ok(At::TrailerLf(line)),
            (At::Trailer(mut line), _) => {
                self.trailers += 1;
                if self.trailers > MAX_TRAILERS || !is_field_value(&[byte]) {
                    return Err(Flaw::Trailer);
                }
                line.push(byte);
                Ok(At::Trailer(line))
            }
            (At::TrailerLf(line), b'\n') if line.is_empty() => Ok(At::End),
            (At::TrailerLf(line), b'\n') => {
                check_trailer(&line)?;
                Ok(At::Trailer(Vec::new()))
            }
            (At::TrailerLf(_), _) => Err(Flaw::Trailer),
            (at @ (At::Data(_) | At::End), _) => Ok(at),
        }
    }
}

fn check_trailer(line: &[u8]) -> Result<(), Flaw> {
    let colon = memchr::memchr(b':', line).ok_or(Flaw::Trailer)?;
    let (name, value) = line.split_at(colon);
    let forbidden = NO_TRAILER.iter().any(|kept| name.eq_ignore_ascii_case(kept));
    let fine = names_field(name) && is_field_value(value) && !forbidden;
    fine.then_some(()).ok_or(Flaw::Trailer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(body: &[u8]) -> Result<(usize, bool), Flaw> {
        let mut chunks = Chunks::default();
        let passed = chunks.pass(body).map_err(|(_, flaw)| flaw)?;
        Ok((passed, chunks.is_over()))
    }

    #[test]
    fn a_body_ends_after_its_last_chunk() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;a=b\r\nhello\r\n0;x\r\n\r\n",
            b"00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\n",
            b"1 ; a = \"b\"\r\n\n\r\n0\r\n\r\n",
        ] {
            let mut more = body.to_vec();
            more.extend_from_slice(b"GET /");
            assert_eq!(whole(&more), Ok((body.len(), true)), "{}", body.escape_ascii());
            assert_eq!(whole(&body[..body.len() - 1]), Ok((body.len() - 1, false)));
        }
    }

    #[test]
    fn a_size_is_hexadecimal_digits() {
        for wrong in [
            &b"\r\n"[..],
            b" 5\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"-1\r\n",
            b"5\n",
            b"5\r5",
            b"g\r\n",
            b"1234567890abcdef\r\n",
            b"5;\x00\r\n",
            b"5;\n",
            b";\r\n",
            b"5;\x80\r\n",
            b"5,\r\n",
            b"5\x0b\r\n",
            b"5 \r\n",
            b"5 6\r\n",
        ] {
            assert_eq!(whole(wrong), Err(Flaw::ChunkSize), "{}", wrong.escape_ascii());
        }
        let long = [b"5;".as_slice(), &[b'a'; 257], b"\r\n"].concat();
        assert_eq!(whole(&long), Err(Flaw::ChunkSize));
        assert!(whole(&[b"5;".as_slice(), &[b'a'; 256], b"\r\n"].concat()).is_ok());
    }

    #[test]
    fn a_chunk_ends_where_its_size_says() {
        for wrong in [&b"5\r\nhello!\r\n"[..], b"5\r\nhello\n", b"5\r\nhello\rx", b"3\r\nhello\r\n"]
        {
            assert_eq!(whole(wrong), Err(Flaw::ChunkEnd), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn trailers_are_fields_that_may_be_there() {
        for wrong in [
            &b"0\r\nx\r\n\r\n"[..],
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\n X: 1\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\nContent-Length: 1\r\n\r\n",
            b"0\r\nx_y: 1\r\n\r\n",
            b"0\r\nX: \x01\r\n\r\n",
            b"0\r\n\rx",
            b"0\r\n\nGET",
            b"0\r\nhost: a\r\n\r\n",
        ] {
            assert!(matches!(whole(wrong), Err(Flaw::Trailer)), "{}", wrong.escape_ascii());
        }
        let long = [b"0\r\nX: ".as_slice(), &vec![b'a'; MAX_TRAILERS as usize]].concat();
        assert_eq!(whole(&long), Err(Flaw::Trailer));
    }

    #[test]
    fn what_is_before_a_flaw_is_counted() {
        assert_eq!(Chunks::default().pass(b"5\r\nhello!"), Err((8, Flaw::ChunkEnd)));
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_is_cut(
            body in prop::collection::vec(prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'2'), Just(b'a'), Just(b';'), Just(b':'), any::<u8>(),
            ], 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let mut all = Chunks::default();
            let at_once = all.pass(&body);
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(body.len())).collect();
            cuts.push(body.len());
            cuts.sort_unstable();
            let (mut parts, mut from, mut passed) = (Chunks::default(), 0, 0);
            let mut outcome = Ok(());
            for to in cuts {
                match parts.pass(&body[from..to]) {
                    Ok(n) => passed += n,
                    Err((n, flaw)) => { outcome = Err((passed + n, flaw)); break; }
                }
                from = to;
            }
            match (at_once, outcome) {
                (Ok(n), Ok(())) => { prop_assert_eq!(n, passed); prop_assert_eq!(all, parts); }
                (Err(one), Err(two)) => prop_assert_eq!(one, two),
                (one, two) => prop_assert!(false, "{:?} {:?}", one, two),
            }
        }
    }
}
