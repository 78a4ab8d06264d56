//! Text of a stranger's making, such as a session's id that nobody has accepted yet, as it may stand in a log line.

use std::fmt;

/// What is shown of a text, in bytes: more than any session's id has.
const MOST: usize = 256;

/// Shows a text without what a terminal or a reader could take for something else: control characters and those that
/// cannot be seen are escaped, as `\u{1b}`, and what is too long is cut, with its length.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let end = text.floor_char_boundary(MOST);
        for c in text.get(..end).unwrap_or_default().chars() {
            if is_plain(c) {
                fmt::Write::write_char(f, c)?
            } else {
                write!(f, "{}", c.escape_unicode())?
            }
        }
        if end < text.len() {
            write!(f, "... ({} bytes)", text.len())?;
        }
        Ok(())
    }
}

/// Whether a character is itself in every line: no control character, none that hides, joins, or turns the writing round.
fn is_plain(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !hidden && c != '\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Shown(text).to_string()
    }

    #[test]
    fn what_clis_take_as_an_id_is_shown_as_it_is() {
        let id = "user-Alice_chat-0123456789".repeat(9);
        assert_eq!(shown(&id), id);
        assert_eq!(shown("größe 日本"), "größe 日本");
    }

    #[test]
    fn nothing_in_it_does_anything_to_who_reads_it() {
        assert_eq!(shown("a\r\n\u{1b}[2J\u{7f}"), r"a\u{d}\u{a}\u{1b}[2J\u{7f}");
        assert_eq!(
            shown("\u{9b}2J\u{202e}x\u{200b}\u{2028}"),
            r"\u{9b}2J\u{202e}x\u{200b}\u{2028}"
        );
        // What was escaped cannot be taken for what the text had.
        assert_eq!(shown(r"\u{1b}"), r"\u{5c}u{1b}");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let long = shown(&"é".repeat(10_000));
        assert!(long.len() < 300 && long.ends_with("... (20000 bytes)"), "{long}");
        // Escapes are longer than what they stand for, but not without a bound.
        assert!(shown(&"\u{1b}".repeat(10_000)).len() < 2_000);
    }
}
