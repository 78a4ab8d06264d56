//! Moves through a text token by token. What it skips it does not judge: see `value` for that.

use super::run::plain_run;
use super::{JsonError, Kind, Span, Str};

/// A position in a text, moving forward token by token.
pub struct Scanner<'a> {
    pub(super) text: &'a [u8],
    pub(super) pos: usize,
    pub(super) flaw: Option<&'static str>,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte. `text` must be UTF-8 where that matters to the caller; the scanner does not look.
    pub fn new(text: &'a [u8]) -> Self {
        Scanner::at(text, 0)
    }

    /// A scanner that starts at `pos`.
    pub fn at(text: &'a [u8], pos: usize) -> Self {
        Scanner { text, pos, flaw: None }
    }

    /// What is wrong within the texts and numbers that were taken, where each one ends is sure all the same.
    pub fn flaw(&self) -> Option<&'static str> {
        self.flaw
    }

    /// Where it stands.
    pub fn pos(&self) -> usize {
        self.pos
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    pub(super) fn bad<T>(&self) -> Result<T, JsonError> {
        Err(JsonError::Syntax(self.pos))
    }

    /// Skips white space.
    #[inline]
    pub fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.pos += 1;
        }
    }

    /// Takes `byte`, or refuses.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            self.bad()
        }
    }

    /// Takes `byte` if it stands here.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.pos += usize::from(here);
        here
    }

    /// What kind of value starts here, after white space.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            // `NaN`, `Infinity`: some write them for numbers.
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => self.bad(),
        }
    }

    /// Refuses anything but white space up to the end.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.pos == self.text.len() { Ok(()) } else { self.bad() }
    }

    /// Takes a member's key and its colon.
    #[inline]
    pub fn key(&mut self) -> Result<Str, JsonError> {
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        Ok(key)
    }

    /// Takes one value of a text that others validated, or need not: any nesting, any escapes. Finds its end, and no more.
    pub fn skip(&mut self) -> Result<Span, JsonError> {
        self.space();
        let start = self.pos;
        let mut depth = 0u32;
        loop {
            match self.peek() {
                Some(b'"') => self.skip_string()?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.pos += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.pos += 1;
                }
                Some(b'}' | b']' | b',' | b':') | None if depth == 0 => return self.bad(),
                Some(_) if depth == 0 => {
                    let rest = self.text.get(self.pos..).unwrap_or_default();
                    let ends = |b: &u8| b",}] \t\r\n".contains(b);
                    self.pos += rest.iter().position(ends).unwrap_or(rest.len());
                }
                Some(_) => self.pos += 1,
                None => return self.bad(),
            }
            if depth == 0 {
                return Ok(Span { start, end: self.pos });
            }
        }
    }

    fn skip_string(&mut self) -> Result<(), JsonError> {
        self.expect(b'"')?;
        loop {
            self.pos += plain_run(self.text.get(self.pos..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(());
                }
                Some(b'\\') => self.pos += 2,
                Some(_) => self.pos += 1,
                None => return self.bad(),
            }
        }
    }
}
