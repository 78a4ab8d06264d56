//! Which hosts something is for, by the name that a request gives. Pure.

use std::fmt;

/// Which hosts a route is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// All.
    Any,
    /// This one, in lower case.
    Exactly(Box<str>),
    /// All that end in this, with its first dot: `.example.com`. In lower case; not `example.com` itself.
    Below(Box<str>),
}

impl Host {
    /// `*`, a name, or `*.` and a name. `None`: none of these.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let is_name = |name: &str| {
            let taken = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']')
            };
            !name.is_empty() && name.bytes().all(taken) && !name.starts_with('.')
        };
        match text.strip_prefix("*.") {
            _ if text == "*" => Some(Host::Any),
            Some(name) => is_name(name).then(|| Host::Below(format!(".{name}").into())),
            None => is_name(&text).then(|| Host::Exactly(text.into())),
        }
    }

    /// How much of the host it names; `None`: it is for others.
    pub fn fit(&self, host: &str) -> Option<usize> {
        match self {
            Host::Any => Some(0),
            // One that is named counts for more than any pattern.
            Host::Exactly(name) => host.eq_ignore_ascii_case(name).then_some(usize::MAX),
            Host::Below(end) => {
                let begin = host.len().checked_sub(end.len()).filter(|begin| *begin > 0)?;
                host.get(begin..)?.eq_ignore_ascii_case(end).then_some(end.len())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => f.write_str("*"),
            Host::Exactly(name) => f.write_str(name),
            Host::Below(end) => write!(f, "*{end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_with_or_without_a_star() {
        assert_eq!(Host::read("*"), Some(Host::Any));
        assert_eq!(Host::read("*.A.b"), Some(Host::Below(".a.b".into())));
        assert_eq!(Host::read("A"), Some(Host::Exactly("a".into())));
        for text in ["*", "*.a.b", "a"] {
            assert_eq!(Host::read(text).unwrap().to_string(), text);
        }
        for wrong in ["", "*.", "a*", "*a", "a.*.b", "a/b", "a b", ".a", "*..a"] {
            assert_eq!(Host::read(wrong), None, "{wrong}");
        }
    }
}
