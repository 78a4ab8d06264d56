//! The cookies that keep a client with its upstreams, one for each pool: it names the upstream, and is signed, so that nobody
//! can aim at one.
//!
//! The pool of the listener has the name that the operator chose, that of a route `NAME-POOL`: a client that uses several
//! keeps its place in each. `<expiry>.<upstream>.<signature>`: seconds since 1970 in hexadecimal, the upstream's name and HMAC-SHA256 over both and
//! the pool, in base64url. No upstream sees any of them. Pure but for the key; knows no clock.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::HeaderValue;
use http::header::{self, HeaderMap};
use ring::hmac;

use crate::config;

/// What a signature is for, so that it is good for nothing else.
const DOMAIN: &[u8] = b"fairlead affinity 1";

/// The longest cookie of ours that is looked at, in bytes.
const MOST: usize = 512;

/// The cookies of one listener.
pub struct Affinity {
    /// That of each pool.
    cookies: Box<[Cookie]>,
    ttl: u64,
    key: hmac::Key,
}

#[derive(Debug)]
struct Cookie {
    pool: Box<str>,
    name: Box<str>,
}

/// What a request's cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The upstream's name.
    pub upstream: String,
    /// Whether more than half of its time is over, so that a new one is due.
    pub is_old: bool,
}

impl Affinity {
    /// Cookies that hold for `ttl` seconds, signed with what this secret makes: of this name for the listener's own pool,
    /// of longer ones for the others.
    pub fn new(name: &str, own: &str, others: &[&str], ttl: u64, secret: &[u8]) -> Self {
        let mut cookies = vec![Cookie { pool: own.into(), name: name.into() }];
        for pool in others {
            if cookies.iter().all(|cookie| *cookie.pool != **pool) {
                let name = config::Cookie::name_for(name, pool).into();
                cookies.push(Cookie { pool: (*pool).into(), name });
            }
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Affinity { cookies: cookies.into(), ttl, key }
    }

    /// The names of all of them.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.cookies.iter().map(|cookie| &*cookie.name)
    }

    fn name(&self, pool: &str) -> Option<&str> {
        let cookie = self.cookies.iter().find(|cookie| *cookie.pool == *pool)?;
        Some(&cookie.name)
    }

    fn signature(&self, pool: &str, expiry: &str, upstream: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [DOMAIN, pool.as_bytes(), expiry.as_bytes(), upstream.as_bytes()] {
            // With its length before it, no part can be taken for the end of another.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }

    /// Where the cookie of a request says that it belongs; `None`: it has none that is good for this pool now.
    pub fn aim(&self, headers: &HeaderMap, pool: &str, now: u64) -> Option<Aim> {
        let name = self.name(pool)?;
        let values = headers.get_all(header::COOKIE).iter();
        let crumbs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let named = crumbs.filter_map(|crumb| value(crumb, name));
        let ours = named.filter(|value| value.len() <= MOST);
        ours.filter_map(|value| self.read(std::str::from_utf8(value).ok()?, pool, now)).next()
    }

    fn read(&self, value: &str, pool: &str, now: u64) -> Option<Aim> {
        let mut parts = value.split('.');
        let (expiry, name, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let upstream = String::from_utf8(BASE64.decode(name).ok()?).ok()?;
        let signed = BASE64.decode(signature).ok().filter(|_| parts.next().is_none())?;
        let right = self.signature(pool, expiry, &upstream);
        let is_right = bool::from(subtle::ConstantTimeEq::ct_eq(right.as_ref(), signed.as_slice()));
        let left = u64::from_str_radix(expiry, 16).ok().filter(|_| is_right)?.checked_sub(now)?;
        (left > 0).then_some(Aim { upstream, is_old: left < self.ttl / 2 })
    }

    /// What `Set-Cookie` says for a client that belongs to this upstream. `secure`: it came over TLS.
    pub fn set(&self, pool: &str, upstream: &str, now: u64, secure: bool) -> Option<HeaderValue> {
        let expiry = format!("{:x}", now.saturating_add(self.ttl));
        let signature = BASE64.encode(self.signature(pool, &expiry, upstream));
        let (name, upstream) = (self.name(pool)?, BASE64.encode(upstream));
        let secure = if secure { "; Secure" } else { "" };
        let text = format!(
            "{name}={expiry}.{upstream}.{signature}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            self.ttl
        );
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }

    /// Whether a part of a Cookie field is ours, whatever pool it is of.
    fn is_ours(&self, crumb: &[u8]) -> bool {
        self.names().any(|name| value(crumb, name).is_some())
    }

    /// Whether a Cookie field has one of ours.
    pub fn is_in(&self, value: &[u8]) -> bool {
        value.split(|byte| *byte == b';').any(|crumb| self.is_ours(crumb))
    }

    /// A Cookie field without ours; `None`: nothing is left.
    pub fn strip(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut left = Vec::with_capacity(value.len());
        let crumbs = value.split(|byte| *byte == b';').filter(|crumb| !self.is_ours(crumb));
        for crumb in crumbs.map(<[u8]>::trim_ascii).filter(|crumb| !crumb.is_empty()) {
            if !left.is_empty() {
                left.extend_from_slice(b"; ");
            }
            left.extend_from_slice(crumb);
        }
        (!left.is_empty()).then_some(left)
    }
}

/// The value of a part of a Cookie field, if it has this name.
fn value<'a>(crumb: &'a [u8], name: &str) -> Option<&'a [u8]> {
    crumb.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

impl std::fmt::Debug for Affinity {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Affinity").field("cookies", &self.cookies).field("ttl", &self.ttl).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn affinity() -> Affinity {
        Affinity::new("stick", "p", &["q", "p"], 3600, b"a secret of the operator's")
    }

    /// What the client sends back for what it was given.
    fn sent_back(set: &HeaderValue) -> String {
        set.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    fn cookies(values: &[&str]) -> HeaderMap {
        let of = |value: &&str| (header::COOKIE, HeaderValue::from_str(value).unwrap());
        values.iter().map(of).collect()
    }

    fn aim(cookie: &str, pool: &str, now: u64) -> Option<Aim> {
        affinity().aim(&cookies(&[cookie]), pool, now)
    }

    #[test]
    fn what_was_set_is_understood_until_it_expires() {
        let cookie = sent_back(&affinity().set("p", "app-1", NOW, false).unwrap());
        let fresh = Aim { upstream: "app-1".into(), is_old: false };
        assert_eq!(aim(&cookie, "p", NOW), Some(fresh.clone()));
        assert_eq!(aim(&cookie, "p", NOW + 1800), Some(fresh.clone()));
        assert_eq!(aim(&cookie, "p", NOW + 1801), Some(Aim { is_old: true, ..fresh }));
        assert!(aim(&cookie, "p", NOW + 3599).is_some());
        assert_eq!(aim(&cookie, "p", NOW + 3600), None);
        assert_eq!(aim(&cookie, "q", NOW), None);
    }

    #[test]
    fn nobody_can_make_or_change_one() {
        let cookie = sent_back(&affinity().set("p", "app-1", NOW, false).unwrap());
        for at in "stick=".len()..cookie.len() {
            for other in [b'A', b'0', b'.', b'~'] {
                let mut bytes = cookie.clone().into_bytes();
                if bytes[at] == other {
                    continue;
                }
                bytes[at] = other;
                let changed = String::from_utf8(bytes).unwrap();
                // The last character of base64 has bits that say nothing; the decoder refuses those.
                assert_eq!(aim(&changed, "p", NOW), None, "{changed}");
            }
        }
        let other = Affinity::new("stick", "p", &[], 3600, b"another");
        let other = other.set("p", "app-1", NOW, false).unwrap();
        assert_eq!(aim(&sent_back(&other), "p", NOW), None);
        assert_eq!(aim(&format!("{cookie}.x"), "p", NOW), None);
        assert_eq!(aim(&cookie[..cookie.len() - 1], "p", NOW), None);
    }

    #[test]
    fn it_is_found_and_taken_out_among_others() {
        let affinity = affinity();
        let cookie = sent_back(&affinity.set("p", "app-1", NOW, false).unwrap());
        for (field, left) in [
            (format!("a=1; {cookie}; b=2"), Some("a=1; b=2")),
            (format!("stick=wrong; {cookie}"), None),
            (format!("{cookie};a=1"), Some("a=1")),
            (cookie.clone(), None),
        ] {
            assert!(affinity.aim(&cookies(&[&field]), "p", NOW).is_some(), "{field}");
            assert!(affinity.is_in(field.as_bytes()));
            assert_eq!(affinity.strip(field.as_bytes()).as_deref(), left.map(str::as_bytes));
        }
        assert!(affinity.aim(&cookies(&["a=1", &cookie]), "p", NOW).is_some());
        assert!(!affinity.is_in(b"sticky=1; xstick=2; a=stick=1"));
    }

    #[test]
    fn each_pool_has_its_own_which_counts_there_alone() {
        let affinity = affinity();
        assert_eq!(affinity.names().collect::<Vec<_>>(), ["stick", "stick-q"]);
        let [p, q] =
            ["p", "q"].map(|pool| sent_back(&affinity.set(pool, "app-1", NOW, false).unwrap()));
        assert!(p.starts_with("stick=") && q.starts_with("stick-q="), "{p} {q}");
        let both = format!("{q}; {p}");
        for (pool, own, other) in [("p", &p, &q), ("q", &q, &p)] {
            assert!(aim(&both, pool, NOW).is_some() && aim(own, pool, NOW).is_some());
            assert_eq!(aim(other, pool, NOW), None);
            let moved =
                other.replacen(other.split('=').next().unwrap(), affinity.name(pool).unwrap(), 1);
            assert_eq!(aim(&moved, pool, NOW), None, "it is signed for its pool");
        }
        assert_eq!(affinity.strip(format!("{both}; stick-r=1").as_bytes()).unwrap(), b"stick-r=1");
        assert!(affinity.set("r", "app-1", NOW, false).is_none());
    }

    #[test]
    fn its_attributes_keep_it_from_scripts_other_sites_and_plain_text() {
        let text = |secure| {
            let set = affinity().set("p", "app-1", NOW, secure).unwrap();
            set.to_str().unwrap().split_once(';').unwrap().1.to_owned()
        };
        assert_eq!(text(false), " Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
        assert_eq!(text(true), " Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure");
    }

    #[test]
    fn its_key_is_not_shown() {
        let shown = format!("{:?}", Affinity::new("stick", "p", &[], 3600, b"a secret"));
        let cookie = "Cookie { pool: \"p\", name: \"stick\" }";
        assert_eq!(shown, format!("Affinity {{ cookies: [{cookie}], ttl: 3600 }}"));
    }
}
