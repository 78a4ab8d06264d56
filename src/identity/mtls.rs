//! The names in a client's certificate, and whom they prove. Verifies nothing: whoever calls has a verified certificate.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::{Who, is_name};
use crate::caller::{Claim, Proof};

/// Which names of a certificate count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The common name of the subject.
    Cn,
    /// The host names among the alternative ones (RFC 5280, section 4.2.1.6).
    SanDns,
    /// The URIs among them, such as SPIFFE ids.
    SanUri,
}

/// The names in a certificate that are fit to be names; each as often as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    cn: Vec<Box<str>>,
    san_dns: Vec<Box<str>>,
    san_uri: Vec<Box<str>>,
}

impl Names {
    /// The names in a certificate (DER; RFC 5280). `None`: it cannot be read.
    pub fn read(der: &[u8]) -> Option<Names> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut names = Names::default();
        for cn in certificate.subject().iter_common_name() {
            names.cn.push(cn.as_str().ok()?.into());
        }
        let alternative = certificate.subject_alternative_name().ok()?;
        for name in alternative.iter().flat_map(|found| &found.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.san_dns.push((*name).into()),
                GeneralName::URI(name) => names.san_uri.push((*name).into()),
                GeneralName::OtherName(..)
                | GeneralName::RFC822Name(_)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Some(names)
    }

    /// The names of one field.
    pub fn of(&self, field: Field) -> &[Box<str>] {
        match field {
            Field::Cn => &self.cn,
            Field::SanDns => &self.san_dns,
            Field::SanUri => &self.san_uri,
        }
    }
}

/// Whom a certificate proves, where `read` finds exactly one in all names of the field: who could be two is nobody.
pub fn claim(names: &Names, field: Field, read: impl Fn(&str) -> Option<Who>) -> Option<Claim> {
    let mut found = names.of(field).iter().filter(|name| is_name(name)).filter_map(|n| read(n));
    let first = found.next()?;
    if found.all(|other| other == first) { first.claim(Proof::Mtls) } else { None }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names(cns: &[&str], sans: Vec<SanType>) -> Option<Names> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for cn in cns {
            params.distinguished_name.push(DnType::CommonName, *cn);
        }
        params.subject_alt_names = sans;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Names::read(certificate.der())
    }

    fn whole(name: &str) -> Option<Who> {
        Some(Who { tenant: None, user: Some(name.into()) })
    }

    fn user(names: &Names, field: Field) -> Option<String> {
        claim(names, field, whole).map(|c| c.user.unwrap().to_string())
    }

    #[test]
    fn each_field_has_its_names() {
        let dns = SanType::DnsName("alice.example".try_into().unwrap());
        let uri = SanType::URI("spiffe://example/alice".try_into().unwrap());
        let names = names(&["alice"], vec![dns, uri]).unwrap();
        assert_eq!(user(&names, Field::Cn).as_deref(), Some("alice"));
        assert_eq!(user(&names, Field::SanDns).as_deref(), Some("alice.example"));
        assert_eq!(user(&names, Field::SanUri).as_deref(), Some("spiffe://example/alice"));
        assert_eq!(claim(&names, Field::Cn, whole).unwrap().proof, Proof::Mtls);
    }

    #[test]
    fn who_could_be_two_is_nobody() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let names = names(&["x"], vec![dns("a.users"), dns("b.users"), dns("h.hosts")]).unwrap();
        assert_eq!(user(&names, Field::SanDns), None);
        let only =
            |suffix: &'static str| move |name: &str| name.strip_suffix(suffix).and_then(whole);
        let host = claim(&names, Field::SanDns, only(".hosts")).unwrap();
        assert_eq!(host.user.as_deref(), Some("h"));
        assert_eq!(claim(&names, Field::SanDns, only(".users")), None);
        assert_eq!(claim(&names, Field::SanUri, whole), None);
    }

    #[test]
    fn what_is_no_name_names_nobody() {
        for cn in ["", "a\0b", "a\nb", &"x".repeat(257)] {
            let names = names(&[cn], Vec::new()).unwrap();
            assert_eq!(user(&names, Field::Cn), None, "{cn:?}");
        }
        assert_eq!(Names::read(b"not DER"), None);
    }
}
