//! Who is calling: from what a client presented, by what is configured, to a [`Claim`]. Pure: no socket, no file, no
//! clock; never says or logs what was presented, only why it was refused.
//!
//! - [`token`]: secrets that the operator gave out; [`jwt`]: tokens that somebody else signed
//! - [`mtls`]: the client's certificate; [`proxy_tlv`]: what a trusted proxy says of the conn
//! - [`source_ip`]: the address that the conn comes from
//! - [`request`]: what requests and conns say of themselves, which sorts them
//! - [`pattern`]: whom a text names

pub mod jwt;
pub mod mtls;
pub mod pattern;
pub mod proxy_tlv;
pub mod request;
pub mod source_ip;
pub mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::caller::{Claim, Proof};
use crate::wire::proxy_protocol::Header;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;
/// The longest name of a user or tenant, in bytes.
pub const MAX_NAME: usize = 256;

/// Whether the name of a user or tenant can stand in a log line: not empty, not too long, no control characters.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

/// What a client presented.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The token of its `connect`.
    pub token: Option<&'a str>,
    /// The address that it comes from; `None`: a proxy stands between, and does not say.
    pub peer: Option<IpAddr>,
    /// What it showed before its first frame.
    pub shown: Option<&'a Shown>,
    /// What it asks for; `None`: there are no requests on this listener, or none yet.
    pub request: Option<request::Request<'a>>,
}

impl Evidence<'_> {
    /// Where the client is, as far as is known.
    fn from(&self) -> Option<IpAddr> {
        self.request.map_or(self.peer, |request| request.from)
    }
}

/// What a conn shows before its first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The names in the client's certificate, which was verified.
    pub certificate: Option<mtls::Names>,
    /// What a trusted proxy says of it.
    pub proxied: Option<Header>,
    /// The name that it asked for in TLS (SNI), lower case.
    pub sni: Option<Box<str>>,
}

/// Whom a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The tenant, if it says so.
    pub tenant: Option<Arc<str>>,
    /// The user, if it says so.
    pub user: Option<Arc<str>>,
}

impl Who {
    fn claim(self, proof: Proof) -> Option<Claim> {
        let Who { tenant, user } = self;
        let named = tenant.is_some() || user.is_some();
        named.then_some(Claim { tenant, user, trust: None, proof, expires: None })
    }
}

/// Why a presented token proves nothing. In the order of how far it got: the last is the most telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    /// Tokens are not asked for here.
    NotConfigured,
    /// It is not of the form that is asked for, or too long.
    Malformed,
    /// Nobody was given it.
    Unknown,
    /// It is signed in a way that is not allowed.
    Algorithm,
    /// It is signed with a key that is not known.
    Key,
    /// The signature is not right.
    Signature,
    /// It does not say until when it holds, or whom it is for, in the way that it should.
    Claims,
    /// Somebody else issued it.
    Issuer,
    /// It is meant for somebody else.
    Audience,
    /// It does not hold yet.
    NotYet,
    /// It held once.
    Expired,
}

impl Refused {
    /// The word for logs and metrics. Never for the client, who hears only that it failed.
    pub const fn slug(self) -> &'static str {
        match self {
            Refused::NotConfigured => "not_configured",
            Refused::Malformed => "malformed",
            Refused::Unknown => "unknown",
            Refused::Algorithm => "algorithm",
            Refused::Key => "key",
            Refused::Signature => "signature",
            Refused::Claims => "claims",
            Refused::Issuer => "issuer",
            Refused::Audience => "audience",
            Refused::NotYet => "not_yet",
            Refused::Expired => "expired",
        }
    }
}

/// One way to learn who is calling.
#[derive(Clone, Debug)]
pub enum Extractor {
    /// From a token that the operator gave out.
    Token(Arc<token::Tokens>),
    /// From a token that somebody else signed.
    Jwt(Arc<jwt::Verifier>),
    /// From the client's certificate.
    Mtls(Arc<mtls::Rule>),
    /// From what a trusted proxy says.
    ProxyTlv(Arc<proxy_tlv::Rule>),
    /// From the address.
    SourceIp(Arc<source_ip::Ranges>),
    /// From what a trusted proxy says in a request.
    Request(Arc<request::Rule>),
}

impl Extractor {
    /// `None`: what it looks at was not presented, or says nothing.
    fn claim(&self, evidence: &Evidence<'_>, now: SystemTime) -> Option<Result<Claim, Refused>> {
        match self {
            Extractor::Token(tokens) => {
                evidence.token.map(|token| tokens.find(token).ok_or(Refused::Unknown))
            }
            Extractor::Jwt(verifier) => evidence.token.map(|token| verifier.verify(token, now)),
            Extractor::Mtls(rule) => rule.find(evidence.shown?.certificate.as_ref()?).map(Ok),
            Extractor::ProxyTlv(rule) => rule.find(evidence.shown?.proxied.as_ref()?).map(Ok),
            Extractor::SourceIp(ranges) => ranges.find(evidence.from()?).map(Ok),
            Extractor::Request(rule) => {
                let Evidence { request, peer, .. } = *evidence;
                // A name that was asked for proves nothing.
                rule.claim(&request::Presented { request, peer, sni: None }).map(Ok)
            }
        }
    }
}

/// All ways in which one listener learns who is calling, in order.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    extractors: Vec<Extractor>,
}

impl Identities {
    /// Asked in this order.
    pub fn new(extractors: Vec<Extractor>) -> Self {
        Identities { extractors }
    }

    /// Whether nobody can prove anything.
    pub fn is_empty(&self) -> bool {
        self.extractors.is_empty()
    }

    /// Whether a token can prove something.
    pub fn take_tokens(&self) -> bool {
        self.extractors.iter().any(|e| matches!(e, Extractor::Token(_) | Extractor::Jwt(_)))
    }

    /// Who is calling: what the first extractor says that yields. `None`: nothing was presented that says anything.
    ///
    /// A token that was presented must be accepted by one of them, also where the address alone would do: a wrong token
    /// never becomes another identity.
    pub fn claim(
        &self,
        evidence: &Evidence<'_>,
        now: SystemTime,
    ) -> Option<Result<Claim, Refused>> {
        let mut accepted = evidence.token.is_none();
        let mut refused = Refused::NotConfigured;
        let mut first = None;
        for extractor in &self.extractors {
            match extractor.claim(evidence, now) {
                Some(Ok(claim)) => {
                    accepted |= matches!(claim.proof, Proof::Token | Proof::Jwt);
                    first.get_or_insert(claim);
                }
                Some(Err(why)) => refused = refused.max(why),
                None => {}
            }
            if accepted && first.is_some() {
                break;
            }
        }
        if accepted { first.map(Ok) } else { Some(Err(refused)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use source_ip::{Range, Ranges};
    use token::{Entry, Tokens};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn tokens() -> Extractor {
        Extractor::Token(Arc::new(Tokens::new(vec![Entry {
            sha256: token::hash("right"),
            name: None,
            user: "alice".into(),
            tenant: None,
            trust: None,
        }])))
    }

    fn office() -> Extractor {
        let range = Range {
            cidr: "10.0.0.0/8".parse().unwrap(),
            tenant: Some("office".into()),
            user: None,
        };
        Extractor::SourceIp(Arc::new(Ranges::new(vec![range])))
    }

    fn asked(
        extractors: &[Extractor],
        token: Option<&str>,
        peer: &str,
    ) -> Option<Result<Proof, Refused>> {
        let evidence = Evidence { token, peer: peer.parse().ok(), shown: None, request: None };
        let found = Identities::new(extractors.to_vec()).claim(&evidence, NOW);
        found.map(|found| found.map(|claim| claim.proof))
    }

    #[test]
    fn the_first_that_yields_wins() {
        let both = [tokens(), office()];
        assert_eq!(asked(&both, Some("right"), "10.0.0.1"), Some(Ok(Proof::Token)));
        assert_eq!(asked(&both, None, "10.0.0.1"), Some(Ok(Proof::SourceIp)));
        let other = [office(), tokens()];
        assert_eq!(asked(&other, Some("right"), "10.0.0.1"), Some(Ok(Proof::SourceIp)));
        assert_eq!(asked(&other, Some("right"), "192.0.2.1"), Some(Ok(Proof::Token)));
    }

    #[test]
    fn a_wrong_token_is_refused_also_where_the_address_is_known() {
        for order in [[tokens(), office()], [office(), tokens()]] {
            assert_eq!(asked(&order, Some("wrong"), "10.0.0.1"), Some(Err(Refused::Unknown)));
        }
    }

    #[test]
    fn a_token_where_none_is_asked_for_is_refused_as_such() {
        let refused = Some(Err(Refused::NotConfigured));
        assert_eq!(asked(&[office()], Some("right"), "10.0.0.1"), refused);
        assert_eq!(asked(&[], Some("right"), "10.0.0.1"), refused);
    }

    #[test]
    fn an_address_that_is_not_known_proves_nothing() {
        assert_eq!(asked(&[office()], None, "not known"), None);
    }

    #[test]
    fn a_certificate_and_a_proxy_prove_what_they_show_and_a_wrong_token_is_refused_all_the_same() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        let signed = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let names = mtls::Names::read(signed.der()).unwrap();
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x06\xE4\0\x03bob";
        let header = crate::wire::proxy_protocol::Decoder::default().next(&mut &header[..]);
        let shown = Shown { certificate: Some(names), proxied: header.unwrap(), sni: None };
        let mtls = Extractor::Mtls(Arc::new(mtls::Rule { field: mtls::Field::Cn, pattern: None }));
        let field = proxy_tlv::Field::Custom(0xE4);
        let tlv = Extractor::ProxyTlv(Arc::new(proxy_tlv::Rule { field, pattern: None }));
        let user = |order: [&Extractor; 2], token, shown| {
            let evidence = Evidence { token, peer: None, shown, request: None };
            let found = Identities::new(order.map(Extractor::clone).to_vec()).claim(&evidence, NOW);
            found.map(|found| found.map(|claim| claim.user.unwrap().to_string()))
        };
        assert_eq!(user([&mtls, &tlv], None, Some(&shown)), Some(Ok("alice".into())));
        assert_eq!(user([&tlv, &mtls], None, Some(&shown)), Some(Ok("bob".into())));
        assert_eq!(user([&tlv, &mtls], None, None), None);
        assert_eq!(user([&mtls, &tokens()], Some("x"), Some(&shown)), Some(Err(Refused::Unknown)));
    }

    #[test]
    fn who_presents_nothing_that_says_anything_is_nobody() {
        assert_eq!(asked(&[tokens(), office()], None, "192.0.2.1"), None);
        assert_eq!(asked(&[], None, "10.0.0.1"), None);
    }

    #[test]
    fn slugs_are_distinct() {
        let all = [
            Refused::NotConfigured,
            Refused::Malformed,
            Refused::Unknown,
            Refused::Algorithm,
            Refused::Key,
            Refused::Signature,
            Refused::Claims,
            Refused::Issuer,
            Refused::Audience,
            Refused::NotYet,
            Refused::Expired,
        ];
        let slugs: std::collections::BTreeSet<_> = all.iter().map(|r| r.slug()).collect();
        assert_eq!(slugs.len(), all.len());
    }
}
