//! A field of a JSON body, found by its pointer (RFC 6901). Builds nothing of the body.
//!
//! A body that is there as a whole must be JSON, and no key on the way may be there twice: whoever reads it takes the
//! first or the last, and nobody knows which. Of a body of which only the beginning is there the first is taken.

use std::borrow::Cow;
use std::fmt;

use super::Body;
use crate::rpc::json::{JsonError, Kind, MAX_DEPTH, Scanner, Span, Str, decode, text_at};

/// The most steps that a pointer may have.
const MAX_STEPS: usize = 16;

/// Where a field is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: Box<str>,
    steps: Vec<Box<str>>,
}

impl Pointer {
    /// Reads `/params/sessionId`. Errors: in words.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a JSON pointer begins with `/`, such as /params/sessionId");
        };
        let steps: Option<Vec<Box<str>>> = rest.split('/').map(unescaped).collect();
        let steps = steps.ok_or("`~` stands for itself as `~0`, and `/` is written `~1`")?;
        if steps.len() > MAX_STEPS {
            return Err("a JSON pointer has at most 16 steps");
        }
        Ok(Pointer { text: text.into(), steps })
    }

    /// What the field holds: a text, or a number as it is written. `None`: it is not there, or holds something else.
    pub fn find<'a>(&self, body: Body<'a>) -> Option<Cow<'a, str>> {
        let search = Search { body: body.bytes, whole: body.whole };
        let mut scan = Scanner::new(body.bytes);
        let found = search.value(&mut scan, &self.steps, MAX_DEPTH).ok()??;
        if body.whole && (scan.end().is_err() || std::str::from_utf8(body.bytes).is_err()) {
            return None;
        }
        match Scanner::at(body.bytes, found.start).kind().ok()? {
            Kind::String => text_at(body.bytes, found),
            // More digits may stand behind the end of what is there.
            Kind::Number if !body.whole && found.end == body.bytes.len() => None,
            Kind::Number => std::str::from_utf8(found.of(body.bytes)).ok().map(Cow::Borrowed),
            Kind::Object | Kind::Array | Kind::Bool | Kind::Null => None,
        }
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unescaped(step: &str) -> Option<Box<str>> {
    let mut parts = step.split('~');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = (part.get(..1)?, part.get(1..)?);
        out.push(match escaped {
            "0" => '~',
            "1" => '/',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(out.into())
}

struct Search<'a> {
    body: &'a [u8],
    whole: bool,
}

impl Search<'_> {
    /// Takes a value, and finds what lies `steps` below it.
    fn value(
        &self,
        scan: &mut Scanner<'_>,
        steps: &[Box<str>],
        levels: u32,
    ) -> Result<Option<Span>, JsonError> {
        let Some((step, below)) = steps.split_first() else {
            return scan.value(levels).map(Some);
        };
        match scan.kind()? {
            Kind::Object => self.object(scan, step, below, levels),
            Kind::Array => self.array(scan, step, below, levels),
            Kind::String | Kind::Number | Kind::Bool | Kind::Null => {
                scan.value(levels).map(|_| None)
            }
        }
    }

    fn object(
        &self,
        scan: &mut Scanner<'_>,
        step: &str,
        below: &[Box<str>],
        levels: u32,
    ) -> Result<Option<Span>, JsonError> {
        let levels = levels.checked_sub(1).ok_or(JsonError::TooDeep)?;
        let (mut found, mut seen) = (None, false);
        scan.expect(b'{')?;
        scan.space();
        if scan.take(b'}') {
            return Ok(None);
        }
        loop {
            scan.space();
            let key = scan.key()?;
            if self.is(key, step) {
                if seen {
                    return Err(JsonError::Syntax(scan.pos()));
                }
                seen = true;
                found = self.value(scan, below, levels)?;
                if !self.whole && found.is_some() {
                    return Ok(found);
                }
            } else {
                scan.value(levels)?;
            }
            scan.space();
            if !scan.take(b',') {
                scan.expect(b'}')?;
                return Ok(found);
            }
        }
    }

    fn array(
        &self,
        scan: &mut Scanner<'_>,
        step: &str,
        below: &[Box<str>],
        levels: u32,
    ) -> Result<Option<Span>, JsonError> {
        let levels = levels.checked_sub(1).ok_or(JsonError::TooDeep)?;
        // No leading zeros, and no sign (section 4).
        let wanted = step.parse::<usize>().ok().filter(|n| n.to_string() == step);
        let mut found = None;
        scan.expect(b'[')?;
        scan.space();
        if scan.take(b']') {
            return Ok(None);
        }
        for place in 0.. {
            if wanted == Some(place) {
                found = self.value(scan, below, levels)?;
                if !self.whole && found.is_some() {
                    return Ok(found);
                }
            } else {
                scan.value(levels)?;
            }
            scan.space();
            if !scan.take(b',') {
                break;
            }
        }
        scan.expect(b']')?;
        Ok(found)
    }

    fn is(&self, key: Str, step: &str) -> bool {
        decode(self.body, &key).is_some_and(|key| key == step)
    }
}
