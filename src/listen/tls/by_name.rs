//! Which certificate a client gets: by the name that it asks for (SNI, RFC 6066). It reads no file.

use std::sync::Arc;

use ahash::AHashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct ByName {
    named: AHashMap<String, Arc<CertifiedKey>>,
    /// For every other name, and for none; `None`: they are refused.
    other: Option<Arc<CertifiedKey>>,
}

impl ByName {
    pub(super) fn new(other: Option<Arc<CertifiedKey>>) -> Self {
        ByName { named: AHashMap::new(), other }
    }

    /// For these names this one; a name that has one keeps it. Lower case; `*.` at the start stands for one label.
    pub(super) fn add(&mut self, hosts: &[String], certified: &Arc<CertifiedKey>) {
        for host in hosts {
            self.named.entry(host.clone()).or_insert_with(|| Arc::clone(certified));
        }
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let named = name.as_deref().and_then(|name| {
            let wildcard = || {
                let (_, parent) = name.split_once('.')?;
                self.named.get(&format!("*.{parent}"))
            };
            self.named.get(name).or_else(wildcard)
        });
        named.or(self.other.as_ref()).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::certificates;

    fn certified() -> Arc<CertifiedKey> {
        let made = rcgen::generate_simple_self_signed(vec!["x.example".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        certificates::pair(made.cert.pem().as_bytes(), key.as_bytes()).unwrap().certified
    }

    #[test]
    fn a_name_has_its_own_certificate_or_that_of_its_parent() {
        let (exact, wild, other) = (certified(), certified(), certified());
        let mut all = ByName::new(Some(Arc::clone(&other)));
        all.add(&["a.example.com".into()], &exact);
        all.add(&["*.example.com".into(), "a.example.com".into()], &wild);
        let is = |name: Option<&str>, which: &Arc<CertifiedKey>| {
            assert!(Arc::ptr_eq(&all.find(name).unwrap(), which), "{name:?}");
        };
        is(Some("a.example.com"), &exact);
        is(Some("A.Example.COM"), &exact);
        is(Some("b.example.com"), &wild);
        for unknown in ["example.com", "b.c.example.com", "com", "x", ""] {
            is(Some(unknown), &other);
        }
        is(None, &other);
    }

    #[test]
    fn who_asks_for_no_name_that_is_known_may_be_refused() {
        let mut all = ByName::new(None);
        all.add(&["a.example.com".into()], &certified());
        assert!(all.find(Some("a.example.com")).is_some());
        assert!(all.find(Some("b.example.com")).is_none() && all.find(None).is_none());
    }
}
