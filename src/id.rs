//! The names of things: sessions, requests, conns, links, upstreams. Newtypes, so that none stands in for another.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Long enough for a UUID with its JSON quotes.
const INLINE: usize = 38;

/// A short immutable text, kept in place up to 38 bytes, on the heap beyond.
#[derive(Clone)]
struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; INLINE]),
    Heap(Box<str>),
}

impl Text {
    fn new(text: &str) -> Self {
        let mut buf = [0; INLINE];
        match buf.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Text(Repr::Inline(text.len() as u8, buf))
            }
            None => Text(Repr::Heap(text.into())),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, buf) => buf.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Heap(text) => text.as_bytes(),
        }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Text);

        impl $name {
            /// Keeps a copy of `text`.
            pub fn new(text: &str) -> Self {
                Self(Text::new(text))
            }

            /// The text, as bytes of UTF-8.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                // Made from a `&str` and never changed, so this cannot fail.
                std::str::from_utf8(self.as_bytes()).unwrap_or_default()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_bytes().hash(state);
            }
        }

        /// Lets a map be asked with the bytes of a frame, without making a key first.
        impl Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                self.as_bytes()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text_id! {
    /// A Copilot session's id, as the client and the CLI write it.
    SessionId
}

text_id! {
    /// The id of a JSON-RPC request as raw JSON text: `7` or `"4f0c…"`. Equal only to the same text,
    /// so that the number 1 and the string "1" stay two ids.
    RawId
}

text_id! {
    /// The id of something a session asked its clients for: a tool call, a permission, a prompt.
    AskId
}

/// One upstream, for as long as this process lives: a CLI that was removed does not lend its number to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u32);

/// One conn, for as long as this process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// One link of a conn; never used twice on the same conn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_equal_by_text_whether_in_place_or_on_the_heap() {
        for len in [0, 1, 37, 38, 39, 300] {
            let text = "x".repeat(len);
            assert_eq!(SessionId::new(&text).as_str(), text);
            assert_eq!(SessionId::new(&text), SessionId::new(&text));
            assert_ne!(SessionId::new(&text), SessionId::new(&format!("{text}y")));
        }
    }

    #[test]
    fn a_number_and_a_string_of_the_same_digits_are_two_ids() {
        assert_ne!(RawId::new("1"), RawId::new("\"1\""));
    }

    #[test]
    fn an_id_stays_small() {
        assert!(size_of::<SessionId>() <= 40);
    }
}
