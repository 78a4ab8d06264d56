//! Where an upstream is: an address, or a name that says it. Nothing is resolved here.

use toml::de::DeValue;

use super::{Complaint, Read, address, text};
use crate::config::model::Address;

/// The longest name and the longest part of one, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The address of an upstream, or a name with a port.
pub(in crate::config) fn peer(value: &DeValue<'_>) -> Read<Address> {
    let what = "an address such as \"127.0.0.1:4320\", or a name such as \"cli.example.com:4321\"";
    let text = text(value, what)?;
    if let Some((host, port)) = named(text) {
        return name(host, port, text);
    }
    let address = address(value)?;
    if address.port() == 0 || address.ip().is_unspecified() {
        return Err(format!("{:?} is not an address to connect to", address.to_string()).into());
    }
    Ok(Address::Socket(address))
}

/// The two parts of what is meant as a name with a port.
fn named(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    // What ends in a number is an address, or should be one (RFC 1123, section 2.1).
    let last = host.trim_end_matches('.').rsplit('.').next()?;
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    let plain = !numeric && !host.contains([':', '[', ']']);
    plain.then_some((host, port.parse().ok()?))
}

/// A list of names of hosts; `*.` at the start of one stands for a label.
pub(in crate::config) fn hosts(value: &DeValue<'_>) -> Read<Vec<String>> {
    let what = "a list of names such as [\"a.example.com\", \"*.example.com\"]";
    let all = value.as_array().ok_or_else(|| format!("must be {what}"))?;
    let one = |item: &DeValue<'_>| {
        let host = text(item, "a name of a host")?.to_ascii_lowercase();
        let plain = host.strip_prefix("*.").unwrap_or(&host);
        let numeric =
            plain.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        let good = !numeric && is_host(plain);
        if good { Ok(host) } else { Err(format!("{host:?} is not the name of a host").into()) }
    };
    let found: Vec<_> = all.iter().map(|item| one(item.get_ref())).collect::<Read<_>>()?;
    if found.is_empty() { Err("is empty".to_owned().into()) } else { Ok(found) }
}

/// What a certificate may be for: the name of a host, or an address.
pub(in crate::config) fn server_name(value: &DeValue<'_>) -> Read<String> {
    let name = text(value, "a name such as \"app.example.com\"")?.to_ascii_lowercase();
    let good = name.parse::<std::net::IpAddr>().is_ok() || is_host(&name);
    if good { Ok(name) } else { Err(format!("{name:?} is not the name of a host").into()) }
}

/// Whether it is a name without a dot at its end.
fn is_host(plain: &str) -> bool {
    let good = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let edges = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && label.len() <= MAX_LABEL && edges && label.bytes().all(inner)
    };
    plain.len() <= MAX_NAME && plain.split('.').all(good)
}

fn name(host: &str, port: u16, text: &str) -> Read<Address> {
    let plain = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if plain == "localhost" {
        return Err(Complaint {
            message: format!(
                "{text:?} is two addresses of one upstream, which would be taken for two"
            ),
            suggestion: Some(format!("127.0.0.1:{port}")),
        });
    }
    if !is_host(&plain) {
        return Err(format!("{host:?} is not the name of a host").into());
    }
    if port == 0 {
        return Err(format!("{text:?} has no port to connect to").into());
    }
    // A name with a dot at its end is not looked for in the system's search domains.
    let host = if host.ends_with('.') { format!("{plain}.") } else { plain };
    Ok(Address::Name { host, port })
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn name(host: &str, port: u16) -> Address {
        Address::Name { host: host.into(), port }
    }

    #[test]
    fn a_peer_is_an_address_or_a_name() {
        let socket = |text: &str| Address::Socket(text.parse().unwrap());
        for (text, meant) in [
            ("'10.0.0.1:80'", socket("10.0.0.1:80")),
            ("'[::1]:80'", socket("[::1]:80")),
            ("'CLI.default.svc.cluster.local:4321'", name("cli.default.svc.cluster.local", 4321)),
            ("'cli:1'", name("cli", 1)),
            ("'3com.example.:1'", name("3com.example.", 1)),
            ("'_cli.a_b:1'", name("_cli.a_b", 1)),
        ] {
            assert_eq!(read(text, peer), Ok(meant), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let label = "x".repeat(MAX_LABEL + 1);
        let long = vec!["x".repeat(MAX_LABEL); 4].join(".");
        for bad in [
            "'10.0.0.256:80'",
            "'1.2.3.4.5:80'",
            "'cli.7:80'",
            "'cli'",
            "'cli:0'",
            "'cli:65536'",
            "'-cli.a:1'",
            "'cli-.a:1'",
            "'cli..a:1'",
            "'.:1'",
            "':1'",
            "'c i:1'",
            "'::1:80x'",
            "'0.0.0.0:80'",
            "'127.0.0.1:0'",
            &format!("'{label}.a:1'"),
            &format!("'{long}:1'"),
        ] {
            assert!(read(bad, peer).is_err(), "{bad}");
        }
        assert!(read("'localhost:80'", peer).unwrap_err().ends_with("; 127.0.0.1:80"));
    }
}
