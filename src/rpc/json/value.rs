//! Takes strings and values, and refuses what is no JSON. Its nesting is bounded, and it keeps no stack.

use super::run::plain_run;
use super::{JsonError, Kind, Scanner, Span, Str};

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
                _ => return self.bad(),
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
            Some(b'u') => match self.hex4()? {
                0xD800..=0xDBFF => {
                    self.expect(b'\\')?;
                    if self.peek() != Some(b'u') {
                        return self.bad();
                    }
                    if (0xDC00..=0xDFFF).contains(&self.hex4()?) { Ok(()) } else { self.bad() }
                }
                0xDC00..=0xDFFF => self.bad(),
                _ => Ok(()),
            },
            _ => self.bad(),
        }
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        self.expect(b'u')?;
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| (b as char).to_digit(16)) else {
                return self.bad();
            };
            value = value * 16 + digit;
            self.pos += 1;
        }
        Ok(value)
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
        // Beyond what a double holds, a CLI refuses the frame without saying whose it was.
        let text = Span { start, end: self.pos }.of(self.text);
        let value = std::str::from_utf8(text).ok().and_then(|t| t.parse::<f64>().ok());
        if value.is_some_and(f64::is_finite) { Ok(()) } else { self.bad() }
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
