//! A strict JSON tokenizer that finds spans and builds nothing (RFC 8259).
//!
//! It accepts what `serde_json` accepts, less: nesting deeper than it is told to allow. What is wrong within a text or
//! number, and hides nothing behind it, it takes and tells ([`Scanner::flaw`]). Offsets that it returns are byte offsets into the text it was given. It never allocates, but for
//! the text of a string that has escapes.

mod members;
mod run;
mod scanner;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use members::{member, member_with_comma, members};
pub use scanner::Scanner;
pub use text::{decode, string_at, text_at};

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
