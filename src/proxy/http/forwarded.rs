//! Where the client of a request is, by what the proxies in front of us say of it. Believes an address only as far as the
//! one that says it is trusted: what a client writes itself is never reached.

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderMap, HeaderName};

use crate::wire::cidr::Cidr;

/// Where clients are, each proxy adding who spoke to it.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request that a trusted `peer` sent: the last address in `X-Forwarded-For` that is not one of the trusted
/// proxies; where all are, the first. `None`: a proxy says what is no address, so nobody knows.
pub fn client(headers: &HeaderMap, trusted: &[Cidr], peer: IpAddr) -> Option<IpAddr> {
    let mut client = peer;
    let values = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    for node in values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        client = address(node)?;
        if !trusted.iter().any(|range| range.contains(client)) {
            break;
        }
    }
    Some(client)
}

/// An address, which some proxies write with a port.
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn seen(values: &[&'static str]) -> Option<String> {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(value));
        }
        client(&headers, &trusted, "10.0.0.1".parse().unwrap()).map(|ip| ip.to_string())
    }

    #[test]
    fn it_is_the_last_that_is_not_one_of_the_proxies() {
        for (values, expected) in [
            (&[][..], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1", "10.0.0.2,10.0.0.3 "], "192.0.2.1"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["2001:db8::1, fd00::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:80"], "2001:db8::1"),
            (&["192.0.2.1:4000"], "192.0.2.1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
        ] {
            assert_eq!(seen(values).as_deref(), Some(expected), "{values:?}");
        }
    }

    #[test]
    fn what_a_client_writes_itself_is_not_looked_at() {
        assert_eq!(seen(&["10.9.9.9, 192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(seen(&["nonsense", "192.0.2.1, 10.0.0.2"]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn where_a_proxy_does_not_say_nobody_knows() {
        for values in
            [&["unknown"][..], &["192.0.2.1, _hidden"], &["192.0.2.1, unknown, 10.0.0.2"], &[""]]
        {
            assert_eq!(seen(values), None, "{values:?}");
        }
    }
}
