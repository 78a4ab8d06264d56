//! What can be told of a frame that is refused, or too large to be read: only what its head shows for sure.

use crate::rpc::json::{Scanner, Span};

/// The id of a frame that is otherwise refused, perhaps cut short: raw text, for the error to carry. Only
/// where the frame's own level shows exactly one, as far as it goes.
pub fn peek_id(head: &[u8]) -> Option<&str> {
    let (1, value) = peek(head, b"id")? else { return None };
    // A number that ends where the head ends may have lost digits.
    let whole = value.end < head.len();
    whole.then(|| std::str::from_utf8(value.of(head)).ok()).flatten()
}

/// Whether a frame that is otherwise refused, perhaps cut short, answers a request instead of making one.
pub fn is_answer(head: &[u8]) -> bool {
    let has = |name| peek(head, name).is_some();
    !has(b"method") && (has(b"result") || has(b"error"))
}

/// Whether a frame that is otherwise refused calls a method.
pub fn is_call(head: &[u8]) -> bool {
    peek(head, b"method").is_some()
}

/// How many members of this name the frame's own level has, as far as the head goes, and the value of the last.
fn peek(head: &[u8], name: &[u8]) -> Option<(usize, Span)> {
    let mut found: Option<(usize, Span)> = None;
    let mut depth = 0u32;
    let mut scan = Scanner::new(head);
    let mut key = false;
    while let Some(&byte) = head.get(scan.pos()) {
        match byte {
            b'"' => {
                let Ok(text) = scan.skip() else { break };
                let named = head.get(text.start + 1..text.end - 1) == Some(name);
                if std::mem::take(&mut key) && depth == 1 && named {
                    scan.space();
                    scan.expect(b':').ok()?;
                    let start = scan.pos();
                    // Of a value that is cut off, its start is enough to know that it is there.
                    let value = scan.skip().unwrap_or(Span { start, end: head.len() });
                    found = Some((found.map_or(1, |(count, _)| count + 1), value));
                    scan = Scanner::at(head, value.end);
                }
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                key = byte == b'{';
            }
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b',' => key = depth == 1,
            _ => {}
        }
        scan = Scanner::at(head, scan.pos() + 1);
    }
    found
}
