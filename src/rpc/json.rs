//! A strict JSON tokenizer that finds spans and builds nothing (RFC 8259).
//!
//! It accepts what `serde_json` accepts, less: lone surrogates, and nesting deeper than it is told to
//! allow. Offsets that it returns are byte offsets into the text it was given. It never allocates.

/// A range of bytes of a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes of `body` that this span covers; empty if it is none of `body`'s.
    pub fn of<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body.get(self.start..self.end).unwrap_or_default()
    }
}

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, at this offset.
    Syntax(usize),
    /// More levels of `[` and `{` than allowed.
    TooDeep,
}

/// What kind of value starts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// `-` or a digit
    Number,
    /// `true`, `false`
    Bool,
    /// `null`
    Null,
}

/// A string as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Str {
    /// Without the quotes.
    pub inner: Span,
    /// Whether a backslash stands in it.
    pub escaped: bool,
}

/// The deepest nesting that a frame may have.
pub const MAX_DEPTH: u32 = 64;

/// A position in a text, moving forward token by token.
pub struct Scanner<'a> {
    text: &'a [u8],
    pos: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte. `text` must be UTF-8 where that matters to the caller; the scanner does not look.
    pub fn new(text: &'a [u8]) -> Self {
        Scanner { text, pos: 0 }
    }

    /// A scanner that starts at `pos`.
    pub fn at(text: &'a [u8], pos: usize) -> Self {
        Scanner { text, pos }
    }

    /// Where it stands.
    pub fn pos(&self) -> usize {
        self.pos
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.pos).copied()
    }

    fn bad<T>(&self) -> Result<T, JsonError> {
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
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
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

    /// Takes a member's key and its colon.
    #[inline]
    pub fn key(&mut self) -> Result<Str, JsonError> {
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        Ok(key)
    }
}

/// Keys and ids are at most this long, and texts mostly longer.
const SHORT: usize = 40;

/// How many bytes at the start of `text` are neither `"` nor `\` nor a control character.
#[inline]
fn plain_run(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    for bytes in text.as_chunks::<8>().0.iter().take(SHORT / 8) {
        let word = u64::from_le_bytes(*bytes);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        // A byte's high bit is set where it is zero (quote, slash) or below 0x20 (control); a byte above
        // the first hit may be marked wrongly, the first one never is.
        let hit = (quote.wrapping_sub(ONES) & !quote
            | slash.wrapping_sub(ONES) & !slash
            | word.wrapping_sub(ONES * 0x20) & !word)
            & HIGH;
        if hit != 0 {
            return run + hit.trailing_zeros() as usize / 8;
        }
        run += 8;
    }
    run + long_run(text.get(run..).unwrap_or_default())
}

/// The same in two passes, each of which goes by many bytes at a time.
#[inline(never)]
fn long_run(text: &[u8]) -> usize {
    let end = memchr::memchr2(b'"', b'\\', text).unwrap_or(text.len());
    let run = text.get(..end).unwrap_or_default();
    if run.iter().fold(u8::MAX, |least, &b| least.min(b)) >= 0x20 {
        return end;
    }
    run.iter().position(|&b| b < 0x20).unwrap_or(end)
}

/// The text of a string: borrowed where nothing is escaped.
pub fn decode<'a>(body: &'a [u8], string: &Str) -> Option<std::borrow::Cow<'a, str>> {
    let inner = std::str::from_utf8(string.inner.of(body)).ok()?;
    if !string.escaped {
        return Some(inner.into());
    }
    let quoted = body.get(string.inner.start.checked_sub(1)?..=string.inner.end)?;
    serde_json::from_slice::<String>(quoted).ok().map(Into::into)
}

/// A member of an object, found by its name among the object's own keys; `None` if it is not there,
/// or if `object` does not span an object. A key with escapes is never found.
pub fn member(body: &[u8], object: Span, name: &str) -> Option<Span> {
    let mut found = None;
    let _ = members(body, object, |key, value| {
        if found.is_none() && !key.escaped && key.inner.of(body) == name.as_bytes() {
            found = Some(value);
        }
    });
    found
}

/// A member with its key, and one comma that goes with it: cut it out, and an object stays behind.
pub fn member_with_comma(body: &[u8], object: Span, name: &str) -> Option<Span> {
    let mut before = object.start + 1;
    let mut found: Option<Span> = None;
    let mut first = true;
    let _ = members(body, object, |key, value| {
        if found.is_none() && !key.escaped && key.inner.of(body) == name.as_bytes() {
            let start = if first { key.inner.start - 1 } else { before };
            found = Some(Span { start, end: value.end });
        }
        before = value.end;
        first = false;
    });
    let mut gone = found?;
    if body.get(gone.start) == Some(&b'"') {
        let mut scan = Scanner::at(body, gone.end);
        scan.space();
        if scan.take(b',') {
            gone.end = scan.pos();
        }
    }
    Some(gone)
}

/// Shows each member of the object at `object` to `each`. Whether the values are right JSON it does not judge.
pub fn members(
    body: &[u8],
    object: Span,
    mut each: impl FnMut(Str, Span),
) -> Result<(), JsonError> {
    let mut scan = Scanner::at(body, object.start);
    scan.expect(b'{')?;
    scan.space();
    if scan.take(b'}') {
        return Ok(());
    }
    loop {
        scan.space();
        let key = scan.key()?;
        let value = scan.skip()?;
        each(key, value);
        scan.space();
        if !scan.take(b',') {
            return scan.expect(b'}');
        }
    }
}

/// The string at `value`, if it is one.
pub fn string_at(body: &[u8], value: Span) -> Option<Str> {
    Scanner::at(body, value.start).string().ok()
}

/// The text at `value`, if it is a string.
pub fn text_at(body: &[u8], value: Span) -> Option<std::borrow::Cow<'_, str>> {
    decode(body, &string_at(body, value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &[u8]) -> Result<Span, JsonError> {
        let mut scan = Scanner::new(text);
        let span = scan.value(MAX_DEPTH)?;
        scan.end()?;
        Ok(span)
    }

    #[test]
    fn plain_json_is_taken_whole() {
        let text = br#" {"a":[1,-2.5e+3,{"b":"c\n\u00e9\ud83d\ude00"}],"d":null,"e":[],"f":{}} "#;
        assert_eq!(accepts(text), Ok(Span { start: 1, end: text.len() - 1 }));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "+1",
            "nul",
            "\"a",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "1e999",
            "{\"a\" 1}",
            "{1:2}",
            "[1}",
            "{\"a\":1]",
            "1 2",
        ] {
            assert!(accepts(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sixty_four_levels_pass_and_one_more_does_not() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(accepts(nest(64).as_bytes()).is_ok());
        assert_eq!(accepts(nest(65).as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn a_member_is_found_among_the_objects_own_keys_only() {
        let body = br#"{"x":{"id":1},"id":"two"}"#;
        let all = Span { start: 0, end: body.len() };
        let id = member(body, all, "id").unwrap();
        assert_eq!(text_at(body, id).unwrap(), "two");
        assert_eq!(member(body, all, "none"), None);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(|f| serde_json::json!(f)),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|m| m.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_that_serde_json_writes_is_taken_whole(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(accepts(text.as_bytes()), Ok(Span { start: 0, end: text.len() }));
        }

        #[test]
        fn mutated_texts_are_judged_as_serde_json_judges_them(value in json(), cut in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
            let mut text = serde_json::to_vec(&value).unwrap();
            let at = cut.index(text.len());
            match how { 0 => text[at] = byte, 1 => { text.remove(at); } _ => text.insert(at, byte) }
            prop_assume!(std::str::from_utf8(&text).is_ok());
            let ours = accepts(&text).is_ok();
            let theirs = serde_json::from_slice::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn a_value_is_skipped_as_far_as_it_is_taken(value in json(), after in "[,}\\] ]?") {
            let text = serde_json::to_string(&value).unwrap();
            let all = format!("{text}{after}");
            let skipped = Scanner::new(all.as_bytes()).skip();
            prop_assert_eq!(skipped, Ok(Span { start: 0, end: text.len() }));
        }

        #[test]
        fn any_bytes_are_refused_or_taken_without_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = accepts(&text);
            let _ = Scanner::new(&text).skip();
        }

        #[test]
        fn a_plain_run_ends_at_the_first_special_byte(text in prop::collection::vec(prop_oneof![80 => Just(b'a'), 1 => Just(0x80), 1 => Just(0xff), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => Just(0x1f), 1 => Just(0x20)], 0..140)) {
            let expected = text.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(text.len());
            prop_assert_eq!(plain_run(&text), expected);
        }
    }
}
