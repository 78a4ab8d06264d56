//! One value of the file: from TOML to the type that is wanted, or a sentence that says what is wrong.
//!
//! Pure: no place, no table, no environment.

mod host;
mod request;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeValue;

pub(super) use self::host::{hosts, peer, server_name};
pub(super) use self::request::{cookie_name, header_name, pointer};
use super::model::Pattern;
use crate::identity;
use crate::time::Duration;
use crate::wire::cidr::{Cidr, CidrError};

/// The longest name, in bytes.
const MAX_NAME: usize = 64;
const DAY: Duration = Duration::from_hours(24);
/// The longest time that may be asked for.
pub(super) const WEEK: Duration = Duration::from_hours(7 * 24);
/// The shortest time that is not zero.
pub(super) const MS: Duration = Duration::from_millis(1);

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        Complaint { message, suggestion: None }
    }
}

pub(super) type Read<T> = Result<T, Complaint>;

/// The one of `known` that `word` is probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let plain = |w: &str| w.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    let near = word.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&word, &plain(k)), k))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k.to_owned())
}

fn wanted(what: &str, value: &DeValue<'_>) -> Complaint {
    let found = value.type_str();
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("must be {what}, not {article} {found}").into()
}

/// A string of any content.
pub(super) fn string(value: &DeValue<'_>) -> Read<String> {
    text(value, "a string").map(str::to_owned)
}

pub(super) fn text<'v>(value: &'v DeValue<'_>, what: &str) -> Read<&'v str> {
    value.as_str().ok_or_else(|| wanted(what, value))
}

/// A list of strings.
pub(super) fn strings(value: &DeValue<'_>) -> Read<Vec<String>> {
    let list = value.as_array().ok_or_else(|| wanted("a list of strings", value))?;
    list.iter().map(|item| string(item.get_ref())).collect()
}

/// A program with its arguments, one of which has `{port}`.
pub(super) fn command(value: &DeValue<'_>) -> Read<Vec<String>> {
    let command = strings(value)?;
    let Some((program, arguments)) = command.split_first() else {
        return Err("is empty: it needs a program".to_owned().into());
    };
    if program.is_empty() || command.iter().any(|part| part.contains('\0')) {
        return Err(format!("{program:?} cannot be started").into());
    }
    if !arguments.iter().any(|argument| argument.contains("{port}")) {
        let why = "no argument has {port}: the CLI would not know where to listen";
        return Err(why.to_owned().into());
    }
    Ok(command)
}

/// A path, not empty.
pub(super) fn path(value: &DeValue<'_>) -> Read<PathBuf> {
    let path = text(value, "a path")?;
    if path.is_empty() || path.contains('\0') {
        return Err(format!("{path:?} is not a path").into());
    }
    Ok(PathBuf::from(path))
}

pub(super) fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| wanted("true or false", value))
}

/// A name that is safe in logs, metric labels and paths.
pub(super) fn name(value: &DeValue<'_>) -> Read<String> {
    let name = text(value, "a string")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(fits)
    {
        return Err(format!(
            "{name:?} is not a name: 1 to {MAX_NAME} letters, digits, \"_\", \"-\" and \".\", not starting with \".\""
        )
        .into());
    }
    Ok(name.to_owned())
}

/// What a user or tenant is called.
pub(super) fn who(value: &DeValue<'_>) -> Read<Arc<str>> {
    let text = text(value, "a name")?;
    if !identity::is_name(text) {
        let why = format!(
            "must be a name of 1 to {} bytes without control characters",
            identity::MAX_NAME
        );
        return Err(why.into());
    }
    Ok(text.into())
}

/// Several of them.
pub(super) fn names(value: &DeValue<'_>) -> Read<Vec<Arc<str>>> {
    let list = value.as_array().ok_or_else(|| wanted("a list of names", value))?;
    list.iter().map(|item| who(item.get_ref())).collect()
}

/// A string, or several in a list.
pub(super) fn one_or_more(value: &DeValue<'_>) -> Read<Vec<String>> {
    match value.as_str() {
        Some(one) => Ok(vec![one.to_owned()]),
        None => strings(value),
    }
}

/// Words of a few, each at most once; not none.
pub(super) fn words<T: Copy + PartialEq>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Read<Vec<T>> {
    let one = word(choices);
    move |value| {
        let list = value.as_array().ok_or_else(|| wanted("a list of words", value))?;
        let mut found = Vec::new();
        for item in list.iter() {
            let word = one(item.get_ref())?;
            if !found.contains(&word) {
                found.push(word);
            }
        }
        if found.is_empty() { Err("is empty".to_owned().into()) } else { Ok(found) }
    }
}

/// A list of protocols as TLS names them (RFC 7301); it may be empty.
pub(super) fn alpn(value: &DeValue<'_>) -> Read<Vec<String>> {
    let what = "a list of protocols such as [\"h2\", \"http/1.1\"]";
    let list = value.as_array().ok_or_else(|| wanted(what, value))?;
    let one = |item: &DeValue<'_>| {
        let name = text(item, "the name of a protocol")?;
        let good = (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        let name = name.to_owned();
        if good { Ok(name) } else { Err(format!("{name:?} is not the name of a protocol").into()) }
    };
    list.iter().map(|item| one(item.get_ref())).collect()
}

/// A list of at least one range of addresses.
pub(super) fn cidrs(value: &DeValue<'_>) -> Read<Vec<Cidr>> {
    let what = "a list of ranges such as [\"10.1.0.0/16\"]";
    let list = value.as_array().ok_or_else(|| wanted(what, value))?;
    if list.is_empty() {
        return Err("is empty".to_owned().into());
    }
    list.iter().map(|item| cidr(item.get_ref())).collect()
}

/// A range of addresses.
pub(super) fn cidr(value: &DeValue<'_>) -> Read<Cidr> {
    let text = text(value, "a range such as \"10.1.0.0/16\"")?;
    text.parse().map_err(|why: CidrError| Complaint {
        message: format!("{text:?}: {why}"),
        suggestion: match &why {
            CidrError::HostBits(meant) => Some(meant.to_string()),
            CidrError::Form | CidrError::Prefix(_) => None,
        },
    })
}

/// A [`name`], or an address: what an upstream is called by default.
pub(super) fn upstream_name(value: &DeValue<'_>) -> Read<String> {
    match value.as_str().and_then(|text| text.parse::<SocketAddr>().ok()) {
        Some(address) => Ok(address.to_string()),
        None => name(value),
    }
}

/// A list of at least one address and port to connect to.
pub(super) fn addresses(value: &DeValue<'_>) -> Read<Vec<SocketAddr>> {
    let what = "a list of addresses such as [\"10.0.0.10:53\"]";
    let list = value.as_array().ok_or_else(|| wanted(what, value))?;
    let one = |item| {
        let found = address(item)?;
        let possible = found.port() != 0 && !found.ip().is_unspecified();
        possible
            .then_some(found)
            .ok_or_else(|| format!("{found} is not an address to connect to").into())
    };
    let found: Vec<_> = list.iter().map(|item| one(item.get_ref())).collect::<Read<_>>()?;
    if found.is_empty() { Err("is empty".to_owned().into()) } else { Ok(found) }
}

/// An address and a port, without name resolution.
pub(super) fn address(value: &DeValue<'_>) -> Read<SocketAddr> {
    let what = "an address such as \"127.0.0.1:4320\"";
    let text = text(value, what)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let message = format!("{text:?} is not {what}");
    let suggestion = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(format!("{message}: {ip} has no port").into());
    }
    let why = if is_named(text) { ": a host name is not possible here" } else { "" };
    Err(Complaint { message: format!("{message}{why}"), suggestion })
}

/// Whether it is a host name with a port.
fn is_named(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && host.starts_with(|c: char| c.is_ascii_alphabetic())
    })
}

pub(super) fn integer(bounds: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<u32> {
    move |value| {
        let found = value.as_integer().ok_or_else(|| wanted("an integer", value))?;
        u32::from_str_radix(found.as_str(), found.radix())
            .ok()
            .filter(|n| bounds.contains(n))
            .ok_or_else(|| outside(found.to_string(), bounds.start(), bounds.end()))
    }
}

pub(super) fn count(bounds: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<usize> {
    let read = integer(bounds);
    move |value| read(value).map(|n| n as usize)
}

pub(super) fn number(bounds: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Read<f64> {
    move |value| {
        let text = value
            .as_float()
            .map(|f| f.as_str())
            .or_else(|| value.as_integer().filter(|i| i.radix() == 10).map(|i| i.as_str()))
            .ok_or_else(|| wanted("a number", value))?;
        text.parse()
            .ok()
            .filter(|n| bounds.contains(n))
            .ok_or_else(|| outside(text.to_owned(), bounds.start(), bounds.end()))
    }
}

/// A time such as "30s".
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    move |value| {
        let what = "a duration such as \"30s\" or \"5m\"";
        let text = text(value, what)?;
        let found = humantime::parse_duration(text)
            .map_err(|why| Complaint::from(format!("{text:?} is not {what}: {why}")))?;
        if bounds.contains(&found) {
            return Ok(found);
        }
        Err(outside(
            text.to_owned(),
            &show_duration(*bounds.start()),
            &show_duration(*bounds.end()),
        ))
    }
}

/// A size such as "64KiB", in bytes.
pub(super) fn size(bounds: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Read<usize> {
    move |value| {
        let what = "a size such as \"64KiB\" (B, KiB, MiB, GiB)";
        let text = text(value, what)?;
        let found =
            parse_size(text).ok_or_else(|| Complaint::from(format!("{text:?} is not {what}")))?;
        usize::try_from(found).ok().filter(|_| bounds.contains(&found)).ok_or_else(|| {
            outside(text.to_owned(), &show_size(*bounds.start()), &show_size(*bounds.end()))
        })
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let listed: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        let what = format!("one of {}", listed.join(", "));
        let found = text(value, &what)?;
        choices.iter().find(|(word, _)| *word == found).map(|(_, meaning)| *meaning).ok_or_else(
            || Complaint {
                message: format!("{found:?} must be {what}"),
                suggestion: nearest(found, choices.iter().map(|(word, _)| *word)),
            },
        )
    }
}

/// A regular expression over a whole session id; its groups mean nothing.
pub(super) fn id_pattern(value: &DeValue<'_>) -> Read<Pattern> {
    let text = text(value, "a regular expression")?;
    Pattern::new(text).map_err(|why| {
        // The crate draws the pattern over several lines; the last one says what is wrong.
        let why = why.to_string();
        let last = why.lines().last().unwrap_or(&why).trim().trim_start_matches("error: ");
        Complaint::from(format!("not a regular expression: {last}"))
    })
}

/// A regular expression with a group `user`, a group `tenant`, or both, and no other named one.
pub(super) fn pattern(value: &DeValue<'_>) -> Read<Pattern> {
    let pattern = id_pattern(value)?;
    let known = ["user", "tenant"];
    if let Some(group) = pattern.groups().find(|group| !known.contains(group)) {
        return Err(Complaint {
            message: format!(
                "the group {group:?} means nothing here: the groups are user and tenant"
            ),
            suggestion: nearest(group, known),
        });
    }
    if pattern.groups().next().is_none() {
        let why = "the pattern names nobody: it needs a group (?<user>...) or (?<tenant>...)";
        return Err(why.to_owned().into());
    }
    Ok(pattern)
}

fn outside(
    found: String,
    least: &dyn std::fmt::Display,
    most: &dyn std::fmt::Display,
) -> Complaint {
    format!("{found} is out of range: from {least} to {most}").into()
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..)?.trim() {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << unit)
}

/// `bytes` in the largest unit that leaves no rest.
pub(super) fn show_size(bytes: u64) -> String {
    let (n, unit) = match bytes {
        0 => (0, "B"),
        n if n.is_multiple_of(1 << 30) => (n >> 30, "GiB"),
        n if n.is_multiple_of(1 << 20) => (n >> 20, "MiB"),
        n if n.is_multiple_of(1 << 10) => (n >> 10, "KiB"),
        n => (n, "B"),
    };
    format!("{n}{unit}")
}

/// A time as one writes it in the file: whole days as such, for a month has no length.
pub(super) fn show_duration(time: Duration) -> String {
    let days = time.as_secs() / DAY.as_secs();
    if days > 1 && time == DAY * u32::try_from(days).unwrap_or(u32::MAX) {
        return format!("{days}days");
    }
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn read<T>(toml: &str, f: impl Fn(&DeValue<'_>) -> Read<T>) -> Result<T, String> {
        f(DeValue::parse(toml).unwrap().get_ref()).map_err(|c| match c.suggestion {
            Some(suggestion) => format!("{}; {suggestion}", c.message),
            None => c.message,
        })
    }

    #[test]
    fn sizes_have_binary_units() {
        let size = |toml| read(toml, size(1..=1 << 30));
        assert_eq!(size("'64KiB'"), Ok(65536));
        assert_eq!(size("'1 MiB'"), Ok(1 << 20));
        for bad in
            ["'64KB'", "'KiB'", "'1.5MiB'", "'-1B'", "'64'", "'99999999999999999999GiB'", "''"]
        {
            assert!(size(bad).unwrap_err().contains("is not a size"), "{bad}");
        }
        assert_eq!(size("'2GiB'").unwrap_err(), "2GiB is out of range: from 1B to 1GiB");
        assert!(size("64").unwrap_err().ends_with("not an integer"));
    }

    #[test]
    fn durations_have_units_and_bounds() {
        let duration = |toml| read(toml, duration(MS..=WEEK));
        assert_eq!(duration("'1m 30s'"), Ok(Duration::from_secs(90)));
        assert!(duration("'30'").unwrap_err().contains("\"30\" is not a duration"));
        assert_eq!(duration("'0s'").unwrap_err(), "0s is out of range: from 1ms to 7days");
    }

    #[test]
    fn integers_keep_their_bounds_in_every_base() {
        let integer = |toml| read(toml, integer(1..=300));
        assert_eq!(integer("0xff"), Ok(255));
        assert_eq!(integer("3_00"), Ok(300));
        for bad in ["0", "-1", "301", "99999999999999999999999999"] {
            assert!(integer(bad).unwrap_err().contains("out of range: from 1 to 300"), "{bad}");
        }
    }

    #[test]
    fn numbers_may_be_written_as_integers() {
        let number = |toml| read(toml, number(1.01..=10.0));
        assert_eq!(number("2"), Ok(2.0));
        assert_eq!(number("1.25"), Ok(1.25));
        for bad in ["1.0", "nan", "inf", "-2.0"] {
            assert!(number(bad).unwrap_err().contains("out of range"), "{bad}");
        }
    }

    #[test]
    fn an_address_without_port_or_with_a_name_says_so() {
        assert!(read("'127.0.0.1'", address).unwrap_err().ends_with("has no port"));
        assert!(
            read("'cli:4321'", address).unwrap_err().ends_with("a host name is not possible here")
        );
        assert!(read("'localhost:80'", address).unwrap_err().ends_with("; 127.0.0.1:80"));
        assert!(read("'127.0.0.1:99999'", address).is_err());
        assert!(read("'[::1]:80'", address).is_ok());
    }

    #[test]
    fn a_word_near_a_choice_is_suggested() {
        const CHOICES: &[(&str, u8)] =
            &[("round_robin", 1), ("least_loaded", 2), ("consistent", 3)];
        let word = |toml| read(toml, word(CHOICES));
        assert_eq!(word("'least_loaded'"), Ok(2));
        assert!(word("'consistant'").unwrap_err().ends_with("; consistent"));
        assert!(word("'Round-Robin'").unwrap_err().ends_with("; round_robin"));
        assert_eq!(
            word("'random'").unwrap_err(),
            "\"random\" must be one of \"round_robin\", \"least_loaded\", \"consistent\""
        );
    }

    #[test]
    fn names_are_safe_in_paths() {
        for bad in ["''", "'..'", "'a/b'", "'a b'", "'.x'", "'é'", "\"a\\u0000\""] {
            assert!(read(bad, name).is_err(), "{bad}");
        }
        assert_eq!(read("'cli-1.eu_x'", name).unwrap(), "cli-1.eu_x");
    }

    proptest! {
        #[test]
        fn sizes_and_durations_are_read_as_they_are_shown(n in 0u64..1 << 40, ms in 0u64..604_800_000) {
            prop_assert_eq!(parse_size(&show_size(n)), Some(n));
            let time = Duration::from_millis(ms);
            prop_assert_eq!(humantime::parse_duration(&show_duration(time)).unwrap(), time);
        }
    }
}
