//! Takes strings and values, and refuses what is no JSON; what is wrong within a text or number it only notes
//! ([`Scanner::flaw`]). Its nesting is bounded, and it keeps no stack.

use super::run::plain_run;
use super::{JsonError, Kind, Scanner, Span, Str};

const NO_ESCAPE: &str = "an escape that is none in a text";

impl Scanner<'_> {
    /// Takes a string.
    #[inline]
    pub fn string(&mut self) -> Result<Str, JsonError> {
        self.expect(b'"')?;
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += plain_run(self.text.get(self.pos..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    let inner = Span { start, end: self.pos };
                    self.pos += 1;
                    return Ok(Str { inner, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    self.pos += 1;
                    self.flaw = Some("a control character in a text");
                }
                None => return self.bad(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.expect(b'\\')?;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 1;
                Ok(())
            }
            Some(b'u') => {
                match self.hex4(self.pos) {
                    Some(0xD800..=0xDBFF) if self.low_half_follows() => self.pos += 11,
                    Some(0xD800..=0xDFFF) => {
                        self.pos += 5;
                        self.flaw = Some("half a character in a text");
                    }
                    Some(_) => self.pos += 5,
                    None => {
                        self.pos += 1;
                        self.flaw = Some(NO_ESCAPE);
                    }
                }
                Ok(())
            }
            // It stands for nothing, and hides nothing: a text ends at the next quote that is not escaped.
            Some(_) => {
                self.pos += 1;
                self.flaw = Some(NO_ESCAPE);
                Ok(())
            }
            None => self.bad(),
        }
    }

    /// The number of the `uXXXX` at `at`.
    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 5)?.strip_prefix(b"u")?;
        digits.iter().try_fold(0, |value, b| Some(value * 16 + (*b as char).to_digit(16)?))
    }

    /// Whether the second half of a character stands behind the `uXXXX` here.
    fn low_half_follows(&self) -> bool {
        let escape = self.text.get(self.pos + 5) == Some(&b'\\');
        escape && self.hex4(self.pos + 6).is_some_and(|low| (0xDC00..=0xDFFF).contains(&low))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        if self.pos > start { Ok(()) } else { self.bad() }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        self.take(b'-');
        if let Some(b'N' | b'I') = self.peek() {
            self.flaw = Some("a number that is none");
            return self.word(b"NaN").or_else(|_| self.word(b"Infinity"));
        }
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        } else if self.pos - start < 300 {
            return Ok(());
        }
        let text = Span { start, end: self.pos }.of(self.text);
        let value = std::str::from_utf8(text).ok().and_then(|t| t.parse::<f64>().ok());
        if !value.is_some_and(f64::is_finite) {
            self.flaw = Some("a number beyond what a double holds");
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if self.text.get(self.pos..).is_some_and(|rest| rest.starts_with(word)) {
            self.pos += word.len();
            Ok(())
        } else {
            self.bad()
        }
    }

    /// Takes one value that has at most `levels` levels of nesting (at most 64), and says where it stood.
    pub fn value(&mut self, levels: u32) -> Result<Span, JsonError> {
        let kind = self.kind()?;
        let start = self.pos;
        match kind {
            Kind::String => {
                self.string()?;
            }
            Kind::Number => self.number()?,
            Kind::Object | Kind::Array | Kind::Bool | Kind::Null => return self.nested(levels),
        }
        Ok(Span { start, end: self.pos })
    }

    fn nested(&mut self, levels: u32) -> Result<Span, JsonError> {
        let start = self.pos;
        // One bit per open level, 1 for an object: the stack of a parser without a stack.
        let mut objects: u64 = 0;
        let mut depth: u32 = 0;
        loop {
            // A value stands here.
            match self.kind()? {
                kind @ (Kind::Object | Kind::Array) => {
                    if depth == levels.min(u64::BITS) {
                        return Err(JsonError::TooDeep);
                    }
                    self.pos += 1;
                    depth += 1;
                    objects = objects << 1 | u64::from(kind == Kind::Object);
                    self.space();
                    if self.take(if kind == Kind::Object { b'}' } else { b']' }) {
                        depth -= 1;
                        objects >>= 1;
                    } else {
                        if kind == Kind::Object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Kind::String => {
                    self.string()?;
                }
                Kind::Number => self.number()?,
                Kind::Bool if self.peek() == Some(b't') => self.word(b"true")?,
                Kind::Bool => self.word(b"false")?,
                Kind::Null => self.word(b"null")?,
            }
            // A value ended here: close what it ends.
            loop {
                if depth == 0 {
                    return Ok(Span { start, end: self.pos });
                }
                self.space();
                let object = objects & 1 == 1;
                if self.take(b',') {
                    self.space();
                    if object {
                        self.key()?;
                    }
                    break;
                }
                self.expect(if object { b'}' } else { b']' })?;
                depth -= 1;
                objects >>= 1;
            }
        }
    }
}
