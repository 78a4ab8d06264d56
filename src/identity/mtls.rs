//! The names in a client's certificate, and whom they prove. Verifies nothing: whoever calls has a verified certificate.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::is_name;
use super::pattern::{Pattern, who};
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
    /// The mail addresses among them.
    SanEmail,
}

/// The names in a certificate that are fit to be names; each as often as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    cn: Vec<Box<str>>,
    san_dns: Vec<Box<str>>,
    san_uri: Vec<Box<str>>,
    san_email: Vec<Box<str>>,
}

/// Whom a certificate proves.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where its name stands.
    pub field: Field,
    /// What of the name is the user, the tenant; `None`: it is the user.
    pub pattern: Option<Pattern>,
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
                GeneralName::RFC822Name(name) => names.san_email.push((*name).into()),
                GeneralName::OtherName(..)
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
            Field::SanEmail => &self.san_email,
        }
    }
}

impl Rule {
    /// Whom a certificate with these names proves, where exactly one is found in all that fit: who could be two is
    /// nobody.
    pub fn find(&self, names: &Names) -> Option<Claim> {
        let names = names.of(self.field).iter().filter(|name| is_name(name));
        let mut found = names.filter_map(|name| who(self.pattern.as_ref(), name));
        let first = found.next()?;
        if found.all(|other| other == first) { first.claim(Proof::Mtls) } else { None }
    }
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

    fn find(names: &Names, field: Field, pattern: Option<&str>) -> Option<Claim> {
        let pattern = pattern.map(|pattern| Pattern::new(pattern).unwrap());
        Rule { field, pattern }.find(names)
    }

    fn user(names: &Names, field: Field) -> Option<String> {
        find(names, field, None).map(|c| c.user.unwrap().to_string())
    }

    #[test]
    fn each_field_has_its_names() {
        let dns = SanType::DnsName("alice.example".try_into().unwrap());
        let uri = SanType::URI("spiffe://example/alice".try_into().unwrap());
        let email = SanType::Rfc822Name("alice@example".try_into().unwrap());
        let names = names(&["alice"], vec![dns, uri, email]).unwrap();
        assert_eq!(user(&names, Field::Cn).as_deref(), Some("alice"));
        assert_eq!(user(&names, Field::SanDns).as_deref(), Some("alice.example"));
        assert_eq!(user(&names, Field::SanUri).as_deref(), Some("spiffe://example/alice"));
        assert_eq!(user(&names, Field::SanEmail).as_deref(), Some("alice@example"));
        assert_eq!(find(&names, Field::Cn, None).unwrap().proof, Proof::Mtls);
    }

    #[test]
    fn who_could_be_two_is_nobody() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let names = names(&["x"], vec![dns("a.users"), dns("b.users"), dns("h.hosts")]).unwrap();
        assert_eq!(user(&names, Field::SanDns), None);
        let host = find(&names, Field::SanDns, Some("(?<user>.+)[.]hosts")).unwrap();
        assert_eq!(host.user.as_deref(), Some("h"));
        assert_eq!(find(&names, Field::SanDns, Some("(?<user>.+)[.]users")), None);
        assert_eq!(find(&names, Field::SanUri, None), None);
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
